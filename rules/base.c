#include "base.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void tt_assert_failed(const char *cond, const char *file, int line) {
    fprintf(stderr, "trimtab: broken invariant at %s:%d: %s\n", file, line, cond);
    abort();
}

tt_sv tt_sv_of(const char *nul_terminated) {
    return nul_terminated ? (tt_sv){nul_terminated, strlen(nul_terminated)} : (tt_sv){NULL, 0};
}

bool tt_sv_eq(tt_sv a, tt_sv b) {
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

int tt_sv_cmp(tt_sv a, tt_sv b) {
    size_t n = a.n < b.n ? a.n : b.n;
    int c = n ? memcmp(a.p, b.p, n) : 0;
    if (c) return c;
    return a.n < b.n ? -1 : a.n > b.n;
}

bool tt_fail(tt_err *err, tt_code code, const char *fmt, ...) {
    if (!err) return false;
    /* Formatted aside first: an argument may be the text this error holds already. */
    char text[sizeof(err->text)];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    err->code = code;
    err->file[0] = '\0';
    err->line = err->column = 0;
    memcpy(err->text, text, sizeof(text));
    return false;
}

void tt_err_print(const tt_err *err, char *buf, size_t size) {
    if (!size) return;
    const char *file = err->file[0] ? err->file : NULL;
    if (err->line && err->column)
        snprintf(buf, size, "%s%s%u:%u: %s", file ? file : "", file ? ":" : "line ", err->line, err->column, err->text);
    else if (err->line)
        snprintf(buf, size, "%s%s%u: %s", file ? file : "", file ? ":" : "line ", err->line, err->text);
    else
        snprintf(buf, size, "%s%s%s", file ? file : "", file ? ": " : "", err->text);
}

/* ---- arena: a list of blocks, each twice the one before up to a ceiling ---- */

enum { ALIGN = 16, BLOCK_MIN = 4096, BLOCK_MAX = 1 << 20 };

typedef struct block {
    struct block *next;
    size_t used, size; /* of the bytes behind this head */
} block;

struct tt_arena {
    block *newest;
    size_t next_size;
};

_Static_assert(sizeof(block) <= 2 * ALIGN, "a block's head fits its padding");

tt_arena *tt_arena_new(void) {
    tt_arena *a = calloc(1, sizeof(*a));
    if (a) a->next_size = BLOCK_MIN;
    return a;
}

void tt_arena_free(tt_arena *a) {
    if (!a) return;
    for (block *b = a->newest, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    free(a);
}

void *tt_arena_alloc(tt_arena *a, size_t bytes) {
    if (bytes > SIZE_MAX / 2) return NULL;
    size_t want = bytes ? (bytes + ALIGN - 1) / ALIGN * ALIGN : ALIGN;
    block *b = a->newest;
    if (!b || b->size - b->used < want) {
        bool own = want > a->next_size / 2; /* a large one gets a block of its own, behind the one still being filled */
        size_t size = own ? want : a->next_size;
        b = calloc(1, 2 * ALIGN + size);
        if (!b) return NULL;
        b->size = size;
        if (own && a->newest) {
            b->next = a->newest->next;
            a->newest->next = b;
        } else {
            b->next = a->newest;
            a->newest = b;
        }
        if (!own && a->next_size < BLOCK_MAX) a->next_size *= 2;
    }
    void *p = (char *)b + 2 * ALIGN + b->used;
    b->used += want;
    return p;
}

void *tt_arena_array(tt_arena *a, size_t n, size_t each) {
    size_t bytes;
    return __builtin_mul_overflow(n, each, &bytes) ? NULL : tt_arena_alloc(a, bytes);
}

tt_sv tt_arena_copy(tt_arena *a, tt_sv s) {
    if (s.n == SIZE_MAX) return (tt_sv){NULL, 0};
    char *p = tt_arena_alloc(a, s.n + 1);
    if (!p) return (tt_sv){NULL, 0};
    if (s.n) memcpy(p, s.p, s.n);
    return (tt_sv){p, s.n};
}

/* ---- growing text ---- */

void tt_buf_init(tt_buf *b, size_t max) {
    *b = (tt_buf){.max = max};
}

void tt_buf_free(tt_buf *b) {
    free(b->p);
    *b = (tt_buf){.max = b->max};
}

/* Room for n more bytes and the NUL. */
static bool room(tt_buf *b, size_t n) {
    if (b->failed) return false;
    if (b->n > b->max || n > b->max - b->n) {
        b->failed = true;
        return false;
    }
    size_t need = b->n + n + 1;
    if (need == 0) {
        b->failed = true;
        return false;
    }
    if (need <= b->cap) return true;
    size_t cap = b->cap ? b->cap : 256;
    while (cap < need) cap = cap > SIZE_MAX / 2 ? need : cap * 2;
    if (b->max < SIZE_MAX && cap > b->max + 1) cap = b->max + 1;
    char *p = realloc(b->p, cap);
    if (!p) {
        b->failed = true;
        return false;
    }
    b->p = p;
    b->cap = cap;
    return true;
}

void tt_buf_put(tt_buf *b, tt_sv s) {
    if (!room(b, s.n)) return;
    if (s.n) memcpy(b->p + b->n, s.p, s.n);
    b->n += s.n;
    b->p[b->n] = '\0';
}

void tt_buf_printf(tt_buf *b, const char *fmt, ...) {
    char small[256];
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(small, sizeof(small), fmt, ap);
    va_end(ap);
    if (n < 0) {
        b->failed = true;
    } else if ((size_t)n < sizeof(small)) {
        tt_buf_put(b, (tt_sv){small, (size_t)n});
    } else if (room(b, (size_t)n)) {
        vsnprintf(b->p + b->n, (size_t)n + 1, fmt, again);
        b->n += (size_t)n;
    }
    va_end(again);
}

/* Bytes of the well-formed UTF-8 character at p, 0 when there is none (overlong, surrogate, past U+10FFFF, cut). */
static size_t utf8_length(const unsigned char *p, size_t n) {
    if (p[0] < 0x80) return 1;
    if (p[0] >= 0xC2 && p[0] <= 0xDF) return n >= 2 && (p[1] & 0xC0) == 0x80 ? 2 : 0;
    if (p[0] >= 0xE0 && p[0] <= 0xEF) {
        if (n < 3 || (p[1] & 0xC0) != 0x80 || (p[2] & 0xC0) != 0x80) return 0;
        if ((p[0] == 0xE0 && p[1] < 0xA0) || (p[0] == 0xED && p[1] > 0x9F)) return 0;
        return 3;
    }
    if (p[0] >= 0xF0 && p[0] <= 0xF4) {
        if (n < 4 || (p[1] & 0xC0) != 0x80 || (p[2] & 0xC0) != 0x80 || (p[3] & 0xC0) != 0x80) return 0;
        if ((p[0] == 0xF0 && p[1] < 0x90) || (p[0] == 0xF4 && p[1] > 0x8F)) return 0;
        return 4;
    }
    return 0;
}

void tt_buf_json_string(tt_buf *b, tt_sv s) {
    static const char hex[] = "0123456789abcdef";
    const unsigned char *p = (const unsigned char *)s.p;
    tt_buf_put(b, TT_SV("\""));
    size_t plain = 0, i = 0; /* [plain, i) is copied as it is */
    while (i < s.n) {
        unsigned char c = p[i];
        size_t len = utf8_length(p + i, s.n - i);
        if (len && c >= 0x20 && c != '"' && c != '\\') {
            i += len;
            continue;
        }
        tt_buf_put(b, (tt_sv){s.p + plain, i - plain});
        char esc[6] = {'\\', 'u', '0', '0', 0, 0};
        if (!len)
            tt_buf_put(b, TT_SV("\xEF\xBF\xBD"));
        else if (c == '"' || c == '\\')
            tt_buf_put(b, (tt_sv){(const char[]){'\\', (char)c}, 2});
        else if (c == '\n')
            tt_buf_put(b, TT_SV("\\n"));
        else if (c == '\t')
            tt_buf_put(b, TT_SV("\\t"));
        else if (c == '\r')
            tt_buf_put(b, TT_SV("\\r"));
        else {
            esc[4] = hex[c >> 4];
            esc[5] = hex[c & 15];
            tt_buf_put(b, (tt_sv){esc, sizeof(esc)});
        }
        plain = ++i;
    }
    tt_buf_put(b, (tt_sv){s.p ? s.p + plain : NULL, s.n - plain});
    tt_buf_put(b, TT_SV("\""));
}

void tt_buf_key(tt_buf *b, const char *name) {
    tt_buf_printf(b, ",\"%s\":", name);
}

void tt_buf_member(tt_buf *b, const char *name, tt_sv text) {
    tt_buf_key(b, name);
    tt_buf_json_string(b, text);
}

void tt_buf_member_or_null(tt_buf *b, const char *name, const char *text) {
    tt_buf_key(b, name);
    if (*text)
        tt_buf_json_string(b, tt_sv_of(text));
    else
        tt_buf_put(b, TT_SV("null"));
}

void tt_buf_member_number(tt_buf *b, const char *name, double v) {
    tt_buf_key(b, name);
    tt_buf_number(b, v);
}

static void put_integer(tt_buf *b, const char *name, bool known, int64_t v) {
    if (known)
        tt_buf_printf(b, ",\"%s\":%lld", name, (long long)v);
    else
        tt_buf_printf(b, ",\"%s\":null", name);
}

void tt_buf_member_wall(tt_buf *b, const char *name, tt_wall w) {
    put_integer(b, name, w.ms != 0, w.ms);
}

void tt_buf_member_age(tt_buf *b, const char *name, tt_time t, tt_time now) {
    put_integer(b, name, t.ns != 0, t.ns ? tt_since(now, t) : 0);
}
