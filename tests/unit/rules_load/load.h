/* Rules from texts, for the tests of the loader. */
#ifndef RULES_LOAD_LOAD_H
#define RULES_LOAD_LOAD_H

#include "pcre.h"
#include "unit.h"
#include "yaml.h"

typedef struct {
    tt_matcher *matcher;
    tt_rules *rules;
    tt_err errs[64];
    size_t n_errs;
} loaded;

static inline void load_texts(loaded *l, const char *const texts[], size_t n) {
    const tt_doc *docs[8];
    tt_arena *arena = tt_arena_new();
    *l = (loaded){.matcher = tt_pcre_matcher_new()};
    for (size_t i = 0; i < n; i++) {
        char name[16];
        snprintf(name, sizeof(name), "%c.yaml", (char)('a' + i));
        docs[i] = tt_yaml_parse(arena, name, tt_sv_of(texts[i]), NULL, &l->errs[0]);
        if (!docs[i]) ROW_FAIL(texts[i], "%u:%u: %s", l->errs[0].line, l->errs[0].column, l->errs[0].text);
    }
    l->rules = tt_rules_load(docs, n, l->matcher, l->errs, TT_COUNT(l->errs), &l->n_errs);
    tt_arena_free(arena); /* the rules must not need it any more */
}

static inline void load_text(loaded *l, const char *text) {
    load_texts(l, (const char *const[]){text}, 1);
}

static inline void unload(loaded *l) {
    tt_rules_free(l->rules);
    tt_pcre_matcher_free(l->matcher);
}

static inline void print_errs(const loaded *l) {
    for (size_t i = 0; i < l->n_errs; i++) {
        char text[900];
        tt_err_print(&l->errs[i], text, sizeof(text));
        print_error("  %s\n", text);
    }
}

/* A document without a fault that uses every section; the tests of checks change one thing in it. */
static const char good_text[] = "priorities: [critical, normal, batch]\n"
                                "services:\n"
                                "  - name: front\n"
                                "    dcs: {dc-a: {weight: 60%, capacity_rps: 140}, dc-b: {weight: 40%}}\n"
                                "    calls: [checkout]\n"
                                "    inner_loop: true\n"
                                "  - name: checkout\n"
                                "    dcs: [dc-a, dc-b]\n"
                                "    calls: [recommendations]\n"
                                "  - name: recommendations\n"
                                "    dcs: [dc-a]\n"
                                "signals:\n"
                                "  - name: error_ratio\n"
                                "    query: sum(rate(errors_total{code=~\"[45]..\"}[30s])) / sum(rate(all_total[1m]))\n"
                                "    every: 5s\n"
                                "    labels: {service: to_service}\n"
                                "  - name: offered_rps\n"
                                "    reports: offered_rps\n"
                                "  - name: p99_ms\n"
                                "    reports: latency_p99_ms\n"
                                "anomalies:\n"
                                "  - name: overload\n"
                                "    when: error_ratio > 5% and offered_rps > 50\n"
                                "    for: 10s\n"
                                "  - name: paged\n"
                                "    alert: {name: /HighErrorRate|LatencySLO/}\n"
                                "plans:\n"
                                "  - name: shed\n"
                                "    on: {anomaly: overload, labels: {service: /^(?<svc>.+)$/, dc: /^(?<dc>.+)$/}}\n"
                                "    mode: auto\n"
                                "    target: {service: $svc, dc: $dc}\n"
                                "    keep: [error_ratio <= 1%, p99_ms <= 250]\n"
                                "    steps:\n"
                                "      - degrade: {service: checkout, feature: related, levels: 2, gain: [1.14, 1.33]}\n"
                                "      - limit: {by: measured_capacity, keep: [critical, normal]}\n"
                                "      - drop: {priority: batch, max: 80%}\n"
                                "      - shift: {from: $dc, max: 40%}\n"
                                "      - cutover: {from: $dc, approve: required}\n"
                                "    settle: {hold: 30s, within: 5m}\n"
                                "    recover: {after: 1m, step: 20%, every: 15s}\n"
                                "    approval: {within: 2m}\n"
                                "    on_no_data: hold\n"
                                "    otherwise: {page: web-oncall}\n"
                                "  - name: by-hand\n"
                                "    on: {anomaly: paged, labels: {dc: dc-a}}\n"
                                "    target: {service: checkout, dc: dc-a}\n"
                                "    keep: [error_ratio <= 1%]\n"
                                "    steps: [limit: {}]\n"
                                "guardrails:\n"
                                "  max_concurrent_loops: 7\n"
                                "  max_capacity_removed: 30%\n"
                                "  protected: [payments, /^auth-/]\n"
                                "  lock_out: {reversals: 4, for: 20m}\n"
                                "  most_targets_bad: {share: 50%, at_least: 4, then: freeze}\n";

#endif
