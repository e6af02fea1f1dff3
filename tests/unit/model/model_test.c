/* The plant by itself: what goes in comes out, the same seed says the same, queues obey Little's law, the inner loop holds what it should, and every
 * action does what it is for. */
#include "common.h"

#include "model_internal.h"

#define S(s) TT_SECONDS(s)
static const tt_time boot = {TT_SECONDS(1000)};

typedef struct {
    double wanted, offered, good, dropped, refused, failed;
} sums;

static double sum(const double v[TT_MODEL_PRIORITIES]) {
    return v[0] + v[1] + v[2] + v[3];
}

static sums run(tt_model *m, double seconds) {
    sums s = {0};
    for (int k = 0; k < (int)(seconds * 10); k++) {
        tt_model_step(m);
        const tt_model_truth *t = tt_model_truth_of(m);
        s.wanted += sum(t->wanted_rps) / 10;
        s.offered += sum(t->offered_rps) / 10;
        s.good += sum(t->good_rps) / 10;
        s.dropped += sum(t->dropped_rps) / 10;
        s.refused += sum(t->refused_rps) / 10;
        s.failed += sum(t->failed_rps) / 10;
    }
    return s;
}

static void with_fault(tt_model_spec *spec, tt_model_fault_kind kind, double from_s, double for_s, int service, int dc, int instance, double amount) {
    spec->faults[spec->n_faults++] = (tt_model_fault){.kind = kind,
                                                      .from_ns = (int64_t)(from_s * 1e9),
                                                      .for_ns = (int64_t)(for_s * 1e9),
                                                      .service = service,
                                                      .dc = dc,
                                                      .instance = instance,
                                                      .amount = amount};
}

static tt_model *open_model(const tt_model_spec *spec) {
    tt_model *m = tt_model_new(spec, 7, boot);
    assert_non_null(m);
    return m;
}

static void decide(tt_model *m, uint64_t version, const char *service, const char *dc, tt_act act) {
    static const char *const keep[] = {"critical", "normal", "batch"};
    tt_decision d = {.epoch = 1, .version = version, .n_actions = 1, .actions = {act}};
    snprintf(d.target.service, sizeof d.target.service, "%s", service);
    snprintf(d.target.dc, sizeof d.target.dc, "%s", dc);
    if (act.kind == TT_ACT_LIMIT || act.kind == TT_ACT_CONCURRENCY)
        for (d.n_names = 0; d.n_names < 3; d.n_names++) snprintf(d.names[d.n_names], sizeof d.names[0], "%s", keep[d.n_names]);
    assert_true(tt_model_take(m, 1, &d, 1));
}

/* ---- conservation ---- */

static void every_attempt_ends_once(void **state) {
    (void)state;
    static const struct {
        const char *what;
        tt_model_fault_kind kind;
        int service, dc, instance;
        double amount;
    } of[] = {{"overload", TT_FAULT_DEMAND, -1, -1, -1, 2.5},  {"capacity", TT_FAULT_CAPACITY, 1, 0, -1, 0.3}, {"slow", TT_FAULT_SLOW, 2, -1, -1, 20},
              {"errors", TT_FAULT_ERRORS, 1, 0, -1, 0.4},      {"hang", TT_FAULT_HANG, 0, 1, -1, 0.3},         {"down", TT_FAULT_DOWN, -1, 0, -1, 1},
              {"instance", TT_FAULT_BAD_INSTANCE, 1, 0, 0, 1}, {"canary", TT_FAULT_CANARY, 1, -1, 1, 0.5}};
    for (size_t k = 0; k < TT_COUNT(of); k++)
        for (int way = 0; way < 4; way++) {
            tt_model_spec spec;
            tt_model_spec_default(&spec);
            spec.inner_loop = way & 1;
            spec.attempts = way & 2 ? 3 : 0;
            spec.services[1].calls[0].retries = way & 2 ? 1 : 0;
            for (int l = 0; l < 2; l++) spec.services[1].calls[0].value_at[l] = 1; /* goodput counts requests then */
            with_fault(&spec, of[k].kind, 20, 30, of[k].service, of[k].dc, of[k].instance, of[k].amount);
            with_fault(&spec, TT_FAULT_DEMAND, 150, 1000, -1, -1, -1, 0); /* nobody asks any more, so that all that waits ends */
            tt_model *m = open_model(&spec);
            sums s = run(m, 220);
            double ended = s.good + s.dropped + s.refused + s.failed;
            if (fabs(ended - s.offered) > 1e-6 * s.offered) fail_msg("%s, way %d: %.6f offered, %.6f ended", of[k].what, way, s.offered, ended);
            if (s.good > s.wanted * (1 + 1e-9)) fail_msg("%s, way %d: more served than wanted", of[k].what, way);
            tt_model_free(m);
        }
}

