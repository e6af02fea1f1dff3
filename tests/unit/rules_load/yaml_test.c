#include "unit.h"

#include "yaml.h"

/* The tree in one line: kinds, texts and places, so that a row says all there is. n is null, "" marks quotes. */
static void dump(tt_buf *b, const tt_doc *d) {
    switch (d->kind) {
    case TT_DOC_NULL:
        tt_buf_printf(b, "n");
        break;
    case TT_DOC_SCALAR:
        tt_buf_printf(b, d->quoted ? "\"" TT_SV_FMT "\"" : TT_SV_FMT, TT_SV_ARG(d->text));
        break;
    case TT_DOC_SEQ:
        tt_buf_printf(b, "[");
        for (size_t i = 0; i < d->n; i++) {
            if (i) tt_buf_printf(b, " ");
            dump(b, &d->items[i]);
        }
        tt_buf_printf(b, "]");
        break;
    case TT_DOC_MAP:
        tt_buf_printf(b, "{");
        for (size_t i = 0; i < d->n; i++) {
            if (i) tt_buf_printf(b, " ");
            dump(b, &d->keys[i]);
            tt_buf_printf(b, "=");
            dump(b, &d->items[i]);
        }
        tt_buf_printf(b, "}");
        break;
    }
    tt_buf_printf(b, "@%u:%u", d->pos.line, d->pos.column);
}

static void trees(void **state) {
    (void)state;
    static const struct {
        const char *in, *want;
    } rows[] = {
        {"", "n@1:1"},
        {"# nothing\n", "n@1:1"},
        {"a: 1\nb: [x, 'y']\n", "{a@1:1=1@1:4 b@2:1=[x@2:5 \"y\"@2:8]@2:4}@1:1"},
        {"{\"a\":1,\"b\":{\"c\":[]}}", "{\"a\"@1:2=1@1:6 \"b\"@1:8={\"c\"@1:13=[]@1:17}@1:12}@1:1"}, /* JSON, as the engine writes it */
        {"[~, null, '', \"null\", Null]", "[n@1:2 n@1:5 \"\"@1:11 \"null\"@1:15 n@1:23]@1:1"},
        {"a:\n", "{a@1:1=n@1:3}@1:1"},
        {"- a\n-\n  b: c\n", "[a@1:3 {b@3:3=c@3:6}@3:3]@1:1"},
        {"gr\xC3\xBC\xC3\x9F: {x: y}\n", "{gr\xC3\xBC\xC3\x9F@1:1={x@1:8=y@1:11}@1:7}@1:1"}, /* columns count characters */
        {"a: &v [1]\nb: *v\n", "{a@1:1=[1@1:8]@1:4 b@2:1=[1@1:8]@1:4}@1:1"},
        {"a: |\n  x\n  y\n", "{a@1:1=x\ny\n@2:3}@1:1"},
        {"a: >-\n\n  x\n  y\n", "{a@1:1=\nx y@3:3}@1:1"},
        {"null: 1\n", "{null@1:1=1@1:7}@1:1"},
        {"\xEF\xBB\xBF"
         "a: 1\n",
         "{a@1:1=1@1:4}@1:1"},
        {"x: /^(?<svc>.+)$/\n", "{x@1:1=/^(?<svc>.+)$/@1:4}@1:1"},
        {"{x: /^(?<svc>front|b)$/, y: 1}\n", "{x@1:2=/^(?<svc>front|b)$/@1:5 y@1:26=1@1:29}@1:1"},
    };
    for (size_t i = 0; i < TT_COUNT(rows); i++) {
        tt_arena *arena = tt_arena_new();
        tt_err err = {0};
        tt_buf b;
        tt_buf_init(&b, 10000);
        const tt_doc *d = tt_yaml_parse(arena, "t.yaml", tt_sv_of(rows[i].in), NULL, &err);
        if (!d) ROW_FAIL(rows[i].in, "%u:%u %s", err.line, err.column, err.text);
        dump(&b, d);
        if (strcmp(b.p, rows[i].want) != 0) ROW_FAIL(rows[i].in, "is %s", b.p);
        assert_string_equal(d->pos.file, "t.yaml");
        tt_buf_free(&b);
        tt_arena_free(arena);
    }
}

