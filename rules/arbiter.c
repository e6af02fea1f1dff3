/* All loops' wishes become one decision a target. What sites, groups and loops want is laid out afresh each tick; a decision goes out when its content
 * changed, or when it has stood long enough to need confirming before its own expiry. */
#include "engine_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const int64_t confirm_every_ns = TT_SECONDS(120); /* a fifth of the expiry below */
static const double partial_reach = 0.97;
static const int64_t expire_after_ms = 600000, decay_over_ms = 300000, forget_withdrawn_ns = TT_SECONDS(900);
static const int64_t test_expire_after_ms = 60000, test_decay_over_ms = 20000;

enum { OUT_KEPT = 256 };

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
        if (tt_target_eq(&e->slots[i].target, t)) return &e->slots[i];
    return NULL;
}

/* The one that was withdrawn longest ago; whoever should still act on it has had its expiry to hear of it. NULL: none was, so long ago. */
static tt_decision_slot *oldest_withdrawn(tt_engine *e) {
    tt_decision_slot *oldest = NULL;
    for (uint32_t i = 0; i < e->n_slots; i++) {
        tt_decision_slot *s = &e->slots[i];
        if (!s->content && !s->draft && tt_since(e->now, s->issued_at) >= forget_withdrawn_ns && (!oldest || s->issued_at.ns < oldest->issued_at.ns)) oldest = s;
    }
    if (oldest) tt_index_drop(&e->slots_by_target, tt_hash_target(&oldest->target), (uint32_t)(oldest - e->slots));
    return oldest;
}

static tt_decision_slot *slot_of(tt_engine *e, const tt_target *t) {
    tt_decision_slot *s = find_slot(e, t);
    if (s) return s;
    s = e->n_slots < e->cfg.max_targets ? &e->slots[e->n_slots] : oldest_withdrawn(e);
    if (!s) {
        if (!e->targets_full_said)
            tt_emit(e, "limit_reached", NULL, "decisions for %u targets are in force, the ceiling of this process: nothing is decided for %s%s%s", e->n_slots,
                    t->service, t->dc[0] ? " in " : "", t->dc);
        e->targets_full_said = true;
        return NULL;
    }
    if (!tt_index_add(&e->slots_by_target, tt_hash_target(t), (uint32_t)(s - e->slots))) return NULL;
    if (s == &e->slots[e->n_slots]) e->n_slots++;
    *s = (tt_decision_slot){.target = *t, .acked_share = 1};
    return s;
}

static tt_wish *wish(tt_engine *e, const tt_target *t, const tt_loop *l) {
    tt_decision_slot *s = slot_of(e, t);
    if (!s) return NULL;
    tt_wish *d = s->draft ? &e->wishes[s->draft - 1] : NULL;
    if (!d) {
        d = &e->wishes[e->n_wishes++];
        s->draft = e->n_wishes;
        d->slot = s;
        d->armed = false;
        d->test = NULL;
        d->n_pins = 0;
        d->n_loops = d->n_actions = d->n_names = 0; /* the lists are as long as these say */
        d->expire_after_ms = expire_after_ms;
        d->decay_over_ms = decay_over_ms;
    }
    if (l) {
        for (uint32_t i = 0; i < d->n_loops; i++)
            if (d->loops[i] == l) return d;
        if (d->n_loops < TT_DECISION_LOOPS_MAX) d->loops[d->n_loops++] = l;
    }
    return d;
}

static tt_wish_act *add(tt_wish *d, tt_act_kind kind) {
    if (!d || d->n_actions == TT_ACTIONS_MAX) return NULL;
    d->armed = false; /* until the armed cap turns out to be all there is */
    tt_wish_act *a = &d->actions[d->n_actions++];
    *a = (tt_wish_act){.kind = kind, .name = ""};
    return a;
}

static void name_it(tt_wish *d, const char *name, double share) {
    if (d->n_names == TT_DECISION_DCS_MAX) return;
    d->shares[d->n_names] = share;
    d->names[d->n_names++] = name;
}

