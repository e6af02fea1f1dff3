/* What the engine's files share. Nothing outside rules/ includes this. */
#ifndef TT_ENGINE_INTERNAL_H
#define TT_ENGINE_INTERNAL_H

#include "engine.h"
#include "loop_history.h"
#include "index.h"
#include "track.h"

enum {
    TT_CHANNELS_MAX = 16,
    TT_MATCHES_MAX = 4,       /* plans that answer one anomaly instance */
    TT_PINS_MAX = 64,
    TT_DRIFTS_MAX = 256,
    TT_NOT_CHOSEN_MAX = 8,    /* remembered by a loop */
    TT_RECORDS_MAX = 2 * TT_PLANS_MAX,
};

/* Before a version's name in a loop's target.instance. */
#define TT_VERSION_PREFIX "version:"

/* The signals the laws know by name (design, section 3). */
#define TT_LOAD_SIGNALS(X)                                                                                                                           \
    X(OFFERED, "offered_rps")                                                                                                                        \
    X(ADMITTED, "admitted_rps")                                                                                                                      \
    X(OK, "ok_rps")                                                                                                                                  \
    X(REFUSED, "refused_rps")                                                                                                                        \
    X(DROPPED, "dropped_rps")                                                                                                                        \
    X(ARRIVED, "arrived_rps")                                                                                                                        \
    X(COMPLETED, "completed_rps")                                                                                                                    \
    X(UTILIZATION, "utilization")                                                                                                                    \
    X(LATENCY_MEAN, "latency_mean_ms")                                                                                                               \
    X(LATENCY_P99, "latency_p99_ms")                                                                                                                 \
    X(RETRIES, "retries_rps")                                                                                                                        \
    X(CALLER, "caller_rps")
#define TT_AS_LOAD(id, name) TT_LOAD_##id,
typedef enum { TT_LOAD_SIGNALS(TT_AS_LOAD) TT_LOAD_COUNT } tt_load_signal;
#undef TT_AS_LOAD

/* Load that a site is asked to carry, as a share of its capacity; control.md section 5, 3. */
#define TT_SAFE_LOAD 0.92
/* A service that completes less than this of what arrives, or is busier than that, is full; control.md section 4. */
#define TT_FLOW_FLOOR 0.95
#define TT_UTILIZATION_CEILING 0.97

/* ---- series ---- */

typedef struct {
    tt_label *l; /* sorted by name; one block with its text, the owner's */
    uint32_t n;
    uint32_t names; /* hash of the names alone; 0: a value is empty, which agrees with any */
    uint64_t hash;
} tt_labels;

/* Every tick reads and writes the first 64 bytes of each, a cache line; the table puts it where one begins. */
typedef struct tt_series {
    double value;
    tt_time at;          /* of the newest ok sample */
    int64_t window_ns;   /* of the newest */
    uint32_t signal;
    uint32_t round;      /* of the poll that last held it */
    tt_quality quality;  /* as the source said; stale is found when read */
    uint32_t place;      /* the set's */
    int32_t next_of_signal;
    int32_t next;        /* of the same signal and place, newest first; -1 ends */
    tt_labels labels;    /* the set's */
    tt_time since;       /* not ok since */
    void *memory;        /* what its tracks remember; NULL for most */
    uint32_t set;
    int32_t prev, next_of_service, prev_of_service; /* next_of_service: of the same signal and service */
    bool used;
    char fill[23];
} tt_series;
_Static_assert(sizeof(tt_series) == 128, "two cache lines");

/* A service at a data center; either may be empty. Held by sets of labels and by sites. */
typedef struct {
    char *text; /* of both views */
    tt_sv service, dc;
    uint32_t n_holders; /* 0: free, `next` is the next such */
    uint32_t next;
} tt_place;

/* One set of labels, shared by the series of several signals. */
typedef struct {
    tt_labels labels;
    tt_sv service, dc, instance, priority; /* views; p is NULL where the label is missing */
    uint32_t place;
    uint32_t n_series; /* 0: free, `next` is the next such */
    uint32_t next;
} tt_label_set;

/* What is known of a signal's series as a whole. */
typedef struct {
    uint32_t n, n_ok;  /* `ok` as the source said */
    uint32_t n_told;   /* in this round */
    uint32_t n_at[4];  /* with service and dc (3), service alone (2), dc alone (1), neither (0) */
    uint32_t names;    /* of the labels of all of them, unless ... */
    bool mixed;        /* ... they differ */
} tt_signal_series;

typedef struct {
    tt_series *s;
    void *block; /* that s lies in */
    uint32_t n, cap, max, n_used;
    tt_label_set *sets;
    uint32_t n_sets, cap_sets, free_set;
    tt_place *places;
    uint32_t n_places, cap_places, free_place;
    tt_index by_labels;     /* series by (signal, labels) */
    tt_index by_place;      /* the newest series of each (signal, place) */
    tt_index by_service;    /* the newest of each (signal, service) */
    tt_index by_set;        /* label sets */
    tt_index by_place_name; /* places */
    tt_signal_series of[TT_SIGNALS_MAX];
    int32_t of_signal[TT_SIGNALS_MAX]; /* newest */
    uint32_t round[TT_SIGNALS_MAX];
    bool down[TT_SIGNALS_MAX];
    bool partial[TT_SIGNALS_MAX];        /* its last answer was not the whole */
    tt_time answered_at[TT_SIGNALS_MAX]; /* the source's last answer */
    int32_t free_list;
    bool full_said;
    uint64_t generation; /* changes when a series comes or goes */
} tt_series_table;

/* ---- anomalies ---- */

typedef struct tt_peer_index tt_peer_index;

