/* Random incidents with restarts, reloads, commands and clock steps, recorded and replayed: every decision and event comes out again byte for byte.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pcre.h"
#include "replay/replay.h"
#include "taped.h"

typedef struct {
    uint64_t ticks, decisions, events, begun, near, segments, torn;
} tally;

/* Replays all that is there; fails at the first difference. */
static void replay_all(const char *path, tally *t, uint64_t seed) {
    tt_err err;
    memset(t, 0, sizeof *t);
    tt_recording *rec = tt_recording_open(path, &err);
    if (!rec) fail_msg("seed %llu: %s", (unsigned long long)seed, err.text);
    tt_matcher *matcher = tt_pcre_matcher_new();
    tt_replay *r = tt_replay_new(rec, &(tt_replay_options){.matcher = matcher, .from_ms = INT64_MIN});
    tt_replay_step s;
    tt_buf room;
    tt_buf_init(&room, 1 << 20);
    for (tt_read got; (got = tt_replay_next(r, &s, &err)) != TT_READ_END;) {
        if (got == TT_READ_BAD) fail_msg("seed %llu: %s", (unsigned long long)seed, err.text);
        tt_replay_difference d;
        switch (s.kind) {
        case TT_REPLAY_BEGAN:
            t->begun++;
            t->near += s.start == TT_REPLAY_NEAR;
            break;
        case TT_REPLAY_TICK:
            t->ticks++;
            t->decisions += s.tick->n_decisions;
            t->events += s.tick->n_events;
            if (!tt_replay_same(&s, &d, &room))
                fail_msg("seed %llu, tick %llu differs:\n" TT_SV_FMT "\n" TT_SV_FMT, (unsigned long long)seed, (unsigned long long)s.tick->number,
                         TT_SV_ARG(d.recorded), TT_SV_ARG(d.now));
            break;
        case TT_REPLAY_ENDED:
            t->segments++;
            t->torn += s.torn;
            break;
        default:
            break;
        }
    }
    tt_buf_free(&room);
    tt_replay_free(r);
    tt_recording_free(rec);
    tt_pcre_matcher_free(matcher);
}

static void every_decision_comes_out_again(void **state) {
    (void)state;
    uint64_t ticks = 0, runs = 0, segments = 0, bytes = 0, measurements = 0;
    const char *env = getenv("TT_RECORD_SEEDS");
    uint64_t seeds = env ? strtoull(env, NULL, 10) : SCENARIO_KINDS;
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        char dir[256];
        taped t;
        scenario s;
        scenario_result r;
        tally y;
        temporary_directory(dir);
        taped_init(&t, dir);
        t.opt.segment_ns = TT_SECONDS(97);
        scenario_of(seed, &s);
        s.watch = &t.watch;
        scenario_run(&s, true, false, &r);
        assert_false(t.broken);
        taped_free(&t);
        replay_all(dir, &y, seed);
        assert_int_equal(y.ticks, t.ticks);
        assert_int_equal(y.begun, t.runs);
        assert_int_equal(y.near + y.torn, 0);
        assert_true(y.segments >= t.runs);
        ticks += y.ticks;
        runs += t.runs;
        segments += y.segments;
        remove_directory(dir);
    }
    (void)bytes, (void)measurements;
    printf("%llu ticks of %llu runs in %llu segments\n", (unsigned long long)ticks, (unsigned long long)runs, (unsigned long long)segments);
    assert_true(runs > seeds && segments > runs);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_decision_comes_out_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
