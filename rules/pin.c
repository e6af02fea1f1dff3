/* Pins: an actuator that a person holds by hand, for a while. The arbiter puts them over all loops' wishes; while one stands, no loop works the same
 * knob, or what it is sized together with, and whoever has to judge the place waits until what was pinned, or let go, has been seen. */
#include "engine_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const int64_t shortest_ns = TT_SECONDS(1), longest_ns = TT_SECONDS(7 * 86400);

/* ---- what may be pinned ---- */

static const struct {
    const char *name, *unit, *named; /* what the name in it is; NULL: it has none */
    double min, max;
    bool whole;
} kinds[] = {
    [TT_ACT_LIMIT] = {"limit", "rps", NULL, 0.001, 1e9, false},        [TT_ACT_DROP] = {"drop", "ratio", "priority", 0, 1, false},
    [TT_ACT_DEGRADE] = {"degrade", "level", "feature", 1, 1000, true}, [TT_ACT_WEIGHTS] = {"weights", "ratio", NULL, 0, 1, false},
    [TT_ACT_EJECT] = {"eject", "level", "instance", 1, 1, true},       [TT_ACT_RETRY] = {"retry", "ratio", NULL, 0, 1, false},
    [TT_ACT_TIMEOUT] = {"timeout", "ms", NULL, 1, 600000, false},      [TT_ACT_HEDGE] = {"hedge", "level", NULL, 0, 0, true},
    [TT_ACT_ISOLATE] = {"isolate", "ratio", "caller", 0, 1, false},
};

bool tt_pin_kind(tt_sv name, tt_act_kind *ret) {
    for (size_t i = 0; i < TT_COUNT(kinds); i++)
        if (kinds[i].name && tt_sv_eq(name, tt_sv_of(kinds[i].name))) {
            *ret = (tt_act_kind)i;
            return true;
        }
    return false;
}

const char *tt_pin_kind_name(tt_act_kind kind) {
    return (size_t)kind < TT_COUNT(kinds) && kinds[kind].name ? kinds[kind].name : NULL;
}

const char *tt_pin_named(tt_act_kind kind) {
    return kinds[kind].named;
}

static const tt_service_def *declared(const tt_engine *e, const tt_pin_spec *s, tt_err *err) {
    int k = tt_rules_service(e->rules, tt_sv_of(s->target.service));
    if (k >= 0) return &e->rules->services[k];
    tt_fail(err, TT_EUNKNOWN, "no service %s is declared in the rules", s->target.service);
    return NULL;
}

static bool has_dc(const tt_service_def *d, const char *name) {
    for (size_t i = 0; i < d->n_dcs; i++)
        if (tt_sv_eq(d->dcs[i].name, tt_sv_of(name))) return true;
    return false;
}

static bool check_weights(const tt_service_def *d, const tt_pin_spec *s, tt_err *err) {
    double sum = 0;
    if (s->target.dc[0])
        return tt_fail(err, TT_EVALUE, "weights divide the traffic of a whole service: name %s without a data center", s->target.service);
    if (isnan(s->value)) return true;
    for (uint32_t i = 0; i < s->n_dcs; i++) {
        if (!has_dc(d, s->dcs[i])) return tt_fail(err, TT_EUNKNOWN, "service %s has no data center %s", s->target.service, s->dcs[i]);
        for (uint32_t k = 0; k < i; k++)
            if (strcmp(s->dcs[i], s->dcs[k]) == 0) return tt_fail(err, TT_EVALUE, "data center %s is named twice", s->dcs[i]);
        if (!(s->shares[i] >= 0 && s->shares[i] <= 1)) return tt_fail(err, TT_EVALUE, "the share of %s is not from 0 to 1", s->dcs[i]);
        sum += s->shares[i];
    }
    if (!(fabs(sum - 1) < 0.001)) return tt_fail(err, TT_EVALUE, "the shares of %s do not add up to 100%%", s->target.service);
    return true;
}

