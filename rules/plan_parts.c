/* One plan: from its map to tt_plan, with its variables. What needs other sections is crossed in plan_check.c. */
#include "plan_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const mode_names[] = {"observe", "advise", "approve", "auto"};

/* ---- variables ---- */

/* A literal, or a variable that the plan's own patterns make. `node` NULL: *ret stays. */
bool tt_get_name_or_var(tt_load *l, tt_plan_nodes *n, const tt_doc *node, const char *what, tt_sv *ret) {
    if (!node) return true;
    if (node->kind != TT_DOC_SCALAR || !memchr(node->text.p, '$', node->text.n)) return tt_get_name(l, node, what, ret);
    tt_sv name = {node->text.p + 1, node->text.n - 1};
    if (node->text.p[0] != '$')
        return tt_load_fail(l, TT_EVALUE, node, "%s %s: a variable stands alone, such as $svc; shape its value in the pattern that makes it", what,
                            tt_show(node).text);
    tt_nearest near = tt_nearest_to(name);
    char all[200] = "";
    size_t used = 0;
    for (size_t i = 0; i < n->n_vars; i++) {
        tt_plan_var *v = &n->vars[i];
        if (tt_sv_eq(v->name, name)) {
            v->used = true;
            return tt_get_text(l, node, what, "$svc", ret);
        }
        tt_nearest_try(&near, v->name);
        int k = used < sizeof(all) ? snprintf(all + used, sizeof(all) - used, "%s$" TT_SV_FMT, i ? ", " : "", TT_SV_ARG(v->name)) : 0;
        used += k > 0 ? (size_t)k : 0;
    }
    for (size_t i = 0; i < n->n_made; i++) {
        if (tt_sv_eq(n->made[i], name)) return tt_get_text(l, node, what, "$svc", ret);
        tt_nearest_try(&near, n->made[i]);
    }
    if (n->vars_unsure) return true;
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (i > 0 && c >= '0' && c <= '9')) continue;
        return tt_load_fail_inside(l, TT_EVALUE, node, i + 1,
                                   "%s %s: a variable stands alone, such as $svc; shape its value in the pattern that makes it", what,
                                   tt_show(node).text);
    }
    if (near.best.n)
        return tt_load_fail(l, TT_EUNKNOWN, node, "%s: no variable %s in this plan: did you mean \"$" TT_SV_FMT "\"?", what, tt_show(node).text,
                            TT_SV_ARG(near.best));
    if (n->n_vars) return tt_load_fail(l, TT_EUNKNOWN, node, "%s: no variable %s in this plan, its patterns make %s", what, tt_show(node).text, all);
    return tt_load_fail(l, TT_EUNKNOWN, node, "%s: no variable %s in this plan: make it in on.labels, such as service: /^(?<svc>.+)$/", what,
                        tt_show(node).text);
}

static void take_groups(tt_load *l, tt_plan_nodes *n, const tt_doc *node, const tt_label_match *m) {
    tt_match_groups g;
    l->r->matcher->groups(l->r->matcher->ctx, m->pattern, &g);
    for (size_t i = 0; i < g.n; i++) {
        size_t at = tt_group_offset(node->text, g.name[i]), twin = 0;
        while (twin < n->n_vars && !tt_sv_eq(n->vars[twin].name, g.name[i])) twin++;
        if (twin < n->n_vars)
            tt_load_fail_inside(l, TT_EVALUE, node, at, "variable \"" TT_SV_FMT "\" is made twice, first at line %u: rename one",
                                TT_SV_ARG(g.name[i]), n->vars[twin].node->pos.line);
        else if (n->n_vars == TT_VARS_MAX)
            tt_load_fail_inside(l, TT_ELIMIT, node, at, "more than %d variables in one plan", TT_VARS_MAX);
        else
            n->vars[n->n_vars++] = (tt_plan_var){g.name[i], node, at, false};
    }
}

/* ---- on ---- */

