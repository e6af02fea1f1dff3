/* The rules as loaded: frozen, immutable, shared between threads, freed as one. plan_load.c makes them from documents,
 * plan_check.c crosses them. What a key means to its writer is in docs/plans.md; what a default is, here. */
#ifndef TT_PLAN_H
#define TT_PLAN_H

#include "doc.h"
#include "expr.h"
#include "match.h"

enum {
    TT_SIGNALS_MAX = 256,
    TT_ANOMALIES_MAX = 256,
    TT_PLANS_MAX = 256,
    TT_STEPS_MAX = 16,
    TT_KEEPS_MAX = 8,
    TT_PRIORITIES_MAX = 8,
    TT_SERVICES_MAX = 1024,
    TT_DCS_MAX = 16,
    TT_CALLS_MAX = 32,
    TT_CLOSURE_MAX = 64, /* a service and all it calls, near and far */
    TT_FEATURES_MAX = 8,
    TT_LEVELS_MAX = 8,
    TT_VERSIONS_MAX = 8,
    TT_MATCHERS_MAX = 8,
    TT_VARS_MAX = 16,
    TT_RENAMES_MAX = 8,
    TT_PROTECTED_MAX = 32,
    TT_BURNS_MAX = 4,
    TT_TRACKS_MAX = 256,
    TT_FREEZE_WINDOWS_MAX = 16,
};

typedef enum { TT_ACROSS_SUM, TT_ACROSS_MEAN, TT_ACROSS_MAX, TT_ACROSS_MIN } tt_across;

typedef struct {
    tt_sv name;          /* [a-z_][a-z0-9_]*, unique */
    tt_sv query;         /* PromQL; empty when it comes from load reports */
    tt_sv reports;       /* name of a load-report figure; empty when it is a query */
    int64_t every_ns;    /* `every`, default 5s; 1s for load reports, which come each second */
    int64_t max_age_ns;  /* `max_age`, default 4 x every; older is `stale` */
    int64_t window_ns;   /* `window`: the span a rate was taken over; default read from the query's first [..], else every */
    tt_across across;    /* how labels that the reader does not name are folded: default sum for *_rps and inflight, else max */
    double min_samples;  /* reserved for sources that know their sample count; 0: no bound */
    size_t n_renames;    /* `labels: {service: to_service}`: series label to_service is read as service */
    struct { tt_sv to, from; } renames[TT_RENAMES_MAX];
    size_t memory;       /* bytes remembered of each of its series beyond the newest sample; 0 for most */
    uint32_t first_track;/* of a list through tt_track_def.next; only where `memory` is not 0 */
    int64_t forget_ns;   /* a series that stopped is remembered this long; 15m, or longer where an anomaly watches for its absence */
    tt_pos pos;
} tt_signal_def;

/* What has to be remembered of a signal's series beyond the newest sample: made of what expressions and anomalies ask for. */
typedef enum { TT_TRACK_CHANGE, TT_TRACK_RATE, TT_TRACK_MEAN, TT_TRACK_BURN, TT_TRACK_BASELINE } tt_track_kind;
typedef struct {
    tt_track_kind kind;
    uint32_t signal;
    uint32_t anomaly;              /* BURN, BASELINE */
    int64_t span_ns;               /* CHANGE, RATE, MEAN: how far back */
    int64_t every_ns;              /* the signal's */
    uint32_t slots;                /* CHANGE, RATE, MEAN: length of the ring */
    size_t offset, bytes;          /* in a series' memory */
    uint32_t next;                 /* of the same signal; TT_TRACKS_MAX ends */
} tt_track_def;

typedef struct {
    tt_sv label;
    tt_sv literal;             /* used when pattern is NULL */
    const tt_pattern *pattern; /* /.../: named groups become the plan's variables */
    tt_sv text;                /* as written */
    tt_pos pos;
} tt_label_match;

#define TT_ANOMALY_KINDS(X) X(WHEN, "when") X(ALERT, "alert") X(SLO, "slo") X(BASELINE, "baseline") X(PEERS, "peers") X(ABSENT, "absent")
#define TT_AS_ANOMALY(id, name) TT_ANOMALY_##id,
typedef enum { TT_ANOMALY_KINDS(TT_AS_ANOMALY) TT_ANOMALY_KIND_COUNT } tt_anomaly_kind;
#undef TT_AS_ANOMALY

typedef struct {
    double objective;  /* share of requests that go well, below 1 */
    int requests;      /* signal that weighs each error ratio; -1: every second counts the same */
    size_t n_burns;    /* any of them is enough; default 14.4 over 1h and 5m, 6 over 6h and 30m */
    struct {
        double rate;   /* of the budget's even pace, > 0 */
        int64_t long_ns, short_ns;
    } burns[TT_BURNS_MAX];
} tt_slo;

