/* What a plant says: one JSON object a line (docs/plant.md), checked and taken apart, and brought to what the engine reads. Pure: no I/O.
 * One thread at a time for one line; two lines share nothing. */
#ifndef TT_PLANT_PROTOCOL_H
#define TT_PLANT_PROTOCOL_H

#include "engine.h"

enum {
    TT_PLANT_LINE_MAX = 16 << 20,
    TT_PLANT_MEASUREMENTS_MAX = 200000,
    TT_PLANT_ALERTS_MAX = 10000,
    TT_PLANT_ACKS_MAX = 20000,
    TT_PLANT_FEW_SAMPLES = 10, /* a ratio or a latency taken from fewer says nothing */
};
#define TT_PLANT_MS_MAX 4e12 /* now_ms may be Unix time */

typedef struct {
    tt_sv signal;
    size_t n_labels;
    tt_label labels[TT_LABELS_MAX];
    bool null;         /* "value": null: the source has the series and no number for it */
    double value;
    int64_t at_ns;     /* plant time */
    int64_t window_ns; /* 0: not said */
    double samples;    /* -1: not said */
} tt_plant_measurement;

typedef struct {
    int64_t scrape_ns, ingest_ns, apply_ns; /* 0: not said */
} tt_plant_timing;

typedef struct {
    tt_arena *arena;
    void *root; /* json_t: owns the texts */
    int64_t now_ns;
    size_t n_measurements;
    tt_plant_measurement *measurements;
    size_t n_alerts;
    tt_alert *alerts;
    size_t n_acks;
    tt_ack *acks;        /* epoch is the caller's to fill in */
    const void *topology; /* json_t, checked; NULL: none in this line */
    tt_plant_timing timing;
    bool done;
    tt_sv score;         /* the very bytes of the line; empty: none */
    char unknown[96];    /* the first member nobody reads, as a path; empty: none */
} tt_plant_line;

/* `line` without its newline; must outlive *ret. false: *err has code, the column where known, and a text that says what is there and what was expected;
 * *ret is empty. After true: tt_plant_line_free. `last_ns` is the last now_ms told, time must not go back. */
bool tt_plant_line_read(tt_sv line, int64_t last_ns, tt_plant_line *ret, tt_err *err);
void tt_plant_line_free(tt_plant_line *l);

/* The topology as a document of rules: `priorities` where it has some, and `services`. false: no topology in this line. */
bool tt_plant_topology_rules(const tt_plant_line *l, tt_buf *out);
bool tt_plant_topology_priorities(const tt_plant_line *l); /* it brings its own */
/* Declarations, as a document of rules, of the load signals that `has` doesn't have; nothing is written when it has all. */
void tt_plant_load_signals(const tt_plant_timing *t, bool (*has)(void *ctx, tt_sv name), void *ctx, tt_buf *out);

/* What the measurements say of the plant's own timing: told figures may be wrong. */
enum { TT_PLANT_SPACINGS = 33, TT_PLANT_WATCHED = 256, TT_PLANT_SENT = 64 };
typedef struct {
    uint32_t n_spacing, n_delay, n_apply; /* ever seen; the newest TT_PLANT_SPACINGS are kept */
    int64_t spacing[TT_PLANT_SPACINGS], delay[TT_PLANT_SPACINGS], apply[TT_PLANT_SPACINGS];
    size_t n_series;
    struct { uint64_t hash; int64_t at_ns; } series[TT_PLANT_WATCHED];
    size_t n_sent;
    struct { uint64_t version; int64_t at_ns; } sent[TT_PLANT_SENT];
} tt_plant_watch;
void tt_plant_watch_sent(tt_plant_watch *w, uint64_t version, int64_t now_ns); /* a decision that was not told before */
void tt_plant_watch_line(tt_plant_watch *w, const tt_plant_line *l);
tt_plant_timing tt_plant_watch_timing(const tt_plant_watch *w); /* 0 where too little was seen */

/* Monotonic time of the engine for a time of the plant. The engine's clock is never at or below zero. */
tt_time tt_plant_time(int64_t plant_ns);

typedef struct {
    uint64_t epoch;
    uint64_t n_ignored;      /* measurements of signals that neither the rules nor the laws know */
    uint32_t n_names;        /* of them, distinct; the first TT_COUNT(names) are kept */
    char names[16][64];
    uint32_t n_named;        /* of those, how many the caller has told already: its own count */
    bool named[TT_SIGNALS_MAX]; /* signals of the rules that the plant has told by their own name; to be cleared with new rules */
} tt_plant_ear;
/* The line as observations for the rules; everything lives as long as the line. false: memory is out. */
bool tt_plant_line_bind(tt_plant_line *l, const tt_rules *r, tt_plant_ear *ear, tt_observations *ret);

/* The request of a tick, with its newline. `decisions`: all that are in force. */
void tt_plant_request(uint64_t tick, int64_t now_ns, const tt_decision *const decisions[], size_t n, tt_buf *out);

#endif