/* Whatever is wrong or decided at the service that front calls for every request: no more come out of front than came out of it,
 * but for what the lag of a step lets through while things change. */
static void no_answer_without_one_from_below(void **state) {
    (void)state;
    static const tt_model_fault_kind kinds[] = {TT_FAULT_DEMAND, TT_FAULT_CAPACITY, TT_FAULT_SLOW,         TT_FAULT_ERRORS,
                                                TT_FAULT_HANG,   TT_FAULT_DOWN,     TT_FAULT_BAD_INSTANCE, TT_FAULT_CANARY};
    static const double amounts[] = {2.2, 0.4, 6, 0.4, 0.4, 1, 1, 0.7};
    static const tt_act acts[] = {{.kind = TT_ACT_LIMIT, .value = 60},
                                  {.kind = TT_ACT_CONCURRENCY, .value = 6},
                                  {.kind = TT_ACT_DROP, .name = "batch", .value = 0.8},
                                  {.kind = TT_ACT_ISOLATE, .name = "front", .value = 0.5},
                                  {.kind = TT_ACT_TIMEOUT, .value = 200},
                                  {.kind = TT_ACT_RETRY, .value = 0}};
    for (size_t k = 0; k < TT_COUNT(kinds); k++)
        for (size_t a = 0; a <= TT_COUNT(acts); a++)
            for (int way = 0; way < 4; way++) {
                tt_model_spec spec;
                tt_model_spec_default(&spec);
                spec.inner_loop = way & 1;
                spec.services[0].calls[0].retries = way & 2 ? 1 : 0;
                for (int l = 0; l < 2; l++) spec.services[1].calls[0].value_at[l] = 1;
                with_fault(&spec, kinds[k], 20, 60, kinds[k] == TT_FAULT_DEMAND ? -1 : 1, -1, kinds[k] == TT_FAULT_BAD_INSTANCE ? 0 : -1, amounts[k]);
                tt_model *m = open_model(&spec);
                run(m, 10);
                if (a < TT_COUNT(acts))
                    for (uint64_t v = 1; v <= 2; v++) decide(m, v, "checkout", v == 1 ? "dc-a" : "dc-b", acts[a]);
                sums s = run(m, 110);
                double below = 0;
                for (int d = 0; d < 2; d++) below += sum(m->site[1][d].c.ok);
                if (s.good + 10 * 200 * 0.98 > below * 1.05)
                    fail_msg("%s, act %zu, way %d: %.0f came out of front, %.0f of checkout", tt_model_fault_name(kinds[k]), a, way, s.good + 2000,
                             below);
                tt_model_free(m);
            }
}

static void a_well_mesh_serves_all(void **state) {
    (void)state;
    for (int inner = 0; inner < 2; inner++) {
        tt_model_spec spec;
        tt_model_spec_default(&spec);
        spec.inner_loop = inner;
        tt_model *m = open_model(&spec);
        sums s = run(m, 120);
        assert_true(fabs(s.good - s.wanted) < 1e-6 * s.wanted);
        tt_model_free(m);
    }
}

/* ---- determinism ---- */

