/* The past, asked for in windows: every step comes once, in order, with what was there and nothing else, however the server behaves meanwhile. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <curl/curl.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>

#include "clock.h"
#include "source/history.h"

enum { FROM = 1790000000, STEP = 15, SIGNALS = 4 };

typedef struct {
    struct evhttp_request *req;
    struct event *timer;
} held;

typedef struct {
    tt_runloop *loop;
    struct evhttp *http;
    uint16_t port;
    tt_timer *limit;
    tt_history *history;
    unsigned asked, at_once, at_once_max, busy, most_points, longest;
    held held[64];
    /* what was told */
    int64_t next_ms;
    unsigned steps, polls[SIGNALS], values[SIGNALS], nans[SIGNALS], refused[SIGNALS], began, ceased;
    int64_t began_ms, ceased_ms;
    char alert_labels[256];
    bool wrong, ended, failed;
    tt_err err;
    char trouble[400];
} world;

static double of_form(const char *form, const char *name) {
    const char *at = strstr(form, name);
    assert_non_null(at);
    return strtod(at + strlen(name), NULL);
}

/* The value at a time: the index of its step. */
static double index_of(double at) {
    return (at - FROM) / STEP;
}

/* ---- the server ---- */

static void put_series(struct evbuffer *out, bool *any, const char *metric, const char *query, double start, double end, double step, int which) {
    bool first = true;
    evbuffer_add_printf(out, "%s{\"metric\":{%s},\"values\":[", *any ? "," : "", metric);
    *any = true;
    for (double at = start; at <= end + 1e-6; at += step) {
        int k = (int)(index_of(at) + 0.5);
        const char *value = NULL;
        if (strstr(query, "gappy")) {
            if (k % 10 == 3) continue; /* absent */
            if (k % 10 == 4) value = "NaN";
        }
        if (strstr(query, "alike") && (which ? k < 20 : k > 22)) continue; /* both in 20, 21 and 22 */
        if (strstr(query, "ALERTS") && (k < 30 || k >= 50)) continue;
        if (strstr(query, "ALERTS")) value = "1";
        evbuffer_add_printf(out, "%s[%.3f,\"", first ? "" : ",", at);
        first = false;
        if (value)
            evbuffer_add_printf(out, "%s\"]", value);
        else
            evbuffer_add_printf(out, "%d\"]", k);
    }
    evbuffer_add_printf(out, "]}");
}

static void answer(world *w, struct evhttp_request *req) {
    struct evbuffer *in = evhttp_request_get_input_buffer(req), *out = evbuffer_new();
    char form[1024];
    size_t n = evbuffer_get_length(in);
    assert_true(n < sizeof form);
    evbuffer_copyout(in, form, n);
    form[n] = 0;
    double start = of_form(form, "start="), end = of_form(form, "end="), step = of_form(form, "step=");
    unsigned points = (unsigned)((end - start) / step + 1.5);
    if (points > w->longest) w->longest = points;
    if (strstr(form, "query=wrong")) {
        evbuffer_add_printf(out, "{\"status\":\"error\",\"errorType\":\"bad_data\",\"error\":\"1:3: parse error\"}");
        evhttp_send_reply(req, 400, NULL, out);
    } else if (w->busy) {
        w->busy--;
        if (w->busy % 2) evhttp_add_header(evhttp_request_get_output_headers(req), "Retry-After", "1");
        evbuffer_add_printf(out, "<html>too many requests</html>");
        evhttp_send_reply(req, w->busy % 2 ? 429 : 503, NULL, out);
    } else if (w->most_points && points > w->most_points) {
        evbuffer_add_printf(out, "{\"status\":\"error\",\"errorType\":\"execution\",\"error\":\"query processing would load too many samples into memory\"}");
        evhttp_send_reply(req, 422, NULL, out);
    } else {
        bool any = false;
        evbuffer_add_printf(out, "{\"status\":\"success\",\"data\":{\"resultType\":\"matrix\",\"result\":[");
        if (strstr(form, "alike")) {
            put_series(out, &any, "\"service\":\"front\",\"pod\":\"a\"", form, start, end, step, 0);
            put_series(out, &any, "\"service\":\"front\",\"pod\":\"b\"", form, start, end, step, 1);
        } else if (strstr(form, "ALERTS"))
            put_series(out, &any, "\"__name__\":\"ALERTS\",\"alertname\":\"High\",\"alertstate\":\"firing\",\"service\":\"front\",\"a\":\"1\"", form, start, end, step, 0);
        else if (!strstr(form, "query=nothing"))
            put_series(out, &any, "\"service\":\"front\"", form, start, end, step, 0);
        evbuffer_add_printf(out, "]}}");
        evhttp_send_reply(req, 200, NULL, out);
    }
    evbuffer_free(out);
}

