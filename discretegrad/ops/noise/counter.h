/* Uniform noise from a counter: Threefry4x32-20 (Salmon, Moraes, Dror, Shaw 2011, "Parallel random numbers: as easy as
   1, 2, 3"), which is made of additions, rotations and exclusive ors, LANES counters at a time. A number depends on the
   seed and its place alone, so that a kernel may make those it needs where they are used. */

#pragma once

#include "../native.h"

enum { EACH = 2 * LANES }; /* numbers of LANES counters */

typedef uint32_t word __attribute__((vector_size(LANES * 4)));

static inline word rotated(word all, int bits) { return all << bits | all >> (32 - bits); }

/* The four words of LANES counters, from four words of each; the key is the seed. */
static inline void threefry(uint64_t seed, word x[4]) {
    static const int bits[8][2] = {{10, 26}, {11, 21}, {13, 27}, {23, 5}, {6, 20}, {17, 11}, {25, 10}, {18, 20}};
    const uint32_t low = (uint32_t)seed, high = (uint32_t)(seed >> 32), key[5] = {low, high, 0, 0, 0x1BD11BDA ^ low ^ high};
    for (int k = 0; k < 4; k++) x[k] += key[k];
#pragma GCC unroll 20
    for (int round = 0; round < 20; round++) {
        const int second = round % 2 ? 3 : 1, fourth = 4 - second;
        x[0] += x[second];
        x[second] = rotated(x[second], bits[round % 8][0]) ^ x[0];
        x[2] += x[fourth];
        x[fourth] = rotated(x[fourth], bits[round % 8][1]) ^ x[2];
        if (round % 4 == 3) {
            const int turn = (round + 1) / 4;
            for (int k = 0; k < 4; k++) x[k] += key[(turn + k) % 5];
            x[3] += (uint32_t)turn;
        }
    }
}

typedef int32_t halves __attribute__((vector_size(IN_DOUBLES * 4)));
typedef real narrow __attribute__((vector_size(IN_DOUBLES * sizeof(real))));

/* The numbers of a block, uniform on the multiples of 2^-53 in [0, 1), times 2^53. */
static inline void wholes_of(uint64_t seed, int64_t block, doubles numbers[EACH / IN_DOUBLES]) {
    word drawn[4] = {0};
    for (int lane = 0; lane < LANES; lane++) {
        const uint64_t counter = (uint64_t)block * LANES + lane;
        drawn[0][lane] = (uint32_t)counter;
        drawn[1][lane] = (uint32_t)(counter >> 32);
    }
    threefry(seed, drawn);
    for (int at = 0; at < 2; at++) {
        /* Half numbers of 27 and 26 bits are converted in 32. */
        const word high = drawn[2 * at] >> 5, low = drawn[2 * at + 1] >> 6;
        for (int part = 0; part < OF_DOUBLES; part++) {
            halves one, two;
            memcpy(&one, (const char *)&high + part * sizeof(halves), sizeof(halves));
            memcpy(&two, (const char *)&low + part * sizeof(halves), sizeof(halves));
            numbers[at * OF_DOUBLES + part] =
                __builtin_convertvector(one, doubles) * 0x1p26 + __builtin_convertvector(two, doubles);
        }
    }
}

static inline void uniforms(uint64_t seed, int64_t block, double out[EACH]) {
    doubles numbers[EACH / IN_DOUBLES];
    wholes_of(seed, block, numbers);
    for (int k = 0; k < EACH / IN_DOUBLES; k++) {
        const doubles scaled = numbers[k] * 0x1p-53;
        memcpy(out + k * IN_DOUBLES, &scaled, sizeof(doubles));
    }
}

/* The same, rounded down to the digits of REAL, so that float numbers near 0 keep their resolution. */
static inline void rounded_uniforms(uint64_t seed, int64_t block, real out[EACH]) {
    doubles numbers[EACH / IN_DOUBLES];
    wholes_of(seed, block, numbers);
    for (int k = 0; k < EACH / IN_DOUBLES; k++) {
        const longs bits = (longs)numbers[k] & (sizeof(real) == 4 ? ~(int64_t)0x1fffffff : ~(int64_t)0);
        const narrow scaled = __builtin_convertvector((doubles)bits, narrow) * (real)0x1p-53;
        memcpy(out + k * IN_DOUBLES, &scaled, sizeof(narrow));
    }
}

/* Numbers `from` to `from + count` of a seed, somewhere in `room` for EACH numbers more at either end. */
static inline const real *uniforms_of(uint64_t seed, int64_t from, int64_t count, real *room) {
    const int64_t first = from / EACH;
    for (int64_t block = first; block * EACH < from + count; block++)
        rounded_uniforms(seed, block, room + (block - first) * EACH);
    return room + (from - first * EACH);
}

/* `wide[count]`, uniform on the multiples of 2^-53 in [0, 1); or, where that is NULL, `out[count]`: the same, rounded down
   to the digits of REAL. */
static inline void make_uniform(double *wide, real *out, int64_t count, int64_t seed, int64_t threads) {
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
}

/* Noise that is made from a seed where it is needed; NULL where there is no memory. */
static inline double *noise_from(int64_t seed, int64_t count, int64_t threads) {
    double *made = memory(count * (int64_t)sizeof(double));
    if (made != NULL) make_uniform(made, NULL, count, seed, threads);
    return made;
}
