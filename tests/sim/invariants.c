#include "invariants.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void invariants_init(invariants *v, const rules_options *rules) {
    memset(v, 0, sizeof *v);
    v->rules = rules;
}

static bool broken(invariants *v, const world *w, const char *fmt, ...) TT_PRINTF(3, 4);
static bool broken(invariants *v, const world *w, const char *fmt, ...) {
    if (v->broken[0]) return false;
    int n = snprintf(v->broken, sizeof v->broken, "at %.1f s: ", (double)world_elapsed(w) / 1e9);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(v->broken + n, sizeof v->broken - (size_t)n, fmt, ap);
    va_end(ap);
    return false;
}
/* Ages of what was told of a site, for a failure's text. */
static const char *told(const invariants *v, const world *w, int s, int d) {
    static char text[256];
    size_t n = 0;
    for (uint32_t p = 0; p < w->spec.n_priorities; p++) {
        const inv_sample *x[2] = {&v->offered[s][d][p], &v->ok[s][d][p]};
        for (int k = 0; k < 2; k++)
            n += (size_t)snprintf(text + n, sizeof text - n, " %s%s%.1fs", k ? "ok " : "offered ",
                                  x[k]->good   ? ""
                                  : x[k]->told ? "NaN since "
                                               : "absent since ",
                                  (double)(w->obs.now.ns - x[k]->at_ns) / 1e9);
    }
    return text;
}

#define HOLDS(cond, ...)                                                                                                                             \
    do {                                                                                                                                             \
        v->n_checks++;                                                                                                                               \
        if (!(cond)) return broken(v, w, __VA_ARGS__);                                                                                               \
    } while (0)

/* ---- names ---- */

static int service_index(const world *w, const char *name) {
    for (uint32_t i = 0; i < w->spec.n_services; i++)
        if (strcmp(w->spec.services[i].name, name) == 0) return (int)i;
    return -1;
}

static int dc_index(const world *w, const char *name) {
    for (uint32_t i = 0; i < w->spec.n_dcs; i++)
        if (strcmp(w->spec.dcs[i], name) == 0) return (int)i;
    return -1;
}

static int priority_index(const world *w, const char *name) {
    for (uint32_t i = 0; i < w->spec.n_priorities; i++)
        if (strcmp(w->spec.priorities[i], name) == 0) return (int)i;
    return -1;
}

static const char *label(const tt_measurement *m, const char *name) {
    for (size_t i = 0; i < m->n_labels; i++)
        if (tt_sv_eq(m->labels[i].name, tt_sv_of(name))) return m->labels[i].value.p; /* the model's are NUL-terminated */
    return "";
}

static int instance_index(const world *w, int s, int d, const char *name) {
    char buf[TT_NAME_MAX];
    for (uint32_t i = 0; i < w->spec.services[s].instances; i++) {
        tt_model_instance_name(w->model, (uint32_t)s, (uint32_t)d, i, buf);
        if (strcmp(buf, name) == 0) return (int)i;
    }
    return -1;
}

static const world_loop *loop_of(const invariants *v, const world *w, const char *id) {
    for (size_t i = 0; i < w->n_loops; i++)
        if (strcmp(w->loops[i].id, id) == 0) return &w->loops[i];
    for (size_t i = 0; i < v->n_before; i++)
        if (strcmp(v->before[i].id, id) == 0) return &v->before[i];
    return NULL;
}

/* ---- what the engine was told ---- */

