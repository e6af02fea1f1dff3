/* Death at any moment, and room that runs out: what was acknowledged is there, what was not is there whole or not at all. */
#include "fixture.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PER_COMMIT = 3 };

/* Commits for ever, and tells each commit's last seq once it is acknowledged. */
static _Noreturn void write_and_tell(const fixture *f, int fd) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    uint64_t epoch, first;
    tt_store *s = tt_store_open(f->where, &g_err);
    if (!s || !tt_store_next_epoch(s, &epoch, &g_err)) _exit(2);
    static char padding[20000];
    memset(padding, 'x', sizeof padding - 1);
    if (!tt_store_last_seq(s, &first, &g_err)) _exit(3);
    for (uint64_t last = first;; last += PER_COMMIT) {
        char text[24];
        snprintf(text, sizeof text, "%llu", (unsigned long long)(last + PER_COMMIT));
        tt_store_entry e[PER_COMMIT] = {entry(1, "action", "a", text), entry(2, "judged", "a", padding), entry(3, "hold", "", "{}")};
        if (!tt_store_commit(s, e, PER_COMMIT, text, &first, &g_err)) _exit(4);
        uint64_t told = first + PER_COMMIT - 1;
        if (write(fd, &told, sizeof told) != sizeof told) _exit(5);
    }
}

static pid_t start_writer(const fixture *f, int *ret_fd) {
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        close(ends[0]);
        write_and_tell(f, ends[1]);
    }
    close(ends[1]);
    *ret_fd = ends[0];
    return pid;
}

static uint64_t read_acks(int fd, int at_most) {
    uint64_t last = 0, told;
    for (int i = 0; i < at_most && read(fd, &told, sizeof told) == sizeof told; i++) last = told;
    return last;
}

/* The state says how far the journal must go: they were committed together. */
static void expect_whole(fixture *f, uint64_t acked) {
    uint64_t last, bad;
    must(tt_store_last_seq(f->store, &last, &g_err));
    if (last < acked) fail_msg("entry %llu was acknowledged, the journal ends at %llu", (unsigned long long)acked, (unsigned long long)last);
    assert_int_equal(last % PER_COMMIT, 0);
    char *json;
    must(tt_store_load_state(f->store, &json, &g_err));
    assert_int_equal(json ? strtoull(json, NULL, 10) : 0, last);
    free(json);
    must(tt_store_verify(f->store, &bad, &g_err));
    assert_int_equal(raw_int(f, "SELECT count(*) FROM journal"), (int64_t)last);
}

static void killed_while_committing(void **state) {
    fixture *f = *state;
    fixture_close(f);
    for (int round = 0; round < 12; round++) {
        int fd;
        pid_t pid = start_writer(f, &fd);
        uint64_t acked = read_acks(fd, 1 + round * 3);
        assert_true(acked > 0);
        kill(pid, SIGKILL);
        int status;
        waitpid(pid, &status, 0);
        assert_true(WIFSIGNALED(status)); /* it did not stop by itself */
        uint64_t later = read_acks(fd, 1000000);
        close(fd);
        fixture_open(f);
        expect_whole(f, later > acked ? later : acked);
        fixture_close(f);
    }
}

static void the_server_dies_while_committing(void **state) {
    fixture *f = *state;
    fixture_close(f);
    for (int round = 0; round < 3; round++) {
        int fd;
        pid_t pid = start_writer(f, &fd);
        uint64_t acked = read_acks(fd, 10);
        assert_true(acked > 0);
        server_crash();
        int status;
        waitpid(pid, &status, 0); /* its commit fails, and it says so */
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 4);
        uint64_t later = read_acks(fd, 1000000);
        close(fd);
        server_again();
        fixture_open(f);
        expect_whole(f, later > acked ? later : acked);
        fixture_close(f);
    }
}

