/* Antithetic pairs on any fixed tree: drawn by a walk down its masses, and their gradient. See README.md.

   Nodes are numbered as a walk visits them, a node before its left subtree and that before the right one: the left child
   of `n` is `n + 1`, its right child `right[n]`, 0 of a leaf. Below it are the positions `[low[n], high[n])`. Masses are
   sums from below, in double, so that a light subtree keeps its digits beside a heavy one, and a subtree has mass 0 only
   if all its leaves have: a walk that never enters such a one draws nothing impossible, however it is rounded. */

#include "../native.h"

/* The sum over each node of LANES rows, `[nodes, LANES]`, from those of the leaves, `[C, LANES]`. */
static inline void sums_below(const real *RESTRICT leaf, const int32_t *right, const int32_t *low, int64_t nodes,
                              double *mass) {
    for (int64_t node = nodes - 1; node >= 0; node--) {
        double *own = mass + node * LANES;
        if (right[node] == 0) {
            const real *one = leaf + (int64_t)low[node] * LANES;
            for (int lane = 0; lane < LANES; lane++) own[lane] = one[lane];
        } else {
            const double *one = own + LANES, *two = mass + (int64_t)right[node] * LANES;
            for (int lane = 0; lane < LANES; lane++) own[lane] = one[lane] + two[lane];
        }
    }
}

/* The leaf below `node` that a threshold in [0, mass of the node) falls to; `mass` is that of the root, in one lane. */
static inline int64_t descend(const int32_t *right, const double *mass, int64_t node, double threshold) {
    while (right[node]) {
        const double left = mass[(node + 1) * LANES];
        /* Without branches, which nobody could predict. */
        const int goes_right = (threshold >= left) & (mass[right[node] * (int64_t)LANES] > 0);
        threshold = goes_right ? threshold - left : threshold;
        node = goes_right ? right[node] : node + 1;
    }
    return node;
}

static inline int64_t position_of(const int16_t *order, int64_t categories, int64_t id) {
    if (order == NULL) return id;
    for (int64_t position = 0; position < categories; position++)
        if (order[position] == id) return position;
    return 0;
}

/* Draw pairs, or, without noise, look at those whose ids are given.

   `parted[pairs, rows]`: twice the node where the two paths part, and one more if the first point goes to the right there;
   -1 where they do not. `ratio[pairs, rows]`: `p(z1) p(z2) / r(z1, z2)`, 0 where they do not part or never do so. */
int pairs(const real *logits, const int16_t *order, const int32_t *right, const int32_t *low, const real *noise,
          int64_t *indices, int32_t *parted, real *ratio, int64_t rows, int64_t categories, int64_t order_stride,
          int64_t pairs, int64_t threads) {
    int failed = FINE;
    const int64_t nodes = 2 * categories - 1, each = pairs * rows;
#pragma omp parallel num_threads(threads)
    {
        double *masses = memory((nodes * sizeof(double) + categories * sizeof(real)) * LANES);
        real *leaf = (real *)(masses + nodes * LANES);
        if (masses == NULL) failed = NO_MEMORY;
#pragma omp for schedule(static)
        for (int64_t start = 0; start < rows; start += LANES) {
            if (masses == NULL) continue;
            masses_of(logits, order, order_stride, start, rows, categories, leaf);
            sums_below(leaf, right, low, nodes, masses);
            for (int64_t row = start; row < rows && row < start + LANES; row++) {
                const double *mass = masses + (row - start);
                const int16_t *category_at = order == NULL ? NULL : order + row * order_stride;
                for (int64_t pair = 0; pair < pairs; pair++) {
                    const int64_t own_pair = pair * rows + row;
                    int64_t *one = indices + 2 * pair * rows + row, *two = one + rows;
                    int64_t first = 0, second = 0;
                    double threshold = 0, to_part = 0;
                    if (noise != NULL) {
                        threshold = noise[own_pair] * mass[0];
                        to_part = noise[each + own_pair];
                    } else {
                        first = position_of(category_at, categories, *one);
                        second = position_of(category_at, categories, *two);
                    }
                    int64_t node = 0, other_node = 0;
                    int32_t where = -1;
                    double together = 1, other_mass = 0, weight = 0;
                    while (right[node]) {
                        const int64_t to_right = right[node];
                        const double left = mass[(node + 1) * LANES], rest = mass[to_right * LANES];
                        const int goes_right = noise != NULL ? (threshold >= left) & (rest > 0) : first >= low[to_right];
                        const double own = goes_right ? rest : left, other = goes_right ? left : rest;
                        /* Into a heavier child the second point follows with probability 1 - lighter / heavier, into a
                           lighter one never. */
                        const double follows = own > other ? together * ((own - other) / own) : 0;
                        const int parts = noise != NULL ? to_part >= follows && other > 0
                                                        : (second >= low[to_right]) != goes_right;
                        if (parts) {
                            where = (int32_t)(2 * node + goes_right);
                            other_node = goes_right ? node + 1 : to_right;
                            other_mass = other;
                            const double heavier = own > other ? own : other;
                            weight = together > 0 && own > 0 && other > 0 ? heavier / mass[0] / together : 0;
                            threshold = goes_right ? threshold - left : threshold;
                            node = goes_right ? to_right : node + 1;
                            break;
                        }
                        together = other > 0 ? follows : together;
                        threshold = goes_right ? threshold - left : threshold;
                        node = goes_right ? to_right : node + 1;
                    }
                    parted[own_pair] = where;
                    ratio[own_pair] = (real)weight;
                    if (noise == NULL) continue;
                    first = low[descend(right, mass, node, threshold)];
                    second = first;
                    if (where >= 0)
                        second = low[descend(right, mass, other_node, noise[2 * each + own_pair] * other_mass)];
                    *one = category_at == NULL ? first : category_at[first];
                    *two = category_at == NULL ? second : category_at[second];
                }
            }
        }
        free(masses);
    }
    return failed;
}

