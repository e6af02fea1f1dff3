/* The engine's memory as JSON, and back. Instants are kept as ages, so that a reboot between saving and restoring changes nothing. */
#include "engine_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SITE_NUMBERS(X)                                                                                                                              \
    X(learned_rps) X(utilization_worth) X(latency_base_ms) X(measured_rps) X(cap_rps) X(ack_share) X(probe_ratio) X(armed_rps) X(armed_latency_ms) X(good_rps) X(trim) X(raise) X(reserve)   \
    X(reach) X(base.rate_rps) X(base.multiplier) X(base.integral)
#define SITE_COUNTS(X) X(base_samples) X(level) X(level_before) X(bad_samples) X(bites) X(base.steps_done)
#define SITE_FLAGS(X) X(acted) X(acknowledged) X(raised) X(faulty) X(by_ratio)
#define SITE_TIMES(X)                                                                                                                                \
    X(learned_at) X(measured_at) X(judged_at) X(commanded_at) X(effective_at) X(violated_at) X(raised_at) X(unbound_since) X(flush_until)            \
    X(dependency_bad_at) X(disarmed_until) X(base.acted_at) X(base.rate_at) X(sides_learned_at)
#define LOOP_FLAGS(X) X(approved) X(aborting) X(paged) X(shadow_said) X(ejected) X(kept_known) X(kept) X(asks)
#define LOOP_COUNTS(X) X(plan_hash) X(reversals) X(rung) X(counted)
#define LOOP_TIMES(X)                                                                                                                                \
    X(opened_at) X(phase_at) X(closed_at) X(kept_since) X(violated_at) X(locked_until) X(eject_at) X(relapse_at) X(sides_judged_at)
#define LOOP_WALLS(X) X(opened) X(phase_wall) X(closed)
#define LOOP_TEXTS(X) X(id) X(plan_name) X(anomaly_name) X(why)

static const char *const outcomes[] = {"", "knee", "limit", "aborted", "refused"};
static const char *const knees[] = {"", "utilization", "latency", "refusals", "errors", "throughput", "cap"};
#define TEST_TEXTS(X) X(id) X(service) X(dc) X(actor) X(reason) X(why) X(outcome) X(knee)
#define TEST_NUMBERS(X) X(spec.step) X(spec.max) X(home) X(max) X(added) X(rps) X(confidence)
#define TEST_WALLS(X) X(started) X(ended) X(phase_wall)
static const char *const ended_names[] = {"recovered", "escalated", "aborted", "failed", "refused", "cleared", "superseded"};

/* ---- writing ---- */

static const char *loop_id(const tt_engine *e, int32_t loop) { return loop < 0 ? "" : e->loops[loop].id; }