static void refusals(void **state) {
    (void)state;
    static const struct {
        const char *in;
        uint32_t line, column;
        const char *says;
    } rows[] = {
        {"a: 1\nb: 2\na: 3\n", 3, 1, "\"a\" is written twice in one map, first at line 1"},
        {"{a: 1, 'a': 2}", 1, 8, "written twice"},
        {"{a: 1, b: 2, c: 3, d: 4, e: 5, f: 6, g: 7, h: 8, i: 9, j: 1, k: 2, l: 3, m: 4, c: 1, b: 2}", 1, 80, "\"c\" is written twice"},
        {"a: !!str 1\n", 1, 4, "tags are not supported"},
        {"a: !x {b: 1}\n", 1, 4, "tags are not supported"},
        {"b: &b {x: 1}\na:\n  <<: *b\n", 3, 3, "merge keys"},
        {"a: 1\n---\nb: 2\n", 2, 1, "second document"},
        {"a: *nope\n", 1, 4, "no anchor &nope"},
        {"a: &a [*a]\n", 1, 8, "stands inside"},
        {"? [a]\n: b\n", 1, 3, "a key is text"},
        {"k: &k [1]\n? *k\n: b\n", 2, 3, "a key is text"},
        {"? \n: b\n", 1, 2, "a key is missing"},
        {"a: \"x\\0y\"\n", 1, 4, "\\0"},
        {"a: [1, 2\n", 2, 1, "not well-formed YAML"},
        {"a: b: c\n", 1, 5, "not well-formed YAML"},
        {"a: 1\n b: 2\n", 2, 3, "not well-formed YAML"},
        {"a: @x\n", 1, 4, "not well-formed YAML"},
        {"a: \x01\n", 1, 4, "not well-formed YAML"},
        {"a:\n  b: \xFF\n", 2, 6, "not well-formed YAML"},
        {"\ta: 1\n", 1, 1, "not well-formed YAML"},
    };
    for (size_t i = 0; i < TT_COUNT(rows); i++) {
        tt_arena *arena = tt_arena_new();
        tt_err err = {0};
        if (tt_yaml_parse(arena, "t.yaml", tt_sv_of(rows[i].in), NULL, &err)) ROW_FAIL(rows[i].in, "was taken");
        if (err.line != rows[i].line || err.column != rows[i].column || !strstr(err.text, rows[i].says) || strcmp(err.file, "t.yaml") != 0)
            ROW_FAIL(rows[i].in, "%s:%u:%u: %s", err.file, err.line, err.column, err.text);
        tt_arena_free(arena);
    }
}

/* What no text is: bytes that a C string can't hold either. */
static void bytes(void **state) {
    (void)state;
    static const struct {
        const char *in;
        size_t n;
        uint32_t line, column;
    } rows[] = {
        {"a: 1\nb: x\0y\n", 12, 2, 5}, /* NUL in a scalar */
        {"\0", 1, 1, 1},
        {"a: 1\n\0\0\0", 8, 2, 1},
        {"a: \xC3\n", 5, 1, 5},             /* a character cut short */
        {"a: \xC0\xAF\n", 6, 1, 4},         /* the long form of "/" */
        {"a: \xED\xA0\x80\n", 7, 1, 4},     /* half of a surrogate pair */
        {"a: \xF4\x90\x80\x80\n", 8, 1, 4}, /* beyond Unicode */
        {"a: 1\nb: [x, \x7F]\n", 14, 2, 8}, /* DEL */
        {"\xFE\xFF\0a\0:", 6, 1, 1},        /* UTF-16 */
        {"\xFF\xFE"
         "a\0:\0",
         6, 1, 1},
    };
    for (size_t i = 0; i < TT_COUNT(rows); i++) {
        tt_arena *arena = tt_arena_new();
        tt_err err = {0};
        if (tt_yaml_parse(arena, "t.yaml", (tt_sv){rows[i].in, rows[i].n}, NULL, &err)) ROW_FAIL(rows[i].in, "row %zu was taken", i);
        if (err.line != rows[i].line || err.column != rows[i].column || !err.text[0])
            ROW_FAIL(rows[i].in, "row %zu: %u:%u: %s", i, err.line, err.column, err.text);
        tt_arena_free(arena);
    }
}

static const tt_doc *parse(tt_arena *arena, const tt_buf *b, const tt_yaml_limits *limits, tt_err *err) {
    return tt_yaml_parse(arena, "big", (tt_sv){b->p, b->n}, limits, err);
}

