/* Out of bounds for long enough, for one label set; or an alert that came in. Unknown is neither: it opens nothing and clears nothing. */
#include "engine_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *tt_anomaly_state_name(tt_anomaly_state s) {
    static const char *const names[] = {"pending", "open", "clearing"};
    return names[s];
}

/* ---- which plans answer ---- */

typedef struct {
    tt_sv name[TT_VARS_MAX];
    char value[TT_VARS_MAX][TT_NAME_MAX];
    size_t n;
    const tt_labels *labels; /* the anomaly's own: what an alert's patterns made is among them */
} vars;

static bool matches(tt_engine *e, const tt_plan *p, const tt_labels *labels, vars *v) {
    for (size_t i = 0; i < p->n_matchers; i++) {
        const tt_label_match *m = &p->matchers[i];
        tt_sv subject = tt_labels_get(labels, m->label);
        if (!subject.p) return false;
        if (!m->pattern) {
            if (!tt_sv_eq(subject, m->literal)) return false;
            continue;
        }
        tt_sv groups[TT_MATCH_GROUPS_MAX];
        const tt_matcher *mt = e->rules->matcher;
        switch (mt->match(mt->ctx, m->pattern, subject, groups)) {
        case TT_MATCH_NO: return false;
        case TT_MATCH_LIMIT:
            tt_emit(e, "limit_reached", NULL, "plan " TT_SV_FMT ": pattern " TT_SV_FMT " ran away on label " TT_SV_FMT "=" TT_SV_FMT " and counts as no match; simplify it",
                    TT_SV_ARG(p->name), TT_SV_ARG(m->text), TT_SV_ARG(m->label), TT_SV_ARG(subject));
            return false;
        case TT_MATCH_YES: break;
        }
        tt_match_groups g;
        mt->groups(mt->ctx, m->pattern, &g);
        for (size_t k = 0; k < g.n && v->n < TT_VARS_MAX; k++) {
            v->name[v->n] = g.name[k];
            tt_copy_text(v->value[v->n], TT_NAME_MAX, groups[k]);
            v->n++;
        }
    }
    return true;
}

static void expand(const vars *v, tt_sv text, char out[TT_NAME_MAX]) {
    if (text.n && text.p[0] == '$') {
        tt_sv name = {text.p + 1, text.n - 1};
        for (size_t i = 0; i < v->n; i++)
            if (tt_sv_eq(v->name[i], name)) {
                memcpy(out, v->value[i], TT_NAME_MAX);
                return;
            }
        tt_copy_text(out, TT_NAME_MAX, tt_labels_get(v->labels, name));
        return;
    }
    tt_copy_text(out, TT_NAME_MAX, text);
}

/* In the order in which they answer; those beyond the last place are not chosen whatever happens. */
static void match_plans(tt_engine *e, tt_anomaly *a) {
    tt_plan_match found[TT_MATCHES_MAX];
    uint32_t n = 0;
    for (size_t i = 0; i < e->rules->n_plans; i++) {
        const tt_plan *p = &e->rules->plans[i];
        if (p->anomaly != a->anomaly) continue;
        vars v = {.labels = &a->labels};
        if (!matches(e, p, &a->labels, &v)) continue;
        tt_plan_match m = {.plan = p};
        expand(&v, p->service, m.target.service);
        expand(&v, p->dc, m.target.dc);
        expand(&v, p->instance, m.target.instance);
        if (p->by_version) {
            char version[TT_NAME_MAX];
            memcpy(version, m.target.instance, sizeof version);
            snprintf(m.target.instance, sizeof m.target.instance, TT_VERSION_PREFIX "%.*s", (int)(sizeof version - sizeof TT_VERSION_PREFIX), version);
        }
        uint32_t at = n;
        const char *why;
        while (at > 0 && tt_plan_rank(p, found[at - 1].plan, &why) < 0) at--;
        if (at >= TT_MATCHES_MAX) continue;
        uint32_t last = n < TT_MATCHES_MAX ? n : TT_MATCHES_MAX - 1;
        memmove(&found[at + 1], &found[at], (last - at) * sizeof found[0]);
        found[at] = m;
        if (n < TT_MATCHES_MAX) n++;
    }
    free(a->matches);
    a->matches = n ? malloc(n * sizeof *a->matches) : NULL;
    a->n_matches = a->matches ? n : 0;
    if (a->matches) memcpy(a->matches, found, n * sizeof *a->matches);
}

