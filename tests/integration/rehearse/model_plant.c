/* An incident of the suite as a plant: what trimtab does to it over the protocol must be worth what it is worth without it.
 *
 *   model_plant INCIDENT SEED [direct|nothing] [--inner-loop]   direct: no protocol, the score alone; nothing: decisions are ignored */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pcre.h"
#include "rehearse/embedded.h"
#include "rehearse/suite.h"
#include "rehearse_internal.h"
#include "yaml.h"

static const tt_time boot = {TT_SECONDS(5000)};

static void die(const char *what) {
    fprintf(stderr, "model_plant: %s\n", what);
    exit(3);
}

static const tt_doc *built_in(tt_arena *a, const tt_embedded rows[], size_t n, const char *name) {
    tt_err err;
    const tt_embedded *e = tt_embedded_find(rows, n, name);
    const tt_doc *doc = e ? tt_yaml_parse(a, name, (tt_sv){e->text, e->size}, NULL, &err) : NULL;
    if (!doc) die(name);
    return doc;
}

/* YAML as JSON: what looks like a number or a truth value is one. */
static json_t *json_of(const tt_doc *d) {
    double v;
    json_t *j;
    switch (d->kind) {
    case TT_DOC_MAP:
        j = json_object();
        for (size_t i = 0; i < d->n; i++) json_object_set_new(j, d->keys[i].text.p, json_of(&d->items[i]));
        return j;
    case TT_DOC_SEQ:
        j = json_array();
        for (size_t i = 0; i < d->n; i++) json_array_append_new(j, json_of(&d->items[i]));
        return j;
    case TT_DOC_SCALAR:
        if (!d->quoted && tt_parse_number(d->text, &v)) return json_real(v);
        if (!d->quoted && (tt_sv_eq(d->text, TT_SV("true")) || tt_sv_eq(d->text, TT_SV("false")))) return json_boolean(d->text.p[0] == 't');
        return json_stringn(d->text.p, d->text.n);
    case TT_DOC_NULL:
        break;
    }
    return json_null();
}

static json_t *topology(const tt_incident *i, bool inner, const tt_incident_drawn *drawn, tt_arena *a) {
    tt_buf b;
    tt_err err;
    tt_buf_init(&b, 1 << 20);
    tt_incident_services(i, inner, &b);
    json_t *t = json_of(tt_yaml_parse(a, "services", (tt_sv){b.p, b.n}, NULL, &err));
    tt_buf_free(&b);
    json_object_set_new(t, "timing", json_pack("{s:f,s:f,s:f}", "scrape_ms", (double)drawn->told_scrape_ns / 1e6, "ingest_ms", (double)drawn->told_ingest_ns / 1e6, "apply_ms",
                                               (double)drawn->told_apply_ns / 1e6));
    return t;
}

static const char *text(const json_t *o, const char *key) {
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "";
}

static void add_action(tt_decision *d, const json_t *a) {
    static const struct {
        const char *action, *name, *value;
        tt_act_kind kind;
    } kinds[] = {{"limit", NULL, "rps", TT_ACT_LIMIT},           {"drop", "priority", "ratio", TT_ACT_DROP},   {"degrade", "feature", "level", TT_ACT_DEGRADE},
                 {"eject", "instance", NULL, TT_ACT_EJECT},      {"retry", NULL, "budget", TT_ACT_RETRY},      {"timeout", NULL, "ms", TT_ACT_TIMEOUT},
                 {"isolate", "caller", "ratio", TT_ACT_ISOLATE}, {"weights", NULL, NULL, TT_ACT_WEIGHTS}};
    size_t k = 0, i;
    while (k < TT_COUNT(kinds) && strcmp(kinds[k].action, text(a, "action")) != 0) k++;
    if (k == TT_COUNT(kinds)) die(text(a, "action"));
    tt_act *act = &d->actions[d->n_actions++];
    act->kind = kinds[k].kind;
    act->value = kinds[k].value ? json_number_value(json_object_get(a, kinds[k].value)) : 1;
    act->probe_ratio = json_number_value(json_object_get(a, "probe_ratio"));
    if (kinds[k].name) snprintf(act->name, sizeof act->name, "%s", text(a, kinds[k].name));
    if (json_object_get(a, "concurrency")) {
        act->kind = TT_ACT_CONCURRENCY;
        act->value = json_number_value(json_object_get(a, "concurrency"));
    }
    json_t *one;
    json_array_foreach(json_object_get(a, "keep"), i, one) snprintf(d->names[d->n_names++], TT_NAME_MAX, "%s", json_string_value(one));
    const char *dc;
    json_object_foreach(json_object_get(a, "dcs"), dc, one) {
        snprintf(d->names[d->n_names], TT_NAME_MAX, "%s", dc);
        d->shares[d->n_names++] = json_number_value(one);
    }
}

