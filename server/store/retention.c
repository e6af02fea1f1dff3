/* Taking the journal's oldest entries out, so that the rest still verifies: the chain's hash at the cut is kept. */
#include "store_internal.h"

#include <string.h>

typedef struct {
    int64_t before_ms;
    tt_chain upto; /* the last entry that may go */
    uint64_t n;
    int64_t last_seq; /* of the journal: it stays */
    bool damaged;
} oldest;

static bool take_old(void *ctx, const tt_db_value *cols, size_t n) {
    oldest *o = ctx;
    o->damaged = n != 3 || cols[0].null || cols[0].kind != TT_DB_INT || cols[1].null || cols[1].kind != TT_DB_INT || cols[2].null ||
                 cols[2].kind == TT_DB_INT || cols[2].n != TT_HASH_SIZE;
    if (o->damaged || cols[1].i >= o->before_ms || cols[0].i >= o->last_seq) return false;
    o->upto.seq = (uint64_t)cols[0].i;
    memcpy(o->upto.hash, cols[2].p, TT_HASH_SIZE);
    o->n++;
    return true;
}

bool tt_store_trim_journal(tt_store *s, int64_t before_ms, size_t most, tt_store_trimmed *ret, tt_err *err) {
    oldest o = {.before_ms = before_ms};
    tt_chain head;
    tt_db_end end = TT_DB_FAILED;
    *ret = (tt_store_trimmed){0};
    pthread_mutex_lock(&s->lock);
    const tt_db_ops *ops = s->db->ops;
    if (ops->begin(s->db, false, err)) {
        tt_db_value limit = tt_db_int((int64_t)most);
        bool ok = tt_store_hold_lease(s, err) && tt_store_read_head(s, &head, err);
        o.last_seq = ok ? (int64_t)head.seq : 0;
        ok = ok && ops->query(s->db, TT_SQL_JOURNAL_OLDEST, &limit, 1, take_old, &o, err);
        if (ok && o.damaged) ok = tt_fail(err, TT_EIO, "the journal's oldest entries are damaged: nothing is taken out; restore a backup");
        if (ok && o.n) {
            tt_db_value upto = tt_db_int((int64_t)o.upto.seq);
            tt_db_value base[] = {tt_db_int((int64_t)o.upto.seq), tt_db_bytes(o.upto.hash, TT_HASH_SIZE)};
            ok = ops->query(s->db, TT_SQL_JOURNAL_CUT, &upto, 1, NULL, NULL, err) &&
                 ops->query(s->db, TT_SQL_JOURNAL_BASE_MOVE, base, TT_COUNT(base), NULL, NULL, err);
        }
        if (ok && o.n)
            end = ops->commit(s->db, err);
        else
            ops->rollback(s->db);
        if (ok && !o.n) end = TT_DB_COMMITTED;
    }
    pthread_mutex_unlock(&s->lock);
    if (end != TT_DB_COMMITTED) return false;
    ret->n = o.n;
    ret->upto_seq = o.upto.seq;
    memcpy(ret->hash, o.upto.hash, TT_HASH_SIZE);
    return true;
}

typedef struct {
    tt_chain c;
    bool found, bad;
} base_row;

static bool take_base(void *ctx, const tt_db_value *cols, size_t n) {
    base_row *b = ctx;
    b->found = true;
    b->bad = n != 2 || cols[0].null || cols[0].kind != TT_DB_INT || cols[0].i < 0 || cols[1].null || cols[1].kind == TT_DB_INT ||
             cols[1].n != TT_HASH_SIZE;
    if (b->bad) return false;
    b->c.seq = (uint64_t)cols[0].i;
    memcpy(b->c.hash, cols[1].p, TT_HASH_SIZE);
    return false;
}

bool tt_store_read_base(tt_store *s, tt_chain *ret, tt_err *err) {
    base_row b = {0};
    pthread_mutex_lock(&s->lock);
    bool ok = s->db->ops->query(s->db, TT_SQL_JOURNAL_BASE, NULL, 0, take_base, &b, err);
    pthread_mutex_unlock(&s->lock);
    if (ok && b.bad) ok = tt_fail(err, TT_EIO, "the store's table `journal_base` is damaged: restore a backup");
    if (ok) *ret = b.c;
    return ok;
}

bool tt_store_hash_at(tt_store *s, uint64_t seq, uint8_t ret_hash[TT_STORE_HASH_SIZE], bool *ret_found, tt_err *err) {
    base_row b = {0};
    tt_db_value at = tt_db_int(seq > INT64_MAX ? INT64_MAX : (int64_t)seq);
    pthread_mutex_lock(&s->lock);
    bool ok = s->db->ops->query(s->db, TT_SQL_JOURNAL_HASH, &at, 1, take_base, &b, err);
    pthread_mutex_unlock(&s->lock);
    if (ok && b.bad) ok = tt_fail(err, TT_EIO, "the journal's entry %llu is damaged: restore a backup", (unsigned long long)seq);
    *ret_found = ok && b.found;
    if (ok && b.found) memcpy(ret_hash, b.c.hash, TT_HASH_SIZE);
    return ok;
}
