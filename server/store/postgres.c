/* PostgreSQL behind the seam: one connection, made again when it is lost. Statements are sent without blocking and waited for with a
 * deadline of ours, because statement_timeout means nothing once the server or the network has gone silent. */
#include "db.h"

#include <errno.h>
#include <libpq-fe.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { DEADLINE_MS = 12000, MIGRATION_DEADLINE_MS = 660000, INT8_OID = 20, TEXT_OID = 25, INT4_OID = 23, BYTEA_OID = 17 };

/* Statements end before our deadline, and a transaction left open by a stopped process lets its locks go. */
static const char session[] = "SET statement_timeout = '10s'; SET lock_timeout = '8s'; SET idle_in_transaction_session_timeout = '15s'; "
                              "SET client_min_messages = 'error'; SET default_transaction_isolation = 'read committed'";
static const char durable[] = "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') IN ('off', 'local')";
/* A migration may rewrite a large journal, or wait for another replica's that does. */
static const char take_migration_lock[] = "SET LOCAL statement_timeout = '10min'; SET LOCAL lock_timeout = '10min'; "
                                          "SELECT pg_advisory_xact_lock(8390042714201055592)";

typedef struct {
    tt_db base;
    PGconn *conn;
    char *uri;
    bool prepared[TT_SQL_COUNT];
    bool in_transaction, migrating;
    bool stale; /* to be dropped once the transaction is over */
} postgres;

/* libpq ends its messages with a newline, and some have several lines. */
static void one_line(char *to, size_t size, const char *from) {
    size_t n = 0;
    for (; *from && n + 1 < size; from++)
        if (*from != '\n')
            to[n++] = *from;
        else if (from[1] && n + 2 < size)
            to[n++] = ';', to[n++] = ' ';
    to[n] = 0;
}

static bool lost(const postgres *p) {
    return !p->conn || PQstatus(p->conn) != CONNECTION_OK;
}

static void drop(postgres *p) {
    PQfinish(p->conn);
    p->conn = NULL;
    p->in_transaction = p->migrating = p->stale = false;
    memset(p->prepared, 0, sizeof p->prepared);
}

/* The server refused (res), or there is no server any more. A connection that is no good is dropped: the next call makes another. */
static bool failed(postgres *p, const PGresult *res, const char *doing, tt_err *err) {
    char said[300];
    one_line(said, sizeof said, res && *PQresultErrorMessage(res) ? PQresultErrorMessage(res) : p->conn ? PQerrorMessage(p->conn) : "");
    const char *state = res ? PQresultErrorField(res, PG_DIAG_SQLSTATE) : NULL;
    if (!state) state = "";
    char at[160] = "PostgreSQL";
    if (p->conn && PQdb(p->conn))
        snprintf(at, sizeof at, "PostgreSQL %s:%s/%s", PQhost(p->conn) ? PQhost(p->conn) : "", PQport(p->conn), PQdb(p->conn));
    if (lost(p)) {
        drop(p);
        return tt_fail(err, TT_EIO,
                       "%s: connection lost (%s): %s; trimtab connects again with the next call, check that the server is up and reachable", at,
                       doing, said);
    }
    /* Statements or types the server no longer knows (a pooler, a restored dump): start afresh. */
    bool stale = strncmp(state, "26", 2) == 0 || strcmp(state, "0A000") == 0;
    const char *hint = "see the server's log";
    if (strncmp(state, "53", 2) == 0) hint = "the server is out of disk, memory or connections: free some, nothing was saved";
    if (strcmp(state, "25006") == 0) hint = "this server is read-only: name the primary, or add target_session_attrs=read-write to the address";
    if (strcmp(state, "42501") == 0) hint = "grant this role CREATE on the schema, and all on trimtab's tables";
    if (strcmp(state, "57014") == 0 || strcmp(state, "55P03") == 0) hint = "another session holds a lock or the server is overloaded";
    if (strncmp(state, "XX", 2) == 0) hint = "the database is damaged: restore a backup";
    if (stale) hint = "trimtab connects again with the next call; a pooler must be in session mode";
    tt_fail(err, TT_EIO, "%s: %s: %s (SQLSTATE %s); %s", at, doing, said, *state ? state : "none", hint);
    p->stale |= stale;
    if (p->stale && !p->in_transaction) drop(p);
    return false;
}

static int64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Sends what is queued and waits until a result can be read without blocking. */
static bool wait_result(postgres *p, int64_t until_ms) {
    for (;;) {
        int unsent = PQflush(p->conn);
        if (unsent < 0 || (unsent == 0 && !PQisBusy(p->conn))) return unsent == 0;
        int64_t left = until_ms - now_ms();
        if (left <= 0) return false;
        struct pollfd fd = {.fd = PQsocket(p->conn), .events = (short)(unsent ? POLLIN | POLLOUT : POLLIN)};
        int n = poll(&fd, 1, (int)left);
        if (n < 0 && errno != EINTR) return false;
        if (n > 0 && (fd.revents & ~POLLOUT) && !PQconsumeInput(p->conn)) return false;
    }
}

