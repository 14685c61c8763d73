/* Antithetic pairs on any fixed tree: drawn by a walk down its masses, and their gradient. See README.md.

   Nodes are numbered as a walk visits them, a node before its left subtree and that before the right one: the left
   child of `n` is `n + 1`, its right child `right[n]`, 0 of a leaf. Below it are the positions `[low[n], high[n])`.
   Masses are sums from below, in double, so that a light subtree keeps its digits beside a heavy one, and a subtree has
   mass 0 only if all its leaves have: a walk that never enters such a one draws nothing impossible, however it is rounded. */

#include "../native.h"

/* The sum over each node of LANES rows, `[nodes, LANES]`, from those of the leaves, `[C, LANES]`. */
static inline void sums_below(const real *leaf, const int32_t *right, const int32_t *low, int64_t nodes,
                              Doubles *mass) {
    for (int64_t node = nodes - 1; node >= 0; node--)
        if (right[node] == 0)
            for (int lane = 0; lane < LANES; lane++) mass[node].lanes[lane] = leaf[(int64_t)low[node] * LANES + lane];
        else
            for (int k = 0; k < OF_DOUBLES; k++)
                mass[node].vectors[k] = mass[node + 1].vectors[k] + mass[right[node]].vectors[k];
}

static inline int64_t position_of(const int16_t *order, int64_t categories, int64_t id) {
    if (order == NULL) return id;
    for (int64_t position = 0; position < categories; position++)
        if (order[position] == id) return position;
    return 0;
}

static inline int any(longs condition) {
    int64_t found = 0;
    for (int lane = 0; lane < IN_DOUBLES; lane++) found |= condition[lane];
    return found != 0;
}

/* The paths of LANES pairs. */
typedef struct {
    /* The nodes that the points are at; the second one's is -1 as long as it is the first one's. */
    Longs first, second;
    /* What they fall to: uniform in [0, mass of its node), or, of points that are given, their positions. */
    Doubles at_first, at_second;
    /* Uniform: the second point leaves where this is not below the probability that it has followed so far. */
    Doubles leaves, together;
    /* Twice the node where they part, and one more if the first point goes to the right there; -1 where they do not. */
    Longs parted;
    /* The mass of the heavier child there; 0 where one of both has none. */
    Doubles heavier;
} Paths;

/* All nodes in the order of a walk, for all lanes at once: a lane takes part where its path is at the node. A walk of
   each lane by itself would visit fewer, but branch at each of them in a way that nobody can predict. */
static inline __attribute__((always_inline)) void walk(Paths *paths, const int32_t *right, const int32_t *low,
                                                       int64_t nodes, const Doubles *mass, int drawn) {
    Paths at = *paths; /* for the compiler to keep in registers */
    const doubles zero = {0};
    const longs none = {0};
    for (int64_t node = 0; node < nodes; node++) {
        if (right[node] == 0) continue;
        const Doubles *left = mass + node + 1, *rest = mass + right[node];
        const longs go_left = none + (node + 1), go_right = none + right[node];
        const double middle = low[right[node]];
        longs here[OF_DOUBLES], to[OF_DOUBLES], joint = none;
        for (int k = 0; k < OF_DOUBLES; k++) {
            const longs possible = rest->vectors[k] > zero;
            here[k] = at.first.vectors[k] == node;
            to[k] = drawn ? (at.at_first.vectors[k] >= left->vectors[k]) & possible : at.at_first.vectors[k] >= middle;
            joint |= here[k] & (at.parted.vectors[k] < 0);
            if (!drawn) continue;
            const longs second_here = at.second.vectors[k] == node;
            const longs second_to = (at.at_second.vectors[k] >= left->vectors[k]) & possible;
            at.at_second.vectors[k] -= CHOOSE(second_here & second_to, left->vectors[k], zero);
            at.second.vectors[k] = CHOOSE(second_here, CHOOSE(second_to, go_right, go_left), at.second.vectors[k]);
        }
        for (int k = 0; k < OF_DOUBLES && any(joint); k++) {
            const longs both = here[k] & (at.parted.vectors[k] < 0);
            const doubles own = CHOOSE(to[k], rest->vectors[k], left->vectors[k]);
            const doubles other = CHOOSE(to[k], left->vectors[k], rest->vectors[k]);
            const longs possible = other > zero, heavy = own > other;
            /* Into a heavier child the second point follows with probability 1 - lighter / heavier, into a lighter one
               never. */
            const doubles follows = at.together.vectors[k] * CHOOSE(heavy, (own - other) / own, zero);
            const longs parts = both & (drawn ? ~(at.leaves.vectors[k] < follows) & possible
                                              : (at.at_second.vectors[k] >= middle) ^ to[k]);
            at.parted.vectors[k] = CHOOSE(parts, 2 * node - to[k], at.parted.vectors[k]);
            at.heavier.vectors[k] =
                CHOOSE(parts & possible & (own > zero), CHOOSE(heavy, own, other), at.heavier.vectors[k]);
            at.together.vectors[k] = CHOOSE(both & ~parts & possible, follows, at.together.vectors[k]);
            if (!drawn) continue;
            at.second.vectors[k] = CHOOSE(parts, CHOOSE(to[k], go_left, go_right), at.second.vectors[k]);
            at.at_second.vectors[k] *= CHOOSE(parts, other, zero + 1);
        }
        for (int k = 0; k < OF_DOUBLES; k++) {
            if (drawn) at.at_first.vectors[k] -= CHOOSE(here[k] & to[k], left->vectors[k], zero);
            at.first.vectors[k] = CHOOSE(here[k], CHOOSE(to[k], go_right, go_left), at.first.vectors[k]);
        }
    }
    *paths = at;
}

