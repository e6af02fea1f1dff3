/* Schema changes: forward only, one transaction each, remembered with a checksum of their text. */
#include "db.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

enum { HEX_SIZE = crypto_hash_sha256_BYTES * 2 + 1 };

static void checksum(const tt_migration *m, char hex[HEX_SIZE]) {
    unsigned char hash[crypto_hash_sha256_BYTES];
    crypto_hash_sha256(hash, (const unsigned char *)m->sql, m->n);
    sodium_bin2hex(hex, HEX_SIZE, hash, sizeof hash);
}

typedef struct {
    const tt_migration *known;
    size_t n_known, n_applied;
    bool bad;
    tt_err *err;
} history;

/* The applied ones must be the first of the known ones, in order, unchanged. */
static bool compare(void *ctx, const tt_db_value *cols, size_t n_cols) {
    history *h = ctx;
    h->bad = true;
    if (n_cols != 3 || cols[0].null || cols[0].kind != TT_DB_INT || cols[1].null || cols[2].null) {
        tt_fail(h->err, TT_EIO, "the store's table `migration` is damaged: restore a backup");
        return false;
    }
    int64_t version = cols[0].i;
    if (h->n_applied == h->n_known) {
        int64_t newest = h->n_known ? h->known[h->n_known - 1].version : 0;
        tt_fail(
            h->err, TT_ESTATE,
            "the store was written by a newer trimtab: it has migration %lld (%.*s), this one knows up to %lld; run the newer trimtab, or restore a "
            "backup from before the upgrade",
            (long long)version, (int)cols[1].n, (const char *)cols[1].p, (long long)newest);
        return false;
    }
    const tt_migration *m = &h->known[h->n_applied];
    char hex[HEX_SIZE];
    checksum(m, hex);
    if (version != m->version || cols[2].n != strlen(hex) || memcmp(cols[2].p, hex, cols[2].n) != 0) {
        tt_fail(h->err, TT_ESTATE,
                "the store's migration %lld (%.*s) is not this trimtab's migration %lld (%s): the store belongs to another build; run that one, or "
                "restore a backup",
                (long long)version, (int)cols[1].n, (const char *)cols[1].p, (long long)m->version, m->name);
        return false;
    }
    h->n_applied++;
    h->bad = false;
    return true;
}

/* One step under the lock: makes the table, or applies the first missing migration. *ret_more: there is another step. */
static bool step(tt_db *db, const tt_migration *known, size_t n_known, bool *ret_more, tt_err *err) {
    static const char table[] =
        "CREATE TABLE IF NOT EXISTS migration (version BIGINT NOT NULL PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL)";
    if (!db->ops->begin(db, true, err)) return false;
    history h = {.known = known, .n_known = n_known, .err = err};
    if (!db->ops->script(db, table, err) || !db->ops->query(db, TT_SQL_MIGRATIONS, NULL, 0, compare, &h, err) || h.bad) goto undo;
    *ret_more = h.n_applied < n_known;
    if (!*ret_more) {
        db->ops->rollback(db);
        return true;
    }
    const tt_migration *m = &known[h.n_applied];
    char hex[HEX_SIZE];
    checksum(m, hex);
    tt_err why = {0};
    tt_db_value row[] = {tt_db_int(m->version), tt_db_text(m->name, strlen(m->name)), tt_db_text(hex, strlen(hex))};
    if (!db->ops->script(db, m->sql, &why) || !db->ops->query(db, TT_SQL_MIGRATION_ADD, row, TT_COUNT(row), NULL, NULL, &why)) {
        tt_fail(err, why.code, "migration %s failed and was rolled back: %s", m->name, why.text);
        goto undo;
    }
    if (db->ops->commit(db, &why) != TT_DB_COMMITTED) return tt_fail(err, why.code, "migration %s was not committed: %s", m->name, why.text);
    return true;
undo:
    db->ops->rollback(db);
    return false;
}

bool tt_migrate(tt_db *db, const tt_migration *known, size_t n_known, tt_err *err) {
    for (bool more = true; more;)
        if (!step(db, known, n_known, &more, err)) return false;
    return true;
}
