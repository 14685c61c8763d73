/* Nearly distinct pairs: drawn, and their minimum-norm weights. See README.md.

   A row at a time, in blocks of BLOCK categories, whose sums are kept in double: a draw looks for its block first. What is
   kept of a row, in one scratch for each thread, are exponentials, of which the heaviest category's, 1, is left out, so that
   nothing of the others is lost beside it; and in their place, once the law is solved for, what the second point is drawn
   from. */

#include "../native.h"

enum {
    BLOCK = 32, /* as many as an integer has bits */
    /* Categories of more than 1 / LIGHT are heavy: there are fewer than LIGHT of them. */
    LIGHT = 32,
    /* Of the series of b for the others, whose relative error is below 8^-TERMS / 2 / TERMS. */
    TERMS = sizeof(real) == 8 ? 16 : 8,
};

/* 1, 1, 2, 5, ...: of (1 - sqrt(1 - 4x)) / 2x. */
static const double CATALAN[] = {1,    1,    2,     5,     14,     42,     132,     429,
                                 1430, 4862, 16796, 58786, 208012, 742900, 2674440, 9694845};

#define ROOT(x) _Generic((real)0, float: sqrtf, double: sqrt)(x)

/* The law of a row's pairs; probabilities are masses over `total`. */
typedef struct {
    real largest;
    int64_t heaviest;
    double total, t, sigma;
} Law;

static inline double total_of(const double *sums, int64_t blocks) {
    double totals[4] = {0}, total = 0;
    int64_t block = 0;
    for (; block + 4 <= blocks; block += 4)
        for (int k = 0; k < 4; k++) totals[k] += sums[block + k];
    for (; block < blocks; block++) total += sums[block];
    return total + ((totals[0] + totals[1]) + (totals[2] + totals[3]));
}

/* Put another mass in the place of one, and return the sum of its block as it was. */
static inline double put(real *mass, double *sums, int64_t at, double value) {
    const double before = sums[at / BLOCK];
    sums[at / BLOCK] += (real)value - (double)mass[at];
    mass[at] = (real)value;
    return before;
}

static inline void put_back(real *mass, double *sums, int64_t at, real value, double sum) {
    mass[at] = value;
    sums[at / BLOCK] = sum;
}

/* The first category whose cumulative sum is above `noise` times the total; the last possible one of its block, or of all,
   where sums in another sequence were rounded otherwise. */
static int64_t find(const real *mass, const double *sums, int64_t blocks, double noise) {
    const double threshold = noise * total_of(sums, blocks);
    double below = 0;
    int64_t block = 0, found = -1;
    while (block < blocks - 1 && below + sums[block] <= threshold) below += sums[block++];
    for (int64_t c = block * BLOCK; c < (block + 1) * BLOCK; c++) {
        below += mass[c];
        found = mass[c] > 0 ? c : found;
        if (below > threshold) break;
    }
    if (found < 0)
        for (found = blocks * BLOCK - 1; !(mass[found] > 0); found--);
    return found;
}

/* Of a block, the categories of which `condition` holds for the numbers `p`, as bits of `bits`. */
#define WHERE(bits, from, condition)                                       \
    do {                                                                   \
        wholes found = {0}, bit;                                           \
        for (int lane = 0; lane < IN_REALS; lane++) bit[lane] = (whole)1 << lane; \
        for (int at = 0; at < BLOCK; at += IN_REALS, bit <<= IN_REALS) {   \
            reals p;                                                       \
            memcpy(&p, (from) + at, sizeof(reals));                        \
            found |= (condition) & bit;                                    \
        }                                                                  \
        whole all = 0;                                                     \
        for (int lane = 0; lane < IN_REALS; lane++) all |= found[lane];    \
        bits = (uint32_t)all;                                              \
    } while (0)

/* The first category with this logit; 0 if there is none, of NaN. */
static int64_t place_of(const real *row, int64_t categories, real logit) {
    int64_t c = 0;
    for (; c + BLOCK <= categories; c += BLOCK) {
        uint32_t bits;
        WHERE(bits, row + c, p == logit);
        if (bits) return c + __builtin_ctz(bits);
    }
    for (; c < categories; c++)
        if (row[c] == logit) return c;
    return 0;
}

