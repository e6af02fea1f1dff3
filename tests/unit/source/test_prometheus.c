/* The source against an HTTP server that behaves and misbehaves on demand, both on one loop. */
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
#include "source/source.h"

#define GOOD                                                                                                                                         \
    "{\"status\":\"success\",\"data\":{\"resultType\":\"vector\",\"result\":[{\"metric\":{\"service\":\"front\"},\"value\":[1700000000,\"5\"]}]}}"
#define BAD "{\"status\":\"error\",\"errorType\":\"bad_data\",\"error\":\"1:3: parse error\"}"

typedef enum { GIVE, STALL, STALL_ONE, REFUSE, HTML, HUGE_BODY, CLOCK_BEHIND } manner;

typedef struct {
    tt_runloop *loop;
    struct evhttp *http;
    tt_source *source;
    uint16_t port;
    manner manner;
    unsigned asked, at_once, at_once_max;
    struct evhttp_request *held[64];
    size_t n_held;
    unsigned rounds, ups, downs;
    char reason[1200], about[128], form[512];
    unsigned stop_after_rounds;
    tt_timer *limit;
} world;

static void serve(struct evhttp_request *req, void *ctx) {
    world *w = ctx;
    w->asked++;
    struct evbuffer *in = evhttp_request_get_input_buffer(req), *out = evbuffer_new();
    size_t n = evbuffer_get_length(in);
    if (n >= sizeof w->form) n = sizeof w->form - 1;
    evbuffer_copyout(in, w->form, n);
    w->form[n] = 0;
    switch (w->manner) {
    case GIVE:
        evbuffer_add_printf(out, "%s", GOOD);
        evhttp_send_reply(req, 200, NULL, out);
        break;
    case CLOCK_BEHIND: /* by hours: its samples carry its own time */
        evhttp_add_header(evhttp_request_get_output_headers(req), "Date", "Tue, 14 Nov 2023 22:13:23 GMT");
        evbuffer_add_printf(out, "%s", GOOD);
        evhttp_send_reply(req, 200, NULL, out);
        break;
    case REFUSE:
        evbuffer_add_printf(out, "%s", BAD);
        evhttp_send_reply(req, 400, NULL, out);
        break;
    case HTML:
        evbuffer_add_printf(out, "<html>please log in</html>");
        evhttp_send_reply(req, 200, NULL, out);
        break;
    case HUGE_BODY:
        for (int i = 0; i < 33; i++) {
            static char mib[1 << 20];
            memset(mib, ' ', sizeof mib);
            evbuffer_add(out, mib, sizeof mib);
        }
        evhttp_send_reply(req, 200, NULL, out);
        break;
    case STALL_ONE:
        if (!strstr(w->form, "query=slow")) {
            evbuffer_add_printf(out, "%s", GOOD);
            evhttp_send_reply(req, 200, NULL, out);
            break;
        }
        /* fallthrough */
    case STALL:
        if (++w->at_once > w->at_once_max) w->at_once_max = w->at_once;
        assert_true(w->n_held < TT_COUNT(w->held));
        w->held[w->n_held++] = req;
        break;
    }
    evbuffer_free(out);
}

static void round_over(void *ctx) {
    world *w = ctx;
    w->rounds++;
    if (w->manner == STALL || w->manner == STALL_ONE) w->at_once = 0; /* the source gave up on all of them */
    if (w->rounds >= w->stop_after_rounds) tt_runloop_stop(w->loop);
}

static void changed(void *ctx, bool up, const char *signal, const char *reason) {
    world *w = ctx;
    *(up ? &w->ups : &w->downs) += 1;
    if (up) return;
    snprintf(w->about, sizeof w->about, "%s", signal);
    snprintf(w->reason, sizeof w->reason, "%s", reason);
}

static void too_long(void *ctx) {
    (void)ctx;
    fail_msg("the rounds did not come in time");
}

static int make(void **state) {
    static world w;
    tt_err err;
    memset(&w, 0, sizeof w);
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
    char url[64];
    snprintf(url, sizeof url, "http://user:secret@127.0.0.1:%u/", w.port);
    tt_source_told told = {&w, round_over, changed};
    w.source = tt_prometheus_new(w.loop, url, &told, &err);
    assert_non_null(w.source);
    *state = &w;
    return 0;
}

static int unmake(void **state) {
    world *w = *state;
    tt_source_free(w->source);
    if (w->http) evhttp_free(w->http);
    tt_timer_free(w->limit);
    tt_runloop_free(w->loop);
    return 0;
}

