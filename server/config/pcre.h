/* PCRE2 behind tt_matcher, bounded so that no pattern and no label can hold up a tick: limits on matching steps, depth and memory,
 * and on the length of patterns and subjects. A subject over its limit counts as TT_MATCH_LIMIT.
 * One matcher may serve any number of threads; a pattern lives no longer than its matcher. */
#ifndef TT_PCRE_H
#define TT_PCRE_H

#include "match.h"

enum { TT_PATTERN_MAX_BYTES = 1024, TT_SUBJECT_MAX_BYTES = 4096 };

tt_matcher *tt_pcre_matcher_new(void); /* NULL when memory is out */
void tt_pcre_matcher_free(tt_matcher *m);

#endif