static void load_on(tt_load *l, const tt_doc *on, const tt_doc *item, tt_plan *p, tt_plan_nodes *n) {
    tt_rules *r = l->r;
    const tt_doc *anomaly = NULL, *labels = NULL;
    const tt_key keys[] = {{"anomaly", &anomaly}, {"labels", &labels}};
    if (!on) {
        tt_load_fail(l, TT_EMISSING, item, "a plan needs on: the anomaly it answers, such as {anomaly: overload, labels: {service: /^(?<svc>.+)$/}}");
        return;
    }
    if (!tt_read_keys(l, on, "on", "{anomaly: overload, labels: {service: /^(?<svc>.+)$/}}", keys, TT_COUNT(keys)) && on->kind != TT_DOC_MAP) return;
    tt_sv name = {0};
    if (!anomaly) tt_load_fail(l, TT_EMISSING, on, "on needs the anomaly the plan answers: anomaly: overload");
    if (anomaly && tt_get_name(l, anomaly, "on.anomaly", &name)) {
        char say[160];
        tt_nearest near = tt_nearest_to(name);
        size_t i = 0;
        for (; i < r->n_anomalies && !tt_sv_eq(r->anomalies[i].name, name); i++) tt_nearest_try(&near, r->anomalies[i].name);
        p->anomaly = (uint32_t)i;
        if (i < r->n_anomalies) n->n_made = tt_anomaly_groups(r, &r->anomalies[i], n->made, TT_COUNT(n->made));
        if (i == r->n_anomalies && !l->anomalies_unsure)
            tt_load_fail(l, TT_EUNKNOWN, anomaly, "anomaly %s is not declared%s", tt_show(anomaly).text,
                         near.best.n ? tt_nearest_say(&near, say) : ": give it under `anomalies`");
    }
    if (!labels) return;
    if (labels->kind != TT_DOC_MAP) {
        n->vars_unsure = true;
        tt_load_fail(l, TT_EVALUE, labels, "on.labels is a map, not %s: write it like {service: /^(?<svc>.+)$/, dc: dc-a}", tt_show(labels).text);
        return;
    }
    if (labels->n > TT_MATCHERS_MAX) {
        tt_load_fail(l, TT_ELIMIT, &labels->keys[TT_MATCHERS_MAX], "on.labels compares %zu labels, at most %d", labels->n, TT_MATCHERS_MAX);
        return;
    }
    for (size_t i = 0; i < labels->n; i++) {
        tt_sv label = {0};
        tt_label_match *m = &p->matchers[p->n_matchers];
        if (!tt_get_name(l, &labels->keys[i], "a label", &label) || !tt_get_match(l, &labels->items[i], "on.labels", m)) {
            n->vars_unsure = true;
            continue;
        }
        m->label = label;
        p->n_matchers++;
        if (m->pattern) take_groups(l, n, &labels->items[i], m);
    }
}

/* ---- steps ---- */

/* Asked before a site is emptied, the one step that takes everything away. */
static void get_approve(tt_load *l, const tt_doc *node, bool *ret) {
    static const char *const names[] = {"required"};
    size_t k = 0;
    if (node && tt_get_choice(l, node, "approve", names, TT_COUNT(names), &k)) *ret = true;
}

void tt_no_approve(tt_load *l, const tt_doc *node, const char *step) {
    if (node)
        tt_load_fail(l, TT_EVALUE, node,
                     "approve is asked for a cutover only, not for %s: leave it out, or have the whole plan wait for a person with mode: approve",
                     step);
}

