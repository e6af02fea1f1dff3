#include "pcre.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A label match takes tens of steps; a pattern that needs more than these runs away. */
enum { STEPS_MAX = 100000, DEPTH_MAX = 1000, HEAP_MAX_KIB = 1024, NEST_MAX = 32 };

struct tt_pattern {
    pcre2_code *code;
    size_t n_named;
    uint32_t number[TT_MATCH_GROUPS_MAX];
    tt_sv name[TT_MATCH_GROUPS_MAX]; /* into names */
    char *names;
};

/* Only read once made, so threads may share it; match data is made for each call. */
typedef struct {
    pcre2_compile_context *compile;
    pcre2_match_context *match;
} contexts;

static void release(void *ctx, tt_pattern *p) {
    (void)ctx;
    if (!p) return;
    pcre2_code_free(p->code);
    free(p->names);
    free(p);
}

/* The named groups by number, which is the order they are written in (PCRE2's own table is alphabetical). */
static bool find_groups(tt_pattern *p, tt_err *err) {
    uint32_t n = 0, entry = 0;
    PCRE2_SPTR table = NULL;
    pcre2_pattern_info(p->code, PCRE2_INFO_NAMECOUNT, &n);
    pcre2_pattern_info(p->code, PCRE2_INFO_NAMEENTRYSIZE, &entry);
    pcre2_pattern_info(p->code, PCRE2_INFO_NAMETABLE, &table);
    if (n > TT_MATCH_GROUPS_MAX) return tt_fail(err, TT_ELIMIT, "%u named groups, more than the %d a pattern may have", n, TT_MATCH_GROUPS_MAX);
    if (!n) return true;
    p->names = malloc((size_t)n * entry);
    if (!p->names) return tt_fail(err, TT_ENOMEM, "memory is out");
    memcpy(p->names, table, (size_t)n * entry);
    for (uint32_t i = 0; i < n; i++) {
        const char *e = p->names + (size_t)i * entry;
        uint32_t number = (uint32_t)(unsigned char)e[0] << 8 | (unsigned char)e[1];
        size_t at = p->n_named++;
        for (; at > 0 && p->number[at - 1] > number; at--) {
            p->number[at] = p->number[at - 1];
            p->name[at] = p->name[at - 1];
        }
        p->number[at] = number;
        p->name[at] = tt_sv_of(e + 2);
    }
    return true;
}

static tt_match_result match(void *ctx, const tt_pattern *p, tt_sv subject, tt_sv out[TT_MATCH_GROUPS_MAX]);

/* ---- patterns that run away ----
 * What makes a backtracking matcher try everything is a long text that nearly matches: the pattern's own letters and words, again and again, and an
 * end that fits nowhere. Who passes is not proved to be tame, so every match has its limits too. */

enum { PROBE_BYTES = 72, LETTERS_MAX = 8, WORDS_MAX = 16 };

typedef struct {
    const contexts *c;
    const tt_pattern *p;
    char subject[PROBE_BYTES + 1];
    bool ran_away;
} probe;

static void probe_with(probe *t, tt_sv word) {
    if (t->ran_away || !word.n) return;
    size_t n = 0;
    while (n + word.n <= PROBE_BYTES) {
        memcpy(t->subject + n, word.p, word.n);
        n += word.n;
    }
    t->subject[n++] = '\x01';
    t->ran_away = match((void *)(uintptr_t)t->c, t->p, (tt_sv){t->subject, n}, NULL) == TT_MATCH_LIMIT;
}

static bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || strchr("-_.:/@ ", c) != NULL;
}

static bool runs_away(const contexts *c, const tt_pattern *p, tt_sv text, char shown[16]) {
    probe t = {.c = c, .p = p};
    char letters[LETTERS_MAX] = {'a', '0', '-'};
    size_t n = 3, n_words = 0;
    for (size_t i = 0; i < text.n && n_words < WORDS_MAX; i++) {
        size_t end = i;
        for (; end < text.n && text.p[end] && is_letter(text.p[end]); end++)
            if (n < LETTERS_MAX && !memchr(letters, text.p[end], n)) letters[n++] = text.p[end];
        if (end - i > 1 && end - i <= PROBE_BYTES / 4) {
            probe_with(&t, (tt_sv){text.p + i, end - i});
            n_words++;
        }
        i = end;
    }
    for (size_t a = 0; a < n; a++)
        for (size_t b = a; b < n; b++) probe_with(&t, (tt_sv){(char[]){letters[a], letters[b]}, 2});
    if (t.ran_away) snprintf(shown, 16, "%.12s...", t.subject);
    return t.ran_away;
}

