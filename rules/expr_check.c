/* What an expression can never be: interval arithmetic over what its signals can be. */
#include "expr_internal.h"

#include <math.h>

typedef struct {
    double low, high;         /* of a number */
    bool may_true, may_false; /* of a truth */
} span;

static span number(double low, double high) {
    /* inf - inf says nothing */
    return (span){.low = isnan(low) ? -INFINITY : low, .high = isnan(high) ? INFINITY : high};
}

/* Of the corners of a product or quotient; 0 x inf and inf / inf count as 0, which the corners beside them make safe. */
static double least(double a, double b, double c, double d) {
    return fmin(fmin(isnan(a) ? 0 : a, isnan(b) ? 0 : b), fmin(isnan(c) ? 0 : c, isnan(d) ? 0 : d));
}
static double most(double a, double b, double c, double d) {
    return fmax(fmax(isnan(a) ? 0 : a, isnan(b) ? 0 : b), fmax(isnan(c) ? 0 : c, isnan(d) ? 0 : d));
}

/* The same signal alone on both sides is the same value, whatever it is. */
static bool same_signal(const tt_expr *e, const tt_expr_node *x) {
    return e->nodes[x->a].op == TT_OP_SIGNAL && e->nodes[x->b].op == TT_OP_SIGNAL && e->nodes[x->a].signal == e->nodes[x->b].signal;
}

static span compare(const tt_expr *e, const tt_expr_node *x, span a, span b) {
    span r = {0};
    if (same_signal(e, x)) {
        r.may_true = x->op == TT_OP_GE || x->op == TT_OP_LE || x->op == TT_OP_EQ;
        r.may_false = !r.may_true;
        return r;
    }
    bool apart = a.high < b.low || b.high < a.low, one_point = a.low == a.high && b.low == b.high && a.low == b.low;
    switch (x->op) {
    case TT_OP_GT:
        r = (span){.may_true = a.high > b.low, .may_false = a.low <= b.high};
        break;
    case TT_OP_GE:
        r = (span){.may_true = a.high >= b.low, .may_false = a.low < b.high};
        break;
    case TT_OP_LT:
        r = (span){.may_true = a.low < b.high, .may_false = a.high >= b.low};
        break;
    case TT_OP_LE:
        r = (span){.may_true = a.low <= b.high, .may_false = a.high > b.low};
        break;
    case TT_OP_EQ:
        r = (span){.may_true = !apart, .may_false = !one_point};
        break;
    default:
        r = (span){.may_true = !one_point, .may_false = !apart};
        break;
    }
    return r;
}

static span look(const tt_expr *e, uint16_t at, tt_expr_range range, void *ctx) {
    const tt_expr_node *x = &e->nodes[at];
    span a = {0}, b = {0};
    if (x->op == TT_OP_NUMBER) return number(x->number, x->number);
    if (x->op == TT_OP_SIGNAL) {
        tt_range r = range(ctx, x->signal);
        return number(r.low, r.high);
    }
    a = look(e, x->a, range, ctx);
    if (x->op != TT_OP_NOT && x->op != TT_OP_NEG) b = look(e, x->b, range, ctx);
    switch (x->op) {
    case TT_OP_NEG:
        return number(-a.high, -a.low);
    case TT_OP_ADD:
        return number(a.low + b.low, a.high + b.high);
    case TT_OP_SUB:
        return number(a.low - b.high, a.high - b.low);
    case TT_OP_MUL:
        return number(least(a.low * b.low, a.low * b.high, a.high * b.low, a.high * b.high),
                      most(a.low * b.low, a.low * b.high, a.high * b.low, a.high * b.high));
    case TT_OP_DIV:
        if (b.low <= 0 && b.high >= 0) return a.low >= 0 && b.low >= 0 ? number(0, INFINITY) : number(-INFINITY, INFINITY);
        return number(least(a.low / b.low, a.low / b.high, a.high / b.low, a.high / b.high),
                      most(a.low / b.low, a.low / b.high, a.high / b.low, a.high / b.high));
    case TT_OP_AND:
        return (span){.may_true = a.may_true && b.may_true, .may_false = a.may_false || b.may_false};
    case TT_OP_OR:
        return (span){.may_true = a.may_true || b.may_true, .may_false = a.may_false && b.may_false};
    case TT_OP_NOT:
        return (span){.may_true = a.may_false, .may_false = a.may_true};
    default:
        return compare(e, x, a, b);
    }
}

