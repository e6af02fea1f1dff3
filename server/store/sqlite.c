/* SQLite behind the seam: one file in a directory of ours, which one daemon at a time may use. */
#include "db.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { BUSY_MS = 5000, FREE_BYTES_MIN = 1 << 20 };

typedef struct {
    tt_db base;
    sqlite3 *sql;
    sqlite3_stmt *stmt[TT_SQL_COUNT];
    int lock_fd;
    dev_t dev; /* of the database file: somebody may delete it under us */
    ino_t ino;
    char dir[PATH_MAX - 32];
    char file[PATH_MAX];
} sqlite;

static bool failed(sqlite *s, const char *doing, tt_err *err) {
    int rc = sqlite3_extended_errcode(s->sql), os = sqlite3_system_errno(s->sql);
    const char *said = sqlite3_errmsg(s->sql);
    bool no_room = rc == SQLITE_FULL || ((rc & 0xff) == SQLITE_IOERR && (os == ENOSPC || os == EDQUOT || os == EFBIG));
    if (no_room)
        return tt_fail(err, TT_EIO,
                       "no room left in %s for the store (%s, %s): nothing of it was saved; free disk space, or raise the quota or file size limit",
                       s->dir, doing, os ? strerror(os) : said);
    if (rc == SQLITE_IOERR_WRITE && os == 0) /* SQLite does not tell which */
        return tt_fail(err, TT_EIO,
                       "no room left in %s for the store, or its disk fails (%s): nothing of it was saved; check disk space, quota, file size limit "
                       "(ulimit -f) and the kernel's log",
                       s->dir, doing);
    switch (rc & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return tt_fail(err, TT_EIO, "%s stayed locked by another process for %d s (%s): close the sqlite3 shell or backup that holds it", s->file,
                       BUSY_MS / 1000, doing);
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_CANTOPEN:
    case SQLITE_AUTH:
        return tt_fail(err, TT_EIO, "cannot write %s (%s: %s%s%s): let user id %u write to the directory and every file in it", s->file, doing, said,
                       os ? ", " : "", os ? strerror(os) : "", (unsigned)geteuid());
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return tt_fail(err, TT_EIO, "%s is damaged (%s: %s): stop trimtab, move the directory aside and restore a backup", s->file, doing, said);
    case SQLITE_NOMEM:
        return tt_fail(err, TT_ENOMEM, "out of memory in the store (%s)", doing);
    case SQLITE_TOOBIG:
        return tt_fail(err, TT_ELIMIT, "too large for the store (%s)", doing);
    default:
        return tt_fail(err, TT_EIO, "%s: %s: %s%s%s (SQLite error %d)", s->file, doing, said, os ? ", " : "", os ? strerror(os) : "", rc);
    }
}

static bool bind(sqlite3_stmt *st, int at, const tt_db_value *v) {
    static const char empty[1] = "";
    if (v->null) return sqlite3_bind_null(st, at) == SQLITE_OK;
    const char *p = v->p ? v->p : empty;
    switch (v->kind) {
    case TT_DB_INT:
        return sqlite3_bind_int64(st, at, v->i) == SQLITE_OK;
    case TT_DB_TEXT:
        return sqlite3_bind_text64(st, at, p, v->n, SQLITE_STATIC, SQLITE_UTF8) == SQLITE_OK;
    case TT_DB_BYTES:
        return sqlite3_bind_blob64(st, at, p, v->n, SQLITE_STATIC) == SQLITE_OK;
    }
    return false;
}

static tt_db_value column(sqlite3_stmt *st, int at) {
    switch (sqlite3_column_type(st, at)) {
    case SQLITE_INTEGER:
        return tt_db_int(sqlite3_column_int64(st, at));
    case SQLITE_NULL:
        return (tt_db_value){.null = true};
    case SQLITE_BLOB: {
        const void *p = sqlite3_column_blob(st, at);
        return tt_db_bytes(p, (size_t)sqlite3_column_bytes(st, at));
    }
    default: { /* a real number can only be somebody's editing: its text will not match the hash */
        const char *p = (const char *)sqlite3_column_text(st, at);
        return tt_db_text(p, (size_t)sqlite3_column_bytes(st, at));
    }
    }
}

