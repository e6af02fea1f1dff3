#include "yaml.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

const tt_yaml_limits tt_yaml_plan_limits = {.max_bytes = 1 << 20, .max_nodes = 100000, .max_depth = 64, .places = true};
const tt_yaml_limits tt_yaml_state_limits = {.max_bytes = 256 << 20, .max_nodes = 8000000, .max_depth = 64, .places = false};

enum { SHOWN_MAX = 60, ANCHORS_MAX = 1000, SORT_ABOVE = 12 };

typedef struct {
    tt_doc head;
    size_t first;  /* of its members on the stack; a map's are key, value, key, value */
    size_t nodes;  /* the count before it opened: what came since is what an alias brings again */
    size_t height; /* levels below it so far */
    size_t anchor; /* index + 1 of the anchor that waits for it; 0: none */
} frame;

typedef struct {
    tt_sv name;
    bool done; /* false while inside it: an alias to it then would never end */
    tt_doc node;
    size_t nodes, height;
} anchor;

typedef struct {
    tt_arena *arena;
    const char *file;
    tt_sv text;
    const tt_yaml_limits *limits;
    tt_err *err;
    yaml_parser_t parser;
    tt_doc *stack; /* finished nodes whose parent is still open */
    size_t n, cap;
    frame *frames;
    size_t depth, nodes;
    anchor *anchors;
    size_t n_anchors, cap_anchors;
    const char *line_start; /* of `line`, for places */
    size_t line;
} builder;

static bool fail_at(builder *b, tt_code code, yaml_mark_t at, const char *fmt, ...) TT_PRINTF(4, 5);
static bool fail_at(builder *b, tt_code code, yaml_mark_t at, const char *fmt, ...) {
    char text[sizeof(b->err->text)];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    tt_doc node = {.pos = {b->file, (uint32_t)at.line + 1, (uint32_t)at.column + 1}};
    return tt_doc_fail(b->err, code, &node, "%s", text);
}

static bool no_memory(builder *b) {
    tt_doc node = {.pos = {b->file, 0, 0}};
    return tt_doc_fail(b->err, TT_ENOMEM, &node, "memory is out");
}

static tt_pos pos_of(const builder *b, yaml_mark_t at) {
    return (tt_pos){b->file, (uint32_t)at.line + 1, (uint32_t)at.column + 1};
}

static tt_sv cut(tt_sv s) {
    return (tt_sv){s.p, s.n < SHOWN_MAX ? s.n : (size_t)SHOWN_MAX};
}

/* ---- places ---- */

/* The byte where line and column (both from 0) are, NULL past the end. Lines are only ever asked for in order. */
static const char *byte_at(builder *b, size_t line, size_t column) {
    const char *end = b->text.p + b->text.n;
    if (!b->line_start || line < b->line) {
        b->line_start = b->text.p;
        b->line = 0;
    }
    while (b->line < line) {
        const char *nl = memchr(b->line_start, '\n', (size_t)(end - b->line_start));
        if (!nl) return NULL;
        b->line_start = nl + 1;
        b->line++;
    }
    const char *p = b->line_start;
    while (p < end && column > 0) {
        p++;
        if (p == end || ((unsigned char)*p & 0xC0) != 0x80) column--;
    }
    return column ? NULL : p;
}

/* Keeps the written form of a scalar whose text alone does not tell where its parts stand; a block's place becomes its first character. */
static bool keep_source(builder *b, const yaml_event_t *e, tt_doc *node) {
    size_t start_line = e->start_mark.line, column = e->start_mark.column;
    yaml_scalar_style_t style = e->data.scalar.style;
    bool block = style == YAML_LITERAL_SCALAR_STYLE || style == YAML_FOLDED_SCALAR_STYLE;
    bool quoted = style == YAML_SINGLE_QUOTED_SCALAR_STYLE || style == YAML_DOUBLE_QUOTED_SCALAR_STYLE;
    if (!block && e->end_mark.line == start_line && !quoted) return true;
    const char *p = byte_at(b, start_line, column), *stop = byte_at(b, e->end_mark.line, e->end_mark.column);
    if (!stop) stop = b->text.p + b->text.n;
    if (!p || p > stop) return true;
    if (!block && e->end_mark.line == start_line && (size_t)(stop - p) == node->text.n + 2) return true; /* nothing is escaped */
    if (block) {
        size_t line = start_line;
        column = 0;
        while (p < stop && *p != '\n') p++;
        while (p < stop && (*p == '\n' || *p == ' ' || *p == '\r')) {
            if (*p == '\n') {
                line++;
                column = 0;
            } else {
                column++;
            }
            p++;
        }
        if (p == stop) return true;
        node->pos.line = (uint32_t)line + 1;
        node->pos.column = (uint32_t)column + 1;
    }
    tt_sv copy = tt_arena_copy(b->arena, (tt_sv){p, (size_t)(stop - p)});
    if (!copy.p) return no_memory(b);
    node->source = copy.p;
    return true;
}

