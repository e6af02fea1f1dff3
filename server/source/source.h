/* Where measurements come from: a source asks for every signal that has a query, each on its own beat, and holds what came in until the
 * tick takes it. It turns whatever goes wrong into a quality or a poll that was not answered, never into a number.
 * Loop thread only. */
#ifndef TT_SOURCE_H
#define TT_SOURCE_H

#include "engine.h"
#include "runloop.h"

typedef struct tt_source tt_source;

typedef enum { TT_SOURCE_STARTING, TT_SOURCE_OK, TT_SOURCE_DOWN } tt_source_state;
const char *tt_source_state_name(tt_source_state s);

typedef struct {
    const char *name;
    char url[512]; /* without the password */
    tt_source_state state;
    int64_t last_ok_ms; /* Unix ms of the last good answer; 0: none yet */
    char error[512];    /* empty: none. A query that is refused is told here while the source itself is ok */
    uint64_t polls, failures;
} tt_source_status;

typedef struct {
    void *ctx;
    /* Every query of one beat was answered or given up: the tick may run. */
    void (*round)(void *ctx);
    /* Once a change. `signal` is empty when it is about the source as a whole. */
    void (*changed)(void *ctx, bool up, const char *signal, const char *reason);
} tt_source_told;

/* What came in since the last release. */
typedef struct {
    size_t n_polls;
    const tt_poll *polls;
    size_t n_measurements;
    const tt_measurement *measurements;
} tt_source_batch;

/* Prometheus, or anything with its /api/v1/query. `url` is its root, with a path where it has one. */
tt_source *tt_prometheus_new(tt_runloop *loop, const char *url, const tt_source_told *told, tt_err *err);
void tt_source_free(tt_source *s);
/* Asks for the signals of `rules` from now on, beginning at once. What came in for earlier rules is dropped. Borrows the rules until the next
 * call; NULL stops asking. false: memory is out, and nothing is asked. */
bool tt_source_set_rules(tt_source *s, const tt_rules *rules, tt_err *err);
void tt_source_take(tt_source *s, tt_source_batch *ret); /* views live until tt_source_release */
void tt_source_release(tt_source *s);
/* How long the newest beat has been under way; -1: none is. */
int64_t tt_source_under_way(const tt_source *s, tt_time now);
void tt_source_status_of(const tt_source *s, tt_source_status *ret);

#endif
