/* The measured-capacity law for one site: control.md section 4, and section 12 where the library bounds the queue at every hop.
 *
 * One number drives every knob: the site's safe capacity, measured as its delivered throughput while saturated, at degrade level 0. A step is judged
 * only on samples that lie wholly after the mesh acknowledged it. With the inner loop holding the queues, degrade comes first and alone:
 * a cap computed from what a collapsed site delivers would keep it collapsed (measured on the sample mesh: a slow optional dependency).
 * Where nothing bounds the queues the cap comes at once and deep, to flush what has gone stale. */
#include "engine_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const double bad_fail = 0.05, bad_refused = 0.01, bad_latency = 2.2, waits_latency = 2;
static const double clean_fail = 0.025, clean_refused = 0.005, clean_latency = 1.7, clean_flow = 0.96;
/* One sample is enough to believe this; else it takes two. */
static const double believed_at_once = 0.2;
static const double telling_requests = 30, idle_utilization = 0.7;
/* The utilization a receiver may be brought to, by what it is seen to need for what it serves; control.md section 5, 3. */
static const double safe_utilization = 0.85;
/* Where a cap is trimmed to behind held queues, as a share of what utilization says the site could do. */
static const double cap_utilization = 0.96;
static const double reserve_inner = 0.99, reserve_outer = 0.92, reserve_clean = 0.95;
static const double raise_inner = 1.0, raise_outer = 0.6, raise_least = 0.03;
static const double deadband = 0.03, inch = 0.96, hiccup = 0.1;
static const double give_back_utilization = 0.88, raise_below_utilization = 0.92;
static const int64_t hold_max_ns = TT_SECONDS(300);
static const double flush_s = 8, flush_least = 0.25, stale_work_s = 6, stale_work_max_s = 10;

double tt_gain(const tt_step *degrade, uint32_t level) {
    return !degrade || level == 0 ? 1 : degrade->gain[level - 1];
}

tt_loop *tt_site_loop(tt_engine *e, const tt_site *s) {
    return s->loop < 0 ? NULL : &e->loops[s->loop];
}

const tt_step *tt_site_step(const tt_engine *e, const tt_site *s, tt_step_kind kind) {
    if (s->loop < 0 || (kind == TT_STEP_DEGRADE && e->n_pins && tt_pinned_degrade(e, s))) return NULL; /* a person has that knob */
    return tt_step_at(tt_plan_step(e->loops[s->loop].plan, kind), s->service);
}

static bool inner_loop(const tt_engine *e, const tt_site *s) {
    return e->rules->services[s->service].inner_loop;
}

int64_t tt_law_dead_time(const tt_engine *e, const tt_site *s) {
    int64_t w = s->load.window_ns > 0 ? s->load.window_ns : TT_SECONDS(5);
    return e->cfg.apply_ns * 13 / 10 + TT_SECONDS(1) + w + e->cfg.ingest_ns + e->tick_ns;
}

bool tt_site_judgeable(const tt_engine *e, const tt_site *s) {
    (void)e;
    if (!s->acted) return true;
    if (!s->acknowledged) return false;
    return s->load.known && s->load.at.ns - s->load.window_ns >= s->effective_at.ns;
}

/* Retries inflate what is offered: most failures and some drops come back (section 4, `fresh`). */
double tt_site_demand(const tt_site *s) {
    const tt_load *l = &s->load;
    double failed = l->admitted - l->ok, fresh = l->offered - 0.7 * failed - 0.2 * (l->dropped + l->refused);
    return fresh > l->ok ? fresh : l->ok;
}

/* A site in trouble is asked for what its share is of a demand that those without trouble show undistorted. */
double tt_site_share_of_demand(const tt_engine *e, const tt_site *s) {
    const tt_group *g = &e->groups[s->service];
    double own = tt_site_demand(s), seen = 0, weight = 0, mine = g->weights ? g->share[s->dc] : tt_home_share(e, s);
    for (uint32_t i = 0; i < g->n_sites; i++) {
        const tt_site *o = &e->sites[g->first_site + i];
        if (o == s || !o->load.known || !o->clean || !tt_site_judgeable(e, o)) continue;
        seen += o->load.offered - 0.2 * (o->load.dropped + o->load.refused);
        weight += g->weights ? g->share[i] : tt_home_share(e, o);
    }
    if (s->clean || weight < 0.2 || mine <= 0) return own;
    return fmax(fmin(mine * seen / weight, s->load.offered), own);
}

bool tt_site_neutral(const tt_engine *e, const tt_site *s) {
    if (s->cap_rps > 0 || s->level > 0) return false;
    for (size_t p = 0; p < e->rules->n_priorities; p++)
        if (s->drop[p] > 0) return false;
    return true;
}

void tt_site_commanded(tt_engine *e, tt_site *s, bool raise) {
    s->acted = true;
    s->commanded_at = e->now;
    s->commanded_version = e->version;
    s->acknowledged = false;
    s->partial_said = false;
    s->raised = raise;
    if (raise) s->raised_at = e->now;
}

