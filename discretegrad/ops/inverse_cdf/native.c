/* Independent draws from logits, by search in serial cumulative sums. */

#include "../native.h"

/* `indices[draws, rows]` from `logits[rows, C]` and uniform `noise[draws, rows]`. */
int categorical(const real *logits, const real *noise, int64_t *indices, int64_t rows, int64_t categories, int64_t draws,
                int64_t threads) {
    int failed = FINE;
#pragma omp parallel num_threads(threads)
    {
        real *sums = memory(categories * LANES * sizeof(real));
        if (sums == NULL) failed = NO_MEMORY;
#pragma omp for schedule(static)
        for (int64_t row = 0; row < rows; row += LANES) {
            if (sums == NULL) continue;
            masses_of(logits, NULL, 0, row, rows, categories, sums);
            /* Rounded from double, sums never fall, and rise at possible categories only. */
            quad *at = (quad *)sums;
            doubles total[QUADS] = {0};
            for (int64_t c = 0; c < categories; c++)
                for (int q = 0; q < QUADS; q++) {
                    total[q] += __builtin_convertvector(at[c * QUADS + q], doubles);
                    at[c * QUADS + q] = __builtin_convertvector(total[q], quad);
                }
            const int lanes = rows - row < LANES ? (int)(rows - row) : LANES;
            for (int64_t draw = 0; draw < draws; draw++) {
                quad threshold[QUADS] = {0};
                flags below[QUADS] = {0};
                memcpy(threshold, noise + draw * rows + row, lanes * sizeof(real));
                for (int q = 0; q < QUADS; q++) threshold[q] *= at[(categories - 1) * QUADS + q];
                for (int64_t c = 0; c < categories; c++)
                    for (int q = 0; q < QUADS; q++) below[q] -= at[c * QUADS + q] <= threshold[q]; /* true is -1 */
                for (int lane = 0; lane < lanes; lane++) {
                    const int64_t found = below[lane / 4][lane % 4];
                    indices[draw * rows + row + lane] = found < categories ? found : categories - 1;
                }
            }
        }
        free(sums);
    }
    return failed;
}
