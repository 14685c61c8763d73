/* Antithetic pairs on any fixed tree: drawn by a walk down its masses, and their gradient. See README.md.

   Nodes are numbered as a walk visits them, a node before its left subtree and that before the right one: the left
   child of `n` is `n + 1`, its right child `right[n]`, 0 of a leaf. Below it are the positions `[low[n], high[n])`.
   Masses are sums from below, in double, so that a light subtree keeps its digits beside a heavy one, and a subtree has
   mass 0 only if all its leaves have: a walk that never enters such a one draws nothing impossible, however it is rounded. */

#include "../order/network.h"

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
} Paths;

/* Nodes of the lanes, and the masses of their children. */
typedef struct {
    Longs node, go_left, go_right;
    Doubles left, right;
} Fork;

/* Of the lanes `here` the second point, which has parted from the first one before, falls to the left or the right. */
static inline __attribute__((always_inline)) void second_falls(Paths *at, int k, longs here, const Fork *fork) {
    const doubles zero = {0}, left = fork->left.vectors[k];
    const longs to = (at->at_second.vectors[k] >= left) & (fork->right.vectors[k] > zero);
    at->at_second.vectors[k] -= CHOOSE(here & to, left, zero);
    at->second.vectors[k] =
        CHOOSE(here, CHOOSE(to, fork->go_right.vectors[k], fork->go_left.vectors[k]), at->second.vectors[k]);
}

/* Of the lanes `here` the first point falls, and the second one follows it, or parts from it, or has done so before.

   Points that are given are where their positions are, left or right of `middle`. */
static inline __attribute__((always_inline)) void first_falls(Paths *at, const Longs *here, const Fork *fork,
                                                              double middle, int drawn) {
    const doubles zero = {0};
    longs to[OF_DOUBLES], joint = {0};
    for (int k = 0; k < OF_DOUBLES; k++) {
        const longs possible = fork->right.vectors[k] > zero;
        to[k] = drawn ? (at->at_first.vectors[k] >= fork->left.vectors[k]) & possible : at->at_first.vectors[k] >= middle;
        joint |= here->vectors[k] & (at->parted.vectors[k] < 0);
    }
    for (int k = 0; k < OF_DOUBLES && any(joint); k++) {
        const longs both = here->vectors[k] & (at->parted.vectors[k] < 0);
        const doubles own = CHOOSE(to[k], fork->right.vectors[k], fork->left.vectors[k]);
        const doubles other = CHOOSE(to[k], fork->left.vectors[k], fork->right.vectors[k]);
        const longs possible = other > zero;
        /* Into a heavier child the second point follows with probability 1 - lighter / heavier, into a lighter one never. */
        const doubles follows = at->together.vectors[k] * CHOOSE(own > other, (own - other) / own, zero);
        const longs parts = both & (drawn ? ~(at->leaves.vectors[k] < follows) & possible
                                          : (at->at_second.vectors[k] >= middle) ^ to[k]);
        at->parted.vectors[k] = CHOOSE(parts, 2 * fork->node.vectors[k] - to[k], at->parted.vectors[k]);
        at->together.vectors[k] = CHOOSE(both & ~parts & possible, follows, at->together.vectors[k]);
        if (!drawn) continue;
        const longs opposite = CHOOSE(to[k], fork->go_left.vectors[k], fork->go_right.vectors[k]);
        at->second.vectors[k] = CHOOSE(parts, opposite, at->second.vectors[k]);
        at->at_second.vectors[k] *= CHOOSE(parts, other, zero + 1);
    }
    for (int k = 0; k < OF_DOUBLES; k++) {
        const longs next = CHOOSE(to[k], fork->go_right.vectors[k], fork->go_left.vectors[k]);
        if (drawn) at->at_first.vectors[k] -= CHOOSE(here->vectors[k] & to[k], fork->left.vectors[k], zero);
        at->first.vectors[k] = CHOOSE(here->vectors[k], next, at->first.vectors[k]);
    }
}