/* The terms a decision was made from, for the event's detail: enough to do the sum again by hand. */
static void terms(const tt_engine *e, const tt_site *s, char *buf, size_t size) {
    tt_buf b;
    tt_buf_init(&b, 2000);
    const tt_load *l = &s->load;
    const char *source;
    double c = tt_site_capacity(e, s, &source);
    const struct {
        const char *name;
        double v;
        bool known;
    } t[] = {
        {"offered_rps", l->offered, l->known},
        {"ok_rps", l->ok, l->known},
        {"refused_rps", l->refused, l->known},
        {"dropped_rps", l->dropped, l->known},
        {"fail_ratio", l->fail_ratio, l->known},
        {"refused_ratio", l->refused_ratio, l->known},
        {"utilization", l->util, l->util_known},
        {"flow", l->flow, l->flow_known},
        {"latency_mean_ms", l->latency_ms, l->latency_known},
        {"latency_base_ms", s->latency_base_ms, s->latency_base_ms > 0},
        {"demand_rps", tt_site_demand(s), l->known},
        {"capacity_rps", c, c > 0},
    };
    tt_buf_put(&b, TT_SV("{\"inputs\":{"));
    for (size_t i = 0; i < TT_COUNT(t); i++) {
        tt_buf_printf(&b, "%s\"%s\":", i ? "," : "", t[i].name);
        if (t[i].known)
            tt_buf_number(&b, t[i].v);
        else
            tt_buf_put(&b, TT_SV("null"));
    }
    tt_buf_printf(&b,
                  "},\"quality\":\"%s\",\"capacity_source\":\"%s\",\"degrade_level\":%u,\"window_ms\":%lld,\"sample_age_ms\":%lld,\"saturated\":%s,"
                  "\"inner_loop\":%s}",
                  tt_quality_name(l->quality), source, s->level, (long long)(l->window_ns / 1000000), (long long)(tt_since(e->now, l->at) / 1000000),
                  s->saturated ? "true" : "false", inner_loop(e, s) ? "true" : "false");
    tt_copy_text(buf, size, b.failed ? TT_SV("{}") : tt_sv_of(b.p));
    tt_buf_free(&b);
}

static void feature_target(const tt_engine *e, const tt_site *s, const tt_step *d, tt_target *t) {
    memset(t, 0, sizeof *t);
    tt_copy_text(t->service, sizeof t->service, d->service);
    tt_copy_text(t->dc, sizeof t->dc, tt_sv_of(tt_dc_cname(e, s)));
}

static void entry_target(const tt_engine *e, const tt_site *s, tt_target *t) {
    memset(t, 0, sizeof *t);
    tt_copy_text(t->service, sizeof t->service, tt_sv_of(tt_service_cname(e, s->service)));
    tt_copy_text(t->dc, sizeof t->dc, tt_sv_of(tt_dc_cname(e, s)));
}

void tt_site_set_level(tt_engine *e, tt_site *s, uint32_t level, const char *why) {
    if (level == s->level) return;
    tt_loop *l = tt_site_loop(e, s);
    const tt_step *d = tt_site_step(e, s, TT_STEP_DEGRADE);
    char action[TT_NAME_MAX + 16], detail[2048];
    tt_target t;
    if (d && s->level == 0) {
        feature_target(e, s, d, &t);
        memcpy(s->feature_service, t.service, sizeof s->feature_service);
        tt_copy_text(s->feature, sizeof s->feature, d->feature);
        s->probe_ratio = d->probe_ratio;
    }
    entry_target(e, s, &t);
    memcpy(t.service, s->feature_service, sizeof t.service);
    snprintf(action, sizeof action, "degrade:%.120s", s->feature);
    terms(e, s, detail, sizeof detail);
    tt_emit_action(e, l, &t, action, s->level ? (double)s->level : (double)NAN, level ? (double)level : (double)NAN, "level", detail, "%s", why);
    if (l) snprintf(l->why, sizeof l->why, "%s", why);
    tt_site_commanded(e, s, level < s->level);
    s->level_before = s->level;
    s->level = level;
}

/* Where the plan has no rate cap, the same number becomes drop ratios. What was done under a plan that is gone is still told apart. */
static bool by_ratio(const tt_engine *e, const tt_site *s) {
    if (s->cap_rps > 0) return s->by_ratio;
    return !tt_site_step(e, s, TT_STEP_LIMIT) && tt_site_step(e, s, TT_STEP_DROP);
}

/* The ratios that bring what is offered now down to `cap`, lowest priority first, each within its step's max. */
static void ratios_for(const tt_engine *e, const tt_site *s, double cap, double ret[TT_PRIORITIES_MAX]) {
    const tt_loop *l = s->loop < 0 ? NULL : &e->loops[s->loop];
    double shed = cap > 0 ? s->load.offered - cap : 0;
    for (size_t k = e->rules->n_priorities; k-- > 0;) {
        const tt_step *st = NULL;
        for (size_t i = 0; l && l->plan && i < l->plan->n_steps; i++)
            if (l->plan->steps[i].kind == TT_STEP_DROP && l->plan->steps[i].priority == k) st = &l->plan->steps[i];
        ret[k] = 0;
        if (st && shed > 0 && s->load.offered_by[k] > 0) ret[k] = fmin(shed / s->load.offered_by[k], st->max);
        if (ret[k] < 0.005) ret[k] = 0;
        shed -= ret[k] * s->load.offered_by[k];
    }
}

