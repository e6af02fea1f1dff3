/* The account of a backtest, for machines and for people. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backtest/backtest.h"
#include "clock.h"
#include "table.h"

enum { DETAILED = 12, TEXT_WIDTH = 110 };

static const char open_loop[] =
    "history cannot show what an action would have changed: the first decision of a loop is what it would have been, everything behind it is sized from "
    "data on which nothing had an effect";

/* ---- JSON ---- */

static void when(tt_buf *b, const char *name, int64_t ms) {
    if (ms)
        tt_buf_printf(b, ",\"%s\":%lld", name, (long long)ms);
    else
        tt_buf_printf(b, ",\"%s\":null", name);
}

static void put_wishes(const tt_backtest_loop *l, bool first, tt_buf *b) {
    bool any = false;
    for (uint32_t i = 0; i < l->n_wishes; i++) {
        const tt_backtest_wish *w = &l->wish[i];
        if (first && !w->in_first) continue;
        tt_buf_put(b, any ? TT_SV(",{\"target\":") : TT_SV("{\"target\":"));
        any = true;
        tt_target_json(&w->target, b);
        tt_buf_member(b, "action", tt_sv_of(w->action));
        tt_buf_member_number(b, "from", w->before);
        tt_buf_member_number(b, "to", first ? w->first : w->most);
        tt_buf_member(b, "unit", tt_sv_of(w->unit));
        when(b, "at_ms", first ? w->first_ms : w->most_ms);
        tt_buf_member(b, "reason", tt_sv_of(first ? w->reason : w->most_reason));
        tt_buf_put(b, TT_SV("}"));
    }
}

static void put_loop(const tt_backtest_loop *l, int64_t to_ms, tt_buf *b) {
    tt_buf_put(b, TT_SV("{\"plan\":"));
    tt_buf_json_string(b, tt_sv_of(l->plan));
    tt_buf_member(b, "mode", tt_sv_of(tt_mode_name(l->mode)));
    tt_buf_key(b, "target");
    tt_target_json(&l->target, b);
    tt_buf_member(b, "verdict", tt_sv_of(tt_backtest_verdict_name(tt_backtest_verdict_of(l))));
    when(b, "opened_ms", l->opened_ms);
    when(b, "closed_ms", l->closed_ms);
    tt_buf_printf(b, ",\"lasted_ms\":%lld,\"before_from\":%s", (long long)((l->closed_ms ? l->closed_ms : to_ms) - l->opened_ms), l->before ? "true" : "false");
    if (l->closed_ms)
        tt_buf_member(b, "ended", tt_sv_of(l->ended));
    else
        tt_buf_put(b, TT_SV(",\"ended\":null"));
    tt_buf_member(b, "opened_because", tt_sv_of(l->opened_because));
    tt_buf_member(b, "closed_because", tt_sv_of(l->closed_because));
    if (l->first_ms) {
        tt_buf_printf(b, ",\"first\":{\"at_ms\":%lld,\"after_ms\":%lld,\"actions\":[", (long long)l->first_ms, (long long)(l->first_ms - l->opened_ms));
        put_wishes(l, true, b);
        tt_buf_put(b, TT_SV("]}"));
    } else
        tt_buf_put(b, TT_SV(",\"first\":null"));
    tt_buf_put(b, TT_SV(",\"most\":["));
    put_wishes(l, false, b);
    tt_buf_printf(b, "],\"later_actions\":%u,\"reversals\":%u,\"escalated\":%s,\"notes\":[", l->n_later, l->n_relapses, l->escalated ? "true" : "false");
    for (uint32_t i = 0; i < l->n_notes; i++) {
        tt_buf_printf(b, "%s{\"at_ms\":%lld,\"kind\":\"%s\",\"times\":%u", i ? "," : "", (long long)l->note[i].at_ms, l->note[i].kind, l->note[i].times);
        tt_buf_member(b, "reason", tt_sv_of(l->note[i].text));
        tt_buf_put(b, TT_SV("}"));
    }
    tt_buf_put(b, TT_SV("]}"));
}