/* All nodes in the order of a walk, for all lanes at once: a lane takes part where its path is at the node. A walk of
   each lane by itself would visit fewer, but branch at each of them in a way that nobody can predict. */
static inline __attribute__((always_inline)) void walk(Paths *paths, const int32_t *right, const int32_t *low,
                                                       int64_t nodes, const Doubles *mass, int drawn) {
    Paths at = *paths; /* for the compiler to keep in registers */
    const longs none = {0};
    for (int64_t node = 0; node < nodes; node++) {
        if (right[node] == 0) continue;
        Fork fork;
        Longs here;
        for (int k = 0; k < OF_DOUBLES; k++) {
            fork.node.vectors[k] = none + node;
            fork.go_left.vectors[k] = none + (node + 1);
            fork.go_right.vectors[k] = none + right[node];
            fork.left.vectors[k] = mass[node + 1].vectors[k];
            fork.right.vectors[k] = mass[right[node]].vectors[k];
            here.vectors[k] = at.first.vectors[k] == node;
        }
        for (int k = 0; k < OF_DOUBLES && drawn; k++) second_falls(&at, k, at.second.vectors[k] == node, &fork);
        first_falls(&at, &here, &fork, low[right[node]], drawn);
    }
    *paths = at;
}

/* Of any nodes; a leaf is its own child. */
static inline __attribute__((always_inline)) Fork fork_at(Longs node, const int32_t *right, const Doubles *mass) {
    const double *masses = (const double *)mass;
    Fork found = {.node = node};
    for (int lane = 0; lane < LANES; lane++) found.go_right.lanes[lane] = right[node.lanes[lane]];
    for (int k = 0; k < OF_DOUBLES; k++) {
        const longs inner = found.go_right.vectors[k] > 0;
        found.go_left.vectors[k] = node.vectors[k] - inner;
        found.go_right.vectors[k] = CHOOSE(inner, found.go_right.vectors[k], node.vectors[k]);
    }
    for (int lane = 0; lane < LANES; lane++) found.left.lanes[lane] = masses[found.go_left.lanes[lane] * LANES + lane];
    for (int lane = 0; lane < LANES; lane++) found.right.lanes[lane] = masses[found.go_right.lanes[lane] * LANES + lane];
    return found;
}

/* The same for points that are drawn on a bushy tree: a level deeper at a time, each lane at its own node. */
static inline __attribute__((always_inline)) void descend(Paths *paths, const int32_t *right, const Doubles *mass,
                                                          int64_t depth) {
    Paths at = *paths;
    for (int64_t level = 0; level < depth; level++) {
        Longs apart, here;
        for (int k = 0; k < OF_DOUBLES; k++)
            apart.vectors[k] = CHOOSE(at.second.vectors[k] < 0, at.first.vectors[k], at.second.vectors[k]);
        const Fork own = fork_at(apart, right, mass), fork = fork_at(at.first, right, mass);
        for (int k = 0; k < OF_DOUBLES; k++) {
            second_falls(&at, k, (at.second.vectors[k] >= 0) & (own.go_right.vectors[k] != apart.vectors[k]), &own);
            here.vectors[k] = fork.go_right.vectors[k] != fork.node.vectors[k];
        }
        first_falls(&at, &here, &fork, 0, 1);
    }
    *paths = at;
}

/* The categories at positions of rows that were sorted, equal ones by category: `logits[C, LANES]` before and after. */
static void look_up(const reals *logits, const reals *sorted, int64_t categories, const Wholes *positions, Wholes *found) {
    const wholes zero = {0};
    Reals value;
    for (int lane = 0; lane < LANES; lane++)
        value.lanes[lane] = ((const real *)sorted)[positions->lanes[lane] * LANES + lane];
    for (int k = 0; k < OF_REALS; k++) {
        wholes equal = zero, last = zero;
        for (whole c = 0; c < categories; c++) {
            const wholes same = logits[c * OF_REALS + k] == value.vectors[k];
            equal -= same;
            last = CHOOSE(same, zero + c, last);
        }
        whole most = 0;
        for (int lane = 0; lane < IN_REALS; lane++) most |= equal[lane] > 1;
        if (most) { /* the one before which as many are equal as before the position */
            wholes before = zero, seen = zero;
            for (whole c = 0; c < categories; c++)
                before -= (sorted[c * OF_REALS + k] == value.vectors[k]) & (positions->vectors[k] > c);
            for (whole c = 0; c < categories; c++) {
                const wholes same = logits[c * OF_REALS + k] == value.vectors[k];
                last = CHOOSE(same & (seen == before), zero + c, last);
                seen -= same;
            }
        }
        found->vectors[k] = last;
    }
}

