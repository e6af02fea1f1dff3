/* What the files that turn documents into rules share. Nothing outside rules/ includes this. */
#ifndef TT_PLAN_INTERNAL_H
#define TT_PLAN_INTERNAL_H

#include "expr_internal.h"
#include "plan.h"

/* A named group of a plan's label patterns: the plan's variable. */
typedef struct {
    tt_sv name;
    const tt_doc *node;
    size_t offset; /* of the group in the node's text */
    bool used;
} tt_plan_var;

/* Where a plan's parts are written, for the checks that come after all is read. */
typedef struct {
    const tt_doc *item, *service, *dc, *instance, *version, *on, *keep;
    const tt_doc *step[TT_STEPS_MAX];
    const tt_doc *step_service[TT_STEPS_MAX], *step_from[TT_STEPS_MAX];
    size_t n_vars;
    bool vars_unsure; /* a pattern could not be read: a variable nobody made may have been in it */
    tt_plan_var vars[TT_VARS_MAX];
    size_t n_made;                    /* names that the anomaly's own patterns make: variables too */
    tt_sv made[TT_MATCH_GROUPS_MAX];
    bool bad; /* its on, target or steps were reported already: don't cross them, what follows from a mistake is noise */
} tt_plan_nodes;

typedef struct {
    const tt_doc *calls[TT_CALLS_MAX];
} tt_service_nodes;

typedef struct {
    const tt_doc *item, *when, *clear, *slo, *burns[TT_BURNS_MAX];
    bool bad; /* reported already: plans are not crossed with it */
} tt_anomaly_nodes;

typedef struct {
    tt_rules *r;
    tt_err *errs;
    size_t max_errs, n_errs, total;
    tt_plan_nodes *plans;
    tt_service_nodes *services;
    tt_anomaly_nodes *anomalies;
    bool signals_unsure, anomalies_unsure, services_unsure; /* some could not be read: a name nobody declares may be theirs */
    tt_pos last_pos;                                        /* file names are copied once each, mostly */
} tt_load;

/* ---- plan_fields.c: reporting, and values from nodes. A getter leaves *ret alone when `node` is NULL (the default stands, true) and
 * when it reports an error (false). ---- */

bool tt_load_fail(tt_load *l, tt_code code, const tt_doc *at, const char *fmt, ...) TT_PRINTF(4, 5); /* false */
bool tt_load_fail_inside(tt_load *l, tt_code code, const tt_doc *scalar, size_t offset, const char *fmt, ...) TT_PRINTF(5, 6);
void tt_load_err(tt_load *l, const tt_err *err);
bool tt_load_no_memory(tt_load *l);
tt_pos tt_load_pos(tt_load *l, tt_pos pos); /* with the file name in the rules' own arena */

/* A node for messages: its text in quotes, cut; or "a list", "a map", "nothing". */
typedef struct {
    char text[72];
} tt_shown;
tt_shown tt_show(const tt_doc *node);

/* "did you mean": the candidate nearest to a word, where one is near. */
typedef struct {
    tt_sv word, best;
    size_t distance;
} tt_nearest;
tt_nearest tt_nearest_to(tt_sv word);
void tt_nearest_try(tt_nearest *n, tt_sv candidate);
const char *tt_nearest_say(const tt_nearest *n, char buf[160]); /* `: did you mean "x"?` or empty */

typedef struct {
    const char *name;
    const tt_doc **at;
} tt_key;
/* Takes a map apart. Unknown keys are reported and the rest still read; false when `map` is no map or anything was reported. */
bool tt_read_keys(tt_load *l, const tt_doc *map, const char *what, const char *example, const tt_key *keys, size_t n);
bool tt_read_list(tt_load *l, const tt_doc *list, const char *what, const char *example, size_t max); /* checks only; NULL: false without report */

