/* The text of an explanation: what happened first, then why, then what came of it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "explain/explain.h"
#include "json.h"
#include "table.h"

enum { LABEL = 12, TEXT_MAX = 600 };

typedef struct {
    FILE *to;
    bool colours;
    int width;
    int64_t now_ms;
} page;

static json_int_t integer(const json_t *o, const char *name) {
    return json_integer_value(json_object_get(o, name));
}

static void place(const json_t *target, char *buf, size_t size) {
    const char *dc = tt_json_text(target, "dc"), *instance = tt_json_text(target, "instance");
    snprintf(buf, size, "%s%s%s%s%s", tt_json_text(target, "service"), *dc ? "@" : "", dc, *instance ? "/" : "", instance);
}

static void ink(const page *p, const char *on) {
    if (p->colours) fputs(on, p->to);
}

/* What a label holds must not move the terminal's cursor. */
static void put_clean(FILE *to, const char *s, size_t n) {
    for (size_t i = 0; i < n; i++) fputc((unsigned char)s[i] < ' ' || s[i] == 0x7f ? ' ' : s[i], to);
}

/* Wrapped between words, the further lines under the first. */
static void put_wrapped(const page *p, size_t column, const char *s) {
    size_t room = p->width > (int)column + 24 ? (size_t)p->width - column : 110;
    while (*s == ' ') s++;
    while (strlen(s) > room) {
        size_t n = room;
        while (n > room / 2 && s[n] != ' ') n--;
        if (s[n] != ' ') n = room;
        while (((unsigned char)s[n] & 0xc0) == 0x80) n--; /* not inside a character */
        put_clean(p->to, s, n);
        fprintf(p->to, "\n%*s", (int)column, "");
        s += n;
        while (*s == ' ') s++;
    }
    put_clean(p->to, s, strlen(s));
    fputc('\n', p->to);
}

static void put_label(const page *p, const char *name) {
    ink(p, "\033[1m");
    fprintf(p->to, "%-*s", LABEL, name);
    ink(p, "\033[0m");
}

static void row(const page *p, const char *name, const char *value) {
    if (!*value) return;
    put_label(p, name);
    put_wrapped(p, LABEL, value);
}

/* ---- figures ---- */

/* For people: four significant digits, no exponent where that can be read. */
static void figure(double v, char *buf, size_t size) {
    double a = fabs(v);
    if (a >= 1e9 || (a > 0 && a < 1e-4))
        snprintf(buf, size, "%.3g", v);
    else if (a >= 1000 || v == floor(v))
        snprintf(buf, size, "%.0f", v);
    else
        snprintf(buf, size, "%.*f", a >= 100 ? 1 : a >= 10 ? 2 : a >= 1 ? 3 : 4, v);
    if (!strchr(buf, '.') || strchr(buf, 'e')) return;
    for (size_t n = strlen(buf); n && buf[n - 1] == '0';) buf[--n] = 0;
    size_t n = strlen(buf);
    if (n && buf[n - 1] == '.') buf[n - 1] = 0;
}

static bool ends(const char *name, size_t n, const char *suffix) {
    size_t k = strlen(suffix);
    return n > k && memcmp(name + n - k, suffix, k) == 0;
}

/* A member's unit is the end of its name. `shown` is the name without it. */
static void value_of(const char *name, const json_t *v, char *shown, size_t shown_size, char *buf, size_t size) {
    size_t n = strlen(name);
    snprintf(shown, shown_size, "%s", name);
    if (json_is_number(v)) {
        double x = json_number_value(v);
        char number[40];
        figure(x, number, sizeof number);
        size_t cut = 0;
        if (ends(name, n, "_ms") || ends(name, n, "_ns")) {
            tt_format_duration(ends(name, n, "_ms") ? (int64_t)(x * 1e6) : (int64_t)x, buf, size);
            if (fabs(x) * (ends(name, n, "_ms") ? 1 : 1e-6) < 1000) snprintf(buf, size, "%s ms", number);
            cut = 3;
        } else if (ends(name, n, "_rps")) {
            snprintf(buf, size, "%s rps", number);
            cut = 4;
        } else if (ends(name, n, "_ratio") || ends(name, n, "_share") || strcmp(name, "utilization") == 0 || strcmp(name, "share") == 0 ||
                   strcmp(name, "ratio") == 0) {
            figure(100 * x, number, sizeof number);
            snprintf(buf, size, "%s %%", number);
            cut = ends(name, n, "_ratio") ? 6 : 0;
        } else if (ends(name, n, "_bytes")) {
            snprintf(buf, size, "%s bytes", number);
            cut = 6;
        } else
            snprintf(buf, size, "%s", number);
        if (cut && shown_size > n - cut) shown[n - cut] = 0;
    } else if (json_is_boolean(v))
        snprintf(buf, size, "%s", json_is_true(v) ? "yes" : "no");
    else if (json_is_string(v))
        snprintf(buf, size, "%s", json_string_value(v));
    else
        snprintf(buf, size, "-");
    for (char *c = shown; *c; c++)
        if (*c == '_') *c = ' ';
}