/* Draw pairs, or, without noise, look at those whose ids are given.

   `parted[pairs, rows]`: twice the node where the two paths part, and one more if the first point goes to the right
   there; -1 where they do not. `ratio[pairs, rows]`: `p(z1) p(z2) / r(z1, z2)`, 0 where they do not part or never do so.
   `sorted` is 1 or -1 where the leaves are in ascending or descending order of logits, of which no `order` is given. */
int pairs(const real *logits, const int16_t *order, const int32_t *right, const int32_t *low, const double *noise,
          int64_t *indices, int32_t *parted, real *ratio, int64_t rows, int64_t categories,
          int64_t order_stride, int64_t sorted, int64_t depth, int64_t pairs, int64_t threads) {
    int failed = FINE;
    const int64_t nodes = 2 * categories - 1, each = pairs * rows;
#pragma omp parallel num_threads(threads)
    {
        const int64_t size = categories * LANES;
        Doubles *mass = memory(nodes * sizeof(Doubles) + 3 * size * sizeof(real));
        real *leaf = (real *)(mass + nodes), *logit = leaf + size, *in_order = logit + size;
        if (mass == NULL) failed = NO_MEMORY;
#pragma omp for schedule(static)
        for (int64_t row = 0; row < rows; row += LANES) {
            if (mass == NULL) continue;
            const int lanes = rows - row < LANES ? (int)(rows - row) : LANES;
            if (noise != NULL) fetch(noise + row, rows, 3 * pairs);
            to_lanes(logits, order, order_stride, row, rows, categories, leaf);
            if (sorted) {
                memcpy(logit, leaf, size * sizeof(real));
                for (int64_t at = 0; at < size; at++) leaf[at] *= sorted;
                network(leaf, categories, smaller_first);
                for (int64_t at = 0; at < size; at++) in_order[at] = leaf[at] *= sorted;
            }
            exponentials(leaf, categories);
            sums_below(leaf, right, low, nodes, mass);
            if (!sound(mass->lanes)) failed = NO_PROBABILITIES;
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
                    double *drawn[3] = {at.at_first.lanes, at.leaves.lanes, at.at_second.lanes};
                    for (int k = 0; k < 3; k++) copy(drawn[k], noise + k * each + own, lanes, sizeof(double));
                    for (int k = 0; k < OF_DOUBLES; k++) at.at_first.vectors[k] *= mass->vectors[k];
                    if (4 * depth < categories)
                        descend(&at, right, mass, depth);
                    else
                        walk(&at, right, low, nodes, mass, 1);
                    Wholes first = {0}, second = {0};
                    for (int lane = 0; lane < lanes; lane++) {
                        const int16_t *category_at = order == NULL ? NULL : order + (row + lane) * order_stride;
                        const int64_t to = low[at.first.lanes[lane]];
                        const int64_t other = at.parted.lanes[lane] < 0 ? to : low[at.second.lanes[lane]];
                        first.lanes[lane] = (whole)(category_at == NULL ? to : category_at[to]);
                        second.lanes[lane] = (whole)(category_at == NULL ? other : category_at[other]);
                    }
                    if (sorted) {
                        look_up((reals *)logit, (reals *)in_order, categories, &first, &first);
                        look_up((reals *)logit, (reals *)in_order, categories, &second, &second);
                    }
                    for (int lane = 0; lane < lanes; lane++) {
                        one[lane] = first.lanes[lane];
                        two[lane] = second.lanes[lane];
                    }
                } else {
                    for (int lane = 0; lane < lanes; lane++) {
                        const int16_t *category_at = order == NULL ? NULL : order + (row + lane) * order_stride;
                        at.at_first.lanes[lane] = position_of(category_at, categories, one[lane]);
                        at.at_second.lanes[lane] = position_of(category_at, categories, two[lane]);
                    }
                    walk(&at, right, low, nodes, mass, 0);
                }
                Doubles left, rest;
                real numbers[LANES];
                int32_t where[LANES];
                for (int lane = 0; lane < LANES; lane++) {
                    const int64_t node = at.parted.lanes[lane] < 0 ? 0 : at.parted.lanes[lane] >> 1;
                    left.lanes[lane] = mass[node + (right[node] > 0)].lanes[lane];
                    rest.lanes[lane] = mass[right[node]].lanes[lane];
                }
                for (int k = 0; k < OF_DOUBLES; k++) {
                    const doubles zero = {0}, one = left.vectors[k], two = rest.vectors[k];
                    const doubles follows = at.together.vectors[k] * mass->vectors[k];
                    const longs possible = (at.parted.vectors[k] >= 0) & (one > zero) & (two > zero) & (follows > zero);
                    left.vectors[k] = CHOOSE(possible, CHOOSE(one > two, one, two), zero);
                    left.vectors[k] /= CHOOSE(possible, follows, zero + 1);
                }
                for (int lane = 0; lane < LANES; lane++) numbers[lane] = (real)left.lanes[lane];
                copy(ratio + own, numbers, lanes, sizeof(real));
                for (int lane = 0; lane < LANES; lane++) where[lane] = (int32_t)at.parted.lanes[lane];
                copy(parted + own, where, lanes, sizeof(int32_t));
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

/* Add to a row `sum[C]` the one-hots of a pair, its difference times and what `others` holds for it: see `Pairs.gradient`. */
static inline int add_points(const int64_t *indices, const real *others, int64_t pair, int64_t row, int64_t rows,
                             int64_t categories, int64_t others_groups, int64_t others_shared_by, real difference,
                             real *sum) {
    const int64_t one = indices[2 * pair * rows + row], two = indices[(2 * pair + 1) * rows + row];
    if (!is_category(one, categories) || !is_category(two, categories)) return NO_CATEGORY;
    const int64_t group = 2 * pair * others_groups + (others == NULL ? 0 : row / others_shared_by);
    sum[one] += difference + (others == NULL ? 0 : others[group]);
    sum[two] += (others == NULL ? 0 : others[group + others_groups]) - difference;
    return FINE;
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
                    const int parts = parted[pair * rows + own] >= 0;
                    const real difference = parts ? differences[pair * groups + own / shared_by] : 0;
                    if (add_points(indices, others, pair, own, rows, categories, others_groups, others_shared_by, difference,
                                   out + own * categories))
                        failed = NO_CATEGORY;
                }
        }
        free(logit);
    }
    return failed;
}

/* `out[rows, C]`, see `Pairs.importance`, from the ratios that `pairs` found; the rest as above. */
int importance(const int64_t *indices, const real *ratio, const real *differences, const real *others, real *out,
               int64_t rows, int64_t categories, int64_t pairs, int64_t groups, int64_t shared_by, int64_t others_groups,
               int64_t others_shared_by, int64_t threads) {
    int failed = FINE;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t row = 0; row < rows; row++) {
        real *sum = out + row * categories;
        memset(sum, 0, categories * sizeof(real));
        for (int64_t pair = 0; pair < pairs; pair++) {
            const int apart = indices[2 * pair * rows + row] != indices[(2 * pair + 1) * rows + row];
            const real difference = differences[pair * groups + row / shared_by] * ratio[pair * rows + row];
            if (add_points(indices, others, pair, row, rows, categories, others_groups, others_shared_by,
                           apart ? difference : 0, sum))
                failed = NO_CATEGORY;
        }
    }
    return failed;
}
