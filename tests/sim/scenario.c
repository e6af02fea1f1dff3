#include "scenario.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "invariants.h"

typedef struct {
    uint64_t seed, n;
} dice;

static double roll(dice *d) {
    return tt_model_random(d->seed, 77, d->n++);
}
static double between(dice *d, double a, double b) {
    return a + (b - a) * roll(d);
}
static int64_t seconds(dice *d, double a, double b) {
    return TT_MS((int64_t)(between(d, a, b) * 10) * 100);
}
static uint32_t pick(dice *d, uint32_t n) {
    return (uint32_t)(roll(d) * n);
}
static bool chance(dice *d, double p) {
    return roll(d) < p;
}

static void add(scenario *s, tt_model_fault_kind kind, int64_t from, int64_t for_ns, int service, int dc, int instance, double amount) {
    if (s->spec.n_faults == TT_MODEL_FAULTS) return;
    s->spec.faults[s->spec.n_faults++] =
        (tt_model_fault){.kind = kind, .from_ns = from, .for_ns = for_ns, .service = service, .dc = dc, .instance = instance, .amount = amount};
    if (from + for_ns > s->until_ns) s->until_ns = from + for_ns;
}

/* ---- kinds ---- */

typedef void (*make_fn)(scenario *s, dice *d, int64_t from, int64_t lasts);

