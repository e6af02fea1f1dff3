/* What the parts of `trimtab rehearse` share. */
#ifndef TT_CMD_REHEARSE_H
#define TT_CMD_REHEARSE_H

#include <signal.h>

#include "cli.h"
#include "config/rules_files.h"

enum { TT_REHEARSE_ERRS = 64, TT_REHEARSE_BYTES = 512 << 20 };

typedef struct {
    tt_arena *arena; /* of the documents */
    const tt_doc *docs[TT_RULES_FILES_MAX];
    size_t n_docs;
    const tt_matcher *matcher;
    const char *svg;
    bool json;
    const volatile sig_atomic_t *stop;
} tt_rehearse_common;

/* The plans built in under this name (trimtab, runbook, aimd) as a document in `arena`; NULL and *err. */
const tt_doc *tt_rehearse_plans(tt_arena *arena, const char *name, tt_err *err);
void tt_rehearse_errors(const tt_err *errs, size_t n); /* on stderr, one a line */

typedef struct {
    bool suite;                   /* every built-in incident */
    const tt_cli_list *incidents; /* names of built-in ones, or paths */
    bool told;                    /* one run of one incident: with its story */
    const char *controllers;      /* as given; NULL: all */
    bool mesh[2];                 /* without, with the inner loop */
    uint64_t seed;
    uint32_t n_seeds, n_jobs;
} tt_rehearse_suite_options;

int tt_rehearse_suite(const tt_rehearse_common *c, const tt_rehearse_suite_options *o);
int tt_rehearse_list(bool json);
int tt_rehearse_plant(const tt_rehearse_common *c, const char *command, int64_t timeout_ns, uint64_t seed);

#endif
