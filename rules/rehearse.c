/* Runs: the model's steps, the engine's ticks, and what they are worth. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rehearse_check.h"
#include "rehearse_internal.h"

enum { ACTUATORS_MAX = 128 };
static const int64_t wall_start_ms = 1790000000000;
/* Monotonic time starts anywhere but at zero. */
static const tt_time boot = {TT_SECONDS(5000)};

/* ---- what the engine said ---- */

typedef struct {
    char what[3 * TT_NAME_MAX]; /* target and action */
    int direction;              /* of the last change */
} actuator;

typedef struct {
    actuator actuators[ACTUATORS_MAX];
    uint32_t n_actuators;
} actuators;

/* +1: takes more away; -1: gives back. A limit works the other way round. */
static int direction_of(const tt_event *ev) {
    bool limit = strcmp(ev->action, "limit") == 0;
    double from = isnan(ev->from) ? (limit ? 1e18 : 0) : ev->from, to = isnan(ev->to) ? (limit ? 1e18 : 0) : ev->to;
    if (limit) return to < from ? 1 : to > from ? -1 : 0;
    return to > from ? 1 : to < from ? -1 : 0;
}

static bool reverses(actuators *a, const tt_event *ev) {
    char what[3 * TT_NAME_MAX];
    int d = direction_of(ev);
    if (!d) return false;
    snprintf(what, sizeof what, "%.120s/%.120s %.120s", ev->target.service, ev->target.dc, ev->action);
    for (uint32_t i = 0; i < a->n_actuators; i++) {
        if (strcmp(a->actuators[i].what, what) != 0) continue;
        bool turned = a->actuators[i].direction == -d;
        a->actuators[i].direction = d;
        return turned;
    }
    if (a->n_actuators == ACTUATORS_MAX) return false;
    memcpy(a->actuators[a->n_actuators].what, what, sizeof what);
    a->actuators[a->n_actuators++].direction = d;
    return false;
}

static void hear(tt_rehearsal *r, actuators *a, const tt_outcome *out) {
    r->n_pushes += (uint32_t)out->n_decisions;
    for (size_t i = 0; i < out->n_events; i++) {
        const tt_event *ev = &out->events[i];
        if (strcmp(ev->kind, "loop_opened") == 0) r->n_loops++;
        if (strcmp(ev->kind, "action") != 0 || !ev->loop[0]) continue;
        r->n_actions++;
        r->n_reversals += reverses(a, ev);
    }
}

/* ---- a run ---- */

typedef struct {
    tt_model *model;
    tt_engine *engine;
    actuators *heard;
    tt_check *check;
    tt_incident_drawn drawn;
    tt_observations obs;
    tt_outcome out;
    int64_t next_rival_ns;
} course;

static bool open_run(course *x, const tt_rehearsal_spec *spec, tt_rehearsal *ret, tt_err *err) {
    tt_incident_draw(spec->incident, spec->seed, spec->inner_loop, &x->drawn);
    ret->n_seconds = (uint32_t)(tt_incident_duration_ns(spec->incident) / TT_SECONDS(1));
    ret->second = calloc(ret->n_seconds ? ret->n_seconds : 1, sizeof *ret->second);
    x->model = tt_model_new(&x->drawn.spec, spec->seed, boot);
    if (!ret->second || !x->model) return tt_fail(err, TT_ENOMEM, "memory is out");
    if (spec->control == TT_CONTROL_ORACLE) tt_model_set_oracle(x->model);
    if (spec->control != TT_CONTROL_ENGINE) return true;
    bool any = false;
    for (uint32_t s = 0; s < x->drawn.spec.n_services; s++) any |= tt_rules_service(spec->rules, tt_sv_of(x->drawn.spec.services[s].name)) >= 0;
    if (!any)
        return tt_fail(err, TT_EUNKNOWN,
                       "the rules declare no service of incident %s, whose entry is %s: leave services out of them to have the incident's",
                       tt_incident_name(spec->incident), x->drawn.spec.services[0].name);
    tt_engine_config cfg;
    tt_engine_config_default(&cfg);
    cfg.max_series = 4096;
    cfg.max_loops = 64;
    cfg.max_closed = 32;
    cfg.epoch = 1;
    cfg.scrape_ns = x->drawn.told_scrape_ns;
    cfg.ingest_ns = x->drawn.told_ingest_ns;
    cfg.apply_ns = x->drawn.told_apply_ns;
    cfg.epoch = 2; /* there was another writer before */
    x->engine = tt_engine_new(spec->rules, &cfg);
    x->heard = calloc(1, sizeof *x->heard);
    x->check = calloc(1, sizeof *x->check);
    if (!x->engine || !x->heard || !x->check) return tt_fail(err, TT_ENOMEM, "memory is out");
    tt_check_init(x->check, spec->rules, &x->drawn.spec, &cfg);
    return true;
}