static void remember_samples(invariants *v, const world *w) {
    for (size_t i = 0; i < w->obs.n_polls; i++) {
        if (!w->obs.polls[i].answered) continue;
        tt_sv name = w->rules->signals[w->obs.polls[i].signal].name;
        for (uint32_t s = 0; s < TT_MODEL_SERVICES; s++)
            for (uint32_t d = 0; d < TT_MODEL_DCS; d++) {
                for (uint32_t p = 0; p < TT_MODEL_PRIORITIES; p++) {
                    if (tt_sv_eq(name, TT_SV("offered_rps"))) v->offered[s][d][p].good = v->offered[s][d][p].told = false;
                    if (tt_sv_eq(name, TT_SV("ok_rps"))) v->ok[s][d][p].good = v->ok[s][d][p].told = false;
                }
                for (uint32_t k = 0; k < TT_MODEL_INSTANCES; k++)
                    if (tt_sv_eq(name, TT_SV("instance_error_ratio"))) v->instance[s][d][k].good = false;
            }
    }
    for (size_t i = 0; i < w->obs.n_measurements; i++) {
        const tt_measurement *m = &w->obs.measurements[i];
        tt_sv name = w->rules->signals[m->signal].name;
        int s = service_index(w, label(m, "service")), d = dc_index(w, label(m, "dc")), p = priority_index(w, label(m, "priority"));
        if (s < 0 || d < 0) continue;
        inv_sample *x = NULL;
        if (tt_sv_eq(name, TT_SV("offered_rps")) && p >= 0) x = &v->offered[s][d][p];
        if (tt_sv_eq(name, TT_SV("ok_rps")) && p >= 0) x = &v->ok[s][d][p];
        if (tt_sv_eq(name, TT_SV("instance_error_ratio"))) {
            int k = instance_index(w, s, d, label(m, "instance"));
            if (k >= 0) x = &v->instance[s][d][k];
        }
        if (!x) continue;
        x->told = true;
        if (!isfinite(m->value)) continue;
        x->good = true;
        x->at_ns = m->at.ns;
    }
}

static bool fresh(const invariants *v, const world *w, const inv_sample *x) {
    return x->good && w->obs.now.ns - x->at_ns <= TT_MS(v->rules->max_age_ms);
}

/* Every part that was told lately; *ret_at is the oldest. A series that hasn't been told for as long as a value is good counts as gone. */
static bool sum_known(const invariants *v, const world *w, const inv_sample x[TT_MODEL_PRIORITIES], int64_t *ret_at) {
    bool any = false;
    for (uint32_t p = 0; p < w->spec.n_priorities; p++) {
        if (!fresh(v, w, &x[p])) {
            if (x[p].told || w->obs.now.ns - x[p].at_ns <= TT_MS(v->rules->max_age_ms)) return false;
            continue;
        }
        any = true;
        if (x[p].at_ns < *ret_at) *ret_at = x[p].at_ns;
    }
    return any;
}

static bool site_known(const invariants *v, const world *w, int s, int d, int64_t *ret_at) {
    *ret_at = INT64_MAX;
    return sum_known(v, w, v->offered[s][d], ret_at) && sum_known(v, w, v->ok[s][d], ret_at);
}

/* ---- decisions by themselves ---- */

