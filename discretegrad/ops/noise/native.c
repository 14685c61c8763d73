/* Uniform noise from a counter. */

#include "counter.h"

/* `wide[count]`, uniform on the multiples of 2^-53 in [0, 1); or, where that is NULL, `out[count]`: the same, rounded down
   to the digits of REAL. */
int uniform(double *wide, real *out, int64_t count, int64_t seed, int64_t threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t block = 0; block < (count + EACH - 1) / EACH; block++) {
        const int64_t here = count - block * EACH < EACH ? count - block * EACH : EACH;
        if (wide != NULL) {
            double numbers[EACH];
            uniforms((uint64_t)seed, block, numbers);
            memcpy(wide + block * EACH, numbers, here * sizeof(double));
        } else {
            real rounded[EACH];
            rounded_uniforms((uint64_t)seed, block, rounded);
            memcpy(out + block * EACH, rounded, here * sizeof(real));
        }
    }
    return FINE;
}
