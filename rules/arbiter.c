/* All loops' wishes become one decision a target. What sites, groups and loops want is laid out afresh each tick; a decision goes out when its content
 * changed, or when it has stood long enough to need confirming before its own expiry. */
#include "engine_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const int64_t confirm_every_ns = TT_SECONDS(120); /* a fifth of the expiry below */
static const int64_t expire_after_ms = 600000, decay_over_ms = 300000;

bool tt_is_protected(const tt_engine *e, const char *service) {
    const tt_guardrails *g = &e->rules->guardrails;
    for (size_t i = 0; i < g->n_protected; i++) {
        const tt_label_match *m = &g->protected_services[i];
        if (!m->pattern) {
            if (tt_sv_eq(m->literal, tt_sv_of(service))) return true;
            continue;
        }
        tt_sv groups[TT_MATCH_GROUPS_MAX];
        /* A pattern that ran away protects: the safe reading of not knowing. */
        if (e->rules->matcher->match(e->rules->matcher->ctx, m->pattern, tt_sv_of(service), groups) != TT_MATCH_NO) return true;
    }
    return false;
}

static tt_decision_slot *find_slot(const tt_engine *e, const tt_target *t) {
    tt_index_walk w;
    for (uint32_t i = tt_index_first(&e->slots_by_target, tt_hash_target(t), &w); i != TT_NOWHERE; i = tt_index_next(&w))
        if (tt_target_eq(&e->slots[i].d.target, t)) return &e->slots[i];
    return NULL;
}

static tt_decision_slot *slot_of(tt_engine *e, const tt_target *t) {
    tt_decision_slot *s = find_slot(e, t);
    if (s) return s;
    if (e->n_slots == TT_TARGETS_MAX || !tt_index_add(&e->slots_by_target, tt_hash_target(t), e->n_slots)) return NULL;
    s = &e->slots[e->n_slots++];
    memset(s, 0, sizeof *s);
    s->d.target = *t;
    s->acked_share = 1;
    return s;
}

typedef struct {
    tt_decision *d;
    uint32_t n;
} draft;

/* All but the long lists: they are as long as their counts say, and not worth clearing each tick. */
static void clear(tt_decision *d) {
    char *p = (char *)d;
    size_t actions = offsetof(tt_decision, actions), names = offsetof(tt_decision, names);
    memset(p, 0, actions);
    memset(p + actions + sizeof d->actions, 0, names - actions - sizeof d->actions);
    memset(p + names + sizeof d->names, 0, sizeof *d - names - sizeof d->names);
}

static tt_decision *wish(tt_engine *e, draft *dr, const tt_target *t, const tt_loop *l) {
    tt_decision_slot *s = slot_of(e, t);
    if (!s) return NULL;
    tt_decision *d = s->draft ? &dr->d[s->draft - 1] : NULL;
    if (!d) {
        d = &dr->d[dr->n++];
        s->draft = dr->n;
        clear(d);
        d->target = *t;
        d->expire_after_ms = expire_after_ms;
        d->decay_over_ms = decay_over_ms;
    }
    if (l) {
        for (uint32_t i = 0; i < d->n_loops; i++)
            if (strcmp(d->loops[i], l->id) == 0) return d;
        if (d->n_loops < TT_DECISION_LOOPS_MAX) memcpy(d->loops[d->n_loops++], l->id, TT_ULID_SIZE);
    }
    return d;
}

static tt_act *add(tt_decision *d, tt_act_kind kind) {
    if (!d || d->n_actions == TT_ACTIONS_MAX) return NULL;
    d->armed = false; /* until the armed cap turns out to be all there is */
    tt_act *a = &d->actions[d->n_actions++];
    memset(a, 0, sizeof *a);
    a->kind = kind;
    return a;
}

