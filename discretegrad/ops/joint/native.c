/* k joint values without replacement, and what a set of them leaves of the mass; see README.md.

   An event at a time, its variables one after the other. */

#include "../noise/counter.h"

typedef struct {
    real probability, arrival; /* logarithms: of the prefix; minus that of the time */
    int64_t parent, category;
} Prefix;

/* Put a prefix among the best `count`, the largest arrival first; of equal ones the earlier stays in front. */
static inline void put_in(Prefix *best, int64_t count, Prefix one) {
    int64_t at = count - 1;
    for (; at > 0 && best[at - 1].arrival < one.arrival; at--) best[at] = best[at - 1];
    best[at] = one;
}

/* Arrivals below a prefix's continuations, given that of the prefix, which is the first of them: minus infinity where a
   continuation is impossible. `free` is what they are unconditionally. */
static inline void arrivals_below(const real *RESTRICT log_probs, const real *RESTRICT noise, int64_t categories,
                                  real probability, real arrival, real *RESTRICT free, real *RESTRICT tied) {
    real highest = -INFINITY;
    for (int64_t c = 0; c < categories; c++) free[c] = probability + log_probs[c] - log_of(arrival_of(noise[c]));
    for (int64_t c = 0; c < categories; c++) highest = free[c] > highest ? free[c] : highest;
    for (int64_t c = 0; c < categories; c++) {
        const real gap = arrival - free[c] + log1p_of(-exp_of(free[c] - highest)), size = gap > 0 ? gap : -gap;
        const real moved = arrival - (gap > 0 ? gap : 0) - log1p_of(exp_of(-size));
        tied[c] = free[c] > -INFINITY ? moved : -INFINITY;
    }
}

/* `words[events, k, V]`, in order of arrival, from `log_probs[events, V, C]` and uniform `noise[V, events, k, C]`, which is
   made from the seed where it is NULL. Where fewer are possible the first is repeated. */
int without_replacement(const real *log_probs, const real *noise, const int64_t *seed, int64_t *words, int64_t events,
                        int64_t variables, int64_t categories, int64_t k, int64_t threads) {
    int failed = FINE;
#pragma omp parallel num_threads(threads)
    {
        real *room = memory((3 * categories + 2 * EACH) * sizeof(real));
        real *free_of = room + categories + 2 * EACH, *tied = free_of + categories;
        Prefix *table = memory((variables + 1) * k * sizeof(Prefix));
        if (room == NULL || table == NULL) failed = NO_MEMORY;
#pragma omp for schedule(static)
        for (int64_t event = 0; event < events; event++) {
            if (room == NULL || table == NULL) continue;
            int64_t count = 1;
            table[0] = (Prefix){0};
            for (int64_t v = 0; v < variables; v++) {
                const real *own = log_probs + (event * variables + v) * categories;
                Prefix *before = table + v * k, *best = before + k;
                const int64_t kept = count * categories < k ? count * categories : k;
                for (int64_t at = 0; at < kept; at++) best[at] = (Prefix){-INFINITY, -INFINITY, 0, 0};
                for (int64_t one = 0; one < count; one++) {
                    if (!(before[one].arrival > -INFINITY)) continue;
                    const int64_t from = ((v * events + event) * k + one) * categories;
                    const real *drawn = noise ? noise + from : uniforms_of((uint64_t)*seed, from, categories, room);
                    const real probability = before[one].probability;
                    arrivals_below(own, drawn, categories, probability, before[one].arrival, free_of, tied);
                    for (int64_t c = 0; c < categories; c++)
                        if (tied[c] > best[kept - 1].arrival)
                            put_in(best, kept, (Prefix){probability + own[c], tied[c], one, c});
                }
                count = kept;
            }
            const Prefix *last = table + variables * k;
            for (int64_t at = 0; at < k; at++) {
                int64_t one = at < count && last[at].arrival > -INFINITY ? at : 0;
                for (int64_t v = variables - 1; v >= 0; v--) {
                    const Prefix *own = table + (v + 1) * k + one;
                    words[(event * k + at) * variables + v] = own->category;
                    one = own->parent;
                }
            }
        }
        free(room);
        free(table);
    }
    return failed;
}

/* The logarithm of the mass of those categories that are not among some; `mass` are the exponentials of all, over that of
   `largest`. */
