#include "world.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pcre.h"
#include "yaml.h"

static const int64_t wall_start_ms = 1790000000000;
/* Monotonic time starts anywhere but at zero. */
static const tt_time boot = {TT_SECONDS(5000)};

static tt_rules *load_rules(const tt_matcher *matcher, const char *text) {
    tt_arena *arena = tt_arena_new();
    tt_err err;
    const tt_doc *doc = tt_yaml_parse(arena, "sim.yaml", tt_sv_of(text), NULL, &err);
    if (!doc) {
        char line[1024];
        tt_err_print(&err, line, sizeof line);
        fprintf(stderr, "%s\n%s\n", line, text);
        tt_arena_free(arena);
        return NULL;
    }
    tt_err errs[8];
    size_t n_errs = 0;
    tt_rules *r = tt_rules_load(&doc, 1, matcher, errs, TT_COUNT(errs), &n_errs);
    for (size_t i = 0; !r && i < n_errs; i++) {
        char line[1024];
        tt_err_print(&errs[i], line, sizeof line);
        fprintf(stderr, "%s\n", line);
    }
    if (!r) fprintf(stderr, "%s\n", text);
    tt_arena_free(arena);
    return r;
}

bool world_open(world *w, const tt_model_spec *spec, const char *rules_text, uint64_t seed, int64_t tick_ns) {
    memset(w, 0, sizeof *w);
    w->spec = *spec;
    w->tick_ns = tick_ns;
    w->hash = w->hash_without_stamps = 14695981039346656037u;
    w->matcher = tt_pcre_matcher_new();
    w->rules = w->matcher ? load_rules(w->matcher, rules_text) : NULL;
    if (!w->rules) {
        world_close(w);
        return false;
    }
    tt_engine_config_default(&w->cfg);
    w->cfg.max_series = 4096;
    w->cfg.max_loops = 48;
    w->cfg.max_closed = 64;
    w->cfg.apply_ns = spec->apply_ns;
    w->cfg.ingest_ns = spec->ingest_ns;
    w->engine = tt_engine_new(w->rules, &w->cfg);
    w->model = tt_model_new(spec, seed, boot);
    if (w->engine && w->model) return true;
    world_close(w);
    return false;
}

void world_close(world *w) {
    tt_engine_free(w->engine);
    tt_model_free(w->model);
    tt_rules_free(w->rules);
    if (w->matcher) tt_pcre_matcher_free(w->matcher);
    w->engine = NULL;
    w->model = NULL;
    w->rules = NULL;
    w->matcher = NULL;
}

void world_watched(world *w, const world_watch *watch, const char *rules_text) {
    w->watch = watch;
    if (watch) watch->opened(watch->ctx, w, rules_text);
}

int64_t world_elapsed(const world *w) {
    return tt_since(tt_model_now(w->model), boot);
}

/* ---- what was said, hashed ---- */

static void mix(uint64_t *h, const void *p, size_t n) {
    const unsigned char *b = p;
    for (size_t i = 0; i < n; i++) *h = (*h ^ b[i]) * 1099511628211u;
}

/* A loop's id begins with the wall clock. */
static void unstamp(char id[TT_ULID_SIZE]) {
    if (id[0]) memset(id, '0', 10);
}

static void hash_decision(uint64_t *h, const tt_decision *d) {
    tt_buf b;
    tt_buf_init(&b, 1 << 16);
    tt_decision_json(d, &b);
    mix(h, b.p, b.n);
    tt_buf_free(&b);
}

static void hash_event(uint64_t *h, const tt_event *ev) {
    mix(h, ev->kind, strlen(ev->kind));
    mix(h, &ev->at, sizeof ev->at);
    mix(h, ev->loop, strlen(ev->loop));
    mix(h, ev->plan, strlen(ev->plan));
    mix(h, ev->target.service, strlen(ev->target.service));
    mix(h, ev->target.dc, strlen(ev->target.dc));
    mix(h, ev->target.instance, strlen(ev->target.instance));
    mix(h, ev->action, strlen(ev->action));
    double values[2] = {isnan(ev->from) ? -1 : ev->from, isnan(ev->to) ? -1 : ev->to};
    mix(h, values, sizeof values);
    mix(h, ev->reason, strlen(ev->reason));
    mix(h, ev->detail, strlen(ev->detail));
}

