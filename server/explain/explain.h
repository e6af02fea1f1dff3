/* Why: one event with all that is known of how it came about, as a JSON document and as text for a terminal. Reads no journal and no engine itself:
 * whoever asks brings what was said around the event, and the rules. */
#ifndef TT_EXPLAIN_H
#define TT_EXPLAIN_H

#include <jansson.h>
#include <stdio.h>

#include "config/rules_files.h"

typedef struct {
    const json_t *event;         /* docs/contract.md, Event */
    const json_t *around;        /* [event]: of the same loop and of the same ticks, oldest first; may hold the event itself */
    const tt_rules *rules;       /* NULL: not known */
    const tt_rules_texts *texts; /* what they were read from; NULL: not known */
    bool rules_changed;          /* since the event */
    const json_t *decision;      /* the document it went out in; NULL: not known */
    const json_t *acknowledged;  /* {"share","after_ms","refused","reason"}; NULL: not known */
    const json_t *inputs;        /* signals as the engine had them then: [{"name","labels","value","quality","age_ms"}]; NULL: what the event says */
} tt_explain_of;

/* docs/api.md, Explain. NULL when memory is out. */
json_t *tt_explain_json(const tt_explain_of *of);
/* width 0: don't cut. now_ms 0: no ages of events. */
void tt_explain_print(const json_t *explained, FILE *to, bool colours, int width, int64_t now_ms);
/* A loop's events, one line each; `chosen` (a seq) is marked. */
void tt_explain_print_story(const json_t *events, int64_t chosen, FILE *to, bool colours, int width);

#endif