/* Several loops may want the same of one target: the tightest of their wishes stands. */
static void tighten(tt_wish *d, tt_act_kind kind, const char *name, double value) {
    bool larger = kind == TT_ACT_ISOLATE || kind == TT_ACT_DROP || kind == TT_ACT_DEGRADE;
    for (uint32_t i = 0; d && i < d->n_actions; i++) {
        tt_wish_act *a = &d->actions[i];
        if (a->kind != kind || strcmp(a->name, name) != 0) continue;
        if (larger ? value > a->value : value < a->value) a->value = value;
        return;
    }
    tt_wish_act *a = add(d, kind);
    if (!a) return;
    a->value = value;
    a->name = name;
}

static tt_wish_act *act_of(tt_wish *d, tt_act_kind kind, tt_sv name) {
    for (uint32_t i = 0; i < d->n_actions; i++)
        if (d->actions[i].kind == kind && tt_sv_eq(tt_sv_of(d->actions[i].name), name)) return &d->actions[i];
    return NULL;
}

/* Every version has its usual share, but for those that loops have moved; what one has less, the one that takes over has more. */
static void version_wishes(tt_engine *e, const tt_loop *l) {
    const tt_side *v = &l->sides[TT_SIDE_VERSION];
    const tt_step *st = tt_plan_step(l->plan, TT_STEP_SHIFT);
    int k = tt_rules_service(e->rules, tt_sv_of(l->target.service));
    const tt_dc_def *from = v->on ? tt_version_def(e, l->target.service, tt_sv_of(v->name)) : NULL;
    if (!from || k < 0) return;
    const tt_service_def *s = &e->rules->services[k];
    tt_target t = l->target;
    t.instance[0] = 0;
    tt_wish *d = wish(e, &t, l);
    if (!d || d->n_actions + s->n_versions > TT_ACTIONS_MAX) return;
    for (size_t i = 0; i < s->n_versions && !act_of(d, TT_ACT_VERSION, s->versions[s->n_versions - 1].name); i++) {
        tt_wish_act *a = add(d, TT_ACT_VERSION);
        a->name = s->versions[i].name.p;
        a->value = s->versions[i].weight;
    }
    /* A plan that is gone no longer says who takes over: then the one with the most. */
    tt_sv to = st ? st->to_version : (tt_sv){0};
    for (size_t i = 0; !to.n && i < s->n_versions; i++) {
        bool most = &s->versions[i] != from;
        for (size_t o = 0; o < s->n_versions; o++) most = most && (&s->versions[o] == from || s->versions[o].weight <= s->versions[i].weight);
        if (most) to = s->versions[i].name;
    }
    tt_wish_act *gives = act_of(d, TT_ACT_VERSION, from->name), *takes = act_of(d, TT_ACT_VERSION, to);
    if (!gives || !takes) return;
    double move = fmin(from->weight - v->value, gives->value);
    gives->value -= move;
    takes->value += move;
}

static void side_wishes(tt_engine *e, const tt_loop *l) {
    static const tt_act_kind kinds[TT_SIDE_VERSION] = {TT_ACT_RETRY, TT_ACT_TIMEOUT, TT_ACT_HEDGE, TT_ACT_ISOLATE};
    version_wishes(e, l);
    for (int k = 0; k < TT_SIDE_VERSION; k++) {
        const tt_side *s = &l->sides[k];
        if (!s->on) continue;
        tt_target t = {0};
        memcpy(t.service, s->service, sizeof t.service);
        memcpy(t.dc, l->target.dc, sizeof t.dc);
        tighten(wish(e, &t, l), kinds[k], s->name, kinds[k] == TT_ACT_HEDGE ? 0 : s->value);
    }
}

/* Little's law: the cap, times what a request may take. By default that is six times the usual: a queue forms that feeds every worker through the ups and
 * downs of arrivals, and nothing in it grows old. What is in flight holds by itself when latency grows: fewer requests get in, without anybody measuring
 * again. (Measured on the rehearsal suite, seeds 501 to 504, without the inner loop: a rate cap loses .145 of what doing nothing loses; 1.5 times .107,
 * 4 times .078, 6 times .068, 8 to 13 times .054 to .058, 20 times, past the time-out, .084. With it: .049; 5 times .036, 8 times .042.) */
static double inflight_of(const tt_step *limit, double rps, double latency_ms) {
    static const double times_usual = 6;
    if (!limit || !limit->by_concurrency || latency_ms <= 0) return 0; /* with no latency learned it is held as a rate */
    double may_take_ms = limit->most > 0 ? limit->most : times_usual * latency_ms;
    return fmax(rps * may_take_ms / 1000, 1);
}

