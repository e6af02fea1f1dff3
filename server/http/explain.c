/* Why: an event, a decision, or a loop's last move, with what the journal says around it and the rules that run. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "explain/explain.h"
#include "http/internal.h"

enum { BEFORE_MAX = 60, BEHIND_MAX = 60, OPENING_MAX = 12, LOOP_EVENTS_MAX = 2000, SEARCHED_MAX = 20000, SINCE_MAX = 2560 };

typedef struct {
    json_t *events; /* oldest first, each once */
    size_t most;
    bool failed;
} gathered;

static json_t *event_of(uint64_t seq, const tt_store_entry *e) {
    tt_buf text;
    tt_buf_init(&text, 1 << 20);
    tt_event_from_row(&text, seq, e);
    json_t *ev = text.failed ? NULL : json_loadb(text.p, text.n, 0, NULL);
    tt_buf_free(&text);
    return ev;
}

static json_int_t seq_of(const json_t *ev) {
    return json_integer_value(json_object_get(ev, "seq"));
}

/* Rows come in runs that overlap: each is put where it belongs. */
static bool take(void *ctx, uint64_t seq, const tt_store_entry *e) {
    gathered *g = ctx;
    json_t *ev = event_of(seq, e);
    if (!ev) return true; /* a body that is no event: a webhook may have sent anything */
    size_t at = json_array_size(g->events);
    while (at && seq_of(json_array_get(g->events, at - 1)) > (json_int_t)seq) at--;
    if (at && seq_of(json_array_get(g->events, at - 1)) == (json_int_t)seq)
        json_decref(ev);
    else
        g->failed = json_array_insert_new(g->events, at, ev) != 0 || g->failed;
    return json_array_size(g->events) < g->most;
}

static bool gather(tt_store *s, uint64_t seq, const char *loop, gathered *g, tt_err *err) {
    g->most = SIZE_MAX;
    if (*loop && !tt_store_read(s, 0, LOOP_EVENTS_MAX, loop, take, g, err)) return false;
    uint64_t opened = json_array_size(g->events) ? (uint64_t)seq_of(json_array_get(g->events, 0)) : seq;
    return tt_store_read(s, opened > OPENING_MAX ? opened - OPENING_MAX : 0, OPENING_MAX, NULL, take, g, err) &&
           tt_store_read(s, seq > BEFORE_MAX ? seq - BEFORE_MAX : 0, BEFORE_MAX + BEHIND_MAX, NULL, take, g, err);
}

static json_t *find(const json_t *events, uint64_t seq) {
    size_t i;
    json_t *ev;
    json_array_foreach((json_t *)(uintptr_t)events, i, ev) if (seq_of(ev) == (json_int_t)seq) return ev;
    return NULL;
}

typedef struct {
    uint64_t seq;
    size_t left;
    bool changed;
} since;

static bool look_since(void *ctx, uint64_t seq, const tt_store_entry *e) {
    since *s = ctx;
    static const char *const kinds[] = {"rules_changed", "started", "resumed"};
    if (seq <= s->seq) return false;
    for (size_t i = 0; i < TT_COUNT(kinds); i++) s->changed = s->changed || strcmp(e->kind, kinds[i]) == 0;
    return !s->changed && --s->left > 0;
}

/* What the engine still knows of a decision. */
static void look_at_decision(tt_engine *e, uint64_t version, json_t **ret_decision, json_t **ret_ack) {
    const tt_decision *d;
    size_t n = version ? tt_engine_decisions(e, &d) : 0;
    for (size_t i = 0; i < n; i++) {
        if (d[i].version != version) continue;
        tt_buf text;
        double share;
        tt_buf_init(&text, 1 << 20);
        tt_decision_json(&d[i], &text);
        *ret_decision = text.failed ? NULL : json_loadb(text.p, text.n, 0, NULL);
        tt_buf_free(&text);
        if (tt_engine_acknowledged(e, &d[i].target, &share))
            *ret_ack = json_pack("{s:f,s:n,s:b,s:s}", "share", share, "after_ms", "refused", 0, "reason", "");
        return;
    }
}

/* *ret_status: 200, or what went wrong, with *err. */
static json_t *explain(tt_req *r, uint64_t seq, const json_t *event, unsigned *ret_status, tt_err *err) {
    tt_store *store = tt_app_store(r->h->app);
    const char *loop = json_string_value(json_object_get(event, "loop"));
    gathered g = {.events = json_array()};
    since later = {.seq = seq, .left = SINCE_MAX};
    json_t *explained = NULL, *decision = NULL, *ack = NULL;
    *ret_status = 503;
    if (gather(store, seq, loop ? loop : "", &g, err) && tt_store_read_back(store, INT64_MAX, look_since, &later, err)) {
        const tt_rules *rules;
        tt_engine *e = tt_app_lock(r->h->app, &rules);
        look_at_decision(e, (uint64_t)json_integer_value(json_object_get(event, "version")), &decision, &ack);
        const tt_explain_of of = {.event = event,
                                  .around = g.events,
                                  .rules = rules,
                                  .texts = tt_app_rules_texts(r->h->app),
                                  .rules_changed = later.changed,
                                  .decision = decision,
                                  .acknowledged = ack};
        explained = tt_explain_json(&of);
        tt_app_unlock(r->h->app);
        *ret_status = explained ? 200 : 500;
        if (!explained) tt_fail(err, TT_ENOMEM, "out of memory");
    }
    json_decref(g.events);
    json_decref(decision);
    json_decref(ack);
    return explained;
}