static void put_site(const tt_engine *e, const tt_site *s, tt_time now, tt_buf *b) {
    tt_buf_put(b, TT_SV("{\"service\":"));
    tt_buf_json_string(b, tt_sv_of(tt_service_cname(e, s->service)));
    tt_buf_member(b, "dc", tt_sv_of(tt_dc_cname(e, s)));
    tt_buf_member(b, "loop", tt_sv_of(loop_id(e, s->loop)));
    tt_buf_member(b, "feature", tt_sv_of(s->feature));
    tt_buf_member(b, "feature_service", tt_sv_of(s->feature_service));
#define X(f) tt_buf_member_number(b, #f, s->f);
    SITE_NUMBERS(X)
#undef X
#define X(f) tt_buf_printf(b, ",\"%s\":%u", #f, s->f);
    SITE_COUNTS(X)
#undef X
#define X(f) tt_buf_printf(b, ",\"%s\":%s", #f, s->f ? "true" : "false");
    SITE_FLAGS(X)
#undef X
#define X(f) tt_buf_member_age(b, #f, s->f, now);
    SITE_TIMES(X)
#undef X
    tt_buf_printf(b, ",\"hold_ns\":%lld,\"drop\":{", (long long)s->hold_ns);
    for (size_t p = 0; p < e->rules->n_priorities; p++) {
        if (p) tt_buf_put(b, TT_SV(","));
        tt_buf_json_string(b, e->rules->priorities[p]);
        tt_buf_put(b, TT_SV(":"));
        tt_buf_number(b, s->drop[p]);
    }
    tt_buf_put(b, TT_SV("},\"capacity\":{"));
    for (int k = 0, n = 0; k < TT_CAPACITY_COUNT; k++) {
        const tt_capacity *c = &s->capacity[k];
        if (!c->samples) continue;
        tt_buf_printf(b, "%s\"%s\":{\"samples\":%u", n++ ? "," : "", tt_capacity_source_name((tt_capacity_source)k), c->samples);
        tt_buf_member_number(b, "rps", c->rps);
        tt_buf_member_number(b, "confidence", c->confidence);
        tt_buf_member_number(b, "spread", c->spread);
        tt_buf_member_age(b, "at", c->at, now);
        tt_buf_put(b, TT_SV("}"));
    }
    tt_buf_put(b, TT_SV("},\"below\":{"));
    for (uint32_t c = 0; c < s->n_closure; c++) {
        if (c) tt_buf_put(b, TT_SV(","));
        tt_buf_json_string(b, tt_sv_of(tt_service_cname(e, s->closure[c])));
        tt_buf_put(b, TT_SV(":["));
        tt_buf_number(b, s->flow_base[c]);
        tt_buf_put(b, TT_SV(","));
        tt_buf_number(b, s->calls_per[c]);
        tt_buf_put(b, TT_SV(","));
        tt_buf_number(b, s->latency_dep_base[c]);
        tt_buf_put(b, TT_SV(","));
        tt_buf_number(b, s->latency_p99_base[c]);
        tt_buf_put(b, TT_SV("]"));
    }
    tt_buf_put(b, TT_SV("},\"callers\":{"));
    for (uint32_t k = s->first_caller; k; k = e->callers[k - 1].next) {
        const tt_caller *c = &e->callers[k - 1];
        if (k != s->first_caller) tt_buf_put(b, TT_SV(","));
        tt_buf_json_string(b, tt_sv_of(c->name));
        tt_buf_put(b, TT_SV(":["));
        tt_buf_number(b, c->base_rps);
        tt_buf_printf(b, ",%lld]", (long long)tt_since(now, c->at));
    }
    tt_buf_put(b, TT_SV("}}"));
}

#define SIDE_FLAGS(X) X(on) X(raised)
#define SIDE_TIMES(X) X(changed_at) X(clear_since)

static void put_sides(const tt_loop *l, tt_time now, tt_buf *b) {
    tt_buf_put(b, TT_SV(",\"sides\":{"));
    bool first = true;
    for (int k = 0; k < TT_SIDES; k++) {
        const tt_side *d = &l->sides[k];
        if (!d->on && !d->needed_samples && !d->hold_ns && !d->changed_at.ns && !d->clear_since.ns && !d->name[0]) continue;
        tt_buf_printf(b, "%s\"%s\":{\"needed_samples\":%u,\"hold_ns\":%lld", first ? "" : ",", tt_side_name(k),
                      d->needed_samples, (long long)d->hold_ns);
        first = false;
        tt_buf_member(b, "service", tt_sv_of(d->service));
        tt_buf_member(b, "name", tt_sv_of(d->name));
        tt_buf_member_number(b, "value", d->value);
#define X(f) tt_buf_printf(b, ",\"%s\":%s", #f, d->f ? "true" : "false");
        SIDE_FLAGS(X)
#undef X
#define X(f) tt_buf_member_age(b, #f, d->f, now);
        SIDE_TIMES(X)
#undef X
        tt_buf_put(b, TT_SV("}"));
    }
    tt_buf_put(b, TT_SV("}"));
}