static void put_signals(const tt_rules *r, const tt_history *h, tt_buf *b) {
    tt_buf_put(b, TT_SV(",\"signals\":["));
    for (uint32_t i = 0; h && i < r->n_signals; i++) {
        const tt_history_signal *s = tt_history_signal_of(h, i);
        tt_buf_put(b, i ? TT_SV(",{\"name\":") : TT_SV("{\"name\":"));
        tt_buf_json_string(b, r->signals[i].name);
        tt_buf_member(b, "file", tt_sv_of(r->signals[i].pos.file ? r->signals[i].pos.file : ""));
        tt_buf_printf(b, ",\"line\":%u,\"asked\":%s,\"series\":%u,\"steps\":%llu,\"steps_with_data\":%llu,\"steps_refused\":%llu,\"not_a_number\":%llu",
                      r->signals[i].pos.line, s->asked ? "true" : "false", s->n_series, (unsigned long long)s->n_steps, (unsigned long long)s->n_steps_with,
                      (unsigned long long)s->n_steps_refused, (unsigned long long)s->n_nan);
        when(b, "first_ms", s->first_ms);
        when(b, "last_ms", s->last_ms);
        tt_buf_put(b, TT_SV("}"));
    }
    tt_buf_put(b, TT_SV("]"));
}

/* ---- what is to be minded ---- */

typedef void (*say_fn)(void *ctx, const char *line);

static bool wants_alerts(const tt_rules *r) {
    for (size_t i = 0; i < r->n_anomalies; i++)
        if (r->anomalies[i].kind == TT_ANOMALY_ALERT) return true;
    return false;
}

static void warnings(const tt_backtest *b, const tt_history *h, say_fn say, void *ctx) {
    const tt_rules *r = tt_backtest_rules(b);
    const tt_backtest_spec *spec = tt_backtest_spec_of(b);
    char line[700];
    for (uint32_t i = 0; h && i < r->n_signals; i++) {
        const tt_history_signal *s = tt_history_signal_of(h, i);
        const tt_signal_def *d = &r->signals[i];
        char place[300];
        snprintf(place, sizeof place, "%s:%u:%u: signal " TT_SV_FMT, d->pos.file ? d->pos.file : "", d->pos.line, d->pos.column, TT_SV_ARG(d->name));
        line[0] = 0;
        if (!s->asked)
            snprintf(line, sizeof line, "%s comes from load reports, which Prometheus does not keep: what needs it was not tested; give it a query for that", place);
        else if (s->n_steps_with == 0)
            snprintf(line, sizeof line, "%s: no value in the whole span: a name or label in its query may be wrong, or nobody recorded it", place);
        else if (s->first_ms > spec->from_ms + spec->step_ms && s->first_ms - spec->from_ms > (spec->to_ms - spec->from_ms) / 20) {
            char at[TT_CLOCK_TEXT_SIZE];
            tt_clock_text((tt_wall){s->first_ms}, at);
            snprintf(line, sizeof line, "%s: history begins at %s", place, at);
        } else if (s->n_steps_with < s->n_steps - s->n_steps / 20)
            snprintf(line, sizeof line, "%s: no value in %.0f %% of the steps: nothing new is done in those", place,
                     100 - 100 * (double)s->n_steps_with / (double)s->n_steps);
        if (line[0]) say(ctx, line);
        if (!s->n_steps_refused) continue;
        snprintf(line, sizeof line, "%s: refused in %llu steps: two of its series are one once names and `labels:` are applied: aggregate them, as in sum by (service, dc) (...)",
                 place, (unsigned long long)s->n_steps_refused);
        say(ctx, line);
    }
    if (h && wants_alerts(r) && !tt_history_has_alerts(h))
        say(ctx, "no alert was firing in the whole span, or this Prometheus evaluates no alerting rules: anomalies that wait for an alert were not tested");
    if (h && *tt_history_warning(h)) {
        snprintf(line, sizeof line, "Prometheus warns: %.600s", tt_history_warning(h));
        say(ctx, line);
    }
    if (tt_backtest_lost(b)) say(ctx, "there were more loops, refusals or actuators than are kept: the account is not whole; take a shorter span");
}

