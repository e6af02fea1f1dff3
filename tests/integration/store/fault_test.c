/* Each nth statement fails, in each of several ways; nothing may stay half applied, and the next call must work. */
#include "fixture.h"
#include "store_internal.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum { BEFORE, AFTER, CONNECTION_LOST, N_MODES } mode;

/* Stands between the store and its engine: a real engine with a failure put in. */
typedef struct {
    tt_db base;
    tt_db *real;
    const fixture *f;
    mode mode;
    int fail_at, calls; /* fail_at -1: never */
    int unknown_at;     /* this commit's answer gets lost though it went through; -1: never */
    int commits;
    bool fired;
} faulty;

static bool due(faulty *d) {
    bool now = d->calls++ == d->fail_at;
    d->fired |= now;
    return now;
}

static bool injected(tt_err *err) {
    return tt_fail(err, TT_EIO, "injected failure");
}

/* Waits for each to be gone, not for none to be there: the store may be back already. */
static void cut_connections(const fixture *f) {
    raw(f, "SELECT pg_terminate_backend(pid, 20000) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()");
}

static bool faulty_begin(tt_db *db, bool alone, tt_err *err) {
    faulty *d = (faulty *)db;
    bool now = due(d);
    if (now && d->mode == BEFORE) return injected(err);
    if (now && d->mode == CONNECTION_LOST) cut_connections(d->f);
    bool ok = d->real->ops->begin(d->real, alone, err);
    if (!now || d->mode != AFTER) return ok;
    d->real->ops->rollback(d->real);
    return injected(err);
}

static bool faulty_query(tt_db *db, tt_sql sql, const tt_db_value *args, size_t n, tt_db_each each, void *ctx, tt_err *err) {
    faulty *d = (faulty *)db;
    bool now = due(d);
    if (now && d->mode == BEFORE) return injected(err);
    if (now && d->mode == CONNECTION_LOST) cut_connections(d->f);
    bool ok = d->real->ops->query(d->real, sql, args, n, each, ctx, err);
    return now && d->mode == AFTER ? injected(err) : ok;
}

static tt_db_end faulty_commit(tt_db *db, tt_err *err) {
    faulty *d = (faulty *)db;
    bool now = due(d);
    if (now && d->mode != CONNECTION_LOST) {
        d->real->ops->rollback(d->real);
        injected(err);
        return TT_DB_FAILED;
    }
    if (now) cut_connections(d->f);
    tt_db_end end = d->real->ops->commit(d->real, err);
    if (d->commits++ != d->unknown_at) return end;
    tt_fail(err, TT_EIO, "injected loss of the answer");
    return TT_DB_UNKNOWN;
}

static void faulty_rollback(tt_db *db) {
    ((faulty *)db)->real->ops->rollback(((faulty *)db)->real);
}

static const tt_db_ops faulty_ops = {
    .kind = "faulty", .begin = faulty_begin, .query = faulty_query, .commit = faulty_commit, .rollback = faulty_rollback};

static void put_in(faulty *d, fixture *f, mode m, int fail_at, int unknown_at) {
    *d = (faulty){.base.ops = &faulty_ops, .real = f->store->db, .f = f, .mode = m, .fail_at = fail_at, .unknown_at = unknown_at};
    f->store->db = &d->base;
}

static void take_out(faulty *d, fixture *f) {
    f->store->db = d->real;
}

static bool do_commit(tt_store *s) {
    tt_store_entry e[] = {entry(1, "action", "a", "{}"), entry(2, "judged", "", "{}")};
    return tt_store_commit(s, e, 2, "{\"new\":true}", NULL, &g_err);
}
static bool do_epoch(tt_store *s) {
    uint64_t epoch;
    return tt_store_next_epoch(s, &epoch, &g_err);
}
static bool do_delivery(tt_store *s) {
    uint64_t id;
    bool fresh;
    return tt_store_delivery(s, "alertmanager", "key", 1, "body", 4, &id, &fresh, &g_err);
}
static bool do_done(tt_store *s) {
    return tt_store_delivery_done(s, 1, &g_err);
}
static bool do_trim(tt_store *s) {
    return tt_store_trim(s, 1, &g_err);
}

enum { FIGURES = 8 };
/* Everything a call could have changed. */
static void look(const fixture *f, int64_t v[FIGURES]) {
    static const char *const sql[FIGURES] = {"SELECT count(*) FROM journal",   "SELECT max(seq) FROM journal",
                                             "SELECT seq FROM journal_head",   "SELECT length(body) * 1000 + seq FROM engine_state",
                                             "SELECT epoch FROM lease",        "SELECT count(*) * 1000 + sum(done) FROM delivery",
                                             "SELECT sum(value) FROM counter", "SELECT count(*) FROM counter"};
    for (size_t i = 0; i < FIGURES; i++) v[i] = raw_int(f, sql[i]);
}

