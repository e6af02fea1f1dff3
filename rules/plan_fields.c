/* Values from document nodes, and the sentences when they are wrong: what is there, and what to write instead. */
#include "plan_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- reporting ---- */

void tt_load_err(tt_load *l, const tt_err *err) {
    l->total++;
    if (l->n_errs < l->max_errs) l->errs[l->n_errs++] = *err;
}

static bool fail_v(tt_load *l, tt_code code, const tt_doc *at, const char *fmt, va_list ap) {
    tt_err err = {0};
    char text[sizeof(err.text)];
    vsnprintf(text, sizeof(text), fmt, ap);
    tt_doc_fail(&err, code, at, "%s", text);
    tt_load_err(l, &err);
    return false;
}

bool tt_load_fail(tt_load *l, tt_code code, const tt_doc *at, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    fail_v(l, code, at, fmt, ap);
    va_end(ap);
    return false;
}

bool tt_load_fail_inside(tt_load *l, tt_code code, const tt_doc *scalar, size_t offset, const char *fmt, ...) {
    tt_doc placed = *scalar;
    placed.pos = tt_doc_place(scalar, offset);
    va_list ap;
    va_start(ap, fmt);
    fail_v(l, code, &placed, fmt, ap);
    va_end(ap);
    return false;
}

bool tt_load_no_memory(tt_load *l) {
    return tt_load_fail(l, TT_ENOMEM, NULL, "memory is out");
}

tt_pos tt_load_pos(tt_load *l, tt_pos pos) {
    const char *file = pos.file ? pos.file : "";
    if (!l->last_pos.file || strcmp(l->last_pos.file, file) != 0) {
        tt_sv copy = tt_arena_copy(l->r->arena, tt_sv_of(file));
        if (!copy.p) tt_load_no_memory(l);
        l->last_pos.file = copy.p ? copy.p : "";
    }
    pos.file = l->last_pos.file;
    return pos;
}

tt_shown tt_show(const tt_doc *node) {
    tt_shown s;
    switch (node->kind) {
    case TT_DOC_NULL:
        snprintf(s.text, sizeof(s.text), "nothing");
        break;
    case TT_DOC_SEQ:
        snprintf(s.text, sizeof(s.text), "a list");
        break;
    case TT_DOC_MAP:
        snprintf(s.text, sizeof(s.text), "a map");
        break;
    case TT_DOC_SCALAR: {
        size_t n = 0;
        while (n < node->text.n && n < 60 && (unsigned char)node->text.p[n] >= 0x20) n++;
        while (n > 0 && n < node->text.n && ((unsigned char)node->text.p[n] & 0xC0) == 0x80) n--;
        snprintf(s.text, sizeof(s.text), "\"%.*s%s\"", (int)n, node->text.p, n < node->text.n ? "..." : "");
        break;
    }
    }
    return s;
}

/* ---- did you mean ---- */

enum { WORD_MAX = 64 };

static char small(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c == '-' ? '_' : c;
}

/* Edits between two words: a letter more, less, other, or two swapped. Case, "-" and "_" don't count. */
static size_t edits(tt_sv a, tt_sv b) {
    size_t rows[3][WORD_MAX + 1], *before = rows[0], *last = rows[1], *now = rows[2];
    for (size_t k = 0; k <= b.n; k++) last[k] = before[k] = k;
    for (size_t i = 1; i <= a.n; i++) {
        now[0] = i;
        for (size_t k = 1; k <= b.n; k++) {
            bool same = small(a.p[i - 1]) == small(b.p[k - 1]);
            size_t d = last[k - 1] + !same;
            if (last[k] + 1 < d) d = last[k] + 1;
            if (now[k - 1] + 1 < d) d = now[k - 1] + 1;
            if (i > 1 && k > 1 && small(a.p[i - 1]) == small(b.p[k - 2]) && small(a.p[i - 2]) == small(b.p[k - 1]) && before[k - 2] + 1 < d)
                d = before[k - 2] + 1;
            now[k] = d;
        }
        size_t *spare = before;
        before = last;
        last = now;
        now = spare;
    }
    return last[b.n];
}

