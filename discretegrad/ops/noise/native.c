/* Uniform noise from a counter: Threefry4x32-20 (Salmon, Moraes, Dror, Shaw 2011, "Parallel random numbers: as easy as
   1, 2, 3"), which is made of additions, rotations and exclusive ors, LANES counters at a time. */

#include "../native.h"

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

/* `wide[count]`, uniform on the multiples of 2^-53 in [0, 1); or, where that is NULL, `out[count]`: the same, rounded down
   to the digits of REAL, so that float numbers near 0 keep their resolution. */
int uniform(double *wide, real *out, int64_t count, int64_t seed, int64_t threads) {
    enum { EACH = 2 * LANES }; /* numbers of LANES counters */
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t block = 0; block < (count + EACH - 1) / EACH; block++) {
        union {
            word words[4];
            uint32_t lanes[4][LANES];
        } drawn = {0};
        double numbers[EACH];
        real rounded[EACH];
        for (int lane = 0; lane < LANES; lane++) {
            const uint64_t counter = (uint64_t)block * LANES + lane;
            drawn.lanes[0][lane] = (uint32_t)counter;
            drawn.lanes[1][lane] = (uint32_t)(counter >> 32);
        }
        threefry((uint64_t)seed, drawn.words);
        for (int at = 0; at < 2; at++)
            for (int lane = 0; lane < LANES; lane++) {
                /* Half numbers of 27 and 26 bits are converted in 32. */
                const int32_t one = (int32_t)(drawn.lanes[2 * at][lane] >> 5), two = (int32_t)(drawn.lanes[2 * at + 1][lane] >> 6);
                numbers[at * LANES + lane] = (double)one * 0x1p-27 + (double)two * 0x1p-53;
            }
        const int64_t here = count - block * EACH < EACH ? count - block * EACH : EACH;
        if (wide != NULL) {
            memcpy(wide + block * EACH, numbers, here * sizeof(double));
            continue;
        }
        for (int at = 0; at < EACH; at++) {
            int64_t bits;
            double down;
            memcpy(&bits, &numbers[at], sizeof(bits));
            bits &= sizeof(real) == 4 ? ~(int64_t)0x1fffffff : ~(int64_t)0;
            memcpy(&down, &bits, sizeof(bits));
            rounded[at] = (real)down;
        }
        memcpy(out + block * EACH, rounded, here * sizeof(real));
    }
    return FINE;
}
