/* Independent draws from logits, by search in serial cumulative sums. */

#include "../native.h"

/* `indices[draws, rows]` from `logits[rows, C]` and uniform `noise[draws, rows]`. */
int categorical(const real *logits, const real *noise, int64_t *indices, int64_t rows, int64_t categories, int64_t draws,
                int64_t threads) {
    int failed = 0;
#pragma omp parallel num_threads(threads)
    {
        real *sums = memory(categories * LANES * sizeof(real));
        if (sums == NULL) failed = 1;
#pragma omp for schedule(static)
        for (int64_t row = 0; row < rows; row += LANES) {
            if (sums == NULL) continue;
            masses_of(logits, NULL, 0, row, rows, categories, sums);
            /* Rounded from double, sums never fall, and rise at possible categories only. */
            double total[LANES] = {0};
            for (int64_t c = 0; c < categories; c++)
                for (int lane = 0; lane < LANES; lane++) {
                    total[lane] += sums[c * LANES + lane];
                    sums[c * LANES + lane] = (real)total[lane];
                }
            const int lanes = rows - row < LANES ? (int)(rows - row) : LANES;
            for (int64_t draw = 0; draw < draws; draw++) {
                real threshold[LANES] = {0}, below[LANES] = {0}; /* whole numbers below 2^24 */
                for (int lane = 0; lane < lanes; lane++)
                    threshold[lane] = noise[draw * rows + row + lane] * (real)total[lane];
                for (int64_t c = 0; c < categories; c++)
                    for (int lane = 0; lane < LANES; lane++)
                        below[lane] += sums[c * LANES + lane] <= threshold[lane] ? (real)1 : (real)0;
                for (int lane = 0; lane < lanes; lane++) {
                    const int64_t found = (int64_t)below[lane];
                    indices[draw * rows + row + lane] = found < categories ? found : categories - 1;
                }
            }
        }
        free(sums);
    }
    return failed;
}
