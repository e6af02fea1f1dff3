/* The engine on measurements written by hand: what a law does with which figures, without a model in between. Values stand until they are changed;
 * every signal is polled each second, with a sample one second old. Decisions are acknowledged in the next tick. */
#ifndef TT_ENGINE_HAND_H
#define TT_ENGINE_HAND_H

#include "engine.h"

enum { HAND_VALUES = 256, HAND_LOG = 65536, HAND_COMMANDS = 8 };

typedef struct {
    char name[TT_NAME_MAX];
    tt_label labels[TT_LABELS_MAX];
    size_t n_labels;
    char text[256]; /* the labels' */
    double value;
    tt_quality quality;
} hand_value;

typedef struct hand hand;
struct hand {
    tt_matcher *matcher;
    tt_rules *rules;
    tt_engine *engine;
    int64_t elapsed_ns;
    int64_t step_ns;    /* between ticks; 0: a second */
    int64_t asleep_ms;  /* what the clock on the wall went on while the process and the clock of durations stood */
    hand_value values[HAND_VALUES];
    size_t n_values;
    tt_outcome out;
    uint32_t n_actions, n_decisions;
    bool acks, down; /* down: the source doesn't answer */
    char log[HAND_LOG]; /* "12 limit - 100\n": second, action, from, to; other events as "12 kind: reason\n" */
    char said[HAND_LOG]; /* "kind plan service/dc: reason\n", actions too */
    tt_command commands[HAND_COMMANDS]; /* taken by the next tick */
    size_t n_commands;
    void (*more)(hand *h, tt_observations *obs); /* what is observed besides, each tick; may be NULL */
    tt_engine_config cfg;
};

bool hand_open(hand *h, const char *rules_text); /* the reason of a failure is printed */
void hand_close(hand *h);
/* `labels` as "service=front dc=dc-a"; the same name and labels again replace the value. NAN: absent from now on. */
void hand_set(hand *h, const char *name, const char *labels, double value);
void hand_run(hand *h, int seconds);
/* What is in force: NAN when it isn't. `name` as in tt_act.name, or the dc of weights. */
double hand_act(hand *h, const char *service, const char *dc, tt_act_kind kind, const char *name);
bool hand_anything(hand *h);
bool hand_restart(hand *h); /* saved, restored on a new engine */
bool hand_reload(hand *h, const char *rules_text);
void hand_abort(hand *h); /* the newest loop */
tt_command *hand_command(hand *h, tt_command_kind kind, const char *loop_id); /* by ada; for the caller to add to before the next tick */
/* How many lines of `said` begin with `head` and hold `text` (NULL: any). */
int hand_said(const hand *h, const char *head, const char *text);
void hand_hush(hand *h); /* forgets what was said */
/* What people see, as JSON; the text is good until the next call. */
const char *hand_loops(hand *h);
const char *hand_plans(hand *h);
const char *hand_summary(hand *h);
const char *hand_anomalies(hand *h);

#endif
