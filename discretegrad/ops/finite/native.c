/* Whether all numbers are finite. */

#include "../native.h"

int all_finite(const real *numbers, int64_t count, int64_t threads) {
    enum { EACH = 4096 };
    /* The bits of the exponent: all set in infinities and NaN only. */
    const whole exponent = sizeof(real) == 4 ? (whole)0x7f800000 : (whole)0x7ff0000000000000;
    int found = FINE;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t start = 0; start < count; start += EACH) {
        const int64_t end = start + EACH < count ? start + EACH : count;
        whole any = 0;
        for (int64_t at = start; at < end; at++) {
            whole bits;
            memcpy(&bits, numbers + at, sizeof(real));
            any |= (bits & exponent) == exponent;
        }
        if (any) found = NOT_FINITE;
    }
    return found;
}
