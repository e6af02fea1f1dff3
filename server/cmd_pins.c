/* trimtab pin, pins, unpin: an actuator held by hand, for a while. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client.h"
#include "json.h"
#include "table.h"

/* ---- what is written on the command line ---- */

/* "30%", "0.3", "500". */
static bool number(const char *text, double *ret) {
    size_t n = strlen(text);
    if (n && text[n - 1] == '%') return tt_parse_ratio(tt_sv_of(text), ret);
    return tt_parse_number(tt_sv_of(text), ret);
}

/* "dc-a:30%,dc-b:70%" */
static json_t *shares(const char *text) {
    json_t *o = json_object();
    char copy[1024];
    snprintf(copy, sizeof copy, "%s", text);
    for (char *save = NULL, *one = strtok_r(copy, ",", &save); one; one = strtok_r(NULL, ",", &save)) {
        char *colon = strrchr(one, ':');
        double share;
        if (!colon || colon == one || !number(colon + 1, &share)) {
            json_decref(o);
            return NULL;
        }
        *colon = 0;
        json_object_set_new(o, one, json_real(share));
    }
    return o;
}

/* NULL: it makes no sense. hedge is the one that is pinned to off, and let be by on. */
static json_t *value_of(const char *action, const char *text) {
    bool on = strcmp(text, "on") == 0, off = strcmp(text, "off") == 0;
    double v;
    if (strcmp(action, "hedge") == 0) return off ? json_real(0) : on ? json_null() : NULL;
    if (off) return json_null();
    if (strcmp(action, "weights") == 0) return shares(text);
    if (on) return strcmp(action, "eject") == 0 ? json_real(1) : NULL;
    return number(text, &v) ? json_real(v) : NULL;
}

/* "checkout/dc-a" and "drop:batch=50%" into the body's members; a name may hold slashes and colons. false: told. */
static bool understand(const tt_cli *cli, const char *target, const char *what, json_t *body) {
    const char *equals = strrchr(what, '='), *colon = strchr(what, ':');
    if (colon && equals && colon > equals) colon = NULL; /* it is of the value */
    if (!equals || equals == what) {
        (void)tt_cli_wrong(cli, "\"%s\" sets nothing: write what and to what, such as limit=500, drop:batch=50%% or weights=dc-a:30%%,dc-b:70%%",
                           what);
        return false;
    }
    char action[64], name[256] = "";
    snprintf(action, sizeof action, "%.*s", (int)((colon ? colon : equals) - what), what);
    if (colon) snprintf(name, sizeof name, "%.*s", (int)(equals - colon - 1), colon + 1);
    json_t *value = value_of(action, equals + 1);
    if (!value) {
        (void)tt_cli_wrong(cli, "\"%s\" is no value of %s: write a number, a share such as 50%%, or off", equals + 1, action);
        return false;
    }
    const char *slash = strcmp(action, "weights") == 0 ? NULL : strrchr(target, '/');
    json_t *t = json_object();
    json_object_set_new(t, "service", json_stringn(target, slash ? (size_t)(slash - target) : strlen(target)));
    if (slash) json_object_set_new(t, "dc", json_string(slash + 1));
    json_object_set_new(body, "target", t);
    json_object_set_new(body, "action", json_string(action));
    if (*name) json_object_set_new(body, "name", json_string(name));
    json_object_set_new(body, "value", value);
    return true;
}

