#include "log.h"

#include <errno.h>
#include <unistd.h>

#include "clock.h"

enum { LINE_MAX_BYTES = 8192 };

static const char *const level_names[] = {"debug", "info", "warn", "error"};

bool tt_log_level_of(tt_sv name, tt_level *ret) {
    for (size_t i = 0; i < TT_COUNT(level_names); i++) {
        if (!tt_sv_eq(name, tt_sv_of(level_names[i]))) continue;
        *ret = (tt_level)i;
        return true;
    }
    return false;
}

/* Bare where nobody could misread it, else as a JSON string: line breaks and control characters never reach a terminal. */
static void put_text(tt_buf *b, tt_sv s) {
    bool bare = s.n > 0;
    for (size_t i = 0; bare && i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        bare = c > ' ' && c < 0x7f && c != '"' && c != '=' && c != '\\';
    }
    if (bare)
        tt_buf_put(b, s);
    else
        tt_buf_json_string(b, s);
}

void tt_log_write(const tt_log *log, tt_level level, const char *event, const tt_kv *kv) {
    if (level < log->level) return;
    char when[TT_CLOCK_TEXT_SIZE], span[32];
    tt_clock_text(tt_clock_wall(), when);
    tt_buf b;
    tt_buf_init(&b, LINE_MAX_BYTES);
    tt_buf_printf(&b, "ts=%s level=%s event=%s", when, level_names[level], event);
    for (; kv->key; kv++) {
        size_t before = b.n;
        tt_buf_printf(&b, " %s=", kv->key);
        switch (kv->kind) {
        case TT_KV_TEXT:
            put_text(&b, kv->text);
            break;
        case TT_KV_INT:
            tt_buf_printf(&b, "%lld", (long long)kv->i);
            break;
        case TT_KV_UINT:
            tt_buf_printf(&b, "%llu", (unsigned long long)kv->u);
            break;
        case TT_KV_REAL:
            tt_buf_number(&b, kv->real);
            break;
        case TT_KV_NS:
            tt_format_duration(kv->i, span, sizeof span);
            tt_buf_put(&b, tt_sv_of(span));
            break;
        }
        /* Too long: the line goes out without this pair and those after it. */
        if (b.failed && b.p) {
            b.failed = false;
            b.n = before;
            break;
        }
    }
    b.max += 1;
    tt_buf_put(&b, TT_SV("\n"));
    for (size_t done = 0; b.p && done < b.n;) {
        ssize_t n = write(log->fd, b.p + done, b.n - done);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break; /* nobody to tell */
        done += (size_t)n;
    }
    tt_buf_free(&b);
}
