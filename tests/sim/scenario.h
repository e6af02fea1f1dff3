/* Random incidents: everything about one follows from its seed. */
#ifndef TT_SIM_SCENARIO_H
#define TT_SIM_SCENARIO_H

#include "rules_text.h"
#include "world.h"

typedef struct {
    uint64_t seed;
    const char *kind;
    tt_model_spec spec;
    rules_options rules;
    int64_t tick_ns, from_ns, until_ns; /* of all that goes wrong */
    bool false_alarm;                   /* nothing is wrong with the mesh: nothing may be done */
    bool operators, reloads, restarts, clock_steps, tests;
    const world_watch *watch; /* NULL: nobody looks on */
} scenario;

enum { SCENARIO_KINDS = 20 };
const char *scenario_kind_name(size_t i);
void scenario_of(uint64_t seed, scenario *ret);
void scenario_print(const scenario *s);

typedef struct {
    char broken[700];
    bool left_to_people; /* the plan's means did not end it: a person was called, and stopped it */
    uint64_t ticks, actions, checks, restarts, reloads, tests, test_moves, hash, hash_without_stamps;
    double good, nothing, wanted;
} scenario_result;

/* Runs it to its end; stops at the first broken invariant. `clock_steps` false leaves the wall clock alone. */
void scenario_run(const scenario *s, bool clock_steps, bool verbose, scenario_result *ret);

#endif