static void site_wishes(tt_engine *e, tt_site *s) {
    tt_loop *l = tt_site_loop(e, s);
    if (!l && s->armed_rps <= 0) return;
    tt_target t = {0};
    tt_copy_text(t.service, sizeof t.service, tt_sv_of(tt_service_cname(e, s->service)));
    tt_copy_text(t.dc, sizeof t.dc, tt_sv_of(tt_dc_cname(e, s)));
    bool capped = s->cap_rps > 0 && !s->by_ratio, armed = s->armed_rps > 0 && !(s->cap_rps > 0);
    const tt_step *limit = tt_plan_step(capped && l ? l->plan : s->arms, TT_STEP_LIMIT);
    if (capped || armed) {
        tt_wish *d = wish(e, &t, capped ? l : NULL);
        double rps = capped ? s->cap_rps : s->armed_rps,
               inflight = inflight_of(limit, rps, armed ? s->armed_latency_ms : s->latency_base_ms);
        tt_wish_act *a = add(d, inflight > 0 ? TT_ACT_CONCURRENCY : TT_ACT_LIMIT);
        if (a) {
            d->armed = armed;
            a->value = inflight > 0 ? inflight : rps;
            /* A plan that is gone no longer says who is kept: then everybody, highest first, until it is wound back. */
            uint32_t n = limit ? limit->n_keep : (uint32_t)e->rules->n_priorities;
            for (uint32_t i = 0; i < n; i++) name_it(d, e->rules->priorities[limit ? limit->keep[i] : i].p, 0);
        }
    }
    if (!l) return;
    for (size_t p = 0; p < e->rules->n_priorities; p++) {
        if (!(s->drop[p] > 0)) continue;
        tt_wish_act *a = add(wish(e, &t, l), TT_ACT_DROP);
        if (!a) continue;
        a->value = s->drop[p];
        a->name = e->rules->priorities[p].p;
    }
    if (s->level > 0) {
        tt_target f = t;
        memcpy(f.service, s->feature_service, sizeof f.service);
        tt_wish *d = wish(e, &f, l);
        /* Two callers may want the same feature at different levels: the deeper one stands. */
        for (uint32_t i = 0; d && i < d->n_actions; i++)
            if (d->actions[i].kind == TT_ACT_DEGRADE && strcmp(d->actions[i].name, s->feature) == 0) {
                if (s->level > d->actions[i].value) d->actions[i].value = s->level;
                return;
            }
        tt_wish_act *a = add(d, TT_ACT_DEGRADE);
        if (a) {
            a->value = s->level;
            a->probe_ratio = s->probe_ratio;
            a->name = s->feature;
        }
    }
}

static void group_wishes(tt_engine *e, uint32_t service) {
    tt_group *g = &e->groups[service];
    if (!g->weights) return;
    tt_target t = {0};
    tt_copy_text(t.service, sizeof t.service, e->rules->services[service].name);
    tt_wish *d = wish(e, &t, g->loop >= 0 ? &e->loops[g->loop] : NULL);
    tt_wish_act *a = add(d, TT_ACT_WEIGHTS);
    if (!a) return;
    d->test = tt_load_test_of(e, service);
    /* Weights never fade by themselves: half of the traffic would go back to where it was taken from. Those of a load test do: nothing is wrong at
     * home, and without us that is where it goes. */
    d->expire_after_ms = d->test ? test_expire_after_ms : -1;
    d->decay_over_ms = d->test ? test_decay_over_ms : -1;
    for (uint32_t i = 0; i < g->n_sites; i++) name_it(d, tt_dc_cname(e, &e->sites[g->first_site + i]), g->share[i]);
}

static bool same_knob(const tt_wish_act *a, const tt_pin_spec *p) {
    if (p->kind == TT_ACT_LIMIT) return a->kind == TT_ACT_LIMIT || a->kind == TT_ACT_CONCURRENCY;
    return a->kind == p->kind && (p->kind == TT_ACT_WEIGHTS || strcmp(a->name, p->name) == 0);
}

