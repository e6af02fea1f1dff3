/* trimtab loops, approve, freeze, resume: the operator's hands on a running daemon. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "client.h"
#include "clock.h"
#include "json.h"
#include "table.h"

enum { PAGE = 200 };

static int64_t integer(const json_t *o, const char *name) {
    return (int64_t)json_number_value(json_object_get(o, name));
}

/* "4m30s" since then; "-" when never. Of two figures: seconds of a day-old loop tell nobody anything. */
static void age(int64_t ms, char *buf, size_t size) {
    int64_t span = tt_clock_wall().ms - ms;
    if (ms <= 0) {
        snprintf(buf, size, "-");
        return;
    }
    if (span < 0) span = 0;
    span -= span % (span >= 86400000 ? 3600000 : span >= 3600000 ? 60000 : 1000);
    tt_format_duration(TT_MS(span), buf, size);
}

static void place(const json_t *target, char *buf, size_t size) {
    const char *dc = tt_json_text(target, "dc"), *instance = tt_json_text(target, "instance");
    snprintf(buf, size, "%s%s%s%s%s", tt_json_text(target, "service"), *dc ? "@" : "", dc, *instance ? "/" : "", instance);
}

static tt_ink ink_of(const char *phase) {
    static const char *const person[] = {"awaiting_approval", "escalated", "failed", "frozen"};
    for (size_t i = 0; i < TT_COUNT(person); i++)
        if (strcmp(phase, person[i]) == 0) return TT_ORANGE;
    return strcmp(phase, "closed") == 0 ? TT_DIM : TT_BLUE;
}

static void print_loops(const json_t *items) {
    static const char *const heads[] = {"ID", "PHASE", "FOR", "PLAN", "TARGET", "WHY"};
    tt_table *t = tt_table_new(TT_COUNT(heads), heads);
    size_t i;
    const json_t *l;
    if (!t) return;
    json_array_foreach(items, i, l) {
        char since[32], target[400];
        const char *phase = tt_json_text(l, "phase"), *ended = tt_json_text(l, "ended");
        age(integer(l, "phase_since_ms"), since, sizeof since);
        place(json_object_get(l, "target"), target, sizeof target);
        const char *const cells[] = {tt_json_text(l, "id"), *ended ? ended : phase, since, tt_json_text(l, "plan"), target, tt_json_text(l, "why")};
        if (!tt_table_row(t, ink_of(phase), cells)) break;
    }
    tt_table_print(t, stdout, tt_cli_colours(STDOUT_FILENO), tt_terminal_width(STDOUT_FILENO));
    tt_table_free(t);
}

static int list(tt_client *c, const char *state, bool json) {
    json_t *all = json_array();
    char path[256], from[64] = "";
    int code;
    do {
        snprintf(path, sizeof path, "/v1/loops?state=%s&limit=%d%s%s", state, PAGE, *from ? "&cursor=" : "", from);
        code = tt_client_call(c, path, NULL);
        if (code) break;
        json_t *page = tt_client_json(c);
        if (!page) {
            code = TT_EXIT_FAILED;
            break;
        }
        json_array_extend(all, json_object_get(page, "items"));
        snprintf(from, sizeof from, "%s", tt_json_text(page, "next"));
        json_decref(page);
    } while (*from && json_array_size(all) < TT_TABLE_ROWS);
    if (!code && json) {
        json_dumpf(all, stdout, JSON_INDENT(2));
        putchar('\n');
    } else if (!code && json_array_size(all) == 0) {
        printf("no %sloops\n", strcmp(state, "all") == 0 ? "" : strcmp(state, "open") == 0 ? "open " : "closed ");
    } else if (!code) {
        print_loops(all);
    }
    json_decref(all);
    return code;
}

static void number(const json_t *v, char *buf, size_t size) {
    tt_buf b;
    tt_buf_init(&b, 64);
    if (json_is_number(v))
        tt_buf_number(&b, json_number_value(v));
    else if (json_is_boolean(v))
        tt_buf_put(&b, json_is_true(v) ? TT_SV("yes") : TT_SV("no"));
    else
        tt_buf_put(&b, TT_SV("-"));
    snprintf(buf, size, "%s", b.p ? b.p : "-");
    tt_buf_free(&b);
}

