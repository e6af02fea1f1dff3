#include <jansson.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hooks/hooks.h"

static tt_sv text_of(const json_t *o, const char *key) {
    const json_t *v = json_object_get(o, key);
    return json_is_string(v) ? (tt_sv){json_string_value(v), json_string_length(v)} : (tt_sv){"", 0};
}

static void add_text(crypto_hash_sha256_state *h, tt_sv s) {
    unsigned char n[8];
    for (int i = 0; i < 8; i++) n[i] = (unsigned char)((uint64_t)s.n >> (56 - 8 * i));
    crypto_hash_sha256_update(h, n, sizeof n);
    crypto_hash_sha256_update(h, (const unsigned char *)s.p, s.n);
}

static void hex(const unsigned char *bytes, size_t n, char *to) {
    for (size_t i = 0; i < n; i++) snprintf(to + 2 * i, 3, "%02x", bytes[i]);
}

static uint64_t hash_text(uint64_t h, const char *p, size_t n) {
    for (size_t i = 0; i < n; i++) h = (h ^ (unsigned char)p[i]) * 0x100000001b3u;
    return (h ^ 0xff) * 0x100000001b3u;
}

/* For senders without fingerprints: equal label sets give equal keys, in whatever order they come. */
static void key_from_labels(json_t *labels, char *key, size_t size) {
    uint64_t sum = 0;
    const char *name;
    json_t *value;
    json_object_foreach(labels, name, value) {
        if (!json_is_string(value)) continue;
        uint64_t h = hash_text(0xcbf29ce484222325u, name, strlen(name));
        sum += hash_text(h, json_string_value(value), json_string_length(value));
    }
    snprintf(key, size, "labels-%016llx", (unsigned long long)sum);
}

static bool keep_label(tt_alert *a, const char *name, const json_t *value) {
    if (!json_is_string(value) || a->n_labels == TT_LABELS_MAX) return false;
    tt_sv n = tt_sv_of(name), v = {json_string_value(value), json_string_length(value)};
    if (n.n >= TT_NAME_MAX || v.n >= TT_NAME_MAX) return false;
    for (size_t i = 0; i < a->n_labels; i++)
        if (tt_sv_eq(a->labels[i].name, n)) return false;
    a->labels[a->n_labels++] = (tt_label){n, v};
    return true;
}

static bool read_alert(const json_t *one, tt_alert *ret) {
    static const char *const first[] = {"service", "dc", "instance", "severity"};
    json_t *labels = json_object_get(one, "labels");
    tt_sv status = text_of(one, "status"), fingerprint = text_of(one, "fingerprint");
    if (!json_is_object(labels)) return false;
    *ret = (tt_alert){.name = text_of(labels, "alertname"), .firing = !tt_sv_eq(status, TT_SV("resolved"))};
    if (ret->name.n == 0 || ret->name.n >= TT_NAME_MAX) return false;
    if (fingerprint.n && fingerprint.n < sizeof ret->key)
        memcpy(ret->key, fingerprint.p, fingerprint.n);
    else
        key_from_labels(labels, ret->key, sizeof ret->key);
    for (size_t i = 0; i < TT_COUNT(first); i++) (void)keep_label(ret, first[i], json_object_get(labels, first[i]));
    const char *name;
    json_t *value;
    json_object_foreach(labels, name, value) {
        if (strcmp(name, "alertname") != 0) (void)keep_label(ret, name, value);
    }
    return true;
}

bool tt_hook_alertmanager(tt_sv body, tt_hook_alerts *ret, tt_err *err) {
    json_error_t je;
    json_t *root = json_loadb(body.p ? body.p : "", body.n, 0, &je);
    if (!root) {
        tt_fail(err, TT_ESYNTAX, "%s", je.text);
        if (err) {
            err->line = je.line > 0 ? (uint32_t)je.line : 0;
            err->column = je.column > 0 ? (uint32_t)je.column : 0;
        }
        return false;
    }
    const json_t *list = json_object_get(root, "alerts");
    size_t n = json_array_size(list);
    if (n > TT_HOOK_ALERTS_MAX) n = TT_HOOK_ALERTS_MAX;
    tt_alert *alerts = n ? calloc(n, sizeof *alerts) : NULL;
    if (n && !alerts) {
        json_decref(root);
        return tt_fail(err, TT_ENOMEM, "out of memory");
    }
    crypto_hash_sha256_state hash;
    crypto_hash_sha256_init(&hash);
    add_text(&hash, text_of(root, "groupKey"));
    size_t good = 0;
    for (size_t i = 0; i < n; i++) {
        const json_t *one = json_array_get(list, i);
        if (!read_alert(one, &alerts[good])) continue;
        add_text(&hash, tt_sv_of(alerts[good].key));
        add_text(&hash, text_of(one, "startsAt"));
        add_text(&hash, alerts[good].firing ? TT_SV("firing") : TT_SV("resolved"));
        good++;
    }
    if (good == 0) add_text(&hash, (tt_sv){body.p ? body.p : "", body.n});
    unsigned char digest[crypto_hash_sha256_BYTES];
    crypto_hash_sha256_final(&hash, digest);
    *ret = (tt_hook_alerts){.n = good, .alerts = alerts, .parsed = root};
    hex(digest, sizeof digest, ret->dedup);
    return true;
}

void tt_hook_alerts_free(tt_hook_alerts *a) {
    free(a->alerts);
    json_decref(a->parsed);
    *a = (tt_hook_alerts){0};
}
