/* The parser is fuzzed without a daemon: nothing of it is ever called. */
#include <stdlib.h>

#include "app.h"

tt_store *tt_app_store(tt_app *app) {
    (void)app, abort();
}
int64_t tt_app_wall_ms(const tt_app *app) {
    (void)app, abort();
}
bool tt_app_alerts(tt_app *app, uint64_t delivery_id, const tt_alert *alerts, size_t n, tt_err *err) {
    (void)app, (void)delivery_id, (void)alerts, (void)n, (void)err;
    abort();
}
