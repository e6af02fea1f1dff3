/* The seam between the store and its two engines: transactions and prepared statements, nothing else. Inside server/store/ only.
 * One thread at a time (the store's mutex). An engine that fails has said why, and what to do, in *err. */
#ifndef TT_STORE_DB_H
#define TT_STORE_DB_H

#include "store.h"

typedef enum {
#define SQL(name, text) TT_SQL_##name,
#include "sql.def"
#undef SQL
    TT_SQL_COUNT
} tt_sql;
extern const char *const tt_sql_text[TT_SQL_COUNT];

typedef enum { TT_DB_INT, TT_DB_TEXT, TT_DB_BYTES } tt_db_kind;
typedef struct {
    tt_db_kind kind;
    bool null;
    int64_t i;
    const void *p; /* text and bytes: borrowed */
    size_t n;
} tt_db_value;
enum { TT_DB_COLUMNS_MAX = 8, TT_DB_ARGS_MAX = 8 };

static inline tt_db_value tt_db_int(int64_t i) {
    return (tt_db_value){.kind = TT_DB_INT, .i = i};
}
static inline tt_db_value tt_db_bytes(const void *p, size_t n) {
    return (tt_db_value){.kind = TT_DB_BYTES, .p = p, .n = n};
}
static inline tt_db_value tt_db_text(const char *p, size_t n) {
    return (tt_db_value){.kind = TT_DB_TEXT, .p = p, .n = n};
}

/* One row; values live for the call. false: no more rows are wanted (the query still succeeded). */
typedef bool (*tt_db_each)(void *ctx, const tt_db_value *cols, size_t n_cols);
/* UNKNOWN: the connection went while COMMIT was under way; the next transaction will show. */
typedef enum { TT_DB_COMMITTED, TT_DB_FAILED, TT_DB_UNKNOWN } tt_db_end;

typedef struct tt_db tt_db;
typedef struct {
    const char *kind;
    /* A writing transaction. `alone`: no other trimtab may be in such a one on this database (migrations). */
    bool (*begin)(tt_db *db, bool alone, tt_err *err);
    bool (*query)(tt_db *db, tt_sql sql, const tt_db_value *args, size_t n_args, tt_db_each each, void *ctx, tt_err *err);
    bool (*script)(tt_db *db, const char *sql, tt_err *err); /* several statements, inside a transaction */
    tt_db_end (*commit)(tt_db *db, tt_err *err);
    void (*rollback)(tt_db *db);
    bool (*healthy)(tt_db *db, tt_err *err); /* what a transaction that is rolled back cannot see; may be NULL */
    void (*close)(tt_db *db);
} tt_db_ops;
struct tt_db {
    const tt_db_ops *ops;
};

tt_db *tt_sqlite_open(const char *dir, tt_err *err);
tt_db *tt_sqlite_open_reader(const char *dir, tt_err *err); /* takes no lock; every write fails */
tt_db *tt_postgres_open(const char *uri, tt_err *err);

typedef struct {
    int64_t version;
    const char *name; /* of the file, without ".sql" */
    const char *sql;  /* NUL-terminated */
    size_t n;
} tt_migration;
/* migrations/, in order of version, embedded by embed.cmake. */
extern const tt_migration tt_migrations[];
extern const size_t tt_n_migrations;
/* Brings the schema up to `known`, one transaction each; refuses a database that has more, or other ones. */
bool tt_migrate(tt_db *db, const tt_migration *known, size_t n_known, tt_err *err);

#endif