static void close_run(course *x) {
    tt_engine_free(x->engine);
    tt_model_free(x->model);
    free(x->heard);
    free(x->check);
}

static void note(tt_rehearsal *r, const tt_model *m, int64_t elapsed_ns) {
    const tt_model_truth *t = tt_model_truth_of(m);
    uint32_t at = (uint32_t)((elapsed_ns - 1) / TT_SECONDS(1));
    if (at >= r->n_seconds) return;
    tt_rehearsal_second *s = &r->second[at];
    const double share = (double)TT_MODEL_STEP_NS / 1e9;
    double wanted = 0, good = 0, offered = 0, dropped = 0, refused = 0, failed = 0;
    for (int p = 0; p < TT_MODEL_PRIORITIES; p++) {
        wanted += t->wanted_rps[p];
        good += t->good_rps[p];
        offered += t->offered_rps[p];
        dropped += t->dropped_rps[p];
        refused += t->refused_rps[p];
        failed += t->failed_rps[p];
    }
    s->wanted += (float)(wanted * share);
    s->good += (float)(good * share);
    s->wanted_high += (float)(t->wanted_rps[0] * share);
    s->good_high += (float)(t->good_rps[0] * share);
    s->admitted += (float)(fmax(offered - dropped - refused, 0) * share);
    s->failed += (float)(failed * share);
    s->dropped += (float)(dropped * share);
    s->refused += (float)(refused * share);
    s->needless += (float)(t->needless_rps * share);
    s->faulty |= t->faulty;
}

/* A writer that was stopped and does not know it. Nothing of what it writes may come into force. */
static void rival(course *x, int64_t t, tt_rehearsal *r) {
    double every_s = tt_model_amount(x->model, TT_FAULT_RIVAL, -1, -1, -1);
    if (every_s < 0.1 || t < x->next_rival_ns) return;
    x->next_rival_ns = t + (int64_t)(every_s * 1e9);
    tt_decision empty[TT_MODEL_DCS];
    memset(empty, 0, sizeof empty);
    for (uint32_t d = 0; d < x->drawn.spec.n_dcs; d++) {
        snprintf(empty[d].target.service, sizeof empty[d].target.service, "%s", x->drawn.spec.services[0].name);
        snprintf(empty[d].target.dc, sizeof empty[d].target.dc, "%s", x->drawn.spec.dcs[d]);
        empty[d].epoch = 1;
        empty[d].version = 1000000;
    }
    if (!tt_model_take(x->model, 1, empty, x->drawn.spec.n_dcs)) return;
    if (!r->n_violations++) snprintf(r->violation, sizeof r->violation, "the mesh took a decision of a writer that was replaced");
}

static void tick(course *x, const tt_rehearsal_spec *spec, int64_t t, tt_rehearsal *r) {
    if (!x->engine) {
        memset(&x->obs, 0, sizeof x->obs);
        x->obs.now = tt_model_now(x->model);
        return;
    }
    tt_model_observe(x->model, spec->rules, &x->obs);
    x->obs.wall.ms = wall_start_ms + t / 1000000 + (int64_t)(tt_model_amount(x->model, TT_FAULT_CLOCK, -1, -1, -1) * 1000);
    tt_engine_tick(x->engine, &x->obs, &x->out);
    tt_check_tick(x->check, t, &x->obs, &x->out, x->engine);
    hear(r, x->heard, &x->out);
    tt_model_take(x->model, 2, x->out.decisions, x->out.n_decisions);
    rival(x, t, r);
}

static bool all_undone(tt_engine *e) {
    const tt_decision *d;
    size_t n = tt_engine_decisions(e, &d);
    for (size_t i = 0; i < n; i++)
        if (d[i].n_actions && !d[i].armed) return false;
    return true;
}

