/* Drift: the mesh has something else than was decided. What was lost is told again every few seconds. What somebody else wrote is written over a few
 * times; whoever keeps writing then has it, and a person is called: two controllers that fight over one knob are worse than either. While it is so no
 * loop takes a step there, for it would judge what another did. */
#include "engine_internal.h"

#include <stdio.h>
#include <string.h>

static const int64_t push_every_ns = TT_SECONDS(5), over_after_ns = TT_SECONDS(10), forgiven_after_ns = TT_SECONDS(60),
                     forgotten_after_ns = TT_SECONDS(600);

static tt_drift_state *find(tt_engine *e, const tt_target *t) {
    for (uint32_t i = 0; i < e->n_drifts; i++)
        if (tt_target_eq(&e->drifts[i].target, t)) return &e->drifts[i];
    return NULL;
}

static const tt_drift_state *look_for(const tt_engine *e, const char *service, const char *dc) {
    for (uint32_t i = 0; i < e->n_drifts; i++)
        if (strcmp(e->drifts[i].target.service, service) == 0 && strcmp(e->drifts[i].target.dc, dc) == 0) return &e->drifts[i];
    return NULL;
}

static void say(tt_engine *e, const tt_drift_state *d, const char *kind, const char *text) {
    tt_event *ev = tt_emit(e, kind, NULL, "%s", text);
    if (ev) ev->target = d->target;
}

static void place(const tt_target *t, char *buf, size_t size) {
    snprintf(buf, size, "%s%s%s", t->service, t->dc[0] ? " in " : "", t->dc);
}

static void begin(tt_engine *e, tt_drift_state *d, const tt_drift *in) {
    char text[500], where[2 * TT_NAME_MAX + 8], share[32];
    place(&d->target, where, sizeof where);
    tt_pct(share, sizeof share, in->share);
    d->on = true;
    d->since = e->now;
    d->foreign = in->foreign;
    if (in->foreign)
        snprintf(text, sizeof text,
                 "%s of the instances of %s enforce what trimtab did not decide (%.*s): no new step is taken there, and ours is told again", share,
                 where, (int)(in->what.n < 200 ? in->what.n : 200), in->what.p ? in->what.p : "");
    else
        snprintf(text, sizeof text,
                 "%s of the instances of %s have lost what was decided%s%.*s: no new step is taken there, and it is told again every 5s", share,
                 where, in->what.n ? ", " : "", (int)(in->what.n < 200 ? in->what.n : 200), in->what.p ? in->what.p : "");
    say(e, d, "drift", text);
}

static void give_up(tt_engine *e, tt_drift_state *d) {
    char text[400], where[2 * TT_NAME_MAX + 8];
    place(&d->target, where, sizeof where);
    d->yielded = true;
    snprintf(text, sizeof text,
             "somebody else keeps writing over what is decided for %s: told %u times again, now it is left to them until they have been still for 1m",
             where, d->overwrites);
    say(e, d, "drift", text);
    say(e, d, "page", text);
}

static void push(tt_engine *e, tt_drift_state *d) {
    if (d->yielded || (d->pushed_at.ns && tt_since(e->now, d->pushed_at) < push_every_ns)) return;
    if (d->foreign && d->overwrites >= e->rules->guardrails.drift_overwrites) {
        give_up(e, d);
        return;
    }
    d->pushed_at = e->now;
    d->overwrites += d->foreign;
    d->push = true;
}

static void told(tt_engine *e, const tt_drift *in) {
    tt_drift_state *d = find(e, &in->target);
    if (!d) {
        if (e->n_drifts == TT_DRIFTS_MAX) return; /* a mesh that has lost so much is told of already */
        d = &e->drifts[e->n_drifts++];
        memset(d, 0, sizeof *d);
        d->target = in->target;
    }
    d->seen_at = e->now;
    if (in->foreign && !d->foreign) d->on = false; /* told as what it has become */
    if (!d->on) begin(e, d, in);
    d->foreign = in->foreign;
    tt_copy_text(d->what, sizeof d->what, in->what);
    push(e, d);
}

