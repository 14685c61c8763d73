/* The law of two points of a Dirichlet copula, in steps that grow with C; see README.md. For REAL double alone.

   Edges u of intervals are kept as x = u^(1/m) - 1/2, so that P(U_1 <= u, U_2 <= v) = relu(x + y)^m. */

#include "../native.h"

typedef struct {
    real low, high;
} Interval;

/* A point of one row: where its interval is while another rank c is an end, `first[c]` of c behind it, `last[c]` of c before
   it. Other ends leave it where it stands. */
typedef struct {
    int64_t rank;
    real own;
    Interval stands, begins, ends;
    real *first_low, *first_high, *last_low, *last_high;
} Point;

#define INLINE static inline __attribute__((always_inline))

INLINE real root(real u, int64_t power) {
    return (power == 1 ? u : power == 2 ? (real)__builtin_sqrt(u) : exp_of(log_of(u) / (real)power)) - (real)0.5;
}

INLINE real raised(real sum, int64_t power) {
    const real base = sum > 0 ? sum : 0;
    real result = base;
    for (int64_t k = 1; k < power; k++) result *= base;
    return result;
}

INLINE real rectangle(Interval a, Interval b, int64_t power) {
    const real inner = raised(a.high + b.high, power) - raised(a.low + b.high, power);
    const real outer = raised(a.high + b.low, power) - raised(a.low + b.low, power);
    return inner > outer ? inner - outer : 0;
}

/* P(U_1 <= a, U_2 > 1 - b), to relative accuracy. */
static inline real corner(real a, real b, int64_t power) {
    if (power == 1) return a < b ? a : b;
    const double gap = -expm1(log1p(-(double)b) / power), edge = pow((double)a, 1.0 / power);
    const double share = gap < edge ? gap / edge : 1;
    return a > 0 ? (real)(-(double)a * expm1(power * log1p(-share))) : 0;
}

INLINE Interval interval(real lower, real own, int64_t power) {
    const real upper = lower + own;
    return (Interval){root(lower, power), root(upper < 1 ? upper : 1, power)};
}

/* From the masses in ascending order, and their sums up to each. */
INLINE void place(Point *point, const real *RESTRICT mass, real lower, int64_t categories, int64_t power) {
    const real own = mass[point->rank], highest = 1 - own;
    real *RESTRICT first_low = point->first_low, *RESTRICT first_high = point->first_high;
    real *RESTRICT last_low = point->last_low, *RESTRICT last_high = point->last_high;
    const real stands = lower < highest ? lower : highest;
    point->own = own;
    point->begins = interval(0, own, power);
    point->ends = interval(highest, own, power);
    point->stands = interval(stands, own, power);
    for (int64_t c = point->rank + 1; c < categories; c++) {
        const real moved = lower + mass[c], low = moved < highest ? moved : highest, high = low + own;
        first_low[c] = root(low, power);
        first_high[c] = root(high < 1 ? high : 1, power);
    }
    for (int64_t c = 0; c < point->rank; c++) {
        const real moved = lower - mass[c], above = moved > 0 ? moved : 0, low = above < highest ? above : highest;
        const real high = low + own;
        last_low[c] = root(low, power);
        last_high[c] = root(high < 1 ? high : 1, power);
    }
}

/* `sums[k][i]`, the sums of x^k over `from <= i' < i`, for i up to `to`. */
static void powers_of(const real *x, int64_t from, int64_t to, int64_t power, int64_t categories, real *sums) {
    for (int64_t k = 0; k <= power; k++) {
        real *own = sums + k * (categories + 1);
        own[from] = 0;
    }
    for (int64_t i = from; i < to; i++) {
        real term = 1;
        for (int64_t k = 0; k <= power; k++, term *= x[i]) {
            real *own = sums + k * (categories + 1);
            own[i + 1] = own[i] + term;
        }
    }
}

/* The sum of (x_i + y)^m over `start <= i < end`, by the binomial in the manner of Horner. */
INLINE real power_sum(const real *sums, int64_t start, int64_t end, real y, int64_t power, int64_t categories) {
    real total = 0, binomial = 1;
    for (int64_t k = 0; k <= power; k++) {
        const real *own = sums + k * (categories + 1);
        total = total * y + binomial * (own[end] - own[start]);
        binomial = binomial * (real)(power - k) / (real)(k + 1);
    }
    return total;
}

/* Over a < i < j < b of the rectangles of a moved by i as the first end and b moved by j as the last one. */
INLINE real crossed(const Point *a, const Point *b, int64_t categories, int64_t power, real *sums) {
    const int64_t from = a->rank + 1, to = b->rank;
    real total = 0;
    for (int side = 0; side < 2; side++) {
        const real *x = side ? a->first_low : a->first_high;
        powers_of(x, from, to, power, categories, sums);
        int64_t above_high = from, above_low = from; /* where x + y is positive: y falls with j */
        real own = 0;
        for (int64_t j = from + 1; j < to; j++) {
            const real high = b->last_high[j], low = b->last_low[j];
            while (above_high < j && !(x[above_high] + high > 0)) above_high++;
            while (above_low < j && !(x[above_low] + low > 0)) above_low++;
            own += power_sum(sums, above_high, j, high, power, categories) -
                   power_sum(sums, above_low, j, low, power, categories);
        }
        total += side ? -own : own;
    }
    return total > 0 ? total : 0;
}

