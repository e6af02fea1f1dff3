/* One run, told: its story as it happens, what became of what the plans keep, its chart. */
#ifndef TT_SINGLE_H
#define TT_SINGLE_H

#include "chart.h"
#include "rehearse.h"
#include "story.h"

typedef struct {
    const tt_incident *incident;
    const tt_rules *rules;
    uint64_t seed;
    bool inner_loop;
    const tt_story *story; /* NULL: not told */
    bool draw;
} tt_single_spec;

enum { TT_SINGLE_KEEPS = 64 };

/* What one loop has to keep: for how long it was broken while the loop was open, and how it stood when last looked at. */
typedef struct {
    char target[200], plan[TT_NAME_MAX], expr[200];
    double broken_s, unknown_s, last_broken_s; /* last: when it was seen broken last, since the start */
    double seen_s;
    bool holds, known;
} tt_single_keep;

typedef struct {
    tt_rehearsal run, oracle, nothing; /* the last two on the mesh without the inner loop */
    tt_rehearsal alone;                /* the inner loop with nobody over it; empty without it */
    tt_score score;
    size_t n_keeps;
    tt_single_keep keeps[TT_SINGLE_KEEPS];
    uint32_t n_ticks, n_guardrails, n_pages, n_holds;
    char guardrail[512]; /* the first that bound */
    tt_chart *chart;     /* with `draw` */
} tt_single;

bool tt_single_run(const tt_single_spec *spec, tt_single *ret, tt_err *err); /* tt_single_free in both cases */
void tt_single_free(tt_single *s);
void tt_single_verdicts(const tt_single_spec *spec, const tt_single *s, FILE *to, bool colours, int width);

#endif
