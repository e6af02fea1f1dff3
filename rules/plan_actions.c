/* The steps beside the ladder: retry, timeout, hedge and isolate. */
#include "plan_internal.h"

#include <stdio.h>

static void load_retry(tt_load *l, const tt_doc *map, tt_plan_nodes *n, size_t at, tt_step *st) {
    const tt_doc *service = NULL, *budget = NULL, *least = NULL, *approve = NULL;
    const tt_key keys[] = {{"service", &service}, {"budget", &budget}, {"min", &least}, {"approve", &approve}};
    tt_read_keys(l, map, "retry", "{service: payments, budget: 10%}", keys, TT_COUNT(keys));
    st->max = 0.1;
    st->least = 0.02;
    bool ok = tt_get_ratio(l, budget, "retry.budget", false, &st->max);
    ok = tt_get_ratio(l, least, "retry.min", true, &st->least) && ok;
    if (ok && st->least > st->max) {
        if (least)
            tt_load_fail(l, TT_EVALUE, least, "retry.min %s is more than retry.budget: it is what is left where there is no room for retries",
                         tt_show(least).text);
        else
            st->least = st->max;
    }
    tt_get_name_or_var(l, n, service, "retry.service", &st->service);
    n->step_service[at] = service;
    tt_no_approve(l, approve, "retry");
}

static void load_timeout(tt_load *l, const tt_doc *map, tt_plan_nodes *n, size_t at, tt_step *st) {
    const tt_doc *service = NULL, *factor = NULL, *least = NULL, *most = NULL, *approve = NULL;
    const tt_key keys[] = {{"service", &service}, {"factor", &factor}, {"min", &least}, {"max", &most}, {"approve", &approve}};
    int64_t least_ns = TT_MS(20), most_ns = TT_SECONDS(10);
    tt_read_keys(l, map, "timeout", "{service: recommendations, factor: 1.5, max: 1s}", keys, TT_COUNT(keys));
    st->factor = 1.5;
    tt_get_number(l, factor, "timeout.factor", 1, 100, &st->factor);
    bool ok = tt_get_duration(l, least, "timeout.min", TT_MS(1), TT_SECONDS(3600), &least_ns);
    ok = tt_get_duration(l, most, "timeout.max", TT_MS(1), TT_SECONDS(3600), &most_ns) && ok;
    if (ok && least_ns >= most_ns) {
        const tt_doc *node = most ? most : least;
        tt_load_fail(l, TT_EVALUE, node, "timeout.max is not above timeout.min: at max the time-out is as good as none and is taken away");
    }
    st->least = (double)least_ns / 1e6;
    st->most = (double)most_ns / 1e6;
    tt_get_name_or_var(l, n, service, "timeout.service", &st->service);
    n->step_service[at] = service;
    tt_no_approve(l, approve, "timeout");
}

static void load_hedge(tt_load *l, const tt_doc *map, tt_plan_nodes *n, size_t at, tt_step *st) {
    const tt_doc *service = NULL, *off = NULL, *approve = NULL;
    const tt_key keys[] = {{"service", &service}, {"off_above", &off}, {"approve", &approve}};
    tt_read_keys(l, map, "hedge", "{service: payments, off_above: 80%}", keys, TT_COUNT(keys));
    st->max = 0.8;
    if (tt_get_ratio(l, off, "hedge.off_above", false, &st->max) && st->max <= 0.15)
        tt_load_fail(l, TT_EVALUE, off, "nothing could undo hedge.off_above %s: hedges come back 15 points below it; write more than 15%%",
                     tt_show(off).text);
    tt_get_name_or_var(l, n, service, "hedge.service", &st->service);
    n->step_service[at] = service;
    tt_no_approve(l, approve, "hedge");
}

static void load_isolate(tt_load *l, const tt_doc *map, tt_step *st) {
    const tt_doc *max = NULL, *approve = NULL;
    const tt_key keys[] = {{"max", &max}, {"approve", &approve}};
    tt_read_keys(l, map, "isolate", "{max: 90%}", keys, TT_COUNT(keys));
    st->max = 1;
    tt_get_ratio(l, max, "isolate.max", false, &st->max);
    tt_no_approve(l, approve, "isolate");
}

