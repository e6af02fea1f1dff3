/* Blocking queries: answered by news, by their deadline, by shutdown, and let go when their caller hangs up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <curl/curl.h>

#include "client.h"
#include "fake_app.h"

static tt_app *app;
static tt_http *server;
static uint16_t port;

static int setup(void **state) {
    (void)state;
    app = fake_app(true);
    server = fake_serve(app, NULL);
    port = tt_http_port(server);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    tt_http_stop(server);
    fake_app_free(app);
    return 0;
}

static json_int_t member(const reply *r, const char *name) {
    json_t *root = parsed(r);
    json_int_t v = json_integer_value(json_object_get(root, name));
    json_decref(root);
    return v;
}

static double now_s(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

#define ME "/v1/decisions?service=checkout&dc=dc-a&instance=i1&calls=recommendations"

static void refused(void **state) {
    (void)state;
    static const struct {
        const char *query, *says;
    } rows[] = {
        {"?service=a&version=x", "version=x"},
        {"?service=a&version=-1", "version=-1"},
        {"?service=a&epoch=1e3", "epoch=1e3"},
        {"?service=a&wait=soon", "wait=soon"},
        {"?service=a%0Ab", "control character"},
        {"?service=a&calls=b%0A", "calls may name"},
        {"?service=a&calls=1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,32,33", "32 services"},
    };
    for (size_t i = 0; i < TT_COUNT(rows); i++) {
        char path[256];
        snprintf(path, sizeof path, "/v1/decisions%s", rows[i].query);
        reply r = get(port, path);
        assert_int_equal(r.status, 400);
        if (!strstr(r.body, rows[i].says)) fail_msg("%s", r.body);
        forget(&r);
    }
}

static void nothing_is_said_before_the_first_tick(void **state) {
    (void)state;
    reply r = get(port, ME);
    assert_int_equal(r.status, 503);
    assert_true(has_header(&r, "retry-after: 1"));
    forget(&r);
    later *l = http_later("GET", port, ME "&epoch=2&version=7&wait=30s", NULL); /* another epoch: news, once there is any */
    assert_true(metric_becomes(port, "trimtab_http_waiting 1"));
    tt_board_publish(app->board, NULL, 0, (tt_time){0});
    r = later_finish(l);
    assert_int_equal(r.status, 200);
    assert_int_equal(member(&r, "epoch"), 3);
    forget(&r);
}

static void news_answers_at_once(void **state) {
    (void)state;
    fake_publish(app, "checkout", "dc-a", 5, 100);
    double from = now_s();
    reply r = get(port, ME "&epoch=3&version=4&wait=30s");
    assert_int_equal(r.status, 200);
    assert_int_equal(member(&r, "version"), 5);
    assert_int_equal(member(&r, "instances"), 1);
    assert_non_null(strstr(r.body, "\"rps\":100"));
    assert_true(now_s() - from < 10);
    forget(&r);
    r = http("HEAD", port, ME "&epoch=3&version=5&wait=30s", NULL, NULL, 0); /* never waits */
    assert_int_equal(r.status, 200);
    forget(&r);
}

static void a_publish_wakes_whom_it_concerns(void **state) {
    (void)state;
    fake_publish(app, "checkout", "dc-a", 5, 100);
    later *mine = http_later("GET", port, ME "&epoch=3&version=5&wait=60s", NULL);
    later *other = http_later("GET", port, "/v1/decisions?service=checkout&dc=dc-b&instance=i2&epoch=3&version=5&wait=60s", NULL);
    assert_true(metric_becomes(port, "trimtab_http_waiting 2"));
    reply agents = get(port, "/v1/agents");
    assert_non_null(strstr(agents.body, "\"instance\":\"i1\",\"epoch\":3,\"version\":5,\"behind\":false"));
    forget(&agents);
    fake_publish(app, "recommendations", "dc-z", 6, 50); /* what it calls */
    reply r = later_finish(mine);
    assert_int_equal(r.status, 200);
    assert_int_equal(member(&r, "version"), 6);
    forget(&r);
    assert_true(metric_becomes(port, "trimtab_http_waiting 1")); /* the other still waits */
    fake_publish(app, "checkout", "", 7, 10);
    r = later_finish(other);
    assert_int_equal(member(&r, "version"), 7);
    forget(&r);
}

static void the_deadline_answers_with_the_same_set(void **state) {
    (void)state;
    fake_publish(app, "checkout", "dc-a", 5, 100);
    double from = now_s();
    reply r = get(port, ME "&epoch=3&version=5&wait=300ms");
    double took = now_s() - from;
    assert_int_equal(r.status, 200);
    assert_int_equal(member(&r, "version"), 5);
    assert_true(took >= 0.3);
    forget(&r);
    assert_true(metric_becomes(port, "trimtab_http_waits_expired_total 1"));
}

static void who_hangs_up_is_let_go(void **state) {
    (void)state;
    fake_publish(app, "checkout", "dc-a", 5, 100);
    later *l = http_later("GET", port, ME "&epoch=3&version=5&wait=60s", NULL);
    assert_true(metric_becomes(port, "trimtab_http_waiting 1"));
    later_cancel(l);
    assert_true(metric_becomes(port, "trimtab_http_waiting 0"));
    assert_true(metric_becomes(port, "trimtab_http_waits_expired_total 0"));
}