static void actuator(const json_t *v, const char *unit, char *buf, size_t size) {
    char n[40];
    if (!json_is_number(v)) {
        snprintf(buf, size, "off");
        return;
    }
    double x = json_number_value(v);
    bool ratio = strcmp(unit, "ratio") == 0;
    figure(ratio ? 100 * x : x, n, sizeof n);
    snprintf(buf, size, "%s%s%s", n, ratio ? " %" : strcmp(unit, "level") == 0 ? "" : " ", ratio || strcmp(unit, "level") == 0 ? "" : unit);
}

static void move_of(const json_t *ev, char *buf, size_t size) {
    char from[64], to[64];
    actuator(json_object_get(ev, "from"), tt_json_text(ev, "unit"), from, sizeof from);
    actuator(json_object_get(ev, "to"), tt_json_text(ev, "unit"), to, sizeof to);
    snprintf(buf, size, "%s: %s -> %s", tt_json_text(ev, "action"), from, to);
}

/* ---- members of any shape ---- */

static size_t widest(const json_t *o) {
    const char *key;
    json_t *v;
    size_t most = 0;
    char shown[128], value[TEXT_MAX];
    json_object_foreach((json_t *)(uintptr_t)o, key, v) {
        if (json_is_object(v) || json_is_array(v)) continue;
        value_of(key, v, shown, sizeof shown, value, sizeof value);
        if (strlen(shown) > most) most = strlen(shown);
    }
    return most;
}

static void members(const page *p, const json_t *o, size_t indent);

static void list(const page *p, const json_t *a, size_t indent) {
    size_t i;
    json_t *v;
    char shown[8], value[TEXT_MAX];
    json_array_foreach((json_t *)(uintptr_t)a, i, v) {
        fprintf(p->to, "%*s- ", (int)indent, "");
        if (json_is_object(v)) {
            fputc('\n', p->to);
            members(p, v, indent + 2);
        } else {
            value_of("", v, shown, sizeof shown, value, sizeof value);
            put_wrapped(p, indent + 2, value);
        }
    }
}

static void members(const page *p, const json_t *o, size_t indent) {
    const char *key;
    json_t *v;
    size_t wide = widest(o);
    char shown[128], value[TEXT_MAX];
    json_object_foreach((json_t *)(uintptr_t)o, key, v) {
        value_of(key, v, shown, sizeof shown, value, sizeof value);
        if (json_is_object(v) || json_is_array(v)) {
            if (json_object_size(v) + json_array_size(v) == 0) continue;
            fprintf(p->to, "%*s%s\n", (int)indent, "", shown);
            if (json_is_object(v))
                members(p, v, indent + 2);
            else
                list(p, v, indent + 2);
            continue;
        }
        fprintf(p->to, "%*s%-*s  ", (int)indent, "", (int)wide, shown);
        put_wrapped(p, indent + wide + 2, value);
    }
}

static void sentences(const page *p, const char *name, const json_t *a) {
    size_t i;
    json_t *v;
    json_array_foreach((json_t *)(uintptr_t)a, i, v) {
        put_label(p, i ? "" : name);
        if (json_is_string(v))
            put_wrapped(p, LABEL, json_string_value(v));
        else {
            fputc('\n', p->to);
            members(p, v, LABEL);
        }
    }
}

/* ---- the parts ---- */

