/* What is drawn of a run, gathered while it goes: load, decisions in force, loops. For the model's rehearsals and for plants alike. One thread. */
#ifndef TT_TRACE_H
#define TT_TRACE_H

#include "chart.h"
#include "engine.h"

typedef struct tt_trace tt_trace;

tt_trace *tt_trace_new(tt_chart *chart); /* borrows; NULL when memory is out */
void tt_trace_free(tt_trace *t);
/* Just after a tick of the engine, for the chart's newest column. */
void tt_trace_tick(tt_trace *t, double seconds, const tt_rules *rules, const tt_outcome *outcome);
void tt_trace_still(tt_trace *t, const tt_rules *rules); /* what is in force, for another column before the next tick */
/* Lines of what monitoring tells about the services that nobody calls: offered, answered, dropped. Before tt_trace_tick. */
void tt_trace_load(tt_trace *t, int panel, const tt_rules *rules, const tt_observations *obs);
void tt_trace_end(tt_trace *t, double seconds); /* loops still open end here */

#endif
