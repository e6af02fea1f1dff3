/* What the files of the load test share; the law is in loadtest.c, its documents in loadtest_view.c. Inside rules/ only. */
#ifndef TT_LOADTEST_H
#define TT_LOADTEST_H

#include "engine_internal.h"

/* Which site a test of this spec would load, and the most it may add, as a share of the service's traffic. false: not now, `why` says it. */
bool tt_load_test_check(tt_engine *e, const tt_load_test_spec *spec, tt_site **ret_site, double *ret_max, char *why, size_t size);
const char *tt_load_test_phase_name(tt_load_test_phase p);
/* The figures of its last step, a JSON object: an event's detail. */
void tt_load_test_figures(const tt_load_test *t, tt_buf *out);

#endif