static tt_pattern *compile(void *ctx, tt_sv text, tt_err *err) {
    const contexts *c = ctx;
    if (text.n > TT_PATTERN_MAX_BYTES) {
        tt_fail(err, TT_ELIMIT, "%zu bytes, a pattern has at most %d", text.n, TT_PATTERN_MAX_BYTES);
        return NULL;
    }
    tt_pattern *p = calloc(1, sizeof(*p));
    if (!p) {
        tt_fail(err, TT_ENOMEM, "memory is out");
        return NULL;
    }
    int code = 0;
    PCRE2_SIZE offset = 0;
    uint32_t options = PCRE2_UTF | PCRE2_MATCH_INVALID_UTF | PCRE2_DOLLAR_ENDONLY | PCRE2_NEVER_BACKSLASH_C;
    p->code = pcre2_compile((PCRE2_SPTR)(text.n ? text.p : ""), text.n, options, &code, &offset, c->compile);
    if (!p->code) {
        char why[160] = "unreadable pattern";
        pcre2_get_error_message(code, (PCRE2_UCHAR *)why, sizeof(why));
        tt_fail(err, TT_ESYNTAX, "%s", why);
        if (err) err->column = (uint32_t)(offset < text.n ? offset : text.n) + 1;
        release(ctx, p);
        return NULL;
    }
    char shown[16];
    if (!find_groups(p, err)) {
        release(ctx, p);
        return NULL;
    }
    if (runs_away(c, p, text, shown)) {
        tt_fail(err, TT_ELIMIT,
                "it runs away: %d steps are not enough to see that \"%s\" does not match; a repeat inside a repeat does that, write a+ for (a+)+ and "
                "put no two "
                "alternatives that begin alike into one",
                STEPS_MAX, shown);
        release(ctx, p);
        return NULL;
    }
    return p;
}

static void groups(void *ctx, const tt_pattern *p, tt_match_groups *ret) {
    (void)ctx;
    ret->n = p->n_named;
    for (size_t i = 0; i < p->n_named; i++) ret->name[i] = p->name[i];
}

static tt_match_result match(void *ctx, const tt_pattern *p, tt_sv subject, tt_sv out[TT_MATCH_GROUPS_MAX]) {
    const contexts *c = ctx;
    if (subject.n > TT_SUBJECT_MAX_BYTES) return TT_MATCH_LIMIT;
    pcre2_match_data *data = pcre2_match_data_create_from_pattern(p->code, NULL);
    if (!data) return TT_MATCH_LIMIT;
    PCRE2_SPTR text = (PCRE2_SPTR)(subject.n ? subject.p : "");
    int rc = pcre2_match(p->code, text, subject.n, 0, 0, data, c->match);
    tt_match_result result = rc > 0 ? TT_MATCH_YES : rc == PCRE2_ERROR_NOMATCH ? TT_MATCH_NO : TT_MATCH_LIMIT;
    if (result == TT_MATCH_YES && out) {
        const PCRE2_SIZE *v = pcre2_get_ovector_pointer(data);
        for (size_t i = 0; i < p->n_named; i++) {
            uint32_t g = p->number[i];
            bool set = g < (uint32_t)rc && v[2 * g] != PCRE2_UNSET && v[2 * g] <= v[2 * g + 1];
            out[i] = set ? (tt_sv){(const char *)text + v[2 * g], v[2 * g + 1] - v[2 * g]} : (tt_sv){"", 0};
        }
    }
    pcre2_match_data_free(data);
    return result;
}

tt_matcher *tt_pcre_matcher_new(void) {
    tt_matcher *m = calloc(1, sizeof(*m));
    contexts *c = calloc(1, sizeof(*c));
    if (!m || !c || !(c->compile = pcre2_compile_context_create(NULL)) || !(c->match = pcre2_match_context_create(NULL))) {
        if (c) pcre2_compile_context_free(c->compile);
        free(c);
        free(m);
        return NULL;
    }
    pcre2_set_max_pattern_length(c->compile, TT_PATTERN_MAX_BYTES);
    pcre2_set_parens_nest_limit(c->compile, NEST_MAX);
    pcre2_set_match_limit(c->match, STEPS_MAX);
    pcre2_set_depth_limit(c->match, DEPTH_MAX);
    pcre2_set_heap_limit(c->match, HEAP_MAX_KIB);
    *m = (tt_matcher){c, compile, release, groups, match};
    return m;
}

void tt_pcre_matcher_free(tt_matcher *m) {
    if (!m) return;
    contexts *c = m->ctx;
    pcre2_compile_context_free(c->compile);
    pcre2_match_context_free(c->match);
    free(c);
    free(m);
}