/* The law's one number for admission becomes a rate cap where the plan has one, else drop ratios, lowest priority first. */
void tt_site_set_cap(tt_engine *e, tt_site *s, double cap, const char *why) {
    tt_loop *l = tt_site_loop(e, s);
    char detail[2048];
    terms(e, s, detail, sizeof detail);
    tt_target t;
    entry_target(e, s, &t);
    bool raise = cap <= 0 || (s->cap_rps > 0 && cap > s->cap_rps), changed = false;
    bool ratios = by_ratio(e, s);
    if (ratios) {
        if (cap > 0 && !s->load.known) return; /* a ratio of what? What is dropped stays */
        double ratio[TT_PRIORITIES_MAX];
        ratios_for(e, s, cap, ratio);
        for (size_t k = e->rules->n_priorities; k-- > 0;) {
            if (ratio[k] == s->drop[k]) continue;
            char action[TT_NAME_MAX + 8];
            snprintf(action, sizeof action, "drop:%.*s", TT_SV_ARG(e->rules->priorities[k]));
            tt_emit_action(e, l, &t, action, s->drop[k] > 0 ? s->drop[k] : (double)NAN, ratio[k] > 0 ? ratio[k] : (double)NAN, "ratio", detail, "%s",
                           why);
            s->drop[k] = ratio[k];
            changed = true;
        }
    } else if (s->cap_rps != cap) {
        tt_emit_action(e, l, &t, "limit", s->cap_rps > 0 ? s->cap_rps : (double)NAN, cap > 0 ? cap : (double)NAN, "rps", detail, "%s", why);
        changed = true;
    }
    s->cap_rps = cap;
    s->by_ratio = cap > 0 && ratios;
    s->unbound_since.ns = 0;
    if (!changed) return; /* the steps' maxima hold it where it was: nothing to wait for, nothing to judge */
    if (l) snprintf(l->why, sizeof l->why, "%s", why);
    tt_site_commanded(e, s, raise);
}

/* ---- reading the site ---- */

static void classify(tt_engine *e, tt_site *s) {
    const tt_load *l = &s->load;
    const tt_loop *loop = tt_site_loop(e, s);
    s->bad = s->saturated = s->clean = false;
    if (!l->known || l->offered < 0.2) return;
    bool slow = l->latency_known && s->latency_base_ms > 0 && l->latency_ms > bad_latency * s->latency_base_ms && loop && loop->kept_known &&
                !loop->kept && strcmp(loop->target.dc, tt_dc_cname(e, s)) == 0; /* what another site keeps says nothing about a receiver */
    s->bad = l->fail_ratio > bad_fail || l->refused_ratio > bad_refused || slow;
    /* A handful of requests says that something is wrong, not how much the site can carry. */
    bool telling = l->offered * (double)l->window_ns / 1e9 >= telling_requests;
    /* With its queues held, a site that is mostly idle is not saturated, whatever it refuses or fails: shedding more would only lower what is
     * measured next. (Without, a stale backlog can look just like that: section 1, 5.) */
    bool quick = l->latency_known && s->latency_base_ms > 0 && l->latency_ms < waits_latency * s->latency_base_ms;
    bool idle = l->util_known && l->util < idle_utilization && (inner_loop(e, s) || quick) && !tt_eject_below(e, s);
    s->saturated =
        telling && !idle && !l->partial &&
        (l->refused_ratio > bad_refused || (s->bad && ((l->flow_known && l->flow < TT_FLOW_FLOOR) || (l->util_known && l->util > TT_UTILIZATION_CEILING))));
    s->clean = l->fail_ratio < clean_fail && l->refused_ratio <= clean_refused && (!l->flow_known || l->flow > clean_flow || inner_loop(e, s)) &&
               (!l->latency_known || s->latency_base_ms <= 0 || l->latency_ms < clean_latency * s->latency_base_ms);
}

/* Each sample is counted once, whether a loop looks after the site or not. */
static void sense(tt_engine *e, tt_site *s) {
    classify(e, s);
    if (!s->load.known || s->load.at.ns <= s->sensed_at.ns) return;
    s->sensed_at = s->load.at;
    s->bad_samples = s->bad ? s->bad_samples + 1 : 0;
}

/* Is it more than a hiccup? Behind held queues a sample that shows a full site is believed: what follows there is mild. */
static bool believed(const tt_engine *e, const tt_site *s) {
    return inner_loop(e, s) || s->bad_samples >= 2 || s->load.fail_ratio > believed_at_once || s->load.refused_ratio > believed_at_once;
}

static double delivered(const tt_engine *e, const tt_site *s) {
    const tt_load *l = &s->load;
    if (inner_loop(e, s)) return l->ok;
    return fmax(l->throughput > 0 ? fmin(l->throughput, l->admitted) : l->ok, l->ok);
}