tt_nearest tt_nearest_to(tt_sv word) {
    return (tt_nearest){.word = word};
}

void tt_nearest_try(tt_nearest *n, tt_sv candidate) {
    size_t len = n->word.n < candidate.n ? n->word.n : candidate.n;
    if (n->word.n == 0 || n->word.n > WORD_MAX || candidate.n > WORD_MAX || candidate.n == 0) return;
    size_t d = edits(n->word, candidate), may = n->word.n / 3 > 0 ? n->word.n / 3 : 1;
    if (d > may && len >= 4 && memcmp(n->word.p, candidate.p, len) == 0) d = may; /* one begins with the other */
    if (d > may || (n->best.n && d >= n->distance)) return;
    n->best = candidate;
    n->distance = d;
}

const char *tt_nearest_say(const tt_nearest *n, char buf[160]) {
    buf[0] = '\0';
    if (n->best.n) snprintf(buf, 160, ": did you mean \"" TT_SV_FMT "\"?", TT_SV_ARG(n->best));
    return buf;
}

/* ---- collections ---- */

static void list_keys(const tt_key *keys, size_t n, char *buf, size_t size) {
    size_t used = 0;
    for (size_t i = 0; i < n && used < size; i++) {
        int k = snprintf(buf + used, size - used, "%s%s", i ? ", " : "", keys[i].name);
        used += k > 0 ? (size_t)k : 0;
    }
}

bool tt_read_keys(tt_load *l, const tt_doc *map, const char *what, const char *example, const tt_key *keys, size_t n) {
    if (map->kind != TT_DOC_MAP) return tt_load_fail(l, TT_EVALUE, map, "%s is a map, not %s: write it like %s", what, tt_show(map).text, example);
    bool ok = true;
    for (size_t i = 0; i < map->n; i++) {
        size_t k = 0;
        while (k < n && !tt_sv_eq(map->keys[i].text, tt_sv_of(keys[k].name))) k++;
        if (k < n) {
            *keys[k].at = &map->items[i];
            continue;
        }
        char known[256] = "", say[160];
        tt_nearest near = tt_nearest_to(map->keys[i].text);
        for (k = 0; k < n; k++) tt_nearest_try(&near, tt_sv_of(keys[k].name));
        list_keys(keys, n, known, sizeof(known));
        if (near.best.n)
            ok = tt_load_fail(l, TT_EUNKNOWN, &map->keys[i], "unknown key %s in %s%s", tt_show(&map->keys[i]).text, what, tt_nearest_say(&near, say));
        else
            ok = tt_load_fail(l, TT_EUNKNOWN, &map->keys[i], "unknown key %s in %s: it may have %s", tt_show(&map->keys[i]).text, what, known);
    }
    return ok;
}

bool tt_read_list(tt_load *l, const tt_doc *list, const char *what, const char *example, size_t max) {
    if (!list) return false;
    if (list->kind != TT_DOC_SEQ)
        return tt_load_fail(l, TT_EVALUE, list, "%s is a list, not %s: write it like %s", what, tt_show(list).text, example);
    if (list->n > max) return tt_load_fail(l, TT_ELIMIT, &list->items[max], "%s has %zu members, at most %zu may stand there", what, list->n, max);
    return true;
}

/* ---- scalars ---- */

static bool scalar(tt_load *l, const tt_doc *node, const char *what, const char *example) {
    if (node->kind == TT_DOC_NULL)
        return tt_load_fail(l, TT_EVALUE, node, "%s has no value: write one, such as %s, or leave the key out", what, example);
    if (node->kind != TT_DOC_SCALAR)
        return tt_load_fail(l, TT_EVALUE, node, "%s is one value, such as %s, not %s", what, example, tt_show(node).text);
    return true;
}