typedef enum { TT_AN_PENDING, TT_AN_OPEN, TT_AN_CLEARING } tt_anomaly_state;

typedef struct {
    tt_plan const *plan;
    tt_target target;
} tt_plan_match;

/* Why no loop was opened, as it was told last. */
typedef enum {
    TT_REFUSED_NOTHING,
    TT_REFUSED_BUSY,      /* another plan is there */
    TT_REFUSED_DEEPER,    /* a service below is treated first */
    TT_REFUSED_EXCLUSIVE, /* another plan of its group acts */
    TT_REFUSED_FROZEN,
    TT_REFUSED_PROTECTED,
    TT_REFUSED_LOCKED_OUT,
    TT_REFUSED_TOO_MANY,
    TT_REFUSED_WINDOW,
} tt_refusal;

/* What a verdict rests on, by the anomaly's kind. */
typedef union {
    tt_burn_verdict burn;
    tt_deviation deviation; /* baseline, peers */
    int64_t absent_ns;
} tt_found;

typedef struct {
    bool used;
    uint32_t anomaly;
    tt_labels labels;
    tt_anomaly_state state;
    tt_time since;
    tt_wall since_wall;
    tt_time first_sample; /* of the driver, when it became pending */
    tt_time last_sample;
    bool muted;           /* a person aborted the loop: not answered again before it has cleared */
    tt_refusal refused;
    double value;
    bool value_known;
    tt_found found;
    uint32_t n_matches;
    tt_plan_match *matches;
    char alert_key[TT_NAME_MAX];
} tt_anomaly;

/* ---- sites and groups: the picture and the law's memory of one service at one dc ---- */

typedef struct {
    bool known;               /* offered and ok are both `ok` */
    tt_time at;               /* the oldest of the samples that make it */
    int64_t window_ns;
    double offered, admitted, ok, refused, dropped;
    double offered_by[TT_PRIORITIES_MAX], dropped_by[TT_PRIORITIES_MAX];
    bool by_priority;
    double fail_ratio;        /* 1 - ok/admitted */
    double refused_ratio;     /* refused/offered */
    bool util_known;
    double util;
    int util_service;
    bool flow_known;
    double flow;              /* least completed/arrived over its healthy baseline, over the services below */
    double backlog_s;         /* seconds of work that the window added to what waits there; 0: none, or not known */
    double throughput;        /* least of the saturated services below, in requests admitted here; 0: none is saturated */
    bool partial;             /* full is a service below that only some of the requests need; the way of the others is open */
    int partial_service;
    bool latency_known;
    double latency_ms;
    tt_quality quality;       /* why it is not known */
    const char *missing;
} tt_load;

/* What the laws aimd, pi and runbook remember of a site, from one incident on it to the next. */
typedef struct {
    double rate_rps;     /* offered, averaged over the law's base_window */
    double multiplier;   /* aimd: of rate_rps; 0: nothing is limited */
    double integral;     /* pi: ratio held back, without the proportional part */
    uint32_t steps_done; /* runbook */
    tt_time acted_at, rate_at;
} tt_baseline;

/* What a site can carry, as one source has it (capacity.c). */
#define TT_CAPACITY_SOURCES(X) X(CONFIGURED, "configured") X(LEARNED, "learned") X(MEASURED, "measured") X(LOAD_TEST, "load_test")
#define TT_AS_CAPACITY(id, name) TT_CAPACITY_##id,
typedef enum { TT_CAPACITY_SOURCES(TT_AS_CAPACITY) TT_CAPACITY_COUNT } tt_capacity_source;
#undef TT_AS_CAPACITY
typedef struct {
    double rps;        /* at degrade level 0; 0: nothing known */
    double confidence; /* 0 to 1 */
    double spread;     /* mean deviation of the samples, as a share */
    tt_time at;        /* of the newest */
    uint32_t samples;
} tt_capacity;

typedef struct {
    uint32_t service, dc;
    uint32_t next_of_loop; /* tt_loop_sites: 1 + index, 0 ends */
    uint32_t n_closure;
    uint32_t *closure; /* this one and those it calls, directly or not; the arrays below are as long */
    uint32_t *place;   /* of each of them at this dc, held */
    tt_load load;
    tt_time judged_at;        /* sample time last looked at by the law */
    tt_time looked_at;        /* tick in which it did */

    /* learned while nothing is wrong */
    double learned_rps;       /* 0: nothing learned */
    tt_time learned_at;
    tt_capacity capacity[TT_CAPACITY_COUNT]; /* what capacity.c remembers: ask tt_capacity_of */
    double utilization_worth; /* true capacity over what utilization says, as a load test found it; 0: not known */
    double latency_base_ms;
    uint32_t base_samples;
    double *flow_base;         /* completed/arrived */
    double *calls_per;         /* arrivals here per admitted request */
    double *visits;            /* the same over all data centers: a service may be called across them */
    double *latency_dep_base;
    double *latency_p99_base; /* actions.c, as the next two */
    uint32_t first_caller;    /* 1 + index in tt_engine.callers; 0: none known */
    tt_time sides_learned_at;

    /* the armed envelope */
    const tt_plan *arms;      /* who may arm it; NULL: nobody */
    double armed_rps;         /* 0: not armed */
    double armed_latency_ms;  /* usual when it was armed: what it holds as requests in flight doesn't change with each sample */
    tt_time armed_at;         /* sample time last looked at */
    tt_time disarmed_until;   /* a person stopped a loop here */
    uint32_t bites;           /* samples in a row in which it held back load */

    /* this incident */
    int32_t loop;             /* who drives it, -1: nobody */
    bool acted;
    double measured_rps;      /* safe capacity at degrade level 0, measured while saturated; 0: not yet */
    tt_time measured_at;
    double good_rps;          /* the largest measured_rps that was seen to hold */
    double trim;              /* of the cap: the mesh admits more than told */
    double raise;             /* the most the next step back may add, as a share; halved by every relapse */
    double reserve;           /* share of the capacity that is used */
    double cap_rps;           /* 0: none */
    bool by_ratio;            /* the cap is held by drop ratios, because the plan has no limit */
    double drop[TT_PRIORITIES_MAX];
    uint32_t level, level_before;
    char feature[TT_NAME_MAX], feature_service[TT_NAME_MAX]; /* what `level` is of: known even when the plan is gone */
    double probe_ratio;
    int64_t hold_ns;          /* grows with every relapse */
    tt_time commanded_at, effective_at, violated_at, raised_at, unbound_since, flush_until, dependency_bad_at;
    uint64_t commanded_version;
    bool acknowledged;
    bool raised;              /* the last command gave something back */
    bool faulty;              /* a fault of its own, not load: emptied */
    bool saturated, clean, bad;
    tt_time sensed_at;        /* newest sample classified */
    uint32_t bad_samples;     /* in a row */
    bool hold_said, nowhere_said, partial_said;
    double ack_share;
    double reach;             /* share of the instances that the last decision came to; 1 when nobody tells */
    tt_baseline base;
} tt_site;

