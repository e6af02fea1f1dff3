#include "pcre.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
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

static tt_pattern *compile(void *ctx, tt_sv text, tt_err *err) {
    const contexts *c = ctx;
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
    if (!find_groups(p, err)) {
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