static uint64_t digest(uint64_t seed, bool observe) {
    tt_model_spec spec;
    tt_model_spec_default(&spec);
    spec.noise = 0.02;
    spec.gap_ratio = 0.05;
    with_fault(&spec, TT_FAULT_DEMAND, 20, 20, -1, -1, -1, 2);
    tt_signal_def signals[] = {{.name = TT_SV("offered_rps"), .every_ns = S(1), .window_ns = S(3)},
                               {.name = TT_SV("latency_p99_ms"), .every_ns = S(1), .window_ns = S(3)}};
    tt_rules rules = {.n_signals = 2, .signals = signals};
    tt_model *m = tt_model_new(&spec, seed, boot);
    uint64_t h = 14695981039346656037u;
    for (int k = 0; k < 600; k++) {
        tt_observations o;
        tt_model_step(m);
        const unsigned char *t = (const unsigned char *)tt_model_truth_of(m)->good_rps;
        for (size_t i = 0; i < sizeof(double) * TT_MODEL_PRIORITIES; i++) h = (h ^ t[i]) * 1099511628211u;
        if (!observe) continue;
        tt_model_observe(m, &rules, &o);
        for (size_t i = 0; i < o.n_measurements; i++) {
            unsigned char v[sizeof(double)];
            memcpy(v, &o.measurements[i].value, sizeof v);
            for (size_t b = 0; b < sizeof v; b++) h = (h ^ v[b]) * 1099511628211u;
        }
    }
    tt_model_free(m);
    return h;
}

static void the_seed_decides(void **state) {
    (void)state;
    assert_true(digest(3, true) == digest(3, true));
    assert_true(digest(3, true) != digest(4, true));
    assert_true(digest(3, false) == digest(3, false)); /* looking changes nothing of the plant */
}

/* ---- queues ---- */

typedef struct {
    double admitted, ok, latency_s, inflight, utilization, retries, caller;
    int64_t at_ns, window_ns;
} reading;

/* Of service 1 in the first data center. */
static reading read_site(tt_model *m, const char *service, const char *dc) {
    static tt_signal_def signals[] = {{.name = TT_SV("offered_rps")},     {.name = TT_SV("admitted_rps")}, {.name = TT_SV("ok_rps")},
                                      {.name = TT_SV("latency_mean_ms")}, {.name = TT_SV("inflight")},     {.name = TT_SV("utilization")},
                                      {.name = TT_SV("retries_rps")},     {.name = TT_SV("caller_rps")}};
    tt_rules rules = {.n_signals = TT_COUNT(signals), .signals = signals};
    tt_observations o;
    reading r = {0};
    tt_model_observe(m, &rules, &o);
    for (size_t i = 0; i < o.n_measurements; i++) {
        const tt_measurement *x = &o.measurements[i];
        if (!tt_sv_eq(x->labels[0].value, tt_sv_of(service)) || !tt_sv_eq(x->labels[1].value, tt_sv_of(dc))) continue;
        double *const to[] = {NULL, &r.admitted, &r.ok, &r.latency_s, &r.inflight, &r.utilization, &r.retries, &r.caller};
        if (x->signal == 7 && !tt_sv_eq(x->labels[2].value, TT_SV("recommendations"))) continue;
        if (to[x->signal]) *to[x->signal] += x->value;
        r.at_ns = x->at.ns;
        r.window_ns = x->window_ns;
    }
    r.latency_s /= 1000;
    return r;
}

static void quiet(tt_model_spec *spec) {
    tt_model_spec_default(spec);
    spec->noise = 0;
    spec->ingest_ns = 0;
    spec->scrape_ns = S(1);
    spec->window_ns = S(10);
}

