/* The steps beside the ladder: retry, timeout, hedge and isolate. Each has a measured condition of its own; while the loop acts it is taken when the
 * condition holds in two samples, and given back in steps when it has been over for long enough, the last step of the plan first. A step is judged
 * only on samples that lie wholly after it.
 *
 * - retry: retries amplify a failure that is there already. Amplification is measured: the share of requests that say they are retries, or, for a
 *   service that is called, its calls per request of the caller over what they were while all was well. From x 1.2 on the budget is cut to what the
 *   site has room for, between the step's min and budget; back by doubling it, until at a fifth of the requests it is gone.
 * - timeout: a slow dependency holds its callers' workers. From twice its usual latency on, calls to it wait factor x its healthy p99 at most; back
 *   by half as much again.
 * - hedge: backup requests help against a slow tail and hurt a full service: off from the step's utilization on, back 15 points below it.
 * - isolate: one caller's growth is the surge: at least 60 % of all callers' growth, and half of what is over the site's capacity, while the others
 *   together grew by 30 % at most. It is brought back to its usual rate; never one that is protected, never the only one. Back by halves once it
 *   asks for its usual again. */
#include "engine_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double amplified = 1.2, normal_budget = 0.2, budget_grain = 0.01;
static const double slow = 2, slow_over = 1.5, timeout_back = 1.5;
static const double hedge_hysteresis = 0.15;
static const double growth_share = 0.6, growth_of_excess = 0.5, others_grown = 0.3, grown = 1.5, usual_again = 1.3, isolate_least = 0.1;
static const double clean_fail = 0.025, clean_refused = 0.005, bad_fail = 0.05, bad_refused = 0.01;
static const int64_t patience_holds = 5;
static const uint32_t needed_samples = 2, known_after_samples = 20;
static const double learn_baseline = 0.05, learn_caller_tau_s = 300;
static const int64_t hold_max_ns = TT_SECONDS(300), relapse_within_ns = TT_SECONDS(120), gone_after_ns = TT_SECONDS(60);
enum { CALLERS_MAX = 4096, CALLERS_OF_SITE_MAX = 64 };

typedef enum { UNKNOWN, NEEDED, BETWEEN, CLEAR } verdict;

/* What a look at one step's condition found. */
typedef struct {
    verdict v;
    double want;
    char name[TT_NAME_MAX]; /* isolate: whom */
    char why[300];
} look;

/* ---- learning, while all is well ---- */

tt_caller *tt_site_caller(tt_engine *e, tt_site *s, tt_sv name) {
    uint32_t n = 0;
    for (uint32_t k = s->first_caller; k; k = e->callers[k - 1].next, n++)
        if (tt_sv_eq(tt_sv_of(e->callers[k - 1].name), name)) return &e->callers[k - 1];
    if (n >= CALLERS_OF_SITE_MAX || e->n_callers == CALLERS_MAX || name.n == 0 || name.n >= TT_NAME_MAX) return NULL;
    if (e->n_callers == e->cap_callers) {
        uint32_t cap = e->cap_callers ? 2 * e->cap_callers : 64;
        tt_caller *more = realloc(e->callers, cap * sizeof *more);
        if (!more) return NULL;
        e->callers = more;
        e->cap_callers = cap;
    }
    tt_caller *c = &e->callers[e->n_callers++];
    memset(c, 0, sizeof *c);
    tt_copy_text(c->name, sizeof c->name, name);
    c->next = s->first_caller;
    s->first_caller = e->n_callers;
    return c;
}

static bool is_well(const tt_site *s) {
    const tt_load *l = &s->load;
    return l->known && s->loop < 0 && l->offered >= 1 && l->fail_ratio <= clean_fail && l->refused_ratio <= clean_refused && l->dropped <= 0 &&
           (!l->latency_known || s->latency_base_ms <= 0 || l->latency_ms <= 1.7 * s->latency_base_ms);
}

static tt_where at_site(const tt_engine *e, const tt_site *s, tt_sv service) {
    return (tt_where){service, tt_sv_of(tt_dc_cname(e, s)), {0}, {0}, NULL, 0, {0}};
}

