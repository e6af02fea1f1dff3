/* What the app shows: status, readiness, metrics, the dashboard's line. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app_internal.h"

enum { LINE_LOOPS_MAX = 200, TEXT_MAX = 1 << 20, LINE_MAX_BYTES = 4 << 20 };
static const int64_t line_apart_ns = TT_MS(200), closed_shown_ns = TT_SECONDS(60);

static void put_rules(const tt_app *app, tt_buf *b) {
    tt_buf_put(b, TT_SV(",\"rules\":{\"files\":["));
    for (size_t i = 0; i < app->opt->n_rules; i++) {
        if (i) tt_buf_put(b, TT_SV(","));
        tt_buf_json_string(b, tt_sv_of(app->opt->rules[i]));
    }
    tt_buf_printf(b, "],\"plans\":%zu,\"loaded_ms\":%lld,\"hash\":\"%08x\"", app->rules->n_plans, (long long)app->shown.rules_loaded.ms,
                  app->rules->hash);
    tt_buf_member_or_null(b, "error", app->shown.rules_error);
    tt_buf_put(b, TT_SV("}"));
}

static void put_sources(const app_shown *s, tt_buf *b) {
    tt_buf_put(b, TT_SV(",\"sources\":["));
    if (s->has_source) {
        tt_buf_put(b, TT_SV("{\"name\":"));
        tt_buf_json_string(b, tt_sv_of(s->source.name));
        tt_buf_member_or_null(b, "url", s->source.url);
        tt_buf_member_or_null(b, "state", tt_source_state_name(s->source.state));
        tt_buf_printf(b, ",\"last_ok_ms\":");
        if (s->source.last_ok_ms)
            tt_buf_printf(b, "%lld", (long long)s->source.last_ok_ms);
        else
            tt_buf_put(b, TT_SV("null"));
        tt_buf_member_or_null(b, "error", s->source.error);
        tt_buf_put(b, TT_SV("}"));
    }
    tt_buf_put(b, TT_SV("]"));
}

static void put_recording(const tt_app *app, tt_buf *b) {
    tt_recorder_status st = {0};
    if (app->recorder) tt_recorder_status_of(app->recorder, &st);
    tt_buf_printf(b, ",\"recording\":{\"state\":\"%s\"", !app->recorder ? "off" : st.on ? "ok" : *st.error ? "stopped" : "starting");
    tt_buf_member_or_null(b, "file", st.file);
    tt_buf_printf(b, ",\"kept_bytes\":%llu,\"missed_ticks\":%llu,\"since_ms\":", (unsigned long long)st.kept, (unsigned long long)st.missed);
    if (st.since_ms)
        tt_buf_printf(b, "%lld", (long long)st.since_ms);
    else
        tt_buf_put(b, TT_SV("null"));
    tt_buf_member_or_null(b, "error", st.error);
    tt_buf_put(b, TT_SV("}"));
}

/* With the lock held. `connected` and `behind` come from the board, which has its own. */
static void put_status(const tt_app *app, uint32_t connected, uint32_t behind, tt_buf *b) {
    const app_shown *s = &app->shown;
    tt_buf_printf(b, "{\"now_ms\":%lld,\"started_ms\":%lld,\"version\":\"%s\",\"epoch\":%llu", (long long)tt_clock_wall().ms,
                  (long long)s->started.ms, TRIMTAB_VERSION, (unsigned long long)app->epoch);
    tt_buf_member_number(b, "tick_ms", s->tick_ms);
    put_rules(app, b);
    put_sources(s, b);
    tt_buf_printf(b, ",\"store\":{\"kind\":\"%s\",\"state\":\"%s\"", tt_store_kind(app->store), *s->store_error ? "down" : "ok");
    tt_buf_member_or_null(b, "error", s->store_error);
    tt_buf_put(b, TT_SV("}"));
    put_recording(app, b);
    tt_buf_printf(b, ",\"agents\":{\"connected\":%u,\"behind\":%u},", connected, behind);
    /* The engine's own account is an object: its members go in here. */
    tt_buf summary;
    tt_buf_init(&summary, TEXT_MAX);
    tt_engine_summary_json(app->engine, &summary);
    tt_buf_put(b, summary.n ? (tt_sv){summary.p + 1, summary.n - 1} : TT_SV("\"loops\":null}"));
    tt_buf_free(&summary);
}

void tt_app_status_json(tt_app *app, tt_buf *out) {
    uint32_t connected, behind;
    tt_board_counts(app->board, tt_clock_now(), &connected, &behind);
    pthread_mutex_lock(&app->lock);
    put_status(app, connected, behind, out);
    pthread_mutex_unlock(&app->lock);
}

void app_show_source(tt_app *app) {
    if (!app->source) return;
    tt_source_status st;
    tt_source_status_of(app->source, &st);
    pthread_mutex_lock(&app->lock);
    app->shown.source = st;
    app->shown.has_source = true;
    pthread_mutex_unlock(&app->lock);
}