/* ---- nodes ---- */

static bool push(builder *b, const tt_doc *node) {
    if (b->n == b->cap) {
        size_t cap = b->cap ? b->cap * 2 : 64;
        tt_doc *p = reallocarray(b->stack, cap, sizeof(*p));
        if (!p) return no_memory(b);
        b->stack = p;
        b->cap = cap;
    }
    b->stack[b->n++] = *node;
    return true;
}

static bool count(builder *b, size_t nodes, yaml_mark_t at) {
    if (nodes > b->limits->max_nodes - b->nodes)
        return fail_at(b, TT_ELIMIT, at, "the document holds more than %zu values once its aliases are written out: split the file",
                       b->limits->max_nodes);
    b->nodes += nodes;
    return true;
}

/* What is open now holds something `height` levels high. */
static void raise_height(builder *b, size_t height) {
    if (b->depth && b->frames[b->depth - 1].height < height) b->frames[b->depth - 1].height = height;
}

static bool is_key(const builder *b) {
    const frame *f = b->depth ? &b->frames[b->depth - 1] : NULL;
    return f && f->head.kind == TT_DOC_MAP && (b->n - f->first) % 2 == 0;
}

static bool new_anchor(builder *b, const yaml_char_t *name, yaml_mark_t at, size_t *ret) {
    *ret = 0;
    if (!name) return true;
    if (b->n_anchors == ANCHORS_MAX) return fail_at(b, TT_ELIMIT, at, "more than %d anchors: write some of them out", ANCHORS_MAX);
    if (b->n_anchors == b->cap_anchors) {
        size_t cap = b->cap_anchors ? b->cap_anchors * 2 : 16;
        anchor *p = reallocarray(b->anchors, cap, sizeof(*p));
        if (!p) return no_memory(b);
        b->anchors = p;
        b->cap_anchors = cap;
    }
    tt_sv copy = tt_arena_copy(b->arena, tt_sv_of((const char *)name));
    if (!copy.p) return no_memory(b);
    b->anchors[b->n_anchors++] = (anchor){.name = copy};
    *ret = b->n_anchors;
    return true;
}

static void finish_anchor(builder *b, size_t index, const tt_doc *node, size_t nodes, size_t height) {
    if (!index) return;
    b->anchors[index - 1].node = *node;
    b->anchors[index - 1].nodes = nodes;
    b->anchors[index - 1].height = height;
    b->anchors[index - 1].done = true;
}

static bool is_null(tt_sv s) {
    return s.n == 0 || tt_sv_eq(s, TT_SV("~")) || tt_sv_eq(s, TT_SV("null")) || tt_sv_eq(s, TT_SV("Null")) || tt_sv_eq(s, TT_SV("NULL"));
}

static bool no_tag(builder *b, const yaml_event_t *e, const yaml_char_t *tag) {
    if (!tag) return true;
    tt_sv t = cut(tt_sv_of((const char *)tag));
    return fail_at(b, TT_ESYNTAX, e->start_mark, "tags are not supported: take \"" TT_SV_FMT "\" out", TT_SV_ARG(t));
}

static bool add_scalar(builder *b, const yaml_event_t *e) {
    tt_sv s = {(const char *)e->data.scalar.value, e->data.scalar.length};
    bool plain = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE, key = is_key(b);
    if (!no_tag(b, e, e->data.scalar.tag) || !count(b, 1, e->start_mark)) return false;
    if (s.n && memchr(s.p, '\0', s.n)) return fail_at(b, TT_EVALUE, e->start_mark, "text can't hold the character \\0: take it out");
    if (key && plain && tt_sv_eq(s, TT_SV("<<")))
        return fail_at(b, TT_ESYNTAX, e->start_mark, "merge keys (<<) are not supported: write the keys out, or use *alias for a whole value");
    if (key && s.n == 0) return fail_at(b, TT_ESYNTAX, e->start_mark, "a key is missing in front of the \":\"");
    tt_doc node = {.kind = TT_DOC_SCALAR, .pos = pos_of(b, e->start_mark)};
    node.quoted = e->data.scalar.style == YAML_SINGLE_QUOTED_SCALAR_STYLE || e->data.scalar.style == YAML_DOUBLE_QUOTED_SCALAR_STYLE;
    if (plain && !key && is_null(s)) node.kind = TT_DOC_NULL;
    node.text = tt_arena_copy(b->arena, s);
    if (!node.text.p) return no_memory(b);
    if (b->limits->places && node.kind == TT_DOC_SCALAR && !keep_source(b, e, &node)) return false;
    size_t index;
    if (!new_anchor(b, e->data.scalar.anchor, e->start_mark, &index)) return false;
    finish_anchor(b, index, &node, 1, 0);
    return push(b, &node);
}