static bool plain(tt_load *l, const tt_doc *node, const char *what, const char *example) {
    if (!scalar(l, node, what, example)) return false;
    if (!node->quoted) return true;
    return tt_load_fail(l, TT_EVALUE, node, "%s is text because of its quotes: write %s without them", what, example);
}

bool tt_get_text(tt_load *l, const tt_doc *node, const char *what, const char *example, tt_sv *ret) {
    if (!node) return true;
    if (!scalar(l, node, what, example)) return false;
    tt_sv s = node->text;
    while (s.n && (s.p[s.n - 1] == '\n' || s.p[s.n - 1] == ' ')) s.n--; /* a block scalar's end */
    if (!s.n) return tt_load_fail(l, TT_EVALUE, node, "%s is empty: write something, such as %s", what, example);
    s = tt_arena_copy(l->r->arena, s);
    if (!s.p) return tt_load_no_memory(l);
    *ret = s;
    return true;
}

bool tt_get_name(tt_load *l, const tt_doc *node, const char *what, tt_sv *ret) {
    if (!node) return true;
    if (!scalar(l, node, what, "checkout")) return false;
    tt_sv s = node->text;
    if (s.n >= 128) return tt_load_fail(l, TT_ELIMIT, node, "%s has %zu bytes, a name has at most 127", what, s.n);
    for (size_t i = 0; i < s.n || i == 0; i++) {
        char c = s.n ? s.p[i] : '\0';
        bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
        if (word || (i > 0 && strchr(".:/@-", c) && c)) continue;
        if (i == 0 && s.n)
            return tt_load_fail(l, TT_EVALUE, node, "%s %s can't be a name: it starts with a letter, a digit or _", what, tt_show(node).text);
        if (!s.n) return tt_load_fail(l, TT_EVALUE, node, "%s is empty: write a name, such as checkout", what);
        return tt_load_fail_inside(l, TT_EVALUE, node, i, "%s %s can't be a name: only letters, digits and . : / @ - _ may stand in it", what,
                                   tt_show(node).text);
    }
    s = tt_arena_copy(l->r->arena, s);
    if (!s.p) return tt_load_no_memory(l);
    *ret = s;
    return true;
}

bool tt_get_duration(tt_load *l, const tt_doc *node, const char *what, int64_t min, int64_t max, int64_t *ret_ns) {
    if (!node) return true;
    if (!scalar(l, node, what, "30s")) return false;
    int64_t ns;
    double number;
    if (!tt_parse_duration(node->text, &ns)) {
        tt_sv n = {node->text.p, node->text.n < 20 ? node->text.n : 20};
        if (tt_parse_number(node->text, &number))
            return tt_load_fail(l, TT_EVALUE, node, "%s %s has no unit: write a duration such as " TT_SV_FMT "s or " TT_SV_FMT "ms", what,
                                tt_show(node).text, TT_SV_ARG(n), TT_SV_ARG(n));
        return tt_load_fail(l, TT_EVALUE, node, "%s %s is not a duration: write one such as 250ms, 10s, 5m, 1h30m or 7d", what, tt_show(node).text);
    }
    if (ns < min || ns > max) {
        char low[32], high[32];
        tt_format_duration(min, low, sizeof(low));
        tt_format_duration(max, high, sizeof(high));
        return tt_load_fail(l, TT_EVALUE, node, "%s %s is out of range: write %s to %s", what, tt_show(node).text, low, high);
    }
    *ret_ns = ns;
    return true;
}

