/* The recording: everything the engine was given, and what it answered, so that a run can be repeated bit for bit (docs/replay.md).
 *
 * A recording is a directory of segments. A segment is one file that can be replayed alone: it begins with the engine's configuration, the rules'
 * whole text and the engine's state, and goes on with one record a call. A run is one life of the daemon; its segments follow each other without a
 * gap unless recording stopped in between.
 *
 * File: the line "trimtab recording 1", then frames. Frame: length of the payload (u32), CRC-32 of kind and payload (u32), kind (u8), payload; all
 * little-endian. The first frame ('H') is the segment's head as JSON; the others ('D') are slices of one deflate stream, flushed at each frame's end.
 * The stream is a sequence of records: kind (u8), length (varint), body. Texts and label sets are written once a segment and numbered from then on.
 */
#ifndef TT_RECORD_H
#define TT_RECORD_H

#include "config/rules_files.h"
#include "engine.h"

enum {
    TT_RECORD_BUILD_SIZE = 64,
    TT_RECORD_RUN_SIZE = 33,              /* 32 hexadecimal digits */
    TT_RECORD_MEASUREMENTS_MAX = 1 << 18, /* in one tick */
    TT_RECORD_LIST_MAX = 1 << 16,         /* alerts, acknowledgements, commands, decisions or events in one tick */
    TT_RECORD_HASH_SIZE = 32,
};

/* The head of a segment. */
typedef struct {
    char run[TT_RECORD_RUN_SIZE];
    uint64_t segment; /* from 1, within the run */
    uint64_t epoch;
    int64_t wall_ms, now_ns;          /* when it began */
    char version[32];                 /* of the trimtab that wrote it */
    char build[TT_RECORD_BUILD_SIZE]; /* its executable's build id; another build may decide otherwise */
} tt_record_head;

/* What the engine was given in one tick, and what it answered. */
typedef struct {
    uint64_t number; /* within the run, from 1 */
    tt_observations obs;
    size_t n_decisions, n_events;
    const tt_sv *decisions; /* documents of docs/contract.md, as tt_decision_json and tt_event_json (without seq) write them */
    const tt_sv *events;
} tt_record_tick;

/* A tick's entries went into the journal. The engine's events are the last of them; those before are the daemon's own. */
typedef struct {
    uint64_t tick, first_seq, n;
    uint8_t hash[TT_RECORD_HASH_SIZE]; /* the chain's, after them; zeros: not known */
} tt_record_commit;

/* The linker's id of the running executable, in hexadecimal; empty where it has none. */
void tt_record_build_id(char buf[TT_RECORD_BUILD_SIZE]);

/* ---- writing ---- */

typedef struct tt_recorder tt_recorder;

typedef struct {
    const char *dir;
    uint64_t max_bytes;     /* of all segments together, the oldest go first; at least 4 MiB */
    int64_t keep_ns;        /* older segments go; 0: only max_bytes bounds them */
    uint64_t segment_bytes; /* a segment ends at this size ... 0: max_bytes / 16, at most 64 MiB */
    int64_t segment_ns;     /* ... or this age; 0: one hour */
    uint64_t spare_bytes;   /* free space that is left to others; 0: 5 % of the file system, at most 256 MiB */
    const char *version, *build;
    uint64_t epoch;
} tt_recorder_options;

/* What a segment begins with. */
typedef struct {
    const tt_engine_config *config; /* as in force: with what tt_engine_set_timing changed */
    const tt_rules_texts *rules;
    uint32_t rules_hash;
    tt_sv saved;    /* a run's first segment: what tt_engine_restore was given, empty: nothing. Later: what tt_engine_save wrote */
    tt_sv snapshot; /* later segments: what tt_engine_snapshot wrote; empty: the segment cannot be replayed alone */
    tt_time now;
    tt_wall wall;
} tt_record_base;

typedef struct {
    bool on;          /* false: stopped, see error; tried again each half minute */
    char error[512];  /* why; empty while it records */
    char file[512];   /* of the current segment, or the last one */
    uint64_t bytes;   /* written by this process */
    uint64_t ticks;   /* recorded by this process */
    uint64_t missed;  /* ticks not recorded because recording had stopped */
    uint64_t kept;    /* bytes of all segments in the directory, as of the newest segment's start */
    int64_t since_ms; /* Unix ms: the oldest of them begins; 0: not known */
} tt_recorder_status;

