/* trimtab backtest: the plans over Prometheus's past. */
#include <curl/curl.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backtest/backtest.h"
#include "cli.h"
#include "clock.h"
#include "config/pcre.h"
#include "config/rules_files.h"
#include "table.h"

enum { ERRS_MAX = 64, ANSWER_MAX = 512 << 20, STEPS_MAX = 20 << 20 };

typedef struct {
    tt_runloop *loop;
    tt_backtest *backtest;
    bool bar, drawn; /* a terminal to draw the progress on */
    tt_time begun;
    bool failed;
    tt_err err;
} running;

static void on_step(void *ctx, const tt_history_step *s) {
    running *r = ctx;
    tt_backtest_step(r->backtest, s);
}

static void clear_bar(running *r) {
    if (r->drawn) fputs("\r\033[K", stderr);
    r->drawn = false;
}

static void on_progress(void *ctx, const tt_history_progress *p) {
    running *r = ctx;
    if (!r->bar) return;
    enum { CELLS = 28 };
    char at[TT_CLOCK_TEXT_SIZE], left[40] = "", bar[CELLS + 1];
    tt_clock_text((tt_wall){p->at_ms}, at);
    at[10] = ' ';
    at[16] = 0;
    int filled = (int)(p->done * CELLS);
    for (int i = 0; i < CELLS; i++) bar[i] = i < filled ? '#' : '.';
    bar[CELLS] = 0;
    double took = (double)tt_since(tt_clock_now(), r->begun) / 1e9;
    if (p->done > 0.02 && p->done < 1 && took > 1) {
        char span[32];
        tt_format_duration(TT_SECONDS((int64_t)(took * (1 - p->done) / p->done) + 1), span, sizeof span);
        snprintf(left, sizeof left, ", %s left", span);
    }
    int width = tt_terminal_width(STDERR_FILENO);
    char line[800];
    if (p->trouble)
        snprintf(line, sizeof line, "[%s] %3d %%  %s", bar, (int)(p->done * 100), p->trouble);
    else
        snprintf(line, sizeof line, "[%s] %3d %%  %s, %llu points%s", bar, (int)(p->done * 100), at, (unsigned long long)p->n_points, left);
    fprintf(stderr, "\r\033[K%.*s", width > 1 ? width - 1 : 79, line);
    fflush(stderr);
    r->drawn = true;
}

static void on_end(void *ctx, const tt_err *err) {
    running *r = ctx;
    r->failed = err != NULL;
    if (err) r->err = *err;
    tt_runloop_stop(r->loop);
}

static void on_signal(void *ctx, int signo) {
    running *r = ctx;
    if (signo == SIGHUP) return;
    clear_bar(r);
    fprintf(stderr, "trimtab: stopped before its end: nothing to tell\n");
    exit(TT_EXIT_STOPPED);
}

static bool tell(const tt_backtest *b, const tt_history *h, bool json, const char *svg) {
    bool ok = true;
    if (json) {
        tt_buf out;
        tt_buf_init(&out, ANSWER_MAX);
        tt_backtest_json(b, h, &out);
        ok = tt_cli_write("-", &out);
        tt_buf_free(&out);
    } else
        tt_backtest_print(b, h, stdout, tt_cli_colours(STDOUT_FILENO), tt_terminal_width(STDOUT_FILENO));
    if (svg) {
        tt_buf out;
        tt_buf_init(&out, ANSWER_MAX);
        tt_backtest_svg(b, &out);
        ok = tt_cli_write(svg, &out) && ok;
        tt_buf_free(&out);
    }
    return fflush(stdout) == 0 && ok;
}

