#include "unit.h"

#include "expr_internal.h"

#include <math.h>

/* a b c d are signals 0 to 3; "ratio" is 4. */
static int resolve(void *ctx, tt_sv name) {
    (void)ctx;
    static const char *const names[] = {"a", "b", "c", "d", "ratio"};
    for (size_t i = 0; i < TT_COUNT(names); i++)
        if (tt_sv_eq(name, tt_sv_of(names[i]))) return (int)i;
    if (name.n > 1 && name.p[0] == 's') return 10 + atoi(name.p + 1);
    return -1;
}

typedef struct {
    double v[5]; /* NAN: not ok */
} values;

static bool read_value(void *ctx, int signal, double *ret) {
    const values *x = ctx;
    if (signal > 4 || isnan(x->v[signal])) return false;
    *ret = x->v[signal];
    return true;
}

static tt_doc scalar(const char *text) {
    return (tt_doc){.kind = TT_DOC_SCALAR, .pos = {"t.yaml", 3, 10}, .text = tt_sv_of(text)};
}

static void truth(void **state) {
    (void)state;
    const double u = NAN;
    const tt_truth F = TT_FALSE, T = TT_TRUE, U = TT_UNKNOWN;
    const struct {
        const char *text;
        values v;
        tt_truth want;
    } rows[] = {
        {"a > 1", {{2}}, T},
        {"a > 1", {{1}}, F},
        {"a >= 1", {{1}}, T},
        {"a < 1", {{1}}, F},
        {"a <= 1", {{1}}, T},
        {"a == 1", {{1}}, T},
        {"a != 1", {{1}}, F},
        {"a > 1", {{u}}, U},
        /* units */
        {"a > 5%", {{0.051}}, T},
        {"a > 5%", {{0.05}}, F},
        {"a == 99.9%", {{0.999}}, T},
        {"a == 150%", {{1.5}}, T},
        {"a == 250ms", {{250}}, T},
        {"a == 10s", {{10000}}, T},
        {"a == 1.1s", {{1100}}, T},
        {"a == 2m", {{120000}}, T},
        {"a == 1h", {{3600000}}, T},
        {"a == 1e3", {{1000}}, T},
        {"a == 1e-1s", {{100}}, T},
        /* arithmetic and its order */
        {"a + b * 2 == 7", {{1, 3}}, T},
        {"(a + b) * 2 == 8", {{1, 3}}, T},
        {"a - b - c == 0", {{6, 4, 2}}, T},
        {"a / b / c == 2", {{12, 3, 2}}, T},
        {"-a < 0", {{1}}, T},
        {"- -a == 1", {{1}}, T},
        {"a * -b == -6", {{2, 3}}, T},
        {"a / b > 1", {{1, 0}}, U},
        {"a / b > 1", {{0, 0}}, U},
        {"a * b > 1", {{1e200, 1e200}}, U}, /* overflow is no measurement */
        /* Kleene */
        {"a > 0 and b > 0", {{1, u}}, U},
        {"a > 0 and b > 0", {{0, u}}, F},
        {"b > 0 and a > 0", {{0, u}}, F},
        {"a > 0 or b > 0", {{1, u}}, T},
        {"b > 0 or a > 0", {{1, u}}, T},
        {"a > 0 or b > 0", {{0, u}}, U},
        {"not a > 0", {{1}}, F},
        {"not a > 0", {{0}}, T},
        {"not a > 0", {{u}}, U},
        /* and binds tighter than or, not tighter than both */
        {"a > 0 or b > 0 and c > 0", {{1, 0, 0}}, T},
        {"(a > 0 or b > 0) and c > 0", {{1, 0, 0}}, F},
        {"not a > 0 and b > 0", {{0, 0}}, F},
        {"not (a > 0 and b > 0)", {{0, 0}}, T},
        {"a > 1\n  and b < 2", {{2, 1}}, T},
    };
    for (size_t i = 0; i < TT_COUNT(rows); i++) {
        tt_arena *arena = tt_arena_new();
        tt_err err = {0};
        tt_doc node = scalar(rows[i].text);
        tt_expr *e = tt_expr_parse(arena, &node, resolve, NULL, &err);
        if (!e) ROW_FAIL(rows[i].text, "%s", err.text);
        values v = rows[i].v;
        tt_truth got = tt_expr_eval(e, read_value, &v);
        if (got != rows[i].want) ROW_FAIL(rows[i].text, "row %zu is %d, not %d", i, got, rows[i].want);
        tt_arena_free(arena);
    }
}

