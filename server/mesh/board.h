/* The board: decisions in force as agents see them, who the agents are, what they acknowledged and reported. The agents' side of the mesh seam.
 * Any thread may call; locked inside, never held across I/O. */
#ifndef TT_BOARD_H
#define TT_BOARD_H

#include "engine.h"

typedef struct tt_board tt_board;

tt_board *tt_board_new(uint64_t epoch);
void tt_board_free(tt_board *b);

/* Takes decisions that are already in the journal. Waiters they concern are woken (through the callback given to tt_board_on_change).
 * The first call, even with none, opens the board: until then an agent that asks keeps what it has, so that a restart never looks like
 * "nothing is in force". */
void tt_board_publish(tt_board *b, const tt_decision *d, size_t n, tt_time now);
void tt_board_on_change(tt_board *b, void (*changed)(void *ctx), void *ctx); /* called on the publisher's thread, with no lock held */
bool tt_board_is_open(tt_board *b);
/* Grows with everything that can change an answer: equal numbers mean an answer rendered before still holds. */
uint64_t tt_board_generation(tt_board *b);

typedef struct {
    tt_sv service, dc, instance; /* service empty: everything */
    size_t n_calls;
    tt_sv calls[32];
    uint64_t epoch, version;
} tt_board_query;
/* What the way in tells about a caller with service and instance: it asked, its query began or stopped to wait, it was told the answer. Several at once
 * by `|`. */
enum { TT_BOARD_ASKED = 1, TT_BOARD_WAITS = 2, TT_BOARD_WAITED = 4, TT_BOARD_TOLD = 8 };
void tt_board_heard(tt_board *b, const tt_board_query *q, unsigned words, tt_time now);
/* True when the caller should be answered now rather than wait. Never before the board is open. */
bool tt_board_has_news(tt_board *b, const tt_board_query *q);
bool tt_board_ask(tt_board *b, const tt_board_query *q, tt_time now); /* TT_BOARD_ASKED, then whether there is news */
void tt_board_answer_json(tt_board *b, const tt_board_query *q, tt_time now, int64_t wall_ms, tt_buf *out);

/* A load report (docs/contract.md). false and *err with the field when malformed; nothing is half taken. */
bool tt_board_report(tt_board *b, tt_sv json, tt_time now, tt_err *err);
/* Agents not heard of for 10 s are dropped here. Writes what each target's agents enforce: views live until the next call. A target that
 * concerns no connected agent has no entry. Main loop only. */
size_t tt_board_acks(tt_board *b, tt_time now, const tt_ack **ret);
/* Where agents do not have what was decided, by their own word or by the version they name: somebody else's, or nothing. As of the last
 * tt_board_acks, which finds them; views live until its next call. Main loop only. */
size_t tt_board_drifts(tt_board *b, const tt_drift **ret);
/* The figures `reports:` names, summed or merged over the agents of a service and dc, as measurements for every signal of `rules` that asks for
 * one: latest complete second. Views live until the next call. Main loop only. */
size_t tt_board_measurements(tt_board *b, const tt_rules *rules, tt_time now, const tt_measurement **ret);
void tt_board_agents_json(tt_board *b, int64_t wall_ms, tt_time now, tt_buf *out); /* {"items":[...]} */
void tt_board_counts(tt_board *b, tt_time now, uint32_t *ret_connected, uint32_t *ret_behind);

#endif
