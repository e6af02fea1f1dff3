#include "engine_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EVENTS_KEPT = 256 };

void tt_engine_config_default(tt_engine_config *c) {
    *c = (tt_engine_config){.max_series = 100000,
                            .max_loops = 10000,
                            .max_closed = 200,
                            .max_anomalies = 16384,
                            .max_targets = 16384,
                            .max_events = 4096,
                            .epoch = 1,
                            .apply_ns = TT_MS(500),
                            .ingest_ns = TT_SECONDS(1)};
}

static void find_load_signals(tt_engine *e) {
#define NAME(id, name) name,
    static const char *const names[] = {TT_LOAD_SIGNALS(NAME)};
#undef NAME
    for (int i = 0; i < TT_LOAD_COUNT; i++) e->load_signal[i] = tt_rules_signal(e->rules, tt_sv_of(names[i]));
}

tt_engine *tt_engine_new(const tt_rules *rules, const tt_engine_config *cfg) {
    tt_engine *e = calloc(1, sizeof *e);
    if (!e) return NULL;
    e->rules = rules;
    e->cfg = *cfg;
    uint32_t loops = cfg->max_loops + cfg->max_closed;
    /* As large as they may become, but the pages nobody writes to are never there. */
    e->anomalies = calloc(cfg->max_anomalies, sizeof *e->anomalies);
    e->loops = calloc(loops, sizeof *e->loops);
    e->slots = calloc(cfg->max_targets, sizeof *e->slots);
    e->wishes = calloc(cfg->max_targets, sizeof *e->wishes);
    e->events = calloc(cfg->max_events, sizeof *e->events);
    tt_buf_init(&e->packed, 1 << 20);
    e->records = calloc(TT_RECORDS_MAX, sizeof *e->records);
    e->pins = calloc(TT_PINS_MAX, sizeof *e->pins);
    e->drifts = calloc(TT_DRIFTS_MAX, sizeof *e->drifts);
    tt_series_init(&e->series, cfg->max_series);
    bool ok = e->records && e->pins && e->drifts && e->anomalies && e->loops && e->slots && e->wishes && e->events &&
              tt_sites_build(e, rules, &e->groups, &e->sites, &e->n_sites);
    ok = ok && tt_sites_enlist(e, &e->sites_by_name, rules, e->sites, e->n_sites);
    if (!ok) {
        tt_engine_free(e);
        return NULL;
    }
    find_load_signals(e);
    tt_arm_find(e);
    return e;
}

static void forget_peers(tt_engine *e) {
    for (size_t i = 0; i < TT_COUNT(e->peers); i++) {
        tt_peers_free(e->peers[i]);
        e->peers[i] = NULL;
    }
}

void tt_engine_free(tt_engine *e) {
    if (!e) return;
    tt_series_free(&e->series);
    for (uint32_t i = 0; e->anomalies && i < e->n_anomalies; i++)
        if (e->anomalies[i].used) {
            tt_labels_free(&e->anomalies[i].labels);
            free(e->anomalies[i].matches);
        }
    for (uint32_t i = 0; e->loops && i < e->n_loops; i++) {
        tt_history_forget(&e->loops[i].history);
        free(e->loops[i].not_chosen);
    }
    free(e->anomalies);
    forget_peers(e);
    tt_index_free(&e->anomaly_index);
    tt_index_free(&e->anomalies_by_target);
    tt_index_free(&e->sites_by_name);
    tt_index_free(&e->loops_by_id);
    tt_index_free(&e->loops_by_target);
    tt_index_free(&e->instances_by_place);
    tt_index_free(&e->slots_by_target);
    free(e->loops);
    for (uint32_t i = 0; e->slots && i < e->n_slots; i++) free(e->slots[i].content);
    free(e->slots);
    free(e->wishes);
    tt_buf_free(&e->packed);
    free(e->out_decisions);
    free(e->events);
    free(e->records);
    free(e->pins);
    free(e->drifts);
    free(e->groups);
    tt_sites_free(e->sites, e->n_sites);
    free(e->callers);
    free(e);
}

/* The index of the signal that is told the same under the new rules, or -1. How often and how it is folded is asked when it is read. */
static int same_signal(const tt_rules *old, size_t i, const tt_rules *rules) {
    const tt_signal_def *a = &old->signals[i];
    int k = tt_rules_signal(rules, a->name);
    if (k < 0) return -1;
    const tt_signal_def *b = &rules->signals[k];
    bool same = tt_sv_eq(a->query, b->query) && tt_sv_eq(a->reports, b->reports) && a->n_renames == b->n_renames;
    for (size_t r = 0; same && r < a->n_renames; r++) same = tt_sv_eq(a->renames[r].to, b->renames[r].to) && tt_sv_eq(a->renames[r].from, b->renames[r].from);
    return same ? k : -1;
}

