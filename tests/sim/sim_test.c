/* The engine under random incidents, every tick checked. `sim_test --ticks 5000000` goes on for longer, `--seed N --verbose` repeats one run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scenario.h"

static struct {
    uint64_t ticks, first_seed;
    bool one, verbose, steady_clock;
} options = {.ticks = 200000, .first_seed = 1};

typedef struct {
    uint64_t runs, worse, ticks, actions, left;
    double worst, sum;
} tally;

static void say_broken(const scenario *s, const char *what) {
    printf("\nBROKEN %s\n", what);
    scenario_print(s);
    printf("repeat: sim_test --seed %llu --verbose\n", (unsigned long long)s->seed);
    fflush(stdout);
}

static void broken(const scenario *s, const char *what) {
    say_broken(s, what);
    fail();
}

static void invariants_hold(void **state) {
    (void)state;
    tally by_kind[SCENARIO_KINDS] = {{0}};
    uint64_t of_loop[2] = {0}, worse_of_loop[2] = {0}; /* without and with the inner loop */
    uint64_t ticks = 0, checks = 0, runs = 0, restarts = 0, reloads = 0, tests = 0, test_moves = 0, failures = 0;
    for (uint64_t seed = options.first_seed; ticks < options.ticks; seed++) {
        scenario s;
        scenario_result r;
        scenario_of(seed, &s);
        if (options.verbose) scenario_print(&s);
        scenario_run(&s, !options.steady_clock, options.verbose, &r);
        ticks += r.ticks;
        checks += r.checks;
        restarts += r.restarts;
        reloads += r.reloads;
        tests += r.tests;
        test_moves += r.test_moves;
        runs++;
        if (r.broken[0]) {
            say_broken(&s, r.broken);
            if (++failures == 10 || options.one) break; /* a few say more than one */
            continue;
        }
        tally *t = &by_kind[seed % SCENARIO_KINDS];
        double lost = (r.nothing - r.good) / r.wanted; /* against doing nothing, of the demand */
        t->runs++;
        t->ticks += r.ticks;
        t->actions += r.actions;
        t->left += r.left_to_people;
        t->sum += lost;
        if (t->runs == 1 || lost > t->worst) t->worst = lost;
        if (lost > 0.01) t->worse++;
        of_loop[s.spec.inner_loop]++;
        worse_of_loop[s.spec.inner_loop] += lost > 0.01;
        if (lost > 0.01 && options.verbose) printf("worse than nothing by %.2f %%: seed %llu\n", 100 * lost, (unsigned long long)seed);
        if (options.one) break;
    }
    printf("%llu ticks in %llu incidents, %llu checks, %llu restarts, %llu reloads, %llu load tests with %llu moves\n", (unsigned long long)ticks, (unsigned long long)runs,
           (unsigned long long)checks, (unsigned long long)restarts, (unsigned long long)reloads, (unsigned long long)tests,
           (unsigned long long)test_moves);
    printf("%-28s %6s %8s %8s %14s %9s %12s %15s\n", "incident", "runs", "ticks", "actions", "mean gained %", "worst %", "worse > 1 %",
           "left to people");
    for (size_t i = 0; i < SCENARIO_KINDS; i++) {
        const tally *t = &by_kind[i];
        if (t->runs)
            printf("%-28s %6llu %8llu %8llu %14.2f %9.2f %12llu %15llu\n", scenario_kind_name(i), (unsigned long long)t->runs,
                   (unsigned long long)t->ticks, (unsigned long long)t->actions, -100 * t->sum / (double)t->runs, -100 * t->worst,
                   (unsigned long long)t->worse, (unsigned long long)t->left);
    }
    for (int i = 0; i < 2; i++)
        printf("%s inner loop: %llu of %llu runs lost more than 1 %% of the demand against doing nothing\n", i ? "with" : "without",
               (unsigned long long)worse_of_loop[i], (unsigned long long)of_loop[i]);
    assert_int_equal(failures, 0);
}

static void the_same_seed_says_the_same_bytes(void **state) {
    (void)state;
    for (uint64_t seed = options.first_seed; seed < options.first_seed + (options.one ? 1 : SCENARIO_KINDS); seed++) {
        scenario s;
        scenario_result a, b;
        scenario_of(seed, &s);
        scenario_run(&s, true, false, &a);
        scenario_run(&s, true, false, &b);
        if (a.hash != b.hash || a.ticks != b.ticks) broken(&s, "two runs of one seed differ");
    }
}

static void wall_clock_steps_change_only_the_stamps(void **state) {
    (void)state;
    uint64_t stepped = 0;
    for (uint64_t seed = options.first_seed; seed < options.first_seed + (options.one ? 1 : 2 * SCENARIO_KINDS); seed++) {
        scenario s;
        scenario_result a, b;
        scenario_of(seed, &s);
        if (!s.clock_steps) continue;
        scenario_run(&s, true, false, &a);
        scenario_run(&s, false, false, &b);
        if (a.hash_without_stamps != b.hash_without_stamps) broken(&s, "a step of the wall clock changed what was done");
        stepped += a.hash != b.hash;
    }
    if (!options.one) assert_true(stepped > 0); /* or the comparison has compared nothing */
}

int main(int argc, char **argv) {
    const char *env = getenv("TT_SIM_TICKS");
    if (env) options.ticks = strtoull(env, NULL, 10);
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--ticks") == 0 && i + 1 < argc)
            options.ticks = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--from") == 0 && i + 1 < argc)
            options.first_seed = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc) {
            options.first_seed = strtoull(argv[++i], NULL, 10);
            options.one = true;
        } else if (strcmp(argv[i], "--verbose") == 0)
            options.verbose = true;
        else if (strcmp(argv[i], "--steady-clock") == 0)
            options.steady_clock = true;
        else {
            fprintf(stderr, "usage: sim_test [--ticks N] [--from SEED] [--seed SEED [--verbose] [--steady-clock]]\n");
            return 2;
        }
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(invariants_hold),
        cmocka_unit_test(the_same_seed_says_the_same_bytes),
        cmocka_unit_test(wall_clock_steps_change_only_the_stamps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