static bool decision_is_sane(invariants *v, const world *w, const tt_decision *d) {
    int s = service_index(w, d->target.service), dc = dc_index(w, d->target.dc);
    HOLDS(s >= 0 && (dc >= 0 || !d->target.dc[0]), "decision for %s/%s, which nobody declared", d->target.service, d->target.dc);
    HOLDS(strncmp(d->target.service, "auth-", 5) != 0 || d->n_actions == 0, "protected service %s is touched", d->target.service);
    HOLDS(!d->armed || (d->n_actions == 1 && (d->actions[0].kind == TT_ACT_LIMIT || d->actions[0].kind == TT_ACT_CONCURRENCY) && d->n_loops == 0), "%s/%s: armed, and more than a cap", d->target.service,
          d->target.dc);
    HOLDS(d->n_actions == 0 || d->n_loops > 0 || d->armed, "%s/%s: actions without a loop that answers for them", d->target.service, d->target.dc);
    uint32_t ejected = 0;
    for (uint32_t i = 0; i < d->n_actions; i++) {
        const tt_act *a = &d->actions[i];
        HOLDS(isfinite(a->value) && a->value >= 0, "%s/%s: actuator %g", d->target.service, d->target.dc, a->value);
        for (uint32_t k = 0; k < i; k++)
            HOLDS(d->actions[k].kind != a->kind || strcmp(d->actions[k].name, a->name) != 0, "%s/%s: the same action twice", d->target.service,
                  d->target.dc);
        double sum = 0, most = 0, removed = 0;
        int p;
        switch (a->kind) {
        case TT_ACT_LIMIT:
            HOLDS(v->rules->ladder->limits, "a limit, and no plan has one");
            HOLDS(a->value > 0 && dc >= 0 && d->n_names > 0, "%s/%s: limit %g, keeps %u priorities", d->target.service, d->target.dc, a->value,
                  d->n_names);
            break;
        case TT_ACT_DROP:
            p = priority_index(w, a->name);
            HOLDS(p >= 0 && a->value <= v->rules->ladder->drop_max[p] + 1e-9, "drop %s %g is over the step's cap", a->name, a->value);
            break;
        case TT_ACT_DEGRADE:
            HOLDS(v->rules->ladder->degrades && (a->value == 1 || a->value == 2), "degrade level %g", a->value);
            HOLDS(a->probe_ratio > 0 && a->probe_ratio <= 1, "probe ratio %g", a->probe_ratio);
            break;
        case TT_ACT_WEIGHTS:
            HOLDS((v->rules->ladder->shifts || (w->test[0] && d->n_loops == 1 && strcmp(d->loops[0], w->test) == 0)) && dc < 0 && d->n_names == w->spec.n_dcs, "weights over %u of %u data centers", d->n_names, w->spec.n_dcs);
            for (uint32_t k = 0; k < d->n_names; k++) {
                int which = dc_index(w, d->names[k]);
                HOLDS(which >= 0 && d->shares[k] >= 0 && d->shares[k] <= 1 + 1e-9, "weight of %s is %g", d->names[k], d->shares[k]);
                sum += d->shares[k];
                if (d->shares[k] > most) most = d->shares[k];
                double home = w->spec.home[which];
                /* Data centers are built alike in the model: capacity goes by the number, not by the share. */
                if (d->shares[k] < home) removed += (1 - d->shares[k] / home) / w->spec.n_dcs;
            }
            HOLDS(fabs(sum - 1) < 1e-9, "weights sum to %.12g", sum);
            HOLDS(most > 0, "every site is drained");
            /* The engine weighs by learned capacity, which noise moves by a few per cent. */
            HOLDS(removed <= v->rules->max_capacity_removed + 0.05, "%.3f of the capacity removed, the guardrail is %.3f", removed,
                  v->rules->max_capacity_removed);
            break;
        case TT_ACT_EJECT:
            HOLDS(dc >= 0 && instance_index(w, s, dc, a->name) >= 0, "eject of %s, which is no instance of %s/%s", a->name, d->target.service,
                  d->target.dc);
            ejected++;
            break;
        case TT_ACT_CONCURRENCY:
            HOLDS(v->rules->ladder->limits && a->value >= 1 && dc >= 0 && d->n_names > 0, "%s/%s: %g requests in flight, keeps %u priorities",
                  d->target.service, d->target.dc, a->value, d->n_names);
            break;
        case TT_ACT_RETRY:
            HOLDS(v->rules->ladder->sides && dc >= 0 && a->value <= 1, "%s/%s: retry budget %g", d->target.service, d->target.dc, a->value);
            break;
        case TT_ACT_TIMEOUT:
            HOLDS(v->rules->ladder->sides && dc >= 0 && a->value >= 1, "%s/%s: time-out of %g ms", d->target.service, d->target.dc, a->value);
            break;
        case TT_ACT_HEDGE:
            HOLDS(v->rules->ladder->sides && dc >= 0 && a->value == 0, "%s/%s: hedge %g", d->target.service, d->target.dc, a->value);
            break;
        case TT_ACT_ISOLATE:
            HOLDS(v->rules->ladder->sides && dc >= 0 && a->value <= 1 && strncmp(a->name, "auth-", 5) != 0, "%s/%s: %g of the calls of %s are refused",
                  d->target.service, d->target.dc, a->value, a->name);
            break;
        case TT_ACT_VERSION:
            HOLDS(a->value <= 1, "%s/%s: share %g of version %s", d->target.service, d->target.dc, a->value, a->name);
            break;
        }
    }
    if (ejected) {
        uint32_t all = w->spec.services[s].instances;
        HOLDS(ejected < all, "every instance of %s/%s is ejected", d->target.service, d->target.dc);
        HOLDS(ejected <= v->rules->ladder->eject_max * all + 1e-9, "%u of %u instances of %s/%s ejected, over the step's max", ejected, all,
              d->target.service, d->target.dc);
    }
    return true;
}