static void sharers_of_a_limit_are_told_their_number(void **state) {
    (void)state;
    fake_publish(app, "checkout", "dc-a", 5, 100);
    reply first = get(port, ME);
    assert_int_equal(member(&first, "instances"), 1);
    forget(&first);
    later *l = http_later("GET", port, ME "&epoch=3&version=5&wait=60s", NULL);
    assert_true(metric_becomes(port, "trimtab_http_waiting 1"));
    reply second = get(port, "/v1/decisions?service=checkout&dc=dc-a&instance=i2");
    forget(&second);
    const tt_ack *acks; /* the main loop's look at the board, two seconds on */
    tt_board_acks(app->board, (tt_time){(int64_t)((now_s() + 2) * 1e9)}, &acks);
    reply r = later_finish(l);
    assert_int_equal(member(&r, "version"), 5);
    assert_int_equal(member(&r, "instances"), 2);
    forget(&r);
}

enum { MANY = 400, ROUNDS = 5 };

typedef struct {
    char *text;
    size_t n;
} got;

static size_t collect(char *p, size_t size, size_t n, void *ctx) {
    got *g = ctx;
    char *grown = realloc(g->text, g->n + size * n + 1);
    if (!grown) return 0;
    memcpy(grown + g->n, p, size * n);
    g->text = grown;
    g->n += size * n;
    g->text[g->n] = 0;
    return size * n;
}

/* Many, woken together, again and again on the same connections: all get the version, none twice, none never. */
static void many_waiters(void **state) {
    (void)state;
    CURLM *multi = curl_multi_init();
    CURL **easy = calloc(MANY, sizeof *easy);
    got *g = calloc(MANY, sizeof *g);
    fake_publish(app, "checkout", "dc-a", 1, 100);
    for (size_t i = 0; i < MANY; i++) {
        easy[i] = curl_easy_init();
        curl_easy_setopt(easy[i], CURLOPT_NOSIGNAL, 1L);
        curl_easy_setopt(easy[i], CURLOPT_WRITEFUNCTION, collect);
        curl_easy_setopt(easy[i], CURLOPT_WRITEDATA, &g[i]);
        curl_easy_setopt(easy[i], CURLOPT_TIMEOUT, (long)CLIENT_PATIENCE_S);
    }
    for (unsigned round = 1; round <= ROUNDS; round++) {
        for (size_t i = 0; i < MANY; i++) {
            char url[256];
            g[i].n = 0;
            snprintf(url, sizeof url, "http://127.0.0.1:%u/v1/decisions?service=checkout&dc=dc-%s&instance=i%zu&epoch=3&version=%u&wait=60s", port,
                     i % 2 ? "a" : "b", i, i % 2 || round > 1 ? round : 0);
            curl_easy_setopt(easy[i], CURLOPT_URL, url);
            curl_multi_add_handle(multi, easy[i]);
        }
        bool published = false;
        size_t done = 0;
        double until = now_s() + CLIENT_PATIENCE_S;
        char line[64];
        snprintf(line, sizeof line, "\ntrimtab_http_waiting %u\n", MANY);
        while (done < MANY && now_s() < until) {
            int running, left;
            curl_multi_perform(multi, &running);
            CURLMsg *m;
            while ((m = curl_multi_info_read(multi, &left))) {
                assert_true(published); /* nobody is answered before there is anything to say */
                curl_multi_remove_handle(multi, m->easy_handle);
                done++;
            }
            if (!published) {
                reply r = get(port, "/metrics");
                if (strstr(r.body, line)) {
                    fake_publish(app, "checkout", "", round + 1, 10);
                    published = true;
                }
                forget(&r);
            }
            curl_multi_poll(multi, NULL, 0, 20, NULL);
        }
        assert_int_equal(done, MANY);
        for (size_t i = 0; i < MANY; i++) {
            char want[32];
            long status;
            snprintf(want, sizeof want, "\"version\":%u,", round + 1);
            curl_easy_getinfo(easy[i], CURLINFO_RESPONSE_CODE, &status);
            assert_int_equal(status, 200);
            if (!strstr(g[i].text, want)) fail_msg("round %u, %zu: %s", round, i, g[i].text);
        }
    }
    for (size_t i = 0; i < MANY; i++) {
        curl_easy_cleanup(easy[i]);
        free(g[i].text);
    }
    curl_multi_cleanup(multi);
    free(easy);
    free(g);
}

static void stopping_answers_everybody(void **state) {
    (void)state;
    fake_publish(app, "checkout", "dc-a", 5, 100);
    later *waiting[8];
    for (size_t i = 0; i < TT_COUNT(waiting); i++) waiting[i] = http_later("GET", port, ME "&epoch=3&version=5&wait=60s", NULL);
    assert_true(metric_becomes(port, "trimtab_http_waiting 8"));
    tt_http_stop(server);
    for (size_t i = 0; i < TT_COUNT(waiting); i++) {
        reply r = later_finish(waiting[i]);
        assert_int_equal(r.status, 200);
        assert_int_equal(member(&r, "version"), 5);
        forget(&r);
    }
    server = fake_serve(app, NULL); /* a second one in the same process; teardown stops it */
    fake_publish(app, "checkout", "dc-a", 6, 100);
}

int main(void) {
#define EACH(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        EACH(refused),
        EACH(nothing_is_said_before_the_first_tick),
        EACH(news_answers_at_once),
        EACH(a_publish_wakes_whom_it_concerns),
        EACH(the_deadline_answers_with_the_same_set),
        EACH(who_hangs_up_is_let_go),
        EACH(sharers_of_a_limit_are_told_their_number),
        EACH(many_waiters),
        EACH(stopping_answers_everybody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
