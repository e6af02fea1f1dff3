/* trimtab capacity: what each site can carry, and the load test that finds out. The daemon runs the test; here it is asked for, watched, and stopped
 * when the watcher has enough. */
#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "client.h"
#include "json.h"
#include "table.h"

enum { LOOK_EVERY_MS = 500, APPEARS_WITHIN_MS = 5000, LOST_FOR_MS = 60000, TAKEN_WITHIN_MS = 15000 };

static volatile sig_atomic_t stops; /* how often somebody pressed Ctrl-C */

static void on_stop(int signo) {
    (void)signo;
    stops++;
}

static double real(const json_t *o, const char *name) {
    const json_t *v = json_object_get(o, name);
    return json_is_number(v) ? json_number_value(v) : (double)NAN;
}

/* Three figures; "-" when it is not known. */
static const char *figure(double v, const char *unit, char *buf, size_t size) {
    double a = fabs(v);
    if (isnan(v))
        snprintf(buf, size, "-");
    else
        snprintf(buf, size, "%.*f%s", a >= 100 || a == 0 ? 0 : a >= 10 ? 1 : 2, v, unit);
    return buf;
}

static const char *percent(double ratio, char *buf, size_t size) {
    double p = 100 * ratio;
    if (isnan(ratio))
        snprintf(buf, size, "-");
    else
        snprintf(buf, size, "%.*f %%", fabs(p - round(p)) < 0.05 ? 0 : 1, p);
    return buf;
}

static const char *span(double ms, char *buf, size_t size) {
    if (isnan(ms))
        snprintf(buf, size, "-");
    else
        tt_format_duration(TT_MS((int64_t)ms / 1000 * 1000), buf, size);
    return buf;
}

/* ---- the table ---- */

static bool wanted(const json_t *item, const char *service, const char *dc) {
    return (!service || strcmp(tt_json_text(item, "service"), service) == 0) && (!dc || strcmp(tt_json_text(item, "dc"), dc) == 0);
}

static void print_table(const json_t *items) {
    static const char *const heads[] = {"SERVICE", "DC", "CAPACITY", "SOURCE", "SURE", "AGE", "BUSY", "HEADROOM"};
    tt_table *t = tt_table_new(TT_COUNT(heads), heads);
    size_t i;
    const json_t *c;
    if (!t) return;
    json_array_foreach(items, i, c) {
        char rps[32], sure[32], age[32], busy[32], room[32];
        bool known = !isnan(real(c, "rps"));
        double headroom = real(c, "headroom_rps"), ms = real(c, "age_ms");
        if (ms >= 3600000) ms -= fmod(ms, 60000);
        const char *const cells[] = {tt_json_text(c, "service"),
                                     tt_json_text(c, "dc"),
                                     figure(real(c, "rps"), " rps", rps, sizeof rps),
                                     known ? tt_json_text(c, "source") : "unknown",
                                     known ? percent(real(c, "confidence"), sure, sizeof sure) : "-",
                                     span(ms, age, sizeof age),
                                     percent(real(c, "utilization"), busy, sizeof busy),
                                     figure(headroom, " rps", room, sizeof room)};
        if (!tt_table_row(t, !known ? TT_DIM : headroom < 0 ? TT_ORANGE : TT_PLAIN, cells)) break;
    }
    tt_table_print(t, stdout, tt_cli_colours(STDOUT_FILENO), tt_terminal_width(STDOUT_FILENO));
    tt_table_free(t);
}

static int list(tt_client *c, const char *service, const char *dc, bool json) {
    int code = tt_client_call(c, "/v1/capacity", NULL);
    if (code) return code;
    json_t *root = tt_client_json(c), *items = json_array();
    size_t i;
    json_t *one;
    json_array_foreach(json_object_get(root, "items"), i, one) if (wanted(one, service, dc)) json_array_append(items, one);
    code = root ? TT_EXIT_OK : TT_EXIT_FAILED;
    if (root && json) {
        json_dumpf(items, stdout, JSON_INDENT(2));
        putchar('\n');
    } else if (root && json_array_size(items) == 0) {
        bool any = json_array_size(json_object_get(root, "items"));
        code = service || dc ? TT_EXIT_FAILED : TT_EXIT_OK;
        fprintf(code ? stderr : stdout, "%s\n", any ? "trimtab: the rules declare no such service and data center" : "no services are declared in the rules");
    } else if (root)
        print_table(items);
    json_decref(items);
    json_decref(root);
    return code;
}