/* Exponentials in whole blocks, 0 behind the last category and at the heaviest, and the sums of the blocks. */
static Law masses_of(const real *row, int64_t categories, int is_last, real *mass, double *sums) {
    const int64_t blocks = (categories + BLOCK - 1) / BLOCK;
    Law law = {.largest = largest_of(row, categories)};
    law.heaviest = place_of(row, categories, law.largest);
    exponentials_of(row, categories, law.largest, is_last, mass);
    memset(mass + categories, 0, (blocks * BLOCK - categories) * sizeof(real));
    law.total = mass[law.heaviest]; /* 1; or 0 or NaN, of which there are no probabilities */
    mass[law.heaviest] = 0;
    for (int64_t block = 0; block < blocks; block++) sums[block] = sum_of(mass + block * BLOCK, BLOCK);
    law.sigma = total_of(sums, blocks); /* so far */
    law.total += law.sigma;
    return law;
}

/* Sums of powers of the light categories' probabilities, `power[k]` of the (k + 1)st; the heavy ones one by one. */
static int moments(const real *mass, int64_t blocks, double total, double power[TERMS], double *heavy) {
    const real scale = (real)(1 / total), most = (real)1 / LIGHT;
    reals sums[TERMS] = {0};
    int count = 0;
    for (int64_t block = 0; block < blocks; block++) {
        const real *own = mass + block * BLOCK;
        for (int at = 0; at < BLOCK; at += IN_REALS) {
            reals p;
            memcpy(&p, own + at, sizeof(reals));
            p *= scale;
            p = CHOOSE(p > most, (reals){0}, p);
            reals raised = p;
#pragma GCC unroll 16
            for (int k = 1; k < TERMS; k++) sums[k] += raised *= p;
        }
        uint32_t bits;
        WHERE(bits, own, p * scale > most);
        for (; bits && count < LIGHT; bits &= bits - 1) heavy[count++] = own[__builtin_ctz(bits)] * scale;
    }
    for (int k = 1; k < TERMS; k++) {
        doubles all = {0};
        for (int at = 0; at < IN_REALS; at += IN_DOUBLES) all += in_double((real *)&sums[k] + at);
        power[k] = all_of(all);
    }
    return count;
}

/* `t`, from masses without the heaviest category's: Newton's method on v = 1 - sqrt(1 - 4 p t) of the second heaviest. */
static void solve(const real *mass, int64_t blocks, Law *law) {
    const double others = law->sigma / law->total, top = 1 / law->total, gap = (law->sigma - 1) / law->total;
    if (!(gap > 0)) return; /* the star, t = 0 */
    double power[TERMS], heavy[LIGHT + IN_DOUBLES];
    const int count = moments(mass, blocks, law->total, power, heavy);
    double second = count ? 0 : 1.0 / LIGHT, squares = top * top + power[1], cubes = top * top * top + power[2];
    power[0] = others;
    for (int at = 0; at < count; at++) {
        second = heavy[at] > second ? heavy[at] : second;
        squares += heavy[at] * heavy[at];
        cubes += heavy[at] * heavy[at] * heavy[at];
        power[0] -= heavy[at];
    }
    memset(heavy + count, 0, IN_DOUBLES * sizeof(double));
    /* To begin with, A^2 = 1 + sum a^2 with the first two terms of a. */
    const double first = 1 / (1 + squares), start = 4 * second / (1 + first * (squares + 2 * first * cubes));
    double low = 0, high = 1, v = start < 1 ? start / (1 + sqrt(1 - start)) : 1;
    for (int step = 0; step < 100; step++) {
        const double u = 1 - v;
        law->t = v * (2 - v) / (4 * second);
        double square = 0, slope = 0; /* the sum of b^2; that of u db/dt */
        for (int k = TERMS - 1; k > 0; k--) {
            square = square * law->t + CATALAN[k] * power[k];
            slope = slope * law->t + k * CATALAN[k] * power[k];
        }
        double sigma = power[0] + law->t * square;
        slope *= u;
        doubles sums[3] = {0};
        for (int at = 0; at < count; at += IN_DOUBLES) {
            doubles p;
            Doubles root;
            memcpy(&p, heavy + at, sizeof(doubles));
            const doubles rest = 1 - 4 * law->t * p;
            root.vectors[0] = CHOOSE(rest > 0, rest, (doubles){0});
            for (int lane = 0; lane < IN_DOUBLES; lane++) root.lanes[lane] = sqrt(root.lanes[lane]);
            /* u / root is at most 1, with equality at the second heaviest. */
            const doubles above = CHOOSE(root.vectors[0] > u, root.vectors[0], (doubles){0} + u);
            const doubles b = 2 * p / (1 + root.vectors[0]), more = b * b;
            sums[0] += b;
            sums[1] += more;
            sums[2] += CHOOSE(above > 0, more * u / above, more);
        }
        for (int lane = 0; lane < IN_DOUBLES; lane++) {
            sigma += sums[0][lane];
            square += sums[1][lane];
            slope += sums[2][lane];
        }
        const double excess = gap + law->t * (square - sigma * sigma);
        const double rise = (u * sigma * sigma - slope * (1 - 2 * sigma * law->t)) / (2 * second);
        if (excess > 0)
            low = v;
        else
            high = v;
        double next = v + excess / rise;
        if (!(next >= low && next <= high)) next = (low + high) / 2;
        const double moved = next > v ? next - v : v - next;
        v = next;
        if (moved <= (sizeof(real) == 8 ? 1e-8 : 2e-4) * v) break; /* about the square of that is left */
    }
    law->t = v * (2 - v) / (4 * second);
}