typedef struct {
    tt_buf *b;
    bool any;
} json_list;

static void say_json(void *ctx, const char *line) {
    json_list *l = ctx;
    if (l->any) tt_buf_put(l->b, TT_SV(","));
    l->any = true;
    tt_buf_json_string(l->b, tt_sv_of(line));
}

void tt_backtest_json(const tt_backtest *b, const tt_history *h, tt_buf *out) {
    const tt_backtest_spec *spec = tt_backtest_spec_of(b);
    const tt_rules *r = tt_backtest_rules(b);
    const tt_backtest_loop *const *loops;
    const tt_backtest_refusal *refusals;
    const tt_backtest_note *freezes;
    size_t n_loops = tt_backtest_loops(b, &loops), n_refusals = tt_backtest_refusals(b, &refusals), n_freezes = tt_backtest_freezes(b, &freezes);
    tt_backtest_sums s;
    tt_backtest_sums_of(b, &s);
    tt_buf_printf(out, "{\"from_ms\":%lld,\"to_ms\":%lld,\"step_ms\":%lld,\"mode\":\"%s\",\"ticks\":%llu", (long long)spec->from_ms, (long long)spec->to_ms,
                  (long long)spec->step_ms, spec->mode, (unsigned long long)tt_backtest_ticks(b));
    if (h) tt_buf_member(out, "prometheus", tt_sv_of(tt_history_url(h)));
    tt_buf_printf(out, ",\"rules\":{\"plans\":%zu,\"hash\":\"%08x\"}", r->n_plans, r->hash);
    tt_buf_printf(out,
                  ",\"summary\":{\"loops\":%u,\"acting\":%u,\"false_alarm_candidates\":%u,\"no_means\":%u,\"waited\":%u,\"shadow\":%u,\"still_open\":%u,"
                  "\"first_actions\":%u,\"later_actions\":%u,\"anomalies\":%u,\"pages\":%u,\"freezes\":%u,\"guardrails\":%u,\"not_chosen\":%u}",
                  s.loops, s.acting, s.by_itself, s.no_means, s.waited, s.shadow, s.still_open, s.first_actions, s.later_actions, s.anomalies, s.pages, s.freezes,
                  s.guardrails, s.not_chosen);
    tt_buf_put(out, TT_SV(",\"loops\":["));
    for (size_t i = 0; i < n_loops; i++) {
        if (i) tt_buf_put(out, TT_SV(","));
        put_loop(loops[i], spec->to_ms, out);
    }
    tt_buf_put(out, TT_SV("],\"refused\":["));
    for (size_t i = 0; i < n_refusals; i++) {
        const tt_backtest_refusal *f = &refusals[i];
        tt_buf_printf(out, "%s{\"kind\":\"%s\"", i ? "," : "", f->kind);
        tt_buf_member(out, "plan", tt_sv_of(f->plan));
        tt_buf_key(out, "target");
        tt_target_json(&f->target, out);
        when(out, "first_ms", f->first_ms);
        when(out, "last_ms", f->last_ms);
        tt_buf_printf(out, ",\"times\":%u", f->times);
        tt_buf_member(out, "reason", tt_sv_of(f->text));
        tt_buf_put(out, TT_SV("}"));
    }
    tt_buf_put(out, TT_SV("],\"freezes\":["));
    for (size_t i = 0; i < n_freezes; i++) {
        tt_buf_printf(out, "%s{\"at_ms\":%lld", i ? "," : "", (long long)freezes[i].at_ms);
        tt_buf_member(out, "reason", tt_sv_of(freezes[i].text));
        tt_buf_put(out, TT_SV("}"));
    }
    tt_buf_put(out, TT_SV("]"));
    put_signals(r, h, out);
    tt_buf_put(out, TT_SV(",\"warnings\":["));
    json_list l = {out, false};
    warnings(b, h, say_json, &l);
    tt_buf_put(out, TT_SV("]"));
    tt_buf_member(out, "note", tt_sv_of(open_loop));
    tt_buf_put(out, TT_SV("}\n"));
}

