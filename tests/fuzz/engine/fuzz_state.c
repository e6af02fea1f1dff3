/* Any text as a saved state: refused and nothing taken, or taken; then the engine goes on with it, and what it saves is a state again. */
#include "engine.h"
#include "pcre.h"
#include "yaml.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char rules_text[] =
    "services: [{name: s, dcs: [a, b], calls: [t]}, {name: t, dcs: [a, b]}]\n"
    "signals: [{name: error_ratio, query: q, every: 1s}, {name: offered_rps, query: q, every: 1s}, {name: ok_rps, query: q, every: 1s}]\n"
    "anomalies:\n"
    "  - {name: w, when: 'error_ratio > 5% and change(offered_rps, 10s) < 100', clear: error_ratio < 2%, for: 2s}\n"
    "  - {name: o, slo: {objective: 99%, errors: error_ratio, requests: offered_rps}}\n"
    "  - {name: b, baseline: {signal: offered_rps, season: 10m, history: 20m, learn: 10m}}\n"
    "  - {name: r, when: 'rate(ok_rps, 10s) > 5 and mean(error_ratio, 20s) > 1%'}\n"
    "  - {name: p, peers: {signal: error_ratio, by: dc, at_least: 1%, min_peers: 1}}\n"
    "  - {name: g, absent: {signal: ok_rps}}\n"
    "  - {name: a, alert: {name: x}}\n"
    "plans:\n"
    "  - {name: x, on: {anomaly: w, labels: {service: '/^(?<svc>.+)$/', dc: '/^(?<dc>.+)$/'}}, target: {service: $svc, dc: $dc}, keep: [error_ratio "
    "<= 1%],\n"
    "     mode: auto, steps: [shift: {}, limit: {}, drop: {priority: batch}]}\n";

static const struct { const char *service, *dc; } sites[] = {{"s", "a"}, {"s", "b"}, {"t", "a"}, {"t", "b"}};

static void tick(tt_engine *e, int64_t second, bool bad) {
    tt_measurement m[12];
    tt_poll polls[3] = {{.signal = 0, .answered = true}, {.signal = 1, .answered = true}, {.signal = 2, .answered = second % 5 != 0}};
    tt_observations obs = {.now = {TT_SECONDS(100000 + second)}, .wall = {1790000000000 + second * 1000}, .n_polls = 3, .polls = polls};
    static const double values[2][3] = {{0.001, 100, 99}, {0.3, 150, 100}};
    for (uint32_t k = 0; k < 3; k++)
        for (size_t i = 0; i < TT_COUNT(sites); i++)
            m[obs.n_measurements++] =
                (tt_measurement){.signal = k,
                                 .n_labels = 2,
                                 .labels = {{TT_SV("service"), tt_sv_of(sites[i].service)}, {TT_SV("dc"), tt_sv_of(sites[i].dc)}},
                                 .value = values[bad && i == 0][k],
                                 .at = {obs.now.ns - TT_SECONDS(1)}};
    obs.measurements = m;
    tt_outcome out;
    tt_engine_tick(e, &obs, &out);
}

static tt_engine *engine_of(const tt_rules *rules) {
    tt_engine_config cfg;
    tt_engine_config_default(&cfg);
    cfg.max_series = 64;
    cfg.max_loops = cfg.max_closed = 8;
    return tt_engine_new(rules, &cfg);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const tt_yaml_limits limits = {.max_bytes = 1 << 18, .max_nodes = 20000, .max_depth = 64};
    tt_err err = {0};
    size_t n = 0;
    tt_arena *arena = tt_arena_new();
    tt_matcher *matcher = tt_pcre_matcher_new();
    const tt_doc *doc = tt_yaml_parse(arena, "rules", tt_sv_of(rules_text), NULL, &err);
    tt_rules *rules = tt_rules_load(&doc, 1, matcher, &err, 1, &n);
    TT_ASSERT(rules);
    const tt_doc *saved = tt_yaml_parse(arena, "state", (tt_sv){(const char *)data, size}, &limits, &err);
    tt_engine *e = saved ? engine_of(rules) : NULL;
    if (e) {
        bool taken = tt_engine_restore(e, saved, (tt_time){TT_SECONDS(100000)}, &err);
        TT_ASSERT(taken || err.text[0]);
        for (int64_t s = 1; s <= 12; s++) tick(e, s, s > 3);
        tt_buf text;
        tt_buf_init(&text, 1 << 20);
        tt_engine_anomalies_json(e, &text);
        text.n = 0;
        tt_engine_save(e, (tt_time){TT_SECONDS(100013)}, &text);
        TT_ASSERT(!text.failed);
        const tt_doc *again = tt_yaml_parse(arena, "again", (tt_sv){text.p, text.n}, &tt_yaml_state_limits, &err);
        tt_engine *second = again ? engine_of(rules) : NULL;
        TT_ASSERT(second && tt_engine_restore(second, again, (tt_time){TT_SECONDS(100013)}, &err));
        tt_engine_free(second);
        tt_buf_free(&text);
    }
    tt_engine_free(e);
    tt_rules_free(rules);
    tt_pcre_matcher_free(matcher);
    tt_arena_free(arena);
    return 0;
}