typedef struct {
    uint32_t first_site, n_sites;
    uint32_t next_of_loop;    /* tt_loop_groups: 1 + index, 0 ends */
    bool weights;             /* in force */
    double share[TT_DCS_MAX];
    tt_time commanded_at;
    int32_t loop;
    double change_spent; /* share of the capacity taken away lately, as of change_at: guardrails.max_change */
    tt_time change_at;
} tt_group;

/* ---- loops ---- */

#define TT_PHASES(X)                                                                                                                                 \
    X(DETECTED, "detected")                                                                                                                          \
    X(AWAITING_APPROVAL, "awaiting_approval")                                                                                                        \
    X(ACTING, "acting")                                                                                                                              \
    X(SETTLING, "settling")                                                                                                                          \
    X(SETTLED, "settled")                                                                                                                            \
    X(RECOVERING, "recovering")                                                                                                                      \
    X(FROZEN, "frozen")                                                                                                                              \
    X(ESCALATED, "escalated")                                                                                                                        \
    X(FAILED, "failed")                                                                                                                              \
    X(CLOSED, "closed")
#define TT_AS_PHASE(id, name) TT_PHASE_##id,
typedef enum { TT_PHASES(TT_AS_PHASE) TT_PHASE_COUNT } tt_phase;
#undef TT_AS_PHASE
const char *tt_phase_name(tt_phase p);

/* A plan that could have answered, or waits for this loop, and why it doesn't. */
typedef struct {
    char plan[TT_NAME_MAX];
    tt_target target;
    char why[240];
} tt_not_chosen;

/* How a plan has done, under the terms it has now: what an operator looks at before trusting it further. Loops are counted, reversals one by one. */
#define TT_RECORD_COUNTS(X)                                                                                                                          \
    X(opened) X(settled) X(escalated) X(reversals) X(lock_outs) X(recovered) X(cleared) X(aborted) X(refused) X(failed) X(superseded)
typedef struct {
    char plan[TT_NAME_MAX];
    uint32_t terms_hash;
    tt_wall since, last; /* the first loop was opened; something was last counted */
#define TT_AS_COUNT(name) uint32_t name;
    TT_RECORD_COUNTS(TT_AS_COUNT)
#undef TT_AS_COUNT
} tt_record;
/* A step beside the ladder (actions.c), in force or not. */
enum { TT_SIDE_VERSION = TT_STEP_ISOLATE - TT_STEP_RETRY + 1, TT_SIDES };
typedef struct {
    bool on;
    bool raised;               /* the last change gave something back */
    double value;              /* retry: budget; timeout: ms; hedge: 1, off; isolate: ratio refused; version: share it has */
    char service[TT_NAME_MAX]; /* whose calls: known even when the plan is gone */
    char name[TT_NAME_MAX];    /* isolate: the caller; version: which */
    uint32_t needed_samples;   /* in a row */
    tt_time changed_at, clear_since;
    int64_t hold_ns;           /* grows with every relapse */
} tt_side;

/* A caller of a site and its usual rate. */
typedef struct {
    char name[TT_NAME_MAX];
    double base_rps;
    tt_time at;    /* of the last sample learned from */
    uint32_t next; /* of the same site: 1 + index, 0 ends */
} tt_caller;

typedef struct {
    bool used;
    char id[TT_ULID_SIZE];
    uint64_t number;
    const tt_plan *plan; /* NULL: the plan is gone; only the way back is left */
    char plan_name[TT_NAME_MAX];
    uint32_t plan_hash;
    char anomaly_name[TT_NAME_MAX];
    tt_target target;
    uint32_t first_site, first_group; /* tt_loops_gather */
    uint32_t next_closed;             /* 1 + index of the one closed next after it; 0: none */
    tt_phase phase;
    tt_wall opened, phase_wall, closed;
    tt_time opened_at, phase_at, closed_at, kept_since, violated_at;
    bool kept_known, kept;
    bool approved, aborting, paged, shadow_said;
    bool asks; /* begun in a freeze window: a person is asked first, whatever its mode */
    const char *ended; /* static text */
    uint32_t reversals;
    uint32_t rung;
    uint32_t counted; /* in its plan's record: TT_COUNTED_... */
    tt_time locked_until;
    char why[256];
    int64_t hold_ns;
    /* eject */
    bool ejected, eject_held; /* held: peers or limits forbid it, so nothing is to be waited for */
    double eject_share;       /* of the instances there, as they were when it was taken out */
    tt_time eject_at, relapse_at;
    tt_side sides[TT_SIDES]; /* by step kind less TT_STEP_RETRY */
    tt_time sides_judged_at; /* sample time last looked at for them */
    /* history */
    tt_history history;
    tt_not_chosen *not_chosen; /* n_not_chosen */
    uint32_t n_not_chosen;
} tt_loop;

