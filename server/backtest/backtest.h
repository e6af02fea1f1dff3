/* The engine over recorded history: which loops would have opened, on what, when, for how long, and what they would have wanted to do. Decides nothing:
 * it ticks the engine as production would and keeps what the engine says. One thread at a time.
 *
 * History is open-loop: no action ever changes it. So the first decision of a loop is what it would have been; every later one is sized from data on
 * which the earlier ones had no effect, and is told apart as that: `most` is how far the loop would have gone had nothing helped. */
#ifndef TT_BACKTEST_H
#define TT_BACKTEST_H

#include <stdio.h>

#include "engine.h"
#include "source/history.h"

typedef struct {
    int64_t from_ms, to_ms, step_ms; /* what is told about; earlier steps only warm the engine up */
    const char *mode;                /* "auto" or "as-written" */
    const char *prometheus;          /* for the heading; NULL: none */
} tt_backtest_spec;

enum { TT_BACKTEST_WISHES = 64, TT_BACKTEST_NOTES = 16 }; /* of one loop, at most */

/* One actuator: its first value, and the strongest a loop ever wished. */
typedef struct {
    tt_target target;
    char action[TT_NAME_MAX], unit[8];
    double before, first, most; /* before: NAN, or the usual share of a weight */
    int64_t first_ms, most_ms;
    bool in_first; /* part of the first decision */
    char reason[512], most_reason[512];
} tt_backtest_wish;

typedef struct {
    int64_t at_ms;
    char kind[24];
    char text[512];
    uint32_t times;
} tt_backtest_note;

typedef enum {
    TT_BACKTEST_ACTS,      /* would have done something */
    TT_BACKTEST_BY_ITSELF, /* over before anything was done: a false alarm, or a `for` that is too short */
    TT_BACKTEST_NO_MEANS,  /* not over, and the plan had nothing to do about it */
    TT_BACKTEST_WAITED,    /* a person would have been asked first */
    TT_BACKTEST_SHADOW,    /* its plan only observes or advises */
} tt_backtest_verdict;
const char *tt_backtest_verdict_name(tt_backtest_verdict v);

typedef struct {
    char id[TT_ULID_SIZE], plan[TT_NAME_MAX], ended[24], opened_because[512], closed_because[512];
    tt_target target;
    tt_mode mode;
    int64_t opened_ms, closed_ms; /* closed 0: still open at the end */
    bool before;                  /* opened while warming up */
    bool awaited, escalated;
    int64_t first_ms;             /* of the first decision; 0: none */
    uint32_t n_wishes, n_later;   /* later: actions behind the first decision */
    uint32_t n_relapses, n_pages;
    tt_backtest_wish *wish;
    uint32_t n_notes;
    tt_backtest_note *note; /* pages, guardrails, holds: each once, with how often */
    size_t cap_wishes, cap_notes;
} tt_backtest_loop;

/* What was not started, and why. */
typedef struct {
    char kind[24], plan[TT_NAME_MAX], text[512];
    tt_target target;
    int64_t first_ms, last_ms;
    uint32_t times;
} tt_backtest_refusal;

typedef struct {
    uint32_t loops, acting, by_itself, no_means, waited, shadow, still_open, first_actions, later_actions, guardrails, not_chosen, freezes, pages, anomalies;
} tt_backtest_sums;

typedef struct tt_backtest tt_backtest;

/* `rules` are borrowed; with mode auto the caller has made every plan's mode auto. NULL: memory is out. */
tt_backtest *tt_backtest_new(const tt_rules *rules, const tt_backtest_spec *spec);
void tt_backtest_free(tt_backtest *b);
void tt_backtest_step(tt_backtest *b, const tt_history_step *s);
/* After the last step. */
void tt_backtest_sums_of(const tt_backtest *b, tt_backtest_sums *ret);
size_t tt_backtest_loops(const tt_backtest *b, const tt_backtest_loop *const **ret); /* by the time they opened */
size_t tt_backtest_refusals(const tt_backtest *b, const tt_backtest_refusal **ret);
size_t tt_backtest_freezes(const tt_backtest *b, const tt_backtest_note **ret);
uint64_t tt_backtest_ticks(const tt_backtest *b);
bool tt_backtest_lost(const tt_backtest *b); /* memory ran out: the account is not whole */
const tt_backtest_spec *tt_backtest_spec_of(const tt_backtest *b);
const tt_rules *tt_backtest_rules(const tt_backtest *b);
tt_backtest_verdict tt_backtest_verdict_of(const tt_backtest_loop *l);

/* report.c. `history` may be NULL (tests). */
void tt_backtest_json(const tt_backtest *b, const tt_history *history, tt_buf *out);
void tt_backtest_print(const tt_backtest *b, const tt_history *history, FILE *to, bool colours, int width);
/* chart.c: a lane for each loop over time, its first decision and its wishes marked. */
void tt_backtest_svg(const tt_backtest *b, tt_buf *out);

#endif
