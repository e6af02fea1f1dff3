#include "hand.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pcre.h"
#include "yaml.h"

static const int64_t boot_ns = TT_SECONDS(5000), wall_ms = 1790000000000;

static void tell(const tt_err *err) {
    char line[1024];
    tt_err_print(err, line, sizeof line);
    fprintf(stderr, "%s\n", line);
}

static tt_rules *load(const hand *h, const char *text) {
    tt_arena *arena = tt_arena_new();
    tt_err errs[8];
    size_t n = 0;
    tt_rules *r = NULL;
    const tt_doc *doc = tt_yaml_parse(arena, "hand.yaml", tt_sv_of(text), NULL, &errs[0]);
    if (doc)
        r = tt_rules_load(&doc, 1, h->matcher, errs, TT_COUNT(errs), &n);
    else
        n = 1;
    for (size_t i = 0; !r && i < n; i++) tell(&errs[i]);
    if (!r) fprintf(stderr, "%s\n", text);
    tt_arena_free(arena);
    return r;
}

bool hand_open(hand *h, const char *text) {
    memset(h, 0, sizeof *h);
    h->acks = true;
    h->matcher = tt_pcre_matcher_new();
    tt_engine_config_default(&h->cfg);
    h->cfg.max_series = 4096;
    h->cfg.max_loops = 32;
    h->cfg.max_closed = 32;
    h->rules = load(h, text);
    if (h->rules) h->engine = tt_engine_new(h->rules, &h->cfg);
    if (h->engine) return true;
    hand_close(h);
    return false;
}

void hand_close(hand *h) {
    tt_engine_free(h->engine);
    tt_rules_free(h->rules);
    if (h->matcher) tt_pcre_matcher_free(h->matcher);
    h->engine = NULL;
    h->rules = NULL;
    h->matcher = NULL;
}

void hand_set(hand *h, const char *name, const char *labels, double value) {
    hand_value *v = NULL;
    for (size_t i = 0; i < h->n_values && !v; i++)
        if (strcmp(h->values[i].name, name) == 0 && strcmp(h->values[i].text, labels) == 0) v = &h->values[i];
    if (!v) {
        TT_ASSERT(h->n_values < HAND_VALUES);
        v = &h->values[h->n_values++];
        snprintf(v->name, sizeof v->name, "%s", name);
        snprintf(v->text, sizeof v->text, "%s", labels);
        for (const char *p = v->text; *p;) {
            size_t n = strcspn(p, " "), eq = strcspn(p, "=");
            v->labels[v->n_labels++] = (tt_label){{p, eq}, {p + eq + 1, n - eq - 1}};
            p += n + (p[n] == ' ');
        }
    }
    v->value = value;
}

static void append(char to[HAND_LOG], const char *line) {
    size_t n = strlen(to), add = strlen(line);
    if (n + add + 1 < HAND_LOG) memcpy(to + n, line, add + 1);
}

static void write_down(hand *h) {
    char line[1400];
    for (size_t i = 0; i < h->out.n_events; i++) {
        const tt_event *ev = &h->out.events[i];
        bool action = strcmp(ev->kind, "action") == 0;
        h->n_actions += action;
        if (action)
            snprintf(line, sizeof line, "%lld %s %.4g %.4g %s\n", (long long)(h->elapsed_ns / TT_SECONDS(1)), ev->action, ev->from, ev->to,
                     ev->reason);
        else
            snprintf(line, sizeof line, "%lld %s: %s\n", (long long)(h->elapsed_ns / TT_SECONDS(1)), ev->kind, ev->reason);
        append(h->log, line);
        if (getenv("TT_VERBOSE")) fputs(line, stdout);
        const tt_target *t = &ev->target;
        snprintf(line, sizeof line, "%s %s %s%s%s%s%s: %s\n", ev->kind, ev->plan, t->service, t->dc[0] ? "/" : "", t->dc, t->instance[0] ? "/" : "",
                 t->instance, ev->reason);
        append(h->said, line);
    }
    h->n_decisions += (uint32_t)h->out.n_decisions;
}

static void tick(hand *h) {
    static tt_measurement m[HAND_VALUES];
    static tt_poll polls[TT_SIGNALS_MAX];
    static tt_ack acks[64];
    tt_observations obs = {0};
    h->elapsed_ns += h->step_ns ? h->step_ns : TT_SECONDS(1);
    obs.now.ns = boot_ns + h->elapsed_ns;
    obs.wall.ms = wall_ms + h->elapsed_ns / 1000000 + h->asleep_ms;
    for (uint32_t i = 0; i < h->rules->n_signals; i++) polls[obs.n_polls++] = (tt_poll){.signal = i, .answered = !h->down};
    for (size_t i = 0; i < h->n_values; i++) {
        const hand_value *v = &h->values[i];
        int k = tt_rules_signal(h->rules, tt_sv_of(v->name));
        if (k < 0 || isnan(v->value) || h->down) continue;
        tt_measurement *x = &m[obs.n_measurements++];
        *x = (tt_measurement){.signal = (uint32_t)k, .n_labels = v->n_labels, .value = v->value, .at = {obs.now.ns - TT_SECONDS(1)}};
        memcpy(x->labels, v->labels, sizeof x->labels);
    }
    const tt_decision *d;
    size_t n = tt_engine_decisions(h->engine, &d);
    for (size_t i = 0; h->acks && i < n && i < TT_COUNT(acks); i++)
        acks[obs.n_acks++] = (tt_ack){.target = d[i].target, .epoch = d[i].epoch, .version = d[i].version, .share = 1};
    obs.polls = polls;
    obs.measurements = m;
    obs.acks = acks;
    obs.commands = h->commands;
    obs.n_commands = h->n_commands;
    if (h->more) h->more(h, &obs);
    tt_engine_tick(h->engine, &obs, &h->out);
    h->n_commands = 0;
    write_down(h);
}