/* What the sites that share their load can carry, at degrade level 0, over what they are asked to. Those that nothing is known of count as just able. */
static double pooled_ratio(tt_engine *e, const tt_site *s, double own) {
    const tt_group *g = &e->groups[s->service];
    double can = own, asked = tt_site_share_of_demand(e, s);
    for (uint32_t i = 0; i < g->n_sites && tt_site_step(e, s, TT_STEP_SHIFT); i++) {
        const tt_site *o = &e->sites[g->first_site + i];
        if (o == s || !o->load.known || o->faulty) continue;
        double d = tt_site_demand(o), c = tt_site_capacity(e, o, NULL);
        asked += d;
        if (o->measured_rps > 0)
            can += o->measured_rps;
        else if (c > 0 && !o->bad)
            can += fmax(d, o->load.util_known && o->load.util > 0.1 && o->level == 0
                               ? fmin(TT_SAFE_LOAD * c, safe_utilization * o->load.admitted / o->load.util)
                               : TT_SAFE_LOAD * c);
        else
            can += d;
    }
    return asked > 0 ? can / asked : 1;
}

/* The level at which the most is answered, by what answers are worth; a deeper one only for a percent more (section 5, 2). */
static uint32_t level_for(tt_engine *e, const tt_site *s, const tt_step *d, double capacity) {
    if (!d) return 0;
    double r = TT_SAFE_LOAD * pooled_ratio(e, s, capacity);
    uint32_t best = s->level;
    double value = fmin(1, r * tt_gain(d, best)) * (best ? d->worth[best - 1] : 1);
    for (uint32_t lv = s->level + 1; lv <= d->levels; lv++) {
        double v = fmin(1, r * tt_gain(d, lv)) * d->worth[lv - 1];
        if (v <= value * 1.01) continue;
        best = lv;
        value = v;
    }
    return best;
}

static int64_t hold_of(const tt_engine *e, const tt_site *s) {
    const tt_loop *l = &e->loops[s->loop];
    return s->hold_ns > l->plan->recover_after_ns ? s->hold_ns : l->plan->recover_after_ns;
}

static void relapse(tt_engine *e, tt_site *s, tt_loop *l, const char *what) {
    int64_t theta = tt_law_dead_time(e, s), h = 2 * (s->hold_ns > theta / 2 ? s->hold_ns : theta / 2);
    s->hold_ns = h > hold_max_ns ? hold_max_ns : h;
    s->raise = fmax(s->raise / 2, raise_least);
    s->raised = false; /* counted once */
    tt_loop_relapse(e, l, what);
}

static void say_saturated(const tt_site *s, double capacity, char *buf, size_t size) {
    char o[32], k[32], r[32], f[32], c[32];
    tt_num(o, sizeof o, s->load.offered);
    tt_num(k, sizeof k, s->load.ok);
    tt_pct(r, sizeof r, s->load.refused_ratio);
    tt_pct(f, sizeof f, s->load.fail_ratio);
    tt_num(c, sizeof c, capacity);
    snprintf(buf, size, "offered %s rps, %s rps answered well, %s refused, %s failed: saturated, safe capacity %s rps", o, k, r, f, c);
}

/* Without bounded queues much of what waits is stale: admission goes deep for a short time, so that the work done is wanted again (section 4, flush).
 * How deep: by the work that has been queued up, where arrivals and completions tell; else by how much fails. Returns the share of the capacity to
 * admit meanwhile. */
static double flush(tt_engine *e, tt_site *s) {
    double f = s->load.fail_ratio, queued = s->load.backlog_s * 1.3, by_failures = f > 0.5 ? stale_work_s : f > 0.15 ? 3.2 : 2.4;
    if (queued < by_failures) queued = by_failures;
    if (queued > stale_work_max_s) queued = stale_work_max_s;
    double tick = (double)(e->tick_ns > 0 ? e->tick_ns : TT_SECONDS(1)) / 1e9, t = ceil(fmax(flush_s, queued / (1 - flush_least)) / tick) * tick;
    s->flush_until.ns = e->now.ns + (int64_t)(t * 1e9);
    return fmin(fmax(1 - queued / t, flush_least), 0.85);
}

static void rung(tt_loop *l, const tt_step *st) {
    if (st && (uint32_t)(st - l->plan->steps) + 1 > l->rung) l->rung = (uint32_t)(st - l->plan->steps) + 1;
}

/* Every drop step is at its max: what more the law would take away it can't, and must not keep count of (section 6, no windup). */
static bool spent(const tt_engine *e, const tt_site *s) {
    const tt_loop *l = &e->loops[s->loop];
    if (!s->by_ratio) return false;
    for (size_t i = 0; l->plan && i < l->plan->n_steps; i++) {
        const tt_step *st = &l->plan->steps[i];
        if (st->kind == TT_STEP_DROP && s->load.offered_by[st->priority] > 0 && s->drop[st->priority] < st->max - 1e-9) return false;
    }
    return true;
}

