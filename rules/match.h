/* The door to label patterns: rules/ sees only this table; server/config/pcre.c puts PCRE2 behind it, with match,
 * depth and heap limits. A pattern is compiled once at load and matched once for each new label set. */
#ifndef TT_MATCH_H
#define TT_MATCH_H

#include "base.h"

typedef struct tt_pattern tt_pattern; /* opaque to rules/ */

typedef enum { TT_MATCH_NO, TT_MATCH_YES, TT_MATCH_LIMIT } tt_match_result; /* LIMIT: the pattern ran away; "no", with an event */

enum { TT_MATCH_GROUPS_MAX = 8 };

typedef struct {
    size_t n;
    tt_sv name[TT_MATCH_GROUPS_MAX];  /* named groups in the pattern's order; lives as long as the pattern */
} tt_match_groups;

typedef struct tt_matcher {
    void *ctx;
    /* Compiles `text` (without the slashes). NULL and *err (text and offset; no file) on failure, and when it runs away on texts made for that. */
    tt_pattern *(*compile)(void *ctx, tt_sv text, tt_err *err);
    void (*release)(void *ctx, tt_pattern *p);
    void (*groups)(void *ctx, const tt_pattern *p, tt_match_groups *ret);
    /* Unanchored search, as Prometheus users know from PCRE; groups[i] views into `subject`, empty when unset. */
    tt_match_result (*match)(void *ctx, const tt_pattern *p, tt_sv subject, tt_sv groups[TT_MATCH_GROUPS_MAX]);
} tt_matcher;

#endif