static int some_dc(const scenario *s, dice *d) {
    return (int)pick(d, s->spec.n_dcs);
}
static void surge(scenario *s, dice *d, int64_t from, int64_t lasts) {
    add(s, TT_FAULT_DEMAND, from, lasts, -1, -1, -1, between(d, 1.4, 3));
}
static void site_loss(scenario *s, dice *d, int64_t from, int64_t lasts) {
    add(s, TT_FAULT_DOWN, from, lasts, -1, some_dc(s, d), -1, 1);
}
static void slow_dependency(scenario *s, dice *d, int64_t from, int64_t lasts) {
    add(s, TT_FAULT_SLOW, from, lasts, 2, chance(d, 0.5) ? -1 : some_dc(s, d), -1, between(d, 4, 25));
}
static void bad_instance(scenario *s, dice *d, int64_t from, int64_t lasts) {
    int service = (int)pick(d, s->spec.n_services);
    add(s, TT_FAULT_BAD_INSTANCE, from, lasts, service, some_dc(s, d), (int)pick(d, s->spec.services[service].instances), between(d, 0.5, 1));
}
static void gray(scenario *s, dice *d, int64_t from, int64_t lasts) {
    add(s, chance(d, 0.5) ? TT_FAULT_ERRORS : TT_FAULT_HANG, from, lasts, (int)pick(d, 2), some_dc(s, d), -1, between(d, 0.1, 0.6));
}
static void errors_everywhere(scenario *s, dice *d, int64_t from, int64_t lasts) {
    add(s, TT_FAULT_ERRORS, from, lasts, 1, -1, -1, between(d, 0.1, 0.5));
}
static void less_capacity(scenario *s, dice *d, int64_t from, int64_t lasts) {
    add(s, TT_FAULT_CAPACITY, from, lasts, 1, chance(d, 0.5) ? -1 : some_dc(s, d), -1, between(d, 0.3, 0.7));
}
static void retry_storm(scenario *s, dice *d, int64_t from, int64_t lasts) {
    add(s, TT_FAULT_DEMAND, from, seconds(d, 10, 30), -1, -1, -1, between(d, 1.8, 3));
    add(s, TT_FAULT_RETRIES, from, lasts, -1, -1, -1, between(d, 0.7, 0.92));
}
static void flapping(scenario *s, dice *d, int64_t from, int64_t lasts) {
    int64_t period = seconds(d, 15, 100);
    (void)lasts;
    if (chance(d, 0.5))
        add(s, TT_FAULT_DEMAND, from, 5 * period, -1, -1, -1, between(d, 1.5, 2.5));
    else
        add(s, TT_FAULT_ERRORS, from, 5 * period, 0, some_dc(s, d), -1, between(d, 0.3, 1));
    s->spec.faults[s->spec.n_faults - 1].period_ns = period;
}
static void blind_surge(scenario *s, dice *d, int64_t from, int64_t lasts) {
    surge(s, d, from, lasts);
    add(s, TT_FAULT_BLIND, from + seconds(d, -20, 40), seconds(d, 20, 150), -1, -1, -1, 1);
}
static void blind_alone(scenario *s, dice *d, int64_t from, int64_t lasts) {
    (void)d, add(s, TT_FAULT_BLIND, from, lasts, -1, -1, -1, 1);
}
static void stale_surge(scenario *s, dice *d, int64_t from, int64_t lasts) {
    surge(s, d, from, lasts);
    add(s, TT_FAULT_STALE, from + seconds(d, 0, 40), seconds(d, 20, 100), -1, -1, -1, 1);
}
static void nan_surge(scenario *s, dice *d, int64_t from, int64_t lasts) {
    if (chance(d, 0.5))
        surge(s, d, from, lasts);
    else
        site_loss(s, d, from, lasts);
    add(s, TT_FAULT_NANS, from - TT_SECONDS(20), lasts + TT_SECONDS(40), -1, chance(d, 0.5) ? -1 : some_dc(s, d), -1, between(d, 0.02, 0.5));
}
static void gaps_surge(scenario *s, dice *d, int64_t from, int64_t lasts) {
    if (chance(d, 0.5))
        surge(s, d, from, lasts);
    else
        gray(s, d, from, lasts);
    add(s, TT_FAULT_GAPS, from - TT_SECONDS(20), lasts + TT_SECONDS(40), -1, -1, -1, between(d, 0.1, 0.6));
}
static void partly_taken(scenario *s, dice *d, int64_t from, int64_t lasts) {
    if (chance(d, 0.5))
        surge(s, d, from, lasts);
    else
        site_loss(s, d, from, lasts);
    add(s, TT_FAULT_TAKEN, from, lasts, -1, chance(d, 0.5) ? -1 : some_dc(s, d), -1, chance(d, 0.3) ? 0 : between(d, 0.3, 0.95));
}
static void silent_mesh(scenario *s, dice *d, int64_t from, int64_t lasts) {
    if (chance(d, 0.5))
        surge(s, d, from, lasts);
    else
        site_loss(s, d, from, lasts);
    add(s, TT_FAULT_SILENT, 0, from + lasts + TT_SECONDS(120), -1, -1, -1, 1);
}
static void two_at_once(scenario *s, dice *d, int64_t from, int64_t lasts) {
    static const make_fn of[] = {surge, site_loss, slow_dependency, bad_instance, gray, less_capacity};
    of[pick(d, TT_COUNT(of))](s, d, from, lasts);
    of[pick(d, TT_COUNT(of))](s, d, from + seconds(d, 0, 60), lasts);
}
static void nothing_at_all(scenario *s, dice *d, int64_t from, int64_t lasts) {
    (void)d;
    s->false_alarm = true;
    s->until_ns = from + lasts;
}
static void noisy_monitoring(scenario *s, dice *d, int64_t from, int64_t lasts) {
    s->false_alarm = true;
    s->spec.noise = between(d, 0.02, 0.05);
    add(s, TT_FAULT_GAPS, from, lasts, -1, -1, -1, between(d, 0.1, 0.4));
    add(s, TT_FAULT_NANS, from, lasts, -1, -1, -1, between(d, 0.01, 0.2));
}
static void lying_metric(scenario *s, dice *d, int64_t from, int64_t lasts) {
    s->false_alarm = true;
    add(s, TT_FAULT_LIE, from, lasts, 0, chance(d, 0.5) ? -1 : some_dc(s, d), -1, between(d, 0.08, 0.9));
}