bool tt_engine_pin_check(const tt_engine *e, const tt_pin_spec *s, tt_err *err) {
    const char *kind = tt_pin_kind_name(s->kind);
    if (!kind) return tt_fail(err, TT_EVALUE, "that can't be pinned");
    const tt_service_def *d = declared(e, s, err);
    if (!d) return false;
    if (tt_is_protected(e, s->target.service))
        return tt_fail(err, TT_EVALUE, "service %s is protected: take it out of guardrails.protected first", s->target.service);
    if (s->for_ns < shortest_ns || s->for_ns > longest_ns) return tt_fail(err, TT_EVALUE, "a pin stands for 1s to 7d");
    if (s->kind == TT_ACT_WEIGHTS) {
        if (tt_load_test_of(e, (uint32_t)(d - e->rules->services)))
            return tt_fail(err, TT_ESTATE, "a load test moves the traffic of %s: end it first", s->target.service);
        return check_weights(d, s, err);
    }
    if (!s->target.dc[0]) return tt_fail(err, TT_EMISSING, "%s is set in one data center: name it, as in %s/DC", kind, s->target.service);
    if (!has_dc(d, s->target.dc)) return tt_fail(err, TT_EUNKNOWN, "service %s has no data center %s", s->target.service, s->target.dc);
    if (kinds[s->kind].named && !s->name[0]) return tt_fail(err, TT_EMISSING, "%s needs the %s", kind, kinds[s->kind].named);
    if (s->kind == TT_ACT_DROP && tt_rules_priority(e->rules, tt_sv_of(s->name)) < 0)
        return tt_fail(err, TT_EUNKNOWN, "there is no priority %s", s->name);
    double v = s->value;
    if (isnan(v)) return true;
    if (!(v >= kinds[s->kind].min && v <= kinds[s->kind].max) || (kinds[s->kind].whole && v != floor(v))) {
        char lo[32], hi[32];
        tt_num(lo, sizeof lo, kinds[s->kind].min);
        tt_num(hi, sizeof hi, kinds[s->kind].max);
        return tt_fail(err, TT_EVALUE, "%s is %s%s to %s", kind, kinds[s->kind].whole ? "a whole number, " : "", lo, hi);
    }
    return true;
}

/* ---- telling ---- */

static void action_text(const tt_pin_spec *s, char buf[TT_NAME_MAX]) {
    if (s->name[0])
        snprintf(buf, TT_NAME_MAX, "%s:%.110s", kinds[s->kind].name, s->name);
    else
        snprintf(buf, TT_NAME_MAX, "%s", kinds[s->kind].name);
}

static void tell(tt_engine *e, const char *kind, const tt_pin *p, const char *why) {
    tt_event *ev = tt_emit(e, kind, NULL, "%s", why);
    if (!ev) return;
    memcpy(ev->loop, p->id, sizeof ev->loop);
    tt_copy_text(ev->plan, sizeof ev->plan, TT_SV("pin"));
    ev->target = p->spec.target;
    action_text(&p->spec, ev->action);
    if (strcmp(kind, "pinned") == 0 && p->spec.kind != TT_ACT_WEIGHTS) ev->to = p->spec.value;
    tt_copy_text(ev->unit, sizeof ev->unit, tt_sv_of(kinds[p->spec.kind].unit));
}

static void value_text(const tt_pin_spec *s, char *buf, size_t size) {
    char v[32];
    size_t n = 0;
    buf[0] = 0;
    if (isnan(s->value)) {
        snprintf(buf, size, "not in force");
        return;
    }
    for (uint32_t i = 0; s->kind == TT_ACT_WEIGHTS && i < s->n_dcs && n < size; i++) {
        tt_pct(v, sizeof v, s->shares[i]);
        n += (size_t)snprintf(buf + n, size - n, "%s%s %s", i ? ", " : "", s->dcs[i], v);
    }
    if (s->kind == TT_ACT_WEIGHTS) return;
    tt_num(v, sizeof v, s->value);
    if (s->kind == TT_ACT_DROP || s->kind == TT_ACT_RETRY || s->kind == TT_ACT_ISOLATE) tt_pct(v, sizeof v, s->value);
    snprintf(buf, size, "%s%s", v, s->kind == TT_ACT_LIMIT ? " rps" : s->kind == TT_ACT_TIMEOUT ? " ms" : "");
}

static void place_text(const tt_target *t, char *buf, size_t size) {
    snprintf(buf, size, "%s%s%s", t->service, t->dc[0] ? " in " : "", t->dc);
}

/* ---- what they bear upon ---- */

static bool has_below(const tt_engine *e, const tt_site *s, const char *service) {
    for (uint32_t i = 0; i < s->n_closure; i++)
        if (strcmp(tt_service_cname(e, s->closure[i]), service) == 0) return true;
    return false;
}

static bool is_at(const tt_engine *e, const tt_site *s, const tt_target *t) {
    return strcmp(t->dc, tt_dc_cname(e, s)) == 0 && strcmp(t->service, tt_service_cname(e, s->service)) == 0;
}

bool tt_pinned_admission(const tt_engine *e, const tt_site *s) {
    for (uint32_t i = 0; i < e->n_pins; i++)
        if ((e->pins[i].spec.kind == TT_ACT_LIMIT || e->pins[i].spec.kind == TT_ACT_DROP) && is_at(e, s, &e->pins[i].spec.target)) return true;
    return false;
}

