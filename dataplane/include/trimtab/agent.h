/* trimtab agent: keeps a tt_dp supplied with decisions and reports its load. One thread of its own; never on the request path.
 * On any trouble (service away, bad answer, disk full) the data plane keeps the last good decision, with its own expiry rule. */
#ifndef TRIMTAB_AGENT_H
#define TRIMTAB_AGENT_H

#include <trimtab/dataplane.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tt_agent tt_agent;

typedef struct {
    size_t size;
    const char *url;              /* of the trimtab service: "http://127.0.0.1:7070" */
    const char *const *calls;     /* services this one calls, whose weights and ejections it needs */
    size_t n_calls;
    const char *state_file;       /* last good decision; NULL: none is kept */
    uint32_t wait_ms;             /* of the blocking query; default 30000 */
    uint32_t report_every_ms;     /* load reports; default 1000 */
    void (*log)(void *ctx, const char *line); /* what an operator should know, a line each; may be NULL; called on the agent's thread */
    void *log_ctx;
} tt_agent_options;

/* Starts the thread; the state file, if there is one, is applied before it returns. NULL with errno when that can't be done. */
TT_API tt_agent *tt_agent_start(tt_dp *dp, const tt_agent_options *options);
TT_API void tt_agent_stop(tt_agent *agent); /* within a second; before tt_dp_free */

typedef enum { TT_AGENT_CONNECTING, TT_AGENT_CURRENT, TT_AGENT_ALONE } tt_agent_state; /* ALONE: the service is away, last decision in force */
TT_API tt_agent_state tt_agent_state_now(tt_agent *agent);

#ifdef __cplusplus
}
#endif
#endif