static void disturb(tt_engine *e, const tt_drift_state *d) {
    for (uint32_t i = 0; i < e->n_sites; i++) {
        tt_site *s = &e->sites[i];
        if (strcmp(d->target.service, tt_service_cname(e, s->service)) != 0 || (d->target.dc[0] && strcmp(d->target.dc, tt_dc_cname(e, s)) != 0))
            continue;
        tt_site_commanded(e, s, false);
    }
}

void tt_drift_step(tt_engine *e, const tt_observations *obs) {
    for (size_t i = 0; i < obs->n_drifts; i++) told(e, &obs->drifts[i]);
    for (uint32_t i = e->n_drifts; i-- > 0;) {
        tt_drift_state *d = &e->drifts[i];
        int64_t still = tt_since(e->now, d->seen_at);
        if (d->on && still >= (d->yielded ? forgiven_after_ns : over_after_ns)) {
            char text[300], where[2 * TT_NAME_MAX + 8];
            place(&d->target, where, sizeof where);
            d->on = false;
            if (d->yielded) d->overwrites = 0;
            d->push = d->yielded; /* ours has not been told since */
            d->yielded = false;
            snprintf(text, sizeof text, "%s has what was decided again: steps are taken as before", where);
            say(e, d, "drift", text);
            disturb(e, d); /* what was measured meanwhile was not of our making */
        }
        if (!d->on && !d->push && still >= forgotten_after_ns) *d = e->drifts[--e->n_drifts];
    }
}

bool tt_drift_push(tt_engine *e, const tt_target *t, bool *ret_yielded) {
    tt_drift_state *d = e->n_drifts ? find(e, t) : NULL;
    *ret_yielded = d && d->yielded;
    if (!d || !d->push) return false;
    d->push = false;
    return true;
}

bool tt_drifting(const tt_engine *e, const char *service, const char *dc) {
    const tt_drift_state *d = e->n_drifts ? look_for(e, service, dc) : NULL;
    return d && d->on;
}

bool tt_drift_holds(const tt_engine *e, const tt_loop *l, char *buf, size_t size) {
    const tt_drift_state *d = e->n_drifts ? look_for(e, l->target.service, l->target.dc) : NULL;
    if (!d || !d->on) d = e->n_drifts ? look_for(e, l->target.service, "") : NULL;
    if (!d || !d->on) return false;
    snprintf(buf, size, d->foreign ? "somebody else writes to %s%s%s" : "%s%s%s has lost what was decided", d->target.service,
             d->target.dc[0] ? " in " : "", d->target.dc);
    return true;
}

void tt_drifts_put(const tt_engine *e, tt_buf *b) {
    bool first = true;
    tt_buf_put(b, TT_SV("["));
    for (uint32_t i = 0; i < e->n_drifts; i++) {
        const tt_drift_state *d = &e->drifts[i];
        if (!d->on) continue;
        if (!first) tt_buf_put(b, TT_SV(","));
        first = false;
        tt_buf_put(b, TT_SV("{\"target\":"));
        tt_target_json(&d->target, b);
        tt_buf_printf(b, ",\"kind\":\"%s\",\"what\":", d->foreign ? "foreign" : "lost");
        tt_buf_json_string(b, tt_sv_of(d->what));
        tt_buf_printf(b, ",\"since_ms\":%lld,\"overwrites\":%u,\"yielded\":%s}", (long long)(e->wall.ms - tt_since(e->now, d->since) / 1000000),
                      d->overwrites, d->yielded ? "true" : "false");
    }
    tt_buf_put(b, TT_SV("]"));
}

/* ---- holding ---- */

bool tt_site_held(const tt_engine *e, const tt_site *s) {
    if (!e->n_pins && !e->n_drifts) return false;
    return tt_pinned_admission(e, s) || tt_drifting(e, tt_service_cname(e, s->service), tt_dc_cname(e, s));
}

bool tt_group_held(const tt_engine *e, uint32_t service) {
    if (!e->n_pins && !e->n_drifts) return false;
    return tt_pinned_weights(e, service) || tt_drifting(e, tt_service_cname(e, service), "");
}

bool tt_loop_held(tt_engine *e, const tt_loop *l, char *buf, size_t size) {
    return (e->n_drifts && tt_drift_holds(e, l, buf, size)) || (e->n_pins && tt_pins_hold(e, l, buf, size));
}