bool tt_get_ratio(tt_load *l, const tt_doc *node, const char *what, bool zero, double *ret) {
    if (!node) return true;
    if (!scalar(l, node, what, "40%")) return false;
    double v, any;
    bool percent = node->text.n && node->text.p[node->text.n - 1] == '%';
    if (!percent && !plain(l, node, what, "0.4")) return false;
    if (!tt_parse_ratio(node->text, &v)) {
        tt_sv number = {node->text.p, node->text.n - percent};
        if (tt_parse_number(number, &any))
            return tt_load_fail(l, TT_EVALUE, node, "%s %s is out of range: write %s to 100%%%s", what, tt_show(node).text,
                                zero ? "0%" : "more than 0%, up", !percent && any > 1 && any <= 100 ? "; a percentage needs its % sign" : "");
        return tt_load_fail(l, TT_EVALUE, node, "%s %s is not a share: write one such as 40%% or 0.4", what, tt_show(node).text);
    }
    if (v == 0 && !zero) return tt_load_fail(l, TT_EVALUE, node, "%s %s does nothing: write more than 0%%", what, tt_show(node).text);
    *ret = v;
    return true;
}

void tt_number_text(double v, char *buf, size_t size) {
    tt_buf b;
    tt_buf_init(&b, size - 1);
    tt_buf_number(&b, v);
    snprintf(buf, size, "%s", b.p ? b.p : "?");
    tt_buf_free(&b);
}

bool tt_get_number(tt_load *l, const tt_doc *node, const char *what, double min, double max, double *ret) {
    if (!node) return true;
    if (!plain(l, node, what, "140")) return false;
    double v;
    char low[32], high[32];
    if (!tt_parse_number(node->text, &v))
        return tt_load_fail(l, TT_EVALUE, node, "%s %s is not a number: write one such as 140 or 1.5", what, tt_show(node).text);
    if (!(v >= min && v <= max)) {
        tt_number_text(min, low, sizeof(low));
        tt_number_text(max, high, sizeof(high));
        return tt_load_fail(l, TT_EVALUE, node, "%s %s is out of range: write %s to %s", what, tt_show(node).text, low, high);
    }
    *ret = v;
    return true;
}

bool tt_get_count(tt_load *l, const tt_doc *node, const char *what, uint32_t min, uint32_t max, uint32_t *ret) {
    if (!node) return true;
    if (!plain(l, node, what, "3")) return false;
    double v;
    if (!tt_parse_number(node->text, &v) || v != floor(v))
        return tt_load_fail(l, TT_EVALUE, node, "%s %s is not a whole number: write one such as 3", what, tt_show(node).text);
    if (v < min || v > max) return tt_load_fail(l, TT_EVALUE, node, "%s %s is out of range: write %u to %u", what, tt_show(node).text, min, max);
    *ret = (uint32_t)v;
    return true;
}

bool tt_get_bool(tt_load *l, const tt_doc *node, const char *what, bool *ret) {
    if (!node) return true;
    if (!plain(l, node, what, "true")) return false;
    bool yes = tt_sv_eq(node->text, TT_SV("true"));
    if (!yes && !tt_sv_eq(node->text, TT_SV("false")))
        return tt_load_fail(l, TT_EVALUE, node, "%s %s: write true or false", what, tt_show(node).text);
    *ret = yes;
    return true;
}

bool tt_get_choice(tt_load *l, const tt_doc *node, const char *what, const char *const names[], size_t n, size_t *ret) {
    if (!node) return true;
    if (!scalar(l, node, what, names[0])) return false;
    tt_nearest near = tt_nearest_to(node->text);
    char all[256] = "", say[160];
    size_t used = 0;
    for (size_t i = 0; i < n; i++) {
        if (tt_sv_eq(node->text, tt_sv_of(names[i]))) {
            *ret = i;
            return true;
        }
        tt_nearest_try(&near, tt_sv_of(names[i]));
        int k = used < sizeof(all) ? snprintf(all + used, sizeof(all) - used, "%s%s", i ? ", " : "", names[i]) : 0;
        used += k > 0 ? (size_t)k : 0;
    }
    if (near.best.n) return tt_load_fail(l, TT_EUNKNOWN, node, "%s %s is not known%s", what, tt_show(node).text, tt_nearest_say(&near, say));
    return tt_load_fail(l, TT_EUNKNOWN, node, "%s %s is not known: write one of %s", what, tt_show(node).text, all);
}