static bool add_alias(builder *b, const yaml_event_t *e) {
    tt_sv name = tt_sv_of((const char *)e->data.alias.anchor);
    for (size_t i = b->n_anchors; i-- > 0;) { /* the newest of a name counts */
        const anchor *a = &b->anchors[i];
        if (!tt_sv_eq(a->name, name)) continue;
        tt_sv shown = cut(name);
        if (!a->done) return fail_at(b, TT_ESYNTAX, e->start_mark, "*" TT_SV_FMT " stands inside of what it stands for", TT_SV_ARG(shown));
        if (is_key(b) && a->node.kind != TT_DOC_SCALAR)
            return fail_at(b, TT_ESYNTAX, e->start_mark, "a key is text: *" TT_SV_FMT " is not", TT_SV_ARG(shown));
        tt_doc node = a->node;
        if (b->depth + a->height > b->limits->max_depth)
            return fail_at(b, TT_ELIMIT, e->start_mark, "nested deeper than %zu with what *" TT_SV_FMT " stands for: no key needs that",
                           b->limits->max_depth, TT_SV_ARG(shown));
        raise_height(b, a->height);
        return count(b, a->nodes, e->start_mark) && push(b, &node);
    }
    tt_sv shown = cut(name);
    return fail_at(b, TT_EUNKNOWN, e->start_mark, "no anchor &" TT_SV_FMT " stands before this alias", TT_SV_ARG(shown));
}

static bool open_collection(builder *b, const yaml_event_t *e, tt_doc_kind kind, const yaml_char_t *tag, const yaml_char_t *name) {
    if (!no_tag(b, e, tag) || !count(b, 1, e->start_mark)) return false;
    if (is_key(b)) return fail_at(b, TT_ESYNTAX, e->start_mark, "a key is text, not a list or a map");
    if (b->depth == b->limits->max_depth)
        return fail_at(b, TT_ELIMIT, e->start_mark, "nested deeper than %zu: no key needs that", b->limits->max_depth);
    size_t index;
    if (!new_anchor(b, name, e->start_mark, &index)) return false;
    b->frames[b->depth++] = (frame){{.kind = kind, .pos = pos_of(b, e->start_mark)}, b->n, b->nodes - 1, 0, index};
    return true;
}

static int by_text(const void *a, const void *b) {
    const tt_doc *x = *(const tt_doc *const *)a, *y = *(const tt_doc *const *)b;
    int c = tt_sv_cmp(x->text, y->text);
    return c ? c : x < y ? -1 : x > y;
}

/* The second of two equal keys, the first such in the text; NULL when there is none. *ret_first is the one it repeats. */
static const tt_doc *repeated(const tt_doc *map, const tt_doc **sorted, const tt_doc **ret_first) {
    const tt_doc *found = NULL;
    if (map->n <= SORT_ABOVE) {
        for (size_t i = 1; i < map->n; i++)
            for (size_t k = 0; k < i; k++)
                if (tt_sv_eq(map->keys[i].text, map->keys[k].text)) {
                    *ret_first = &map->keys[k];
                    return &map->keys[i];
                }
        return NULL;
    }
    for (size_t i = 0; i < map->n; i++) sorted[i] = &map->keys[i];
    qsort(sorted, map->n, sizeof(*sorted), by_text);
    for (size_t i = 1; i < map->n; i++)
        if (tt_sv_eq(sorted[i]->text, sorted[i - 1]->text) && (!found || sorted[i] < found)) {
            found = sorted[i];
            *ret_first = sorted[i - 1];
        }
    return found;
}

static bool close_collection(builder *b) {
    frame f = b->frames[b->depth - 1];
    size_t n = b->n - f.first;
    const tt_doc *members = n ? b->stack + f.first : NULL;
    if (f.head.kind == TT_DOC_SEQ) {
        tt_doc *items = tt_arena_array(b->arena, n, sizeof(*items));
        if (!items) return no_memory(b);
        if (n) memcpy(items, members, n * sizeof(*items));
        f.head.n = n;
        f.head.items = items;
    } else {
        tt_doc *keys = tt_arena_array(b->arena, n, sizeof(*keys));
        if (!keys) return no_memory(b);
        tt_doc *items = keys + n / 2;
        for (size_t i = 0; i < n; i++) *(i % 2 ? &items[i / 2] : &keys[i / 2]) = members[i];
        f.head.n = n / 2;
        f.head.keys = keys;
        f.head.items = items;
        const tt_doc **sorted = NULL, *first = NULL;
        if (f.head.n > SORT_ABOVE && !(sorted = reallocarray(NULL, f.head.n, sizeof(const tt_doc *)))) return no_memory(b);
        const tt_doc *twice = repeated(&f.head, sorted, &first);
        free(sorted);
        if (twice) {
            tt_sv shown = cut(twice->text);
            return tt_doc_fail(b->err, TT_EVALUE, twice, "key \"" TT_SV_FMT "\" is written twice in one map, first at line %u: keep one of them",
                               TT_SV_ARG(shown), first->pos.line);
        }
    }
    b->n = f.first;
    b->depth--;
    finish_anchor(b, f.anchor, &f.head, b->nodes - f.nodes, f.height + 1);
    raise_height(b, f.height + 1);
    return push(b, &f.head);
}

