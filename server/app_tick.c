/* One tick: observations in, the engine's outcome into the journal, and only then to the mesh and to people. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app_internal.h"

static const int64_t tick_every_ns = TT_SECONDS(1), tick_apart_ns = TT_MS(50), retry_ns = TT_SECONDS(1);
static const int64_t save_open_ns = TT_SECONDS(10);  /* with loops open: their history */
static const int64_t save_idle_ns = TT_SECONDS(300); /* else what was learned, so that a crash costs five minutes of it at most */
enum { STATE_MAX = 256 << 20, TRIM_EVERY = 500, DELIVERIES_KEPT = 1000, DECISIONS_KEPT = 64 };

/* ---- events on their way ---- */

bool app_entries_add(app_entries *l, const tt_event *ev) {
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 16;
        app_entry *grown = realloc(l->e, cap * sizeof *grown);
        if (!grown) return false;
        l->e = grown;
        l->cap = cap;
    }
    app_entry *e = &l->e[l->n];
    *e = (app_entry){.at_ms = ev->at.ms};
    memcpy(e->kind, ev->kind, sizeof e->kind);
    memcpy(e->loop, ev->loop, sizeof e->loop);
    tt_buf body;
    tt_buf_init(&body, 1 << 16);
    tt_event_json(ev, 0, &body);
    e->body = body.p;
    e->reason = strdup(ev->reason);
    if (body.failed || !e->reason) {
        free(body.p);
        free(e->reason);
        return false;
    }
    if (ev->target.service[0]) {
        char about[2 * TT_NAME_MAX + TT_NAME_MAX];
        snprintf(about, sizeof about, "%s%s%s%s%s", ev->target.service, ev->target.dc[0] ? "@" : "", ev->target.dc, ev->target.instance[0] ? "/" : "",
                 ev->target.instance);
        e->about = strdup(about);
    }
    l->n++;
    return true;
}

void app_entries_clear(app_entries *l) {
    for (size_t i = 0; i < l->n; i++) {
        free(l->e[i].body);
        free(l->e[i].reason);
        free(l->e[i].about);
    }
    l->n = 0;
}

static void outcome_clear(app_outcome *o) {
    app_entries_clear(&o->entries);
    o->n_decisions = 0;
    if (o->cap_decisions > DECISIONS_KEPT) { /* one tick that decided thousands is no reason to keep room for as many */
        free(o->decisions);
        o->decisions = NULL;
        o->cap_decisions = 0;
    }
    tt_buf_free(&o->state);
    app_deliveries_free(o->deliveries);
    o->deliveries = NULL;
    o->waiting = false;
}

void app_outcome_free(app_outcome *o) {
    outcome_clear(o);
    free(o->entries.e);
    free(o->decisions);
}

/* ---- what was observed ---- */

typedef struct {
    tt_source_batch source;       /* borrowed until its release */
    const tt_measurement *measurements; /* the source's and the board's: one of theirs, or `joined` */
    tt_measurement *joined;
    size_t n_measurements;
    tt_command *commands;
    size_t n_commands;
    tt_alert *alerts;
    size_t n_alerts;
    app_command *command_list;
} gathered;

static void gather_measurements(tt_app *app, gathered *g, tt_time now) {
    const tt_measurement *reported = NULL;
    if (app->source) tt_source_take(app->source, &g->source);
    size_t n_reported = tt_board_measurements(app->board, app->rules, now, &reported), n = g->source.n_measurements + n_reported;
    g->n_measurements = n;
    g->measurements = n_reported ? reported : g->source.measurements;
    if (!n_reported || !g->source.n_measurements) return;
    g->measurements = g->joined = malloc(n * sizeof *g->joined);
    if (!g->joined) { /* without memory: nothing was seen, and nothing is done */
        g->n_measurements = 0;
        return;
    }
    memcpy(g->joined, g->source.measurements, g->source.n_measurements * sizeof *g->joined);
    memcpy(g->joined + g->source.n_measurements, reported, n_reported * sizeof *g->joined);
}

static tt_sv label_of(const tt_alert *a, const char *name) {
    for (size_t i = 0; i < a->n_labels; i++)
        if (tt_sv_eq(a->labels[i].name, tt_sv_of(name))) return a->labels[i].value;
    return (tt_sv){NULL, 0};
}

