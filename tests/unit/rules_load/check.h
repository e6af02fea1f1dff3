/* One thing is changed in a good document, and exactly the problems named must be told, where the @ stand. */
#ifndef RULES_LOAD_CHECK_H
#define RULES_LOAD_CHECK_H

#include "load.h"

static inline char *replaced(const char *text, const char *find, const char *with) {
    const char *at = strstr(text, find);
    if (!at) ROW_FAIL(find, "is not in the document");
    char *out = calloc(1, strlen(text) + strlen(with) + 1);
    memcpy(out, text, (size_t)(at - text));
    strcat(out, with);
    strcat(out, at + strlen(find));
    return out;
}

enum { EXPECTED_MAX = 8 };

/* Takes the @ out and says where they stood. */
static inline size_t take_marks(char *text, uint32_t line[EXPECTED_MAX], uint32_t column[EXPECTED_MAX]) {
    size_t n = 0;
    uint32_t l = 1, c = 1;
    char *to = text;
    for (const char *p = text; *p; p++) {
        if (*p == '@' && n < EXPECTED_MAX) {
            line[n] = l;
            column[n++] = c;
            continue;
        }
        c++;
        if (*p == '\n') {
            l++;
            c = 1;
        }
        *to++ = *p;
    }
    *to = '\0';
    return n;
}

static inline void expect(const char *row, const char *marked, const char *says) {
    uint32_t line[EXPECTED_MAX], column[EXPECTED_MAX];
    char *text = strdup(marked);
    size_t n = take_marks(text, line, column);
    loaded l;
    load_text(&l, text);
    bool good = (l.rules == NULL) == (n > 0) && l.n_errs == n;
    char want[200];
    for (size_t i = 0; good && i < n; i++) {
        size_t len = strcspn(says, "|");
        snprintf(want, sizeof(want), "%.*s", (int)len, says);
        says += len + (says[len] == '|');
        good = l.errs[i].line == line[i] && l.errs[i].column == column[i] && strstr(l.errs[i].text, want) && strcmp(l.errs[i].file, "a.yaml") == 0;
        if (!good) print_error("problem %zu should be at %u:%u and say \"%s\"\n", i + 1, line[i], column[i], want);
    }
    if (!good) {
        print_errs(&l);
        ROW_FAIL(row, "%zu problems, %zu expected", l.n_errs, n);
    }
    unload(&l);
    free(text);
}

typedef struct {
    const char *find, *with, *says;
} row;

static inline void run(const row *rows, size_t n) {
    for (size_t i = 0; i < n; i++) {
        char *text = replaced(good_text, rows[i].find, rows[i].with);
        expect(rows[i].with, text, rows[i].says);
        free(text);
    }
}

#endif
