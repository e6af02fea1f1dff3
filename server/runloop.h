/* The main loop: libevent with one timer kind, one way in for other threads, and the process's signals.
 * Everything here belongs to the loop's thread, except tt_runloop_wake. */
#ifndef TT_RUNLOOP_H
#define TT_RUNLOOP_H

#include "base.h"

typedef struct tt_runloop tt_runloop;
typedef struct tt_timer tt_timer;
struct event_base;

/* Blocks SIGTERM, SIGINT and SIGHUP in the calling thread and those it starts, and ignores SIGPIPE and SIGXFSZ. Before any thread is started. */
void tt_runloop_block_signals(void);
/* Gives SIGTERM and SIGINT their default again: the next one ends the process at once. */
void tt_runloop_release_signals(void);

tt_runloop *tt_runloop_new(tt_err *err);
void tt_runloop_free(tt_runloop *l); /* after every timer was freed */
struct event_base *tt_runloop_base(tt_runloop *l);

/* Called on the loop's thread, soon after any number of wakes. */
void tt_runloop_on_wake(tt_runloop *l, void (*woken)(void *ctx), void *ctx);
void tt_runloop_wake(tt_runloop *l); /* any thread; never blocks */

bool tt_runloop_on_signal(tt_runloop *l, void (*got)(void *ctx, int signo), void *ctx, tt_err *err);

tt_timer *tt_timer_new(tt_runloop *l, void (*due)(void *ctx), void *ctx); /* NULL when memory is out */
void tt_timer_free(tt_timer *t);
void tt_timer_after(tt_timer *t, int64_t ns); /* once; an earlier setting is replaced */
void tt_timer_stop(tt_timer *t);

void tt_runloop_run(tt_runloop *l); /* until tt_runloop_stop */
void tt_runloop_stop(tt_runloop *l);

#endif