/* ---- the whole ---- */

static bool not_well_formed(builder *b) {
    yaml_parser_t *p = &b->parser;
    if (p->error == YAML_MEMORY_ERROR) return no_memory(b);
    yaml_mark_t at = p->problem_mark;
    if (p->error == YAML_READER_ERROR) { /* it counts bytes only */
        at = (yaml_mark_t){0};
        for (size_t i = 0; i < p->problem_offset && i < b->text.n; i++) {
            if (b->text.p[i] == '\n') {
                at.line++;
                at.column = 0;
            } else if (((unsigned char)b->text.p[i] & 0xC0) != 0x80) {
                at.column++;
            }
        }
    }
    return fail_at(b, TT_ESYNTAX, at, "not well-formed YAML: %s%s%s", p->problem ? p->problem : "unreadable", p->context ? ", " : "",
                   p->context ? p->context : "");
}

static bool take(builder *b, const yaml_event_t *e, size_t *documents, bool *end) {
    switch (e->type) {
    case YAML_DOCUMENT_START_EVENT:
        if ((*documents)++)
            return fail_at(b, TT_ESYNTAX, e->start_mark, "a second document starts here: a file holds one, put the other into its own file");
        return true;
    case YAML_SCALAR_EVENT:
        return add_scalar(b, e);
    case YAML_ALIAS_EVENT:
        return add_alias(b, e);
    case YAML_SEQUENCE_START_EVENT:
        return open_collection(b, e, TT_DOC_SEQ, e->data.sequence_start.tag, e->data.sequence_start.anchor);
    case YAML_MAPPING_START_EVENT:
        return open_collection(b, e, TT_DOC_MAP, e->data.mapping_start.tag, e->data.mapping_start.anchor);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        return close_collection(b);
    case YAML_STREAM_END_EVENT:
        *end = true;
        return true;
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_DOCUMENT_END_EVENT:
        return true;
    }
    return true;
}

static bool build(builder *b) {
    size_t documents = 0;
    for (bool end = false; !end;) {
        yaml_event_t e;
        if (!yaml_parser_parse(&b->parser, &e)) return not_well_formed(b);
        bool ok = take(b, &e, &documents, &end);
        yaml_event_delete(&e);
        if (!ok) return false;
    }
    return true;
}

const tt_doc *tt_yaml_parse(tt_arena *arena, const char *file_name, tt_sv text, const tt_yaml_limits *limits, tt_err *err) {
    if (text.n >= 3 && memcmp(text.p, "\xEF\xBB\xBF", 3) == 0) text = (tt_sv){text.p + 3, text.n - 3}; /* a byte order mark is no column */
    builder b = {.arena = arena, .text = text, .limits = limits ? limits : &tt_yaml_plan_limits, .err = err};
    tt_sv file = tt_arena_copy(arena, tt_sv_of(file_name));
    b.file = file.p ? file.p : "";
    if (!file.p) {
        no_memory(&b);
        return NULL;
    }
    if (text.n > b.limits->max_bytes) {
        tt_doc node = {.pos = {b.file, 0, 0}};
        tt_doc_fail(err, TT_ELIMIT, &node, "%zu bytes, more than the %zu a file may have: split it", text.n, b.limits->max_bytes);
        return NULL;
    }
    tt_doc *root = tt_arena_alloc(arena, sizeof(*root));
    b.frames = reallocarray(NULL, b.limits->max_depth, sizeof(*b.frames));
    bool ok = root && b.frames && yaml_parser_initialize(&b.parser);
    if (ok) {
        yaml_parser_set_encoding(&b.parser, YAML_UTF8_ENCODING);
        yaml_parser_set_input_string(&b.parser, (const unsigned char *)(text.n ? text.p : ""), text.n);
        ok = build(&b);
        yaml_parser_delete(&b.parser);
        if (ok) *root = b.n ? b.stack[0] : (tt_doc){.kind = TT_DOC_NULL, .pos = {b.file, 1, 1}};
    } else {
        no_memory(&b);
    }
    free(b.frames);
    free(b.stack);
    free(b.anchors);
    return ok ? root : NULL;
}
