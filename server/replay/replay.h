/* Replay: a recording's inputs through an engine of our own, tick by tick, beside what the recorded engine answered. Decides nothing, prints nothing.
 * One thread at a time. */
#ifndef TT_REPLAY_H
#define TT_REPLAY_H

#include "record/record.h"

typedef struct tt_replay tt_replay;

typedef struct {
    /* Other rules for the same inputs; NULL: the recorded ones. Borrowed. What the mesh acknowledged is then not the recorded acknowledgements (they
     * name other versions): every decision is taken to be in force everywhere after the time the mesh is configured to take. */
    const tt_rules *rules;
    const tt_matcher *matcher; /* for the recorded rules */
    int64_t from_ms;           /* segments that end before it are passed over where the next one can start alone; INT64_MIN: none */
} tt_replay_options;

/* How the engine came to the state it decides from. */
typedef enum {
    TT_REPLAY_EXACT, /* a run's own start, or a snapshot: the recorded engine's state bit for bit */
    TT_REPLAY_NEAR,  /* from what is kept over a restart: another build's snapshot, or none. It may decide otherwise for a while */
} tt_replay_start;

typedef enum {
    TT_REPLAY_TICK,   /* decided; `tick`, `out`, `engine`, `rules` */
    TT_REPLAY_BEGAN,  /* an engine begins: `start`, `segment` */
    TT_REPLAY_COMMIT, /* `commit`, of the last tick */
    TT_REPLAY_ENDED,  /* a segment ended: `closed_why`, or torn with `lost` bytes at `offset` */
} tt_replay_kind;

/* Views live until the next call. */
typedef struct {
    tt_replay_kind kind;
    const tt_record_segment *segment;
    uint64_t offset;
    tt_replay_start start;
    const tt_record_tick *tick; /* as recorded */
    tt_outcome out;             /* of our engine */
    tt_engine *engine;
    const tt_rules *rules; /* those our engine runs */
    const tt_record_commit *commit;
    tt_sv closed_why;
    bool torn;
    uint64_t lost;
    size_t signals_missing; /* with other rules: signals they ask for that the recording does not have */
} tt_replay_step;

/* Borrows the recording until tt_replay_free. NULL: memory is out. */
tt_replay *tt_replay_new(tt_recording *rec, const tt_replay_options *opt);
void tt_replay_free(tt_replay *r);
/* BAD: the recording is damaged, or its rules or state cannot be read back; *err says where. The next call goes on with the next segment. */
tt_read tt_replay_next(tt_replay *r, tt_replay_step *ret, tt_err *err);

const tt_rules_texts *tt_replay_texts(const tt_replay *r); /* what the recorded rules in force were read from */

/* What differs between what was recorded and what was decided now: the first one. Texts are JSON documents; {NULL, 0}: there is none. */
typedef struct {
    bool decision; /* else an event */
    size_t index;  /* among the tick's */
    tt_sv recorded, now;
} tt_replay_difference;
/* true: identical, byte for byte. `room` holds the text of `now`; the caller frees it. */
bool tt_replay_same(const tt_replay_step *s, tt_replay_difference *ret, tt_buf *room);

#endif
