/* trimtab replay: a recorded run through this engine again. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "clock.h"
#include "config/pcre.h"
#include "json.h"
#include "replay/report.h"
#include "table.h"

enum { ERRS_MAX = 64, EXIT_UNREADABLE = 3 };
static const int64_t progress_ns = TT_MS(200);

typedef struct {
    const tt_rules *rules; /* other rules; NULL: the recorded ones */
    int64_t from_ms, to_ms;
    bool json, verbose;
    tt_recording *rec;
    tt_whatif *whatif;
    tt_buf room;

    uint64_t ticks, decisions, events, runs, segments;
    int64_t first_ms, last_ms;
    size_t signals_missing;
    json_t *torn, *near, *damaged, *difference;

    bool bar, drawn;
    tt_time drawn_at, begun;
    uint64_t bytes, before; /* of all segments; of those passed */
    const tt_record_segment *segment;
} replaying;

/* ---- progress ---- */

static void clear_bar(replaying *r) {
    if (r->drawn) fputs("\r\033[K", stderr);
    r->drawn = false;
}

static void draw_bar(replaying *r, uint64_t offset) {
    enum { CELLS = 28 };
    tt_time now = tt_clock_now();
    if (!r->bar || tt_since(now, r->drawn_at) < progress_ns) return;
    r->drawn_at = now;
    double done = r->bytes ? (double)(r->before + offset) / (double)r->bytes : 0;
    if (done > 1) done = 1;
    char at[TT_CLOCK_TEXT_SIZE], left[48] = "", bar[CELLS + 1], line[300];
    tt_clock_text((tt_wall){r->last_ms}, at);
    for (int i = 0; i < CELLS; i++) bar[i] = i < (int)(done * CELLS) ? '#' : '.';
    bar[CELLS] = 0;
    double took = (double)tt_since(now, r->begun) / 1e9;
    if (done > 0.02 && took > 1) {
        char span[32];
        tt_format_duration(TT_SECONDS((int64_t)(took * (1 - done) / done) + 1), span, sizeof span);
        snprintf(left, sizeof left, ", %s left", span);
    }
    snprintf(line, sizeof line, "[%s] %3d %%  %s, %llu ticks%s", bar, (int)(done * 100), at, (unsigned long long)r->ticks, left);
    int width = tt_terminal_width(STDERR_FILENO);
    fprintf(stderr, "\r\033[K%.*s", width > 1 ? width - 1 : 79, line);
    fflush(stderr);
    r->drawn = true;
}

static void enter(replaying *r, const tt_record_segment *s) {
    if (s == r->segment) return;
    if (r->segment) r->before += r->segment->bytes;
    r->segment = s;
    r->segments++;
}

/* ---- texts ---- */

static void place(const json_t *target, char *buf, size_t size) {
    const char *dc = tt_json_text(target, "dc"), *instance = tt_json_text(target, "instance");
    snprintf(buf, size, "%s%s%s%s%s", tt_json_text(target, "service"), *dc ? "@" : "", dc, *instance ? "/" : "", instance);
}

/* A value as it stands in a document, cut to fit. */
static void value_text(const json_t *v, char *buf, size_t size) {
    char *dumped = !v || json_is_null(v) || json_is_string(v) ? NULL : json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
    tt_buf number;
    tt_buf_init(&number, 64);
    if (json_is_real(v)) tt_buf_number(&number, json_real_value(v));
    snprintf(buf, size, "%s", number.n ? number.p : dumped ? dumped : json_is_string(v) ? json_string_value(v) : "-");
    tt_buf_free(&number);
    free(dumped);
}

static void labels_text(const json_t *labels, char *buf, size_t size) {
    const char *key;
    json_t *v;
    size_t n = 0;
    buf[0] = 0;
    json_object_foreach((json_t *)(uintptr_t)labels, key, v) {
        int more = snprintf(buf + n, size - n, "%s%s=%s", n ? " " : "", key, json_string_value(v) ? json_string_value(v) : "");
        if (more < 0 || n + (size_t)more >= size) return;
        n += (size_t)more;
    }
}

static void clock_of(int64_t ms, char *buf, size_t size) { /* the time of day alone */
    char whole[TT_CLOCK_TEXT_SIZE];
    tt_clock_text((tt_wall){ms}, whole);
    snprintf(buf, size, "%.8s", strlen(whole) > 19 ? whole + 11 : whole);
}

static const char *plural(uint64_t n) {
    return n == 1 ? "" : "s";
}

