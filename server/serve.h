/* `trimtab serve`: builds every room, runs the main loop, tears down in reverse. */
#ifndef TT_SERVE_H
#define TT_SERVE_H

#include "log.h"

typedef struct {
    const char *const *rules; /* files and directories */
    size_t n_rules;
    const char *prometheus; /* NULL: no Prometheus, load reports and alerts only */
    const char *state_dir;
    const char *store; /* NULL: SQLite in state_dir; else postgresql://... */
    const char *address;
    uint16_t port;
    const char *web_dir; /* NULL: the embedded dashboard */
    const char *record_dir;    /* NULL: nothing is recorded */
    bool record_must;          /* a directory that cannot be used stops the start: somebody named it */
    uint64_t record_max_bytes; /* of all segments; the oldest go first */
    int64_t record_keep_ns;    /* 0: only record_max_bytes bounds them */
    tt_level level;
} tt_serve_options;

/* Returns the exit code: 0 after SIGTERM or SIGINT, 1 when it could not start (already told on stderr). Once a process. */
int tt_serve(const tt_serve_options *o);

#endif