bool tt_pinned_degrade(const tt_engine *e, const tt_site *s) {
    for (uint32_t i = 0; i < e->n_pins; i++) {
        const tt_pin_spec *p = &e->pins[i].spec;
        if (p->kind == TT_ACT_DEGRADE && strcmp(p->target.dc, tt_dc_cname(e, s)) == 0 && has_below(e, s, p->target.service)) return true;
    }
    return false;
}

bool tt_pinned_weights(const tt_engine *e, uint32_t service) {
    for (uint32_t i = 0; i < e->n_pins; i++)
        if (e->pins[i].spec.kind == TT_ACT_WEIGHTS && strcmp(e->pins[i].spec.target.service, tt_service_cname(e, service)) == 0) return true;
    return false;
}

bool tt_pinned_eject(const tt_engine *e, const tt_target *instance) {
    for (uint32_t i = 0; i < e->n_pins; i++) {
        const tt_pin_spec *p = &e->pins[i].spec;
        if (p->kind == TT_ACT_EJECT && strcmp(p->name, instance->instance) == 0 && strcmp(p->target.service, instance->service) == 0 &&
            strcmp(p->target.dc, instance->dc) == 0)
            return true;
    }
    return false;
}

/* From here on only what is measured after it counts, wherever it bears upon. */
static void disturb(tt_engine *e, const tt_pin_spec *p) {
    for (uint32_t i = 0; i < e->n_sites; i++) {
        tt_site *s = &e->sites[i];
        bool here = p->kind == TT_ACT_WEIGHTS ? strcmp(p->target.service, tt_service_cname(e, s->service)) == 0
                                              : strcmp(p->target.dc, tt_dc_cname(e, s)) == 0 && has_below(e, s, p->target.service);
        if (here) tt_site_commanded(e, s, false);
    }
}

/* ---- setting, letting go ---- */

static tt_pin *same_actuator(tt_engine *e, const tt_pin_spec *s) {
    for (uint32_t i = 0; i < e->n_pins; i++) {
        const tt_pin_spec *o = &e->pins[i].spec;
        if (o->kind == s->kind && strcmp(o->name, s->name) == 0 && tt_target_eq(&o->target, &s->target)) return &e->pins[i];
    }
    return NULL;
}

static void let_go(tt_engine *e, tt_pin *p, const char *why) {
    char place[2 * TT_NAME_MAX + 8], action[TT_NAME_MAX], text[400];
    place_text(&p->spec.target, place, sizeof place);
    action_text(&p->spec, action);
    snprintf(text, sizeof text, "%s of %s is let go: %s", action, place, why);
    tell(e, "unpinned", p, text);
    disturb(e, &p->spec);
    *p = e->pins[--e->n_pins];
}

static void set(tt_engine *e, const tt_command *c) {
    char actor[64], reason[200], text[500], value[200], place[2 * TT_NAME_MAX + 8], action[TT_NAME_MAX], dur[32];
    tt_err err = {0};
    tt_copy_text(actor, sizeof actor, c->actor);
    tt_copy_text(reason, sizeof reason, c->reason);
    tt_pin *p = same_actuator(e, &c->pin);
    bool known = tt_engine_pin_check(e, &c->pin, &err);
    if (known && !p && e->n_pins == TT_PINS_MAX) known = tt_fail(&err, TT_ELIMIT, "%d pins stand already: let one go first", TT_PINS_MAX);
    if (!known) {
        tt_emit(e, "command", NULL, "%s asked for a pin, which is refused: %s (%s)", actor, err.text, reason);
        return;
    }
    bool replaced = p;
    if (!p) p = &e->pins[e->n_pins++];
    memset(p, 0, sizeof *p);
    memcpy(p->id, c->loop, sizeof p->id);
    p->spec = c->pin;
    memcpy(p->actor, actor, sizeof p->actor);
    memcpy(p->reason, reason, sizeof p->reason);
    p->since = e->wall;
    p->expires_at.ns = e->now.ns + c->pin.for_ns;
    value_text(&p->spec, value, sizeof value);
    place_text(&p->spec.target, place, sizeof place);
    action_text(&p->spec, action);
    tt_format_duration(c->pin.for_ns, dur, sizeof dur);
    snprintf(text, sizeof text, "%s pins %s of %s to %s for %s%s: %s", actor, action, place, value, dur,
             replaced ? ", in place of the pin before" : "", reason);
    tell(e, "pinned", p, text);
    disturb(e, &p->spec);
}

void tt_pin_command(tt_engine *e, const tt_command *c) {
    if (c->kind == TT_CMD_PIN) {
        set(e, c);
        return;
    }
    char why[300];
    snprintf(why, sizeof why, "by %.*s: %.*s", (int)(c->actor.n < 63 ? c->actor.n : 63), c->actor.p ? c->actor.p : "",
             (int)(c->reason.n < 199 ? c->reason.n : 199), c->reason.p ? c->reason.p : "");
    for (uint32_t i = 0; i < e->n_pins; i++)
        if (strcmp(e->pins[i].id, c->loop) == 0) {
            let_go(e, &e->pins[i], why);
            return;
        }
    tt_emit(e, "command", NULL, "there is no pin %s to let go, asked %s", c->loop, why);
}