/* ---- load tests ---- */

enum { TT_TESTS_MAX = 8, TT_TEST_STEPS = 64 };
typedef enum { TT_TEST_MEASURING, TT_TEST_STEPPING, TT_TEST_HOLDING, TT_TEST_RETURNING, TT_TEST_OVER } tt_load_test_phase;

/* Sums over the samples of one step, and their means. */
typedef struct {
    uint32_t n, n_util, n_latency;
    double offered, admitted, ok, util, latency;
} tt_load_test_sum;
typedef struct {
    double added, offered, admitted, ok, util, latency_ms; /* util, latency: NAN where nobody tells */
    uint32_t samples;
} tt_load_test_point;

typedef struct {
    char id[TT_ULID_SIZE], service[TT_NAME_MAX], dc[TT_NAME_MAX], actor[64], reason[200];
    tt_load_test_spec spec;
    double home, max, added;  /* shares of the service's traffic: usual, at most to be added, added now */
    tt_load_test_phase phase;
    tt_wall started, ended, phase_wall;
    tt_time started_at, phase_at, commanded_at, judged_at, seen_at; /* seen: last time all its sites were known */
    tt_load_test_sum sum;
    uint32_t n_points, slow_samples, stuck_samples;
    tt_load_test_point point[TT_TEST_STEPS]; /* the first: before any step */
    const char *outcome, *knee;              /* static texts; empty: none */
    char why[400], abort_why[160];
    double rps, confidence;
    uint32_t samples;
} tt_load_test;

typedef struct tt_pin {
    char id[TT_ULID_SIZE];
    tt_pin_spec spec;
    char actor[64], reason[200];
    tt_wall since;
    tt_time expires_at;
} tt_pin;

/* A decision in the making, while a tick lasts: its names are borrowed. */
typedef struct {
    tt_act_kind kind;
    const char *name;
    double value, probe_ratio;
} tt_wish_act;
typedef struct {
    struct tt_decision_slot *slot;
    bool armed;
    uint32_t n_loops, n_actions, n_names;
    const tt_loop *loops[TT_DECISION_LOOPS_MAX];
    const tt_load_test *test; /* answers for it instead of a loop; NULL: none */
    const tt_pin *pins[4];    /* so do these */
    uint32_t n_pins;
    tt_wish_act actions[TT_ACTIONS_MAX];
    const char *names[TT_DECISION_DCS_MAX];
    double shares[TT_DECISION_DCS_MAX];
    int64_t expire_after_ms, decay_over_ms;
} tt_wish;

typedef struct tt_decision_slot {
    tt_target target;
    char *content;            /* packed (wish.c); NULL: withdrawn */
    uint32_t told;            /* bytes of it that make it a new one when they change */
    tt_time issued_at;
    uint64_t version;
    uint64_t changed_version; /* of its last new content; confirmations leave it */
    uint64_t acked_version;   /* enforced by (nearly) every instance */
    double acked_share;
    bool acks_seen;
    uint32_t draft;  /* while rebuilding: 1 + which of the drafts is for it */
    bool dirty;
} tt_decision_slot;

/* Of one target, as long as it drifts and some time after. */
typedef struct {
    tt_target target;
    bool on, foreign;
    bool push;    /* the arbiter tells ours again */
    bool yielded; /* it is somebody else's until they are still */
    uint32_t overwrites;
    char what[200];
    tt_time since, seen_at, pushed_at;
} tt_drift_state;

struct tt_engine {
    const tt_rules *rules;
    tt_engine_config cfg;
    tt_time now;
    int64_t tick_ns; /* since the last tick */
    tt_wall wall;
    bool started;
    int load_signal[TT_LOAD_COUNT];

    tt_series_table series;
    tt_time series_since; /* watched since: the first tick, or new rules */
    tt_anomaly *anomalies;
    uint32_t n_anomalies; /* high-water mark */
    uint32_t free_anomaly; /* none is free below */
    tt_index anomaly_index, anomalies_by_target;
    tt_peer_index *peers[TT_ANOMALIES_MAX]; /* of anomalies that compare peers; made at first use */

    tt_group *groups; /* one a declared service */
    tt_site *sites;
    uint32_t n_sites;
    tt_index sites_by_name;

    tt_caller *callers;
    uint32_t n_callers, cap_callers;

    tt_loop *loops; /* max_loops + max_closed */
    uint32_t n_loops, n_open, n_closed;
    uint32_t oldest_closed, newest_closed; /* 1 + index, 0: none */
    tt_index loops_by_id, loops_by_target, instances_by_place;
    uint64_t loop_counter;

    tt_load_test tests[TT_TESTS_MAX]; /* newest first */
    uint32_t n_tests;

    tt_decision_slot *slots; /* max_targets */
    uint32_t n_slots;
    tt_wish *wishes; /* as many as slots */
    uint32_t n_wishes;
    tt_buf packed;
    bool targets_full_said;
    tt_index slots_by_target;
    tt_decision *out_decisions;
    uint32_t n_out, cap_out;
    uint64_t version;
    tt_wall saved_wall;  /* of the state that was restored, until the first tick; 0: none */
    tt_time restored_at;
    bool reissue; /* restored: every decision goes out anew */

