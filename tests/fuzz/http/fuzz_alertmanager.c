/* A webhook body: whatever comes, the alerts that are read are whole and within the engine's ceilings. */
#include <stdint.h>
#include <string.h>

#include "hooks/hooks.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    tt_hook_alerts a, again;
    tt_err err = {0};
    tt_sv body = {(const char *)data, size};
    if (!tt_hook_alertmanager(body, &a, &err)) {
        TT_ASSERT(err.text[0]);
        return 0;
    }
    TT_ASSERT(strlen(a.dedup) == TT_HOOK_KEY_SIZE - 1);
    for (size_t i = 0; i < a.n; i++) {
        const tt_alert *one = &a.alerts[i];
        TT_ASSERT(one->name.n > 0 && one->name.n < TT_NAME_MAX);
        TT_ASSERT(one->key[0] && memchr(one->key, 0, sizeof one->key));
        TT_ASSERT(one->n_labels <= TT_LABELS_MAX);
        for (size_t k = 0; k < one->n_labels; k++) {
            TT_ASSERT(one->labels[k].name.n < TT_NAME_MAX && one->labels[k].value.n < TT_NAME_MAX);
            for (size_t l = 0; l < k; l++) TT_ASSERT(!tt_sv_eq(one->labels[k].name, one->labels[l].name));
        }
    }
    TT_ASSERT(tt_hook_alertmanager(body, &again, &err)); /* what a restart reads is what was read before */
    TT_ASSERT(again.n == a.n && strcmp(again.dedup, a.dedup) == 0);
    tt_hook_alerts_free(&again);
    tt_hook_alerts_free(&a);
    return 0;
}