static void note_alert(tt_app *app, const tt_alert *a, uint64_t delivery) {
    tt_event ev = {.kind = "alert", .at = tt_clock_wall(), .from = 0, .to = 0};
    char name[TT_NAME_MAX];
    snprintf(name, sizeof name, TT_SV_FMT, TT_SV_ARG(a->name));
    snprintf(ev.target.service, sizeof ev.target.service, TT_SV_FMT, TT_SV_ARG(label_of(a, "service")));
    snprintf(ev.target.dc, sizeof ev.target.dc, TT_SV_FMT, TT_SV_ARG(label_of(a, "dc")));
    snprintf(ev.reason, sizeof ev.reason, "%s is %s, says webhook delivery %llu", name, a->firing ? "firing" : "resolved",
             (unsigned long long)delivery);
    tt_buf b;
    tt_buf_init(&b, sizeof ev.detail - 1);
    tt_buf_printf(&b, "{\"delivery\":%llu,\"key\":", (unsigned long long)delivery);
    tt_buf_json_string(&b, tt_sv_of(a->key));
    tt_buf_printf(&b, ",\"firing\":%s,\"labels\":{", a->firing ? "true" : "false");
    for (size_t i = 0; i < a->n_labels; i++) {
        if (i) tt_buf_put(&b, TT_SV(","));
        tt_buf_json_string(&b, a->labels[i].name);
        tt_buf_put(&b, TT_SV(":"));
        tt_buf_json_string(&b, a->labels[i].value);
    }
    tt_buf_put(&b, TT_SV("}}"));
    if (!b.failed) snprintf(ev.detail, sizeof ev.detail, "%s", b.p);
    tt_buf_free(&b);
    (void)app_entries_add(&app->outcome.entries, &ev);
}

static void gather_inbox(tt_app *app, gathered *g) {
    app_delivery *deliveries;
    app_inbox_take(&app->inbox, &g->command_list, &deliveries);
    size_t n_commands = 0, n_alerts = 0;
    for (const app_command *c = g->command_list; c; c = c->next) n_commands++;
    for (const app_delivery *d = deliveries; d; d = d->next) n_alerts += d->n;
    g->commands = n_commands ? malloc(n_commands * sizeof *g->commands) : NULL;
    g->alerts = n_alerts ? malloc(n_alerts * sizeof *g->alerts) : NULL;
    for (const app_command *c = g->command_list; c && g->commands; c = c->next) g->commands[g->n_commands++] = c->cmd;
    for (const app_delivery *d = deliveries; d && g->alerts; d = d->next)
        for (size_t i = 0; i < d->n; i++) {
            g->alerts[g->n_alerts++] = d->alerts[i];
            note_alert(app, &d->alerts[i], d->id);
        }
    app->outcome.deliveries = deliveries;
}

static void gathered_free(tt_app *app, gathered *g) {
    if (app->source) tt_source_release(app->source);
    free(g->joined);
    free(g->commands);
    free(g->alerts);
    app_commands_free(g->command_list);
}

/* ---- the decision ---- */

static void count_kind(app_shown *s, const char *kind) {
    for (size_t i = 0; i < APP_KINDS_MAX; i++) {
        if (!s->kinds[i].kind[0]) memcpy(s->kinds[i].kind, kind, sizeof s->kinds[i].kind);
        if (strcmp(s->kinds[i].kind, kind) != 0) continue;
        s->kinds[i].n++;
        return;
    }
}

static bool copy_outcome(app_outcome *o, const tt_outcome *from) {
    bool ok = true;
    for (size_t i = 0; i < from->n_events; i++) ok = app_entries_add(&o->entries, &from->events[i]) && ok;
    if (from->n_decisions > o->cap_decisions) {
        tt_decision *grown = realloc(o->decisions, from->n_decisions * sizeof *grown);
        if (!grown) return false;
        o->decisions = grown;
        o->cap_decisions = from->n_decisions;
    }
    if (from->n_decisions) memcpy(o->decisions, from->decisions, from->n_decisions * sizeof *o->decisions);
    o->n_decisions = from->n_decisions;
    return ok;
}

static void take_notes(tt_app *app) {
    if (app->notes_lost) {
        size_t lost = app->notes_lost;
        app->notes_lost = 0;
        app_entries_clear(&app->notes);
        app_note(app, "limit_reached", NULL, "more than %d events waited for the store: %zu of the daemon's own are not told", APP_NOTES_MAX,
                 lost + APP_NOTES_MAX);
    }
    app_entries *to = &app->outcome.entries;
    /* The daemon's events came before the tick that sees their effect. */
    app_entries mine = app->notes;
    app->notes = (app_entries){0};
    if (to->n == 0) {
        free(to->e);
        *to = mine;
        return;
    }
    app_entry *grown = realloc(mine.e, (mine.n + to->n) * sizeof *grown);
    if (!grown) {
        app_entries_clear(&mine);
        free(mine.e);
        return;
    }
    memcpy(grown + mine.n, to->e, to->n * sizeof *grown);
    free(to->e);
    *to = (app_entries){mine.n + to->n, mine.n + to->n, grown};
}