/* Several loops may want the same of one target: the tightest of their wishes stands. */
static void tighten(tt_decision *d, tt_act_kind kind, const char *name, double value) {
    bool larger = kind == TT_ACT_ISOLATE || kind == TT_ACT_DROP || kind == TT_ACT_DEGRADE;
    for (uint32_t i = 0; d && i < d->n_actions; i++) {
        tt_act *a = &d->actions[i];
        if (a->kind != kind || strcmp(a->name, name) != 0) continue;
        if (larger ? value > a->value : value < a->value) a->value = value;
        return;
    }
    tt_act *a = add(d, kind);
    if (!a) return;
    a->value = value;
    tt_copy_text(a->name, TT_NAME_MAX, tt_sv_of(name));
}

static void side_wishes(tt_engine *e, draft *dr, const tt_loop *l) {
    static const tt_act_kind kinds[TT_SIDES] = {TT_ACT_RETRY, TT_ACT_TIMEOUT, TT_ACT_HEDGE, TT_ACT_ISOLATE};
    for (int k = 0; k < TT_SIDES; k++) {
        const tt_side *s = &l->sides[k];
        if (!s->on) continue;
        tt_target t = {0};
        memcpy(t.service, s->service, sizeof t.service);
        memcpy(t.dc, l->target.dc, sizeof t.dc);
        tighten(wish(e, dr, &t, l), kinds[k], s->name, kinds[k] == TT_ACT_HEDGE ? 0 : s->value);
    }
}

/* Little's law: so many requests in flight are what the cap is at the usual latency, with room for the queueing that a full site has (half as much
 * again, as Gradient2 allows). What is in flight holds by itself when latency grows: fewer requests get in, without anybody measuring again. */
static double concurrency_of(const tt_site *s, double rps) {
    static const double queueing = 1.5;
    return s->latency_base_ms > 0 ? fmax(rps * queueing * s->latency_base_ms / 1000, 1) : 0;
}

static void site_wishes(tt_engine *e, draft *dr, tt_site *s) {
    tt_loop *l = tt_site_loop(e, s);
    if (!l && s->armed_rps <= 0) return;
    tt_target t = {0};
    tt_copy_text(t.service, sizeof t.service, tt_sv_of(tt_service_cname(e, s->service)));
    tt_copy_text(t.dc, sizeof t.dc, tt_sv_of(tt_dc_cname(e, s)));
    bool capped = s->cap_rps > 0 && !s->by_ratio, armed = s->armed_rps > 0 && !(s->cap_rps > 0);
    const tt_step *limit = tt_plan_step(capped && l ? l->plan : s->arms, TT_STEP_LIMIT);
    if (capped || armed) {
        tt_decision *d = wish(e, dr, &t, capped ? l : NULL);
        double rps = capped ? s->cap_rps : s->armed_rps,
               inflight = limit && limit->by_concurrency ? concurrency_of(s, rps) : 0; /* with no latency learned it is held as a rate */
        tt_act *a = add(d, inflight > 0 ? TT_ACT_CONCURRENCY : TT_ACT_LIMIT);
        if (a) {
            d->armed = armed;
            a->value = inflight > 0 ? inflight : rps;
            /* A plan that is gone no longer says who is kept: then everybody, highest first, until it is wound back. */
            d->n_names = limit ? limit->n_keep : (uint32_t)e->rules->n_priorities;
            for (uint32_t i = 0; i < d->n_names; i++) tt_copy_text(d->names[i], TT_NAME_MAX, e->rules->priorities[limit ? limit->keep[i] : i]);
        }
    }
    if (!l) return;
    for (size_t p = 0; p < e->rules->n_priorities; p++) {
        if (!(s->drop[p] > 0)) continue;
        tt_act *a = add(wish(e, dr, &t, l), TT_ACT_DROP);
        if (!a) continue;
        a->value = s->drop[p];
        tt_copy_text(a->name, TT_NAME_MAX, e->rules->priorities[p]);
    }
    if (s->level > 0) {
        tt_target f = t;
        memcpy(f.service, s->feature_service, sizeof f.service);
        tt_decision *d = wish(e, dr, &f, l);
        /* Two callers may want the same feature at different levels: the deeper one stands. */
        for (uint32_t i = 0; d && i < d->n_actions; i++)
            if (d->actions[i].kind == TT_ACT_DEGRADE && strcmp(d->actions[i].name, s->feature) == 0) {
                if (s->level > d->actions[i].value) d->actions[i].value = s->level;
                return;
            }
        tt_act *a = add(d, TT_ACT_DEGRADE);
        if (a) {
            a->value = s->level;
            a->probe_ratio = s->probe_ratio;
            memcpy(a->name, s->feature, sizeof a->name);
        }
    }
}

