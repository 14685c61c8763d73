/* What the C kernels share. `REAL` is float or double, and comes from the command line: one library for each.

   Rows of categories are taken LANES at a time and laid out category by category, `[C, LANES]`. A loop over the lanes is
   then a vector instruction whatever is done along the categories: sums one after the other, walks, searches. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define LANES 16
#define QUADS (LANES / 4)
#define RESTRICT __restrict__

typedef REAL real;
/* Integers as wide: counting in them does not wait for the count before, as an addition of floats does. */
typedef __typeof__(_Generic((real)0, float: (int32_t)0, double: (int64_t)0)) whole;

/* Four lanes at a time, for what runs along the categories: it stays in registers from one to the next, while arrays of
   all lanes would go through memory. */
typedef real quad __attribute__((vector_size(4 * sizeof(real))));
typedef double doubles __attribute__((vector_size(4 * sizeof(double))));
typedef whole flags __attribute__((vector_size(4 * sizeof(real))));

/* e^x for x <= 0, as a loop over it is vectorised: 2^n e^r with |r| < 0.35. Below the range of REAL it is 0; NaN stays.
   2^n is multiplied in two parts, for denormal results. The bound on x is put such that NaN goes by it. */
static inline real exp_of(real x) {
    const int wide = sizeof(real) == 8;
    const real lowest = wide ? -750 : -105;
    x = x < lowest ? lowest : x;
    const real magic = wide ? 0x1.8p52 : 0x1.8p23; /* added and taken off again, it rounds to an integer */
    const real n = (x * (real)1.4426950408889634 + magic) - magic;
    /* ln 2 in two parts, the first of them so short that n times it is exact. */
    real r = x - n * (real)(wide ? 0x1.62e42feep-1 : 0x1.62e4p-1);
    r -= n * (real)(wide ? 0x1.a39ef35793c76p-33 : 0x1.7f7d1cf79abcap-20);
    real p;
    if (wide) {
        p = (real)(1.0 / 6227020800.0);
        p = p * r + (real)(1.0 / 479001600.0);
        p = p * r + (real)(1.0 / 39916800.0);
        p = p * r + (real)(1.0 / 3628800.0);
        p = p * r + (real)(1.0 / 362880.0);
        p = p * r + (real)(1.0 / 40320.0);
        p = p * r + (real)(1.0 / 5040.0);
    } else {
        p = (real)(1.0 / 5040.0);
    }
    p = p * r + (real)(1.0 / 720.0);
    p = p * r + (real)(1.0 / 120.0);
    p = p * r + (real)(1.0 / 24.0);
    p = p * r + (real)(1.0 / 6.0);
    p = p * r + (real)0.5;
    p = p * r + (real)1.0;
    p = p * r + (real)1.0;
    real first, second;
    if (wide) {
        const int64_t whole = (int64_t)n, half = whole >> 1;
        const int64_t one = (half + 1023) << 52, two = (whole - half + 1023) << 52;
        memcpy(&first, &one, sizeof(real));
        memcpy(&second, &two, sizeof(real));
    } else {
        const int32_t whole = (int32_t)n, half = whole >> 1;
        const int32_t one = (half + 127) << 23, two = (whole - half + 127) << 23;
        memcpy(&first, &one, sizeof(real));
        memcpy(&second, &two, sizeof(real));
    }
    return p * first * second;
}

/* Unnormalised probabilities of LANES rows from `row` on, the largest of each 1, `[C, LANES]`. Behind the last row it is
   read again. `order` is the category at each position, of `order_stride` (0: all rows share it), or NULL. */
static inline void masses_of(const real *RESTRICT logits, const int16_t *RESTRICT order, int64_t order_stride,
                             int64_t row, int64_t rows, int64_t categories, real *RESTRICT mass) {
    for (int64_t start = 0; start < categories; start += LANES) {
        const int64_t end = start + LANES < categories ? start + LANES : categories;
        for (int lane = 0; lane < LANES; lane++) {
            const int64_t own = row + lane < rows ? row + lane : rows - 1;
            const real *logit = logits + own * categories;
            if (order == NULL)
                for (int64_t c = start; c < end; c++) mass[c * LANES + lane] = logit[c];
            else
                for (int64_t c = start; c < end; c++) mass[c * LANES + lane] = logit[order[own * order_stride + c]];
        }
    }
    const quad *at = (const quad *)mass;
    quad best[QUADS];
    for (int q = 0; q < QUADS; q++) best[q] = at[q];
    for (int64_t c = 1; c < categories; c++)
        for (int q = 0; q < QUADS; q++) {
            const quad one = at[c * QUADS + q];
            const flags more = one > best[q];
            best[q] = (quad)(((flags)one & more) | ((flags)best[q] & ~more));
        }
    real largest[LANES];
    memcpy(largest, best, sizeof(best));
    for (int lane = 0; lane < LANES; lane++) largest[lane] = largest[lane] == -INFINITY ? 0 : largest[lane];
    for (int64_t c = 0; c < categories; c++)
        for (int lane = 0; lane < LANES; lane++) mass[c * LANES + lane] = exp_of(mass[c * LANES + lane] - largest[lane]);
}

/* What a kernel returns; see `native.py`. */
enum { FINE, NO_MEMORY, NO_CATEGORY };

static inline int is_category(int64_t id, int64_t categories) { return id >= 0 && id < categories; }

static inline void *memory(int64_t bytes) { return aligned_alloc(64, (bytes + 63) / 64 * 64); }
