#include "rules_text.h"

#include <stdio.h>
#include <string.h>

#define DEGRADE "      - degrade: {service: checkout, feature: recommendations, levels: 2, gain: [1.14, 1.33]}\n"
#define LIMIT "      - limit: {by: measured_capacity, keep: [critical, normal, batch]}\n"

const rules_ladder rules_ladders[] = {
    {"degrade-shift-limit", DEGRADE "      - shift: {from: $dc, max: 95%}\n" LIMIT, "auto", {0}, 0.5, true, true, true, false},
    {"limit-shift", LIMIT "      - shift: {from: $dc, max: 50%}\n", "auto", {0}, 0.5, true, false, true, false},
    {"drop-only",
     "      - drop: {priority: batch, max: 100%}\n      - drop: {priority: normal, max: 50%}\n",
     "auto",
     {0, 0.5, 1},
     0.34,
     false,
     false,
     false,
     false},
    {"degrade-drop-shift",
     DEGRADE "      - drop: {priority: batch, max: 80%}\n      - shift: {from: $dc, max: 60%}\n",
     "auto",
     {0, 0, 0.8},
     0.5,
     false,
     true,
     true,
     false},
    {"shift-cutover-limit",
     "      - shift: {from: $dc, max: 90%}\n" LIMIT "      - cutover: {from: $dc, approve: required}\n",
     "auto",
     {0},
     0.5,
     true,
     false,
     true,
     false},
    {"beside-the-ladder",
     "      - hedge: {service: checkout, off_above: 85%}\n      - retry: {budget: 10%}\n      - timeout: {service: checkout, max: 900ms}\n"
     "      - isolate: {max: 90%}\n" DEGRADE
     "      - limit: {by: concurrency, keep: [critical, normal, batch]}\n      - shift: {from: $dc, max: 60%}\n",
     "auto",
     {0},
     0.5,
     true,
     true,
     true,
     true},
    {"approve", DEGRADE "      - shift: {from: $dc, max: 95%}\n" LIMIT, "approve", {0}, 0.5, true, true, true, false},
    {"advise", DEGRADE "      - shift: {from: $dc, max: 95%}\n" LIMIT, "advise", {0}, 0.5, true, true, true, false},
};
const size_t n_rules_ladders = sizeof rules_ladders / sizeof rules_ladders[0];

const rules_ladder *rules_ladder_named(const char *name) {
    for (size_t i = 0; i < n_rules_ladders; i++)
        if (strcmp(rules_ladders[i].name, name) == 0) return &rules_ladders[i];
    return NULL;
}

void rules_options_default(rules_options *ret, const rules_ladder *ladder, const tt_model_spec *spec) {
    *ret = (rules_options){.ladder = ladder,
                           .spec = spec,
                           .every_ms = 1000,
                           .window_ms = 3000,
                           .max_age_ms = 4000 + spec->ingest_ns / 1000000,
                           .keep_ratio = 0.02,
                           .max_capacity_removed = 0.6,
                           .max_loops = 8,
                           .lock_out_reversals = 5};
}

const char *rules_text(const rules_options *o) {
    static const char *const signals[] = {"offered_rps",      "ok_rps",      "refused_rps",          "dropped_rps", "latency_mean_ms", "arrived_rps",
                                          "completed_rps",    "utilization", "retries_rps",          "caller_rps",  "latency_p99_ms",  "error_ratio",
                                          "call_error_ratio", "entry_rps",   "instance_error_ratio", "instance_rps"};
    static char text[16384];
    size_t n = 0;
    const tt_model_spec *spec = o->spec;
#define PUT(...) n += (size_t)snprintf(text + n, sizeof text - n, __VA_ARGS__)
    PUT("services:\n");
    for (uint32_t s = 0; s < spec->n_services; s++) {
        PUT("  - name: %s\n    dcs: {", spec->services[s].name);
        for (uint32_t d = 0; d < spec->n_dcs; d++) PUT("%s%s: {weight: %d%%}", d ? ", " : "", spec->dcs[d], (int)(spec->home[d] * 100 + 0.5));
        PUT("}\n    inner_loop: %s\n", spec->inner_loop ? "true" : "false");
        if (spec->services[s].n_calls) PUT("    calls: [");
        for (uint32_t c = 0; c < spec->services[s].n_calls; c++) PUT("%s%s", c ? ", " : "", spec->services[spec->services[s].calls[c].service].name);
        if (spec->services[s].n_calls) PUT("]\n");
    }
    PUT("signals:\n");
    for (size_t i = 0; i < TT_COUNT(signals); i++)
        PUT("  - {name: %s, query: \"model_%s[%lldms]\", every: %lldms, max_age: %lldms}\n", signals[i], signals[i], (long long)o->window_ms,
            (long long)o->every_ms, (long long)o->max_age_ms);
    PUT("anomalies:\n"
        "  - {name: not-serving, when: error_ratio > 5%% and entry_rps > 5, for: 2s, clear_for: 3s}\n"
        "  - {name: bad-instance, when: instance_error_ratio > 30%% and instance_rps > 1, for: 1s, clear_for: 3s}\n"
        "plans:\n");
    if (!o->without_entry_plan)
        PUT("  - name: keep-serving\n"
            "    on: {anomaly: not-serving, labels: {service: /^(?<svc>.+)$/, dc: /^(?<dc>.+)$/}}\n"
            "    mode: %s\n"
            "    target: {service: $svc, dc: $dc}\n"
            "    keep: [error_ratio <= %d%%]\n"
            "    steps:\n%s"
            "    settle: {hold: 5s, within: 2m}\n"
            "    recover: {after: 12s, step: 25%%, every: 5s}\n"
            "    on_no_data: hold\n"
            "    otherwise: {page: web-oncall}\n",
            o->ladder->mode, (int)(o->keep_ratio * 100 + 0.5), o->ladder->steps);
    PUT("  - name: eject-bad-instance\n"
        "    on: {anomaly: bad-instance, labels: {service: /^(?<svc>.+)$/, dc: /^(?<dc>.+)$/, instance: /^(?<instance>.+)$/}}\n"
        "    mode: %s\n"
        "    target: {service: $svc, dc: $dc, instance: $instance}\n"
        "    keep: [call_error_ratio <= 2%%]\n"
        "    steps:\n"
        "      - eject: {max: %d%%}\n"
        "    settle: {hold: 5s, within: 2m}\n"
        "    recover: {after: 40s, step: 25%%, every: 5s}\n"
        "    otherwise: {page: web-oncall}\n",
        o->ladder->mode, (int)(o->ladder->eject_max * 100 + 0.5));
    PUT("guardrails:\n"
        "  max_concurrent_loops: %u\n"
        "  max_capacity_removed: %d%%\n"
        "  protected: [/^auth-/]\n"
        "  lock_out: {reversals: %u, for: 2m}\n"
        "  most_targets_bad: {share: 90%%, at_least: 5, then: freeze}\n",
        o->max_loops, (int)(o->max_capacity_removed * 100 + 0.5), o->lock_out_reversals);
#undef PUT
    return n < sizeof text ? text : NULL;
}