static const struct {
    const char *name;
    make_fn make;
} kinds[SCENARIO_KINDS] = {
    {"surge", surge},
    {"site loss", site_loss},
    {"slow optional dependency", slow_dependency},
    {"bad instance", bad_instance},
    {"gray failure of a site", gray},
    {"errors in every site", errors_everywhere},
    {"less capacity", less_capacity},
    {"retry storm", retry_storm},
    {"flapping", flapping},
    {"surge, monitoring down", blind_surge},
    {"surge, monitoring stuck", stale_surge},
    {"NaN and absent values", nan_surge},
    {"lost scrapes", gaps_surge},
    {"partly enforced", partly_taken},
    {"no acknowledgements", silent_mesh},
    {"two faults", two_at_once},
    {"nothing at all", nothing_at_all},
    {"monitoring down, mesh well", blind_alone},
    {"noise, NaN, gaps, mesh well", noisy_monitoring},
    {"a lying metric", lying_metric},
};

const char *scenario_kind_name(size_t i) {
    return kinds[i].name;
}

/* ---- from the seed ---- */

static void monitoring(scenario *s, dice *d) {
    static const struct {
        int64_t scrape_ms, every_ms, window_ms, tick_ms;
    } of[] = {{1000, 1000, 3000, 1000}, {1000, 1000, 5000, 500}, {1000, 2000, 5000, 2000}, {5000, 5000, 15000, 1000}, {2000, 2000, 10000, 2000}};
    uint32_t i = pick(d, TT_COUNT(of));
    s->spec.scrape_ns = TT_MS(of[i].scrape_ms);
    s->spec.ingest_ns = TT_MS(100 * (int64_t)between(d, 2, 20));
    s->spec.apply_ns = TT_MS(100 * (int64_t)between(d, 2, 30));
    s->rules.every_ms = of[i].every_ms;
    s->rules.window_ms = of[i].window_ms;
    s->rules.max_age_ms = 2 * (of[i].scrape_ms + of[i].every_ms) + s->spec.ingest_ns / 1000000 + 1000;
    s->tick_ns = TT_MS(of[i].tick_ms);
}

void scenario_of(uint64_t seed, scenario *s) {
    dice d = {seed, 0};
    uint32_t kind = (uint32_t)(seed % SCENARIO_KINDS);
    memset(s, 0, sizeof *s);
    s->seed = seed;
    s->kind = kinds[kind].name;
    tt_model_spec_default(&s->spec);
    if (chance(&d, 0.4)) { /* three data centers of unlike size */
        static const double homes[][3] = {{0.34, 0.33, 0.33}, {0.5, 0.3, 0.2}, {0.6, 0.2, 0.2}};
        s->spec.n_dcs = 3;
        s->spec.dcs[2] = "dc-c";
        memcpy(s->spec.home, homes[pick(&d, 3)], sizeof homes[0]);
    }
    if (chance(&d, 0.3)) { /* a required dependency that must never be touched */
        s->spec.services[3] = (tt_model_service){.name = "auth-login", .instances = 2, .workers = 10, .own_ms = 15, .queue_max = 400};
        s->spec.services[0].calls[s->spec.services[0].n_calls++] = (tt_model_call){.service = 3, .per_request = 1};
        s->spec.n_services = 4;
    }
    /* A data center carries 150 requests/s; the largest share has some room when all is well. */
    double largest = 0;
    for (uint32_t i = 0; i < s->spec.n_dcs; i++) largest = fmax(largest, s->spec.home[i]);
    s->spec.demand_rps = 150 / largest * between(&d, 0.45, 0.75);
    s->spec.inner_loop = chance(&d, 0.5);
    s->spec.retry_failed = between(&d, 0.2, 0.7);
    s->spec.noise = between(&d, 0, 0.015);
    s->spec.gap_ratio = chance(&d, 0.5) ? 0.03 : 0;
    s->spec.nan_ratio = chance(&d, 0.5) ? 0.005 : 0;
    rules_options_default(&s->rules, &rules_ladders[pick(&d, (uint32_t)n_rules_ladders)], &s->spec);
    monitoring(s, &d);
    s->rules.max_capacity_removed = chance(&d, 0.3) ? 0.25 : 0.6;
    s->rules.max_loops = chance(&d, 0.2) ? 2 : 8;
    s->rules.lock_out_reversals = 2 + pick(&d, 5);
    s->operators = chance(&d, 0.3);
    s->reloads = chance(&d, 0.3);
    s->restarts = chance(&d, 0.4);
    s->clock_steps = chance(&d, 0.5);
    s->from_ns = seconds(&d, 90, 150);
    kinds[kind].make(s, &d, s->from_ns, seconds(&d, 40, 300));
    s->tests = chance(&d, 0.3);
}

