/* A plant's line, whatever bytes it has: refused with a sentence, or taken apart into figures that are finite and in bounds, a topology that loads as rules or is
 * refused as such, and observations that the engine takes. */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "plant/protocol.h"
#include "yaml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool none(void *ctx, tt_sv name) {
    (void)ctx, (void)name;
    return false;
}

static tt_rules *rules_of(const tt_plant_line *l) {
    static const tt_yaml_limits limits = {.max_bytes = 8 << 20, .max_nodes = 1000000, .max_depth = 16};
    tt_buf topology, signals;
    tt_err err;
    size_t n = 0;
    tt_buf_init(&topology, 8 << 20);
    tt_buf_init(&signals, 1 << 16);
    tt_arena *a = tt_arena_new();
    bool has = tt_plant_topology_rules(l, &topology);
    tt_plant_load_signals(&l->timing, none, NULL, &signals);
    TT_ASSERT(!topology.failed && !signals.failed);
    const tt_doc *docs[2] = {tt_yaml_parse(a, "topology", (tt_sv){has ? topology.p : "", topology.n}, &limits, &err),
                             tt_yaml_parse(a, "signals", (tt_sv){signals.p, signals.n}, NULL, &err)};
    TT_ASSERT(docs[0] && docs[1]); /* what we write ourselves is always well-formed */
    tt_rules *r = tt_rules_load(docs, 2, NULL, &err, 1, &n);
    TT_ASSERT(r || strstr(err.text, "in a circle")); /* all else was refused as the plant's line */
    tt_arena_free(a);
    tt_buf_free(&topology);
    tt_buf_free(&signals);
    return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    tt_plant_line l;
    tt_err err = {0};
    tt_sv text = {(const char *)data, size};
    if (!tt_plant_line_read(text, TT_SECONDS(1), &l, &err)) {
        TT_ASSERT(err.text[0] && !l.arena && !l.root);
        return 0;
    }
    TT_ASSERT(l.now_ns >= TT_SECONDS(1));
    TT_ASSERT(l.score.n <= size || l.score.n <= 8 * size);
    for (size_t i = 0; i < l.n_acks; i++) TT_ASSERT(l.acks[i].share >= 0 && l.acks[i].share <= 1 && l.acks[i].target.service[0]);
    tt_plant_watch w = {0};
    tt_plant_watch_sent(&w, 7, 0);
    tt_plant_watch_line(&w, &l);
    tt_plant_watch_line(&w, &l);
    tt_rules *r = rules_of(&l);
    tt_plant_ear ear = {.epoch = 1};
    tt_observations obs;
    if (r && tt_plant_line_bind(&l, r, &ear, &obs)) {
        tt_engine_config cfg;
        tt_engine_config_default(&cfg);
        cfg.max_series = 256;
        cfg.max_loops = cfg.max_closed = 4;
        for (size_t i = 0; i < obs.n_measurements; i++)
            TT_ASSERT(obs.measurements[i].signal < r->n_signals && obs.measurements[i].n_labels <= TT_LABELS_MAX && obs.measurements[i].at.ns > 0);
        tt_engine *e = tt_engine_new(r, &cfg);
        tt_outcome out;
        tt_engine_tick(e, &obs, &out);
        tt_engine_tick(e, &obs, &out);
        tt_engine_free(e);
    }
    tt_rules_free(r);
    tt_plant_line_free(&l);
    return 0;
}