/* Draw pairs, or, without noise, look at those whose ids are given.

   `parted[pairs, rows]`: twice the node where the two paths part, and one more if the first point goes to the right
   there; -1 where they do not. `ratio[pairs, rows]`: `p(z1) p(z2) / r(z1, z2)`, 0 where they do not part or never do so. */
int pairs(const real *logits, const int16_t *order, const int32_t *right, const int32_t *low, const real *noise,
          int64_t *indices, int32_t *parted, real *ratio, int64_t rows, int64_t categories, int64_t order_stride,
          int64_t pairs, int64_t threads) {
    int failed = FINE;
    const int64_t nodes = 2 * categories - 1, each = pairs * rows;
#pragma omp parallel num_threads(threads)
    {
        Doubles *mass = memory(nodes * sizeof(Doubles) + categories * LANES * sizeof(real));
        real *leaf = (real *)(mass + nodes);
        if (mass == NULL) failed = NO_MEMORY;
#pragma omp for schedule(static)
        for (int64_t row = 0; row < rows; row += LANES) {
            if (mass == NULL) continue;
            const int lanes = rows - row < LANES ? (int)(rows - row) : LANES;
            masses_of(logits, order, order_stride, row, rows, categories, leaf);
            sums_below(leaf, right, low, nodes, mass);
            for (int64_t pair = 0; pair < pairs; pair++) {
                int64_t *one = indices + 2 * pair * rows + row, *two = one + rows;
                const int64_t own = pair * rows + row;
                Paths at = {0};
                for (int k = 0; k < OF_DOUBLES; k++) {
                    at.second.vectors[k] -= 1;
                    at.parted.vectors[k] -= 1;
                    at.together.vectors[k] += 1;
                }
                if (noise != NULL) {
                    for (int lane = 0; lane < lanes; lane++) {
                        at.at_first.lanes[lane] = noise[own + lane];
                        at.leaves.lanes[lane] = noise[each + own + lane];
                        at.at_second.lanes[lane] = noise[2 * each + own + lane];
                    }
                    for (int k = 0; k < OF_DOUBLES; k++) at.at_first.vectors[k] *= mass->vectors[k];
                    walk(&at, right, low, nodes, mass, 1);
                } else {
                    for (int lane = 0; lane < lanes; lane++) {
                        const int16_t *category_at = order == NULL ? NULL : order + (row + lane) * order_stride;
                        at.at_first.lanes[lane] = position_of(category_at, categories, one[lane]);
                        at.at_second.lanes[lane] = position_of(category_at, categories, two[lane]);
                    }
                    walk(&at, right, low, nodes, mass, 0);
                }
                for (int lane = 0; lane < lanes; lane++) {
                    const double share = at.heavier.lanes[lane] / mass->lanes[lane];
                    const double together = at.together.lanes[lane];
                    ratio[own + lane] = (real)(together > 0 ? share / together : 0);
                    parted[own + lane] = (int32_t)at.parted.lanes[lane];
                    if (noise == NULL) continue;
                    const int16_t *category_at = order == NULL ? NULL : order + (row + lane) * order_stride;
                    const int64_t first = low[at.first.lanes[lane]];
                    const int64_t second = at.parted.lanes[lane] < 0 ? first : low[at.second.lanes[lane]];
                    one[lane] = category_at == NULL ? first : category_at[first];
                    two[lane] = category_at == NULL ? second : category_at[second];
                }
            }
        }
        free(mass);
    }
    return failed;
}

/* Add the gradient of LANES rows' pairs where their paths part, as if their points had no one-hots: `sum[C, LANES]`, by
   position. `mass` is room for as much again.

   The masses of the children are scaled by the largest of their own leaves, so that they do not underflow. */
