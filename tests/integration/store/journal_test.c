/* The journal as its readers know it: order, pages, loops, state, epochs, the chain. */
#include "fixture.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static rows got; /* large; the tests run one after another */

static void commit_n(fixture *f, size_t n, const char *loop) {
    tt_store_entry e[64];
    char body[64][32];
    while (n) {
        size_t k = n < 64 ? n : 64;
        for (size_t i = 0; i < k; i++) {
            snprintf(body[i], sizeof body[i], "{\"i\":%zu}", n - i);
            e[i] = entry((int64_t)(1000 + n - i), "action", loop, body[i]);
        }
        must(tt_store_commit(f->store, e, k, NULL, NULL, &g_err));
        n -= k;
    }
}

static void what_is_committed_is_read_back(void **state) {
    fixture *f = *state;
    uint64_t first = 0, seq = 9;
    must(tt_store_last_seq(f->store, &seq, &g_err));
    assert_int_equal(seq, 0);
    tt_store_entry e[] = {entry(1790000000000, "action", "01J9ZC8Q6W3V2K5M7N8P9Q0R1S", "{\"a\":1}"), entry(-5, "page", "", ""),
                          entry(7, "hold", "x", "{}")};
    must(tt_store_commit(f->store, e, 2, NULL, &first, &g_err));
    assert_int_equal(first, 1);
    must(tt_store_commit(f->store, e + 2, 1, NULL, &first, &g_err));
    assert_int_equal(first, 3);
    for (int reopened = 0; reopened < 2; reopened++) {
        must(tt_store_read(f->store, 0, 100, NULL, collect, &got, &g_err));
        assert_int_equal(got.n, 3);
        for (size_t i = 0; i < 3; i++) {
            assert_int_equal(got.row[i].seq, i + 1);
            assert_int_equal(got.row[i].e.at_ms, e[i].at_ms);
            assert_string_equal(got.row[i].e.kind, e[i].kind);
            assert_string_equal(got.row[i].e.loop, e[i].loop);
            assert_string_equal(got.row[i].e.body, e[i].body);
            assert_int_equal(got.row[i].e.body_len, strlen(e[i].body));
        }
        rows_free(&got);
        must(tt_store_last_seq(f->store, &seq, &g_err));
        assert_int_equal(seq, 3);
        fixture_close(f);
        fixture_open(f);
    }
}

static void pages_are_whole_and_in_order(void **state) {
    fixture *f = *state;
    commit_n(f, 300, "a");
    commit_n(f, 1, "b");
    commit_n(f, 300, "a");
    static const struct {
        uint64_t after;
        size_t limit, stop_after;
        const char *loop;
        size_t want;
        uint64_t first, last;
    } cases[] = {
        {0, 1000, 0, NULL, 601, 1, 601},    {0, 128, 0, "", 128, 1, 128},    {0, 129, 0, "", 129, 1, 129},    {600, 10, 0, "", 1, 601, 601},
        {601, 10, 0, "", 0, 0, 0},          {0, 0, 0, "", 0, 0, 0},          {0, 1000, 200, "", 200, 1, 200}, {UINT64_MAX, 10, 0, "", 0, 0, 0},
        {0, 1000, 0, "a", 600, 1, 601},     {250, 60, 0, "a", 60, 251, 311}, {0, 1000, 0, "b", 1, 301, 301},  {0, 1000, 0, "nobody", 0, 0, 0},
        {0, SIZE_MAX, 0, "a", 600, 1, 601},
    };
    for (size_t i = 0; i < TT_COUNT(cases); i++) {
        got.stop_after = cases[i].stop_after;
        must(tt_store_read(f->store, cases[i].after, cases[i].limit, cases[i].loop, collect, &got, &g_err));
        if (got.n != cases[i].want) fail_msg("case %zu: %zu rows, wanted %zu", i, got.n, cases[i].want);
        for (size_t k = 1; k < got.n; k++) assert_true(got.row[k].seq > got.row[k - 1].seq);
        if (got.n) assert_int_equal(got.row[0].seq, cases[i].first);
        if (got.n) assert_int_equal(got.row[got.n - 1].seq, cases[i].last);
        rows_free(&got);
    }
    static const struct {
        uint64_t before;
        size_t stop_after, want;
        uint64_t first, last;
    } back[] = {{UINT64_MAX, 0, 601, 601, 1}, {602, 0, 601, 601, 1}, {302, 0, 301, 301, 1}, {302, 140, 140, 301, 162}, {1, 0, 0, 0, 0}, {0, 0, 0, 0, 0}};
    for (size_t i = 0; i < TT_COUNT(back); i++) {
        got.stop_after = back[i].stop_after;
        must(tt_store_read_back(f->store, back[i].before, collect, &got, &g_err));
        if (got.n != back[i].want) fail_msg("back %zu: %zu rows, wanted %zu", i, got.n, back[i].want);
        for (size_t k = 1; k < got.n; k++) assert_true(got.row[k].seq < got.row[k - 1].seq);
        if (got.n) assert_int_equal(got.row[0].seq, back[i].first);
        if (got.n) assert_int_equal(got.row[got.n - 1].seq, back[i].last);
        rows_free(&got);
    }
    uint64_t bad;
    must(tt_store_verify(f->store, &bad, &g_err));
}

