/* Webhook deliveries: once only, kept until done, any bytes. */
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static rows got;

static void deliver(fixture *f, const char *source, const char *key, const char *body, size_t n, uint64_t want_id, bool want_fresh) {
    uint64_t id = 0;
    bool fresh = !want_fresh;
    must(tt_store_delivery(f->store, source, key, 5, body, n, &id, &fresh, &g_err));
    assert_int_equal(id, want_id);
    assert_int_equal(fresh, want_fresh);
}

static void a_delivery_is_taken_once(void **state) {
    fixture *f = *state;
    char long_key[9000];
    memset(long_key, 'k', sizeof long_key - 1);
    long_key[sizeof long_key - 1] = 0;
    deliver(f, "alertmanager", "k1", "a", 1, 1, true);
    deliver(f, "alertmanager", "k1", "another body", 12, 1, false);
    deliver(f, "grafana", "k1", "b", 1, 2, true);
    deliver(f, "alertmanager", long_key, "c", 1, 3, true);
    deliver(f, "alertmanager", long_key, "c", 1, 3, false);
    deliver(f, "alertmanager", "\xff\x01 broken", "d", 1, 4, true);
    deliver(f, "alertmanager", "\xff\x01 broken", "d", 1, 4, false);
    deliver(f, "alertmanager", "", "e", 1, 5, true); /* no key: nothing to know it by */
    deliver(f, "alertmanager", NULL, "e", 1, 6, true);
    fixture_close(f);
    fixture_open(f);
    deliver(f, "grafana", "k1", "b", 1, 2, false);
    must(tt_store_delivery_done(f->store, 2, &g_err));
    deliver(f, "grafana", "k1", "b", 1, 2, false); /* done is known, too */
    uint64_t id;
    bool fresh;
    must_fail(tt_store_delivery(f->store, "\xc3", "k", 1, "", 0, &id, &fresh, &g_err), "not UTF-8");
}

static void pending_ones_come_back_in_order(void **state) {
    fixture *f = *state;
    char key[16];
    for (uint64_t i = 1; i <= 30; i++) {
        snprintf(key, sizeof key, "k%d", (int)i);
        deliver(f, i % 2 ? "alertmanager" : "grafana", key, key, strlen(key), i, true);
    }
    for (uint64_t i = 5; i <= 15; i++) must(tt_store_delivery_done(f->store, i, &g_err));
    must(tt_store_delivery_done(f->store, 5, &g_err)); /* twice is once */
    must_fail(tt_store_delivery_done(f->store, 99, &g_err), "no delivery 99");
    must_fail(tt_store_delivery_done(f->store, UINT64_MAX, &g_err), "no such delivery");
    fixture_close(f);
    fixture_open(f);
    must(tt_store_pending_deliveries(f->store, collect, &got, &g_err));
    assert_int_equal(got.n, 19);
    for (size_t i = 0; i < got.n; i++) {
        uint64_t want = i < 4 ? i + 1 : i + 12;
        assert_int_equal(got.row[i].seq, want);
        assert_string_equal(got.row[i].e.kind, want % 2 ? "alertmanager" : "grafana");
        snprintf(key, sizeof key, "k%d", (int)want);
        assert_string_equal(got.row[i].e.body, key);
        assert_int_equal(got.row[i].e.at_ms, 5);
    }
    rows_free(&got);
    got.stop_after = 10;
    must(tt_store_pending_deliveries(f->store, collect, &got, &g_err));
    assert_int_equal(got.n, 10);
    rows_free(&got);
}

static bool mark_done(void *ctx, uint64_t id, const tt_store_entry *e) {
    (void)e;
    must(tt_store_delivery_done(ctx, id, &g_err));
    return true;
}

static void trimming_keeps_the_newest_done_and_all_pending(void **state) {
    fixture *f = *state;
    char key[16];
    for (uint64_t i = 1; i <= 20; i++) {
        snprintf(key, sizeof key, "k%d", (int)i);
        deliver(f, "alertmanager", key, "x", 1, i, true);
    }
    for (uint64_t i = 2; i <= 20; i += 2) must(tt_store_delivery_done(f->store, i, &g_err));
    static const struct {
        size_t keep;
        int64_t left, oldest_done;
    } cases[] = {{SIZE_MAX, 20, 2}, {10, 20, 2}, {9, 19, 4}, {9, 19, 4}, {3, 13, 16}, {0, 10, -1}, {0, 10, -1}};
    for (size_t i = 0; i < TT_COUNT(cases); i++) {
        must(tt_store_trim(f->store, cases[i].keep, &g_err));
        assert_int_equal(raw_int(f, "SELECT count(*) FROM delivery"), cases[i].left);
        assert_int_equal(raw_int(f, "SELECT min(id) FROM delivery WHERE done = 1"), cases[i].oldest_done);
        assert_int_equal(raw_int(f, "SELECT count(*) FROM delivery WHERE done = 0"), 10);
    }
    must(tt_store_pending_deliveries(f->store, mark_done, f->store, &g_err));
    must(tt_store_trim(f->store, 0, &g_err));
    deliver(f, "alertmanager", "k20", "x", 1, 21, true); /* forgotten, and its id never comes again */
}

static void bodies_are_raw_bytes(void **state) {
    fixture *f = *state;
    size_t n = 1 << 20;
    char *large = malloc(n);
    for (size_t i = 0; i < n; i++) large[i] = (char)(i * 31 >> 3);
    const struct {
        const char *p;
        size_t n;
    } bodies[] = {{"a\0b\0", 4}, {"\xff\xfe\xc3(\xed\xa0\x80", 7}, {"", 0}, {NULL, 0}, {large, n}, {large, n - 1}};
    for (size_t i = 0; i < TT_COUNT(bodies); i++) deliver(f, "generic", NULL, bodies[i].p, bodies[i].n, i + 1, true);
    fixture_close(f);
    fixture_open(f);
    must(tt_store_pending_deliveries(f->store, collect, &got, &g_err));
    assert_int_equal(got.n, TT_COUNT(bodies));
    for (size_t i = 0; i < got.n; i++) {
        assert_int_equal(got.row[i].e.body_len, bodies[i].n);
        if (bodies[i].n) assert_memory_equal(got.row[i].e.body, bodies[i].p, bodies[i].n);
    }
    rows_free(&got);
    free(large);
}

int delivery_tests(void) {
    const struct CMUnitTest tests[] = {
        TESTS(a_delivery_is_taken_once),
        TESTS(pending_ones_come_back_in_order),
        TESTS(trimming_keeps_the_newest_done_and_all_pending),
        TESTS(bodies_are_raw_bytes),
    };
    return cmocka_run_group_tests_name("deliveries", tests, NULL, NULL);
}
