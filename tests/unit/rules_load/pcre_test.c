#include "unit.h"

#include "pcre.h"

#define XYZ "xyzxyzxyzxyzxyzxyzxyzxyzxyzxyz"

static void matches(void **state) {
    const tt_matcher *m = *state;
    static const struct {
        const char *pattern, *subject;
        tt_match_result want;
        const char *name[3], *value[3];
    } rows[] = {
        {"^(?<svc>.+)$", "checkout", TT_MATCH_YES, {"svc"}, {"checkout"}},
        {"^(?<z>[^-]+)-(?<a>.+)$", "web-front", TT_MATCH_YES, {"z", "a"}, {"web", "front"}}, /* written order, not alphabetical */
        {"auth", "my-auth-1", TT_MATCH_YES, {NULL}, {NULL}},                                 /* unanchored */
        {"^auth", "my-auth-1", TT_MATCH_NO, {NULL}, {NULL}},
        {"^a$", "a\n", TT_MATCH_NO, {NULL}, {NULL}}, /* $ is the very end */
        {"^(?<x>a)?b$", "b", TT_MATCH_YES, {"x"}, {""}},
        {"^(?<x>a)|(?<y>b)$", "a", TT_MATCH_YES, {"x", "y"}, {"a", ""}},
        {"^.$", "\xC3\xBC", TT_MATCH_YES, {NULL}, {NULL}}, /* one character, not two bytes */
        {"^.+$", "a\xFF", TT_MATCH_NO, {NULL}, {NULL}},    /* bytes that are no text */
        {"^(?P<svc>a)", "ab", TT_MATCH_YES, {"svc"}, {"a"}},
        /* Too well hidden to be found at load. */
        {"^(x\\x79z|x\\x79zx\\x79z)*$", XYZ XYZ XYZ XYZ "!", TT_MATCH_LIMIT, {NULL}, {NULL}},
        {"", "x", TT_MATCH_YES, {NULL}, {NULL}},
    };
    for (size_t i = 0; i < TT_COUNT(rows); i++) {
        tt_err err = {0};
        tt_pattern *p = m->compile(m->ctx, tt_sv_of(rows[i].pattern), &err);
        if (!p) ROW_FAIL(rows[i].pattern, "%s", err.text);
        tt_sv groups[TT_MATCH_GROUPS_MAX] = {{0}};
        tt_match_groups g;
        tt_match_result got = m->match(m->ctx, p, tt_sv_of(rows[i].subject), groups);
        if (got != rows[i].want) ROW_FAIL(rows[i].pattern, "on %s gave %d", rows[i].subject, got);
        m->groups(m->ctx, p, &g);
        for (size_t k = 0; k < 3 && rows[i].name[k]; k++) {
            if (k >= g.n || !tt_sv_eq(g.name[k], tt_sv_of(rows[i].name[k]))) ROW_FAIL(rows[i].pattern, "group %zu is not %s", k, rows[i].name[k]);
            if (!tt_sv_eq(groups[k], tt_sv_of(rows[i].value[k])))
                ROW_FAIL(rows[i].pattern, "group %s is " TT_SV_FMT, rows[i].name[k], TT_SV_ARG(groups[k]));
        }
        m->release(m->ctx, p);
    }
}

static void refusals(void **state) {
    const tt_matcher *m = *state;
    static const struct {
        const char *pattern, *says;
        uint32_t column;
    } rows[] = {
        {"a(b", "parenthesis", 4},
        {"a**b", "quantifier", 3},
        {"[z-a]", "range", 4},
        {"(?<a>x)(?<b>x)(?<c>x)(?<d>x)(?<e>x)(?<f>x)(?<g>x)(?<h>x)(?<i>x)", "9 named groups", 0},
        {"(?<a>x)(?<a>y)", "same name", 13},
        {"(((((((((((((((((((((((((((((((((x)))))))))))))))))))))))))))))))))", "nested", 34},
        {"\\C", "\\C", 3},
        {"(a+)+$", "runs away", 0},
        {"^(a|a)*$", "runs away", 0},
        {"^(\\w+\\s?)*$", "runs away", 0},
        {"^(web|webweb)+$", "runs away", 0},
        {"^([a-z0-9]+[-.]?)+\\.example$", "runs away", 0},
    };
    for (size_t i = 0; i < TT_COUNT(rows); i++) {
        tt_err err = {0};
        if (m->compile(m->ctx, tt_sv_of(rows[i].pattern), &err)) ROW_FAIL(rows[i].pattern, "was taken");
        if (!strstr(err.text, rows[i].says) || err.column != rows[i].column) ROW_FAIL(rows[i].pattern, "column %u: %s", err.column, err.text);
    }
    char big[TT_PATTERN_MAX_BYTES + 2];
    memset(big, 'a', sizeof(big));
    assert_null(m->compile(m->ctx, (tt_sv){big, sizeof(big) - 1}, NULL));
}

/* What people write passes. */
static void tame(void **state) {
    const tt_matcher *m = *state;
    static const char *const patterns[] = {"^(?<svc>.+)$",
                                           "^(?<svc>[a-z-]+)-(?<dc>dc-[ab])$",
                                           "HighErrorRate|LatencySLO",
                                           "^(web|api|auth)-\\d+\\.prod$",
                                           "^.*-.*-.*$",
                                           "^(?:[a-z0-9]+-)*[a-z0-9]+$",
                                           "^(\\d{1,3}\\.){3}\\d{1,3}:\\d+$",
                                           "^(?!test-).+",
                                           "^(a|b|c)+$",
                                           "^[^.]+\\.[^.]+\\.svc$"};
    for (size_t i = 0; i < TT_COUNT(patterns); i++) {
        tt_err err = {0};
        tt_pattern *p = m->compile(m->ctx, tt_sv_of(patterns[i]), &err);
        if (!p) ROW_FAIL(patterns[i], "%s", err.text);
        m->release(m->ctx, p);
    }
}

static void long_subject(void **state) {
    const tt_matcher *m = *state;
    static char subject[TT_SUBJECT_MAX_BYTES + 1];
    memset(subject, 'a', sizeof(subject));
    tt_sv groups[TT_MATCH_GROUPS_MAX];
    tt_pattern *p = m->compile(m->ctx, TT_SV("^a+$"), NULL);
    assert_int_equal(m->match(m->ctx, p, (tt_sv){subject, TT_SUBJECT_MAX_BYTES}, groups), TT_MATCH_YES);
    assert_int_equal(m->match(m->ctx, p, (tt_sv){subject, TT_SUBJECT_MAX_BYTES + 1}, groups), TT_MATCH_LIMIT);
    assert_int_equal(m->match(m->ctx, p, (tt_sv){NULL, 0}, groups), TT_MATCH_NO);
    m->release(m->ctx, p);
    m->release(m->ctx, NULL);
}

static int up(void **state) {
    *state = tt_pcre_matcher_new();
    return *state ? 0 : -1;
}

static int down(void **state) {
    tt_pcre_matcher_free(*state);
    tt_pcre_matcher_free(NULL);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(matches), cmocka_unit_test(refusals), cmocka_unit_test(tame), cmocka_unit_test(long_subject)};
    return cmocka_run_group_tests(tests, up, down);
}