void tt_load_action(tt_load *l, const tt_doc *map, tt_plan_nodes *n, size_t at, tt_step *st) {
    switch (st->kind) {
    case TT_STEP_RETRY:
        load_retry(l, map, n, at, st);
        break;
    case TT_STEP_TIMEOUT:
        load_timeout(l, map, n, at, st);
        break;
    case TT_STEP_HEDGE:
        load_hedge(l, map, n, at, st);
        break;
    case TT_STEP_ISOLATE:
        load_isolate(l, map, st);
        break;
    default:
        break;
    }
}

/* A step that nothing can ever move is a mistake in the rules, not a quiet step. */
void tt_check_action(tt_load *l, const tt_plan *p, const tt_plan_nodes *n, size_t at) {
    const tt_step *st = &p->steps[at];
    bool own = !st->service.n || tt_sv_eq(st->service, p->service);
    const struct {
        tt_step_kind kind;
        const char *needs[2], *why;
    } needs[] = {
        {TT_STEP_RETRY, {"retries_rps", own ? NULL : "arrived_rps"}, "how many of the requests are retries"},
        {TT_STEP_TIMEOUT, {"latency_mean_ms", NULL}, "whether what is called is slow"},
        {TT_STEP_TIMEOUT, {"latency_p99_ms", NULL}, "how long it usually takes"},
        {TT_STEP_HEDGE, {"utilization", NULL}, "whether there is room for hedges"},
        {TT_STEP_ISOLATE, {"caller_rps", NULL}, "who calls how much, by the label caller"},
    };
    if (l->signals_unsure) return;
    for (size_t i = 0; i < TT_COUNT(needs); i++) {
        if (needs[i].kind != st->kind) continue;
        bool has = false;
        for (int k = 0; k < 2; k++) has = has || (needs[i].needs[k] && tt_rules_signal(l->r, tt_sv_of(needs[i].needs[k])) >= 0);
        if (!has)
            tt_load_fail(l, TT_EMISSING, n->step[at], "%s goes by the signal %s%s%s, %s, and it is not declared: give it under `signals`",
                         tt_step_name(st->kind), needs[i].needs[0], needs[i].needs[1] ? " or " : "", needs[i].needs[1] ? needs[i].needs[1] : "",
                         needs[i].why);
    }
}

/* ---- versions ---- */

static void load_version(tt_load *l, const tt_doc *key, const tt_doc *value, tt_dc_def *v, size_t *n_weights) {
    const tt_doc *weight = NULL, *capacity = NULL;
    const tt_key keys[] = {{"weight", &weight}, {"capacity_rps", &capacity}};
    tt_get_name(l, key, "a version", &v->name);
    if (value->kind == TT_DOC_SCALAR)
        weight = value; /* stable: 95% */
    else
        tt_read_keys(l, value, "a version", "{weight: 95%, capacity_rps: 900}", keys, TT_COUNT(keys));
    if (weight && tt_get_ratio(l, weight, "weight", true, &v->weight)) ++*n_weights;
    if (capacity && tt_get_number(l, capacity, "capacity_rps", 0, 1e9, &v->capacity_rps) && v->capacity_rps == 0)
        tt_load_fail(l, TT_EVALUE, capacity,
                     "capacity_rps 0 is no capacity: write the requests per second it can carry in each data center, or leave it out");
}

static bool load_versions(tt_load *l, const tt_doc *map, tt_service_def *s) {
    static const char example[] = "{stable: 95%, canary: 5%}";
    if (map->kind != TT_DOC_MAP || map->n < 2 || map->n > TT_VERSIONS_MAX) {
        tt_load_fail(l, map->kind == TT_DOC_MAP && map->n > TT_VERSIONS_MAX ? TT_ELIMIT : TT_EVALUE, map,
                     "versions is a map of 2 to %d versions to their shares of the traffic, such as %s", TT_VERSIONS_MAX, example);
        return false;
    }
    tt_dc_def *v = tt_arena_array(l->r->arena, map->n, sizeof *v);
    if (!v) return tt_load_no_memory(l);
    size_t n_weights = 0, before = l->total;
    double sum = 0;
    for (size_t i = 0; i < map->n; i++) load_version(l, &map->keys[i], &map->items[i], &v[i], &n_weights);
    for (size_t i = 0; i < map->n; i++) sum += v[i].weight;
    if (l->total != before) return false;
    if (n_weights != map->n || sum < 0.999 || sum > 1.001) {
        tt_load_fail(l, TT_EVALUE, map,
                     "the shares of the versions don't sum to 100%%: write what each has of the traffic when all is well, such as %s", example);
        return false;
    }
    s->n_versions = map->n;
    s->versions = v;
    return true;
}