void tt_load_gains(tt_load *l, const tt_doc *gain, bool counted, uint32_t *levels, double to[TT_LEVELS_MAX]) {
    if (!tt_read_list(l, gain, "gain", "[1.14, 1.33]", TT_LEVELS_MAX)) return;
    if (!counted) *levels = (uint32_t)gain->n;
    if (gain->n == 0 || gain->n != *levels) {
        tt_load_fail(l, TT_EVALUE, gain, "gain has %zu factors for %u levels: write one a level, such as [1.14, 1.33] for 2", gain->n, *levels);
        return;
    }
    for (size_t i = 0; i < gain->n; i++) {
        const tt_doc *g = &gain->items[i];
        if (!tt_get_number(l, g, "gain", -1e9, 100, &to[i])) return;
        if (to[i] < 1) {
            tt_load_fail(l, TT_EVALUE, g, "gain %s is below 1: switching a feature off can't cost capacity; 1.14 means 14%% more requests served",
                         tt_show(g).text);
            return;
        }
        if (i && to[i] <= to[i - 1]) {
            tt_load_fail(l, TT_EVALUE, g, "gain %s does not rise over the level before: each level must free more, or leave it out", tt_show(g).text);
            return;
        }
    }
}

static void load_worth(tt_load *l, const tt_doc *worth, tt_step *st) {
    /* Each level takes a little more from the answer than the one before. */
    double left = 1;
    for (uint32_t i = 0; i < TT_LEVELS_MAX; i++) st->worth[i] = left = left * (i ? 0.93 : 0.97);
    if (!worth || !tt_read_list(l, worth, "worth", "[0.97, 0.90]", TT_LEVELS_MAX)) return;
    if (st->levels && worth->n != st->levels) {
        tt_load_fail(l, TT_EVALUE, worth, "worth has %zu values for %u levels: write one a level, such as [0.97, 0.90] for 2", worth->n, st->levels);
        return;
    }
    for (size_t i = 0; i < worth->n; i++) {
        if (!tt_get_ratio(l, &worth->items[i], "worth", false, &st->worth[i])) return;
        if (i && st->worth[i] > st->worth[i - 1]) {
            tt_load_fail(l, TT_EVALUE, &worth->items[i], "worth %s rises over the level before: a deeper level can't be worth more",
                         tt_show(&worth->items[i]).text);
            return;
        }
    }
}

static void load_degrade(tt_load *l, const tt_plan *p, const tt_doc *map, tt_plan_nodes *n, size_t at, tt_step *st) {
    const tt_doc *feature = NULL, *service = NULL, *levels = NULL, *gain = NULL, *probe = NULL, *approve = NULL, *level = NULL, *worth = NULL;
    const tt_key keys[] = {{"feature", &feature}, {"service", &service}, {"levels", &levels},     {"gain", &gain},
                           {"level", &level},     {"worth", &worth},     {"probe_ratio", &probe}, {"approve", &approve}};
    tt_read_keys(l, map, "degrade", "{feature: recommendations, levels: 2, gain: [1.14, 1.33]}", keys, TT_COUNT(keys));
    st->probe_ratio = 0.02;
    if (!feature && (gain || levels || p->law == TT_LAW_RUNBOOK))
        tt_load_fail(l, TT_EMISSING, map, "degrade needs the feature to take back: feature: recommendations");
    tt_get_name(l, feature, "feature", &st->feature);
    tt_get_name_or_var(l, n, service, "degrade.service", &st->service);
    n->step_service[at] = service;
    tt_load_fixed(l, p, map, level, "degrade.level", false, TT_LEVELS_MAX, &st->fixed);
    if (p->law == TT_LAW_RUNBOOK) {
        tt_load_sized(l, p, levels, "degrade.levels");
        tt_load_sized(l, p, gain, "degrade.gain");
        st->levels = st->fixed >= 1 ? (uint32_t)st->fixed : 1;
        for (uint32_t i = 0; i < st->levels; i++) st->gain[i] = 1;
    } else if (levels && !gain)
        tt_load_fail(l, TT_EMISSING, map,
                     "degrade needs gain beside levels: the capacity factor each level brings, such as gain: [1.14, 1.33]; or neither, where a "
                     "service declares "
                     "the feature");
    else if (gain && tt_get_count(l, levels, "levels", 1, TT_LEVELS_MAX, &st->levels))
        tt_load_gains(l, gain, levels != NULL, &st->levels, st->gain);
    load_worth(l, worth, st);
    tt_get_ratio(l, probe, "probe_ratio", true, &st->probe_ratio);
    tt_no_approve(l, approve, "degrade");
}

