/* The store's face: opening, the lock, epochs, saved state, and rows on their way out. */
#include "store_internal.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *const tt_sql_text[TT_SQL_COUNT] = {
#define SQL(name, text) [TT_SQL_##name] = (text),
#include "sql.def"
#undef SQL
};

static tt_store *open_store(const char *where, bool reader, tt_err *err) {
    if (sodium_init() < 0) {
        tt_fail(err, TT_EIO, "libsodium could not be initialised: no hashes for the journal, so no store");
        return NULL;
    }
    tt_store *s = calloc(1, sizeof *s);
    if (!s) {
        tt_fail(err, TT_ENOMEM, "out of memory opening the store");
        return NULL;
    }
    pthread_mutex_init(&s->lock, NULL);
    const char *scheme = where ? strstr(where, "://") : NULL;
    if (where && (strncmp(where, "postgresql://", 13) == 0 || strncmp(where, "postgres://", 11) == 0))
        s->db = tt_postgres_open(where, err);
    else if (scheme)
        tt_fail(err, TT_EVALUE, "the store cannot be at \"%.*s://...\": name a directory, or postgresql://user@host/database", (int)(scheme - where),
                where);
    else
        s->db = reader ? tt_sqlite_open_reader(where ? where : "", err) : tt_sqlite_open(where ? where : "", err);
    if (!s->db || (!reader && !tt_migrate(s->db, tt_migrations, tt_n_migrations, err))) {
        tt_store_close(s);
        return NULL;
    }
    return s;
}

tt_store *tt_store_open(const char *where, tt_err *err) {
    return open_store(where, false, err);
}

/* On PostgreSQL nothing is locked by opening; without an epoch no commit goes through. */
tt_store *tt_store_open_reader(const char *where, tt_err *err) {
    return open_store(where, true, err);
}

