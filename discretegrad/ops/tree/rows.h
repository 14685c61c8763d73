/* Antithetic pairs of one row at a time: of long rows, and on trees of a row's own. See README.md.

   Masses of a long row are summed in BLOCKs, and a walk looks into few of them: down a balanced tree a node's children
   are intervals whose sums are kept as long as they are longer than a block; along sticks whole blocks are passed at
   once. Other trees are tables of nodes. */

#pragma once

#include "../order/radix.h"

enum { BALANCED, CATERPILLAR, NESTED, HUFFMAN };
enum { BLOCK = 64 };

/* Where the paths of a pair part. */
typedef struct {
    int parts, first_is_right;
    int64_t low, middle, high; /* the children are the leaves at [low, middle) and [middle, high) */
    double left, right;        /* their masses */
    double together;           /* how probably the second point has followed the first so far */
} Parting;

/* What later kernels are told of a parting: of both children their outermost leaves, by which they know what is below, and
   by what a leaf's e^(logit - largest) is multiplied; and the largest logit, so that it need not be looked for again. */
enum { FIRST, LAST_OF_LEFT, LAST_OF_RIGHT, BOUNDS };
enum { LARGEST, SHIFT, OF_LEFT, OF_RIGHT, RATIO, SHARES };

/* By how much masses of nodes that hold next to nothing are shifted into range. */
static inline double shift_of(double both) { return both < 0x1p-60 && both > 0 ? log(both) : 0; }

/* Signed as the first point's difference is; `scale` is e^shift. Without a branch, so that a loop over it is vectorised. */
static inline __attribute__((always_inline)) void shares_at(int parts, int first_is_right, double left, double right,
                                                            double together, real largest, double total, double shift,
                                                            double scale, real shares[SHARES]) {
    const double both = left + right, follows = together * total;
    const int possible = parts & (left > 0) & (right > 0);
    const double heavier = left > right ? left : right, lighter = left > right ? right : left;
    const double ratio = possible ? lighter / heavier : 0;
    double each = (both > 0) & parts ? 1 / both : 0;
    each *= first_is_right ? -scale : scale;
    shares[LARGEST] = largest;
    shares[SHIFT] = (real)shift;
    shares[OF_LEFT] = (real)(-each * (left > right ? ratio : possible));
    shares[OF_RIGHT] = (real)(each * (left > right ? possible : ratio));
    shares[RATIO] = (real)(possible & (follows > 0) ? heavier / follows : 0);
}

static inline void shares_of(const Parting *at, real largest, double total, real shares[SHARES]) {
    const double shift = shift_of(at->left + at->right), scale = shift != 0 ? exp(shift) : 1;
    shares_at(at->parts, at->first_is_right, at->left, at->right, at->together, largest, total, shift, scale, shares);
}

/* A row as the walks see it. */
typedef struct {
    int kind;
    int64_t categories;
    real *mass;   /* of the leaves by position; by category where nodes are tables */
    double *sums; /* of nodes, or of blocks and, behind those, of all from each block on */
    int64_t inner; /* how many nodes of a balanced tree have children in `sums` */
    const int32_t *left, *right, *low; /* tables, by node; without `left` it is the next node */
    const int32_t *leaf_at;            /* of nested pairs: which leaf is at a position */
    const Entry *in_order;             /* the categories that the leaves are, or NULL for their numbers */
} Row;

static inline int64_t blocks_of(int64_t categories) { return (categories + BLOCK - 1) / BLOCK; }

/* How deep the sums of a balanced tree go: nodes below have no more than BLOCK leaves. */
static inline int64_t inner_nodes(int64_t categories) {
    int64_t nodes = 0;
    for (int64_t width = categories; width > BLOCK; width = (width + 1) / 2) nodes = 2 * nodes + 1;
    return nodes;
}

typedef double four __attribute__((vector_size(32)));

static double sums_of_balanced(Row *row, int64_t node, int64_t low, int64_t high) {
    const int64_t middle = (low + high + 1) / 2;
    row->sums[node] = node >= row->inner ? sum_of(row->mass + low, high - low)
                                         : sums_of_balanced(row, 2 * node + 1, low, middle) +
                                               sums_of_balanced(row, 2 * node + 2, middle, high);
    return row->sums[node];
}

