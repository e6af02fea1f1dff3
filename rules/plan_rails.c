/* Guardrails from their map. */
#include "plan_internal.h"

#include <string.h>

static void load_change(tt_load *l, const tt_doc *node, tt_guardrails *g) {
    const tt_doc *share = NULL, *per = NULL;
    const tt_key keys[] = {{"share", &share}, {"per", &per}};
    tt_read_keys(l, node, "max_change", "{share: 20%, per: 30s}", keys, TT_COUNT(keys));
    if (node->kind != TT_DOC_MAP) return;
    if (!share)
        tt_load_fail(l, TT_EMISSING, node, "max_change needs the share of a service's capacity that may be taken away in that time: share: 20%%");
    if (!per) tt_load_fail(l, TT_EMISSING, node, "max_change needs the time in which that may happen: per: 30s");
    int64_t per_ns = 0;
    tt_get_ratio(l, share, "max_change.share", false, &g->max_change_share);
    if (tt_get_duration(l, per, "max_change.per", TT_SECONDS(1), TT_SECONDS(86400), &per_ns)) g->max_change_per_ns = per_ns;
}

static void load_window(tt_load *l, const tt_doc *item, tt_guardrails *g) {
    static const char *const then_names[] = {"hold", "approve"}, *const zone_names[] = {"local", "utc"};
    const tt_doc *every = NULL, *from = NULL, *to = NULL, *then = NULL, *zone = NULL, *reason = NULL;
    const tt_key keys[] = {{"every", &every}, {"from", &from}, {"to", &to}, {"then", &then}, {"zone", &zone}, {"reason", &reason}};
    tt_freeze_window w = {.pos = tt_load_pos(l, item->pos)};
    size_t then_which = 0, zone_which = 0;
    size_t before = l->total;
    tt_read_keys(l, item, "a freeze window", "{every: weekday 22:00-06:00} or {from: 2026-12-24 18:00, to: 2026-12-27 06:00}", keys, TT_COUNT(keys));
    if (item->kind != TT_DOC_MAP) return;
    tt_get_choice(l, then, "then", then_names, TT_COUNT(then_names), &then_which);
    tt_get_choice(l, zone, "zone", zone_names, TT_COUNT(zone_names), &zone_which);
    tt_get_text(l, reason, "reason", "release freeze", &w.reason);
    w.approve = then_which == 1;
    w.utc = zone_which == 1;
    if (every && (from || to))
        tt_load_fail(l, TT_EVALUE, from ? from : to, "a freeze window comes again by every, or once by from and to: leave one out");
    else if (every) {
        tt_sv text = {0};
        if (tt_get_text(l, every, "every", "weekday 22:00-06:00", &text) && !tt_window_every(text, &w))
            tt_load_fail(
                l, TT_EVALUE, every,
                "every %s is no time of the week: write days, such as daily, weekday, weekend, fri or mon-thu, and from when to when on them: "
                "weekday 22:00-06:00",
                tt_show(every).text);
    } else if (!from || !to)
        tt_load_fail(l, TT_EMISSING, item,
                     "a freeze window needs every: weekday 22:00-06:00, or from and to: {from: 2026-12-24 18:00, to: 2026-12-27 06:00}");
    else {
        tt_sv a = {0}, b = {0};
        bool ok = tt_get_text(l, from, "from", "2026-12-24 18:00", &a) && tt_get_text(l, to, "to", "2026-12-27 06:00", &b);
        if (ok && !tt_window_date(a, &w.from_day, &w.from_minute))
            ok = tt_load_fail(l, TT_EVALUE, from, "from %s is no date: write one such as 2026-12-24, or 2026-12-24 18:00", tt_show(from).text);
        if (ok && !tt_window_date(b, &w.to_day, &w.to_minute))
            ok = tt_load_fail(l, TT_EVALUE, to, "to %s is no date: write one such as 2026-12-27, or 2026-12-27 06:00", tt_show(to).text);
        if (ok && (w.to_day < w.from_day || (w.to_day == w.from_day && w.to_minute <= w.from_minute)))
            tt_load_fail(l, TT_EVALUE, to, "to %s is not after from: the window would never be open", tt_show(to).text);
        w.once = true;
    }
    if (l->total != before) return;
    g->freeze_windows[g->n_freeze_windows++] = w;
}