/* ---- for people ---- */

static void short_number(double v, char *buf, size_t size) {
    double a = fabs(v);
    snprintf(buf, size, "%.*f", a >= 100 || a == 0 ? 0 : a >= 10 ? 1 : 2, v);
    if (strchr(buf, '.')) {
        size_t n = strlen(buf);
        while (buf[n - 1] == '0') buf[--n] = 0;
        if (buf[n - 1] == '.') buf[n - 1] = 0;
    }
}

/* "11-23 20:31:54", with the year where the span has more than one. */
static void short_time(int64_t ms, bool year, char *buf, size_t size) {
    char t[TT_CLOCK_TEXT_SIZE];
    tt_clock_text((tt_wall){ms}, t);
    t[10] = ' ';
    t[19] = 0;
    snprintf(buf, size, "%s", year ? t : t + 5);
}

static void duration(int64_t ms, char *buf, size_t size) {
    tt_format_duration(TT_MS(ms / 1000 * 1000), buf, size);
}

static void place(const tt_target *t, char *buf, size_t size) {
    snprintf(buf, size, "%s%s%s%s%s", t->service, t->dc[0] ? "@" : "", t->dc, t->instance[0] ? "/" : "", t->instance);
}

/* "limit 188 rps", "drop:batch 35 %", "weights:dc-a 50 % -> 12 %". */
static void say_value(const tt_backtest_wish *w, double v, char *buf, size_t size) {
    char n[32], from[40] = "";
    bool ratio = strcmp(w->unit, "ratio") == 0;
    short_number(ratio ? 100 * v : v, n, sizeof n);
    if (ratio && !isnan(w->before)) {
        char f[32];
        short_number(100 * w->before, f, sizeof f);
        snprintf(from, sizeof from, "%s %% -> ", f);
    }
    if (strcmp(w->unit, "level") == 0)
        snprintf(buf, size, "%s level %s", w->action, n);
    else
        snprintf(buf, size, "%s %s%s %s", w->action, from, n, ratio ? "%" : w->unit);
}

static void say_first(const tt_backtest_loop *l, char *buf, size_t size) {
    char after[32], one[200];
    switch (tt_backtest_verdict_of(l)) {
    case TT_BACKTEST_BY_ITSELF: snprintf(buf, size, "nothing: over by itself (a false alarm?)"); return;
    case TT_BACKTEST_NO_MEANS: snprintf(buf, size, "nothing: the plan's steps did not apply"); return;
    case TT_BACKTEST_WAITED: snprintf(buf, size, "nothing: waited for a person"); return;
    case TT_BACKTEST_SHADOW: snprintf(buf, size, "nothing: mode %s", tt_mode_name(l->mode)); return;
    case TT_BACKTEST_ACTS: break;
    }
    duration(l->first_ms - l->opened_ms, after, sizeof after);
    size_t n = (size_t)snprintf(buf, size, "after %s: ", after);
    bool any = false;
    for (uint32_t i = 0; i < l->n_wishes && n < size; i++) {
        if (!l->wish[i].in_first) continue;
        say_value(&l->wish[i], l->wish[i].first, one, sizeof one);
        n += (size_t)snprintf(buf + n, size - n, "%s%s", any ? ", " : "", one);
        any = true;
    }
}

static void wrap(FILE *to, const char *text, int indent, int width) {
    fprintf(to, "%*s", indent, "");
    tt_print_wrapped(to, text, indent, width);
}

typedef struct {
    FILE *to;
    int width;
    bool any;
} text_list;

static void say_text(void *ctx, const char *line) {
    text_list *l = ctx;
    if (!l->any) fprintf(l->to, "\n");
    l->any = true;
    wrap(l->to, line, 0, l->width);
}

