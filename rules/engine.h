/* The decision engine: the only way in. tick() takes what was observed and returns what to do and why. It reads no clock,
 * does no I/O, holds no global state and draws no randomness: the same calls give the same bytes.
 *
 * Threads: one engine is used by one thread at a time (the server holds a lock around every call). Two engines share nothing.
 * Memory: tables grow with what they hold, up to the ceilings in tt_engine_config; meeting a ceiling is an event. */
#ifndef TT_ENGINE_H
#define TT_ENGINE_H

#include "decision.h"
#include "plan.h"

typedef struct tt_engine tt_engine;

typedef struct {
    uint32_t max_series;  /* default 100000 */
    uint32_t max_loops;   /* open at once, default 10000 */
    uint32_t max_closed;  /* closed loops kept to be shown, default 200 */
    /* The next three are at least 1. */
    uint32_t max_anomalies; /* that are wrong or may be, default 16384 */
    uint32_t max_targets; /* with a decision, default 16384; one is forgotten a quarter of an hour after it was withdrawn, when its place is needed */
    uint32_t max_events;  /* told of one tick, default 4096 */
    uint64_t epoch;       /* of this writer; larger than any before */
    int64_t apply_ns;     /* how long the mesh takes to enforce a decision, default 500 ms */
    int64_t ingest_ns;    /* from scrape to a readable sample, default 1 s */
    int64_t scrape_ns;    /* between samples; 0: as the signals' definitions say (default) */
    bool open_loop;       /* what is observed was recorded, and no action has any effect on it: a loop ends once its plan's objective has held, without
                             its way back, which would be judged on data that know nothing of the way out. Default false */
} tt_engine_config;

typedef enum { TT_Q_OK, TT_Q_NO_DATA, TT_Q_STALE, TT_Q_TOO_FEW_SAMPLES, TT_Q_SOURCE_DOWN } tt_quality;
const char *tt_quality_name(tt_quality q);

typedef struct {
    tt_sv name, value;
} tt_label;
enum { TT_LABELS_MAX = 8 };

/* One value of one signal for one label set. Views are borrowed for the call. Labels carry the names after renaming, in any order. */
typedef struct {
    uint32_t signal;     /* index in tt_rules.signals */
    size_t n_labels;
    tt_label labels[TT_LABELS_MAX];
    double value;        /* finite; NaN and infinities are turned into TT_Q_NO_DATA by the source */
    tt_time at;          /* when it was true (sample's own time, moved to the monotonic clock) */
    tt_quality quality;  /* OK, NO_DATA or TOO_FEW_SAMPLES; the engine itself finds STALE */
    int64_t window_ns;   /* the span a rate was taken over; 0: as the signal's definition says */
} tt_measurement;

/* What became of one signal's query in this round. A series that a good answer no longer holds becomes no_data. */
typedef struct {
    uint32_t signal;
    bool answered;       /* false: source down or query refused; its series become source_down */
    bool partial;        /* answered, but not with all there is: a series it does not hold keeps its last value until that is too old */
    tt_sv error;
} tt_poll;

typedef struct {
    char key[TT_NAME_MAX]; /* dedup key: fingerprint or equal */
    tt_sv name;
    size_t n_labels;
    tt_label labels[TT_LABELS_MAX];
    bool firing;
} tt_alert;

/* Who has what: the share of the instances known to the mesh side that enforce `version` or a later one. */
typedef struct {
    tt_target target;
    uint64_t epoch, version;
    double share;      /* 0..1 */
    bool refused;
    tt_sv reason;
} tt_ack;

/* What a target really has, where it is not what was decided, as far as its mesh side can tell. Told in each tick in which it is so. */
typedef struct {
    tt_target target;
    bool foreign; /* somebody else's; false: ours is lost */
    double share; /* of its instances, 0..1 */
    tt_sv what;   /* what is there instead, for people; may be empty */
} tt_drift;