void tt_load_guardrails(tt_load *l, const tt_doc *node) {
    static const char *const then_names[] = {"freeze"};
    tt_guardrails *g = &l->r->guardrails;
    *g = (tt_guardrails){.max_concurrent_loops = 5,
                         .correlate_ns = TT_SECONDS(10),
                         .max_capacity_removed = 0.4,
                         .lock_out_reversals = 3,
                         .lock_out_for_ns = TT_SECONDS(1800),
                         .most_bad_share = 0.6,
                         .most_bad_min = 3,
                         .drift_overwrites = 3};
    if (!node) return;
    const tt_doc *loops = NULL, *removed = NULL, *protect = NULL, *lock = NULL, *most = NULL, *correlate = NULL, *change = NULL, *windows = NULL,
                 *drift = NULL;
    const tt_key keys[] = {{"max_concurrent_loops", &loops},
                           {"correlate", &correlate},
                           {"max_capacity_removed", &removed},
                           {"protected", &protect},
                           {"max_change", &change},
                           {"freeze_windows", &windows},
                           {"drift", &drift},
                           {"lock_out", &lock},
                           {"most_targets_bad", &most}};
    tt_read_keys(l, node, "guardrails", "{max_concurrent_loops: 5, max_capacity_removed: 40%}", keys, TT_COUNT(keys));
    tt_get_count(l, loops, "max_concurrent_loops", 1, 10000, &g->max_concurrent_loops);
    tt_get_duration(l, correlate, "correlate", 0, TT_SECONDS(600), &g->correlate_ns);
    tt_get_ratio(l, removed, "max_capacity_removed", true, &g->max_capacity_removed);
    if (change) load_change(l, change, g);
    if (windows && tt_read_list(l, windows, "freeze_windows", "[{every: weekday 22:00-06:00}]", TT_FREEZE_WINDOWS_MAX))
        for (size_t i = 0; i < windows->n; i++) load_window(l, &windows->items[i], g);
    if (drift) {
        const tt_doc *overwrites = NULL;
        const tt_key drift_keys[] = {{"overwrites", &overwrites}};
        tt_read_keys(l, drift, "drift", "{overwrites: 3}", drift_keys, TT_COUNT(drift_keys));
        tt_get_count(l, overwrites, "drift.overwrites", 1, 1000, &g->drift_overwrites);
    }
    if (lock) {
        const tt_doc *reversals = NULL, *hold = NULL;
        const tt_key lock_keys[] = {{"reversals", &reversals}, {"for", &hold}};
        tt_read_keys(l, lock, "lock_out", "{reversals: 3, for: 30m}", lock_keys, TT_COUNT(lock_keys));
        tt_get_count(l, reversals, "lock_out.reversals", 1, 1000, &g->lock_out_reversals);
        tt_get_duration(l, hold, "lock_out.for", TT_SECONDS(1), TT_SECONDS(7 * 86400), &g->lock_out_for_ns);
    }
    if (most) {
        const tt_doc *share = NULL, *at_least = NULL, *then = NULL;
        const tt_key most_keys[] = {{"share", &share}, {"at_least", &at_least}, {"then", &then}};
        size_t which = 0;
        tt_read_keys(l, most, "most_targets_bad", "{share: 60%, at_least: 3, then: freeze}", most_keys, TT_COUNT(most_keys));
        tt_get_ratio(l, share, "most_targets_bad.share", false, &g->most_bad_share);
        tt_get_count(l, at_least, "most_targets_bad.at_least", 1, 1000000, &g->most_bad_min);
        tt_get_choice(l, then, "most_targets_bad.then", then_names, TT_COUNT(then_names), &which);
    }
    if (protect && tt_read_list(l, protect, "protected", "[payments, /^auth-/]", TT_PROTECTED_MAX))
        for (size_t i = 0; i < protect->n; i++) {
            tt_label_match *m = &g->protected_services[g->n_protected];
            if (!tt_get_match(l, &protect->items[i], "a protected service", m)) continue;
            m->label = TT_SV("service");
            g->n_protected++;
            tt_no_groups(l, &protect->items[i], "a protected service", m);
        }
}