static void put_loop(const tt_loop *l, tt_time now, tt_buf *b) {
    tt_buf_put(b, TT_SV("{\"target\":"));
    tt_target_json(&l->target, b);
    tt_buf_member(b, "phase", tt_sv_of(tt_phase_name(l->phase)));
    if (l->ended) tt_buf_member(b, "ended", tt_sv_of(l->ended));
#define X(f) tt_buf_member(b, #f, tt_sv_of(l->f));
    LOOP_TEXTS(X)
#undef X
#define X(f) tt_buf_printf(b, ",\"%s\":%u", #f, l->f);
    LOOP_COUNTS(X)
#undef X
#define X(f) tt_buf_printf(b, ",\"%s\":%s", #f, l->f ? "true" : "false");
    LOOP_FLAGS(X)
#undef X
#define X(f) tt_buf_member_age(b, #f, l->f, now);
    LOOP_TIMES(X)
#undef X
#define X(f) tt_buf_printf(b, ",\"%s_ms\":%lld", #f, (long long)l->f.ms);
    LOOP_WALLS(X)
#undef X
    put_sides(l, now, b);
    tt_buf_printf(b, ",\"hold_ns\":%lld", (long long)l->hold_ns);
    tt_buf_member_number(b, "eject_share", l->eject_share);
    for (uint32_t i = 0; i < l->n_not_chosen; i++) {
        tt_buf_put(b, i ? TT_SV(",{\"plan\":") : TT_SV(",\"not_chosen\":[{\"plan\":"));
        tt_buf_json_string(b, tt_sv_of(l->not_chosen[i].plan));
        tt_buf_put(b, TT_SV(",\"target\":"));
        tt_target_json(&l->not_chosen[i].target, b);
        tt_buf_member(b, "why", tt_sv_of(l->not_chosen[i].why));
        tt_buf_put(b, TT_SV("}"));
    }
    tt_buf_put(b, l->n_not_chosen ? TT_SV("]}") : TT_SV("}"));
}

static void put_record(const tt_record *r, tt_buf *b) {
    tt_buf_put(b, TT_SV("{\"plan\":"));
    tt_buf_json_string(b, tt_sv_of(r->plan));
    tt_buf_printf(b, ",\"terms_hash\":%u,\"since_ms\":%lld,\"last_ms\":%lld", r->terms_hash, (long long)r->since.ms, (long long)r->last.ms);
#define X(f) tt_buf_printf(b, ",\"%s\":%u", #f, r->f);
    TT_RECORD_COUNTS(X)
#undef X
    tt_buf_put(b, TT_SV("}"));
}

/* The points of its steps are in the journal; what is kept is what has to be undone, and what people ask for. */
static void put_pin(const tt_pin *p, tt_time now, tt_buf *b) {
    tt_buf_put(b, TT_SV("{\"target\":"));
    tt_target_json(&p->spec.target, b);
    tt_buf_member(b, "id", tt_sv_of(p->id));
    tt_buf_member(b, "kind", tt_sv_of(tt_pin_kind_name(p->spec.kind)));
    tt_buf_member(b, "name", tt_sv_of(p->spec.name));
    tt_buf_member_number(b, "value", p->spec.value);
    tt_buf_printf(b, ",\"off\":%s,\"for_ns\":%lld,\"since_ms\":%lld", isnan(p->spec.value) ? "true" : "false", (long long)p->spec.for_ns, (long long)p->since.ms);
    tt_buf_member_age(b, "expires_at", p->expires_at, now);
    tt_buf_member(b, "actor", tt_sv_of(p->actor));
    tt_buf_member(b, "reason", tt_sv_of(p->reason));
    tt_buf_put(b, TT_SV(",\"shares\":{"));
    for (uint32_t i = 0; i < p->spec.n_dcs; i++) {
        if (i) tt_buf_put(b, TT_SV(","));
        tt_buf_json_string(b, tt_sv_of(p->spec.dcs[i]));
        tt_buf_put(b, TT_SV(":"));
        tt_buf_number(b, p->spec.shares[i]);
    }
    tt_buf_put(b, TT_SV("}}"));
}

static void put_test(const tt_load_test *t, tt_time now, tt_buf *b) {
    tt_buf_printf(b, "{\"phase\":%d,\"hold_ns\":%lld", (int)t->phase, (long long)t->spec.hold_ns);
    tt_buf_member_age(b, "started_at", t->started_at, now);
#define X(f) tt_buf_member(b, #f, tt_sv_of(t->f));
    TEST_TEXTS(X)
#undef X
#define X(f) tt_buf_member_number(b, #f, t->f);
    TEST_NUMBERS(X)
#undef X
#define X(f) tt_buf_printf(b, ",\"%s_ms\":%lld", #f, (long long)t->f.ms);
    TEST_WALLS(X)
#undef X
    tt_buf_put(b, TT_SV("}"));
}

