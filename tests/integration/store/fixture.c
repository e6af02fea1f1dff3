#include "fixture.h"

#include <errno.h>
#include <ftw.h>
#include <libpq-fe.h>
#include <sched.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

_Thread_local tt_err g_err;
static char tree[64];
static bool private_mounts;
static atomic_int serial;

void must_(bool ok, const char *what, const tt_err *err, const char *file, int line) {
    if (!ok) {
        print_error("%s:%d: %s failed: %s\n", file, line, what, err->text);
        _fail(file, line);
    }
}

void must_fail_(bool ok, const char *what, const char *part, const tt_err *err, const char *file, int line) {
    if (ok || !strstr(err->text, part)) {
        print_error("%s:%d: %s %s; wanted an error with \"%s\"\n", file, line, what, ok ? "succeeded" : err->text, part);
        _fail(file, line);
    }
}

void tree_make(void) {
    /* Mounts in a name space of our own vanish with us, whatever happens. */
    private_mounts = geteuid() == 0 && unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
    snprintf(tree, sizeof tree, "/tmp/trimtab-store-XXXXXX");
    if (!mkdtemp(tree) || chmod(tree, 0755) != 0) {
        perror(tree);
        exit(1);
    }
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *at) {
    (void)st;
    (void)at;
    if (flag == FTW_DP) umount2(path, MNT_DETACH);
    remove(path);
    return 0;
}

void tree_remove(void) {
    nftw(tree, remove_one, 32, FTW_DEPTH | FTW_PHYS);
}

const char *tree_path(const char *name, char *buf, size_t size) {
    snprintf(buf, size, "%s/%s%d", tree, name, ++serial);
    return buf;
}

bool can_mount(void) {
    return private_mounts;
}

void mount_tmpfs(const char *dir, const char *size) {
    char options[48];
    snprintf(options, sizeof options, "size=%s,mode=0755", size);
    if (mkdir(dir, 0755) != 0 || mount("tmpfs", dir, "tmpfs", 0, options) != 0) fail_msg("mounting %s: %s", dir, strerror(errno));
}

void place_new(fixture *f, engine e) {
    *f = (fixture){.engine = e};
    if (e == ON_SQLITE) {
        tree_path("state", f->where, sizeof f->where);
        snprintf(f->file, sizeof f->file, "%s/trimtab.db", f->where);
        return;
    }
    snprintf(f->file, sizeof f->file, "t%d", ++serial);
    char sql[600];
    snprintf(sql, sizeof sql, "CREATE DATABASE %.40s", f->file);
    server_sql("postgres", sql);
    snprintf(f->where, sizeof f->where, "postgresql://trimtab@/%.40s?host=%s", f->file, server_socket_dir());
}

void fixture_open(fixture *f) {
    f->store = tt_store_open(f->where, &g_err);
    must(f->store != NULL);
    must(tt_store_next_epoch(f->store, &f->epoch, &g_err));
}

void fixture_close(fixture *f) {
    tt_store_close(f->store);
    f->store = NULL;
}

int fixture_setup(void **state) {
    fixture *f = malloc(sizeof *f);
    place_new(f, (engine)(intptr_t)*state);
    fixture_open(f);
    *state = f;
    return 0;
}

int fixture_teardown(void **state) {
    fixture *f = *state;
    fixture_close(f);
    free(f);
    return 0;
}

static int64_t raw_sqlite(const fixture *f, const char *sql) {
    sqlite3 *db;
    if (sqlite3_open(f->file, &db) != SQLITE_OK) fail_msg("%s: %s", f->file, sqlite3_errmsg(db));
    sqlite3_busy_timeout(db, 5000);
    int64_t v = -1;
    for (const char *rest = sql; *rest;) {
        sqlite3_stmt *st = NULL;
        if (sqlite3_prepare_v2(db, rest, -1, &st, &rest) != SQLITE_OK) fail_msg("%s: %s", sql, sqlite3_errmsg(db));
        int rc;
        while ((rc = sqlite3_step(st)) == SQLITE_ROW)
            if (sqlite3_column_type(st, 0) != SQLITE_NULL) v = sqlite3_column_int64(st, 0);
        if (rc != SQLITE_DONE) fail_msg("%s: %s", sql, sqlite3_errmsg(db));
        sqlite3_finalize(st);
    }
    sqlite3_close(db);
    return v;
}

static int64_t raw_postgres(const fixture *f, const char *sql) {
    PGconn *c = PQconnectdb(f->where);
    PGresult *r = PQexec(c, sql);
    int64_t v = -1;
    ExecStatusType got = PQresultStatus(r);
    if (got == PGRES_TUPLES_OK && PQntuples(r) > 0 && !PQgetisnull(r, 0, 0))
        v = strtoll(PQgetvalue(r, 0, 0), NULL, 10);
    else if (got != PGRES_COMMAND_OK && got != PGRES_TUPLES_OK)
        fail_msg("%s: %s", sql, PQerrorMessage(c));
    PQclear(r);
    PQfinish(c);
    return v;
}

int64_t raw_int(const fixture *f, const char *sql) {
    return f->engine == ON_SQLITE ? raw_sqlite(f, sql) : raw_postgres(f, sql);
}
void raw(const fixture *f, const char *sql) {
    (void)raw_int(f, sql);
}

tt_store_entry entry(int64_t at_ms, const char *kind, const char *loop, const char *body) {
    return (tt_store_entry){.at_ms = at_ms, .kind = kind, .loop = loop, .body = body};
}

bool collect(void *ctx, uint64_t seq, const tt_store_entry *e) {
    rows *r = ctx;
    assert_true(r->n < TT_COUNT(r->row));
    char *body = malloc(e->body_len + 1);
    memcpy(body, e->body, e->body_len + 1); /* readers may rely on the NUL behind */
    r->row[r->n].seq = seq;
    r->row[r->n].e = (tt_store_entry){.at_ms = e->at_ms, .kind = strdup(e->kind), .loop = strdup(e->loop), .body = body, .body_len = e->body_len};
    r->n++;
    return r->n != r->stop_after;
}

void rows_free(rows *r) {
    for (size_t i = 0; i < r->n; i++) {
        free((void *)(uintptr_t)r->row[i].e.kind);
        free((void *)(uintptr_t)r->row[i].e.loop);
        free((void *)(uintptr_t)r->row[i].e.body);
    }
    *r = (rows){.n = 0};
}
