/* trimtab check: what is wrong with plans, before they run. With --prometheus each query is asked once, too. */
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "config/pcre.h"
#include "config/rules_files.h"
#include "source/source.h"

enum { ERRS_MAX = 256 };
static const int64_t ask_within_ns = TT_SECONDS(20);

typedef struct {
    const tt_rules *rules;
    tt_runloop *loop;
    tt_source *source;
    bool answered[TT_SIGNALS_MAX];
    size_t open; /* signals not heard of yet */
    tt_err *errs;
    size_t n_errs;
} asking;

static void problem(asking *q, uint32_t signal, tt_code code, const char *text, tt_sv more) {
    const tt_signal_def *def = &q->rules->signals[signal];
    if (q->n_errs == ERRS_MAX) return;
    tt_err *e = &q->errs[q->n_errs++];
    *e = (tt_err){.code = code, .line = def->pos.line, .column = def->pos.column};
    snprintf(e->file, sizeof e->file, "%s", def->pos.file ? def->pos.file : "");
    snprintf(e->text, sizeof e->text, "%s" TT_SV_FMT, text, TT_SV_ARG(more));
}

static void heard(asking *q, const tt_poll *p, const tt_source_batch *b) {
    tt_sv name = q->rules->signals[p->signal].name;
    char text[256];
    if (q->answered[p->signal]) return;
    q->answered[p->signal] = true;
    q->open--;
    if (!p->answered) {
        problem(q, p->signal, TT_EVALUE, "", p->error); /* it names the signal */
        return;
    }
    size_t all = 0, good = 0;
    for (size_t i = 0; i < b->n_measurements; i++)
        if (b->measurements[i].signal == p->signal) {
            all++;
            good += b->measurements[i].quality == TT_Q_OK;
        }
    if (good) return;
    snprintf(text, sizeof text, "signal " TT_SV_FMT ": the query %s", TT_SV_ARG(name),
             all ? "gives nothing but NaN or infinity at the moment" : "finds no series at the moment: a name or label in it may be wrong");
    problem(q, p->signal, TT_EMISSING, text, (tt_sv){NULL, 0});
}

static void on_round(void *ctx) {
    asking *q = ctx;
    tt_source_batch b;
    tt_source_take(q->source, &b);
    for (size_t i = 0; i < b.n_polls; i++) heard(q, &b.polls[i], &b);
    tt_source_release(q->source);
    if (q->open == 0) tt_runloop_stop(q->loop);
}

static void on_change(void *ctx, bool up, const char *signal, const char *reason) {
    (void)ctx, (void)up, (void)signal, (void)reason; /* the polls say it */
}

static void too_late(void *ctx) {
    asking *q = ctx;
    for (uint32_t i = 0; i < q->rules->n_signals; i++)
        if (!q->answered[i]) problem(q, i, TT_EIO, "no answer within 20 s to signal ", q->rules->signals[i].name);
    tt_runloop_stop(q->loop);
}

/* Adds what Prometheus says to errs. false: it could not be tried. */
static bool ask(const tt_rules *rules, const char *url, tt_err *errs, size_t *n_errs, tt_err *err) {
    asking *q = calloc(1, sizeof *q);
    if (!q) return tt_fail(err, TT_ENOMEM, "out of memory");
    *q = (asking){.rules = rules, .errs = errs, .n_errs = *n_errs};
    for (uint32_t i = 0; i < rules->n_signals; i++) {
        q->answered[i] = rules->signals[i].query.n == 0;
        q->open += rules->signals[i].query.n != 0;
    }
    const tt_source_told told = {q, on_round, on_change};
    tt_timer *limit = NULL;
    bool ok = true;
    if (q->open) {
        q->loop = tt_runloop_new(err);
        q->source = q->loop ? tt_prometheus_new(q->loop, url, &told, err) : NULL;
        limit = q->loop ? tt_timer_new(q->loop, too_late, q) : NULL;
        ok = q->source && limit && tt_source_set_rules(q->source, rules, err);
        if (ok) {
            tt_timer_after(limit, ask_within_ns);
            tt_runloop_run(q->loop);
        }
    }
    tt_source_free(q->source);
    tt_timer_free(limit);
    tt_runloop_free(q->loop);
    *n_errs = q->n_errs;
    free(q);
    return ok;
}

