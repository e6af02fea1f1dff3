/* trimtab rehearse --plant: the engine against somebody else's model of a mesh. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "cmd_rehearse.h"
#include "plant/plant.h"
#include "rehearse/story.h"
#include "rehearse/trace.h"
#include "table.h"

typedef struct {
    tt_story story;
    bool tell, count, drawn; /* count: how far it is, on a terminal that shows nothing else */
    tt_time told_at;
    int64_t first_ns;
    bool begun;
    tt_chart *chart;
    tt_trace *trace;
    int panel;
} watcher;

static void clear(watcher *w) {
    if (w->drawn) fputs("\r\033[K", stderr);
    w->drawn = false;
}

static void on_notice(void *ctx, const char *text) {
    clear(ctx);
    fflush(stdout);
    fprintf(stderr, "trimtab: %s\n", text);
}

static void on_tick(void *ctx, const tt_plant_tick *t) {
    watcher *w = ctx;
    if (!w->begun) w->first_ns = t->plant_ns > TT_SECONDS(86400) ? t->plant_ns : 0; /* Unix time is told from its beginning */
    w->begun = true;
    double seconds = (double)(t->plant_ns - w->first_ns) / 1e9;
    if (w->tell && tt_story_tick(&w->story, seconds, t->outcome)) fflush(w->story.to);
    if (w->trace) {
        tt_chart_at(w->chart, seconds);
        tt_trace_load(w->trace, w->panel, t->rules, t->obs);
        tt_trace_tick(w->trace, seconds, t->rules, t->outcome);
        tt_trace_end(w->trace, seconds);
    }
    tt_time now = tt_clock_now();
    if (!w->count || (w->drawn && tt_since(now, w->told_at) < TT_MS(100))) return;
    w->told_at = now;
    w->drawn = true;
    fprintf(stderr, "\r\033[Ktick %llu, %.0f s, %zu loops open", (unsigned long long)t->tick, seconds, tt_engine_open_loops(t->engine));
    fflush(stderr);
}

static void put_json(const tt_plant_result *r, const tt_err *err, tt_buf *b) {
    tt_buf_printf(b, "{\"ticks\":%llu,\"now_ms\":", (unsigned long long)r->n_ticks);
    tt_buf_number(b, (double)r->plant_ns / 1e6);
    tt_buf_printf(b,
                  ",\"measurements\":%llu,\"ignored_measurements\":%llu,\"loops\":%u,\"open_loops\":%u,\"actions\":%u,\"decisions\":%u,\"reversals\":%u,"
                  "\"pages\":%u,\"invariant_violations\":%u,\"violation\":",
                  (unsigned long long)r->n_measurements, (unsigned long long)r->n_ignored, r->n_loops, r->n_open, r->n_actions, r->n_decisions, r->n_reversals,
                  r->n_pages, r->n_violations);
    if (r->n_violations)
        tt_buf_json_string(b, tt_sv_of(r->violation));
    else
        tt_buf_put(b, TT_SV("null"));
    tt_buf_put(b, TT_SV(",\"error\":"));
    if (err) {
        char text[900];
        tt_err_print(err, text, sizeof text);
        tt_buf_json_string(b, tt_sv_of(text));
    } else
        tt_buf_put(b, TT_SV("null"));
    tt_buf_put(b, TT_SV(",\"score\":"));
    tt_buf_put(b, r->score.n ? (tt_sv){r->score.p, r->score.n} : TT_SV("null"));
    tt_buf_put(b, TT_SV("}\n"));
}

static const char *many(uint64_t n) { return n == 1 ? "" : "s"; }

static void print_text(const tt_plant_result *r, const watcher *w, bool ok) {
    double virtual_s = (double)(r->plant_ns - w->first_ns) / 1e9;
    printf("%llu tick%s, %.1f s of the plant's time in %.2f s, of which the engine took %.3f s\n", (unsigned long long)r->n_ticks, many(r->n_ticks), virtual_s,
           (double)r->wall_ns / 1e9, (double)r->engine_ns / 1e9);
    printf("%u loop%s, %u action%s, %u reversal%s, %u page%s; %u loop%s open at the end\n", r->n_loops, many(r->n_loops), r->n_actions, many(r->n_actions), r->n_reversals,
           many(r->n_reversals), r->n_pages, many(r->n_pages), r->n_open, many(r->n_open));
    if (r->n_violations)
        printf("invariants: broken %u time%s, first %s\n", r->n_violations, many(r->n_violations), r->violation);
    else
        printf("invariants: all held\n");
    if (ok && r->score.n) {
        fwrite(r->score.p, 1, r->score.n, stdout);
        putchar('\n');
    }
}

static bool draw(watcher *w, const char *path) {
    tt_buf b;
    tt_buf_init(&b, TT_REHEARSE_BYTES);
    tt_chart_svg(w->chart, &b);
    bool ok = tt_cli_write(path, &b);
    tt_buf_free(&b);
    return ok;
}

int tt_rehearse_plant(const tt_rehearse_common *c, const char *command, int64_t timeout_ns, uint64_t seed) {
    watcher w = {.story = {stdout, tt_cli_colours(STDOUT_FILENO), tt_terminal_width(STDOUT_FILENO)}, .tell = !c->json};
    w.count = tt_terminal_width(STDERR_FILENO) > 0 && (c->json || !tt_terminal_width(STDOUT_FILENO));
    tt_plant_result res;
    tt_err err;
    char text[24], title[200];
    snprintf(text, sizeof text, "%llu", (unsigned long long)seed);
    setenv("TRIMTAB_SEED", text, 1);
    if (c->svg) {
        snprintf(title, sizeof title, "%.180s", command);
        w.chart = tt_chart_new("Rehearsal against a plant", title);
        w.trace = w.chart ? tt_trace_new(w.chart) : NULL;
        if (!w.trace) {
            fprintf(stderr, "trimtab: out of memory\n");
            tt_chart_free(w.chart);
            return TT_EXIT_FAILED;
        }
        w.panel = tt_chart_panel(w.chart, "Requests at the entry, as told by the plant", "requests/s", TT_CHART_STRAIGHT, 0);
    }
    const tt_plant_spec spec = {.command = command,
                                .timeout_ns = timeout_ns,
                                .docs = c->docs,
                                .n_docs = c->n_docs,
                                .matcher = c->matcher,
                                .stop = c->stop,
                                .ctx = &w,
                                .watch = on_tick,
                                .notice = on_notice};
    bool ok = tt_plant_run(&spec, &res, &err);
    clear(&w);
    if (!ok) {
        fflush(stdout);
        tt_rehearse_errors(&err, 1);
    }
    if (c->json) {
        tt_buf b;
        tt_buf_init(&b, TT_REHEARSE_BYTES);
        put_json(&res, ok ? NULL : &err, &b);
        tt_cli_write("-", &b);
        tt_buf_free(&b);
    } else if (res.n_ticks)
        print_text(&res, &w, ok);
    bool good = ok && !res.n_violations;
    if (c->svg && res.n_ticks) good = draw(&w, c->svg) && good;
    tt_trace_free(w.trace);
    tt_chart_free(w.chart);
    tt_plant_result_free(&res);
    bool stopped = c->stop && *c->stop;
    return fflush(stdout) != 0 ? TT_EXIT_FAILED : stopped ? TT_EXIT_STOPPED : good ? TT_EXIT_OK : TT_EXIT_FAILED;
}