static void queues_obey_littles_law(void **state) {
    (void)state;
    static const double loads[] = {0.5, 1, 1.35, 1.6, 2.2}; /* 1.5 is what checkout can serve */
    for (size_t k = 0; k < TT_COUNT(loads); k++) {
        tt_model_spec spec;
        quiet(&spec);
        spec.inner_loop = true;
        spec.demand_rps = 200 * loads[k];
        tt_model *m = open_model(&spec);
        run(m, 80);
        reading r = read_site(m, "checkout", "dc-a");
        double expected = r.ok * r.latency_s;
        /* The mean latency counts refusals, which are quick, in what they are of all. */
        double all = r.admitted > 0 ? r.latency_s : 0;
        (void)all;
        if (loads[k] <= 1.35 && fabs(r.inflight - expected) > 0.1 * expected)
            fail_msg("load %.2f: %.2f in flight, %.2f by Little's law", loads[k], r.inflight, expected);
        double capacity = 12 / 0.08;
        if (fabs(r.utilization - fmin(100 * loads[k] / capacity, 1)) > 0.05) fail_msg("load %.2f: utilization %.3f", loads[k], r.utilization);
        /* A queue that stands is as long as the inner loop lets it be: 0.3 s of work, and no longer. */
        if (loads[k] > 1.5 && !(r.inflight > 12 + 0.15 * capacity && r.inflight < 12 + 0.4 * capacity))
            fail_msg("load %.2f: %.1f in flight", loads[k], r.inflight);
        tt_model_free(m);
    }
}

static void overload_collapses_and_stays_down_without_the_inner_loop(void **state) {
    (void)state;
    for (int inner = 0; inner < 2; inner++) {
        tt_model_spec spec;
        tt_model_spec_default(&spec);
        spec.demand_rps = 230;
        spec.inner_loop = inner;
        with_fault(&spec, TT_FAULT_DEMAND, 30, 40, -1, -1, -1, 2);
        tt_model *m = open_model(&spec);
        run(m, 40);
        sums during = run(m, 30);
        run(m, 60);
        sums after = run(m, 60);
        double capacity = 30.0 * 2 * 12 / 0.08;
        if (inner) {
            assert_true(during.good > 0.9 * capacity && during.refused > 0 && during.failed < 0.05 * during.good);
            assert_true(after.good > 0.999 * after.wanted);
        } else {
            assert_true(during.good < 0.5 * capacity);
            assert_true(after.good < 0.7 * after.wanted); /* its retries keep it there */
        }
        tt_model_free(m);
    }
}

static void the_lowest_priority_is_refused_first(void **state) {
    (void)state;
    tt_model_spec spec;
    tt_model_spec_default(&spec);
    spec.inner_loop = true;
    with_fault(&spec, TT_FAULT_DEMAND, 20, 100, -1, -1, -1, 1.8);
    tt_model *m = open_model(&spec);
    run(m, 60);
    const tt_model_truth *t = tt_model_truth_of(m);
    assert_true(t->good_rps[0] > 0.99 * t->wanted_rps[0]);
    assert_true(t->good_rps[1] > 0.95 * t->wanted_rps[1]);
    assert_true(t->good_rps[2] < 0.8 * t->wanted_rps[2]);
    tt_model_free(m);
}

static void a_cold_cache_costs_its_callee(void **state) {
    (void)state;
    tt_model_spec spec;
    quiet(&spec);
    spec.services[1].calls[0] = (tt_model_call){.service = 2, .per_request = 0.2, .cached = true};
    spec.services[2].workers = 20;
    with_fault(&spec, TT_FAULT_CACHE_WIPE, 60, 2, 1, -1, -1, 1);
    tt_model *m = open_model(&spec);
    run(m, 55);
    double warm = read_site(m, "recommendations", "dc-a").ok;
    run(m, 16);
    double cold = read_site(m, "recommendations", "dc-a").ok;
    run(m, 150);
    double again = read_site(m, "recommendations", "dc-a").ok;
    assert_true(fabs(warm - 20) < 2 && cold > 70 && again < 24);
    tt_model_free(m);
}

/* ---- actions ---- */