bool tt_get_priority(tt_load *l, const tt_doc *node, const char *what, uint32_t *ret) {
    const char *names[TT_PRIORITIES_MAX];
    for (size_t i = 0; i < l->r->n_priorities; i++) names[i] = l->r->priorities[i].p;
    size_t k = 0;
    if (!tt_get_choice(l, node, what, names, l->r->n_priorities, &k)) return false;
    if (node) *ret = (uint32_t)k;
    return true;
}

/* ---- patterns ---- */

bool tt_get_match(tt_load *l, const tt_doc *node, const char *what, tt_label_match *ret) {
    if (!scalar(l, node, what, "/^web-/")) return false;
    tt_sv s = node->text;
    if (!s.n) return tt_load_fail(l, TT_EVALUE, node, "%s is empty: write a text or a pattern such as /^web-/", what);
    tt_label_match m = {.pos = tt_load_pos(l, node->pos), .text = tt_arena_copy(l->r->arena, s)};
    if (!m.text.p) return tt_load_no_memory(l);
    if (s.p[0] == '$')
        return tt_load_fail(l, TT_EVALUE, node, "%s %s: variables are made here, not used; write a text or a pattern such as /^(?<svc>.+)$/", what,
                            tt_show(node).text);
    if (s.p[0] != '/') {
        if (s.n >= 128) return tt_load_fail(l, TT_ELIMIT, node, "%s has %zu bytes, at most 127 are compared: write a pattern", what, s.n);
        m.literal = m.text;
        *ret = m;
        return true;
    }
    if (s.n < 3 || s.p[s.n - 1] != '/')
        return tt_load_fail(l, TT_ESYNTAX, node, "%s %s: a pattern stands between two slashes, such as /^web-/", what, tt_show(node).text);
    if (!l->r->matcher)
        return tt_load_fail(l, TT_EVALUE, node, "%s %s: patterns are not available here, write a plain text", what, tt_show(node).text);
    tt_err err = {0};
    m.pattern = l->r->matcher->compile(l->r->matcher->ctx, (tt_sv){s.p + 1, s.n - 2}, &err);
    if (!m.pattern) {
        size_t offset = err.column ? err.column : 1; /* the slash stands in front of what was compiled */
        return tt_load_fail_inside(l, err.code, node, offset, "%s %s: %s", what, tt_show(node).text, err.text);
    }
    *ret = m;
    return true;
}

size_t tt_group_offset(tt_sv text, tt_sv name) {
    for (size_t i = 0; i + name.n + 3 < text.n; i++) {
        if (text.p[i] != '(' || text.p[i + 1] != '?') continue;
        size_t k = i + 2 + (text.p[i + 2] == 'P');
        if ((text.p[k] == '<' || text.p[k] == '\'') && k + 1 + name.n < text.n && memcmp(text.p + k + 1, name.p, name.n) == 0 &&
            (text.p[k + 1 + name.n] == '>' || text.p[k + 1 + name.n] == '\''))
            return i;
    }
    return 0;
}

bool tt_no_groups(tt_load *l, const tt_doc *node, const char *what, const tt_label_match *m) {
    if (!m->pattern) return true;
    tt_match_groups g;
    l->r->matcher->groups(l->r->matcher->ctx, m->pattern, &g);
    if (!g.n) return true;
    return tt_load_fail_inside(l, TT_EVALUE, node, tt_group_offset(node->text, g.name[0]),
                               "%s: the named group \"" TT_SV_FMT
                               "\" goes nowhere, only `on.labels` of a plan makes variables: write (...) without a name",
                               what, TT_SV_ARG(g.name[0]));
}

/* ---- expressions ---- */

typedef struct {
    const tt_rules *r;
    tt_sv unknown;
} resolver;

static int resolve(void *ctx, tt_sv name) {
    resolver *x = ctx;
    int i = tt_rules_signal(x->r, name);
    if (i < 0) x->unknown = name;
    return i;
}

