/* A simulated world with a recorder looking on, the way the daemon has one. */
#ifndef TT_UNIT_TAPED_H
#define TT_UNIT_TAPED_H

#include "record/record.h"
#include "scenario.h"

typedef struct {
    tt_recorder_options opt;
    tt_recorder *recorder;
    tt_arena *arena;
    tt_rules_text text;
    tt_rules_texts rules;
    uint64_t ticks, runs;
    bool broken;
    world_watch watch;
} taped;

/* `dir`: of the recording. The watch is for a scenario or a world. */
void taped_init(taped *t, const char *dir);
void taped_free(taped *t); /* ends the recording */

/* A directory of the test's own, and away with it. */
void temporary_directory(char path[256]);
void remove_directory(const char *path);
/* Every file in it, sorted; each is for free. */
size_t list_files(const char *dir, char *names[], size_t max);
char *read_file(const char *path, size_t *ret_n); /* NULL: it is not there */
void write_file(const char *path, const void *p, size_t n);

#endif