static void refusals(void **state) {
    (void)state;
    /* @ stands where the error must point; the node starts at line 3, column 10. */
    static const struct {
        const char *text, *says;
        tt_code code;
    } rows[] = {
        {"@", "ends where", TT_ESYNTAX},
        {"a >@", "ends where", TT_ESYNTAX},
        {"a > @> 1", "\">\" where a signal", TT_ESYNTAX},
        {"a > 1 @b", "after a whole expression", TT_ESYNTAX},
        {"a > 1@)", "closes nothing", TT_ESYNTAX},
        {"(a > 1@", "\")\" is missing", TT_ESYNTAX},
        {"a > @unknown", "signal \"unknown\" is not declared", TT_EUNKNOWN},
        {"@5 + 1", "needs a comparison", TT_EVALUE},
        {"@a", "needs a comparison", TT_EVALUE},
        {"1 < a @< 2", "don't chain", TT_ESYNTAX},
        {"@a and b > 1", "`and` needs a comparison", TT_EVALUE},
        {"a > 1 or @b", "`or` needs a comparison", TT_EVALUE},
        {"not @a", "`not` needs a comparison", TT_EVALUE},
        {"a + (@b > 1) > 1", "\"+\" needs a number", TT_EVALUE},
        {"(@a > 1) > 1", "\">\" needs a number", TT_EVALUE},
        {"-(@a > 1) > 1", "\"-\" needs a number", TT_EVALUE},
        {"a > @5x", "unit nobody knows", TT_ESYNTAX},
        {"a > @5kb", "unit nobody knows", TT_ESYNTAX},
        {"a > @5. ", "is not a number", TT_ESYNTAX},
        {"a > @.5", "is not a number", TT_ESYNTAX},
        {"a > @1e999", "is not a number", TT_ESYNTAX},
        {"a > @1e308h", "unit nobody knows", TT_ESYNTAX},
        {"a > 1 @&& b > 1", "write `and`", TT_ESYNTAX},
        {"a > 1 @|| b > 1", "write `or`", TT_ESYNTAX},
        {"@!a > 1", "write `not`", TT_ESYNTAX},
        {"a @= 1", "write `==`", TT_ESYNTAX},
        {"a > 1 @AND b > 1", "small letters", TT_ESYNTAX},
        {"not @not a > 1", "leave both out", TT_ESYNTAX},
        {"a > @$x", "can't stand in an expression", TT_ESYNTAX},
        {"a > @\xC3\xBC", "\"\xC3\xBC\" can't stand", TT_ESYNTAX},
    };
    for (size_t i = 0; i < TT_COUNT(rows); i++) {
        char text[200];
        size_t n = strlen(rows[i].text), at = (size_t)(strchr(rows[i].text, '@') - rows[i].text);
        memcpy(text, rows[i].text, at);
        memcpy(text + at, rows[i].text + at + 1, n - at);
        tt_arena *arena = tt_arena_new();
        tt_err err = {0};
        tt_doc node = scalar(text);
        if (tt_expr_parse(arena, &node, resolve, NULL, &err)) ROW_FAIL(text, "was taken");
        if (!strstr(err.text, rows[i].says) || err.code != rows[i].code) ROW_FAIL(text, "said %s", err.text);
        if (err.line != 3 || err.column != 10 + at || strcmp(err.file, "t.yaml") != 0)
            ROW_FAIL(text, "points at %s:%u:%u", err.file, err.line, err.column);
        tt_arena_free(arena);
    }
}

static bool parses(const char *text, tt_err *err) {
    tt_arena *arena = tt_arena_new();
    tt_doc node = scalar(text);
    bool ok = tt_expr_parse(arena, &node, resolve, NULL, err) != NULL;
    tt_arena_free(arena);
    return ok;
}

static char *repeat(const char *s, size_t n, const char *end) {
    char *p = calloc(1, strlen(s) * n + strlen(end) + 1);
    for (size_t i = 0; i < n; i++) strcat(p, s);
    return strcat(p, end);
}

static void limits(void **state) {
    (void)state;
    tt_err err = {0};
    char *p = repeat("(", 63, "a > 1");
    char *q = repeat(")", 63, "");
    char *both = calloc(1, strlen(p) + strlen(q) + 1);
    strcat(strcpy(both, p), q);
    assert_true(parses(both, &err));
    free(p), free(q), free(both);
    p = repeat("(", 100, "a > 1");
    assert_false(parses(p, &err));
    assert_int_equal(err.code, TT_ELIMIT);
    free(p);
    p = repeat("-", 100, "a > 1");
    assert_false(parses(p, &err));
    assert_int_equal(err.code, TT_ELIMIT);
    free(p);
    p = repeat("a + ", 126, "a > 1"); /* 127 a, 126 +, 1, > : 255 parts */
    assert_true(parses(p, &err));
    free(p);
    p = repeat("a + ", 127, "a > 1");
    assert_false(parses(p, &err));
    assert_int_equal(err.code, TT_ELIMIT);
    free(p);
    p = calloc(1, 5000);
    memset(p, ' ', 4500);
    assert_false(parses(p, &err));
    free(p);
    assert_true(parses("s1+s2+s3+s4+s5+s6+s7+s8+s9+s10+s11+s12+s13+s14+s15+s16+s1 > 0", &err));
    assert_false(parses("s1+s2+s3+s4+s5+s6+s7+s8+s9+s10+s11+s12+s13+s14+s15+s16+s17 > 0", &err));
    assert_int_equal(err.code, TT_ELIMIT);
    tt_arena *arena = tt_arena_new();
    assert_null(tt_expr_parse(arena, &(tt_doc){.kind = TT_DOC_MAP}, resolve, NULL, &err));
    assert_null(tt_expr_parse(arena, NULL, resolve, NULL, NULL));
    tt_arena_free(arena);
}

