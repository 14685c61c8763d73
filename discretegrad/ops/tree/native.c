/* Antithetic pairs: drawn by walks down their tree's masses, and their gradient. See README.md.

   Short rows are drawn many at a time, on balanced trees and along sticks (`walks.h`); `rows.h` has all others. Nodes are
   numbered as a walk visits them, a node before its left subtree and that before the right one: the left child of `n` is
   `n + 1`, its right child `right[n]`, 0 of a leaf. Below it are the positions `[low[n], high[n])`.
   Masses are sums from below, in double, so that a light subtree keeps its digits beside a heavy one, and a subtree has
   mass 0 only if all its leaves have: a walk that never enters such a one draws nothing impossible, however it is rounded. */

#include "../noise/counter.h"
#include "../order/network.h"
#include "rows.h"
#include "walks.h"

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

/* The other way around: how many are before a category. */
static void rank_of(const reals *logits, int64_t categories, int descending, const Wholes *ids, Wholes *found) {
    Reals value;
    for (int lane = 0; lane < LANES; lane++) value.lanes[lane] = ((const real *)logits)[ids->lanes[lane] * LANES + lane];
    for (int k = 0; k < OF_REALS; k++) {
        wholes before = {0};
        for (whole c = 0; c < categories; c++) {
            const reals one = logits[c * OF_REALS + k];
            const wholes ahead = descending ? one > value.vectors[k] : one < value.vectors[k];
            before -= ahead | ((one == value.vectors[k]) & (ids->vectors[k] > c));
        }
        found->vectors[k] = before;
    }
}

/* `bounds[3, rows]` and `shares[5, rows]` of the first `lanes` of LANES pairs. */
static inline void keep_lanes(const Longs *parted, const Doubles *left, const Doubles *right, const Doubles *together,
                              const Wholes ends[BOUNDS], const Wholes *is_last, const uint8_t *mask, const Reals *largest,
                              const Doubles *total, int64_t categories, int lanes, int64_t rows, int32_t *bounds,
                              real *shares) {
    int32_t parts[LANES], of_bounds[BOUNDS][LANES];
    real of_shares[SHARES][LANES], own[SHARES];
    Doubles shift = {0}, scale;
    int light = 0;
    for (int lane = 0; lane < LANES; lane++) parts[lane] = parted->lanes[lane] >= 0;
    for (int lane = 0; lane < lanes && mask != NULL; lane++) parts[lane] &= mask[lane] != 0;
    for (int lane = 0; lane < LANES; lane++) light |= left->lanes[lane] + right->lanes[lane] < 0x1p-60;
    for (int lane = 0; lane < LANES; lane++) scale.lanes[lane] = 1;
    for (int lane = 0; lane < LANES && light; lane++) {
        shift.lanes[lane] = shift_of(left->lanes[lane] + right->lanes[lane]);
        scale.lanes[lane] = shift.lanes[lane] != 0 ? exp(shift.lanes[lane]) : 1;
    }
    for (int lane = 0; lane < LANES; lane++) {
        shares_at(parts[lane], parted->lanes[lane] & 1, left->lanes[lane], right->lanes[lane], together->lanes[lane],
                  largest->lanes[lane], total->lanes[lane], shift.lanes[lane], scale.lanes[lane], own);
        for (int k = 0; k < SHARES; k++) of_shares[k][lane] = own[k];
    }
    for (int k = 0; k < BOUNDS; k++)
        for (int lane = 0; lane < LANES; lane++) {
            const int open = !parts[lane] | ((k == LAST_OF_RIGHT) & (is_last->lanes[lane] != 0));
            of_bounds[k][lane] = open ? (int32_t)categories : (int32_t)ends[k].lanes[lane];
        }
    for (int k = 0; k < SHARES; k++) copy(shares + k * rows, of_shares[k], lanes, sizeof(real));
    for (int k = 0; k < BOUNDS; k++) copy(bounds + k * rows, of_bounds[k], lanes, sizeof(int32_t));
}

/* Draw pairs from noise, or from noise that is made of a seed; without both look at those whose ids are given. Rows are
   short, and all have one tree.

   `bounds[pairs, 3, rows]` are the outermost leaves of the children of the node where the paths part, all C where they do
   not, and the last one also where nothing is behind it. `shares[pairs, 5, rows]` is the largest logit, by what the
   gradient multiplies masses, and `p(z1) p(z2) / r(z1, z2)`, 0 where the paths do not part or never do so: see `rows.h`.
   Rows whose `mask` is 0 have id 0 and gradient 0, whatever their logits. `sorted` is 1 or -1 where the leaves are in
   ascending or descending order of logits, otherwise 0. */