/* Makes the directory (mode 0700) and a thread that compresses and writes. NULL: the directory cannot be used, *err says why. All calls but
 * tt_recorder_status_of and tt_recorder_sync come from one thread; none waits for the disk. Nothing is written before tt_recorder_begin. */
tt_recorder *tt_recorder_new(const tt_recorder_options *opt, tt_err *err);
/* Writes what is left, and ends the segment. */
void tt_recorder_free(tt_recorder *r);
/* A segment is due: the first one, one over its size or age, or a new try after recording had stopped. */
bool tt_recorder_wants_segment(tt_recorder *r, tt_time now);
void tt_recorder_begin(tt_recorder *r, const tt_record_base *base);
/* Between two ticks: the engine was given new rules. */
void tt_recorder_rules(tt_recorder *r, const tt_rules_texts *rules, uint32_t rules_hash);
void tt_recorder_timing(tt_recorder *r, int64_t scrape_ns, int64_t ingest_ns, int64_t apply_ns);
/* After tt_engine_tick: what it was given and what it gave. The number is the recorder's own. */
void tt_recorder_tick(tt_recorder *r, const tt_observations *obs, const tt_outcome *out);
void tt_recorder_commit(tt_recorder *r, uint64_t first_seq, uint64_t n, const uint8_t hash[TT_RECORD_HASH_SIZE]);
void tt_recorder_status_of(tt_recorder *r, tt_recorder_status *ret); /* any thread */
void tt_recorder_sync(tt_recorder *r); /* waits until all that was given so far is with the file system, or recording has stopped */

/* ---- reading ---- */

typedef struct tt_recording tt_recording;

typedef struct {
    char path[512];
    uint64_t bytes;
    tt_record_head head;
} tt_record_segment;

typedef enum {
    TT_RECORD_BEGIN,    /* a segment begins: `segment`; its base follows, before the first tick */
    TT_RECORD_CONFIG,   /* `config` */
    TT_RECORD_RULES,    /* `rules`, `rules_hash`; behind the base: tt_engine_set_rules */
    TT_RECORD_SAVED,    /* `text`, `now`: tt_engine_restore was given this; with a snapshot behind it: only what an other build can start from */
    TT_RECORD_SNAPSHOT, /* `text` */
    TT_RECORD_TIMING,   /* `timing` */
    TT_RECORD_TICK,     /* `tick` */
    TT_RECORD_COMMIT,   /* `commit` */
    TT_RECORD_CLOSE,    /* the segment was ended in order: `closed_why` */
    TT_RECORD_TORN,     /* the segment's end is missing: `lost` bytes behind `offset` are no whole frame */
} tt_record_kind;

/* Views live until the next call. */
typedef struct {
    tt_record_kind kind;
    const tt_record_segment *segment;
    uint64_t offset; /* in the file, of the frame the record ends in */
    tt_engine_config config;
    tt_rules_texts rules;
    uint32_t rules_hash;
    tt_sv text;
    tt_time now;
    struct {
        int64_t scrape_ns, ingest_ns, apply_ns;
    } timing;
    tt_record_tick tick;
    tt_record_commit commit;
    tt_sv closed_why;
    uint64_t lost;
} tt_record;

typedef enum { TT_READ_OK, TT_READ_END, TT_READ_BAD } tt_read;

/* A file, or a directory's segments in the order they were written. NULL: nothing readable is there. */
tt_recording *tt_recording_open(const char *path, tt_err *err);
/* One segment from memory, borrowed. For tests. */
tt_recording *tt_recording_of(tt_sv bytes);
void tt_recording_free(tt_recording *r);
size_t tt_recording_segments(const tt_recording *r, const tt_record_segment **ret);
/* Goes on with segment `index` (0: the first). */
void tt_recording_seek(tt_recording *r, size_t index);
/* BAD: *err has the file, the offset and what to do; the next call goes on with the next segment. Memory is bounded by what the file really holds. */
tt_read tt_recording_next(tt_recording *r, tt_record *ret, tt_err *err);

#endif
