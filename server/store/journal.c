/* The journal: appended under the lease, chained by SHA-256, read in pages. */
#include "store_internal.h"

#include <stdlib.h>
#include <string.h>

static void add_u64(crypto_hash_sha256_state *h, uint64_t v) {
    unsigned char be[8];
    for (int i = 0; i < 8; i++) be[i] = (unsigned char)(v >> (56 - 8 * i));
    crypto_hash_sha256_update(h, be, sizeof be);
}

/* Lengths first, so that no two rows give the same bytes. */
static void add_text(crypto_hash_sha256_state *h, const char *p, size_t n) {
    add_u64(h, n);
    if (n) crypto_hash_sha256_update(h, (const unsigned char *)p, n);
}

/* Moves the chain over one row. */
static void link(tt_chain *c, uint64_t epoch, const tt_store_entry *e, size_t body_len) {
    crypto_hash_sha256_state h;
    crypto_hash_sha256_init(&h);
    crypto_hash_sha256_update(&h, c->hash, TT_HASH_SIZE);
    add_u64(&h, ++c->seq);
    add_u64(&h, epoch);
    add_u64(&h, (uint64_t)e->at_ms);
    add_text(&h, e->kind, strlen(e->kind));
    add_text(&h, e->loop, strlen(e->loop));
    add_text(&h, e->body, body_len);
    crypto_hash_sha256_final(&h, c->hash);
}

typedef struct {
    tt_chain chain;
    bool bad;
} head;

static bool take_head(void *ctx, const tt_db_value *cols, size_t n) {
    head *h = ctx;
    h->bad = n != 2 || cols[0].null || cols[0].kind != TT_DB_INT || cols[0].i < 0 || cols[1].null || cols[1].kind == TT_DB_INT ||
             cols[1].n != TT_HASH_SIZE;
    if (h->bad) return false;
    h->chain.seq = (uint64_t)cols[0].i;
    memcpy(h->chain.hash, cols[1].p, TT_HASH_SIZE);
    return false;
}

/* An empty journal has no row: seq 0 and 32 zero bytes. Call with the lock held. */
bool tt_store_read_head(tt_store *s, tt_chain *ret, tt_err *err) {
    head h = {0};
    if (!s->db->ops->query(s->db, TT_SQL_JOURNAL_HEAD, NULL, 0, take_head, &h, err)) return false;
    if (h.bad) return tt_fail(err, TT_EIO, "the store's table `journal_head` is damaged: restore a backup");
    *ret = h.chain;
    return true;
}

static bool read_head_locked(tt_store *s, tt_chain *ret, tt_err *err) {
    pthread_mutex_lock(&s->lock);
    bool ok = tt_store_read_head(s, ret, err);
    pthread_mutex_unlock(&s->lock);
    return ok;
}

typedef struct {
    bool found;
    int64_t epoch;
    char holder[128];
} lease;

static bool take_lease(void *ctx, const tt_db_value *cols, size_t n) {
    lease *l = ctx;
    l->found = n > 0 && !cols[0].null && cols[0].kind == TT_DB_INT;
    l->epoch = l->found ? cols[0].i : 0;
    if (n > 1 && !cols[1].null && cols[1].kind != TT_DB_INT && cols[1].n < sizeof l->holder) memcpy(l->holder, cols[1].p, cols[1].n);
    return false;
}

/* Locks the lease for the transaction, or says who has it. */
bool tt_store_hold_lease(tt_store *s, tt_err *err) {
    lease l = {0};
    tt_db_value arg = tt_db_int((int64_t)s->epoch);
    if (!s->db->ops->query(s->db, TT_SQL_LEASE_HOLD, &arg, 1, take_lease, &l, err)) return false;
    if (l.found) return true;
    if (!s->db->ops->query(s->db, TT_SQL_LEASE_READ, NULL, 0, take_lease, &l, err)) return false;
    if (!l.found) return tt_fail(err, TT_EIO, "the store's table `lease` is damaged: restore a backup");
    if ((uint64_t)l.epoch < s->epoch)
        return tt_fail(err, TT_ESTATE,
                       "the store went back in time: it is at epoch %lld, this trimtab took epoch %llu; a restored backup or a failover lost "
                       "commits: restart trimtab",
                       (long long)l.epoch, (unsigned long long)s->epoch);
    return tt_fail(err, TT_ESTATE, "another trimtab took over (epoch %lld, %s): this one (epoch %llu) may not act any more; stop one of the two",
                   (long long)l.epoch, l.holder, (unsigned long long)s->epoch);
}