int tt_cmd_pin(int argc, char **argv) {
    const char *server = NULL, *reason = NULL, *span = NULL, *output = NULL;
    const tt_cli_option options[] = {
        TT_OPTION_SERVER(&server),
        {.name = "for", .arg = "DURATION", .help = "How long it stands, such as 30m; at most 7d.", .value = &span},
        TT_OPTION_REASON(&reason),
        {.name = "output", .arg = "table|json", .help = "Also -o. Default: table.", .value = &output},
    };
    const tt_cli cli = {.usage = "trimtab pin SERVICE/DC WHAT=VALUE --for DURATION --reason TEXT [options]",
                        .about = "Holds an actuator by hand for a while: it goes before what loops want, and loops don't work it meanwhile.",
                        .n_options = TT_COUNT(options),
                        .options = options,
                        .more = "WHAT=VALUE: limit=500, drop:batch=50%, degrade:recommendations=2, eject:10.0.0.7:8080=on, retry=10%, timeout=300,\n"
                                "hedge=off, isolate:batch-report=80%; and for a service as a whole: trimtab pin checkout weights=dc-a:30%,dc-b:70%.\n"
                                "=off: not in force, whatever loops want. Pinning the same again takes the place of the pin before.\n"
                                "Exit codes: 0 ok, 1 refused or failed, 2 wrong usage, 6 no daemon to be reached."};
    static tt_cli_list operands;
    bool go;
    int code = tt_cli_parse(&cli, argc, argv, &operands, &go);
    if (!go) return code;
    if (operands.n != 2) return tt_cli_wrong(&cli, "pin needs the target and what to set: trimtab pin checkout/dc-a limit=500");
    if (!span) return tt_cli_wrong(&cli, "pin needs --for: how long it stands, such as 30m");
    if (!(reason && *reason)) return tt_cli_wrong(&cli, "pin needs --reason: it is kept in the journal");
    if (output && strcmp(output, "json") != 0 && strcmp(output, "table") != 0)
        return tt_cli_wrong(&cli, "--output is table or json, not \"%s\"", output);
    json_t *body = json_pack("{s:s,s:s}", "for", span, "reason", reason);
    if (!body) return tt_cli_wrong(&cli, "the reason is not UTF-8 text");
    if (!understand(&cli, operands.at[0], operands.at[1], body)) {
        json_decref(body);
        return TT_EXIT_USAGE;
    }
    char *text = json_dumps(body, JSON_COMPACT);
    json_decref(body);
    tt_client c;
    tt_client_init(&c, server);
    code = text ? tt_client_call(&c, "/v1/pins", text) : TT_EXIT_FAILED;
    free(text);
    if (!code && output && strcmp(output, "json") == 0)
        printf("%.*s\n", (int)c.body.n, c.body.p);
    else if (!code) {
        json_t *answer = json_loadb(c.body.p, c.body.n, 0, NULL);
        printf("pinned, until %s have passed or `trimtab unpin %s`\n", span, tt_json_text(answer, "id"));
        json_decref(answer);
    }
    tt_client_free(&c);
    return code;
}

/* ---- those that stand ---- */

static void value_text(const json_t *pin, char *buf, size_t size) {
    const json_t *v = json_object_get(pin, "value");
    const char *unit = tt_json_text(pin, "unit");
    size_t n = 0;
    buf[0] = 0;
    if (json_is_null(v)) {
        snprintf(buf, size, "off");
        return;
    }
    if (json_is_object(v)) {
        const char *dc;
        json_t *share;
        json_object_foreach((json_t *)v, dc, share) {
            if (n + 1 >= size) break;
            n += (size_t)snprintf(buf + n, size - n, "%s%s %.0f%%", n ? ", " : "", dc, 100 * json_number_value(share));
        }
        return;
    }
    double x = json_number_value(v);
    if (strcmp(unit, "ratio") == 0)
        snprintf(buf, size, "%.4g%%", 100 * x);
    else
        snprintf(buf, size, "%.6g%s%s", x, strcmp(unit, "level") == 0 ? "" : " ", strcmp(unit, "level") == 0 ? "" : unit);
}

