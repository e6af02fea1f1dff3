/* Whatever a Prometheus, or what stands in its place, answers: no crash, and no number that is not finite. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "source/answer.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

/* The same bytes as the answer to a range query. */
static void as_a_range(const uint8_t *p, size_t n, const tt_signal_def *def) {
    tt_answer a;
    char why[TT_ANSWER_TEXT];
    if (tt_answer_read_range(n % 2 ? 200 : 422, (tt_sv){(const char *)p, n}, &a, why) != TT_ANSWER_OK) {
        TT_ASSERT(why[0]);
        return;
    }
    size_t count = tt_answer_count(&a), *alike = malloc((count ? count : 1) * sizeof *alike);
    tt_measurement *m = calloc(count ? count : 1, sizeof *m);
    bool good = m && alike;
    for (size_t i = 0; good && i < count; i++) {
        const json_t *one = json_array_get(a.series, i), *values = json_object_get(one, "values");
        good = tt_answer_labels(json_object_get(one, "metric"), def, &m[i], why);
        for (size_t k = 0; k < json_array_size(values); k++) {
            const json_t *text = json_array_get(json_array_get(values, k), 1);
            double v = 0;
            if (tt_answer_number((tt_sv){json_string_value(text), json_string_length(text)}, &v)) TT_ASSERT(isfinite(v) || isnan(v));
        }
    }
    if (good && count) TT_ASSERT(tt_answer_alike(m, count, alike) <= count);
    free(m);
    free(alike);
    tt_answer_free(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    static const tt_answer_clock clock = {{TT_SECONDS(1000)}, 1700000000000, 1700000000500};
    const tt_signal_def def = {.name = TT_SV("s"), .n_renames = 1, .renames = {{TT_SV("service"), TT_SV("to_service")}}};
    as_a_range(p, n, &def);
    tt_answer a;
    char why[TT_ANSWER_TEXT];
    if (tt_answer_read(n % 2 ? 200 : 400, (tt_sv){(const char *)p, n}, &a, why) != TT_ANSWER_OK) {
        TT_ASSERT(why[0]);
        return 0;
    }
    size_t count = tt_answer_count(&a);
    tt_measurement *m = calloc(count ? count : 1, sizeof *m);
    if (m && tt_answer_measurements(&a, &def, 0, &clock, m, why))
        for (size_t i = 0; i < count; i++) {
            TT_ASSERT(isfinite(m[i].value) && m[i].n_labels <= TT_LABELS_MAX && m[i].at.ns <= clock.now.ns);
            for (size_t k = 0; k < m[i].n_labels; k++) TT_ASSERT(m[i].labels[k].name.n > 0 && m[i].labels[k].value.n > 0);
        }
    free(m);
    tt_answer_free(&a);
    return 0;
}
