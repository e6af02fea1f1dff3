/* trimtab rehearse: the engine against a model of the mesh, ours or somebody else's. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd_rehearse.h"
#include "config/pcre.h"
#include "config/yaml.h"
#include "rehearse/embedded.h"
#include "rehearse/suite.h"

static volatile sig_atomic_t stopped;

static void on_signal(int signo) {
    (void)signo;
    stopped = 1;
}

void tt_rehearse_errors(const tt_err *errs, size_t n) {
    for (size_t i = 0; i < n; i++) {
        char text[900];
        tt_err_print(&errs[i], text, sizeof text);
        fprintf(stderr, "%s%s\n", errs[i].file[0] ? "" : "trimtab: ", text);
    }
}

const tt_doc *tt_rehearse_plans(tt_arena *arena, const char *name, tt_err *err) {
    char file[64];
    const tt_embedded *e = tt_embedded_find(tt_embedded_plans, tt_n_embedded_plans, name);
    if (!e) {
        tt_fail(err, TT_EMISSING, "no plans are built in for %s", name);
        return NULL;
    }
    snprintf(file, sizeof file, "built-in plans/%.40s.yaml", name);
    return tt_yaml_parse(arena, file, (tt_sv){e->text, e->size}, NULL, err);
}

static uint32_t cores(void) {
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : n > TT_SUITE_JOBS ? TT_SUITE_JOBS : (uint32_t)n;
}

/* The plans: given, or built in. */
static bool read_rules(const tt_cli_list *files, tt_rehearse_common *c) {
    static tt_err errs[TT_REHEARSE_ERRS];
    size_t n = 0;
    if (files->n) {
        bool ok = tt_rules_documents(files->at, files->n, c->arena, c->docs, &c->n_docs, errs, TT_COUNT(errs), &n);
        tt_rehearse_errors(errs, n);
        return ok;
    }
    c->docs[0] = tt_rehearse_plans(c->arena, "trimtab", &errs[0]);
    c->n_docs = 1;
    if (!c->docs[0]) tt_rehearse_errors(errs, 1);
    return c->docs[0] != NULL;
}