    tt_event *events;
    uint32_t n_events;
    bool events_lost;

    bool frozen;
    char frozen_reason[256], frozen_by[64];
    tt_wall frozen_since;
    bool rules_changed;
    uint32_t windows_open; /* bit a freeze window of the rules */
    tt_pin *pins;          /* TT_PINS_MAX */
    uint32_t n_pins;
    bool pins_unsure;      /* the rules are new: is what was pinned still there? */
    tt_drift_state *drifts; /* TT_DRIFTS_MAX */
    uint32_t n_drifts;

    tt_record *records; /* TT_RECORDS_MAX */
    uint32_t n_records;
};

/* ---- series.c ---- */
void tt_series_init(tt_series_table *t, uint32_t max);
void tt_series_free(tt_series_table *t);
/* New rules: signal i is to[i] now; -1: gone, with its series. What both want remembered of a series goes on. */
void tt_series_move(tt_series_table *t, const int to[], const tt_rules *old, const tt_rules *rules);
void tt_series_take(tt_engine *e, const tt_observations *obs);
int64_t tt_series_max_age(const tt_engine *e, uint32_t signal);
tt_quality tt_series_quality(const tt_engine *e, const tt_series *s);
void *tt_series_track(const tt_series *s, const tt_track_def *d); /* what it remembers for that */
tt_series *tt_series_expect(tt_engine *e, uint32_t signal, const tt_label labels[], size_t n); /* one that was there: no_data until it is told. NULL: no room */
tt_series *tt_series_find(tt_engine *e, uint32_t signal, const tt_labels *labels);
/* The newest series of a signal whose labels say this service and dc (empty: don't say), -1: none; tt_series.next goes on. */
int32_t tt_series_at(const tt_engine *e, uint32_t signal, tt_sv service, tt_sv dc);

/* ---- labels.c ---- */
uint64_t tt_labels_hash(const tt_label *l, size_t n);
bool tt_labels_are(const tt_labels *a, const tt_label *b, size_t n); /* in any order */
bool tt_labels_copy(tt_labels *to, const tt_label *from, size_t n); /* sorted, hashed */
bool tt_labels_eq(const tt_labels *a, const tt_labels *b);
void tt_labels_free(tt_labels *l);
tt_sv tt_labels_get(const tt_labels *l, tt_sv name);
void tt_labels_json(const tt_labels *l, tt_buf *b); /* {"name":"value",...} */
/* Indexes of sets and places, TT_NOWHERE when memory is out; what is held is released as often. */
uint32_t tt_label_set_hold(tt_series_table *t, const tt_label *l, size_t n, uint64_t hash);
void tt_label_set_release(tt_series_table *t, uint32_t at);
uint32_t tt_place_find(const tt_series_table *t, tt_sv service, tt_sv dc); /* TT_NOWHERE: nobody holds it */
uint32_t tt_place_hold(tt_series_table *t, tt_sv service, tt_sv dc);
void tt_place_release(tt_series_table *t, uint32_t at);

/* ---- series.c, reading ---- */
uint64_t tt_hash_bytes(uint64_t h, const void *p, size_t n);

typedef struct {
    tt_sv service, dc, instance, priority; /* empty: any, folded by the signal's `across` */
    const tt_labels *more;                 /* further labels that must agree where the series has them; may be NULL */
    uint32_t place;                        /* 1 + index of service and dc, for who has it at hand; 0: it is looked for */
    tt_sv version;                         /* empty: any */
} tt_where;
typedef struct {
    bool known;
    double value;
    tt_time at;        /* oldest of those folded */
    tt_quality quality;
    bool hole;         /* a part of the sum was there a moment ago and isn't now: not known, rather than smaller */
    int64_t window_ns; /* the longest of those folded */
} tt_reading;
tt_reading tt_read_signal(const tt_engine *e, int signal, const tt_where *where); /* or a call of an expression, from TT_EXPR_CALL */
tt_where tt_series_where(const tt_engine *e, const tt_series *s); /* what has its labels */
/* The same as an expression's reader: tt_expr_eval(x, tt_look_read, &(tt_look){e, where}). */
typedef struct {
    const tt_engine *e;
    tt_where where;
} tt_look;
bool tt_look_read(void *ctx, int signal, double *ret);

/* ---- trigger.c: what each kind of anomaly finds ---- */
typedef struct {
    tt_truth when;  /* it is one */
    tt_truth clear; /* it isn't any more: not the same where there is a hysteresis between them */
    tt_time at;     /* newest sample that this rests on */
    double value;   /* of the signal that is watched */
    bool value_known;
    tt_found found; /* of `when`: nothing */
} tt_verdict;
/* Any kind but alerts and peers. `wrong`: an anomaly is there already, so nothing usual is learned. `driver` NULL: absence of every series. What the series
 * remembers for it goes on. */
void tt_trigger_judge(const tt_engine *e, uint32_t anomaly, const tt_series *driver, bool wrong, tt_verdict *ret);
typedef void (*tt_judged)(tt_engine *e, uint32_t anomaly, tt_series *driver, const tt_verdict *v);
/* Peers: every series of the signal, group by group. *index is made at first use: tt_peers_free. */
void tt_peers_judge(tt_engine *e, uint32_t anomaly, tt_peer_index **index, tt_judged judged);
void tt_peers_free(tt_peer_index *p);
/* Members of a JSON object: inputs with quality, windows, burn rates, median and MAD; and the same as a sentence. */
void tt_trigger_detail(const tt_engine *e, const tt_anomaly *a, tt_buf *out);
void tt_trigger_say(const tt_engine *e, const tt_anomaly *a, tt_buf *out);
tt_where tt_where_of(const tt_labels *l);