void tt_engine_save(const tt_engine *e, tt_time now, tt_buf *b) {
    tt_buf_printf(b, "{\"format\":1,\"version\":%llu,\"loop_counter\":%llu,\"frozen\":", (unsigned long long)e->version, (unsigned long long)e->loop_counter);
    if (e->frozen) {
        tt_buf_printf(b, "{\"since_ms\":%lld", (long long)e->frozen_since.ms);
        tt_buf_member(b, "by", tt_sv_of(e->frozen_by));
        tt_buf_member(b, "reason", tt_sv_of(e->frozen_reason));
        tt_buf_put(b, TT_SV("}"));
    } else
        tt_buf_put(b, TT_SV("null"));
    tt_buf_put(b, TT_SV(",\"sites\":["));
    for (uint32_t i = 0; i < e->n_sites; i++) {
        if (i) tt_buf_put(b, TT_SV(","));
        put_site(e, &e->sites[i], now, b);
    }
    tt_buf_put(b, TT_SV("],\"groups\":["));
    bool first = true;
    for (uint32_t i = 0; i < e->rules->n_services; i++) {
        const tt_group *g = &e->groups[i];
        if (!g->weights && g->change_spent <= 0) continue;
        tt_buf_put(b, first ? TT_SV("{\"service\":") : TT_SV(",{\"service\":"));
        first = false;
        tt_buf_json_string(b, e->rules->services[i].name);
        tt_buf_member(b, "loop", tt_sv_of(loop_id(e, g->loop)));
        tt_buf_member_age(b, "commanded_at", g->commanded_at, now);
        tt_buf_member_age(b, "change_at", g->change_at, now);
        tt_buf_member_number(b, "change_spent", g->change_spent);
        tt_buf_put(b, TT_SV(",\"share\":{"));
        for (uint32_t k = 0; g->weights && k < g->n_sites; k++) {
            if (k) tt_buf_put(b, TT_SV(","));
            tt_buf_json_string(b, tt_sv_of(tt_dc_cname(e, &e->sites[g->first_site + k])));
            tt_buf_put(b, TT_SV(":"));
            tt_buf_number(b, g->share[k]);
        }
        tt_buf_put(b, TT_SV("}}"));
    }
    tt_buf_put(b, TT_SV("],\"loops\":["));
    first = true;
    for (uint32_t i = 0; i < e->n_loops; i++) {
        if (!e->loops[i].used) continue;
        if (!first) tt_buf_put(b, TT_SV(","));
        first = false;
        put_loop(&e->loops[i], now, b);
    }
    tt_buf_put(b, TT_SV("],\"records\":["));
    for (uint32_t i = 0; i < e->n_records; i++) {
        if (i) tt_buf_put(b, TT_SV(","));
        put_record(&e->records[i], b);
    }
    tt_buf_put(b, TT_SV("],\"pins\":["));
    for (uint32_t i = 0; i < e->n_pins; i++) {
        if (i) tt_buf_put(b, TT_SV(","));
        put_pin(&e->pins[i], now, b);
    }
    tt_buf_put(b, TT_SV("],\"load_tests\":["));
    for (uint32_t i = 0; i < e->n_tests; i++) {
        if (i) tt_buf_put(b, TT_SV(","));
        put_test(&e->tests[i], now, b);
    }
    tt_buf_put(b, TT_SV("]"));
    tt_memory_save(e, now, b);
    tt_buf_put(b, TT_SV("}"));
}

/* ---- reading ---- */

static double number(const tt_doc *d, const char *key) {
    const tt_doc *v = tt_doc_get(d, tt_sv_of(key));
    double x = 0;
    if (v && v->kind == TT_DOC_SCALAR) (void)tt_parse_number(v->text, &x);
    return x;
}

/* Integers beyond what a double holds exactly: versions, ages in nanoseconds. */
static int64_t whole(tt_sv s) {
    bool minus = s.n && s.p[0] == '-';
    int64_t x = 0;
    for (size_t i = minus; i < s.n && i < 20; i++) {
        char c = s.p[i];
        if (c < '0' || c > '9' || __builtin_mul_overflow(x, 10, &x) || __builtin_add_overflow(x, c - '0', &x)) return 0;
    }
    return minus ? -x : x;
}