/* A deliberate load test: traffic of the service is moved onto one of its data centers, a step at a time, until its knee shows. */
typedef struct {
    char service[TT_NAME_MAX], dc[TT_NAME_MAX]; /* dc empty: the one whose capacity is least certain */
    double step, max; /* share of the service's traffic: moved at a time, .005 to .25; in all, up to .9 */
    int64_t hold_ns;  /* how long each step is held once it is seen to be in effect, 5 s to 10 min */
} tt_load_test_spec;
void tt_load_test_spec_default(tt_load_test_spec *ret); /* steps of 5 %, 40 % at most, held for 30 s */

/* An actuator that a person holds by hand. Another pin of the same actuator takes the place of the one before. */
typedef struct {
    tt_target target; /* service and dc; of weights the service alone */
    tt_act_kind kind; /* limit, drop, degrade, weights, eject, retry, timeout, hedge, isolate */
    char name[TT_NAME_MAX];
    double value;     /* as in tt_act; NAN: not in force, whatever loops want */
    uint32_t n_dcs;   /* weights: data centers that are not named get nothing */
    char dcs[TT_DECISION_DCS_MAX][TT_NAME_MAX];
    double shares[TT_DECISION_DCS_MAX];
    int64_t for_ns;   /* 1 s to 7 days */
} tt_pin_spec;
bool tt_pin_kind(tt_sv name, tt_act_kind *ret); /* false: nothing of that name can be pinned */
const char *tt_pin_kind_name(tt_act_kind kind); /* NULL: it can't be pinned */
const char *tt_pin_named(tt_act_kind kind);     /* of a kind that can: what its name names, such as priority; NULL: it has none */

typedef enum {
    TT_CMD_ABORT,
    TT_CMD_APPROVE,
    TT_CMD_REFUSE,
    TT_CMD_FREEZE,
    TT_CMD_UNFREEZE,
    TT_CMD_LOAD_TEST,
    TT_CMD_LOAD_TEST_ABORT,
    TT_CMD_PIN,
    TT_CMD_UNPIN,
} tt_command_kind;
typedef struct {
    tt_command_kind kind;
    char loop[TT_ULID_SIZE]; /* abort, approve, refuse; load test, pin: its id, a new one to begin it */
    tt_sv actor, reason;
    tt_load_test_spec test;  /* TT_CMD_LOAD_TEST */
    tt_pin_spec pin;         /* TT_CMD_PIN */
} tt_command;

/* What day and what time it is where a freeze window counts it. Told by whoever has a calendar: the engine has none, and no duration comes of it. */
typedef struct {
    bool known;
    int32_t day;     /* since 1970-01-01 */
    uint16_t minute; /* of the day */
} tt_calendar;

typedef struct {
    tt_time now;
    tt_wall wall;             /* for people: stamped on events, used in nothing else */
    size_t n_polls;
    const tt_poll *polls;
    size_t n_measurements;
    const tt_measurement *measurements;
    size_t n_alerts;
    const tt_alert *alerts;
    size_t n_acks;
    const tt_ack *acks;
    size_t n_commands;
    const tt_command *commands;
    size_t n_drifts;
    const tt_drift *drifts;
    tt_calendar local, utc; /* for freeze windows, used in nothing else; not known: windows stay as they are, closed at first */
} tt_observations;

/* kinds, as on the wire: anomaly_opened, anomaly_cleared, loop_opened, loop_phase, loop_closed, action, hold, guardrail, page, command,
 * not_chosen, rules_changed, limit_reached, relapse, judged, frozen, unfrozen, freeze_window, load_test (`loop` is the test's id),
 * pinned, unpinned (`loop` is the pin's), drift */
typedef struct {
    char kind[24];
    tt_wall at;
    char loop[TT_ULID_SIZE]; /* empty when about none */
    char plan[TT_NAME_MAX];
    tt_target target;
    char action[TT_NAME_MAX];  /* action: limit, drop:batch, degrade:recommendations, weights:dc-a, eject:127.0.0.1:8001 */
    double from, to;           /* action: the actuator before and after; NAN: not in force */
    uint64_t version;          /* action: of the decision that holds it; 0: none */
    char unit[8];              /* rps, ratio, level */
    char reason[512];          /* one sentence with the figures that decided */
    char detail[2048];         /* a JSON object: inputs with quality, threshold, terms of the law, clamps; may be empty */
} tt_event;