static void load_limit(tt_load *l, const tt_plan *p, const tt_doc *map, tt_step *st) {
    static const char *const by_names[] = {"measured_capacity", "concurrency"};
    const tt_doc *by = NULL, *keep = NULL, *approve = NULL, *rps = NULL, *armed = NULL, *latency = NULL;
    const tt_key keys[] = {{"by", &by}, {"keep", &keep}, {"rps", &rps}, {"armed", &armed}, {"latency", &latency}, {"approve", &approve}};
    size_t which = 0;
    tt_read_keys(l, map, "limit", "{by: measured_capacity, keep: [critical, normal]}", keys, TT_COUNT(keys));
    tt_get_choice(l, by, "limit.by", by_names, TT_COUNT(by_names), &which);
    st->by_concurrency = which == 1;
    int64_t may_take_ns = 0;
    if (latency && which != 1)
        tt_load_fail(l, TT_EVALUE, latency, "limit.latency says how long a request may take where what is in flight is held: it needs by: concurrency");
    else if (tt_get_duration(l, latency, "limit.latency", TT_MS(1), TT_SECONDS(3600), &may_take_ns))
        st->most = (double)may_take_ns / 1e6;
    if (p->law != TT_LAW_MEASURED_CAPACITY && which == 0) tt_load_sized(l, p, by, "limit.by");
    tt_load_fixed(l, p, map, rps, "limit.rps", false, 1e9, &st->fixed);
    tt_no_approve(l, approve, "limit");
    st->armed = true;
    tt_get_bool(l, armed, "limit.armed", &st->armed);
    if (!keep) {
        for (uint32_t i = 0; i < l->r->n_priorities; i++) st->keep[st->n_keep++] = i;
        return;
    }
    if (!tt_read_list(l, keep, "limit.keep", "[critical, normal], first kept longest", TT_PRIORITIES_MAX)) return;
    if (!keep->n) tt_load_fail(l, TT_EVALUE, keep, "limit.keep is empty: name the priorities to let in, first kept longest, or leave it out for all");
    for (size_t i = 0; i < keep->n; i++) {
        uint32_t k = 0;
        if (!tt_get_priority(l, &keep->items[i], "priority", &k)) continue;
        bool twice = false;
        for (uint32_t o = 0; o < st->n_keep; o++) twice = twice || st->keep[o] == k;
        if (twice)
            tt_load_fail(l, TT_EVALUE, &keep->items[i], "limit.keep names %s twice", tt_show(&keep->items[i]).text);
        else
            st->keep[st->n_keep++] = k;
    }
}

static void load_drop(tt_load *l, const tt_plan *p, const tt_doc *map, tt_step *st) {
    const tt_doc *priority = NULL, *max = NULL, *approve = NULL, *ratio = NULL;
    const tt_key keys[] = {{"priority", &priority}, {"max", &max}, {"ratio", &ratio}, {"approve", &approve}};
    tt_read_keys(l, map, "drop", "{priority: batch, max: 100%}", keys, TT_COUNT(keys));
    st->max = 1;
    if (!priority) tt_load_fail(l, TT_EMISSING, map, "drop needs the priority it drops: priority: batch");
    tt_get_priority(l, priority, "priority", &st->priority);
    tt_get_ratio(l, max, "drop.max", false, &st->max);
    if (p->law == TT_LAW_RUNBOOK) tt_load_sized(l, p, max, "drop.max");
    tt_load_fixed(l, p, map, ratio, "drop.ratio", true, 1, &st->fixed);
    tt_no_approve(l, approve, "drop");
}

