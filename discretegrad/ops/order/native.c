/* Sorting of short rows by counting, for each key, those that come before it: many rows at once, without a branch. */

#include "../native.h"

#ifdef __AVX512F__
#define WIDEST __attribute__((target("prefer-vector-width=512")))
#else
#define WIDEST
#endif

/* How many keys come before each, `[C, LANES]`. */
static WIDEST void count(const real *RESTRICT keys, whole *RESTRICT ranks, int64_t categories) {
    for (int64_t c = 0; c < categories; c++) {
        whole rank[LANES] = {0};
        real own[LANES];
        for (int lane = 0; lane < LANES; lane++) own[lane] = keys[c * LANES + lane];
        for (int64_t other = 0; other < c; other++)
            for (int lane = 0; lane < LANES; lane++) rank[lane] += keys[other * LANES + lane] <= own[lane];
        for (int64_t other = c + 1; other < categories; other++)
            for (int lane = 0; lane < LANES; lane++) rank[lane] += keys[other * LANES + lane] < own[lane];
        for (int lane = 0; lane < LANES; lane++) ranks[c * LANES + lane] = rank[lane];
    }
}

/* `order[rows, C]`: the categories from the smallest key to the largest, equal ones by their number. Keys are the logits
   times `sign`, or for 0 their absolute values. */
int ascending(const real *logits, int16_t *order, int64_t rows, int64_t categories, int64_t sign, int64_t threads) {
    int failed = FINE;
#pragma omp parallel num_threads(threads)
    {
        real *keys = memory(2 * categories * LANES * sizeof(real));
        whole *ranks = (whole *)(keys + categories * LANES);
        if (keys == NULL) failed = NO_MEMORY;
#pragma omp for schedule(static)
        for (int64_t row = 0; row < rows; row += LANES) {
            if (keys == NULL) continue;
            const int lanes = rows - row < LANES ? (int)(rows - row) : LANES;
            for (int lane = 0; lane < LANES; lane++) {
                const real *logit = logits + (lane < lanes ? row + lane : row) * categories;
                for (int64_t c = 0; c < categories; c++)
                    keys[c * LANES + lane] = sign == 0 ? (logit[c] < 0 ? -logit[c] : logit[c]) : sign * logit[c];
            }
            count(keys, ranks, categories);
            /* NaN would leave places out. */
            memset(order + row * categories, 0, lanes * categories * sizeof(int16_t));
            for (int lane = 0; lane < lanes; lane++)
                for (int64_t c = 0; c < categories; c++)
                    order[(row + lane) * categories + ranks[c * LANES + lane]] = (int16_t)c;
        }
        free(keys);
    }
    return failed;
}