void tt_load_versions(tt_load *l, const tt_doc *map, tt_service_def *s) {
    if (map && !load_versions(l, map, s)) l->services_unsure = true; /* what a plan misses there may be in what could not be read */
}

void tt_load_version_shift(tt_load *l, const tt_plan *p, const tt_doc *from_version, const tt_doc *to, const tt_doc *from, tt_step *st) {
    static const char example[] = "shift: {from_version: $version, to: stable}";
    if (!from_version && !to) return;
    if (from) tt_load_fail(l, TT_EVALUE, from, "a shift moves traffic between data centers or between versions, not both: write %s", example);
    if (p->law == TT_LAW_RUNBOOK) {
        tt_load_fail(l, TT_EVALUE, from_version ? from_version : to, "law runbook moves traffic between data centers only: leave it out");
        return;
    }
    if (from_version && p->by_version && (from_version->kind != TT_DOC_SCALAR || !tt_sv_eq(from_version->text, p->instance)))
        tt_load_fail(l, TT_EVALUE, from_version,
                     "shift.from_version %s is not the target's version: traffic is moved away from the target, write " TT_SV_FMT,
                     tt_show(from_version).text, TT_SV_ARG(p->instance));
    if (!to) {
        tt_load_fail(l, TT_EMISSING, from_version, "a shift between versions needs who takes over: %s", example);
        return;
    }
    tt_get_name(l, to, "shift.to", &st->to_version);
    if (st->max == 0.5) st->max = 1; /* a version is left but for a trickle, unless the plan says otherwise */
}

void tt_check_version(tt_load *l, const tt_plan *p, const tt_plan_nodes *n, const tt_step *st, const tt_doc *at) {
    if (!p->by_version) {
        tt_load_fail(l, TT_EVALUE, at,
                     "a shift between versions treats one version and the target has none: add version to target, such as version: $version");
        return;
    }
    if (st->kind != TT_STEP_SHIFT || !st->to_version.n) {
        tt_load_fail(l, TT_EVALUE, at,
                     "the target is one version: only shift: {from_version: $version, to: stable} can answer that, give %s its own plan",
                     tt_step_name(st->kind));
        return;
    }
    int k = p->service.n && p->service.p[0] != '$' ? tt_rules_service(l->r, p->service) : -1;
    if (k < 0 || l->services_unsure) return;
    const tt_service_def *s = &l->r->services[k];
    bool has_to = false, has_from = p->instance.p[0] == '$';
    for (size_t i = 0; i < s->n_versions; i++) {
        has_to = has_to || tt_sv_eq(s->versions[i].name, st->to_version);
        has_from = has_from || tt_sv_eq(s->versions[i].name, p->instance);
    }
    if (!s->n_versions)
        tt_load_fail(l, TT_EMISSING, at,
                     "service " TT_SV_FMT
                     " declares no versions, and their usual shares are what is returned to: add versions: {stable: 95%%, canary: 5%%}",
                     TT_SV_ARG(s->name));
    else if (!has_to || !has_from)
        tt_load_fail(l, TT_EUNKNOWN, has_to ? n->version : at, "service " TT_SV_FMT " has no version " TT_SV_FMT, TT_SV_ARG(s->name),
                     TT_SV_ARG(has_to ? p->instance : st->to_version));
    else if (tt_sv_eq(st->to_version, p->instance))
        tt_load_fail(l, TT_EVALUE, at, "shift.to is the version that is to be left: name another");
}
