/* trimtab explain: why something was decided, from a running daemon or from a recording. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client.h"
#include "clock.h"
#include "config/pcre.h"
#include "explain/recorded.h"
#include "table.h"

enum { EXIT_UNREADABLE = 3 };

/* "01J9ZC8Q6W3V2K5M7N8P9Q0R1S", "v1042", "812". */
static bool read_what(const char *word, tt_explain_what *ret) {
    *ret = (tt_explain_what){0};
    if (strlen(word) == TT_ULID_SIZE - 1) {
        memcpy(ret->loop, word, TT_ULID_SIZE);
        return strspn(word, "0123456789ABCDEFGHJKMNPQRSTVWXYZ") == TT_ULID_SIZE - 1;
    }
    bool version = word[0] == 'v';
    return tt_cli_number(word + version, INT64_MAX - 1, version ? &ret->version : &ret->seq) && (version ? ret->version : ret->seq) > 0;
}

static json_t *ask(const char *server, const tt_explain_what *w, int *ret_code) {
    tt_client c;
    char path[128];
    tt_client_init(&c, server);
    if (w->loop[0])
        snprintf(path, sizeof path, "/v1/loops/%s/explain", w->loop);
    else
        snprintf(path, sizeof path, "/v1/%s/%llu/explain", w->seq ? "events" : "decisions", (unsigned long long)(w->seq ? w->seq : w->version));
    *ret_code = tt_client_call(&c, path, NULL);
    json_t *o = *ret_code ? NULL : json_loadb(c.body.p ? c.body.p : "", c.body.n, 0, NULL);
    if (!*ret_code && !o) {
        fprintf(stderr, "trimtab: the answer of %s is not JSON: is this the address of a trimtab?\n", c.server);
        *ret_code = TT_EXIT_FAILED;
    }
    tt_client_free(&c);
    return o;
}

static json_t *read_recording(const char *path, const tt_explain_what *w, int *ret_code) {
    tt_err err = {0};
    tt_matcher *matcher = tt_pcre_matcher_new();
    json_t *o = matcher ? tt_explain_recorded(path, w, matcher, &err) : NULL;
    if (!o) fprintf(stderr, "trimtab: %s\n", matcher ? err.text : "out of memory");
    *ret_code = o ? TT_EXIT_OK : err.code == TT_EMISSING ? TT_EXIT_FAILED : EXIT_UNREADABLE;
    /* One event's answer is its explanation alone, as the daemon's is. */
    if (o && !w->loop[0]) {
        json_t *explained = json_incref(json_object_get(o, "explained"));
        json_decref(o);
        o = explained;
    } else if (o)
        json_object_set_new(o, "loop", json_string(w->loop));
    if (matcher) tt_pcre_matcher_free(matcher);
    return o;
}

static void print(const json_t *o, bool loop) {
    bool colours = tt_cli_colours(STDOUT_FILENO);
    int width = tt_terminal_width(STDOUT_FILENO);
    const json_t *explained = loop ? json_object_get(o, "explained") : o;
    if (loop) {
        const json_t *ev = json_object_get(explained, "event");
        tt_explain_print_story(json_object_get(o, "events"), json_integer_value(json_object_get(ev, "seq")), stdout, colours, width);
        printf("\n%s\n", strcmp(json_string_value(json_object_get(ev, "kind")) ? json_string_value(json_object_get(ev, "kind")) : "", "action") == 0
                             ? "its last move:"
                             : "how it began:");
    }
    tt_explain_print(explained, stdout, colours, width, tt_clock_wall().ms);
}

int tt_cmd_explain(int argc, char **argv) {
    const char *server = NULL, *journal = NULL, *json = NULL;
    const tt_cli_option options[] = {
        TT_OPTION_SERVER(&server),
        {.name = "journal",
         .arg = "RECORDING",
         .help = "Look into this recording instead: no daemon is needed, and every input is shown as the engine had it.",
         .value = &journal},
        {.name = "json", .help = "The explanation as a JSON object on stdout.", .value = &json},
    };
    const tt_cli cli = {
        .usage = "trimtab explain LOOP|EVENT|vVERSION [options]",
        .about =
            "Says why: the inputs with their quality and age, the rule and its place in the plans, each term of the law, what bounded the result,\n"
            "what was not chosen, and what came of it.",
        .n_options = TT_COUNT(options),
        .options = options,
        .more = "LOOP is a loop's id (its last move is explained), EVENT an event's number in the journal (seq), vVERSION a decision's version.\n"
                "Exit codes: 0 ok, 1 it is not there, 2 wrong usage, 3 the recording cannot be read, 6 no daemon to be reached.\n\n"
                "Example:\n  trimtab explain 812\n  trimtab explain v1042 --journal /var/lib/trimtab/recording"};
    static tt_cli_list operands;
    tt_explain_what what;
    bool go;
    int code = tt_cli_parse(&cli, argc, argv, &operands, &go);
    if (!go) return code;
    if (operands.n != 1) return tt_cli_wrong(&cli, "explain needs one thing: a loop's id, an event's number, or a decision's version as v1042");
    if (!read_what(operands.at[0], &what))
        return tt_cli_wrong(&cli, "\"%s\" is no loop's id, no event's number, and no version like v1042: `trimtab loops` lists loops",
                            operands.at[0]);
    json_t *o = journal ? read_recording(journal, &what, &code) : ask(server, &what, &code);
    if (o && json) {
        json_dumpf(o, stdout, JSON_INDENT(2));
        putchar('\n');
    } else if (o)
        print(o, what.loop[0] != 0);
    json_decref(o);
    return fflush(stdout) == 0 ? code : TT_EXIT_FAILED;
}
