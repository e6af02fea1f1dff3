/* Any bytes as a file of rules: refused with a place, or loaded, and then the same again. */
#include "pcre.h"
#include "plan.h"
#include "yaml.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look_into(const tt_doc *d) {
    TT_ASSERT(d->pos.line >= 1 && d->pos.column >= 1);
    if (d->kind == TT_DOC_SCALAR)
        for (size_t at = 0; at <= d->text.n && at < 64; at++) {
            tt_pos p = tt_doc_place(d, at);
            TT_ASSERT(p.line >= d->pos.line && p.column >= 1);
        }
    for (size_t i = 0; i < d->n; i++) {
        if (d->kind == TT_DOC_MAP) look_into(&d->keys[i]);
        look_into(&d->items[i]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const tt_yaml_limits limits = {.max_bytes = 1 << 16, .max_nodes = 5000, .max_depth = 64, .places = true};
    static tt_err errs[32];
    tt_err err = {0};
    tt_arena *arena = tt_arena_new();
    const tt_doc *doc = tt_yaml_parse(arena, "fuzz.yaml", (tt_sv){(const char *)data, size}, &limits, &err);
    if (!doc) {
        TT_ASSERT(err.text[0] && strcmp(err.file, "fuzz.yaml") == 0);
        tt_arena_free(arena);
        return 0;
    }
    look_into(doc);
    tt_matcher *m = tt_pcre_matcher_new();
    size_t n = 0, again = 0;
    tt_rules *r = tt_rules_load(&doc, 1, m, errs, TT_COUNT(errs), &n);
    TT_ASSERT(n <= TT_COUNT(errs) && (r != NULL) == (n == 0));
    for (size_t i = 0; i < n; i++) TT_ASSERT(errs[i].text[0] && errs[i].line >= 1 && errs[i].column >= 1 && strcmp(errs[i].file, "fuzz.yaml") == 0);
    tt_rules *second = tt_rules_load(&doc, 1, m, errs, TT_COUNT(errs), &again);
    TT_ASSERT(n == again && (!r || r->hash == second->hash));
    tt_arena_free(arena);
    tt_rules_free(r);
    tt_rules_free(second);
    tt_pcre_matcher_free(m);
    return 0;
}
