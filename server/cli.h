/* The command line: options from a table, help made of it, and an unknown option answered with the one that was meant. */
#ifndef TT_CLI_H
#define TT_CLI_H

#include "base.h"

enum { TT_EXIT_OK = 0, TT_EXIT_FAILED = 1, TT_EXIT_USAGE = 2, TT_EXIT_UNREACHABLE = 6, TT_EXIT_STOPPED = 130 };
enum { TT_CLI_LIST_MAX = 256 };

typedef struct {
    size_t n;
    const char *at[TT_CLI_LIST_MAX];
} tt_cli_list;

typedef struct {
    const char *name; /* without its dashes */
    const char *arg;  /* what follows it, as help shows it; NULL: a switch */
    const char *env;  /* read when the option is not given; a list is split at ':'. NULL: none */
    const char *help;
    const char **value; /* a switch sets it to "" */
    tt_cli_list *list;  /* instead of value: may be given again */
} tt_cli_option;

typedef struct {
    const char *usage; /* "trimtab check [options] FILE|DIR..." */
    const char *about;
    size_t n_options;
    const tt_cli_option *options;
    const char *more; /* behind the options; may be NULL */
} tt_cli;

/* argv[0] is the subcommand. Operands go to `operands`. TT_EXIT_OK with *ret_go: carry on; else return that as the exit code: help was printed,
 * or a message. */
int tt_cli_parse(const tt_cli *cli, int argc, char **argv, tt_cli_list *operands, bool *ret_go);
/* Message and usage on stderr. Returns TT_EXIT_USAGE. */
int tt_cli_wrong(const tt_cli *cli, const char *fmt, ...) TT_PRINTF(2, 3);
/* The candidate that is nearest to what was typed; NULL when none is near. */
/* The whole of `b` into a file, made anew; "-": stdout. false: it can't be written, and that is told on stderr. */
bool tt_cli_write(const char *path, const tt_buf *b);
/* Each problem on a line of stderr, with its place. */
void tt_cli_errors(const tt_err errs[], size_t n);
const char *tt_cli_nearest(const char *typed, const char *const candidates[], size_t n);
bool tt_cli_number(const char *text, uint64_t max, uint64_t *ret);
bool tt_cli_bytes(const char *text, uint64_t *ret); /* "512MiB", "2GB", "1048576" */

/* Colours on a terminal alone, and never with NO_COLOR. */
bool tt_cli_colours(int fd);

/* One subcommand a file. */
int tt_cmd_serve(int argc, char **argv);
int tt_cmd_check(int argc, char **argv);
int tt_cmd_backtest(int argc, char **argv);
int tt_cmd_loops(int argc, char **argv);
int tt_cmd_capacity(int argc, char **argv);
int tt_cmd_approve(int argc, char **argv);
int tt_cmd_freeze(int argc, char **argv);
int tt_cmd_resume(int argc, char **argv);
int tt_cmd_pin(int argc, char **argv);
int tt_cmd_pins(int argc, char **argv);
int tt_cmd_unpin(int argc, char **argv);
int tt_cmd_explain(int argc, char **argv);
int tt_cmd_replay(int argc, char **argv);
int tt_cmd_rehearse(int argc, char **argv);
int tt_cmd_version(int argc, char **argv);

#endif
