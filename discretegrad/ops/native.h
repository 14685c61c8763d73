/* What the C kernels share. `REAL` is float or double, and comes from the command line: one library for each.

   Rows of categories are taken LANES at a time and laid out category by category, `[C, LANES]`. A loop over the lanes
   is then a vector instruction whatever is done along the categories: sums one after the other, walks, searches. */

#pragma once

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define LANES 16
#define RESTRICT __restrict__

typedef REAL real;
/* Integers as wide: counting in them does not wait for the count before, as an addition of floats does. */
typedef __typeof__(_Generic((real)0, float: (int32_t)0, double: (int64_t)0)) whole;

/* Vectors as wide as the processor has them: what stays in them from one category to the next stays in registers, while
   arrays of all lanes would go through memory. LANES are one vector or several. Comparisons give integers, 0 or -1. */
#ifdef __AVX512F__
#define BYTES 64
#pragma GCC target("prefer-vector-width=512")
#else
#define BYTES 32
#endif
typedef real reals __attribute__((vector_size(BYTES)));
typedef whole wholes __attribute__((vector_size(BYTES)));
typedef double doubles __attribute__((vector_size(BYTES)));
typedef int64_t longs __attribute__((vector_size(BYTES)));
#define IN_REALS (BYTES / (int)sizeof(real))
#define IN_DOUBLES (BYTES / 8)
#define OF_REALS (LANES / IN_REALS)
#define OF_DOUBLES (LANES / IN_DOUBLES)
typedef union {
    reals vectors[OF_REALS];
    real lanes[LANES];
} Reals;
typedef union {
    wholes vectors[OF_REALS];
    whole lanes[LANES];
} Wholes;
typedef union {
    doubles vectors[OF_DOUBLES];
    double lanes[LANES];
} Doubles;
typedef union {
    longs vectors[OF_DOUBLES];
    int64_t lanes[LANES];
} Longs;
#define CHOOSE(condition, one, other) \
    ((__typeof__(one))(((__typeof__(condition))(one) & (condition)) | ((__typeof__(condition))(other) & ~(condition))))

/* e^x for x <= 80, as a loop over it is vectorised: 2^n e^r with |r| < 0.35. Below the normal range of REAL it is 0; NaN
   stays. Added and taken off again, `magic` rounds to an integer, which is then, with the exponent's bias, in the last bits. */
static inline real exp_of(real x) {
    const int wide = sizeof(real) == 8;
    const real magic = wide ? 0x1.8p52 + 1023 : 0x1.8p23 + 127;
    const real shifted = x * (real)1.4426950408889634 + magic, n = shifted - magic;
    /* ln 2 in two parts, the first of them so short that n times it is exact. */
    real r = x - n * (real)(wide ? 0x1.62e42feep-1 : 0x1.62e4p-1);
    r -= n * (real)(wide ? 0x1.a39ef35793c76p-33 : 0x1.7f7d1cf79abcap-20);
    real p;
    if (wide) { /* Taylor's series */
        p = (real)(1.0 / 6227020800.0);
        p = p * r + (real)(1.0 / 479001600.0);
        p = p * r + (real)(1.0 / 39916800.0);
        p = p * r + (real)(1.0 / 3628800.0);
        p = p * r + (real)(1.0 / 362880.0);
        p = p * r + (real)(1.0 / 40320.0);
        p = p * r + (real)(1.0 / 5040.0);
        p = p * r + (real)(1.0 / 720.0);
        p = p * r + (real)(1.0 / 120.0);
        p = p * r + (real)(1.0 / 24.0);
        p = p * r + (real)(1.0 / 6.0);
        p = p * r + (real)0.5;
    } else { /* a term less: of the least relative error, 3e-9 */
        p = (real)0x1.6a23cep-10;
        p = p * r + (real)0x1.123a2p-7;
        p = p * r + (real)0x1.5558f2p-5;
        p = p * r + (real)0x1.555492p-3;
        p = p * r + (real)0x1.fffffcp-2;
    }
    p = p * r + (real)1.0;
    p = p * r + (real)1.0;
    __typeof__(_Generic((real)0, float: (uint32_t)0, double: (uint64_t)0)) last;
    real power;
    memcpy(&last, &shifted, sizeof(real));
    last <<= wide ? 52 : 23;
    memcpy(&power, &last, sizeof(real));
    p *= power;
    return x < (wide ? (real)-708 : (real)-87) ? 0 : p;
}

