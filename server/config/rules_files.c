#include "rules_files.h"

#include "yaml.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct {
    const tt_matcher *matcher;
    tt_err *errs;
    size_t max, n;
    bool failed;
    tt_arena *arena;
    const tt_doc **docs; /* room for TT_RULES_FILES_MAX */
    size_t n_docs, n_files;
    tt_rules_texts *kept; /* NULL: not wanted */
    tt_rules_text *texts;
} reader;

static void report(reader *r, const tt_err *err) {
    r->failed = true;
    if (r->n < r->max) r->errs[r->n++] = *err;
}

static void report_io(reader *r, tt_code code, const char *path, const char *fmt, ...) TT_PRINTF(4, 5);
static void report_io(reader *r, tt_code code, const char *path, const char *fmt, ...) {
    tt_err err = {0};
    char text[sizeof(err.text)];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    tt_fail(&err, code, "%s", text);
    snprintf(err.file, sizeof(err.file), "%s", path);
    report(r, &err);
}

static bool is_yaml(const char *name) {
    size_t n = strlen(name);
    return name[0] != '.' && n > 5 && strcmp(name + n - 5, ".yaml") == 0;
}

/* The whole of an open file, at most one byte over the limit so that "too long" is told by the parser. NULL on failure, errno set. */
static char *read_all(int fd, size_t max, size_t *ret_n) {
    size_t cap = 16384, n = 0;
    char *p = malloc(cap);
    while (p) {
        if (n == cap) {
            char *more = realloc(p, cap * 2);
            if (!more) break;
            p = more;
            cap *= 2;
        }
        size_t want = cap - n < max + 1 - n ? cap - n : max + 1 - n;
        ssize_t got = want ? read(fd, p + n, want) : 0;
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) break;
        if (got == 0) {
            *ret_n = n;
            return p;
        }
        n += (size_t)got;
    }
    free(p);
    return NULL;
}

static void take_text(reader *r, const char *path, tt_sv text) {
    tt_err err = {0};
    const tt_doc *doc = tt_yaml_parse(r->arena, path, text, &tt_yaml_plan_limits, &err);
    if (doc)
        r->docs[r->n_docs++] = doc;
    else
        report(r, &err);
    if (!r->kept) return;
    tt_rules_text *copy = &r->texts[r->kept->n++];
    *copy = (tt_rules_text){tt_arena_copy(r->kept->arena, tt_sv_of(path)), tt_arena_copy(r->kept->arena, text)};
    if (!copy->path.p || !copy->text.p) report_io(r, TT_ENOMEM, path, "memory is out");
}

static void read_file(reader *r, const char *path) {
    if (r->n_files == TT_RULES_FILES_MAX) {
        report_io(r, TT_ELIMIT, path, "more than %d files of rules: put some together", TT_RULES_FILES_MAX);
        return;
    }
    r->n_files++;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe must not make us wait */
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0) {
        report_io(r, TT_EIO, path, "can't be read: %s", strerror(errno));
        if (fd >= 0) close(fd);
        return;
    }
    if (!S_ISREG(st.st_mode)) {
        report_io(r, TT_EIO, path, "is neither a file nor a directory");
        close(fd);
        return;
    }
    size_t n = 0;
    char *text = read_all(fd, tt_yaml_plan_limits.max_bytes, &n);
    int why = errno;
    close(fd);
    if (!text) {
        report_io(r, TT_EIO, path, "can't be read: %s", strerror(why));
        return;
    }
    take_text(r, path, (tt_sv){text, n});
    free(text);
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void read_directory(reader *r, const char *path) {
    DIR *d = opendir(path);
    if (!d) {
        report_io(r, TT_EIO, path, "can't be listed: %s", strerror(errno));
        return;
    }
    char *names[TT_RULES_FILES_MAX];
    size_t n = 0, left_out = 0;
    for (const struct dirent *e; (e = readdir(d));) {
        if (!is_yaml(e->d_name)) continue;
        char *name;
        if (n == TT_RULES_FILES_MAX || asprintf(&name, "%s%s%s", path, path[strlen(path) - 1] == '/' ? "" : "/", e->d_name) < 0)
            left_out++;
        else
            names[n++] = name;
    }
    closedir(d);
    if (left_out) report_io(r, TT_ELIMIT, path, "holds more than %d *.yaml: put some together", TT_RULES_FILES_MAX);
    if (!n) report_io(r, TT_EMISSING, path, "holds no *.yaml");
    qsort(names, n, sizeof(names[0]), by_name);
    for (size_t i = 0; i < n; i++) {
        read_file(r, names[i]);
        free(names[i]);
    }
}