/* b, in place of the masses, times the total; `sigma` is theirs. */
static void take_b(real *mass, double *sums, int64_t blocks, Law *law) {
    if (law->t > 0) {
        const real factor = (real)(4 * law->t / law->total);
        for (int64_t block = 0; block < blocks; block++) {
            real *own = mass + block * BLOCK;
            for (int c = 0; c < BLOCK; c++) {
                const real rest = 1 - factor * own[c];
                own[c] = 2 * own[c] / (1 + ROOT(rest > 0 ? rest : 0));
            }
            sums[block] = sum_of(own, BLOCK);
        }
    }
    law->sigma = total_of(sums, blocks) / law->total;
}

/* From b: p = b (1 - b t). */
static inline real rho_of(const Law *law, const real *mass, int64_t id) {
    return (real)(id == law->heaviest ? law->sigma * law->t : 1 - law->t * mass[id] / law->total);
}

/* Draw pairs, from uniform `noise[2, pairs, rows]`. `kept[2 + 2 pairs, rows]`: the largest logit, the sum of the exponentials
   of what logits are below it, and rho at each of `indices[2 pairs, rows]`. `mask[rows]` or NULL: rows that are off get 0. */
int distinct_pairs(const real *logits, const double *noise, const uint8_t *mask, int64_t *indices, real *kept, int64_t rows,
                   int64_t categories, int64_t pairs, int64_t threads) {
    int failed = FINE;
    const int64_t blocks = (categories + BLOCK - 1) / BLOCK;
#pragma omp parallel num_threads(threads)
    {
        double *sums = memory(blocks * (sizeof(double) + BLOCK * sizeof(real)));
        real *mass = (real *)(sums + blocks);
        if (sums == NULL) failed = NO_MEMORY;
#pragma omp for schedule(static)
        for (int64_t row = 0; row < rows; row++) {
            if (sums == NULL) continue;
            const real *own = logits + row * categories;
            const int off = !is_on(mask, row);
            Law law = {0};
            if (!off) law = masses_of(own, categories, row + 1 == rows, mass, sums);
            if (!(law.total > 0)) {
                if (!off) failed = NO_PROBABILITIES;
                for (int64_t point = 0; point < 2 * pairs; point++) indices[point * rows + row] = 0;
                for (int64_t at = 0; at < 2 + 2 * pairs; at++) kept[at * rows + row] = 0;
                continue;
            }
            /* The first points. Beside the heaviest category of more than a half it comes again, with what is left. */
            const double beside = 1 > law.sigma ? 1 - law.sigma : 0;
            solve(mass, blocks, &law);
            double sum = put(mass, sums, law.heaviest, 1);
            for (int64_t pair = 0; pair < pairs; pair++)
                indices[2 * pair * rows + row] = find(mass, sums, blocks, noise[pair * rows + row]);
            put_back(mass, sums, law.heaviest, 0, sum);
            take_b(mass, sums, blocks, &law);
            const double left = 1 < law.sigma * law.total ? 1 / law.sigma / law.total : 1;
            for (int64_t pair = 0; pair < pairs; pair++) {
                const int64_t first = indices[2 * pair * rows + row];
                int64_t second = law.heaviest;
                const double drawn = noise[(pairs + pair) * rows + row];
                if (first == law.heaviest) {
                    sum = put(mass, sums, first, beside);
                    second = find(mass, sums, blocks, drawn);
                    put_back(mass, sums, first, 0, sum);
                } else if (law.t > 0) {
                    const real own_b = mass[first];
                    const double own_sum = put(mass, sums, first, 0);
                    sum = put(mass, sums, law.heaviest, left / law.t * law.total);
                    second = find(mass, sums, blocks, drawn);
                    put_back(mass, sums, law.heaviest, 0, sum);
                    put_back(mass, sums, first, own_b, own_sum);
                }
                indices[(2 * pair + 1) * rows + row] = second;
            }
            kept[row] = law.largest;
            kept[rows + row] = (real)law.total;
            for (int64_t point = 0; point < 2 * pairs; point++)
                kept[(2 + point) * rows + row] = rho_of(&law, mass, indices[point * rows + row]);
        }
        free(sums);
    }
    return failed;
}

