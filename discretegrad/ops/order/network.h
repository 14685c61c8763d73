/* Sorting of short rows by a network: many rows at once, without a branch. */

#pragma once

#include "../native.h"

/* Batcher's merge exchange (Knuth, The Art of Computer Programming 3, 5.2.2, algorithm M): `exchange` puts the entries of
   two places in order. */
static inline __attribute__((always_inline)) void network(void *row, int64_t categories,
                                                          void (*exchange)(void *row, int64_t one, int64_t two)) {
    int64_t largest = 1;
    while (2 * largest < categories) largest *= 2;
    for (int64_t p = largest; p > 0; p /= 2)
        for (int64_t q = largest, r = 0, d = p;; d = q - p, q /= 2, r = p) {
            for (int64_t start = r; start + d < categories; start += 2 * p)
                for (int64_t c = start; c < start + p && c + d < categories; c++) exchange(row, c, c + d);
            if (q == p) break;
        }
}

/* The smaller of two of LANES keys first. */
static inline __attribute__((always_inline)) void smaller_first(void *row, int64_t one, int64_t two) {
    reals *keys = row;
    for (int k = 0; k < OF_REALS; k++) {
        const reals first = keys[one * OF_REALS + k], second = keys[two * OF_REALS + k];
        const wholes wrong = second < first;
        keys[one * OF_REALS + k] = CHOOSE(wrong, second, first);
        keys[two * OF_REALS + k] = CHOOSE(wrong, first, second);
    }
}