void tt_engine_set_rules(tt_engine *e, const tt_rules *rules) {
    tt_group *groups;
    tt_site *sites;
    uint32_t n;
    if (!tt_sites_build(e, rules, &groups, &sites, &n)) return;
    tt_index by_name = {0};
    if (!tt_sites_enlist(e, &by_name, rules, sites, n)) {
        free(groups);
        tt_sites_free(sites, n);
        return;
    }
    tt_sites_delist(e, &e->sites_by_name, e->sites, e->n_sites);
    free(e->groups);
    tt_sites_free(e->sites, e->n_sites);
    e->sites_by_name = by_name;
    e->groups = groups;
    e->sites = sites;
    e->n_sites = n;
    /* At once: whoever looks before the next tick must find nothing of the old rules. */
    int to[TT_SIGNALS_MAX];
    const tt_rules *old = e->rules;
    int offered = e->load_signal[TT_LOAD_OFFERED];
    for (size_t i = 0; i < old->n_signals; i++) to[i] = same_signal(old, i, rules);
    tt_series_move(&e->series, to, old, rules);
    forget_peers(e);
    if (offered < 0 || to[offered] < 0) e->series_since = e->now;
    e->rules = rules;
    tt_anomalies_move(e, old, to);
    find_load_signals(e);
    tt_arm_find(e);
    for (uint32_t i = 0; i < e->n_loops; i++) {
        tt_loop *l = &e->loops[i];
        if (!l->used) continue;
        l->plan = NULL;
        for (size_t k = 0; k < rules->n_plans; k++)
            if (tt_sv_eq(rules->plans[k].name, tt_sv_of(l->plan_name)) && rules->plans[k].hash == l->plan_hash) l->plan = &rules->plans[k];
        tt_history_forget(&l->history); /* its channels may be others now */
    }
    tt_loops_gather(e);
    tt_load_test_rules_changed(e);
    e->rules_changed = true;
    e->windows_open = 0; /* others now: the next tick looks */
    e->pins_unsure = true;
}

void tt_engine_set_timing(tt_engine *e, int64_t scrape_ns, int64_t ingest_ns, int64_t apply_ns) {
    if (scrape_ns > 0) e->cfg.scrape_ns = scrape_ns;
    if (ingest_ns > 0) e->cfg.ingest_ns = ingest_ns;
    if (apply_ns > 0) e->cfg.apply_ns = apply_ns;
}

/* One tick that told thousands is no reason to keep the memory of as many. */
static void begin_events(tt_engine *e) {
    tt_event *fresh = e->n_events > EVENTS_KEPT ? calloc(e->cfg.max_events, sizeof *fresh) : NULL;
    e->n_events = 0;
    if (!fresh) return;
    free(e->events);
    e->events = fresh;
}

void tt_engine_tick(tt_engine *e, const tt_observations *obs, tt_outcome *ret) {
    begin_events(e);
    e->n_out = 0;
    if (e->started) e->tick_ns = obs->now.ns > e->now.ns ? tt_since(obs->now, e->now) : 0;
    if (obs->now.ns > e->now.ns || !e->started) e->now = obs->now;
    e->wall = obs->wall;
    if (e->saved_wall.ms) tt_memory_wake(e);
    if (!e->started) e->series_since = e->now;
    if (!e->started)
        for (uint32_t i = 0; i < e->n_sites; i++)
            if (e->sites[i].violated_at.ns == 0) e->sites[i].violated_at = e->now;
    e->started = true;

    tt_series_take(e, obs);
    tt_anomalies_step(e, obs);
    if (e->rules_changed) {
        tt_emit(e, "rules_changed", NULL, "new rules are in force: %zu plans, %zu signals", e->rules->n_plans, e->rules->n_signals);
        e->rules_changed = false;
    }
    tt_sites_look(e);
    tt_actions_learn(e);
    tt_arbiter_acks(e, obs);
    tt_law_sense(e);
    tt_arm_step(e);
    for (size_t i = 0; i < obs->n_commands; i++) tt_loops_command(e, &obs->commands[i]);
    tt_windows_step(e, obs);
    tt_pins_step(e);
    tt_drift_step(e, obs);
    tt_loops_open(e);
    tt_loops_gather(e);
    tt_loops_step(e);
    tt_load_test_step(e); /* before the laws: what it moved is home again when one of them acts */
    tt_law_step(e);
    tt_actions_step(e);
    tt_arbiter_step(e);
    tt_arbiter_stamp(e);
    tt_loops_gather(e);
    for (uint32_t i = 0; i < e->n_loops; i++)
        if (tt_loop_is_open(&e->loops[i])) tt_loop_sample(e, &e->loops[i]);
    if (e->events_lost) {
        e->events_lost = false;
        tt_event *last = &e->events[e->cfg.max_events - 1];
        tt_copy_text(last->kind, sizeof last->kind, TT_SV("limit_reached"));
        snprintf(last->reason, sizeof last->reason, "more than %u events in one tick: the rest is not told", e->cfg.max_events);
    }
    *ret = (tt_outcome){e->n_out, e->out_decisions, e->n_events, e->events};
}

size_t tt_engine_open_loops(const tt_engine *e) {
    return e->n_open;
}

size_t tt_engine_decisions(tt_engine *e, const tt_decision **ret) {
    /* Gathered into the outcome's own room: the promise of both is the same. */
    uint32_t n = tt_decisions_room(e, e->n_slots) ? e->n_slots : 0;
    for (uint32_t i = 0; i < n; i++) tt_decision_of(e, &e->slots[i], &e->out_decisions[i]);
    *ret = e->out_decisions;
    return n;
}
