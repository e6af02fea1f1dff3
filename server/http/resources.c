/* GET: the engine, the board and the journal write their own documents; here they are only asked for them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/internal.h"

enum { ANSWER_MAX = 64 << 20, EVENTS_LIMIT = 100, EVENTS_LIMIT_MAX = 1000, LOOPS_LIMIT = 50, LOOPS_LIMIT_MAX = 500 };

void tt_get_status(tt_req *r) {
    tt_buf out;
    tt_buf_init(&out, ANSWER_MAX);
    tt_app_status_json(r->h->app, &out);
    tt_reply_json(r, 200, &out);
}

static bool is_ulid(tt_sv s) {
    if (s.n != TT_ULID_SIZE - 1) return false;
    for (size_t i = 0; i < s.n; i++)
        if (!((s.p[i] >= '0' && s.p[i] <= '9') || (s.p[i] >= 'A' && s.p[i] <= 'Z'))) return false;
    return true;
}

void tt_get_loops(tt_req *r) {
    tt_sv state = TT_SV("open"), cursor = {0};
    uint64_t limit = LOOPS_LIMIT;
    (void)tt_arg(r, "state", &state);
    tt_loops_filter filter = TT_LOOPS_OPEN;
    if (tt_sv_eq(state, TT_SV("closed")))
        filter = TT_LOOPS_CLOSED;
    else if (tt_sv_eq(state, TT_SV("all")))
        filter = TT_LOOPS_ALL;
    else if (!tt_sv_eq(state, TT_SV("open"))) {
        tt_reply_problem(r, 400, "state=%.*s: use open, closed or all", (int)(state.n < 40 ? state.n : 40), state.p);
        return;
    }
    if (tt_arg(r, "cursor", &cursor) && cursor.n && !is_ulid(cursor)) {
        tt_reply_problem(r, 400, "cursor=%.*s is not one: pass the `next` of the page before", (int)(cursor.n < 40 ? cursor.n : 40), cursor.p);
        return;
    }
    if (!tt_arg_u64(r, "limit", 1, LOOPS_LIMIT_MAX, &limit)) return;
    tt_buf out;
    tt_buf_init(&out, ANSWER_MAX);
    const tt_rules *rules;
    tt_engine *e = tt_app_lock(r->h->app, &rules);
    tt_engine_loops_json(e, filter, cursor, (size_t)limit, &out);
    tt_app_unlock(r->h->app);
    tt_reply_json(r, 200, &out);
}

static void no_such_loop(tt_req *r) {
    tt_reply_problem(r, 404,
                     "there is no loop %.*s: it never was, or it closed too long ago to be kept; GET /v1/loops?state=all lists those there are",
                     TT_SV_ARG(r->id));
}

void tt_get_loop(tt_req *r) {
    tt_buf out;
    tt_buf_init(&out, ANSWER_MAX);
    const tt_rules *rules;
    tt_engine *e = tt_app_lock(r->h->app, &rules);
    bool found = tt_engine_loop_json(e, r->id, &out);
    tt_app_unlock(r->h->app);
    if (found) {
        tt_reply_json(r, 200, &out);
        return;
    }
    tt_buf_free(&out);
    no_such_loop(r);
}

void tt_get_engine_list(tt_req *r) {
    tt_buf out;
    tt_buf_init(&out, ANSWER_MAX);
    const tt_rules *rules;
    tt_engine *e = tt_app_lock(r->h->app, &rules);
    switch (tt_req_route(r)->arg) {
    case LIST_PLANS:
        tt_engine_plans_json(e, &out);
        break;
    case LIST_SIGNALS:
        tt_engine_signals_json(e, &out);
        break;
    case LIST_ANOMALIES:
        tt_engine_anomalies_json(e, &out);
        break;
    default:
        tt_engine_capacity_json(e, &out);
        break;
    }
    tt_app_unlock(r->h->app);
    tt_reply_json(r, 200, &out);
}

void tt_get_agents(tt_req *r) {
    tt_buf out;
    tt_buf_init(&out, ANSWER_MAX);
    tt_board_agents_json(r->h->board, tt_app_wall_ms(r->h->app), (tt_time){tt_now_ns()}, &out);
    tt_reply_json(r, 200, &out);
}

/* --- the journal --- */

typedef struct {
    tt_buf out;
    size_t n, limit;
    uint64_t last;
    bool more;
} page;

static bool take_row(void *ctx, uint64_t seq, const tt_store_entry *e) {
    page *p = ctx;
    if (p->n == p->limit) {
        p->more = true;
        return false;
    }
    if (p->n++) tt_buf_put(&p->out, TT_SV(","));
    tt_event_from_row(&p->out, seq, e);
    p->last = seq;
    return true;
}