typedef enum { TT_ABOVE, TT_BELOW, TT_BOTH } tt_direction;
typedef struct {
    double deviates;   /* times 1.4826 MAD; default 4 */
    double clears;     /* over when within this; default half of deviates */
    double at_least;   /* and this far off in the signal's own unit; NAN: a tenth of what is expected, for ratios 1 % */
    tt_direction direction; /* default above */
} tt_deviates;

typedef struct {
    int64_t season_ns;  /* 0: none, what counts is the recent past */
    int64_t history_ns; /* the past that counts; default 7 seasons, 1h without one */
    int64_t learn_ns;   /* unknown before so much of it was seen; default 3 seasons, 15m without one */
    int64_t slot_ns;    /* from here on derived: a season is `slots` of these, and each is known from `depth` seasons */
    uint32_t slots, depth, needs;
} tt_usual_def;

typedef struct {
    tt_sv name;
    tt_anomaly_kind kind;
    uint32_t signal;      /* every kind but ALERT: one instance for each of its series; of `when` the first that is read */
    const tt_expr *when;  /* WHEN */
    const tt_expr *clear; /* WHEN: over when this holds; NULL: when `when` does not */
    int64_t for_ns;       /* must hold this long; default 0, ABSENT 1m */
    int64_t clear_ns;     /* `clear_for`: must not hold this long before it is over; default = for */
    tt_label_match alert; /* ALERT: matched on the alert's name */
    size_t n_alert_labels;
    tt_label_match alert_labels[TT_MATCHERS_MAX]; /* ALERT; named groups of these and of the name become labels of the anomaly */
    int64_t expires_ns;   /* ALERT: over when it has not been sent again for so long; default 1d; 0: never */
    tt_slo slo;
    tt_deviates deviates; /* BASELINE, PEERS */
    tt_usual_def baseline;
    tt_sv by;             /* PEERS: the label in which peers differ */
    uint32_t min_peers;   /* PEERS: default 2 */
    int64_t forget_ns;    /* ABSENT: gone for good after this; default 1h */
    int track;            /* SLO, BASELINE: what is remembered of each series; else -1 */
    uint32_t hash;        /* of its source text */
    tt_sv text;           /* of the kinds that are not written as one: "p99_ms deviates from what is usual for it" */
    tt_pos pos;
} tt_anomaly_def;

#define TT_STEP_KINDS(X) X(DEGRADE, "degrade") X(LIMIT, "limit") X(DROP, "drop") X(SHIFT, "shift") X(CUTOVER, "cutover") X(EJECT, "eject")            \
    X(RETRY, "retry") X(TIMEOUT, "timeout") X(HEDGE, "hedge") X(ISOLATE, "isolate")
#define TT_AS_STEP(id, name) TT_STEP_##id,
typedef enum { TT_STEP_KINDS(TT_AS_STEP) TT_STEP_KIND_COUNT } tt_step_kind;
#undef TT_AS_STEP

typedef struct tt_step {
    tt_step_kind kind;
    bool approve;           /* `approve: required` */
    tt_sv feature;          /* degrade; empty: the first that the service declares */
    tt_sv service;          /* retry, timeout, hedge: calls to whom; default the target's service. degrade: who degrades it; default who declares it, else the target's service. May be a $variable */
    uint32_t levels;        /* degrade: 1 to TT_LEVELS_MAX */
    double gain[TT_LEVELS_MAX]; /* degrade: capacity factor each level brings, >= 1, not falling */
    double worth[TT_LEVELS_MAX]; /* degrade: what an answer is worth at each level, 0 to 1, falling; default .97, .90, .82, ... */
    double probe_ratio;     /* degrade: share that keeps the lower level so that the dependency stays visible; default 2% */
    uint32_t n_keep;        /* limit: priorities in the order kept; default every priority of the rules */
    uint32_t keep[TT_PRIORITIES_MAX]; /* indices into tt_rules.priorities */
    bool armed;             /* limit: stands before any incident, from learned capacity; default in mode auto without `approve` */
    uint32_t priority;      /* drop: index */
    double max;             /* drop, shift, eject, isolate: ratio 0 to 1; default 1 for drop and isolate, .5 for shift, .34 for eject.
                               retry: `budget`, retries a request at most, default 10%. hedge: `off_above`, a utilization, default 80% */
    double least, most;     /* retry: the budget where there is no room, default 2%. timeout: ms; default 20 and 10000. limit by concurrency:
                               most is what a request may take, in ms; 0: six times the usual */
    double factor;          /* timeout: of the healthy p99; default 1.5 */
    bool by_concurrency;    /* limit: held as requests in flight instead of a rate */
    double fixed;           /* law runbook: what the step is set to: drop ratio, degrade level, share shifted away, limit in rps; 0: sized by the law */
    tt_sv from;             /* shift, cutover: data center, default the target's. May be a $variable */
    tt_sv to_version;       /* shift between versions: who takes over from the target's version; else empty */
    const struct tt_step *const *at_service; /* degrade whose service or gains depend on the target: see tt_step_at. Else NULL */
    tt_pos pos;
} tt_step;

