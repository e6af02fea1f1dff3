/* trimtab rehearse: the engine against a model of the mesh, ours or somebody else's. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd_rehearse.h"
#include "config/pcre.h"
#include "config/yaml.h"
#include "rehearse/embedded.h"

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

bool tt_rehearse_write(const char *path, const tt_buf *b) {
    FILE *f = strcmp(path, "-") == 0 ? stdout : fopen(path, "we");
    bool ok = f && !b->failed && fwrite(b->p, 1, b->n, f) == b->n;
    int os = errno;
    if (f && f != stdout && fclose(f) != 0 && ok) {
        os = errno;
        ok = false;
    }
    if (!ok) fprintf(stderr, "trimtab: %s cannot be written: %s\n", path, b->failed ? "out of memory" : strerror(os));
    return ok;
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

int tt_cmd_rehearse(int argc, char **argv) {
    const char *plant = NULL, *timeout = NULL, *seed_text = NULL, *json = NULL, *svg = NULL;
    static tt_cli_list rules, operands;
    const tt_cli_option options[] = {
        {.name = "rules", .arg = "FILE|DIR", .help = "The plans to rehearse; may be given again. Without it, those the suite was built with.", .list = &rules},
        {.name = "plant", .arg = "COMMAND", .help = "Rehearse against the mesh model that COMMAND is, over JSON lines on its stdin and stdout (docs/plant.md).", .value = &plant},
        {.name = "plant-timeout", .arg = "TIME", .help = "How long the plant may take for one answer, of wall time. Default 10s.", .value = &timeout},
        {.name = "seed", .arg = "N", .help = "What the run's chances come from. A plant finds it in TRIMTAB_SEED. Default 2001.", .value = &seed_text},
        {.name = "json", .help = "The result as one JSON object on stdout.", .value = &json},
        {.name = "svg", .arg = "FILE", .help = "Draw the run as a chart.", .value = &svg},
    };
    const tt_cli cli = {.usage = "trimtab rehearse [options] --plant COMMAND",
                        .about = "Runs the engine with your plans against a model of a mesh, in the model's own time, and says what they are worth.",
                        .n_options = TT_COUNT(options),
                        .options = options,
                        .more = "Exit codes: 0 good, 1 failed, 2 wrong usage, 130 stopped."};
    static tt_err errs[TT_REHEARSE_ERRS];
    static tt_rehearse_common c;
    bool go;
    int code = tt_cli_parse(&cli, argc, argv, &operands, &go);
    if (!go) return code;
    if (operands.n) return tt_cli_wrong(&cli, "\"%s\" is one word too many: rules are given with --rules", operands.at[0]);
    if (!plant) return tt_cli_wrong(&cli, "rehearse needs --plant");
    int64_t timeout_ns = TT_SECONDS(10);
    uint64_t seed = 2001;
    if (timeout && (!tt_parse_duration(tt_sv_of(timeout), &timeout_ns) || timeout_ns < TT_MS(1)))
        return tt_cli_wrong(&cli, "--plant-timeout \"%s\" is no time: write it like 10s or 250ms", timeout);
    if (seed_text && !tt_cli_number(seed_text, UINT64_MAX / 2, &seed)) return tt_cli_wrong(&cli, "--seed \"%s\" is no number", seed_text);

    size_t n_errs = 0;
    tt_err err;
    struct sigaction on = {.sa_handler = on_signal};
    sigaction(SIGINT, &on, NULL);
    sigaction(SIGTERM, &on, NULL);
    tt_matcher *matcher = tt_pcre_matcher_new();
    c = (tt_rehearse_common){.arena = tt_arena_new(), .matcher = matcher, .svg = svg, .json = json != NULL, .stop = &stopped};
    bool ok = matcher && c.arena;
    if (!ok) fprintf(stderr, "trimtab: out of memory\n");
    if (ok && rules.n) {
        ok = tt_rules_documents(rules.at, rules.n, c.arena, c.docs, &c.n_docs, errs, TT_COUNT(errs), &n_errs);
        tt_rehearse_errors(errs, n_errs);
    } else if (ok) {
        c.docs[0] = tt_rehearse_plans(c.arena, "trimtab", &err);
        c.n_docs = 1;
        ok = c.docs[0] != NULL;
        if (!ok) tt_rehearse_errors(&err, 1);
    }
    code = ok ? tt_rehearse_plant(&c, plant, timeout_ns, seed) : TT_EXIT_FAILED;
    tt_arena_free(c.arena);
    if (matcher) tt_pcre_matcher_free(matcher);
    return code;
}
