/* Sorting of a long row by the digits of integers that rise with its keys, the last digit first. */

#pragma once

#include "../native.h"

/* A key above a category: 32 bits of each. */
typedef uint64_t Entry;
static inline int64_t category_in(Entry entry) { return (int64_t)(uint32_t)entry; }

enum { WIDEST = 11 }; /* digits, in bits: their counts stay in the cache */

/* Bytes that `sort_row` works in. */
static inline int64_t room_to_sort(int64_t categories) {
    return 2 * categories * sizeof(Entry) + (2 << WIDEST) * sizeof(uint32_t);
}

/* What categories are sorted by: 1 and -1 for the smallest and the largest logit first, 2 for the smallest absolute one. */
static inline real sort_key(real logit, int sorted) {
    return sorted == 2 ? (logit < 0 ? -logit : logit) : sorted < 0 ? -logit : logit;
}

/* By two digits of the keys; from the room's first half to its second and back. */
static void by_two_digits(Entry *from, int64_t categories, int width) {
    Entry *to = from + categories;
    uint32_t *counts = (uint32_t *)(to + categories);
    const int64_t values = (int64_t)1 << width;
    memset(counts, 0, 2 * values * sizeof(uint32_t));
    for (int64_t at = 0; at < categories; at++) {
        counts[from[at] >> 32 & (values - 1)]++;
        counts[values + (from[at] >> (32 + width))]++;
    }
    for (int k = 0; k < 2; k++) {
        uint32_t *place = counts + k * values, before = 0;
        const int shift = 32 + k * width;
        for (int64_t value = 0; value < values; value++) {
            const uint32_t own = place[value];
            place[value] = before;
            before += own;
        }
        for (int64_t at = 0; at < categories; at++) {
            const Entry own = from[at];
            to[place[own >> shift & (values - 1)]++] = own;
        }
        Entry *turned = from;
        from = to;
        to = turned;
    }
}

/* By all bits of the keys, two digits at a time. */
static void by_all_bits(const real *row, int64_t categories, int sorted, Entry *entries) {
    typedef __typeof__(_Generic((real)0, float: (uint32_t)0, double: (uint64_t)0)) bits;
    const int sign = 8 * sizeof(bits) - 1;
    for (int64_t c = 0; c < categories; c++) entries[c] = (Entry)c;
    for (int shift = 0; shift <= sign; shift += 2 * WIDEST) {
        for (int64_t at = 0; at < categories; at++) {
            const real key = sort_key(row[category_in(entries[at])], sorted) + 0; /* -0.0 is 0.0 */
            whole own;
            memcpy(&own, &key, sizeof(real));
            const bits rising = (bits)own ^ ((bits)(own >> sign) | (bits)1 << sign);
            const Entry part = rising >> shift & ((1 << 2 * WIDEST) - 1);
            entries[at] = part << 32 | (uint32_t)entries[at];
        }
        by_two_digits(entries, categories, WIDEST);
    }
}

/* The categories of a row from the smallest key to the largest, equal ones by their number, and the keys into `keys`.

   Keys are first laid on a grid between the least and the greatest, so fine that few share a place; those are put in
   order by insertion. Only where that would take long, as for most keys close to each other and a few far away, all of
   their bits are sorted. */
static Entry *sort_row(const real *row, int64_t categories, int sorted, void *room, real *keys) {
    enum { AT_ONCE = 2 * LANES };
    Entry *entries = room;
    int width = 6;
    while (width < WIDEST && (4LL << width) < categories) width++;
    real low[AT_ONCE], high[AT_ONCE];
    for (int lane = 0; lane < AT_ONCE; lane++) low[lane] = -(high[lane] = -INFINITY);
    for (int64_t c = 0; c < categories; c += AT_ONCE) /* the last ones twice */
        for (int lane = 0; lane < AT_ONCE; lane++) {
            const int64_t start = c + AT_ONCE <= categories || categories < AT_ONCE ? c : categories - AT_ONCE;
            const real key = start + lane < categories ? sort_key(row[start + lane], sorted) : INFINITY;
            low[lane] = (key < low[lane]) & (key > -INFINITY) ? key : low[lane];
            high[lane] = (key > high[lane]) & (key < INFINITY) ? key : high[lane];
        }
    for (int lane = 1; lane < AT_ONCE; lane++) {
        *low = low[lane] < *low ? low[lane] : *low;
        *high = high[lane] > *high ? high[lane] : *high;
    }
    const real top = (real)(((whole)1 << 2 * width) - 2), scale = *high > *low ? (top - 1) / (*high - *low) : 1;
    for (int64_t c = 0; c < categories; c++) {
        const real place = (sort_key(row[c], sorted) - *low) * scale, within = place < top ? place : top;
        const whole on_grid = (whole)(within >= 0 ? within + 1 : 0);
        entries[c] = (Entry)on_grid << 32 | (Entry)c;
    }
    by_two_digits(entries, categories, width);
    for (int64_t at = 0; at < categories; at++) keys[at] = sort_key(row[category_in(entries[at])], sorted);
    int64_t moves = 0;
    for (int64_t at = 1; at < categories && moves <= 4 * categories; at++) {
        if (!(keys[at] < keys[at - 1])) continue;
        const Entry own = entries[at];
        const real key = keys[at];
        int64_t to = at;
        for (; to > 0 && keys[to - 1] > key && moves <= 4 * categories; to--, moves++) {
            entries[to] = entries[to - 1];
            keys[to] = keys[to - 1];
        }
        entries[to] = own;
        keys[to] = key;
    }
    if (moves > 4 * categories) {
        by_all_bits(row, categories, sorted, entries);
        for (int64_t at = 0; at < categories; at++) keys[at] = sort_key(row[category_in(entries[at])], sorted);
    }
    return entries;
}