static int64_t integer(const tt_doc *d, const char *key) {
    const tt_doc *v = tt_doc_get(d, tt_sv_of(key));
    return v && v->kind == TT_DOC_SCALAR ? whole(v->text) : 0;
}

static bool flag(const tt_doc *d, const char *key) {
    const tt_doc *v = tt_doc_get(d, tt_sv_of(key));
    return v && v->kind == TT_DOC_SCALAR && tt_sv_eq(v->text, TT_SV("true"));
}

static tt_sv text(const tt_doc *d, const char *key) {
    const tt_doc *v = tt_doc_get(d, tt_sv_of(key));
    return v && v->kind == TT_DOC_SCALAR ? v->text : (tt_sv){NULL, 0};
}

static tt_time instant(const tt_doc *d, const char *key, tt_time now) {
    const tt_doc *v = tt_doc_get(d, tt_sv_of(key));
    if (!v || v->kind != TT_DOC_SCALAR || tt_sv_eq(v->text, TT_SV("null"))) return (tt_time){0};
    return (tt_time){now.ns - integer(d, key)};
}

static int32_t loop_by_id(const tt_engine *e, tt_sv id) {
    tt_loop *l = id.n ? tt_loop_find(e, id) : NULL;
    return l ? (int32_t)(l - e->loops) : -1;
}

static void get_target(const tt_doc *d, tt_target *t) {
    const tt_doc *from = tt_doc_get(d, TT_SV("target"));
    tt_copy_text(t->service, TT_NAME_MAX, text(from, "service"));
    tt_copy_text(t->dc, TT_NAME_MAX, text(from, "dc"));
    tt_copy_text(t->instance, TT_NAME_MAX, text(from, "instance"));
}

static void get_not_chosen(tt_loop *l, const tt_doc *list) {
    if (!list || list->kind != TT_DOC_SEQ || list->n == 0) return;
    size_t n = list->n < TT_NOT_CHOSEN_MAX ? list->n : TT_NOT_CHOSEN_MAX;
    l->not_chosen = calloc(n, sizeof *l->not_chosen);
    for (size_t i = 0; l->not_chosen && i < n; i++) {
        tt_not_chosen *c = &l->not_chosen[l->n_not_chosen++];
        tt_copy_text(c->plan, sizeof c->plan, text(&list->items[i], "plan"));
        get_target(&list->items[i], &c->target);
        tt_copy_text(c->why, sizeof c->why, text(&list->items[i], "why"));
    }
}

static void get_pin(tt_engine *e, const tt_doc *d, tt_time now) {
    if (e->n_pins == TT_PINS_MAX || !text(d, "id").n) return;
    tt_pin *p = &e->pins[e->n_pins];
    memset(p, 0, sizeof *p);
    get_target(d, &p->spec.target);
    if (!tt_pin_kind(text(d, "kind"), &p->spec.kind)) return;
    tt_copy_text(p->id, sizeof p->id, text(d, "id"));
    tt_copy_text(p->spec.name, sizeof p->spec.name, text(d, "name"));
    tt_copy_text(p->actor, sizeof p->actor, text(d, "actor"));
    tt_copy_text(p->reason, sizeof p->reason, text(d, "reason"));
    p->spec.value = flag(d, "off") ? (double)NAN : number(d, "value");
    p->spec.for_ns = integer(d, "for_ns");
    p->since.ms = integer(d, "since_ms");
    p->expires_at = instant(d, "expires_at", now);
    const tt_doc *shares = tt_doc_get(d, TT_SV("shares"));
    for (size_t i = 0; shares && shares->kind == TT_DOC_MAP && i < shares->n && i < TT_DECISION_DCS_MAX; i++) {
        tt_copy_text(p->spec.dcs[i], TT_NAME_MAX, shares->keys[i].text);
        (void)tt_parse_number(shares->items[i].text, &p->spec.shares[i]);
        p->spec.n_dcs++;
    }
    tt_err err;
    if (tt_engine_pin_check(e, &p->spec, &err)) e->n_pins++; /* under rules that are others by now it may make no sense */
}

