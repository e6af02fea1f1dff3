/* The daemon's life: every room is built in order, the loop runs, and all is torn down in reverse. */
#include "app_internal.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "config/pcre.h"
#include "hooks/hooks.h"

enum { STOP_WITHIN_S = 2 };

tt_engine *tt_app_lock(tt_app *app, const tt_rules **ret_rules) {
    pthread_mutex_lock(&app->lock);
    *ret_rules = app->rules;
    return app->engine;
}

void tt_app_unlock(tt_app *app) {
    pthread_mutex_unlock(&app->lock);
}

const tt_rules_texts *tt_app_rules_texts(tt_app *app) {
    return &app->texts;
}

tt_store *tt_app_store(tt_app *app) {
    return app->store;
}

uint64_t tt_app_epoch(const tt_app *app) {
    return app->epoch;
}

int64_t tt_app_wall_ms(const tt_app *app) {
    (void)app;
    return tt_clock_wall().ms;
}

void tt_app_wake(tt_app *app) {
    /* One system call for any number of wakes between two ticks. */
    if (!atomic_exchange(&app->woken, true)) tt_runloop_wake(app->loop);
}

void app_note(tt_app *app, const char *kind, const char *detail, const char *fmt, ...) {
    if (app->notes.n == APP_NOTES_MAX) {
        app->notes_lost++;
        return;
    }
    tt_event ev = {.at = tt_clock_wall()};
    snprintf(ev.kind, sizeof ev.kind, "%s", kind);
    if (detail) snprintf(ev.detail, sizeof ev.detail, "%s", detail);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(ev.reason, sizeof ev.reason, fmt, ap);
    va_end(ap);
    if (!app_entries_add(&app->notes, &ev)) app->notes_lost++;
}

/* ---- what the rooms tell ---- */

static void on_round(void *ctx) {
    tt_app *app = ctx;
    app_show_source(app);
    app_tick_soon(app);
}

static void on_source(void *ctx, bool up, const char *signal, const char *reason) {
    tt_app *app = ctx;
    tt_buf detail;
    tt_buf_init(&detail, 512);
    tt_buf_put(&detail, TT_SV("{\"source\":\"prometheus\",\"signal\":"));
    if (*signal)
        tt_buf_json_string(&detail, tt_sv_of(signal));
    else
        tt_buf_put(&detail, TT_SV("null"));
    tt_buf_put(&detail, TT_SV("}"));
    app_note(app, up ? "source_up" : "source_down", detail.failed ? NULL : detail.p, "%s", reason);
    tt_buf_free(&detail);
    app_tick_soon(app);
}

static void on_wake(void *ctx) {
    tt_app *app = ctx;
    uint64_t number;
    if (app_inbox_reload_wanted(&app->inbox, &number)) app_rules_reload(app);
    app_tick_soon(app);
}

static void on_signal(void *ctx, int signo) {
    tt_app *app = ctx;
    if (signo == SIGHUP) {
        app_rules_reload(app);
        return;
    }
    tt_log_line(&app->log, TT_INFO, "stopping", TT_KV("signal", signo == SIGINT ? "SIGINT" : "SIGTERM"), TT_KV_END);
    tt_runloop_stop(app->loop);
}

/* ---- stopping in time ---- */

static void give_up(int signo) {
    (void)signo;
    static const char text[] = "trimtab: something hangs while stopping: ended at once; the journal is whole, the state is that of the last tick\n";
    if (write(STDERR_FILENO, text, sizeof text - 1) < 0) _exit(1);
    _exit(1);
}

static void stop_clock(void) {
    tt_runloop_release_signals();
    signal(SIGALRM, give_up);
    alarm(STOP_WITHIN_S);
}

/* ---- building ---- */

/* Asked before the store is opened: starting trimtab twice by mistake must not take the epoch from the one that runs. */
static bool port_is_free(const tt_serve_options *o, tt_err *err) {
    struct sockaddr_in in4 = {.sin_family = AF_INET, .sin_port = htons(o->port)};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(o->port)};
    bool v6 = inet_pton(AF_INET6, o->address, &in6.sin6_addr) == 1;
    if (!v6 && inet_pton(AF_INET, o->address, &in4.sin_addr) != 1) return true; /* a name, or nonsense: the HTTP room knows what to say */
    const struct sockaddr *at = v6 ? (const struct sockaddr *)&in6 : (const struct sockaddr *)&in4;
    int one = 1, fd = socket(at->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return true;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    bool taken = bind(fd, at, v6 ? sizeof in6 : sizeof in4) != 0 && errno == EADDRINUSE;
    close(fd);
    return !taken ||
           tt_fail(err, TT_EIO, "%s port %u is in use: another trimtab, or another program, listens there; stop it or choose another --listen",
                   o->address, o->port);
}