static void say(const world *w, const tt_event *ev) {
    printf("%7.1f  %-16s %s%s%s%s%s %s ", (double)world_elapsed(w) / 1e9, ev->kind, ev->target.service, ev->target.dc[0] ? "/" : "", ev->target.dc,
           ev->target.instance[0] ? "/" : "", ev->target.instance, ev->action);
    if (ev->action[0]) printf("%.4g -> %.4g ", ev->from, ev->to);
    printf("%s\n", ev->reason);
}

static void hear(world *w) {
    for (size_t i = 0; i < w->out.n_decisions; i++) {
        tt_decision d = w->out.decisions[i];
        hash_decision(&w->hash, &d);
        for (uint32_t k = 0; k < d.n_loops; k++) unstamp(d.loops[k]);
        hash_decision(&w->hash_without_stamps, &d);
    }
    for (size_t i = 0; i < w->out.n_events; i++) {
        tt_event ev = w->out.events[i];
        hash_event(&w->hash, &ev);
        if (w->verbose) say(w, &ev);
        bool of_test = strcmp(ev.plan, "load-test") == 0;
        if (strcmp(ev.kind, "action") == 0) *(of_test ? &w->n_test_moves : &w->n_actions) += 1;
        if (strcmp(ev.kind, "load_test") == 0 && strcmp(ev.loop, w->test) == 0) w->test_on = !strstr(ev.detail, "\"phase\":\"over\"");
        if (strcmp(ev.kind, "frozen") == 0) w->frozen = true;
        if (strcmp(ev.kind, "unfrozen") == 0) w->frozen = false;
        if (strcmp(ev.kind, "loop_opened") == 0 && w->n_loops < WORLD_LOOPS) {
            world_loop *l = &w->loops[w->n_loops++];
            memset(l, 0, sizeof *l);
            memcpy(l->id, ev.loop, sizeof l->id);
            memcpy(l->plan, ev.plan, sizeof l->plan);
            l->target = ev.target;
        }
        for (size_t k = 0; strcmp(ev.kind, "page") == 0 && k < w->n_loops; k++)
            if (strcmp(w->loops[k].id, ev.loop) == 0) w->loops[k].paged = true;
        if (strcmp(ev.kind, "loop_closed") == 0)
            for (size_t k = 0; k < w->n_loops; k++)
                if (strcmp(w->loops[k].id, ev.loop) == 0) w->loops[k] = w->loops[--w->n_loops];
        unstamp(ev.loop);
        ev.at.ms = 0;
        if (strcmp(ev.kind, "command") == 0 && !ev.loop[0]) ev.reason[0] = 0; /* names an id that nobody knows */
        hash_event(&w->hash_without_stamps, &ev);
    }
}

/* ---- running ---- */

void world_tick(world *w) {
    for (int64_t t = 0; t < w->tick_ns; t += TT_MODEL_STEP_NS) {
        tt_model_step(w->model);
        const tt_model_truth *truth = tt_model_truth_of(w->model);
        for (uint32_t p = 0; p < w->spec.n_priorities; p++) {
            w->good += truth->good_rps[p] * (double)TT_MODEL_STEP_NS / 1e9;
            w->wanted += truth->wanted_rps[p] * (double)TT_MODEL_STEP_NS / 1e9;
        }
    }
    tt_model_observe(w->model, w->rules, &w->obs);
    w->obs.wall.ms = wall_start_ms + world_elapsed(w) / 1000000 + w->wall_offset_ms;
    w->obs.n_commands = w->n_commands;
    w->obs.commands = w->commands;
    w->obs.n_alerts = w->n_alerts;
    w->obs.alerts = w->alerts;
    tt_engine_tick(w->engine, &w->obs, &w->out);
    w->n_ticks++;
    if (w->watch) w->watch->ticked(w->watch->ctx, w);
    w->n_commands = w->n_alerts = 0;
    hear(w);
    tt_model_take(w->model, w->cfg.epoch, w->out.decisions, w->out.n_decisions);
}

