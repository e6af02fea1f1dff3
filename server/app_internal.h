/* What the files of the app share. Nothing else includes this.
 *
 * Locks: `lock` is for the engine, the rules and `shown`; `inbox.lock` for what other threads leave here. Neither is held across I/O or while
 * another room is called; where both are needed `lock` comes first. Everything else belongs to the loop's thread. */
#ifndef TT_APP_INTERNAL_H
#define TT_APP_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "app.h"
#include "clock.h"
#include "http/http.h"
#include "log.h"
#include "mesh/board.h"
#include "record/record.h"
#include "runloop.h"
#include "serve.h"
#include "source/source.h"

enum { APP_RELOAD_ERRS = 32, APP_COMMANDS_MAX = 256, APP_ALERTS_MAX = 65536, APP_NOTES_MAX = 1024, APP_KINDS_MAX = 48 };

/* ---- what other threads leave (app_inbox.c) ---- */

typedef struct app_command {
    struct app_command *next;
    tt_command cmd; /* views into text */
    char text[];
} app_command;

typedef struct app_delivery {
    struct app_delivery *next;
    uint64_t id;
    size_t n;
    tt_alert *alerts; /* behind the struct, and their text behind them */
} app_delivery;

typedef struct {
    pthread_mutex_t lock;
    pthread_cond_t reloaded;
    app_command *commands, **last_command;
    size_t n_commands;
    app_delivery *deliveries, **last_delivery;
    size_t n_alerts;
    bool stopping;
    uint64_t reload_asked, reload_done; /* numbers of requests */
    bool reload_ok;
    tt_err reload_errs[APP_RELOAD_ERRS];
    size_t reload_n_errs;
} app_inbox;

bool app_inbox_init(app_inbox *in);
void app_inbox_free(app_inbox *in);
/* Takes all that waits; the lists are the caller's to free. */
void app_inbox_take(app_inbox *in, app_command **ret_commands, app_delivery **ret_deliveries);
void app_commands_free(app_command *c);
void app_deliveries_free(app_delivery *d);
/* Reload requests: the loop asks whether one waits, and answers it. */
bool app_inbox_reload_wanted(app_inbox *in, uint64_t *ret_number);
void app_inbox_reload_answer(app_inbox *in, uint64_t number, bool ok, const tt_err *errs, size_t n);
void app_inbox_stop(app_inbox *in); /* nobody waits from here on */

/* ---- one tick's result on its way to the journal (app_outcome.c) ---- */

typedef struct {
    int64_t at_ms;
    char kind[24], loop[TT_ULID_SIZE];
    char *body;   /* JSON without seq */
    char *reason; /* for the log */
    char *about;  /* "checkout@dc-a", for the log; may be NULL */
} app_entry;

typedef struct {
    size_t n, cap;
    app_entry *e;
} app_entries;

bool app_entries_add(app_entries *l, const tt_event *ev); /* copies; false when memory is out */
void app_entries_clear(app_entries *l);

typedef struct {
    app_entries entries;
    size_t n_decisions, cap_decisions;
    tt_decision *decisions;
    tt_buf state;             /* empty: not saved this time */
    app_delivery *deliveries; /* taken, to be marked done */
    bool waiting;             /* a commit failed: tried again each second, nothing new is decided meanwhile */
    tt_time tried_at, waiting_since;
    tt_code failed_code;
    char failed[512];
} app_outcome;

/* ---- the app ---- */

/* Figures other threads show; under `lock`. */
typedef struct {
    tt_wall started, rules_loaded;
    double tick_ms;
    uint64_t ticks, commits, commit_failures, decisions, sheds;
    double tick_seconds, commit_seconds;
    tt_source_status source;
    bool has_source;
    char store_error[512]; /* empty: the last commit went through */
    bool told;             /* the board was opened */
    char rules_error[800]; /* of the last reload; empty: it was good */
    struct {
        char kind[24];
        uint64_t n;
    } kinds[APP_KINDS_MAX];
} app_shown;

struct tt_app {
    const tt_serve_options *opt;
    tt_log log;
    pthread_mutex_t lock;
    tt_engine *engine;
    tt_engine_config config; /* as in force */
    tt_rules *rules;
    tt_rules_texts texts; /* what they were read from */
    app_shown shown;
    tt_matcher *matcher;
    uint64_t epoch;
    app_inbox inbox;

    tt_store *store;
    tt_recorder *recorder; /* NULL: nothing is recorded */
    bool recording_told;   /* that it stopped */
    tt_board *board;
    tt_http *http;
    tt_runloop *loop;
    tt_source *source;
    tt_timer *timer;

    app_outcome outcome;
    app_entries notes; /* the daemon's own events, for the next tick */
    size_t notes_lost;
    tt_time last_tick, tick_due, last_save, last_line;
    size_t n_deliveries_done;
    atomic_bool woken;
    struct {
        char id[TT_ULID_SIZE];
        tt_time at;
    } closed[64]; /* loops that were closed lately, for the dashboard's line */
    size_t n_closed;
};

/* app.c */
/* An event of the daemon's own: journalled with the next tick. `detail` is a JSON object or NULL. */
void app_note(tt_app *app, const char *kind, const char *detail, const char *fmt, ...) TT_PRINTF(4, 5);
/* app_tick.c */
void app_tick_soon(tt_app *app); /* as soon as 50 ms after the last one are over */
void app_tick_due(void *app);    /* the timer */
void app_tick_last(tt_app *app); /* the final save */
void app_outcome_free(app_outcome *o);
/* app_rules.c */
tt_rules *app_rules_read(tt_app *app, tt_rules_texts *ret, tt_err errs[], size_t max, size_t *n_errs);
void app_rules_reload(tt_app *app); /* the loop's thread; answers who waits */
/* app_state.c */
bool app_state_restore(tt_app *app, tt_err *err);
/* app_engine.c: what changes the engine, recorded. No other file of server/ calls these of the engine's functions. All but the first two with the
 * lock held. */
bool app_engine_new(tt_app *app, tt_err *err);
bool app_engine_begin(tt_app *app, tt_sv saved, tt_err *err); /* once, before the first tick; `saved` empty: with an empty memory. *err: it cannot be read */
void app_engine_set_rules(tt_app *app, tt_rules *rules, tt_rules_texts *texts); /* takes the texts; the caller frees the rules that were */
void app_engine_set_timing(tt_app *app, int64_t scrape_ns, int64_t ingest_ns, int64_t apply_ns);
void app_engine_tick(tt_app *app, const tt_observations *obs, tt_outcome *ret);
void app_engine_committed(tt_app *app, uint64_t first_seq, size_t n); /* without the lock */
void app_engine_watch_recording(tt_app *app); /* tells, once, that recording stopped or goes on; without the lock */
/* app_status.c */
void app_show_source(tt_app *app);
void app_line(tt_app *app, tt_time now); /* the dashboard's tick line */

#endif
