/* trimtab serve: options to tt_serve_options. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "serve.h"

static const char about[] = "Runs the daemon: asks Prometheus, takes alerts and load reports, runs the plans, and tells the mesh.";
static const char more[] =
    "SIGHUP reads the rules again: bad ones are refused, and those that run stay in force. SIGTERM stops within two seconds; what is in\n"
    "force stays in force at the agents, and is taken up again by the next start.\n\n"
    "Example:\n  trimtab serve --rules plans/ --prometheus http://127.0.0.1:9090 --state /var/lib/trimtab";

/* "127.0.0.1:7070", "[::1]:7070", ":7070", "7070". */
static bool read_listen(const char *text, char *host, size_t size, uint16_t *ret_port) {
    const char *colon = strrchr(text, ':'), *port = colon ? colon + 1 : text;
    size_t n = colon ? (size_t)(colon - text) : 0;
    uint64_t number;
    if (n >= 2 && text[0] == '[' && text[n - 1] == ']') {
        text++;
        n -= 2;
    } else if (memchr(text, ':', n)) {
        return false; /* a bare IPv6 address hides its port */
    }
    if (!tt_cli_number(port, 65535, &number) || n >= size) return false;
    snprintf(host, size, "%.*s", n ? (int)n : 9, n ? text : "127.0.0.1");
    *ret_port = (uint16_t)number;
    return true;
}

/* Large blocks go back to the system when they are freed. Left to itself malloc keeps ever larger ones once one has been freed, and a moment in which a
 * thousand loops opened would be held for good. */
static void give_back_large_blocks(void) {
#ifdef M_MMAP_THRESHOLD
    (void)mallopt(M_MMAP_THRESHOLD, 1 << 20);
#endif
}

int tt_cmd_serve(int argc, char **argv) {
    static tt_cli_list rules, operands;
    const char *prometheus = NULL, *state = NULL, *store = NULL, *listen = NULL, *web_dir = NULL, *level = NULL, *record = NULL, *record_keep = NULL,
               *record_max = NULL;
    const tt_cli_option options[] = {
        {.name = "rules",
         .arg = "FILE|DIR",
         .env = "TRIMTAB_RULES",
         .help = "Plans: a file, or a directory of *.yaml. May be given again.",
         .list = &rules},
        {.name = "prometheus",
         .arg = "URL",
         .env = "TRIMTAB_PROMETHEUS",
         .help = "Whom to ask the signals' queries; without it only load reports and alerts come in.",
         .value = &prometheus},
        {.name = "state",
         .arg = "DIR",
         .env = "TRIMTAB_STATE",
         .help = "Where journal and state are kept. Default: $STATE_DIRECTORY, or ./trimtab-state.",
         .value = &state},
        {.name = "store",
         .arg = "URL",
         .env = "TRIMTAB_STORE",
         .help = "postgresql://user@host/database, instead of SQLite in the state directory.",
         .value = &store},
        {.name = "listen",
         .arg = "ADDRESS:PORT",
         .env = "TRIMTAB_LISTEN",
         .help = "A loopback address. Default: 127.0.0.1:7070; port 0 takes any.",
         .value = &listen},
        {.name = "record",
         .arg = "DIR|off",
         .env = "TRIMTAB_RECORD",
         .help = "Where everything the engine is given is recorded, for `trimtab replay`. Default: recording/ in the state directory.",
         .value = &record},
        {.name = "record-keep",
         .arg = "DURATION",
         .env = "TRIMTAB_RECORD_KEEP",
         .help = "Older parts of the recording go. Default: 7d; 0s keeps what --record-max allows.",
         .value = &record_keep},
        {.name = "record-max",
         .arg = "BYTES",
         .env = "TRIMTAB_RECORD_MAX",
         .help = "The recording is never larger, at least 4MiB: the oldest parts go. Default: 1GiB.",
         .value = &record_max},
        {.name = "web-dir",
         .arg = "DIR",
         .env = "TRIMTAB_WEB_DIR",
         .help = "Serve the dashboard from here instead of the one built in, for development.",
         .value = &web_dir},
        {.name = "log-level", .arg = "LEVEL", .env = "TRIMTAB_LOG_LEVEL", .help = "debug, info, warn or error. Default: info.", .value = &level},
    };
    const tt_cli cli = {.usage = "trimtab serve --rules FILE|DIR... [--prometheus URL] [options]",
                        .about = about,
                        .n_options = TT_COUNT(options),
                        .options = options,
                        .more = more};
    bool go;
    int code = tt_cli_parse(&cli, argc, argv, &operands, &go);
    if (!go) return code;
    /* `--rules a.yaml b.yaml`: what a shell makes of a pattern of names. */
    for (size_t i = 0; i < operands.n && rules.n < TT_CLI_LIST_MAX; i++) rules.at[rules.n++] = operands.at[i];
    if (!rules.n) return tt_cli_wrong(&cli, "serve needs --rules: the plans to run");
    /* systemd names the directory; with several, the first. */
    static char state_directory[4096];
    const char *given = getenv("STATE_DIRECTORY");
    if (given && *given) snprintf(state_directory, sizeof state_directory, "%.*s", (int)strcspn(given, ":"), given);

    tt_serve_options o = {.rules = rules.at, .n_rules = rules.n, .prometheus = prometheus, .store = store, .web_dir = web_dir, .level = TT_INFO};
    o.state_dir = state ? state : *state_directory ? state_directory : "./trimtab-state";
    static char recording[4096 + 16];
    snprintf(recording, sizeof recording, "%.4095s/recording", o.state_dir);
    o.record_dir = !record ? recording : strcmp(record, "off") == 0 ? NULL : record;
    o.record_must = record != NULL;
    o.record_keep_ns = TT_SECONDS(7 * 86400);
    o.record_max_bytes = 1 << 30;
    if (record_keep && !tt_parse_duration(tt_sv_of(record_keep), &o.record_keep_ns))
        return tt_cli_wrong(&cli, "--record-keep \"%s\" is no duration: write it like 7d or 12h", record_keep);
    if (record_max && !tt_cli_bytes(record_max, &o.record_max_bytes))
        return tt_cli_wrong(&cli, "--record-max \"%s\" is no number of bytes: write it like 512MiB or 2GiB", record_max);
    if (o.record_max_bytes < 4 << 20) return tt_cli_wrong(&cli, "--record-max \"%s\" is too little: the least is 4MiB", record_max);
    char host[256];
    if (!read_listen(listen ? listen : "127.0.0.1:7070", host, sizeof host, &o.port))
        return tt_cli_wrong(&cli, "--listen \"%s\" is no address and port: write it like 127.0.0.1:7070 or [::1]:7070", listen);
    o.address = host;
    if (level && !tt_log_level_of(tt_sv_of(level), &o.level))
        return tt_cli_wrong(&cli, "--log-level \"%s\" is none of debug, info, warn, error", level);
    if (prometheus && strncmp(prometheus, "http://", 7) != 0 && strncmp(prometheus, "https://", 8) != 0)
        return tt_cli_wrong(&cli, "--prometheus \"%s\" is no URL: write it like http://127.0.0.1:9090", prometheus);
    give_back_large_blocks();
    return tt_serve(&o);
}
