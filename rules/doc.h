/* A located document tree: what a YAML or JSON text says, and where. The engine loads plans and its own saved
 * state from this, so that it needs no parser library. Built by server/config/yaml (libyaml). Read-only once built. */
#ifndef TT_DOC_H
#define TT_DOC_H

#include "base.h"

typedef enum { TT_DOC_NULL, TT_DOC_SCALAR, TT_DOC_SEQ, TT_DOC_MAP } tt_doc_kind;

typedef struct {
    const char *file; /* borrowed; "" when unknown */
    uint32_t line, column;
} tt_pos;

typedef struct tt_doc {
    tt_doc_kind kind;
    bool quoted; /* a scalar written in quotes: text, never a number or null */
    tt_pos pos;
    tt_sv text; /* scalar */
    size_t n;   /* seq, map: members */
    union {
        const struct tt_doc *keys; /* map: n scalars, in written order, no duplicates */
        const char *source;        /* scalar: what is written from pos on, NUL-terminated, where `text` alone can't tell places in it; else NULL */
    };
    const struct tt_doc *items; /* seq, map: n values */
} tt_doc;

const tt_doc *tt_doc_get(const tt_doc *map, tt_sv key); /* NULL when absent or not a map */
/* Where the byte at `offset` of a scalar's text is written, over folded lines and escapes too. */
tt_pos tt_doc_place(const tt_doc *scalar, size_t offset);
/* tt_fail with the node's place in front. Returns false. */
bool tt_doc_fail(tt_err *err, tt_code code, const tt_doc *at, const char *fmt, ...) TT_PRINTF(4, 5);

#endif
