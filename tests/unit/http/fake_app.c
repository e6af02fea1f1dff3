#include "fake_app.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

tt_app *fake_app(bool approve) {
    tt_app *app = calloc(1, sizeof *app);
    tt_err err = {0};
    signal(SIGPIPE, SIG_IGN);
    pthread_mutex_init(&app->lock, NULL);
    app->anomaly = (tt_anomaly_def){
        .name = TT_SV("paged"), .kind = TT_ANOMALY_ALERT, .alert = {.label = TT_SV("alertname"), .literal = TT_SV("Paged"), .text = TT_SV("Paged")}};
    app->plan = (tt_plan){.name = TT_SV("shed"),
                          .mode = approve ? TT_MODE_APPROVE : TT_MODE_ADVISE,
                          .service = TT_SV("checkout"),
                          .dc = TT_SV("dc-a"),
                          .n_steps = 1,
                          .settle_hold_ns = TT_SECONDS(60),
                          .settle_within_ns = TT_SECONDS(600),
                          .recover_after_ns = TT_SECONDS(120),
                          .recover_step = 0.1,
                          .recover_every_ns = TT_SECONDS(30),
                          .approve_within_ns = TT_SECONDS(300)};
    app->plan.steps[0] = (tt_step){.kind = TT_STEP_DROP, .max = 1};
    app->rules = (tt_rules){
        .n_priorities = 1, .priorities = {TT_SV("batch")}, .n_anomalies = 1, .anomalies = &app->anomaly, .n_plans = 1, .plans = &app->plan};
    app->rules.guardrails = (tt_guardrails){.max_concurrent_loops = 5,
                                            .max_capacity_removed = .4,
                                            .lock_out_reversals = 3,
                                            .lock_out_for_ns = TT_SECONDS(1800),
                                            .most_bad_share = .6,
                                            .most_bad_min = 3};
    tt_engine_config cfg;
    tt_engine_config_default(&cfg);
    cfg.max_series = 100;
    cfg.max_loops = 10;
    cfg.epoch = 3;
    app->engine = tt_engine_new(&app->rules, &cfg);
    assert_non_null(app->engine);
    snprintf(app->dir, sizeof app->dir, "/tmp/tt-http-XXXXXX");
    assert_non_null(mkdtemp(app->dir));
    app->store = tt_store_open(app->dir, &err);
    if (!app->store) fail_msg("%s", err.text);
    uint64_t epoch;
    if (!tt_store_next_epoch(app->store, &epoch, &err)) fail_msg("%s", err.text); /* takes the lease */
    app->board = tt_board_new(3);
    app->now_s = 1000;
    return app;
}

void fake_app_free(tt_app *app) {
    char rm[128];
    tt_engine_free(app->engine);
    tt_store_close(app->store);
    tt_board_free(app->board);
    pthread_mutex_destroy(&app->lock);
    snprintf(rm, sizeof rm, "rm -rf '%s'", app->dir);
    if (system(rm) != 0) print_message("%s failed\n", rm);
    free(app);
}

void fake_tick(tt_app *app, bool firing) {
    tt_alert alert = {.key = "1",
                      .name = TT_SV("Paged"),
                      .firing = true,
                      .n_labels = 2,
                      .labels = {{TT_SV("service"), TT_SV("checkout")}, {TT_SV("dc"), TT_SV("dc-a")}}};
    tt_outcome out;
    pthread_mutex_lock(&app->lock);
    app->now_s += 1;
    tt_observations obs = {.now = {(int64_t)(app->now_s * 1e9)}, .wall = {1790000000000}, .n_alerts = firing ? 1 : 0, .alerts = &alert};
    tt_engine_tick(app->engine, &obs, &out);
    pthread_mutex_unlock(&app->lock);
}

uint64_t fake_journal(tt_app *app, const char *loop, const char *reason) {
    char body[256];
    tt_err err;
    uint64_t seq;
    snprintf(body, sizeof body, "{\"at_ms\":1,\"kind\":\"hold\",\"loop\":\"%s\",\"reason\":\"%s\"}", loop, reason);
    const tt_store_entry e = {.at_ms = 1, .kind = "hold", .loop = loop, .body = body};
    if (!tt_store_commit(app->store, &e, 1, NULL, &seq, &err)) fail_msg("%s", err.text);
    return seq;
}

tt_http *fake_serve(tt_app *app, const char *web_dir) {
    tt_err err = {0};
    tt_http *h = tt_http_start(app, app->board, &(tt_http_options){.address = "127.0.0.1", .web_dir = web_dir}, &err);
    if (!h) fail_msg("%s", err.text);
    return h;
}

