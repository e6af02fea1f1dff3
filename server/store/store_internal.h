/* What the store's own files share. */
#ifndef TT_STORE_INTERNAL_H
#define TT_STORE_INTERNAL_H

#include "db.h"

#include <pthread.h>
#include <sodium.h>

enum { TT_HASH_SIZE = crypto_hash_sha256_BYTES, TT_STORE_TEXT_MAX = 128, TT_STORE_BODY_MAX = 256 << 20 };

typedef struct {
    uint64_t seq;
    unsigned char hash[TT_HASH_SIZE];
} tt_chain;

struct tt_store {
    tt_db *db;
    pthread_mutex_t lock;
    uint64_t epoch; /* taken by this handle; 0: none yet */
    tt_chain last;  /* after its last commit */
    /* A commit whose end was never heard of: `n` entries from `from` to `to`. n 0: none. */
    struct {
        size_t n;
        tt_chain from, to;
    } doubt;
};

/* journal.c, retention.c. The first two inside a transaction, with the lock held. */
bool tt_store_hold_lease(tt_store *s, tt_err *err);
bool tt_store_read_head(tt_store *s, tt_chain *ret, tt_err *err); /* seq 0 and zeros: the journal is empty */
bool tt_store_read_base(tt_store *s, tt_chain *ret, tt_err *err); /* takes the lock; seq 0 and zeros: nothing was taken out */

/* Short names are TEXT in both engines, and PostgreSQL takes nothing but UTF-8 there. */
bool tt_store_text_ok(const char *what, const char *text, tt_err *err);

/* A few rows out of the engine, so that the reader's callback runs without the lock and may call the store. */
enum { TT_PAGE_ROWS = 128 };
typedef struct {
    size_t n;
    bool full;    /* stopped for its size: there may be more rows */
    bool damaged; /* the row after the last one does not have the right shape */
    struct {
        int64_t seq, at_ms, epoch;
        size_t kind, loop, body, body_len; /* offsets in text */
        unsigned char hash[TT_HASH_SIZE];
        bool has_hash;
    } row[TT_PAGE_ROWS];
    tt_buf text;
} tt_page;
void tt_page_init(tt_page *p);
void tt_page_free(tt_page *p);
/* Replaces the page with the query's rows: seq, at_ms, kind, loop, body and, in a journal, epoch, hash. Takes the lock. */
bool tt_page_fill(tt_page *p, tt_store *s, tt_sql sql, const tt_db_value *args, size_t n_args, tt_err *err);
tt_store_entry tt_page_entry(const tt_page *p, size_t i);

#endif