bool tt_plan_covers(tt_engine *e, const tt_plan *p, const char *service, const char *dc) {
    const tt_label l[] = {{TT_SV("service"), tt_sv_of(service)}, {TT_SV("dc"), tt_sv_of(dc)}};
    tt_labels labels;
    if (!tt_labels_copy(&labels, l, 2)) return false;
    vars v = {.n = 0};
    tt_target t = {0};
    bool yes = matches(e, p, &labels, &v);
    if (yes) {
        expand(&v, p->service, t.service);
        expand(&v, p->dc, t.dc);
        expand(&v, p->instance, t.instance);
        yes = strcmp(t.service, service) == 0 && strcmp(t.dc, dc) == 0 && !t.instance[0];
    }
    tt_labels_free(&labels);
    return yes;
}

/* ---- instances ---- */

/* An alert is known by its key, everything else by its labels. */
static uint64_t hash_of(uint32_t anomaly, const tt_labels *labels, const char *alert_key) {
    return tt_hash_mix(alert_key[0] ? tt_hash_text(1, tt_sv_of(alert_key)) : labels->hash, anomaly);
}

static tt_anomaly *find(tt_engine *e, uint32_t anomaly, const tt_labels *labels, const char *alert_key) {
    tt_index_walk w;
    for (uint32_t i = tt_index_first(&e->anomaly_index, hash_of(anomaly, labels, alert_key), &w); i != TT_NOWHERE; i = tt_index_next(&w)) {
        tt_anomaly *a = &e->anomalies[i];
        if (a->anomaly == anomaly && strcmp(a->alert_key, alert_key) == 0 && (alert_key[0] || tt_labels_eq(&a->labels, labels))) return a;
    }
    return NULL;
}

static tt_anomaly *add(tt_engine *e, uint32_t anomaly, const tt_labels *labels, const char *alert_key) {
    uint32_t i = e->free_anomaly;
    while (i < e->n_anomalies && e->anomalies[i].used) i++;
    e->free_anomaly = i;
    if (i == e->cfg.max_anomalies) {
        tt_emit(e, "limit_reached", NULL, "%u anomalies are open, the ceiling: a further one is ignored", e->cfg.max_anomalies);
        return NULL;
    }
    tt_anomaly *a = &e->anomalies[i];
    memset(a, 0, sizeof *a);
    if (!tt_labels_copy(&a->labels, labels->l, labels->n)) return NULL;
    memcpy(a->alert_key, alert_key, strlen(alert_key) + 1);
    if (!tt_index_add(&e->anomaly_index, hash_of(anomaly, labels, alert_key), i)) {
        tt_labels_free(&a->labels);
        return NULL;
    }
    if (i == e->n_anomalies) e->n_anomalies++;
    a->used = true;
    a->anomaly = anomaly;
    a->since = e->now;
    a->since_wall = e->wall;
    match_plans(e, a);
    tt_anomaly_enlist(e, a);
    return a;
}

static void drop(tt_engine *e, tt_anomaly *a) {
    uint32_t i = (uint32_t)(a - e->anomalies);
    tt_index_drop(&e->anomaly_index, hash_of(a->anomaly, &a->labels, a->alert_key), i);
    tt_anomaly_delist(e, a);
    free(a->matches);
    if (i < e->free_anomaly) e->free_anomaly = i;
    tt_labels_free(&a->labels);
    memset(a, 0, sizeof *a);
}

