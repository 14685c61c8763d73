/* Walks of LANES pairs down one tree, and sums of masses for them to look at. Nodes are numbered as in `native.c`. */

#pragma once

#include "../native.h"

/* The sum over each node of LANES rows, `[nodes, LANES]`, from those of the leaves, `[C, LANES]`. */
static inline void sums_below(const real *leaf, const int32_t *right, const int32_t *low, int64_t nodes,
                              Doubles *mass) {
    for (int64_t node = nodes - 1; node >= 0; node--)
        for (int k = 0; k < OF_DOUBLES; k++)
            if (right[node] == 0)
                mass[node].vectors[k] = in_double(leaf + (int64_t)low[node] * LANES + k * IN_DOUBLES);
            else
                mass[node].vectors[k] = mass[node + 1].vectors[k] + mass[right[node]].vectors[k];
}

/* The same of sticks. */
static inline void sums_behind(const real *leaf, int64_t categories, Doubles *mass) {
    doubles sum[OF_DOUBLES] = {0};
    for (int64_t c = categories - 1; c >= 0; c--)
        for (int k = 0; k < OF_DOUBLES; k++) {
            const doubles own = in_double(leaf + c * LANES + k * IN_DOUBLES);
            if (c < categories - 1) mass[2 * c + 1].vectors[k] = own;
            mass[2 * c].vectors[k] = sum[k] = own + sum[k];
        }
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
static inline __attribute__((always_inline)) void walk_all(Paths *paths, const int32_t *right, const int32_t *low,
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
    Fork found = {.node = node};
    for (int lane = 0; lane < LANES; lane++) found.go_right.lanes[lane] = right[node.lanes[lane]];
    for (int k = 0; k < OF_DOUBLES; k++) {
        const longs inner = found.go_right.vectors[k] > 0;
        found.go_left.vectors[k] = node.vectors[k] - inner;
        found.go_right.vectors[k] = CHOOSE(inner, found.go_right.vectors[k], node.vectors[k]);
    }
    found.left = rows_of(mass, found.go_left);
    found.right = rows_of(mass, found.go_right);
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

/* How many of the sticks from the second one on have at least so much at and behind them. */
static inline __attribute__((always_inline)) Longs sticks_with(const Doubles *mass, int64_t categories, Doubles behind) {
    Longs found = {0};
    for (int64_t c = 1; c < categories; c++)
        for (int k = 0; k < OF_DOUBLES; k++) found.vectors[k] -= mass[2 * c].vectors[k] >= behind.vectors[k];
    return found;
}

/* The same along sticks, node 2c of which is stick c and all behind it. Points are found by search in those masses, which
   never rise: where a point has so much of its node behind it, or more, it goes on. So only the common path is walked. */
static inline __attribute__((always_inline)) void break_sticks(Paths *paths, const Doubles *mass, int64_t categories) {
    const int64_t last = categories - 1;
    const doubles zero = {0};
    Paths at = *paths;
    Doubles behind, stick, rest;
    for (int k = 0; k < OF_DOUBLES; k++) behind.vectors[k] = mass->vectors[k] - at.at_first.vectors[k];
    const Longs first = sticks_with(mass, categories, behind);
    Longs common = {0}, second; /* how many sticks both go past, one of them is at the next */
    for (int k = 0; k < OF_DOUBLES; k++) {
        doubles follows = zero + 1;
        longs going = {-1};
        for (int64_t start = 0; start < last && any(going); start += 4)
            for (int64_t c = start; c < last && c < start + 4; c++) {
                const doubles past = (mass[2 * c + 2].vectors[k] - mass[2 * c + 1].vectors[k]) / mass[2 * c + 2].vectors[k];
                follows *= CHOOSE(past > zero, past, zero);
                going = (at.leaves.vectors[k] < follows) & (first.vectors[k] > c);
                at.together.vectors[k] = CHOOSE(going, follows, at.together.vectors[k]);
                common.vectors[k] -= going;
            }
    }
    for (int lane = 0; lane < LANES; lane++) {
        const int64_t node = 2 * first.lanes[lane], inner = first.lanes[lane] < last;
        stick.lanes[lane] = mass[node + inner].lanes[lane];
        rest.lanes[lane] = inner ? mass[node + 2 * inner].lanes[lane] : 0;
    }
    for (int k = 0; k < OF_DOUBLES; k++) behind.vectors[k] = rest.vectors[k] - at.at_second.vectors[k] * rest.vectors[k];
    second = sticks_with(mass, categories, behind);
    for (int k = 0; k < OF_DOUBLES; k++) {
        /* At its own stick the first point stops; the second one does, too, or goes on. */
        const longs stops = common.vectors[k] == first.vectors[k], possible = stops & (rest.vectors[k] > zero);
        const doubles stay = (stick.vectors[k] - rest.vectors[k]) / stick.vectors[k];
        const doubles stays = at.together.vectors[k] * CHOOSE(stay > zero, stay, zero);
        const longs leaves = possible & ~(at.leaves.vectors[k] < stays), node = 4 * common.vectors[k];
        at.together.vectors[k] = CHOOSE(possible & ~leaves, stays, at.together.vectors[k]);
        at.parted.vectors[k] = CHOOSE(stops, CHOOSE(leaves, node, at.parted.vectors[k]), node + 1);
        at.first.vectors[k] = 2 * first.vectors[k];
        at.second.vectors[k] = 2 * CHOOSE(stops, second.vectors[k], common.vectors[k]);
    }
    *paths = at;
}