static bool ask_inside(void *ctx, uint64_t seq, const tt_store_entry *e) {
    (void)e;
    uint64_t last;
    must(tt_store_last_seq(ctx, &last, &g_err));
    assert_true(last >= seq);
    return true;
}

static void a_reader_may_call_the_store(void **state) {
    fixture *f = *state;
    commit_n(f, 3, "a");
    must(tt_store_read(f->store, 0, 10, "", ask_inside, f->store, &g_err));
}

static void expect_state(fixture *f, const char *want) {
    char *json = (char *)(uintptr_t)1;
    must(tt_store_load_state(f->store, &json, &g_err));
    if (want)
        assert_string_equal(json, want);
    else
        assert_null(json);
    free(json);
}

static void state_is_replaced_with_the_entries(void **state) {
    fixture *f = *state;
    expect_state(f, NULL);
    tt_store_entry e = entry(1, "action", "", "{}");
    uint64_t first;
    must(tt_store_commit(f->store, &e, 1, "{\"v\":1}", &first, &g_err));
    expect_state(f, "{\"v\":1}");
    must(tt_store_commit(f->store, &e, 1, NULL, &first, &g_err));
    expect_state(f, "{\"v\":1}");
    must(tt_store_commit(f->store, NULL, 0, "{\"v\":2}", &first, &g_err));
    assert_int_equal(first, 3); /* the next one's */
    fixture_close(f);
    fixture_open(f);
    expect_state(f, "{\"v\":2}");
    char *large = malloc((3 << 20) + 1); /* 3 MiB of state with every byte but NUL */
    for (size_t i = 0; i < 3 << 20; i++) large[i] = (char)(1 + i % 255);
    large[3 << 20] = 0;
    must(tt_store_commit(f->store, &e, 1, large, NULL, &g_err));
    expect_state(f, large);
    free(large);
}