/* Held as requests in flight: as a rate it lets in what comes of that, and is no less in force for it. */
static bool by_inflight(const tt_engine *e, const tt_site *s) {
    const tt_step *limit = tt_site_step(e, s, TT_STEP_LIMIT);
    return limit && limit->by_concurrency;
}

/* Capacity from a saturated sample. true: it is lower than thought, so what waits is stale. */
static bool measure(tt_engine *e, tt_site *s, tt_loop *l, double gain) {
    double thr = delivered(e, s) / gain, ok = s->load.ok / gain, old = s->measured_rps;
    bool lower = true;
    s->measured_at = e->now;
    if (old <= 0) {
        s->measured_rps = s->good_rps = thr;
        s->trim = 1;
        if (s->raise <= 0) s->raise = inner_loop(e, s) ? raise_inner : raise_outer;
    } else if (s->raised) {
        s->measured_rps = inner_loop(e, s) ? fmax(thr, 0.5 * old) : fmin(0.97 * s->good_rps, fmax(thr, 0.5 * s->good_rps));
        relapse(e, s, l, "saturated again after a step back");
        /* A lock-out that begins with this relapse begins after the step: what it then holds is what protects. */
    } else if (thr < 0.96 * old) {
        s->measured_rps = fmax(thr, 0.4 * old);
    } else if (inner_loop(e, s) || spent(e, s)) {
        s->measured_rps = thr;
        lower = false;
    } else if (s->cap_rps > 0 && !by_inflight(e, s) && s->load.admitted > 1.06 * fmin(s->cap_rps, s->load.offered) && s->reach >= 0.99) {
        s->trim = fmin(fmax(s->trim * pow(s->cap_rps / s->load.admitted, 0.7), 0.3), 1.2);
        lower = false;
    } else {
        s->measured_rps = fmax(0.92 * old, ok);
        lower = false;
    }
    return lower;
}

/* Instances that don't take decisions let in what comes to them: the others get the rest of what the site may admit (section 6). */
static double told(const tt_site *s, double cap) {
    if (s->reach >= 0.97 || s->reach < 0.05) return cap;
    return fmax((cap - (1 - s->reach) * s->load.offered) / s->reach, 0.05 * cap);
}

static void saturated(tt_engine *e, tt_site *s, tt_loop *l) {
    const tt_step *d = tt_site_step(e, s, TT_STEP_DEGRADE), *limit = tt_site_step(e, s, TT_STEP_LIMIT), *drop = tt_site_step(e, s, TT_STEP_DROP);
    bool inner = inner_loop(e, s), raised = s->raised, first = s->measured_rps <= 0;
    double thr = delivered(e, s), gain = tt_gain(d, s->level);
    if (first && !believed(e, s)) return;
    s->violated_at = e->now;
    bool stale = measure(e, s, l, gain) && !inner;
    char figures[240], why[400];
    say_saturated(s, s->measured_rps * gain, figures, sizeof figures);

    uint32_t want = level_for(e, s, d, s->measured_rps);
    if (d && want > s->level) {
        snprintf(why, sizeof why, "%s; degrade %.*s to level %u of %u (capacity x%d.%02d)%s", figures, TT_SV_ARG(d->feature), want, d->levels,
                 (int)tt_gain(d, want), (int)(tt_gain(d, want) * 100) % 100, inner ? ", then judge" : "");
        tt_site_set_level(e, s, want, why);
        rung(l, d);
        if (inner) return;
        gain = tt_gain(d, want);
    }
    if (!limit && !drop) return;
    double cap;
    if (inner) {
        s->reserve = reserve_inner;
        cap = s->reserve * fmax(s->measured_rps * gain, thr);
        /* A cap that is nearly right is trimmed by inches: behind held queues a few refusals cost less than what a hiccup would take away. */
        if (s->cap_rps > 0 && !raised && s->load.refused_ratio + s->load.fail_ratio < hiccup) cap = fmax(cap, inch * s->cap_rps);
        cap = fmax(cap, s->reserve * s->load.ok);
    } else {
        s->reserve = stale ? flush(e, s) : reserve_outer;
        cap = s->trim * s->reserve * s->measured_rps * gain;
        /* Never below the goodput delivered now (section 9, 2), but for the timed flush of a stale queue. */
        if (!stale) cap = fmax(cap, s->load.ok);
        cap = told(s, cap);
    }
    if (cap >= s->load.offered && s->cap_rps <= 0) return;
    if (s->cap_rps > 0 && fabs(cap - s->cap_rps) <= deadband * s->cap_rps) {
        if (!inner) return;
        /* The cap stands and yet the site is over: the mesh admits more than told, or capacity has slipped. */
        cap = s->cap_rps * (1 - deadband);
        if (cap < s->reserve * s->load.ok) return;
    }
    char n[32];
    tt_num(n, sizeof n, cap);
    snprintf(why, sizeof why, "%s; admit at most %s rps%s, highest priority first", figures, n, stale ? " while the stale queue is flushed" : "");
    tt_site_set_cap(e, s, cap, why);
    rung(l, limit ? limit : drop);
}