void tt_number_text(double v, char *buf, size_t size); /* shortest */
bool tt_get_text(tt_load *l, const tt_doc *node, const char *what, const char *example, tt_sv *ret); /* copied, never empty */
bool tt_get_name(tt_load *l, const tt_doc *node, const char *what, tt_sv *ret);
bool tt_get_duration(tt_load *l, const tt_doc *node, const char *what, int64_t min, int64_t max, int64_t *ret_ns);
bool tt_get_ratio(tt_load *l, const tt_doc *node, const char *what, bool zero, double *ret); /* zero: 0 is allowed */
bool tt_get_number(tt_load *l, const tt_doc *node, const char *what, double min, double max, double *ret);
bool tt_get_count(tt_load *l, const tt_doc *node, const char *what, uint32_t min, uint32_t max, uint32_t *ret);
bool tt_get_bool(tt_load *l, const tt_doc *node, const char *what, bool *ret);
bool tt_get_choice(tt_load *l, const tt_doc *node, const char *what, const char *const names[], size_t n, size_t *ret);
bool tt_get_priority(tt_load *l, const tt_doc *node, const char *what, uint32_t *ret);
/* Literal or /pattern/. The pattern, if any, belongs to whoever keeps *ret. */
bool tt_get_match(tt_load *l, const tt_doc *node, const char *what, tt_label_match *ret);
size_t tt_group_offset(tt_sv text, tt_sv name); /* where the named group stands in the pattern's text */
bool tt_no_groups(tt_load *l, const tt_doc *node, const char *what, const tt_label_match *m);
/* Factors a level of degrade: *levels is what was written, or becomes their number. */
void tt_load_gains(tt_load *l, const tt_doc *gain, bool counted, uint32_t *levels, double to[TT_LEVELS_MAX]);
tt_expr *tt_get_expr(tt_load *l, const tt_doc *node); /* bound to the rules' tracks */
bool tt_get_amount(tt_load *l, const tt_doc *node, const char *what, double *ret); /* as in expressions: 2%, 50ms, 3 */
bool tt_get_signal(tt_load *l, const tt_doc *node, const char *what, int *ret);
bool tt_get_label(tt_load *l, const tt_doc *node, const char *what, tt_sv *ret);
bool tt_is_label_name(tt_sv s);

/* ---- plan_anomaly.c ---- */
void tt_load_anomaly(tt_load *l, const tt_doc *item);
void tt_anomaly_release(const tt_matcher *m, const tt_anomaly_def *a);
/* The index of such a track, made when there is none yet; -1 with the error told when there are too many. `at` is where it is asked for. */
int tt_rules_track(tt_load *l, const tt_doc *at, tt_track_def track);
void tt_lay_out_tracks(tt_rules *r); /* once all are known */
/* The names that an anomaly's own patterns make, at most `max`: they become its labels. */
size_t tt_anomaly_groups(const tt_rules *r, const tt_anomaly_def *a, tt_sv names[], size_t max);

/* ---- plan_actions.c: the steps beside the ladder ---- */
void tt_load_action(tt_load *l, const tt_doc *map, tt_plan_nodes *n, size_t at, tt_step *st);
void tt_check_action(tt_load *l, const tt_plan *p, const tt_plan_nodes *n, size_t at);
void tt_load_versions(tt_load *l, const tt_doc *map, tt_service_def *s);
/* shift's keys of versions: `from_version` may only name the target's. */
void tt_load_version_shift(tt_load *l, const tt_plan *p, const tt_doc *from_version, const tt_doc *to, const tt_doc *from, tt_step *st);
void tt_check_version(tt_load *l, const tt_plan *p, const tt_plan_nodes *n, const tt_step *st, const tt_doc *at);

/* ---- plan_parts.c ---- */
bool tt_get_name_or_var(tt_load *l, tt_plan_nodes *n, const tt_doc *node, const char *what, tt_sv *ret); /* NULL: *ret stays */
void tt_no_approve(tt_load *l, const tt_doc *node, const char *step);
void tt_load_plan(tt_load *l, const tt_doc *item);

/* ---- plan_law.c ---- */
void tt_load_law(tt_load *l, const tt_doc *law, tt_plan *p);
/* What a step is set to under the law runbook, and nowhere else. */
void tt_load_fixed(tt_load *l, const tt_plan *p, const tt_doc *map, const tt_doc *node, const char *what, bool is_ratio, double max, double *ret);
/* The other way round: a key that only makes sense where the law sizes the step. */
void tt_load_sized(tt_load *l, const tt_plan *p, const tt_doc *node, const char *what);
void tt_check_law(tt_load *l, const tt_plan *p, const tt_plan_nodes *n);

/* ---- choose.c ---- */
int tt_plan_rank(const tt_plan *a, const tt_plan *b, const char **why); /* < 0: a goes first, because ... */

/* ---- plan_rails.c ---- */
void tt_load_guardrails(tt_load *l, const tt_doc *node); /* NULL: the defaults */

/* ---- plan_check.c ---- */
void tt_check_rules(tt_load *l);

#endif
