/* One-hots and sums of them: every entry is written once, and added to where an id is. */

#include "../native.h"

/* `out[count, C]`. */
int one_hot(const int64_t *indices, real *out, int64_t count, int64_t categories, int64_t threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t point = 0; point < count; point++) {
        real *row = out + point * categories;
        memset(row, 0, categories * sizeof(real));
        if (is_category(indices[point], categories)) row[indices[point]] = 1;
    }
    return FINE;
}

/* `out[rows, C] = sum_s coefficients_s (e_s - probs)`, without `probs` where that is NULL. `coefficients[S, groups]`, of
   which `shared_by` rows one after the other share each. */
int score(const real *probs, const int64_t *indices, const real *coefficients, real *out, int64_t rows, int64_t categories,
          int64_t points, int64_t groups, int64_t shared_by, int64_t threads) {
    int failed = FINE;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t row = 0; row < rows; row++) {
        real *sum = out + row * categories;
        const int64_t group = row / shared_by;
        if (probs == NULL) {
            memset(sum, 0, categories * sizeof(real));
        } else {
            real total = 0;
            for (int64_t point = 0; point < points; point++) total += coefficients[point * groups + group];
            for (int64_t c = 0; c < categories; c++) sum[c] = -total * probs[row * categories + c];
        }
        for (int64_t point = 0; point < points; point++) {
            const int64_t id = indices[point * rows + row];
            if (is_category(id, categories))
                sum[id] += coefficients[point * groups + group];
            else
                failed = NO_CATEGORY;
        }
    }
    return failed;
}