static void print_loop(const json_t *l) {
    char target[400], since[32], opened[TT_CLOCK_TEXT_SIZE], value[64], most[64];
    place(json_object_get(l, "target"), target, sizeof target);
    age(integer(l, "phase_since_ms"), since, sizeof since);
    tt_clock_text((tt_wall){integer(l, "opened_ms")}, opened);
    printf("loop     %s\nplan     %s (%s)\ntarget   %s\nanomaly  %s\nphase    %s for %s\nopened   %s\nwhy      %s\n", tt_json_text(l, "id"),
           tt_json_text(l, "plan"), tt_json_text(l, "mode"), target, tt_json_text(l, "anomaly"), tt_json_text(l, "phase"), since, opened, tt_json_text(l, "why"));
    if (*tt_json_text(l, "ended")) printf("ended    %s\n", tt_json_text(l, "ended"));
    if (*tt_json_text(l, "next")) printf("next     %s\n", tt_json_text(l, "next"));
    size_t i;
    const json_t *one;
    json_array_foreach(json_object_get(l, "keep"), i, one) {
        number(json_object_get(one, "value"), value, sizeof value);
        printf("%-8s %s: now %s (%s), %s\n", i ? "" : "keep", tt_json_text(one, "expr"), value, tt_json_text(one, "quality"),
               json_is_true(json_object_get(one, "holds")) ? "kept" : "not kept");
    }
    json_array_foreach(json_object_get(l, "actuators"), i, one) {
        number(json_object_get(one, "value"), value, sizeof value);
        number(json_object_get(one, "max"), most, sizeof most);
        place(json_object_get(one, "target"), target, sizeof target);
        printf("%-8s %s %s: %s %s (at most %s)\n", i ? "" : "acts", target, tt_json_text(one, "action"), value, tt_json_text(one, "unit"), most);
    }
    json_array_foreach(json_object_get(l, "allowed"), i, one) printf("%s%s", i ? ", " : "allowed  ", json_string_value(one));
    if (json_array_size(json_object_get(l, "allowed"))) putchar('\n');
}

static int get(tt_client *c, const char *id, bool json) {
    char path[512], segment[256];
    if (!tt_client_segment(id, segment, sizeof segment)) segment[0] = 0;
    snprintf(path, sizeof path, "/v1/loops/%s", segment);
    int code = tt_client_call(c, path, NULL);
    if (code) return code;
    json_t *l = json_loadb(c->body.p ? c->body.p : "", c->body.n, 0, NULL);
    if (json)
        printf("%.*s\n", (int)c->body.n, c->body.p);
    else
        print_loop(l);
    json_decref(l);
    return TT_EXIT_OK;
}

/* ---- watching ---- */

typedef struct {
    bool json, told;
} watching;

static bool show(void *ctx, const char *kind, tt_sv data) {
    watching *w = ctx;
    bool json = w->json, screen = !json && isatty(STDOUT_FILENO);
    bool tick = strcmp(kind, "tick") == 0;
    /* Whoever pipes the events wants to know from when on none is missed. */
    if (tick && !screen && !w->told) {
        fprintf(stderr, "watching: each event from now on is a line\n");
        w->told = true;
    }
    if (tick != screen) return true; /* a terminal shows the state, a pipe the events */
    json_t *root = json_loadb(data.p, data.n, 0, NULL);
    if (json) {
        printf(TT_SV_FMT "\n", TT_SV_ARG(data));
    } else if (screen) {
        const json_t *loops = json_object_get(root, "loops");
        fputs("\033[H\033[2J", stdout);
        if (json_array_size(loops))
            print_loops(loops);
        else
            printf("no open loops\n");
    } else if (root) {
        char when[TT_CLOCK_TEXT_SIZE], target[400];
        tt_clock_text((tt_wall){integer(root, "at_ms")}, when);
        place(json_object_get(root, "target"), target, sizeof target);
        printf("%s %s %s%s%s\n", when, kind, target, *target ? " " : "", tt_json_text(root, "reason"));
    }
    fflush(stdout);
    json_decref(root);
    return !ferror(stdout);
}

/* ---- commands ---- */

static int post(tt_client *c, const char *path, const char *reason) {
    json_t *body = json_pack("{s:s}", "reason", reason);
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    int code = TT_EXIT_FAILED;
    if (text)
        code = tt_client_call(c, path, text);
    else
        fprintf(stderr, "trimtab: the reason is not UTF-8 text\n");
    free(text);
    json_decref(body);
    return code;
}

static int post_loop(tt_client *c, const char *id, const char *verb, const char *reason) {
    char path[512], segment[256];
    if (!tt_client_segment(id, segment, sizeof segment)) segment[0] = 0;
    snprintf(path, sizeof path, "/v1/loops/%s:%s", segment, verb);
    int code = post(c, path, reason);
    if (!code) printf("loop %s: %s is accepted, and carried out with the next tick\n", id, verb);
    return code;
}