static world *the_world;

static void on_due(evutil_socket_t fd, short what, void *ctx) {
    (void)fd, (void)what;
    held *h = ctx;
    struct evhttp_request *req = h->req;
    event_free(h->timer);
    *h = (held){0};
    the_world->at_once--;
    answer(the_world, req);
}

/* Answers a little later, so that what is asked at once is seen to be. */
static void serve(struct evhttp_request *req, void *ctx) {
    world *w = ctx;
    w->asked++;
    if (++w->at_once > w->at_once_max) w->at_once_max = w->at_once;
    for (size_t i = 0; i < TT_COUNT(w->held); i++) {
        if (w->held[i].req) continue;
        w->held[i].req = req;
        w->held[i].timer = event_new(tt_runloop_base(w->loop), -1, 0, on_due, &w->held[i]);
        event_add(w->held[i].timer, &(struct timeval){.tv_usec = 1000});
        return;
    }
    fail_msg("more requests than there is room for");
}

/* ---- what is told ---- */

static void on_step(void *ctx, const tt_history_step *s) {
    world *w = ctx;
    int k = (int)((s->at_ms - FROM * 1000LL) / (STEP * 1000));
    if (s->at_ms != w->next_ms || s->now.ns != TT_SECONDS(500) + TT_SECONDS((int64_t)k * STEP)) w->wrong = true;
    w->next_ms += STEP * 1000;
    w->steps++;
    for (size_t i = 0; i < s->n_polls; i++) {
        w->polls[s->polls[i].signal]++;
        w->refused[s->polls[i].signal] += !s->polls[i].answered;
    }
    for (size_t i = 0; i < s->n_measurements; i++) {
        const tt_measurement *m = &s->measurements[i];
        if (m->at.ns != s->now.ns || m->n_labels < 1) w->wrong = true;
        if (m->quality == TT_Q_NO_DATA) {
            w->nans[m->signal]++;
            continue;
        }
        w->values[m->signal]++;
        if (m->value != (double)k) w->wrong = true;
    }
    for (size_t i = 0; i < s->n_alerts; i++) {
        const tt_alert *a = &s->alerts[i];
        *(a->firing ? &w->began : &w->ceased) += 1;
        *(a->firing ? &w->began_ms : &w->ceased_ms) = s->at_ms;
        snprintf(w->alert_labels, sizeof w->alert_labels, "%.*s %.*s=%.*s %.*s=%.*s %zu", TT_SV_ARG(a->name), TT_SV_ARG(a->labels[0].name), TT_SV_ARG(a->labels[0].value),
                 TT_SV_ARG(a->labels[1].name), TT_SV_ARG(a->labels[1].value), a->n_labels);
    }
}

static void on_progress(void *ctx, const tt_history_progress *p) {
    world *w = ctx;
    if (p->trouble) snprintf(w->trouble, sizeof w->trouble, "%s", p->trouble);
}

static void on_end(void *ctx, const tt_err *err) {
    world *w = ctx;
    assert_false(w->ended);
    w->ended = true;
    w->failed = err != NULL;
    if (err) w->err = *err;
    tt_runloop_stop(w->loop);
}