static void get_record(tt_engine *e, const tt_doc *d) {
    tt_sv plan = text(d, "plan");
    tt_record *r = plan.n ? tt_record_add(e, plan, (uint32_t)integer(d, "terms_hash")) : NULL;
    if (!r) return;
    r->since.ms = integer(d, "since_ms");
    r->last.ms = integer(d, "last_ms");
#define X(f) r->f = (uint32_t)integer(d, #f);
    TT_RECORD_COUNTS(X)
#undef X
}

static void get_sides(tt_loop *l, const tt_doc *sides, tt_time now) {
    for (int k = 0; k < TT_SIDES; k++) {
        const tt_doc *d = tt_doc_get(sides, tt_sv_of(tt_side_name(k)));
        tt_side *to = &l->sides[k];
        if (!d) continue;
        to->needed_samples = (uint32_t)integer(d, "needed_samples");
        to->hold_ns = integer(d, "hold_ns");
        to->value = number(d, "value");
        tt_copy_text(to->service, sizeof to->service, text(d, "service"));
        tt_copy_text(to->name, sizeof to->name, text(d, "name"));
#define X(f) to->f = flag(d, #f);
        SIDE_FLAGS(X)
#undef X
#define X(f) to->f = instant(d, #f, now);
        SIDE_TIMES(X)
#undef X
    }
}

/* Entered the other way round than they were told, so that they stand as they stood. */
static void get_callers(tt_engine *e, tt_site *s, const tt_doc *callers, tt_time now) {
    for (size_t i = callers && callers->kind == TT_DOC_MAP ? callers->n : 0; i-- > 0;) {
        const tt_doc *v = &callers->items[i];
        tt_caller *c = v->kind == TT_DOC_SEQ && v->n == 2 ? tt_site_caller(e, s, callers->keys[i].text) : NULL;
        if (!c) continue;
        (void)tt_parse_number(v->items[0].text, &c->base_rps);
        c->at.ns = now.ns - whole(v->items[1].text);
    }
}

static bool get_loop(tt_engine *e, const tt_doc *d, tt_time now) {
    if (e->n_loops == e->cfg.max_loops + e->cfg.max_closed) return false;
    tt_loop *l = &e->loops[e->n_loops];
    memset(l, 0, sizeof *l);
    get_target(d, &l->target);
    int phase = -1;
    for (int i = 0; i < TT_PHASE_COUNT; i++)
        if (tt_sv_eq(text(d, "phase"), tt_sv_of(tt_phase_name((tt_phase)i)))) phase = i;
    if (phase < 0) return false;
    l->phase = (tt_phase)phase;
    for (size_t i = 0; i < TT_COUNT(ended_names); i++)
        if (tt_sv_eq(text(d, "ended"), tt_sv_of(ended_names[i]))) l->ended = ended_names[i];
#define X(f) tt_copy_text(l->f, sizeof l->f, text(d, #f));
    LOOP_TEXTS(X)
#undef X
#define X(f) l->f = (uint32_t)integer(d, #f);
    LOOP_COUNTS(X)
#undef X
#define X(f) l->f = flag(d, #f);
    LOOP_FLAGS(X)
#undef X
#define X(f) l->f = instant(d, #f, now);
    LOOP_TIMES(X)
#undef X
#define X(f) l->f.ms = integer(d, #f "_ms");
    LOOP_WALLS(X)
#undef X
    l->hold_ns = integer(d, "hold_ns");
    get_sides(l, tt_doc_get(d, TT_SV("sides")), now);
    for (size_t k = 0; k < e->rules->n_plans; k++)
        if (tt_sv_eq(e->rules->plans[k].name, tt_sv_of(l->plan_name)) && e->rules->plans[k].hash == l->plan_hash) l->plan = &e->rules->plans[k];
    l->eject_share = number(d, "eject_share");
    get_not_chosen(l, tt_doc_get(d, TT_SV("not_chosen")));
    l->used = true;
    e->n_loops++;
    return true;
}