static bool versions_grow(invariants *v, const world *w) {
    for (size_t i = 0; i < w->out.n_decisions; i++) {
        const tt_decision *d = &w->out.decisions[i];
        HOLDS(d->epoch == w->cfg.epoch && d->epoch >= v->epoch, "decision of epoch %llu from a writer of epoch %llu", (unsigned long long)d->epoch,
              (unsigned long long)w->cfg.epoch);
        for (size_t k = 0; k < w->out.n_decisions; k++)
            HOLDS(k == i || w->out.decisions[k].version != d->version, "two decisions with version %llu", (unsigned long long)d->version);
        HOLDS(d->version > v->version, "version %llu after %llu", (unsigned long long)d->version, (unsigned long long)v->version);
    }
    for (size_t i = 0; i < w->out.n_decisions; i++)
        if (w->out.decisions[i].version > v->version) v->version = w->out.decisions[i].version;
    return true;
}

/* ---- actions, against what was known ---- */

static double home_of(const world *w, const char *dc) {
    int d = dc_index(w, dc);
    return d < 0 ? 0 : w->spec.home[d];
}

/* Takes something away from clients, or moves them from where they belong. */
static bool tightens(const world *w, const tt_event *ev) {
    double from = ev->from, to = ev->to;
    if (strcmp(ev->action, "limit") == 0 || strcmp(ev->action, "retry") == 0 || strcmp(ev->action, "timeout") == 0) return !isnan(to) && (isnan(from) || to < from);
    if (strncmp(ev->action, "weights:", 8) == 0) {
        double home = home_of(w, ev->action + 8);
        return !isnan(to) && fabs(to - home) > fabs((isnan(from) ? home : from) - home) + 1e-9;
    }
    return (isnan(to) ? 0 : to) > (isnan(from) ? 0 : from);
}

/* Not the outcome of judging the loop's own site: undone for a person or a lost plan, by the flush's timer, or laid out for a receiver. */
static bool judged(const invariants *v, const world *w, const tt_event *ev) {
    static const char *const others[] = {"stopped by a person",     "its plan is gone",  "flushed",
                                         "before the load arrives", "what does not fit", "takes traffic again", "flush it again"};
    (void)v;
    (void)w;
    for (size_t i = 0; i < TT_COUNT(others); i++)
        if (strstr(ev->reason, others[i])) return false;
    return true;
}

static bool of_test(const world *w, const tt_decision *d) {
    return d->n_actions > 0 && d->n_loops == 1 && w->test[0] && strcmp(d->loops[0], w->test) == 0;
}

/* A load test moves traffic only, on good measurements of everybody concerned, when nothing is wrong. */
static bool move_is_grounded(invariants *v, const world *w, const tt_event *ev) {
    int s = service_index(w, ev->target.service);
    int64_t at = 0;
    HOLDS(strcmp(ev->loop, w->test) == 0, "a move of load test %s, the newest is %s", ev->loop, w->test);
    HOLDS(strncmp(ev->action, "weights:", 8) == 0 && s >= 0, "a load test uses %s", ev->action);
    HOLDS(strncmp(ev->target.service, "auth-", 5) != 0, "a load test of a protected service");
    if (!tightens(w, ev)) return true;
    HOLDS(!w->frozen, "a load test goes on while automation is frozen");
    for (uint32_t d = 0; d < w->spec.n_dcs; d++)
        HOLDS(site_known(v, w, s, (int)d, &at), "a load test moves while %s/%s is not known:%s", ev->target.service, w->spec.dcs[d], told(v, w, s, (int)d));
    return true;
}

/* Whether one of the two services calls the other, however far down. */
static bool calls(const world *w, int a, int b) {
    if (a == b) return true;
    for (uint32_t i = 0; i < w->spec.services[a].n_calls; i++)
        if (calls(w, (int)w->spec.services[a].calls[i].service, b)) return true;
    return false;
}

