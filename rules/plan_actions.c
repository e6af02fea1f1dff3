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