static void sums_of_blocks(Row *row) {
    const int64_t blocks = blocks_of(row->categories);
    double *from_here = row->sums + blocks;
    from_here[blocks] = 0;
    for (int64_t block = blocks - 1; block >= 0; block--) {
        const int64_t start = block * BLOCK, rest = row->categories - start;
        row->sums[block] = sum_of(row->mass + start, rest < BLOCK ? rest : BLOCK);
        from_here[block] = from_here[block + 1] + row->sums[block];
    }
}

static inline int64_t category_of(const Row *row, int64_t position) {
    if (row->leaf_at != NULL) position = row->leaf_at[position];
    return row->in_order == NULL ? position : category_in(row->in_order[position]);
}

static void sums_of_nested(Row *row) {
    for (int64_t node = 2 * row->categories - 2; node >= 0; node--)
        row->sums[node] = row->right[node] == 0 ? row->mass[category_of(row, row->low[node])]
                                                : row->sums[node + 1] + row->sums[row->right[node]];
}

/* The two lightest are merged until one is left, of equal ones those that were there before: leaves come sorted, and what
   is merged is never lighter than what was merged before. Nodes are the categories, and then what is merged. */
static void huffman(Row *row, int32_t *left, int32_t *right, int32_t *low, const Entry *lightest) {
    const int64_t categories = row->categories, root = 2 * categories - 2;
    double *sums = row->sums;
    for (int64_t c = 0; c < categories; c++) {
        sums[c] = row->mass[c];
        low[c] = 1; /* how many leaves there are below, until it is known where they begin */
    }
    for (int64_t node = categories, leaf = 0, merged = categories; node <= root; node++) {
        int32_t lighter[2];
        low[node] = 0;
        sums[node] = 0;
        for (int k = 0; k < 2; k++) {
            const int is_leaf = leaf < categories && (merged == node || sums[category_in(lightest[leaf])] <= sums[merged]);
            lighter[k] = (int32_t)(is_leaf ? category_in(lightest[leaf++]) : merged++);
            sums[node] += sums[lighter[k]];
            low[node] += low[lighter[k]];
        }
        left[node] = lighter[0];
        right[node] = lighter[1];
    }
    low[root] = 0;
    for (int64_t node = root; node >= categories; node--) {
        low[right[node]] = low[node] + low[left[node]];
        low[left[node]] = low[node];
    }
}

typedef struct {
    int64_t low, high, at;
} Node;

static inline Node root_of(const Row *row) {
    return (Node){0, row->categories, row->kind == HUFFMAN ? 2 * row->categories - 2 : 0};
}

/* The children of a node that has more than one leaf. */
static inline void split(const Row *row, Node node, Node children[2], double masses[2]) {
    if (row->kind == BALANCED) {
        const int64_t middle = (node.low + node.high + 1) / 2;
        children[0] = (Node){node.low, middle, 2 * node.at + 1};
        children[1] = (Node){middle, node.high, 2 * node.at + 2};
        for (int k = 0; k < 2; k++)
            masses[k] = node.at < row->inner ? row->sums[children[k].at]
                                             : sum_of(row->mass + children[k].low, children[k].high - children[k].low);
    } else {
        const int64_t left = row->left == NULL ? node.at + 1 : row->left[node.at], right = row->right[node.at];
        children[0] = (Node){node.low, row->low[right], left};
        children[1] = (Node){row->low[right], node.high, right};
        masses[0] = row->sums[left];
        masses[1] = row->sums[right];
    }
}

/* What `walk` and `sticks` are given and find. */
typedef struct {
    const double *noise[3]; /* of the first point, of the parting, of the second point; NULL for points that are given */
    int64_t first, second;  /* positions */
    Parting parting;
} Pair;

/* From a node down to the leaf at a point of its mass: its position, or, in a tree of the row's own, its category. */
static int64_t fall(const Row *row, Node node, double threshold) {
    while (node.high - node.low > 1) {
        Node children[2];
        double masses[2];
        split(row, node, children, masses);
        const int to = threshold >= masses[0] && masses[1] > 0;
        threshold -= to ? masses[0] : 0;
        node = children[to];
    }
    return row->kind == HUFFMAN ? node.at : node.low;
}