/* Load over the learned capacity, told by the armed cap alone: everything that is let in is answered well. */
static void bitten(tt_engine *e, tt_site *s, tt_loop *l) {
    const tt_step *d = tt_site_step(e, s, TT_STEP_DEGRADE), *limit = tt_site_step(e, s, TT_STEP_LIMIT);
    double seen = tt_site_seen_capacity(e, s);
    if (seen <= 0 || !limit) return;
    char why[400], o[32], c[32];
    s->measured_rps = s->good_rps = seen;
    s->measured_at = e->now;
    s->trim = 1;
    s->reserve = inner_loop(e, s) ? reserve_inner : reserve_clean;
    if (s->raise <= 0) s->raise = inner_loop(e, s) ? raise_inner : raise_outer;
    tt_num(o, sizeof o, s->load.offered);
    tt_num(c, sizeof c, seen);
    uint32_t want = level_for(e, s, d, s->measured_rps);
    if (d && want > s->level) {
        snprintf(why, sizeof why, "offered %s rps is over the learned capacity of %s rps: degrade %.*s to level %u of %u", o, c, TT_SV_ARG(d->feature), want,
                 d->levels);
        tt_site_set_level(e, s, want, why);
        rung(l, d);
    }
    double cap = told(s, s->reserve * s->measured_rps * tt_gain(d, s->level));
    snprintf(why, sizeof why, "offered %s rps is over the learned capacity of %s rps: the armed cap becomes this loop's", o, c);
    tt_site_set_cap(e, s, cap, why);
    s->raised = true;
    rung(l, limit);
}

/* ---- the way back ---- */

static void begin_recovery(tt_engine *e, tt_loop *l, const char *why) {
    if (l->phase == TT_PHASE_SETTLED || l->phase == TT_PHASE_SETTLING || l->phase == TT_PHASE_ACTING || l->phase == TT_PHASE_ESCALATED)
        tt_loop_enter(e, l, TT_PHASE_RECOVERING, why);
}

/* A cap that holds nothing back for half a hold is taken away. */
static bool unbound(tt_engine *e, tt_site *s, tt_loop *l) {
    const tt_load *d = &s->load;
    /* A ratio drops its share of however little comes: that alone says nothing about need. */
    bool binding = (!by_ratio(e, s) && d->dropped > 0.01 * d->offered) || d->offered >= 0.97 * s->cap_rps;
    if (binding) {
        s->unbound_since.ns = 0;
        return false;
    }
    if (s->unbound_since.ns == 0) s->unbound_since = e->now;
    if (tt_since(e->now, s->unbound_since) < hold_of(e, s) / 2) return true;
    char why[300], a[32], b[32];
    tt_num(a, sizeof a, d->offered);
    tt_num(b, sizeof b, s->cap_rps);
    snprintf(why, sizeof why, "offered %s rps has stayed under the cap of %s rps: it holds nothing back any more and is taken away", a, b);
    tt_site_set_cap(e, s, 0, why);
    s->raised = false; /* nothing was let in by it */
    begin_recovery(e, l, why);
    return true;
}

/* Is the cap, turned into ratios, off by more than the deadband for the load that is offered now? */
static bool ratios_off(const tt_engine *e, const tt_site *s) {
    if (!by_ratio(e, s)) return false;
    double fresh[TT_PRIORITIES_MAX], off = 0;
    ratios_for(e, s, s->cap_rps, fresh);
    for (size_t p = 0; p < e->rules->n_priorities; p++) off += (fresh[p] - s->drop[p]) * s->load.offered_by[p];
    return fabs(off) > deadband * s->load.offered;
}

static void trim_inner(tt_engine *e, tt_site *s, tt_loop *l) {
    const tt_load *d = &s->load;
    if (unbound(e, s, l)) return;
    /* Every relapse halves the next raise and makes it wait (section 4). */
    double g_up = raise_inner / (double)(1u << (l->reversals < 4 ? l->reversals : 4));
    /* ... but for a site with plenty of room: then load was not what ailed it. */
    bool roomy = d->util_known && d->util < idle_utilization && !tt_eject_below(e, s);
    if (roomy) g_up = fmax(g_up, 0.5);
    bool measured = d->util_known && d->util > 0.05 && !tt_eject_below(e, s);
    double est = measured ? cap_utilization * d->admitted / d->util : s->cap_rps * (1 + (roomy ? g_up : 0.05)); /* too idle to tell: feel the way up */
    /* One window's utilization is worth half a step; and with the queues held nothing hurts by staying a little over, so down it goes by inches. */
    if (measured && fabs(est - s->cap_rps) < 0.15 * s->cap_rps) est = (est + s->cap_rps) / 2;
    double cap = fmin(fmax(est, inch * s->cap_rps), s->cap_rps * (1 + g_up));
    if (fabs(cap - s->cap_rps) <= deadband * s->cap_rps && !ratios_off(e, s)) return;
    if (cap > s->cap_rps && tt_since(e->now, s->raised_at) < tt_law_dead_time(e, s)) return;
    if (cap > s->cap_rps && !roomy && s->hold_ns > 0 && tt_since(e->now, s->violated_at) < s->hold_ns) return;
    char why[300], a[32], b[32], u[32];
    tt_num(a, sizeof a, d->admitted);
    tt_num(b, sizeof b, cap);
    tt_pct(u, sizeof u, d->util);
    snprintf(why, sizeof why, "admitting %s rps at utilization %s: %s the cap to %s rps", a, d->util_known ? u : "unknown",
             cap > s->cap_rps ? "raise" : "trim", b);
    bool raise = cap > s->cap_rps;
    tt_site_set_cap(e, s, cap, why);
    s->raised = raise;
    s->measured_rps = fmax(s->measured_rps, d->admitted / tt_gain(tt_site_step(e, s, TT_STEP_DEGRADE), s->level));
}

