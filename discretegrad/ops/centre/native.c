/* The mean of values over the points, and what is left of them. */

#include "../native.h"

/* `average[count]` of `values[points, count]`, and `left[points, count]`: each value less the mean of the `others`, or, where
   that is 0, less the first one. The first one is taken off before anything is averaged, so that what is left has the
   digits of the values' differences. NO_PROBABILITIES where an average is not finite. */
int centre(const real *values, real *average, real *left, int64_t points, int64_t count, int64_t others, int64_t threads) {
    int all = 1;
    const real factor = (real)((double)points / (double)(points - 1)); /* not looked at of one point */
#pragma omp parallel for schedule(static) num_threads(threads) reduction(& : all)
    for (int64_t at = 0; at < count; at++) {
        real sum = 0, rest = 0;
        for (int64_t point = 0; point < points; point++) {
            const int64_t own = point * count + at;
            sum += values[own];
            rest += left[own] = values[own] - values[at];
        }
        average[at] = sum / (real)points;
        all &= isfinite(average[at]) != 0;
        for (int64_t point = 0; point < points && others; point++)
            left[point * count + at] = (left[point * count + at] - rest / (real)points) * factor;
    }
    return all ? FINE : NO_PROBABILITIES;
}