static void learn_p99(tt_engine *e, tt_site *s) {
    for (uint32_t i = 0; i < s->n_closure; i++) {
        tt_where w = at_site(e, s, e->rules->services[s->closure[i]].name);
        tt_reading r = tt_read_signal(e, e->load_signal[TT_LOAD_LATENCY_P99], &w);
        if (!r.known || r.value <= 0) continue;
        double *base = &s->latency_p99_base[i];
        *base = *base > 0 ? *base + learn_baseline * (r.value - *base) : r.value;
    }
}

static void learn_callers(tt_engine *e) {
    int signal = e->load_signal[TT_LOAD_CALLER];
    if (signal < 0) return;
    for (int32_t k = e->series.of_signal[signal]; k >= 0; k = e->series.s[k].next_of_signal) {
        const tt_series *x = &e->series.s[k];
        tt_sv service = tt_labels_get(&x->labels, TT_SV("service")), dc = tt_labels_get(&x->labels, TT_SV("dc")),
              caller = tt_labels_get(&x->labels, TT_SV("caller"));
        if (!service.n || !dc.n || !caller.n || tt_series_quality(e, x) != TT_Q_OK) continue;
        char names[2][TT_NAME_MAX];
        tt_copy_text(names[0], TT_NAME_MAX, service);
        tt_copy_text(names[1], TT_NAME_MAX, dc);
        tt_site *s = tt_site_of(e, names[0], names[1]);
        if (!s || !is_well(s)) continue;
        tt_caller *c = tt_site_caller(e, s, caller);
        if (!c || x->at.ns <= c->at.ns) continue;
        if (c->at.ns == 0)
            c->base_rps = x->value;
        else
            c->base_rps += (1 - exp(-(double)tt_since(x->at, c->at) / 1e9 / learn_caller_tau_s)) * (x->value - c->base_rps);
        c->at = x->at;
    }
}

void tt_actions_learn(tt_engine *e) {
    for (uint32_t i = 0; e->load_signal[TT_LOAD_LATENCY_P99] >= 0 && i < e->n_sites; i++) {
        tt_site *s = &e->sites[i];
        if (!is_well(s) || s->load.at.ns <= s->sides_learned_at.ns) continue;
        s->sides_learned_at = s->load.at;
        learn_p99(e, s);
    }
    learn_callers(e);
}

/* ---- looking ---- */

static bool own_service(const tt_loop *l, const tt_step *st) {
    return !st->service.n || st->service.p[0] == '$' || tt_sv_eq(st->service, tt_sv_of(l->target.service));
}

static tt_sv service_of(const tt_loop *l, const tt_step *st) {
    return own_service(l, st) ? tt_sv_of(l->target.service) : st->service;
}

static int below(const tt_engine *e, const tt_site *s, tt_sv service) {
    for (uint32_t i = 0; i < s->n_closure; i++)
        if (tt_sv_eq(e->rules->services[s->closure[i]].name, service)) return (int)i;
    return -1;
}

static bool fails(const tt_site *s) {
    return s->load.fail_ratio > bad_fail || s->load.refused_ratio > bad_refused;
}
static bool is_clean(const tt_site *s) {
    return s->load.fail_ratio <= clean_fail && s->load.refused_ratio <= clean_refused;
}

/* Requests that come for each one that is meant; 0: not known. *ret_fresh: those that are meant, at the service itself; 0: not known. */
static double amplification(tt_engine *e, const tt_loop *l, const tt_site *s, const tt_step *st, double *ret_fresh) {
    tt_where w = at_site(e, s, service_of(l, st));
    tt_reading offered = tt_read_signal(e, e->load_signal[TT_LOAD_OFFERED], &w), retries = tt_read_signal(e, e->load_signal[TT_LOAD_RETRIES], &w);
    *ret_fresh = 0;
    if (offered.known && retries.known && offered.value > retries.value && retries.value >= 0) {
        *ret_fresh = offered.value - retries.value;
        return offered.value / *ret_fresh;
    }
    int i = own_service(l, st) ? -1 : below(e, s, service_of(l, st));
    tt_reading in = tt_read_signal(e, e->load_signal[TT_LOAD_ARRIVED], &w);
    if (i < 0 || !in.known || s->calls_per[i] <= 0 || s->load.admitted < 1) return 0;
    return in.value / s->load.admitted / s->calls_per[i];
}