/* What a person holds goes before all that loops want. */
static void pin_wish(tt_engine *e, const tt_pin *pin) {
    const tt_pin_spec *p = &pin->spec;
    tt_wish *d = wish(e, &p->target, NULL);
    if (!d) return;
    uint32_t n = 0;
    for (uint32_t i = 0; i < d->n_actions; i++) {
        if (!same_knob(&d->actions[i], p)) d->actions[n++] = d->actions[i];
    }
    d->n_actions = n;
    d->armed = false;
    if (d->n_pins < TT_COUNT(d->pins)) d->pins[d->n_pins++] = pin;
    if (p->kind == TT_ACT_LIMIT || p->kind == TT_ACT_WEIGHTS) d->n_names = 0;
    if (p->kind == TT_ACT_WEIGHTS) d->expire_after_ms = d->decay_over_ms = -1;
    tt_wish_act *a = isnan(p->value) ? NULL : add(d, p->kind);
    if (!a) return;
    a->value = p->value;
    a->name = p->name;
    if (p->kind == TT_ACT_LIMIT)
        for (size_t k = 0; k < e->rules->n_priorities; k++) name_it(d, e->rules->priorities[k].p, 0);
    const tt_group *g = &e->groups[tt_rules_service(e->rules, tt_sv_of(p->target.service))];
    for (uint32_t i = 0; p->kind == TT_ACT_WEIGHTS && i < g->n_sites; i++) {
        const char *dc = tt_dc_cname(e, &e->sites[g->first_site + i]);
        double share = 0;
        for (uint32_t k = 0; k < p->n_dcs; k++)
            if (strcmp(p->dcs[k], dc) == 0) share = p->shares[k];
        name_it(d, dc, share);
    }
}

/* `content` is the slot's from here on. */
static void issue(tt_engine *e, tt_decision_slot *s, char *content, size_t told, bool changed) {
    free(s->content);
    s->content = content;
    s->told = (uint32_t)told;
    s->version = ++e->version;
    s->issued_at = e->now;
    if (changed) s->changed_version = s->version;
    s->dirty = true;
}

static int64_t confirm_every(const tt_wish *w) {
    int64_t fifth = TT_MS(w->expire_after_ms) / 5;
    return w->expire_after_ms > 0 && fifth < confirm_every_ns ? fifth : confirm_every_ns;
}

static void issue_wish(tt_engine *e, const tt_wish *w) {
    tt_decision_slot *s = w->slot;
    size_t told = tt_wish_pack(w, &e->packed);
    bool changed = !s->content || s->told != told || memcmp(s->content, e->packed.p, told) != 0;
    bool yielded, lost = tt_drift_push(e, &s->target, &yielded);
    if (!changed && !lost && !e->reissue && (yielded || tt_since(e->now, s->issued_at) < confirm_every(w))) return;
    char *content = malloc(e->packed.n);
    if (!content || e->packed.failed) { /* what is in force stays until there is memory for another */
        free(content);
        return;
    }
    memcpy(content, e->packed.p, e->packed.n);
    issue(e, s, content, told, changed);
}

void tt_decision_of(const tt_engine *e, const tt_decision_slot *s, tt_decision *d) {
    tt_wish_unpack(s->content, d);
    d->target = s->target;
    d->epoch = e->cfg.epoch;
    d->version = s->version;
}

/* Room for as many as there are to tell, in the place where the outcome is. */
bool tt_decisions_room(tt_engine *e, uint32_t n) {
    if (n <= e->cap_out) return true;
    uint32_t cap = e->cap_out ? e->cap_out : 16;
    while (cap < n) cap *= 2;
    tt_decision *grown = realloc(e->out_decisions, cap * sizeof *grown);
    if (!grown) return false;
    e->out_decisions = grown;
    e->cap_out = cap;
    return true;
}