static void each_nth_failure_changes_nothing(void **state) {
    static const struct {
        const char *name;
        bool (*run)(tt_store *);
        int at_least; /* statements it takes, so that the test cannot run empty */
    } calls[] = {{"commit", do_commit, 8}, {"next_epoch", do_epoch, 3}, {"delivery", do_delivery, 6}, {"done", do_done, 3}, {"trim", do_trim, 3}};
    fixture *f = *state;
    for (size_t c = 0; c < TT_COUNT(calls); c++)
        for (mode m = BEFORE; m < (f->engine == ON_POSTGRES ? N_MODES : CONNECTION_LOST); m++) {
            fixture t;
            place_new(&t, f->engine);
            fixture_open(&t);
            tt_store_entry e = entry(1, "action", "", "{}");
            must(tt_store_commit(t.store, &e, 1, "{}", NULL, &g_err));
            uint64_t id, bad;
            bool fresh;
            for (char key[2] = "a"; *key < 'e'; ++*key) must(tt_store_delivery(t.store, "alertmanager", key, 1, "x", 1, &id, &fresh, &g_err));
            for (id = 2; id <= 4; id++) must(tt_store_delivery_done(t.store, id, &g_err));
            int64_t before[FIGURES], after[FIGURES];
            look(&t, before);
            for (int n = 0;; n++) {
                faulty d;
                put_in(&d, &t, m, n, -1);
                bool ok = calls[c].run(t.store);
                take_out(&d, &t);
                look(&t, after);
                bool same = memcmp(before, after, sizeof before) == 0;
                if (!d.fired) {
                    if (!ok || same || n < calls[c].at_least)
                        fail_msg("%s, mode %d: %s after %d statements", calls[c].name, (int)m, ok ? "done" : g_err.text, n);
                    break;
                }
                /* A connection lost before anything was done is made again: then the call went through, whole. */
                if (ok && m == CONNECTION_LOST && !same) {
                    memcpy(before, after, sizeof before);
                    if (c == 2) raw(&t, "DELETE FROM delivery WHERE id > 4");
                    if (c == 3) raw(&t, "UPDATE delivery SET done = 0 WHERE id = 1");
                    if (c == 4) raw(&t, "INSERT INTO delivery SELECT id - 2, source, NULL, at_ms, 1, body FROM delivery WHERE id = 4");
                    look(&t, before);
                } else if (ok || !same) {
                    fail_msg("%s, mode %d, statement %d: %s, %s", calls[c].name, (int)m, n, ok ? "true" : "false",
                             same ? "nothing changed" : "half applied");
                }
            }
            must(tt_store_verify(t.store, &bad, &g_err));
            fixture_close(&t);
        }
}

static void check_leaves_nothing(void **state) {
    fixture *f = *state;
    int64_t before[FIGURES], after[FIGURES];
    look(f, before);
    must(tt_store_check(f->store, &g_err));
    look(f, after);
    assert_memory_equal(before, after, sizeof before);
    for (int n = 0; n < 2; n++) {
        faulty d;
        put_in(&d, f, BEFORE, n, -1);
        bool ok = tt_store_check(f->store, &g_err);
        take_out(&d, f);
        must_fail(ok, "injected");
    }
}