static void when_of(const page *p, int64_t ms, char *buf, size_t size) {
    char at[TT_CLOCK_TEXT_SIZE], span[32] = "";
    tt_clock_text((tt_wall){ms}, at);
    int64_t ago = p->now_ms - ms;
    if (p->now_ms && ago >= 0) {
        ago -= ago % (ago >= 86400000 ? 3600000 : ago >= 3600000 ? 60000 : 1000);
        tt_format_duration(TT_MS(ago), span, sizeof span);
    }
    snprintf(buf, size, "%s%s%s%s", at, *span ? ", " : "", span, *span ? " ago" : "");
}

static void print_head(const page *p, const json_t *o) {
    const json_t *ev = json_object_get(o, "event"), *seq = json_object_get(ev, "seq");
    char when[64], where[400], move[400] = "", line[1000], number[32] = "";
    when_of(p, integer(ev, "at_ms"), when, sizeof when);
    place(json_object_get(ev, "target"), where, sizeof where);
    if (*tt_json_text(ev, "action")) move_of(ev, move, sizeof move);
    if (json_is_integer(seq)) snprintf(number, sizeof number, " (event %lld)", (long long)json_integer_value(seq));
    ink(p, "\033[1m");
    snprintf(line, sizeof line, "%s%s%s%s%s", *move ? move : tt_json_text(ev, "kind"), *where ? " on " : "", where, *number ? "" : "", number);
    put_clean(p->to, line, strlen(line));
    ink(p, "\033[0m");
    fputc('\n', p->to);
    row(p, "when", when);
    row(p, "why", tt_json_text(ev, "reason"));
}

static void print_rules(const page *p, const json_t *o) {
    const json_t *plan = json_object_get(o, "plan"), *step = json_object_get(o, "step"), *trigger = json_object_get(o, "trigger"),
                 *found = json_object_get(trigger, "found");
    char line[1200], span[32];
    if (json_is_object(plan)) {
        snprintf(line, sizeof line, "%s (%s), %s:%lld", tt_json_text(plan, "name"), tt_json_text(plan, "mode"), tt_json_text(plan, "file"), (long long)integer(plan, "line"));
        row(p, "plan", line);
    }
    row(p, "loop", tt_json_text(json_object_get(o, "event"), "loop"));
    if (*tt_json_text(trigger, "anomaly")) {
        tt_format_duration(TT_MS(integer(trigger, "for_ms")), span, sizeof span);
        snprintf(line, sizeof line, "%s: %s%s%s, %s:%lld", tt_json_text(trigger, "anomaly"), tt_json_text(trigger, "condition"),
                 integer(trigger, "for_ms") ? ", for " : "", integer(trigger, "for_ms") ? span : "", tt_json_text(trigger, "file"),
                 (long long)integer(trigger, "line"));
        row(p, "trigger", line);
        if (json_is_object(found)) row(p, "", tt_json_text(found, "reason"));
    }
    sentences(p, "keep", json_object_get(plan, "keep"));
    if (!json_is_object(step)) return;
    snprintf(line, sizeof line, "%s, rung %lld, %s:%lld", tt_json_text(step, "kind"), (long long)integer(step, "rung"), tt_json_text(step, "file"),
             (long long)integer(step, "line"));
    row(p, "step", line);
    size_t i;
    const json_t *v;
    json_array_foreach(json_object_get(step, "text"), i, v) {
        fprintf(p->to, "%*s", LABEL + 2, "");
        ink(p, "\033[2m");
        put_clean(p->to, json_string_value(v), json_string_length(v));
        ink(p, "\033[0m");
        fputc('\n', p->to);
    }
}

static void one_line(const char *s, char *buf, size_t size) {
    size_t n = 0;
    for (; *s && n + 1 < size; s++) {
        bool blank = *s == ' ' || *s == '\n' || *s == '\t';
        if (blank && (n == 0 || buf[n - 1] == ' ')) continue;
        buf[n++] = blank ? ' ' : *s;
    }
    while (n && buf[n - 1] == ' ') n--;
    buf[n] = 0;
}

