/* What must hold at every tick of a rehearsal (design, section 5: the rules that always hold), seen from outside: what was observed and what was
 * decided. */
#ifndef TT_REHEARSE_CHECK_H
#define TT_REHEARSE_CHECK_H

#include "engine.h"
#include "model.h"

typedef struct {
    bool good, told; /* told: in the last answer, if only as NaN */
    int64_t at_ns;   /* of the last good one */
} tt_check_sample;

typedef struct {
    const tt_rules *rules;
    const tt_model_spec *spec;
    int64_t late_ns; /* a value older than this, or than its signal's max_age if that is more, is stale */
    uint64_t epoch, version;
    tt_check_sample offered[TT_MODEL_SERVICES][TT_MODEL_DCS][TT_MODEL_PRIORITIES], ok[TT_MODEL_SERVICES][TT_MODEL_DCS][TT_MODEL_PRIORITIES];
    uint32_t n_broken;
    char first[256];
} tt_check;

void tt_check_init(tt_check *c, const tt_rules *rules, const tt_model_spec *spec, const tt_engine_config *cfg);
/* Just after a tick. `elapsed_ns` is for the texts. */
void tt_check_tick(tt_check *c, int64_t elapsed_ns, const tt_observations *obs, const tt_outcome *out, const tt_engine *e);

#endif