/* log(2^n (1 + f)) = n log 2 + 2 artanh s, s = f / (2 + f), of |s| < 0.172. */
static inline real log_from(real n, real f) {
    const int wide = sizeof(real) == 8;
    const real s = f / (2 + f), square = s * s;
    real sum = 0;
    if (wide) {
        sum = sum * square + (real)(1.0 / 21);
        sum = sum * square + (real)(1.0 / 19);
        sum = sum * square + (real)(1.0 / 17);
        sum = sum * square + (real)(1.0 / 15);
        sum = sum * square + (real)(1.0 / 13);
        sum = sum * square + (real)(1.0 / 11);
    }
    sum = sum * square + (real)(1.0 / 9);
    sum = sum * square + (real)(1.0 / 7);
    sum = sum * square + (real)(1.0 / 5);
    sum = sum * square + (real)(1.0 / 3);
    /* log 2 in two parts, the first of them so short that n times it is exact. */
    const real low = n * (real)(wide ? 0x1.a39ef35793c76p-33 : 0x1.7f7d1cf79abcap-20) + 2 * s * (sum * square);
    return n * (real)(wide ? 0x1.62e42feep-1 : 0x1.62e4p-1) + (2 * s + low);
}

/* x = 2^n (1 + f), 1 + f within a root of 2 of 1, of normal x > 0: n is returned. */
static inline real exponent_of(real x, real *f) {
    const int wide = sizeof(real) == 8;
    const whole root = wide ? (whole)0x3fe6a09e667f3bcd : (whole)0x3f3504f3; /* the bits of the root of a half */
    whole bits;
    memcpy(&bits, &x, sizeof(real));
    const whole n = (bits - root) >> (wide ? 52 : 23);
    bits = ((bits - root) & (((whole)1 << (wide ? 52 : 23)) - 1)) + root;
    memcpy(&x, &bits, sizeof(real));
    *f = x - 1;
    return (real)n;
}

/* log x of x > 0, as a loop over it is vectorised; minus infinity of what is below the normal range of REAL. */
static inline real log_of(real x) {
    real f;
    const real n = exponent_of(x, &f), found = log_from(n, f);
    return x < (sizeof(real) == 8 ? (real)0x1p-1022 : (real)0x1p-126) ? -INFINITY : found;
}

/* log(1 + x) of x >= -1, to all digits where x is small. */
static inline real log1p_of(real x) {
    real f;
    const real n = exponent_of(1 + x, &f), found = log_from(n, n == 0 ? x : f);
    return x == -1 ? -INFINITY : found;
}

/* A standard exponential from uniform noise on [0, 1), of which 0 stands for all below the least other one. */
static inline real arrival_of(real noise) { return -log1p_of(noise < (real)0x1p-54 ? (real)-0x1p-54 : -noise); }

/* Four numbers from each of four places, to four others: the first of all, the second, and so on. */
typedef real quad __attribute__((vector_size(4 * sizeof(real))));
typedef whole of_quad __attribute__((vector_size(4 * sizeof(real))));
#ifdef __clang__
#define SHUFFLE(a, b, i, j, k, l) __builtin_shufflevector(a, b, i, j, k, l)
#else
#define SHUFFLE(a, b, i, j, k, l) __builtin_shuffle(a, b, (of_quad){i, j, k, l})
#endif
static inline void turn(const real *const from[4], real *const to[4]) {
    quad row[4];
    for (int k = 0; k < 4; k++) memcpy(&row[k], from[k], sizeof(quad));
    const quad one = SHUFFLE(row[0], row[1], 0, 4, 1, 5), two = SHUFFLE(row[0], row[1], 2, 6, 3, 7);
    const quad three = SHUFFLE(row[2], row[3], 0, 4, 1, 5), four = SHUFFLE(row[2], row[3], 2, 6, 3, 7);
    const quad turned[4] = {SHUFFLE(one, three, 0, 1, 4, 5), SHUFFLE(one, three, 2, 3, 6, 7),
                            SHUFFLE(two, four, 0, 1, 4, 5), SHUFFLE(two, four, 2, 3, 6, 7)};
    for (int k = 0; k < 4; k++) memcpy(to[k], &turned[k], sizeof(quad));
}

