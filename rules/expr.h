/* `when:` and `keep:` expressions: parsed once, evaluated on samples with three-valued logic.
 *
 *   expr   = or ; or = and { "or" and } ; and = not { "and" not } ; not = [ "not" ] cmp
 *   cmp    = sum [ (">"|">="|"<"|"<="|"=="|"!=") sum ] ; sum = prod { ("+"|"-") prod } ; prod = unary { ("*"|"/") unary }
 *   unary  = [ "-" ] atom ; atom = number | signal | call | "(" or ")"
 *   call   = ( "change" | "rate" | "mean" ) "(" signal "," duration ")"
 *
 * A number may carry "%", "ms", "s", "m" or "h". A percentage is its ratio (5% = 0.05). A duration becomes milliseconds (10s = 10000), the unit
 * every `_ms` signal is in. A signal whose quality is not `ok` makes its comparison unknown; division by zero is unknown;
 * `and`, `or`, `not` follow Kleene's strong three-valued logic. A whole expression must be boolean.
 * A call looks at a signal's own past: change() is its difference over the span, rate() the rise a second of a counter (a fall is a
 * restart from 0), mean() its average over time. The past is not kept here: a call is read through the same door as a signal.
 * Pure; an expression is immutable and may be evaluated by any number of threads. */
#ifndef TT_EXPR_H
#define TT_EXPR_H

#include "doc.h"

typedef enum { TT_FALSE = 0, TT_TRUE = 1, TT_UNKNOWN = 2 } tt_truth;

typedef struct tt_expr tt_expr;

/* Looks a signal's name up at parse time. Returns its index, or -1. */
typedef int (*tt_expr_resolve)(void *ctx, tt_sv name);
/* Reads a signal, or from TT_EXPR_CALL on a call, at evaluation time. false: not `ok`. *ret is finite. */
typedef bool (*tt_expr_read)(void *ctx, int signal, double *ret);

enum { TT_EXPR_SIGNALS_MAX = 16, TT_EXPR_CALLS_MAX = 16, TT_EXPR_NODES_MAX = 256, TT_EXPR_DEPTH_MAX = 64 };
enum { TT_EXPR_CALL = 1 << 16 }; /* what a reader is asked for: TT_EXPR_CALL + what the call is bound to */

typedef enum { TT_EXPR_CHANGE, TT_EXPR_RATE, TT_EXPR_MEAN } tt_expr_function;
typedef struct {
    tt_expr_function function;
    int signal;
    int64_t span_ns; /* 1s to 24h */
    size_t at;       /* byte of the expression where it stands */
    int bound;       /* what the reader is asked for, less TT_EXPR_CALL: its place in the expression until it is bound */
} tt_expr_call;

/* NULL and *err with the exact line and column of the offending token. Lives in `arena`. */
tt_expr *tt_expr_parse(tt_arena *arena, const tt_doc *node, tt_expr_resolve resolve, void *ctx, tt_err *err);
tt_truth tt_expr_eval(const tt_expr *e, tt_expr_read read, void *ctx);
size_t tt_expr_signals(const tt_expr *e, int ret[TT_EXPR_SIGNALS_MAX]); /* distinct, in order of first appearance; the first drives */
tt_sv tt_expr_text(const tt_expr *e);                                   /* as written */
size_t tt_expr_calls(const tt_expr *e, const tt_expr_call **ret);       /* distinct */
void tt_expr_bind(tt_expr *e, size_t call, int bound);                  /* by whoever loads it, before anybody evaluates */
const char *tt_expr_function_name(tt_expr_function f);
/* A constant as expressions write them: "2%", "50ms", "1e3". Not negative. */
bool tt_parse_amount(tt_sv s, double *ret);
/* For `signal OP constant` alone (the shape of an objective on a chart): fills and returns true. */
bool tt_expr_bound(const tt_expr *e, int *ret_signal, tt_sv *ret_op, double *ret_bound);

#endif
