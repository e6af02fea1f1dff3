/* Webhooks: durable first, taken once, fed again after a restart. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "client.h"
#include "fake_app.h"
#include "hooks/hooks.h"

static tt_app *app;
static tt_http *server;
static uint16_t port;
#define HOOK "/v1/webhooks/alertmanager"

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

#define BODY(group, status, starts)                                                                                                                  \
    "{\"version\":\"4\",\"groupKey\":\"" group "\",\"status\":\"" status                                                                             \
    "\",\"receiver\":\"trimtab\",\"truncatedAlerts\":0,\"new_one\":{},\"alerts\":["                                                                  \
    "{\"status\":\"" status "\",\"labels\":{\"alertname\":\"Paged\",\"service\":\"checkout\",\"dc\":\"dc-a\"},\"startsAt\":\"" starts "\","          \
    "\"endsAt\":\"0001-01-01T00:00:00Z\",\"fingerprint\":\"c0ffee\"}]}"

static void parsing(void **state) {
    (void)state;
    static const struct {
        const char *name, *body;
        size_t n;
        const char *key, *first_label;
        bool firing;
    } rows[] = {
        {"firing", BODY("{}", "firing", "2026-11-23T20:00:00Z"), 1, "c0ffee", "service", true},
        {"resolved", BODY("{}", "resolved", "2026-11-23T20:00:00Z"), 1, "c0ffee", "service", false},
        {"no fingerprint", "{\"alerts\":[{\"labels\":{\"alertname\":\"A\"}}]}", 1, "labels-", NULL, true},
        {"no alerts", "{\"alerts\":[]}", 0, NULL, NULL, false},
        {"something else", "{\"event\":{\"event_type\":\"pagey.ping\"}}", 0, NULL, NULL, false},
        {"not an object", "[1,2]", 0, NULL, NULL, false},
        {"alerts of another kind", "{\"alerts\":\"x\"}", 0, NULL, NULL, false},
        {"one broken, one good", "{\"alerts\":[5,{\"labels\":{}},{\"labels\":{\"alertname\":\"A\",\"dc\":\"d\"},\"fingerprint\":\"f\"}]}", 1, "f",
         "dc", true},
        {"many labels: who and where come first",
         "{\"alerts\":[{\"labels\":{\"alertname\":\"A\",\"a\":\"1\",\"b\":\"1\",\"c\":\"1\",\"d\":\"1\",\"e\":\"1\",\"f\":\"1\",\"g\":\"1\",\"h\":"
         "\"1\","
         "\"service\":\"s\"},\"fingerprint\":\"f\"}]}",
         1, "f", "service", true},
    };
    for (size_t i = 0; i < TT_COUNT(rows); i++) {
        tt_hook_alerts a;
        tt_err err;
        print_message("  %s\n", rows[i].name);
        assert_true(tt_hook_alertmanager(tt_sv_of(rows[i].body), &a, &err));
        assert_int_equal(a.n, rows[i].n);
        assert_int_equal(strlen(a.dedup), 64);
        if (a.n) {
            assert_int_equal(strncmp(a.alerts[0].key, rows[i].key, strlen(rows[i].key)), 0);
            assert_int_equal(a.alerts[0].firing, rows[i].firing);
            if (rows[i].first_label) assert_true(tt_sv_eq(a.alerts[0].labels[0].name, tt_sv_of(rows[i].first_label)));
        }
        tt_hook_alerts_free(&a);
    }
    /* the same labels in another order are the same alert */
    tt_hook_alerts a, b;
    assert_true(tt_hook_alertmanager(TT_SV("{\"alerts\":[{\"labels\":{\"alertname\":\"A\",\"x\":\"1\",\"y\":\"2\"}}]}"), &a, NULL));
    assert_true(tt_hook_alertmanager(TT_SV("{\"alerts\":[{\"labels\":{\"y\":\"2\",\"alertname\":\"A\",\"x\":\"1\"}}]}"), &b, NULL));
    assert_string_equal(a.alerts[0].key, b.alerts[0].key);
    tt_hook_alerts_free(&a);
    tt_hook_alerts_free(&b);
}

