#include "unit.h"

#include <locale.h>
#include <math.h>

static void numbers(void **state) {
    (void)state;
    static const struct {
        const char *in;
        bool ok;
        double want;
    } rows[] = {
        {"12", true, 12},
        {"-0.5", true, -0.5},
        {"1e3", true, 1000},
        {"1E+3", true, 1000},
        {"25e-2", true, 0.25},
        {"0", true, 0},
        {"007", true, 7},
        {"0.1", true, 0.1},
        {"123456789012345678901234567890", true, 123456789012345678901234567890.0},
        {"2.2250738585072011e-308", true, 2.2250738585072011e-308}, /* once hung a well-known runtime */
        {"5e-324", true, 5e-324},
        {"1.7976931348623157e308", true, 1.7976931348623157e308},
        {"9007199254740993", true, 9007199254740992.0}, /* half way between two: to even */
        {"9007199254740993.0000000000000000000000000000000000000000000000000000000000000001", true, 9007199254740994.0},
        {"1e-400", true, 0},
        {"0e999999999999", true, 0},
        {"1e309", false, 0},
        {"1e999999999999999999", false, 0},
        {"", false, 0},
        {"-", false, 0},
        {"+1", false, 0},
        {".5", false, 0},
        {"5.", false, 0},
        {"1e", false, 0},
        {"1e+", false, 0},
        {"0x10", false, 0},
        {"nan", false, 0},
        {"inf", false, 0},
        {"1 ", false, 0},
        {" 1", false, 0},
        {"1,5", false, 0},
        {"1.5.2", false, 0},
        {"--1", false, 0},
    };
    for (size_t i = 0; i < TT_COUNT(rows); i++) {
        double v = -77;
        bool ok = tt_parse_number(tt_sv_of(rows[i].in), &v);
        if (ok != rows[i].ok || v != (ok ? rows[i].want : -77)) ROW_FAIL(rows[i].in, "%d %.17g", ok, v);
    }
}

static void long_digits(void **state) {
    (void)state;
    /* More digits than are kept, with the deciding one at the very end. */
    char text[2000] = "9007199254740993.";
    memset(text + 17, '0', 1900);
    double v;
    assert_true(tt_parse_number((tt_sv){text, 1900}, &v));
    assert_true(v == 9007199254740992.0);
    text[1899] = '1';
    assert_true(tt_parse_number((tt_sv){text, 1900}, &v));
    assert_true(v == 9007199254740994.0);
}

static void ratios(void **state) {
    (void)state;
    static const struct {
        const char *in;
        bool ok;
        double want;
    } rows[] = {
        {"35%", true, 0.35}, {"0.35", true, 0.35},   {"100%", true, 1},     {"1", true, 1},     {"0", true, 0},
        {"0%", true, 0},     {"99.9%", true, 0.999}, {"0.1%", true, 0.001}, {"101%", false, 0}, {"1.01", false, 0},
        {"-1%", false, 0},   {"-0.1", false, 0},     {"0,35", false, 0},    {"nan", false, 0},  {"100.1%", false, 0},
        {"%", false, 0},     {"", false, 0},         {"35 %", false, 0},    {"35%%", false, 0},
    };
    for (size_t i = 0; i < TT_COUNT(rows); i++) {
        double v = -77;
        bool ok = tt_parse_ratio(tt_sv_of(rows[i].in), &v);
        if (ok != rows[i].ok || v != (ok ? rows[i].want : -77)) ROW_FAIL(rows[i].in, "%d %.17g", ok, v);
    }
}

