/* Webhook deliveries: durable before the sender hears yes, read again after a restart until they are done. */
#include "store_internal.h"

#include <string.h>

enum { PENDING_ROWS = 8 }; /* bodies are up to a MiB each */

static bool take_id(void *ctx, const tt_db_value *cols, size_t n) {
    if (n > 0 && !cols[0].null && cols[0].kind == TT_DB_INT) *(int64_t *)ctx = cols[0].i;
    return false;
}

typedef struct {
    const char *source;
    unsigned char dedup[TT_HASH_SIZE];
    bool has_dedup;
    int64_t at_ms;
    const char *body;
    size_t body_len;
} delivery;

static bool known(tt_store *s, const delivery *d, int64_t *ret_id, tt_err *err) {
    *ret_id = 0;
    if (!d->has_dedup) return true;
    tt_db_value args[] = {tt_db_text(d->source, strlen(d->source)), tt_db_bytes(d->dedup, TT_HASH_SIZE)};
    return s->db->ops->query(s->db, TT_SQL_DELIVERY_KNOWN, args, TT_COUNT(args), take_id, ret_id, err);
}

static bool add(tt_store *s, const delivery *d, int64_t *ret_id, bool *ret_fresh, tt_err *err) {
    const tt_db_ops *ops = s->db->ops;
    int64_t id = 0, old = 0;
    if (!ops->begin(s->db, false, err)) return false;
    /* The counter's row is locked first: of two replicas with one key the second sees what the first wrote. */
    if (!ops->query(s->db, TT_SQL_DELIVERY_NUMBER, NULL, 0, take_id, &id, err) || !known(s, d, &old, err)) goto undo;
    if (old) {
        ops->rollback(s->db);
        *ret_id = old;
        *ret_fresh = false;
        return true;
    }
    if (id <= 0) {
        tt_fail(err, TT_EIO, "the store's table `counter` is damaged: restore a backup");
        goto undo;
    }
    tt_db_value dedup = tt_db_bytes(d->dedup, TT_HASH_SIZE);
    dedup.null = !d->has_dedup;
    tt_db_value row[] = {tt_db_int(id), tt_db_text(d->source, strlen(d->source)), dedup, tt_db_int(d->at_ms), tt_db_bytes(d->body, d->body_len)};
    if (!ops->query(s->db, TT_SQL_DELIVERY_ADD, row, TT_COUNT(row), NULL, NULL, err)) goto undo;
    /* Not known whether committed: the sender is told no, sends again, and its key finds it. */
    if (ops->commit(s->db, err) != TT_DB_COMMITTED) return false;
    *ret_id = id;
    *ret_fresh = true;
    return true;
undo:
    ops->rollback(s->db);
    return false;
}

bool tt_store_delivery(tt_store *s, const char *source, const char *dedup_key, int64_t at_ms, const char *body, size_t body_len, uint64_t *ret_id,
                       bool *ret_fresh, tt_err *err) {
    if (!tt_store_text_ok("the delivery's source", source, err)) return false;
    if (body_len > TT_STORE_BODY_MAX) return tt_fail(err, TT_ELIMIT, "a delivery larger than %d MiB is not stored", TT_STORE_BODY_MAX >> 20);
    delivery d = {.source = source, .has_dedup = dedup_key && *dedup_key, .at_ms = at_ms, .body = body, .body_len = body_len};
    /* Hashed: a key of any length and any bytes fits an index of either engine. */
    if (d.has_dedup) crypto_hash_sha256(d.dedup, (const unsigned char *)dedup_key, strlen(dedup_key));
    pthread_mutex_lock(&s->lock);
    int64_t id = 0;
    /* Looked up first without a transaction: a sender that repeats itself costs no write. */
    bool fresh = false, ok = known(s, &d, &id, err) && (id || add(s, &d, &id, &fresh, err));
    pthread_mutex_unlock(&s->lock);
    if (!ok) return false;
    *ret_id = (uint64_t)id;
    *ret_fresh = fresh;
    return true;
}

bool tt_store_pending_deliveries(tt_store *s, tt_store_row each, void *ctx, tt_err *err) {
    tt_page page;
    tt_page_init(&page);
    int64_t at = 0;
    bool ok = true;
    for (bool more = true; ok && more;) {
        tt_db_value args[] = {tt_db_int(at), tt_db_int(PENDING_ROWS)};
        ok = tt_page_fill(&page, s, TT_SQL_DELIVERY_PENDING, args, TT_COUNT(args), err);
        for (size_t i = 0; ok && more && i < page.n; i++) {
            tt_store_entry e = tt_page_entry(&page, i);
            at = page.row[i].seq;
            more = each(ctx, (uint64_t)at, &e);
        }
        if (ok && more && page.damaged)
            ok = tt_fail(err, TT_EIO, "the store's table `delivery` is damaged after id %lld: restore a backup", (long long)at);
        more = more && (page.n == PENDING_ROWS || page.full);
    }
    tt_page_free(&page);
    return ok;
}

/* One statement in a transaction of its own. */
static bool change(tt_store *s, tt_sql sql, int64_t arg, int64_t *ret_id, tt_err *err) {
    const tt_db_ops *ops = s->db->ops;
    tt_db_value value = tt_db_int(arg);
    pthread_mutex_lock(&s->lock);
    bool ok = ops->begin(s->db, false, err);
    if (ok) {
        ok = ops->query(s->db, sql, &value, 1, take_id, ret_id, err);
        if (ok)
            ok = ops->commit(s->db, err) == TT_DB_COMMITTED;
        else
            ops->rollback(s->db);
    }
    pthread_mutex_unlock(&s->lock);
    return ok;
}

bool tt_store_delivery_done(tt_store *s, uint64_t id, tt_err *err) {
    int64_t found = 0;
    if (id > INT64_MAX || !change(s, TT_SQL_DELIVERY_DONE, (int64_t)id, &found, err))
        return id <= INT64_MAX ? false : tt_fail(err, TT_EUNKNOWN, "no such delivery");
    return found != 0 ||
           tt_fail(err, TT_EUNKNOWN, "no delivery %llu in the store: it was trimmed, or the store is another one", (unsigned long long)id);
}

bool tt_store_trim(tt_store *s, size_t keep, tt_err *err) {
    int64_t ignored = 0;
    return change(s, TT_SQL_DELIVERY_TRIM, keep > INT64_MAX ? INT64_MAX : (int64_t)keep, &ignored, err);
}