static void group_wishes(tt_engine *e, draft *dr, uint32_t service) {
    tt_group *g = &e->groups[service];
    if (!g->weights) return;
    tt_target t = {0};
    tt_copy_text(t.service, sizeof t.service, e->rules->services[service].name);
    tt_decision *d = wish(e, dr, &t, g->loop >= 0 ? &e->loops[g->loop] : NULL);
    tt_act *a = add(d, TT_ACT_WEIGHTS);
    if (!a) return;
    d->expire_after_ms = -1; /* weights never fade by themselves: half of the traffic would go back to where it was taken from */
    d->decay_over_ms = -1;
    d->n_names = g->n_sites;
    for (uint32_t i = 0; i < g->n_sites; i++) {
        tt_copy_text(d->names[i], TT_NAME_MAX, tt_sv_of(tt_dc_cname(e, &e->sites[g->first_site + i])));
        d->shares[i] = g->share[i];
    }
}

static bool same_act(const tt_act *a, const tt_act *b) {
    return a->kind == b->kind && a->value == b->value && a->probe_ratio == b->probe_ratio && strcmp(a->name, b->name) == 0;
}

static bool same(const tt_decision *a, const tt_decision *b) {
    if (a->n_actions != b->n_actions || a->armed != b->armed || a->n_names != b->n_names) return false;
    for (uint32_t i = 0; i < a->n_names; i++)
        if (strcmp(a->names[i], b->names[i]) != 0 || a->shares[i] != b->shares[i]) return false;
    for (uint32_t i = 0; i < a->n_actions; i++)
        if (!same_act(&a->actions[i], &b->actions[i])) return false;
    return true;
}

static void issue(tt_engine *e, tt_decision_slot *s, const tt_decision *d, bool changed) {
    tt_target t = s->d.target;
    s->d = *d;
    s->d.target = t;
    s->d.epoch = e->cfg.epoch;
    s->d.version = ++e->version;
    s->issued_at = e->now;
    if (changed) s->changed_version = s->d.version;
    s->dirty = true;
}

void tt_arbiter_step(tt_engine *e) {
    draft dr = {.d = e->out_decisions, .n = 0};
    for (uint32_t i = 0; i < e->n_sites; i++) site_wishes(e, &dr, &e->sites[i]);
    for (uint32_t i = 0; i < e->rules->n_services; i++) group_wishes(e, &dr, i);
    for (uint32_t i = 0; i < e->n_loops; i++)
        if (tt_loop_is_open(&e->loops[i]) && tt_actions_any(&e->loops[i])) side_wishes(e, &dr, &e->loops[i]);
    for (uint32_t i = 0; i < e->n_loops; i++) {
        tt_loop *l = &e->loops[i];
        if (!tt_loop_is_open(l) || !l->ejected) continue;
        tt_target t = l->target;
        t.instance[0] = 0;
        tt_act *a = add(wish(e, &dr, &t, l), TT_ACT_EJECT);
        if (!a) continue;
        a->value = 1;
        memcpy(a->name, l->target.instance, TT_NAME_MAX);
    }
    for (uint32_t i = 0; i < dr.n; i++) {
        tt_decision_slot *s = find_slot(e, &dr.d[i].target);
        bool changed = !same(&s->d, &dr.d[i]);
        if (changed || e->reissue || tt_since(e->now, s->issued_at) >= confirm_every_ns) issue(e, s, &dr.d[i], changed);
    }
    tt_decision none = {.expire_after_ms = -1, .decay_over_ms = -1};
    for (uint32_t i = 0; i < e->n_slots; i++) {
        tt_decision_slot *s = &e->slots[i];
        if (!s->draft && (s->d.n_actions > 0 || e->reissue)) issue(e, s, &none, s->d.n_actions > 0);
    }
    e->reissue = false;
    e->n_out = 0;
    for (uint32_t i = 0; i < e->n_slots; i++) {
        tt_decision_slot *s = &e->slots[i];
        s->draft = 0;
        if (!s->dirty) continue;
        s->dirty = false;
        e->out_decisions[e->n_out++] = s->d;
    }
}

