/* Sorting of short rows by a network: many rows at once, without a branch. */

#include "../native.h"

/* The smaller of two keys first; of equal ones, where `ties` count, that of the smaller category. */
static inline __attribute__((always_inline)) void exchange(reals *keys, wholes *category_at, int64_t one, int64_t two,
                                                           int ties) {
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

/* Batcher's merge exchange (Knuth, The Art of Computer Programming 3, 5.2.2, algorithm M). */
static inline __attribute__((always_inline)) void network(reals *keys, wholes *category_at, int64_t categories,
                                                          int ties) {
    int64_t largest = 1;
    while (2 * largest < categories) largest *= 2;
    for (int64_t p = largest; p > 0; p /= 2)
        for (int64_t q = largest, r = 0, d = p;; d = q - p, q /= 2, r = p) {
            for (int64_t start = r; start + d < categories; start += 2 * p)
                for (int64_t c = start; c < start + p && c + d < categories; c++)
                    exchange(keys, category_at, c, c + d, ties);
            if (q == p) break;
        }
}

/* Sorted, with equal keys by category: that is done anew, and in more steps, only where some are out of order. */
static void sort(reals *keys, wholes *category_at, int64_t categories) {
    network(keys, category_at, categories, 0);
    wholes wrong = {0};
    for (int64_t at = OF_REALS; at < categories * OF_REALS; at++)
        wrong |= (keys[at] == keys[at - OF_REALS]) & (category_at[at] < category_at[at - OF_REALS]);
    whole any = 0;
    for (int lane = 0; lane < IN_REALS; lane++) any |= wrong[lane];
    if (any) network(keys, category_at, categories, 1);
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