static void look_retry(tt_engine *e, tt_loop *l, tt_site *s, const tt_step *st, look *k) {
    double fresh, a = amplification(e, l, s, st, &fresh);
    char n[32], b[32];
    if (is_clean(s)) {
        k->v = CLEAR;
        return;
    }
    if (a <= 0) return;
    k->v = a >= amplified && fails(s) ? NEEDED : BETWEEN;
    k->want = st->max;
    double c = tt_site_capacity(e, s, NULL);
    if (own_service(l, st) && fresh > 0 && c > 0)
        k->want = fmin(fmax(TT_SAFE_LOAD * c * tt_gain(tt_site_step(e, s, TT_STEP_DEGRADE), s->level) / fresh - 1, st->least), st->max);
    k->want = fmax(floor(k->want / budget_grain + 1e-9) * budget_grain, st->least);
    tt_num(n, sizeof n, a);
    tt_pct(b, sizeof b, k->want);
    snprintf(k->why, sizeof k->why, "each request of " TT_SV_FMT " comes %s times: retries are held to %s of the requests",
             TT_SV_ARG(service_of(l, st)), n, b);
}

static void look_timeout(tt_engine *e, tt_loop *l, tt_site *s, const tt_step *st, look *k) {
    tt_sv service = service_of(l, st);
    int i = below(e, s, service);
    tt_where w = at_site(e, s, service);
    tt_reading now = tt_read_signal(e, e->load_signal[TT_LOAD_LATENCY_MEAN], &w);
    if (i < 0 || !now.known || s->latency_dep_base[i] <= 0 || s->latency_p99_base[i] <= 0) return;
    double times = now.value / s->latency_dep_base[i];
    bool holds_workers = s->bad || fails(s) || (s->load.util_known && s->load.util > 0.9);
    k->v = times >= slow && holds_workers ? NEEDED : times < slow_over ? CLEAR : BETWEEN;
    k->want = floor(fmin(fmax(st->factor * s->latency_p99_base[i], st->least), st->most) + 0.5);
    char n[32], b[32], p[32];
    tt_num(n, sizeof n, times);
    tt_num(b, sizeof b, k->want);
    tt_num(p, sizeof p, s->latency_p99_base[i]);
    snprintf(k->why, sizeof k->why,
             TT_SV_FMT " takes %s times its usual latency and holds its callers' workers: wait %s ms at most (its p99 is %s ms when well)",
             TT_SV_ARG(service), n, b, p);
}

static void look_hedge(tt_engine *e, tt_loop *l, tt_site *s, const tt_step *st, look *k) {
    tt_sv service = service_of(l, st);
    tt_where w = at_site(e, s, service);
    tt_reading u = tt_read_signal(e, e->load_signal[TT_LOAD_UTILIZATION], &w);
    if (!u.known) return;
    bool full = own_service(l, st) && s->saturated;
    k->v = u.value > st->max || full ? NEEDED : u.value < st->max - hedge_hysteresis ? CLEAR : BETWEEN;
    k->want = 1;
    char n[32];
    tt_pct(n, sizeof n, u.value);
    snprintf(k->why, sizeof k->why, TT_SV_FMT " is at utilization %s%s: no backup requests", TT_SV_ARG(service), n, full ? " and saturated" : "");
}

typedef struct {
    double growth;    /* of all that grew */
    double usual;     /* of all */
    double now, base; /* of the one that grew most */
    char name[TT_NAME_MAX];
    uint32_t n_others; /* that were there before */
    bool some_known;
} callers;

static tt_reading rate_of(const tt_engine *e, const tt_series *x) {
    tt_quality q = tt_series_quality(e, x);
    return (tt_reading){q == TT_Q_OK, x->value, x->at, q, false, x->window_ns};
}

static bool of_site(const tt_engine *e, const tt_site *s, const tt_series *x) {
    return tt_sv_eq(tt_labels_get(&x->labels, TT_SV("service")), e->rules->services[s->service].name) &&
           tt_sv_eq(tt_labels_get(&x->labels, TT_SV("dc")), tt_sv_of(tt_dc_cname(e, s)));
}

