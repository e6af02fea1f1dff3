/* Rules documents for the simulated mesh, as people would write them, with the parts that scenarios vary. */
#ifndef TT_SIM_RULES_TEXT_H
#define TT_SIM_RULES_TEXT_H

#include "model.h"

typedef struct {
    const char *name;
    const char *steps; /* of the entry's plan, YAML */
    const char *mode;
    double drop_max[TT_MODEL_PRIORITIES]; /* what the steps allow, for the invariants; 0: none */
    double eject_max;
    bool limits, degrades, shifts, sides;
} rules_ladder;

extern const rules_ladder rules_ladders[];
extern const size_t n_rules_ladders;
const rules_ladder *rules_ladder_named(const char *name);

typedef struct {
    const rules_ladder *ladder;
    const tt_model_spec *spec;
    int64_t every_ms, window_ms, max_age_ms;
    double keep_ratio;       /* error_ratio <= this */
    bool without_entry_plan; /* for a reload that takes the plan away */
    double max_capacity_removed;
    uint32_t max_loops, lock_out_reversals;
} rules_options;

void rules_options_default(rules_options *ret, const rules_ladder *ladder, const tt_model_spec *spec);
/* NUL-terminated; stays valid until the next call. */
const char *rules_text(const rules_options *o);

#endif
