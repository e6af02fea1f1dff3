/* The daemon's middle: owns the engine, the rules, the store and the clock; runs the tick. It decides nothing.
 *
 *   sources ─► measurements ─► tick (under the lock) ─► store commit (fsync, outside the lock) ─► board and bus
 *
 * Nothing reaches the mesh before it is in the journal: when the commit fails the outcome is kept back and tried again, and the daemon
 * is not ready. Threads: the main loop (libevent: timers, curl, signals, tick) and libmicrohttpd's own; they meet here. */
#ifndef TT_APP_H
#define TT_APP_H

#include "config/rules_files.h"
#include "engine.h"
#include "store/store.h"

typedef struct tt_app tt_app;

/* The engine and rules in force, only between these two. Hold it for one rendering, never across I/O. */
tt_engine *tt_app_lock(tt_app *app, const tt_rules **ret_rules);
void tt_app_unlock(tt_app *app);
const tt_rules_texts *tt_app_rules_texts(tt_app *app); /* what the rules in force were read from; as above */

/* From any thread; copied, carried out at the next tick, which is brought forward. false when the queue is full. */
bool tt_app_command(tt_app *app, const tt_command *cmd, tt_err *err);
/* One webhook delivery's alerts; already durable in the store under delivery_id, marked done once the tick that took them is committed. */
bool tt_app_alerts(tt_app *app, uint64_t delivery_id, const tt_alert *alerts, size_t n, tt_err *err);
/* Asks the main loop to reload and waits for the answer (at most 10 s). false: the running rules stay; errs as tt_rules_load. */
bool tt_app_reload(tt_app *app, tt_err errs[], size_t max_errs, size_t *n_errs);
/* A room that learned something the tick should see soon (an acknowledgement). Any thread. */
void tt_app_wake(tt_app *app);

void tt_app_status_json(tt_app *app, tt_buf *out); /* docs/contract.md, Status. Takes the lock itself */
tt_store *tt_app_store(tt_app *app);
uint64_t tt_app_epoch(const tt_app *app);
int64_t tt_app_wall_ms(const tt_app *app);
/* false with the reason when /-/ready should say 503: store not writable, rules not loaded. */
bool tt_app_ready(tt_app *app, tt_err *err);
void tt_app_metrics(tt_app *app, tt_buf *out); /* Prometheus text of the daemon's own figures */

#endif