static bool read_rules(tt_app *app) {
    tt_err errs[APP_RELOAD_ERRS];
    size_t n;
    app->rules = app_rules_read(app, &app->texts, errs, APP_RELOAD_ERRS, &n);
    for (size_t i = 0; !app->rules && i < n; i++) {
        char text[800];
        tt_err_print(&errs[i], text, sizeof text);
        fprintf(stderr, "%s\n", text);
    }
    app->shown.rules_loaded = tt_clock_wall();
    return app->rules != NULL;
}

static bool build_engine(tt_app *app, tt_err *err) {
    const tt_serve_options *o = app->opt;
    app->store = tt_store_open(o->store ? o->store : o->state_dir, err);
    if (!app->store || !tt_store_next_epoch(app->store, &app->epoch, err)) return false;
    if (!app_engine_new(app, err)) return false;
    app->board = tt_board_new(app->epoch);
    if (!app->board) return tt_fail(err, TT_ENOMEM, "out of memory making the board");
    return app_state_restore(app, err);
}

static bool build_wires(tt_app *app, tt_err *err) {
    app->loop = tt_runloop_new(err);
    if (!app->loop || !tt_runloop_on_signal(app->loop, on_signal, app, err)) return false;
    tt_runloop_on_wake(app->loop, on_wake, app);
    app->timer = tt_timer_new(app->loop, app_tick_due, app);
    if (!app->timer) return tt_fail(err, TT_ENOMEM, "out of memory making the tick's timer");
    if (!app->opt->prometheus) return true;
    const tt_source_told told = {app, on_round, on_source};
    app->source = tt_prometheus_new(app->loop, app->opt->prometheus, &told, err);
    if (!app->source || !tt_source_set_rules(app->source, app->rules, err)) return false;
    app_show_source(app);
    return true;
}

static bool open_door(tt_app *app, tt_err *err) {
    tt_err later;
    if (!tt_hook_replay_pending(app, app->store, &later))
        tt_log_line(&app->log, TT_WARN, "deliveries_not_replayed", TT_KV("error", later.text), TT_KV_END);
    const tt_http_options http = {.address = app->opt->address, .port = app->opt->port, .web_dir = app->opt->web_dir};
    app->http = tt_http_start(app, app->board, &http, err);
    if (!app->http) return false;
    const char *open = strchr(app->opt->address, ':') ? "[" : "", *close_ = *open ? "]" : "";
    printf("listening on http://%s%s%s:%u\n", open, app->opt->address, close_, tt_http_port(app->http));
    fflush(stdout);
    return true;
}

static void tear_down(tt_app *app) {
    app_inbox_stop(&app->inbox);
    if (app->http) tt_http_stop(app->http);
    app->http = NULL;
    tt_source_free(app->source);
    tt_timer_free(app->timer);
    tt_runloop_free(app->loop);
    tt_board_free(app->board);
    tt_recorder_free(app->recorder);
    tt_engine_free(app->engine);
    if (app->rules) tt_rules_free(app->rules);
    tt_rules_texts_free(&app->texts);
    if (app->matcher) tt_pcre_matcher_free(app->matcher);
    tt_store_close(app->store);
    app_outcome_free(&app->outcome);
    app_entries_clear(&app->notes);
    free(app->notes.e);
    app_inbox_free(&app->inbox);
    pthread_mutex_destroy(&app->lock);
}

static bool build(tt_app *app, tt_err *err) {
    err->text[0] = 0;
    app->matcher = tt_pcre_matcher_new();
    if (!app->matcher) return tt_fail(err, TT_ENOMEM, "out of memory making the pattern matcher");
    return read_rules(app) && port_is_free(app->opt, err) && build_engine(app, err) && build_wires(app, err) && open_door(app, err);
}

int tt_serve(const tt_serve_options *o) {
    tt_app *app = calloc(1, sizeof *app);
    if (!app || pthread_mutex_init(&app->lock, NULL) != 0 || !app_inbox_init(&app->inbox)) {
        fprintf(stderr, "trimtab: out of memory\n");
        free(app);
        return 1;
    }
    tt_runloop_block_signals();
    curl_global_init(CURL_GLOBAL_DEFAULT);
    app->opt = o;
    app->log = (tt_log){STDERR_FILENO, o->level};
    app->shown.started = tt_clock_wall();
    tt_err err;
    bool ok = build(app, &err);
    if (ok) {
        app->tick_due = app->last_save = tt_clock_now();
        app->last_tick.ns = app->tick_due.ns - TT_SECONDS(1);
        tt_timer_after(app->timer, 0);
        tt_runloop_run(app->loop);
        stop_clock();
        app_tick_last(app);
    } else if (err.text[0]) {
        char text[900];
        tt_err_print(&err, text, sizeof text);
        fprintf(stderr, "trimtab: %s\n", text);
    } else {
        fprintf(stderr, "trimtab: the rules are not good: nothing was started\n");
    }
    if (ok) tt_log_line(&app->log, TT_INFO, "stopped", TT_KV_U("ticks", app->shown.ticks), TT_KV_END);
    tear_down(app);
    curl_global_cleanup();
    free(app);
    return ok ? 0 : 1;
}
