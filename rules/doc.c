#include "doc.h"

#include <stdio.h>

const tt_doc *tt_doc_get(const tt_doc *map, tt_sv key) {
    if (!map || map->kind != TT_DOC_MAP) return NULL;
    for (size_t i = 0; i < map->n; i++)
        if (tt_sv_eq(map->keys[i].text, key)) return &map->items[i];
    return NULL;
}

bool tt_doc_fail(tt_err *err, tt_code code, const tt_doc *at, const char *fmt, ...) {
    if (!err) return false;
    char text[sizeof(err->text)];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    tt_fail(err, code, "%s", text);
    if (at) {
        snprintf(err->file, sizeof(err->file), "%s", at->pos.file ? at->pos.file : "");
        err->line = at->pos.line;
        err->column = at->pos.column;
    }
    return false;
}