int tt_cmd_loops(int argc, char **argv) {
    const char *server = NULL, *output = NULL, *reason = NULL, *state = NULL;
    const tt_cli_option options[] = {
        TT_OPTION_SERVER(&server),
        {.name = "output", .arg = "table|json", .help = "Also -o. Default: table.", .value = &output},
        {.name = "state", .arg = "WHICH", .help = "list: open, closed or all. Default: open.", .value = &state},
        TT_OPTION_REASON(&reason),
    };
    const tt_cli cli = {.usage = "trimtab loops [list | get ID | abort ID --reason TEXT | watch] [options]",
                        .about = "Shows the loops of a running daemon, and aborts one: what it did is wound back in steps.",
                        .n_options = TT_COUNT(options),
                        .options = options,
                        .more = "watch keeps a terminal up to date; into a pipe it writes each event as a line.\n"
                                "Exit codes: 0 ok, 1 refused or failed, 2 wrong usage, 6 no daemon to be reached."};
    static tt_cli_list operands;
    bool go;
    int code = tt_cli_parse(&cli, argc, argv, &operands, &go);
    if (!go) return code;
    bool json = output && strcmp(output, "json") == 0;
    if (output && !json && strcmp(output, "table") != 0) return tt_cli_wrong(&cli, "--output is table or json, not \"%s\"", output);
    const char *verb = operands.n ? operands.at[0] : "list", *id = operands.n > 1 ? operands.at[1] : NULL;
    bool is_list = strcmp(verb, "list") == 0, is_watch = strcmp(verb, "watch") == 0, is_get = strcmp(verb, "get") == 0,
         is_abort = strcmp(verb, "abort") == 0;
    if (!is_list && !is_watch && !is_get && !is_abort) {
        static const char *const verbs[] = {"list", "get", "abort", "watch"};
        const char *near = tt_cli_nearest(verb, verbs, TT_COUNT(verbs));
        return tt_cli_wrong(&cli, "loops cannot \"%s\"%s%s%s", verb, near ? ": did you mean " : "", near ? near : "", near ? "?" : "");
    }
    if ((is_get || is_abort) && !id) return tt_cli_wrong(&cli, "loops %s needs the loop's id: `trimtab loops` lists them", verb);
    if (operands.n > (is_get || is_abort ? 2u : 1u)) return tt_cli_wrong(&cli, "\"%s\" is one word too many", operands.at[operands.n - 1]);
    if (is_abort && !(reason && *reason)) return tt_cli_wrong(&cli, "abort needs --reason: it is kept in the journal");
    if (state && strcmp(state, "open") != 0 && strcmp(state, "closed") != 0 && strcmp(state, "all") != 0)
        return tt_cli_wrong(&cli, "--state is open, closed or all, not \"%s\"", state);
    tt_client c;
    tt_client_init(&c, server);
    if (is_list)
        code = list(&c, state ? state : "open", json);
    else if (is_get)
        code = get(&c, id, json);
    else if (is_abort)
        code = post_loop(&c, id, "abort", reason);
    else
        code = tt_client_events(&c, "/v1/events", show, &(watching){.json = json});
    tt_client_free(&c);
    return code;
}

int tt_cmd_approve(int argc, char **argv) {
    const char *server = NULL, *reason = NULL, *refuse = NULL;
    const tt_cli_option options[] = {
        TT_OPTION_SERVER(&server), TT_OPTION_REASON(&reason), {.name = "refuse", .help = "Say no: the loop ends without acting.", .value = &refuse}};
    const tt_cli cli = {.usage = "trimtab approve ID --reason TEXT [options]",
                        .about = "Lets a loop that waits for approval act, or refuses it.",
                        .n_options = TT_COUNT(options),
                        .options = options};
    static tt_cli_list operands;
    bool go;
    int code = tt_cli_parse(&cli, argc, argv, &operands, &go);
    if (!go) return code;
    if (operands.n != 1) return tt_cli_wrong(&cli, "approve needs one loop's id: `trimtab loops` lists them");
    if (!(reason && *reason)) return tt_cli_wrong(&cli, "approve needs --reason: it is kept in the journal");
    tt_client c;
    tt_client_init(&c, server);
    code = post_loop(&c, operands.at[0], refuse ? "refuse" : "approve", reason);
    tt_client_free(&c);
    return code;
}

static int automation(int argc, char **argv, const tt_cli *cli, const char **server, const char **reason, const char *verb, const char *done) {
    static tt_cli_list operands;
    bool go;
    int code = tt_cli_parse(cli, argc, argv, &operands, &go);
    if (!go) return code;
    if (operands.n) return tt_cli_wrong(cli, "\"%s\" is one word too many", operands.at[0]);
    if (!(*reason && **reason)) return tt_cli_wrong(cli, "%s needs --reason: it is kept in the journal", verb);
    tt_client c;
    char path[64];
    tt_client_init(&c, *server);
    snprintf(path, sizeof path, "/v1/automation:%s", verb);
    code = post(&c, path, *reason);
    tt_client_free(&c);
    if (!code) printf("%s\n", done);
    return code;
}

int tt_cmd_freeze(int argc, char **argv) {
    const char *server = NULL, *reason = NULL;
    const tt_cli_option options[] = {TT_OPTION_SERVER(&server), TT_OPTION_REASON(&reason)};
    const tt_cli cli = {.usage = "trimtab freeze --reason TEXT [options]",
                        .about = "Pauses automation: what is in force stays, nothing new is done, until `trimtab resume`.",
                        .n_options = TT_COUNT(options),
                        .options = options};
    return automation(argc, argv, &cli, &server, &reason, "freeze", "automation is paused: what is in force stays, nothing new is done");
}

int tt_cmd_resume(int argc, char **argv) {
    const char *server = NULL, *reason = NULL;
    const tt_cli_option options[] = {TT_OPTION_SERVER(&server), TT_OPTION_REASON(&reason)};
    const tt_cli cli = {.usage = "trimtab resume --reason TEXT [options]",
                        .about = "Ends the pause of `trimtab freeze`.",
                        .n_options = TT_COUNT(options),
                        .options = options};
    return automation(argc, argv, &cli, &server, &reason, "resume", "automation runs again");
}