static void print_json(const tt_rules *rules, const tt_err *errs, size_t n) {
    tt_buf b;
    tt_buf_init(&b, 1 << 22);
    tt_buf_printf(&b, "{\"ok\":%s,", n ? "false" : "true");
    if (rules)
        tt_buf_printf(&b, "\"signals\":%zu,\"anomalies\":%zu,\"plans\":%zu,\"services\":%zu,\"hash\":\"%08x\",", rules->n_signals, rules->n_anomalies,
                      rules->n_plans, rules->n_services, rules->hash);
    tt_buf_put(&b, TT_SV("\"errors\":["));
    for (size_t i = 0; i < n; i++) {
        tt_buf_put(&b, i ? TT_SV(",{\"file\":") : TT_SV("{\"file\":"));
        tt_buf_json_string(&b, tt_sv_of(errs[i].file));
        tt_buf_printf(&b, ",\"line\":%u,\"column\":%u,\"message\":", errs[i].line, errs[i].column);
        tt_buf_json_string(&b, tt_sv_of(errs[i].text));
        tt_buf_put(&b, TT_SV("}"));
    }
    tt_buf_put(&b, TT_SV("]}\n"));
    if (b.p) fwrite(b.p, 1, b.n, stdout);
    tt_buf_free(&b);
}

static void print_text(const tt_rules *rules, const tt_err *errs, size_t n) {
    tt_cli_errors(errs, n);
    if (n)
        fprintf(stderr, "%zu problem%s\n", n, n == 1 ? "" : "s");
    else
        printf("good: %zu signal%s, %zu anomal%s, %zu plan%s, %zu service%s\n", rules->n_signals, rules->n_signals == 1 ? "" : "s",
               rules->n_anomalies, rules->n_anomalies == 1 ? "y" : "ies", rules->n_plans, rules->n_plans == 1 ? "" : "s", rules->n_services,
               rules->n_services == 1 ? "" : "s");
}

int tt_cmd_check(int argc, char **argv) {
    const char *json = NULL, *prometheus = NULL;
    const tt_cli_option options[] = {
        {.name = "json", .help = "The verdict as a JSON object on stdout.", .value = &json},
        {.name = "prometheus", .arg = "URL", .help = "Also ask each query once: errors and empty answers are problems.", .value = &prometheus},
    };
    const tt_cli cli = {.usage = "trimtab check [options] FILE|DIR...",
                        .about = "Reads plans as `serve` would, and tells each problem with file, line, column and what to write instead.",
                        .n_options = TT_COUNT(options),
                        .options = options,
                        .more = "Exit codes: 0 good, 1 problems, 2 wrong usage."};
    static tt_cli_list files;
    static tt_err errs[ERRS_MAX];
    bool go;
    int code = tt_cli_parse(&cli, argc, argv, &files, &go);
    if (!go) return code;
    if (!files.n) return tt_cli_wrong(&cli, "check needs a file or a directory");
    tt_err err;
    size_t n = 0;
    curl_global_init(CURL_GLOBAL_DEFAULT);
    tt_runloop_block_signals();
    tt_runloop_release_signals(); /* only SIGPIPE stays away */
    tt_matcher *matcher = tt_pcre_matcher_new();
    tt_rules *rules = matcher ? tt_rules_read(files.at, files.n, matcher, errs, ERRS_MAX, &n) : NULL;
    if (!rules && n == 0) {
        tt_fail(&errs[0], TT_ENOMEM, "out of memory reading the rules");
        n = 1;
    }
    bool asked = !rules || !prometheus || ask(rules, prometheus, errs, &n, &err);
    if (asked && json)
        print_json(rules, errs, n);
    else if (asked)
        print_text(rules, errs, n);
    else
        fprintf(stderr, "trimtab: %s\n", err.text);
    tt_rules_free(rules);
    if (matcher) tt_pcre_matcher_free(matcher);
    curl_global_cleanup();
    return !asked || n ? TT_EXIT_FAILED : TT_EXIT_OK;
}