/* ---- what the mesh has taken ---- */

typedef struct {
    bool all, seen;
    double least;
} acked;

static void look_at_ack(const tt_site *s, const tt_decision_slot *d, acked *ret) {
    if (!d || d->changed_version <= s->commanded_version) return;
    ret->seen |= d->acks_seen;
    if (d->acked_version >= d->changed_version) return;
    ret->all = false;
    if (d->acked_share < ret->least) ret->least = d->acked_share;
}

/* What has been decided for the site, and for those below it, since it was commanded. */
static acked acks_of(const tt_engine *e, const tt_site *s) {
    acked a = {true, false, 1};
    for (uint32_t c = 0; c < s->n_closure; c++) {
        tt_target t = {0};
        tt_copy_text(t.service, sizeof t.service, tt_sv_of(tt_service_cname(e, s->closure[c])));
        look_at_ack(s, find_slot(e, &t), &a);
        tt_copy_text(t.dc, sizeof t.dc, tt_sv_of(tt_dc_cname(e, s)));
        look_at_ack(s, find_slot(e, &t), &a);
    }
    return a;
}

bool tt_decision_acknowledged(const tt_engine *e, const tt_target *t) {
    const tt_decision_slot *s = find_slot(e, t);
    return !s || !s->acks_seen || s->acked_version >= s->changed_version;
}

void tt_arbiter_acks(tt_engine *e, const tt_observations *obs) {
    for (size_t i = 0; i < obs->n_acks; i++) {
        const tt_ack *a = &obs->acks[i];
        if (a->epoch != e->cfg.epoch) continue;
        tt_decision_slot *s = find_slot(e, &a->target);
        if (!s) continue;
        s->acks_seen = true;
        s->acked_share = a->share;
        if (a->share >= 0.99 && a->version > s->acked_version) s->acked_version = a->version;
    }
    for (uint32_t i = 0; i < e->n_sites; i++) {
        tt_site *s = &e->sites[i];
        if (!s->acted || s->acknowledged) continue;
        acked a = acks_of(e, s);
        bool all = a.all, seen = a.seen;
        double least = a.least;
        s->ack_share = all ? 1 : least;
        int64_t waited = tt_since(e->now, s->commanded_at), usual = e->cfg.apply_ns * 13 / 10 + TT_SECONDS(1);
        if (seen && all) {
            s->acknowledged = true;
            s->effective_at = e->now;
        } else if (!seen && waited >= usual) {
            s->acknowledged = true; /* this mesh side does not acknowledge: its usual time has passed */
            s->effective_at = e->now;
        } else if (seen && waited >= 2 * e->cfg.apply_ns + TT_SECONDS(5)) {
            if (!s->partial_said && s->loop >= 0) {
                char p[32];
                tt_pct(p, sizeof p, least);
                tt_emit(e, "hold", tt_site_loop(e, s), "only %s of the instances have acknowledged the decision; judging what there is", p);
            }
            s->partial_said = true;
            s->acknowledged = true;
            s->effective_at = e->now;
        }
    }
}