/* Section 7: up to what utilization says there is room for, at most by `raise` a step, and the next step waits for this one's data. */
static void unwind(tt_engine *e, tt_site *s, tt_loop *l) {
    const tt_load *d = &s->load;
    double gain = tt_gain(tt_site_step(e, s, TT_STEP_DEGRADE), s->level);
    s->good_rps = fmax(s->good_rps, s->measured_rps);
    if (unbound(e, s, l)) return;
    bool may = (!d->util_known || d->util < raise_below_utilization) && tt_since(e->now, s->violated_at) >= s->hold_ns &&
               tt_since(e->now, s->raised_at) >= tt_law_dead_time(e, s);
    double c = s->measured_rps, reserve = fmax(s->reserve, reserve_clean), room = d->util_known && d->util > 0.05 ? 0.90 * d->admitted / (d->util * gain) : 0;
    if (may) c = fmax(1.02 * c, fmin(c * (1 + s->raise), fmax(room, 1.04 * c)));
    double cap = told(s, s->trim * reserve * c * gain);
    if (fabs(cap - s->cap_rps) <= deadband * s->cap_rps && !(may && cap > s->cap_rps) && !ratios_off(e, s)) return;
    if (cap < s->cap_rps) cap = fmax(cap, s->load.ok);
    char why[300], a[32], b[32], u[32];
    tt_num(a, sizeof a, d->admitted);
    tt_num(b, sizeof b, cap);
    tt_pct(u, sizeof u, d->util);
    bool raise = cap > s->cap_rps;
    snprintf(why, sizeof why, "clean while admitting %s rps at utilization %s: %s the cap to %s rps", a, d->util_known ? u : "unknown", raise ? "raise" : "trim", b);
    s->measured_rps = c;
    s->reserve = reserve;
    tt_site_set_cap(e, s, cap, why);
    s->raised = raise && may;
}

/* The few requests that still go the whole way show how the dependency does. None of them in a window says nothing: not seen is not well, so what
 * counts is when it was last seen to be ill. */
static void watch_dependency(tt_engine *e, tt_site *s, const tt_step *d) {
    for (uint32_t i = 0; i < s->n_closure; i++) {
        tt_sv name = e->rules->services[s->closure[i]].name;
        if (!tt_sv_eq(name, d->feature) || s->latency_dep_base[i] <= 0) continue;
        tt_where w = {name, tt_sv_of(tt_dc_cname(e, s)), {0}, {0}, NULL, 0, {0}};
        tt_reading lat = tt_read_signal(e, e->load_signal[TT_LOAD_LATENCY_MEAN], &w);
        if (lat.known && lat.value > 2 * s->latency_dep_base[i] + 5) s->dependency_bad_at = e->now;
    }
}

static void give_back_level(tt_engine *e, tt_site *s, tt_loop *l) {
    const tt_step *d = tt_site_step(e, s, TT_STEP_DEGRADE);
    int64_t theta = tt_law_dead_time(e, s), every = l->plan->recover_every_ns > theta ? l->plan->recover_every_ns : theta;
    char why[300], u[32];
    if (!d) return;
    bool well = s->dependency_bad_at.ns == 0 || tt_since(e->now, s->dependency_bad_at) >= hold_of(e, s);
    if (tt_since(e->now, s->violated_at) < hold_of(e, s) || tt_since(e->now, s->commanded_at) < every) return;
    double ratio = tt_gain(d, s->level) / tt_gain(d, s->level - 1);
    const char *source;
    double c = tt_site_capacity(e, s, &source);
    double after = s->load.util_known ? s->load.util * ratio : c > 0 ? tt_site_demand(s) / (c * tt_gain(d, s->level - 1)) : 0;
    tt_pct(u, sizeof u, after);
    if (after >= give_back_utilization) {
        snprintf(l->why, sizeof l->why, "holds; a level less of degrade would need %s of capacity", u);
        return;
    }
    if (!well) {
        snprintf(l->why, sizeof l->why, "holds; %.*s has not been fast for long enough to be asked again", TT_SV_ARG(d->feature));
        return;
    }
    snprintf(why, sizeof why, "clean, and a level less needs %s of capacity: give %.*s back", u, TT_SV_ARG(d->feature));
    begin_recovery(e, l, why);
    tt_site_set_level(e, s, s->level - 1, why);
}