/* ---- memory.c: what is remembered, and what is wrong, in the saved state ---- */
void tt_memory_save(const tt_engine *e, tt_time now, tt_buf *out); /* members of an object, each behind a comma */
void tt_memory_restore(tt_engine *e, const tt_doc *saved, tt_time now);
void tt_memory_wake(tt_engine *e); /* in the first tick: the time between saving and restoring has passed for seasons and budgets too */
size_t tt_labels_read(const tt_doc *map, tt_label ret[TT_LABELS_MAX]); /* views into the document */

/* ---- anomaly.c ---- */
void tt_anomalies_save(const tt_engine *e, tt_time now, tt_buf *out); /* members of a list */
void tt_anomaly_restore(tt_engine *e, const tt_doc *saved, tt_time now);
void tt_anomalies_step(tt_engine *e, const tt_observations *obs);
/* After e->rules are new: those whose definition is the same go on, matched with the new plans; the others are gone. `to` as in tt_series_move. */
void tt_anomalies_move(tt_engine *e, const tt_rules *old, const int to[]);
/* Does the plan, asked about this service at this data center, act on just that? */
bool tt_plan_covers(tt_engine *e, const tt_plan *p, const char *service, const char *dc);
void tt_anomaly_disarmed(tt_engine *e, const char *service, const char *dc);
void tt_anomaly_armed(tt_engine *e, const tt_plan *p, const char *service, const char *dc, double held, bool biting);
const char *tt_anomaly_state_name(tt_anomaly_state s);
bool tt_anomaly_same(const tt_anomaly_def *a, const tt_anomaly_def *b, const int to[]); /* under old and new rules */

/* ---- lookup.c ---- */
uint64_t tt_hash_target(const tt_target *t);
/* After a loop's id and target are set, before they change. false: memory is out. */
bool tt_loop_enlist(tt_engine *e, const tt_loop *l);
void tt_loop_delist(tt_engine *e, const tt_loop *l);
void tt_loop_closed(tt_engine *e, tt_loop *l); /* counts it as closed, the newest of them */
bool tt_loops_restored(tt_engine *e);          /* enlists and counts those that were read back. false: memory is out */
void tt_loops_forget(tt_engine *e);            /* as if there had never been one */
tt_loop *tt_loop_find(const tt_engine *e, tt_sv id);
tt_loop *tt_loop_open_on(const tt_engine *e, const tt_target *t);         /* there is one at most */
const tt_loop *tt_loop_locked_on(const tt_engine *e, const tt_target *t); /* open or not, whose lock-out of the target lasts */
/* The open loop on an instance of a service at a dc, one after the other; `after` NULL: the first. In no order that means anything. */
tt_loop *tt_loop_on_instance(const tt_engine *e, const char *service, const char *dc, tt_index_walk *w, bool first);
void tt_anomaly_enlist(tt_engine *e, tt_anomaly *a); /* after its matches are set, before they change */
void tt_anomaly_delist(tt_engine *e, const tt_anomaly *a);
tt_anomaly *tt_anomaly_asking(const tt_engine *e, const tt_target *t, const tt_anomaly *after); /* whose plan would act there; in their order */
/* Puts sites into an empty index and holds their places. false: memory is out, nothing is held. */
bool tt_sites_enlist(tt_engine *e, tt_index *ix, const tt_rules *rules, tt_site *sites, uint32_t n);
void tt_sites_delist(tt_engine *e, tt_index *ix, const tt_site *sites, uint32_t n);
tt_site *tt_site_of(tt_engine *e, const char *service, const char *dc);
/* Notes what each loop drives. What joins a loop later is found after the next time: at the end of each tick, and before loops step. */
void tt_loops_gather(tt_engine *e);
tt_site *tt_loop_sites(const tt_engine *e, const tt_loop *l, const tt_site *after); /* in their order; `after` NULL: the first */
tt_group *tt_loop_groups(const tt_engine *e, const tt_loop *l, const tt_group *after);

/* ---- site.c ---- */
bool tt_sites_build(tt_engine *e, const tt_rules *rules, tt_group **groups, tt_site **sites, uint32_t *n_sites);
void tt_sites_free(tt_site *sites, uint32_t n);
void tt_sites_look(tt_engine *e);
tt_where tt_site_where(const tt_engine *e, const tt_site *s, uint32_t c); /* of what its closure names c-th: 0, the site itself */
double tt_home_share(const tt_engine *e, const tt_site *s);
const char *tt_service_cname(const tt_engine *e, uint32_t service);
const char *tt_dc_cname(const tt_engine *e, const tt_site *s);

/* ---- choose.c ---- */
void tt_loops_open(tt_engine *e); /* for each open anomaly the plan that answers it, where nothing forbids it */
bool tt_plan_acts(const tt_plan *p);
/* Which of two plans answers: negative when `a` goes first. *why is what speaks for the one that does. */
int tt_plan_rank(const tt_plan *a, const tt_plan *b, const char **why);