void scenario_print(const scenario *s) {
    printf("seed %llu: %s; %s, %u data centers, inner loop %s, tick %.1f s, scrape %.0f s, window %.0f s, apply %.1f s, ingest %.1f s%s%s%s%s%s\n",
           (unsigned long long)s->seed, s->kind, s->rules.ladder->name, s->spec.n_dcs, s->spec.inner_loop ? "on" : "off", (double)s->tick_ns / 1e9,
           (double)s->spec.scrape_ns / 1e9, (double)s->rules.window_ms / 1e3, (double)s->spec.apply_ns / 1e9, (double)s->spec.ingest_ns / 1e9,
           s->operators ? ", operators" : "", s->reloads ? ", reloads" : "", s->restarts ? ", restarts" : "", s->clock_steps ? ", clock steps" : "", s->tests ? ", load tests" : "");
    for (uint32_t i = 0; i < s->spec.n_faults; i++) {
        const tt_model_fault *f = &s->spec.faults[i];
        printf("  %s x%.2f from %.1f s for %.1f s, service %d, dc %d, instance %d\n", tt_model_fault_name(f->kind), f->amount,
               (double)f->from_ns / 1e9, (double)f->for_ns / 1e9, f->service, f->dc, f->instance);
    }
}

/* ---- running one ---- */

/* What people, deployments and clocks do meanwhile. false: the world can't go on. */
/* Somebody wants to know what a site carries, at whatever moment. */
static void test_load(const scenario *s, world *w) {
    dice d = {s->seed, 4000000 + w->n_ticks * 8};
    if (w->test_on) {
        if (chance(&d, 0.004)) world_command(w, TT_CMD_LOAD_TEST_ABORT, w->test);
        return;
    }
    if (!chance(&d, 0.015)) return;
    tt_load_test_spec spec = {.step = between(&d, 0.02, 0.15), .max = between(&d, 0.15, 0.6), .hold_ns = seconds(&d, 5, 20)};
    snprintf(spec.service, sizeof spec.service, "%s", s->spec.services[pick(&d, s->spec.n_services)].name);
    if (chance(&d, 0.7)) snprintf(spec.dc, sizeof spec.dc, "%s", s->spec.dcs[some_dc(s, &d)]);
    world_load_test(w, &spec);
}

static bool meddle(const scenario *s, world *w, rules_options *rules, bool clock_steps, int64_t *thaw_at) {
    dice d = {s->seed, 1000000 + w->n_ticks * 16};
    int64_t t = world_elapsed(w);
    bool quiet = t > s->until_ns;
    if (s->clock_steps && clock_steps && chance(&d, 0.02)) w->wall_offset_ms += (int64_t)between(&d, -4e6, 4e6);
    d.n = 1000000 + w->n_ticks * 16 + 3;
    /* Somebody looks after what automation leaves to people. */
    if (w->frozen && *thaw_at < 0) *thaw_at = t + seconds(&d, 10, 60);
    if (w->frozen && t >= *thaw_at) {
        world_command(w, TT_CMD_UNFREEZE, NULL);
        *thaw_at = -1;
    }
    if (!w->frozen) *thaw_at = -1;
    for (size_t i = 0; i < w->n_loops && i < 4; i++)
        if (chance(&d, 0.05)) world_command(w, chance(&d, 0.8) ? TT_CMD_APPROVE : TT_CMD_REFUSE, w->loops[i].id);
    if (quiet) return true;
    if (s->tests) test_load(s, w);
    d.n = 1000000 + w->n_ticks * 16 + 13;
    if (s->operators && chance(&d, 0.01)) {
        if (w->n_loops && chance(&d, 0.6))
            world_command(w, TT_CMD_ABORT, w->loops[pick(&d, (uint32_t)w->n_loops)].id);
        else
            world_command(w, TT_CMD_FREEZE, NULL);
    }
    d.n = 2000000 + w->n_ticks * 4;
    if (s->restarts && chance(&d, 0.006) && !world_restart(w)) return false;
    if (s->reloads && chance(&d, 0.004)) {
        /* The same text, a changed plan, a plan taken away and put back. */
        switch (pick(&d, 3)) {
        case 0:
            break;
        case 1:
            rules->keep_ratio = rules->keep_ratio > 0.025 ? 0.02 : 0.03;
            break;
        default:
            rules->without_entry_plan = !rules->without_entry_plan;
            break;
        }
        if (!world_reload(w, rules_text(rules))) return false;
    }
    return true;
}

