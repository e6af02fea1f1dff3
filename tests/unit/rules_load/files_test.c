#include "unit.h"

#include <sys/stat.h>
#include <unistd.h>

#include "pcre.h"
#include "rules_files.h"

static char dir[64];

static const char *path_of(const char *name) {
    static char path[2][160];
    static int which;
    which = !which;
    snprintf(path[which], sizeof(path[which]), "%s/%s", dir, name);
    return path[which];
}

static void put(const char *name, const char *text) {
    FILE *f = fopen(path_of(name), "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void a_directory(void **state) {
    put("b.yaml", "signals: [{name: second, query: q}]\n");
    put("a.yaml", "signals: [{name: first, query: q}]\n");
    put("c.yaml", "");
    put(".hidden.yaml", "nonsense: 1\n");
    put("notes.txt", "nonsense: 1\n");
    tt_err errs[8];
    size_t n;
    const char *const paths[] = {dir};
    tt_rules *r = tt_rules_read(paths, 1, *state, errs, TT_COUNT(errs), &n);
    assert_non_null(r);
    assert_int_equal(n, 0);
    assert_int_equal(r->n_signals, 2);
    assert_true(tt_sv_eq(r->signals[0].name, TT_SV("first"))); /* by name, whatever the directory's own order */
    assert_string_equal(r->signals[1].pos.file, path_of("b.yaml"));
    tt_rules_free(r);
    tt_rules_free(NULL);
}

static void every_file_is_told_of(void **state) {
    put("bad1.yaml", "a: [\n");
    put("bad2.yaml", "x: 1\ny: 2\nx: 3\n");
    tt_err errs[8];
    size_t n;
    char one[160], two[160];
    snprintf(one, sizeof(one), "%s", path_of("bad1.yaml"));
    snprintf(two, sizeof(two), "%s", path_of("bad2.yaml"));
    const char *const paths[] = {one, two, "/nonexistent/plans.yaml", "", "/dev/null"};
    assert_null(tt_rules_read(paths, TT_COUNT(paths), *state, errs, TT_COUNT(errs), &n));
    assert_int_equal(n, 5);
    assert_string_equal(errs[0].file, one);
    assert_int_equal(errs[0].line, 2);
    assert_string_equal(errs[1].file, two);
    assert_int_equal(errs[1].line, 3);
    assert_string_equal(errs[2].file, "/nonexistent/plans.yaml");
    assert_non_null(strstr(errs[2].text, "No such file"));
    assert_non_null(strstr(errs[4].text, "neither a file nor a directory"));
    unlink(one);
    unlink(two);
}

static void empty_directory(void **state) {
    char sub[160];
    snprintf(sub, sizeof(sub), "%s", path_of("empty"));
    assert_int_equal(mkdir(sub, 0700), 0);
    tt_err errs[2];
    size_t n;
    const char *const paths[] = {sub};
    assert_null(tt_rules_read(paths, 1, *state, errs, 2, &n));
    assert_int_equal(n, 1);
    assert_non_null(strstr(errs[0].text, "holds no *.yaml"));
    rmdir(sub);
}

static void too_big(void **state) {
    FILE *f = fopen(path_of("big.yaml"), "w");
    for (int i = 0; i < (1 << 17) + 1; i++) fputs("#234567\n", f);
    fclose(f);
    tt_err errs[2];
    size_t n;
    const char *const paths[] = {path_of("big.yaml")};
    assert_null(tt_rules_read(paths, 1, *state, errs, 2, &n));
    assert_int_equal(errs[0].code, TT_ELIMIT);
    unlink(path_of("big.yaml"));
}

/* The plans that ship must load. */
static void shipped_plans(void **state) {
    static const char *const shipped[] = {SOURCE_DIR "/scripts/lib/plans.yaml", SOURCE_DIR "/rules/catalog"};
    for (size_t i = 0; i < TT_COUNT(shipped); i++) {
        tt_err errs[16];
        size_t n;
        if (access(shipped[i], R_OK) != 0) continue;
        tt_rules *r = tt_rules_read(&shipped[i], 1, *state, errs, TT_COUNT(errs), &n);
        for (size_t k = 0; k < n; k++) {
            char text[900];
            tt_err_print(&errs[k], text, sizeof(text));
            print_error("%s\n", text);
        }
        assert_non_null(r);
        tt_rules_free(r);
    }
}

/* The examples that a newcomer copies must load as they stand there. */
static void example_of(void **state, const char *page) {
    static char text[1 << 18];
    FILE *f = fopen(page, "r");
    assert_non_null(f);
    text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
    fclose(f);
    char *from = strstr(text, "```yaml\n"), *to = from ? strstr(from + 8, "```") : NULL;
    assert_non_null(to);
    *to = '\0';
    put("doc.yaml", from + 8);
    const char *const paths[] = {path_of("doc.yaml")};
    tt_err errs[16];
    size_t n;
    tt_rules *r = tt_rules_read(paths, 1, *state, errs, TT_COUNT(errs), &n);
    for (size_t k = 0; k < n; k++) print_error("%u:%u: %s\n", errs[k].line, errs[k].column, errs[k].text);
    assert_non_null(r);
    assert_int_equal(r->n_plans, 1);
    tt_rules_free(r);
    unlink(paths[0]);
}

/* Each example of the page by itself. */
static void all_examples_of(void **state, const char *page) {
    static char text[1 << 18];
    FILE *f = fopen(page, "r");
    assert_non_null(f);
    text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
    fclose(f);
    size_t n_examples = 0;
    for (char *from = strstr(text, "```yaml\n"), *to; from; from = strstr(to + 1, "```yaml\n"), n_examples++) {
        assert_non_null(to = strstr(from + 8, "```"));
        *to = '\0';
        put("doc.yaml", from + 8);
        const char *const paths[] = {path_of("doc.yaml")};
        tt_err errs[16];
        size_t n;
        tt_rules *r = tt_rules_read(paths, 1, *state, errs, TT_COUNT(errs), &n);
        for (size_t k = 0; k < n; k++) print_error("example %zu, %u:%u: %s\n", n_examples + 1, errs[k].line, errs[k].column, errs[k].text);
        assert_non_null(r);
        tt_rules_free(r);
        unlink(paths[0]);
    }
    assert_true(n_examples >= 3);
}

static void documented_examples(void **state) {
    all_examples_of(state, SOURCE_DIR "/docs/plans.md");
    example_of(state, SOURCE_DIR "/docs/plans.md");
    example_of(state, SOURCE_DIR "/README.md");
}

static int up(void **state) {
    snprintf(dir, sizeof(dir), "/tmp/rules_load_XXXXXX");
    *state = tt_pcre_matcher_new();
    return *state && mkdtemp(dir) ? 0 : -1;
}

static int down(void **state) {
    static const char *const made[] = {"a.yaml", "b.yaml", "c.yaml", ".hidden.yaml", "notes.txt"};
    for (size_t i = 0; i < TT_COUNT(made); i++) unlink(path_of(made[i]));
    rmdir(dir);
    tt_pcre_matcher_free(*state);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_directory), cmocka_unit_test(every_file_is_told_of), cmocka_unit_test(empty_directory),
                                       cmocka_unit_test(too_big),     cmocka_unit_test(shipped_plans),         cmocka_unit_test(documented_examples)};
    return cmocka_run_group_tests(tests, up, down);
}