/* Those whose version is new, in the order of their versions: what an engine would have told. */
static size_t fresh(const json_t *all, uint64_t last, tt_decision ret[64]) {
    size_t n = 0, i, k;
    json_t *one, *action;
    memset(ret, 0, 64 * sizeof *ret);
    json_array_foreach(all, i, one) {
        uint64_t version = (uint64_t)json_integer_value(json_object_get(one, "version"));
        if (version <= last || n == 64) continue;
        tt_decision *d = &ret[n++];
        const json_t *target = json_object_get(one, "target");
        snprintf(d->target.service, TT_NAME_MAX, "%s", text(target, "service"));
        snprintf(d->target.dc, TT_NAME_MAX, "%s", text(target, "dc"));
        d->epoch = (uint64_t)json_integer_value(json_object_get(one, "epoch"));
        d->version = version;
        d->armed = json_is_true(json_object_get(one, "armed"));
        json_array_foreach(json_object_get(one, "actions"), k, action) add_action(d, action);
    }
    return n;
}

static json_t *measurements(const tt_observations *obs, const tt_rules *r) {
    json_t *list = json_array();
    for (size_t i = 0; i < obs->n_measurements; i++) {
        const tt_measurement *m = &obs->measurements[i];
        json_t *labels = json_object(), *one = json_object();
        for (size_t k = 0; k < m->n_labels; k++) {
            char name[TT_NAME_MAX];
            snprintf(name, sizeof name, TT_SV_FMT, TT_SV_ARG(m->labels[k].name));
            json_object_set_new(labels, name, json_stringn(m->labels[k].value.p, m->labels[k].value.n));
        }
        tt_sv name = r->signals[m->signal].name;
        json_object_set_new(one, "signal", json_stringn(name.p, name.n));
        json_object_set_new(one, "labels", labels);
        json_object_set_new(one, "value", m->quality == TT_Q_OK && isfinite(m->value) ? json_real(m->value) : json_null());
        json_object_set_new(one, "at_ms", json_real((double)tt_since(m->at, boot) / 1e6));
        json_object_set_new(one, "window_ms", json_real((double)(m->window_ns ? m->window_ns : r->signals[m->signal].window_ns) / 1e6));
        json_array_append_new(list, one);
    }
    return list;
}

static json_t *acks(const tt_observations *obs) {
    json_t *list = json_array();
    for (size_t i = 0; i < obs->n_acks; i++) {
        const tt_ack *a = &obs->acks[i];
        json_t *target = json_pack("{s:s}", "service", a->target.service);
        if (a->target.dc[0]) json_object_set_new(target, "dc", json_string(a->target.dc));
        json_array_append_new(list, json_pack("{s:o,s:I,s:s,s:f}", "target", target, "version", (json_int_t)a->version, "state",
                                              a->refused ? "refused" : a->share < 0.99 ? "partial" : "applied", "share", a->share));
    }
    return list;
}

static void put_score(double good, double wanted) {
    printf("{\"good\":%.1f,\"wanted\":%.1f}", good, wanted);
}

