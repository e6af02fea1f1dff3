/* Log lines of typed key=value pairs, escaped in one place, one write(2) a line so that lines never mix. Any thread.
 * The engine and the data plane don't log: they return events, and the daemon logs those. */
#ifndef TT_LOG_H
#define TT_LOG_H

#include "base.h"

typedef enum { TT_DEBUG, TT_INFO, TT_WARN, TT_ERROR } tt_level;

typedef struct {
    int fd;
    tt_level level; /* lines below it are not written */
} tt_log;

typedef struct {
    const char *key; /* NULL ends the list */
    enum { TT_KV_TEXT, TT_KV_INT, TT_KV_UINT, TT_KV_REAL, TT_KV_NS } kind;
    tt_sv text;
    int64_t i;
    uint64_t u;
    double real;
} tt_kv;
#define TT_KV(k, v) ((tt_kv){.key = (k), .kind = TT_KV_TEXT, .text = tt_sv_of(v)})
#define TT_KV_SV(k, v) ((tt_kv){.key = (k), .kind = TT_KV_TEXT, .text = (v)})
#define TT_KV_I(k, v) ((tt_kv){.key = (k), .kind = TT_KV_INT, .i = (int64_t)(v)})
#define TT_KV_U(k, v) ((tt_kv){.key = (k), .kind = TT_KV_UINT, .u = (uint64_t)(v)})
#define TT_KV_NUM(k, v) ((tt_kv){.key = (k), .kind = TT_KV_REAL, .real = (v)})
#define TT_KV_TIME(k, v) ((tt_kv){.key = (k), .kind = TT_KV_NS, .i = (v)}) /* nanoseconds, written as "1m30s" */
#define TT_KV_END ((tt_kv){.key = NULL})

/* tt_log_line(&log, TT_WARN, "source_down", TT_KV("source", name), TT_KV_TIME("age", ns), TT_KV_END); */
#define tt_log_line(log, level, event, ...) tt_log_write((log), (level), (event), (const tt_kv[]){__VA_ARGS__})
void tt_log_write(const tt_log *log, tt_level level, const char *event, const tt_kv *kv);

bool tt_log_level_of(tt_sv name, tt_level *ret); /* debug, info, warn, error */

#endif
