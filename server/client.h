/* The daemon's REST API as the commands use it. One request at a time; blocking. */
#ifndef TT_CLIENT_H
#define TT_CLIENT_H

#include <jansson.h>

#include "base.h"
#include "cli.h"

typedef struct {
    const char *server; /* "http://127.0.0.1:7070" */
    long status;
    tt_buf body;
    bool quiet; /* what goes wrong is not told on stderr */
} tt_client;

/* Options that commands share. */
#define TT_OPTION_SERVER(where)                                                                                                                      \
    { .name = "server", .arg = "URL", .env = "TRIMTAB_SERVER", .help = "The daemon. Default: http://127.0.0.1:7070.", .value = (where) }
#define TT_OPTION_REASON(where)                                                                                                                      \
    { .name = "reason", .arg = "TEXT", .help = "Why: it is kept in the journal.", .value = (where) }

/* `server` NULL: the default. */
void tt_client_init(tt_client *c, const char *server);
void tt_client_free(tt_client *c);
/* json NULL: GET. Otherwise POST. TT_EXIT_OK with status below 300 and the body; else the exit code, with the reason told on stderr. */
int tt_client_call(tt_client *c, const char *path, const char *json);
/* The same with DELETE, without a body. */
int tt_client_delete(tt_client *c, const char *path);
/* The answer's body as JSON, the caller's to free; NULL when it is none, and that is told on stderr. */
json_t *tt_client_json(const tt_client *c);
/* Reads server-sent events until the connection ends or `each` says false (then TT_EXIT_OK). */
typedef bool (*tt_client_event)(void *ctx, const char *kind, tt_sv data);
int tt_client_events(tt_client *c, const char *path, tt_client_event each, void *ctx);
/* One path segment, escaped. false: too long. */
bool tt_client_segment(const char *text, char *buf, size_t size);

#endif