static inline void spread(const reals *logit, int64_t categories, const Wholes *from, const Wholes *middle,
                          const Wholes *to, const Reals *difference, reals *mass, reals *sum) {
    const reals zero = {0}, least = zero - INFINITY;
    Reals largest, left = {0}, rest = {0};
    whole start = (whole)categories, end = 0;
    for (int lane = 0; lane < LANES; lane++) {
        start = from->lanes[lane] < start ? from->lanes[lane] : start;
        end = to->lanes[lane] > end ? to->lanes[lane] : end;
        largest.lanes[lane] = -INFINITY;
    }
    for (whole c = start; c < end; c++)
        for (int k = 0; k < OF_REALS; k++) {
            const reals one = CHOOSE((from->vectors[k] <= c) & (to->vectors[k] > c), logit[c * OF_REALS + k], least);
            mass[c * OF_REALS + k] = one;
            largest.vectors[k] = CHOOSE(one > largest.vectors[k], one, largest.vectors[k]);
        }
    for (int k = 0; k < OF_REALS; k++)
        largest.vectors[k] = CHOOSE(largest.vectors[k] == least, zero, largest.vectors[k]);
    real *RESTRICT each = (real *)mass;
    for (whole c = start; c < end; c++)
        for (int lane = 0; lane < LANES; lane++)
            each[c * LANES + lane] = exp_of(each[c * LANES + lane] - largest.lanes[lane]);
    for (whole c = start; c < end; c++)
        for (int k = 0; k < OF_REALS; k++) {
            const wholes is_left = middle->vectors[k] > c;
            left.vectors[k] += CHOOSE(is_left, mass[c * OF_REALS + k], zero);
            rest.vectors[k] += CHOOSE(is_left, zero, mass[c * OF_REALS + k]);
        }
    for (int k = 0; k < OF_REALS; k++) {
        /* The lighter one's share of both, spread over each child: divided by what is not small. */
        const reals total = left.vectors[k] + rest.vectors[k];
        const wholes heavy = left.vectors[k] > rest.vectors[k], some = total > zero;
        const reals lighter = CHOOSE(heavy, rest.vectors[k], left.vectors[k]), one = zero + 1;
        const reals ratio = lighter / CHOOSE(some, total - lighter, one);
        const reals shared = CHOOSE(some, difference->vectors[k], zero) / CHOOSE(some, total, one);
        left.vectors[k] = -shared * CHOOSE(heavy, ratio, one);
        rest.vectors[k] = shared * CHOOSE(heavy, one, ratio);
    }
    for (whole c = start; c < end; c++)
        for (int k = 0; k < OF_REALS; k++)
            sum[c * OF_REALS + k] +=
                CHOOSE(middle->vectors[k] > c, left.vectors[k], rest.vectors[k]) * mass[c * OF_REALS + k];
}

/* `out[rows, C]`, see `Pairs.gradient`; `differences[pairs, groups]` and `others[2 pairs, others_groups]` as in
   `score/native.c`, `others` NULL for zero. */
int gradient(const real *logits, const int16_t *order, const int32_t *right, const int32_t *low, const int32_t *high,
             const int64_t *indices, const int32_t *parted, const real *differences, const real *others, real *out,
             int64_t rows, int64_t categories, int64_t order_stride, int64_t pairs, int64_t groups, int64_t shared_by,
             int64_t others_groups, int64_t others_shared_by, int64_t threads) {
    int failed = FINE;
#pragma omp parallel num_threads(threads)
    {
        const int64_t size = categories * OF_REALS;
        reals *logit = memory(3 * size * sizeof(reals)), *mass = logit + size, *sum = mass + size;
        if (logit == NULL) failed = NO_MEMORY;
#pragma omp for schedule(static)
        for (int64_t row = 0; row < rows; row += LANES) {
            if (logit == NULL) continue;
            const int lanes = rows - row < LANES ? (int)(rows - row) : LANES;
            to_lanes(logits, order, order_stride, row, rows, categories, (real *)logit);
            memset(sum, 0, size * sizeof(reals));
            for (int64_t pair = 0; pair < pairs; pair++) {
                Wholes from = {0}, middle = {0}, to = {0};
                Reals difference = {0};
                for (int lane = 0; lane < lanes; lane++) {
                    const int32_t where = parted[pair * rows + row + lane], node = where >> 1;
                    if (where < 0) continue;
                    const real own = differences[pair * groups + (row + lane) / shared_by];
                    difference.lanes[lane] = where & 1 ? -own : own;
                    from.lanes[lane] = low[node];
                    middle.lanes[lane] = low[right[node]];
                    to.lanes[lane] = high[node];
                }
                spread(logit, categories, &from, &middle, &to, &difference, mass, sum);
            }
            from_lanes((real *)sum, order, order_stride, row, rows, categories, out);
            for (int64_t pair = 0; pair < pairs; pair++)
                for (int64_t own = row; own < row + lanes; own++) {
                    const int64_t one = indices[2 * pair * rows + own], two = indices[(2 * pair + 1) * rows + own];
                    if (!is_category(one, categories) || !is_category(two, categories)) {
                        failed = NO_CATEGORY;
                        continue;
                    }
                    const int64_t group = 2 * pair * others_groups + (others == NULL ? 0 : own / others_shared_by);
                    const int parts = parted[pair * rows + own] >= 0;
                    const real difference = parts ? differences[pair * groups + own / shared_by] : 0;
                    out[own * categories + one] += difference + (others == NULL ? 0 : others[group]);
                    out[own * categories + two] += (others == NULL ? 0 : others[group + others_groups]) - difference;
                }
        }
        free(logit);
    }
    return failed;
}