void tt_arbiter_step(tt_engine *e) {
    e->n_wishes = 0;
    for (uint32_t i = 0; i < e->n_sites; i++) site_wishes(e, &e->sites[i]);
    for (uint32_t i = 0; i < e->rules->n_services; i++) group_wishes(e, i);
    for (uint32_t i = 0; i < e->n_loops; i++)
        if (tt_loop_is_open(&e->loops[i]) && tt_actions_any(&e->loops[i])) side_wishes(e, &e->loops[i]);
    for (uint32_t i = 0; i < e->n_loops; i++) {
        tt_loop *l = &e->loops[i];
        if (!tt_loop_is_open(l) || !l->ejected) continue;
        tt_target t = l->target;
        t.instance[0] = 0;
        tt_wish_act *a = add(wish(e, &t, l), TT_ACT_EJECT);
        if (!a) continue;
        a->value = 1;
        a->name = l->target.instance;
    }
    for (uint32_t i = 0; i < e->n_pins; i++) pin_wish(e, &e->pins[i]);
    for (uint32_t i = 0; i < e->n_wishes; i++) {
        if (e->wishes[i].n_actions)
            issue_wish(e, &e->wishes[i]);
        else
            e->wishes[i].slot->draft = 0; /* all that was wanted is pinned to nothing */
    }
    uint32_t n = 0;
    for (uint32_t i = 0; i < e->n_slots; i++) {
        tt_decision_slot *s = &e->slots[i];
        bool yielded;
        if (!s->draft && (s->content || e->reissue || tt_drift_push(e, &s->target, &yielded))) issue(e, s, NULL, 0, s->content);
        s->draft = 0;
        n += s->dirty;
    }
    e->reissue = false;
    if (e->cap_out > OUT_KEPT && n < e->cap_out / 4) { /* one tick that told thousands is no reason to keep room for as many */
        free(e->out_decisions);
        e->out_decisions = NULL;
        e->cap_out = 0;
    }
    e->n_out = 0;
    if (!n || !tt_decisions_room(e, n)) return; /* without memory they stay to be told */
    for (uint32_t i = 0; i < e->n_slots; i++) {
        tt_decision_slot *s = &e->slots[i];
        if (!s->dirty) continue;
        s->dirty = false;
        tt_decision_of(e, s, &e->out_decisions[e->n_out++]);
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

/* The armed cap's acknowledgements tell before any incident who doesn't take decisions. */
static void learn_reach(const tt_engine *e, tt_site *s) {
    tt_target t = {0};
    tt_copy_text(t.service, sizeof t.service, tt_sv_of(tt_service_cname(e, s->service)));
    tt_copy_text(t.dc, sizeof t.dc, tt_sv_of(tt_dc_cname(e, s)));
    const tt_decision_slot *d = find_slot(e, &t);
    if (!d || !d->acks_seen) return;
    if (d->acked_version >= d->changed_version)
        s->reach = 1;
    else if (tt_since(e->now, d->issued_at) >= 2 * e->cfg.apply_ns + TT_SECONDS(5))
        s->reach = d->acked_share;
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
        if (!s->acted && s->armed_rps > 0) learn_reach(e, s);
        if (!s->acted || s->acknowledged) continue;
        acked a = acks_of(e, s);
        bool all = a.all, seen = a.seen;
        double least = a.least;
        s->ack_share = all ? 1 : least;
        int64_t waited = tt_since(e->now, s->commanded_at), usual = e->cfg.apply_ns * 13 / 10 + TT_SECONDS(1);
        if (seen && all) {
            s->acknowledged = true;
            s->reach = 1;
            s->effective_at = e->now;
        } else if (!seen && waited >= usual) {
            s->acknowledged = true; /* this mesh side does not acknowledge: its usual time has passed */
            s->reach = 1;
            s->effective_at = e->now;
        } else if (seen && waited >= (s->reach < partial_reach && least >= s->reach - 0.05 ? usual : 2 * e->cfg.apply_ns + TT_SECONDS(5))) {
            /* Those that didn't take the last one are not waited for again. */
            if (!s->partial_said && s->loop >= 0) {
                char p[32];
                tt_pct(p, sizeof p, least);
                tt_emit(e, "hold", tt_site_loop(e, s), "only %s of the instances have acknowledged the decision; judging what there is", p);
            }
            s->partial_said = true;
            s->acknowledged = true;
            s->reach = least;
            s->effective_at = e->now;
        }
    }
}

bool tt_engine_acknowledged(const tt_engine *e, const tt_target *target, double *ret_share) {
    const tt_decision_slot *s = find_slot(e, target);
    if (!s || !s->acks_seen || (s->acked_version < s->changed_version && s->acked_share >= 0.99)) return false; /* the last word is of an older one */
    *ret_share = s->acked_share;
    return true;
}

void tt_arbiter_stamp(tt_engine *e) {
    for (uint32_t i = 0; i < e->n_events; i++) {
        tt_event *ev = &e->events[i];
        if (!ev->action[0]) continue;
        tt_target t = ev->target;
        t.instance[0] = 0; /* a decision is for a site, and holds its instances */
        const tt_decision_slot *s = find_slot(e, &t);
        if (s) ev->version = s->version;
    }
}
