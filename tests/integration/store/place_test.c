/* Where the store may be, who else is there, and which schema it finds. */
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define refused(where, part) refused_(where, part, __LINE__)
static void refused_(const char *where, const char *part, int line) {
    tt_store *s = tt_store_open(where, &g_err);
    must_fail_(s != NULL, where, part, &g_err, __FILE__, line);
    tt_store_close(s);
}

static void directories_are_ours_alone(void **state) {
    fixture *f = *state;
    char deep[700], path[800];
    snprintf(deep, sizeof deep, "%s/a/b", f->where);
    mode_t old = umask(0);
    tt_store *s = tt_store_open(deep, &g_err);
    umask(old);
    must(s != NULL);
    assert_string_equal(tt_store_kind(s), "sqlite");
    uint64_t epoch;
    must(tt_store_next_epoch(s, &epoch, &g_err)); /* so that the WAL is there */
    static const struct {
        const char *name;
        mode_t mode;
    } files[] = {{"", 0700}, {"/..", 0700}, {"/trimtab.db", 0600}, {"/trimtab.db-wal", 0600}, {"/trimtab.lock", 0600}};
    for (size_t i = 0; i < TT_COUNT(files); i++) {
        struct stat st;
        snprintf(path, sizeof path, "%s%s", deep, files[i].name);
        if (stat(path, &st) != 0 || (st.st_mode & 07777) != files[i].mode) fail_msg("%s: mode %o", path, st.st_mode);
    }
    tt_store_close(s);
}

static void places_that_cannot_be(void **state) {
    fixture *f = *state;
    char path[700];
    refused("", "no state directory");
    refused(NULL, "no state directory");
    refused("mysql://root@x/y", "cannot be at \"mysql://...\"");
    refused("/dev/null", "not a directory");
    refused("/dev/null/state", "cannot make the state directory /dev/null/state: Not a directory");
    refused("/proc/trimtab-state", "cannot make the state directory");
    memset(path, 'x', sizeof path - 1);
    path[sizeof path - 1] = 0;
    refused(path, "File name too long");

    char dir[256];
    tree_path("readonly", dir, sizeof dir);
    if (can_mount()) { /* root writes anywhere else */
        mount_tmpfs(dir, "2m");
        if (mount("tmpfs", dir, NULL, MS_REMOUNT | MS_RDONLY, NULL) != 0) fail_msg("%s", strerror(errno));
    } else {
        assert_int_equal(mkdir(dir, 0500), 0);
        if (geteuid() == 0) skip();
    }
    refused(dir, "cannot write the state directory");
    snprintf(path, sizeof path, "%s/below", dir);
    refused(path, "cannot make the state directory");
    (void)f;
}

