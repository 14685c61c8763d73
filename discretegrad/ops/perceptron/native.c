/* One hidden layer of leaky rectifiers from INPUTS numbers to OUTPUTS, at many rows; hidden units are kept nowhere.

   A tile of rows at a time, its numbers side by side: each unit is a few instructions on vectors of rows. */

#include "../native.h"

enum { INPUTS = 3, OUTPUTS = 2, WIDE = 4, TILE_ROWS = WIDE * IN_REALS, WEIGHTS = INPUTS + 1 + OUTPUTS };

typedef union {
    reals vectors[WIDE];
    real rows[TILE_ROWS];
} Tile;

/* A tile of numbers from rows of `width`; 0 behind the last row. */
static inline void load(const real *from, int64_t count, int width, Tile *to) {
    for (int i = 0; i < width; i++)
        for (int row = 0; row < TILE_ROWS; row++) to[i].rows[row] = row < count ? from[row * width + i] : 0;
}

/* Of one vector of rows, a unit's sum and what it lets pass. */
static inline reals unit(const real *own, const Tile *x, int k, real slope, reals *passes) {
    const reals sum = own[0] * x[0].vectors[k] + own[1] * x[1].vectors[k] + own[2] * x[2].vectors[k] + own[INPUTS];
    *passes = CHOOSE(sum > 0, (reals){0} + 1, (reals){0} + slope);
    return sum * *passes;
}

/* `out[rows, OUTPUTS]` at `inputs[rows, INPUTS]`; `weights[hidden, WEIGHTS]` has of each unit those of its inputs, its bias,
   and those of the outputs; `bias[OUTPUTS + 1]` those of the outputs, and the slope below 0. */
int perceptron(const real *inputs, const real *weights, const real *bias, real *out, int64_t rows, int64_t hidden,
               int64_t threads) {
    const real slope = bias[OUTPUTS];
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t tile = 0; tile < (rows + TILE_ROWS - 1) / TILE_ROWS; tile++) {
        const int64_t from = tile * TILE_ROWS, count = rows - from < TILE_ROWS ? rows - from : TILE_ROWS;
        Tile x[INPUTS], y[OUTPUTS];
        load(inputs + from * INPUTS, count, INPUTS, x);
        for (int k = 0; k < WIDE; k++) y[0].vectors[k] = (reals){0} + bias[0], y[1].vectors[k] = (reals){0} + bias[1];
        for (int64_t h = 0; h < hidden; h++) {
            const real *own = weights + h * WEIGHTS;
            for (int k = 0; k < WIDE; k++) {
                reals passes;
                const reals active = unit(own, x, k, slope, &passes);
                y[0].vectors[k] += own[INPUTS + 1] * active;
                y[1].vectors[k] += own[INPUTS + 2] * active;
            }
        }
        for (int64_t row = 0; row < count; row++)
            for (int o = 0; o < OUTPUTS; o++) out[(from + row) * OUTPUTS + o] = y[o].rows[row];
    }
    return FINE;
}

/* The gradient w.r.t. the weights, `out[parts, hidden + 1, WEIGHTS]` of `each` rows a part, from that w.r.t. the outputs; behind
   the units are the sums of the latter. */
int perceptron_gradient(const real *inputs, const real *weights, const real *bias, const real *gradient, real *out,
                        int64_t rows, int64_t hidden, int64_t each, int64_t threads) {
    int failed = FINE;
    const real slope = bias[OUTPUTS];
#pragma omp parallel num_threads(threads)
    {
        const int64_t size = (hidden + 1) * WEIGHTS;
        reals *sums = memory(size * sizeof(reals));
        if (sums == NULL) failed = NO_MEMORY;
#pragma omp for schedule(static)
        for (int64_t part = 0; part < (rows + each - 1) / each; part++) {
            if (sums == NULL) continue;
            memset(sums, 0, size * sizeof(reals));
            const int64_t end = (part + 1) * each < rows ? (part + 1) * each : rows;
            for (int64_t from = part * each; from < end; from += TILE_ROWS) {
                const int64_t count = end - from < TILE_ROWS ? end - from : TILE_ROWS;
                Tile x[INPUTS], g[OUTPUTS];
                load(inputs + from * INPUTS, count, INPUTS, x);
                load(gradient + from * OUTPUTS, count, OUTPUTS, g);
                for (int o = 0; o < OUTPUTS; o++)
                    for (int k = 0; k < WIDE; k++) sums[hidden * WEIGHTS + o] += g[o].vectors[k];
                for (int64_t h = 0; h < hidden; h++) {
                    const real *own = weights + h * WEIGHTS;
                    reals found[WEIGHTS] = {0};
                    for (int k = 0; k < WIDE; k++) {
                        reals passes;
                        const reals active = unit(own, x, k, slope, &passes);
                        const reals one = g[0].vectors[k], two = g[1].vectors[k];
                        const reals back = (own[INPUTS + 1] * one + own[INPUTS + 2] * two) * passes;
                        for (int i = 0; i < INPUTS; i++) found[i] += back * x[i].vectors[k];
                        found[INPUTS] += back;
                        found[INPUTS + 1] += active * one;
                        found[INPUTS + 2] += active * two;
                    }
                    for (int w = 0; w < WEIGHTS; w++) sums[h * WEIGHTS + w] += found[w];
                }
            }
            for (int64_t w = 0; w < size; w++) {
                real total = 0;
                for (int lane = 0; lane < IN_REALS; lane++) total += sums[w][lane];
                out[part * size + w] = total;
            }
        }
        free(sums);
    }
    return failed;
}
