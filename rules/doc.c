#include "doc.h"

#include <stdio.h>

const tt_doc *tt_doc_get(const tt_doc *map, tt_sv key) {
    if (!map || map->kind != TT_DOC_MAP) return NULL;
    for (size_t i = 0; i < map->n; i++)
        if (tt_sv_eq(map->keys[i].text, key)) return &map->items[i];
    return NULL;
}

typedef struct {
    const char *p;
    tt_pos pos;
} cursor;

static void step(cursor *c) {
    if (*c->p == '\n') {
        c->pos.line++;
        c->pos.column = 1;
    } else if (((unsigned char)c->p[1] & 0xC0) != 0x80) { /* columns count characters, not bytes */
        c->pos.column++;
    }
    c->p++;
}

static bool blank(char c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Over one escape of a double-quoted scalar, the cursor behind its backslash. Returns how many visible bytes of text it stands for. */
static size_t skip_escape(cursor *c) {
    char kind = *c->p;
    int digits = kind == 'x' ? 2 : kind == 'u' ? 4 : kind == 'U' ? 8 : 0;
    uint32_t code = kind == 'N' || kind == '_' ? 0x80 : kind == 'L' || kind == 'P' ? 0x2000 : '!';
    if (blank(kind) || kind == 'n' || kind == 't' || kind == 'r') code = ' ';
    if (kind) step(c);
    if (digits) code = 0;
    for (; digits > 0 && *c->p; digits--, step(c)) code = code << 4 | (uint32_t)((*c->p & 15) + (*c->p >= 'A' ? 9 : 0));
    if (code == ' ' || code == '\t' || code == '\n' || code == '\r') return 0;
    return code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
}

tt_pos tt_doc_place(const tt_doc *scalar, size_t offset) {
    cursor c = {scalar->text.p, scalar->pos};
    if (scalar->kind != TT_DOC_SCALAR) return scalar->pos;
    if (offset > scalar->text.n) offset = scalar->text.n;
    if (!scalar->source) {
        if (scalar->quoted) c.pos.column++;
        for (size_t i = 0; i < offset; i++)
            if (((unsigned char)scalar->text.p[i] & 0xC0) != 0x80) c.pos.column++;
        return c.pos;
    }
    /* Folding changes blanks and nothing else, so the visible bytes of text and source go in step. */
    size_t visible = 0;
    for (size_t i = 0; i < offset; i++) visible += !blank(scalar->text.p[i]);
    c.p = scalar->source;
    char quote = scalar->quoted ? *c.p : '\0';
    if (quote) step(&c);
    for (;;) {
        while (blank(*c.p)) step(&c);
        cursor here = c;
        size_t bytes = 1;
        if (!*c.p) return here.pos;
        if (quote == '"' && *c.p == '\\') {
            step(&c);
            bytes = skip_escape(&c);
        } else {
            if (quote == '\'' && *c.p == '\'') step(&c);
            if (*c.p) step(&c);
        }
        if (visible < bytes) return here.pos;
        visible -= bytes;
    }
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