/* `out[rows, C] = sum_s coefficients_s rho_s (e_s - p) + sum_s others_s e_s`, without the others where they are NULL.

   `coefficients[points, groups]`, of which `shared_by` rows one after the other share each, and `others` alike. `kept` is as
   above; where it is NULL the law is solved for again. */
int distinct_flow(const real *logits, const int64_t *indices, const real *coefficients, const real *others,
                  const real *kept, const uint8_t *mask, real *out, int64_t rows, int64_t categories, int64_t points,
                  int64_t groups, int64_t shared_by, int64_t threads) {
    int failed = FINE;
    const int64_t blocks = (categories + BLOCK - 1) / BLOCK;
#pragma omp parallel num_threads(threads)
    {
        double *sums = kept == NULL ? memory(blocks * (sizeof(double) + BLOCK * sizeof(real))) : NULL;
        real *mass = (real *)(sums + blocks);
        if (kept == NULL && sums == NULL) failed = NO_MEMORY;
#pragma omp for schedule(static)
        for (int64_t row = 0; row < rows; row++) {
            if (kept == NULL && sums == NULL) continue;
            const real *own = logits + row * categories;
            real *result = out + row * categories;
            if (!is_on(mask, row)) {
                memset(result, 0, categories * sizeof(real));
                continue;
            }
            int there = 1;
            for (int64_t point = 0; point < points; point++) there &= is_category(indices[point * rows + row], categories);
            if (!there) {
                failed = NO_CATEGORY;
                continue;
            }
            Law law = {0};
            if (kept == NULL) {
                law = masses_of(own, categories, row + 1 == rows, mass, sums);
                solve(mass, blocks, &law);
                take_b(mass, sums, blocks, &law);
            } else {
                law.largest = kept[row];
                law.total = kept[rows + row];
            }
            const int64_t group = row / shared_by;
            double moved = 0;
            for (int64_t point = 0; point < points; point++) {
                const int64_t id = indices[point * rows + row];
                const real rho = kept == NULL ? rho_of(&law, mass, id) : kept[(2 + point) * rows + row];
                moved += (double)coefficients[point * groups + group] * rho;
            }
            const real factor = (real)(-moved / law.total);
            if (factor == 0)
                memset(result, 0, categories * sizeof(real));
            else
                for (int64_t c = 0; c < categories; c++) result[c] = factor * exp_of(own[c] - law.largest);
            for (int64_t point = 0; point < points; point++) {
                const int64_t id = indices[point * rows + row];
                const real rho = kept == NULL ? rho_of(&law, mass, id) : kept[(2 + point) * rows + row];
                result[id] += coefficients[point * groups + group] * rho;
                if (others != NULL) result[id] += others[point * groups + group];
            }
        }
        free(sums);
    }
    return failed;
}