static void run_rounds(world *w, unsigned n) {
    w->stop_after_rounds = w->rounds + n;
    tt_timer_after(w->limit, TT_SECONDS(20));
    tt_runloop_run(w->loop);
    tt_timer_stop(w->limit);
}

static tt_signal_def defs[3];
static tt_rules rules = {.n_signals = 3, .signals = defs};

static void three_signals(int64_t every_ns) {
    memset(defs, 0, sizeof defs);
    defs[0] = (tt_signal_def){.name = TT_SV("a"), .query = TT_SV("up{x=\"1&2\"}"), .every_ns = every_ns};
    defs[1] = (tt_signal_def){.name = TT_SV("b"), .query = TT_SV("up{x=\"1&2\"}"), .every_ns = every_ns};
    defs[2] = (tt_signal_def){.name = TT_SV("c"), .reports = TT_SV("offered_rps"), .every_ns = every_ns};
}

static void shared_query(void **state) {
    world *w = *state;
    tt_err err;
    three_signals(TT_MS(50));
    assert_true(tt_source_set_rules(w->source, &rules, &err));
    run_rounds(w, 2);
    assert_int_equal(w->asked, 2); /* one query for two signals; none for what is reported */
    assert_string_equal(w->form, "timeout=1000ms&query=up%7Bx%3D%221%262%22%7D");
    tt_source_batch b;
    tt_source_take(w->source, &b);
    assert_int_equal(b.n_polls, 4);
    assert_int_equal(b.n_measurements, 4);
    assert_true(b.polls[0].answered && b.polls[0].signal == 0 && b.polls[1].signal == 1);
    assert_true(b.measurements[1].signal == 1 && b.measurements[1].value == 5 && tt_sv_eq(b.measurements[1].labels[0].value, TT_SV("front")));
    tt_source_release(w->source);
    tt_source_take(w->source, &b);
    assert_int_equal(b.n_polls, 0);
    assert_int_equal(w->ups, 1);
    tt_source_status st;
    tt_source_status_of(w->source, &st);
    assert_int_equal(st.state, TT_SOURCE_OK);
    assert_null(strstr(st.url, "secret"));
    assert_true(st.last_ok_ms > 0 && st.polls == 2 && st.failures == 0 && !*st.error);
}

static void ages_on_its_own_clock(void **state) {
    world *w = *state;
    tt_err err;
    three_signals(TT_MS(50));
    w->manner = CLOCK_BEHIND;
    assert_true(tt_source_set_rules(w->source, &rules, &err));
    run_rounds(w, 1);
    tt_source_batch b;
    tt_source_take(w->source, &b);
    assert_int_equal(b.n_measurements, 2);
    int64_t age_ns = tt_since(tt_clock_now(), b.measurements[0].at);
    assert_true(age_ns >= TT_SECONDS(3) && age_ns < TT_SECONDS(4));
}

static void misbehaves(void **state) {
    world *w = *state;
    static const struct {
        manner manner;
        unsigned downs;
        const char *about, *says;
        tt_source_state state;
    } cases[] = {
        {REFUSE, 1, "a", "1:3: parse error", TT_SOURCE_OK}, /* it is there; the query is wrong */
        {HTML, 1, "", "not JSON", TT_SOURCE_DOWN},
        {HUGE_BODY, 1, "", "larger than 32 MiB", TT_SOURCE_DOWN},
        {STALL, 1, "", "no whole answer within 1000 ms", TT_SOURCE_DOWN},
    };
    for (size_t i = 0; i < TT_COUNT(cases); i++) {
        tt_err err;
        w->manner = GIVE;
        three_signals(TT_MS(50));
        assert_true(tt_source_set_rules(w->source, &rules, &err));
        run_rounds(w, 1);
        w->ups = w->downs = 0;
        w->manner = cases[i].manner;
        run_rounds(w, 2); /* twice wrong is told once */
        tt_source_status st;
        tt_source_status_of(w->source, &st);
        if (w->downs != cases[i].downs || w->ups || strcmp(w->about, cases[i].about) != 0 || !strstr(w->reason, cases[i].says) ||
            !strstr(st.error, cases[i].says) || st.state != cases[i].state)
            fail_msg("row %zu: downs %u, about \"%s\", reason \"%s\", state %d, error \"%s\"", i, w->downs, w->about, w->reason, (int)st.state,
                     st.error);
        tt_source_batch b;
        tt_source_take(w->source, &b);
        const tt_poll *last = &b.polls[b.n_polls - 1];
        assert_false(last->answered);
        assert_true(last->error.n > 0);
        w->manner = GIVE;
        run_rounds(w, 2);
        assert_int_equal(w->ups, 1);
        for (size_t k = 0; k < w->n_held; k++) evhttp_send_reply(w->held[k], 200, NULL, NULL);
        w->n_held = 0;
    }
}