static void clean(tt_engine *e, tt_site *s, tt_loop *l) {
    if (s->raised && !s->bad) s->raised = false; /* judged, and it held */
    if (s->cap_rps > 0)
        inner_loop(e, s) ? trim_inner(e, s, l) : unwind(e, s, l);
    else if (s->level > 0)
        give_back_level(e, s, l);
}

/* While what waits keeps a service busy its throughput is its capacity, whatever is admitted meanwhile; the sample that began the flush still had the
 * time before in its window. */
static void measure_in_flush(tt_engine *e, tt_site *s) {
    const tt_load *l = &s->load;
    if (!s->saturated || l->throughput <= 0 || l->at.ns < s->measured_at.ns) return;
    uint32_t level = s->level_before < s->level ? s->level_before : s->level;
    double c = l->throughput / tt_gain(tt_site_step(e, s, TT_STEP_DEGRADE), level);
    if (c < s->measured_rps) s->measured_rps = fmax(c, 0.5 * s->measured_rps);
}

static void flushed(tt_engine *e, tt_site *s) {
    /* By timer, even while blind: the stale work is gone (section 4, flush). */
    s->flush_until.ns = 0;
    if (s->cap_rps <= 0 || inner_loop(e, s)) return;
    s->reserve = reserve_outer;
    tt_site_set_cap(e, s, told(s, s->trim * s->reserve * s->measured_rps * tt_gain(tt_site_step(e, s, TT_STEP_DEGRADE), s->level)),
                    "the stale queue is flushed: open up to the measured capacity");
    s->raised = false; /* part of the same step: a flush that was too short is no relapse */
}

static void site_step(tt_engine *e, tt_site *s) {
    tt_loop *l = tt_site_loop(e, s);
    if (!l || !tt_loop_may_act(e, l) || tt_site_held(e, s) || tt_site_step(e, s, TT_STEP_EJECT) || tt_baseline_law_step(e, s, l)) return;
    if (s->flush_until.ns && e->now.ns >= s->flush_until.ns) flushed(e, s);
    if (!s->load.known) {
        if (!s->hold_said)
            tt_emit(e, "hold", l, "%s of %s in %s is %s: nothing new is done until it is good again", s->load.missing,
                    tt_service_cname(e, s->service), tt_dc_cname(e, s), tt_quality_name(s->load.quality));
        s->hold_said = true;
        return;
    }
    s->hold_said = false;
    const tt_step *degrade = tt_site_step(e, s, TT_STEP_DEGRADE);
    if (s->level > 0 && degrade) watch_dependency(e, s, degrade);
    if (s->flush_until.ns > e->now.ns) measure_in_flush(e, s);
    if (s->load.at.ns <= s->judged_at.ns || !tt_site_judgeable(e, s)) return;
    if (s->flush_until.ns > e->now.ns) return;
    s->judged_at = s->load.at;
    s->looked_at = e->now;
    if (l->locked_until.ns > e->now.ns) return;
    /* A bad instance below explains it, and its ejection is under way: its effect comes first. */
    if (tt_site_neutral(e, s) && tt_eject_pending(e, s)) return;
    bool first = s->measured_rps <= 0 && s->cap_rps <= 0;
    if (s->bad && s->load.partial && s->cap_rps > 0) {
        char why[200];
        snprintf(why, sizeof why, "what fails needs %s, which only some requests do: holding back the others helps nobody",
                 tt_service_cname(e, (uint32_t)s->load.partial_service));
        tt_site_set_cap(e, s, 0, why);
        s->raised = false;
        return;
    }
    if (s->saturated && !s->faulty)
        saturated(e, s, l);
    else if (s->bad)
        s->violated_at = e->now;
    else if (first && s->armed_rps > 0 && s->bites > 0 && (s->bites >= 2 || s->load.dropped > believed_at_once * s->load.offered))
        bitten(e, s, l);
    else if (s->clean)
        clean(e, s, l);
    else if (s->cap_rps > 0 && inner_loop(e, s))
        trim_inner(e, s, l);
    /* A backlog can stand with throughput equal to admission, utilization low and everything late (section 1, 5). */
    if (!inner_loop(e, s) && s->bad && !s->saturated && !s->faulty && s->cap_rps > 0 && s->load.latency_known && s->latency_base_ms > 0 &&
        s->load.latency_ms > 2 * s->latency_base_ms) {
        double share = flush(e, s);
        tt_site_set_cap(e, s, s->trim * share * s->measured_rps * tt_gain(degrade, s->level), "late without being saturated: what waits is stale, flush it again");
        s->raised = false;
    }
}

void tt_law_step(tt_engine *e) {
    for (uint32_t i = 0; i < e->n_sites; i++) site_step(e, &e->sites[i]);
    for (uint32_t i = 0; i < e->rules->n_services; i++) tt_shift_step(e, &e->groups[i], i);
    for (uint32_t i = 0; i < e->n_loops; i++)
        if (tt_loop_is_open(&e->loops[i])) tt_eject_step(e, &e->loops[i]);
}

void tt_law_sense(tt_engine *e) {
    for (uint32_t i = 0; i < e->n_sites; i++) sense(e, &e->sites[i]);
}
