/* HTTP requests from the main loop: libcurl's multi interface driven by libevent. Never blocks. Loop thread only.
 * Peers are asked directly: proxies from the environment and redirects are not followed. */
#ifndef TT_HTTPC_H
#define TT_HTTPC_H

#include "base.h"
#include "runloop.h"

typedef struct tt_httpc tt_httpc;
typedef struct tt_httpc_request tt_httpc_request;

typedef struct {
    long status; /* 0: no whole answer came, and `error` says why */
    tt_sv body;  /* borrowed for the call */
    tt_sv error;
    int64_t date_ms; /* the peer's Date header as Unix ms; 0: none */
    int64_t retry_after_ns; /* its Retry-After, where that is a number; 0: none */
} tt_httpc_answer;
/* Called once, from the loop, never from inside tt_httpc_post. It may start or cancel other requests. */
typedef void (*tt_httpc_done)(void *ctx, const tt_httpc_answer *a);

tt_httpc *tt_httpc_new(tt_runloop *loop, tt_err *err);
void tt_httpc_free(tt_httpc *c); /* requests under way end without their callback */
/* `form` is application/x-www-form-urlencoded and copied. NULL and *err when it cannot even be tried. */
tt_httpc_request *tt_httpc_post(tt_httpc *c, const char *url, tt_sv form, int64_t timeout_ns, size_t max_body, tt_httpc_done done, void *ctx,
                                tt_err *err);
void tt_httpc_cancel(tt_httpc_request *r); /* its callback is not called */

#endif