/* An earlier commit may have gone through unheard, and the caller tries the same entries again: how many of them are in already. */
static size_t already_in(const tt_store *s, const tt_chain *at, const tt_store_entry *entries, size_t n) {
    if (s->doubt.n == 0 || n < s->doubt.n || at->seq != s->doubt.to.seq || memcmp(at->hash, s->doubt.to.hash, TT_HASH_SIZE) != 0) return 0;
    tt_chain c = s->doubt.from;
    for (size_t i = 0; i < s->doubt.n; i++) link(&c, s->epoch, &entries[i], strlen(entries[i].body));
    return memcmp(c.hash, at->hash, TT_HASH_SIZE) == 0 ? s->doubt.n : 0;
}

static bool append(tt_store *s, tt_chain *c, const tt_store_entry *e, tt_err *err) {
    size_t body_len = strlen(e->body), loop_len = strlen(e->loop);
    link(c, s->epoch, e, body_len);
    tt_db_value loop = tt_db_text(e->loop, loop_len);
    loop.null = loop_len == 0;
    tt_db_value row[] = {
        tt_db_int((int64_t)c->seq),     tt_db_int((int64_t)s->epoch),      tt_db_int(e->at_ms), tt_db_text(e->kind, strlen(e->kind)), loop,
        tt_db_bytes(e->body, body_len), tt_db_bytes(c->hash, TT_HASH_SIZE)};
    return s->db->ops->query(s->db, TT_SQL_JOURNAL_APPEND, row, TT_COUNT(row), NULL, NULL, err);
}

static tt_db_end commit_once(tt_store *s, const tt_store_entry *entries, size_t n, const char *state_json, uint64_t *ret_first, tt_err *err) {
    const tt_db_ops *ops = s->db->ops;
    tt_chain from, to;
    if (!ops->begin(s->db, false, err)) return TT_DB_FAILED;
    if (!tt_store_hold_lease(s, err) || !tt_store_read_head(s, &from, err)) goto undo;
    size_t skip = already_in(s, &from, entries, n);
    uint64_t first = from.seq + 1 - skip;
    to = from;
    for (size_t i = skip; i < n; i++)
        if (!append(s, &to, &entries[i], err)) goto undo;
    if (n > skip) {
        tt_db_value args[] = {tt_db_int((int64_t)to.seq), tt_db_bytes(to.hash, TT_HASH_SIZE)};
        if (!ops->query(s->db, TT_SQL_JOURNAL_MOVE, args, TT_COUNT(args), NULL, NULL, err)) goto undo;
    }
    if (state_json) {
        tt_db_value args[] = {tt_db_int((int64_t)s->epoch), tt_db_int((int64_t)to.seq), tt_db_bytes(state_json, strlen(state_json))};
        if (!ops->query(s->db, TT_SQL_STATE_SAVE, args, TT_COUNT(args), NULL, NULL, err)) goto undo;
    }
    tt_db_end end = ops->commit(s->db, err);
    if (end == TT_DB_COMMITTED) {
        s->doubt.n = 0;
        if (n) s->last = to;
        if (ret_first) *ret_first = first;
    } else if (end == TT_DB_UNKNOWN && n > skip) {
        /* Entries skipped are in for certain; the doubt spans them too, so that the whole call can be recognised. */
        if (skip == 0) s->doubt.from = from;
        s->doubt.to = to;
        s->doubt.n = n;
    }
    return end;
undo:
    ops->rollback(s->db);
    return TT_DB_FAILED;
}