static void ceilings(void **state) {
    (void)state;
    tt_arena *arena = tt_arena_new();
    tt_err err = {0};
    tt_buf b;
    tt_buf_init(&b, 8 << 20);
    /* depth */
    for (int i = 0; i < 64; i++) tt_buf_printf(&b, "[");
    for (int i = 0; i < 64; i++) tt_buf_printf(&b, "]");
    assert_non_null(parse(arena, &b, NULL, &err));
    b.n = 0;
    for (int i = 0; i < 65; i++) tt_buf_printf(&b, "[");
    assert_null(parse(arena, &b, NULL, &err));
    assert_int_equal(err.code, TT_ELIMIT);
    assert_int_equal(err.column, 65);
    /* aliases: nine lines that stand for 10^9 values */
    b.n = 0;
    tt_buf_printf(&b, "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for (int i = 1; i < 9; i++) {
        tt_buf_printf(&b, "a%d: &a%d [", i, i);
        for (int k = 0; k < 10; k++) tt_buf_printf(&b, "%s*a%d", k ? ", " : "", i - 1);
        tt_buf_printf(&b, "]\n");
    }
    assert_null(parse(arena, &b, NULL, &err));
    assert_int_equal(err.code, TT_ELIMIT);
    assert_int_equal(err.line, 5);
    /* depth through aliases: readers recurse over what they stand for */
    b.n = 0;
    tt_buf_printf(&b, "a: &a ");
    for (int i = 0; i < 40; i++) tt_buf_printf(&b, "[");
    for (int i = 0; i < 40; i++) tt_buf_printf(&b, "]");
    tt_buf_printf(&b, "\nb: &b [[[*a]]]\nc: ");
    for (int i = 0; i < 20; i++) tt_buf_printf(&b, "[");
    tt_buf_printf(&b, "*b");
    for (int i = 0; i < 20; i++) tt_buf_printf(&b, "]");
    assert_non_null(parse(arena, &b, NULL, &err)); /* 1 + 20 + 3 + 40 */
    tt_buf_printf(&b, "\nd: [");
    for (int i = 0; i < 20; i++) tt_buf_printf(&b, "[");
    tt_buf_printf(&b, "*b");
    for (int i = 0; i < 21; i++) tt_buf_printf(&b, "]");
    assert_null(parse(arena, &b, NULL, &err));
    assert_int_equal(err.code, TT_ELIMIT);
    assert_int_equal(err.line, 4);
    /* bytes */
    b.n = 0;
    for (int i = 0; i < 1 << 17; i++) tt_buf_put(&b, TT_SV("#234567\n"));
    assert_non_null(parse(arena, &b, NULL, &err));
    tt_buf_put(&b, TT_SV("\n"));
    assert_null(parse(arena, &b, NULL, &err));
    assert_int_equal(err.code, TT_ELIMIT);
    /* a state of some megabytes */
    b.n = 0;
    tt_buf_put(&b, TT_SV("["));
    for (int i = 0; i < 100000; i++) tt_buf_printf(&b, "%s{\"at_ms\":%d,\"v\":0.25}", i ? "," : "", i);
    tt_buf_put(&b, TT_SV("]"));
    assert_null(parse(arena, &b, NULL, &err));
    const tt_doc *d = parse(arena, &b, &tt_yaml_state_limits, &err);
    assert_non_null(d);
    assert_int_equal(d->n, 100000);
    assert_true(tt_sv_eq(tt_doc_get(&d->items[99999], TT_SV("at_ms"))->text, TT_SV("99999")));
    assert_null(tt_doc_get(&d->items[0], TT_SV("nope")));
    assert_null(tt_doc_get(d, TT_SV("at_ms")));
    tt_buf_free(&b);
    tt_arena_free(arena);
}

static void places(void **state) {
    (void)state;
    /* Where the letter X of the first value is written, whatever the style it is written in. */
    static const struct {
        const char *in;
        uint32_t line, column;
    } rows[] = {
        {"a: b X\n", 1, 6},
        {"a: 'b X'\n", 1, 7},
        {"a: \"b X\"\n", 1, 7},
        {"a: 'it''s X'\n", 1, 11},
        {"a: \"\\\"b\\\" \\t X\"\n", 1, 14},
        {"a: \"\\u00fc X\"\n", 1, 12},
        {"a: |\n  b\n  c X\n", 3, 5},
        {"a: >\n  b\n  c X\n", 3, 5},
        {"a: >-\n\n   b\n\n   X\n", 5, 4},
        {"a: b\n   c X\n", 2, 6},
        {"a: \"b\n   c \\\n   X\"\n", 3, 4},
        {"gr\xC3\xBC\xC3\x9F: \xC3\xBC X\n", 1, 9},
        {"\xEF\xBB\xBF"
         "a: |\n  X\n",
         2, 3},
    };
    for (size_t i = 0; i < TT_COUNT(rows); i++) {
        tt_arena *arena = tt_arena_new();
        const tt_doc *d = tt_yaml_parse(arena, "", tt_sv_of(rows[i].in), NULL, NULL), *v = &d->items[0];
        size_t at = 0;
        while (v->text.p[at] != 'X') at++;
        tt_pos p = tt_doc_place(v, at);
        if (p.line != rows[i].line || p.column != rows[i].column) ROW_FAIL(rows[i].in, "at %u:%u", p.line, p.column);
        tt_doc_place(v, v->text.n);
        tt_doc_place(v, v->text.n + 100);
        tt_arena_free(arena);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(trees), cmocka_unit_test(refusals), cmocka_unit_test(bytes), cmocka_unit_test(ceilings),
                                       cmocka_unit_test(places)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