static void reply(tt_req *r, json_t *o, unsigned status, const tt_err *err) {
    if (!o) {
        tt_reply_problem(r, status, "the journal cannot be read: %s", err->text);
        return;
    }
    tt_buf out;
    tt_buf_init(&out, 64 << 20);
    char *text = json_dumps(o, JSON_COMPACT);
    if (text) tt_buf_put(&out, tt_sv_of(text));
    free(text);
    tt_reply_json(r, 200, &out);
}

static bool number_of(tt_req *r, const char *what, uint64_t *ret) {
    uint64_t v = 0;
    bool ok = r->id.n > 0 && r->id.n < 20;
    for (size_t i = 0; ok && i < r->id.n; i++) {
        ok = r->id.p[i] >= '0' && r->id.p[i] <= '9' && !__builtin_mul_overflow(v, 10u, &v) &&
             !__builtin_add_overflow(v, (unsigned)(r->id.p[i] - '0'), &v);
    }
    ok = ok && v > 0 && v < INT64_MAX;
    if (ok)
        *ret = v;
    else
        tt_reply_problem(r, 400, "%.*s is no %s: that is a number above 0", TT_SV_ARG(r->id), what);
    return ok;
}

static void explain_event(tt_req *r, uint64_t seq) {
    tt_err err;
    unsigned status = 503;
    gathered g = {.events = json_array(), .most = 1};
    json_t *explained = NULL;
    bool ok = tt_store_read(tt_app_store(r->h->app), seq - 1, 1, NULL, take, &g, &err);
    const json_t *ev = ok ? find(g.events, seq) : NULL;
    if (ok && !ev)
        tt_reply_problem(r, 404, "there is no event %llu: GET /v1/events lists them", (unsigned long long)seq);
    else {
        if (ok) explained = explain(r, seq, ev, &status, &err);
        reply(r, explained, status, &err);
    }
    json_decref(explained);
    json_decref(g.events);
}

void tt_get_event_explain(tt_req *r) {
    uint64_t seq;
    if (number_of(r, "event", &seq)) explain_event(r, seq);
}

/* ---- by decision ---- */

typedef struct {
    uint64_t version, found_seq, found_version;
    json_t *target; /* of the decision, where the engine still knows it */
    size_t left;
} search;

/* Versions grow with the journal: the newest action of that version, or, for one that only repeats what was in force, the last before it. */
static bool look_for(void *ctx, uint64_t seq, const tt_store_entry *e) {
    search *s = ctx;
    if (--s->left == 0) return false;
    if (!memmem(e->body, e->body_len, "\"version\":", 10)) return true;
    json_t *ev = event_of(seq, e);
    uint64_t v = (uint64_t)json_integer_value(json_object_get(ev, "version"));
    bool hit = v == s->version || (v && v < s->version && s->target && json_equal(json_object_get(ev, "target"), s->target));
    if (hit) {
        s->found_seq = seq;
        s->found_version = v;
    }
    json_decref(ev);
    return !hit && !(v && v < s->version && !s->target);
}

void tt_get_decision_explain(tt_req *r) {
    search s = {.left = SEARCHED_MAX};
    json_t *decision = NULL, *ack = NULL;
    const tt_rules *rules;
    tt_err err;
    if (!number_of(r, "version", &s.version)) return;
    look_at_decision(tt_app_lock(r->h->app, &rules), s.version, &decision, &ack);
    tt_app_unlock(r->h->app);
    s.target = json_object_get(decision, "target");
    if (!tt_store_read_back(tt_app_store(r->h->app), INT64_MAX, look_for, &s, &err))
        reply(r, NULL, 503, &err);
    else if (!s.found_seq)
        tt_reply_problem(r, 404,
                         "no action in the newest %d events went out as version %llu: it may be older, or may repeat what was in force already; "
                         "`trimtab explain v%llu --journal DIR` looks through a recording",
                         SEARCHED_MAX, (unsigned long long)s.version, (unsigned long long)s.version);
    else
        explain_event(r, s.found_seq);
    json_decref(decision);
    json_decref(ack);
}

/* ---- by loop ---- */

void tt_get_loop_explain(tt_req *r) {
    char loop[TT_ULID_SIZE];
    tt_err err;
    unsigned status = 503;
    gathered g = {.events = json_array(), .most = SIZE_MAX};
    snprintf(loop, sizeof loop, "%.*s", TT_SV_ARG(r->id));
    bool ok = tt_store_read(tt_app_store(r->h->app), 0, LOOP_EVENTS_MAX, loop, take, &g, &err);
    size_t n = json_array_size(g.events);
    if (ok && n == 0) {
        tt_reply_problem(r, 404, "there is no loop %s in the journal: GET /v1/loops?state=all lists those there are", loop);
    } else {
        /* Its last move; a loop that never moved anything is explained by how it began. */
        json_t *chosen = NULL, *explained = NULL, *o = NULL;
        for (size_t i = n; i-- > 0 && !chosen;)
            if (strcmp(json_string_value(json_object_get(json_array_get(g.events, i), "kind")), "action") == 0) chosen = json_array_get(g.events, i);
        if (!chosen) chosen = json_array_get(g.events, 0);
        if (ok) explained = explain(r, (uint64_t)seq_of(chosen), chosen, &status, &err);
        if (explained) o = json_pack("{s:s,s:O,s:O}", "loop", loop, "events", g.events, "explained", explained);
        reply(r, o, status, &err);
        json_decref(o);
        json_decref(explained);
    }
    json_decref(g.events);
}
