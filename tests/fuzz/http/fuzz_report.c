/* A load report's body: whatever comes, every figure made of it is finite and not negative, and an error says where. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "mesh/board.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static tt_signal_def defs[] = {
    {.reports = {"offered_rps", 11}},     {.reports = {"completed_rps", 13}},  {.reports = {"utilization", 11}},    {.reports = {"error_ratio", 11}},
    {.reports = {"latency_mean_ms", 15}}, {.reports = {"latency_p50_ms", 14}}, {.reports = {"latency_p99_ms", 14}}, {.reports = {"inflight", 8}},
};
static const tt_rules rules = {.n_signals = TT_COUNT(defs), .signals = defs};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    tt_board *b = tt_board_new(1);
    tt_err err = {0};
    const tt_measurement *m;
    uint32_t connected, behind;
    if (!b) return 0;
    bool ok = tt_board_report(b, (tt_sv){(const char *)data, size}, (tt_time){1}, &err);
    TT_ASSERT(ok || err.text[0]);
    tt_board_counts(b, (tt_time){2}, &connected, &behind);
    TT_ASSERT(connected == (ok ? 1u : 0u));
    size_t n = tt_board_measurements(b, &rules, (tt_time){2}, &m);
    TT_ASSERT(ok || n == 0);
    for (size_t i = 0; i < n; i++) TT_ASSERT(isfinite(m[i].value) && m[i].value >= 0 && m[i].n_labels <= TT_LABELS_MAX);
    tt_buf out;
    tt_buf_init(&out, 1 << 20);
    tt_board_agents_json(b, 0, (tt_time){2}, &out);
    TT_ASSERT(!out.failed);
    tt_buf_free(&out);
    tt_board_free(b);
    return 0;
}