static void label_text(const tt_labels *l, char *buf, size_t size) {
    tt_buf b;
    tt_buf_init(&b, 4096);
    for (uint32_t i = 0; i < l->n; i++) {
        if (i) tt_buf_put(&b, TT_SV(", "));
        tt_buf_put(&b, l->l[i].name);
        tt_buf_put(&b, TT_SV("="));
        tt_buf_put(&b, l->l[i].value);
    }
    tt_copy_text(buf, size, tt_sv_of(b.p));
    tt_buf_free(&b);
}

static void say_target(tt_event *ev, const tt_anomaly *a) {
    if (!ev) return;
    tt_copy_text(ev->target.service, TT_NAME_MAX, tt_labels_get(&a->labels, TT_SV("service")));
    tt_copy_text(ev->target.dc, TT_NAME_MAX, tt_labels_get(&a->labels, TT_SV("dc")));
    tt_copy_text(ev->target.instance, TT_NAME_MAX, tt_labels_get(&a->labels, TT_SV("instance")));
}

static void open_it(tt_engine *e, tt_anomaly *a) {
    const tt_anomaly_def *d = &e->rules->anomalies[a->anomaly];
    char labels[256];
    label_text(&a->labels, labels, sizeof labels);
    a->state = TT_AN_OPEN;
    a->since = e->now;
    a->since_wall = e->wall;
    tt_buf why, detail;
    tt_buf_init(&why, 400);
    tt_trigger_say(e, a, &why);
    tt_event *ev = tt_emit(e, "anomaly_opened", NULL, TT_SV_FMT " (%s): %s", TT_SV_ARG(d->name), labels, why.p ? why.p : "");
    tt_buf_free(&why);
    say_target(ev, a);
    if (!ev) return;
    tt_buf_init(&detail, sizeof ev->detail - 1);
    tt_buf_put(&detail, TT_SV("{"));
    tt_trigger_detail(e, a, &detail);
    tt_buf_put(&detail, TT_SV("}"));
    if (!detail.failed) memcpy(ev->detail, detail.p, detail.n + 1);
    tt_buf_free(&detail);
}

static void clear_it(tt_engine *e, tt_anomaly *a) {
    const tt_anomaly_def *d = &e->rules->anomalies[a->anomaly];
    char labels[256];
    label_text(&a->labels, labels, sizeof labels);
    say_target(tt_emit(e, "anomaly_cleared", NULL, TT_SV_FMT " (%s) is over", TT_SV_ARG(d->name), labels), a);
    drop(e, a);
}

static void step_one(tt_engine *e, uint32_t k, const tt_labels *labels, tt_anomaly *a, const tt_verdict *v) {
    const tt_anomaly_def *d = &e->rules->anomalies[k];
    if (!a) {
        if (v->when != TT_TRUE) return;
        a = add(e, k, labels, "");
        if (!a) return;
        a->first_sample = v->at;
    }
    a->value_known = v->value_known;
    a->value = v->value;
    if (d->kind != TT_ANOMALY_WHEN) a->found = v->found;
    if (v->value_known || d->kind == TT_ANOMALY_ABSENT) a->last_sample = v->at;
    switch (a->state) {
    case TT_AN_PENDING:
        if (v->when != TT_TRUE) {
            drop(e, a); /* unknown counts too: an anomaly needs unbroken evidence */
            return;
        }
        /* Held for `for`, and seen in more than one sample when there is a `for` at all. Samples come a hair early or late: a quarter of their interval is
         * finer than they can tell, and without it every `for` that is a multiple of it would take one interval more, half of the time. */
        if (tt_since(e->now, a->since) + e->rules->signals[d->signal].every_ns / 4 >= d->for_ns && (d->for_ns == 0 || a->last_sample.ns > a->first_sample.ns)) open_it(e, a);
        break;
    case TT_AN_OPEN:
        if (v->clear == TT_TRUE) {
            a->state = TT_AN_CLEARING;
            a->since = e->now;
        }
        if (a->state == TT_AN_OPEN || d->clear_ns > 0) break;
        clear_it(e, a);
        break;
    case TT_AN_CLEARING:
        if (v->clear == TT_FALSE) {
            a->state = TT_AN_OPEN;
            a->since = e->now;
        } else if (v->clear == TT_UNKNOWN)
            a->since = e->now;
        else if (tt_since(e->now, a->since) >= d->clear_ns)
            clear_it(e, a);
        break;
    }
}