/* Down a tree from node to node. */
static void walk(const Row *row, double total, Pair *pair) {
    const int drawn = pair->noise[0] != NULL;
    Parting *parting = &pair->parting;
    double threshold = drawn ? *pair->noise[0] * total : 0;
    Node node = root_of(row);
    *parting = (Parting){.together = 1};
    while (node.high - node.low > 1 && !parting->parts) {
        Node children[2];
        double masses[2];
        split(row, node, children, masses);
        const int64_t middle = children[1].low;
        const int to = drawn ? threshold >= masses[0] && masses[1] > 0 : pair->first >= middle;
        const double own = masses[to], other = masses[!to];
        /* Into a heavier child the second point follows with probability 1 - lighter / heavier, into a lighter one never. */
        const double follows = own > other ? parting->together * ((own - other) / own) : 0;
        if (drawn ? other > 0 && !(*pair->noise[1] < follows) : to != (pair->second >= middle)) {
            *parting = (Parting){1, to, node.low, middle, node.high, masses[0], masses[1], parting->together};
            if (drawn) pair->second = fall(row, children[!to], *pair->noise[2] * other);
        } else if (other > 0) {
            parting->together = follows;
        }
        threshold -= to ? masses[0] : 0;
        node = children[to];
    }
    if (drawn) pair->first = fall(row, node, threshold);
    if (drawn && !parting->parts) pair->second = pair->first;
}

/* The stick at a point of the mass from one on. */
static int64_t find(const Row *row, int64_t from, double threshold) {
    for (int64_t at = from; at < row->categories;) {
        const double block = row->sums[at / BLOCK];
        if (at % BLOCK == 0 && threshold >= block) {
            threshold -= block;
            at += BLOCK;
            continue;
        }
        do {
            const double own = row->mass[at];
            if (threshold < own) return at;
            threshold -= own;
        } while (++at % BLOCK != 0 && at < row->categories);
    }
    for (int64_t at = row->categories - 1; at > from; at--) /* rounding has led past the last one */
        if (row->mass[at] > 0) return at;
    return from;
}

/* In a block `rest[k]` is the mass behind a stick, `past[k]` how probably the second point goes past it if the first one
   does. Returns the product of those. */
static double look_at_block(const Row *row, int64_t start, double rest[BLOCK], double past[BLOCK]) {
    const int64_t width = row->categories - start < BLOCK ? row->categories - start : BLOCK;
    double behind = row->sums[blocks_of(row->categories) + start / BLOCK + 1], own[BLOCK] = {0};
    for (int64_t k = 0; k < width; k++) own[k] = row->mass[start + k];
    for (int64_t k = BLOCK - 1; k >= 0; k--) {
        rest[k] = behind;
        behind += own[k];
    }
    for (int64_t k = 0; k < BLOCK; k++) past[k] = (rest[k] - own[k]) / (rest[k] > 0 ? rest[k] : 1);
    for (int64_t k = 0; k < BLOCK; k++) past[k] = own[k] > 0 ? (past[k] > 0 ? past[k] : 0) : 1;
    four product[4];
    memcpy(product, past, sizeof(product));
    for (int64_t k = 16; k < BLOCK; k += 16)
        for (int part = 0; part < 4; part++) {
            four next;
            memcpy(&next, past + k + 4 * part, sizeof(four));
            product[part] *= next;
        }
    product[0] = (product[0] * product[1]) * (product[2] * product[3]);
    return (product[0][0] * product[0][1]) * (product[0][2] * product[0][3]);
}