static void bodies_are_bytes(void **state) {
    fixture *f = *state;
    char *large = malloc((1 << 20) + 1);
    for (size_t i = 0; i < 1 << 20; i++) large[i] = (char)(1 + (i * 7) % 255);
    large[1 << 20] = 0;
    tt_store_entry e[] = {entry(1, "action", "", "\xff\xfe broken \xc3("), entry(2, "action", "", large), entry(3, "action", "", "\xe2\x82\xac")};
    must(tt_store_commit(f->store, e, 3, NULL, NULL, &g_err));
    must(tt_store_read(f->store, 0, 10, "", collect, &got, &g_err));
    assert_int_equal(got.n, 3);
    for (size_t i = 0; i < 3; i++) assert_string_equal(got.row[i].e.body, e[i].body);
    rows_free(&got);
    free(large);
    uint64_t bad, seq;
    must(tt_store_verify(f->store, &bad, &g_err));

    char long_name[200];
    memset(long_name, 'x', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = 0;
    const struct {
        tt_store_entry e;
        const char *says;
    } refused[] = {{entry(1, "a\xff", "", "{}"), "not UTF-8"},         {entry(1, "a", "\xc0\x80", "{}"), "not UTF-8"},
                   {entry(1, "a", "\xed\xa0\x80", "{}"), "not UTF-8"}, {entry(1, "\xf4\x90\x80\x80", "", "{}"), "not UTF-8"},
                   {entry(1, "\xe2\x82", "", "{}"), "not UTF-8"},      {entry(1, long_name, "", "{}"), "longer than"}};
    for (size_t i = 0; i < TT_COUNT(refused); i++) {
        tt_store_entry two[] = {e[2], refused[i].e};
        must_fail(tt_store_commit(f->store, two, 2, NULL, NULL, &g_err), refused[i].says);
    }
    must(tt_store_last_seq(f->store, &seq, &g_err));
    assert_int_equal(seq, 3);
}

static void epochs_grow_and_fence(void **state) {
    fixture *f = *state;
    assert_int_equal(f->epoch, 1);
    tt_store_entry e = entry(1, "action", "", "{}");
    must(tt_store_commit(f->store, &e, 1, "{\"mine\":1}", NULL, &g_err));
    uint64_t epoch;
    must(tt_store_next_epoch(f->store, &epoch, &g_err));
    assert_int_equal(epoch, 2);
    fixture_close(f);
    fixture_open(f);
    assert_int_equal(f->epoch, 3);
    raw(f, "UPDATE lease SET epoch = 7, holder = 'other-host, process 5' WHERE name = 'engine'");
    must_fail(tt_store_commit(f->store, &e, 1, "{\"mine\":2}", NULL, &g_err), "another trimtab took over (epoch 7, other-host, process 5)");
    expect_state(f, "{\"mine\":1}");
    assert_int_equal(raw_int(f, "SELECT count(*) FROM journal"), 1);
    must(tt_store_next_epoch(f->store, &epoch, &g_err));
    assert_int_equal(epoch, 8);
    must(tt_store_commit(f->store, &e, 1, NULL, NULL, &g_err));
    raw(f, "UPDATE lease SET epoch = 2 WHERE name = 'engine'");
    must_fail(tt_store_commit(f->store, &e, 1, NULL, NULL, &g_err), "went back in time");
    fixture_close(f);
    f->store = tt_store_open(f->where, &g_err);
    must(f->store != NULL);
    must_fail(tt_store_commit(f->store, &e, 1, NULL, NULL, &g_err), "no epoch was taken");
}

static void *commit_until_fenced(void *ctx) {
    fixture *f = ctx;
    tt_store_entry e = entry(1, "action", "", "{\"by\":\"old\"}");
    while (tt_store_commit(f->store, &e, 1, "\"old\"", NULL, &g_err)) {
    }
    return strstr(g_err.text, "another trimtab took over") ? NULL : strdup(g_err.text);
}

/* PostgreSQL lets two daemons in at once: from the moment the second has its epoch nothing of the first gets in. */
static void a_second_daemon_takes_over(void **state) {
    fixture *f = *state, second = *f;
    for (int round = 0; round < 10; round++) {
        must(tt_store_next_epoch(f->store, &f->epoch, &g_err));
        pthread_t t;
        assert_int_equal(pthread_create(&t, NULL, commit_until_fenced, f), 0);
        uint64_t seen = 0, before, first, last;
        must((second.store = tt_store_open(f->where, &g_err)) != NULL);
        must(tt_store_last_seq(second.store, &before, &g_err));
        do must(tt_store_last_seq(second.store, &seen, &g_err));
        while (seen < before + 5);
        must(tt_store_next_epoch(second.store, &second.epoch, &g_err));
        must(tt_store_last_seq(second.store, &last, &g_err));
        tt_store_entry e = entry(1, "resumed", "", "{}");
        must(tt_store_commit(second.store, &e, 1, "\"new\"", &first, &g_err));
        assert_int_equal(first, last + 1); /* nothing came in between */
        char *complaint;
        pthread_join(t, (void **)&complaint);
        if (complaint) fail_msg("the old one stopped for another reason: %s", complaint);
        must(tt_store_last_seq(second.store, &last, &g_err));
        assert_int_equal(last, first);
        expect_state(&second, "\"new\"");
        tt_store_close(second.store);
    }
    uint64_t bad;
    must(tt_store_verify(f->store, &bad, &g_err));
}

static void tampering_is_found(void **state) {
    fixture *f = *state;
    static const struct {
        const char *sql;
        uint64_t bad;
        const char *says;
    } cases[] = {
        {"UPDATE journal SET at_ms = at_ms + 1 WHERE seq = 150", 150, "was changed"},
        {"UPDATE journal SET kind = 'hold' WHERE seq = 1", 1, "was changed"},
        {"UPDATE journal SET loop = NULL WHERE seq = 128", 128, "was changed"},
        {"UPDATE journal SET loop = 'bb' WHERE seq = 129", 129, "was changed"},
        {"UPDATE journal SET epoch = epoch + 1 WHERE seq = 200", 200, "was changed"},
        {"UPDATE journal SET body = (SELECT body FROM journal WHERE seq = 4) WHERE seq = 3", 3, "was changed"},
        {"UPDATE journal SET hash = (SELECT hash FROM journal WHERE seq = 299) WHERE seq = 300", 300, "was changed"},
        {"DELETE FROM journal WHERE seq = 77", 77, "is missing"},
        {"DELETE FROM journal WHERE seq > 290", 291, "is missing"},
        {"DELETE FROM journal WHERE seq = 300", 300, "is missing"},
        {"DELETE FROM journal", 1, "is missing"},
        {"UPDATE journal SET seq = 900 WHERE seq = 10", 10, "is missing"},
        {"INSERT INTO journal SELECT 301, epoch, at_ms, kind, loop, body, hash FROM journal WHERE seq = 300", 301, "was added"},
        {"DELETE FROM journal_head", 1, "was added"},
        {"UPDATE journal_head SET seq = 299", 299, "was replaced"},
        {"UPDATE journal_head SET seq = 305", 301, "is missing"},
        {"UPDATE journal SET seq = -seq WHERE seq = 2", 2, "is missing"},
    };
    for (size_t i = 0; i < TT_COUNT(cases); i++) {
        fixture t;
        place_new(&t, f->engine);
        fixture_open(&t);
        commit_n(&t, 300, "b");
        uint64_t bad = 99;
        must(tt_store_verify(t.store, &bad, &g_err));
        assert_int_equal(bad, 0);
        raw(&t, cases[i].sql);
        must_fail(tt_store_verify(t.store, &bad, &g_err), cases[i].says);
        if (bad != cases[i].bad) fail_msg("%s: broken at %llu, wanted %llu", cases[i].sql, (unsigned long long)bad, (unsigned long long)cases[i].bad);
        fixture_close(&t);
    }
}

/* The oldest entries go; the rest still verifies, and tampering with it is still found. */
static void the_oldest_entries_go(void **state) {
    fixture *f = *state;
    for (int i = 1; i <= 300; i++) { /* a clock that was set back in between */
        tt_store_entry e = entry(i == 100 ? 5 : i, "action", "a", "{}");
        uint64_t first;
        must(tt_store_commit(f->store, &e, 1, NULL, &first, &g_err));
    }
    tt_store_trimmed t;
    uint64_t bad, first;
    must(tt_store_trim_journal(f->store, 1, 1000, &t, &g_err));
    assert_int_equal(t.n, 0);
    must(tt_store_trim_journal(f->store, 151, 40, &t, &g_err));
    assert_true(t.n == 40 && t.upto_seq == 40);
    must(tt_store_verify(f->store, &bad, &g_err));
    must(tt_store_trim_journal(f->store, 151, 1000, &t, &g_err));
    assert_true(t.n == 110 && t.upto_seq == 150);
    assert_int_equal(raw_int(f, "SELECT min(seq) FROM journal"), 151);
    must(tt_store_verify(f->store, &bad, &g_err));
    uint8_t hash[TT_STORE_HASH_SIZE];
    bool found;
    must(tt_store_hash_at(f->store, 150, hash, &found, &g_err));
    assert_false(found);
    must(tt_store_hash_at(f->store, 300, hash, &found, &g_err));
    assert_true(found);
    uint64_t seq;
    uint8_t last[TT_STORE_HASH_SIZE];
    tt_store_chain_end(f->store, &seq, last);
    assert_int_equal(seq, 300);
    assert_memory_equal(hash, last, sizeof hash);
    /* Numbers go on, also after a restart. The newest entry stays, however old. */
    fixture_close(f);
    fixture_open(f);
    tt_store_entry e = entry(1000, "action", "a", "{}");
    must(tt_store_commit(f->store, &e, 1, NULL, &first, &g_err));
    assert_int_equal(first, 301);
    must(tt_store_trim_journal(f->store, INT64_MAX, 1000, &t, &g_err));
    assert_true(t.n == 150 && t.upto_seq == 300);
    must(tt_store_verify(f->store, &bad, &g_err));
    commit_n(f, 3, "b");
    must(tt_store_verify(f->store, &bad, &g_err));
    raw(f, "UPDATE journal SET at_ms = at_ms + 1 WHERE seq = 301");
    must_fail(tt_store_verify(f->store, &bad, &g_err), "was changed");
    assert_int_equal(bad, 301);
    raw(f, "UPDATE journal SET at_ms = at_ms - 1 WHERE seq = 301");
    raw(f, "DELETE FROM journal_base");
    must_fail(tt_store_verify(f->store, &bad, &g_err), "is missing");
    assert_int_equal(bad, 1);
}

/* Beside a daemon that has the store open: sees what it commits, writes nothing. */
static void a_reader_reads_beside_the_daemon(void **state) {
    fixture *f = *state;
    uint64_t first, bad;
    commit_n(f, 3, "a");
    tt_store *reader = tt_store_open_reader(f->where, &g_err);
    must(reader != NULL);
    commit_n(f, 2, "a");
    must(tt_store_read(reader, 0, 10, "", collect, &got, &g_err));
    assert_int_equal(got.n, 5);
    rows_free(&got);
    must(tt_store_verify(reader, &bad, &g_err));
    tt_store_entry e = entry(1, "action", "a", "{}");
    tt_store_trimmed t;
    assert_false(tt_store_commit(reader, &e, 1, NULL, &first, &g_err));
    assert_false(tt_store_trim_journal(reader, INT64_MAX, 10, &t, &g_err));
    tt_store_close(reader);
    commit_n(f, 1, "a");
    assert_int_equal(raw_int(f, "SELECT count(*) FROM journal"), 6);
    if (f->engine == ON_SQLITE) must_fail((reader = tt_store_open_reader("/nonexistent", &g_err)) != NULL, "/nonexistent/trimtab.db");
}

/* SQLite keeps any type in any column. */
static void a_row_of_the_wrong_shape_is_an_error(void **state) {
    fixture *f = *state;
    commit_n(f, 3, "a");
    raw(f, "UPDATE journal SET at_ms = 'yesterday' WHERE seq = 2");
    uint64_t bad;
    must_fail(tt_store_verify(f->store, &bad, &g_err), "breaks at entry 2");
    must_fail(tt_store_read(f->store, 0, 10, "", collect, &got, &g_err), "damaged after entry 1");
    rows_free(&got);
}

enum { THREADS = 4, COMMITS = 20 };
static void *commit_some(void *ctx) {
    for (int i = 0; i < COMMITS; i++) {
        tt_store_entry e[] = {entry(i, "action", "a", "{}"), entry(i, "judged", "a", "{}")};
        uint64_t first, bad;
        if (!tt_store_commit(ctx, e, 2, "{}", &first, &g_err) || !tt_store_verify(ctx, &bad, &g_err)) return strdup(g_err.text);
    }
    return NULL;
}

static void threads_take_turns(void **state) {
    fixture *f = *state;
    pthread_t t[THREADS];
    for (int i = 0; i < THREADS; i++) assert_int_equal(pthread_create(&t[i], NULL, commit_some, f->store), 0);
    for (int i = 0; i < THREADS; i++) {
        char *complaint;
        pthread_join(t[i], (void **)&complaint);
        if (complaint) fail_msg("thread %d: %s", i, complaint);
    }
    must(tt_store_read(f->store, 0, 1000, "", collect, &got, &g_err));
    assert_int_equal(got.n, THREADS * COMMITS * 2);
    for (size_t i = 0; i < got.n; i++) assert_string_equal(got.row[i].e.kind, i % 2 ? "judged" : "action"); /* a commit's entries stay together */
    rows_free(&got);
}

/* SQLite numbers $n by first appearance, PostgreSQL by n: the same only when they are introduced in order. */
static void parameters_are_introduced_in_order(void **state) {
    (void)state;
    for (size_t i = 0; i < TT_SQL_COUNT; i++) {
        long next = 1;
        for (const char *p = tt_sql_text[i]; (p = strchr(p, '$')) != NULL; p++) {
            long n = strtol(p + 1, NULL, 10);
            if (n < 1 || n > next) fail_msg("$%ld where $%ld is due: %s", n, next, tt_sql_text[i]);
            if (n == next) next++;
        }
    }
}

int journal_tests(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parameters_are_introduced_in_order),
        TESTS(what_is_committed_is_read_back),
        TESTS(pages_are_whole_and_in_order),
        TESTS(a_reader_may_call_the_store),
        TESTS(state_is_replaced_with_the_entries),
        TESTS(bodies_are_bytes),
        TESTS(epochs_grow_and_fence),
        TEST_ON(a_second_daemon_takes_over, ON_POSTGRES),
        TESTS(tampering_is_found),
        TESTS(the_oldest_entries_go),
        TESTS(a_reader_reads_beside_the_daemon),
        TEST_ON(a_row_of_the_wrong_shape_is_an_error, ON_SQLITE),
        TESTS(threads_take_turns),
    };
    return cmocka_run_group_tests_name("journal", tests, NULL, NULL);
}
