/* The subcommand table. */
#include <stdio.h>
#include <string.h>

#include "cli.h"

static const struct {
    const char *name, *about;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"serve", "run the daemon", tt_cmd_serve},
    {"check", "read plans, and say what is wrong with them and where", tt_cmd_check},
    {"rehearse", "run plans against a model of the mesh", tt_cmd_rehearse},
    {"backtest", "run plans over Prometheus's past: what would they have done", tt_cmd_backtest},
    {"loops", "list, look at, watch and abort loops", tt_cmd_loops},
    {"capacity", "show what each site can carry; test it with real traffic", tt_cmd_capacity},
    {"approve", "let a loop that waits for approval act", tt_cmd_approve},
    {"freeze", "pause automation: what is in force stays, nothing new is done", tt_cmd_freeze},
    {"resume", "end the pause", tt_cmd_resume},
    {"pin", "hold an actuator by hand, for a while", tt_cmd_pin},
    {"pins", "what is held by hand", tt_cmd_pins},
    {"unpin", "let go of what was pinned", tt_cmd_unpin},
    {"explain", "why something was decided: inputs, rule, terms, bounds, and what came of it", tt_cmd_explain},
    {"replay", "run a recorded run through the engine again: identical, or the first difference", tt_cmd_replay},
    {"version", "print the version", tt_cmd_version},
};

static void print_commands(FILE *to) {
    fprintf(to, "usage: trimtab COMMAND [options]\n\n"
                "Keeps a service mesh on course: sees a metric leave its bounds, acts by plan, watches, and takes the action back.\n\nCommands:\n");
    for (size_t i = 0; i < TT_COUNT(commands); i++) fprintf(to, "  %-10s %s\n", commands[i].name, commands[i].about);
    fprintf(to, "\n`trimtab COMMAND --help` tells more. Exit codes: 0 ok, 1 failed, 2 wrong usage, 6 no daemon to be reached.\n");
}

int main(int argc, char **argv) {
    if (argc < 2) {
        print_commands(stderr);
        return TT_EXIT_USAGE;
    }
    const char *name = argv[1], *names[TT_COUNT(commands)];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        print_commands(stdout);
        return TT_EXIT_OK;
    }
    if (strcmp(name, "--version") == 0) name = "version";
    for (size_t i = 0; i < TT_COUNT(commands); i++) {
        names[i] = commands[i].name;
        if (strcmp(name, names[i]) == 0) return commands[i].run(argc - 1, argv + 1);
    }
    const char *near = tt_cli_nearest(name, names, TT_COUNT(commands));
    fprintf(stderr, "trimtab: there is no command \"%s\"%s%s%s\nusage: trimtab COMMAND [options]; trimtab --help lists them\n", name,
            near ? ": did you mean " : "", near ? near : "", near ? "?" : "");
    return TT_EXIT_USAGE;
}