static void print_inputs(const page *p, const json_t *inputs) {
    static const char *const heads[] = {"INPUT", "VALUE", "QUALITY", "AGE", "FROM"};
    tt_table *t = json_array_size(inputs) ? tt_table_new(TT_COUNT(heads), heads) : NULL;
    size_t i;
    const json_t *v;
    if (!t) return;
    json_array_foreach((json_t *)(uintptr_t)inputs, i, v) {
        char shown[128], value[TEXT_MAX], age[32] = "-", from[TEXT_MAX] = "", labels[200] = "";
        const json_t *ms = json_object_get(v, "age_ms");
        const char *key;
        json_t *label;
        value_of(tt_json_text(v, "name"), json_object_get(v, "value"), shown, sizeof shown, value, sizeof value);
        if (json_is_integer(ms))
            tt_format_duration(TT_MS(json_integer_value(ms) - (json_integer_value(ms) >= 1000 ? json_integer_value(ms) % 100 : 0)), age, sizeof age);
        one_line(*tt_json_text(v, "query") ? tt_json_text(v, "query") : tt_json_text(v, "reports"), from, sizeof from);
        json_object_foreach(json_object_get(v, "labels"), key, label) {
            size_t n = strlen(labels);
            if (strcmp(key, "service") != 0 && strcmp(key, "dc") != 0)
                snprintf(labels + n, sizeof labels - n, "%s%s=%s", n ? "," : "", key, json_string_value(label) ? json_string_value(label) : "");
        }
        snprintf(shown, sizeof shown, "%.60s%s%.60s", tt_json_text(v, "name"), *labels ? " " : "", labels);
        const char *const cells[] = {shown, value, tt_json_text(v, "quality"), age, *from ? from : *tt_json_text(v, "file") ? "" : "worked out"};
        if (!tt_table_row(t, strcmp(tt_json_text(v, "quality"), "ok") == 0 ? TT_PLAIN : TT_ORANGE, cells)) break;
    }
    fputc('\n', p->to);
    tt_table_print(t, p->to, p->colours, p->width);
    tt_table_free(t);
}

static void print_law(const page *p, const json_t *o) {
    const json_t *law = json_object_get(o, "law");
    fputc('\n', p->to);
    if (json_object_size(law)) {
        put_label(p, "terms");
        fputc('\n', p->to);
        members(p, law, 2);
    }
    sentences(p, "clamped", json_object_get(o, "clamps"));
    sentences(p, "guardrails", json_object_get(o, "guardrails"));
    sentences(p, "not chosen", json_object_get(o, "not_chosen"));
}

static void add(char *to, size_t size, const char *more) {
    size_t n = strlen(to);
    if (n < size) snprintf(to + n, size - n, "%s", more);
}

/* {"action":"limit","rps":92,"keep":["critical","normal"]}: "limit 92 rps, keep critical > normal". */
static void act_text(const json_t *act, char *buf, size_t size) {
    const char *key, *inner;
    json_t *v, *w;
    size_t i;
    bool first = true;
    snprintf(buf, size, "%s", tt_json_text(act, "action"));
    json_object_foreach((json_t *)(uintptr_t)act, key, v) {
        char shown[128], value[TEXT_MAX] = "", one[TEXT_MAX];
        if (strcmp(key, "action") == 0) continue;
        value_of(key, v, shown, sizeof shown, value, sizeof value);
        if (json_is_array(v)) value[0] = 0;
        json_array_foreach(v, i, w) {
            if (i) add(value, sizeof value, " > ");
            add(value, sizeof value, json_string_value(w) ? json_string_value(w) : "?");
        }
        if (json_is_object(v)) value[0] = 0;
        json_object_foreach(v, inner, w) {
            char name[128], number[64];
            value_of("share", w, name, sizeof name, number, sizeof number);
            snprintf(one, sizeof one, "%s%.200s %s", *value ? ", " : "", inner, number);
            add(value, sizeof value, one);
        }
        bool bare = json_is_number(v) && strcmp(key, "rps") == 0;
        snprintf(one, sizeof one, "%s%s%s%.400s%s", first ? " " : ", ", bare || json_is_object(v) ? "" : shown, bare || json_is_object(v) ? "" : " ",
                 value, bare ? " rps" : "");
        add(buf, size, one);
        first = false;
    }
}