static bool entries_ok(const tt_store_entry *entries, size_t n, const char *state_json, tt_err *err) {
    for (size_t i = 0; i < n; i++) {
        if (!tt_store_text_ok("the journal entry's kind", entries[i].kind, err) ||
            !tt_store_text_ok("the journal entry's loop", entries[i].loop, err))
            return false;
        if (strlen(entries[i].body) > TT_STORE_BODY_MAX)
            return tt_fail(err, TT_ELIMIT, "a journal entry is larger than %d MiB", TT_STORE_BODY_MAX >> 20);
    }
    if (state_json && strlen(state_json) > TT_STORE_BODY_MAX)
        return tt_fail(err, TT_ELIMIT, "the engine's state is larger than %d MiB", TT_STORE_BODY_MAX >> 20);
    return true;
}

bool tt_store_commit(tt_store *s, const tt_store_entry *entries, size_t n, const char *state_json, uint64_t *ret_first_seq, tt_err *err) {
    if (!entries_ok(entries, n, state_json, err)) return false;
    pthread_mutex_lock(&s->lock);
    bool ok;
    if (s->epoch == 0) {
        ok = tt_fail(err, TT_ESTATE, "no epoch was taken: tt_store_next_epoch comes before the first commit");
    } else {
        tt_db_end end = commit_once(s, entries, n, state_json, ret_first_seq, err);
        /* The connection went during COMMIT: over a new one the same entries are found there, or go in now. */
        if (end == TT_DB_UNKNOWN) end = commit_once(s, entries, n, state_json, ret_first_seq, err);
        ok = end == TT_DB_COMMITTED;
    }
    pthread_mutex_unlock(&s->lock);
    return ok;
}

bool tt_store_last_seq(tt_store *s, uint64_t *ret_seq, tt_err *err) {
    tt_chain c = {0};
    if (!read_head_locked(s, &c, err)) return false;
    *ret_seq = c.seq;
    return true;
}

static int64_t clamp(uint64_t v) {
    return v > INT64_MAX ? INT64_MAX : (int64_t)v;
}

bool tt_store_read(tt_store *s, uint64_t after, size_t limit, const char *loop, tt_store_row each, void *ctx, tt_err *err) {
    bool one_loop = loop && *loop, ok = true, more = limit > 0;
    if (one_loop && !tt_store_text_ok("the loop's id", loop, err)) return false;
    tt_page page;
    tt_page_init(&page);
    int64_t at = clamp(after);
    while (ok && more) {
        size_t want = limit < TT_PAGE_ROWS ? limit : TT_PAGE_ROWS;
        tt_db_value args[] = {tt_db_text(loop, one_loop ? strlen(loop) : 0), tt_db_int(at), tt_db_int((int64_t)want)};
        ok =
            one_loop ? tt_page_fill(&page, s, TT_SQL_JOURNAL_READ_LOOP, args, 3, err) : tt_page_fill(&page, s, TT_SQL_JOURNAL_READ, args + 1, 2, err);
        for (size_t i = 0; ok && more && i < page.n; i++) {
            tt_store_entry e = tt_page_entry(&page, i);
            at = page.row[i].seq;
            more = each(ctx, (uint64_t)at, &e) && --limit > 0;
        }
        if (ok && more && page.damaged)
            ok = tt_fail(err, TT_EIO, "the journal is damaged after entry %lld: the store was edited or corrupted; restore a backup", (long long)at);
        more = more && (page.n == want || page.full);
    }
    tt_page_free(&page);
    return ok;
}

bool tt_store_read_back(tt_store *s, uint64_t before, tt_store_row each, void *ctx, tt_err *err) {
    tt_page page;
    tt_page_init(&page);
    int64_t at = clamp(before);
    bool ok = true, more = true;
    while (ok && more) {
        tt_db_value args[] = {tt_db_int(at), tt_db_int(TT_PAGE_ROWS)};
        ok = tt_page_fill(&page, s, TT_SQL_JOURNAL_READ_BACK, args, TT_COUNT(args), err);
        for (size_t i = 0; ok && more && i < page.n; i++) {
            tt_store_entry e = tt_page_entry(&page, i);
            at = page.row[i].seq;
            more = each(ctx, (uint64_t)at, &e);
        }
        if (ok && more && page.damaged)
            ok = tt_fail(err, TT_EIO, "the journal is damaged before entry %lld: the store was edited or corrupted; restore a backup", (long long)at);
        more = more && (page.n == TT_PAGE_ROWS || page.full);
    }
    tt_page_free(&page);
    return ok;
}