static void decisions_do_what_they_are_for(void **state) {
    (void)state;
    /* A cap, and the same in flight: 60 rps of some 82 ms are 5 in flight. */
    for (int way = 0; way < 2; way++) {
        tt_model_spec spec;
        quiet(&spec);
        tt_model *m = open_model(&spec);
        run(m, 10);
        decide(m, 1, "checkout", "dc-a", (tt_act){.kind = way ? TT_ACT_CONCURRENCY : TT_ACT_LIMIT, .value = way ? 60 * 0.08 : 60});
        run(m, 20);
        reading r = read_site(m, "checkout", "dc-a");
        if (fabs(r.admitted - 60) > 2) fail_msg("way %d: %.1f rps admitted", way, r.admitted);
        tt_model_free(m);
    }
    /* What a service below the entry drops is lost to those who call it. */
    tt_model_spec low;
    quiet(&low);
    tt_model *below = open_model(&low);
    for (uint64_t v = 1; v <= 2; v++) decide(below, v, "checkout", v == 1 ? "dc-a" : "dc-b", (tt_act){.kind = TT_ACT_LIMIT, .value = 40});
    run(below, 20);
    sums few = run(below, 20);
    if (fabs(few.good - 20 * 80) > 20 || few.refused < 20 * 110)
        fail_msg("%.1f rps served past two caps of 40, %.1f refused", few.good / 20, few.refused / 20);
    tt_model_free(below);
    /* A retry budget: of 40 % failures most come back, then a tenth. */
    tt_model_spec spec;
    quiet(&spec);
    spec.retry_failed = 0.9;
    with_fault(&spec, TT_FAULT_ERRORS, 5, 1000, 0, -1, -1, 0.4);
    tt_model *m = open_model(&spec);
    run(m, 30);
    double before = read_site(m, "front", "dc-a").retries;
    decide(m, 1, "front", "dc-a", (tt_act){.kind = TT_ACT_RETRY, .value = 0.1});
    run(m, 20);
    double after = read_site(m, "front", "dc-a").retries;
    run(m, 1);
    double other = read_site(m, "front", "dc-b").retries;
    if (!(before > 40 && fabs(after - 10) < 1 && other > 30)) fail_msg("retries %.1f, within the budget %.1f, elsewhere %.1f", before, after, other);
    tt_model_free(m);
    /* A time-out keeps a hung callee from holding its caller. */
    quiet(&spec);
    with_fault(&spec, TT_FAULT_SLOW, 5, 1000, 2, -1, -1, 40);
    m = open_model(&spec);
    run(m, 40);
    double stuck = read_site(m, "checkout", "dc-a").ok;
    for (uint64_t v = 1; v <= 2; v++) decide(m, v, "recommendations", v == 1 ? "dc-a" : "dc-b", (tt_act){.kind = TT_ACT_TIMEOUT, .value = 60});
    run(m, 60);
    double freed = read_site(m, "checkout", "dc-a").ok;
    if (freed < 2 * stuck + 40) fail_msg("stuck %.1f, freed %.1f", stuck, freed);
    tt_model_free(m);
    /* One of two callers is kept out. */
    quiet(&spec);
    spec.services[3] = (tt_model_service){.name = "ledger", .instances = 2, .workers = 40, .own_ms = 10, .queue_max = 400};
    spec.services[0].calls[spec.services[0].n_calls++] = (tt_model_call){.service = 3, .per_request = 1};
    spec.services[2].calls[spec.services[2].n_calls++] = (tt_model_call){.service = 3, .per_request = 2};
    spec.n_services = 4;
    m = open_model(&spec);
    run(m, 30);
    reading r = read_site(m, "ledger", "dc-a");
    assert_true(fabs(r.caller - 200) < 10 && fabs(r.admitted - 300) < 10);
    decide(m, 1, "ledger", "dc-a", (tt_act){.kind = TT_ACT_ISOLATE, .name = "recommendations", .value = 0.75});
    run(m, 20);
    r = read_site(m, "ledger", "dc-a");
    if (fabs(r.admitted - 150) > 10 || fabs(r.caller - 200) > 10) fail_msg("%.1f admitted of %.1f", r.admitted, r.caller);
    tt_model_free(m);
}