static double usual_rate(const tt_engine *e, const tt_site *s, tt_sv name) {
    for (uint32_t k = s->first_caller; k; k = e->callers[k - 1].next)
        if (tt_sv_eq(tt_sv_of(e->callers[k - 1].name), name)) return e->callers[k - 1].base_rps;
    return 0;
}

static callers look_at_callers(const tt_engine *e, const tt_site *s) {
    callers c = {0};
    double most = 0;
    uint32_t before = 0;
    for (int32_t k = e->series.of_signal[e->load_signal[TT_LOAD_CALLER]]; k >= 0; k = e->series.s[k].next_of_signal) {
        const tt_series *x = &e->series.s[k];
        if (!of_site(e, s, x)) continue;
        tt_sv name = tt_labels_get(&x->labels, TT_SV("caller"));
        tt_reading r = rate_of(e, x);
        if (!r.known || !name.n || name.n >= TT_NAME_MAX) continue;
        double base = usual_rate(e, s, name), growth = r.value - base;
        c.some_known = true;
        before += base > 0;
        c.usual += base;
        if (growth <= 0) continue;
        c.growth += growth;
        if (growth <= most) continue;
        most = growth;
        c.now = r.value;
        c.base = base;
        tt_copy_text(c.name, sizeof c.name, name);
    }
    c.n_others = before - (c.base > 0);
    return c;
}

/* A caller that is not told any more, while others are, asks for nothing. */
static tt_reading caller_now(const tt_engine *e, const tt_site *s, const char *caller) {
    tt_reading found = {.quality = TT_Q_NO_DATA};
    bool others = false;
    tt_time last = {0};
    for (int32_t k = e->series.of_signal[e->load_signal[TT_LOAD_CALLER]]; k >= 0; k = e->series.s[k].next_of_signal) {
        const tt_series *x = &e->series.s[k];
        if (!of_site(e, s, x)) continue;
        tt_reading r = rate_of(e, x);
        if (!tt_sv_eq(tt_labels_get(&x->labels, TT_SV("caller")), tt_sv_of(caller)))
            others = others || r.known;
        else if (r.known) {
            found.value += r.value;
            found.known = true;
        } else if (x->at.ns > last.ns)
            last = x->at;
    }
    if (!found.known && others && tt_since(e->now, last) >= gone_after_ns) found = (tt_reading){.known = true, .quality = TT_Q_OK};
    return found;
}

static void say_isolate(look *k, const char *name, double now, double base) {
    char n[32], b[32], r[32];
    tt_num(n, sizeof n, now);
    tt_num(b, sizeof b, base);
    tt_pct(r, sizeof r, k->want);
    tt_copy_text(k->name, sizeof k->name, tt_sv_of(name));
    snprintf(k->why, sizeof k->why, "%.60s calls with %s rps, usually %s, and that is what is over: refuse %s of its calls", name, n, b, r);
}

static double ratio_for(double now, double base, double max) {
    return now > 0 ? fmin(fmax(floor(100 * (now - base) / now + 0.5) / 100, 0), max) : 0;
}

static void look_isolate(tt_engine *e, tt_loop *l, tt_site *s, const tt_step *st, look *k) {
    tt_side *d = &l->sides[TT_STEP_ISOLATE - TT_STEP_RETRY];
    if (e->load_signal[TT_LOAD_CALLER] < 0 || s->base_samples < known_after_samples) return;
    if (d->on) {
        double base = usual_rate(e, s, tt_sv_of(d->name));
        tt_reading now = caller_now(e, s, d->name);
        if (!now.known) return;
        double room = TT_SAFE_LOAD * tt_site_capacity(e, s, NULL) * tt_gain(tt_site_step(e, s, TT_STEP_DEGRADE), s->level);
        bool usual = now.value <= fmax(usual_again * base, 1), fits = is_clean(s) && s->load.offered <= room; /* offered holds what is refused */
        k->v = usual || fits ? CLEAR : s->saturated ? NEEDED : BETWEEN;
        k->want = ratio_for(now.value, base, st->max);
        say_isolate(k, d->name, now.value, base);
        return;
    }
    callers c = look_at_callers(e, s);
    if (!c.some_known) return;
    k->v = BETWEEN;
    double capacity = tt_site_capacity(e, s, NULL) * tt_gain(tt_site_step(e, s, TT_STEP_DEGRADE), s->level);
    double excess = capacity > 0 ? s->load.offered - TT_SAFE_LOAD * capacity : 0, growth = c.now - c.base;
    if (!s->saturated || !c.name[0] || !c.n_others || growth < growth_share * c.growth || c.now < grown * c.base ||
        growth < growth_of_excess * excess || c.growth - growth > others_grown * (c.usual - c.base))
        return;
    if (tt_is_protected(e, c.name)) {
        if (strcmp(d->name, c.name) != 0) tt_emit(e, "guardrail", l, "%.60s is what is over and it is protected: it is not isolated", c.name);
        tt_copy_text(d->name, sizeof d->name, tt_sv_of(c.name)); /* said once */
        return;
    }
    k->v = NEEDED;
    k->want = ratio_for(c.now, c.base, st->max);
    if (k->want < isolate_least) k->v = BETWEEN;
    say_isolate(k, c.name, c.now, c.base);
}