/* A source that stalls is asked again only once the earlier question was given up. */
static void never_twice_at_once(void **state) {
    world *w = *state;
    tt_err err;
    three_signals(TT_MS(20));
    w->manner = STALL;
    assert_true(tt_source_set_rules(w->source, &rules, &err));
    run_rounds(w, 2);
    assert_int_equal(w->at_once_max, 1);
    assert_true(w->asked <= 3);
    for (size_t k = 0; k < w->n_held; k++) evhttp_send_reply(w->held[k], 200, NULL, NULL);
    w->n_held = 0;
}

/* Several queries of one beat that stall together: the round ends all the same, and each is asked once at a time. */
static void several_stall(void **state) {
    world *w = *state;
    tt_err err;
    three_signals(TT_MS(500));
    defs[1].query = TT_SV("down");
    defs[2] = (tt_signal_def){.name = TT_SV("c"), .query = TT_SV("slow"), .every_ns = TT_MS(500)};
    w->manner = STALL;
    assert_true(tt_source_set_rules(w->source, &rules, &err));
    run_rounds(w, 3);
    assert_int_equal(w->downs, 1);
    assert_int_equal(w->at_once_max, 3);
    for (size_t k = 0; k < w->n_held; k++) evhttp_send_reply(w->held[k], 200, NULL, NULL);
    w->n_held = 0;
    w->manner = STALL_ONE;
    w->downs = w->at_once_max = 0;
    run_rounds(w, 3);
    tt_source_status st;
    tt_source_status_of(w->source, &st);
    assert_int_equal(st.state, TT_SOURCE_OK);
    assert_non_null(strstr(st.error, "signal c: no whole answer"));
    assert_int_equal(w->downs, 1); /* told once, about the one */
    assert_string_equal(w->about, "c");
    assert_int_equal(w->at_once_max, 1);
    for (size_t k = 0; k < w->n_held; k++) evhttp_send_reply(w->held[k], 200, NULL, NULL);
    w->n_held = 0;
}

static void nobody_there(void **state) {
    world *w = *state;
    tt_err err;
    evhttp_free(w->http);
    w->http = NULL;
    three_signals(TT_MS(20));
    assert_true(tt_source_set_rules(w->source, &rules, &err));
    run_rounds(w, 3);
    assert_int_equal(w->downs, 1);
    assert_non_null(strstr(w->reason, "cannot be asked"));
    assert_true(tt_source_set_rules(w->source, NULL, &err)); /* with polls under way or owed */
}

static void addresses(void **state) {
    world *w = *state;
    static const struct {
        const char *url, *shown;
    } cases[] = {
        {"http://127.0.0.1:9090", "http://127.0.0.1:9090"},
        {"https://p.example/prom/", "https://p.example/prom"},
        {"ftp://127.0.0.1", NULL},
        {"127.0.0.1:9090", NULL},
        {"http://127.0.0.1:9090/?x=1", NULL},
        {"", NULL},
        {"http://127.0.0.1:99999", NULL},
    };
    for (size_t i = 0; i < TT_COUNT(cases); i++) {
        tt_err err = {0};
        tt_source_told told = {w, round_over, changed};
        tt_source *s = tt_prometheus_new(w->loop, cases[i].url, &told, &err);
        if (!s != !cases[i].shown) fail_msg("%s: %s", cases[i].url, err.text);
        if (!s) {
            assert_non_null(strstr(err.text, "http://127.0.0.1:9090"));
            continue;
        }
        tt_source_status st;
        tt_source_status_of(s, &st);
        assert_string_equal(st.url, cases[i].shown);
        tt_source_free(s);
    }
}

#define WITH_WORLD(f) cmocka_unit_test_setup_teardown(f, make, unmake)
int main(void) {
    curl_global_init(CURL_GLOBAL_DEFAULT);
    tt_runloop_block_signals(); /* SIGPIPE */
    const struct CMUnitTest tests[] = {
        WITH_WORLD(shared_query),  WITH_WORLD(ages_on_its_own_clock), WITH_WORLD(misbehaves), WITH_WORLD(never_twice_at_once),
        WITH_WORLD(several_stall), WITH_WORLD(nobody_there),          WITH_WORLD(addresses)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    curl_global_cleanup();
    return failed;
}
