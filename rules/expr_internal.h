/* What the expression parser and the checks on expressions share. Nothing outside rules/ includes this. */
#ifndef TT_EXPR_INTERNAL_H
#define TT_EXPR_INTERNAL_H

#include "expr.h"

typedef enum {
    TT_OP_NUMBER,
    TT_OP_SIGNAL,
    TT_OP_CALL,
    TT_OP_NEG,
    TT_OP_ADD,
    TT_OP_SUB,
    TT_OP_MUL,
    TT_OP_DIV,
    TT_OP_GT,
    TT_OP_GE,
    TT_OP_LT,
    TT_OP_LE,
    TT_OP_EQ,
    TT_OP_NE,
    TT_OP_AND,
    TT_OP_OR,
    TT_OP_NOT,
} tt_expr_op;

typedef struct {
    tt_expr_op op;
    uint32_t at;   /* byte in the text, for errors */
    uint16_t a, b; /* operands: indices below this node's own */
    int signal; /* TT_OP_CALL: its index among the calls */
    double number;
} tt_expr_node;

struct tt_expr {
    tt_sv text;
    const tt_expr_node *nodes;
    uint16_t n, root;
    const int *signals;
    size_t n_signals;
    tt_expr_call *calls;
    size_t n_calls;
};

/* What a reader is asked for at a TT_OP_SIGNAL or TT_OP_CALL. */
static inline int tt_expr_asked(const tt_expr *e, const tt_expr_node *x) {
    return x->op == TT_OP_CALL ? TT_EXPR_CALL + e->calls[x->signal].bound : x->signal;
}
static inline bool tt_expr_is_leaf(tt_expr_op op) {
    return op == TT_OP_NUMBER || op == TT_OP_SIGNAL || op == TT_OP_CALL;
}

/* What values a signal can have at all: rates, times and ratios are never negative. */
typedef struct {
    double low, high;
} tt_range;
typedef tt_range (*tt_expr_range)(void *ctx, int signal);

/* Whether expressions can hold together, with `without` (may be NULL) not holding, for any values in range. Exact where they compare signals with
 * constants; TT_UNKNOWN where nobody can tell. At most 16 are looked at. */
tt_truth tt_expr_together(const tt_expr *const e[], size_t n, const tt_expr *without, tt_expr_range range, void *ctx);
/* What becomes of expressions that must hold together, over every value in range; TT_UNKNOWN: either, or nobody can tell. */
tt_truth tt_expr_always(const tt_expr *const e[], size_t n, tt_expr_range range, void *ctx);

typedef struct {
    double low, high;
    bool has_low, has_high, low_open, high_open;
} tt_bounds;
/* Between which constants the signal is whenever the expression holds: those that stand in a chain of `and`. */
tt_bounds tt_expr_bounds(const tt_expr *e, int signal, tt_expr_range range, void *ctx);

#endif