/* ---- acting ---- */

const char *tt_side_action(const tt_side *d, tt_step_kind kind, char buf[TT_NAME_MAX + 16], const char **ret_unit) {
    switch (kind) {
    case TT_STEP_KIND_COUNT: /* the version's share */
        snprintf(buf, TT_NAME_MAX + 16, "version:%.110s", d->name);
        *ret_unit = "ratio";
        break;
    case TT_STEP_TIMEOUT:
        snprintf(buf, TT_NAME_MAX + 16, "timeout");
        *ret_unit = "ms";
        break;
    case TT_STEP_HEDGE:
        snprintf(buf, TT_NAME_MAX + 16, "hedge:off");
        *ret_unit = "level";
        break;
    case TT_STEP_ISOLATE:
        snprintf(buf, TT_NAME_MAX + 16, "isolate:%.110s", d->name);
        *ret_unit = "ratio";
        break;
    default:
        snprintf(buf, TT_NAME_MAX + 16, "retry");
        *ret_unit = "ratio";
        break;
    }
    return buf;
}

static tt_target target_of(const tt_loop *l, const tt_side *d) {
    tt_target t = {0};
    memcpy(t.service, d->service, sizeof t.service);
    memcpy(t.dc, l->target.dc, sizeof t.dc);
    return t;
}

/* `value` NAN: not in force any more. */
static void set(tt_engine *e, tt_loop *l, tt_step_kind kind, double value, bool raise, const char *why) {
    tt_side *d = &l->sides[kind - TT_STEP_RETRY];
    char action[TT_NAME_MAX + 16];
    const char *unit;
    tt_side_action(d, kind, action, &unit);
    tt_target t = target_of(l, d);
    tt_site *s = tt_site_of(e, l->target.service, l->target.dc);
    tt_emit_action(e, l, &t, action, d->on ? d->value : (double)NAN, value, unit, NULL, "%s", why);
    snprintf(l->why, sizeof l->why, "%s", why);
    d->on = !isnan(value);
    d->value = d->on ? value : 0;
    d->raised = raise;
    d->changed_at = e->now;
    if (!d->on) d->name[0] = 0;
    if (!s) return;
    bool raised = s->raised; /* the law's own last step is judged as what it was */
    tt_site_commanded(e, s, false);
    s->raised = raised;
}

static int64_t usual_ns(const tt_engine *e) {
    return e->cfg.apply_ns * 13 / 10 + TT_SECONDS(1);
}

/* Whether the sample lies wholly after the last change took effect: this step's and whatever the law did at the site, but for what it does now from
 * the same sample. */
static bool judgeable(const tt_engine *e, const tt_loop *l, const tt_site *s, const tt_side *d) {
    if (s->looked_at.ns != e->now.ns && !tt_site_judgeable(e, s)) return false;
    return tt_side_judgeable(e, l, d, s->load.at, s->load.window_ns);
}

bool tt_side_judgeable(const tt_engine *e, const tt_loop *l, const tt_side *d, tt_time at, int64_t window_ns) {
    if (d->changed_at.ns == 0) return true;
    if (at.ns - window_ns < d->changed_at.ns + usual_ns(e)) return false;
    tt_target t = target_of(l, d);
    return tt_decision_acknowledged(e, &t) || tt_since(e->now, d->changed_at) >= 2 * e->cfg.apply_ns + TT_SECONDS(5) + window_ns + e->cfg.ingest_ns;
}