void fake_publish(tt_app *app, const char *service, const char *dc, uint64_t version, double limit_rps) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    tt_decision *d = calloc(1, sizeof *d);
    *d = (tt_decision){.epoch = 3, .version = version, .expire_after_ms = -1, .decay_over_ms = -1};
    snprintf(d->target.service, sizeof d->target.service, "%s", service);
    snprintf(d->target.dc, sizeof d->target.dc, "%s", dc);
    if (limit_rps > 0) d->actions[d->n_actions++] = (tt_act){.kind = TT_ACT_LIMIT, .value = limit_rps};
    tt_board_publish(app->board, d, 1, (tt_time){(int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec});
    free(d);
}

/* --- app.h --- */

tt_engine *tt_app_lock(tt_app *app, const tt_rules **ret_rules) {
    pthread_mutex_lock(&app->lock);
    *ret_rules = &app->rules;
    return app->engine;
}

void tt_app_unlock(tt_app *app) {
    pthread_mutex_unlock(&app->lock);
}

bool tt_app_command(tt_app *app, const tt_command *cmd, tt_err *err) {
    pthread_mutex_lock(&app->lock);
    size_t i = app->n_commands++ % FAKE_KEPT;
    app->commands[i].kind = cmd->kind;
    memcpy(app->commands[i].loop, cmd->loop, sizeof cmd->loop);
    snprintf(app->commands[i].actor, sizeof app->commands[i].actor, TT_SV_FMT, TT_SV_ARG(cmd->actor));
    snprintf(app->commands[i].reason, sizeof app->commands[i].reason, TT_SV_FMT, TT_SV_ARG(cmd->reason));
    bool full = app->queue_full;
    pthread_mutex_unlock(&app->lock);
    return !full || tt_fail(err, TT_ELIMIT, "the queue is full");
}

bool tt_app_alerts(tt_app *app, uint64_t delivery_id, const tt_alert *alerts, size_t n, tt_err *err) {
    pthread_mutex_lock(&app->lock);
    bool full = app->queue_full;
    if (!full) {
        size_t i = app->n_deliveries++ % FAKE_KEPT;
        app->deliveries[i].id = delivery_id;
        app->deliveries[i].n = n;
        app->deliveries[i].firing = alerts[0].firing;
        memcpy(app->deliveries[i].key, alerts[0].key, sizeof alerts[0].key);
        snprintf(app->deliveries[i].name, TT_NAME_MAX, TT_SV_FMT, TT_SV_ARG(alerts[0].name));
    }
    pthread_mutex_unlock(&app->lock);
    return !full || tt_fail(err, TT_ELIMIT, "the queue is full");
}

bool tt_app_reload(tt_app *app, tt_err errs[], size_t max_errs, size_t *n_errs) {
    if (!app->reload_fails) return true;
    *n_errs = 1;
    if (max_errs) {
        tt_fail(&errs[0], TT_EUNKNOWN, "unknown key `wen`: did you mean `when`?");
        snprintf(errs[0].file, sizeof errs[0].file, "plans.yaml");
        errs[0].line = 7;
        errs[0].column = 3;
    }
    return false;
}

void tt_app_wake(tt_app *app) {
    (void)app;
}

void tt_app_status_json(tt_app *app, tt_buf *out) {
    tt_buf_printf(out, "{\"epoch\":%llu,\"store\":", (unsigned long long)tt_app_epoch(app));
    tt_buf_json_string(out, tt_sv_of(tt_store_kind(app->store)));
    tt_buf_put(out, TT_SV("}"));
}

const tt_rules_texts *tt_app_rules_texts(tt_app *app) {
    static const tt_rules_text text = {TT_SV("plans.yaml"), TT_SV("plans:\n  - name: paged\n    steps:\n      - limit: {}\n")};
    static const tt_rules_texts texts = {.n = 1, .at = &text};
    (void)app;
    return &texts;
}

tt_store *tt_app_store(tt_app *app) {
    return app->store;
}

uint64_t tt_app_epoch(const tt_app *app) {
    (void)app;
    return 3;
}

int64_t tt_app_wall_ms(const tt_app *app) {
    (void)app;
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

bool tt_app_ready(tt_app *app, tt_err *err) {
    return !app->not_ready || tt_fail(err, TT_EIO, "the store cannot be written");
}

void tt_app_metrics(tt_app *app, tt_buf *out) {
    (void)app;
    tt_buf_put(out, TT_SV("trimtab_ticks_total 1\n"));
}