static void print_pins(const json_t *items) {
    static const char *const heads[] = {"ID", "TARGET", "WHAT", "VALUE", "LEFT", "BY", "REASON"};
    tt_table *t = tt_table_new(TT_COUNT(heads), heads);
    size_t i;
    const json_t *p;
    if (!t) return;
    json_array_foreach(items, i, p) {
        char target[300], what[300], value[400], left[32];
        const json_t *at = json_object_get(p, "target");
        int64_t ms = (int64_t)json_number_value(json_object_get(p, "left_ms"));
        snprintf(target, sizeof target, "%s%s%s", tt_json_text(at, "service"), *tt_json_text(at, "dc") ? "/" : "", tt_json_text(at, "dc"));
        snprintf(what, sizeof what, "%s%s%s", tt_json_text(p, "action"), *tt_json_text(p, "name") ? ":" : "", tt_json_text(p, "name"));
        value_text(p, value, sizeof value);
        tt_format_duration(TT_MS(ms - ms % (ms >= 3600000 ? 60000 : 1000)), left, sizeof left);
        const char *const cells[] = {tt_json_text(p, "id"), target, what, value, left, tt_json_text(p, "actor"), tt_json_text(p, "reason")};
        if (!tt_table_row(t, TT_ORANGE, cells)) break;
    }
    tt_table_print(t, stdout, tt_cli_colours(STDOUT_FILENO), tt_terminal_width(STDOUT_FILENO));
    tt_table_free(t);
}

int tt_cmd_pins(int argc, char **argv) {
    const char *server = NULL, *output = NULL;
    const tt_cli_option options[] = {TT_OPTION_SERVER(&server), {.name = "output", .arg = "table|json", .help = "Also -o. Default: table.", .value = &output}};
    const tt_cli cli = {.usage = "trimtab pins [options]",
                        .about = "Shows what people hold by hand, how long still, and why.",
                        .n_options = TT_COUNT(options),
                        .options = options};
    static tt_cli_list operands;
    bool go;
    int code = tt_cli_parse(&cli, argc, argv, &operands, &go);
    if (!go) return code;
    if (operands.n) return tt_cli_wrong(&cli, "\"%s\" is one word too many", operands.at[0]);
    bool json = output && strcmp(output, "json") == 0;
    if (output && !json && strcmp(output, "table") != 0) return tt_cli_wrong(&cli, "--output is table or json, not \"%s\"", output);
    tt_client c;
    tt_client_init(&c, server);
    code = tt_client_call(&c, "/v1/pins", NULL);
    json_t *root = code ? NULL : json_loadb(c.body.p ? c.body.p : "", c.body.n, 0, NULL);
    const json_t *items = json_object_get(root, "items");
    if (!code && !items) {
        fprintf(stderr, "trimtab: the answer of %s is not what a trimtab says: is this its address?\n", c.server);
        code = TT_EXIT_FAILED;
    } else if (!code && json) {
        json_dumpf(items, stdout, JSON_INDENT(2));
        putchar('\n');
    } else if (!code && json_array_size(items) == 0)
        printf("nothing is pinned\n");
    else if (!code)
        print_pins(items);
    json_decref(root);
    tt_client_free(&c);
    return code;
}

int tt_cmd_unpin(int argc, char **argv) {
    const char *server = NULL, *reason = NULL;
    const tt_cli_option options[] = {TT_OPTION_SERVER(&server), TT_OPTION_REASON(&reason)};
    const tt_cli cli = {.usage = "trimtab unpin ID --reason TEXT [options]",
                        .about = "Lets go of what was pinned: what loops want is in force again.",
                        .n_options = TT_COUNT(options),
                        .options = options};
    static tt_cli_list operands;
    bool go;
    int code = tt_cli_parse(&cli, argc, argv, &operands, &go);
    if (!go) return code;
    if (operands.n != 1) return tt_cli_wrong(&cli, "unpin needs one pin's id: `trimtab pins` lists them");
    if (!(reason && *reason)) return tt_cli_wrong(&cli, "unpin needs --reason: it is kept in the journal");
    char path[2048], id[256], why[1600];
    if (!tt_client_segment(operands.at[0], id, sizeof id)) id[0] = 0;
    if (!tt_client_segment(reason, why, sizeof why)) return tt_cli_wrong(&cli, "the reason is too long: at most 500 bytes are kept");
    snprintf(path, sizeof path, "/v1/pins/%s?reason=%s", id, why);
    tt_client c;
    tt_client_init(&c, server);
    code = tt_client_delete(&c, path);
    tt_client_free(&c);
    if (!code) printf("pin %s is let go with the next tick\n", operands.at[0]);
    return code;
}