static void get_site(tt_engine *e, const tt_doc *d, tt_time now) {
    char service[TT_NAME_MAX], dc[TT_NAME_MAX];
    tt_copy_text(service, sizeof service, text(d, "service"));
    tt_copy_text(dc, sizeof dc, text(d, "dc"));
    tt_site *s = tt_site_of(e, service, dc);
    if (!s) return;
    s->loop = loop_by_id(e, text(d, "loop"));
    tt_copy_text(s->feature, sizeof s->feature, text(d, "feature"));
    tt_copy_text(s->feature_service, sizeof s->feature_service, text(d, "feature_service"));
#define X(f) s->f = number(d, #f);
    SITE_NUMBERS(X)
#undef X
#define X(f) s->f = (uint32_t)integer(d, #f);
    SITE_COUNTS(X)
#undef X
#define X(f) s->f = flag(d, #f);
    SITE_FLAGS(X)
#undef X
#define X(f) s->f = instant(d, #f, now);
    SITE_TIMES(X)
#undef X
    s->hold_ns = integer(d, "hold_ns");
    const tt_doc *known = tt_doc_get(d, TT_SV("capacity"));
    for (int k = 0; k < TT_CAPACITY_COUNT; k++) {
        const tt_doc *c = tt_doc_get(known, tt_sv_of(tt_capacity_source_name((tt_capacity_source)k)));
        if (!c) continue;
        s->capacity[k] = (tt_capacity){number(c, "rps"), number(c, "confidence"), number(c, "spread"), instant(c, "at", now), (uint32_t)integer(c, "samples")};
    }
    const tt_doc *drop = tt_doc_get(d, TT_SV("drop")), *below = tt_doc_get(d, TT_SV("below"));
    for (size_t p = 0; p < e->rules->n_priorities; p++) s->drop[p] = number(drop, e->rules->priorities[p].p);
    for (uint32_t c = 0; c < s->n_closure; c++) {
        const tt_doc *b = tt_doc_get(below, tt_sv_of(tt_service_cname(e, s->closure[c])));
        if (!b || b->kind != TT_DOC_SEQ || b->n < 3) continue;
        (void)tt_parse_number(b->items[0].text, &s->flow_base[c]);
        (void)tt_parse_number(b->items[1].text, &s->calls_per[c]);
        (void)tt_parse_number(b->items[2].text, &s->latency_dep_base[c]);
        if (b->n > 3) (void)tt_parse_number(b->items[3].text, &s->latency_p99_base[c]);
    }
    get_callers(e, s, tt_doc_get(d, TT_SV("callers")), now);
    /* What was told to the mesh is told again under the new epoch; until that is acknowledged nothing is judged. */
    s->commanded_version = 0;
    if (s->acted) {
        s->acknowledged = false;
        s->commanded_at = now;
    }
}

static void get_group(tt_engine *e, const tt_doc *d, tt_time now) {
    int k = tt_rules_service(e->rules, text(d, "service"));
    if (k < 0) return;
    tt_group *g = &e->groups[k];
    const tt_doc *share = tt_doc_get(d, TT_SV("share"));
    double sum = 0;
    for (uint32_t i = 0; i < g->n_sites; i++) {
        g->share[i] = number(share, tt_dc_cname(e, &e->sites[g->first_site + i]));
        sum += g->share[i];
    }
    /* Data centers that came or went in the meantime leave shares that don't add up: home is safer than a guess. */
    g->weights = sum > 0.999 && sum < 1.001;
    g->loop = loop_by_id(e, text(d, "loop"));
    if (g->loop < 0 && !tt_load_test_of(e, (uint32_t)k)) g->weights = false; /* nobody is there who would ever take them back */
    g->commanded_at = instant(d, "commanded_at", now);
    g->change_at = instant(d, "change_at", now);
    g->change_spent = number(d, "change_spent");
}

static const char *known_text(const char *const of[], size_t n, tt_sv word) {
    for (size_t i = 0; i < n; i++)
        if (tt_sv_eq(tt_sv_of(of[i]), word)) return of[i];
    return "";
}