/* The directory becomes read-only under a running daemon, and recovers. */
static void writable_no_more(void **state) {
    fixture *f = *state;
    if (!can_mount()) skip();
    fixture t = {.engine = ON_SQLITE};
    tree_path("turns", t.where, sizeof t.where);
    mount_tmpfs(t.where, "4m");
    snprintf(t.file, sizeof t.file, "%s/trimtab.db", t.where);
    fixture_open(&t);
    tt_store_entry e = entry(1, "action", "", "{}");
    must(tt_store_commit(t.store, &e, 1, NULL, NULL, &g_err));
    fixture_close(&t);
    assert_int_equal(mount("tmpfs", t.where, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
    refused(t.where, "Read-only file system");
    assert_int_equal(mount("tmpfs", t.where, NULL, MS_REMOUNT, NULL), 0);
    fixture_open(&t);
    fixture_close(&t);
    (void)f;
}

static void removed_under_the_daemon(void **state) {
    fixture *f = *state;
    must(tt_store_check(f->store, &g_err));
    assert_int_equal(unlink(f->file), 0);
    must_fail(tt_store_check(f->store, &g_err), "was removed or replaced");
}

static void one_daemon_a_directory(void **state) {
    fixture *f = *state;
    char text[64];
    snprintf(text, sizeof text, "another trimtab (process %ld) uses", (long)getpid());
    refused(f->where, text);
    fflush(NULL);
    pid_t pid = fork(); /* another process, too */
    if (pid == 0) {
        tt_store *s = tt_store_open(f->where, &g_err);
        _exit(s || !strstr(g_err.text, text));
    }
    int status;
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
    fixture_close(f);
    fixture_open(f);
}

static void locked_by_a_shell(void **state) {
    fixture *f = *state;
    sqlite3 *shell;
    assert_int_equal(sqlite3_open(f->file, &shell), SQLITE_OK);
    assert_int_equal(sqlite3_exec(shell, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    tt_store_entry e = entry(1, "action", "", "{}");
    must_fail(tt_store_commit(f->store, &e, 1, NULL, NULL, &g_err), "stayed locked by another process");
    assert_int_equal(sqlite3_exec(shell, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(shell);
    must(tt_store_commit(f->store, &e, 1, NULL, NULL, &g_err));
}

static void overwrite(const char *file, off_t at, size_t n) {
    int fd = open(file, O_WRONLY);
    char junk[4096];
    memset(junk, 0x5a, sizeof junk);
    for (size_t done = 0; done < n; done += sizeof junk) assert_int_equal(pwrite(fd, junk, sizeof junk, at + (off_t)done), sizeof junk);
    close(fd);
}

static void damaged_files(void **state) {
    fixture *f = *state;
    static char padding[3000];
    memset(padding, 'x', sizeof padding - 1);
    tt_store_entry e = entry(1, "action", "", padding);
    for (int i = 0; i < 40; i++) must(tt_store_commit(f->store, &e, 1, NULL, NULL, &g_err));
    fixture_close(f);
    struct stat st;
    assert_int_equal(stat(f->file, &st), 0);
    overwrite(f->file, 4096 * 12, (size_t)st.st_size - 4096 * 12); /* the schema still reads */
    f->store = tt_store_open(f->where, &g_err);
    if (f->store) {
        uint64_t bad;
        must_fail(tt_store_verify(f->store, &bad, &g_err), "is damaged");
        assert_int_equal(bad, 0);
        fixture_close(f);
    } else {
        must_fail(false, "is damaged");
    }
    overwrite(f->file, 0, 4096);
    refused(f->where, "is damaged");
}

static void another_schema_is_refused(void **state) {
    fixture *f = *state;
    fixture_close(f);
    raw(f, "INSERT INTO migration (version, name, checksum) VALUES (99, '0099_future', 'x')");
    refused(f->where, "written by a newer trimtab: it has migration 99 (0099_future)");
    raw(f, "DELETE FROM migration WHERE version = 99");
    fixture_open(f); /* it was not harmed */
    assert_int_equal(f->epoch, 2);
    fixture_close(f);
    raw(f, "UPDATE migration SET checksum = 'abc' WHERE version = 2");
    refused(f->where, "belongs to another build");
}

static tt_db *open_db(const fixture *f) {
    tt_db *db = f->engine == ON_SQLITE ? tt_sqlite_open(f->where, &g_err) : tt_postgres_open(f->where, &g_err);
    must(db != NULL);
    return db;
}

static void migrations_go_forward_one_by_one(void **state) {
    static const tt_migration next[] = {
        {1, "0001_a", "CREATE TABLE a (x BIGINT); INSERT INTO a VALUES (1)", 51},
        {2, "0002_b", "CREATE TABLE b (x BIGINT); INSERT INTO nowhere VALUES (1)", 57},
        {2, "0002_b", "CREATE TABLE b (x BIGINT); INSERT INTO b VALUES (2)", 51},
    };
    fixture *f = *state, t;
    place_new(&t, f->engine);
    tt_db *db = open_db(&t);
    must_fail(tt_migrate(db, next, 2, &g_err), "migration 0002_b failed and was rolled back");
    assert_int_equal(raw_int(&t, "SELECT x FROM a"), 1);
    assert_int_equal(raw_int(&t, "SELECT count(*) FROM migration"), 1);
    db->ops->close(db);
    db = open_db(&t);
    const tt_migration fixed[] = {next[0], next[2]};
    must(tt_migrate(db, fixed, 2, &g_err)); /* b was not left behind, or CREATE would fail */
    must(tt_migrate(db, fixed, 2, &g_err));
    assert_int_equal(raw_int(&t, "SELECT x FROM b"), 2);
    assert_int_equal(raw_int(&t, "SELECT count(*) FROM a"), 1);
    must_fail(tt_migrate(db, fixed, 1, &g_err), "newer trimtab");
    db->ops->close(db);
}

static void embedded_migrations_are_numbered(void **state) {
    (void)state;
    assert_true(tt_n_migrations >= 3);
    for (size_t i = 0; i < tt_n_migrations; i++) {
        assert_int_equal(tt_migrations[i].version, i + 1);
        assert_int_equal(strlen(tt_migrations[i].sql), tt_migrations[i].n);
    }
}

static void *open_in_thread(void *where) {
    tt_store *s = tt_store_open(where, &g_err);
    if (!s) return strdup(g_err.text);
    tt_store_close(s);
    return NULL;
}

static void replicas_may_start_together(void **state) {
    fixture *f = *state, t;
    place_new(&t, f->engine);
    pthread_t thread[6];
    for (size_t i = 0; i < TT_COUNT(thread); i++) assert_int_equal(pthread_create(&thread[i], NULL, open_in_thread, t.where), 0);
    for (size_t i = 0; i < TT_COUNT(thread); i++) {
        char *complaint;
        pthread_join(thread[i], (void **)&complaint);
        if (complaint) fail_msg("%s", complaint);
    }
    fixture_open(&t);
    assert_string_equal(tt_store_kind(t.store), "postgresql");
    fixture_close(&t);
}

static void servers_that_refuse(void **state) {
    fixture *f = *state;
    char where[600];
    refused("postgresql://trimtab@127.0.0.1:1/x", "cannot connect to PostgreSQL");
    snprintf(where, sizeof where, "postgresql://trimtab:secret@/nowhere?host=%s", server_socket_dir());
    refused(where, "database \"nowhere\" does not exist");
    assert_null(strstr(g_err.text, "secret"));
    raw(f, "CREATE ROLE guest LOGIN");
    raw(f, "ALTER DATABASE template1 SET search_path = public");
    snprintf(where, sizeof where, "postgres://guest@/%s?host=%s", f->file, server_socket_dir());
    refused(where, "grant this role");
    raw(f, "DROP ROLE guest");
}

/* A default of the role or the database must not weaken what we promise. */
static void settings_of_the_database_do_not_matter(void **state) {
    fixture *f = *state;
    char sql[700];
    static const char *const settings[] = {"synchronous_commit = off", "default_transaction_isolation = 'serializable'", "bytea_output = 'escape'",
                                           "default_transaction_read_only = on"};
    fixture_close(f);
    for (size_t i = 0; i < TT_COUNT(settings); i++) {
        snprintf(sql, sizeof sql, "ALTER DATABASE %s SET %s", f->file, settings[i]);
        server_sql("postgres", sql);
    }
    fixture_open(f);
    tt_store_entry e = entry(1, "action", "", "\xff");
    must(tt_store_commit(f->store, &e, 1, "{}", NULL, &g_err));
    tt_db *db = open_db(f);
    must(db->ops->begin(db, false, &g_err));
    must(db->ops->script(
        db,
        "DO $$ BEGIN ASSERT current_setting('synchronous_commit') = 'on'; ASSERT current_setting('transaction_isolation') = 'read committed'; END $$",
        &g_err));
    db->ops->rollback(db);
    db->ops->close(db);
}

int place_tests(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(embedded_migrations_are_numbered),
        TEST_ON(directories_are_ours_alone, ON_SQLITE),
        TEST_ON(places_that_cannot_be, ON_SQLITE),
        TEST_ON(writable_no_more, ON_SQLITE),
        TEST_ON(removed_under_the_daemon, ON_SQLITE),
        TEST_ON(one_daemon_a_directory, ON_SQLITE),
        TEST_ON(locked_by_a_shell, ON_SQLITE),
        TEST_ON(damaged_files, ON_SQLITE),
        TESTS(another_schema_is_refused),
        TESTS(migrations_go_forward_one_by_one),
        TEST_ON(replicas_may_start_together, ON_POSTGRES),
        TEST_ON(servers_that_refuse, ON_POSTGRES),
        TEST_ON(settings_of_the_database_do_not_matter, ON_POSTGRES),
    };
    return cmocka_run_group_tests_name("places", tests, NULL, NULL);
}