static bool tests_give_way(invariants *v, const world *w) {
    const tt_decision *all;
    size_t n = tt_engine_decisions(w->engine, &all);
    for (size_t i = 0; i < n; i++) {
        if (!of_test(w, &all[i])) continue;
        int s = service_index(w, all[i].target.service);
        HOLDS(!w->frozen, "a load test's weights stand while automation is frozen");
        HOLDS(all[i].expire_after_ms > 0 && all[i].decay_over_ms > 0, "a load test's weights never fade");
        for (size_t k = 0; k < w->n_loops; k++) {
            int other = service_index(w, w->loops[k].target.service);
            HOLDS(other < 0 || !(calls(w, s, other) || calls(w, other, s)), "a load test of %s goes on while a loop is open on %s", all[i].target.service,
                  w->loops[k].target.service);
        }
    }
    return true;
}

static bool action_is_grounded(invariants *v, const world *w, const tt_event *ev) {
    if (strcmp(ev->plan, "load-test") == 0) return move_is_grounded(v, w, ev);
    const world_loop *l = loop_of(v, w, ev->loop);
    HOLDS(l, "%s on %s/%s without an open loop", ev->action, ev->target.service, ev->target.dc);
    HOLDS(!v->was_frozen || !w->frozen || l->aborted, "%s while automation is frozen", ev->action);
    HOLDS(strcmp(v->rules->ladder->mode, "advise") != 0, "%s in mode advise", ev->action);
    HOLDS(strncmp(ev->target.service, "auth-", 5) != 0, "%s on a protected service", ev->action);
    int s = service_index(w, l->target.service), d = dc_index(w, l->target.dc);
    HOLDS(s >= 0 && d >= 0, "loop on %s/%s", l->target.service, l->target.dc);
    int64_t at = 0;
    if (l->target.instance[0]) {
        int k = instance_index(w, s, d, l->target.instance);
        HOLDS(k >= 0 && (!tightens(w, ev) || fresh(v, w, &v->instance[s][d][k])), "%s without a good measurement of the instance", ev->action);
        return true;
    }
    bool weights = strncmp(ev->action, "weights:", 8) == 0;
    int here = weights ? dc_index(w, ev->action + 8) : dc_index(w, ev->target.dc);
    HOLDS(here >= 0, "%s on %s/%s", ev->action, ev->target.service, ev->target.dc);
    if (!judged(v, w, ev)) return true;
    if (tightens(w, ev)) {
        HOLDS(site_known(v, w, s, here, &at), "%s %.3g -> %.3g on a measurement of %s/%s that is not ok:%s", ev->action, ev->from, ev->to,
              l->target.service, w->spec.dcs[here], told(v, w, s, here));
        HOLDS(!weights || site_known(v, w, s, d, &at), "%s %.3g -> %.3g on a measurement of %s/%s that is not ok:%s", ev->action, ev->from, ev->to,
              l->target.service, w->spec.dcs[d], told(v, w, s, d));
    }
    /* Rule 5. The mesh needs apply_ns at least; what it acknowledges later makes it later still. */
    if (weights) { /* who was judged is who is left, or who takes its own back; the others receive or give up */
        bool back = strstr(ev->reason, "traffic back") || strstr(ev->reason, "step home");
        if (back != (ev->to > ev->from)) return true;
        d = here;
    }
    if (!weights && here != d) return true;
    if (site_known(v, w, s, d, &at) && v->commanded_ns[s][d] > 0)
        HOLDS(at - TT_MS(v->rules->window_ms) >= v->commanded_ns[s][d] + w->spec.apply_ns,
              "%s %.3g -> %.3g judged on a sample %.1f s old with a window of %.1f s, %.1f s after the last command", ev->action, ev->from, ev->to,
              (double)(w->obs.now.ns - at) / 1e9, (double)v->rules->window_ms / 1e3, (double)(w->obs.now.ns - v->commanded_ns[s][d]) / 1e9);
    return true;
}