static void judged(tt_engine *e, uint32_t k, tt_series *driver, const tt_verdict *v) { step_one(e, k, &driver->labels, find(e, k, &driver->labels, ""), v); }

static void look_at(tt_engine *e, uint32_t k, tt_series *driver) {
    const tt_labels none = {0}, *labels = driver ? &driver->labels : &none;
    tt_anomaly *a = find(e, k, labels, "");
    tt_verdict v;
    tt_trigger_judge(e, k, driver, a != NULL, &v);
    step_one(e, k, labels, a, &v);
}

/* ---- alerts ---- */

static bool alert_matches(tt_engine *e, const tt_anomaly_def *d, const tt_label_match *m, tt_sv subject, tt_label made[], size_t *n_made) {
    if (!subject.p) return false;
    if (!m->pattern) return tt_sv_eq(m->literal, subject);
    tt_sv groups[TT_MATCH_GROUPS_MAX];
    const tt_matcher *mt = e->rules->matcher;
    switch (mt->match(mt->ctx, m->pattern, subject, groups)) {
    case TT_MATCH_NO: return false;
    case TT_MATCH_LIMIT:
        tt_emit(e, "limit_reached", NULL, "anomaly " TT_SV_FMT ": pattern " TT_SV_FMT " ran away on " TT_SV_FMT "=" TT_SV_FMT " and counts as no match; simplify it", TT_SV_ARG(d->name),
                TT_SV_ARG(m->text), TT_SV_ARG(m->label), TT_SV_ARG(subject));
        return false;
    case TT_MATCH_YES: break;
    }
    tt_match_groups g;
    mt->groups(mt->ctx, m->pattern, &g);
    for (size_t k = 0; k < g.n && *n_made < TT_LABELS_MAX; k++)
        if (groups[k].n) made[(*n_made)++] = (tt_label){g.name[k], groups[k]};
    return true;
}

static tt_sv label_in(const tt_label *l, size_t n, tt_sv name) {
    for (size_t i = 0; i < n; i++)
        if (tt_sv_eq(l[i].name, name)) return l[i].value;
    return (tt_sv){NULL, 0};
}

/* The alert's labels with what the patterns made: that comes first, for it was asked for. */
static size_t alert_labels(tt_engine *e, const tt_anomaly_def *d, const tt_alert *in, tt_label l[TT_LABELS_MAX], bool *ret_match) {
    size_t n = 0;
    bool any = !d->alert.pattern && !d->alert.literal.n;
    *ret_match = any || alert_matches(e, d, &d->alert, in->name, l, &n);
    for (size_t i = 0; i < d->n_alert_labels && *ret_match; i++)
        *ret_match = alert_matches(e, d, &d->alert_labels[i], label_in(in->labels, in->n_labels, d->alert_labels[i].label), l, &n);
    /* Those that say where it is before the rest, should there be no room for all. */
    static const char *const where[] = {"service", "dc", "instance", "priority", "alertname"};
    for (size_t w = 0; w <= TT_COUNT(where); w++)
        for (size_t i = 0; i < in->n_labels && n < TT_LABELS_MAX; i++) {
            bool this_one = w == TT_COUNT(where) || tt_sv_eq(in->labels[i].name, tt_sv_of(where[w]));
            if (this_one && !label_in(l, n, in->labels[i].name).p) l[n++] = in->labels[i];
        }
    return n;
}