static void unknown_signal(tt_load *l, tt_sv name, tt_err *err) {
    char say[160];
    tt_nearest near = tt_nearest_to(name);
    for (size_t i = 0; i < l->r->n_signals; i++) tt_nearest_try(&near, l->r->signals[i].name);
    size_t n = strlen(err->text);
    snprintf(err->text + n, sizeof(err->text) - n, "%s", near.best.n ? tt_nearest_say(&near, say) : ": give it under `signals`");
}

/* What a call looks back at has to be remembered from now on. */
static bool bind(tt_load *l, const tt_doc *node, tt_expr *e) {
    static const tt_track_kind kinds[] = {[TT_EXPR_CHANGE] = TT_TRACK_CHANGE, [TT_EXPR_RATE] = TT_TRACK_RATE, [TT_EXPR_MEAN] = TT_TRACK_MEAN};
    const tt_expr_call *calls;
    size_t n = tt_expr_calls(e, &calls);
    for (size_t i = 0; i < n; i++) {
        const tt_signal_def *s = &l->r->signals[calls[i].signal];
        if (calls[i].span_ns < 2 * s->every_ns) {
            char span[32], every[32], twice[32];
            tt_format_duration(calls[i].span_ns, span, sizeof(span));
            tt_format_duration(s->every_ns, every, sizeof(every));
            tt_format_duration(2 * s->every_ns, twice, sizeof(twice));
            return tt_load_fail_inside(l, TT_EVALUE, node, calls[i].at, "%s looks back %s and " TT_SV_FMT " comes every %s: write at least %s",
                                       tt_expr_function_name(calls[i].function), span, TT_SV_ARG(s->name), every, twice);
        }
        int track = tt_rules_track(
            l, node, (tt_track_def){.kind = kinds[calls[i].function], .signal = (uint32_t)calls[i].signal, .span_ns = calls[i].span_ns});
        if (track < 0) return false;
        tt_expr_bind(e, i, track);
    }
    return true;
}

tt_expr *tt_get_expr(tt_load *l, const tt_doc *node) {
    resolver x = {.r = l->r};
    tt_err err = {0};
    tt_expr *e = tt_expr_parse(l->r->arena, node, resolve, &x, &err);
    if (e) return bind(l, node, e) ? e : NULL;
    if (err.code == TT_EUNKNOWN && x.unknown.n) {
        if (l->signals_unsure) return NULL;
        unknown_signal(l, x.unknown, &err);
    }
    tt_load_err(l, &err);
    return NULL;
}

bool tt_get_signal(tt_load *l, const tt_doc *node, const char *what, int *ret) {
    tt_sv name = {0};
    if (!node) return true;
    if (!tt_get_name(l, node, what, &name)) return false;
    int k = tt_rules_signal(l->r, name);
    if (k < 0) {
        tt_err err = {0};
        if (l->signals_unsure) return false;
        tt_doc_fail(&err, TT_EUNKNOWN, node, "%s: signal %s is not declared", what, tt_show(node).text);
        unknown_signal(l, name, &err);
        tt_load_err(l, &err);
        return false;
    }
    *ret = k;
    return true;
}

bool tt_get_amount(tt_load *l, const tt_doc *node, const char *what, double *ret) {
    if (!node) return true;
    if (!scalar(l, node, what, "2%")) return false;
    if (tt_parse_amount(node->text, ret)) return true;
    return tt_load_fail(l, TT_EVALUE, node, "%s %s is no amount: write it in the signal's own unit, such as 2%%, 50ms or 3", what,
                        tt_show(node).text);
}

bool tt_get_label(tt_load *l, const tt_doc *node, const char *what, tt_sv *ret) {
    if (!node) return true;
    if (!tt_get_text(l, node, what, "dc", ret)) return false;
    if (tt_is_label_name(*ret)) return true;
    return tt_load_fail(l, TT_EVALUE, node, "%s %s is not the name of a label: letters, digits and _ only, and no digit first", what,
                        tt_show(node).text);
}