/* The answer to COMMIT is lost: the entries are in once, whatever the caller does next. */
static void an_unheard_commit_is_recognised(void **state) {
    fixture *f = *state;
    faulty d;
    uint64_t first, bad;
    tt_store_entry e[] = {entry(1, "action", "a", "{\"n\":1}"), entry(2, "judged", "a", "{\"n\":2}"), entry(3, "hold", "", "{}")};
    must(tt_store_commit(f->store, e, 1, NULL, NULL, &g_err));
    /* The store can be asked at once: one call, no error. */
    put_in(&d, f, BEFORE, -1, 0);
    bool ok = tt_store_commit(f->store, e, 2, "{\"v\":1}", &first, &g_err);
    take_out(&d, f);
    must(ok);
    assert_int_equal(first, 2);
    assert_int_equal(raw_int(f, "SELECT count(*) FROM journal"), 3);
    /* It cannot: false; the caller tries again with the same, and with one more behind. Calls of an empty commit: begin, hold, head, entries, move,
     * commit. */
    for (int more = 0; more < 2; more++) {
        int64_t count = raw_int(f, "SELECT count(*) FROM journal");
        put_in(&d, f, BEFORE, 7, 0); /* the second attempt's BEGIN */
        ok = tt_store_commit(f->store, e, 2, NULL, &first, &g_err);
        take_out(&d, f);
        must_fail(ok, "injected failure");
        assert_true(d.fired);
        assert_int_equal(raw_int(f, "SELECT count(*) FROM journal"), count + 2);
        must(tt_store_commit(f->store, e, (size_t)(2 + more), NULL, &first, &g_err));
        assert_int_equal(first, count + 1);
        assert_int_equal(raw_int(f, "SELECT count(*) FROM journal"), count + 2 + more);
        /* And only once: the same entries later are new ones. */
        must(tt_store_commit(f->store, e, 2, NULL, &first, &g_err));
        assert_int_equal(first, count + 3 + more);
    }
    must(tt_store_verify(f->store, &bad, &g_err));
}

static void *commit_in_thread(void *ctx) {
    fixture *f = ctx;
    tt_store_entry e = entry(9, "action", "", "{\"unheard\":1}");
    return tt_store_commit(f->store, &e, 1, "{}", NULL, &g_err) ? NULL : strdup(g_err.text);
}

/* The real thing: PostgreSQL has committed and waits for a standby that never answers, then the connection goes. */
static void a_connection_lost_in_commit_is_survived(void **state) {
    fixture *f = *state;
    uint64_t last, bad;
    server_sql("postgres", "ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
    server_sql("postgres", "SELECT pg_reload_conf()");
    while (raw_int(f, "SELECT CASE WHEN current_setting('synchronous_standby_names') = 'nobody' THEN 1 ELSE 0 END") != 1) {
    }
    pthread_t t;
    assert_int_equal(pthread_create(&t, NULL, commit_in_thread, f), 0);
    while (raw_int(f, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'SyncRep'") == 0) {
    }
    server_sql("postgres", "ALTER SYSTEM RESET synchronous_standby_names");
    cut_connections(f);
    server_sql("postgres", "SELECT pg_reload_conf()");
    char *complaint;
    pthread_join(t, (void **)&complaint);
    if (complaint) fail_msg("%s", complaint);
    must(tt_store_last_seq(f->store, &last, &g_err));
    assert_int_equal(last, 1);
    must(tt_store_verify(f->store, &bad, &g_err));
}

static void a_lost_connection_is_made_again(void **state) {
    fixture *f = *state;
    uint64_t last, bad;
    must(do_commit(f->store));
    cut_connections(f);
    must(tt_store_last_seq(f->store, &last, &g_err)); /* a read */
    cut_connections(f);
    must(do_commit(f->store)); /* a write: nothing was under way */
    server_crash();
    must_fail(do_commit(f->store), "cannot connect to PostgreSQL");
    must_fail(tt_store_check(f->store, &g_err), "cannot connect to PostgreSQL");
    must_fail(tt_store_last_seq(f->store, &last, &g_err), "cannot connect to PostgreSQL");
    server_again();
    must(tt_store_check(f->store, &g_err));
    must(do_commit(f->store));
    must(tt_store_last_seq(f->store, &last, &g_err));
    assert_int_equal(last, 6);
    must(tt_store_verify(f->store, &bad, &g_err));
}

/* Prepared statements vanish under us, as behind a pooler. */
static void forgotten_statements_are_prepared_anew(void **state) {
    fixture *f = *state;
    must(do_commit(f->store));
    const tt_db_ops *ops = f->store->db->ops;
    must(ops->begin(f->store->db, false, &g_err));
    must(ops->script(f->store->db, "DEALLOCATE ALL", &g_err));
    must(ops->commit(f->store->db, &g_err) == TT_DB_COMMITTED);
    must_fail(do_commit(f->store), "SQLSTATE 26000");
    must(do_commit(f->store));
}

int fault_tests(void) {
    const struct CMUnitTest tests[] = {
        TESTS(each_nth_failure_changes_nothing),
        TESTS(check_leaves_nothing),
        TESTS(an_unheard_commit_is_recognised),
        TEST_ON(a_connection_lost_in_commit_is_survived, ON_POSTGRES),
        TEST_ON(a_lost_connection_is_made_again, ON_POSTGRES),
        TEST_ON(forgotten_statements_are_prepared_anew, ON_POSTGRES),
    };
    return cmocka_run_group_tests_name("faults", tests, NULL, NULL);
}
