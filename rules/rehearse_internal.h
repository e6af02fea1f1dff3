/* Shared by the incident's loader and the rehearsal. */
#ifndef TT_REHEARSE_INTERNAL_H
#define TT_REHEARSE_INTERNAL_H

#include "rehearse.h"

/* One seed's incident: nothing is left open. Texts belong to the incident. */
typedef struct {
    tt_model_spec spec;
    int64_t tick_ns;
    int64_t told_scrape_ns, told_ingest_ns, told_apply_ns; /* what the engine believes */
} tt_incident_drawn;

void tt_incident_draw(const tt_incident *i, uint64_t seed, bool inner_loop, tt_incident_drawn *ret);

#endif