int pairs(const real *logits, const uint8_t *mask, const int32_t *right, const int32_t *low, const int32_t *high,
          const double *noise, const int64_t *seed, int64_t *indices, int32_t *bounds, real *shares, int64_t rows,
          int64_t categories, int64_t kind, int64_t sorted, int64_t depth, int64_t pairs, int64_t threads) {
    int failed = FINE;
    const int64_t nodes = 2 * categories - 1, each = pairs * rows;
    double *made = NULL;
    if (rows > 0 && seed != NULL) {
        noise = made = noise_from(*seed, 3 * each, threads);
        if (made == NULL) return NO_MEMORY;
    }
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
            to_lanes(logits, row, rows, categories, logit);
            if (sorted) {
                for (int64_t at = 0; at < size; at++) in_order[at] = sorted * logit[at];
                network(in_order, categories, smaller_first);
                for (int64_t at = 0; at < size && sorted < 0; at++) in_order[at] = -in_order[at];
            }
            if (row + 2 * LANES <= rows) fetch_row(logits + (row + LANES) * categories, size);
            const Reals largest = exponentials(sorted ? in_order : logit, categories, leaf);
            if (kind == CATERPILLAR)
                sums_behind(leaf, categories, mass);
            else
                sums_below(leaf, right, low, nodes, mass);
            Doubles total = *mass;
            for (int lane = 0; lane < LANES; lane++)
                if (!is_on(mask, lane < lanes ? row + lane : rows - 1)) total.lanes[lane] = 1;
            if (!sound(total.lanes)) failed = NO_PROBABILITIES;
            for (int64_t pair = 0; pair < pairs; pair++) {
                int64_t *one = indices + 2 * pair * rows + row, *two = one + rows;
                const int64_t own = pair * rows + row;
                Wholes first = {0}, second = {0}, ends[BOUNDS] = {0}, is_last = {0};
                Doubles left = {0}, rest = {0};
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
                    if (kind == CATERPILLAR)
                        break_sticks(&at, mass, categories);
                    else if (4 * depth < categories)
                        descend(&at, right, mass, depth);
                    else
                        walk_all(&at, right, low, nodes, mass, 1);
                    for (int lane = 0; lane < LANES; lane++) {
                        first.lanes[lane] = low[at.first.lanes[lane]];
                        second.lanes[lane] = at.parted.lanes[lane] < 0 ? first.lanes[lane] : low[at.second.lanes[lane]];
                    }
                    if (sorted) {
                        look_up((reals *)logit, (reals *)in_order, categories, &first, &first);
                        look_up((reals *)logit, (reals *)in_order, categories, &second, &second);
                    }
                    for (int lane = 0; lane < lanes; lane++) {
                        const int on = is_on(mask, row + lane);
                        one[lane] = on ? first.lanes[lane] : 0;
                        two[lane] = on ? second.lanes[lane] : 0;
                    }
                } else {
                    for (int lane = 0; lane < lanes; lane++) {
                        const int fits = is_category(one[lane], categories) && is_category(two[lane], categories);
                        if (!fits) failed = NO_CATEGORY;
                        first.lanes[lane] = fits ? (whole)one[lane] : 0;
                        second.lanes[lane] = fits ? (whole)two[lane] : 0;
                    }
                    Wholes places[2] = {first, second};
                    if (sorted) {
                        rank_of((reals *)logit, categories, sorted < 0, &first, &places[0]);
                        rank_of((reals *)logit, categories, sorted < 0, &second, &places[1]);
                    }
                    for (int lane = 0; lane < LANES; lane++) {
                        at.at_first.lanes[lane] = places[0].lanes[lane];
                        at.at_second.lanes[lane] = places[1].lanes[lane];
                    }
                    walk_all(&at, right, low, nodes, mass, 0);
                }
                for (int lane = 0; lane < LANES; lane++) {
                    const int64_t node = at.parted.lanes[lane] < 0 ? 0 : at.parted.lanes[lane] >> 1;
                    const int64_t behind = right[node], stop = high[node];
                    ends[FIRST].lanes[lane] = low[node];
                    ends[LAST_OF_LEFT].lanes[lane] = low[behind] - (behind > 0);
                    ends[LAST_OF_RIGHT].lanes[lane] = stop - 1;
                    is_last.lanes[lane] = stop == categories;
                    left.lanes[lane] = mass[node + (behind > 0)].lanes[lane];
                    rest.lanes[lane] = mass[behind].lanes[lane];
                }
                if (sorted && kind == CATERPILLAR)
                    for (int lane = 0; lane < LANES; lane++) /* one of the points is at the stick */
                        ends[FIRST].lanes[lane] = ends[LAST_OF_LEFT].lanes[lane] =
                            at.parted.lanes[lane] & 1 ? second.lanes[lane] : first.lanes[lane];
                else if (sorted)
                    for (int k = 0; k < BOUNDS; k++)
                        look_up((reals *)logit, (reals *)in_order, categories, &ends[k], &ends[k]);
                keep_lanes(&at.parted, &left, &rest, &at.together, ends, &is_last, mask == NULL ? NULL : mask + row, &largest,
                           mass, categories, lanes, rows, bounds + BOUNDS * pair * rows + row,
                           shares + SHARES * pair * rows + row);
            }
        }
        free(mass);
    }
    free(made);
    return failed;
}