static void too_long(void *ctx) {
    (void)ctx;
    fail_msg("it did not come to its end in time");
}

static int make(void **state) {
    static world w;
    tt_err err;
    memset(&w, 0, sizeof w);
    the_world = &w;
    w.loop = tt_runloop_new(&err);
    assert_non_null(w.loop);
    w.http = evhttp_new(tt_runloop_base(w.loop));
    struct evhttp_bound_socket *s = evhttp_bind_socket_with_handle(w.http, "127.0.0.1", 0);
    assert_non_null(s);
    struct sockaddr_in at;
    socklen_t len = sizeof at;
    getsockname(evhttp_bound_socket_get_fd(s), (struct sockaddr *)&at, &len);
    w.port = ntohs(at.sin_port);
    evhttp_set_gencb(w.http, serve, &w);
    w.limit = tt_timer_new(w.loop, too_long, &w);
    *state = &w;
    return 0;
}

static int unmake(void **state) {
    world *w = *state;
    tt_history_free(w->history);
    for (size_t i = 0; i < TT_COUNT(w->held); i++)
        if (w->held[i].timer) event_free(w->held[i].timer);
    evhttp_free(w->http);
    tt_timer_free(w->limit);
    tt_runloop_free(w->loop);
    return 0;
}

static tt_signal_def defs[SIGNALS];
static tt_anomaly_def anomaly;
static tt_rules rules = {.n_signals = SIGNALS, .signals = defs, .n_anomalies = 1, .anomalies = &anomaly};

static void four_signals(const char *first) {
    memset(defs, 0, sizeof defs);
    static const char *const queries[SIGNALS] = {NULL, "gappy", "gappy", "alike"};
    for (size_t i = 0; i < SIGNALS; i++) {
        defs[i] = (tt_signal_def){.query = tt_sv_of(i ? queries[i] : first), .every_ns = i == 2 ? TT_SECONDS(40) : TT_SECONDS(5), .pos = {"rules.yaml", 7, 5}};
        static const char *const names[SIGNALS] = {"a", "b", "c", "d"};
        defs[i].name = tt_sv_of(names[i]);
    }
    /* c is asked each 45 s: `every`, to the next step; d's two series are one for who reads `pod` away. */
    defs[3].n_renames = 1;
    defs[3].renames[0].to = TT_SV("pod");
    defs[3].renames[0].from = TT_SV("nothing");
    anomaly = (tt_anomaly_def){.kind = TT_ANOMALY_WHEN};
}

static void run(world *w, unsigned n_steps) {
    char url[64];
    snprintf(url, sizeof url, "http://user:secret@127.0.0.1:%u/", w->port);
    const tt_history_span span = {.from_ms = FROM * 1000LL, .to_ms = (FROM + STEP * (int64_t)(n_steps - 1)) * 1000, .step_ms = STEP * 1000, .base = {TT_SECONDS(500)}};
    const tt_history_told told = {w, on_step, on_progress, on_end};
    tt_err err;
    w->next_ms = span.from_ms;
    w->history = tt_history_new(w->loop, url, &rules, &span, &told, &err);
    assert_non_null(w->history);
    assert_null(strstr(tt_history_url(w->history), "secret"));
    tt_timer_after(w->limit, TT_SECONDS(30));
    tt_history_start(w->history);
    tt_runloop_run(w->loop);
    tt_timer_stop(w->limit);
    assert_true(w->ended);
}

static void all_there(const world *w, unsigned n) {
    if (w->failed) fail_msg("%s", w->err.text);
    assert_false(w->wrong);
    assert_int_equal(w->steps, n);
    assert_int_equal(w->polls[0], n);
    assert_int_equal(w->values[0], n);
    assert_int_equal(w->polls[1], n);
    assert_int_equal(w->nans[1], n / 10);
    assert_int_equal(w->values[1], n - 2 * (n / 10)); /* absent is neither */
    assert_int_equal(w->polls[2], (n + 2) / 3);
    assert_int_equal(w->refused[3], 3);
    assert_int_equal(w->values[3], n - 3);
}