static void print_table(const tt_backtest *b, const tt_backtest_loop *const *loops, size_t n, bool year, FILE *to, bool colours, int width) {
    static const char *const heads[] = {"OPENED (UTC)", "LASTED", "PLAN", "TARGET", "ENDED", "FIRST WISH"};
    static const tt_ink inks[] = {TT_BLUE, TT_DIM, TT_ORANGE, TT_ORANGE, TT_DIM};
    tt_table *t = tt_table_new(TT_COUNT(heads), heads);
    size_t i = 0;
    for (; t && i < n; i++) {
        const tt_backtest_loop *l = loops[i];
        char at[32], lasted[40], target[400], first[600];
        short_time(l->opened_ms, year, at, sizeof at);
        duration((l->closed_ms ? l->closed_ms : tt_backtest_spec_of(b)->to_ms) - l->opened_ms, lasted, sizeof lasted);
        place(&l->target, target, sizeof target);
        say_first(l, first, sizeof first);
        const char *const cells[] = {at, lasted, l->plan, target, l->closed_ms ? l->ended : "still open", first};
        if (!tt_table_row(t, inks[tt_backtest_verdict_of(l)], cells)) break;
    }
    if (t) tt_table_print(t, to, colours, width);
    if (t && i < n) fprintf(to, "... and %zu more: --json has all\n", n - i);
    tt_table_free(t);
}

static void print_detail(const tt_backtest_loop *l, bool year, FILE *to, bool colours, int width) {
    char at[32], target[400], value[200], line[1500];
    short_time(l->opened_ms, year, at, sizeof at);
    place(&l->target, target, sizeof target);
    fprintf(to, "\n%s%s on %s, %s%s\n", colours ? "\033[1m" : "", l->plan, target, at, colours ? "\033[0m" : "");
    fprintf(to, "  first decision:\n");
    for (uint32_t i = 0; i < l->n_wishes; i++) {
        const tt_backtest_wish *w = &l->wish[i];
        if (!w->in_first) continue;
        place(&w->target, target, sizeof target);
        say_value(w, w->first, value, sizeof value);
        size_t n = (size_t)snprintf(line, sizeof line, "%s %s", target, value);
        /* The weights of one move have one reason. */
        for (; i + 1 < l->n_wishes && w[1].in_first && tt_target_eq(&w[1].target, &w->target) && strcmp(w[1].reason, w->reason) == 0; w++, i++) {
            say_value(&w[1], w[1].first, value, sizeof value);
            if (n + strlen(value) + 3 < sizeof line) n += (size_t)snprintf(line + n, sizeof line - n, ", %s", value);
        }
        snprintf(line + n, sizeof line - n, ": %s", w->reason);
        wrap(to, line, 4, width);
    }
    bool head = false;
    for (uint32_t i = 0; i < l->n_wishes; i++) {
        const tt_backtest_wish *w = &l->wish[i];
        if (w->in_first && (w->most == w->first || w->most_ms == w->first_ms)) continue;
        if (!head) fprintf(to, "  at most, had nothing helped (%u later actions, sized from data without the effect of the first):\n", l->n_later);
        head = true;
        place(&w->target, target, sizeof target);
        say_value(w, w->most, value, sizeof value);
        short_time(w->most_ms, year, at, sizeof at);
        snprintf(line, sizeof line, "%s %s at %s", target, value, at);
        wrap(to, line, 4, width);
    }
    for (uint32_t i = 0; i < l->n_notes; i++) {
        const tt_backtest_note *n = &l->note[i];
        short_time(n->at_ms, year, at, sizeof at);
        /* A page begins with whom to call, which may be nobody. */
        snprintf(line, sizeof line, "%s at %s%s: %s", n->kind, at, n->times > 1 ? ", and again" : "", n->text + strspn(n->text, ": "));
        wrap(to, line, 2, width);
    }
}

static const char *plural(uint64_t n) {
    return n == 1 ? "" : "s";
}