/* ---- guard.c ---- */
/* What may be changed: the weights of a service over its data centers, or one more instance taken out at one of them. */
typedef struct {
    uint32_t service;
    const double *share; /* NULL: as in force */
    uint32_t dc;         /* where eject_share of the instances more is taken out; UINT32_MAX: nowhere */
    double eject_share;
} tt_removal;
/* The share of capacity that would be taken away: the most over the service and all that call it, of what each can carry with all it calls. */
double tt_capacity_removed(tt_engine *e, const tt_removal *what);
double tt_group_removed(tt_engine *e, const tt_group *g, const double share[]); /* with these weights */
double tt_change_left(const tt_engine *e, const tt_group *g); /* share of its capacity that may be taken away now: guardrails.max_change; 1: all of it */
void tt_change_spend(tt_engine *e, tt_group *g, double share);
typedef enum { TT_SENSOR_BELIEVED, TT_SENSOR_WAIT, TT_SENSOR_SUSPECT } tt_suspicion;
/* Most targets of an anomaly look bad at once: do their load counters say so too? WAIT: they may yet. `why` is set when suspect. */
tt_suspicion tt_sensor_suspect(tt_engine *e, uint32_t anomaly, char why[200]);
void tt_windows_step(tt_engine *e, const tt_observations *obs);
const tt_freeze_window *tt_window_open(const tt_engine *e); /* the strictest; NULL: none */

/* ---- pin.c ---- */
void tt_pin_command(tt_engine *e, const tt_command *c);
void tt_pins_step(tt_engine *e); /* those whose time is over */
bool tt_pinned_admission(const tt_engine *e, const tt_site *s); /* its limit or a drop */
bool tt_pinned_degrade(const tt_engine *e, const tt_site *s);   /* a feature of its or of a service below */
bool tt_pinned_weights(const tt_engine *e, uint32_t service);
bool tt_pinned_eject(const tt_engine *e, const tt_target *instance);
bool tt_pins_hold(tt_engine *e, const tt_loop *l, char *buf, size_t size); /* "ada has pinned limit of front in dc-a"; false: no pin bears upon it */
void tt_pins_put(const tt_engine *e, tt_buf *b);

/* ---- drift.c ---- */
void tt_drift_step(tt_engine *e, const tt_observations *obs);
bool tt_drift_push(tt_engine *e, const tt_target *t, bool *ret_yielded); /* is ours to be told again now? Asked once */
bool tt_drifting(const tt_engine *e, const char *service, const char *dc);
void tt_drifts_put(const tt_engine *e, tt_buf *b);
bool tt_drift_holds(const tt_engine *e, const tt_loop *l, char *buf, size_t size);
/* A person, or somebody else, has what the law would work: it takes no step there. */
bool tt_site_held(const tt_engine *e, const tt_site *s);
bool tt_group_held(const tt_engine *e, uint32_t service);
bool tt_loop_held(tt_engine *e, const tt_loop *l, char *buf, size_t size); /* and why, for people */

/* ---- record.c ---- */
enum { TT_COUNTED_SETTLED = 1, TT_COUNTED_ESCALATED = 2 };
void tt_record_opened(tt_engine *e, const tt_loop *l);
void tt_record_phase(tt_engine *e, tt_loop *l); /* it has just been entered */
void tt_record_reversal(tt_engine *e, const tt_loop *l);
const tt_record *tt_record_of(const tt_engine *e, const tt_plan *p); /* NULL: it has never answered anything under these terms */
tt_record *tt_record_add(tt_engine *e, tt_sv plan, uint32_t terms_hash);

/* ---- capacity.c ---- */
const char *tt_capacity_source_name(tt_capacity_source s);
/* The one figure that sizes limits, shifts and cutovers, at degrade level 0; 0: unknown. `ret_source` may be NULL. */
double tt_site_capacity(const tt_engine *e, const tt_site *s, const char **ret_source);
tt_capacity tt_site_best_capacity(const tt_engine *e, const tt_site *s, tt_capacity_source *ret_source); /* the same, whole */
double tt_site_well_capacity(const tt_engine *e, const tt_site *s); /* as it is when nothing ails it: not what an incident measured; 0: unknown */
double tt_site_seen_capacity(const tt_engine *e, const tt_site *s); /* learned or tested: what a cap may be armed from. 0: neither */
tt_capacity tt_capacity_of(const tt_engine *e, const tt_site *s, tt_capacity_source source); /* one source's word, with its confidence now */
void tt_capacity_learned(tt_engine *e, tt_site *s, double rps); /* one healthy sample's throughput over utilization */
void tt_capacity_measured(tt_site *s);                          /* keeps measured_rps for when the incident is over */
/* `plain`: it was seen to be full, not only told by its utilization. */
void tt_capacity_tested(tt_engine *e, tt_site *s, double rps, double confidence, uint32_t samples, bool plain);

/* ---- loop.c ---- */
tt_loop *tt_loop_start(tt_engine *e, const tt_anomaly *a, const tt_plan_match *m); /* NULL: a ceiling was met, and told */
void tt_loop_finish(tt_engine *e, tt_loop *l, const char *ended, const char *why);
void tt_loops_step(tt_engine *e);
void tt_loop_enter(tt_engine *e, tt_loop *l, tt_phase next, const char *why);
void tt_loops_command(tt_engine *e, const tt_command *c);
bool tt_loop_may_act(const tt_engine *e, const tt_loop *l);
bool tt_loop_is_open(const tt_loop *l);
tt_where tt_loop_where(const tt_loop *l);
void tt_loop_sample(tt_engine *e, tt_loop *l);
tt_anomaly *tt_loop_anomaly(tt_engine *e, const tt_loop *l);
void tt_loop_relapse(tt_engine *e, tt_loop *l, const char *why);
bool tt_loop_idle(const tt_engine *e, const tt_loop *l); /* nothing of it is in force */
bool tt_loop_asks_first(const tt_loop *l); /* nothing is done before a person approves */
const tt_step *tt_plan_step(const tt_plan *p, tt_step_kind kind);
int tt_channels(const tt_engine *e, const tt_loop *l, const char *names[TT_CHANNELS_MAX], int kind[TT_CHANNELS_MAX]);

