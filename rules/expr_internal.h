/* What the expression parser and the checks on expressions share. Nothing outside rules/ includes this. */
#ifndef TT_EXPR_INTERNAL_H
#define TT_EXPR_INTERNAL_H

#include "expr.h"

typedef enum {
    TT_OP_NUMBER,
    TT_OP_SIGNAL,
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
    int signal;
    double number;
} tt_expr_node;

struct tt_expr {
    tt_sv text;
    const tt_expr_node *nodes;
    uint16_t n, root;
    const int *signals;
    size_t n_signals;
};

/* What values a signal can have at all: rates, times and ratios are never negative. */
typedef struct {
    double low, high;
} tt_range;
typedef tt_range (*tt_expr_range)(void *ctx, int signal);

/* What can become of expressions that must hold together, over every value in range; TT_UNKNOWN: either. Finds plain contradictions
 * (a bound outside the range, two bounds that exclude each other), not every one there is. */
tt_truth tt_expr_always(const tt_expr *const e[], size_t n, tt_expr_range range, void *ctx);

#endif