/* `out[rows, C]`, see `Pairs.gradient`; `differences[pairs, groups]` and `others[2 pairs, others_groups]` as in
   `score/native.c`, `others` NULL for zero. The masses of the children where a pair parts are scaled by the largest of
   their own leaves, so that they do not underflow. */
int gradient(const real *logits, const int16_t *order, const int32_t *right, const int32_t *low, const int32_t *high,
             const int64_t *indices, const int32_t *parted, const real *differences, const real *others, real *out,
             int64_t rows, int64_t categories, int64_t order_stride, int64_t pairs, int64_t groups, int64_t shared_by,
             int64_t others_groups, int64_t others_shared_by, int64_t threads) {
    int failed = FINE;
#pragma omp parallel num_threads(threads)
    {
        real *mass = memory(categories * sizeof(real));
        if (mass == NULL) failed = NO_MEMORY;
#pragma omp for schedule(static)
        for (int64_t row = 0; row < rows; row++) {
            if (mass == NULL) continue;
            const real *logit = logits + row * categories;
            const int16_t *category_at = order == NULL ? NULL : order + row * order_stride;
            real *sum = out + row * categories;
            memset(sum, 0, categories * sizeof(real));
            for (int64_t pair = 0; pair < pairs; pair++) {
                const int64_t *one = indices + 2 * pair * rows + row, *two = one + rows;
                if (!is_category(*one, categories) || !is_category(*two, categories)) {
                    failed = NO_CATEGORY;
                    continue;
                }
                if (others != NULL) {
                    const real *extra = others + 2 * pair * others_groups + row / others_shared_by;
                    sum[*one] += extra[0];
                    sum[*two] += extra[others_groups];
                }
                const int32_t where = parted[pair * rows + row];
                if (where < 0) continue;
                const real difference = differences[pair * groups + row / shared_by];
                const int64_t node = where >> 1;
                const int64_t from = low[node], middle = low[right[node]], to = high[node];
                /* Whole vectors, into what is not looked at: the rest of a loop is done number by number. */
                const int64_t begin = from / LANES * LANES, padded = (to + LANES - 1) / LANES * LANES;
                const int64_t end = padded < categories ? padded : categories;
                const real *leaf = logit;
                if (category_at != NULL) {
                    for (int64_t c = begin; c < end; c++) mass[c] = logit[category_at[c]];
                    leaf = mass;
                }
                real largest = leaf[from], left = 0, rest = 0;
#pragma omp simd reduction(max : largest)
                for (int64_t c = from; c < to; c++) largest = leaf[c] > largest ? leaf[c] : largest;
                largest = largest == -INFINITY ? 0 : largest;
                for (int64_t c = begin; c < end; c++) mass[c] = exp_of(leaf[c] - largest);
#pragma omp simd reduction(+ : left)
                for (int64_t c = from; c < middle; c++) left += mass[c];
#pragma omp simd reduction(+ : rest)
                for (int64_t c = middle; c < to; c++) rest += mass[c];
                /* The lighter one's share of both, spread over each child: divided by what is not small. */
                const real shared = left + rest > 0 ? (where & 1 ? -difference : difference) / (left + rest) : 0;
                const real of_left = left > rest ? -shared * (rest / left) : -shared;
                const real of_rest = rest > left ? shared * (left / rest) : shared;
                if (category_at == NULL) {
                    for (int64_t c = from; c < middle; c++) sum[c] += of_left * mass[c];
                    for (int64_t c = middle; c < to; c++) sum[c] += of_rest * mass[c];
                } else {
                    for (int64_t c = from; c < middle; c++) sum[category_at[c]] += of_left * mass[c];
                    for (int64_t c = middle; c < to; c++) sum[category_at[c]] += of_rest * mass[c];
                }
                sum[*one] += difference;
                sum[*two] -= difference;
            }
        }
        free(mass);
    }
    return failed;
}