static bool query(tt_db *db, tt_sql sql, const tt_db_value *args, size_t n_args, tt_db_each each, void *ctx, tt_err *err) {
    sqlite *s = (sqlite *)db;
    const char *text = tt_sql_text[sql];
    if (!s->stmt[sql] && sqlite3_prepare_v3(s->sql, text, -1, SQLITE_PREPARE_PERSISTENT, &s->stmt[sql], NULL) != SQLITE_OK)
        return failed(s, text, err);
    sqlite3_stmt *st = s->stmt[sql];
    TT_ASSERT((size_t)sqlite3_bind_parameter_count(st) == n_args);
    bool ok = true;
    for (size_t i = 0; ok && i < n_args; i++) ok = bind(st, (int)i + 1, &args[i]);
    int rc = SQLITE_ERROR;
    while (ok && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        tt_db_value cols[TT_DB_COLUMNS_MAX];
        int n = sqlite3_column_count(st);
        TT_ASSERT(n <= TT_DB_COLUMNS_MAX);
        for (int i = 0; i < n; i++) cols[i] = column(st, i);
        if (each && !each(ctx, cols, (size_t)n)) {
            rc = SQLITE_DONE;
            break;
        }
    }
    ok = ok && rc == SQLITE_DONE;
    if (!ok) failed(s, text, err);
    sqlite3_reset(st);
    sqlite3_clear_bindings(st);
    return ok;
}

static bool script(tt_db *db, const char *sql, tt_err *err) {
    sqlite *s = (sqlite *)db;
    return sqlite3_exec(s->sql, sql, NULL, NULL, NULL) == SQLITE_OK || failed(s, "changing the schema", err);
}

/* Takes the write lock at once, so that no statement inside can meet a busy database. */
static bool begin(tt_db *db, bool alone, tt_err *err) {
    (void)alone;
    sqlite *s = (sqlite *)db;
    return sqlite3_exec(s->sql, "BEGIN IMMEDIATE", NULL, NULL, NULL) == SQLITE_OK || failed(s, "starting a transaction", err);
}

static void rollback(tt_db *db) {
    sqlite *s = (sqlite *)db;
    /* Out of room or I/O error: SQLite may have rolled back by itself. */
    if (!sqlite3_get_autocommit(s->sql)) sqlite3_exec(s->sql, "ROLLBACK", NULL, NULL, NULL);
}

static tt_db_end commit(tt_db *db, tt_err *err) {
    sqlite *s = (sqlite *)db;
    if (sqlite3_exec(s->sql, "COMMIT", NULL, NULL, NULL) == SQLITE_OK) return TT_DB_COMMITTED;
    failed(s, "committing", err);
    rollback(db);
    return TT_DB_FAILED;
}

static bool healthy(tt_db *db, tt_err *err) {
    sqlite *s = (sqlite *)db;
    struct stat st;
    if (stat(s->file, &st) != 0 || st.st_dev != s->dev || st.st_ino != s->ino)
        return tt_fail(err, TT_EIO, "%s was removed or replaced while trimtab uses it: restart trimtab, or put the file back first", s->file);
    struct statvfs fs;
    if (statvfs(s->dir, &fs) == 0 && (uint64_t)fs.f_bavail * fs.f_frsize < FREE_BYTES_MIN)
        return tt_fail(err, TT_EIO, "less than 1 MiB free in %s: free disk space before the store cannot be written", s->dir);
    return true;
}

static void release(tt_db *db) {
    sqlite *s = (sqlite *)db;
    for (size_t i = 0; i < TT_SQL_COUNT; i++) sqlite3_finalize(s->stmt[i]);
    sqlite3_close(s->sql);
    if (s->lock_fd >= 0) close(s->lock_fd);
    free(s);
}

static const tt_db_ops ops = {
    .kind = "sqlite", .begin = begin, .query = query, .script = script, .commit = commit, .rollback = rollback, .healthy = healthy, .close = release};

static bool sync_directory(const char *dir, tt_err *err) {
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;
    int os = errno;
    if (fd >= 0) close(fd);
    return ok || tt_fail(err, TT_EIO, "cannot sync the state directory %s: %s", dir, strerror(os));
}

/* Makes `dir` and what is missing above it, for our eyes only. */
static bool make_directory(const char *dir, tt_err *err) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s", dir);
    for (char *slash = path;; *slash = '/') {
        slash = strchr(slash + 1, '/');
        if (slash) *slash = 0;
        bool made = mkdir(path, 0700) == 0;
        int os = errno;
        if (!made && os != EEXIST)
            return tt_fail(err, TT_EIO, "cannot make the state directory %.200s: %s; let user id %u write there, or name another directory", path,
                           strerror(os), (unsigned)geteuid());
        if (!slash) break;
    }
    struct stat st;
    if (stat(dir, &st) != 0 || !S_ISDIR(st.st_mode))
        return tt_fail(err, TT_EIO, "%s is not a directory: the store needs a directory of its own, name another one", dir);
    return true;
}