/* Add the gradient of a row's pair where its paths part, as if its points had no one-hots; or, the `first` time, write it.
   Below the children are the numbers between the bounds. Of a short row all entries are looked at, and of a long one whole
   vectors of them: where the children end nobody can predict. */
static inline __attribute__((always_inline)) void spread(const real *RESTRICT logit, int64_t categories,
                                                         const int32_t bounds[BOUNDS], const real shares[SHARES],
                                                         int first, real *RESTRICT sum) {
    enum { SHORT = 256 };
    const whole low = bounds[FIRST], middle = bounds[LAST_OF_LEFT], high = bounds[LAST_OF_RIGHT];
    const real largest = shares[LARGEST], shift = shares[SHIFT], of_left = shares[OF_LEFT], of_right = shares[OF_RIGHT];
    int64_t from = 0, to = categories;
    if (categories > SHORT) {
        from = low / LANES * LANES;
        to = high + LANES < categories ? high / LANES * LANES + LANES : categories;
        if (first) memset(sum, 0, from * sizeof(real));
        if (first) memset(sum + to, 0, (categories - to) * sizeof(real));
    }
#pragma GCC ivdep
    for (int64_t c = from; c < to; c++) {
        const whole at = (whole)c, inside = (at >= low) & (at <= high);
        const real mass = exp_of(inside ? (logit[c] - largest) - shift : -INFINITY);
        sum[c] = (first ? 0 : sum[c]) + (inside ? (at <= middle ? of_left : of_right) : 0) * mass;
    }
}

/* The same, where leaves are in the tree by their `place`, or, if that is NULL, by their keys, equal ones by number. */
static inline __attribute__((always_inline)) void spread_by(const real *RESTRICT logit, const int32_t *RESTRICT place,
                                                            int sorted, int64_t categories, const int32_t bounds[BOUNDS],
                                                            const real shares[SHARES], int first, real *RESTRICT sum) {
    const real largest = shares[LARGEST], shift = shares[SHIFT], of_left = shares[OF_LEFT], of_right = shares[OF_RIGHT];
    whole limit[BOUNDS];
    real key[BOUNDS];
    for (int k = 0; k < BOUNDS; k++) {
        limit[k] = bounds[k];
        key[k] = place == NULL && bounds[k] < categories ? sort_key(logit[bounds[k]], sorted) : INFINITY;
    }
    for (int64_t c = 0; c < categories; c++) {
        const whole at = place == NULL ? (whole)c : place[c];
        whole inside = (at >= limit[FIRST]) & (at <= limit[LAST_OF_RIGHT]), is_left = at <= limit[LAST_OF_LEFT];
        if (place == NULL) {
            const real own = sort_key(logit[c], sorted);
            inside = ((own > key[FIRST]) | ((own == key[FIRST]) & (at >= limit[FIRST]))) &
                     ((own < key[LAST_OF_RIGHT]) | ((own == key[LAST_OF_RIGHT]) & (at <= limit[LAST_OF_RIGHT])));
            is_left = (own < key[LAST_OF_LEFT]) | ((own == key[LAST_OF_LEFT]) & (at <= limit[LAST_OF_LEFT]));
        }
        const real mass = exp_of(inside ? (logit[c] - largest) - shift : -INFINITY);
        sum[c] = (first ? 0 : sum[c]) + (is_left ? of_left : of_right) * mass;
    }
}

/* Add to a row `sum[C]` the one-hots of a pair, its difference times and what `others` holds for it: see `Pairs.gradient`. */
static inline int add_points(const int64_t *indices, const real *others, int64_t pair, int64_t row, int64_t rows,
                             int64_t categories, int64_t others_groups, int64_t others_group, real difference,
                             real *sum) {
    const int64_t one = indices[2 * pair * rows + row], two = indices[(2 * pair + 1) * rows + row];
    if (!is_category(one, categories) || !is_category(two, categories)) return NO_CATEGORY;
    const int64_t group = 2 * pair * others_groups + others_group;
    sum[one] += difference + (others == NULL ? 0 : others[group]);
    sum[two] += (others == NULL ? 0 : others[group + others_groups]) - difference;
    return FINE;
}

