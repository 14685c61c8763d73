/* The gradient of soft points averaged over noises that lead to one id. Derived in `ops/relaxation/README.md`.

   A clock rings at E_i / p_i + E_b where the largest rings at E_b: over that, and raised to 1 / temperature, is softmax. */

#include "../noise/counter.h"

enum { PLAIN, SQUARED, RAISED };

/* `row += scale * J(q) slopes`, J(q) = diag(q) - q q^T, q the softmax that uniform noise and the id make: in proportion to
   `(p E_b / (p E_b + E)) ** power`, which is 1 for the id. What is 0 counts for nothing, whatever its slope. */
static inline __attribute__((always_inline)) void pull_back(const real *RESTRICT mass, const real *RESTRICT noise,
                                                            const real *RESTRICT slopes, int64_t categories, int64_t id,
                                                            double scale, real power, int how, real *RESTRICT relaxed,
                                                            real *RESTRICT row) {
    const real own = arrival_of(noise[id]);
    for (int64_t c = 0; c < categories; c++) {
        const real rate = own * mass[c], share = rate / (rate + arrival_of(noise[c]));
        relaxed[c] = how == PLAIN ? share : how == SQUARED ? share * share : exp_of(power * log_of(share));
    }
    relaxed[id] = 1;
    real total = 0, weighted = 0;
#pragma omp simd reduction(+ : total, weighted)
    for (int64_t c = 0; c < categories; c++) {
        total += relaxed[c];
        weighted += relaxed[c] > 0 ? relaxed[c] * slopes[c] : 0;
    }
    const real mean = weighted / total, factor = (real)(scale / total);
    for (int64_t c = 0; c < categories; c++) row[c] += relaxed[c] > 0 ? factor * relaxed[c] * (slopes[c] - mean) : 0;
}

/* `out[rows, C]`, the sum over the points of the mean over the noises of J(q) slopes / temperature, from `indices[points,
   rows]`, `noise[noises, points, rows, C]` and `slopes[points, rows, C]`; a temperature of 1 at most. Where noise is NULL it
   is made from the seed. */
int averaged_pull_back(const real *logits, const int64_t *indices, const real *noise, const int64_t *seed,
                       const real *slopes, const double *temperature, real *out, int64_t rows, int64_t categories, int64_t points,
                       int64_t noises, int64_t threads) {
    int failed = FINE;
    const double scale = 1 / (*temperature * (double)noises);
    const real power = (real)(1 / *temperature);
    const int how = *temperature == 1 ? PLAIN : *temperature == 0.5 ? SQUARED : RAISED;
#pragma omp parallel num_threads(threads)
    {
        real *mass = memory((3 * categories + 2 * EACH) * sizeof(real));
        real *relaxed = mass + categories, *room = relaxed + categories;
        if (mass == NULL) failed = NO_MEMORY;
#pragma omp for schedule(static)
        for (int64_t row = 0; row < rows; row++) {
            if (mass == NULL) continue;
            const real *own = logits + row * categories;
            exponentials_of(own, categories, largest_of(own, categories), row + 1 == rows, mass);
            const real factor = (real)(1 / sum_of(mass, categories));
            for (int64_t c = 0; c < categories; c++) mass[c] *= factor;
            real *result = out + row * categories;
            memset(result, 0, categories * sizeof(real));
            for (int64_t point = 0; point < points; point++) {
                const int64_t at = point * rows + row, id = indices[at];
                if (!is_category(id, categories)) {
                    failed = NO_CATEGORY;
                    continue;
                }
                for (int64_t one = 0; one < noises; one++) {
                    const int64_t from = (one * points * rows + at) * categories;
                    const real *drawn =
                        noise ? noise + from : uniforms_of((uint64_t)*seed, from, categories, room);
                    const real *own_slopes = slopes + at * categories;
                    if (how == PLAIN)
                        pull_back(mass, drawn, own_slopes, categories, id, scale, power, PLAIN, relaxed, result);
                    else if (how == SQUARED)
                        pull_back(mass, drawn, own_slopes, categories, id, scale, power, SQUARED, relaxed, result);
                    else
                        pull_back(mass, drawn, own_slopes, categories, id, scale, power, RAISED, relaxed, result);
                }
            }
        }
        free(mass);
    }
    return failed;
}