/* Held until close or death; the kernel drops it with the process, so it is never stale. */
static bool take_lock(sqlite *s, tt_err *err) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/trimtab.lock", s->dir);
    s->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (s->lock_fd < 0)
        return tt_fail(err, TT_EIO, "cannot write the state directory: %s: %s; let user id %u write to %s", path, strerror(errno),
                       (unsigned)geteuid(), s->dir);
    char pid[24] = "";
    if (flock(s->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK)
            return tt_fail(err, TT_EIO, "cannot lock %s: %s; the state directory must be on a local file system", path, strerror(errno));
        ssize_t n = pread(s->lock_fd, pid, sizeof pid - 1, 0);
        pid[n > 0 ? strcspn(pid, "\n") : 0] = 0;
        return tt_fail(err, TT_ESTATE, "another trimtab (process %s) uses the state directory %s: stop it, or give this one another directory",
                       *pid ? pid : "unknown", s->dir);
    }
    int len = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
    /* Only a hint for the message above: a full disk must not stop a start that needs no room. */
    if (ftruncate(s->lock_fd, 0) != 0 || pwrite(s->lock_fd, pid, (size_t)len, 0) != len) return true;
    return true;
}

static int is_wal(void *ctx, int n, char **values, char **names) {
    (void)names;
    *(bool *)ctx = n == 1 && values[0] && strcmp(values[0], "wal") == 0;
    return 0;
}

static bool open_file(sqlite *s, tt_err *err) {
    /* Made by us first: SQLite would let the umask decide who may read it. Safe for its locks, we hold ours. */
    int fd = open(s->file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0) {
        int os = errno;
        if (fd >= 0) close(fd);
        return tt_fail(err, TT_EIO, "cannot open %s: %s; let user id %u write it", s->file, strerror(os), (unsigned)geteuid());
    }
    close(fd);
    s->dev = st.st_dev;
    s->ino = st.st_ino;
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    if (sqlite3_open_v2(s->file, &s->sql, flags, NULL) != SQLITE_OK) return failed(s, "opening", err);
    sqlite3_busy_timeout(s->sql, BUSY_MS);
    bool wal = false;
    if (sqlite3_exec(s->sql, "PRAGMA journal_mode = WAL", is_wal, &wal, NULL) != SQLITE_OK) return failed(s, "opening", err);
    if (!wal)
        return tt_fail(err, TT_EIO, "%s: the file system has no shared memory for SQLite's WAL: the state directory must be on a local disk",
                       s->file);
    if (sqlite3_exec(s->sql, "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON", NULL,
                     NULL, NULL) != SQLITE_OK)
        return failed(s, "opening", err);
    return true;
}

static sqlite *new_sqlite(const char *dir, tt_err *err) {
    sqlite *s = calloc(1, sizeof *s);
    if (!s) {
        tt_fail(err, TT_ENOMEM, "out of memory opening the store");
        return NULL;
    }
    s->base.ops = &ops;
    s->lock_fd = -1;
    int n = snprintf(s->dir, sizeof s->dir, "%s", dir);
    if (n <= 0 || (size_t)n >= sizeof s->dir) {
        tt_fail(err, TT_EVALUE, n <= 0 ? "no state directory was given: name one" : "the state directory's path is too long: name another one");
        free(s);
        return NULL;
    }
    snprintf(s->file, sizeof s->file, "%s/trimtab.db", s->dir);
    return s;
}

tt_db *tt_sqlite_open(const char *dir, tt_err *err) {
    sqlite *s = new_sqlite(dir, err);
    if (!s) return NULL;
    if (make_directory(s->dir, err) && take_lock(s, err) && open_file(s, err) && sync_directory(s->dir, err)) return &s->base;
    release(&s->base);
    return NULL;
}

tt_db *tt_sqlite_open_reader(const char *dir, tt_err *err) {
    sqlite *s = new_sqlite(dir, err);
    struct stat st;
    if (!s) return NULL;
    bool ok = stat(s->file, &st) == 0 || tt_fail(err, TT_EIO, "cannot open %s: %s; name the state directory of a trimtab", s->file, strerror(errno));
    if (ok) {
        s->dev = st.st_dev;
        s->ino = st.st_ino;
        /* Read-write where that is allowed: only then SQLite can take part in the daemon's WAL. query_only keeps the promise. */
        ok = sqlite3_open_v2(s->file, &s->sql, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL) == SQLITE_OK ||
             failed(s, "opening", err);
    }
    if (ok) {
        sqlite3_busy_timeout(s->sql, BUSY_MS);
        sqlite3_db_config(s->sql, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL); /* the file stays as it is */
        ok = sqlite3_exec(s->sql, "PRAGMA query_only = ON; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON", NULL, NULL, NULL) == SQLITE_OK ||
             failed(s, "opening", err);
    }
    if (ok) return &s->base;
    release(&s->base);
    return NULL;
}
