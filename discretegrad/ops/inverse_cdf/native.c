/* Independent draws from logits, by search in serial cumulative sums. */

#include "../native.h"

#define SHORT 128 /* categories: up to so many, LANES rows are drawn together */
#define BLOCK 32  /* categories of a long row whose sum is kept */

/* Sums are in double, so that what is rare keeps its share. They never fall, and rise at possible categories only. */

static void draw_short(const real *logits, const uint8_t *mask, const double *noise, int64_t *indices, int64_t row,
                       int64_t rows, int64_t categories, int64_t draws, Doubles *sums, int *failed) {
    const int lanes = rows - row < LANES ? (int)(rows - row) : LANES;
    real *mass = (real *)(sums + categories);
    fetch(noise + row, rows, draws);
    to_lanes(logits, row, rows, categories, mass);
    exponentials(mass, categories);
    Doubles total = {0};
    for (int64_t c = 0; c < categories; c++) {
        for (int lane = 0; lane < LANES; lane++) total.lanes[lane] += mass[c * LANES + lane];
        sums[c] = total;
    }
    for (int lane = 0; lane < lanes; lane++)
        if (!(total.lanes[lane] > 0) && is_on(mask, row + lane)) *failed = NO_PROBABILITIES;
    for (int64_t draw = 0; draw < draws; draw++) {
        Doubles threshold = {0};
        Longs below = {0};
        copy(threshold.lanes, noise + draw * rows + row, lanes, sizeof(double));
        for (int k = 0; k < OF_DOUBLES; k++) threshold.vectors[k] *= total.vectors[k];
        for (int64_t c = 0; c < categories; c++)
            for (int k = 0; k < OF_DOUBLES; k++)
                below.vectors[k] -= sums[c].vectors[k] <= threshold.vectors[k]; /* true is -1 */
        for (int lane = 0; lane < lanes; lane++) {
            const int64_t found = below.lanes[lane] < categories ? below.lanes[lane] : categories - 1;
            indices[draw * rows + row + lane] = is_on(mask, row + lane) ? found : 0;
        }
    }
}

/* Unnormalised probabilities of one block of a row; 0 behind its end. */
static inline void block_of(const real *logits, int64_t start, int64_t categories, real largest, real *RESTRICT mass) {
    if (categories - start >= BLOCK) {
        for (int c = 0; c < BLOCK; c++) mass[c] = exp_of(logits[start + c] - largest);
        return;
    }
    for (int c = 0; c < BLOCK; c++) mass[c] = start + c < categories ? logits[start + c] : -INFINITY;
    for (int c = 0; c < BLOCK; c++) mass[c] = exp_of(mass[c] - largest);
}

static void draw_long(const real *logits, const double *noise, int64_t *indices, int64_t rows, int64_t categories,
                      int64_t draws, double *sums, int *failed) {
    const int64_t blocks = (categories + BLOCK - 1) / BLOCK;
    const real largest = largest_of(logits, categories);
    real mass[BLOCK];
    double total = 0;
    for (int64_t block = 0; block < blocks; block++) {
        block_of(logits, block * BLOCK, categories, largest, mass);
        sums[block] = total += sum_of(mass, BLOCK);
    }
    if (!(total > 0)) *failed = NO_PROBABILITIES;
    for (int64_t draw = 0; draw < draws; draw++) {
        const double threshold = noise[draw * rows] * total;
        int64_t low = 0, high = blocks - 1; /* the first block whose sum is above */
        while (low < high) {
            const int64_t middle = (low + high) / 2;
            if (sums[middle] > threshold)
                high = middle;
            else
                low = middle + 1;
        }
        /* The block's own sum was rounded otherwise, so the search may come to its end: the last possible one is meant. */
        block_of(logits, low * BLOCK, categories, largest, mass);
        double sum = low == 0 ? 0 : sums[low - 1];
        int64_t found = 0;
        for (int c = 0; c < BLOCK; c++) {
            if (!(mass[c] > 0)) continue;
            found = low * BLOCK + c;
            sum += mass[c];
            if (sum > threshold) break;
        }
        indices[draw * rows] = found;
    }
}

/* `indices[draws, rows]` from `logits[rows, C]` and uniform `noise[draws, rows]`; 0 in rows where the `mask` is, if there is
   one, and nothing of them matters. */
int categorical(const real *logits, const uint8_t *mask, const double *noise, int64_t *indices, int64_t rows,
                int64_t categories, int64_t draws, int64_t threads) {
    int failed = FINE;
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
                draw_long(logits + row * categories, noise + row, indices + row, rows, categories, draws, room, &failed);
            else
                for (int64_t draw = 0; draw < draws; draw++) indices[draw * rows + row] = 0;
        }
        free(room);
    }
    return failed;
}
