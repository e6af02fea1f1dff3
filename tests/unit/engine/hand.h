/* The engine on measurements written by hand: what a law does with which figures, without a model in between. Values stand until they are changed;
 * every signal is polled each second, with a sample one second old. Decisions are acknowledged in the next tick. */
#ifndef TT_ENGINE_HAND_H
#define TT_ENGINE_HAND_H

#include "engine.h"

enum { HAND_VALUES = 256, HAND_LOG = 65536 };

typedef struct {
    char name[TT_NAME_MAX];
    tt_label labels[TT_LABELS_MAX];
    size_t n_labels;
    char text[256]; /* the labels' */
    double value;
    tt_quality quality;
} hand_value;

typedef struct {
    tt_matcher *matcher;
    tt_rules *rules;
    tt_engine *engine;
    int64_t elapsed_ns;
    hand_value values[HAND_VALUES];
    size_t n_values;
    tt_outcome out;
    uint32_t n_actions, n_decisions;
    bool acks;
    char log[HAND_LOG]; /* "12 limit - 100\n": second, action, from, to; other events as "12 kind: reason\n" */
    tt_command command; /* taken by the next tick */
    bool has_command;
} hand;

bool hand_open(hand *h, const char *rules_text); /* the reason of a failure is printed */
void hand_close(hand *h);
/* `labels` as "service=front dc=dc-a"; the same name and labels again replace the value. NAN: absent from now on. */
void hand_set(hand *h, const char *name, const char *labels, double value);
void hand_run(hand *h, int seconds);
/* What is in force: NAN when it isn't. `name` as in tt_act.name, or the dc of weights. */
double hand_act(hand *h, const char *service, const char *dc, tt_act_kind kind, const char *name);
bool hand_anything(hand *h);
bool hand_restart(hand *h); /* saved, restored on a new engine */
void hand_abort(hand *h);   /* the newest loop */

#endif
