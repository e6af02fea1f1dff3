/* The way in: libmicrohttpd on its own epoll thread, the REST API, blocking queries, server-sent events, webhooks, the dashboard's assets. */
#ifndef TT_HTTP_H
#define TT_HTTP_H

#include "app.h"
#include "mesh/board.h"

typedef struct tt_http tt_http;

typedef struct {
    const char *address;  /* loopback only; anything else is refused: it needs TLS and tokens */
    uint16_t port;        /* 0: any; see tt_http_port */
    const char *web_dir;  /* NULL: the embedded dashboard; else read from here, for development */
} tt_http_options;

tt_http *tt_http_start(tt_app *app, tt_board *board, const tt_http_options *options, tt_err *err);
uint16_t tt_http_port(const tt_http *h);
/* Answers every waiter, ends every stream, then stops. */
void tt_http_stop(tt_http *h);
/* A journalled event (JSON with its seq) for every event stream. Any thread; a reader too slow for it is dropped, and resumes by Last-Event-ID. */
void tt_http_event(tt_http *h, uint64_t seq, const char *kind, tt_sv json);
/* Once a tick: the state line of the dashboard, sent to whoever is connected. Nothing is rendered when nobody is. */
bool tt_http_has_streams(tt_http *h);
void tt_http_tick(tt_http *h, tt_sv json);

#endif