static json_int_t delivered(const char *body) {
    reply r = post(port, HOOK, body);
    if (r.status != 202) fail_msg("%ld %s", r.status, r.body);
    json_t *root = parsed(&r);
    json_int_t id = json_integer_value(json_object_get(root, "delivery"));
    assert_true(id > 0);
    json_decref(root);
    forget(&r);
    return id;
}

static void taken_once(void **state) {
    (void)state;
    tt_err err;
    json_int_t id = delivered(BODY("g", "firing", "2026-11-23T20:00:00Z"));
    assert_int_equal(app->n_deliveries, 1);
    assert_int_equal(app->deliveries[0].id, id);
    assert_string_equal(app->deliveries[0].key, "c0ffee");
    assert_string_equal(app->deliveries[0].name, "Paged");
    assert_true(tt_store_delivery_done(app->store, (uint64_t)id, &err));          /* the tick that took it is committed */
    assert_int_equal(delivered(BODY("g", "firing", "2026-11-23T20:00:00Z")), id); /* sent again */
    assert_int_equal(app->n_deliveries, 1);
    assert_true(delivered(BODY("g", "resolved", "2026-11-23T20:00:00Z")) != id); /* another status, start or group is another */
    assert_true(delivered(BODY("g", "firing", "2026-11-23T21:00:00Z")) != id);
    assert_true(delivered(BODY("h", "firing", "2026-11-23T20:00:00Z")) != id);
    assert_int_equal(app->n_deliveries, 4);
    (void)delivered("{\"event\":\"of a kind nobody knows\"}");
    assert_int_equal(app->n_deliveries, 4);
}

static void malformed(void **state) {
    (void)state;
    reply r = post(port, HOOK, "{\"alerts\":\n  [}");
    assert_int_equal(r.status, 400);
    json_t *problem = parsed(&r), *one = json_array_get(json_object_get(problem, "errors"), 0);
    assert_int_equal(json_integer_value(json_object_get(one, "line")), 2);
    assert_true(json_integer_value(json_object_get(one, "column")) > 0);
    json_decref(problem);
    forget(&r);
}

static void queue_full_is_not_lost(void **state) {
    (void)state;
    app->queue_full = true;
    reply r = post(port, HOOK, BODY("g", "firing", "2026-11-23T20:00:00Z"));
    assert_int_equal(r.status, 503);
    forget(&r);
    app->queue_full = false;
    (void)delivered(BODY("g", "firing", "2026-11-23T20:00:00Z")); /* the sender's second try is known, and still taken */
    assert_int_equal(app->n_deliveries, 1);
}

static void storage_failed(void **state) {
    (void)state;
    struct rlimit before, none;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    none = before;
    none.rlim_cur = 0; /* no file can grow: a full disk */
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
    reply r = post(port, HOOK, BODY("g", "firing", "2026-11-23T20:00:00Z"));
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    if (r.status != 503) fail_msg("%ld %s", r.status, r.body);
    assert_true(has_header(&r, "retry-after:"));
    assert_int_equal(app->n_deliveries, 0);
    forget(&r);
    (void)delivered(BODY("g", "firing", "2026-11-23T20:00:00Z")); /* sent again, with room */
    assert_int_equal(app->n_deliveries, 1);
}

static void fed_again_after_a_restart(void **state) {
    (void)state;
    tt_err err = {0};
    json_int_t id = delivered(BODY("g", "firing", "2026-11-23T20:00:00Z"));
    json_int_t done = delivered(BODY("g", "resolved", "2026-11-23T20:00:00Z"));
    assert_true(tt_store_delivery_done(app->store, (uint64_t)done, &err));
    app->n_deliveries = 0; /* the daemon died before its tick was committed */
    assert_true(tt_hook_replay_pending(app, app->store, &err));
    assert_int_equal(app->n_deliveries, 1);
    assert_int_equal(app->deliveries[0].id, id);
    assert_true(app->deliveries[0].firing);
}

int main(void) {
#define EACH(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parsing),    EACH(taken_once),     EACH(malformed),
        EACH(queue_full_is_not_lost), EACH(storage_failed), EACH(fed_again_after_a_restart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