static void decide(tt_app *app, tt_time now, gathered *g) {
    const tt_ack *acks = NULL;
    tt_observations obs = {.now = now, .wall = tt_clock_wall(), .local = {.known = true}, .utc = {.known = true}};
    tt_clock_calendar(obs.wall, false, &obs.local.day, &obs.local.minute);
    tt_clock_calendar(obs.wall, true, &obs.utc.day, &obs.utc.minute);
    obs.n_acks = tt_board_acks(app->board, now, &acks);
    obs.acks = acks;
    obs.n_drifts = tt_board_drifts(app->board, &obs.drifts);
    obs.n_polls = g->source.n_polls;
    obs.polls = g->source.polls;
    obs.n_measurements = g->n_measurements;
    obs.measurements = g->measurements;
    obs.n_alerts = g->n_alerts;
    obs.alerts = g->alerts;
    obs.n_commands = g->n_commands;
    obs.commands = g->commands;
    app_outcome *o = &app->outcome;
    tt_outcome out;
    pthread_mutex_lock(&app->lock);
    app_engine_tick(app, &obs, &out);
    if (!copy_outcome(o, &out)) tt_log_line(&app->log, TT_ERROR, "out_of_memory", TT_KV("text", "events or decisions of a tick are lost"), TT_KV_END);
    int64_t since = tt_since(now, app->last_save);
    bool happened = o->entries.n || o->n_decisions || g->n_commands;
    if (happened || since >= save_idle_ns || (since >= save_open_ns && tt_engine_open_loops(app->engine))) {
        tt_buf_init(&o->state, STATE_MAX);
        tt_engine_save(app->engine, now, &o->state);
    }
    pthread_mutex_unlock(&app->lock);
}

/* ---- to the journal, then to everybody ---- */

static tt_level level_of(const char *kind) {
    static const char *const loud[] = {"source_down", "rules_refused", "page", "limit_reached", "frozen", "store_down"};
    for (size_t i = 0; i < TT_COUNT(loud); i++)
        if (strcmp(kind, loud[i]) == 0) return TT_WARN;
    return TT_INFO;
}

static void remember_closed(tt_app *app, const char *id, tt_time now) {
    if (app->n_closed == TT_COUNT(app->closed)) memmove(&app->closed[0], &app->closed[1], --app->n_closed * sizeof app->closed[0]);
    memcpy(app->closed[app->n_closed].id, id, TT_ULID_SIZE);
    app->closed[app->n_closed++].at = now;
}

static void tell(tt_app *app, uint64_t first_seq, tt_time now) {
    app_outcome *o = &app->outcome;
    tt_board_publish(app->board, o->decisions, o->n_decisions, now);
    tt_buf line;
    tt_buf_init(&line, 1 << 17);
    for (size_t i = 0; i < o->entries.n; i++) {
        const app_entry *e = &o->entries.e[i];
        uint64_t seq = first_seq + i;
        line.n = 0;
        tt_buf_printf(&line, "{\"seq\":%llu,", (unsigned long long)seq);
        tt_buf_put(&line, tt_sv_of(e->body + 1));
        if (app->http && !line.failed) tt_http_event(app->http, seq, e->kind, (tt_sv){line.p, line.n});
        if (strcmp(e->kind, "loop_closed") == 0) remember_closed(app, e->loop, now);
        tt_log_line(&app->log, level_of(e->kind), e->kind, TT_KV_U("seq", seq), TT_KV(e->loop[0] ? "loop" : "from", e->loop[0] ? e->loop : "trimtab"),
                    TT_KV("about", e->about ? e->about : "-"), TT_KV("reason", e->reason), TT_KV_END);
    }
    tt_buf_free(&line);
    for (const app_delivery *d = o->deliveries; d; d = d->next) {
        tt_err err;
        /* Not marked: it is fed again after a restart, and the engine knows the alert by its key. */
        if (!tt_store_delivery_done(app->store, d->id, &err))
            tt_log_line(&app->log, TT_WARN, "delivery_not_marked", TT_KV("error", err.text), TT_KV_END);
        if (++app->n_deliveries_done % TRIM_EVERY == 0) (void)tt_store_trim(app->store, DELIVERIES_KEPT, &err);
    }
}

static void commit_failed(tt_app *app, tt_time now, const tt_err *err) {
    app_outcome *o = &app->outcome;
    if (!o->waiting) {
        o->waiting_since = now;
        tt_log_line(&app->log, TT_ERROR, "store_down", TT_KV("error", err->text),
                    TT_KV("effect", "nothing new is decided or told until it is written"), TT_KV_END);
    }
    o->waiting = true;
    o->failed_code = err->code;
    snprintf(o->failed, sizeof o->failed, "%s", err->text);
}

static void commit_went(tt_app *app, tt_time now) {
    app_outcome *o = &app->outcome;
    if (!o->waiting) return;
    char span[32];
    tt_format_duration(tt_since(now, o->waiting_since), span, sizeof span);
    app_note(app, "store_up", NULL, "the store could not be written for %s (%.300s): nothing new was decided or told in that time", span, o->failed);
}