static void remember_commands(invariants *v, const world *w) {
    for (size_t i = 0; i < w->out.n_events; i++) {
        const tt_event *ev = &w->out.events[i];
        if (strcmp(ev->kind, "action") != 0) continue;
        const world_loop *l = loop_of(v, w, ev->loop);
        if (strcmp(ev->plan, "load-test") != 0 && (!l || l->target.instance[0])) continue;
        int s = service_index(w, l ? l->target.service : ev->target.service),
            d = dc_index(w, strncmp(ev->action, "weights:", 8) == 0 ? ev->action + 8 : ev->target.dc);
        if (s >= 0 && d >= 0) v->commanded_ns[s][d] = w->obs.now.ns;
    }
}

/* ---- the journal accounts for all that is in force ---- */

static inv_actuator *actuator(invariants *v, const char *service, const char *dc, const char *action) {
    for (size_t i = 0; i < v->n_actuators; i++) {
        inv_actuator *a = &v->actuators[i];
        if (strcmp(a->service, service) == 0 && strcmp(a->dc, dc) == 0 && strcmp(a->action, action) == 0) return a;
    }
    if (v->n_actuators == INV_ACTUATORS) return NULL;
    inv_actuator *a = &v->actuators[v->n_actuators++];
    snprintf(a->service, sizeof a->service, "%s", service);
    snprintf(a->dc, sizeof a->dc, "%s", dc);
    snprintf(a->action, sizeof a->action, "%s", action);
    a->value = (double)NAN;
    return a;
}

static bool alike(double a, double b) {
    return (isnan(a) && isnan(b)) || fabs(a - b) < 1e-9;
}

static bool journal_continues(invariants *v, const world *w, const tt_event *ev) {
    if (strcmp(ev->kind, "armed") == 0) {
        inv_actuator *armed = actuator(v, ev->target.service, ev->target.dc, "armed");
        HOLDS(armed && alike(armed->value, ev->from), "armed %s/%s: from %.6g, the journal said otherwise", ev->target.service, ev->target.dc, ev->from);
        armed->value = ev->to;
        return true;
    }
    inv_actuator *a = actuator(v, ev->target.service, ev->target.dc, ev->action);
    HOLDS(a, "more actuators than there can be");
    double was = a->value;
    if (isnan(was) && strncmp(ev->action, "weights:", 8) == 0) was = home_of(w, ev->action + 8);
    HOLDS(alike(was, ev->from), "%s on %s/%s: from %.6g, the journal said %.6g", ev->action, ev->target.service, ev->target.dc, ev->from, was);
    a->value = ev->to;
    return true;
}

static bool accounted(invariants *v, const world *w, const tt_decision *d) {
    char name[TT_NAME_MAX + 16];
    for (uint32_t i = 0; i < d->n_actions; i++) {
        const tt_act *a = &d->actions[i];
        double value = a->value;
        switch (a->kind) {
        case TT_ACT_LIMIT:
            snprintf(name, sizeof name, "limit");
            break;
        case TT_ACT_DROP:
            snprintf(name, sizeof name, "drop:%s", a->name);
            break;
        case TT_ACT_DEGRADE:
            snprintf(name, sizeof name, "degrade:%s", a->name);
            break;
        case TT_ACT_EJECT:
            snprintf(name, sizeof name, "eject:%s", a->name);
            break;
        case TT_ACT_RETRY:
            snprintf(name, sizeof name, "retry");
            break;
        case TT_ACT_TIMEOUT:
            snprintf(name, sizeof name, "timeout");
            break;
        case TT_ACT_HEDGE:
            snprintf(name, sizeof name, "hedge:off");
            value = 1;
            break;
        case TT_ACT_ISOLATE:
            snprintf(name, sizeof name, "isolate:%s", a->name);
            break;
        case TT_ACT_CONCURRENCY: /* the journal has it as a rate */
        case TT_ACT_VERSION:
        case TT_ACT_WEIGHTS:
            continue; /* their sum is checked; each change is an event of its own */
        }
        const inv_actuator *j = actuator(v, d->target.service, d->target.dc, name);
        /* Under a loop's other actions the armed cap stands on. */
        if (a->kind == TT_ACT_LIMIT && j && isnan(j->value)) j = actuator(v, d->target.service, d->target.dc, "armed");
        HOLDS(j && alike(j->value, value), "%s on %s/%s is %.6g in the decision and %.6g in the journal", name, d->target.service, d->target.dc,
              value, j ? j->value : (double)NAN);
    }
    return true;
}