static void print_table(tt_table *t) {
    if (!t) return;
    tt_table_print(t, stdout, tt_cli_colours(STDOUT_FILENO), tt_terminal_width(STDOUT_FILENO));
    tt_table_free(t);
}

/* ---- a tick ---- */

static void tell_tick(replaying *r, const tt_replay_step *s) {
    char when[TT_CLOCK_TEXT_SIZE], target[400];
    tt_clock_text(s->tick->obs.wall, when);
    clear_bar(r);
    for (size_t i = 0; i < s->out.n_events; i++) {
        const tt_event *ev = &s->out.events[i];
        snprintf(target, sizeof target, "%s%s%s%s%s", ev->target.service, ev->target.dc[0] ? "@" : "", ev->target.dc,
                 ev->target.instance[0] ? "/" : "", ev->target.instance);
        printf("%s %s %s%s%s%s%s\n", when, ev->kind, target, *target ? " " : "", ev->action, *ev->action ? " " : "", ev->reason);
    }
    for (size_t i = 0; i < s->out.n_decisions; i++) {
        r->room.n = 0;
        tt_decision_json(&s->out.decisions[i], &r->room);
        printf("%s decision %.*s\n", when, (int)r->room.n, r->room.p);
    }
}

/* false: the first difference was found, or the span is over. */
static bool take_tick(replaying *r, const tt_replay_step *s) {
    int64_t at = s->tick->obs.wall.ms;
    if (at > r->to_ms) return false;
    r->last_ms = at;
    r->signals_missing = s->signals_missing;
    draw_bar(r, s->offset);
    if (at < r->from_ms) return true;
    if (!r->ticks++) r->first_ms = at;
    if (r->verbose && !r->json) tell_tick(r, s);
    if (r->whatif) {
        tt_whatif_tick(r->whatif, s);
        r->decisions += s->out.n_decisions;
        r->events += s->out.n_events;
        return true;
    }
    tt_replay_difference d;
    if (!tt_replay_same(s, &d, &r->room)) {
        r->difference = tt_replay_difference_json(s, &d);
        if (!r->difference) r->difference = json_object();
        return false;
    }
    r->decisions += s->tick->n_decisions;
    r->events += s->tick->n_events;
    return true;
}

static void run(replaying *r, tt_replay *p) {
    tt_replay_step s;
    tt_err err;
    for (tt_read got; (got = tt_replay_next(p, &s, &err)) != TT_READ_END;) {
        if (got == TT_READ_BAD) {
            json_array_append_new(r->damaged, json_string(err.text));
            continue;
        }
        enter(r, s.segment);
        switch (s.kind) {
        case TT_REPLAY_BEGAN:
            r->runs++;
            if (s.start == TT_REPLAY_NEAR && !r->whatif) json_array_append_new(r->near, json_string(s.segment->path));
            break;
        case TT_REPLAY_TICK:
            if (!take_tick(r, &s)) return;
            break;
        case TT_REPLAY_ENDED:
            if (s.torn)
                json_array_append_new(
                    r->torn, json_pack("{s:s,s:I,s:I}", "file", s.segment->path, "offset", (json_int_t)s.offset, "lost_bytes", (json_int_t)s.lost));
            break;
        case TT_REPLAY_COMMIT:
            break;
        }
    }
}

/* ---- the account ---- */

