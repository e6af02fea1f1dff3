/* The engine against the mesh model, tick by tick, the way the daemon runs it: observations in, decisions to the mesh, state saved and restored,
 * rules swapped, people's commands. Everything follows from a script and a seed; two hashes tell whether two runs said the same. One thread. */
#ifndef TT_SIM_WORLD_H
#define TT_SIM_WORLD_H

#include "engine.h"
#include "model.h"

enum { WORLD_COMMANDS = 8, WORLD_LOOPS = 64, WORLD_TARGETS = 64 };

typedef struct {
    char id[TT_ULID_SIZE], plan[TT_NAME_MAX];
    tt_target target;
    bool aborted, paged;
} world_loop;

typedef struct world world;
/* Who looks on, such as a recorder: told after the engine was given what it names. */
typedef struct {
    void *ctx;
    void (*opened)(void *ctx, const world *w, const char *rules_text);
    void (*ticked)(void *ctx, const world *w); /* obs and out are the tick's */
    void (*reloaded)(void *ctx, const world *w, const char *rules_text);
    void (*restarted)(void *ctx, const world *w, tt_sv saved);
} world_watch;

struct world {
    const world_watch *watch; /* NULL: nobody */
    tt_matcher *matcher;
    tt_rules *rules;
    tt_engine *engine;
    tt_model *model;
    tt_model_spec spec;
    tt_engine_config cfg;
    int64_t tick_ns;
    tt_observations obs;
    tt_outcome out;
    tt_command commands[WORLD_COMMANDS];
    size_t n_commands;
    tt_alert alerts[4];
    size_t n_alerts;
    int64_t wall_offset_ms; /* what an operator or NTP does to the clock */
    /* what the world has heard so far */
    world_loop loops[WORLD_LOOPS]; /* open ones */
    size_t n_loops;
    uint64_t n_ticks, n_actions, n_restarts, n_reloads;
    char test[TT_ULID_SIZE]; /* the newest load test; its moves are not counted as actions */
    bool test_on;
    uint64_t n_tests, n_test_moves;
    uint64_t hash, hash_without_stamps;
    bool frozen;
    double good, wanted; /* requests, summed over the run */
    bool verbose;
};

/* All or nothing; the reason is printed. `rules_text` is a whole YAML document. */
bool world_open(world *w, const tt_model_spec *spec, const char *rules_text, uint64_t seed, int64_t tick_ns);
void world_watched(world *w, const world_watch *watch, const char *rules_text); /* before the first tick; tells `opened` */
void world_close(world *w);
void world_tick(world *w); /* the model's steps of one tick, then the engine */
void world_run(world *w, int64_t ns);
bool world_reload(world *w, const char *rules_text);
bool world_restart(world *w); /* save, parse, restore on a new engine under the next epoch */
void world_command(world *w, tt_command_kind kind, const char *loop_id);
/* Asks for a load test, as `n_tests` of this world. */
void world_load_test(world *w, const tt_load_test_spec *spec);
bool world_anything_in_force(world *w); /* by a loop: the armed envelope is nobody's action */
int64_t world_elapsed(const world *w); /* since the model's start */
/* The same demand and faults with nobody doing anything: requests answered well between two instants since the start. */
double world_doing_nothing(const tt_model_spec *spec, uint64_t seed, int64_t from_ns, int64_t to_ns);

#endif
