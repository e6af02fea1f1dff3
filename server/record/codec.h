/* Records to bytes and back. Writer and reader keep the same tables of texts and series, number by number, and forget them with each segment. */
#ifndef TT_RECORD_CODEC_H
#define TT_RECORD_CODEC_H

#include "record/bytes.h"
#include "record/record.h"

#define RECORD_MAGIC "trimtab recording 1\n"

enum {
    RECORD_FRAME_HEAD = 9,          /* length, CRC, kind */
    RECORD_FRAME_MAX = 1 << 20,     /* of a frame's content, before compression */
    RECORD_HEAD = 5,                /* kind, length */
    RECORD_MAX = 256 << 20,         /* one record's body */
    RECORD_SEGMENT_HEAD_MAX = 4096, /* the JSON in a segment's first frame */
    RECORD_NAMES_MAX = 1 << 20,     /* texts, and series, in one segment */
    RECORD_NAME_BYTES = 1 << 20,    /* one text that is numbered */
    RECORD_TABLE_BYTES = 128 << 20, /* all of them */
};

/* On the wire; never renumbered. */
typedef enum {
    WIRE_CONFIG = 1,
    WIRE_RULES,
    WIRE_SAVED,
    WIRE_SNAPSHOT,
    WIRE_TIMING,
    WIRE_TICK,
    WIRE_COMMIT,
    WIRE_CLOSE,
} record_wire;

/* One signal and label set, and what its last measurement said. */
typedef struct {
    uint32_t signal, n_labels;
    uint32_t name[TT_LABELS_MAX], value[TT_LABELS_MAX]; /* numbers of texts */
    uint64_t hash;
    uint64_t bits;     /* of the last value */
    int64_t window_ns; /* the last one */
    uint32_t follower; /* which series came behind it last time: answers keep their order */
} record_series;

typedef struct {
    uint32_t n, cap;
    tt_sv *at;
    uint64_t bytes;
    tt_arena *arena;
    uint32_t *slots, n_slots; /* writer: number + 1 by hash */
} record_texts;

typedef struct {
    record_texts texts;
    uint32_t n_series, cap_series;
    record_series *series;
    uint32_t *slots, n_slots; /* writer */
    uint32_t first;           /* which series a tick began with */
    bool full;                /* writer: the segment should end before a ceiling is met */
    tt_time now;
    tt_wall wall;
    uint64_t tick;
    size_t n_acks; /* reader: of the last tick, in its room; they hardly ever change */
    tt_buf acks;   /* writer: the same, as they were written */
} record_tables;

bool record_tables_init(record_tables *t); /* what a segment begins with; false: memory is out, and nothing is to be given back */
void record_tables_free(record_tables *t);

#define RECORD_NONE UINT32_MAX
/* Which series a measurement is of: the low bits of its flags. */
enum {
    SERIES_FOLLOWS = 0, /* the one that came here last time */
    SERIES_KNOWN = 1,
    SERIES_NEW = 2,
    SERIES_MASK = 3,
};
/* The text's number; the first time the text itself. *ret: its number. false: a ceiling is met, or memory is out. */
bool record_put_name(tt_buf *b, record_tables *t, tt_sv s, uint32_t *ret);
tt_sv record_get_named(record_cursor *c, record_tables *t);
/* Finds or makes the measurement's series, writes which one it is, and gives its flags. `before`: the one in front of it, or RECORD_NONE. */
bool record_put_series(tt_buf *b, record_tables *t, const tt_measurement *m, uint32_t before, uint32_t *ret, unsigned *ret_flags);
uint32_t record_get_series(record_cursor *c, record_tables *t, unsigned flags, uint32_t before);
bool record_grow(void **at, size_t *cap, size_t n, size_t each);

/* Each appends one whole record. false: over a limit or out of memory, with nothing usable in `out`. */
bool record_put_config(tt_buf *out, const tt_engine_config *c);
bool record_put_rules(tt_buf *out, const tt_rules_texts *rules, uint32_t hash);
bool record_put_state(tt_buf *out, record_wire kind, tt_time now, tt_sv text);
bool record_put_timing(tt_buf *out, int64_t scrape_ns, int64_t ingest_ns, int64_t apply_ns);
bool record_put_tick(tt_buf *out, record_tables *t, uint64_t number, const tt_observations *obs, const tt_outcome *outcome);
bool record_put_commit(tt_buf *out, const tt_record_commit *c);
bool record_put_close(tt_buf *out, tt_sv why);

/* What the reader decodes into, reused from record to record. */
typedef struct {
    size_t cap_polls, cap_measurements, cap_alerts, cap_acks, cap_commands, cap_drifts, cap_decisions, cap_events, cap_rules;
    tt_poll *polls;
    tt_measurement *measurements;
    tt_alert *alerts;
    tt_ack *acks;
    tt_command *commands;
    tt_drift *drifts;
    tt_sv *decisions, *events;
    tt_rules_text *rules;
} record_room;
void record_room_free(record_room *r);

/* One record's body. false: *why says what is wrong; the tables are then useless. Views into `body` and the tables. */
bool record_get(record_tables *t, record_room *room, record_wire kind, tt_sv body, tt_record *ret, const char **why);

/* The record at the begin of `bytes`. 1: it is there, 0: more bytes are needed, -1: it says it is over RECORD_MAX. */
int record_split(tt_sv bytes, uint8_t *ret_kind, tt_sv *ret_body);

#endif