typedef enum { TT_MODE_OBSERVE, TT_MODE_ADVISE, TT_MODE_APPROVE, TT_MODE_AUTO } tt_mode;

/* `law:`, who sizes a plan's steps. The last three are what others do; they are there to be compared with (law_baseline.c). */
#define TT_LAWS(X) X(MEASURED_CAPACITY, "measured_capacity") X(AIMD, "aimd") X(PI, "pi") X(RUNBOOK, "runbook")
#define TT_AS_LAW(id, name) TT_LAW_##id,
typedef enum { TT_LAWS(TT_AS_LAW) TT_LAW_COUNT } tt_law;
#undef TT_AS_LAW

/* Of the laws aimd, pi and runbook; `law: {name: aimd, every: 10s}`. */
typedef struct {
    int64_t every_ns;        /* aimd: between two changes; default 10s */
    double min_factor;       /* aimd: the deepest single cut, as a factor; default 10% */
    double increment;        /* aimd: added to the multiplier each time all is well; default 2.5% */
    double max_multiplier;   /* aimd: from here on nothing is limited any more; default 2 */
    int64_t base_window_ns;  /* aimd, pi: the offered load that a multiplier or ratio is of is averaged over this; default 30s */
    double gain;             /* pi: by how many setpoints the signal falls for each unit of load held back; default 2 */
    int64_t response_ns;     /* pi: how slow the closed loop is meant to be, tau_c of SIMC; default 0: its dead time */
    int64_t wait_ns;         /* runbook: from one step to the next; default 60s */
} tt_law_params;

typedef struct {
    tt_sv name;
    tt_law law;        /* default measured_capacity */
    tt_law_params law_params;
    uint32_t anomaly;  /* index */
    size_t n_matchers;
    tt_label_match matchers[TT_MATCHERS_MAX];
    tt_mode mode;      /* default advise: a plan acts only when its author says so */
    uint32_t priority; /* of plans that answer one target, the larger goes first; default 0 */
    uint32_t order;    /* as written, over all documents */
    tt_sv exclusive;   /* of the plans with this name one acts at a time; empty: none */
    tt_sv service, dc, instance; /* target: literal or $variable; dc and instance may be empty */
    bool by_version;   /* the target has `version` in place of `instance`: loops' targets have "version:" and its name there */
    size_t n_keep;
    const tt_expr *keep[TT_KEEPS_MAX];
    size_t n_steps;
    tt_step steps[TT_STEPS_MAX];
    int64_t settle_hold_ns;   /* default 60s */
    int64_t settle_within_ns; /* default 10m */
    int64_t recover_after_ns; /* default 2m */
    double recover_step;      /* default 10% */
    int64_t recover_every_ns; /* default 30s */
    int64_t approve_within_ns;/* `approval: {within: 5m}`: nobody answers by then: refused; default 5m */
    tt_sv page;               /* `otherwise: {page: team}`; may be empty */
    uint32_t hash;            /* of the plan's source text, shown with every decision */
    uint32_t terms_hash;      /* of the same but for `mode`: what a success record is a record of */
    tt_pos pos;
} tt_plan;

typedef struct {
    tt_sv name;
    double weight;        /* share when healthy; default equal shares; over all dcs they sum to 1 */
    double capacity_rps;  /* at degrade level 0; 0: unknown, to be learned */
} tt_dc_def;

typedef struct {
    tt_sv name;
    uint32_t levels;
    double gain[TT_LEVELS_MAX]; /* as in tt_step */
} tt_feature_def;

typedef struct {
    tt_sv name;
    size_t n_dcs;
    tt_dc_def dcs[TT_DCS_MAX];
    size_t n_calls;
    uint32_t calls[TT_CALLS_MAX]; /* indices of services; acyclic */
    bool inner_loop;              /* the embedded library bounds queue time at every hop; default false */
    size_t n_features;
    const tt_feature_def *features; /* what it can do without, by levels */
    size_t n_versions;
    const tt_dc_def *versions;      /* weight: share of each data center's traffic when all is well; capacity_rps: in each data center */
    tt_pos pos;
} tt_service_def;