void hand_run(hand *h, int seconds) {
    for (int i = 0; i < seconds; i++) tick(h);
}

double hand_act(hand *h, const char *service, const char *dc, tt_act_kind kind, const char *name) {
    const tt_decision *d;
    size_t n = tt_engine_decisions(h->engine, &d);
    for (size_t i = 0; i < n; i++) {
        if (strcmp(d[i].target.service, service) != 0 || strcmp(d[i].target.dc, dc) != 0) continue;
        for (uint32_t k = 0; k < d[i].n_actions; k++) {
            const tt_act *a = &d[i].actions[k];
            if (a->kind != kind) continue;
            if (kind == TT_ACT_WEIGHTS) {
                for (uint32_t w = 0; w < d[i].n_names; w++)
                    if (strcmp(d[i].names[w], name) == 0) return d[i].shares[w];
            } else if (strcmp(a->name, name) == 0)
                return a->value;
        }
    }
    return (double)NAN;
}

bool hand_anything(hand *h) {
    const tt_decision *d;
    size_t n = tt_engine_decisions(h->engine, &d);
    for (size_t i = 0; i < n; i++)
        if (d[i].n_actions && !d[i].armed) return true;
    return false;
}

bool hand_restart(hand *h) {
    tt_buf b;
    tt_buf_init(&b, 16 << 20);
    tt_time now = {boot_ns + h->elapsed_ns};
    tt_engine_save(h->engine, now, &b);
    tt_arena *arena = tt_arena_new();
    tt_err err = {0};
    const tt_doc *saved = tt_yaml_parse(arena, "saved", (tt_sv){b.p, b.n}, &tt_yaml_state_limits, &err);
    h->cfg.epoch++;
    tt_engine *fresh = tt_engine_new(h->rules, &h->cfg);
    bool ok = saved && tt_engine_restore(fresh, saved, now, &err);
    if (!ok) tell(&err);
    tt_engine_free(h->engine);
    h->engine = fresh;
    tt_arena_free(arena);
    tt_buf_free(&b);
    return ok;
}

void hand_abort(hand *h) {
    tt_buf b;
    tt_buf_init(&b, 1 << 20);
    tt_engine_loops_json(h->engine, TT_LOOPS_OPEN, TT_SV(""), 1, &b);
    const char *id = b.p ? strstr(b.p, "\"id\":\"") : NULL;
    TT_ASSERT(id);
    hand_command(h, TT_CMD_ABORT, id + 6);
    tt_buf_free(&b);
}

tt_command *hand_command(hand *h, tt_command_kind kind, const char *loop_id) {
    TT_ASSERT(h->n_commands < HAND_COMMANDS);
    tt_command *c = &h->commands[h->n_commands++];
    *c = (tt_command){.kind = kind, .actor = TT_SV("ada"), .reason = TT_SV("enough")};
    if (loop_id) snprintf(c->loop, sizeof c->loop, "%s", loop_id);
    return c;
}

bool hand_reload(hand *h, const char *text) {
    tt_rules *r = load(h, text);
    if (!r) return false;
    tt_engine_set_rules(h->engine, r);
    tt_rules_free(h->rules);
    h->rules = r;
    return true;
}

int hand_said(const hand *h, const char *head, const char *text) {
    int n = 0;
    for (const char *line = h->said; *line;) {
        size_t len = strcspn(line, "\n");
        char one[1024];
        snprintf(one, sizeof one, "%.*s", (int)(len < sizeof one ? len : sizeof one - 1), line);
        n += strncmp(one, head, strlen(head)) == 0 && (!text || strstr(one, text));
        line += len + (line[len] == '\n');
    }
    return n;
}

void hand_hush(hand *h) {
    h->said[0] = 0;
}

static const char *keep(tt_buf *b) {
    static char text[1 << 18];
    snprintf(text, sizeof text, "%s", b->p ? b->p : "");
    tt_buf_free(b);
    return text;
}

const char *hand_loops(hand *h) {
    tt_buf b;
    tt_buf_init(&b, 1 << 20);
    tt_engine_loops_json(h->engine, TT_LOOPS_ALL, TT_SV(""), 64, &b);
    return keep(&b);
}

const char *hand_plans(hand *h) {
    tt_buf b;
    tt_buf_init(&b, 1 << 20);
    tt_engine_plans_json(h->engine, &b);
    return keep(&b);
}

const char *hand_summary(hand *h) {
    tt_buf b;
    tt_buf_init(&b, 1 << 20);
    tt_engine_summary_json(h->engine, &b);
    return keep(&b);
}

const char *hand_anomalies(hand *h) {
    tt_buf b;
    tt_buf_init(&b, 1 << 20);
    tt_engine_anomalies_json(h->engine, &b);
    return keep(&b);
}
