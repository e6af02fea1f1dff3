/* What is remembered of one series beyond its newest sample: its recent past for change(), rate() and mean(); how fast it burns an error budget;
 * what is usual for it. Each is one block of plain memory of a size known at load, so that a signal nobody asks about costs nothing; each takes a
 * sample in constant time. Instants are those of the samples. Pure; a block is used by one thread at a time. */
#ifndef TT_TRACK_H
#define TT_TRACK_H

#include "plan.h"

/* ---- the recent past ---- */

enum { TT_PAST_SLOTS_MAX = 64, TT_PAST_RESOLUTION = 45 };

typedef struct {
    int64_t at;
    double v; /* CHANGE: the value; RATE: risen since the first sample; MEAN: value x seconds since then */
    double t; /* MEAN: seconds that `v` covers */
} tt_past_slot;

/* A ring of slots, at most one a 45th of the span: what "a span ago" was is met within 1.2 % of it. */
typedef struct {
    int64_t at; /* newest sample; 0: none */
    double last;
    double v, t; /* as a slot's */
    uint32_t n, head;
    tt_past_slot s[]; /* of the track's own length */
} tt_past;

uint32_t tt_past_slots(int64_t span_ns, int64_t every_ns);
/* max_age_ns: a value is good for that long; MEAN counts it no longer. */
void tt_past_take(tt_past *p, const tt_track_def *d, int64_t max_age_ns, tt_time at, double value);
/* false: no sample is known from about a span before the newest (within a quarter of the span or one interval). */
bool tt_past_read(const tt_past *p, const tt_track_def *d, double *ret);

/* ---- the error budget ----
 * Multi-window, multi-burn-rate alerting: The Site Reliability Workbook (O'Reilly 2018), chapter 5, with its sliding windows made of buckets. */

enum { TT_BURN_BUCKETS = 30 };

typedef struct {
    float bad, total, seconds;
} tt_burn_bucket;

/* A window of 30 buckets, the oldest counted by the part of it that is still inside. */
typedef struct {
    int64_t start;              /* of the current bucket; 0: none yet */
    double bad, total, seconds; /* of the 29 whole buckets between the oldest and the current */
    uint32_t current;
    tt_burn_bucket b[TT_BURN_BUCKETS + 1];
} tt_burn_window;

typedef struct {
    int64_t at;         /* newest sample; 0: none */
    tt_burn_window w[]; /* long and short of each pair */
} tt_burn;

/* error_ratio counts for the time since the sample before, at most `covers_ns`, weighed by requests (1 where nobody counts them). */
void tt_burn_take(tt_burn *b, const tt_anomaly_def *d, tt_time at, int64_t covers_ns, double error_ratio, double requests);

typedef struct {
    double ratio;   /* errors / requests in the window; 0 where there were none */
    double covered; /* share of the window with data */
    double burn;    /* of the budget, time without data counted as time without errors */
} tt_burn_figure;
typedef struct {
    size_t n;
    struct {
        tt_burn_figure wide, narrow; /* the long window and the short one */
        tt_truth truth;
    } pair[TT_BURNS_MAX];
    tt_truth truth;
} tt_burn_verdict;
/* A pair holds when both windows burn over its rate, even if all time without data had been without errors; it does not when a window that is at
 * least half covered burns less. */
void tt_burn_read(const tt_burn *b, const tt_anomaly_def *d, tt_burn_verdict *ret);

/* ---- deviation ----
 * Hampel's identifier: |x - median| over k x 1.4826 x MAD (Iglewicz and Hoaglin, How to Detect and Handle Outliers, ASQC 1993: the modified z-score).
 */

typedef struct {
    double expected, scale; /* the median; 1.4826 x MAD. NAN: not known */
    double deviation;       /* (value - expected) / scale; NAN where scale is 0 */
    double threshold;       /* how far from expected counts */
    uint32_t n;             /* seasons, or peers, that it rests on */
    tt_truth when, clear;
} tt_deviation;
extern const double tt_mad_to_sigma; /* 1.4826: 1 / the 0.75 quantile of the normal distribution */
/* `expected`, `scale` and `n` are set already. Fills the rest. */
void tt_deviation_judge(tt_deviation *v, const tt_deviates *d, double value);
/* Sorts `x`. 0 for none. */
double tt_median(double *x, size_t n);
/* Median distance from `center` of what is sorted already, leaving out x[skip]; `skip` >= n leaves out none. O(log n). */
double tt_mad_sorted(const double *x, size_t n, size_t skip, double center);

/* ---- what is usual ---- */

enum { TT_KEPT_MAX = 32 };

/* A season is cut into slots; each slot ends in a median and a MAD of up to 32 of its samples, and the last `depth` of those are kept. What is
 * expected is their median; its scale comes from the MAD within a slot and the MAD between seasons. */
typedef struct {
    int64_t at; /* newest sample; 0: none */
    int64_t slot_start;
    uint32_t slot, season;
    uint32_t n, stride, skip; /* of `kept`: every stride-th sample */
    int64_t learned_ns;
    float kept[TT_KEPT_MAX];
    uint32_t have;          /* seasons that the next two rest on */
    double expected, scale; /* in this slot */
    float past[][2];        /* [slot x depth + season]: median, MAD; NAN: not learned */
} tt_usual;

size_t tt_usual_bytes(const tt_usual_def *b);
/* What is expected is that of the slot of `at`. */
void tt_usual_move(tt_usual *u, const tt_anomaly_def *d, tt_time at);
/* Moves, and learns: nothing is wrong, so the sample tells what is usual. Without `learn` its time passes unlearned. */
void tt_usual_take(tt_usual *u, const tt_anomaly_def *d, int64_t max_age_ns, tt_time at, double value, bool learn);
tt_deviation tt_usual_read(const tt_usual *u, const tt_anomaly_def *d, double value);

/* ---- a series' whole block ---- */

void tt_tracks_init(const tt_rules *r, uint32_t signal, void *memory); /* zeroed, signals[signal].memory bytes */

/* As text of one word for the saved state, with ages instead of instants. restore: false, and the block as new, when it is none. */
void tt_track_save(const tt_track_def *d, const tt_rules *r, const void *block, tt_time now, tt_buf *out);
bool tt_track_restore(const tt_track_def *d, const tt_rules *r, void *block, tt_sv text, tt_time now);
/* Time and seasons went on while nobody looked: everything is that much older. */
void tt_track_slept(const tt_track_def *d, const tt_rules *r, void *block, int64_t slept_ns);

#endif