void tt_store_chain_end(tt_store *s, uint64_t *ret_seq, uint8_t ret_hash[TT_STORE_HASH_SIZE]) {
    _Static_assert((int)TT_STORE_HASH_SIZE == (int)TT_HASH_SIZE, "SHA-256");
    pthread_mutex_lock(&s->lock);
    *ret_seq = s->last.seq;
    memcpy(ret_hash, s->last.hash, TT_HASH_SIZE);
    pthread_mutex_unlock(&s->lock);
}

/* What is wrong with row i, or NULL; moves the chain over it. */
static const char *check_row(const tt_page *p, size_t i, tt_chain *c) {
    if ((uint64_t)p->row[i].seq != c->seq + 1) return "is missing";
    tt_store_entry e = tt_page_entry(p, i);
    link(c, (uint64_t)p->row[i].epoch, &e, e.body_len);
    return p->row[i].has_hash && memcmp(p->row[i].hash, c->hash, TT_HASH_SIZE) == 0 ? NULL : "was changed";
}

/* Walks one page. false: the store failed. *ret_wrong: what is wrong with the entry after c. */
static bool check_page(tt_store *s, const tt_page *p, tt_chain *c, tt_chain *end, const char **ret_wrong, tt_err *err) {
    for (size_t i = 0; i < p->n; i++) {
        /* Past the end we knew: somebody appends while we walk, or the row came in without its chain. */
        if (c->seq == end->seq && !read_head_locked(s, end, err)) return false;
        tt_chain next = *c;
        *ret_wrong = c->seq >= end->seq ? "was added" : check_row(p, i, &next);
        if (!*ret_wrong && next.seq == end->seq && memcmp(next.hash, end->hash, TT_HASH_SIZE) != 0) *ret_wrong = "was replaced with all before it";
        if (*ret_wrong) return true;
        *c = next;
    }
    if (p->damaged) *ret_wrong = "was changed";
    return true;
}

/* From the chain at `c`, which moves on to the last good entry. *ret_wrong: what is wrong with the one after it. */
static bool walk(tt_store *s, tt_page *page, tt_chain *c, tt_chain *end, const char **ret_wrong, tt_err *err) {
    bool ok = true;
    *ret_wrong = NULL;
    /* Page by page, without the lock between: a long walk must not hold up the tick. */
    for (bool more = true; ok && more && !*ret_wrong;) {
        tt_db_value args[] = {tt_db_int((int64_t)c->seq), tt_db_int(TT_PAGE_ROWS)};
        ok = tt_page_fill(page, s, TT_SQL_JOURNAL_READ, args, TT_COUNT(args), err) && check_page(s, page, c, end, ret_wrong, err);
        /* The end may have moved on since the page was read: so a short page is the last one only when it reaches that far. */
        more = page->n == TT_PAGE_ROWS || page->full || (page->n > 0 && c->seq < end->seq);
    }
    if (ok && !*ret_wrong && c->seq < end->seq) *ret_wrong = "is missing";
    return ok;
}

bool tt_store_verify(tt_store *s, uint64_t *ret_bad, tt_err *err) {
    *ret_bad = 0;
    tt_chain end, c, base;
    if (!read_head_locked(s, &end, err) || !tt_store_read_base(s, &base, err)) return false;
    tt_page page;
    tt_page_init(&page);
    const char *wrong;
    bool ok, again;
    do {
        c = base;
        ok = walk(s, &page, &c, &end, &wrong, err);
        /* Entries may have been taken out under our feet: then the walk begins anew behind them. */
        again = ok && wrong && tt_store_read_base(s, &base, err) && base.seq > c.seq;
    } while (again);
    tt_page_free(&page);
    if (!ok || !wrong) return ok;
    *ret_bad = c.seq + 1;
    return tt_fail(
        err, TT_EVALUE,
        "the journal's chain breaks at entry %llu: it %s after trimtab wrote it; the entries before it hold, compare the rest with a backup",
        (unsigned long long)*ret_bad, wrong);
}