/* ---- law_baseline.c: the laws aimd, pi and runbook ---- */
bool tt_baseline_law(const tt_loop *l);                              /* the loop's plan names one of them */
bool tt_baseline_law_step(tt_engine *e, tt_site *s, tt_loop *l);     /* false: not theirs. Once a tick for each site that a loop drives */
void tt_site_undrop(tt_engine *e, tt_site *s, const char *why);      /* takes back ratios that no cap stands behind */

/* ---- actions.c: retry, timeout, hedge, isolate ---- */
void tt_actions_learn(tt_engine *e); /* after tt_sites_look */
void tt_actions_step(tt_engine *e);  /* after the laws */
bool tt_actions_any(const tt_loop *l); /* in force */
tt_time tt_actions_changed_at(const tt_loop *l);
void tt_actions_wind_back(tt_engine *e, tt_loop *l, const char *why);
const char *tt_side_action(const tt_side *d, tt_step_kind kind, char buf[TT_NAME_MAX + 16], const char **ret_unit); /* name in events and on actuators */
/* Enters a caller, or finds it. NULL: too many, or memory is out. */
tt_caller *tt_site_caller(tt_engine *e, tt_site *s, tt_sv name);

bool tt_side_judgeable(const tt_engine *e, const tt_loop *l, const tt_side *d, tt_time at, int64_t window_ns);
const char *tt_side_name(int k); /* as in plans and saved states */

/* ---- drain.c: a data center is left as a whole ---- */
bool tt_drain_loop(const tt_loop *l); /* its target has no service */
void tt_drain_step(tt_engine *e, tt_loop *l);

/* ---- version.c: shift between versions ---- */
void tt_version_step(tt_engine *e, tt_loop *l);
void tt_version_wind_back(tt_engine *e, tt_loop *l, const char *why);
const tt_dc_def *tt_version_def(const tt_engine *e, const char *service, tt_sv version); /* NULL: not declared */

/* ---- law.c, shift.c, eject.c ---- */
void tt_law_sense(tt_engine *e); /* classifies each new sample, before loops are opened */
void tt_law_step(tt_engine *e);
void tt_eject_step(tt_engine *e, tt_loop *l);
void tt_shift_step(tt_engine *e, tt_group *g, uint32_t service);
int64_t tt_law_dead_time(const tt_engine *e, const tt_site *s);
bool tt_site_judgeable(const tt_engine *e, const tt_site *s);
double tt_gain(const tt_step *degrade, uint32_t level);
const tt_step *tt_site_step(const tt_engine *e, const tt_site *s, tt_step_kind kind);
double tt_site_share_of_demand(const tt_engine *e, const tt_site *s);
double tt_site_demand(const tt_site *s); /* fresh requests/s, retries deflated */
void tt_site_set_level(tt_engine *e, tt_site *s, uint32_t level, const char *why);
void tt_site_set_cap(tt_engine *e, tt_site *s, double cap_rps, const char *why);
void tt_site_commanded(tt_engine *e, tt_site *s, bool raise);
bool tt_site_neutral(const tt_engine *e, const tt_site *s);
bool tt_eject_pending(const tt_engine *e, const tt_site *s);
bool tt_eject_below(const tt_engine *e, const tt_site *s); /* in force: utilization counts workers that get nothing to do */
void tt_group_weights_off(tt_engine *e, tt_group *g, const char *why);
void tt_group_push(tt_engine *e, tt_group *g, uint32_t service, const double share[], tt_loop *l, const char *why); /* shares sum to 1 */
tt_loop *tt_site_loop(tt_engine *e, const tt_site *s);

/* ---- arm.c ---- */
void tt_arm_find(tt_engine *e); /* after the rules or the sites have changed */
void tt_arm_step(tt_engine *e);
void tt_arm_off(tt_engine *e, tt_site *s, const char *why);

/* ---- wish.c ---- */
size_t tt_wish_pack(const tt_wish *w, tt_buf *b); /* overwrites b; returns the bytes by which two say the same */
void tt_wish_unpack(const char *packed, tt_decision *d); /* NULL: withdrawn. Target, epoch and version are left 0 */

/* ---- loadtest.c ---- */
void tt_load_test_step(tt_engine *e);
void tt_load_test_command(tt_engine *e, const tt_command *c);
void tt_load_test_rules_changed(tt_engine *e);
tt_load_test *tt_load_test_active(const tt_engine *e);                           /* NULL: none is under way */
const tt_load_test *tt_load_test_of(const tt_engine *e, uint32_t service);       /* the same, of this service */

/* ---- arbiter.c ---- */
void tt_decision_of(const tt_engine *e, const tt_decision_slot *s, tt_decision *d);
bool tt_decisions_room(tt_engine *e, uint32_t n); /* in out_decisions */
void tt_arbiter_step(tt_engine *e);
void tt_arbiter_stamp(tt_engine *e); /* the tick's actions get their decision's version */
void tt_arbiter_acks(tt_engine *e, const tt_observations *obs);
bool tt_decision_acknowledged(const tt_engine *e, const tt_target *t); /* what stands for it is enforced, as far as acknowledgements tell */
bool tt_is_protected(const tt_engine *e, const char *service);

/* ---- event.c ---- */
tt_event *tt_emit(tt_engine *e, const char *kind, const tt_loop *l, const char *fmt, ...) TT_PRINTF(4, 5);
void tt_emit_action(tt_engine *e, const tt_loop *l, const tt_target *t, const char *action, double from, double to, const char *unit, const char *detail,
                    const char *fmt, ...) TT_PRINTF(9, 10);
void tt_copy_text(char *to, size_t size, tt_sv from);
void tt_num(char *buf, size_t size, double v);  /* for people: three significant digits */
void tt_pct(char *buf, size_t size, double ratio);

#endif
