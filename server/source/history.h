/* Prometheus's past, as the source would have told it: every query of the rules over a span of time, a step at a time, in order. Asked by query_range a
 * window at a time, the next one while the last is gone through; a window is as long as the answers are small, so memory stays bounded however long
 * the span is. A few requests at once; what fails for a moment is tried again, more and more seldom. Loop thread only. */
#ifndef TT_HISTORY_H
#define TT_HISTORY_H

#include "engine.h"
#include "runloop.h"

typedef struct tt_history tt_history;

/* from, from + step, ... up to `to`. A signal is asked each `every`, as in production, or each step where that is longer. */
typedef struct {
    int64_t from_ms, to_ms, step_ms;
    tt_time base; /* the engine's time at from_ms */
} tt_history_span;

/* What one step brought. Borrowed for the call. */
typedef struct {
    int64_t at_ms;
    tt_time now;
    size_t n_polls;
    const tt_poll *polls;
    size_t n_measurements;
    const tt_measurement *measurements;
    size_t n_alerts; /* that began or ended to fire */
    const tt_alert *alerts;
} tt_history_step;

typedef struct {
    double done;        /* 0 to 1 */
    int64_t at_ms;      /* gone through up to here */
    uint64_t n_points, n_requests;
    const char *trouble; /* why nothing comes at the moment; NULL: all is well */
} tt_history_progress;

typedef struct {
    void *ctx;
    void (*step)(void *ctx, const tt_history_step *s);
    void (*progress)(void *ctx, const tt_history_progress *p);
    /* Once, and nothing after it. NULL: all was gone through. TT_EIO: Prometheus cannot be asked; else a query is at fault, with its place. */
    void (*ended)(void *ctx, const tt_err *err);
} tt_history_told;

/* What was found of one signal. */
typedef struct {
    bool asked;          /* it has a query */
    uint32_t n_series;   /* at most at once, in one window */
    uint64_t n_steps, n_steps_with, n_steps_refused; /* asked; with any value; where two series were one after `labels:` */
    int64_t first_ms, last_ms; /* first and last step with a value; 0: none */
    uint64_t n_nan;
} tt_history_signal;

/* Borrows the rules. Alerts are taken from Prometheus's own series ALERTS where an anomaly wants some. Nothing is asked before tt_history_start. */
tt_history *tt_history_new(tt_runloop *loop, const char *url, const tt_rules *rules, const tt_history_span *span, const tt_history_told *told,
                           tt_err *err);
void tt_history_free(tt_history *h);
void tt_history_start(tt_history *h);
/* The root asked, without a password. */
const char *tt_history_url(const tt_history *h);
const tt_history_signal *tt_history_signal_of(const tt_history *h, uint32_t signal);
bool tt_history_has_alerts(const tt_history *h); /* ALERTS was asked for and had something */
const char *tt_history_warning(const tt_history *h); /* the first one of Prometheus; empty: none */
tt_history_progress tt_history_progress_of(const tt_history *h);

/* ---- history_alerts.c: which alerts began and ended from one step to the next ---- */

typedef struct tt_past_alerts tt_past_alerts;
tt_past_alerts *tt_past_alerts_new(void);
void tt_past_alerts_free(tt_past_alerts *a);
/* `labels` of one series of ALERTS, as they are; false: it is no alert that could be told (no name, or memory is out). *ret: its number. */
bool tt_past_alerts_series(tt_past_alerts *a, const tt_label *labels, size_t n, uint32_t *ret);
void tt_past_alerts_fires(tt_past_alerts *a, uint32_t number); /* in this step */
/* Ends the step: those that began or ended, until the next call on `a`. */
size_t tt_past_alerts_step(tt_past_alerts *a, const tt_alert **ret);

#endif
