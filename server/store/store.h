/* The store: what must survive. One interface over SQLite and PostgreSQL, one schema, one SQL text (migrations/, store/sql.def).
 * Any thread may call; calls are serialised inside. Every write is durable when the call returns true (SQLite: WAL, synchronous=FULL).
 * On failure: false, *err says what and what to do, and nothing of the call was applied. */
#ifndef TT_STORE_H
#define TT_STORE_H

#include "base.h"

typedef struct tt_store tt_store;

/* `where`: a directory (SQLite file trimtab.db in it, made with mode 0700 if missing) or "postgresql://...". Applies missing migrations. */
tt_store *tt_store_open(const char *where, tt_err *err);
/* Only to read, beside a daemon that runs: takes no lock, makes and migrates nothing. Every call that writes fails. */
tt_store *tt_store_open_reader(const char *where, tt_err *err);
void tt_store_close(tt_store *s);
const char *tt_store_kind(const tt_store *s); /* "sqlite" or "postgresql" */
/* Writes and rolls back a row: what /-/ready asks. */
bool tt_store_check(tt_store *s, tt_err *err);

/* Starts a new epoch: one more than any before, durable. Before the first tt_store_commit: whoever took a newer one since makes it fail. */
bool tt_store_next_epoch(tt_store *s, uint64_t *ret_epoch, tt_err *err);

/* The journal: append-only, hash-chained (SHA-256 over previous hash, seq, epoch, at_ms, kind, loop and body; libsodium). */
typedef struct {
    int64_t at_ms;
    const char *kind; /* an event's kind */
    const char *loop; /* "" or loop id */
    const char *body; /* JSON text; member "seq" is not in it: readers get it from the row */
    size_t body_len;  /* set for readers (a raw delivery may hold NUL); tt_store_commit takes strlen(body) */
} tt_store_entry;
/* Appends the entries, and replaces the engine's saved state (NULL: leaves it), in one transaction. ret_first_seq: of the first entry. */
bool tt_store_commit(tt_store *s, const tt_store_entry *entries, size_t n, const char *state_json, uint64_t *ret_first_seq, tt_err *err);
/* The chain's end after the last tt_store_commit of this handle; seq 0: it has not committed any entry. */
enum { TT_STORE_HASH_SIZE = 32 };
void tt_store_chain_end(tt_store *s, uint64_t *ret_seq, uint8_t ret_hash[TT_STORE_HASH_SIZE]);
/* NULL text: none was saved. The caller frees. */
bool tt_store_load_state(tt_store *s, char **ret_json, tt_err *err);
typedef bool (*tt_store_row)(void *ctx, uint64_t seq, const tt_store_entry *entry); /* false stops; views live for the call */
/* Entries with seq > after, oldest first, at most limit. loop "" or NULL: of every loop. */
bool tt_store_read(tt_store *s, uint64_t after, size_t limit, const char *loop, tt_store_row each, void *ctx, tt_err *err);
/* The same backwards: entries with seq < before, newest first, until `each` says false. */
bool tt_store_read_back(tt_store *s, uint64_t before, tt_store_row each, void *ctx, tt_err *err);
bool tt_store_last_seq(tt_store *s, uint64_t *ret_seq, tt_err *err);
/* Takes out the oldest entries, at most `most`, as long as each is older than before_ms; the newest always stays. The chain's hash after the last of them
 * is kept, so that the rest still verifies. ret->n == most: there may be more. */
typedef struct {
    uint64_t n, upto_seq;
    uint8_t hash[TT_STORE_HASH_SIZE];
} tt_store_trimmed;
bool tt_store_trim_journal(tt_store *s, int64_t before_ms, size_t most, tt_store_trimmed *ret, tt_err *err);
/* The chain's hash after entry `seq`; not found: there is no such entry (any more). */
bool tt_store_hash_at(tt_store *s, uint64_t seq, uint8_t ret_hash[TT_STORE_HASH_SIZE], bool *ret_found, tt_err *err);
/* Walks the chain, from where the journal begins. false with the first broken seq in *ret_bad when it does not hold (0: the store itself failed). */
bool tt_store_verify(tt_store *s, uint64_t *ret_bad, tt_err *err);

/* Webhook deliveries: the raw body, durable before the sender is answered. A known dedup key: true with *ret_fresh false. */
bool tt_store_delivery(tt_store *s, const char *source, const char *dedup_key, int64_t at_ms, const char *body, size_t body_len, uint64_t *ret_id,
                       bool *ret_fresh, tt_err *err);
/* Deliveries never marked done, oldest first: read after a restart. `kind` is the source, `body` the raw text, `seq` the id. */
bool tt_store_pending_deliveries(tt_store *s, tt_store_row each, void *ctx, tt_err *err);
bool tt_store_delivery_done(tt_store *s, uint64_t id, tt_err *err);
/* Keeps the newest `keep` deliveries that are done. */
bool tt_store_trim(tt_store *s, size_t keep, tt_err *err);

#endif