/* Along the sticks with all pairs at once: what is past a block is common to them. */
static void sticks(const Row *row, double total, Pair *pairs, int64_t count) {
    double together = 1, rest[BLOCK], past[BLOCK];
    int64_t left = count;
    for (int64_t pair = 0; pair < count; pair++) {
        Pair *own = pairs + pair;
        own->parting = (Parting){.parts = -1};
        if (own->noise[0] != NULL) own->first = find(row, 0, *own->noise[0] * total);
    }
    for (int64_t start = 0; start < row->categories && left > 0; start += BLOCK) {
        const double after = together * look_at_block(row, start, rest, past);
        for (int64_t pair = 0; pair < count; pair++) {
            Pair *own = pairs + pair;
            Parting *parting = &own->parting;
            const int drawn = own->noise[0] != NULL;
            /* Where the paths part at the latest. */
            const int64_t end = drawn || own->first < own->second ? own->first : own->second;
            if (parting->parts >= 0 || (end >= start + BLOCK && !(drawn && !(*own->noise[1] < after)))) continue;
            double follows = together;
            for (int64_t at = start; at < start + BLOCK && at <= end && parting->parts < 0; at++) {
                const double stick = row->mass[at], behind = rest[at - start];
                const double before = follows;
                int parts;
                if (drawn && at == end) { /* the first point stops */
                    parts = behind > 0 && !(*own->noise[1] < (stick > behind ? before * ((stick - behind) / stick) : 0));
                    own->second = parts ? find(row, at + 1, *own->noise[2] * behind) : at;
                } else if (drawn) {
                    follows *= past[at - start];
                    parts = stick > 0 && !(*own->noise[1] < follows);
                    if (parts) own->second = at;
                } else {
                    follows *= past[at - start];
                    parts = own->first != own->second;
                }
                if (at == end || (drawn && parts))
                    *parting = (Parting){parts, own->first > at, at, at + 1, row->categories, stick, behind, before};
            }
            left -= parting->parts >= 0;
        }
        together = after;
    }
}

/* What is kept of a parting: `bounds[3, rows]` and `shares[5, rows]` at a row. */
static inline void keep(const Row *row, const Parting *parting, real largest, double total, int64_t rows,
                        int32_t *bounds, real *shares) {
    const int64_t categories = row->categories;
    int64_t found[BOUNDS] = {categories, categories, categories};
    real of_row[SHARES];
    if (parting->parts) {
        const int by_category = row->in_order != NULL && row->leaf_at == NULL;
        found[FIRST] = by_category ? category_of(row, parting->low) : parting->low;
        found[LAST_OF_LEFT] = by_category ? category_of(row, parting->middle - 1) : parting->middle - 1;
        if (parting->high < categories)
            found[LAST_OF_RIGHT] = by_category ? category_of(row, parting->high - 1) : parting->high - 1;
    }
    shares_of(parting, largest, total, of_row);
    for (int k = 0; k < BOUNDS; k++) bounds[k * rows] = (int32_t)found[k];
    for (int k = 0; k < SHARES; k++) shares[k * rows] = of_row[k];
}

/* `pairs` of rows one by one, on any tree. Of nested pairs `leaf_at`, `right` and `low` are the tree, and `place[C]` where
   its leaves are; of those that are sorted, and of Huffman trees, `place[rows, C]` is written. */