static void take_alert(tt_engine *e, const tt_alert *in) {
    for (uint32_t k = 0; k < e->rules->n_anomalies; k++) {
        const tt_anomaly_def *d = &e->rules->anomalies[k];
        if (d->kind != TT_ANOMALY_ALERT) continue;
        const char *alert_key = in->key[0] ? in->key : "-";
        tt_anomaly *a = find(e, k, NULL, alert_key);
        if (a) {
            if (in->firing) a->last_sample = e->now;
            /* What was resolved is over at the next look, or once `clear_for` is. */
            if (!in->firing && a->state == TT_AN_PENDING) drop(e, a);
            else if (!in->firing && a->state == TT_AN_OPEN) {
                a->state = TT_AN_CLEARING;
                a->since = e->now;
            } else if (in->firing && a->state == TT_AN_CLEARING) {
                a->state = TT_AN_OPEN;
                a->since = e->now;
            }
            continue;
        }
        tt_label made[TT_LABELS_MAX];
        bool matches_it = false;
        size_t n = in->firing ? alert_labels(e, d, in, made, &matches_it) : 0;
        tt_labels l;
        if (!matches_it || !tt_labels_copy(&l, made, n)) continue;
        a = add(e, k, &l, alert_key);
        tt_labels_free(&l);
        if (a) a->first_sample = a->last_sample = e->now;
    }
}

static const char armed_key[] = "armed:";

/* What the armed cap holds back is evidence of its own: the answers that are given are all well. */
void tt_anomaly_armed(tt_engine *e, const tt_plan *p, const char *service, const char *dc, double held, bool biting) {
    char key[TT_NAME_MAX], share[32];
    if (snprintf(key, sizeof key, "%s%s/%s", armed_key, service, dc) >= (int)sizeof key) return;
    tt_anomaly *a = find(e, p->anomaly, NULL, key);
    if (!biting) {
        if (a) clear_it(e, a);
        return;
    }
    if (!a) {
        const tt_label l[] = {{TT_SV("service"), tt_sv_of(service)}, {TT_SV("dc"), tt_sv_of(dc)}};
        tt_labels labels;
        if (!tt_labels_copy(&labels, l, 2)) return;
        a = add(e, p->anomaly, &labels, key);
        tt_labels_free(&labels);
        if (!a) return;
        a->state = TT_AN_OPEN;
        tt_pct(share, sizeof share, held);
        say_target(tt_emit(e, "anomaly_opened", NULL, "the armed cap of %s in %s holds back %s of its load: it is over the learned capacity", service, dc, share), a);
    }
    a->value_known = true;
    a->value = held;
}

void tt_anomaly_disarmed(tt_engine *e, const char *service, const char *dc) {
    char key[TT_NAME_MAX];
    if (snprintf(key, sizeof key, "%s%s/%s", armed_key, service, dc) >= (int)sizeof key) return;
    for (uint32_t k = 0; k < e->rules->n_anomalies; k++) {
        tt_anomaly *a = find(e, k, NULL, key);
        if (a) drop(e, a);
    }
}

static void step_alert(tt_engine *e, tt_anomaly *a) {
    const tt_anomaly_def *d = &e->rules->anomalies[a->anomaly];
    int64_t since = tt_since(e->now, a->since);
    if (a->state == TT_AN_PENDING && since >= d->for_ns) open_it(e, a);
    /* Its end may have been told while nobody listened. */
    if (a->state == TT_AN_OPEN && d->expires_ns > 0 && tt_since(e->now, a->last_sample) >= d->expires_ns) {
        char span[32];
        tt_format_duration(d->expires_ns, span, sizeof span);
        say_target(tt_emit(e, "anomaly_cleared", NULL, TT_SV_FMT " is over: the alert has not been sent again for %s (alert.expires)", TT_SV_ARG(d->name), span), a);
        drop(e, a);
    } else if (a->state == TT_AN_CLEARING && since >= d->clear_ns)
        clear_it(e, a);
}