static void read_path(reader *r, const char *path) {
    struct stat st;
    if (!path[0] || stat(path, &st) != 0)
        report_io(r, TT_EIO, path, "can't be read: %s", path[0] ? strerror(errno) : "the path is empty");
    else if (S_ISDIR(st.st_mode))
        read_directory(r, path);
    else
        read_file(r, path);
}

bool tt_rules_documents(const char *const paths[], size_t n, tt_arena *arena, const tt_doc *docs[TT_RULES_FILES_MAX], size_t *n_docs, tt_err errs[],
                        size_t max, size_t *n_errs) {
    reader r = {.errs = errs, .max = max, .arena = arena, .docs = docs};
    for (size_t i = 0; i < n; i++) read_path(&r, paths[i]);
    *n_docs = r.n_docs;
    *n_errs = r.n;
    return !r.failed;
}

static tt_rules *load(reader *r, size_t *n_errs) {
    tt_rules *rules = NULL;
    if (r->failed)
        *n_errs = r->n;
    else
        rules = tt_rules_load(r->docs, r->n_docs, r->matcher, r->errs, r->max, n_errs);
    tt_arena_free(r->arena);
    return rules;
}

tt_rules *tt_rules_read_keep(const char *const paths[], size_t n, const tt_matcher *matcher, tt_rules_texts *ret, tt_err errs[], size_t max,
                             size_t *n_errs) {
    const tt_doc *docs[TT_RULES_FILES_MAX];
    reader r = {.matcher = matcher, .errs = errs, .max = max, .arena = tt_arena_new(), .docs = docs, .kept = ret};
    *n_errs = 0;
    if (ret) {
        *ret = (tt_rules_texts){.arena = tt_arena_new()};
        if (ret->arena) ret->at = r.texts = tt_arena_array(ret->arena, TT_RULES_FILES_MAX, sizeof *r.texts);
    }
    if (!r.arena || (ret && !r.texts))
        report_io(&r, TT_ENOMEM, "", "memory is out");
    else
        for (size_t i = 0; i < n; i++) read_path(&r, paths[i]);
    return load(&r, n_errs);
}

tt_rules *tt_rules_read(const char *const paths[], size_t n, const tt_matcher *matcher, tt_err errs[], size_t max, size_t *n_errs) {
    return tt_rules_read_keep(paths, n, matcher, NULL, errs, max, n_errs);
}

tt_rules *tt_rules_of_texts(const tt_rules_texts *texts, const tt_matcher *matcher, tt_err errs[], size_t max, size_t *n_errs) {
    const tt_doc *docs[TT_RULES_FILES_MAX];
    reader r = {.matcher = matcher, .errs = errs, .max = max, .arena = tt_arena_new(), .docs = docs};
    char path[4096];
    *n_errs = 0;
    if (!r.arena) report_io(&r, TT_ENOMEM, "", "memory is out");
    for (size_t i = 0; r.arena && i < texts->n; i++) {
        snprintf(path, sizeof path, TT_SV_FMT, TT_SV_ARG(texts->at[i].path));
        if (r.n_docs == TT_RULES_FILES_MAX) {
            report_io(&r, TT_ELIMIT, path, "more than %d files of rules: put some together", TT_RULES_FILES_MAX);
            break;
        }
        take_text(&r, path, texts->at[i].text);
    }
    return load(&r, n_errs);
}

void tt_rules_texts_free(tt_rules_texts *t) {
    tt_arena_free(t->arena);
    *t = (tt_rules_texts){0};
}
