/* Independent draws from logits, by search in serial cumulative sums. */

#include "../noise/counter.h"

#define SHORT 256 /* categories: up to so many, LANES rows are drawn together */
#define BLOCK 32  /* categories of a long row whose sum is kept; a TILE has several blocks */

/* Sums are in double, so that what is rare keeps its share. They never fall, and rise at possible categories only. */

static void draw_short(const real *logits, const uint8_t *mask, const double *noise, int64_t *indices, int64_t row,
                       int64_t rows, int64_t categories, int64_t draws, Doubles *sums, int *failed) {
    const int lanes = rows - row < LANES ? (int)(rows - row) : LANES;
    real *mass = (real *)(sums + categories);
    fetch(noise + row, rows, draws);
    to_lanes(logits, row, rows, categories, mass);
    if (row + 2 * LANES <= rows) fetch_row(logits + (row + LANES) * categories, LANES * categories);
    exponentials(mass, categories, mass);
    Doubles total;
    doubles so_far[OF_DOUBLES] = {0};
    for (int64_t c = 0; c < categories; c++)
        for (int k = 0; k < OF_DOUBLES; k++)
            sums[c].vectors[k] = so_far[k] += in_double(mass + c * LANES + k * IN_DOUBLES);
    memcpy(&total, so_far, sizeof(total));
    for (int lane = 0; lane < lanes; lane++)
        if (!(total.lanes[lane] > 0) && is_on(mask, row + lane)) *failed = NO_PROBABILITIES;
    for (int64_t draw = 0; draw < draws; draw++) {
        Doubles drawn = {0};
        Longs found;
        doubles threshold[OF_DOUBLES];
        longs below[OF_DOUBLES] = {0};
        copy(drawn.lanes, noise + draw * rows + row, lanes, sizeof(double));
        for (int k = 0; k < OF_DOUBLES; k++) threshold[k] = drawn.vectors[k] * total.vectors[k];
        for (int64_t c = 0; c < categories; c++)
            for (int k = 0; k < OF_DOUBLES; k++) below[k] -= sums[c].vectors[k] <= threshold[k]; /* true is -1 */
        memcpy(&found, below, sizeof(found));
        for (int lane = 0; lane < lanes; lane++) {
            const int64_t last = categories - 1, own = found.lanes[lane] < last ? found.lanes[lane] : last;
            indices[draw * rows + row + lane] = is_on(mask, row + lane) ? own : 0;
        }
    }
}

/* Unnormalised probabilities of up to TILE categories, and 0 behind them up to a whole block. */
static inline void masses_of(const real *logits, int64_t count, real largest, real *RESTRICT mass) {
    for (int64_t c = 0; c < count; c++) mass[c] = exp_of(logits[c] - largest);
    for (int64_t c = count; c % BLOCK != 0; c++) mass[c] = 0;
}

static void draw_long(const real *logits, const double *noise, int64_t *indices, int64_t rows, int64_t categories,
                      int64_t draws, int last, double *sums, int *failed) {
    const int64_t blocks = (categories + BLOCK - 1) / BLOCK;
    const real largest = largest_of(logits, categories);
    real mass[TILE];
    double total = 0;
    for (int64_t start = 0; start < categories; start += TILE) {
        const int64_t here = categories - start < TILE ? categories - start : TILE;
        masses_of(logits + start, here, largest, mass);
        if (!last) fetch_row(logits + categories + start, here);
        for (int64_t c = 0; c < here; c += BLOCK) sums[(start + c) / BLOCK] = total += sum_of(mass + c, BLOCK);
    }
    if (!(total > 0)) *failed = NO_PROBABILITIES;
    for (int64_t draw = 0; draw < draws; draw++) {
        const double threshold = noise[draw * rows] * total;
        int64_t low = 0; /* the first block whose sum is above */
        for (int64_t left = blocks - 1; left > 0;) {
            const int64_t half = (left + 1) / 2;
            low = sums[low + half - 1] <= threshold ? low + half : low;
            left -= half;
        }
        /* The block's own sum was rounded otherwise, so the search may come to its end: the last possible one is meant. */
        const int64_t start = low * BLOCK, here = categories - start < BLOCK ? categories - start : BLOCK;
        masses_of(logits + start, here, largest, mass);
        double sum = low == 0 ? 0 : sums[low - 1];
        int64_t found = 0;
        for (int c = 0; c < BLOCK; c++) {
            if (!(mass[c] > 0)) continue;
            found = start + c;
            sum += mass[c];
            if (sum > threshold) break;
        }
        indices[draw * rows] = found;
    }
}

/* `indices[draws, rows]` from `logits[rows, C]` and uniform `noise[draws, rows]`, or, where that is NULL, from noise that is
   made of a seed, which may be NULL only if there are no rows; 0 in rows where the `mask` is, if there is
   one, and nothing of them matters. */
int categorical(const real *logits, const uint8_t *mask, const double *noise, const int64_t *seed, int64_t *indices,
                int64_t rows, int64_t categories, int64_t draws, int64_t threads) {
    int failed = FINE;
    double *made = NULL;
    if (rows > 0 && noise == NULL) {
        noise = made = noise_from(*seed, draws * rows, threads);
        if (made == NULL) return NO_MEMORY;
    }
    const int together = categories <= SHORT;
#pragma omp parallel num_threads(threads)
    {
        void *room = memory(together ? categories * (int64_t)(sizeof(Doubles) + LANES * sizeof(real))
                                     : (categories / BLOCK + 1) * (int64_t)sizeof(double));
        if (room == NULL) failed = NO_MEMORY;
#pragma omp for schedule(static)
        for (int64_t row = 0; row < rows; row += together ? LANES : 1) {
            if (room == NULL) continue;
            if (together)
                draw_short(logits, mask, noise, indices, row, rows, categories, draws, room, &failed);
            else if (is_on(mask, row))
                draw_long(logits + row * categories, noise + row, indices + row, rows, categories, draws, row + 1 == rows,
                          room, &failed);
            else
                for (int64_t draw = 0; draw < draws; draw++) indices[draw * rows + row] = 0;
        }
        free(room);
    }
    free(made);
    return failed;
}