static void sum(const tt_rehearsal *r, double *good, double *wanted) {
    for (uint32_t i = 0; i < r->n_seconds; i++) {
        *good += (double)r->second[i].good;
        *wanted += (double)r->second[i].wanted;
    }
}

int main(int argc, char **argv) {
    if (argc < 3) die("INCIDENT SEED [direct|nothing] [--inner-loop]");
    bool inner = strcmp(argv[argc - 1], "--inner-loop") == 0, direct = argc > 3 && strcmp(argv[3], "direct") == 0, idle = argc > 3 && strcmp(argv[3], "nothing") == 0;
    uint64_t seed = strtoull(argv[2], NULL, 10);
    tt_arena *a = tt_arena_new();
    tt_matcher *matcher = tt_pcre_matcher_new();
    tt_err err = {0};
    size_t n_errs;
    tt_incident *incident = tt_incident_load(built_in(a, tt_embedded_incidents, tt_n_embedded_incidents, argv[1]), &err, 1, &n_errs);
    const tt_doc *plans = built_in(a, tt_embedded_plans, tt_n_embedded_plans, "trimtab");
    tt_rules *rules = incident ? tt_suite_rules(incident, inner, &plans, 1, matcher, &err) : NULL;
    if (!rules) die(err.text);
    double good = 0, wanted = 0;
    if (direct || idle) {
        tt_rehearsal run;
        tt_rehearsal_spec spec = {.incident = incident, .control = idle ? TT_CONTROL_NOTHING : TT_CONTROL_ENGINE, .rules = rules, .seed = seed, .inner_loop = inner};
        if (!tt_rehearse(&spec, &run, &err)) die(err.text);
        sum(&run, &good, &wanted);
        tt_rehearsal_free(&run);
        put_score(good, wanted);
        putchar('\n');
        tt_rules_free(rules);
        tt_incident_free(incident);
        tt_pcre_matcher_free(matcher);
        tt_arena_free(a);
        return 0;
    }
    tt_incident_drawn drawn;
    tt_incident_draw(incident, seed, inner, &drawn);
    tt_model *m = tt_model_new(&drawn.spec, seed, boot);
    static char line[16 << 20];
    static tt_decision told[64];
    uint64_t last = 0;
    int64_t end = tt_incident_duration_ns(incident), t = 0;
    for (bool first = true; fgets(line, sizeof line, stdin); first = false) {
        json_t *request = json_loads(line, 0, NULL);
        if (!request) die("a request that is not JSON");
        size_t n = fresh(json_object_get(request, "decisions"), last, told);
        for (size_t i = 0; i < n; i++)
            if (told[i].version > last) last = told[i].version;
        if (n) tt_model_take(m, told[0].epoch, told, n);
        json_decref(request);
        do {
            tt_model_step(m);
            t += TT_MODEL_STEP_NS;
            const tt_model_truth *x = tt_model_truth_of(m);
            for (int p = 0; p < TT_MODEL_PRIORITIES; p++) {
                good += x->good_rps[p] * 0.1;
                wanted += x->wanted_rps[p] * 0.1;
            }
        } while (t % drawn.tick_ns && t < end);
        tt_observations obs;
        tt_model_observe(m, rules, &obs);
        json_t *answer = json_pack("{s:I,s:o,s:o,s:b}", "now_ms", (json_int_t)(t / 1000000), "measurements", measurements(&obs, rules), "acks", acks(&obs), "done", t >= end);
        if (first) json_object_set_new(answer, "topology", topology(incident, inner, &drawn, a));
        char *out = json_dumps(answer, JSON_COMPACT);
        out[strlen(out) - 1] = 0;
        fputs(out, stdout);
        if (t >= end) {
            fputs(",\"score\":", stdout);
            put_score(good, wanted);
        }
        puts("}");
        fflush(stdout);
        free(out);
        json_decref(answer);
        if (t >= end) break;
    }
    tt_model_free(m);
    tt_rules_free(rules);
    tt_incident_free(incident);
    tt_pcre_matcher_free(matcher);
    tt_arena_free(a);
    return 0;
}
