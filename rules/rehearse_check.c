#include "rehearse_check.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

void tt_check_init(tt_check *c, const tt_rules *rules, const tt_model_spec *spec, const tt_engine_config *cfg) {
    memset(c, 0, sizeof *c);
    c->rules = rules;
    c->spec = spec;
    c->epoch = cfg->epoch;
    c->late_ns = cfg->scrape_ns > 0 ? cfg->scrape_ns * 5 / 2 + cfg->ingest_ns + TT_SECONDS(5) : 0;
}

static void broken(tt_check *c, int64_t elapsed_ns, const char *fmt, ...) TT_PRINTF(3, 4);
static void broken(tt_check *c, int64_t elapsed_ns, const char *fmt, ...) {
    if (c->n_broken++) return;
    int n = snprintf(c->first, sizeof c->first, "at %lld.%lld s: ", (long long)(elapsed_ns / 1000000000), (long long)(elapsed_ns / 100000000 % 10));
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(c->first + n, sizeof c->first - (size_t)n, fmt, ap);
    va_end(ap);
}
#define HOLDS(cond, ...)                                                                                                                             \
    do {                                                                                                                                             \
        if (!(cond)) broken(c, t, __VA_ARGS__);                                                                                                      \
    } while (0)

/* ---- names ---- */

static int index_of(const char *const names[], uint32_t n, tt_sv name) {
    for (uint32_t i = 0; i < n; i++)
        if (tt_sv_eq(tt_sv_of(names[i]), name)) return (int)i;
    return -1;
}
static int service_of(const tt_check *c, tt_sv name) {
    for (uint32_t i = 0; i < c->spec->n_services; i++)
        if (tt_sv_eq(tt_sv_of(c->spec->services[i].name), name)) return (int)i;
    return -1;
}
static int dc_of(const tt_check *c, tt_sv name) {
    return index_of(c->spec->dcs, c->spec->n_dcs, name);
}

/* ---- what the engine was told ---- */

static tt_sv label(const tt_measurement *m, tt_sv name) {
    for (size_t i = 0; i < m->n_labels; i++)
        if (tt_sv_eq(m->labels[i].name, name)) return m->labels[i].value;
    return TT_SV("");
}

static void remember(tt_check *c, const tt_observations *obs) {
    int offered = tt_rules_signal(c->rules, TT_SV("offered_rps")), ok = tt_rules_signal(c->rules, TT_SV("ok_rps"));
    for (size_t i = 0; i < obs->n_polls; i++) {
        if (!obs->polls[i].answered) continue;
        for (uint32_t s = 0; s < TT_MODEL_SERVICES; s++)
            for (uint32_t d = 0; d < TT_MODEL_DCS; d++)
                for (uint32_t p = 0; p < TT_MODEL_PRIORITIES; p++) {
                    if ((int)obs->polls[i].signal == offered) c->offered[s][d][p].good = c->offered[s][d][p].told = false;
                    if ((int)obs->polls[i].signal == ok) c->ok[s][d][p].good = c->ok[s][d][p].told = false;
                }
    }
    for (size_t i = 0; i < obs->n_measurements; i++) {
        const tt_measurement *m = &obs->measurements[i];
        if ((int)m->signal != offered && (int)m->signal != ok) continue;
        int s = service_of(c, label(m, TT_SV("service"))), d = dc_of(c, label(m, TT_SV("dc"))),
            p = index_of(c->spec->priorities, c->spec->n_priorities, label(m, TT_SV("priority")));
        if (s < 0 || d < 0 || p < 0) continue;
        tt_check_sample *x = (int)m->signal == offered ? &c->offered[s][d][p] : &c->ok[s][d][p];
        x->told = true;
        if (!isfinite(m->value) || m->quality != TT_Q_OK) continue;
        x->good = true;
        x->at_ns = m->at.ns;
    }
}

/* Every part that was told lately. A series that hasn't been told for as long as a value is good counts as gone. */
static bool known(const tt_check *c, tt_time now, const tt_check_sample x[TT_MODEL_PRIORITIES], int signal) {
    int64_t max = c->rules->signals[signal].max_age_ns > c->late_ns ? c->rules->signals[signal].max_age_ns : c->late_ns;
    bool any = false;
    for (uint32_t p = 0; p < c->spec->n_priorities; p++) {
        bool lately = now.ns - x[p].at_ns <= max;
        if (x[p].good && lately)
            any = true;
        else if (x[p].told || lately)
            return false;
    }
    return any;
}

