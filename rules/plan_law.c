/* `law:` of a plan, and what its steps may say under it. */
#include "plan_internal.h"

#include <math.h>
#include <string.h>

#define TT_AS_NAME(id, name) name,
static const char *const law_names[] = {TT_LAWS(TT_AS_NAME)};

const char *tt_law_name(tt_law law) {
    return (size_t)law < TT_COUNT(law_names) ? law_names[law] : "?";
}

void tt_load_law(tt_load *l, const tt_doc *law, tt_plan *p) {
    static const char example[] = "{name: aimd, every: 10s}";
    const tt_doc *name = NULL, *every = NULL, *min_factor = NULL, *increment = NULL, *max_multiplier = NULL, *base = NULL, *gain = NULL,
                 *response = NULL, *wait = NULL;
    const tt_key keys[] = {{"name", &name},
                           {"every", &every},
                           {"min_factor", &min_factor},
                           {"increment", &increment},
                           {"max_multiplier", &max_multiplier},
                           {"base_window", &base},
                           {"gain", &gain},
                           {"response", &response},
                           {"wait", &wait}};
    const int64_t second = TT_SECONDS(1), hour = TT_SECONDS(3600);
    tt_law_params *v = &p->law_params;
    size_t which = TT_LAW_MEASURED_CAPACITY;
    *v = (tt_law_params){.every_ns = TT_SECONDS(10),
                         .min_factor = 0.1,
                         .increment = 0.025,
                         .max_multiplier = 2,
                         .base_window_ns = TT_SECONDS(30),
                         .gain = 2,
                         .wait_ns = TT_SECONDS(60)};
    if (!law) return;
    if (law->kind == TT_DOC_MAP) {
        tt_read_keys(l, law, "law", example, keys, TT_COUNT(keys));
        if (!name) tt_load_fail(l, TT_EMISSING, law, "law needs a name: write it like %s", example);
    } else
        name = law;
    if (name && tt_get_choice(l, name, "law", law_names, TT_COUNT(law_names), &which)) p->law = (tt_law)which;
    tt_get_duration(l, every, "law.every", second, hour, &v->every_ns);
    tt_get_ratio(l, min_factor, "law.min_factor", false, &v->min_factor);
    tt_get_ratio(l, increment, "law.increment", false, &v->increment);
    tt_get_number(l, max_multiplier, "law.max_multiplier", 1, 10, &v->max_multiplier);
    tt_get_duration(l, base, "law.base_window", second, hour, &v->base_window_ns);
    tt_get_number(l, gain, "law.gain", 0.01, 1000, &v->gain);
    tt_get_duration(l, response, "law.response", second, hour, &v->response_ns);
    tt_get_duration(l, wait, "law.wait", 0, hour, &v->wait_ns);
    const struct {
        const tt_doc *node;
        const char *key;
        bool has;
    } own[] = {{every, "every", which == TT_LAW_AIMD},
               {min_factor, "min_factor", which == TT_LAW_AIMD},
               {increment, "increment", which == TT_LAW_AIMD},
               {max_multiplier, "max_multiplier", which == TT_LAW_AIMD},
               {base, "base_window", which == TT_LAW_AIMD || which == TT_LAW_PI},
               {gain, "gain", which == TT_LAW_PI},
               {response, "response", which == TT_LAW_PI},
               {wait, "wait", which == TT_LAW_RUNBOOK}};
    for (size_t i = 0; i < TT_COUNT(own); i++)
        if (own[i].node && !own[i].has) tt_load_fail(l, TT_EVALUE, own[i].node, "law %s has no %s: leave it out", tt_law_name(p->law), own[i].key);
}

void tt_load_fixed(tt_load *l, const tt_plan *p, const tt_doc *map, const tt_doc *node, const char *what, bool is_ratio, double max, double *ret) {
    const char *key = strchr(what, '.') + 1, *as = is_ratio ? "50%" : strcmp(key, "level") == 0 ? "1" : "800";
    if (p->law != TT_LAW_RUNBOOK) {
        if (node)
            tt_load_fail(l, TT_EVALUE, node, "%s sets the step by hand, and law %s sizes its steps itself: leave it out, or write law: runbook", what,
                         tt_law_name(p->law));
        return;
    }
    if (!node) {
        tt_load_fail(l, TT_EMISSING, map, "under law runbook %.*s needs its value written: %s: %s", (int)(key - what - 1), what, key, as);
        return;
    }
    uint32_t level = 0;
    if (is_ratio)
        tt_get_ratio(l, node, what, false, ret);
    else if (strcmp(key, "level") == 0) {
        if (tt_get_count(l, node, what, 1, (uint32_t)max, &level)) *ret = level;
    } else if (tt_get_number(l, node, what, 0, max, ret) && *ret == 0)
        tt_load_fail(l, TT_EVALUE, node, "%s 0 lets nobody in: write the requests per second to admit", what);
}

void tt_load_sized(tt_load *l, const tt_plan *p, const tt_doc *node, const char *what) {
    if (node)
        tt_load_fail(l, TT_EVALUE, node, "%s belongs to law measured_capacity, which sizes steps itself; under law %s leave it out", what,
                     tt_law_name(p->law));
}

void tt_check_law(tt_load *l, const tt_plan *p, const tt_plan_nodes *n) {
    if (p->law == TT_LAW_MEASURED_CAPACITY || n->bad) return;
    const char *law = tt_law_name(p->law);
    for (size_t i = 0; i < p->n_steps; i++) {
        tt_step_kind k = p->steps[i].kind;
        bool sheds = k == TT_STEP_LIMIT || k == TT_STEP_DROP;
        if (p->law == TT_LAW_RUNBOOK ? sheds || k == TT_STEP_DEGRADE || k == TT_STEP_SHIFT || k == TT_STEP_CUTOVER : sheds) continue;
        if (p->law == TT_LAW_RUNBOOK)
            tt_load_fail(l, TT_EVALUE, n->step[i], "law runbook does limit, drop, degrade, shift and cutover only, not %s: give it a plan of its own",
                         tt_step_name(k));
        else
            tt_load_fail(l, TT_EVALUE, n->step[i], "law %s only sheds, by limit or drop; %s needs law measured_capacity", law, tt_step_name(k));
    }
    if (p->law == TT_LAW_RUNBOOK || !p->n_keep || !n->keep || n->keep->kind != TT_DOC_SEQ || n->keep->n != p->n_keep) return;
    int signal;
    tt_sv op;
    double bound;
    if (!tt_expr_bound(p->keep[0], &signal, &op, &bound) || op.p[0] != '<' || !(bound > 0))
        tt_load_fail(l, TT_EVALUE, &n->keep->items[0],
                     "law %s steers by the first of keep, so that is one signal under one bound above 0, such as p99_ms <= 250 or error_ratio <= 1%%",
                     law);
}
