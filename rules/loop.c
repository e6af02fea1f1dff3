/* The life of a loop: born of an anomaly, moved by what its plan wants kept, ended recovered, stopped by a person, or handed to one.
 * Transitions are the table below; tt_loop_enter is the only place that makes one. */
#include "engine_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BIT(p) (1u << TT_PHASE_##p)
static const uint32_t may_follow[TT_PHASE_COUNT] = {
    [TT_PHASE_DETECTED] = BIT(AWAITING_APPROVAL) | BIT(ACTING) | BIT(CLOSED) | BIT(FROZEN),
    [TT_PHASE_AWAITING_APPROVAL] = BIT(ACTING) | BIT(CLOSED) | BIT(FROZEN) | BIT(RECOVERING),
    [TT_PHASE_ACTING] = BIT(SETTLING) | BIT(AWAITING_APPROVAL) | BIT(ESCALATED) | BIT(FROZEN) | BIT(RECOVERING) | BIT(CLOSED) | BIT(FAILED),
    [TT_PHASE_SETTLING] = BIT(ACTING) | BIT(SETTLED) | BIT(FROZEN) | BIT(RECOVERING) | BIT(CLOSED),
    [TT_PHASE_SETTLED] = BIT(ACTING) | BIT(RECOVERING) | BIT(FROZEN) | BIT(CLOSED),
    [TT_PHASE_RECOVERING] = BIT(ACTING) | BIT(CLOSED) | BIT(FROZEN) | BIT(SETTLING),
    [TT_PHASE_FROZEN] = BIT(ACTING) | BIT(RECOVERING) | BIT(CLOSED),
    [TT_PHASE_ESCALATED] = BIT(ACTING) | BIT(SETTLING) | BIT(RECOVERING) | BIT(FROZEN) | BIT(CLOSED) | BIT(AWAITING_APPROVAL),
    [TT_PHASE_FAILED] = BIT(CLOSED) | BIT(RECOVERING),
    [TT_PHASE_CLOSED] = 0,
};

const char *tt_phase_name(tt_phase p) {
#define NAME(id, name) name,
    static const char *const names[] = {TT_PHASES(NAME)};
#undef NAME
    return names[p];
}

bool tt_loop_is_open(const tt_loop *l) { return l->used && l->phase != TT_PHASE_CLOSED; }

const tt_step *tt_plan_step(const tt_plan *p, tt_step_kind kind) {
    for (size_t i = 0; p && i < p->n_steps; i++)
        if (p->steps[i].kind == kind) return &p->steps[i];
    return NULL;
}

void tt_loop_enter(tt_engine *e, tt_loop *l, tt_phase next, const char *why) {
    if (l->phase == next) return;
    TT_ASSERT(may_follow[l->phase] & (1u << next));
    const char *from = tt_phase_name(l->phase);
    l->phase = next;
    l->phase_at = e->now;
    l->phase_wall = e->wall;
    if (next == TT_PHASE_CLOSED) {
        l->closed = e->wall;
        l->closed_at = e->now;
        tt_loop_closed(e, l);
        if (!l->ended) l->ended = "recovered";
        if (why != l->why) snprintf(l->why, sizeof l->why, "%s", why);
        tt_record_phase(e, l);
        char took[32];
        tt_format_duration(tt_since(e->now, l->opened_at) / TT_SECONDS(1) * TT_SECONDS(1), took, sizeof took);
        tt_emit(e, "loop_closed", l, "%s after %s: %s", l->ended, took, why);
        return;
    }
    if (why != l->why) snprintf(l->why, sizeof l->why, "%s", why);
    tt_record_phase(e, l);
    tt_emit(e, "loop_phase", l, "%s -> %s: %s", from, tt_phase_name(next), why);
}

bool tt_loop_asks_first(const tt_loop *l) {
    return l->plan && (l->plan->mode == TT_MODE_APPROVE || l->asks);
}

bool tt_loop_may_act(const tt_engine *e, const tt_loop *l) {
    if (e->frozen || !l->plan || l->aborting) return false;
    switch (l->phase) {
    case TT_PHASE_ACTING:
    case TT_PHASE_SETTLING:
    case TT_PHASE_SETTLED:
    case TT_PHASE_RECOVERING:
    case TT_PHASE_ESCALATED: return true;
    /* A step that waits for a person holds that step alone; what was begun is looked after. */
    case TT_PHASE_AWAITING_APPROVAL: return !tt_loop_asks_first(l);
    default: return false;
    }
}