static void print_difference(const json_t *d) {
    char when[TT_CLOCK_TEXT_SIZE], target[400], a[300], b[300];
    size_t i;
    const json_t *one;
    tt_clock_text((tt_wall){json_integer_value(json_object_get(d, "at_ms"))}, when);
    place(json_object_get(d, "target"), target, sizeof target);
    printf("tick %lld, %s: the %s%s%s differs\n  in %s, frame at byte %lld, epoch %lld\n\n",
           (long long)json_integer_value(json_object_get(d, "tick")), when, tt_json_text(d, "what"), *target ? " for " : "", target, tt_json_text(d, "file"),
           (long long)json_integer_value(json_object_get(d, "offset")), (long long)json_integer_value(json_object_get(d, "epoch")));
    static const char *const heads[] = {"FIELD", "RECORDED", "NOW"};
    tt_table *t = tt_table_new(TT_COUNT(heads), heads);
    json_array_foreach(json_object_get(d, "fields"), i, one) {
        value_text(json_object_get(one, "recorded"), a, sizeof a);
        value_text(json_object_get(one, "now"), b, sizeof b);
        const char *const cells[] = {tt_json_text(one, "field"), a, b};
        if (t) (void)tt_table_row(t, TT_PLAIN, cells);
    }
    print_table(t);
    if (json_array_size(json_object_get(d, "inputs"))) {
        printf("\nwhat it was decided from%s%s\n", *target ? ", for " : "", target);
        static const char *const signal_heads[] = {"SIGNAL", "VALUE", "QUALITY", "AGE", "LABELS"};
        t = tt_table_new(TT_COUNT(signal_heads), signal_heads);
        json_array_foreach(json_object_get(d, "inputs"), i, one) {
            char labels[300], age[32] = "-";
            const json_t *ms = json_object_get(one, "age_ms");
            value_text(json_object_get(one, "value"), a, sizeof a);
            labels_text(json_object_get(one, "labels"), labels, sizeof labels);
            if (json_is_integer(ms)) tt_format_duration(TT_MS(json_integer_value(ms)), age, sizeof age);
            const char *const cells[] = {tt_json_text(one, "name"), a, tt_json_text(one, "quality"), age, labels};
            if (t) (void)tt_table_row(t, strcmp(tt_json_text(one, "quality"), "ok") == 0 ? TT_PLAIN : TT_DIM, cells);
        }
        print_table(t);
    }
    if (json_array_size(json_object_get(d, "reasons"))) putchar('\n');
    json_array_foreach(json_object_get(d, "reasons"), i, one)
        printf("%-8s  %s%s%s: %s\n", tt_json_text(one, "side"), tt_json_text(one, "kind"), *tt_json_text(one, "action") ? " " : "", tt_json_text(one, "action"), tt_json_text(one, "reason"));
}

static void side_text(const json_t *s, char *buf, size_t size) {
    if (!json_is_object(s)) {
        snprintf(buf, size, "no loop");
        return;
    }
    char opened[16], closed[16] = "still open";
    clock_of(json_integer_value(json_object_get(s, "opened_ms")), opened, sizeof opened);
    if (json_is_integer(json_object_get(s, "closed_ms"))) clock_of(json_integer_value(json_object_get(s, "closed_ms")), closed, sizeof closed);
    long long n = (long long)json_integer_value(json_object_get(s, "actions"));
    size_t at = (size_t)snprintf(buf, size, "%s to %s, %lld action%s", opened, closed, n, n == 1 ? "" : "s");
    size_t i;
    const json_t *m;
    json_array_foreach(json_object_get(s, "moved"), i, m) {
        char v[64];
        value_text(json_object_get(m, "most"), v, sizeof v);
        double number = json_number_value(json_object_get(m, "most"));
        snprintf(v, sizeof v, "%lld.%02d", (long long)number, (int)((number - (double)(long long)number) * 100));
        if (at < size) at += (size_t)snprintf(buf + at, size - at, "%s%s %s", i ? ", " : ": ", tt_json_text(m, "action"), v);
    }
}

static void print_whatif(const json_t *w) {
    static const char *const heads[] = {"EVENTS", "RECORDED", "WITH THESE RULES"}, *const loop_heads[] = {"PLAN", "TARGET", "RULES", "LOOP"};
    const char *kind;
    json_t *both, *row;
    size_t i;
    tt_table *t = tt_table_new(TT_COUNT(heads), heads);
    json_object_foreach(json_object_get(w, "events"), kind, both) {
        char a[32], b[32];
        value_text(json_object_get(both, "recorded"), a, sizeof a);
        value_text(json_object_get(both, "now"), b, sizeof b);
        const char *const cells[] = {kind, a, b};
        if (t) (void)tt_table_row(t, strcmp(a, b) == 0 ? TT_DIM : TT_PLAIN, cells);
    }
    print_table(t);
    if (json_array_size(json_object_get(w, "loops")) == 0) {
        printf("\nno loop, neither then nor with these rules\n");
        return;
    }
    putchar('\n');
    t = tt_table_new(TT_COUNT(loop_heads), loop_heads);
    json_array_foreach(json_object_get(w, "loops"), i, row) {
        char target[400], side[600];
        place(json_object_get(row, "target"), target, sizeof target);
        side_text(json_object_get(row, "recorded"), side, sizeof side);
        const char *const then[] = {tt_json_text(row, "plan"), target, "recorded", side};
        if (t) (void)tt_table_row(t, TT_PLAIN, then);
        side_text(json_object_get(row, "now"), side, sizeof side);
        const char *const now[] = {" ", " ", "these", side};
        if (t) (void)tt_table_row(t, TT_BLUE, now);
    }
    print_table(t);
}