static void reply_page(tt_req *r, const char *loop) {
    uint64_t after = 0, limit = loop ? EVENTS_LIMIT_MAX : EVENTS_LIMIT;
    if (!tt_arg_u64(r, "after", 0, INT64_MAX, &after) || !tt_arg_u64(r, "limit", 1, EVENTS_LIMIT_MAX, &limit)) return;
    page p = {.limit = (size_t)limit};
    tt_buf_init(&p.out, ANSWER_MAX);
    tt_buf_put(&p.out, TT_SV("{\"items\":["));
    tt_err err;
    if (!tt_store_read(tt_app_store(r->h->app), after, (size_t)limit + 1, loop, take_row, &p, &err)) {
        tt_buf_free(&p.out);
        tt_reply_problem(r, 503, "the journal cannot be read: %s", err.text);
        return;
    }
    if (loop && p.n == 0 && after == 0) {
        const tt_rules *rules;
        tt_buf seen;
        tt_buf_init(&seen, ANSWER_MAX);
        bool known = tt_engine_loop_json(tt_app_lock(r->h->app, &rules), r->id, &seen);
        tt_app_unlock(r->h->app);
        tt_buf_free(&seen);
        if (!known) {
            tt_buf_free(&p.out);
            no_such_loop(r);
            return;
        }
    }
    if (p.more)
        tt_buf_printf(&p.out, "],\"next\":%llu}", (unsigned long long)p.last);
    else
        tt_buf_put(&p.out, TT_SV("],\"next\":null}"));
    tt_reply_json(r, 200, &p.out);
}

void tt_get_events(tt_req *r) {
    reply_page(r, NULL);
}

void tt_get_loop_events(tt_req *r) {
    char loop[TT_ULID_SIZE];
    snprintf(loop, sizeof loop, "%.*s", TT_SV_ARG(r->id));
    reply_page(r, loop);
}

/* --- for machines --- */

extern const char tt_openapi_json[]; /* embedded by embed.cmake */
extern const size_t tt_openapi_json_size;

void tt_get_openapi(tt_req *r) {
    tt_reply_static(r, "application/json", (tt_sv){tt_openapi_json, tt_openapi_json_size});
}

void tt_get_healthy(tt_req *r) {
    tt_reply_text(r, 200, "text/plain; charset=utf-8", TT_SV("trimtab is running\n"));
}

void tt_get_ready(tt_req *r) {
    tt_err err = {0};
    if (tt_app_ready(r->h->app, &err)) {
        tt_reply_text(r, 200, "text/plain; charset=utf-8", TT_SV("ready\n"));
        return;
    }
    char text[sizeof err.text + 16];
    int n = snprintf(text, sizeof text, "not ready: %s\n", err.text);
    tt_reply_text(r, 503, "text/plain; charset=utf-8", (tt_sv){text, n > 0 ? (size_t)n : 0});
}

static void put_pattern(tt_buf *out, const char *pattern) { /* no character of a pattern needs escaping */
    tt_buf_put(out, tt_sv_of(pattern));
}

void tt_get_metrics(tt_req *r) {
    tt_http *h = r->h;
    tt_buf out;
    tt_buf_init(&out, ANSWER_MAX);
    tt_app_metrics(h->app, &out);
    tt_buf_put(&out, TT_SV("# HELP trimtab_http_requests_total Requests answered, by route and status class.\n"
                           "# TYPE trimtab_http_requests_total counter\n"));
    for (size_t i = 0; i <= ROUTES_MAX; i++) {
        if (i >= tt_n_routes && i != ROUTES_MAX) continue;
        for (unsigned c = 0; c < 5; c++) {
            unsigned long long n = atomic_load(&h->requests[i][c]);
            if (n == 0) continue;
            tt_buf_put(&out, TT_SV("trimtab_http_requests_total{route=\""));
            put_pattern(&out, i == ROUTES_MAX ? "other" : tt_routes[i].pattern);
            tt_buf_printf(&out, "\",method=\"%s\",code=\"%uxx\"} %llu\n", i == ROUTES_MAX ? "any" : tt_routes[i].method, c + 1, n);
        }
    }
    pthread_mutex_lock(&h->lock);
    size_t waiting = h->n_waiting, streams = h->n_streams, jobs = h->n_jobs;
    pthread_mutex_unlock(&h->lock);
    tt_buf_printf(&out,
                  "# HELP trimtab_http_connections Open connections.\n# TYPE trimtab_http_connections gauge\ntrimtab_http_connections %llu\n"
                  "# HELP trimtab_http_waiting Blocking queries that wait.\n# TYPE trimtab_http_waiting gauge\ntrimtab_http_waiting %zu\n"
                  "# HELP trimtab_http_streams Open event streams.\n# TYPE trimtab_http_streams gauge\ntrimtab_http_streams %zu\n"
                  "# HELP trimtab_http_jobs Requests that wait for a worker.\n# TYPE trimtab_http_jobs gauge\ntrimtab_http_jobs %zu\n"
                  "# HELP trimtab_http_waits_expired_total Blocking queries answered because their time was over.\n"
                  "# TYPE trimtab_http_waits_expired_total counter\ntrimtab_http_waits_expired_total %llu\n"
                  "# HELP trimtab_http_streams_dropped_total Event streams ended because their reader was too slow.\n"
                  "# TYPE trimtab_http_streams_dropped_total counter\ntrimtab_http_streams_dropped_total %llu\n",
                  (unsigned long long)atomic_load(&h->connections), waiting, streams, jobs, (unsigned long long)atomic_load(&h->waits_expired),
                  (unsigned long long)atomic_load(&h->streams_dropped));
    if (out.failed) {
        tt_buf_free(&out);
        tt_reply_problem(r, 500, "out of memory");
        return;
    }
    tt_reply_text(r, 200, "text/plain; version=0.0.4; charset=utf-8", (tt_sv){out.p, out.n});
    tt_buf_free(&out);
}
