/* What other threads leave for the tick: commands, alerts, requests to reload. Copied in, taken out as whole lists. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "app_internal.h"

enum { RELOAD_WAIT_S = 10, TEXT_MAX = 512 };

bool app_inbox_init(app_inbox *in) {
    pthread_condattr_t attr;
    in->last_command = &in->commands;
    in->last_delivery = &in->deliveries;
    if (pthread_condattr_init(&attr) != 0) return false;
    bool ok = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) == 0 && pthread_mutex_init(&in->lock, NULL) == 0;
    if (ok && pthread_cond_init(&in->reloaded, &attr) != 0) {
        pthread_mutex_destroy(&in->lock);
        ok = false;
    }
    pthread_condattr_destroy(&attr);
    return ok;
}

void app_inbox_free(app_inbox *in) {
    app_commands_free(in->commands);
    app_deliveries_free(in->deliveries);
    pthread_cond_destroy(&in->reloaded);
    pthread_mutex_destroy(&in->lock);
}

void app_commands_free(app_command *c) {
    while (c) {
        app_command *next = c->next;
        free(c);
        c = next;
    }
}

void app_deliveries_free(app_delivery *d) {
    while (d) {
        app_delivery *next = d->next;
        free(d);
        d = next;
    }
}

static tt_sv put(char **to, tt_sv s, size_t max) {
    tt_sv copy = {*to, s.n < max ? s.n : max};
    if (copy.n) memcpy(*to, s.p, copy.n);
    *to += copy.n;
    return copy;
}

bool tt_app_command(tt_app *app, const tt_command *cmd, tt_err *err) {
    app_inbox *in = &app->inbox;
    app_command *c = calloc(1, sizeof *c + (size_t)2 * TEXT_MAX);
    if (!c) return tt_fail(err, TT_ENOMEM, "out of memory for the command");
    char *text = c->text;
    c->cmd = *cmd;
    c->cmd.actor = put(&text, cmd->actor, TEXT_MAX);
    c->cmd.reason = put(&text, cmd->reason, TEXT_MAX);
    pthread_mutex_lock(&in->lock);
    bool ok = !in->stopping && in->n_commands < APP_COMMANDS_MAX;
    if (ok) {
        *in->last_command = c;
        in->last_command = &c->next;
        in->n_commands++;
    }
    pthread_mutex_unlock(&in->lock);
    if (!ok) {
        free(c);
        return tt_fail(err, TT_ELIMIT, "trimtab stops, or %d commands wait already because the store cannot be written: see /-/ready",
                       APP_COMMANDS_MAX);
    }
    tt_app_wake(app);
    return true;
}

static app_delivery *copy_delivery(uint64_t id, const tt_alert *alerts, size_t n) {
    size_t bytes = sizeof(app_delivery) + n * sizeof(tt_alert);
    for (size_t i = 0; i < n; i++) {
        bytes += alerts[i].name.n;
        for (size_t k = 0; k < alerts[i].n_labels; k++) bytes += alerts[i].labels[k].name.n + alerts[i].labels[k].value.n;
    }
    app_delivery *d = malloc(bytes);
    if (!d) return NULL;
    *d = (app_delivery){.id = id, .n = n, .alerts = (tt_alert *)(d + 1)};
    char *text = (char *)(d->alerts + n);
    for (size_t i = 0; i < n; i++) {
        tt_alert *a = &d->alerts[i];
        *a = alerts[i];
        a->name = put(&text, alerts[i].name, SIZE_MAX);
        for (size_t k = 0; k < a->n_labels; k++) {
            a->labels[k].name = put(&text, alerts[i].labels[k].name, SIZE_MAX);
            a->labels[k].value = put(&text, alerts[i].labels[k].value, SIZE_MAX);
        }
    }
    return d;
}

bool tt_app_alerts(tt_app *app, uint64_t delivery_id, const tt_alert *alerts, size_t n, tt_err *err) {
    app_inbox *in = &app->inbox;
    app_delivery *d = copy_delivery(delivery_id, alerts, n);
    if (!d) return tt_fail(err, TT_ENOMEM, "out of memory for the alerts of delivery %llu", (unsigned long long)delivery_id);
    pthread_mutex_lock(&in->lock);
    bool ok = !in->stopping && in->n_alerts + n <= APP_ALERTS_MAX;
    if (ok) {
        *in->last_delivery = d;
        in->last_delivery = &d->next;
        in->n_alerts += n;
    }
    pthread_mutex_unlock(&in->lock);
    if (!ok) {
        free(d);
        return tt_fail(err, TT_ELIMIT, "trimtab stops, or %d alerts wait already: the delivery is kept and taken up later", APP_ALERTS_MAX);
    }
    tt_app_wake(app);
    return true;
}

void app_inbox_take(app_inbox *in, app_command **ret_commands, app_delivery **ret_deliveries) {
    pthread_mutex_lock(&in->lock);
    *ret_commands = in->commands;
    *ret_deliveries = in->deliveries;
    in->commands = NULL;
    in->deliveries = NULL;
    in->last_command = &in->commands;
    in->last_delivery = &in->deliveries;
    in->n_commands = in->n_alerts = 0;
    pthread_mutex_unlock(&in->lock);
}

bool tt_app_reload(tt_app *app, tt_err errs[], size_t max_errs, size_t *n_errs) {
    app_inbox *in = &app->inbox;
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += RELOAD_WAIT_S;
    tt_err late;
    tt_fail(&late, TT_ESTATE, "trimtab is stopping, or its main loop did not answer within %d s: the store may hang, see /-/ready", RELOAD_WAIT_S);
    pthread_mutex_lock(&in->lock);
    uint64_t number = ++in->reload_asked;
    pthread_mutex_unlock(&in->lock);
    tt_runloop_wake(app->loop); /* not tt_app_wake: that one is silent while a tick is due anyhow */
    pthread_mutex_lock(&in->lock);
    while (in->reload_done < number && !in->stopping && pthread_cond_timedwait(&in->reloaded, &in->lock, &until) != ETIMEDOUT) continue;
    bool answered = in->reload_done >= number, ok = answered && in->reload_ok;
    const tt_err *from = answered ? in->reload_errs : &late;
    size_t n = ok ? 0 : answered ? in->reload_n_errs : 1;
    if (n > max_errs) n = max_errs;
    for (size_t i = 0; i < n; i++) errs[i] = from[i];
    *n_errs = n;
    pthread_mutex_unlock(&in->lock);
    return ok;
}

bool app_inbox_reload_wanted(app_inbox *in, uint64_t *ret_number) {
    pthread_mutex_lock(&in->lock);
    *ret_number = in->reload_asked;
    bool wanted = in->reload_asked > in->reload_done;
    pthread_mutex_unlock(&in->lock);
    return wanted;
}

void app_inbox_reload_answer(app_inbox *in, uint64_t number, bool ok, const tt_err *errs, size_t n) {
    pthread_mutex_lock(&in->lock);
    if (n > APP_RELOAD_ERRS) n = APP_RELOAD_ERRS;
    in->reload_done = number;
    in->reload_ok = ok;
    in->reload_n_errs = n;
    for (size_t i = 0; i < n; i++) in->reload_errs[i] = errs[i];
    pthread_cond_broadcast(&in->reloaded);
    pthread_mutex_unlock(&in->lock);
}

void app_inbox_stop(app_inbox *in) {
    pthread_mutex_lock(&in->lock);
    in->stopping = true;
    pthread_cond_broadcast(&in->reloaded);
    pthread_mutex_unlock(&in->lock);
}