static int run(const tt_rules *rules, const char *url, const tt_backtest_spec *spec, int64_t warm_up_ms, bool json, const char *svg) {
    /* The engine's time begins anywhere but at zero. */
    const tt_history_span span = {.from_ms = spec->from_ms - warm_up_ms, .to_ms = spec->to_ms, .step_ms = spec->step_ms, .base = {TT_SECONDS(1000000)}};
    running r = {.bar = isatty(STDERR_FILENO) && tt_terminal_width(STDERR_FILENO) > 0, .begun = tt_clock_now()};
    const tt_history_told told = {&r, on_step, on_progress, on_end};
    tt_history *h = NULL;
    int code = TT_EXIT_FAILED;
    r.loop = tt_runloop_new(&r.err);
    r.backtest = tt_backtest_new(rules, spec);
    if (!r.backtest) tt_fail(&r.err, TT_ENOMEM, "out of memory making the engine");
    r.failed = !r.loop || !r.backtest || !tt_runloop_on_signal(r.loop, on_signal, &r, &r.err) || !(h = tt_history_new(r.loop, url, rules, &span, &told, &r.err));
    if (!r.failed) {
        tt_history_start(h);
        tt_runloop_run(r.loop);
    }
    clear_bar(&r);
    if (r.failed) {
        char text[900];
        tt_err_print(&r.err, text, sizeof text);
        fprintf(stderr, "trimtab: %s\n", text);
        if (r.err.code == TT_EIO) code = TT_EXIT_UNREACHABLE;
    } else if (tell(r.backtest, h, json, svg))
        code = TT_EXIT_OK;
    tt_history_free(h);
    tt_backtest_free(r.backtest);
    tt_runloop_free(r.loop);
    return code;
}

static bool read_span(const tt_cli *cli, const char *from, const char *to, const char *step, const char *warm_up, tt_backtest_spec *ret, int64_t *ret_warm_up,
                      int *ret_code) {
    tt_wall now = tt_clock_wall(), a, b;
    tt_err err;
    int64_t step_ns = TT_SECONDS(15), warm_ns = TT_SECONDS(900);
    *ret_code = TT_EXIT_USAGE;
    if (!tt_clock_parse(from, now, &a, &err)) return tt_cli_wrong(cli, "--from %s", err.text), false;
    if (!tt_clock_parse(to ? to : "now", now, &b, &err)) return tt_cli_wrong(cli, "--to %s", err.text), false;
    if (step && !tt_parse_duration(tt_sv_of(step), &step_ns)) return tt_cli_wrong(cli, "--step \"%s\" is no duration: write it like 15s or 1m", step), false;
    if (warm_up && !tt_parse_duration(tt_sv_of(warm_up), &warm_ns))
        return tt_cli_wrong(cli, "--warm-up \"%s\" is no duration: write it like 15m or 1d", warm_up), false;
    if (step_ns < TT_MS(100) || step_ns > TT_SECONDS(3600) || step_ns % TT_MS(1)) return tt_cli_wrong(cli, "--step is 100ms to 1h, not \"%s\"", step), false;
    /* Whole steps: what sits before Prometheus and keeps answers finds them again. */
    ret->step_ms = step_ns / 1000000;
    ret->from_ms = a.ms - a.ms % ret->step_ms;
    ret->to_ms = b.ms - b.ms % ret->step_ms;
    *ret_warm_up = (warm_ns / 1000000 + ret->step_ms - 1) / ret->step_ms * ret->step_ms;
    if (ret->to_ms <= ret->from_ms) return tt_cli_wrong(cli, "--from is not before --to by a step at least"), false;
    if (b.ms > now.ms + 1000) return tt_cli_wrong(cli, "--to is in the future"), false;
    if ((ret->to_ms - ret->from_ms + *ret_warm_up) / ret->step_ms > STEPS_MAX)
        return tt_cli_wrong(cli, "these are more than %d steps: take a longer --step or a shorter span", STEPS_MAX), false;
    *ret_code = TT_EXIT_OK;
    return true;
}

static const char about[] = "Runs plans over Prometheus's past: which loops would have opened, on what, when, for how long, and what they would have wanted to do.";
static const char more[] =
    "T is RFC 3339 (2026-11-23T20:31:54Z), Unix seconds, relative to now (-6h, -7d), or now. Signals that come from load reports have no history\n"
    "and are left out; alerts are taken from Prometheus's own ALERTS. What an action would have changed history cannot show: the first decision\n"
    "of a loop is what it would have been, later ones are told as what they are.\n\n"
    "Exit codes: 0 done, whatever was found; 1 the rules or a query are wrong, or the result cannot be written; 2 wrong usage; 6 Prometheus\n"
    "cannot be asked; 130 interrupted.\n\n"
    "Example:\n  trimtab backtest --rules plans/ --prometheus http://127.0.0.1:9090 --from -7d --svg week.svg";