/* When nothing new is begun. Days and minutes are of the calendar that the observations bring; window.c reads and asks. */
typedef struct {
    bool once;               /* from .. to; else every week */
    uint8_t days;            /* every week: bit 0 Monday ... bit 6 Sunday, on which it begins */
    int32_t from_day, to_day; /* once: days since 1970-01-01 */
    uint16_t from_minute, to_minute; /* of the day, 0 to 1440. Every week: to is of the next day unless it is later than from */
    bool utc;                /* else the time zone of the daemon */
    bool approve;            /* `then: approve`: begun when a person approves; else not at all */
    tt_sv reason;            /* may be empty */
    tt_pos pos;
} tt_freeze_window;
/* "weekday 22:00-06:00" into days and minutes; "2026-12-24 18:00". false: it can't be read, nothing is changed. */
bool tt_window_every(tt_sv text, tt_freeze_window *ret);
bool tt_window_date(tt_sv text, int32_t *ret_day, uint16_t *ret_minute);
bool tt_window_holds(const tt_freeze_window *w, int32_t day, uint16_t minute);
void tt_window_text(const tt_freeze_window *w, char *buf, size_t size); /* as it would be written, with its zone */

typedef struct {
    uint32_t max_concurrent_loops; /* sites acted on at once, default 5 */
    int64_t correlate_ns;          /* a caller waits that long for a failing service below it to be found out; default 10s; 0: callers never wait */
    double max_capacity_removed;   /* default 40%, of what a service and all it calls can carry together, by shift, cutover and eject (guard.c) */
    double max_change_share;       /* `max_change`: that share of a service's capacity may be taken away ... */
    int64_t max_change_per_ns;     /* ... in that time; default 0: no bound */
    uint32_t drift_overwrites;     /* default 3: so often ours is told again over what a rival wrote, then a person is called */
    size_t n_freeze_windows;
    tt_freeze_window freeze_windows[TT_FREEZE_WINDOWS_MAX];
    size_t n_protected;
    tt_label_match protected_services[TT_PROTECTED_MAX]; /* matched on the service's name */
    uint32_t lock_out_reversals;   /* default 3 */
    int64_t lock_out_for_ns;       /* default 30m */
    double most_bad_share;         /* default 60% ... */
    uint32_t most_bad_min;         /* ... of at least this many targets (`at_least`, default 3) look bad at once, and the load counters don't: freeze and page */
} tt_guardrails;

typedef struct tt_rules {
    tt_arena *arena;
    const tt_matcher *matcher;
    size_t n_priorities;              /* `priorities:`, highest first; default critical, normal, batch */
    tt_sv priorities[TT_PRIORITIES_MAX];
    size_t n_signals;
    tt_signal_def *signals;
    size_t n_anomalies;
    tt_anomaly_def *anomalies;
    size_t n_tracks;
    tt_track_def *tracks;
    size_t n_plans;
    tt_plan *plans;
    size_t n_services;                /* callers before callees is not promised */
    tt_service_def *services;
    tt_guardrails guardrails;
    uint32_t hash;
} tt_rules;

/* Documents to rules, in the order given; names must be unique over all of them. On failure NULL, and `errs` holds the first
 * *n_errs (at most max_errs) problems, each with file, line and column: all of them are looked for, not only the first.
 * `matcher` and the documents' file names must outlive the rules; the documents need not. */
tt_rules *tt_rules_load(const tt_doc *const docs[], size_t n_docs, const tt_matcher *matcher, tt_err errs[], size_t max_errs, size_t *n_errs);
void tt_rules_free(tt_rules *r);
int tt_rules_signal(const tt_rules *r, tt_sv name);   /* index or -1, as the next three */
int tt_rules_service(const tt_rules *r, tt_sv name);
int tt_rules_priority(const tt_rules *r, tt_sv name);
/* The step as it stands for a loop whose target is this service: a degrade has its service, levels and gains filled in from the service that declares the
 * feature. NULL: nobody at or below this service has it, or `st` is NULL. Lives as long as the rules. */
const tt_step *tt_step_at(const tt_step *st, uint32_t service);
const char *tt_step_name(tt_step_kind kind);
const char *tt_mode_name(tt_mode mode);
const char *tt_law_name(tt_law law);
const char *tt_anomaly_kind_name(tt_anomaly_kind kind);
tt_sv tt_anomaly_text(const tt_anomaly_def *a); /* its expression or pattern as written, or what else is watched */

#endif