/* Takes every result of what was sent; keeps the last, or the first that is an error. NULL: the connection is lost. */
static PGresult *finish(postgres *p) {
    int64_t until = now_ms() + (p->migrating ? MIGRATION_DEADLINE_MS : DEADLINE_MS);
    PGresult *kept = NULL;
    for (;;) {
        if (!wait_result(p, until)) {
            PQclear(kept);
            if (!lost(p)) drop(p); /* silent for too long: whatever it answers now is not for us */
            return NULL;
        }
        PGresult *res = PQgetResult(p->conn);
        if (!res) return kept;
        bool kept_bad = kept && PQresultStatus(kept) == PGRES_FATAL_ERROR;
        PQclear(kept_bad ? res : kept);
        if (!kept_bad) kept = res;
    }
}

static bool is_good(const PGresult *res) {
    return res && (PQresultStatus(res) == PGRES_COMMAND_OK || PQresultStatus(res) == PGRES_TUPLES_OK);
}

/* Simple protocol: several statements, no arguments. */
static bool run(postgres *p, const char *sql, const char *doing, tt_err *err) {
    PGresult *res = PQsendQuery(p->conn, sql) ? finish(p) : NULL;
    bool ok = is_good(res) || failed(p, res, doing, err);
    PQclear(res);
    return ok;
}

static void silent(void *ctx, const PGresult *res) {
    (void)ctx;
    (void)res;
}

static bool connect_server(postgres *p, tt_err *err) {
    drop(p);
    /* What the address itself says comes later and wins. */
    static const char *const keys[] = {"connect_timeout",  "keepalives_idle",  "keepalives_interval",
                                       "keepalives_count", "tcp_user_timeout", "fallback_application_name",
                                       "client_encoding",  "dbname",           NULL};
    const char *values[] = {"5", "10", "5", "3", "15000", "trimtab", "UTF8", p->uri, NULL};
    p->conn = PQconnectdbParams(keys, values, 1);
    if (lost(p)) {
        char said[360];
        one_line(said, sizeof said, p->conn ? PQerrorMessage(p->conn) : "out of memory");
        drop(p);
        return tt_fail(err, TT_EIO, "cannot connect to PostgreSQL: %s; check the address, the password and that the server is up", said);
    }
    PQsetNoticeProcessor(p->conn, NULL, NULL);
    PQsetNoticeReceiver(p->conn, silent, NULL);
    if (PQserverVersion(p->conn) < 120000) {
        int version = PQserverVersion(p->conn);
        drop(p);
        return tt_fail(err, TT_EIO, "PostgreSQL %d is too old: trimtab needs 12 or later", version / 10000);
    }
    if (PQsetnonblocking(p->conn, 1) != 0) return failed(p, NULL, "connecting", err);
    return run(p, session, "setting up the session", err) && run(p, durable, "setting up the session", err);
}

static int64_t read_be(const char *at, int bytes) {
    uint64_t v = 0;
    for (int i = 0; i < bytes; i++) v = v << 8 | (unsigned char)at[i];
    return bytes == 4 ? (int32_t)(uint32_t)v : (int64_t)v;
}

static tt_db_value column(const PGresult *res, int row, int at) {
    if (PQgetisnull(res, row, at)) return (tt_db_value){.null = true};
    const char *p = PQgetvalue(res, row, at);
    switch (PQftype(res, at)) {
    case INT8_OID:
        return tt_db_int(read_be(p, 8));
    case INT4_OID:
        return tt_db_int(read_be(p, 4));
    case BYTEA_OID:
        return tt_db_bytes(p, (size_t)PQgetlength(res, row, at));
    default:
        return tt_db_text(p, (size_t)PQgetlength(res, row, at));
    }
}

static bool prepare(postgres *p, tt_sql sql, const char *name, const tt_db_value *args, size_t n_args, tt_err *err) {
    if (p->prepared[sql]) return true;
    Oid types[TT_DB_ARGS_MAX];
    for (size_t i = 0; i < n_args; i++) types[i] = args[i].kind == TT_DB_INT ? INT8_OID : args[i].kind == TT_DB_TEXT ? TEXT_OID : BYTEA_OID;
    PGresult *res = PQsendPrepare(p->conn, name, tt_sql_text[sql], (int)n_args, types) ? finish(p) : NULL;
    bool ok = is_good(res) || failed(p, res, tt_sql_text[sql], err);
    PQclear(res);
    p->prepared[sql] = ok;
    return ok;
}