static bool site_known(const tt_check *c, tt_time now, int s, int d) {
    int offered = tt_rules_signal(c->rules, TT_SV("offered_rps")), ok = tt_rules_signal(c->rules, TT_SV("ok_rps"));
    return offered >= 0 && ok >= 0 && known(c, now, c->offered[s][d], offered) && known(c, now, c->ok[s][d], ok);
}

/* ---- decisions ---- */

static bool protected_service(const tt_rules *r, const char *service) {
    for (size_t i = 0; i < r->guardrails.n_protected; i++) {
        const tt_label_match *m = &r->guardrails.protected_services[i];
        tt_sv groups[TT_MATCH_GROUPS_MAX];
        if (m->pattern ? r->matcher->match(r->matcher->ctx, m->pattern, tt_sv_of(service), groups) == TT_MATCH_YES
                       : tt_sv_eq(m->literal, tt_sv_of(service)))
            return true;
    }
    return false;
}

/* The most that any plan allows this step. */
static double step_max(const tt_rules *r, tt_step_kind kind, int priority) {
    double most = 0;
    for (size_t i = 0; i < r->n_plans; i++)
        for (size_t k = 0; k < r->plans[i].n_steps; k++) {
            const tt_step *st = &r->plans[i].steps[k];
            if (st->kind == kind && (priority < 0 || (int)st->priority == priority)) most = fmax(most, st->max);
        }
    return most;
}

static void look_at_decision(tt_check *c, int64_t t, const tt_decision *d) {
    const char *svc = d->target.service, *dc = d->target.dc;
    int s = service_of(c, tt_sv_of(svc)), at = dc_of(c, tt_sv_of(dc));
    HOLDS(d->epoch == c->epoch, "%s/%s: epoch %llu", svc, dc, (unsigned long long)d->epoch);
    HOLDS(d->version > c->version, "%s/%s: version %llu after %llu", svc, dc, (unsigned long long)d->version, (unsigned long long)c->version);
    HOLDS(s >= 0 && (at >= 0 || !dc[0]), "a decision for %s/%s, which nobody declared", svc, dc);
    HOLDS(!d->n_actions || !protected_service(c->rules, svc), "protected service %s is touched", svc);
    HOLDS(!d->n_actions || d->armed || d->n_loops > 0, "%s/%s: actions without a loop that answers for them", svc, dc);
    if (s < 0) return;
    uint32_t ejected = 0;
    for (uint32_t i = 0; i < d->n_actions; i++) {
        const tt_act *a = &d->actions[i];
        double sum = 0, most = 0;
        HOLDS(isfinite(a->value) && a->value >= 0, "%s/%s: an actuator that is no number, or below 0", svc, dc);
        switch (a->kind) {
        case TT_ACT_LIMIT:
            HOLDS(a->value > 0 && d->n_names > 0, "%s/%s: a limit that lets nothing in", svc, dc);
            break;
        case TT_ACT_DROP: {
            int p = tt_rules_priority(c->rules, tt_sv_of(a->name));
            HOLDS(p >= 0 && a->value <= step_max(c->rules, TT_STEP_DROP, p) + 1e-9, "%s/%s: drop of %s is over its step's max", svc, dc, a->name);
            break;
        }
        case TT_ACT_DEGRADE:
            HOLDS(a->value >= 1 && a->value <= TT_LEVELS_MAX && a->probe_ratio >= 0 && a->probe_ratio <= 1, "%s/%s: degrade out of range", svc, dc);
            break;
        case TT_ACT_WEIGHTS:
            HOLDS(d->n_names > 0, "%s: an empty set of data centers", svc);
            for (uint32_t k = 0; k < d->n_names; k++) {
                HOLDS(d->shares[k] >= 0 && d->shares[k] <= 1 + 1e-9, "%s: a weight outside 0 to 1", svc);
                sum += d->shares[k];
                most = fmax(most, d->shares[k]);
            }
            HOLDS(fabs(sum - 1) < 1e-6 && most > 0, "%s: weights do not sum to 1", svc);
            break;
        case TT_ACT_EJECT:
            ejected++;
            break;
        default:
            break;
        }
    }
    uint32_t all = c->spec->services[s].instances;
    HOLDS(ejected < all, "%s/%s: every instance is ejected", svc, dc);
    HOLDS(ejected == 0 || ejected <= step_max(c->rules, TT_STEP_EJECT, -1) * all + 1e-9, "%s/%s: %u of %u instances are ejected, over the step's max",
          svc, dc, ejected, all);
}