static void views(void **state) {
    (void)state;
    tt_arena *arena = tt_arena_new();
    tt_doc node = scalar("b > 1 and a < 2 and b < 9\n");
    tt_expr *e = tt_expr_parse(arena, &node, resolve, NULL, NULL);
    int signals[TT_EXPR_SIGNALS_MAX];
    assert_int_equal(tt_expr_signals(e, signals), 2);
    assert_int_equal(signals[0], 1);
    assert_int_equal(signals[1], 0);
    tt_sv text = tt_expr_text(e), op;
    assert_true(tt_sv_eq(text, TT_SV("b > 1 and a < 2 and b < 9")));
    int signal;
    double bound;
    assert_false(tt_expr_bound(e, &signal, &op, &bound));
    static const struct {
        const char *text;
        bool ok;
        const char *op;
        double bound;
    } rows[] = {{"c <= 1%", true, "<=", 0.01}, {"c > -5", true, ">", -5},   {"c != 2s", true, "!=", 2000}, {"1 < c", false, "", 0},
                {"c > 1 + 1", false, "", 0},   {"c + 1 > 1", false, "", 0}, {"not c > 1", false, "", 0}};
    for (size_t i = 0; i < TT_COUNT(rows); i++) {
        node = scalar(rows[i].text);
        e = tt_expr_parse(arena, &node, resolve, NULL, NULL);
        if (tt_expr_bound(e, &signal, &op, &bound) != rows[i].ok) ROW_FAIL(rows[i].text, "has a bound: %d", !rows[i].ok);
        if (rows[i].ok && (signal != 2 || !tt_sv_eq(op, tt_sv_of(rows[i].op)) || bound != rows[i].bound)) ROW_FAIL(rows[i].text, "bound %g", bound);
    }
    tt_arena_free(arena);
}

static tt_range range(void *ctx, int signal) {
    (void)ctx;
    return signal == 4 ? (tt_range){0, 1} : signal == 3 ? (tt_range){-INFINITY, INFINITY} : (tt_range){0, INFINITY};
}

static void never_and_always(void **state) {
    (void)state;
    static const struct {
        const char *text;
        tt_truth want; /* TT_UNKNOWN: it depends */
    } rows[] = {
        {"ratio < 0", TT_FALSE},
        {"ratio <= 0", TT_UNKNOWN},
        {"ratio > 1", TT_FALSE},
        {"ratio >= 1", TT_UNKNOWN},
        {"ratio > 5", TT_FALSE},
        {"ratio <= 100%", TT_TRUE},
        {"ratio >= 0", TT_TRUE},
        {"ratio == 2", TT_FALSE},
        {"ratio != 2", TT_TRUE},
        {"0 > ratio", TT_FALSE},
        {"a < 0", TT_FALSE},
        {"a + b < 0", TT_FALSE},
        {"a * b < 0", TT_FALSE},
        {"a / b < 0", TT_FALSE},
        {"a - b < 0", TT_UNKNOWN},
        {"-a > 0", TT_FALSE},
        {"d < 0", TT_UNKNOWN},
        {"d > d", TT_FALSE},
        {"d == d", TT_TRUE},
        {"ratio * 100 > 101", TT_FALSE},
        {"not ratio >= 0", TT_FALSE},
        {"a > 5 and a < 3", TT_FALSE},
        {"a > 5 and a < 5", TT_FALSE},
        {"a > 5 and a <= 5", TT_FALSE},
        {"a >= 5 and a <= 5", TT_UNKNOWN},
        {"a == 5 and a == 6", TT_FALSE},
        {"3 > a and a > 5 and b > 1", TT_FALSE},
        {"a < 0 or b > 1", TT_UNKNOWN},
        {"a < 0 or b < 0", TT_FALSE},
        {"d > 5 and d < 3", TT_FALSE},
        {"a > 5 or a < 3", TT_UNKNOWN},
    };
    for (size_t i = 0; i < TT_COUNT(rows); i++) {
        tt_arena *arena = tt_arena_new();
        tt_doc node = scalar(rows[i].text);
        const tt_expr *e = tt_expr_parse(arena, &node, resolve, NULL, NULL);
        tt_truth got = tt_expr_always(&e, 1, range, NULL);
        if (got != rows[i].want) ROW_FAIL(rows[i].text, "is %d", got);
        tt_arena_free(arena);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(truth), cmocka_unit_test(refusals), cmocka_unit_test(limits), cmocka_unit_test(views), cmocka_unit_test(never_and_always),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
