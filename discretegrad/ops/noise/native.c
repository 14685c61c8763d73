/* Uniform noise from a seed, for whoever takes it as numbers. */

#include "counter.h"

/* See `make_uniform`. */
int uniform(double *wide, real *out, int64_t count, int64_t seed, int64_t threads) {
    make_uniform(wide, out, count, seed, threads);
    return FINE;
}