static double log_others(const real *log_probs, real *mass, int64_t categories, real largest, const int64_t *some,
                         int64_t count) {
    for (int64_t at = 0; at < count; at++) mass[some[at]] = 0;
    const double total = sum_of(mass, categories);
    double found = log(total) + largest;
    if (!(total > 1e-30)) { /* too little beside the largest, which is among those: relative to their own */
        real most = -INFINITY;
        for (int64_t c = 0; c < categories; c++) {
            int among = 0;
            for (int64_t at = 0; at < count; at++) among |= some[at] == c;
            mass[c] = among ? -INFINITY : log_probs[c];
            most = mass[c] > most ? mass[c] : most;
        }
        double sum = 0;
        if (most > -INFINITY)
            for (int64_t c = 0; c < categories; c++) sum += exp((double)mass[c] - most);
        found = most > -INFINITY ? log(sum) + most : -INFINITY;
        for (int64_t c = 0; c < categories; c++) mass[c] = exp_of(log_probs[c] - largest);
    }
    for (int64_t at = 0; at < count; at++) mass[some[at]] = exp_of(log_probs[some[at]] - largest);
    return found;
}

/* The categories with which the words of a node go on, one a word; `next[word]` is the first of them with the same one. */
static int64_t part(const int64_t *ids, int64_t stride, int64_t k, const int64_t *node, int64_t first, int64_t *next,
                    int64_t *going_on) {
    int64_t parts = 0;
    for (int64_t word = first; word < k; word++) {
        if (node[word] != first) continue;
        const int64_t id = ids[word * stride];
        int64_t same = first;
        while (node[same] != first || ids[same * stride] != id) same++;
        next[word] = same;
        going_on[parts++] = id;
    }
    return parts;
}

/* Of `words[events, k, V]`: log-probabilities `of_words[k, events]`, minus infinity of one that equals an earlier one, and
   `rest[events]`, that of all others: a sum over where they leave the words' prefix tree. */
int log_masses(const real *log_probs, const int64_t *words, real *of_words, real *rest, int64_t events, int64_t variables,
         int64_t categories, int64_t k, int64_t threads) {
    int failed = FINE;
#pragma omp parallel num_threads(threads)
    {
        real *mass = memory(categories * sizeof(real));
        double *branches = memory((k * variables + k) * sizeof(double)), *prefix = branches + k * variables;
        int64_t *node = memory(3 * k * sizeof(int64_t)), *next = node + k, *going_on = next + k;
        const int there = mass != NULL && branches != NULL && node != NULL;
        if (!there) failed = NO_MEMORY;
#pragma omp for schedule(static)
        for (int64_t event = 0; event < events; event++) {
            const int64_t *ids = words + event * k * variables;
            int inside = there;
            for (int64_t at = 0; inside && at < k * variables; at++) inside = is_category(ids[at], categories);
            if (!inside) {
                if (there) failed = NO_CATEGORY;
                continue;
            }
            int64_t count = 0;
            double most = -INFINITY;
            for (int64_t word = 0; word < k; word++) prefix[word] = node[word] = 0; /* the first word of the same prefix */
            for (int64_t v = 0; v < variables; v++) {
                const real *own = log_probs + (event * variables + v) * categories;
                const real largest = largest_of(own, categories);
                exponentials_of(own, categories, largest, 1, mass);
                for (int64_t word = 0; word < k; word++) {
                    if (node[word] != word) continue;
                    const int64_t parts = part(ids + v, variables, k, node, word, next, going_on);
                    const double branch = prefix[word] + log_others(own, mass, categories, largest, going_on, parts);
                    branches[count++] = branch;
                    most = branch > most ? branch : most;
                }
                for (int64_t word = 0; word < k; word++) {
                    node[word] = next[word];
                    prefix[word] += own[ids[word * variables + v]];
                }
            }
            double total = 0;
            if (most > -INFINITY)
                for (int64_t at = 0; at < count; at++) total += exp(branches[at] - most);
            rest[event] = most > -INFINITY ? (real)(log(total) + most) : -INFINITY;
            for (int64_t word = 0; word < k; word++)
                of_words[word * events + event] = node[word] == word ? (real)prefix[word] : -INFINITY;
        }
        free(mass);
        free(branches);
        free(node);
    }
    return failed;
}