int tt_cmd_rehearse(int argc, char **argv) {
    const char *plant = NULL, *timeout = NULL, *seed_text = NULL, *json = NULL, *svg = NULL, *suite = NULL, *list = NULL, *seeds = NULL, *jobs = NULL, *inner = NULL,
               *controllers = NULL;
    static tt_cli_list rules, incidents, operands;
    const tt_cli_option options[] = {
        {.name = "rules", .arg = "FILE|DIR", .help = "The plans to rehearse; may be given again. Without it, those the suite was built with.", .list = &rules},
        {.name = "incident", .arg = "NAME|FILE", .help = "Rehearse this one: built in, or your own; may be given again. Alone and without --seeds it is told as a story.", .list = &incidents},
        {.name = "suite", .help = "Rehearse every built-in incident.", .value = &suite},
        {.name = "list", .help = "List the built-in incidents.", .value = &list},
        {.name = "plant", .arg = "COMMAND", .help = "Rehearse against the mesh model that COMMAND is, over JSON lines on its stdin and stdout (docs/plant.md).", .value = &plant},
        {.name = "plant-timeout", .arg = "TIME", .help = "How long the plant may take for one answer, of wall time. Default 10s.", .value = &timeout},
        {.name = "seed", .arg = "N", .help = "The first seed. Default 2001: no law was ever tuned on seeds from there on. A plant finds it in TRIMTAB_SEED.", .value = &seed_text},
        {.name = "seeds", .arg = "N", .help = "How many seeds each incident is run with. Default 20; 1 for a single incident.", .value = &seeds},
        {.name = "inner-loop", .arg = "on|off|both", .help = "Whether every hop of the mesh embeds the library, which bounds its queue. Default both; off for a single run.", .value = &inner},
        {.name = "controllers", .arg = "LIST", .help = "Of trimtab, oracle, nothing, runbook, aimd; all by default.", .value = &controllers},
        {.name = "jobs", .arg = "N", .help = "Threads. The result is the same with any number. Default: one a core.", .value = &jobs},
        {.name = "json", .help = "The result as one JSON object on stdout.", .value = &json},
        {.name = "svg", .arg = "FILE|DIR", .help = "Draw a single run as a chart; of several, one for each incident into a directory.", .value = &svg},
    };
    const tt_cli cli = {.usage = "trimtab rehearse [options] --suite | --incident NAME|FILE | --plant COMMAND | --list",
                        .about = "Runs the engine with your plans against a model of a mesh, in the model's own time, and says what they are worth: beside an oracle, doing nothing, "
                                 "a static runbook, and AIMD.",
                        .n_options = TT_COUNT(options),
                        .options = options,
                        .more = "Exit codes: 0 good, 1 failed or an invariant was broken, 2 wrong usage, 130 stopped."};
    bool go;
    int code = tt_cli_parse(&cli, argc, argv, &operands, &go);
    if (!go) return code;
    if (operands.n) return tt_cli_wrong(&cli, "\"%s\" is one word too many: rules are given with --rules", operands.at[0]);
    int modes = (plant != NULL) + (suite != NULL) + (incidents.n > 0) + (list != NULL);
    if (modes != 1) return tt_cli_wrong(&cli, modes ? "one of --suite, --incident, --plant and --list, not several" : "rehearse what? Give --suite, --incident, --plant or --list");
    int64_t timeout_ns = TT_SECONDS(10);
    uint64_t seed = 2001, n_seeds = incidents.n == 1 ? 1 : 20, n_jobs = cores();
    if (timeout && (!tt_parse_duration(tt_sv_of(timeout), &timeout_ns) || timeout_ns < TT_MS(1)))
        return tt_cli_wrong(&cli, "--plant-timeout \"%s\" is no time: write it like 10s or 250ms", timeout);
    if (seed_text && !tt_cli_number(seed_text, UINT64_MAX / 2, &seed)) return tt_cli_wrong(&cli, "--seed \"%s\" is no number", seed_text);
    if (seeds && (!tt_cli_number(seeds, TT_SUITE_SEEDS, &n_seeds) || !n_seeds)) return tt_cli_wrong(&cli, "--seeds is 1 to %d, not \"%s\"", TT_SUITE_SEEDS, seeds);
    if (jobs && (!tt_cli_number(jobs, TT_SUITE_JOBS, &n_jobs) || !n_jobs)) return tt_cli_wrong(&cli, "--jobs is 1 to %d, not \"%s\"", TT_SUITE_JOBS, jobs);
    bool told = incidents.n == 1 && !seeds, on = inner && strcmp(inner, "on") == 0, off = inner && strcmp(inner, "off") == 0, both = inner && strcmp(inner, "both") == 0;
    if (inner && !on && !off && !both) return tt_cli_wrong(&cli, "--inner-loop is on, off or both, not \"%s\"", inner);
    if (told && both) return tt_cli_wrong(&cli, "a single run is told with the inner loop on or off; give --seeds for a table of both");
    if (list) return tt_rehearse_list(json != NULL);

    static tt_rehearse_common c;
    struct sigaction act = {.sa_handler = on_signal};
    sigaction(SIGINT, &act, NULL);
    sigaction(SIGTERM, &act, NULL);
    tt_matcher *matcher = tt_pcre_matcher_new();
    c = (tt_rehearse_common){.arena = tt_arena_new(), .matcher = matcher, .svg = svg, .json = json != NULL, .stop = &stopped};
    const tt_rehearse_suite_options o = {.suite = suite != NULL,
                                         .incidents = &incidents,
                                         .told = told,
                                         .controllers = controllers,
                                         .mesh = {!on, told ? on : !off},
                                         .seed = seed,
                                         .n_seeds = (uint32_t)n_seeds,
                                         .n_jobs = (uint32_t)n_jobs};
    code = TT_EXIT_FAILED;
    if (!matcher || !c.arena)
        fprintf(stderr, "trimtab: out of memory\n");
    else if (read_rules(&rules, &c))
        code = plant ? tt_rehearse_plant(&c, plant, timeout_ns, seed) : tt_rehearse_suite(&c, &o);
    tt_arena_free(c.arena);
    if (matcher) tt_pcre_matcher_free(matcher);
    return code;
}