static void each_step_once(void **state) {
    world *w = *state;
    four_signals("steady");
    run(w, 1000);
    all_there(w, 1000);
    assert_true(w->longest <= 500 && w->at_once_max <= 4 && w->at_once_max > 1);
    const tt_history_signal *b = tt_history_signal_of(w->history, 1), *d = tt_history_signal_of(w->history, 3);
    assert_int_equal(b->n_steps, 1000);
    assert_int_equal(b->n_steps_with, 800);
    assert_int_equal(b->n_nan, 100);
    assert_int_equal(d->n_series, 2);
    assert_int_equal(d->n_steps_refused, 3);
    assert_true(b->first_ms == FROM * 1000LL && b->last_ms == (FROM + 999LL * STEP) * 1000);
}

static void shorter_when_it_is_too_much(void **state) {
    world *w = *state;
    four_signals("steady");
    w->most_points = 7;
    run(w, 200);
    all_there(w, 200);
}

static void again_after_a_moment(void **state) {
    world *w = *state;
    four_signals("steady");
    rules.n_signals = 1; /* so that all of it befalls one query */
    w->busy = 1;
    run(w, 50);
    rules.n_signals = SIGNALS;
    assert_false(w->failed);
    assert_int_equal(w->values[0], 50);
    assert_non_null(strstr(w->trouble, "asked again in"));
}

static void gives_up(void **state) {
    world *w = *state;
    four_signals("steady");
    w->busy = 1000;
    run(w, 50);
    assert_true(w->failed);
    assert_int_equal(w->err.code, TT_EIO);
    assert_non_null(strstr(w->err.text, "gave no answer in 2 tries"));
    assert_int_equal(w->steps, 0);
}

static void a_wrong_query_is_named(void **state) {
    world *w = *state;
    four_signals("wrong{\n   x}");
    run(w, 50);
    assert_true(w->failed);
    assert_int_equal(w->err.code, TT_EVALUE);
    assert_string_equal(w->err.file, "rules.yaml");
    assert_int_equal(w->err.line, 7);
    assert_string_equal(w->err.text, "signal a: the query is refused: bad_data: 1:3: parse error; the query: wrong{ x}");
}

static void nothing_there(void **state) {
    world *w = *state;
    four_signals("nothing");
    run(w, 50);
    assert_false(w->failed);
    assert_int_equal(w->polls[0], 50);
    assert_int_equal(w->values[0], 0);
    assert_int_equal(tt_history_signal_of(w->history, 0)->n_steps_with, 0);
}

static void alerts_begin_and_end(void **state) {
    world *w = *state;
    four_signals("steady");
    anomaly.kind = TT_ANOMALY_ALERT;
    run(w, 100);
    all_there(w, 100);
    assert_true(tt_history_has_alerts(w->history));
    assert_int_equal(w->began, 1);
    assert_int_equal(w->ceased, 1);
    assert_true(w->began_ms == (FROM + 30LL * STEP) * 1000 && w->ceased_ms == (FROM + 50LL * STEP) * 1000);
    assert_string_equal(w->alert_labels, "High service=front a=1 2");
}

int main(void) {
    curl_global_init(CURL_GLOBAL_DEFAULT);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_step_once, make, unmake),
        cmocka_unit_test_setup_teardown(shorter_when_it_is_too_much, make, unmake),
        cmocka_unit_test_setup_teardown(again_after_a_moment, make, unmake),
        cmocka_unit_test_setup_teardown(gives_up, make, unmake),
        cmocka_unit_test_setup_teardown(a_wrong_query_is_named, make, unmake),
        cmocka_unit_test_setup_teardown(nothing_there, make, unmake),
        cmocka_unit_test_setup_teardown(alerts_begin_and_end, make, unmake),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    curl_global_cleanup();
    return failed;
}