/* Fills the store until it refuses. Returns how many commits were acknowledged. */
static uint64_t fill(fixture *f, const char *says, size_t at_most) {
    static char padding[40000];
    memset(padding, 'x', sizeof padding - 1);
    uint64_t n = 0;
    for (;; n++) {
        if (n == at_most) fail_msg("%zu commits, and still room", at_most);
        char text[24];
        snprintf(text, sizeof text, "%llu", (unsigned long long)((n + 1) * PER_COMMIT));
        tt_store_entry e[PER_COMMIT] = {entry(1, "action", "a", text), entry(2, "judged", "a", padding), entry(3, "hold", "", "{}")};
        if (!tt_store_commit(f->store, e, PER_COMMIT, text, NULL, &g_err)) break;
    }
    must_fail(false, says);
    assert_true(n > 0);
    return n;
}

static void full_disk_sqlite(void **state) {
    fixture *f = *state;
    if (!can_mount()) skip(); /* the file size limit below needs no privilege */
    fixture t = {.engine = ON_SQLITE};
    tree_path("small", t.where, sizeof t.where);
    mount_tmpfs(t.where, "2m");
    snprintf(t.file, sizeof t.file, "%s/trimtab.db", t.where);
    fixture_open(&t);
    must(tt_store_check(t.store, &g_err));
    char ballast[600];
    snprintf(ballast, sizeof ballast, "%s/ballast", t.where);
    uint64_t n = fill(&t, "no room left", 1000);
    expect_whole(&t, n * PER_COMMIT);
    must_fail(tt_store_check(t.store, &g_err), "less than 1 MiB free");
    uint64_t id;
    bool fresh;
    static char body[100000];
    must_fail(tt_store_delivery(t.store, "alertmanager", "k", 1, body, sizeof body, &id, &fresh, &g_err), "no room left");
    assert_int_equal(raw_int(&t, "SELECT count(*) + (SELECT value FROM counter) FROM delivery"), 0);
    fixture_close(&t);
    fixture_open(&t); /* a restart needs no room */
    expect_whole(&t, n * PER_COMMIT);
    fixture_close(&t);
    (void)f;
}

/* Run in a process of its own (main.c): the limit is for good. */
static void fill_up_to_the_limit(void **state) {
    (void)state;
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit limit = {1 << 20, 1 << 20};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    fixture t;
    place_new(&t, ON_SQLITE);
    fixture_open(&t);
    uint64_t n = fill(&t, "no room left", 1000);
    expect_whole(&t, n * PER_COMMIT);
    fixture_close(&t);
}

int limited_tests(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(fill_up_to_the_limit)};
    return cmocka_run_group_tests_name("limited", tests, NULL, NULL);
}

static void file_size_limit(void **state) {
    (void)state;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        execl("/proc/self/exe", "test_store", "limited", (char *)NULL);
        _exit(127);
    }
    int status;
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
}

/* The database's own files are on a small disk, the server's log of writes is not. */
static void full_disk_postgres(void **state) {
    fixture *f = *state;
    if (!can_mount()) skip();
    char dir[256], sql[700];
    tree_path("small", dir, sizeof dir);
    mount_tmpfs(dir, "14m");
    server_chown(dir);
    snprintf(sql, sizeof sql, "CREATE TABLESPACE small LOCATION '%s'", dir);
    server_sql("postgres", sql);
    fixture t = {.engine = ON_POSTGRES, .file = "small"};
    server_sql("postgres", "CREATE DATABASE small TABLESPACE small");
    snprintf(t.where, sizeof t.where, "postgresql://trimtab@/small?host=%s", server_socket_dir());
    fixture_open(&t);
    /* Compressed to nothing otherwise. */
    raw(&t, "ALTER TABLE journal ALTER COLUMN body SET STORAGE EXTERNAL");
    uint64_t n = fill(&t, "out of disk", 2000);
    expect_whole(&t, n * PER_COMMIT);
    fixture_close(&t);
    server_sql("postgres", "DROP DATABASE small WITH (FORCE)");
    server_sql("postgres", "DROP TABLESPACE small");
    (void)f;
}

int crash_tests(void) {
    const struct CMUnitTest tests[] = {
        TESTS(killed_while_committing),           TEST_ON(the_server_dies_while_committing, ON_POSTGRES),
        TEST_ON(full_disk_sqlite, ON_SQLITE),     TEST_ON(file_size_limit, ON_SQLITE),
        TEST_ON(full_disk_postgres, ON_POSTGRES),
    };
    return cmocka_run_group_tests_name("crashes", tests, NULL, NULL);
}
