/* The plant as a child process: started by /bin/sh -c in a process group of its own, spoken to line by line over its stdin and stdout. Its stderr is ours.
 * One thread at a time. Whatever happens, the child is reaped and nothing of its group is left running. */
#ifndef TT_PLANT_PROCESS_H
#define TT_PLANT_PROCESS_H

#include <signal.h>

#include "base.h"

typedef struct tt_plant_process tt_plant_process;

/* `timeout_ns`: how long, of wall time, one answer may take. `stop`: set by a signal handler, ends every wait with an error; may be NULL. While it waits
 * SIGINT and SIGTERM are let through, whatever the caller blocks. NULL and *err when it can't be started. */
tt_plant_process *tt_plant_start(const char *command, int64_t timeout_ns, const volatile sig_atomic_t *stop, tt_err *err);

/* Sends `request`, newline included, and waits for a whole line, at most `max` bytes. *ret, without the newline, is borrowed until the next call.
 * false and *err when the plant hangs, is gone, or writes too much at once. */
bool tt_plant_exchange(tt_plant_process *p, tt_sv request, size_t max, tt_sv *ret, tt_err *err);
/* What it wrote of the line that is not yet whole; borrowed until the next call. */
tt_sv tt_plant_pending(const tt_plant_process *p);

/* No more requests: closes its stdin and waits, within the time-out, for it to end by itself; then it is killed. Frees. true and an empty `how` when it ended well;
 * else `how` says how it ended ("exit code 3", "killed by signal 11 (Segmentation fault)", "still running"), and false unless it was just slow to go. */
bool tt_plant_end(tt_plant_process *p, char *how, size_t size);
/* Kills it at once, reaps, frees. NULL is fine. */
void tt_plant_kill(tt_plant_process *p);

#endif