static void load_move(tt_load *l, const tt_plan *p, const tt_doc *map, tt_plan_nodes *n, size_t at, tt_step *st) {
    bool shift = st->kind == TT_STEP_SHIFT;
    const tt_doc *from = NULL, *approve = NULL, *max = NULL, *share = NULL, *from_version = NULL, *to = NULL;
    const tt_key keys[] = {{"from", &from}, {"approve", &approve}, {"max", &max}, {"share", &share}, {"from_version", &from_version}, {"to", &to}};
    tt_read_keys(l, map, shift ? "shift" : "cutover", shift ? "{from: $dc, max: 50%}" : "{from: $dc, approve: required}", keys, shift ? 6 : 2);
    st->max = shift ? 0.5 : 1;
    tt_get_name_or_var(l, n, from, shift ? "shift.from" : "cutover.from", &st->from);
    n->step_from[at] = from;
    if (shift) tt_load_version_shift(l, p, from_version, to, from, st);
    tt_get_ratio(l, max, "shift.max", false, &st->max);
    if (shift) {
        if (p->law == TT_LAW_RUNBOOK) tt_load_sized(l, p, max, "shift.max");
        tt_load_fixed(l, p, map, share, "shift.share", true, 1, &st->fixed);
        tt_no_approve(l, approve, "shift");
    } else
        get_approve(l, approve, &st->approve);
}

static void load_eject(tt_load *l, const tt_doc *map, tt_step *st) {
    const tt_doc *max = NULL, *approve = NULL;
    const tt_key keys[] = {{"max", &max}, {"approve", &approve}};
    tt_read_keys(l, map, "eject", "{max: 34%}", keys, TT_COUNT(keys));
    st->max = 0.34;
    tt_get_ratio(l, max, "eject.max", false, &st->max);
    tt_no_approve(l, approve, "eject");
}

static bool step_kind(tt_load *l, const tt_doc *item, tt_step_kind *ret) {
    if (item->kind != TT_DOC_MAP || item->n == 0)
        return tt_load_fail(l, TT_EVALUE, item, "a step is a map with one key, not %s: write it like - limit: {by: measured_capacity}",
                            tt_show(item).text);
    const tt_doc *key = &item->keys[0];
    if (item->n > 1)
        return tt_load_fail(l, TT_EVALUE, &item->keys[1], "a step has one key, its kind: indent %s under %s, or start the next step with \"- \"",
                            tt_show(&item->keys[1]).text, tt_show(key).text);
    char all[96] = "", say[160];
    size_t used = 0;
    tt_nearest near = tt_nearest_to(key->text);
    for (int k = 0; k < TT_STEP_KIND_COUNT; k++) {
        tt_sv name = tt_sv_of(tt_step_name((tt_step_kind)k));
        if (tt_sv_eq(key->text, name)) {
            *ret = (tt_step_kind)k;
            return true;
        }
        tt_nearest_try(&near, name);
        int w = used < sizeof(all) ? snprintf(all + used, sizeof(all) - used, "%s%s", k ? ", " : "", name.p) : 0;
        used += w > 0 ? (size_t)w : 0;
    }
    if (near.best.n) return tt_load_fail(l, TT_EUNKNOWN, key, "unknown step %s%s", tt_show(key).text, tt_nearest_say(&near, say));
    return tt_load_fail(l, TT_EUNKNOWN, key, "unknown step %s: a plan may use %s", tt_show(key).text, all);
}

static bool same_step(const tt_step *a, const tt_step *b) {
    if (a->kind != b->kind) return false;
    if (a->kind == TT_STEP_DROP) return a->priority == b->priority;
    return true;
}