/* ---- saved and restored ---- */

void tt_anomalies_save(const tt_engine *e, tt_time now, tt_buf *b) {
    bool first = true;
    for (uint32_t i = 0; i < e->n_anomalies; i++) {
        const tt_anomaly *a = &e->anomalies[i];
        if (!a->used) continue;
        tt_buf_put(b, first ? TT_SV("{\"name\":") : TT_SV(",{\"name\":"));
        first = false;
        tt_buf_json_string(b, e->rules->anomalies[a->anomaly].name);
        tt_buf_printf(b, ",\"hash\":%u,\"state\":\"%s\",\"since_wall_ms\":%lld,\"muted\":%s,\"alert_key\":", e->rules->anomalies[a->anomaly].hash,
                      tt_anomaly_state_name(a->state), (long long)a->since_wall.ms, a->muted ? "true" : "false");
        tt_buf_json_string(b, tt_sv_of(a->alert_key));
        tt_buf_member_age(b, "since", a->since, now);
        tt_buf_member_age(b, "first_sample", a->first_sample, now);
        tt_buf_member_age(b, "last_sample", a->last_sample, now);
        tt_buf_put(b, TT_SV(",\"labels\":{"));
        for (uint32_t k = 0; k < a->labels.n; k++) {
            if (k) tt_buf_put(b, TT_SV(","));
            tt_buf_json_string(b, a->labels.l[k].name);
            tt_buf_put(b, TT_SV(":"));
            tt_buf_json_string(b, a->labels.l[k].value);
        }
        tt_buf_put(b, TT_SV("}}"));
    }
}

static tt_sv text_of(const tt_doc *d, const char *key) {
    const tt_doc *v = tt_doc_get(d, tt_sv_of(key));
    return v && v->kind == TT_DOC_SCALAR ? v->text : (tt_sv){NULL, 0};
}

static double number_of(const tt_doc *d, const char *key) {
    double v = 0;
    return tt_parse_number(text_of(d, key), &v) ? v : 0;
}

static tt_time age_of(const tt_doc *d, const char *key, tt_time now) {
    double v;
    return tt_parse_number(text_of(d, key), &v) && v >= 0 && v < 1e17 ? (tt_time){now.ns - (int64_t)v} : (tt_time){0};
}

void tt_anomaly_restore(tt_engine *e, const tt_doc *saved, tt_time now) {
    tt_sv name = text_of(saved, "name");
    uint32_t k = 0;
    while (k < e->rules->n_anomalies && !(tt_sv_eq(e->rules->anomalies[k].name, name) && number_of(saved, "hash") == e->rules->anomalies[k].hash)) k++;
    if (k == e->rules->n_anomalies) return; /* the rules are others now */
    const tt_anomaly_def *d = &e->rules->anomalies[k];
    tt_label l[TT_LABELS_MAX];
    size_t n = tt_labels_read(tt_doc_get(saved, TT_SV("labels")), l);
    char key[TT_NAME_MAX];
    tt_copy_text(key, sizeof key, text_of(saved, "alert_key"));
    if ((d->kind == TT_ANOMALY_ALERT) != (key[0] != 0)) return;
    int state = -1;
    for (int i = 0; i <= TT_AN_CLEARING; i++)
        if (tt_sv_eq(text_of(saved, "state"), tt_sv_of(tt_anomaly_state_name((tt_anomaly_state)i)))) state = i;
    tt_labels copy;
    if (state < 0 || !tt_labels_copy(&copy, l, n)) return;
    /* What it is about is missing until it is told again: unknown, so all stays as it was. */
    bool there = key[0] || (d->kind == TT_ANOMALY_ABSENT && n == 0) || tt_series_expect(e, d->signal, l, n);
    tt_anomaly *a = there && !find(e, k, &copy, key) ? add(e, k, &copy, key) : NULL;
    tt_labels_free(&copy);
    if (!a) return;
    a->state = (tt_anomaly_state)state;
    a->since = age_of(saved, "since", now);
    a->first_sample = age_of(saved, "first_sample", now);
    a->last_sample = age_of(saved, "last_sample", now);
    a->since_wall.ms = (int64_t)number_of(saved, "since_wall_ms");
    a->muted = tt_sv_eq(text_of(saved, "muted"), TT_SV("true"));
}