static PGresult *execute(postgres *p, tt_sql sql, const tt_db_value *args, size_t n_args, tt_err *err) {
    TT_ASSERT(n_args <= TT_DB_ARGS_MAX);
    char name[16];
    snprintf(name, sizeof name, "trimtab%u", (unsigned)sql);
    if (!prepare(p, sql, name, args, n_args, err)) return NULL;
    char ints[TT_DB_ARGS_MAX][8];
    const char *values[TT_DB_ARGS_MAX];
    int lengths[TT_DB_ARGS_MAX], formats[TT_DB_ARGS_MAX];
    for (size_t i = 0; i < n_args; i++) {
        for (int b = 0; b < 8; b++) ints[i][b] = (char)((uint64_t)args[i].i >> (56 - 8 * b));
        bool is_int = args[i].kind == TT_DB_INT;
        values[i] = args[i].null ? NULL : is_int ? ints[i] : args[i].p ? args[i].p : "";
        lengths[i] = is_int ? 8 : (int)args[i].n;
        formats[i] = 1;
    }
    PGresult *res = PQsendQueryPrepared(p->conn, name, (int)n_args, values, lengths, formats, 1) ? finish(p) : NULL;
    if (is_good(res)) return res;
    failed(p, res, tt_sql_text[sql], err);
    PQclear(res);
    return NULL;
}

static bool query(tt_db *db, tt_sql sql, const tt_db_value *args, size_t n_args, tt_db_each each, void *ctx, tt_err *err) {
    postgres *p = (postgres *)db;
    /* Outside a transaction there are only reads: one that finds its idle connection gone may be asked again. */
    bool again = !p->in_transaction;
    if (lost(p)) {
        if (!again) return failed(p, NULL, tt_sql_text[sql], err);
        if (!connect_server(p, err)) return false;
        again = false;
    }
    PGresult *res = execute(p, sql, args, n_args, err);
    if (!res && again && lost(p) && connect_server(p, err)) res = execute(p, sql, args, n_args, err);
    if (!res) return false;
    int n = PQnfields(res);
    TT_ASSERT(n <= TT_DB_COLUMNS_MAX);
    for (int row = 0, rows = PQntuples(res); each && row < rows; row++) {
        tt_db_value cols[TT_DB_COLUMNS_MAX];
        for (int i = 0; i < n; i++) cols[i] = column(res, row, i);
        if (!each(ctx, cols, (size_t)n)) break;
    }
    PQclear(res);
    return true;
}

static bool script(tt_db *db, const char *sql, tt_err *err) {
    postgres *p = (postgres *)db;
    if (lost(p)) return failed(p, NULL, "changing the schema", err);
    return run(p, sql, "changing the schema", err);
}

static void rollback(tt_db *db) {
    postgres *p = (postgres *)db;
    if (p->stale || (!lost(p) && !run(p, "ROLLBACK", "rolling back", NULL))) drop(p);
    p->in_transaction = p->migrating = false;
}

/* READ COMMITTED whatever the role's default is: the lease is checked by an UPDATE that waits for, and then sees, the other's. */
static bool begin(tt_db *db, bool alone, tt_err *err) {
    static const char sql[] = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";
    postgres *p = (postgres *)db;
    bool was_connected = !lost(p);
    if (!was_connected && !connect_server(p, err)) return false;
    if (!run(p, sql, "starting a transaction", err)) {
        /* Idle connections go unnoticed: nothing was done yet, so once more over a new one. */
        if (!was_connected || !lost(p) || !connect_server(p, err) || !run(p, sql, "starting a transaction", err)) return false;
    }
    p->in_transaction = true;
    p->migrating = alone;
    if (!alone || run(p, take_migration_lock, "waiting for another trimtab's migration", err)) return true;
    rollback(db);
    return false;
}

static tt_db_end commit(tt_db *db, tt_err *err) {
    postgres *p = (postgres *)db;
    if (lost(p)) { /* never sent */
        failed(p, NULL, "committing", err);
        return TT_DB_FAILED;
    }
    PGresult *res = PQsendQuery(p->conn, "COMMIT") ? finish(p) : NULL;
    p->in_transaction = p->migrating = false;
    tt_db_end end = TT_DB_COMMITTED;
    if (!is_good(res)) {
        end = lost(p) ? TT_DB_UNKNOWN : TT_DB_FAILED;
        failed(p, res, "committing", err);
    } else if (strcmp(PQcmdStatus(res), "COMMIT") != 0) { /* an aborted transaction answers ROLLBACK, and no error */
        tt_fail(err, TT_EIO, "PostgreSQL rolled the transaction back at commit: see the server's log");
        end = TT_DB_FAILED;
    }
    PQclear(res);
    return end;
}

static void release(tt_db *db) {
    postgres *p = (postgres *)db;
    drop(p);
    free(p->uri);
    free(p);
}

static const tt_db_ops ops = {
    .kind = "postgresql", .begin = begin, .query = query, .script = script, .commit = commit, .rollback = rollback, .close = release};

tt_db *tt_postgres_open(const char *uri, tt_err *err) {
    postgres *p = calloc(1, sizeof *p);
    if (p) p->uri = strdup(uri);
    if (!p || !p->uri) {
        free(p);
        tt_fail(err, TT_ENOMEM, "out of memory opening the store");
        return NULL;
    }
    p->base.ops = &ops;
    if (connect_server(p, err)) return &p->base;
    release(&p->base);
    return NULL;
}