static void load_steps(tt_load *l, const tt_doc *list, const tt_doc *item, tt_plan *p, tt_plan_nodes *n) {
    static const tt_doc nothing = {.kind = TT_DOC_MAP};
    if (!list)
        tt_load_fail(
            l, TT_EMISSING, item,
            "a plan needs steps: what it may do, gentlest first, such as [limit: {by: measured_capacity}]; with mode: observe it only watches");
    if (!tt_read_list(l, list, "steps", "[limit: {by: measured_capacity}]", TT_STEPS_MAX)) return;
    if (!list->n) tt_load_fail(l, TT_EVALUE, list, "steps is empty: a plan that can do nothing; name at least one step");
    for (size_t i = 0; i < list->n; i++) {
        const tt_doc *it = &list->items[i];
        tt_step st = {.pos = tt_load_pos(l, it->pos)};
        if (!step_kind(l, it, &st.kind)) continue;
        size_t before = l->total, at = p->n_steps;
        tt_doc empty = nothing;
        empty.pos = it->items[0].pos;
        const tt_doc *map = it->items[0].kind == TT_DOC_NULL ? &empty : &it->items[0];
        switch (st.kind) {
        case TT_STEP_DEGRADE:
            load_degrade(l, p, map, n, at, &st);
            break;
        case TT_STEP_LIMIT:
            load_limit(l, p, map, &st);
            break;
        case TT_STEP_DROP:
            load_drop(l, p, map, &st);
            break;
        case TT_STEP_SHIFT:
        case TT_STEP_CUTOVER:
            load_move(l, p, map, n, at, &st);
            break;
        case TT_STEP_EJECT:
            load_eject(l, map, &st);
            break;
        case TT_STEP_RETRY:
        case TT_STEP_TIMEOUT:
        case TT_STEP_HEDGE:
        case TT_STEP_ISOLATE:
            tt_load_action(l, map, n, at, &st);
            break;
        case TT_STEP_KIND_COUNT:
            break;
        }
        for (size_t k = 0; l->total == before && k < p->n_steps; k++)
            if (same_step(&p->steps[k], &st) && st.kind == TT_STEP_DEGRADE && !tt_sv_eq(p->steps[k].feature, st.feature))
                tt_load_fail(l, TT_EVALUE, &it->keys[0],
                             "a plan degrades one feature, since one number sizes its levels, and line %u has " TT_SV_FMT
                             ": make this one a further level of it, or leave one out",
                             p->steps[k].pos.line, TT_SV_ARG(p->steps[k].feature));
            else if (same_step(&p->steps[k], &st))
                tt_load_fail(l, TT_EVALUE, &it->keys[0], "this %s repeats the one at line %u: one knob has one step, put them together",
                             tt_step_name(st.kind), p->steps[k].pos.line);
        n->step[at] = &it->keys[0];
        p->steps[p->n_steps++] = st;
    }
}

/* ---- the rest of a plan ---- */

static void load_keep(tt_load *l, const tt_doc *keep, const tt_doc *item, tt_plan *p) {
    if (!keep) tt_load_fail(l, TT_EMISSING, item, "a plan needs keep: what it must reach and hold, such as [error_ratio <= 1%%]");
    if (!tt_read_list(l, keep, "keep", "[error_ratio <= 1%, p99_ms <= 250]", TT_KEEPS_MAX)) return;
    if (!keep->n) tt_load_fail(l, TT_EVALUE, keep, "keep is empty: a plan without an aim never settles; write one such as error_ratio <= 1%%");
    for (size_t i = 0; i < keep->n; i++) {
        const tt_expr *e = tt_get_expr(l, &keep->items[i]);
        if (e) p->keep[p->n_keep++] = e;
    }
}

static void load_target(tt_load *l, const tt_doc *target, const tt_doc *item, tt_plan *p, tt_plan_nodes *n) {
    const tt_key keys[] = {{"service", &n->service}, {"dc", &n->dc}, {"instance", &n->instance}, {"version", &n->version}};
    if (!target) {
        tt_load_fail(l, TT_EMISSING, item, "a plan needs a target: what it acts on, such as {service: $svc, dc: $dc}");
        return;
    }
    tt_read_keys(l, target, "target", "{service: $svc, dc: $dc}", keys, TT_COUNT(keys));
    if (target->kind != TT_DOC_MAP) return;
    if (!n->service && !n->dc)
        tt_load_fail(l, TT_EMISSING, target, "target needs a service, such as $svc or checkout, or a data center to be left as a whole, such as dc: $dc");
    tt_get_name_or_var(l, n, n->service, "target.service", &p->service);
    tt_get_name_or_var(l, n, n->dc, "target.dc", &p->dc);
    tt_get_name_or_var(l, n, n->instance, "target.instance", &p->instance);
    if (n->version && n->instance)
        tt_load_fail(l, TT_EVALUE, n->version, "target has instance or version, not both: one loop treats one of them");
    else if (n->version) {
        tt_get_name_or_var(l, n, n->version, "target.version", &p->instance);
        p->by_version = true;
    }
}