static void durations(void **state) {
    (void)state;
    static const struct {
        const char *in;
        int64_t want; /* -1: refused */
        const char *back;
    } rows[] = {
        {"250ms", TT_MS(250), "250ms"},
        {"10s", TT_SECONDS(10), "10s"},
        {"1h30m", TT_SECONDS(5400), "1h30m"},
        {"7d", TT_SECONDS(7 * 86400), "7d"},
        {"1.5s", TT_MS(1500), "1.5s"},
        {"90s", TT_SECONDS(90), "1m30s"},
        {"0s", 0, "0s"},
        {"400d", TT_SECONDS(400LL * 86400), "400d"},
        {"1s500ms", TT_MS(1500), "1.5s"},
        {"500us", 500000, "500us"},
        {"400d1s", -1, NULL},
        {"401d", -1, NULL},
        {"30m1h", -1, NULL},
        {"1m1m", -1, NULL},
        {"1.5h30m", -1, NULL},
        {"-5s", -1, NULL},
        {"5", -1, NULL},
        {"", -1, NULL},
        {"s", -1, NULL},
        {"5 s", -1, NULL},
        {"5sec", -1, NULL},
        {"5S", -1, NULL},
        {"1.s", -1, NULL},
        {"99999999999999999999s", -1, NULL},
    };
    for (size_t i = 0; i < TT_COUNT(rows); i++) {
        int64_t ns = -1;
        char back[64] = "";
        bool ok = tt_parse_duration(tt_sv_of(rows[i].in), &ns);
        if (ok != (rows[i].want >= 0) || ns != rows[i].want) ROW_FAIL(rows[i].in, "%d %lld", ok, (long long)ns);
        if (!ok) continue;
        tt_format_duration(ns, back, sizeof(back));
        if (strcmp(back, rows[i].back) != 0) ROW_FAIL(rows[i].in, "written back as %s", back);
    }
}

static const char *written(tt_buf *b, double v) {
    b->n = 0;
    tt_buf_number(b, v);
    return b->p;
}

static void shortest_text(void **state) {
    (void)state;
    static const struct {
        double v;
        const char *want;
    } rows[] = {{0.1, "0.1"},
                {1.0 / 3, "0.3333333333333333"},
                {0, "0"},
                {-0.0, "-0"},
                {840, "840"},
                {-2.5, "-2.5"},
                {1e22, "1e22"},
                {123456789012345680000.0, "123456789012345680000"},
                {0.000001, "0.000001"},
                {0.0000001, "1e-7"},
                {5e-324, "5e-324"},
                {0x1p-44, "5.684341886080802e-14"}, /* the nearest of 16 digits does not read back, its neighbour does */
                {1.7976931348623157e308, "1.7976931348623157e308"},
                {NAN, "null"},
                {INFINITY, "null"}};
    tt_buf b;
    tt_buf_init(&b, 100);
    for (size_t i = 0; i < TT_COUNT(rows); i++)
        if (strcmp(written(&b, rows[i].v), rows[i].want) != 0) ROW_FAIL(rows[i].want, "written as %s", b.p);
    tt_buf_free(&b);
}