/* ---- new rules ---- */

static bool reads_the_same(const tt_expr *x, const int to[]) {
    int signals[TT_EXPR_SIGNALS_MAX];
    size_t n = x ? tt_expr_signals(x, signals) : 0;
    for (size_t i = 0; i < n; i++)
        if (to[signals[i]] < 0) return false;
    return true;
}

bool tt_anomaly_same(const tt_anomaly_def *a, const tt_anomaly_def *b, const int to[]) {
    if (!tt_sv_eq(a->name, b->name) || a->kind != b->kind || a->hash != b->hash) return false;
    if (a->kind == TT_ANOMALY_ALERT) return true;
    if (to[a->signal] < 0 || (a->kind == TT_ANOMALY_SLO && a->slo.requests >= 0 && to[a->slo.requests] < 0)) return false;
    return reads_the_same(a->when, to) && reads_the_same(a->clear, to);
}

void tt_anomalies_move(tt_engine *e, const tt_rules *old, const int to[]) {
    for (uint32_t i = 0; i < e->n_anomalies; i++) {
        tt_anomaly *a = &e->anomalies[i];
        if (!a->used) continue;
        size_t k = 0;
        while (k < e->rules->n_anomalies && !tt_anomaly_same(&old->anomalies[a->anomaly], &e->rules->anomalies[k], to)) k++;
        if (k == e->rules->n_anomalies) {
            drop(e, a);
            continue;
        }
        tt_index_drop(&e->anomaly_index, hash_of(a->anomaly, &a->labels, a->alert_key), i);
        a->anomaly = (uint32_t)k;
        TT_ASSERT(tt_index_add(&e->anomaly_index, hash_of(a->anomaly, &a->labels, a->alert_key), i)); /* there was room for it a moment ago */
        a->refused = TT_REFUSED_NOTHING;
        tt_anomaly_delist(e, a);
        match_plans(e, a);
        tt_anomaly_enlist(e, a);
    }
}

void tt_anomalies_step(tt_engine *e, const tt_observations *obs) {
    for (uint32_t k = 0; k < e->rules->n_anomalies; k++) {
        const tt_anomaly_def *d = &e->rules->anomalies[k];
        if (d->kind == TT_ANOMALY_ALERT) continue;
        if (d->kind == TT_ANOMALY_PEERS) {
            tt_peers_judge(e, k, &e->peers[k], judged);
            continue;
        }
        for (int32_t i = e->series.of_signal[d->signal]; i >= 0; i = e->series.s[i].next_of_signal) look_at(e, k, &e->series.s[i]);
        if (d->kind == TT_ANOMALY_ABSENT && e->series.of_signal[d->signal] < 0) look_at(e, k, NULL);
    }
    for (size_t i = 0; i < obs->n_alerts; i++) take_alert(e, &obs->alerts[i]);
    /* A series that was forgotten takes its anomaly with it. */
    for (uint32_t i = 0; i < e->n_anomalies; i++) {
        tt_anomaly *a = &e->anomalies[i];
        if (!a->used) continue;
        if (a->alert_key[0]) {
            step_alert(e, a);
            continue;
        }
        const tt_anomaly_def *d = &e->rules->anomalies[a->anomaly];
        bool whole = d->kind == TT_ANOMALY_ABSENT && e->series.of_signal[d->signal] < 0; /* it is the series that is missing */
        if ((whole && a->labels.n == 0) || tt_series_find(e, d->signal, &a->labels)) continue;
        if (a->state == TT_AN_PENDING)
            drop(e, a);
        else
            clear_it(e, a);
    }
}