int tt_cmd_backtest(int argc, char **argv) {
    static tt_cli_list files, operands;
    static tt_err errs[ERRS_MAX];
    const char *prometheus = NULL, *from = NULL, *to = NULL, *step = NULL, *warm_up = NULL, *mode = NULL, *json = NULL, *svg = NULL;
    const tt_cli_option options[] = {
        {.name = "rules", .arg = "FILE|DIR", .env = "TRIMTAB_RULES", .help = "Plans: a file, or a directory of *.yaml. May be given again.", .list = &files},
        {.name = "prometheus", .arg = "URL", .env = "TRIMTAB_PROMETHEUS", .help = "Whose history. Default: http://127.0.0.1:9090.", .value = &prometheus},
        {.name = "from", .arg = "T", .help = "Where the span begins.", .value = &from},
        {.name = "to", .arg = "T", .help = "Where it ends. Default: now.", .value = &to},
        {.name = "step", .arg = "DURATION", .help = "How often queries are asked and the engine decides. Default: 15s.", .value = &step},
        {.name = "warm-up", .arg = "DURATION", .help = "History before --from, to learn capacity and baselines from. Default: 15m.", .value = &warm_up},
        {.name = "mode",
         .arg = "auto|as-written",
         .help = "auto: what plans would do if they were let, whatever their mode says. as-written: observe and advise do nothing, approve waits for a person who "
                 "never comes. Default: auto.",
         .value = &mode},
        {.name = "json", .help = "Everything, as a JSON object on stdout.", .value = &json},
        {.name = "svg", .arg = "FILE", .help = "Also a chart of the loops over time.", .value = &svg},
    };
    const tt_cli cli = {.usage = "trimtab backtest --rules FILE|DIR... --from T [--to T] [options]",
                        .about = about,
                        .n_options = TT_COUNT(options),
                        .options = options,
                        .more = more};
    bool go;
    int code = tt_cli_parse(&cli, argc, argv, &operands, &go);
    if (!go) return code;
    for (size_t i = 0; i < operands.n && files.n < TT_CLI_LIST_MAX; i++) files.at[files.n++] = operands.at[i];
    if (!files.n) return tt_cli_wrong(&cli, "backtest needs --rules: the plans to try");
    if (!from) return tt_cli_wrong(&cli, "backtest needs --from: where the span begins, like -6h");
    if (mode && strcmp(mode, "auto") != 0 && strcmp(mode, "as-written") != 0) return tt_cli_wrong(&cli, "--mode is auto or as-written, not \"%s\"", mode);
    tt_backtest_spec spec = {.mode = mode ? mode : "auto"};
    int64_t warm_up_ms;
    if (!read_span(&cli, from, to, step, warm_up, &spec, &warm_up_ms, &code)) return code;

    size_t n = 0;
    curl_global_init(CURL_GLOBAL_DEFAULT);
    tt_runloop_block_signals();
    tt_matcher *matcher = tt_pcre_matcher_new();
    tt_rules *rules = matcher ? tt_rules_read(files.at, files.n, matcher, errs, ERRS_MAX, &n) : NULL;
    tt_cli_errors(errs, n);
    if (!rules && n == 0) fprintf(stderr, "trimtab: out of memory reading the rules\n");
    code = TT_EXIT_FAILED;
    if (rules) {
        for (size_t i = 0; strcmp(spec.mode, "auto") == 0 && i < rules->n_plans; i++) rules->plans[i].mode = TT_MODE_AUTO;
        /* Nothing that is taken back can hold in a history that goes its own way: reversals are counted, and lock nobody out. */
        rules->guardrails.lock_out_reversals = UINT32_MAX;
        code = run(rules, prometheus ? prometheus : "http://127.0.0.1:9090", &spec, warm_up_ms, json != NULL, svg);
    }
    tt_rules_free(rules);
    if (matcher) tt_pcre_matcher_free(matcher);
    curl_global_cleanup();
    return code;
}