int pairs_of_rows(const real *logits, const uint8_t *mask, const int32_t *leaf_at, const int32_t *right, const int32_t *low,
                  int32_t *place, const double *noise, int64_t *indices, int32_t *bounds, real *shares, int64_t rows,
                  int64_t categories, int64_t kind, int64_t sorted, int64_t pairs, int64_t threads) {
    int failed = FINE;
    const int64_t blocks = blocks_of(categories), nodes = 2 * categories - 1, inner = inner_nodes(categories);
    const int64_t sums = kind == BALANCED ? 2 * inner + 1 : kind == CATERPILLAR ? 2 * blocks + 1 : nodes;
    const int64_t tables = kind == HUFFMAN ? 3 * nodes * sizeof(int32_t) + categories * sizeof(real) : 0, each = pairs * rows;
    const int64_t room = sorted || kind == HUFFMAN ? room_to_sort(categories) : 0;
    const int own_places = kind == HUFFMAN || (kind == NESTED && sorted);
#pragma omp parallel num_threads(threads)
    {
        /* In the order of their alignment. */
        Pair *all = memory(pairs * sizeof(Pair) + sums * sizeof(double) + room + categories * sizeof(real) + tables);
        Row row = {.kind = (int)kind, .categories = categories, .inner = inner, .right = right, .low = low, .leaf_at = leaf_at};
        row.sums = (double *)(all + pairs);
        void *to_sort = row.sums + sums;
        row.mass = (real *)((char *)to_sort + room);
        real *own_keys = row.mass + categories;
        int32_t *own_left = (int32_t *)(own_keys + categories), *own_right = own_left + nodes, *own_low = own_right + nodes;
        if (kind == HUFFMAN) {
            row.left = own_left;
            row.right = own_right;
            row.low = own_low;
        }
        if (all == NULL) failed = NO_MEMORY;
#pragma omp for schedule(static)
        for (int64_t at = 0; at < rows; at++) {
            if (all == NULL) continue;
            const real *logit = logits + at * categories;
            int32_t *place_of = place == NULL ? NULL : place + (own_places ? at * categories : 0);
            if (!is_on(mask, at)) {
                const Parting none = {0};
                for (int64_t pair = 0; pair < pairs; pair++) {
                    if (noise != NULL) indices[2 * pair * rows + at] = indices[(2 * pair + 1) * rows + at] = 0;
                    keep(&row, &none, 0, 1, rows, bounds + BOUNDS * pair * rows + at, shares + SHARES * pair * rows + at);
                }
                continue;
            }
            const real largest = largest_of(logit, categories);
            const int in_order = sorted && kind != NESTED;
            row.in_order = sorted ? sort_row(logit, categories, (int)sorted, to_sort, row.mass) : NULL;
            for (int64_t c = 0; c < categories && in_order && sorted != 1; c++)
                row.mass[c] = logit[category_in(row.in_order[c])];
            exponentials_of(in_order ? row.mass : logit, categories, largest, in_order || at + 1 == rows, row.mass);
            double total;
            if (kind == BALANCED) {
                total = sums_of_balanced(&row, 0, 0, categories);
            } else if (kind == CATERPILLAR) {
                sums_of_blocks(&row);
                total = row.sums[blocks];
            } else if (kind == NESTED) {
                sums_of_nested(&row);
                total = row.sums[0];
                for (int64_t position = 0; position < categories && own_places; position++)
                    place_of[category_of(&row, position)] = (int32_t)position;
            } else {
                huffman(&row, own_left, own_right, own_low, sort_row(row.mass, categories, 1, to_sort, own_keys));
                total = row.sums[nodes - 1];
                memcpy(place_of, own_low, categories * sizeof(int32_t));
            }
            if (!(total > 0)) failed = NO_PROBABILITIES;
            for (int64_t pair = 0; pair < pairs; pair++) {
                Pair *own = all + pair;
                int64_t *ids[2] = {indices + 2 * pair * rows + at, indices + (2 * pair + 1) * rows + at};
                for (int k = 0; k < 3; k++) own->noise[k] = noise == NULL ? NULL : noise + k * each + pair * rows + at;
                if (noise != NULL) continue;
                int64_t positions[2];
                for (int k = 0; k < 2; k++) {
                    const int fits = is_category(*ids[k], categories);
                    if (!fits) failed = NO_CATEGORY;
                    positions[k] = fits ? *ids[k] : 0;
                    if (place_of != NULL)
                        positions[k] = place_of[positions[k]];
                    else if (row.in_order != NULL)
                        for (const Entry *entry = row.in_order;; entry++)
                            if (category_in(*entry) == positions[k]) {
                                positions[k] = entry - row.in_order;
                                break;
                            }
                }
                own->first = positions[0];
                own->second = positions[1];
            }
            if (kind == CATERPILLAR)
                sticks(&row, total, all, pairs);
            else
                for (int64_t pair = 0; pair < pairs; pair++) walk(&row, total, all + pair);
            for (int64_t pair = 0; pair < pairs; pair++) {
                if (noise != NULL) {
                    indices[2 * pair * rows + at] = category_of(&row, all[pair].first);
                    indices[(2 * pair + 1) * rows + at] = category_of(&row, all[pair].second);
                }
                keep(&row, &all[pair].parting, largest, total, rows, bounds + BOUNDS * pair * rows + at,
                     shares + SHARES * pair * rows + at);
            }
        }
        free(all);
    }
    return failed;
}