/* LANES rows from `row` on, laid out `[C, LANES]`. Behind the last row it is read again. */
static inline void to_lanes(const real *RESTRICT table, int64_t row, int64_t rows, int64_t categories,
                            real *RESTRICT lanes) {
    for (int lane = 0; lane < LANES; lane += 4) {
        int64_t own[4];
        for (int k = 0; k < 4; k++) own[k] = row + lane + k < rows ? row + lane + k : rows - 1;
        int64_t c = 0;
        for (; c + 4 <= categories; c += 4) {
            const real *from[4];
            real *to[4];
            for (int k = 0; k < 4; k++) from[k] = table + own[k] * categories + c;
            for (int k = 0; k < 4; k++) to[k] = lanes + (c + k) * LANES + lane;
            turn(from, to);
        }
        for (; c < categories; c++)
            for (int k = 0; k < 4; k++) lanes[c * LANES + lane + k] = table[own[k] * categories + c];
    }
}

/* And back. */
static inline void from_lanes(const real *RESTRICT lanes, int64_t row, int64_t rows, int64_t categories,
                              real *RESTRICT table) {
    for (int lane = 0; lane < LANES && row + lane < rows; lane += 4) {
        int64_t c = 0;
        if (row + lane + 4 <= rows)
            for (; c + 4 <= categories; c += 4) {
                const real *from[4];
                real *to[4];
                for (int k = 0; k < 4; k++) from[k] = lanes + (c + k) * LANES + lane;
                for (int k = 0; k < 4; k++) to[k] = table + (row + lane + k) * categories + c;
                turn(from, to);
            }
        for (; c < categories; c++)
            for (int k = 0; k < 4 && row + lane + k < rows; k++)
                table[(row + lane + k) * categories + c] = lanes[c * LANES + lane + k];
    }
}

/* Unnormalised probabilities of LANES rows `[C, LANES]`, the largest of each 1; in place of their logits too. Returns those
   largest, 0 where a row has none, so that they may be taken off. */
static inline Reals exponentials(const real *logits, int64_t categories, real *mass) {
    const reals *at = (const reals *)logits;
    Reals largest;
    for (int k = 0; k < OF_REALS; k++) largest.vectors[k] = at[k];
    for (int64_t c = 1; c < categories; c++)
        for (int k = 0; k < OF_REALS; k++) {
            const reals one = at[c * OF_REALS + k];
            largest.vectors[k] = CHOOSE(one > largest.vectors[k], one, largest.vectors[k]);
        }
    for (int lane = 0; lane < LANES; lane++)
        largest.lanes[lane] = largest.lanes[lane] == -INFINITY ? 0 : largest.lanes[lane];
    for (int64_t c = 0; c < categories; c++)
#pragma GCC ivdep
        for (int lane = 0; lane < LANES; lane++)
            mass[c * LANES + lane] = exp_of(logits[c * LANES + lane] - largest.lanes[lane]);
    return largest;
}

/* What a kernel returns; see `native.py`. */
enum { FINE, NO_MEMORY, NO_CATEGORY, NO_PROBABILITIES };

/* Whether the sums of LANES rows are above 0: of NaN they are not either. */
static inline int sound(const double *total) {
    int all = 1;
    for (int lane = 0; lane < LANES; lane++) all &= total[lane] > 0;
    return all;
}

/* Whether a row takes part. */
static inline int is_on(const uint8_t *mask, int64_t row) { return mask == NULL || mask[row]; }

/* Rows one after the other that share numbers; a division a row would take as long as all else that is done with a short
   one. */
typedef struct {
    int64_t number, end; /* `end` is the first row behind */
} Group;

/* Whether a row, of rows that come one after the other, is the first one in its group, or the first one at all. */
static inline int enters_group(Group *group, int64_t row, int64_t shared_by) {
    if (row < group->end) return 0;
    group->number = row / shared_by;
    group->end = (group->number + 1) * shared_by;
    return 1;
}

static inline int is_category(int64_t id, int64_t categories) { return id >= 0 && id < categories; }