static void print_decision(const page *p, const json_t *d, json_int_t version) {
    char line[1200], act[1000], span[32], over[32];
    const json_t *acts = json_object_get(d, "actions"), *expires = json_object_get(d, "expires"), *v;
    size_t i;
    snprintf(line, sizeof line, "version %lld%s", (long long)version, json_is_true(json_object_get(d, "armed")) ? ", armed before any incident" : "");
    row(p, "decision", line);
    json_array_foreach(acts, i, v) {
        act_text(v, act, sizeof act);
        snprintf(line, sizeof line, "- %s", act);
        row(p, "", line);
    }
    if (json_is_object(d) && json_array_size(acts) == 0) row(p, "", "- nothing is in force any more");
    if (json_array_size(acts) == 0 || !json_is_integer(json_object_get(expires, "after_ms"))) return;
    tt_format_duration(TT_MS(integer(expires, "after_ms")), span, sizeof span);
    tt_format_duration(TT_MS(integer(expires, "over_ms")), over, sizeof over);
    bool decays = strcmp(tt_json_text(expires, "then"), "decay") == 0;
    snprintf(line, sizeof line, "not heard of for %s: %s%s%s", span, decays ? "it fades over " : "it ", decays ? over : tt_json_text(expires, "then"),
             decays ? "" : "s");
    row(p, "", line);
}

static void print_after(const page *p, const json_t *o) {
    const json_t *before = json_object_get(o, "before"), *ack = json_object_get(o, "acknowledged"), *decision = json_object_get(o, "decision"), *v;
    char line[1200], move[400], span[32], at[TT_CLOCK_TEXT_SIZE];
    size_t i;
    if (json_is_object(before)) {
        move_of(before, move, sizeof move);
        tt_clock_text((tt_wall){integer(before, "at_ms")}, at);
        snprintf(line, sizeof line, "%.8s  %s", at + 11, move);
        row(p, "before it", line);
    }
    json_int_t version = integer(json_object_get(o, "event"), "version");
    if (version) print_decision(p, decision, version);
    if (json_is_object(ack)) {
        tt_format_duration(TT_MS(integer(ack, "after_ms")), span, sizeof span);
        char share[40];
        figure(100 * json_number_value(json_object_get(ack, "share")), share, sizeof share);
        snprintf(line, sizeof line, "by %s %% of the instances after %s%s%s", share, span, *tt_json_text(ack, "reason") ? "; refused: " : "",
                 tt_json_text(ack, "reason"));
        row(p, "enforced", line);
    }
    json_array_foreach(json_object_get(o, "after"), i, v) {
        tt_clock_text((tt_wall){integer(v, "at_ms")}, at);
        if (*tt_json_text(v, "action"))
            move_of(v, move, sizeof move);
        else
            snprintf(move, sizeof move, "%s", tt_json_text(v, "kind"));
        snprintf(line, sizeof line, "%.8s  %s: %s", at + 11, move, tt_json_text(v, "reason"));
        row(p, i ? "" : "then", line);
    }
}

void tt_explain_print(const json_t *o, FILE *to, bool colours, int width, int64_t now_ms) {
    const page p = {to, colours, width, now_ms};
    print_head(&p, o);
    print_rules(&p, o);
    print_inputs(&p, json_object_get(o, "inputs"));
    print_law(&p, o);
    print_after(&p, o);
    sentences(&p, "note", json_object_get(o, "notes"));
}

void tt_explain_print_story(const json_t *events, int64_t chosen, FILE *to, bool colours, int width) {
    static const char *const heads[] = {"EVENT", "TIME", "KIND", "TARGET", "WHAT"};
    tt_table *t = tt_table_new(TT_COUNT(heads), heads);
    size_t i;
    const json_t *v;
    if (!t) return;
    json_array_foreach((json_t *)(uintptr_t)events, i, v) {
        char seq[24] = "", at[TT_CLOCK_TEXT_SIZE], where[400], what[1200], move[400];
        tt_clock_text((tt_wall){integer(v, "at_ms")}, at);
        at[19] = 0;
        if (integer(v, "seq")) snprintf(seq, sizeof seq, "%lld", (long long)integer(v, "seq"));
        place(json_object_get(v, "target"), where, sizeof where);
        move_of(v, move, sizeof move);
        snprintf(what, sizeof what, "%s%s%s", *tt_json_text(v, "action") ? move : "", *tt_json_text(v, "action") ? "; " : "", tt_json_text(v, "reason"));
        const char *const cells[] = {seq, at + 11, tt_json_text(v, "kind"), where, what};
        if (!tt_table_row(t, chosen && integer(v, "seq") == chosen ? TT_BLUE : TT_PLAIN, cells)) break;
    }
    tt_table_print(t, to, colours, width);
    tt_table_free(t);
}