typedef struct {
    size_t n_decisions;
    const tt_decision *decisions; /* those that changed, each whole; owned by the engine until its next call */
    size_t n_events;
    const tt_event *events;       /* in order; owned by the engine until its next call */
} tt_outcome;

/* Rules are borrowed and must outlive the engine or the next tt_engine_set_rules. NULL when memory is out. */
tt_engine *tt_engine_new(const tt_rules *rules, const tt_engine_config *cfg);
void tt_engine_free(tt_engine *e);
void tt_engine_config_default(tt_engine_config *ret);

/* One step. `now` must not go back: an earlier `now` is treated as the last one. Never fails: what it cannot do is an event. */
void tt_engine_tick(tt_engine *e, const tt_observations *obs, tt_outcome *ret);

/* How the mesh and monitoring are timed, from now on; 0 leaves a figure as it is. A slower scrape than the signals say makes samples stale later. */
void tt_engine_set_timing(tt_engine *e, int64_t scrape_ns, int64_t ingest_ns, int64_t apply_ns);

/* New rules between two ticks. Loops whose plan is gone or changed are wound back in steps under their old terms' limits; the rest go on. So do signals
 * whose query, report and renamed labels, and anomalies whose condition and times are the same: nothing is forgotten that is still asked for. */
void tt_engine_set_rules(tt_engine *e, const tt_rules *rules);

/* State as JSON, and back: loops, actuators, decisions, learned capacity, counters. Times are kept as ages, so a reboot between changes nothing.
 * restore: only on a fresh engine; false and *err with the state untouched when the text isn't a saved state.
 * After it every surviving decision is issued anew, under the new epoch, by the first tick. */
void tt_engine_save(const tt_engine *e, tt_time now, tt_buf *out);
bool tt_engine_restore(tt_engine *e, const tt_doc *saved, tt_time now, tt_err *err);

/* What people see. All write one JSON value as docs/contract.md shows it. */
typedef enum { TT_LOOPS_OPEN, TT_LOOPS_CLOSED, TT_LOOPS_ALL } tt_loops_filter;
/* Newest first; `after` is the id of the last one seen, empty for the first page. Writes {"items":[...],"next":id or null}. */
void tt_engine_loops_json(const tt_engine *e, tt_loops_filter f, tt_sv after, size_t limit, tt_buf *out);
bool tt_engine_loop_json(const tt_engine *e, tt_sv id, tt_buf *out);   /* with its history; false: no such loop */
void tt_engine_signals_json(const tt_engine *e, tt_buf *out);
void tt_engine_anomalies_json(const tt_engine *e, tt_buf *out);
void tt_engine_capacity_json(const tt_engine *e, tt_buf *out);
/* Newest first: the one under way and the last few that are over. */
void tt_engine_load_tests_json(const tt_engine *e, tt_buf *out);
bool tt_engine_load_test_json(const tt_engine *e, tt_sv id, tt_buf *out); /* false: no such test */
/* What a load test would do now; nothing is changed. false: it would be refused, and the document says why. */
bool tt_engine_load_test_plan_json(tt_engine *e, const tt_load_test_spec *spec, tt_buf *out);
void tt_engine_summary_json(const tt_engine *e, tt_buf *out);          /* loop counts by phase, frozen, worst signal */
void tt_engine_plans_json(const tt_engine *e, tt_buf *out);            /* each with how it has done: docs/contract.md, Plan */
void tt_engine_pins_json(const tt_engine *e, tt_buf *out);
/* Whether the pin could be set now. The command looks again. */
bool tt_engine_pin_check(const tt_engine *e, const tt_pin_spec *spec, tt_err *err);
void tt_event_json(const tt_event *ev, uint64_t seq, tt_buf *out);

size_t tt_engine_open_loops(const tt_engine *e);
/* Decisions in force or withdrawn that the engine knows of; owned by the engine until its next call. */
size_t tt_engine_decisions(tt_engine *e, const tt_decision **ret);

/* The share of the instances that enforce the target's newest decision; false: nobody has said so yet. */
bool tt_engine_acknowledged(const tt_engine *e, const tt_target *target, double *ret_share);

#endif