void scenario_run(const scenario *s, bool clock_steps, bool verbose, scenario_result *ret) {
    static const int64_t long_enough = TT_SECONDS(2400);
    world w;
    invariants v;
    rules_options rules = s->rules;
    int64_t thaw_at = -1;
    memset(ret, 0, sizeof *ret);
    rules.spec = &s->spec;
    if (!world_open(&w, &s->spec, rules_text(&rules), s->seed, s->tick_ns)) {
        snprintf(ret->broken, sizeof ret->broken, "the rules don't load");
        return;
    }
    w.verbose = verbose;
    world_watched(&w, s->watch, rules_text(&rules));
    invariants_init(&v, &rules);
    for (;;) {
        if (!meddle(s, &w, &rules, clock_steps, &thaw_at)) {
            snprintf(ret->broken, sizeof ret->broken, "reload or restart failed");
            break;
        }
        invariants_before(&v, &w);
        world_tick(&w);
        if (!invariants_after(&v, &w)) {
            snprintf(ret->broken, sizeof ret->broken, "%s", v.broken);
            break;
        }
        if (s->false_alarm && w.n_actions) {
            snprintf(ret->broken, sizeof ret->broken, "at %.1f s: an action, and nothing is wrong with the mesh", (double)world_elapsed(&w) / 1e9);
            break;
        }
        if (world_elapsed(&w) < s->until_ns + TT_SECONDS(60)) continue;
        bool over = !w.frozen && !w.n_loops && !world_anything_in_force(&w);
        if (over) break;
        if (world_elapsed(&w) < s->until_ns + long_enough) continue;
        /* Plans that need a person, or whose means are too small, may face a collapse that doesn't end by itself. Then somebody must have been
         * called, and whoever stops it gets everything back. */
        if (!ret->left_to_people) {
            const tt_model_truth *t = tt_model_truth_of(w.model);
            double good = 0, wanted = 0;
            for (uint32_t p = 0; p < s->spec.n_priorities; p++) good += t->good_rps[p], wanted += t->wanted_rps[p];
            ret->left_to_people = good < 0.95 * wanted;
            for (size_t i = 0; i < w.n_loops; i++) ret->left_to_people &= w.loops[i].paged;
            if (!ret->left_to_people) {
                snprintf(ret->broken, sizeof ret->broken, "%.0f s after the last fault %zu loops are open, %s in force, %.0f %% of the demand served",
                         (double)long_enough / 1e9, w.n_loops, world_anything_in_force(&w) ? "actions are" : "nothing is", 100 * good / wanted);
                break;
            }
        }
        for (size_t i = 0; i < w.n_loops; i++)
            if (!w.loops[i].aborted) world_command(&w, TT_CMD_ABORT, w.loops[i].id);
        if (world_elapsed(&w) < s->until_ns + long_enough + TT_SECONDS(300)) continue;
        if (world_anything_in_force(&w)) snprintf(ret->broken, sizeof ret->broken, "stopped by a person five minutes ago, and still in force");
        break;
    }
    ret->ticks = w.n_ticks;
    ret->actions = w.n_actions;
    ret->checks = v.n_checks;
    ret->restarts = w.n_restarts;
    ret->reloads = w.n_reloads;
    ret->tests = w.n_tests;
    ret->test_moves = w.n_test_moves;
    ret->hash = w.hash;
    ret->hash_without_stamps = w.hash_without_stamps;
    ret->good = w.good;
    ret->wanted = w.wanted;
    if (!ret->broken[0]) ret->nothing = world_doing_nothing(&s->spec, s->seed, 0, world_elapsed(&w));
    world_close(&w);
}