/* true: the outcome is durable and told, or there was none. */
static bool commit(tt_app *app) {
    app_outcome *o = &app->outcome;
    tt_time before = tt_clock_now();
    tt_store_entry *entries = o->entries.n ? calloc(o->entries.n, sizeof *entries) : NULL;
    tt_err err;
    uint64_t first = 0;
    bool ok = true, anything = o->entries.n || o->state.n || o->n_decisions;
    if (o->state.failed || (o->entries.n && !entries)) {
        ok = tt_fail(&err, TT_ENOMEM, "out of memory, or over %d MiB, writing the engine's state", STATE_MAX >> 20);
        /* Rendered anew next time. */
        tt_buf_free(&o->state);
        pthread_mutex_lock(&app->lock);
        tt_engine_save(app->engine, before, &o->state);
        pthread_mutex_unlock(&app->lock);
    }
    for (size_t i = 0; ok && i < o->entries.n; i++) {
        const app_entry *e = &o->entries.e[i];
        entries[i] = (tt_store_entry){.at_ms = e->at_ms, .kind = e->kind, .loop = e->loop, .body = e->body};
    }
    if (ok && anything) ok = tt_store_commit(app->store, entries, o->entries.n, o->state.n ? o->state.p : NULL, &first, &err);
    free(entries);
    tt_time now = tt_clock_now();
    o->tried_at = now;
    pthread_mutex_lock(&app->lock);
    snprintf(app->shown.store_error, sizeof app->shown.store_error, "%s", ok ? "" : err.text);
    if (anything) {
        app->shown.commits += ok;
        app->shown.commit_failures += !ok;
        app->shown.commit_seconds += (double)tt_since(now, before) / 1e9;
    }
    if (ok) {
        for (size_t i = 0; i < o->entries.n; i++) count_kind(&app->shown, o->entries.e[i].kind);
        app->shown.decisions += o->n_decisions;
    }
    pthread_mutex_unlock(&app->lock);
    if (!ok) {
        commit_failed(app, now, &err);
        return false;
    }
    if (o->state.n) app->last_save = before;
    commit_went(app, now);
    app_engine_committed(app, first, o->entries.n);
    tell(app, first, now);
    pthread_mutex_lock(&app->lock);
    app->shown.told = true;
    pthread_mutex_unlock(&app->lock);
    outcome_clear(o);
    return true;
}

/* ---- when ---- */

static void due_at(tt_app *app, tt_time at) {
    app->tick_due = at;
    tt_timer_after(app->timer, tt_since(at, tt_clock_now()));
}

void app_tick_soon(tt_app *app) {
    if (app->outcome.waiting) return; /* the retry has its own time */
    tt_time at = {app->last_tick.ns + tick_apart_ns};
    if (at.ns < app->tick_due.ns) due_at(app, at);
}

static void tick(tt_app *app, tt_time now) {
    gathered g = {0};
    atomic_store(&app->woken, false);
    gather_measurements(app, &g, now);
    gather_inbox(app, &g);
    take_notes(app);
    decide(app, now, &g);
    gathered_free(app, &g);
    double seconds = (double)tt_since(tt_clock_now(), now) / 1e9;
    pthread_mutex_lock(&app->lock);
    app->shown.ticks++;
    app->shown.tick_seconds += seconds;
    app->shown.tick_ms = seconds * 1000;
    pthread_mutex_unlock(&app->lock);
}

void app_tick_due(void *ctx) {
    tt_app *app = ctx;
    tt_time now = tt_clock_now();
    /* Answers are on their way: they would just miss this tick, and wait 50 ms for the next. */
    int64_t asked_ns = app->source && !app->outcome.waiting ? tt_source_under_way(app->source, now) : -1;
    if (asked_ns >= 0 && asked_ns < tick_apart_ns && tt_since(now, app->last_tick) < tick_every_ns + tick_apart_ns) {
        due_at(app, (tt_time){now.ns + tick_apart_ns - asked_ns});
        return;
    }
    app->last_tick = now;
    app_show_source(app);
    app_engine_watch_recording(app);
    if (app->outcome.waiting) {
        /* What comes in meanwhile is let go: it is old by the time it could count. */
        if (app->source) tt_source_release(app->source);
    } else {
        tick(app, now);
    }
    bool went = commit(app);
    app_line(app, now);
    due_at(app, (tt_time){now.ns + (went ? tick_every_ns : retry_ns)});
    if (atomic_load(&app->woken) || app->notes.n) app_tick_soon(app);
}

void app_tick_last(tt_app *app) {
    if (app->outcome.waiting && !commit(app)) return; /* what could not be written before is not there */
    app->last_save.ns = INT64_MIN / 2;                /* saved, whatever happened since */
    tick(app, tt_clock_now());
    (void)commit(app);
}
