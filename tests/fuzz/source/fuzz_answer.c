/* Whatever a Prometheus, or what stands in its place, answers: no crash, and no number that is not finite. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "source/answer.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    static const tt_answer_clock clock = {{TT_SECONDS(1000)}, 1700000000000, 1700000000500};
    const tt_signal_def def = {.name = TT_SV("s"), .n_renames = 1, .renames = {{TT_SV("service"), TT_SV("to_service")}}};
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