static uint64_t next_random(uint64_t *s) {
    uint64_t z = *s += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static void round_trips(void **state) {
    (void)state;
    uint64_t seed = 42;
    tt_buf b;
    tt_buf_init(&b, 100);
    for (int i = 0; i < 100000; i++) {
        uint64_t bits = next_random(&seed);
        if (i % 4 == 0) bits &= 0xFFF0000000000000u; /* powers of two, where the gaps change */
        if (i % 4 == 1) bits &= 0x800FFFFFFFFFFFFFu; /* below the normal range */
        double v, back = 0, ours = 0;
        memcpy(&v, &bits, sizeof(v));
        if (!isfinite(v)) continue;
        written(&b, v);
        assert_true(tt_parse_number((tt_sv){b.p, b.n}, &ours));
        back = strtod(b.p, NULL);
        if (memcmp(&ours, &v, sizeof(v)) != 0 || memcmp(&back, &v, sizeof(v)) != 0)
            ROW_FAIL(b.p, "of %a reads back as %a, and as %a by strtod", v, ours, back);
    }
    tt_buf_free(&b);
}

static void any_locale(void **state) {
    (void)state;
    static const char *const comma[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "de_DE"};
    size_t i = 0;
    while (i < TT_COUNT(comma) && !setlocale(LC_ALL, comma[i])) i++;
    if (i == TT_COUNT(comma)) skip(); /* none is installed here */
    assert_string_equal(localeconv()->decimal_point, ",");
    tt_buf b;
    tt_buf_init(&b, 100);
    assert_string_equal(written(&b, 0.1), "0.1");
    assert_string_equal(written(&b, 1.0 / 3), "0.3333333333333333");
    double v = 0;
    assert_true(tt_parse_number(TT_SV("0.30000000000000004"), &v));
    assert_true(v == 0.1 + 0.2);
    tt_buf_free(&b);
    setlocale(LC_ALL, "C");
}

static void json_strings(void **state) {
    (void)state;
    static const struct {
        const char *in, *want;
    } rows[] = {{"a\"b\\c", "\"a\\\"b\\\\c\""},
                {"\n\t\r\x01\x1f", "\"\\n\\t\\r\\u0001\\u001f\""},
                {"gr\xC3\xBC\xC3\x9F \xF0\x9F\x98\x80", "\"gr\xC3\xBC\xC3\x9F \xF0\x9F\x98\x80\""},
                {"a\xFFz", "\"a\xEF\xBF\xBDz\""},
                {"\xC0\x80", "\"\xEF\xBF\xBD\xEF\xBF\xBD\""},                 /* overlong */
                {"\xED\xA0\x80", "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\""}, /* a surrogate */
                {"\xE2\x82", "\"\xEF\xBF\xBD\xEF\xBF\xBD\""},                 /* cut */
                {"", "\"\""}};
    for (size_t i = 0; i < TT_COUNT(rows); i++) {
        tt_buf b;
        tt_buf_init(&b, 200);
        tt_buf_json_string(&b, tt_sv_of(rows[i].in));
        if (b.failed || strcmp(b.p, rows[i].want) != 0) ROW_FAIL(rows[i].want, "written as %s", b.p);
        tt_buf_free(&b);
    }
}

static void buffer_ceiling(void **state) {
    (void)state;
    tt_buf b;
    tt_buf_init(&b, 10);
    tt_buf_put(&b, TT_SV("12345"));
    tt_buf_printf(&b, "%d", 67890);
    assert_false(b.failed);
    assert_string_equal(b.p, "1234567890");
    tt_buf_put(&b, TT_SV("x"));
    assert_true(b.failed);
    tt_buf_put(&b, TT_SV(""));
    assert_string_equal(b.p, "1234567890");
    tt_buf_free(&b);
    tt_buf_init(&b, 5000);
    tt_buf_printf(&b, "%0400d|", 7);
    assert_int_equal(b.n, 401);
    assert_int_equal(b.p[400], '|');
    tt_buf_free(&b);
}

static void arena(void **state) {
    (void)state;
    tt_arena *a = tt_arena_new();
    unsigned char *seen[500];
    for (size_t i = 0; i < TT_COUNT(seen); i++) {
        size_t n = i % 50 == 49 ? 40000 : i * 3; /* now and then one that gets its own block */
        seen[i] = tt_arena_alloc(a, n);
        assert_non_null(seen[i]);
        assert_int_equal((uintptr_t)seen[i] % 16, 0);
        for (size_t k = 0; k < n; k++) assert_int_equal(seen[i][k], 0);
        memset(seen[i], (int)(i & 0xFF), n);
    }
    for (size_t i = 0; i < TT_COUNT(seen); i++)
        for (size_t k = 0; k < (i % 50 == 49 ? 40000 : i * 3); k++) assert_int_equal(seen[i][k], i & 0xFF);
    assert_null(tt_arena_array(a, SIZE_MAX / 2, 3));
    tt_sv copy = tt_arena_copy(a, (tt_sv){"abcd", 3});
    assert_string_equal(copy.p, "abc");
    tt_arena_free(a);
    tt_arena_free(NULL);
}

static void errors(void **state) {
    (void)state;
    char text[300];
    tt_err err = {.line = 9, .file = "old"};
    assert_false(tt_fail(&err, TT_EVALUE, "%s is wrong", "max"));
    assert_int_equal(err.line, 0);
    assert_false(tt_fail(&err, TT_EVALUE, "again: %s", err.text)); /* its own text as an argument */
    tt_err_print(&err, text, sizeof(text));
    assert_string_equal(text, "again: max is wrong");
    tt_doc at = {.pos = {"plans.yaml", 3, 7}};
    assert_false(tt_doc_fail(&err, TT_EVALUE, &at, "bad"));
    tt_err_print(&err, text, sizeof(text));
    assert_string_equal(text, "plans.yaml:3:7: bad");
    assert_false(tt_fail(NULL, TT_EVALUE, "nobody listens"));
    assert_true(tt_sv_cmp(TT_SV("ab"), TT_SV("abc")) < 0);
    assert_true(tt_sv_cmp(TT_SV("b"), TT_SV("abc")) > 0);
    assert_true(tt_sv_eq((tt_sv){NULL, 0}, TT_SV("")));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers),        cmocka_unit_test(long_digits), cmocka_unit_test(ratios),     cmocka_unit_test(durations),
        cmocka_unit_test(shortest_text),  cmocka_unit_test(round_trips), cmocka_unit_test(any_locale), cmocka_unit_test(json_strings),
        cmocka_unit_test(buffer_ceiling), cmocka_unit_test(arena),       cmocka_unit_test(errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