static void load_times(tt_load *l, const tt_doc *settle, const tt_doc *recover, const tt_doc *approval, tt_plan *p) {
    const tt_doc *hold = NULL, *within = NULL, *after = NULL, *step = NULL, *every = NULL, *answer = NULL;
    const tt_key settle_keys[] = {{"hold", &hold}, {"within", &within}}, recover_keys[] = {{"after", &after}, {"step", &step}, {"every", &every}},
                 approval_keys[] = {{"within", &answer}};
    const int64_t second = TT_SECONDS(1), day = TT_SECONDS(86400);
    if (settle) tt_read_keys(l, settle, "settle", "{hold: 60s, within: 10m}", settle_keys, TT_COUNT(settle_keys));
    if (recover) tt_read_keys(l, recover, "recover", "{after: 2m, step: 10%, every: 30s}", recover_keys, TT_COUNT(recover_keys));
    if (approval) tt_read_keys(l, approval, "approval", "{within: 5m}", approval_keys, TT_COUNT(approval_keys));
    bool ok = tt_get_duration(l, hold, "settle.hold", second, day, &p->settle_hold_ns);
    ok = tt_get_duration(l, within, "settle.within", second, day, &p->settle_within_ns) && ok;
    if (ok && p->settle_within_ns <= p->settle_hold_ns) {
        char a[32], b[32];
        tt_format_duration(p->settle_within_ns, a, sizeof(a));
        tt_format_duration(p->settle_hold_ns, b, sizeof(b));
        tt_load_fail(l, TT_EVALUE, within ? within : hold, "settle.within %s is not longer than settle.hold %s: the plan could never settle in time",
                     a, b);
    }
    tt_get_duration(l, after, "recover.after", 0, day, &p->recover_after_ns);
    ok = tt_get_ratio(l, step, "recover.step", false, &p->recover_step);
    ok = tt_get_duration(l, every, "recover.every", TT_MS(100), day, &p->recover_every_ns) && ok;
    if (ok && (double)p->recover_every_ns / p->recover_step > (double)(7 * day)) {
        char a[32], b[32];
        tt_format_duration(p->recover_every_ns, a, sizeof(a));
        tt_number_text(floor(p->recover_step * 1e6 + 0.5) / 1e4, b, sizeof(b));
        tt_load_fail(
            l, TT_EVALUE, step ? step : every,
            "recover gives back %s%% every %s, which takes more than a week: nothing would undo the steps; make step larger or every shorter", b, a);
    }
    tt_get_duration(l, answer, "approval.within", second, day, &p->approve_within_ns);
}

static void load_policy(tt_load *l, const tt_doc *no_data, const tt_doc *otherwise, tt_plan *p) {
    if (no_data && (no_data->kind != TT_DOC_SCALAR || !tt_sv_eq(no_data->text, TT_SV("hold"))))
        tt_load_fail(l, TT_EVALUE, no_data,
                     "on_no_data %s is refused: silence is neither health nor failure, so what is in force stays and nothing new is done; write hold",
                     tt_show(no_data).text);
    if (!otherwise) return;
    const tt_doc *page = NULL;
    const tt_key keys[] = {{"page", &page}};
    if (tt_read_keys(l, otherwise, "otherwise", "{page: web-oncall}", keys, TT_COUNT(keys)) && !page)
        tt_load_fail(l, TT_EMISSING, otherwise, "otherwise needs whom to call: {page: web-oncall}");
    tt_get_name(l, page, "otherwise.page", &p->page);
}