/* What the journal has in force must be in the newest decision for the target. */
static bool nothing_lost(invariants *v, const world *w) {
    const tt_decision *all;
    size_t n = tt_engine_decisions(w->engine, &all);
    for (size_t i = 0; i < v->n_actuators; i++) {
        const inv_actuator *a = &v->actuators[i];
        if (isnan(a->value) || strncmp(a->action, "weights:", 8) == 0 || strcmp(a->action, "armed") == 0) continue;
        bool there = false;
        for (size_t k = 0; k < n && !there; k++) {
            if (strcmp(all[k].target.service, a->service) != 0 || strcmp(all[k].target.dc, a->dc) != 0) continue;
            for (uint32_t x = 0; x < all[k].n_actions; x++) {
                const char *colon = strchr(a->action, ':');
                tt_act_kind kind = all[k].actions[x].kind;
                there |= strcmp(a->action, "hedge:off") == 0 ? kind == TT_ACT_HEDGE
                         : strcmp(a->action, "retry") == 0   ? kind == TT_ACT_RETRY
                         : strcmp(a->action, "timeout") == 0 ? kind == TT_ACT_TIMEOUT
                         : colon                             ? strcmp(all[k].actions[x].name, colon + 1) == 0
                                                             : kind == TT_ACT_LIMIT || kind == TT_ACT_CONCURRENCY;
            }
        }
        HOLDS(there, "the journal has %s %.4g in force on %s/%s and no decision has it", a->action, a->value, a->service, a->dc);
    }
    return true;
}

/* ---- the tick ---- */

void invariants_before(invariants *v, const world *w) {
    v->was_frozen = w->frozen;
    v->n_before = w->n_loops;
    memcpy(v->before, w->loops, w->n_loops * sizeof w->loops[0]);
}

/* The instances of a site, and the site itself, are one. */
static uint32_t sites_acted_on(const world *w) {
    uint32_t n = 0;
    for (size_t i = 0; i < w->n_loops; i++) {
        bool again = false;
        for (size_t k = 0; k < i && !again; k++)
            again = strcmp(w->loops[k].target.service, w->loops[i].target.service) == 0 && strcmp(w->loops[k].target.dc, w->loops[i].target.dc) == 0;
        n += !again;
    }
    return n;
}

bool invariants_after(invariants *v, const world *w) {
    /* Decisions of the outcome share their room with tt_engine_decisions: those first. */
    if (!versions_grow(v, w)) return false;
    for (size_t i = 0; i < w->out.n_decisions; i++)
        if (!decision_is_sane(v, w, &w->out.decisions[i])) return false;
    v->epoch = w->cfg.epoch;
    remember_samples(v, w);
    for (size_t i = 0; i < w->out.n_events; i++) {
        const tt_event *ev = &w->out.events[i];
        if (strcmp(ev->kind, "armed") == 0 && !journal_continues(v, w, ev)) return false;
        if (strcmp(ev->kind, "action") != 0) continue;
        if (!action_is_grounded(v, w, ev) || !journal_continues(v, w, ev)) return false;
    }
    for (size_t i = 0; i < w->out.n_decisions; i++)
        if (!accounted(v, w, &w->out.decisions[i])) return false;
    if (!nothing_lost(v, w) || !tests_give_way(v, w)) return false;
    remember_commands(v, w);
    uint32_t sites = sites_acted_on(w);
    HOLDS(sites <= v->rules->max_loops || strcmp(v->rules->ladder->mode, "advise") == 0, "loops act on %u sites, the guardrail is %u", sites,
          v->rules->max_loops);
    HOLDS(tt_engine_open_loops(w->engine) == w->n_loops, "%zu loops are open, the journal has %zu", tt_engine_open_loops(w->engine), w->n_loops);
    return true;
}