/* ---- the load test ---- */

typedef struct {
    const char *service, *dc, *reason;
    double step, max;
    int64_t hold_ns;
    bool dry, json;
} order;

static int post(tt_client *c, const order *o, bool dry, json_t **ret) {
    json_t *body = json_pack("{s:s, s:f, s:f, s:I, s:b}", "service", o->service, "step", o->step, "max", o->max, "hold_ms", (json_int_t)(o->hold_ns / 1000000),
                             "dry_run", dry);
    if (body && o->dc) json_object_set_new(body, "dc", json_string(o->dc));
    if (body && !dry) json_object_set_new(body, "reason", json_string(o->reason));
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    int code = TT_EXIT_FAILED;
    if (text)
        code = tt_client_call(c, "/v1/load-tests", text);
    else
        fprintf(stderr, "trimtab: the names and the reason must be UTF-8 text\n");
    *ret = code ? NULL : tt_client_json(c);
    free(text);
    json_decref(body);
    return code ? code : *ret ? TT_EXIT_OK : TT_EXIT_FAILED;
}

static void print_plan(const json_t *p, FILE *to) {
    char a[32], b[32], h[32];
    fprintf(to, "load test of %s in %s: steps of %s of the service's traffic, each held for %s, at most %s more than its own %s\n", tt_json_text(p, "service"), tt_json_text(p, "dc"),
            percent(real(p, "step"), a, sizeof a), span(real(p, "hold_ms"), h, sizeof h), percent(real(p, "max"), b, sizeof b),
            percent(real(p, "home_share"), (char[32]){0}, 32));
    if (!isnan(real(p, "capacity_rps")))
        fprintf(to, "known so far: %s, %s, %s sure\n", figure(real(p, "capacity_rps"), " rps", a, sizeof a), tt_json_text(p, "capacity_source"),
                percent(real(p, "confidence"), b, sizeof b));
    else
        fprintf(to, "known so far: nothing\n");
}

static int dry_run(const json_t *p) {
    static const char *const heads[] = {"STEP", "MORE", "EXPECTED", "BUSY"};
    print_plan(p, stdout);
    tt_table *t = tt_table_new(TT_COUNT(heads), heads);
    size_t i;
    const json_t *s;
    json_array_foreach(json_object_get(p, "steps"), i, s) {
        char n[24], more[32], rps[32], busy[32];
        snprintf(n, sizeof n, "%zu", i + 1);
        double u = real(s, "expected_utilization");
        const char *const cells[] = {n, percent(real(s, "added"), more, sizeof more), figure(real(s, "expected_rps"), " rps", rps, sizeof rps),
                                     percent(u, busy, sizeof busy)};
        if (!t || !tt_table_row(t, u >= 0.85 ? TT_DIM : TT_PLAIN, cells)) break;
    }
    if (t) tt_table_print(t, stdout, tt_cli_colours(STDOUT_FILENO), 0);
    tt_table_free(t);
    if (json_is_true(json_object_get(p, "possible"))) {
        printf("nothing was moved: it would end at the first sign of the knee (85 %% busy, 1.3 times the latency, refusals, failures)\n");
        return TT_EXIT_OK;
    }
    fprintf(stderr, "trimtab: now it would be refused: %s\n", tt_json_text(p, "why_not"));
    return TT_EXIT_FAILED;
}