static bool plan_name(tt_load *l, const tt_doc *name, const tt_doc *item, tt_sv *ret) {
    if (!name) return tt_load_fail(l, TT_EMISSING, item, "a plan without a name: add name: shed-then-shift, or whatever it does");
    if (!tt_get_name(l, name, "a plan's name", ret)) return false;
    for (size_t i = 0; i + 1 < l->r->n_plans; i++) /* the last is this one */
        if (tt_sv_eq(l->r->plans[i].name, *ret))
            return tt_load_fail(l, TT_EVALUE, name, "plan %s is declared twice, first in %s:%u: rename one", tt_show(name).text,
                                l->r->plans[i].pos.file, l->r->plans[i].pos.line);
    return true;
}

void tt_load_plan(tt_load *l, const tt_doc *item) {
    tt_rules *r = l->r;
    tt_plan *p = &r->plans[r->n_plans];
    tt_plan_nodes *n = &l->plans[r->n_plans];
    const tt_doc *name = NULL, *mode = NULL, *target = NULL, *keep = NULL, *steps = NULL, *settle = NULL, *recover = NULL, *approval = NULL,
                 *no_data = NULL, *otherwise = NULL, *law = NULL, *priority = NULL, *exclusive = NULL;
    const tt_key keys[] = {{"name", &name},         {"on", &n->on},           {"mode", &mode},           {"target", &target},
                           {"keep", &keep},         {"steps", &steps},        {"settle", &settle},       {"recover", &recover},
                           {"approval", &approval}, {"on_no_data", &no_data}, {"otherwise", &otherwise}, {"law", &law},
                           {"priority", &priority}, {"exclusive", &exclusive}};
    size_t which = TT_MODE_ADVISE;
    *p = (tt_plan){.settle_hold_ns = TT_SECONDS(60),
                   .settle_within_ns = TT_SECONDS(600),
                   .recover_after_ns = TT_SECONDS(120),
                   .recover_step = 0.1,
                   .recover_every_ns = TT_SECONDS(30),
                   .approve_within_ns = TT_SECONDS(300)};
    p->order = (uint32_t)r->n_plans;
    *n = (tt_plan_nodes){.item = item};
    tt_read_keys(l, item, "a plan", "{name: shed, on: {anomaly: overload}, target: {service: checkout}, keep: [...], steps: [...]}", keys,
                 TT_COUNT(keys));
    p->pos = tt_load_pos(l, item->pos);
    n->keep = keep;
    r->n_plans++; /* from here on tt_rules_free gives its patterns back, whatever is wrong with it */
    if (item->kind != TT_DOC_MAP) {
        n->bad = true;
        return;
    }
    plan_name(l, name, item, &p->name);
    size_t mark = l->total;
    load_on(l, n->on, item, p, n);
    n->bad = l->total != mark;
    tt_get_choice(l, mode, "mode", mode_names, TT_COUNT(mode_names), &which);
    p->mode = (tt_mode)which;
    tt_get_count(l, priority, "priority", 0, 1000, &p->priority);
    tt_get_name(l, exclusive, "exclusive", &p->exclusive);
    mark = l->total;
    tt_load_law(l, law, p);
    load_target(l, target, item, p, n);
    load_steps(l, steps, item, p, n);
    bool uses_known = l->total == mark;
    n->bad = n->bad || !uses_known;
    load_keep(l, keep, item, p);
    load_times(l, settle, recover, approval, p);
    load_policy(l, no_data, otherwise, p);
    /* Not when target or steps are amiss: the use may be in what could not be read. */
    for (size_t i = 0; uses_known && i < n->n_vars; i++) {
        const tt_plan_var *v = &n->vars[i];
        if (!v->used)
            tt_load_fail_inside(l, TT_EVALUE, v->node, v->offset,
                                "variable \"" TT_SV_FMT "\" is never used: write $" TT_SV_FMT " where it belongs, or (...) without a name",
                                TT_SV_ARG(v->name), TT_SV_ARG(v->name));
    }
}
