/* Rehearsal: a controller against the mesh model in one incident, and what it was worth. Pure: the same rules, incident and seed give the same bytes.
 *
 * An incident is a YAML document (docs/model.md): the mesh, its demand, what goes wrong and when, what monitoring makes of it. A seed draws what
 * the document leaves open (severity, timing, noise, lost scrapes), the same for every controller, so that their results can be set against each
 * other. Threads: an incident is immutable once loaded and may be shared; a run is one thread's. */
#ifndef TT_REHEARSE_H
#define TT_REHEARSE_H

#include "model.h"

typedef struct tt_incident tt_incident;

/* NULL, and the first *n_errs (at most max_errs) problems with file, line and column. The document need not outlive the incident. */
tt_incident *tt_incident_load(const tt_doc *doc, tt_err errs[], size_t max_errs, size_t *n_errs);
void tt_incident_free(tt_incident *i);
const char *tt_incident_name(const tt_incident *i);
const char *tt_incident_title(const tt_incident *i);
uint32_t tt_incident_class(const tt_incident *i); /* of the incident classes in docs/model.md; 0: none */
bool tt_incident_false_alarm(const tt_incident *i); /* nothing is wrong with the mesh: every action is harm */
int64_t tt_incident_duration_ns(const tt_incident *i);
/* The mesh as the rules' `services:` section would declare it, YAML text: what is put before rules that declare no services of their own.
 * `inner_loop` is written to every service. */
void tt_incident_services(const tt_incident *i, bool inner_loop, tt_buf *out);

/* ENGINE: the engine with the rules given. ORACLE: knows the mesh's state exactly and acts without delay; needs no rules. NOTHING: needs none. */
typedef enum { TT_CONTROL_ENGINE, TT_CONTROL_ORACLE, TT_CONTROL_NOTHING } tt_control;

enum { TT_REHEARSAL_SECONDS_MAX = 7200 };

/* One second of a run, as rates. Goodput counts an answer by what it is worth (degraded answers are worth less). */
typedef struct {
    float wanted, good;           /* requests/s: first attempts; answered well and in time, by worth */
    float wanted_high, good_high; /* of the highest priority */
    float admitted, failed;       /* attempts let in; of them, those not answered well */
    float dropped, refused;
    float needless; /* dropped by decision while there was room for them */
    bool faulty;
} tt_rehearsal_second;

typedef struct {
    tt_rehearsal_second *second; /* n_seconds; owned by the result: tt_rehearsal_free */
    uint32_t n_seconds;
    uint32_t n_actions;   /* changes of an actuator by a loop; the armed envelope's are not actions */
    uint32_t n_pushes;    /* decisions sent, armed ones included */
    uint32_t n_reversals; /* changes of direction of an actuator */
    uint32_t n_loops;
    uint32_t n_violations; /* of the ten invariants */
    char violation[256];   /* the first */
    bool all_undone;       /* at the end nothing but the armed envelope stood */
} tt_rehearsal;

/* What a watcher is shown after every tick of the engine. Borrowed for the call. */
typedef struct {
    int64_t elapsed_ns;
    const tt_model *model;
    const tt_observations *obs;
    const tt_outcome *outcome; /* NULL but for ENGINE */
    const tt_engine *engine;   /* the same */
} tt_rehearsal_tick;

typedef struct {
    const tt_incident *incident;
    tt_control control;
    const tt_rules *rules; /* ENGINE only */
    uint64_t seed;
    bool inner_loop;                                         /* every hop of the mesh bounds its queue (control.md, section 12) */
    void (*watch)(void *ctx, const tt_rehearsal_tick *tick); /* may be NULL */
    void *ctx;
} tt_rehearsal_spec;

/* false and *err: memory is out, or the rules name no service of the incident. */
bool tt_rehearse(const tt_rehearsal_spec *spec, tt_rehearsal *ret, tt_err *err);
void tt_rehearsal_free(tt_rehearsal *r);

/* A run set against the oracle's and against doing nothing with the same seed (docs/model.md). Doing nothing is without the inner loop, whatever the run
 * has: what the library saves by itself counts. */
typedef struct {
    double lost_ratio;   /* (oracle - run) / wanted, by goodput */
    double oracle_share; /* (run - nothing) / (oracle - nothing); NAN where doing nothing loses less than 0.5 % of what is wanted */
    double normalized_loss_num, normalized_loss_den; /* sums to NL over runs: oracle - run, oracle - nothing */
    double time_to_mitigate_s;       /* first violation to 10 s within: goodput, all and highest priority, >= 85 % of the oracle's, < 5 % of admitted
                                        failing where the oracle's don't; NAN: never; 0: no violation */
    double time_to_settle_s;         /* first violation to 60 s at >= 88 % */
    double needless_drop_ratio;      /* dropped while capacity was free / wanted */
    double high_priority_loss_ratio; /* oracle's - run's of the highest priority / wanted of it */
    double harm_ratio;               /* false alarms: nothing's goodput - run's / wanted */
    bool worse_than_nothing;         /* by more than 1 % of what was wanted */
} tt_score;
void tt_rehearsal_score(const tt_rehearsal *run, const tt_rehearsal *oracle, const tt_rehearsal *nothing, tt_score *ret);

#endif
