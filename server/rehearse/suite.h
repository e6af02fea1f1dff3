/* Many rehearsals: every incident, on the mesh with and without the inner loop, under every controller, for every seed. Runs are spread over threads; each is
 * one thread's and pure, so the results are the same however many there are. */
#ifndef TT_SUITE_H
#define TT_SUITE_H

#include <signal.h>

#include "rehearse.h"

enum { TT_SUITE_INCIDENTS = 256, TT_SUITE_SEEDS = 10000, TT_SUITE_JOBS = 256, TT_SUITE_DOCS = 256, TT_SUITE_MESHES = 2 };

#define TT_CONTROLLERS(X) X(TRIMTAB, "trimtab") X(ORACLE, "oracle") X(NOTHING, "nothing") X(RUNBOOK, "runbook") X(AIMD, "aimd")
#define TT_AS_CONTROLLER(id, name) TT_BY_##id,
typedef enum { TT_CONTROLLERS(TT_AS_CONTROLLER) TT_CONTROLLER_COUNT } tt_controller;
#undef TT_AS_CONTROLLER
const char *tt_controller_name(tt_controller c);

typedef struct {
    size_t n_incidents;
    const tt_incident *const *incidents;
    bool mesh[TT_SUITE_MESHES];           /* rehearsed: without, with the inner loop */
    bool controllers[TT_CONTROLLER_COUNT];
    size_t n_docs[TT_CONTROLLER_COUNT];   /* plans of the controllers that have some */
    const tt_doc *const *docs[TT_CONTROLLER_COUNT];
    const tt_matcher *matcher;
    uint64_t first_seed;
    uint32_t n_seeds, n_jobs;
    const volatile sig_atomic_t *stop;    /* set by a signal handler; may be NULL */
    void *ctx;
    void (*progress)(void *ctx, size_t done, size_t all); /* some ten times a second, on the caller's thread; may be NULL */
} tt_suite_spec;

/* One run. Never is told as the incident's length, and marked. */
typedef struct {
    tt_score score;
    bool never_mitigated, never_settled;
    uint32_t n_actions, n_pushes, n_reversals, n_loops, n_violations;
    bool all_undone;
    char violation[256];
} tt_suite_run;

typedef struct tt_suite tt_suite;

/* NULL and *err: the first run that could not be made, plans that don't fit an incident's mesh, out of memory, or stopped (TT_ESTATE). */
tt_suite *tt_suite_new(const tt_suite_spec *spec, tt_err *err); /* `spec` is copied; what it points to must outlive the suite */
void tt_suite_free(tt_suite *s);
const tt_suite_spec *tt_suite_spec_of(const tt_suite *s);
const tt_suite_run *tt_suite_run_of(const tt_suite *s, size_t incident, bool inner_loop, tt_controller by, uint32_t seed);

/* Rules for one incident's mesh: those of the documents, with the services of the incident where they declare none. */
tt_rules *tt_suite_rules(const tt_incident *i, bool inner_loop, const tt_doc *const docs[], size_t n_docs, const tt_matcher *matcher, tt_err *err);

/* How a figure is spread over runs. NAN values are left out; without any, all are NAN. */
typedef struct {
    size_t n;
    double median, worst, mean, p90, p95, total;
} tt_spread;

/* Over runs: of one incident or all, one mesh or both, one controller. */
typedef struct {
    size_t n_runs, n_real; /* real: over all incidents, those that are no false alarms; what follows is of those, unless it says otherwise */
    tt_spread oracle_share, lost_ratio, time_to_mitigate_s, time_to_settle_s, needless_drop_ratio, high_priority_loss_ratio, reversals, actions;
    size_t never_mitigated, never_settled, worse_than_nothing, not_undone;
    double normalized_loss; /* NAN where doing nothing loses nothing */
    size_t n_false, false_acted; /* runs of false alarms, and of them those with any action */
    tt_spread harm_ratio, false_actions; /* of false alarms */
    tt_spread violations;                /* of all runs */
    const char *violation;               /* the first, or NULL */
    size_t violation_incident;           /* of that one */
    uint64_t violation_seed;
} tt_tally;

enum { TT_SUITE_ALL = -1 };
/* incident -1: all; mesh 0, 1, or -1: both. false: memory is out. */
bool tt_suite_tally(const tt_suite *s, int incident, int mesh, tt_controller by, tt_tally *ret);

/* What control.md (sections 10 and 12) asks of the engine, and what it reached. */
typedef struct {
    const char *name, *unit; /* unit "%": value is a ratio */
    bool inner_loop;
    double value, must, stretch;
} tt_target_figure;
enum { TT_TARGETS = 24 };
size_t tt_suite_targets(const tt_suite *s, tt_target_figure ret[TT_TARGETS]); /* only where every incident's kind was there to be measured */

#endif