/* ---- ids ---- */

static void make_ulid(tt_engine *e, char out[TT_ULID_SIZE]) {
    static const char digits[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    uint64_t ms = (uint64_t)e->wall.ms & 0xffffffffffffu;
    uint64_t seed[2] = {e->cfg.epoch, ++e->loop_counter};
    uint64_t a = tt_hash_bytes(14695981039346656037u, seed, sizeof seed), b = tt_hash_bytes(a ^ 0x9e3779b97f4a7c15u, seed, sizeof seed);
    for (int i = 9; i >= 0; i--, ms >>= 5) out[i] = digits[ms & 31];
    for (int i = 0; i < 8; i++, a >>= 5) out[10 + i] = digits[a & 31];
    for (int i = 0; i < 8; i++, b >>= 5) out[18 + i] = digits[b & 31];
    out[26] = 0;
}

/* In the place of the loop that was closed longest ago, when no more of them are kept. */
static tt_loop *new_loop(tt_engine *e, const tt_target *target) {
    if (e->n_open >= e->cfg.max_loops) {
        tt_emit(e, "limit_reached", NULL, "%u loops are open, the ceiling of this process: a further one is not opened", e->n_open);
        return NULL;
    }
    tt_loop *l = &e->loops[e->n_loops];
    if (e->n_closed >= e->cfg.max_closed && e->oldest_closed) {
        l = &e->loops[e->oldest_closed - 1];
        e->oldest_closed = l->next_closed;
        if (!e->oldest_closed) e->newest_closed = 0;
        e->n_closed--;
        tt_loop_delist(e, l);
    } else if (e->n_loops == e->cfg.max_loops + e->cfg.max_closed)
        return NULL; /* a place was lost when memory was out */
    else
        e->n_loops++;
    tt_history_forget(&l->history);
    free(l->not_chosen);
    memset(l, 0, sizeof *l);
    make_ulid(e, l->id);
    l->number = e->loop_counter;
    l->target = *target;
    l->used = tt_loop_enlist(e, l);
    e->n_open += l->used;
    return l->used ? l : NULL;
}

/* ---- birth ---- */

/* A site that another loop has brought in is this loop's own from here: from the moment it may act, or the other's actions would end with a refusal. */
static void take_site(tt_engine *e, tt_loop *l) {
    tt_site *s = l->target.instance[0] ? NULL : tt_site_of(e, l->target.service, l->target.dc);
    if (!s) return;
    s->loop = (int32_t)(l - e->loops);
    if (tt_site_neutral(e, s)) {
        tt_capacity_measured(s);
        /* `acted` stays: traffic that another loop has just sent here is still to be seen. */
        s->measured_rps = s->good_rps = s->raise = 0;
        s->hold_ns = 0;
    }
    s->violated_at = e->now;
    s->judged_at.ns = 0;
}

tt_loop *tt_loop_start(tt_engine *e, const tt_anomaly *a, const tt_plan_match *m) {
    tt_loop *l = new_loop(e, &m->target);
    if (!l) return NULL;
    l->plan = m->plan;
    l->plan_hash = m->plan->hash;
    tt_copy_text(l->plan_name, sizeof l->plan_name, m->plan->name);
    tt_copy_text(l->anomaly_name, sizeof l->anomaly_name, e->rules->anomalies[a->anomaly].name);
    l->phase = TT_PHASE_DETECTED;
    l->opened = l->phase_wall = e->wall;
    l->opened_at = l->phase_at = l->violated_at = e->now;
    char value[32] = "";
    if (a->value_known) tt_num(value, sizeof value, a->value);
    snprintf(l->why, sizeof l->why, "%s: %s%s", l->anomaly_name, a->value_known ? "value " : "alert firing", value);
    tt_emit(e, "loop_opened", l, "%s answers %s on %s%s%s (mode %s)", l->plan_name, l->anomaly_name, l->target.service, l->target.service[0] && l->target.dc[0] ? " in " : "", l->target.dc,
            tt_mode_name(m->plan->mode));
    tt_record_opened(e, l);
    const tt_freeze_window *w = tt_window_open(e);
    l->asks = w && w->approve && m->plan->mode == TT_MODE_AUTO;
    if (m->plan->mode == TT_MODE_AUTO && !l->asks) take_site(e, l);
    return l;
}

tt_anomaly *tt_loop_anomaly(tt_engine *e, const tt_loop *l) {
    for (tt_anomaly *a = tt_anomaly_asking(e, &l->target, NULL); a; a = tt_anomaly_asking(e, &l->target, a))
        if (a->state != TT_AN_PENDING && strcmp(e->rules->anomalies[a->anomaly].name.p, l->anomaly_name) == 0) return a;
    return NULL;
}

/* ---- what the plan wants kept ---- */

tt_where tt_loop_where(const tt_loop *l) {
    tt_sv part = tt_sv_of(l->target.instance), version = {0};
    if (strncmp(l->target.instance, TT_VERSION_PREFIX, sizeof TT_VERSION_PREFIX - 1) == 0) {
        version = tt_sv_of(l->target.instance + sizeof TT_VERSION_PREFIX - 1);
        part = (tt_sv){0};
    }
    return (tt_where){tt_sv_of(l->target.service), tt_sv_of(l->target.dc), part, {0}, NULL, 0, version};
}

static void look_at_keeps(tt_engine *e, tt_loop *l) {
    tt_look k = {e, tt_loop_where(l)};
    bool known = true, kept = true;
    for (size_t i = 0; l->plan && i < l->plan->n_keep; i++) {
        tt_truth t = tt_expr_eval(l->plan->keep[i], tt_look_read, &k);
        if (t == TT_UNKNOWN) known = false;
        if (t == TT_FALSE) kept = false;
    }
    if (!kept) known = true; /* one broken promise is enough to know */
    if (known && !kept) l->violated_at = e->now;
    if (!known || !kept) l->kept_since = e->now;
    l->kept_known = known;
    l->kept = known && kept;
}

bool tt_loop_idle(const tt_engine *e, const tt_loop *l) {
    if (l->ejected || tt_actions_any(l)) return false;
    for (const tt_site *s = tt_loop_sites(e, l, NULL); s; s = tt_loop_sites(e, l, s))
        if (!tt_site_neutral(e, s)) return false;
    for (const tt_group *g = tt_loop_groups(e, l, NULL); g; g = tt_loop_groups(e, l, g))
        if (g->weights) return false;
    return true;
}

static tt_time last_command(const tt_engine *e, const tt_loop *l) {
    tt_time t = l->eject_at, side = tt_actions_changed_at(l);
    if (side.ns > t.ns) t = side;
    for (const tt_site *s = tt_loop_sites(e, l, NULL); s; s = tt_loop_sites(e, l, s))
        if (s->commanded_at.ns > t.ns) t = s->commanded_at;
    for (const tt_group *g = tt_loop_groups(e, l, NULL); g; g = tt_loop_groups(e, l, g))
        if (g->commanded_at.ns > t.ns) t = g->commanded_at;
    return t;
}

static int64_t dead_time(const tt_engine *e, const tt_loop *l) {
    int64_t longest = e->cfg.apply_ns * 13 / 10 + TT_SECONDS(1) + e->cfg.ingest_ns;
    for (const tt_site *s = tt_loop_sites(e, l, NULL); s; s = tt_loop_sites(e, l, s))
        if (tt_law_dead_time(e, s) > longest) longest = tt_law_dead_time(e, s);
    return longest;
}

static void let_go(tt_engine *e, tt_loop *l) {
    for (tt_site *s = tt_loop_sites(e, l, NULL); s; s = tt_loop_sites(e, l, s)) {
        s->loop = -1;
        tt_capacity_measured(s);
        /* `acted` stays: the last step back is to be seen before anything is judged here again. What was measured goes: it was a measurement of
         * this incident's circumstances, and the learned figure stands for the next. */
        s->measured_rps = s->good_rps = s->raise = 0;
        s->faulty = false;
        s->raised = false;
        s->hold_said = s->nowhere_said = false;
    }
}

void tt_loop_finish(tt_engine *e, tt_loop *l, const char *ended, const char *why) {
    let_go(e, l);
    l->ended = ended;
    tt_loop_enter(e, l, TT_PHASE_CLOSED, why);
}

void tt_loop_relapse(tt_engine *e, tt_loop *l, const char *why) {
    const tt_guardrails *g = &e->rules->guardrails;
    l->reversals++;
    tt_record_reversal(e, l);
    l->violated_at = e->now;
    tt_emit(e, "relapse", l, "%s; reversal %u of %u, the next step back waits twice as long", why, l->reversals, g->lock_out_reversals);
    if (l->reversals < g->lock_out_reversals || l->locked_until.ns > e->now.ns) return;
    l->locked_until.ns = e->now.ns + g->lock_out_for_ns;
    char dur[32];
    tt_format_duration(g->lock_out_for_ns, dur, sizeof dur);
    tt_emit(e, "guardrail", l, "locked out for %s after %u reversals: what is in force stays", dur, l->reversals);
    tt_emit(e, "page", l, "%.*s: loop is locked out after %u reversals", TT_SV_ARG(l->plan ? l->plan->page : TT_SV("")), l->reversals);
}

static void unsettled(tt_engine *e, tt_loop *l) {
    char dur[32];
    tt_format_duration(l->plan->settle_within_ns, dur, sizeof dur);
    char why[256];
    snprintf(why, sizeof why, "not settled within %s: a person is needed; what is in force is kept and retuned", dur);
    if (!l->paged) tt_emit(e, "page", l, "%.*s: %s", TT_SV_ARG(l->plan->page), why);
    l->paged = true;
    tt_loop_enter(e, l, TT_PHASE_ESCALATED, why);
}

static void shadow(tt_engine *e, tt_loop *l) {
    if (!l->shadow_said) {
        l->shadow_said = true;
        char steps[160];
        size_t n = 0;
        steps[0] = 0;
        for (size_t i = 0; i < l->plan->n_steps && n < sizeof steps - 16; i++)
            n += (size_t)snprintf(steps + n, sizeof steps - n, "%s%s", i ? ", " : "", tt_step_name(l->plan->steps[i].kind));
        tt_emit(e, "hold", l, "mode %s: would use %s; nothing is done", tt_mode_name(l->plan->mode), steps);
        if (l->plan->mode == TT_MODE_ADVISE) tt_emit(e, "page", l, "%.*s: %s advises %s", TT_SV_ARG(l->plan->page), l->plan_name, steps);
    }
    if (!tt_loop_anomaly(e, l)) tt_loop_finish(e, l, "cleared", "the anomaly is over; nothing had been done");
}

/* The way back for loops that were stopped or lost their plan: everything but weights at once, weights in quarters. */
static void wind_back(tt_engine *e, tt_loop *l, const char *ended, const char *why) {
    for (tt_site *s = tt_loop_sites(e, l, NULL); s; s = tt_loop_sites(e, l, s)) {
        if (l->aborting) {
            tt_arm_off(e, s, why);
            s->disarmed_until = l->locked_until;
        }
        if (s->level) tt_site_set_level(e, s, 0, why);
        if (s->cap_rps > 0) tt_site_set_cap(e, s, 0, why);
        tt_site_undrop(e, s, why);
    }
    tt_actions_wind_back(e, l, why);
    if (l->ejected) {
        l->ejected = false;
        l->eject_at = e->now;
        char action[TT_NAME_MAX + 8];
        snprintf(action, sizeof action, "eject:%.120s", l->target.instance);
        tt_emit_action(e, l, &l->target, action, 1, NAN, "level", NULL, "%s: instance takes traffic again", why);
    }
    for (tt_group *g = tt_loop_groups(e, l, NULL); g; g = tt_loop_groups(e, l, g)) {
        if (g->weights && tt_since(e->now, g->commanded_at) >= TT_SECONDS(5)) tt_group_weights_off(e, g, why);
    }
    if (tt_loop_idle(e, l)) tt_loop_finish(e, l, ended, why);
}

static void step(tt_engine *e, tt_loop *l) {
    if (l->aborting || !l->plan) {
        if (l->phase != TT_PHASE_RECOVERING && (may_follow[l->phase] & BIT(RECOVERING)))
            tt_loop_enter(e, l, TT_PHASE_RECOVERING, l->aborting ? "stopped by a person: taking everything back" : "its plan is gone: taking everything back");
        if (l->aborting)
            wind_back(e, l, "aborted", "stopped by a person");
        else if (!e->frozen)
            wind_back(e, l, "failed", "its plan is gone from the rules");
        return;
    }
    look_at_keeps(e, l);
    if (e->frozen) return;
    if (l->locked_until.ns > e->now.ns) {
        if (l->phase != TT_PHASE_FROZEN) tt_loop_enter(e, l, TT_PHASE_FROZEN, "locked out after too many reversals");
        return;
    }
    if (e->cfg.open_loop && (may_follow[l->phase] & BIT(RECOVERING)) && l->phase != TT_PHASE_AWAITING_APPROVAL && l->kept &&
        tt_since(e->now, l->kept_since) >= l->plan->settle_hold_ns && !tt_loop_anomaly(e, l)) {
        wind_back(e, l, "recovered", "what the plan keeps has held, and nothing that was done had a part in it");
        return;
    }
    int64_t theta = dead_time(e, l), quiet = tt_since(e->now, last_command(e, l));
    bool idle = tt_loop_idle(e, l);
    switch (l->phase) {
    case TT_PHASE_DETECTED:
        if (l->plan->mode == TT_MODE_OBSERVE || l->plan->mode == TT_MODE_ADVISE) {
            shadow(e, l);
        } else if (tt_loop_asks_first(l)) {
            tt_loop_enter(e, l, TT_PHASE_AWAITING_APPROVAL, l->asks ? "a freeze window is open: a person is asked first" : "the plan acts only when a person approves");
            tt_emit(e, "page", l, "%.*s: %s waits for approval", TT_SV_ARG(l->plan->page), l->plan_name);
        } else
            tt_loop_enter(e, l, TT_PHASE_ACTING, l->why);
        break;
    case TT_PHASE_AWAITING_APPROVAL:
        if (l->approved) {
            if (tt_loop_asks_first(l)) take_site(e, l);
            if (l->asks) l->asks = l->approved = false; /* that was to begin at all; a step that asks by itself still does */
            tt_loop_enter(e, l, TT_PHASE_ACTING, "approved");
        } else if (tt_since(e->now, l->phase_at) >= l->plan->approve_within_ns) {
            if (tt_loop_asks_first(l)) {
                /* Asked once: the same question again each time nobody answers would only teach people not to look. */
                tt_anomaly *a = tt_loop_anomaly(e, l);
                if (a) a->muted = true;
                tt_loop_finish(e, l, "refused", "nobody answered in time: refused, nothing was done; asked again when the anomaly has been over");
            } else {
                l->paged = true; /* asked once: an unanswered step isn't asked for again */
                tt_loop_enter(e, l, TT_PHASE_ACTING, "nobody approved the step in time: it is left out");
            }
        } else if (idle && tt_loop_asks_first(l) && !tt_loop_anomaly(e, l))
            tt_loop_finish(e, l, "cleared", "the anomaly is over; nothing had been done");
        break;
    case TT_PHASE_ACTING:
    case TT_PHASE_ESCALATED:
        if (l->kept && quiet >= theta) {
            tt_loop_enter(e, l, TT_PHASE_SETTLING, "what the plan keeps holds again");
        } else if (l->phase == TT_PHASE_ACTING && tt_since(e->now, l->phase_at) >= l->plan->settle_within_ns)
            unsettled(e, l);
        break;
    case TT_PHASE_SETTLING:
        if (l->kept_known && !l->kept)
            tt_loop_enter(e, l, TT_PHASE_ACTING, "what the plan keeps is broken again");
        else if (l->kept && tt_since(e->now, l->kept_since) >= l->plan->settle_hold_ns && tt_since(e->now, l->phase_at) >= l->plan->settle_hold_ns)
            tt_loop_enter(e, l, TT_PHASE_SETTLED, idle ? "holds, with nothing in force" : "holds; the actions stay until it is safe to take them back");
        break;
    case TT_PHASE_SETTLED:
        if (l->kept_known && !l->kept)
            tt_loop_enter(e, l, TT_PHASE_ACTING, "what the plan keeps is broken again");
        else if (idle && l->kept && !tt_loop_anomaly(e, l))
            tt_loop_finish(e, l, "recovered", "what the plan keeps holds and nothing is in force");
        break;
    case TT_PHASE_RECOVERING:
        if (l->kept_known && !l->kept && !idle)
            tt_loop_enter(e, l, TT_PHASE_ACTING, "what the plan keeps broke on the way back");
        else if (l->kept_known && !l->kept && tt_since(e->now, l->kept_since) == 0 && tt_loop_anomaly(e, l))
            tt_loop_enter(e, l, TT_PHASE_ACTING, "the anomaly is back");
        else if (idle && l->kept && quiet >= theta && !tt_loop_anomaly(e, l))
            tt_loop_finish(e, l, "recovered", "everything is taken back and what the plan keeps still holds");
        break;
    case TT_PHASE_FROZEN:
        l->reversals = 0; /* counted anew, or the next one would lock it out at once */
        tt_loop_enter(e, l, TT_PHASE_ACTING, "the lock-out is over");
        break;
    default: break;
    }
}

void tt_loops_step(tt_engine *e) {
    for (uint32_t i = 0; i < e->n_loops; i++) {
        tt_loop *l = &e->loops[i];
        if (tt_loop_is_open(l)) step(e, l);
    }
}

/* ---- people ---- */

void tt_loops_command(tt_engine *e, const tt_command *c) {
    if (c->kind == TT_CMD_LOAD_TEST || c->kind == TT_CMD_LOAD_TEST_ABORT) {
        tt_load_test_command(e, c);
        return;
    }
    if (c->kind == TT_CMD_PIN || c->kind == TT_CMD_UNPIN) {
        tt_pin_command(e, c);
        return;
    }
    char actor[64], reason[200];
    tt_copy_text(actor, sizeof actor, c->actor);
    tt_copy_text(reason, sizeof reason, c->reason);
    if (c->kind == TT_CMD_FREEZE || c->kind == TT_CMD_UNFREEZE) {
        bool freeze = c->kind == TT_CMD_FREEZE;
        if (e->frozen == freeze) return;
        e->frozen = freeze;
        e->frozen_since = e->wall;
        tt_copy_text(e->frozen_by, sizeof e->frozen_by, c->actor);
        tt_copy_text(e->frozen_reason, sizeof e->frozen_reason, c->reason);
        tt_emit(e, freeze ? "frozen" : "unfrozen", NULL, "%s by %s: %s", freeze ? "automation is frozen" : "automation goes on", actor, reason);
        return;
    }
    tt_loop *l = tt_loop_find(e, tt_sv_of(c->loop));
    if (!l || !tt_loop_is_open(l)) {
        tt_emit(e, "command", NULL, "%s asked for loop %s, which is not open: %s", actor, c->loop, reason);
        return;
    }
    switch (c->kind) {
    case TT_CMD_ABORT: {
        tt_emit(e, "command", l, "abort by %s: %s", actor, reason);
        tt_anomaly *a = tt_loop_anomaly(e, l);
        if (a) a->muted = true;
        /* What the actions had cured comes back with their end: that is no reason to start again. */
        l->locked_until.ns = e->now.ns + e->rules->guardrails.lock_out_for_ns;
        l->aborting = true;
        break;
    }
    case TT_CMD_APPROVE:
        if (l->phase != TT_PHASE_AWAITING_APPROVAL) {
            tt_emit(e, "command", l, "approval by %s came while nothing waits for one: %s", actor, reason);
            break;
        }
        l->approved = true;
        tt_emit(e, "command", l, "approved by %s: %s", actor, reason);
        break;
    case TT_CMD_REFUSE:
        if (l->phase != TT_PHASE_AWAITING_APPROVAL) break;
        tt_emit(e, "command", l, "refused by %s: %s", actor, reason);
        if (l->plan && !tt_loop_asks_first(l)) {
            tt_loop_enter(e, l, TT_PHASE_ACTING, "a person refused the step: it is left out");
        } else {
            tt_anomaly *a = tt_loop_anomaly(e, l);
            if (a) a->muted = true;
            tt_loop_finish(e, l, "refused", "a person refused the plan; nothing was done");
        }
        break;
    default: break;
    }
}

/* ---- history, for the chart ---- */

enum { CH_KEEP, CH_OFFERED, CH_OK, CH_DROPPED, CH_LIMIT, CH_DEGRADE, CH_SHARE, CH_EJECT, CH_DROP, CH_SIDE };

int tt_channels(const tt_engine *e, const tt_loop *l, const char *names[TT_CHANNELS_MAX], int kind[TT_CHANNELS_MAX]) {
    int n = 0;
    (void)e;
    if (!l->plan) return 0;
    for (size_t i = 0; i < l->plan->n_keep && n < 6; i++) {
        int signals[TT_EXPR_SIGNALS_MAX];
        if (!tt_expr_signals(l->plan->keep[i], signals)) continue;
        names[n] = e->rules->signals[signals[0]].name.p;
        kind[n++] = CH_KEEP | signals[0] << 8;
    }
    if (!l->target.instance[0]) {
        names[n] = "offered_rps", kind[n++] = CH_OFFERED;
        names[n] = "ok_rps", kind[n++] = CH_OK;
        names[n] = "dropped_rps", kind[n++] = CH_DROPPED;
    }
    for (size_t i = 0; i < l->plan->n_steps && n < TT_CHANNELS_MAX; i++) {
        const tt_step *st = &l->plan->steps[i];
        switch (st->kind) {
        case TT_STEP_LIMIT: names[n] = "limit", kind[n++] = CH_LIMIT; break;
        case TT_STEP_DEGRADE: names[n] = "degrade", kind[n++] = CH_DEGRADE; break;
        case TT_STEP_SHIFT:
            names[n] = l->plan->by_version ? "version" : "weights";
            kind[n++] = l->plan->by_version ? CH_SIDE | TT_SIDE_VERSION << 8 : CH_SHARE;
            break;
        case TT_STEP_EJECT: names[n] = "eject", kind[n++] = CH_EJECT; break;
        case TT_STEP_DROP: names[n] = "drop", kind[n++] = CH_DROP | (int)st->priority << 8; break;
        case TT_STEP_RETRY:
        case TT_STEP_TIMEOUT:
        case TT_STEP_HEDGE:
        case TT_STEP_ISOLATE: names[n] = tt_step_name(st->kind), kind[n++] = CH_SIDE | (int)(st->kind - TT_STEP_RETRY) << 8; break;
        default: break;
        }
    }
    return n;
}

void tt_loop_sample(tt_engine *e, tt_loop *l) {
    const char *names[TT_CHANNELS_MAX];
    int kind[TT_CHANNELS_MAX];
    int n = tt_channels(e, l, names, kind);
    float row[TT_CHANNELS_MAX];
    tt_site *s = tt_site_of(e, l->target.service, l->target.dc);
    tt_where w = tt_loop_where(l);
    for (int i = 0; i < n; i++) {
        float v = NAN;
        switch (kind[i] & 0xff) {
        case CH_KEEP: {
            tt_reading r = tt_read_signal(e, kind[i] >> 8, &w);
            if (r.known) v = (float)r.value;
            break;
        }
        case CH_OFFERED:
            if (s && s->load.known) v = (float)s->load.offered;
            break;
        case CH_OK:
            if (s && s->load.known) v = (float)s->load.ok;
            break;
        case CH_DROPPED:
            if (s && s->load.known) v = (float)s->load.dropped;
            break;
        case CH_LIMIT:
            if (s && s->cap_rps > 0) v = (float)s->cap_rps;
            break;
        case CH_DEGRADE: v = s ? (float)s->level : 0; break;
        case CH_SHARE: v = s ? (float)(e->groups[s->service].weights ? e->groups[s->service].share[s->dc] : tt_home_share(e, s)) : NAN; break;
        case CH_EJECT: v = l->ejected ? 1 : 0; break;
        case CH_SIDE:
            if (l->sides[kind[i] >> 8].on) v = (float)l->sides[kind[i] >> 8].value;
            break;
        case CH_DROP: v = s ? (float)s->drop[kind[i] >> 8] : 0; break;
        }
        row[i] = v;
    }
    tt_history_add(&l->history, e->wall.ms, l->phase, row, (uint32_t)n);
}
