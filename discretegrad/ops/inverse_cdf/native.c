/* Independent draws from logits, by search in serial cumulative sums. */

#include "../native.h"

/* `indices[draws, rows]` from `logits[rows, C]` and uniform `noise[draws, rows]`. */
int categorical(const real *logits, const double *noise, int64_t *indices, int64_t rows, int64_t categories,
                int64_t draws, int64_t threads) {
    int failed = FINE;
#pragma omp parallel num_threads(threads)
    {
        const int64_t size = categories * LANES;
        Doubles *sums = memory(categories * sizeof(Doubles) + size * sizeof(real));
        real *mass = (real *)(sums + categories);
        if (sums == NULL) failed = NO_MEMORY;
#pragma omp for schedule(static)
        for (int64_t row = 0; row < rows; row += LANES) {
            if (sums == NULL) continue;
            fetch(noise + row, rows, draws);
            to_lanes(logits, NULL, 0, row, rows, categories, mass);
            exponentials(mass, categories);
            /* In double, so that what is rare keeps its share; sums never fall, and rise at possible categories only. */
            Doubles total = {0};
            for (int64_t c = 0; c < categories; c++) {
                for (int lane = 0; lane < LANES; lane++) total.lanes[lane] += mass[c * LANES + lane];
                sums[c] = total;
            }
            if (!sound(total.lanes)) failed = NO_PROBABILITIES;
            const int lanes = rows - row < LANES ? (int)(rows - row) : LANES;
            for (int64_t draw = 0; draw < draws; draw++) {
                Doubles threshold = {0};
                Longs below = {0};
                copy(threshold.lanes, noise + draw * rows + row, lanes, sizeof(double));
                for (int k = 0; k < OF_DOUBLES; k++) threshold.vectors[k] *= total.vectors[k];
                for (int64_t c = 0; c < categories; c++)
                    for (int k = 0; k < OF_DOUBLES; k++)
                        below.vectors[k] -= sums[c].vectors[k] <= threshold.vectors[k]; /* true is -1 */
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