static void print_notes(const replaying *r) {
    size_t i;
    const json_t *one;
    json_array_foreach(r->near, i, one) fprintf(
        stderr,
        "note: %s does not hold the engine's whole state for this build: it was begun from what is kept over a restart, and may differ for that\n",
        json_string_value(one));
    json_array_foreach(r->torn, i, one)
        fprintf(stderr, "note: %s ends without an end: the daemon was killed, or still writes it%s\n", tt_json_text(one, "file"),
                json_integer_value(json_object_get(one, "lost_bytes")) ? "; what is not a whole frame was left out" : "");
    json_array_foreach(r->damaged, i, one) fprintf(stderr, "trimtab: %s\n", json_string_value(one));
}

static void print_text(const replaying *r) {
    char from[TT_CLOCK_TEXT_SIZE], to[TT_CLOCK_TEXT_SIZE];
    tt_clock_text((tt_wall){r->first_ms}, from);
    tt_clock_text((tt_wall){r->last_ms}, to);
    print_notes(r);
    if (r->whatif) {
        printf("%llu recorded tick%s, %s to %s, with other rules (%zu plan%s, hash %08x)\n", (unsigned long long)r->ticks, plural(r->ticks), from, to,
               r->rules->n_plans, plural(r->rules->n_plans), r->rules->hash);
        if (r->signals_missing)
            printf("%zu of their signals %s not recorded: what needs %s has no data here\n", r->signals_missing,
                   r->signals_missing == 1 ? "was" : "were", r->signals_missing == 1 ? "it" : "them");
        printf("the inputs show what the recorded actions did to the mesh, not what these would have done: trust the first action of a loop, less "
               "the later\n\n");
        json_t *w = tt_whatif_json(r->whatif);
        print_whatif(w);
        json_decref(w);
        return;
    }
    if (r->difference) {
        printf("%llu tick%s, %llu decision%s, %llu event%s identical; then\n", (unsigned long long)(r->ticks - 1), plural(r->ticks - 1),
               (unsigned long long)r->decisions, plural(r->decisions), (unsigned long long)r->events, plural(r->events));
        print_difference(r->difference);
    } else if (r->ticks) {
        printf("%llu tick%s, %llu decision%s, %llu event%s: identical (%s to %s, %llu run%s, %llu segment%s)\n", (unsigned long long)r->ticks,
               plural(r->ticks), (unsigned long long)r->decisions, plural(r->decisions), (unsigned long long)r->events, plural(r->events), from, to,
               (unsigned long long)r->runs, plural(r->runs), (unsigned long long)r->segments, plural(r->segments));
    } else {
        printf("no tick was recorded%s\n", r->from_ms != INT64_MIN || r->to_ms != INT64_MAX ? " in this span" : "");
    }
}

static void print_json(const replaying *r) {
    json_t *o = json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:O,s:O,s:O}", "ticks", (json_int_t)r->ticks, "decisions", (json_int_t)r->decisions, "events",
                          (json_int_t)r->events, "runs", (json_int_t)r->runs, "segments", (json_int_t)r->segments, "from_ms", (json_int_t)r->first_ms,
                          "to_ms", (json_int_t)r->last_ms, "torn", r->torn, "begun_near", r->near, "damaged", r->damaged);
    if (o && r->whatif) {
        json_t *w = tt_whatif_json(r->whatif);
        json_object_set_new(o, "signals_missing", json_integer((json_int_t)r->signals_missing));
        json_object_update(o, w);
        json_decref(w);
    } else if (o) {
        json_object_set_new(o, "identical", json_boolean(!r->difference));
        json_object_set_new(o, "difference", r->difference ? json_incref(r->difference) : json_null());
    }
    json_dumpf(o, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(o);
}

/* ---- the command ---- */

static int replay(replaying *r, const char *path, const tt_matcher *matcher) {
    tt_err err;
    r->rec = tt_recording_open(path, &err);
    if (!r->rec) {
        fprintf(stderr, "trimtab: %s\n", err.text);
        return EXIT_UNREADABLE;
    }
    const tt_record_segment *all;
    size_t n = tt_recording_segments(r->rec, &all);
    for (size_t i = 0; i < n; i++) r->bytes += all[i].bytes;
    const tt_replay_options opt = {.rules = r->rules, .matcher = matcher, .from_ms = r->from_ms};
    tt_replay *p = tt_replay_new(r->rec, &opt);
    if (r->rules) r->whatif = tt_whatif_new();
    int code = TT_EXIT_FAILED;
    if (!p || (r->rules && !r->whatif)) {
        fprintf(stderr, "trimtab: out of memory\n");
    } else {
        run(r, p);
        clear_bar(r);
        if (r->json)
            print_json(r);
        else
            print_text(r);
        code = r->difference ? TT_EXIT_FAILED : json_array_size(r->damaged) ? EXIT_UNREADABLE : TT_EXIT_OK;
    }
    tt_replay_free(p);
    tt_whatif_free(r->whatif);
    tt_recording_free(r->rec);
    return code;
}