/* ---- actions ---- */

static double home_of(const tt_check *c, int s, int d) {
    const tt_model_service *def = &c->spec->services[s];
    return def->homed ? def->home[d] : c->spec->home[d];
}

/* Takes something away from clients, or moves them from where they belong. */
static bool tightens(const tt_check *c, const tt_event *ev, int s) {
    double from = ev->from, to = ev->to;
    if (strcmp(ev->action, "limit") == 0) return !isnan(to) && (isnan(from) || to < from);
    if (strncmp(ev->action, "weights:", 8) == 0) {
        int d = dc_of(c, tt_sv_of(ev->action + 8));
        double home = d < 0 ? 0 : home_of(c, s, d);
        return !isnan(to) && fabs(to - home) > fabs((isnan(from) ? home : from) - home) + 1e-9;
    }
    return (isnan(to) ? 0 : to) > (isnan(from) ? 0 : from);
}

/* Undone for a lost plan, by a timer, or laid out for a receiver: not the outcome of looking at the site itself. */
static bool by_looking(const tt_event *ev) {
    static const char *const others[] = {"stopped by a person",     "its plan is gone",  "flushed",
                                         "before the load arrives", "what does not fit", "takes traffic again"};
    for (size_t i = 0; i < TT_COUNT(others); i++)
        if (strstr(ev->reason, others[i])) return false;
    return true;
}

static void look_at_action(tt_check *c, int64_t t, tt_time now, const tt_event *ev) {
    int s = service_of(c, tt_sv_of(ev->target.service));
    bool weights = strncmp(ev->action, "weights:", 8) == 0;
    int d = dc_of(c, weights ? tt_sv_of(ev->action + 8) : tt_sv_of(ev->target.dc));
    HOLDS(s >= 0 && d >= 0, "%s on %s/%s, which nobody declared", ev->action, ev->target.service, ev->target.dc);
    HOLDS(!protected_service(c->rules, ev->target.service), "%s on protected service %s", ev->action, ev->target.service);
    if (s < 0 || d < 0 || strncmp(ev->action, "eject:", 6) == 0 || !ev->loop[0]) return;
    /* A feature or the calls meant may be another service's: what is known of the loop's own site decides, and that is not told apart here. */
    static const char *const of_others[] = {"degrade:", "retry", "timeout", "hedge:"};
    for (size_t i = 0; i < TT_COUNT(of_others); i++)
        if (strncmp(ev->action, of_others[i], strlen(of_others[i])) == 0) return;
    if (!by_looking(ev) || !tightens(c, ev, s)) return;
    HOLDS(site_known(c, now, s, d), "%s on %s/%s on a measurement that is not ok", ev->action, ev->target.service, c->spec->dcs[d]);
}

void tt_check_tick(tt_check *c, int64_t t, const tt_observations *obs, const tt_outcome *out, const tt_engine *e) {
    remember(c, obs);
    for (size_t i = 0; i < out->n_decisions; i++) look_at_decision(c, t, &out->decisions[i]);
    for (size_t i = 0; i < out->n_decisions; i++)
        if (out->decisions[i].version > c->version) c->version = out->decisions[i].version;
    for (size_t i = 0; i < out->n_events; i++)
        if (strcmp(out->events[i].kind, "action") == 0) look_at_action(c, t, obs->now, &out->events[i]);
    HOLDS(tt_engine_open_loops(e) <= c->rules->guardrails.max_concurrent_loops, "%zu loops are open, the guardrail is %u", tt_engine_open_loops(e),
          c->rules->guardrails.max_concurrent_loops);
}