static int64_t now_ms(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void rest(void) {
    nanosleep(&(struct timespec){.tv_nsec = LOOK_EVERY_MS * 1000000L}, NULL); /* Ctrl-C ends it early */
}

typedef struct {
    tt_client *c;
    char id[64], path[128];
    FILE *to;  /* stderr with --json: stdout is the result's */
    bool live; /* a terminal: the last line is kept up to date */
    bool drawn;
    size_t told; /* points */
} watching;

static void wipe(watching *w) {
    if (w->drawn) fputs("\r\033[K", w->to);
    w->drawn = false;
}

static void describe(const json_t *p, char *buf, size_t size) {
    char added[48], rps[32], busy[32], slow[32];
    if (real(p, "added") > 0)
        snprintf(added, sizeof added, "%s more", percent(real(p, "added"), rps, sizeof rps));
    else
        snprintf(added, sizeof added, "as it is");
    snprintf(buf, size, "%s: %s, %s busy, %s", added, figure(real(p, "offered_rps"), " rps", rps, sizeof rps),
             percent(real(p, "utilization"), busy, sizeof busy), figure(real(p, "latency_mean_ms"), " ms", slow, sizeof slow));
}

static void show(watching *w, const json_t *t) {
    const json_t *points = json_object_get(t, "points"), *now = json_object_get(t, "now");
    char text[200], left[32];
    for (; w->told < json_array_size(points); w->told++) {
        wipe(w);
        describe(json_array_get(points, w->told), text, sizeof text);
        fprintf(w->to, "  %s\n", text);
    }
    if (!w->live || !json_is_object(now)) {
        fflush(w->to);
        return;
    }
    describe(now, text, sizeof text);
    double ms = real(t, "hold_left_ms");
    int width = tt_terminal_width(fileno(w->to));
    char line[320];
    snprintf(line, sizeof line, "  %s, %s%s%s", tt_json_text(t, "phase"), text, ms > 0 ? ", judged in " : "", ms > 0 ? span(ms + 999, left, sizeof left) : "");
    fprintf(w->to, "\r\033[K%.*s", width > 1 ? width - 1 : 79, line);
    fflush(w->to);
    w->drawn = true;
}

/* Decided is not told: nothing leaves the daemon before it is in the journal. */
static bool still_told(watching *w) {
    if (tt_client_call(w->c, "/v1/decisions", NULL)) return false;
    json_t *root = tt_client_json(w->c);
    bool told = false;
    size_t i, k;
    const json_t *d, *loop;
    json_array_foreach(json_object_get(root, "decisions"), i, d) json_array_foreach(json_object_get(d, "loops"), k, loop)
        told |= json_is_string(loop) && strcmp(json_string_value(loop), w->id) == 0 && json_array_size(json_object_get(d, "actions")) > 0;
    json_decref(root);
    return told;
}

/* Waits until nothing of the test is told any more, and everybody who is connected has taken that. */
static void say_taken(watching *w) {
    int64_t until = now_ms() + TAKEN_WITHIN_MS;
    double connected = 0, behind = 0;
    bool told;
    do {
        told = still_told(w);
        if (tt_client_call(w->c, "/v1/status", NULL)) return;
        json_t *s = tt_client_json(w->c);
        const json_t *agents = json_object_get(s, "agents");
        connected = real(agents, "connected");
        behind = real(agents, "behind");
        json_decref(s);
    } while ((told || (connected > 0 && behind > 0)) && now_ms() < until && (rest(), true));
    if (told)
        fprintf(w->to, "the daemon has not told it yet: /-/ready says whether its store can be written\n");
    else if (connected > 0 && behind > 0)
        fprintf(w->to, "%.0f of %.0f agents have not said so yet: GET /v1/agents tells which\n", behind, connected);
    else if (connected > 0)
        fprintf(w->to, "all %.0f agents have taken it\n", connected);
}

static int ended(watching *w, const json_t *t, bool stopped, bool json) {
    const char *outcome = tt_json_text(t, "outcome");
    wipe(w);
    fprintf(w->to, "%s\n", tt_json_text(t, "why"));
    if (strcmp(outcome, "refused") != 0) say_taken(w);
    if (json) {
        json_dumpf(t, stdout, JSON_INDENT(2));
        putchar('\n');
    }
    bool good = strcmp(outcome, "knee") == 0 || strcmp(outcome, "limit") == 0;
    return stopped ? TT_EXIT_STOPPED : good ? TT_EXIT_OK : TT_EXIT_FAILED;
}

static int watch(watching *w, bool json) {
    int64_t heard = now_ms();
    bool asked = false, found = false, lost = false;
    w->c->quiet = true;
    for (;; rest()) {
        if (stops > 1) {
            wipe(w);
            fprintf(stderr, "trimtab: not waiting: the daemon takes everything back by itself\n");
            return TT_EXIT_STOPPED;
        }
        if (stops && !asked) {
            int code = tt_client_delete(w->c, w->path);
            asked = code == TT_EXIT_OK || w->c->status == 409;
            wipe(w);
            if (asked) fprintf(w->to, "stopping: all traffic goes back at once\n");
        }
        int code = tt_client_call(w->c, w->path, NULL);
        json_t *t = code ? NULL : tt_client_json(w->c);
        if (t) {
            if (lost) fprintf(stderr, "trimtab: the daemon is back\n");
            heard = now_ms();
            found = true;
            lost = false;
            bool over = strcmp(tt_json_text(t, "phase"), "over") == 0;
            show(w, t);
            if (over) code = ended(w, t, asked, json);
            json_decref(t);
            if (over) return code;
        } else if (now_ms() - heard > (found || code == TT_EXIT_UNREACHABLE ? LOST_FOR_MS : APPEARS_WITHIN_MS)) {
            wipe(w);
            fprintf(stderr, "trimtab: the daemon at %s does not answer. Without it the traffic goes back by itself: the weights fade within 80 s of its last word; "
                            "a start takes them back at once\n",
                    w->c->server);
            return TT_EXIT_UNREACHABLE;
        } else if (found && !lost) {
            wipe(w);
            fprintf(stderr, "trimtab: no answer from the daemon at %s; still looking\n", w->c->server);
            lost = true;
        }
    }
}

static int test(tt_client *c, const order *o) {
    json_t *plan = NULL, *answer = NULL;
    int code = post(c, o, true, &plan);
    if (code) return code;
    if (o->dry) {
        if (o->json) printf("%.*s\n", (int)c->body.n, c->body.p);
        code = o->json ? json_is_true(json_object_get(plan, "possible")) ? TT_EXIT_OK : TT_EXIT_FAILED : dry_run(plan);
        json_decref(plan);
        return code;
    }
    watching w = {.c = c, .to = o->json ? stderr : stdout};
    w.live = isatty(fileno(w.to)) && tt_terminal_width(fileno(w.to)) > 0;
    struct sigaction stop = {.sa_handler = on_stop};
    code = post(c, o, false, &answer);
    if (!code) {
        sigaction(SIGINT, &stop, NULL);
        sigaction(SIGTERM, &stop, NULL);
        print_plan(plan, w.to);
        fprintf(w.to, "Ctrl-C stops it, and everything goes back\n");
        fflush(w.to);
        snprintf(w.id, sizeof w.id, "%s", tt_json_text(answer, "id"));
        snprintf(w.path, sizeof w.path, "/v1/load-tests/%s", w.id);
        code = watch(&w, o->json);
    }
    json_decref(plan);
    json_decref(answer);
    return code;
}

static const char about[] = "Shows what each site can carry: from whom that is known, how surely, how busy it is and what room is left.\n"
                            "With --step it finds out: real traffic of the service is moved onto one of its data centers, a step at a time, until the\n"
                            "knee shows, and put back.";
static const char more[] =
    "A load test ends by itself at the knee (85 % busy, 1.3 times the latency, refusals, failures, or throughput that no longer follows), and gives way at\n"
    "once to anything that goes wrong: a loop on the service or near it, data that is not good, a freeze, a restart of the daemon. guardrails and\n"
    "protected services hold for it too. Ctrl-C ends it: all traffic goes back at once, and the command waits until it is there.\n\n"
    "Exit codes: 0 shown, or the test saw what it could; 1 refused, or ended by something else; 2 wrong usage; 6 no daemon to be reached;\n"
    "130 stopped by Ctrl-C.\n\n"
    "Example:\n  trimtab capacity --service checkout --dc dc-a --step 5% --dry-run";

int tt_cmd_capacity(int argc, char **argv) {
    const char *server = NULL, *output = NULL, *service = NULL, *dc = NULL, *step = NULL, *max = NULL, *hold = NULL, *dry = NULL, *reason = NULL;
    const tt_cli_option options[] = {
        TT_OPTION_SERVER(&server),
        {.name = "output", .arg = "table|json", .help = "Also -o. Default: table.", .value = &output},
        {.name = "service", .arg = "S", .help = "This service alone; whom to test.", .value = &service},
        {.name = "dc", .arg = "D", .help = "This data center alone. A test takes the one it knows least of by default.", .value = &dc},
        {.name = "step", .arg = "RATIO", .help = "Test: the share of the service's traffic that each step moves, like 5%.", .value = &step},
        {.name = "max", .arg = "RATIO", .help = "Test: the share that is moved at most. Default: 40%.", .value = &max},
        {.name = "hold", .arg = "DURATION", .help = "Test: how long each step is held once it is seen to be in effect. Default: 30s.", .value = &hold},
        {.name = "dry-run", .help = "Say what a test would do now, and move nothing.", .value = &dry},
        {.name = "reason", .arg = "TEXT", .help = "Test: why; it is kept in the journal.", .value = &reason},
    };
    const tt_cli cli = {.usage = "trimtab capacity [--service S] [--dc D] [--step 5% [--max 40%] [--hold 30s] [--dry-run]] [options]",
                        .about = about,
                        .n_options = TT_COUNT(options),
                        .options = options,
                        .more = more};
    static tt_cli_list operands;
    bool go;
    int code = tt_cli_parse(&cli, argc, argv, &operands, &go);
    if (!go) return code;
    if (operands.n) return tt_cli_wrong(&cli, "\"%s\" is one word too many", operands.at[0]);
    bool json = output && strcmp(output, "json") == 0;
    if (output && !json && strcmp(output, "table") != 0) return tt_cli_wrong(&cli, "--output is table or json, not \"%s\"", output);
    order o = {.service = service, .dc = dc, .reason = reason ? reason : "to know what it carries", .step = 0.05, .max = 0.4, .hold_ns = TT_SECONDS(30), .dry = dry, .json = json};
    if (!step && !dry && (max || hold || reason)) return tt_cli_wrong(&cli, "--%s is for a test: say how large its steps are with --step", max ? "max" : hold ? "hold" : "reason");
    if ((step || dry) && !service) return tt_cli_wrong(&cli, "a test needs --service");
    if (step && (!tt_parse_ratio(tt_sv_of(step), &o.step) || o.step < 0.005 || o.step > 0.25)) return tt_cli_wrong(&cli, "--step is 0.5%% to 25%%, not \"%s\"", step);
    if (max && (!tt_parse_ratio(tt_sv_of(max), &o.max) || o.max < o.step || o.max > 0.9)) return tt_cli_wrong(&cli, "--max is at least a step and at most 90%%, not \"%s\"", max);
    if (hold && (!tt_parse_duration(tt_sv_of(hold), &o.hold_ns) || o.hold_ns < TT_SECONDS(5) || o.hold_ns > TT_SECONDS(600)))
        return tt_cli_wrong(&cli, "--hold is 5s to 10m, not \"%s\"", hold);
    if (o.max < o.step) o.max = o.step;
    tt_client c;
    tt_client_init(&c, server);
    code = step || dry ? test(&c, &o) : list(&c, service, dc, json);
    tt_client_free(&c);
    return code;
}