/* The sum over all orders, of two points of ranks a <= b. */
INLINE real over_orders(const Point *a, const Point *b, int64_t categories, int64_t power, real *sums) {
    const int64_t one = a->rank, other = b->rank, behind = categories - 1 - other;
    const real *RESTRICT a_first_low = a->first_low, *RESTRICT a_first_high = a->first_high;
    const real *RESTRICT a_last_low = a->last_low, *RESTRICT a_last_high = a->last_high;
    const real *RESTRICT b_first_low = b->first_low, *RESTRICT b_first_high = b->first_high;
    const real *RESTRICT b_last_low = b->last_low, *RESTRICT b_last_high = b->last_high;
    const Interval a_stands = a->stands, b_stands = b->stands, begins = a->begins, ends = b->ends;
    real total = 0;
#pragma omp simd reduction(+ : total)
    for (int64_t c = 1; c < one; c++) { /* the last end is before both */
        const Interval moved = {a_last_low[c], a_last_high[c]}, beside = {b_last_low[c], b_last_high[c]};
        total += (real)c * rectangle(moved, beside, power);
    }
#pragma omp simd reduction(+ : total)
    for (int64_t c = other + 1; c < categories; c++) { /* the first or the last end is behind both */
        const Interval moved = {a_first_low[c], a_first_high[c]}, beside = {b_first_low[c], b_first_high[c]};
        total += (real)(categories - 1 - c) * rectangle(moved, beside, power);
    }
    total += (real)(one * behind) * rectangle(a_stands, b_stands, power);
    if (one == other) {
        total += (real)one * rectangle(a->ends, ends, power);
        return total + (real)behind * rectangle(begins, begins, power);
    }
    const Interval moved_by_a = {b_last_low[one], b_last_high[one]}, moved_by_b = {a_first_low[other], a_first_high[other]};
    total += (real)one * (rectangle(a->ends, moved_by_a, power) + rectangle(a_stands, ends, power));
    total += (real)behind * (rectangle(begins, b_stands, power) + rectangle(moved_by_b, b->begins, power));
#pragma omp simd reduction(+ : total)
    for (int64_t c = one + 1; c < other; c++) {
        const Interval by_first = {a_first_low[c], a_first_high[c]}, by_last = {b_last_low[c], b_last_high[c]};
        total += (real)one * rectangle(a_stands, by_last, power) + rectangle(begins, by_last, power);
        total += (real)behind * rectangle(by_first, b_stands, power) + rectangle(by_first, ends, power);
    }
    return total + corner(a->own, b->own, power) + crossed(a, b, categories, power, sums);
}

INLINE void laws_of(Point *points, const real *mass, const real *before, const int64_t *pairs, int64_t count, real *out,
                    int64_t rows, int64_t categories, int64_t size, int64_t power, real *sums) {
    for (int64_t point = 0; point < size; point++)
        place(points + point, mass, before[points[point].rank], categories, power);
    for (int64_t pair = 0; pair < count; pair++) {
        const Point *one = points + pairs[2 * pair], *other = points + pairs[2 * pair + 1];
        const int sorted = one->rank <= other->rank;
        const real law = over_orders(sorted ? one : other, sorted ? other : one, categories, power, sums);
        out[pair * rows] = law * 2 / ((real)categories * (real)(categories - 1));
    }
}

/* `out[count, rows]`, the law of pairs `pairs[count, 2]` of points `indices[size, rows]`; `ranking[rows, C]`, the categories
   from the rarest on; C of at least 2. */
int copula_pairs(const real *probs, const int64_t *ranking, const int64_t *indices, const int64_t *pairs, real *out,
                 int64_t rows, int64_t categories, int64_t size, int64_t count, int64_t power, int64_t threads) {
    int failed = FINE;
    const int64_t each = categories + 1; /* of an array */
#pragma omp parallel num_threads(threads)
    {
        real *mass = memory(((3 + 4 * size + power) * each) * sizeof(real));
        int64_t *rank = memory(categories * sizeof(int64_t));
        Point *points = memory(size * sizeof(Point));
        const int there = mass != NULL && rank != NULL && points != NULL;
        real *before = mass + each, *sums = before + each;
        if (!there) failed = NO_MEMORY;
        for (int64_t point = 0; there && point < size; point++) {
            real *own = sums + (power + 1 + 4 * point) * each;
            points[point] = (Point){.first_low = own,
                                    .first_high = own + each,
                                    .last_low = own + 2 * each,
                                    .last_high = own + 3 * each};
        }
#pragma omp for schedule(static)
        for (int64_t row = 0; row < rows; row++) {
            if (!there) continue;
            real total = 0;
            for (int64_t c = 0; c < categories; c++) {
                const int64_t id = ranking[row * categories + c];
                rank[id] = c;
                mass[c] = probs[row * categories + id];
                total += mass[c];
                before[c] = total - mass[c];
            }
            int inside = 1;
            for (int64_t point = 0; point < size; point++) {
                const int64_t id = indices[point * rows + row];
                inside &= is_category(id, categories);
                points[point].rank = inside ? rank[id] : 0;
            }
            if (!inside) {
                failed = NO_CATEGORY;
                continue;
            }
            if (power == 1)
                laws_of(points, mass, before, pairs, count, out + row, rows, categories, size, 1, sums);
            else if (power == 2)
                laws_of(points, mass, before, pairs, count, out + row, rows, categories, size, 2, sums);
            else if (power == 3)
                laws_of(points, mass, before, pairs, count, out + row, rows, categories, size, 3, sums);
            else
                laws_of(points, mass, before, pairs, count, out + row, rows, categories, size, power, sums);
        }
        free(mass);
        free(rank);
        free(points);
    }
    return failed;
}