const char *tt_side_name(int k) {
    return k == TT_SIDE_VERSION ? "version" : tt_step_name((tt_step_kind)(TT_STEP_RETRY + k));
}

static bool tighter(tt_step_kind kind, const tt_side *d, double want) {
    if (!d->on) return true;
    switch (kind) {
    case TT_STEP_RETRY:
        return want < d->value - budget_grain / 2;
    case TT_STEP_TIMEOUT:
        return want < 0.95 * d->value;
    case TT_STEP_ISOLATE:
        return want > d->value + 0.02;
    default:
        return false;
    }
}

static void engage(tt_engine *e, tt_loop *l, tt_site *s, const tt_step *st, size_t at, const look *k) {
    tt_side *d = &l->sides[st->kind - TT_STEP_RETRY];
    tt_sv service = st->kind == TT_STEP_ISOLATE ? tt_sv_of(l->target.service) : service_of(l, st);
    if (!d->on) {
        tt_copy_text(d->service, sizeof d->service, service);
        if (st->kind == TT_STEP_ISOLATE) memcpy(d->name, k->name, sizeof d->name);
        if (tt_is_protected(e, d->service)) return;
    }
    bool again = d->raised && tt_since(e->now, d->changed_at) < relapse_within_ns;
    set(e, l, st->kind, k->want, false, k->why);
    s->violated_at = e->now;
    if (at + 1 > l->rung) l->rung = (uint32_t)at + 1;
    if (!again) return;
    int64_t hold = 2 * (d->hold_ns > l->plan->recover_after_ns ? d->hold_ns : l->plan->recover_after_ns);
    d->hold_ns = hold > hold_max_ns ? hold_max_ns : hold;
    tt_loop_relapse(e, l, "needed again when it was given back");
    if (l->phase == TT_PHASE_RECOVERING) tt_loop_enter(e, l, TT_PHASE_ACTING, "needed again when it was given back");
}

/* In force, and written after this one: that comes back first. */
static bool later_one_stands(tt_engine *e, const tt_loop *l, const tt_site *s, size_t at) {
    for (size_t i = at + 1; i < l->plan->n_steps; i++) {
        const tt_step *st = &l->plan->steps[i];
        switch (st->kind) {
        case TT_STEP_LIMIT:
            if (s->cap_rps > 0 && !s->by_ratio) return true;
            break;
        case TT_STEP_DROP:
            if (s->drop[st->priority] > 0) return true;
            break;
        case TT_STEP_DEGRADE:
            if (s->level > 0) return true;
            break;
        case TT_STEP_SHIFT:
        case TT_STEP_CUTOVER:
            if (e->groups[s->service].weights && e->groups[s->service].loop == (int32_t)(l - e->loops)) return true;
            break;
        case TT_STEP_RETRY:
        case TT_STEP_TIMEOUT:
        case TT_STEP_HEDGE:
        case TT_STEP_ISOLATE:
            if (l->sides[st->kind - TT_STEP_RETRY].on) return true;
            break;
        default:
            break;
        }
    }
    return false;
}

static void give_back(tt_engine *e, tt_loop *l, const tt_step *st) {
    tt_side *d = &l->sides[st->kind - TT_STEP_RETRY];
    double next = (double)NAN;
    switch (st->kind) {
    case TT_STEP_RETRY:
        next = fmax(2 * d->value, 0.05);
        if (next >= normal_budget) next = (double)NAN;
        break;
    case TT_STEP_TIMEOUT:
        next = floor(timeout_back * d->value + 0.5);
        if (next >= st->most) next = (double)NAN;
        break;
    case TT_STEP_ISOLATE:
        next = floor(50 * d->value + 0.5) / 100;
        if (next < isolate_least) next = (double)NAN;
        break;
    default:
        break;
    }
    char why[160];
    snprintf(why, sizeof why, "%s is not needed any more: give %s back", tt_step_name(st->kind), isnan(next) ? "all of it" : "a step");
    if (l->phase == TT_PHASE_SETTLED || l->phase == TT_PHASE_SETTLING || l->phase == TT_PHASE_ACTING || l->phase == TT_PHASE_ESCALATED)
        tt_loop_enter(e, l, TT_PHASE_RECOVERING, why);
    set(e, l, st->kind, next, true, why);
}