/* Numbers of `lanes` of LANES rows, and back; nearly always of all, for which a copy is one instruction. */
static inline void copy(void *RESTRICT to, const void *RESTRICT from, int lanes, int64_t bytes) {
    if (lanes == LANES)
        memcpy(to, from, LANES * bytes);
    else
        memcpy(to, from, lanes * bytes);
}

/* The largest of a row; 0 where that is minus infinity, so that it may be taken off. NaN is passed over. */
static inline real largest_of(const real *row, int64_t count) {
    reals one, most[4];
    real largest = -INFINITY;
    for (int k = 0; k < 4; k++) most[k] = (reals){0} - INFINITY;
    int64_t c = 0;
    for (; c + 4 * IN_REALS <= count; c += 4 * IN_REALS)
        for (int k = 0; k < 4; k++) {
            memcpy(&one, row + c + k * IN_REALS, sizeof(reals));
            most[k] = CHOOSE(one > most[k], one, most[k]);
        }
    for (; c < count; c++) largest = row[c] > largest ? row[c] : largest;
    for (int k = 1; k < 4; k++) most[0] = CHOOSE(most[k] > most[0], most[k], most[0]);
    for (int lane = 0; lane < IN_REALS; lane++) largest = most[0][lane] > largest ? most[0][lane] : largest;
    return largest == -INFINITY ? 0 : largest;
}

/* Ask for numbers that are read soon, while there is something else to do: what comes from afar is waited for otherwise. */
static inline void fetch_row(const real *row, int64_t count) {
    for (int64_t c = 0; c < count; c += 64 / (int64_t)sizeof(real)) __builtin_prefetch(row + c);
}

#define TILE 512 /* categories whose exponentials are made before they are summed up */

/* Unnormalised probabilities of a row, the largest 1; in place too. Meanwhile the row behind it is asked for, if any is. */
static inline void exponentials_of(const real *row, int64_t categories, real largest, int is_last, real *mass) {
    for (int64_t start = 0; start < categories; start += TILE) {
        const int64_t end = start + TILE < categories ? start + TILE : categories;
#pragma GCC ivdep
        for (int64_t c = start; c < end; c++) mass[c] = exp_of(row[c] - largest);
        if (!is_last) fetch_row(row + categories + start, end - start);
    }
}

/* Numbers that lie side by side, in double; told one by one, for GCC converts vectors half by half. */
static inline doubles in_double(const real *numbers) {
#if BYTES == 64
    return (doubles){numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5], numbers[6], numbers[7]};
#else
    return (doubles){numbers[0], numbers[1], numbers[2], numbers[3]};
#endif
}

static inline double all_of(doubles some) {
#if BYTES == 64
    return ((some[0] + some[1]) + (some[2] + some[3])) + ((some[4] + some[5]) + (some[6] + some[7]));
#else
    return (some[0] + some[1]) + (some[2] + some[3]);
#endif
}

/* The sum of some numbers, in double. */
static inline double sum_of(const real *numbers, int64_t count) {
    doubles sums[4] = {0};
    int64_t c = 0;
    for (; c + 4 * IN_DOUBLES <= count; c += 4 * IN_DOUBLES)
        for (int k = 0; k < 4; k++) sums[k] += in_double(numbers + c + k * IN_DOUBLES);
    double total = 0;
    for (; c < count; c++) total += numbers[c];
    return total + all_of((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

/* Each lane's own row of a table `[rows, LANES]`. */
static inline __attribute__((always_inline)) Doubles rows_of(const Doubles *table, Longs rows) {
    const double *numbers = (const double *)table;
    Doubles found;
#pragma omp simd /* so that it is not unrolled before it can become a gather */
    for (int lane = 0; lane < LANES; lane++) found.lanes[lane] = numbers[rows.lanes[lane] * LANES + lane];
    return found;
}

/* What will be read of `count` rows of a table: half of the noise was made by another processor, and is slow to come. */
static inline void fetch(const double *table, int64_t columns, int64_t count) {
    for (int64_t at = 0; at < count; at++) __builtin_prefetch(table + at * columns);
}

static inline void *memory(int64_t bytes) { return aligned_alloc(64, (bytes + 63) / 64 * 64); }
