/* One-hots and sums of them: every entry is written once, and added to where an id is. */

#include "../native.h"

#define ZEROS 1024 /* numbers that are filled with zeros by one call, where rows are short */

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

/* `row = scale * softmax(logits)`. */
static void softmax(const real *RESTRICT logits, real *RESTRICT row, int64_t categories, double scale) {
    enum { BLOCK = 64 }; /* categories whose numbers are summed up while they are at hand */
    const real largest = largest_of(logits, categories);
    double total = 0;
    for (int64_t start = 0; start < categories; start += BLOCK) {
        const int64_t here = categories - start < BLOCK ? categories - start : BLOCK;
        for (int64_t c = start; c < start + here; c++) row[c] = exp_of(logits[c] - largest);
        total += sum_of(row + start, here);
    }
    const real factor = (real)(scale / total);
    for (int64_t c = 0; c < categories; c++) row[c] *= factor;
}

/* `out[rows, C] = sum_s coefficients_s (e_s - p)`, p the `probs`, or the softmax of the `logits`; without p where neither
   is there, and where the coefficients sum to 0. `coefficients[S, groups]`, of which `shared_by` rows one after the other
   share each. Rows where the `mask` is 0, if there is one, are 0, and nothing of them is read. */
int score(const real *probs, const real *logits, const uint8_t *mask, const int64_t *indices, const real *coefficients,
          real *out, int64_t rows, int64_t categories, int64_t points, int64_t groups, int64_t shared_by,
          int64_t threads) {
    int failed = FINE;
    const int centred = probs != NULL || logits != NULL;
    const int64_t together = categories < ZEROS ? ZEROS / categories : 1; /* rows that are filled with zeros at once */
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t start = 0; start < rows; start += together) {
        const int64_t end = start + together < rows ? start + together : rows;
        Group of = {0};
        double total = 0;
        if (!centred) memset(out + start * categories, 0, (end - start) * categories * sizeof(real));
        for (int64_t row = start; row < end; row++) {
            real *sum = out + row * categories;
            if (enters_group(&of, row, shared_by)) {
                total = 0;
                for (int64_t point = 0; point < points; point++) total += coefficients[point * groups + of.number];
            }
            if (centred && (!is_on(mask, row) || total == 0))
                memset(sum, 0, categories * sizeof(real));
            else if (probs != NULL)
                for (int64_t c = 0; c < categories; c++) sum[c] = -(real)total * probs[row * categories + c];
            else if (logits != NULL)
                softmax(logits + row * categories, sum, categories, -total);
            for (int64_t point = 0; point < points && is_on(mask, row); point++) {
                const int64_t id = indices[point * rows + row];
                if (is_category(id, categories))
                    sum[id] += coefficients[point * groups + of.number];
                else
                    failed = NO_CATEGORY;
            }
        }
    }
    return failed;
}
