/* Documents from texts and files, for the tests of the mesh model. */
#ifndef TEST_MODEL_COMMON_H
#define TEST_MODEL_COMMON_H

#include <dirent.h>
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

enum { ERRS_MAX = 16 };

static inline tt_incident *incident_of(const char *file, const char *text, tt_err errs[ERRS_MAX], size_t *n_errs) {
    tt_arena *arena = tt_arena_new();
    const tt_doc *doc = tt_yaml_parse(arena, file, tt_sv_of(text), NULL, &errs[0]);
    tt_incident *i = NULL;
    *n_errs = 1;
    if (doc) i = tt_incident_load(doc, errs, ERRS_MAX, n_errs);
    tt_arena_free(arena);
    return i;
}

static inline tt_incident *incident_or_fail(const char *file, const char *text) {
    tt_err errs[ERRS_MAX];
    size_t n;
    tt_incident *i = incident_of(file, text, errs, &n);
    if (!i) fail_msg("%s:%u:%u: %s", errs[0].file, errs[0].line, errs[0].column, errs[0].text);
    return i;
}

static inline char *slurp(const char *path) {
    FILE *f = fopen(path, "rb");
    if (!f) fail_msg("%s can't be read", path);
    char *text = malloc(1 << 16);
    size_t n = fread(text, 1, (1 << 16) - 1, f);
    text[n] = 0;
    fclose(f);
    return text;
}

/* The documents of the suite, by name. */
static inline size_t suite_incidents(tt_incident *ret[], size_t max) {
    DIR *d = opendir(SOURCE_DIR "/rules/incidents");
    size_t n = 0;
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d)) && n < max;) {
        const char *dot = strrchr(e->d_name, '.');
        char path[512];
        if (!dot || strcmp(dot, ".yaml") != 0) continue;
        snprintf(path, sizeof path, SOURCE_DIR "/rules/incidents/%s", e->d_name);
        char *text = slurp(path);
        ret[n] = incident_or_fail(path, text);
        if (strncmp(tt_incident_name(ret[n]), e->d_name, (size_t)(dot - e->d_name)) != 0)
            fail_msg("%s calls itself %s", path, tt_incident_name(ret[n]));
        n++;
        free(text);
    }
    closedir(d);
    return n;
}

#endif
