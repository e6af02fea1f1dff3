/* The main loop's place, taken by the test: the engine and the store are real, and ticks when the test says so. */
#ifndef TT_FAKE_APP_H
#define TT_FAKE_APP_H

#include <pthread.h>

#include "app.h"
#include "http/http.h"
#include "mesh/board.h"

enum { FAKE_KEPT = 32 };

struct tt_app {
    pthread_mutex_t lock;
    tt_rules rules;
    tt_anomaly_def anomaly;
    tt_plan plan;
    tt_engine *engine;
    tt_store *store;
    tt_board *board;
    char dir[64];
    double now_s;
    /* what the API asked for */
    size_t n_commands, n_deliveries;
    struct {
        tt_command_kind kind;
        char loop[TT_ULID_SIZE], actor[64], reason[128];
    } commands[FAKE_KEPT];
    struct {
        uint64_t id;
        size_t n;
        char key[TT_NAME_MAX], name[TT_NAME_MAX];
        bool firing;
    } deliveries[FAKE_KEPT];
    bool queue_full, reload_fails, not_ready;
};

/* A plan that answers the alert "Paged" on service checkout, dc dc-a; `approve`: its step needs approval. */
tt_app *fake_app(bool approve);
void fake_app_free(tt_app *app);
/* One tick, a second later, with an alert "Paged" (key 1) when firing. */
void fake_tick(tt_app *app, bool firing);
/* Appends one event to the store's journal. Returns its seq. */
uint64_t fake_journal(tt_app *app, const char *loop, const char *reason);
tt_http *fake_serve(tt_app *app, const char *web_dir);
void fake_publish(tt_app *app, const char *service, const char *dc, uint64_t version, double limit_rps); /* 0 rps: withdraws */

#endif