static void the_mesh_takes_decisions_as_it_can(void **state) {
    (void)state;
    tt_model_spec spec;
    quiet(&spec);
    spec.apply_ns = S(2);
    with_fault(&spec, TT_FAULT_REFUSED, 20, 10, -1, -1, -1, 1);
    with_fault(&spec, TT_FAULT_LATE, 40, 30, -1, -1, -1, 10);
    tt_model *m = open_model(&spec);
    run(m, 10);
    decide(m, 5, "front", "dc-a", (tt_act){.kind = TT_ACT_LIMIT, .value = 50});
    run(m, 1);
    assert_true(tt_model_in_force(m, 0, 0)->limit_rps == 0); /* not yet */
    run(m, 2);
    assert_true(tt_model_in_force(m, 0, 0)->limit_rps == 50);
    tt_decision old = {.epoch = 0, .version = 99};
    assert_false(tt_model_take(m, 0, &old, 1)); /* a writer that was replaced */
    run(m, 10);
    decide(m, 6, "front", "dc-a", (tt_act){.kind = TT_ACT_LIMIT, .value = 20});
    run(m, 5);
    assert_true(tt_model_in_force(m, 0, 0)->limit_rps == 50);
    tt_rules none = {0};
    tt_observations o;
    tt_model_observe(m, &none, &o);
    assert_true(o.n_acks == 1 && o.acks[0].refused && o.acks[0].version == 6 && o.acks[0].share == 0);
    run(m, 13);
    for (uint64_t v = 7; v < 15; v++) decide(m, v, "front", "dc-a", (tt_act){.kind = TT_ACT_LIMIT, .value = (double)v * 10});
    for (double was = 0; tt_model_in_force(m, 0, 0)->version < 14;) { /* overtaken ones never come into force */
        run(m, 0.1);
        double now = (double)tt_model_in_force(m, 0, 0)->version;
        assert_true(now >= was);
        was = now;
    }
    run(m, 20);
    assert_true(tt_model_in_force(m, 0, 0)->version == 14);
    tt_model_observe(m, &none, &o);
    assert_true(o.n_acks == 1 && !o.acks[0].refused && o.acks[0].version == 14);
    tt_model_free(m);
}

static void measurements_carry_the_window_of_the_incident(void **state) {
    (void)state;
    tt_model_spec spec;
    quiet(&spec);
    spec.scrape_ns = S(5);
    spec.window_ns = S(20);
    spec.ingest_ns = S(2);
    with_fault(&spec, TT_FAULT_BLIND, 60, 20, -1, -1, -1, 1);
    tt_model *m = open_model(&spec);
    run(m, 50);
    reading r = read_site(m, "front", "dc-a");
    assert_true(r.window_ns == S(20) && fabs(r.admitted - 100) < 3);
    int64_t age = tt_model_now(m).ns - r.at_ns;
    assert_true(age >= S(2) && age <= S(7));
    tt_signal_def signal = {.name = TT_SV("ok_rps")};
    tt_rules rules = {.n_signals = 1, .signals = &signal};
    tt_observations o;
    tt_model_observe(m, &rules, &o); /* asked again at once: once a scrape is enough */
    assert_int_equal(o.n_polls, 0);
    run(m, 20);
    tt_model_observe(m, &rules, &o);
    assert_true(o.n_polls == 1 && !o.polls[0].answered && o.n_measurements == 0);
    tt_model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_attempt_ends_once),
        cmocka_unit_test(no_answer_without_one_from_below),
        cmocka_unit_test(a_well_mesh_serves_all),
        cmocka_unit_test(the_seed_decides),
        cmocka_unit_test(queues_obey_littles_law),
        cmocka_unit_test(overload_collapses_and_stays_down_without_the_inner_loop),
        cmocka_unit_test(the_lowest_priority_is_refused_first),
        cmocka_unit_test(a_cold_cache_costs_its_callee),
        cmocka_unit_test(decisions_do_what_they_are_for),
        cmocka_unit_test(the_mesh_takes_decisions_as_it_can),
        cmocka_unit_test(measurements_carry_the_window_of_the_incident),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