bool tt_rehearse(const tt_rehearsal_spec *spec, tt_rehearsal *ret, tt_err *err) {
    course x = {0};
    memset(ret, 0, sizeof *ret);
    if (!open_run(&x, spec, ret, err)) {
        close_run(&x);
        tt_rehearsal_free(ret);
        return false;
    }
    int64_t end = (int64_t)ret->n_seconds * TT_SECONDS(1), next = x.drawn.tick_ns;
    for (int64_t t = TT_MODEL_STEP_NS; t <= end; t += TT_MODEL_STEP_NS) {
        tt_model_step(x.model);
        note(ret, x.model, t);
        if (t < next) continue;
        next += x.drawn.tick_ns;
        tick(&x, spec, t, ret);
        if (!spec->watch) continue;
        tt_rehearsal_tick w = {t, x.model, &x.obs, x.engine ? &x.out : NULL, x.engine};
        spec->watch(spec->ctx, &w);
    }
    ret->all_undone = !x.engine || all_undone(x.engine);
    if (x.check && x.check->n_broken) {
        if (!ret->n_violations) snprintf(ret->violation, sizeof ret->violation, "%s", x.check->first);
        ret->n_violations += x.check->n_broken;
    }
    close_run(&x);
    return true;
}

void tt_rehearsal_free(tt_rehearsal *r) {
    free(r->second);
    r->second = NULL;
    r->n_seconds = 0;
}

/* ---- scores ---- */

/* control.md, section 3. A second is in breach where the run gives less than `floor` of what the oracle gives. */
static bool within(const tt_rehearsal_second *s, const tt_rehearsal_second *o, double floor) {
    /* What the oracle can't help is no breach: where everything fails everywhere, there is nothing to mitigate. */
    bool failing = s->admitted > 1e-3F && s->failed > 0.05F * s->admitted && !(o->admitted > 1e-3F && o->failed > 0.05F * o->admitted);
    return s->good >= floor * o->good && s->good_high >= floor * o->good_high && !failing;
}

/* Seconds from the first breach of 85 % to the start of `need` seconds within `floor`; 0: no breach; NAN: never. */
static double time_to(const tt_rehearsal *run, const tt_rehearsal *oracle, double floor, uint32_t need) {
    uint32_t first = 0, held = 0;
    while (first < run->n_seconds && within(&run->second[first], &oracle->second[first], 0.85)) first++;
    if (first == run->n_seconds) return 0;
    for (uint32_t i = first; i < run->n_seconds; i++) {
        held = within(&run->second[i], &oracle->second[i], floor) ? held + 1 : 0;
        if (held == need) return (double)(i + 1 - need - first);
    }
    return (double)NAN;
}

void tt_rehearsal_score(const tt_rehearsal *run, const tt_rehearsal *oracle, const tt_rehearsal *nothing, tt_score *ret) {
    double wanted = 0, wanted_high = 0, mine = 0, best = 0, none = 0, mine_high = 0, best_high = 0, needless = 0;
    for (uint32_t i = 0; i < run->n_seconds && i < oracle->n_seconds && i < nothing->n_seconds; i++) {
        wanted += run->second[i].wanted;
        wanted_high += run->second[i].wanted_high;
        mine += run->second[i].good;
        best += oracle->second[i].good;
        none += nothing->second[i].good;
        mine_high += run->second[i].good_high;
        best_high += oracle->second[i].good_high;
        needless += run->second[i].needless;
    }
    if (wanted <= 0) wanted = 1;
    if (wanted_high <= 0) wanted_high = 1;
    *ret = (tt_score){.lost_ratio = (best - mine) / wanted,
                      .oracle_share = (double)NAN,
                      .normalized_loss_num = best - mine,
                      .normalized_loss_den = best - none,
                      .time_to_mitigate_s = time_to(run, oracle, 0.85, 10),
                      .time_to_settle_s = time_to(run, oracle, 0.88, 60),
                      .needless_drop_ratio = needless / wanted,
                      .high_priority_loss_ratio = (best_high - mine_high) / wanted_high,
                      .harm_ratio = (none - mine) / wanted,
                      .worse_than_nothing = none - mine > 0.01 * wanted};
    if (best - none >= 0.005 * wanted) ret->oracle_share = (mine - none) / (best - none);
}
