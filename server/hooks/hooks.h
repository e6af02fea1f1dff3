/* Webhooks: what alerting systems send, turned into alerts. A delivery is durable before its sender is answered, and fed to the engine afterwards;
 * one that was never taken is fed again after a restart. */
#ifndef TT_HOOKS_H
#define TT_HOOKS_H

#include "app.h"

enum { TT_HOOK_ALERTS_MAX = 4096, TT_HOOK_KEY_SIZE = 65 };

typedef struct {
    size_t n;
    tt_alert *alerts;             /* views into the parsed body */
    char dedup[TT_HOOK_KEY_SIZE]; /* of the delivery: SHA-256 over groupKey, and each alert's fingerprint, startsAt and status */
    void *parsed;
} tt_hook_alerts;

/* Alertmanager's version 4, and Grafana's, which looks alike. Unknown members are fine, and so is a body without alerts: n is 0.
 * false only when it is not JSON: *err has line and column. An alert with more than TT_LABELS_MAX labels keeps service, dc, instance and severity
 * first, then those that come first; labels of TT_NAME_MAX bytes or more are left out. */
bool tt_hook_alertmanager(tt_sv body, tt_hook_alerts *ret, tt_err *err);
void tt_hook_alerts_free(tt_hook_alerts *a);

/* Stores, then feeds. A delivery that was already taken is not fed again. TT_ESYNTAX: not JSON. TT_EIO: not durable, or the engine's queue is
 * full; the sender should try again. */
bool tt_hook_receive(tt_app *app, const char *source, tt_sv body, uint64_t *ret_id, tt_err *err);
/* At start-up: feeds the deliveries that were durable and never taken. */
bool tt_hook_replay_pending(tt_app *app, tt_store *store, tt_err *err);

#endif
