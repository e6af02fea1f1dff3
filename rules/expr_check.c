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
    const tt_expr_node *a = &e->nodes[x->a], *b = &e->nodes[x->b];
    return a->op != TT_OP_NUMBER && a->op == b->op && tt_expr_is_leaf(a->op) && a->signal == b->signal;
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
    if (x->op == TT_OP_SIGNAL || x->op == TT_OP_CALL) {
        tt_range r = range(ctx, tt_expr_asked(e, x));
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

/* ---- what can hold together ----
 * Every way to make the expressions true is tried, one `or` after the other; each way is a box of bounds, one interval for each signal. */

enum { BOUNDED_MAX = 64, STEPS_MAX = 20000 };

typedef struct {
    int asked;
    double low, high;
    bool low_open, high_open;
} bounded;

typedef struct {
    bounded s[BOUNDED_MAX];
    size_t n;
    tt_expr_range range;
    void *ctx;
    uint32_t steps;
    uint32_t unsure; /* conditions on this way that are no bound: they may hold or not */
    bool maybe;      /* a way was found with such conditions on it */
} solver;

typedef struct goal {
    const tt_expr *e;
    uint16_t at;
    bool want;
    const struct goal *next;
} goal;

static bool solve(solver *s, const goal *g);

static bool is_empty(const bounded *b) {
    return b->low > b->high || (b->low == b->high && (b->low_open || b->high_open));
}

/* Goes on with one more bound, and takes it back. */
static bool solve_bounded(solver *s, int asked, tt_expr_op op, double v, const goal *next) {
    if (op == TT_OP_NE) return solve_bounded(s, asked, TT_OP_LT, v, next) || solve_bounded(s, asked, TT_OP_GT, v, next);
    size_t i = 0;
    while (i < s->n && s->s[i].asked != asked) i++;
    if (i == BOUNDED_MAX) {
        s->unsure++;
        bool found = solve(s, next);
        s->unsure--;
        return found;
    }
    size_t n = s->n;
    if (i == s->n) {
        tt_range r = s->range(s->ctx, asked);
        s->s[s->n++] = (bounded){asked, r.low, r.high, false, false};
    }
    bounded *b = &s->s[i], was = *b;
    bool lower = op == TT_OP_GT || op == TT_OP_GE || op == TT_OP_EQ, upper = op == TT_OP_LT || op == TT_OP_LE || op == TT_OP_EQ;
    if (lower && (v > b->low || (v == b->low && op == TT_OP_GT))) {
        b->low = v;
        b->low_open = op == TT_OP_GT;
    }
    if (upper && (v < b->high || (v == b->high && op == TT_OP_LT))) {
        b->high = v;
        b->high_open = op == TT_OP_LT;
    }
    bool found = !is_empty(b) && solve(s, next);
    *b = was;
    s->n = n;
    return found;
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

static tt_expr_op opposite(tt_expr_op op) {
    switch (op) {
    case TT_OP_GT:
        return TT_OP_LE;
    case TT_OP_GE:
        return TT_OP_LT;
    case TT_OP_LT:
        return TT_OP_GE;
    case TT_OP_LE:
        return TT_OP_GT;
    case TT_OP_EQ:
        return TT_OP_NE;
    default:
        return TT_OP_EQ;
    }
}

static bool is_value(const tt_expr_node *x) {
    return x->op == TT_OP_SIGNAL || x->op == TT_OP_CALL;
}

static bool solve_compare(solver *s, const goal *g) {
    const tt_expr_node *x = &g->e->nodes[g->at], *a = &g->e->nodes[x->a], *b = &g->e->nodes[x->b];
    span va = look(g->e, x->a, s->range, s->ctx), vb = look(g->e, x->b, s->range, s->ctx), r = compare(g->e, x, va, vb);
    if (g->want ? !r.may_true : !r.may_false) return false;
    if (g->want ? !r.may_false : !r.may_true) return solve(s, g->next);
    tt_expr_op op = g->want ? x->op : opposite(x->op);
    if (is_value(a) && vb.low == vb.high) return solve_bounded(s, tt_expr_asked(g->e, a), op, vb.low, g->next);
    if (is_value(b) && va.low == va.high) return solve_bounded(s, tt_expr_asked(g->e, b), mirrored(op), va.low, g->next);
    s->unsure++;
    bool found = solve(s, g->next);
    s->unsure--;
    return found;
}

/* true: all goals hold together for certain values. Otherwise none do, or `maybe` is set. */
static bool solve(solver *s, const goal *g) {
    if (!g) {
        s->maybe = s->maybe || s->unsure;
        return !s->unsure;
    }
    if (++s->steps > STEPS_MAX) {
        s->maybe = true;
        return false;
    }
    const tt_expr_node *x = &g->e->nodes[g->at];
    if (x->op == TT_OP_NOT) return solve(s, &(goal){g->e, x->a, !g->want, g->next});
    if (x->op != TT_OP_AND && x->op != TT_OP_OR) return solve_compare(s, g);
    goal b = {g->e, x->b, g->want, g->next}, a = {g->e, x->a, g->want, g->next};
    if ((x->op == TT_OP_AND) != g->want) return solve(s, &a) || solve(s, &b);
    a.next = &b;
    return solve(s, &a);
}

static tt_truth together(const goal *g, tt_expr_range range, void *ctx) {
    solver s = {.range = range, .ctx = ctx};
    return solve(&s, g) ? TT_TRUE : s.maybe ? TT_UNKNOWN : TT_FALSE;
}

enum { TOGETHER_MAX = 16 };

static tt_truth all_hold(const tt_expr *const e[], size_t n, const tt_expr *not_this, tt_expr_range range, void *ctx) {
    goal g[TOGETHER_MAX + 1];
    size_t k = 0;
    if (not_this) g[k++] = (goal){not_this, not_this->root, false, NULL};
    for (size_t i = 0; i < n && k < TOGETHER_MAX; i++) g[k++] = (goal){e[i], e[i]->root, true, NULL};
    for (size_t i = 0; i + 1 < k; i++) g[i].next = &g[i + 1];
    return together(k ? g : NULL, range, ctx);
}

tt_truth tt_expr_together(const tt_expr *const e[], size_t n, const tt_expr *without, tt_expr_range range, void *ctx) {
    return all_hold(e, n, without, range, ctx);
}

tt_truth tt_expr_always(const tt_expr *const e[], size_t n, tt_expr_range range, void *ctx) {
    if (all_hold(e, n, NULL, range, ctx) == TT_FALSE) return TT_FALSE;
    bool may_false = false;
    for (size_t i = 0; i < n; i++) may_false = may_false || all_hold(NULL, 0, e[i], range, ctx) != TT_FALSE;
    return may_false ? TT_UNKNOWN : TT_TRUE;
}

/* ---- bounds that an expression puts on a signal whenever it holds ---- */

static void gather(const tt_expr *e, uint16_t at, int signal, tt_expr_range range, void *ctx, tt_bounds *ret) {
    const tt_expr_node *x = &e->nodes[at];
    if (x->op == TT_OP_AND) {
        gather(e, x->a, signal, range, ctx, ret);
        gather(e, x->b, signal, range, ctx, ret);
        return;
    }
    if (x->op < TT_OP_GT || x->op > TT_OP_LE) return;
    const tt_expr_node *a = &e->nodes[x->a], *b = &e->nodes[x->b];
    span va = look(e, x->a, range, ctx), vb = look(e, x->b, range, ctx);
    bool left = a->op == TT_OP_SIGNAL && a->signal == signal && vb.low == vb.high,
         right = b->op == TT_OP_SIGNAL && b->signal == signal && va.low == va.high;
    if (!left && !right) return;
    tt_expr_op op = left ? x->op : mirrored(x->op);
    double v = left ? vb.low : va.low;
    if ((op == TT_OP_GT || op == TT_OP_GE) && (!ret->has_low || v > ret->low || (v == ret->low && op == TT_OP_GT))) {
        ret->low = v;
        ret->low_open = op == TT_OP_GT;
        ret->has_low = true;
    }
    if ((op == TT_OP_LT || op == TT_OP_LE) && (!ret->has_high || v < ret->high || (v == ret->high && op == TT_OP_LT))) {
        ret->high = v;
        ret->high_open = op == TT_OP_LT;
        ret->has_high = true;
    }
}

tt_bounds tt_expr_bounds(const tt_expr *e, int signal, tt_expr_range range, void *ctx) {
    tt_bounds b = {0};
    gather(e, e->root, signal, range, ctx, &b);
    return b;
}
