/* The model against the real mesh of scripts/run: the same five incidents, the share of what was wanted during the 45 s of the fault that was served
 * in time, without anything and with the library's inner loop alone. Measured figures: README.md. docs/model.md discusses the difference. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "rehearse.h"
#include "yaml.h"

enum { FAULT_AT = 60, FAULT_FOR = 45 };

/* goodput_kept, per cent: of scripts/run --incident NAME --compare --exit --json on two cores, seed 1; how far the model may be from it. */
static const struct {
    const char *name;
    double without, library, within_without, within_library;
} measured[] = {
    {"overload", 2.0, 73.6, 3, 4},       {"site-loss", 3.1, 74.5, 5, 4},       {"slow-dependency", 0.5, 52, 3, 8},
    {"bad-instance", 31.2, 87.3, 12, 5}, {"surge-and-retry", 1.5, 74.7, 3, 4},
};

static tt_incident *load(const char *name) {
    char path[512], text[8192];
    snprintf(path, sizeof path, "%s/%s.yaml", MESH_INCIDENTS, name);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t n = fread(text, 1, sizeof text, f), n_errs = 0;
    fclose(f);
    tt_arena *arena = tt_arena_new();
    tt_err err;
    const tt_doc *doc = tt_yaml_parse(arena, path, (tt_sv){text, n}, NULL, &err);
    assert_non_null(doc);
    tt_incident *i = tt_incident_load(doc, &err, 1, &n_errs);
    if (!i) fail_msg("%s:%u: %s", err.file, err.line, err.text);
    tt_arena_free(arena);
    return i;
}

static double goodput_kept(const tt_incident *i, tt_control control, bool inner_loop) {
    tt_rehearsal r;
    tt_err err;
    assert_true(tt_rehearse(&(tt_rehearsal_spec){.incident = i, .control = control, .seed = 1, .inner_loop = inner_loop}, &r, &err));
    double wanted = 0, good = 0;
    for (uint32_t k = FAULT_AT; k < FAULT_AT + FAULT_FOR && k < r.n_seconds; k++) wanted += r.second[k].wanted, good += r.second[k].good;
    tt_rehearsal_free(&r);
    return 100 * good / wanted;
}

static void the_model_does_what_the_mesh_did(void **state) {
    (void)state;
    int far = 0;
    printf("goodput_kept, %%            without            library alone      oracle\n                         measured   model   measured   model   "
           " model\n");
    for (size_t k = 0; k < sizeof measured / sizeof measured[0]; k++) {
        tt_incident *i = load(measured[k].name);
        double without = goodput_kept(i, TT_CONTROL_NOTHING, false), library = goodput_kept(i, TT_CONTROL_NOTHING, true),
               oracle = goodput_kept(i, TT_CONTROL_ORACLE, false);
        bool near =
            fabs(without - measured[k].without) <= measured[k].within_without && fabs(library - measured[k].library) <= measured[k].within_library;
        printf("%-22s %9.1f %9.1f %9.1f %9.1f %9.1f%s\n", measured[k].name, measured[k].without, without, measured[k].library, library, oracle,
               near ? "" : "   FAR");
        far += !near;
        tt_incident_free(i);
    }
    assert_int_equal(far, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_model_does_what_the_mesh_did)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
