/* Rules from their files, at the start and again on SIGHUP or POST /-/reload. A bad file never replaces good rules that run. */
#include <stdio.h>

#include "app_internal.h"
#include "config/rules_files.h"

tt_rules *app_rules_read(tt_app *app, tt_rules_texts *ret, tt_err errs[], size_t max, size_t *n_errs) {
    *n_errs = 0;
    return tt_rules_read_keep(app->opt->rules, app->opt->n_rules, app->matcher, ret, errs, max, n_errs);
}

/* {"errors":[{"file":...,"line":...,"column":...,"message":...}]}: as many as an event's detail holds. */
static void errors_json(const tt_err *errs, size_t n, char *buf, size_t size) {
    tt_buf b;
    tt_buf_init(&b, size - 1);
    tt_buf_put(&b, TT_SV("{\"errors\":["));
    for (size_t i = 0; i < n; i++) {
        tt_buf one;
        tt_buf_init(&one, size);
        tt_buf_put(&one, i ? TT_SV(",{\"file\":") : TT_SV("{\"file\":"));
        tt_buf_json_string(&one, tt_sv_of(errs[i].file));
        tt_buf_printf(&one, ",\"line\":%u,\"column\":%u,\"message\":", errs[i].line, errs[i].column);
        tt_buf_json_string(&one, tt_sv_of(errs[i].text));
        tt_buf_put(&one, TT_SV("}"));
        bool fits = !one.failed && b.n + one.n + 3 < size;
        if (fits) tt_buf_put(&b, (tt_sv){one.p, one.n});
        tt_buf_free(&one);
        if (!fits) break;
    }
    tt_buf_put(&b, TT_SV("]}"));
    snprintf(buf, size, "%s", b.failed ? "" : b.p);
    tt_buf_free(&b);
}

static void refuse(tt_app *app, const tt_err *errs, size_t n) {
    char first[800], detail[sizeof((tt_event *)0)->detail];
    tt_err_print(&errs[0], first, sizeof first);
    for (size_t i = 0; i < n; i++) {
        char text[800];
        tt_err_print(&errs[i], text, sizeof text);
        tt_log_line(&app->log, TT_ERROR, "rules_refused", TT_KV("error", text), TT_KV_END);
    }
    errors_json(errs, n, detail, sizeof detail);
    app_note(app, "rules_refused", detail, "the new rules are refused, those that run stay in force: %zu problem%s, the first: %s", n,
             n == 1 ? "" : "s", first);
    pthread_mutex_lock(&app->lock);
    snprintf(app->shown.rules_error, sizeof app->shown.rules_error, "%s", first);
    pthread_mutex_unlock(&app->lock);
}

static bool take_up(tt_app *app, tt_rules *fresh, tt_rules_texts *texts, tt_err *err) {
    if (app->source && !tt_source_set_rules(app->source, fresh, err)) {
        /* Asking for the old signals again needs no more than it did before. */
        tt_err ignored;
        (void)tt_source_set_rules(app->source, app->rules, &ignored);
        return false;
    }
    pthread_mutex_lock(&app->lock);
    tt_rules *old = app->rules;
    app_engine_set_rules(app, fresh, texts);
    app->shown.rules_loaded = tt_clock_wall();
    app->shown.rules_error[0] = 0;
    pthread_mutex_unlock(&app->lock);
    tt_rules_free(old);
    return true;
}

void app_rules_reload(tt_app *app) {
    uint64_t number;
    tt_err errs[APP_RELOAD_ERRS];
    size_t n;
    (void)app_inbox_reload_wanted(&app->inbox, &number);
    tt_rules_texts texts;
    tt_rules *fresh = app_rules_read(app, &texts, errs, APP_RELOAD_ERRS, &n);
    bool ok = fresh != NULL;
    if (!ok && n == 0) {
        tt_fail(&errs[0], TT_ENOMEM, "out of memory reading the rules");
        n = 1;
    }
    if (ok && !take_up(app, fresh, &texts, &errs[0])) {
        tt_rules_free(fresh);
        ok = false;
        n = 1;
    }
    if (ok)
        tt_log_line(&app->log, TT_INFO, "rules_loaded", TT_KV_U("plans", fresh->n_plans), TT_KV_U("signals", fresh->n_signals), TT_KV_END);
    else
        refuse(app, errs, n);
    tt_rules_texts_free(&texts);
    app_inbox_reload_answer(&app->inbox, number, ok, errs, ok ? 0 : n);
    app_tick_soon(app);
}
