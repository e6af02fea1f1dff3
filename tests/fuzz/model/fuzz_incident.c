/* Any bytes as an incident document: refused with a place, or loaded; then its mesh can be declared, drawn and stepped, and nothing in it is ever
 * less than nothing or more than all. */
#include <math.h>
#include <string.h>

#include "model_internal.h"
#include "rehearse_internal.h"
#include "yaml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void play(const tt_incident *i, uint64_t seed, bool inner_loop, bool oracle) {
    tt_incident_drawn d;
    tt_incident_draw(i, seed, inner_loop, &d);
    TT_ASSERT(d.tick_ns > 0 && d.spec.scrape_ns > 0 && d.spec.window_ns > 0 && d.spec.ingest_ns >= 0 && d.spec.apply_ns >= 0);
    for (uint32_t f = 0; f < d.spec.n_faults; f++) { /* all of them soon, and within what is played */
        d.spec.faults[f].from_ns %= TT_SECONDS(3);
        d.spec.faults[f].for_ns %= TT_SECONDS(5);
    }
    tt_model *m = tt_model_new(&d.spec, seed, (tt_time){TT_SECONDS(1)});
    if (!m) return;
    if (oracle) tt_model_set_oracle(m);
    for (int step = 0; step < 80; step++) {
        tt_model_step(m);
        const tt_model_truth *t = tt_model_truth_of(m);
        for (uint32_t p = 0; p < TT_MODEL_PRIORITIES; p++) {
            const double of[] = {t->wanted_rps[p], t->offered_rps[p], t->good_rps[p], t->dropped_rps[p], t->refused_rps[p], t->failed_rps[p]};
            for (size_t k = 0; k < TT_COUNT(of); k++) TT_ASSERT(isfinite(of[k]) && of[k] > -1e-6 * (1 + t->offered_rps[p]));
        }
        for (uint32_t s = 0; s < d.spec.n_services; s++)
            for (uint32_t dc = 0; dc < d.spec.n_dcs; dc++) {
                const tt_model_view *v = &m->site[s][dc].view;
                TT_ASSERT(isfinite(v->latency_s) && v->latency_s >= 0 && isfinite(v->ok_latency_s) && v->value >= 0 && v->value <= 1 + 1e-9);
                TT_ASSERT(isfinite(m->site[s][dc].queued) && m->site[s][dc].queued >= 0);
            }
    }
    TT_ASSERT(isfinite(tt_model_capacity(m, 0, -1)));
    tt_model_free(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const tt_yaml_limits limits = {.max_bytes = 1 << 15, .max_nodes = 3000, .max_depth = 64, .places = true};
    static tt_err errs[32];
    tt_err err = {0};
    tt_arena *arena = tt_arena_new();
    const tt_doc *doc = tt_yaml_parse(arena, "fuzz.yaml", (tt_sv){(const char *)data, size}, &limits, &err);
    if (!doc) {
        tt_arena_free(arena);
        return 0;
    }
    size_t n = 0;
    tt_incident *i = tt_incident_load(doc, errs, TT_COUNT(errs), &n);
    TT_ASSERT(n <= TT_COUNT(errs) && (i != NULL) == (n == 0));
    for (size_t k = 0; k < n; k++) TT_ASSERT(errs[k].text[0] && errs[k].line >= 1 && errs[k].column >= 1 && strcmp(errs[k].file, "fuzz.yaml") == 0);
    tt_arena_free(arena); /* the incident needs nothing of it */
    if (!i) return 0;
    TT_ASSERT(tt_incident_name(i)[0] && tt_incident_title(i)[0] && tt_incident_duration_ns(i) > 0);
    tt_buf services;
    tt_buf_init(&services, 1 << 16);
    tt_incident_services(i, true, &services);
    tt_buf_free(&services);
    for (int way = 0; way < 3; way++) play(i, size + (uint64_t)way, way == 1, way == 2);
    tt_incident_free(i);
    return 0;
}
