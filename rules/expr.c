/* Expressions: a recursive descent over tokens into an array of nodes, children before parents, evaluated from the root.
 * expr_check.c reasons about what they can never be. */
#include "expr_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef enum { TOK_END, TOK_NUMBER, TOK_NAME, TOK_OP, TOK_OPEN, TOK_CLOSE, TOK_COMMA, TOK_AND, TOK_OR, TOK_NOT } tok_kind;

typedef struct {
    tok_kind kind;
    size_t at, n; /* bytes of the text */
    double number;
    bool timed;    /* TOK_NUMBER: with a unit of time, so `number` is in milliseconds */
    tt_expr_op op; /* TOK_OP */
} token;

typedef struct {
    const tt_doc *doc;
    tt_sv text;
    size_t i; /* behind `tok` */
    token tok;
    int depth;
    tt_expr_node nodes[TT_EXPR_NODES_MAX];
    uint16_t n;
    int signals[TT_EXPR_SIGNALS_MAX];
    size_t n_signals;
    tt_expr_call calls[TT_EXPR_CALLS_MAX];
    size_t n_calls;
    tt_expr_resolve resolve;
    void *ctx;
    tt_err *err;
} parser;

enum { NONE = UINT16_MAX, SHOWN_MAX = 40 };

static const struct {
    const char *text;
    tt_expr_op op;
} operators[] = {{">=", TT_OP_GE}, {"<=", TT_OP_LE}, {"==", TT_OP_EQ}, {"!=", TT_OP_NE}, {">", TT_OP_GT},
                 {"<", TT_OP_LT},  {"+", TT_OP_ADD}, {"-", TT_OP_SUB}, {"*", TT_OP_MUL}, {"/", TT_OP_DIV}};

static const char *const functions[] = {[TT_EXPR_CHANGE] = "change", [TT_EXPR_RATE] = "rate", [TT_EXPR_MEAN] = "mean"};

const char *tt_expr_function_name(tt_expr_function f) {
    return functions[f];
}

static const char *op_text(tt_expr_op op) {
    for (size_t i = 0; i < TT_COUNT(operators); i++)
        if (operators[i].op == op) return operators[i].text;
    return "?";
}

static bool is_compare(tt_expr_op op) {
    return op >= TT_OP_GT && op <= TT_OP_NE;
}
static bool is_boolean(tt_expr_op op) {
    return is_compare(op) || op == TT_OP_AND || op == TT_OP_OR || op == TT_OP_NOT;
}

static bool fail_at(parser *p, tt_code code, size_t at, const char *fmt, ...) TT_PRINTF(4, 5);
static bool fail_at(parser *p, tt_code code, size_t at, const char *fmt, ...) {
    char text[sizeof(p->err->text)];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    tt_doc placed = *p->doc;
    placed.pos = tt_doc_place(p->doc, at);
    return tt_doc_fail(p->err, code, &placed, "%s", text);
}

static tt_sv shown(const parser *p, const token *t) {
    return (tt_sv){p->text.p + t->at, t->n < SHOWN_MAX ? t->n : (size_t)SHOWN_MAX};
}

