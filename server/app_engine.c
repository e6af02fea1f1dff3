/* Everything that changes the engine, recorded as it is given: a call that went round this file would be missing from every replay. */
#include <stdlib.h>
#include <string.h>

#include "app_internal.h"
#include "config/yaml.h"

enum { STATE_MAX = 256 << 20 };

static bool make_recorder(tt_app *app, tt_err *err) {
    const tt_serve_options *o = app->opt;
    if (!o->record_dir) return true;
    char build[TT_RECORD_BUILD_SIZE];
    tt_record_build_id(build);
    const tt_recorder_options opt = {.dir = o->record_dir,
                                     .max_bytes = o->record_max_bytes,
                                     .keep_ns = o->record_keep_ns,
                                     .version = TRIMTAB_VERSION,
                                     .build = build,
                                     .epoch = app->epoch};
    app->recorder = tt_recorder_new(&opt, err);
    if (app->recorder || o->record_must) return app->recorder != NULL;
    tt_log_line(&app->log, TT_WARN, "not_recording", TT_KV("error", err->text), TT_KV_END);
    return true;
}

bool app_engine_new(tt_app *app, tt_err *err) {
    tt_engine_config_default(&app->config);
    app->config.epoch = app->epoch;
    if (!make_recorder(app, err)) return false;
    app->engine = tt_engine_new(app->rules, &app->config);
    return app->engine || tt_fail(err, TT_ENOMEM, "out of memory making the engine");
}

static bool restore(tt_app *app, tt_sv json, tt_time now, tt_err *err) {
    tt_arena *arena = tt_arena_new();
    if (!arena) return tt_fail(err, TT_ENOMEM, "out of memory");
    const tt_doc *doc = tt_yaml_parse(arena, "saved state", json, &tt_yaml_state_limits, err);
    bool ok = doc && tt_engine_restore(app->engine, doc, now, err);
    tt_arena_free(arena);
    return ok;
}

static tt_record_base base_of(const tt_app *app, tt_time now, tt_wall wall) {
    return (tt_record_base){.config = &app->config, .rules = &app->texts, .rules_hash = app->rules->hash, .now = now, .wall = wall};
}

bool app_engine_begin(tt_app *app, tt_sv saved, tt_err *err) {
    tt_time now = tt_clock_now();
    bool ok = saved.n == 0 || restore(app, saved, now, err);
    if (app->recorder) {
        tt_record_base base = base_of(app, now, tt_clock_wall());
        if (ok) base.saved = saved;
        tt_recorder_begin(app->recorder, &base);
    }
    return ok;
}

/* Between two ticks: what the next segment has to begin with. */
static void next_segment(tt_app *app, tt_time now, tt_wall wall) {
    tt_buf saved;
    tt_buf_init(&saved, STATE_MAX);
    tt_engine_save(app->engine, now, &saved);
    tt_record_base base = base_of(app, now, wall);
    if (!saved.failed) base.saved = (tt_sv){saved.p, saved.n};
    tt_recorder_begin(app->recorder, &base);
    tt_buf_free(&saved);
}

void app_engine_set_rules(tt_app *app, tt_rules *rules, tt_rules_texts *texts) {
    tt_engine_set_rules(app->engine, rules);
    app->rules = rules;
    tt_rules_texts_free(&app->texts);
    app->texts = *texts;
    *texts = (tt_rules_texts){0};
    if (app->recorder) tt_recorder_rules(app->recorder, &app->texts, rules->hash);
}

void app_engine_set_timing(tt_app *app, int64_t scrape_ns, int64_t ingest_ns, int64_t apply_ns) {
    tt_engine_set_timing(app->engine, scrape_ns, ingest_ns, apply_ns);
    if (scrape_ns > 0) app->config.scrape_ns = scrape_ns;
    if (ingest_ns > 0) app->config.ingest_ns = ingest_ns;
    if (apply_ns > 0) app->config.apply_ns = apply_ns;
    if (app->recorder) tt_recorder_timing(app->recorder, scrape_ns, ingest_ns, apply_ns);
}

void app_engine_tick(tt_app *app, const tt_observations *obs, tt_outcome *ret) {
    if (app->recorder && tt_recorder_wants_segment(app->recorder, obs->now)) next_segment(app, obs->now, obs->wall);
    tt_engine_tick(app->engine, obs, ret);
    if (app->recorder) tt_recorder_tick(app->recorder, obs, ret);
}

void app_engine_committed(tt_app *app, uint64_t first_seq, size_t n) {
    uint64_t seq;
    uint8_t hash[TT_STORE_HASH_SIZE];
    if (!app->recorder || !n) return;
    tt_store_chain_end(app->store, &seq, hash);
    tt_recorder_commit(app->recorder, first_seq, n, hash);
}

void app_engine_watch_recording(tt_app *app) {
    if (!app->recorder) return;
    tt_recorder_status st;
    tt_recorder_status_of(app->recorder, &st);
    bool stopped = !st.on && *st.error;
    if (stopped == app->recording_told) return;
    app->recording_told = stopped;
    if (stopped) {
        tt_log_line(&app->log, TT_WARN, "recording_stopped", TT_KV("error", st.error),
                    TT_KV("effect", "nothing else changes; tried again each half minute"), TT_KV_END);
        app_note(app, "recording_stopped", NULL, "the recording stopped: %.400s", st.error);
    } else {
        app_note(app, "recording_resumed", NULL, "the recording goes on in %.200s: %llu ticks are missing from it", st.file,
                 (unsigned long long)st.missed);
    }
}
