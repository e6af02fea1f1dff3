#include "taped.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void keep_text(taped *t, const char *text) {
    t->text = (tt_rules_text){TT_SV("sim.yaml"), tt_arena_copy(t->arena, tt_sv_of(text))};
    t->rules = (tt_rules_texts){.n = 1, .at = &t->text};
}

static tt_wall wall_of(const world *w) {
    return w->obs.wall.ms ? w->obs.wall : (tt_wall){1790000000000};
}

static void begin_run(taped *t, const world *w, tt_sv saved) {
    tt_err err;
    t->opt.epoch = w->cfg.epoch;
    tt_recorder_free(t->recorder);
    t->recorder = tt_recorder_new(&t->opt, &err);
    t->broken = t->broken || !t->recorder;
    if (!t->recorder) return;
    t->runs++;
    const tt_record_base base = {
        .config = &w->cfg, .rules = &t->rules, .rules_hash = w->rules->hash, .saved = saved, .now = tt_model_now(w->model), .wall = wall_of(w)};
    tt_recorder_begin(t->recorder, &base);
}

static void opened(void *ctx, const world *w, const char *rules_text) {
    taped *t = ctx;
    keep_text(t, rules_text);
    begin_run(t, w, (tt_sv){NULL, 0});
}

static void restarted(void *ctx, const world *w, tt_sv saved) {
    begin_run(ctx, w, saved);
}

static void reloaded(void *ctx, const world *w, const char *rules_text) {
    taped *t = ctx;
    keep_text(t, rules_text);
    tt_recorder_rules(t->recorder, &t->rules, w->rules->hash);
}

/* As in app_record.c: a segment that is due begins before the tick it is the first for. */
static void next_segment(taped *t, const world *w) {
    tt_buf saved;
    tt_buf_init(&saved, 1 << 26);
    tt_engine_save(w->engine, w->obs.now, &saved);
    const tt_record_base base = {
        .config = &w->cfg, .rules = &t->rules, .rules_hash = w->rules->hash, .saved = {saved.p, saved.n}, .now = w->obs.now, .wall = w->obs.wall};
    tt_recorder_begin(t->recorder, &base);
    tt_buf_free(&saved);
}

static void ticked(void *ctx, const world *w) {
    taped *t = ctx;
    t->ticks++;
    tt_recorder_tick(t->recorder, &w->obs, &w->out);
    if (tt_recorder_wants_segment(t->recorder, w->obs.now)) next_segment(t, w);
}

void taped_init(taped *t, const char *dir) {
    *t = (taped){.opt = {.dir = dir, .max_bytes = 1 << 30, .version = "test", .build = "test"}, .arena = tt_arena_new()};
    t->watch = (world_watch){t, opened, ticked, reloaded, restarted};
}

void taped_free(taped *t) {
    tt_recorder_free(t->recorder);
    tt_arena_free(t->arena);
    t->recorder = NULL;
    t->arena = NULL;
}

/* ---- files ---- */

void temporary_directory(char path[256]) {
    snprintf(path, 256, "%s/trimtab-record-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    if (!mkdtemp(path)) abort();
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

size_t list_files(const char *dir, char *names[], size_t max) {
    size_t n = 0;
    DIR *d = opendir(dir);
    for (const struct dirent *e; d && (e = readdir(d));)
        if (e->d_name[0] != '.' && n < max && asprintf(&names[n], "%s/%s", dir, e->d_name) > 0) n++;
    if (d) closedir(d);
    qsort(names, n, sizeof *names, by_name);
    return n;
}

void remove_directory(const char *path) {
    char *names[4096];
    size_t n = list_files(path, names, 4096);
    for (size_t i = 0; i < n; i++) {
        unlink(names[i]);
        free(names[i]);
    }
    rmdir(path);
}

char *read_file(const char *path, size_t *ret_n) {
    FILE *f = fopen(path, "rb");
    if (!f) return NULL;
    fseek(f, 0, SEEK_END);
    *ret_n = (size_t)ftell(f);
    rewind(f);
    char *p = malloc(*ret_n + 1);
    if (p && fread(p, 1, *ret_n, f) != *ret_n) {
        free(p);
        p = NULL;
    }
    fclose(f);
    return p;
}

void write_file(const char *path, const void *p, size_t n) {
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(p, 1, n, f) != n) abort();
    fclose(f);
}
