/* The categories of rows, sorted: short rows many at a time, long ones by their digits. */

#include "network.h"
#include "radix.h"

enum { SHORT = 256 };

typedef struct {
    reals *keys;
    wholes *category_at;
} Row;

/* The smaller of two keys first; of equal ones, where `ties` count, that of the smaller category. */
static inline __attribute__((always_inline)) void exchange(Row row, int64_t one, int64_t two, int ties) {
    reals *keys = row.keys;
    wholes *category_at = row.category_at;
    for (int k = 0; k < OF_REALS; k++) {
        const reals first = keys[one * OF_REALS + k], second = keys[two * OF_REALS + k];
        const wholes own = category_at[one * OF_REALS + k], other = category_at[two * OF_REALS + k];
        const wholes wrong = (second < first) | (ties ? (second == first) & (other < own) : (wholes){0});
        keys[one * OF_REALS + k] = CHOOSE(wrong, second, first);
        keys[two * OF_REALS + k] = CHOOSE(wrong, first, second);
        category_at[one * OF_REALS + k] = CHOOSE(wrong, other, own);
        category_at[two * OF_REALS + k] = CHOOSE(wrong, own, other);
    }
}

static inline __attribute__((always_inline)) void by_key(void *row, int64_t one, int64_t two) {
    exchange(*(const Row *)row, one, two, 0);
}

static inline __attribute__((always_inline)) void by_key_and_category(void *row, int64_t one, int64_t two) {
    exchange(*(const Row *)row, one, two, 1);
}

/* Sorted, with equal keys by category: that is done anew, and in more steps, only where some are out of order. */
static void sort(reals *keys, wholes *category_at, int64_t categories) {
    Row row = {keys, category_at};
    network(&row, categories, by_key);
    wholes wrong = {0};
    for (int64_t at = OF_REALS; at < categories * OF_REALS; at++)
        wrong |= (keys[at] == keys[at - OF_REALS]) & (category_at[at] < category_at[at - OF_REALS]);
    whole any = 0;
    for (int lane = 0; lane < IN_REALS; lane++) any |= wrong[lane];
    if (any) network(&row, categories, by_key_and_category);
}

static int long_rows(const real *keys, int64_t *order, int64_t rows, int64_t categories, int64_t threads) {
    int failed = FINE;
#pragma omp parallel num_threads(threads)
    {
        void *room = memory(room_to_sort(categories) + categories * sizeof(real));
        real *sorted_keys = (real *)((char *)room + room_to_sort(categories));
        if (room == NULL) failed = NO_MEMORY;
#pragma omp for schedule(static)
        for (int64_t row = 0; row < rows; row++) {
            if (room == NULL) continue;
            const Entry *sorted = sort_row(keys + row * categories, categories, 1, room, sorted_keys);
            for (int64_t at = 0; at < categories; at++) order[row * categories + at] = category_in(sorted[at]);
        }
        free(room);
    }
    return failed;
}

/* `order[rows, C]`: the categories from the smallest key to the largest, equal ones by their number. */
int ascending(const real *logits, int64_t *order, int64_t rows, int64_t categories, int64_t threads) {
    if (categories > SHORT) return long_rows(logits, order, rows, categories, threads);
    int failed = FINE;
#pragma omp parallel num_threads(threads)
    {
        const int64_t size = categories * LANES;
        real *keys = memory(size * (sizeof(real) + sizeof(whole)));
        whole *category_at = (whole *)(keys + size);
        if (keys == NULL) failed = NO_MEMORY;
#pragma omp for schedule(static)
        for (int64_t row = 0; row < rows; row += LANES) {
            if (keys == NULL) continue;
            const int64_t lanes = rows - row < LANES ? rows - row : LANES;
            to_lanes(logits, row, rows, categories, keys);
            for (int64_t c = 0; c < categories; c++)
                for (int lane = 0; lane < LANES; lane++) category_at[c * LANES + lane] = (whole)c;
            sort((reals *)keys, (wholes *)category_at, categories);
            /* Their bits, to rows that are as wide. */
            from_lanes((real *)category_at, 0, lanes, categories, keys);
            const whole *sorted = (whole *)keys;
            for (int64_t at = 0; at < lanes * categories; at++) order[row * categories + at] = sorted[at];
        }
        free(keys);
    }
    return failed;
}
