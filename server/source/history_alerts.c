/* Alerts out of Prometheus's series ALERTS: one fires as long as its series is there. Told as the webhook would tell them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "source/history.h"

enum { ALERTS_MAX = 65536 };

typedef struct {
    tt_alert alert; /* views into text */
    char *text;
    bool fires, fired; /* in this step, in the one before */
} past;

struct tt_past_alerts {
    past *p;
    size_t n, cap;
    tt_alert *changed;
    size_t cap_changed;
};

tt_past_alerts *tt_past_alerts_new(void) {
    return calloc(1, sizeof(tt_past_alerts));
}

void tt_past_alerts_free(tt_past_alerts *a) {
    if (!a) return;
    for (size_t i = 0; i < a->n; i++) free(a->p[i].text);
    free(a->p);
    free(a->changed);
    free(a);
}

static uint64_t hash_text(uint64_t h, tt_sv s) {
    for (size_t i = 0; i < s.n; i++) h = (h ^ (unsigned char)s.p[i]) * 0x100000001b3u;
    return (h ^ 0xff) * 0x100000001b3u;
}

static bool own(tt_sv name) { /* Prometheus's, not the alert's */
    static const char *const names[] = {"__name__", "alertstate", "alertname"};
    for (size_t i = 0; i < TT_COUNT(names); i++)
        if (tt_sv_eq(name, tt_sv_of(names[i]))) return true;
    return false;
}

static bool keep(tt_alert *a, const tt_label *l) {
    if (a->n_labels == TT_LABELS_MAX || l->name.n >= TT_NAME_MAX || l->value.n >= TT_NAME_MAX || l->value.n == 0) return false;
    for (size_t i = 0; i < a->n_labels; i++)
        if (tt_sv_eq(a->labels[i].name, l->name)) return false;
    a->labels[a->n_labels++] = *l;
    return true;
}

static tt_sv put(char **to, tt_sv s) {
    tt_sv copy = {*to, s.n};
    if (s.n) memcpy(*to, s.p, s.n);
    *to += s.n;
    return copy;
}

bool tt_past_alerts_series(tt_past_alerts *a, const tt_label *labels, size_t n, uint32_t *ret) {
    static const char *const first[] = {"service", "dc", "instance", "severity"};
    tt_alert alert = {.firing = false};
    uint64_t sum = 0; /* of all labels, whatever their order and however many are kept */
    for (size_t i = 0; i < n; i++) {
        if (tt_sv_eq(labels[i].name, TT_SV("alertname"))) alert.name = labels[i].value;
        if (!tt_sv_eq(labels[i].name, TT_SV("__name__"))) sum += hash_text(hash_text(0xcbf29ce484222325u, labels[i].name), labels[i].value);
    }
    if (alert.name.n == 0 || alert.name.n >= TT_NAME_MAX) return false;
    snprintf(alert.key, sizeof alert.key, "labels-%016llx", (unsigned long long)sum);
    for (size_t i = 0; i < a->n; i++)
        if (strcmp(a->p[i].alert.key, alert.key) == 0) {
            *ret = (uint32_t)i;
            return true;
        }
    for (size_t k = 0; k < TT_COUNT(first); k++)
        for (size_t i = 0; i < n; i++)
            if (tt_sv_eq(labels[i].name, tt_sv_of(first[k]))) (void)keep(&alert, &labels[i]);
    for (size_t i = 0; i < n; i++)
        if (!own(labels[i].name)) (void)keep(&alert, &labels[i]);
    if (a->n == a->cap) {
        size_t cap = a->cap ? a->cap * 2 : 16;
        past *grown = a->n < ALERTS_MAX ? realloc(a->p, cap * sizeof *grown) : NULL;
        if (!grown) return false;
        a->p = grown;
        a->cap = cap;
    }
    size_t bytes = alert.name.n + 1;
    for (size_t i = 0; i < alert.n_labels; i++) bytes += alert.labels[i].name.n + alert.labels[i].value.n;
    char *text = malloc(bytes), *to = text;
    if (!text) return false;
    alert.name = put(&to, alert.name);
    for (size_t i = 0; i < alert.n_labels; i++) {
        alert.labels[i].name = put(&to, alert.labels[i].name);
        alert.labels[i].value = put(&to, alert.labels[i].value);
    }
    *ret = (uint32_t)a->n;
    a->p[a->n++] = (past){.alert = alert, .text = text};
    return true;
}

void tt_past_alerts_fires(tt_past_alerts *a, uint32_t number) {
    a->p[number].fires = true;
}

size_t tt_past_alerts_step(tt_past_alerts *a, const tt_alert **ret) {
    size_t n = 0;
    for (size_t i = 0; i < a->n; i++) n += a->p[i].fires != a->p[i].fired;
    if (n > a->cap_changed) {
        tt_alert *grown = realloc(a->changed, n * sizeof *grown);
        if (!grown) n = a->cap_changed; /* the rest is told a step later */
        if (grown) {
            a->changed = grown;
            a->cap_changed = n;
        }
    }
    size_t told = 0;
    for (size_t i = 0; i < a->n; i++) {
        past *p = &a->p[i];
        if (p->fires != p->fired && told < n) {
            a->changed[told] = p->alert;
            a->changed[told++].firing = p->fires;
            p->fired = p->fires;
        }
        p->fires = false;
    }
    *ret = a->changed;
    return told;
}
