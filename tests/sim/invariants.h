/* What must hold at every tick, whatever happens (design, section 5: the ten rules), checked from outside: what was observed, what the engine said,
 * and what the mesh model has. Nothing here knows the engine's inside. */
#ifndef TT_SIM_INVARIANTS_H
#define TT_SIM_INVARIANTS_H

#include "rules_text.h"
#include "world.h"

enum { INV_ACTUATORS = 256, INV_SITES = TT_MODEL_SERVICES * TT_MODEL_DCS };

typedef struct {
    bool good, told; /* told: in the last answer, if only as NaN */
    int64_t at_ns;   /* of the last good one */
} inv_sample;

typedef struct {
    char service[TT_NAME_MAX], dc[TT_NAME_MAX], action[TT_NAME_MAX];
    double value; /* NAN: not in force */
} inv_actuator;

typedef struct {
    const rules_options *rules;
    char broken[600]; /* the first one; empty: all held */
    uint64_t n_checks;
    /* what the engine was told last */
    inv_sample offered[TT_MODEL_SERVICES][TT_MODEL_DCS][TT_MODEL_PRIORITIES], ok[TT_MODEL_SERVICES][TT_MODEL_DCS][TT_MODEL_PRIORITIES];
    inv_sample instance[TT_MODEL_SERVICES][TT_MODEL_DCS][TT_MODEL_INSTANCES];
    int64_t commanded_ns[TT_MODEL_SERVICES][TT_MODEL_DCS];
    /* the journal's account of every actuator */
    inv_actuator actuators[INV_ACTUATORS];
    size_t n_actuators;
    tt_decision decisions[WORLD_TARGETS];
    size_t n_decisions;
    uint64_t epoch, version;
    bool was_frozen;
    world_loop before[WORLD_LOOPS]; /* open before this tick */
    size_t n_before;
} invariants;

void invariants_init(invariants *v, const rules_options *rules);
void invariants_before(invariants *v, const world *w); /* just before world_tick */
bool invariants_after(invariants *v, const world *w);  /* just after it; false: broken */

#endif