/* `out[rows, C]`, see `Pairs.gradient`, from what `pairs` found; `differences[pairs, groups]` and
   `others[2 pairs, others_groups]` as in `score/native.c`, `others` NULL for zero. `place` is where leaves are in the tree,
   of every row or, with `place_stride` 0, of all, and NULL where that is their number or told by `sorted`. */
int gradient(const real *logits, const uint8_t *mask, const int32_t *place, const int64_t *indices, const int32_t *bounds,
             const real *shares, const real *differences, const real *others, real *out, int64_t rows, int64_t categories,
             int64_t place_stride, int64_t sorted, int64_t pairs, int64_t groups, int64_t shared_by, int64_t others_groups,
             int64_t others_shared_by, int64_t threads) {
    int failed = FINE;
    Group of = {0}, of_others = {0};
#pragma omp parallel for schedule(static) num_threads(threads) firstprivate(of, of_others)
    for (int64_t row = 0; row < rows; row++) {
        enters_group(&of, row, shared_by);
        if (others != NULL) enters_group(&of_others, row, others_shared_by);
        const real *logit = logits + row * categories;
        const int32_t *place_of = place == NULL ? NULL : place + row * place_stride;
        real *sum = out + row * categories;
        if (!is_on(mask, row)) {
            memset(sum, 0, categories * sizeof(real));
            continue;
        }
        for (int64_t pair = 0; pair < pairs; pair++) {
            int32_t of_bounds[BOUNDS];
            real of_row[SHARES];
            for (int k = 0; k < BOUNDS; k++) of_bounds[k] = bounds[(pair * BOUNDS + k) * rows + row];
            const real difference = of_bounds[FIRST] < categories ? differences[pair * groups + of.number] : 0;
            for (int k = 0; k < SHARES; k++) of_row[k] = shares[(pair * SHARES + k) * rows + row];
            for (int k = OF_LEFT; k <= OF_RIGHT; k++) of_row[k] *= difference;
            const int first = pair == 0;
#define SPREAD_BY(place, sorted)                                                       \
    first ? spread_by(logit, place, sorted, categories, of_bounds, of_row, 1, sum) \
          : spread_by(logit, place, sorted, categories, of_bounds, of_row, 0, sum)
            if (place != NULL)
                SPREAD_BY(place_of, 0);
            else if (sorted == 1)
                SPREAD_BY(NULL, 1);
            else if (sorted == -1)
                SPREAD_BY(NULL, -1);
            else if (sorted != 0)
                SPREAD_BY(NULL, 2);
            else
                first ? spread(logit, categories, of_bounds, of_row, 1, sum)
                      : spread(logit, categories, of_bounds, of_row, 0, sum);
#undef SPREAD_BY
        }
        for (int64_t pair = 0; pair < pairs; pair++) {
            const int apart = indices[2 * pair * rows + row] != indices[(2 * pair + 1) * rows + row];
            const real difference = apart ? differences[pair * groups + of.number] : 0;
            if (add_points(indices, others, pair, row, rows, categories, others_groups, of_others.number, difference, sum))
                failed = NO_CATEGORY;
        }
    }
    return failed;
}

/* `out[rows, C]`, see `Pairs.importance`, from the ratios that `pairs` found; the rest as above. */
int importance(const uint8_t *mask, const int64_t *indices, const real *shares, const real *differences, const real *others,
               real *out, int64_t rows, int64_t categories, int64_t pairs, int64_t groups, int64_t shared_by,
               int64_t others_groups, int64_t others_shared_by, int64_t threads) {
    int failed = FINE;
    Group of = {0}, of_others = {0};
#pragma omp parallel for schedule(static) num_threads(threads) firstprivate(of, of_others)
    for (int64_t row = 0; row < rows; row++) {
        enters_group(&of, row, shared_by);
        if (others != NULL) enters_group(&of_others, row, others_shared_by);
        real *sum = out + row * categories;
        memset(sum, 0, categories * sizeof(real));
        for (int64_t pair = 0; pair < pairs && is_on(mask, row); pair++) {
            const int apart = indices[2 * pair * rows + row] != indices[(2 * pair + 1) * rows + row];
            const real ratio = shares[(pair * SHARES + RATIO) * rows + row];
            const real difference = differences[pair * groups + of.number] * ratio;
            if (add_points(indices, others, pair, row, rows, categories, others_groups, of_others.number,
                           apart ? difference : 0, sum))
                failed = NO_CATEGORY;
        }
    }
    return failed;
}