static void print_sums(const tt_backtest_sums *s, FILE *to) {
    fprintf(to, "%u loop%s", s->loops, plural(s->loops));
    if (s->acting) fprintf(to, ": %u would have acted (%u first action%s, %u later)", s->acting, s->first_actions, plural(s->first_actions), s->later_actions);
    if (s->by_itself) fprintf(to, "%s %u over by %s before anything was done (false alarm?)", s->acting ? "," : ":", s->by_itself, s->by_itself == 1 ? "itself" : "themselves");
    if (s->no_means) fprintf(to, "%s %u for which the plan had nothing to do", s->acting || s->by_itself ? "," : ":", s->no_means);
    if (s->waited) fprintf(to, ", %u waited for a person", s->waited);
    if (s->shadow) fprintf(to, ", %u only observed or advised", s->shadow);
    if (s->still_open) fprintf(to, "; %u still open at the end", s->still_open);
    fprintf(to, ". %u anomal%s, %u page%s\n", s->anomalies, s->anomalies == 1 ? "y" : "ies", s->pages, plural(s->pages));
}

static void print_refusals(const tt_backtest *b, bool year, FILE *to, int width) {
    const tt_backtest_refusal *f;
    const tt_backtest_note *freezes;
    size_t n = tt_backtest_refusals(b, &f), n_freezes = tt_backtest_freezes(b, &freezes), shown = 0;
    char at[32], target[400], line[1200];
    for (size_t i = 0; i < n && shown < DETAILED; i++) {
        if (strcmp(f[i].kind, "guardrail") != 0) continue;
        if (!shown++) fprintf(to, "\nnot started:\n");
        short_time(f[i].first_ms, year, at, sizeof at);
        place(&f[i].target, target, sizeof target);
        char times[48] = "";
        if (f[i].times > 1) snprintf(times, sizeof times, " (%u times)", f[i].times);
        snprintf(line, sizeof line, "%s %s: %s%s", at, target, f[i].text, times);
        wrap(to, line, 2, width);
    }
    for (size_t i = 0; i < n_freezes && i < DETAILED; i++) {
        if (!i) fprintf(to, "\nfrozen (here a person resumes after 10 minutes):\n");
        short_time(freezes[i].at_ms, year, at, sizeof at);
        snprintf(line, sizeof line, "%s %s", at, freezes[i].text);
        wrap(to, line, 2, width);
    }
}

void tt_backtest_print(const tt_backtest *b, const tt_history *h, FILE *to, bool colours, int width) {
    const tt_backtest_spec *spec = tt_backtest_spec_of(b);
    const tt_rules *r = tt_backtest_rules(b);
    const tt_backtest_loop *const *loops;
    size_t n = tt_backtest_loops(b, &loops);
    tt_backtest_sums s;
    tt_backtest_sums_of(b, &s);
    char from[TT_CLOCK_TEXT_SIZE], until[TT_CLOCK_TEXT_SIZE], step[32], span[40];
    tt_clock_text((tt_wall){spec->from_ms}, from);
    tt_clock_text((tt_wall){spec->to_ms}, until);
    from[19] = until[19] = 0;
    from[10] = until[10] = ' ';
    tt_format_duration(TT_MS(spec->step_ms), step, sizeof step);
    duration(spec->to_ms - spec->from_ms, span, sizeof span);
    bool year = strncmp(from, until, 4) != 0;
    int wide = width > 60 ? width : TEXT_WIDTH;
    fprintf(to, "%zu plan%s over %s of history, %s to %s UTC, every %s, %s\n\n", r->n_plans, plural(r->n_plans), span, from, until, step,
            strcmp(spec->mode, "auto") == 0 ? "as if all were in mode auto" : "in their modes as written");
    if (n) {
        print_table(b, loops, n, year, to, colours, width);
        fputc('\n', to);
    }
    print_sums(&s, to);
    size_t shown = 0;
    for (size_t i = 0; i < n && shown < DETAILED; i++)
        if (loops[i]->first_ms) {
            print_detail(loops[i], year, to, colours, wide);
            shown++;
        }
    if (s.acting > shown) fprintf(to, "\n%zu more that would have acted: --json has them\n", (size_t)s.acting - shown);
    print_refusals(b, year, to, wide);
    if (s.acting) {
        fputc('\n', to);
        char note[sizeof open_loop];
        memcpy(note, open_loop, sizeof open_loop);
        note[0] = 'H';
        wrap(to, note, 0, wide);
    }
    text_list l = {to, wide, false};
    warnings(b, h, say_text, &l);
}
