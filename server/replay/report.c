#include "replay/report.h"

#include <stdio.h>
#include <string.h>

enum { FIELDS_MAX = 60, INPUTS_MAX = 60, PATH_MAX_BYTES = 200 };

static json_t *load(tt_sv text) {
    return text.p ? json_loadb(text.p, text.n, 0, NULL) : NULL;
}

/* ---- field by field ---- */

static void put_field(json_t *to, const char *path, const json_t *a, const json_t *b) {
    if (json_array_size(to) >= FIELDS_MAX) return;
    json_t *one = json_pack("{s:s,s:O?,s:O?}", "field", *path ? path : "all of it", "recorded", a, "now", b);
    if (!one) return;
    if (!a) json_object_set_new(one, "recorded", json_null());
    if (!b) json_object_set_new(one, "now", json_null());
    json_array_append_new(to, one);
}

static void compare(json_t *to, const char *path, const json_t *a, const json_t *b) {
    char deeper[PATH_MAX_BYTES];
    if (a && b && json_equal((json_t *)(uintptr_t)a, (json_t *)(uintptr_t)b)) return;
    if (a && b && json_is_object(a) && json_is_object(b)) {
        const char *key;
        json_t *v;
        json_object_foreach((json_t *)(uintptr_t)a, key, v) {
            snprintf(deeper, sizeof deeper, "%s%s%s", path, *path ? "." : "", key);
            compare(to, deeper, v, json_object_get(b, key));
        }
        json_object_foreach((json_t *)(uintptr_t)b, key, v) {
            if (json_object_get(a, key)) continue;
            snprintf(deeper, sizeof deeper, "%s%s%s", path, *path ? "." : "", key);
            compare(to, deeper, NULL, v);
        }
    } else if (a && b && json_is_array(a) && json_is_array(b)) {
        for (size_t i = 0; i < json_array_size(a) || i < json_array_size(b); i++) {
            snprintf(deeper, sizeof deeper, "%s[%zu]", path, i);
            compare(to, deeper, json_array_get(a, i), json_array_get(b, i));
        }
    } else {
        put_field(to, path, a, b);
    }
}

json_t *tt_replay_fields_json(const json_t *recorded, const json_t *now) {
    json_t *fields = json_array();
    compare(fields, "", recorded, now);
    return fields;
}

/* ---- what led to it ---- */

static bool agrees(const json_t *labels, const json_t *target, const char *name) {
    const json_t *a = json_object_get(labels, name), *b = json_object_get(target, name);
    return !a || !b || json_equal((json_t *)(uintptr_t)a, (json_t *)(uintptr_t)b);
}

static json_t *inputs(tt_engine *e, const json_t *target) {
    tt_buf text;
    tt_buf_init(&text, 64 << 20);
    tt_engine_signals_json(e, &text);
    json_t *all = text.failed ? NULL : load((tt_sv){text.p, text.n}), *kept = json_array(), *s;
    tt_buf_free(&text);
    size_t i;
    json_array_foreach(json_object_get(all, "items"), i, s) {
        const json_t *labels = json_object_get(s, "labels");
        if (json_array_size(kept) < INPUTS_MAX && agrees(labels, target, "service") && agrees(labels, target, "dc")) json_array_append(kept, s);
    }
    json_decref(all);
    return kept;
}

static void put_reason(json_t *to, const char *side, tt_sv event, const json_t *target) {
    json_t *ev = load(event);
    if (ev && json_object_get(ev, "target") && agrees(json_object_get(ev, "target"), target, "service"))
        json_array_append_new(to, json_pack("{s:s,s:O?,s:O?,s:O?,s:O?}", "side", side, "kind", json_object_get(ev, "kind"), "action",
                                            json_object_get(ev, "action"), "reason", json_object_get(ev, "reason"), "detail",
                                            json_object_get(ev, "detail")));
    json_decref(ev);
}

/* What both sides said is said once. */
static json_t *merged(json_t *all) {
    size_t i, k;
    json_t *a, *b;
    json_array_foreach(all, i, a) for (k = json_array_size(all);
                                       strcmp(json_string_value(json_object_get(a, "side")), "recorded") == 0 && k-- > i + 1;) {
        b = json_deep_copy(json_array_get(all, k));
        json_object_set_new(b, "side", json_string("recorded"));
        bool same = json_equal(a, b);
        json_decref(b);
        if (!same) continue;
        json_object_set_new(a, "side", json_string("both"));
        json_array_remove(all, k);
        break;
    }
    return all;
}

static json_t *reasons(const tt_replay_step *s, const json_t *target) {
    json_t *all = json_array();
    for (size_t i = 0; i < s->tick->n_events; i++) put_reason(all, "recorded", s->tick->events[i], target);
    tt_buf text;
    tt_buf_init(&text, 1 << 20);
    for (size_t i = 0; i < s->out.n_events; i++) {
        text.n = 0;
        tt_event_json(&s->out.events[i], 0, &text);
        put_reason(all, "now", (tt_sv){text.p, text.n}, target);
    }
    tt_buf_free(&text);
    return merged(all);
}

json_t *tt_replay_difference_json(const tt_replay_step *s, const tt_replay_difference *d) {
    json_t *then = load(d->recorded), *now = load(d->now), *target = json_object_get(then ? then : now, "target");
    json_t *o =
        json_pack("{s:I,s:I,s:I,s:I,s:s,s:I,s:s,s:O?,s:o,s:o,s:o}", "tick", (json_int_t)s->tick->number, "at_ms", (json_int_t)s->tick->obs.wall.ms,
                  "epoch", (json_int_t)s->segment->head.epoch, "segment", (json_int_t)s->segment->head.segment, "file", s->segment->path, "offset",
                  (json_int_t)s->offset, "what", d->decision ? "decision" : "event", "target", target, "fields", tt_replay_fields_json(then, now),
                  "inputs", inputs(s->engine, target), "reasons", reasons(s, target));
    if (o) {
        json_object_set_new(o, "recorded", then ? json_incref(then) : json_null());
        json_object_set_new(o, "now", now ? json_incref(now) : json_null());
    }
    json_decref(then);
    json_decref(now);
    return o;
}