static const char about[] = "Runs a recording through the engine again: every decision and event must come out byte for byte as it was recorded.";
static const char more[] =
    "RECORDING is the directory that `trimtab serve` records into (recording/ in its state directory), or one of its files. It may be written to\n"
    "meanwhile. T is RFC 3339 (2026-11-23T20:31:54Z), Unix seconds, relative to now (-6h), or now.\n"
    "With --rules the same inputs go through other plans, and what would have been done differently is told instead.\n\n"
    "Exit codes: 0 identical, or told; 1 different, with the first difference and what led to it; 2 wrong usage; 3 the recording cannot be read.\n\n"
    "Example:\n  trimtab replay /var/lib/trimtab/recording --from -2h";

int tt_cmd_replay(int argc, char **argv) {
    static tt_cli_list files, operands;
    static tt_err errs[ERRS_MAX];
    const char *from = NULL, *to = NULL, *json = NULL, *verbose = NULL;
    const tt_cli_option options[] = {
        {.name = "from", .arg = "T", .help = "Compare from here on. The engine begins with the part of the recording that T is in.", .value = &from},
        {.name = "to", .arg = "T", .help = "Compare up to here.", .value = &to},
        {.name = "rules", .arg = "FILE|DIR", .help = "What if: these plans instead of the recorded ones. May be given again.", .list = &files},
        {.name = "verbose", .help = "Each event and decision as it comes.", .value = &verbose},
        {.name = "json", .help = "The result as a JSON object on stdout.", .value = &json},
    };
    const tt_cli cli = {
        .usage = "trimtab replay [options] RECORDING", .about = about, .n_options = TT_COUNT(options), .options = options, .more = more};
    bool go;
    int code = tt_cli_parse(&cli, argc, argv, &operands, &go);
    if (!go) return code;
    if (!operands.n) return tt_cli_wrong(&cli, "replay needs a recording: the directory that `trimtab serve` records into, or a file of it");
    if (operands.n > 1) return tt_cli_wrong(&cli, "\"%s\" is one word too many: give --rules once for each file", operands.at[1]);
    tt_wall now = tt_clock_wall(), t;
    tt_err err;
    replaying r = {.from_ms = INT64_MIN, .to_ms = INT64_MAX, .json = json != NULL, .verbose = verbose != NULL, .begun = tt_clock_now()};
    if (from && !tt_clock_parse(from, now, &t, &err)) return tt_cli_wrong(&cli, "--from %s", err.text);
    if (from) r.from_ms = t.ms;
    if (to && !tt_clock_parse(to, now, &t, &err)) return tt_cli_wrong(&cli, "--to %s", err.text);
    if (to) r.to_ms = t.ms;
    if (r.from_ms > r.to_ms) return tt_cli_wrong(&cli, "--from is behind --to");

    size_t n = 0;
    tt_matcher *matcher = tt_pcre_matcher_new();
    tt_rules *rules = matcher && files.n ? tt_rules_read(files.at, files.n, matcher, errs, ERRS_MAX, &n) : NULL;
    if (!rules) tt_cli_errors(errs, n);
    code = TT_EXIT_FAILED;
    if (!matcher || (files.n && !rules && n == 0)) {
        fprintf(stderr, "trimtab: out of memory\n");
    } else if (rules || !files.n) {
        r.rules = rules;
        r.bar = !r.json && isatty(STDERR_FILENO) && tt_terminal_width(STDERR_FILENO) > 0;
        r.torn = json_array();
        r.near = json_array();
        r.damaged = json_array();
        tt_buf_init(&r.room, 1 << 20);
        code = replay(&r, operands.at[0], matcher);
        json_decref(r.torn);
        json_decref(r.near);
        json_decref(r.damaged);
        json_decref(r.difference);
        tt_buf_free(&r.room);
    }
    tt_rules_free(rules);
    if (matcher) tt_pcre_matcher_free(matcher);
    return fflush(stdout) == 0 ? code : TT_EXIT_FAILED;
}
