/* Independent draws from logits, by search in serial cumulative sums. */

#include "../native.h"

/* `indices[draws, rows]` from `logits[rows, C]` and uniform `noise[draws, rows]`. */
int categorical(const real *logits, const real *noise, int64_t *indices, int64_t rows, int64_t categories,
                int64_t draws, int64_t threads) {
    int failed = FINE;
#pragma omp parallel num_threads(threads)
    {
        real *sums = memory(categories * LANES * sizeof(real));
        if (sums == NULL) failed = NO_MEMORY;
#pragma omp for schedule(static)
        for (int64_t row = 0; row < rows; row += LANES) {
            if (sums == NULL) continue;
            fetch(noise + row, rows, draws);
            to_lanes(logits, NULL, 0, row, rows, categories, sums);
            exponentials(sums, categories);
            /* Rounded from double, sums never fall, and rise at possible categories only. */
            double total[LANES] = {0};
            for (int64_t c = 0; c < categories; c++)
                for (int lane = 0; lane < LANES; lane++) {
                    total[lane] += sums[c * LANES + lane];
                    sums[c * LANES + lane] = (real)total[lane];
                }
            const reals *at = (const reals *)sums;
            if (!sound(total)) failed = NO_PROBABILITIES;
            const int lanes = rows - row < LANES ? (int)(rows - row) : LANES;
            for (int64_t draw = 0; draw < draws; draw++) {
                Reals threshold = {0};
                Wholes below = {0};
                memcpy(threshold.lanes, noise + draw * rows + row, lanes * sizeof(real));
                for (int k = 0; k < OF_REALS; k++) threshold.vectors[k] *= at[(categories - 1) * OF_REALS + k];
                for (int64_t c = 0; c < categories; c++)
                    for (int k = 0; k < OF_REALS; k++)
                        below.vectors[k] -= at[c * OF_REALS + k] <= threshold.vectors[k]; /* true is -1 */
                for (int lane = 0; lane < lanes; lane++) {
                    const int64_t found = below.lanes[lane];
                    indices[draw * rows + row + lane] = found < categories ? found : categories - 1;
                }
            }
        }
        free(sums);
    }
    return failed;
}
