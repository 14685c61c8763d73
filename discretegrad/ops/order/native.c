/* The categories of short rows, sorted. */

#include "network.h"

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

/* `order[rows, C]`: the categories from the smallest key to the largest, equal ones by their number. Keys are the
   logits times `sign`, or for 0 their absolute values. */
int ascending(const real *logits, int16_t *order, int64_t rows, int64_t categories, int64_t sign, int64_t threads) {
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
            to_lanes(logits, NULL, 0, row, rows, categories, keys);
            for (int64_t c = 0; c < categories; c++)
                for (int lane = 0; lane < LANES; lane++) category_at[c * LANES + lane] = (whole)c;
            for (int64_t at = 0; at < size; at++)
                keys[at] = sign == 0 ? (keys[at] < 0 ? -keys[at] : keys[at]) : sign * keys[at];
            sort((reals *)keys, (wholes *)category_at, categories);
            /* Their bits, to rows that are as wide. */
            from_lanes((real *)category_at, NULL, 0, 0, lanes, categories, keys);
            const whole *sorted = (whole *)keys;
            for (int64_t at = 0; at < lanes * categories; at++) order[row * categories + at] = (int16_t)sorted[at];
        }
        free(keys);
    }
    return failed;
}