/* ---- tokens ---- */

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}
static bool is_word(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

/* The value of `number` with its unit, computed in decimal where it can be, so that 99.9% is the double nearest to 0.999. */
static bool with_unit(tt_sv number, tt_sv unit, double *ret) {
    static const struct {
        const char *name;
        int shift;
        double times;
    } units[] = {{"", 0, 1}, {"%", -2, 1}, {"ms", 0, 1}, {"s", 3, 1}, {"m", 3, 60}, {"h", 3, 3600}};
    size_t u = 0, e = 0;
    while (u < TT_COUNT(units) && !tt_sv_eq(unit, tt_sv_of(units[u].name))) u++;
    if (u == TT_COUNT(units)) return false;
    while (e < number.n && number.p[e] != 'e' && number.p[e] != 'E') e++;
    double exp10 = 0;
    tt_sv exponent = e < number.n ? (tt_sv){number.p + e + 1, number.n - e - 1} : TT_SV("0");
    if (exponent.n && exponent.p[0] == '+') exponent = (tt_sv){exponent.p + 1, exponent.n - 1};
    if (!tt_parse_number(exponent, &exp10) || fabs(exp10) > 1000) return false;
    char text[96];
    int n = snprintf(text, sizeof(text), "%.*se%d", (int)e, number.p, (int)exp10 + units[u].shift);
    double v;
    if (n < 0 || (size_t)n >= sizeof(text) || !tt_parse_number((tt_sv){text, (size_t)n}, &v)) return false;
    v *= units[u].times;
    if (!isfinite(v)) return false;
    *ret = v;
    return true;
}

/* Behind the digits, point and exponent that begin at `i`. */
static size_t number_end(tt_sv text, size_t i) {
    const char *s = text.p;
    size_t n = text.n;
    while (i < n && is_digit(s[i])) i++;
    if (i < n && s[i] == '.') {
        i++;
        while (i < n && is_digit(s[i])) i++;
    }
    if (i < n && (s[i] == 'e' || s[i] == 'E')) {
        size_t e = i + 1;
        if (e < n && (s[e] == '+' || s[e] == '-')) e++;
        if (e < n && is_digit(s[e])) {
            while (e < n && is_digit(s[e])) e++;
            i = e;
        }
    }
    return i;
}

bool tt_parse_amount(tt_sv s, double *ret) {
    size_t end = number_end(s, 0);
    double probe;
    return end > 0 && end <= 64 && tt_parse_number((tt_sv){s.p, end}, &probe) && with_unit((tt_sv){s.p, end}, (tt_sv){s.p + end, s.n - end}, ret);
}

static bool scan_number(parser *p, token *t) {
    const char *s = p->text.p;
    size_t n = p->text.n, i = number_end(p->text, t->at);
    tt_sv number = {s + t->at, i - t->at};
    size_t unit_at = i;
    if (i < n && s[i] == '%')
        i++;
    else
        while (i < n && (is_word(s[i]) || is_digit(s[i]))) i++;
    t->kind = TOK_NUMBER;
    t->n = i - t->at;
    p->i = i;
    double probe;
    if (number.n > 64 || !tt_parse_number(number, &probe))
        return fail_at(p, TT_ESYNTAX, t->at, "\"" TT_SV_FMT "\" is not a number: write digits, such as 5, 0.5 or 1e3", TT_SV_ARG(shown(p, t)));
    tt_sv unit = {s + unit_at, i - unit_at};
    t->timed = unit.n && unit.p[0] != '%';
    if (!with_unit(number, unit, &t->number))
        return fail_at(p, TT_ESYNTAX, t->at, "\"" TT_SV_FMT "\" has a unit nobody knows: a number may carry %%, ms, s, m or h",
                       TT_SV_ARG(shown(p, t)));
    return true;
}

static bool next(parser *p) {
    const char *s = p->text.p;
    size_t i = p->i, n = p->text.n;
    while (i < n && (s[i] == ' ' || s[i] == '\t' || s[i] == '\n' || s[i] == '\r')) i++;
    token *t = &p->tok;
    *t = (token){.kind = TOK_END, .at = i};
    p->i = i;
    if (i == n) return true;
    if (is_digit(s[i]) || (s[i] == '.' && i + 1 < n && is_digit(s[i + 1]))) return scan_number(p, t);
    if (is_word(s[i])) {
        while (i < n && (is_word(s[i]) || is_digit(s[i]))) i++;
        t->n = i - t->at;
        p->i = i;
        tt_sv word = {s + t->at, t->n};
        t->kind = tt_sv_eq(word, TT_SV("and")) ? TOK_AND : tt_sv_eq(word, TT_SV("or")) ? TOK_OR : tt_sv_eq(word, TT_SV("not")) ? TOK_NOT : TOK_NAME;
        if (tt_sv_eq(word, TT_SV("AND")) || tt_sv_eq(word, TT_SV("OR")) || tt_sv_eq(word, TT_SV("NOT")))
            return fail_at(p, TT_ESYNTAX, t->at, "\"" TT_SV_FMT "\": write `and`, `or` and `not` in small letters", TT_SV_ARG(word));
        return true;
    }
    if (s[i] == '(' || s[i] == ')') {
        t->kind = s[i] == '(' ? TOK_OPEN : TOK_CLOSE;
        t->n = 1;
        p->i = i + 1;
        return true;
    }
    if (s[i] == ',') {
        *t = (token){.kind = TOK_COMMA, .at = i, .n = 1};
        p->i = i + 1;
        return true;
    }
    for (size_t k = 0; k < TT_COUNT(operators); k++) {
        size_t len = strlen(operators[k].text);
        if (n - i < len || memcmp(s + i, operators[k].text, len) != 0) continue;
        t->kind = TOK_OP;
        t->op = operators[k].op;
        t->n = len;
        p->i = i + len;
        return true;
    }
    static const struct {
        char c;
        const char *instead;
    } slips[] = {{'&', "and"}, {'|', "or"}, {'!', "not"}, {'=', "=="}};
    for (size_t k = 0; k < TT_COUNT(slips); k++)
        if (s[i] == slips[k].c) return fail_at(p, TT_ESYNTAX, i, "\"%c\" is not known here: write `%s`", s[i], slips[k].instead);
    size_t len = 1;
    while (i + len < n && ((unsigned char)s[i + len] & 0xC0) == 0x80) len++;
    t->n = len;
    return fail_at(p, TT_ESYNTAX, i, "\"" TT_SV_FMT "\" can't stand in an expression: names, numbers, ( ) + - * / > >= < <= == != and, or, not can",
                   TT_SV_ARG(shown(p, t)));
}

/* ---- grammar ---- */

static uint16_t add(parser *p, tt_expr_node node) {
    if (p->n == TT_EXPR_NODES_MAX) {
        fail_at(p, TT_ELIMIT, node.at, "the expression has more than %d parts: split it into several", TT_EXPR_NODES_MAX);
        return NONE;
    }
    p->nodes[p->n] = node;
    return p->n++;
}

static bool want(parser *p, uint16_t node, bool boolean, const char *of) {
    if (node == NONE) return false;
    const tt_expr_node *x = &p->nodes[node];
    if (is_boolean(x->op) == boolean) return true;
    return boolean ? fail_at(p, TT_EVALUE, x->at, "%s needs a comparison here, such as error_ratio > 5%%, not a number", of)
                   : fail_at(p, TT_EVALUE, x->at, "%s needs a number here, not a comparison: join comparisons with `and`", of);
}

static uint16_t parse_or(parser *p);

/* The signal's index, taken into the list of those read; -1 with the error told. */
static int take_signal(parser *p, const token *t) {
    tt_sv name = {p->text.p + t->at, t->n};
    int signal = p->resolve ? p->resolve(p->ctx, name) : -1;
    if (signal < 0) {
        fail_at(p, TT_EUNKNOWN, t->at, "signal \"" TT_SV_FMT "\" is not declared", TT_SV_ARG(shown(p, t)));
        return -1;
    }
    size_t k = 0;
    while (k < p->n_signals && p->signals[k] != signal) k++;
    if (k == p->n_signals) {
        if (k == TT_EXPR_SIGNALS_MAX) {
            fail_at(p, TT_ELIMIT, t->at, "the expression reads more than %d signals: split it into several", TT_EXPR_SIGNALS_MAX);
            return -1;
        }
        p->signals[p->n_signals++] = signal;
    }
    return signal;
}

/* Behind the name, at its "(". */
static uint16_t parse_call(parser *p, const token *name) {
    static const double span_max_ms = 86400e3;
    tt_sv word = {p->text.p + name->at, name->n};
    size_t f = 0;
    while (f < TT_COUNT(functions) && !tt_sv_eq(word, tt_sv_of(functions[f]))) f++;
    if (f == TT_COUNT(functions)) {
        fail_at(p, TT_EUNKNOWN, name->at, "\"" TT_SV_FMT "\" is no function: change(x, 30s), rate(x, 1m) and mean(x, 1m) are",
                TT_SV_ARG(shown(p, name)));
        return NONE;
    }
    if (!next(p)) return NONE;
    if (p->tok.kind != TOK_NAME) {
        fail_at(p, TT_ESYNTAX, p->tok.at, "%s looks at one signal: write its name here, such as %s(error_ratio, 1m)", functions[f], functions[f]);
        return NONE;
    }
    tt_expr_call call = {.function = (tt_expr_function)f, .at = name->at};
    call.signal = take_signal(p, &p->tok);
    if (call.signal < 0 || !next(p)) return NONE;
    if (p->tok.kind != TOK_COMMA) {
        fail_at(p, TT_ESYNTAX, p->tok.at, "a \",\" and a span are missing here: write %s(signal, 1m)", functions[f]);
        return NONE;
    }
    if (!next(p)) return NONE;
    token span = p->tok;
    if (span.kind != TOK_NUMBER || !span.timed) {
        fail_at(p, TT_ESYNTAX, span.at, "how far %s looks back is missing here: write a span such as 30s, 5m or 1h", functions[f]);
        return NONE;
    }
    if (span.number < 1000 || span.number > span_max_ms) {
        fail_at(p, TT_EVALUE, span.at, "\"" TT_SV_FMT "\" is out of range: %s looks back 1s to 24h", TT_SV_ARG(shown(p, &span)), functions[f]);
        return NONE;
    }
    call.span_ns = (int64_t)(span.number * 1e6 + 0.5);
    if (!next(p)) return NONE;
    if (p->tok.kind != TOK_CLOSE) {
        fail_at(p, TT_ESYNTAX, p->tok.at, "a \")\" is missing here: write %s(signal, " TT_SV_FMT ")", functions[f], TT_SV_ARG(shown(p, &span)));
        return NONE;
    }
    size_t k = 0;
    while (k < p->n_calls && (p->calls[k].function != call.function || p->calls[k].signal != call.signal || p->calls[k].span_ns != call.span_ns)) k++;
    if (k == TT_EXPR_CALLS_MAX) {
        fail_at(p, TT_ELIMIT, name->at, "the expression looks back more than %d times: split it into several", TT_EXPR_CALLS_MAX);
        return NONE;
    }
    if (k == p->n_calls) {
        call.bound = (int)k;
        p->calls[p->n_calls++] = call;
    }
    if (!next(p)) return NONE;
    return add(p, (tt_expr_node){.op = TT_OP_CALL, .at = (uint32_t)name->at, .signal = (int)k});
}

static uint16_t parse_name(parser *p) {
    token t = p->tok;
    if (!next(p)) return NONE;
    if (p->tok.kind == TOK_OPEN) return parse_call(p, &t);
    int signal = take_signal(p, &t);
    return signal < 0 ? NONE : add(p, (tt_expr_node){.op = TT_OP_SIGNAL, .at = (uint32_t)t.at, .signal = signal});
}

static uint16_t parse_atom(parser *p) {
    token t = p->tok;
    switch (t.kind) {
    case TOK_NUMBER:
        return next(p) ? add(p, (tt_expr_node){.op = TT_OP_NUMBER, .at = (uint32_t)t.at, .number = t.number}) : NONE;
    case TOK_NAME:
        return parse_name(p);
    case TOK_OPEN: {
        if (!next(p)) return NONE;
        uint16_t inside = parse_or(p);
        if (inside == NONE) return NONE;
        if (p->tok.kind != TOK_CLOSE) {
            fail_at(p, TT_ESYNTAX, p->tok.at, "a \")\" is missing here for the \"(\" at byte %zu of the expression", t.at + 1);
            return NONE;
        }
        return next(p) ? inside : NONE;
    }
    case TOK_END:
        fail_at(p, TT_ESYNTAX, t.at, "the expression ends where a signal or a number should follow");
        return NONE;
    case TOK_CLOSE:
    case TOK_COMMA:
    case TOK_OP:
    case TOK_AND:
    case TOK_OR:
    case TOK_NOT:
        break;
    }
    fail_at(p, TT_ESYNTAX, t.at, "\"" TT_SV_FMT "\" where a signal or a number should stand", TT_SV_ARG(shown(p, &t)));
    return NONE;
}

static bool deeper(parser *p) {
    if (p->depth == TT_EXPR_DEPTH_MAX)
        return fail_at(p, TT_ELIMIT, p->tok.at, "the expression is nested deeper than %d: split it into several", TT_EXPR_DEPTH_MAX);
    p->depth++;
    return true;
}

static uint16_t parse_unary(parser *p) {
    if (p->tok.kind != TOK_OP || p->tok.op != TT_OP_SUB) return parse_atom(p);
    token t = p->tok;
    if (!deeper(p) || !next(p)) return NONE;
    uint16_t a = parse_unary(p);
    p->depth--;
    if (!want(p, a, false, "\"-\"")) return NONE;
    return add(p, (tt_expr_node){.op = TT_OP_NEG, .at = (uint32_t)t.at, .a = a});
}

static uint16_t join(parser *p, tt_expr_op op, uint16_t a, uint16_t b, bool boolean, const char *name) {
    if (!want(p, a, boolean, name) || !want(p, b, boolean, name)) return NONE;
    return add(p, (tt_expr_node){.op = op, .at = p->nodes[a].at, .a = a, .b = b});
}

/* sum and prod: the same shape one level apart */
static uint16_t parse_chain(parser *p, bool product) {
    uint16_t a = product ? parse_unary(p) : parse_chain(p, true);
    while (a != NONE && p->tok.kind == TOK_OP &&
           (product ? p->tok.op == TT_OP_MUL || p->tok.op == TT_OP_DIV : p->tok.op == TT_OP_ADD || p->tok.op == TT_OP_SUB)) {
        tt_expr_op op = p->tok.op;
        char name[8];
        snprintf(name, sizeof(name), "\"%s\"", op_text(op));
        if (!want(p, a, false, name) || !next(p)) return NONE;
        uint16_t b = product ? parse_unary(p) : parse_chain(p, true);
        a = b == NONE ? NONE : join(p, op, a, b, false, name);
    }
    return a;
}

static uint16_t parse_cmp(parser *p) {
    uint16_t a = parse_chain(p, false);
    if (a == NONE || p->tok.kind != TOK_OP || !is_compare(p->tok.op)) return a;
    tt_expr_op op = p->tok.op;
    char name[8];
    snprintf(name, sizeof(name), "\"%s\"", op_text(op));
    if (!want(p, a, false, name) || !next(p)) return NONE;
    uint16_t b = parse_chain(p, false);
    if (b == NONE) return NONE;
    a = join(p, op, a, b, false, name);
    if (a != NONE && p->tok.kind == TOK_OP && is_compare(p->tok.op)) {
        fail_at(p, TT_ESYNTAX, p->tok.at, "comparisons don't chain: write a < b and b < c");
        return NONE;
    }
    return a;
}

static uint16_t parse_not(parser *p) {
    if (p->tok.kind != TOK_NOT) return parse_cmp(p);
    token t = p->tok;
    if (!next(p)) return NONE;
    if (p->tok.kind == TOK_NOT) {
        fail_at(p, TT_ESYNTAX, p->tok.at, "\"not not\" says nothing: leave both out");
        return NONE;
    }
    uint16_t a = parse_cmp(p);
    if (!want(p, a, true, "`not`")) return NONE;
    return add(p, (tt_expr_node){.op = TT_OP_NOT, .at = (uint32_t)t.at, .a = a});
}

static uint16_t parse_and(parser *p) {
    uint16_t a = parse_not(p);
    while (a != NONE && p->tok.kind == TOK_AND) {
        if (!want(p, a, true, "`and`") || !next(p)) return NONE;
        uint16_t b = parse_not(p);
        a = b == NONE ? NONE : join(p, TT_OP_AND, a, b, true, "`and`");
    }
    return a;
}

static uint16_t parse_or(parser *p) {
    if (!deeper(p)) return NONE;
    uint16_t a = parse_and(p);
    while (a != NONE && p->tok.kind == TOK_OR) {
        if (!want(p, a, true, "`or`") || !next(p)) return NONE;
        uint16_t b = parse_and(p);
        a = b == NONE ? NONE : join(p, TT_OP_OR, a, b, true, "`or`");
    }
    p->depth--;
    return a;
}

tt_expr *tt_expr_parse(tt_arena *arena, const tt_doc *node, tt_expr_resolve resolve, void *ctx, tt_err *err) {
    if (!node || node->kind != TT_DOC_SCALAR) {
        tt_doc_fail(err, TT_EVALUE, node, "an expression is one line of text, such as error_ratio > 5%%");
        return NULL;
    }
    parser p = {.doc = node, .text = node->text, .resolve = resolve, .ctx = ctx, .err = err};
    if (node->text.n > 4096) {
        tt_doc_fail(err, TT_ELIMIT, node, "the expression is longer than 4096 bytes: split it into several");
        return NULL;
    }
    if (!next(&p)) return NULL;
    uint16_t root = parse_or(&p);
    if (root == NONE) return NULL;
    if (p.tok.kind != TOK_END) {
        if (p.tok.kind == TOK_CLOSE)
            fail_at(&p, TT_ESYNTAX, p.tok.at, "this \")\" closes nothing");
        else
            fail_at(&p, TT_ESYNTAX, p.tok.at, "\"" TT_SV_FMT "\" after a whole expression: join with `and` or `or`", TT_SV_ARG(shown(&p, &p.tok)));
        return NULL;
    }
    if (!want(&p, root, true, "an expression")) return NULL;
    tt_expr *e = tt_arena_alloc(arena, sizeof(*e));
    tt_expr_node *nodes = tt_arena_array(arena, p.n, sizeof(*nodes));
    int *signals = tt_arena_array(arena, p.n_signals, sizeof(*signals));
    tt_expr_call *calls = tt_arena_array(arena, p.n_calls, sizeof(*calls));
    tt_sv text = tt_arena_copy(arena, node->text);
    if (!e || !nodes || !signals || !calls || !text.p) {
        tt_doc_fail(err, TT_ENOMEM, node, "memory is out");
        return NULL;
    }
    while (text.n && (text.p[text.n - 1] == '\n' || text.p[text.n - 1] == ' ')) text.n--; /* a block scalar's end */
    memcpy(nodes, p.nodes, p.n * sizeof(*nodes));
    memcpy(signals, p.signals, p.n_signals * sizeof(*signals));
    memcpy(calls, p.calls, p.n_calls * sizeof(*calls));
    *e = (tt_expr){text, nodes, p.n, root, signals, p.n_signals, calls, p.n_calls};
    return e;
}

/* ---- evaluation ---- */

typedef struct {
    bool known;
    double v; /* of a truth: 0 or 1 */
} value;

static value eval(const tt_expr *e, uint16_t at, tt_expr_read read, void *ctx) {
    const tt_expr_node *x = &e->nodes[at];
    value a = {0}, b = {0};
    if (x->op == TT_OP_NUMBER) return (value){true, x->number};
    if (x->op == TT_OP_SIGNAL || x->op == TT_OP_CALL) {
        a.known = read(ctx, tt_expr_asked(e, x), &a.v) && isfinite(a.v);
        return a;
    }
    a = eval(e, x->a, read, ctx);
    if (x->op != TT_OP_NOT && x->op != TT_OP_NEG) b = eval(e, x->b, read, ctx);
    /* Kleene: one side that decides is enough, whatever the other would have been. */
    if (x->op == TT_OP_AND && ((a.known && a.v == 0) || (b.known && b.v == 0))) return (value){true, 0};
    if (x->op == TT_OP_OR && ((a.known && a.v != 0) || (b.known && b.v != 0))) return (value){true, 1};
    value r = {a.known && (b.known || x->op == TT_OP_NOT || x->op == TT_OP_NEG), 0};
    if (!r.known) return r;
    switch (x->op) {
    case TT_OP_NUMBER:
    case TT_OP_SIGNAL:
    case TT_OP_CALL:
        break;
    case TT_OP_NEG:
        r.v = -a.v;
        break;
    case TT_OP_ADD:
        r.v = a.v + b.v;
        break;
    case TT_OP_SUB:
        r.v = a.v - b.v;
        break;
    case TT_OP_MUL:
        r.v = a.v * b.v;
        break;
    case TT_OP_DIV:
        r.known = b.v != 0;
        r.v = r.known ? a.v / b.v : 0;
        break;
    case TT_OP_GT:
        r.v = a.v > b.v;
        break;
    case TT_OP_GE:
        r.v = a.v >= b.v;
        break;
    case TT_OP_LT:
        r.v = a.v < b.v;
        break;
    case TT_OP_LE:
        r.v = a.v <= b.v;
        break;
    case TT_OP_EQ:
        r.v = a.v == b.v;
        break;
    case TT_OP_NE:
        r.v = a.v != b.v;
        break;
    case TT_OP_AND:
        r.v = 1;
        break;
    case TT_OP_OR:
        r.v = 0;
        break;
    case TT_OP_NOT:
        r.v = a.v == 0;
        break;
    }
    r.known = r.known && isfinite(r.v);
    return r;
}

tt_truth tt_expr_eval(const tt_expr *e, tt_expr_read read, void *ctx) {
    value v = eval(e, e->root, read, ctx);
    return !v.known ? TT_UNKNOWN : v.v != 0 ? TT_TRUE : TT_FALSE;
}

size_t tt_expr_signals(const tt_expr *e, int ret[TT_EXPR_SIGNALS_MAX]) {
    for (size_t i = 0; i < e->n_signals; i++) ret[i] = e->signals[i];
    return e->n_signals;
}

size_t tt_expr_calls(const tt_expr *e, const tt_expr_call **ret) {
    *ret = e->calls;
    return e->n_calls;
}

void tt_expr_bind(tt_expr *e, size_t call, int bound) {
    e->calls[call].bound = bound;
}

tt_sv tt_expr_text(const tt_expr *e) {
    return e->text;
}

bool tt_expr_bound(const tt_expr *e, int *ret_signal, tt_sv *ret_op, double *ret_bound) {
    const tt_expr_node *x = &e->nodes[e->root];
    if (!is_compare(x->op) || e->nodes[x->a].op != TT_OP_SIGNAL) return false;
    const tt_expr_node *b = &e->nodes[x->b];
    bool negative = b->op == TT_OP_NEG;
    if (negative) b = &e->nodes[b->a];
    if (b->op != TT_OP_NUMBER) return false;
    *ret_signal = e->nodes[x->a].signal;
    *ret_op = tt_sv_of(op_text(x->op));
    *ret_bound = negative ? -b->number : b->number;
    return true;
}
