/* The model against the real mesh of scripts/run: the same five incidents, the share of what was wanted during the 45 s of the fault that was served
 * in time. Without anything and with the library's inner loop alone the plant is compared; with trimtab, which is told and not judged here, the law
 * too. Measured figures: README.md. docs/model.md discusses the difference. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "pcre.h"
#include "rehearse.h"
#include "yaml.h"

enum { FAULT_AT = 60, FAULT_FOR = 45 };

/* goodput_kept, per cent: of scripts/run --incident NAME --compare --exit --json on two cores, seed 1; how far the model may be from it. */
static const struct {
    const char *name;
    double without, library, with, within_without, within_library;
} measured[] = {
    {"overload", 2.0, 73.6, 91.6, 3, 4},       {"site-loss", 3.1, 74.5, 92.2, 5, 4},       {"slow-dependency", 0.5, 52, 94.6, 3, 8},
    {"bad-instance", 31.2, 87.3, 96.5, 12, 5}, {"surge-and-retry", 1.5, 74.7, 80.0, 3, 4},
};

static const tt_doc *parse(tt_arena *arena, const char *path) {
    static char text[1 << 16];
    FILE *f = fopen(path, "rb");
    if (!f) fail_msg("%s can't be read", path);
    size_t n = fread(text, 1, sizeof text, f);
    fclose(f);
    tt_err err;
    const tt_doc *doc = tt_yaml_parse(arena, path, (tt_sv){text, n}, NULL, &err);
    if (!doc) fail_msg("%s:%u: %s", path, err.line, err.text);
    return doc;
}

static tt_incident *load(const char *name) {
    char path[512];
    size_t n;
    tt_err err;
    tt_arena *arena = tt_arena_new();
    snprintf(path, sizeof path, "%s/tests/sim/mesh/%s.yaml", SOURCE_DIR, name);
    tt_incident *i = tt_incident_load(parse(arena, path), &err, 1, &n);
    if (!i) fail_msg("%s:%u: %s", err.file, err.line, err.text);
    tt_arena_free(arena);
    return i;
}

static tt_rules *load_rules(const tt_matcher *matcher) {
    size_t n;
    tt_err err;
    tt_arena *arena = tt_arena_new();
    const tt_doc *doc = parse(arena, SOURCE_DIR "/scripts/lib/plans.yaml");
    tt_rules *r = tt_rules_load(&doc, 1, matcher, &err, 1, &n);
    if (!r) fail_msg("%s:%u: %s", err.file, err.line, err.text);
    tt_arena_free(arena);
    return r;
}

static double goodput_kept(const tt_incident *i, const tt_rules *rules, bool oracle, bool inner_loop) {
    tt_rehearsal r;
    tt_err err;
    tt_control control = rules ? TT_CONTROL_ENGINE : oracle ? TT_CONTROL_ORACLE : TT_CONTROL_NOTHING;
    if (!tt_rehearse(&(tt_rehearsal_spec){.incident = i, .control = control, .rules = rules, .seed = 1, .inner_loop = inner_loop}, &r, &err))
        fail_msg("%s", err.text);
    double wanted = 0, good = 0;
    for (uint32_t k = FAULT_AT; k < FAULT_AT + FAULT_FOR && k < r.n_seconds; k++) wanted += r.second[k].wanted, good += r.second[k].good;
    tt_rehearsal_free(&r);
    return 100 * good / wanted;
}

static void the_model_does_what_the_mesh_did(void **state) {
    (void)state;
    int far = 0;
    tt_matcher *matcher = tt_pcre_matcher_new();
    tt_rules *rules = load_rules(matcher);
    printf("goodput_kept, %%            without            library alone       with trimtab       oracle\n"
           "                         measured   model   measured   model   measured   model    model\n");
    for (size_t k = 0; k < sizeof measured / sizeof measured[0]; k++) {
        tt_incident *i = load(measured[k].name);
        double without = goodput_kept(i, NULL, false, false), library = goodput_kept(i, NULL, false, true);
        bool near =
            fabs(without - measured[k].without) <= measured[k].within_without && fabs(library - measured[k].library) <= measured[k].within_library;
        printf("%-22s %9.1f %9.1f %9.1f %9.1f %9.1f %9.1f %9.1f%s\n", measured[k].name, measured[k].without, without, measured[k].library, library,
               measured[k].with, goodput_kept(i, rules, false, true), goodput_kept(i, NULL, true, false), near ? "" : "   FAR");
        far += !near;
        tt_incident_free(i);
    }
    tt_rules_free(rules);
    tt_pcre_matcher_free(matcher);
    assert_int_equal(far, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_model_does_what_the_mesh_did)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