bool tt_app_ready(tt_app *app, tt_err *err) {
    char why[sizeof app->shown.store_error];
    pthread_mutex_lock(&app->lock);
    bool told = app->shown.told;
    snprintf(why, sizeof why, "%s", app->shown.store_error);
    pthread_mutex_unlock(&app->lock);
    if (*why) return tt_fail(err, TT_EIO, "the store cannot be written: %.400s", why);
    if (!told) return tt_fail(err, TT_ESTATE, "trimtab is starting");
    tt_err store_err;
    if (tt_store_check(app->store, &store_err)) return true;
    return tt_fail(err, TT_EIO, "the store cannot be written: %.400s", store_err.text);
}

/* ---- metrics ---- */

static void family(tt_buf *b, const char *name, const char *type, const char *help) {
    tt_buf_printf(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void counter(tt_buf *b, const char *name, const char *help, uint64_t v) {
    family(b, name, "counter", help);
    tt_buf_printf(b, "%s %llu\n", name, (unsigned long long)v);
}

static void gauge(tt_buf *b, const char *name, const char *help, double v) {
    family(b, name, "gauge", help);
    tt_buf_printf(b, "%s ", name);
    tt_buf_number(b, v);
    tt_buf_put(b, TT_SV("\n"));
}

static void spent(tt_buf *b, const char *name, const char *help, double seconds, uint64_t n) {
    family(b, name, "summary", help);
    tt_buf_printf(b, "%s_sum ", name);
    tt_buf_number(b, seconds);
    tt_buf_printf(b, "\n%s_count %llu\n", name, (unsigned long long)n);
}

static double resident_bytes(void) {
    FILE *f = fopen("/proc/self/statm", "re");
    long pages = 0, resident = 0;
    if (f) {
        if (fscanf(f, "%ld %ld", &pages, &resident) != 2) resident = 0;
        fclose(f);
    }
    return (double)resident * (double)sysconf(_SC_PAGESIZE);
}

static void put_loops(const char *summary, size_t n, tt_buf *b) {
    json_t *root = json_loadb(summary, n, 0, NULL);
    const char *phase;
    json_t *count;
    gauge(b, "trimtab_series", "Series the engine watches.", json_number_value(json_object_get(root, "series")));
    family(b, "trimtab_loops", "gauge", "Open loops by phase.");
    json_object_foreach(json_object_get(json_object_get(root, "loops"), "by_phase"), phase, count)
        tt_buf_printf(b, "trimtab_loops{phase=\"%s\"} %lld\n", phase, (long long)json_integer_value(count));
    const json_t *frozen = json_object_get(root, "frozen");
    gauge(b, "trimtab_frozen", "1 while automation is paused.", frozen && !json_is_null(frozen));
    json_decref(root);
}

void tt_app_metrics(tt_app *app, tt_buf *out) {
    tt_buf summary;
    tt_buf_init(&summary, TEXT_MAX);
    pthread_mutex_lock(&app->lock);
    app_shown s = app->shown;
    tt_engine_summary_json(app->engine, &summary);
    pthread_mutex_unlock(&app->lock);
    uint32_t connected, behind;
    tt_board_counts(app->board, tt_clock_now(), &connected, &behind);

    family(out, "trimtab_info", "gauge", "Version and epoch of this process.");
    tt_buf_printf(out, "trimtab_info{version=\"%s\",epoch=\"%llu\",store=\"%s\"} 1\n", TRIMTAB_VERSION, (unsigned long long)app->epoch,
                  tt_store_kind(app->store));
    gauge(out, "process_start_time_seconds", "Start of the process, Unix time.", (double)s.started.ms / 1000);
    gauge(out, "process_resident_memory_bytes", "Resident memory.", resident_bytes());
    counter(out, "trimtab_ticks_total", "Ticks of the engine.", s.ticks);
    spent(out, "trimtab_tick_seconds", "Time spent gathering and deciding.", s.tick_seconds, s.ticks);
    counter(out, "trimtab_decisions_total", "Decisions published.", s.decisions);
    spent(out, "trimtab_commit_seconds", "Time spent writing the journal.", s.commit_seconds, s.commits + s.commit_failures);
    counter(out, "trimtab_commit_failures_total", "Writes of the journal that failed.", s.commit_failures);
    if (s.has_source) {
        counter(out, "trimtab_polls_total", "Queries sent to the source.", s.source.polls);
        counter(out, "trimtab_poll_failures_total", "Queries that were refused, failed or came too late.", s.source.failures);
        family(out, "trimtab_source_up", "gauge", "1 while the source answers.");
        tt_buf_printf(out, "trimtab_source_up{source=\"%s\"} %d\n", s.source.name, s.source.state == TT_SOURCE_OK);
    }
    if (summary.n) put_loops(summary.p, summary.n, out);
    gauge(out, "trimtab_rules_error", "1 while the newest rules are refused and older ones run.", *s.rules_error != 0);
    gauge(out, "trimtab_store_up", "1 while the journal can be written.", *s.store_error == 0);
    if (app->recorder) {
        tt_recorder_status rec;
        tt_recorder_status_of(app->recorder, &rec);
        gauge(out, "trimtab_recording_up", "1 while what the engine is given is recorded.", rec.on);
        counter(out, "trimtab_recording_bytes_total", "Bytes of the recording written.", rec.bytes);
        counter(out, "trimtab_recording_ticks_total", "Ticks recorded.", rec.ticks);
        counter(out, "trimtab_recording_missed_ticks_total", "Ticks that are missing from the recording.", rec.missed);
    }
    gauge(out, "trimtab_agents", "Agents connected.", connected);
    gauge(out, "trimtab_agents_behind", "Agents that do not enforce the newest decision yet.", behind);
    family(out, "trimtab_events_total", "counter", "Events journalled, by kind.");
    for (size_t i = 0; i < APP_KINDS_MAX && s.kinds[i].kind[0]; i++)
        tt_buf_printf(out, "trimtab_events_total{kind=\"%s\"} %llu\n", s.kinds[i].kind, (unsigned long long)s.kinds[i].n);
    tt_buf_free(&summary);
}

/* ---- the dashboard's line ---- */

/* The items of {"items":[...],...}, comma-separated, behind what is there already. */
static void put_items(tt_buf *b, tt_buf *page, bool *first) {
    static const char head[] = "{\"items\":[", tail[] = "],\"next\":";
    const char *end = NULL;
    if (page->n < sizeof head || page->failed) return;
    for (size_t i = page->n; i-- > sizeof head - 1 && !end;)
        if (page->n - i >= sizeof tail - 1 && memcmp(page->p + i, tail, sizeof tail - 1) == 0) end = page->p + i;
    const char *begin = page->p + sizeof head - 1;
    if (!end || end <= begin) return;
    if (!*first) tt_buf_put(b, TT_SV(","));
    *first = false;
    tt_buf_put(b, (tt_sv){begin, (size_t)(end - begin)});
}

static bool lately_closed(const tt_app *app, const char *id) {
    for (size_t i = 0; i < app->n_closed; i++)
        if (strcmp(app->closed[i].id, id) == 0) return true;
    return false;
}

/* Of the page of closed loops, those that were closed in the last minute. */
static void put_closed(const tt_app *app, const tt_buf *page, tt_buf *b, bool *first) {
    json_t *root = json_loadb(page->p ? page->p : "", page->n, 0, NULL), *loop;
    size_t i;
    json_array_foreach(json_object_get(root, "items"), i, loop) {
        const char *id = json_string_value(json_object_get(loop, "id"));
        char *text = id && lately_closed(app, id) ? json_dumps(loop, JSON_COMPACT) : NULL;
        if (!text) continue;
        if (!*first) tt_buf_put(b, TT_SV(","));
        *first = false;
        tt_buf_put(b, tt_sv_of(text));
        free(text);
    }
    json_decref(root);
}

void app_line(tt_app *app, tt_time now) {
    while (app->n_closed && tt_since(now, app->closed[0].at) > closed_shown_ns)
        memmove(&app->closed[0], &app->closed[1], --app->n_closed * sizeof app->closed[0]);
    if (!app->http || tt_since(now, app->last_line) < line_apart_ns || !tt_http_has_streams(app->http)) return;
    app->last_line = now;
    uint32_t connected, behind;
    tt_board_counts(app->board, now, &connected, &behind);
    tt_buf line, open, closed;
    tt_buf_init(&line, LINE_MAX_BYTES);
    tt_buf_init(&open, LINE_MAX_BYTES);
    tt_buf_init(&closed, LINE_MAX_BYTES);
    tt_buf_put(&line, TT_SV("{\"status\":"));
    pthread_mutex_lock(&app->lock);
    put_status(app, connected, behind, &line);
    tt_engine_loops_json(app->engine, TT_LOOPS_OPEN, (tt_sv){NULL, 0}, LINE_LOOPS_MAX, &open);
    if (app->n_closed) tt_engine_loops_json(app->engine, TT_LOOPS_CLOSED, (tt_sv){NULL, 0}, LINE_LOOPS_MAX, &closed);
    pthread_mutex_unlock(&app->lock);
    bool first = true;
    tt_buf_put(&line, TT_SV(",\"loops\":["));
    put_items(&line, &open, &first);
    if (app->n_closed) put_closed(app, &closed, &line, &first);
    tt_buf_put(&line, TT_SV("]}"));
    if (!line.failed) tt_http_tick(app->http, (tt_sv){line.p, line.n});
    tt_buf_free(&line);
    tt_buf_free(&open);
    tt_buf_free(&closed);
}