/* ---- bounds that must hold together ---- */

enum { BOUNDED_MAX = 2 * TT_EXPR_SIGNALS_MAX };

typedef struct {
    int signal;
    double low, high;
    bool low_open, high_open;
} bounded;

typedef struct {
    bounded s[BOUNDED_MAX];
    size_t n;
    tt_expr_range range;
    void *ctx;
    bool contradiction;
} conjunction;

static void narrow(conjunction *c, int signal, tt_expr_op op, double v) {
    size_t i = 0;
    while (i < c->n && c->s[i].signal != signal) i++;
    if (i == BOUNDED_MAX) return;
    bounded *b = &c->s[i];
    if (i == c->n) {
        tt_range r = c->range(c->ctx, signal);
        *b = (bounded){signal, r.low, r.high, false, false};
        c->n++;
    }
    bool lower = op == TT_OP_GT || op == TT_OP_GE || op == TT_OP_EQ, upper = op == TT_OP_LT || op == TT_OP_LE || op == TT_OP_EQ;
    if (lower && (v > b->low || (v == b->low && op == TT_OP_GT))) {
        b->low = v;
        b->low_open = op == TT_OP_GT;
    }
    if (upper && (v < b->high || (v == b->high && op == TT_OP_LT))) {
        b->high = v;
        b->high_open = op == TT_OP_LT;
    }
    if (b->low > b->high || (b->low == b->high && (b->low_open || b->high_open))) c->contradiction = true;
}

static tt_expr_op mirrored(tt_expr_op op) {
    switch (op) {
    case TT_OP_GT:
        return TT_OP_LT;
    case TT_OP_GE:
        return TT_OP_LE;
    case TT_OP_LT:
        return TT_OP_GT;
    case TT_OP_LE:
        return TT_OP_GE;
    default:
        return op;
    }
}

/* Takes `signal OP number` and `number OP signal` out of a chain of `and`. */
static void gather(conjunction *c, const tt_expr *e, uint16_t at) {
    const tt_expr_node *x = &e->nodes[at];
    if (x->op == TT_OP_AND) {
        gather(c, e, x->a);
        gather(c, e, x->b);
        return;
    }
    if (x->op < TT_OP_GT || x->op > TT_OP_EQ) return;
    const tt_expr_node *a = &e->nodes[x->a], *b = &e->nodes[x->b];
    span va = look(e, x->a, c->range, c->ctx), vb = look(e, x->b, c->range, c->ctx);
    if (a->op == TT_OP_SIGNAL && vb.low == vb.high)
        narrow(c, a->signal, x->op, vb.low);
    else if (b->op == TT_OP_SIGNAL && va.low == va.high)
        narrow(c, b->signal, mirrored(x->op), va.low);
}

tt_truth tt_expr_always(const tt_expr *const e[], size_t n, tt_expr_range range, void *ctx) {
    conjunction c = {.range = range, .ctx = ctx};
    bool may_true = true, may_false = false;
    for (size_t i = 0; i < n; i++) {
        span s = look(e[i], e[i]->root, range, ctx);
        may_true = may_true && s.may_true;
        may_false = may_false || s.may_false;
        gather(&c, e[i], e[i]->root);
    }
    if (!may_true || c.contradiction) return TT_FALSE;
    return may_false ? TT_UNKNOWN : TT_TRUE;
}
