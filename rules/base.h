/* Ground floor of the pure engine: text views, located errors, time, growing text, units.
 * Nothing here reads a clock, a file or the environment. Any thread may call; nothing is shared. */
#ifndef TT_BASE_H
#define TT_BASE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TT_COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define TT_MUST_USE __attribute__((warn_unused_result))
#define TT_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

/* A bug of ours: stops the process in release builds too. The world's faults are errors, never assertions. */
#define TT_ASSERT(cond) ((cond) ? (void)0 : tt_assert_failed(#cond, __FILE__, __LINE__))
_Noreturn void tt_assert_failed(const char *cond, const char *file, int line);

/* Text by pointer and length, borrowed, not NUL-terminated. */
typedef struct {
    const char *p;
    size_t n;
} tt_sv;
#define TT_SV(lit) ((tt_sv){("" lit), sizeof(lit) - 1})
#define TT_SV_FMT "%.*s"
#define TT_SV_ARG(sv) (int)(sv).n, (sv).p
tt_sv tt_sv_of(const char *nul_terminated); /* NULL gives the empty view */
bool tt_sv_eq(tt_sv a, tt_sv b);
int tt_sv_cmp(tt_sv a, tt_sv b); /* bytewise, as memcmp */

/* Monotonic nanoseconds since this boot: every duration in the engine is made of these. */
typedef struct {
    int64_t ns;
} tt_time;
/* Unix milliseconds: shown to people, never subtracted. */
typedef struct {
    int64_t ms;
} tt_wall;
#define TT_MS(ms) ((int64_t)(ms) * 1000000)
#define TT_SECONDS(s) ((int64_t)(s) * 1000000000)
static inline int64_t tt_since(tt_time now, tt_time then) { return now.ns - then.ns; }

typedef enum {
    TT_OK = 0,
    TT_ESYNTAX,   /* not well-formed */
    TT_EUNKNOWN,  /* a key or name nobody knows */
    TT_EVALUE,    /* out of range, wrong type, contradiction */
    TT_ELIMIT,    /* over a ceiling */
    TT_EMISSING,  /* required and absent */
    TT_EIO,       /* file, network, store */
    TT_ENOMEM,
    TT_ESTATE,    /* not possible in this state */
} tt_code;

/* One error, written to the operator: what happened, where, what to do. line and column are 1-based, 0 if not known. */
typedef struct {
    tt_code code;
    char file[256];
    uint32_t line, column;
    char text[512];
} tt_err;
/* Fills *err (may be NULL) and returns false, so that `return tt_fail(...)` reads well. */
bool tt_fail(tt_err *err, tt_code code, const char *fmt, ...) TT_PRINTF(3, 4);
/* "file:line:column: text", or less where less is known, NUL-terminated, cut to fit. */
void tt_err_print(const tt_err *err, char *buf, size_t size);

/* Memory that is freed all at once. Zeroed blocks, aligned for anything. NULL when memory is out. */
typedef struct tt_arena tt_arena;
tt_arena *tt_arena_new(void);
void tt_arena_free(tt_arena *a);
void *tt_arena_alloc(tt_arena *a, size_t bytes);
void *tt_arena_array(tt_arena *a, size_t n, size_t each); /* NULL on overflow too */
tt_sv tt_arena_copy(tt_arena *a, tt_sv s);                /* NUL-terminated behind the view; {NULL,0} when memory is out */

/* Growing text with a ceiling: once `failed` is set further writes are ignored, so a writer checks once at its end. */
typedef struct {
    char *p; /* NUL-terminated once anything was written */
    size_t n, cap, max;
    bool failed;
} tt_buf;
void tt_buf_init(tt_buf *b, size_t max);
void tt_buf_free(tt_buf *b);
void tt_buf_put(tt_buf *b, tt_sv s);
void tt_buf_printf(tt_buf *b, const char *fmt, ...) TT_PRINTF(2, 3); /* never %f and kin: see tt_buf_number */
void tt_buf_json_string(tt_buf *b, tt_sv s);                          /* quoted and escaped; invalid UTF-8 becomes U+FFFD */
void tt_buf_number(tt_buf *b, double v); /* shortest text that reads back to the same double, '.' whatever the locale; not finite: null */

/* A further member of a JSON object: ,"name":value. `name` is a literal that needs no escaping. */
void tt_buf_key(tt_buf *b, const char *name); /* the value follows */
void tt_buf_member(tt_buf *b, const char *name, tt_sv text);
void tt_buf_member_or_null(tt_buf *b, const char *name, const char *text); /* empty: null */
void tt_buf_member_number(tt_buf *b, const char *name, double v);          /* not finite: null */
void tt_buf_member_wall(tt_buf *b, const char *name, tt_wall w);           /* ms; 0: null */
void tt_buf_member_age(tt_buf *b, const char *name, tt_time t, tt_time now); /* ns since; 0: null */

/* Numbers with units, locale-free. false and *ret untouched when `s` is anything else. */
bool tt_parse_number(tt_sv s, double *ret);          /* finite decimal: "12", "-0.5", "1e3" */
bool tt_parse_ratio(tt_sv s, double *ret);           /* "35%" or "0.35": 0 to 1 inclusive */
bool tt_parse_duration(tt_sv s, int64_t *ret_ns);    /* "250ms", "10s", "1h30m", "7d": at most 400 days, never negative */
void tt_format_duration(int64_t ns, char *buf, size_t size); /* "1h30m", "10s", "250ms" */

#endif