void tt_store_close(tt_store *s) {
    if (!s) return;
    if (s->db) s->db->ops->close(s->db);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

const char *tt_store_kind(const tt_store *s) {
    return s->db->ops->kind;
}

bool tt_store_check(tt_store *s, tt_err *err) {
    pthread_mutex_lock(&s->lock);
    const tt_db_ops *ops = s->db->ops;
    bool ok = ops->begin(s->db, false, err);
    if (ok) {
        ok = ops->query(s->db, TT_SQL_PROBE, NULL, 0, NULL, NULL, err);
        ops->rollback(s->db);
    }
    ok = ok && (!ops->healthy || ops->healthy(s->db, err));
    pthread_mutex_unlock(&s->lock);
    return ok;
}

static bool take_int(void *ctx, const tt_db_value *cols, size_t n) {
    if (n > 0 && !cols[0].null && cols[0].kind == TT_DB_INT) *(int64_t *)ctx = cols[0].i;
    return false;
}

bool tt_store_next_epoch(tt_store *s, uint64_t *ret_epoch, tt_err *err) {
    char host[64] = "", holder[96];
    gethostname(host, sizeof host - 1);
    for (char *c = host; *c; c++)
        if ((unsigned char)*c >= 0x80) *c = '?';
    snprintf(holder, sizeof holder, "%s, process %ld", host, (long)getpid());
    pthread_mutex_lock(&s->lock);
    const tt_db_ops *ops = s->db->ops;
    int64_t epoch = 0;
    tt_db_value arg = tt_db_text(holder, strlen(holder));
    bool ok = ops->begin(s->db, false, err);
    if (ok && !ops->query(s->db, TT_SQL_EPOCH_NEXT, &arg, 1, take_int, &epoch, err)) {
        ops->rollback(s->db);
        ok = false;
    } else if (ok && epoch <= 0) {
        ops->rollback(s->db);
        ok = tt_fail(err, TT_EIO, "the store's table `lease` is damaged: restore a backup");
    } else if (ok) {
        /* Not known whether committed: the number is thrown away, the next one is larger anyhow. */
        ok = ops->commit(s->db, err) == TT_DB_COMMITTED;
    }
    if (ok) *ret_epoch = s->epoch = (uint64_t)epoch;
    pthread_mutex_unlock(&s->lock);
    return ok;
}

typedef struct {
    char *text;
    bool found;
} state;

static bool take_state(void *ctx, const tt_db_value *cols, size_t n) {
    state *st = ctx;
    if (n != 1 || cols[0].null || cols[0].kind == TT_DB_INT) return false;
    st->found = true;
    st->text = malloc(cols[0].n + 1);
    if (!st->text) return false;
    if (cols[0].n) memcpy(st->text, cols[0].p, cols[0].n);
    st->text[cols[0].n] = 0;
    return false;
}

bool tt_store_load_state(tt_store *s, char **ret_json, tt_err *err) {
    state st = {0};
    pthread_mutex_lock(&s->lock);
    bool ok = s->db->ops->query(s->db, TT_SQL_STATE_LOAD, NULL, 0, take_state, &st, err);
    pthread_mutex_unlock(&s->lock);
    if (ok && st.found && !st.text) ok = tt_fail(err, TT_ENOMEM, "out of memory reading the saved state");
    if (ok)
        *ret_json = st.text;
    else
        free(st.text);
    return ok;
}

/* Well-formed, shortest, no surrogates (RFC 3629). */
static bool is_utf8(const unsigned char *p) {
    while (*p) {
        if (*p < 0x80) {
            p++;
            continue;
        }
        unsigned n = *p >= 0xc2 && *p < 0xe0 ? 1 : *p >= 0xe0 && *p < 0xf0 ? 2 : *p >= 0xf0 && *p < 0xf5 ? 3 : 0;
        if (!n || (*p == 0xe0 && p[1] < 0xa0) || (*p == 0xed && p[1] > 0x9f) || (*p == 0xf0 && p[1] < 0x90) || (*p == 0xf4 && p[1] > 0x8f))
            return false;
        for (p++; n; n--, p++)
            if ((*p & 0xc0) != 0x80) return false;
    }
    return true;
}

bool tt_store_text_ok(const char *what, const char *text, tt_err *err) {
    if (strlen(text) > TT_STORE_TEXT_MAX) return tt_fail(err, TT_ELIMIT, "%s is longer than %d bytes: not stored", what, TT_STORE_TEXT_MAX);
    if (!is_utf8((const unsigned char *)text)) return tt_fail(err, TT_EVALUE, "%s is not UTF-8: not stored", what);
    return true;
}

enum { PAGE_TEXT_STOP = 4 << 20 }; /* the next row goes to the next page */

void tt_page_init(tt_page *p) {
    p->n = 0;
    tt_buf_init(&p->text, (size_t)TT_STORE_BODY_MAX + PAGE_TEXT_STOP + 4096);
}

void tt_page_free(tt_page *p) {
    tt_buf_free(&p->text);
}

static size_t keep(tt_buf *b, const tt_db_value *v) {
    size_t at = b->n;
    if (!v->null && v->n) tt_buf_put(b, (tt_sv){v->p, v->n});
    tt_buf_put(b, (tt_sv){"", 1});
    return at;
}

static bool is_bytes(const tt_db_value *v) {
    return !v->null && v->kind != TT_DB_INT;
}
static bool is_int(const tt_db_value *v) {
    return !v->null && v->kind == TT_DB_INT;
}

static bool take_row(void *ctx, const tt_db_value *cols, size_t n) {
    tt_page *p = ctx;
    if (p->n == TT_PAGE_ROWS || p->text.n > PAGE_TEXT_STOP) {
        p->full = true;
        return false;
    }
    bool loop_ok = cols[3].null || cols[3].kind != TT_DB_INT;
    if (n < 5 || !is_int(&cols[0]) || !is_int(&cols[1]) || !is_bytes(&cols[2]) || !loop_ok || !is_bytes(&cols[4]) || (n > 5 && !is_int(&cols[5]))) {
        p->damaged = true;
        return false;
    }
    size_t at = p->n++;
    p->row[at].seq = cols[0].i;
    p->row[at].at_ms = cols[1].i;
    p->row[at].kind = keep(&p->text, &cols[2]);
    p->row[at].loop = keep(&p->text, &cols[3]);
    p->row[at].body = keep(&p->text, &cols[4]);
    p->row[at].body_len = cols[4].n;
    p->row[at].epoch = n > 5 ? cols[5].i : 0;
    p->row[at].has_hash = n > 6 && is_bytes(&cols[6]) && cols[6].n == TT_HASH_SIZE;
    if (p->row[at].has_hash) memcpy(p->row[at].hash, cols[6].p, TT_HASH_SIZE);
    return !p->text.failed;
}

bool tt_page_fill(tt_page *p, tt_store *s, tt_sql sql, const tt_db_value *args, size_t n_args, tt_err *err) {
    p->n = p->text.n = 0;
    p->full = p->damaged = false;
    pthread_mutex_lock(&s->lock);
    bool ok = s->db->ops->query(s->db, sql, args, n_args, take_row, p, err);
    pthread_mutex_unlock(&s->lock);
    if (ok && p->text.failed) return tt_fail(err, TT_ENOMEM, "out of memory reading the store");
    return ok;
}

tt_store_entry tt_page_entry(const tt_page *p, size_t i) {
    const char *t = p->text.p;
    return (tt_store_entry){
        .at_ms = p->row[i].at_ms, .kind = t + p->row[i].kind, .loop = t + p->row[i].loop, .body = t + p->row[i].body, .body_len = p->row[i].body_len};
}
