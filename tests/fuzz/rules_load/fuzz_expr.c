/* Any text as an expression: refused with a place inside it, or taken; then it reads back from its own text, and what is said to be never
 * or always so is never found otherwise. */
#include "expr_internal.h"

#include <math.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int resolve(void *ctx, tt_sv name) {
    (void)ctx;
    return name.n == 1 && name.p[0] >= 'a' && name.p[0] <= 'z' ? name.p[0] - 'a' : -1;
}

/* A call is read as a signal of its own. */
static int value_of(int asked) {
    return asked >= TT_EXPR_CALL ? (asked - TT_EXPR_CALL + 13) % 26 : asked;
}

static tt_range range(void *ctx, int signal) {
    (void)ctx;
    signal = value_of(signal);
    return signal % 3 == 0 ? (tt_range){0, 1} : signal % 3 == 1 ? (tt_range){0, INFINITY} : (tt_range){-INFINITY, INFINITY};
}

typedef struct {
    double v[26];
    uint32_t known;
} values;

static bool read_value(void *ctx, int signal, double *ret) {
    const values *x = ctx;
    signal = value_of(signal);
    if (!(x->known >> signal & 1)) return false;
    *ret = x->v[signal];
    return true;
}

/* Values in range, drawn from the input's own bytes: bounds, and what lies around them. */
static values draw(const uint8_t *data, size_t size, uint32_t seed) {
    static const double points[] = {0, 1, 0.05, 0.5, 2, 5, 100, 1e9, -1, -5};
    values x = {.known = seed % 3 ? UINT32_MAX : seed * 2654435761u};
    for (int i = 0; i < 26; i++) {
        seed = seed * 1664525u + 1013904223u + (size ? data[(size_t)i % size] : 0u);
        tt_range r = range(NULL, i);
        double v = points[seed >> 8 & 7];
        if (seed >> 16 & 1) v = points[seed >> 8 & 1 ? 8 : 9];
        x.v[i] = fmin(fmax(v, r.low), r.high);
    }
    return x;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    tt_err err = {0};
    tt_arena *arena = tt_arena_new();
    tt_doc node = {.kind = TT_DOC_SCALAR, .pos = {"f", 1, 1}, .text = {(const char *)data, size}};
    const tt_expr *e = tt_expr_parse(arena, &node, resolve, NULL, &err);
    if (!e) {
        TT_ASSERT(err.text[0] && err.line == 1 && err.column >= 1 && err.column <= size + 1);
        tt_arena_free(arena);
        return 0;
    }
    int signals[TT_EXPR_SIGNALS_MAX], signal;
    double bound;
    tt_sv op;
    size_t n = tt_expr_signals(e, signals);
    TT_ASSERT(n <= TT_EXPR_SIGNALS_MAX);
    tt_doc again = {.kind = TT_DOC_SCALAR, .text = tt_expr_text(e)};
    const tt_expr *second = tt_expr_parse(arena, &again, resolve, NULL, &err);
    TT_ASSERT(second && second->n == e->n);
    tt_truth always = tt_expr_always(&e, 1, range, NULL);
    for (uint32_t seed = 0; seed < 12; seed++) {
        values x = draw(data, size, seed);
        tt_truth t = tt_expr_eval(e, read_value, &x);
        TT_ASSERT(t == tt_expr_eval(second, read_value, &x));
        TT_ASSERT(t == TT_UNKNOWN || always == TT_UNKNOWN || t == always);
        if (n == 1 && tt_expr_bound(e, &signal, &op, &bound)) {
            TT_ASSERT(signal == signals[0] && isfinite(bound));
            x.known = UINT32_MAX;
            x.v[signal] = bound;
            bool equal_holds = tt_sv_eq(op, TT_SV(">=")) || tt_sv_eq(op, TT_SV("<=")) || tt_sv_eq(op, TT_SV("=="));
            TT_ASSERT(tt_expr_eval(e, read_value, &x) == (equal_holds ? TT_TRUE : TT_FALSE));
        }
    }
    tt_arena_free(arena);
    return 0;
}