static void get_test(tt_engine *e, const tt_doc *d, tt_time now) {
    if (e->n_tests == TT_TESTS_MAX) return;
    tt_load_test *t = &e->tests[e->n_tests++];
    memset(t, 0, sizeof *t);
    tt_copy_text(t->id, sizeof t->id, text(d, "id"));
    tt_copy_text(t->service, sizeof t->service, text(d, "service"));
    tt_copy_text(t->dc, sizeof t->dc, text(d, "dc"));
    tt_copy_text(t->actor, sizeof t->actor, text(d, "actor"));
    tt_copy_text(t->reason, sizeof t->reason, text(d, "reason"));
    tt_copy_text(t->why, sizeof t->why, text(d, "why"));
    t->outcome = known_text(outcomes, TT_COUNT(outcomes), text(d, "outcome"));
    t->knee = known_text(knees, TT_COUNT(knees), text(d, "knee"));
#define X(f) t->f = number(d, #f);
    TEST_NUMBERS(X)
#undef X
#define X(f) t->f.ms = integer(d, #f "_ms");
    TEST_WALLS(X)
#undef X
    t->spec.hold_ns = integer(d, "hold_ns");
    int64_t phase = integer(d, "phase");
    t->phase = TT_TEST_OVER;
    t->phase = phase >= 0 && phase < TT_TEST_OVER && !tt_load_test_active(e) ? (tt_load_test_phase)phase : TT_TEST_OVER;
    t->started_at = instant(d, "started_at", now);
    t->phase_at = t->commanded_at = t->seen_at = now;
    /* Whoever watched it may be gone, and what happened meanwhile was not seen. */
    if (t->phase != TT_TEST_OVER) snprintf(t->abort_why, sizeof t->abort_why, "trimtab was started again in the middle of it");
}

bool tt_engine_restore(tt_engine *e, const tt_doc *saved, tt_time now, tt_err *err) {
    if (!saved || saved->kind != TT_DOC_MAP || integer(saved, "format") != 1)
        return saved ? tt_doc_fail(err, TT_EVALUE, saved, "not a saved engine state of format 1") : tt_fail(err, TT_EVALUE, "not a saved engine state");
    const tt_doc *loops = tt_doc_get(saved, TT_SV("loops")), *sites = tt_doc_get(saved, TT_SV("sites")), *groups = tt_doc_get(saved, TT_SV("groups"));
    if (!loops || loops->kind != TT_DOC_SEQ || !sites || sites->kind != TT_DOC_SEQ || !groups || groups->kind != TT_DOC_SEQ)
        return tt_doc_fail(err, TT_EVALUE, saved, "a saved engine state holds the lists loops, sites and groups");
    for (size_t i = 0; i < loops->n; i++)
        if (!get_loop(e, &loops->items[i], now)) {
            tt_loops_forget(e);
            return tt_doc_fail(err, TT_EVALUE, &loops->items[i], "this loop can't be read back");
        }
    if (!tt_loops_restored(e)) {
        tt_loops_forget(e);
        return tt_fail(err, TT_ENOMEM, "memory is out");
    }
    for (size_t i = 0; i < sites->n; i++) get_site(e, &sites->items[i], now);
    const tt_doc *tests = tt_doc_get(saved, TT_SV("load_tests"));
    for (size_t i = 0; tests && tests->kind == TT_DOC_SEQ && i < tests->n; i++) get_test(e, &tests->items[i], now);
    for (size_t i = 0; i < groups->n; i++) get_group(e, &groups->items[i], now);
    const tt_doc *pins = tt_doc_get(saved, TT_SV("pins"));
    for (size_t i = 0; pins && pins->kind == TT_DOC_SEQ && i < pins->n; i++) get_pin(e, &pins->items[i], now);
    const tt_doc *records = tt_doc_get(saved, TT_SV("records"));
    for (size_t i = 0; records && records->kind == TT_DOC_SEQ && i < records->n; i++) get_record(e, &records->items[i]);
    e->version = (uint64_t)integer(saved, "version");
    e->loop_counter = (uint64_t)integer(saved, "loop_counter");
    const tt_doc *f = tt_doc_get(saved, TT_SV("frozen"));
    if (f && f->kind == TT_DOC_MAP) {
        e->frozen = true;
        e->frozen_since.ms = integer(f, "since_ms");
        tt_copy_text(e->frozen_by, sizeof e->frozen_by, text(f, "by"));
        tt_copy_text(e->frozen_reason, sizeof e->frozen_reason, text(f, "reason"));
    }
    tt_memory_restore(e, saved, now);
    e->reissue = true;
    tt_loops_gather(e);
    return true;
}
