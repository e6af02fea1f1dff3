/* A rehearsal against somebody else's model of a mesh: the engine, tick by tick in the plant's own time, over the protocol of docs/plant.md. */
#ifndef TT_PLANT_H
#define TT_PLANT_H

#include <signal.h>

#include "engine.h"

/* What a watcher is shown after every tick. Borrowed for the call. */
typedef struct {
    uint64_t tick;
    int64_t plant_ns;
    const tt_rules *rules;
    const tt_engine *engine;
    const tt_observations *obs;
    const tt_outcome *outcome;
} tt_plant_tick;

typedef struct {
    const char *command;
    int64_t timeout_ns;                /* of wall time, for one answer */
    const tt_doc *const *docs;         /* the rules' documents; services and priorities in them give way to the plant's topology */
    size_t n_docs;
    const tt_matcher *matcher;         /* outlives the run */
    const volatile sig_atomic_t *stop; /* set by a signal handler: the run ends; may be NULL */
    void *ctx;
    void (*watch)(void *ctx, const tt_plant_tick *t);  /* may be NULL */
    void (*notice)(void *ctx, const char *text);       /* worth telling and no error; may be NULL */
} tt_plant_spec;

typedef struct {
    uint64_t n_ticks, n_measurements, n_ignored; /* ignored: of signals neither the rules nor the laws know */
    int64_t plant_ns;                            /* the last now_ms */
    int64_t wall_ns, engine_ns;                  /* how long it took, and the engine's part of it */
    uint32_t n_actions;                          /* changes of an actuator by a loop; the armed envelope's are not actions */
    uint32_t n_decisions;                        /* told anew, armed ones included */
    uint32_t n_loops, n_open;                    /* opened; still open at the end */
    uint32_t n_reversals;                        /* changes of direction of an actuator */
    uint32_t n_pages;
    uint32_t n_violations;                       /* of what must hold for every decision */
    char violation[256];                         /* the first */
    tt_buf score;                                /* as the plant wrote it; empty: none */
} tt_plant_result;

/* false and *err with file "plant" and the number of its line where it is to blame. *ret holds what was until then; tt_plant_result_free in both cases. */
bool tt_plant_run(const tt_plant_spec *spec, tt_plant_result *ret, tt_err *err);
void tt_plant_result_free(tt_plant_result *r);

#endif