void world_run(world *w, int64_t ns) {
    for (int64_t end = world_elapsed(w) + ns; world_elapsed(w) < end;) world_tick(w);
}

bool world_reload(world *w, const char *rules_text) {
    tt_rules *r = load_rules(w->matcher, rules_text);
    if (!r) return false;
    tt_engine_set_rules(w->engine, r);
    tt_rules_free(w->rules);
    w->rules = r;
    w->n_reloads++;
    if (w->watch) w->watch->reloaded(w->watch->ctx, w, rules_text);
    return true;
}

bool world_restart(world *w) {
    tt_buf saved;
    tt_buf_init(&saved, 1 << 24);
    tt_engine_save(w->engine, tt_model_now(w->model), &saved);
    tt_arena *arena = tt_arena_new();
    tt_err err = {0};
    const tt_doc *doc = tt_yaml_parse(arena, "state.json", (tt_sv){saved.p, saved.n}, &tt_yaml_state_limits, &err);
    w->cfg.epoch++;
    tt_engine *next = doc ? tt_engine_new(w->rules, &w->cfg) : NULL;
    bool ok = next && tt_engine_restore(next, doc, tt_model_now(w->model), &err);
    if (ok) {
        tt_engine_free(w->engine);
        w->engine = next;
        w->n_restarts++;
        if (w->watch) w->watch->restarted(w->watch->ctx, w, (tt_sv){saved.p, saved.n});
    } else {
        char line[1024];
        tt_err_print(&err, line, sizeof line);
        fprintf(stderr, "the state can't be restored: %s\n%.*s\n", line, (int)saved.n, saved.p);
        tt_engine_free(next);
    }
    tt_arena_free(arena);
    tt_buf_free(&saved);
    return ok;
}

void world_command(world *w, tt_command_kind kind, const char *loop_id) {
    if (w->n_commands == WORLD_COMMANDS) return;
    tt_command *c = &w->commands[w->n_commands++];
    *c = (tt_command){.kind = kind, .actor = TT_SV("op"), .reason = TT_SV("simulation")};
    if (loop_id) memcpy(c->loop, loop_id, sizeof c->loop);
    if (kind == TT_CMD_ABORT)
        for (size_t i = 0; i < w->n_loops; i++)
            if (strcmp(w->loops[i].id, c->loop) == 0) w->loops[i].aborted = true;
}

void world_load_test(world *w, const tt_load_test_spec *spec) {
    if (w->n_commands == WORLD_COMMANDS) return;
    snprintf(w->test, sizeof w->test, "01J9ZC8Q6W0000000000%06llu", (unsigned long long)++w->n_tests % 1000000);
    tt_command *c = &w->commands[w->n_commands++];
    *c = (tt_command){.kind = TT_CMD_LOAD_TEST, .actor = TT_SV("op"), .reason = TT_SV("simulation"), .test = *spec};
    memcpy(c->loop, w->test, sizeof c->loop);
}

bool world_anything_in_force(world *w) {
    const tt_decision *d;
    size_t n = tt_engine_decisions(w->engine, &d);
    for (size_t i = 0; i < n; i++)
        if (d[i].n_actions && !d[i].armed) return true;
    return false;
}

double world_doing_nothing(const tt_model_spec *spec, uint64_t seed, int64_t from_ns, int64_t to_ns) {
    tt_model *m = tt_model_new(spec, seed, boot);
    double good = 0;
    for (int64_t t = 0; m && t < to_ns; t += TT_MODEL_STEP_NS) {
        tt_model_step(m);
        for (uint32_t p = 0; t >= from_ns && p < spec->n_priorities; p++) good += tt_model_truth_of(m)->good_rps[p] * (double)TT_MODEL_STEP_NS / 1e9;
    }
    tt_model_free(m);
    return good;
}
