/* A store of its own for each test, on either engine, and a way to its tables behind its back. */
#ifndef STORE_FIXTURE_H
#define STORE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "db.h"

typedef enum { ON_SQLITE, ON_POSTGRES } engine;

/* PostgreSQL's own server (server.c). Start exits with a message when its binaries are not there. */
void server_start(void);
void server_stop(void);  /* and removes everything; also happens by itself when this process dies */
void server_crash(void); /* as after a power cut: no shutdown, recovery at the next start */
void server_again(void);
const char *server_socket_dir(void);
void server_chown(const char *path); /* to the user the server runs as */
void server_sql(const char *db, const char *sql);

/* Where tests put files; removed at the end. */
void tree_make(void);
void tree_remove(void);
const char *tree_path(const char *name, char *buf, size_t size); /* a fresh name each call */
bool can_mount(void);
void mount_tmpfs(const char *dir, const char *size);

typedef struct {
    engine engine;
    char where[256]; /* for tt_store_open */
    char file[300];  /* sqlite: the database; postgres: the name of one */
    tt_store *store; /* open, with an epoch taken */
    uint64_t epoch;
} fixture;

void place_new(fixture *f, engine e); /* an empty place, nothing opened */
void fixture_open(fixture *f);        /* opens it and takes an epoch */
void fixture_close(fixture *f);
int fixture_setup(void **state); /* cmocka: prestate is the engine */
int fixture_teardown(void **state);

/* Behind the store's back. */
void raw(const fixture *f, const char *sql);
int64_t raw_int(const fixture *f, const char *sql); /* one value; NULL gives -1 */

/* Fails the test with the error's text. */
#define must(call) must_(call, #call, &g_err, __FILE__, __LINE__)
#define must_fail(call, part) must_fail_(call, #call, part, &g_err, __FILE__, __LINE__)
void must_(bool ok, const char *what, const tt_err *err, const char *file, int line);
void must_fail_(bool ok, const char *what, const char *part, const tt_err *err, const char *file, int line);
extern _Thread_local tt_err g_err;

tt_store_entry entry(int64_t at_ms, const char *kind, const char *loop, const char *body);

typedef struct {
    size_t n, stop_after; /* stop_after 0: never */
    struct {
        uint64_t seq;
        tt_store_entry e;
    } row[2048];
} rows;
bool collect(void *ctx, uint64_t seq, const tt_store_entry *e); /* copies */
void rows_free(rows *r);

#define TESTS(f)                                                                                                                                     \
    {#f " (sqlite)", f, fixture_setup, fixture_teardown, (void *)(intptr_t)ON_SQLITE}, {                                                             \
#f " (postgresql)", f, fixture_setup, fixture_teardown, (void *)(intptr_t)ON_POSTGRES                                                        \
    }
#define TEST_ON(f, engine)                                                                                                                           \
    { #f, f, fixture_setup, fixture_teardown, (void *)(intptr_t)(engine) }
int journal_tests(void);
int delivery_tests(void);
int fault_tests(void);
int crash_tests(void);
int place_tests(void);
int limited_tests(void); /* of crash_test.c, without a server */

#endif
