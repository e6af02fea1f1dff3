/* Two accounts of the same time: the recorded engine's, and ours under other rules. */
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "replay/report.h"

struct tt_whatif {
    json_t *kinds; /* {kind: [recorded, now]} */
    json_t *loops[2], *by_id[2];
};

tt_whatif *tt_whatif_new(void) {
    tt_whatif *w = calloc(1, sizeof *w);
    if (!w) return NULL;
    w->kinds = json_object();
    for (int side = 0; side < 2; side++) {
        w->loops[side] = json_array();
        w->by_id[side] = json_object();
    }
    return w;
}

void tt_whatif_free(tt_whatif *w) {
    if (!w) return;
    json_decref(w->kinds);
    for (int side = 0; side < 2; side++) {
        json_decref(w->loops[side]);
        json_decref(w->by_id[side]);
    }
    free(w);
}

static void add_to(json_t *o, const char *name, json_int_t n) {
    json_object_set_new(o, name, json_integer(json_integer_value(json_object_get(o, name)) + n));
}

static void count(tt_whatif *w, int side, const char *kind) {
    json_t *both = json_object_get(w->kinds, kind);
    if (!both) {
        both = json_pack("[i,i]", 0, 0);
        json_object_set_new(w->kinds, kind, both);
    }
    json_array_set_new(both, (size_t)side, json_integer(json_integer_value(json_array_get(both, (size_t)side)) + 1));
}

/* A cap and a share of traffic bite the more the smaller they are. */
static bool is_stronger(const char *action, double v, double than) {
    bool small = strcmp(action, "limit") == 0 || strncmp(action, "weights", 7) == 0;
    return small ? v < than : v > than;
}

static void moved(json_t *loop, const json_t *ev) {
    const char *action = tt_json_text(ev, "action");
    const json_t *to = json_object_get(ev, "to"), *target = json_object_get(ev, "target");
    json_t *list = json_object_get(loop, "moved"), *m, *found = NULL;
    size_t i;
    add_to(loop, "actions", 1);
    json_array_foreach(list, i, m) if (strcmp(tt_json_text(m, "action"), action) == 0 &&
                                       json_equal(json_object_get(m, "target"), (json_t *)(uintptr_t)target)) found = m;
    if (!json_is_number(to)) return; /* taken back */
    if (!found) {
        json_array_append_new(
            list, json_pack("{s:O?,s:s,s:O,s:O,s:s}", "target", target, "action", action, "first", to, "most", to, "unit", tt_json_text(ev, "unit")));
        return;
    }
    if (is_stronger(action, json_number_value(to), json_number_value(json_object_get(found, "most"))))
        json_object_set(found, "most", (json_t *)(uintptr_t)to);
}

static void take(tt_whatif *w, int side, tt_sv event) {
    json_t *ev = json_loadb(event.p, event.n, 0, NULL);
    const char *kind = tt_json_text(ev, "kind"), *id = tt_json_text(ev, "loop");
    count(w, side, kind);
    if (strcmp(kind, "loop_opened") == 0) {
        json_t *l = json_pack("{s:s,s:s,s:O?,s:O?,s:n,s:n,s:i,s:[]}", "id", id, "plan", tt_json_text(ev, "plan"), "target", json_object_get(ev, "target"),
                              "opened_ms", json_object_get(ev, "at_ms"), "closed_ms", "ended", "actions", 0, "moved");
        json_object_set(w->by_id[side], id, l);
        json_array_append_new(w->loops[side], l);
    }
    json_t *loop = json_object_get(w->by_id[side], id);
    if (loop && strcmp(kind, "action") == 0) moved(loop, ev);
    if (loop && strcmp(kind, "loop_closed") == 0) {
        json_object_set(loop, "closed_ms", json_object_get(ev, "at_ms"));
        json_object_set(loop, "ended", json_object_get(ev, "reason"));
    }
    json_decref(ev);
}

void tt_whatif_tick(tt_whatif *w, const tt_replay_step *s) {
    for (size_t i = 0; i < s->tick->n_events; i++) take(w, 0, s->tick->events[i]);
    tt_buf b;
    tt_buf_init(&b, 1 << 20);
    for (size_t i = 0; i < s->out.n_events; i++) {
        b.n = 0;
        tt_event_json(&s->out.events[i], 0, &b);
        take(w, 1, (tt_sv){b.p, b.n});
    }
    tt_buf_free(&b);
}

static json_t *row_of(const json_t *l) {
    return json_pack("{s:O?,s:O?,s:n,s:n}", "plan", json_object_get(l, "plan"), "target", json_object_get(l, "target"), "recorded", "now");
}

static bool same_place(const json_t *row, const json_t *l) {
    return strcmp(tt_json_text(row, "plan"), tt_json_text(l, "plan")) == 0 && json_equal(json_object_get(row, "target"), json_object_get(l, "target"));
}

json_t *tt_whatif_json(const tt_whatif *w) {
    json_t *events = json_object(), *rows = json_array(), *both, *l, *row;
    const char *kind;
    size_t i, k;
    json_object_foreach(w->kinds, kind, both)
        json_object_set_new(events, kind, json_pack("{s:O?,s:O?}", "recorded", json_array_get(both, 0), "now", json_array_get(both, 1)));
    json_array_foreach(w->loops[0], i, l) {
        row = row_of(l);
        json_object_set(row, "recorded", l);
        json_array_append_new(rows, row);
    }
    json_array_foreach(w->loops[1], i, l) {
        json_t *to = NULL;
        json_array_foreach(rows, k, row) if (!to && same_place(row, l) && json_is_null(json_object_get(row, "now"))) to = row;
        if (!to) {
            to = row_of(l);
            json_array_append_new(rows, to);
        }
        json_object_set(to, "now", l);
    }
    return json_pack("{s:o,s:o}", "events", events, "loops", rows);
}