static void side_step(tt_engine *e, tt_loop *l, tt_site *s, size_t at) {
    const tt_step *st = &l->plan->steps[at];
    tt_side *d = &l->sides[st->kind - TT_STEP_RETRY];
    look k = {.v = UNKNOWN};
    switch (st->kind) {
    case TT_STEP_RETRY:
        look_retry(e, l, s, st, &k);
        break;
    case TT_STEP_TIMEOUT:
        look_timeout(e, l, s, st, &k);
        break;
    case TT_STEP_HEDGE:
        look_hedge(e, l, s, st, &k);
        break;
    case TT_STEP_ISOLATE:
        look_isolate(e, l, s, st, &k);
        break;
    default:
        return;
    }
    d->needed_samples = k.v == NEEDED ? d->needed_samples + 1 : 0;
    if (k.v != CLEAR)
        d->clear_since.ns = 0;
    else if (d->clear_since.ns == 0)
        d->clear_since = e->now;
    if (!judgeable(e, l, s, d)) return;
    bool trouble = !l->kept || l->phase == TT_PHASE_ACTING || l->phase == TT_PHASE_ESCALATED;
    if (k.v == NEEDED && trouble) {
        if (d->needed_samples >= needed_samples && tighter(st->kind, d, k.want)) engage(e, l, s, st, at, &k);
        return;
    }
    if (!d->on || !l->kept || later_one_stands(e, l, s, at)) return;
    int64_t hold = d->hold_ns > l->plan->recover_after_ns ? d->hold_ns : l->plan->recover_after_ns, theta = tt_law_dead_time(e, s),
            every = l->plan->recover_every_ns > theta ? l->plan->recover_every_ns : theta;
    bool over = k.v == CLEAR && tt_since(e->now, d->clear_since) >= hold && tt_since(e->now, d->changed_at) >= every;
    /* A condition may be here to stay while all that the plan keeps holds: every loop ends, so it is tried without. */
    int64_t long_ns = patience_holds * hold;
    bool idle = k.v != UNKNOWN && tt_since(e->now, l->kept_since) >= long_ns && tt_since(e->now, d->changed_at) >= long_ns && !tt_loop_anomaly(e, l);
    if (over || idle) give_back(e, l, st);
}

void tt_actions_step(tt_engine *e) {
    for (uint32_t i = 0; i < e->n_loops; i++) {
        tt_loop *l = &e->loops[i];
        if (!tt_loop_is_open(l) || !tt_loop_may_act(e, l) || l->locked_until.ns > e->now.ns) continue;
        if (l->plan->by_version) tt_version_step(e, l);
        if (tt_drain_loop(l)) tt_drain_step(e, l);
        if (l->target.instance[0]) continue;
        bool any = false;
        for (size_t k = 0; k < l->plan->n_steps; k++) any = any || l->plan->steps[k].kind >= TT_STEP_RETRY;
        tt_site *s = any ? tt_site_of(e, l->target.service, l->target.dc) : NULL;
        if (!s || !s->load.known || s->load.at.ns <= l->sides_judged_at.ns) continue;
        l->sides_judged_at = s->load.at;
        for (size_t k = l->plan->n_steps; k-- > 0;) /* backwards: what comes back first is looked at first */
            if (l->plan->steps[k].kind >= TT_STEP_RETRY) side_step(e, l, s, k);
    }
}

/* ---- as the loop sees them ---- */

bool tt_actions_any(const tt_loop *l) {
    for (int k = 0; k < TT_SIDES; k++)
        if (l->sides[k].on) return true;
    return false;
}

tt_time tt_actions_changed_at(const tt_loop *l) {
    tt_time t = {0};
    for (int k = 0; k < TT_SIDES; k++)
        if (l->sides[k].changed_at.ns > t.ns) t = l->sides[k].changed_at;
    return t;
}

void tt_actions_wind_back(tt_engine *e, tt_loop *l, const char *why) {
    tt_version_wind_back(e, l, why);
    for (int k = TT_SIDE_VERSION; k-- > 0;)
        if (l->sides[k].on) set(e, l, (tt_step_kind)(TT_STEP_RETRY + k), (double)NAN, true, why);
}