void tt_pins_step(tt_engine *e) {
    for (uint32_t i = e->n_pins; i-- > 0;) {
        tt_pin *p = &e->pins[i];
        char why[600], dur[32];
        tt_err err = {0};
        if (p->expires_at.ns <= e->now.ns) {
            tt_format_duration(p->spec.for_ns, dur, sizeof dur);
            snprintf(why, sizeof why, "its %s are over", dur);
            let_go(e, p, why);
        } else if (e->pins_unsure && !tt_engine_pin_check(e, &p->spec, &err)) {
            snprintf(why, sizeof why, "the rules are others now, and %s", err.text);
            let_go(e, p, why);
        }
    }
    e->pins_unsure = false;
}

/* ---- showing ---- */

static void put(const tt_engine *e, const tt_pin *p, tt_buf *b) {
    const tt_pin_spec *s = &p->spec;
    tt_buf_put(b, TT_SV("{\"id\":"));
    tt_buf_json_string(b, tt_sv_of(p->id));
    tt_buf_put(b, TT_SV(",\"target\":"));
    tt_target_json(&s->target, b);
    tt_buf_printf(b, ",\"action\":\"%s\"", kinds[s->kind].name);
    if (s->name[0]) {
        tt_buf_put(b, TT_SV(",\"name\":"));
        tt_buf_json_string(b, tt_sv_of(s->name));
    }
    tt_buf_put(b, TT_SV(",\"value\":"));
    if (s->kind == TT_ACT_WEIGHTS && !isnan(s->value)) {
        for (uint32_t i = 0; i < s->n_dcs; i++) {
            tt_buf_put(b, i ? TT_SV(",") : TT_SV("{"));
            tt_buf_json_string(b, tt_sv_of(s->dcs[i]));
            tt_buf_put(b, TT_SV(":"));
            tt_buf_number(b, s->shares[i]);
        }
        tt_buf_put(b, TT_SV("}"));
    } else
        tt_buf_number(b, s->value);
    tt_buf_printf(b, ",\"unit\":\"%s\",\"actor\":", kinds[s->kind].unit);
    tt_buf_json_string(b, tt_sv_of(p->actor));
    tt_buf_put(b, TT_SV(",\"reason\":"));
    tt_buf_json_string(b, tt_sv_of(p->reason));
    int64_t left_ms = tt_since(p->expires_at, e->now) / 1000000;
    if (left_ms < 0) left_ms = 0;
    tt_buf_printf(b, ",\"since_ms\":%lld,\"expires_ms\":%lld,\"left_ms\":%lld}", (long long)p->since.ms, (long long)(e->wall.ms + left_ms),
                  (long long)left_ms);
}

void tt_pins_put(const tt_engine *e, tt_buf *b) {
    tt_buf_put(b, TT_SV("["));
    for (uint32_t i = 0; i < e->n_pins; i++) {
        if (i) tt_buf_put(b, TT_SV(","));
        put(e, &e->pins[i], b);
    }
    tt_buf_put(b, TT_SV("]"));
}

void tt_engine_pins_json(const tt_engine *e, tt_buf *b) {
    tt_buf_put(b, TT_SV("{\"items\":"));
    tt_pins_put(e, b);
    tt_buf_put(b, TT_SV("}"));
}

bool tt_pins_hold(tt_engine *e, const tt_loop *l, char *buf, size_t size) {
    const tt_site *s = tt_site_of(e, l->target.service, l->target.dc);
    for (uint32_t i = 0; i < e->n_pins; i++) {
        const tt_pin *p = &e->pins[i];
        bool weights = p->spec.kind == TT_ACT_WEIGHTS,
             here = weights ? strcmp(p->spec.target.service, l->target.service) == 0
                            : s && strcmp(p->spec.target.dc, l->target.dc) == 0 &&
                                  (p->spec.kind == TT_ACT_DEGRADE ? has_below(e, s, p->spec.target.service) : is_at(e, s, &p->spec.target));
        if (!here || (p->spec.kind == TT_ACT_EJECT && l->target.instance[0] && strcmp(p->spec.name, l->target.instance) != 0)) continue;
        char action[TT_NAME_MAX], place[2 * TT_NAME_MAX + 8];
        action_text(&p->spec, action);
        place_text(&p->spec.target, place, sizeof place);
        snprintf(buf, size, "%s has pinned %s of %s", p->actor, action, place);
        return true;
    }
    return false;
}
