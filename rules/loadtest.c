/* A deliberate load test: real traffic of a service is moved onto one of its sites in guarded steps until its knee shows, then put back. It is no loop,
 * because nothing is wrong; whatever looks wrong ends it: a loop anywhere near, data that is not good, a freeze, a person, new rules, a restart. Its
 * weights fade at the data plane by themselves, so that they do not outlive a trimtab that died.
 *
 * measuring -> stepping -> holding -> stepping -> ... -> returning -> over. A step is judged only on samples taken wholly after every site of the
 * service has it. */
#include "loadtest.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const double knee_utilization = 0.85, too_hot = 0.92, knee_latency = 1.3, follow = 0.97;
static const double clean_fail = 0.025, clean_refused = 0.005, held_back = 0.01;
static const double telling_requests = 30;
/* A step that would lead beyond the first is made so small that it leads to the second. */
static const double reckoned_max = 0.95, reckoned_aim = 0.92, least_step = 0.005;
/* What the others keep of their traffic, whatever else allows. */
static const double others_keep = 0.1;
enum { SAMPLES_MIN = 3 };
static const int64_t blind_min_ns = TT_SECONDS(3), no_effect_ns = TT_SECONDS(120), return_every_ns = TT_SECONDS(5);

static const char *const phase_names[] = {"measuring", "stepping", "holding", "returning", "over"};
const char *tt_load_test_phase_name(tt_load_test_phase p) { return phase_names[p]; }

tt_load_test *tt_load_test_active(const tt_engine *e) {
    for (uint32_t i = 0; i < e->n_tests; i++)
        if (e->tests[i].phase != TT_TEST_OVER) return (tt_load_test *)&e->tests[i];
    return NULL;
}

const tt_load_test *tt_load_test_of(const tt_engine *e, uint32_t service) {
    const tt_load_test *t = tt_load_test_active(e);
    return t && strcmp(t->service, tt_service_cname(e, service)) == 0 ? t : NULL;
}

static tt_site *site_of(tt_engine *e, const tt_load_test *t) { return tt_site_of(e, t->service, t->dc); }
static tt_group *group_of(tt_engine *e, const tt_site *s) { return &e->groups[s->service]; }

/* ---- telling ---- */

static tt_event *say(tt_engine *e, const tt_load_test *t, const char *kind, const char *why) {
    tt_event *ev = tt_emit(e, kind, NULL, "%s", why);
    if (!ev) return NULL;
    memcpy(ev->loop, t->id, sizeof ev->loop);
    tt_copy_text(ev->plan, sizeof ev->plan, TT_SV("load-test"));
    tt_copy_text(ev->target.service, TT_NAME_MAX, tt_sv_of(t->service));
    tt_copy_text(ev->target.dc, TT_NAME_MAX, tt_sv_of(t->dc));
    return ev;
}

static void tell(tt_engine *e, tt_load_test *t, const char *why) {
    tt_copy_text(t->why, sizeof t->why, tt_sv_of(why));
    tt_event *ev = say(e, t, "load_test", why);
    if (!ev) return;
    tt_buf b;
    tt_buf_init(&b, sizeof ev->detail - 1);
    tt_load_test_figures(t, &b);
    if (!b.failed) tt_copy_text(ev->detail, sizeof ev->detail, (tt_sv){b.p, b.n});
    tt_buf_free(&b);
}

static void enter(tt_engine *e, tt_load_test *t, tt_load_test_phase next) {
    t->phase = next;
    t->phase_at = e->now;
    t->phase_wall = e->wall;
    t->sum = (tt_load_test_sum){0};
    t->slow_samples = t->stuck_samples = 0;
}

/* ---- what may be done ---- */

static bool below(const tt_engine *e, uint32_t service, uint32_t other) {
    const tt_site *s = &e->sites[e->groups[service].first_site];
    for (uint32_t i = 0; i < s->n_closure; i++)
        if (s->closure[i] == other) return true;
    return false;
}

static const tt_loop *loop_near(const tt_engine *e, uint32_t service) {
    for (uint32_t i = 0; i < e->n_loops; i++) {
        const tt_loop *l = &e->loops[i];
        if (!tt_loop_is_open(l)) continue;
        int other = tt_rules_service(e->rules, tt_sv_of(l->target.service));
        if (other < 0) continue;
        if (e->groups[other].n_sites == 0 || below(e, service, (uint32_t)other) || below(e, (uint32_t)other, service)) return l;
    }
    return NULL;
}

static void shares_for(const tt_engine *e, const tt_group *g, const tt_site *s, double added, double share[]) {
    double home = tt_home_share(e, s), others = 1 - home, left = others > 0 ? (others - added) / others : 0;
    for (uint32_t i = 0; i < g->n_sites; i++) {
        const tt_site *o = &e->sites[g->first_site + i];
        share[i] = o == s ? home + added : tt_home_share(e, o) * left;
    }
}

static double most_added(tt_engine *e, const tt_group *g, const tt_site *s, double wish, bool *ret_guarded) {
    double share[TT_DCS_MAX], limit = e->rules->guardrails.max_capacity_removed, hi = fmin(wish, (1 - others_keep) * (1 - tt_home_share(e, s))), lo = 0;
    shares_for(e, g, s, hi, share);
    *ret_guarded = tt_group_removed(e, g, share) > limit + 1e-9;
    if (!*ret_guarded) return hi;
    for (int k = 0; k < 40; k++) {
        double mid = (lo + hi) / 2;
        shares_for(e, g, s, mid, share);
        if (tt_group_removed(e, g, share) > limit)
            hi = mid;
        else
            lo = mid;
    }
    return lo;
}

static bool site_is_clean(const tt_site *s) {
    const tt_load *l = &s->load;
    return l->fail_ratio < clean_fail && l->refused_ratio <= clean_refused && !(l->dropped > held_back * l->offered);
}

static tt_site *least_certain(tt_engine *e, uint32_t service) {
    tt_group *g = &e->groups[service];
    tt_site *best = NULL;
    double least = 2;
    for (uint32_t i = 0; i < g->n_sites; i++) {
        tt_site *s = &e->sites[g->first_site + i];
        tt_capacity_source from;
        double c = tt_site_best_capacity(e, s, &from).confidence;
        if (c < least - 1e-9) best = s, least = c;
    }
    return best;
}

static bool no(char *why, size_t size, const char *fmt, ...) TT_PRINTF(3, 4);
static bool no(char *why, size_t size, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(why, size, fmt, ap);
    va_end(ap);
    return false;
}

void tt_load_test_spec_default(tt_load_test_spec *ret) { *ret = (tt_load_test_spec){.step = 0.05, .max = 0.40, .hold_ns = TT_SECONDS(30)}; }

bool tt_load_test_check(tt_engine *e, const tt_load_test_spec *spec, tt_site **ret_site, double *ret_max, char *why, size_t size) {
    *ret_site = NULL;
    *ret_max = 0;
    if (!(spec->step >= 0.005 && spec->step <= 0.25)) return no(why, size, "step is 0.5%% to 25%% of the service's traffic");
    if (!(spec->max >= spec->step && spec->max <= 0.9)) return no(why, size, "max is at least a step and at most 90%% of the service's traffic");
    if (spec->max / spec->step > TT_TEST_STEPS - 1) return no(why, size, "that would be more than %d steps: take larger ones", TT_TEST_STEPS - 1);
    if (spec->hold_ns < TT_SECONDS(5) || spec->hold_ns > TT_SECONDS(600)) return no(why, size, "hold is 5s to 10m");
    int service = tt_rules_service(e->rules, tt_sv_of(spec->service));
    if (service < 0) return no(why, size, "no service %s is declared in the rules", spec->service);
    tt_group *g = &e->groups[service];
    if (g->n_sites < 2) return no(why, size, "%s has one data center: there is nowhere to take load from", spec->service);
    tt_site *s = spec->dc[0] ? tt_site_of(e, spec->service, spec->dc) : least_certain(e, (uint32_t)service);
    if (!s) return no(why, size, "%s has no data center %s", spec->service, spec->dc);
    *ret_site = s;
    bool guarded;
    *ret_max = most_added(e, g, s, spec->max, &guarded);
    const tt_load_test *other = tt_load_test_active(e);
    if (other) return no(why, size, "a load test of %s in %s is under way: one at a time", other->service, other->dc);
    if (e->frozen) return no(why, size, "automation is frozen");
    if (tt_is_protected(e, spec->service)) return no(why, size, "%s is protected", spec->service);
    if (tt_group_held(e, (uint32_t)service)) return no(why, size, "a person has pinned the weights of %s, or somebody else writes them", spec->service);
    const tt_loop *l = loop_near(e, (uint32_t)service);
    if (l) return no(why, size, "a loop of plan %s is open on %s: something is wrong already", l->plan_name, l->target.service);
    if (g->weights) return no(why, size, "the traffic of %s is not where it belongs", spec->service);
    for (uint32_t i = 0; i < g->n_sites; i++) {
        const tt_site *o = &e->sites[g->first_site + i];
        const char *dc = tt_dc_cname(e, o);
        if (!o->load.known)
            return no(why, size, "%s of %s in %s is %s: a step could not be judged", o->load.missing ? o->load.missing : "the load", spec->service, dc,
                      tt_quality_name(o->load.quality));
        if (!site_is_clean(o)) return no(why, size, "%s in %s does not answer well at the moment", spec->service, dc);
        if (!tt_site_neutral(e, o)) return no(why, size, "%s in %s is limited or degraded at the moment", spec->service, dc);
    }
    if (*ret_max < 0.5 * spec->step) {
        char m[32];
        tt_pct(m, sizeof m, e->rules->guardrails.max_capacity_removed);
        return guarded ? no(why, size, "guardrails.max_capacity_removed %s leaves no room for a step", m) : no(why, size, "%s has nearly all traffic already", tt_dc_cname(e, s));
    }
    return true;
}

/* ---- moving ---- */

static void move(tt_engine *e, tt_load_test *t, tt_site *s, double added, const char *why) {
    tt_group *g = group_of(e, s);
    double share[TT_DCS_MAX];
    tt_target target = {0};
    tt_copy_text(target.service, sizeof target.service, tt_sv_of(t->service));
    if (added < 1e-9) added = 0;
    shares_for(e, g, s, added, share);
    for (uint32_t i = 0; i < g->n_sites; i++) {
        tt_site *o = &e->sites[g->first_site + i];
        double from = g->weights ? g->share[i] : tt_home_share(e, o);
        g->share[i] = share[i];
        if (fabs(from - share[i]) < 1e-9 && added > 0) continue;
        char action[TT_NAME_MAX + 8];
        snprintf(action, sizeof action, "weights:%.100s", tt_dc_cname(e, o));
        tt_event *ev = say(e, t, "action", why);
        if (ev) {
            ev->target = target;
            tt_copy_text(ev->action, sizeof ev->action, tt_sv_of(action));
            tt_copy_text(ev->unit, sizeof ev->unit, TT_SV("ratio"));
            ev->from = from;
            ev->to = added > 0 ? share[i] : (double)NAN;
        }
        tt_site_commanded(e, o, false);
    }
    g->weights = added > 0;
    g->commanded_at = e->now;
    g->loop = -1;
    t->added = added;
    t->commanded_at = e->now;
}

static bool seen_full(const tt_load_test *t) { return strcmp(t->knee, "refusals") == 0 || strcmp(t->knee, "throughput") == 0; }

static void over(tt_engine *e, tt_load_test *t, tt_site *s, const char *why) {
    if (s && t->rps > 0) tt_capacity_tested(e, s, t->rps, t->confidence, t->samples, seen_full(t));
    enter(e, t, TT_TEST_OVER);
    t->ended = e->wall;
    tell(e, t, why);
}

/* All at once: where the load came from it was at home. `doubt`: something was wrong with the mesh, and what the test has seen may be that. */
static void abort_test(tt_engine *e, tt_load_test *t, tt_site *s, bool doubt, const char *why) {
    char text[300];
    bool moved = t->added > 0;
    snprintf(text, sizeof text, "%s: the load test ends%s", why, moved ? ", and all traffic goes back at once" : "");
    if (s && moved) move(e, t, s, 0, text);
    t->added = 0;
    if (t->phase != TT_TEST_RETURNING || doubt) {
        t->outcome = "aborted";
        t->knee = "";
        t->rps = t->confidence = 0;
    }
    over(e, t, s, text);
}

/* ---- judging ---- */

static bool all_known(tt_engine *e, const tt_group *g) {
    for (uint32_t i = 0; i < g->n_sites; i++)
        if (!e->sites[g->first_site + i].load.known) return false;
    return true;
}

static bool all_judgeable(tt_engine *e, const tt_group *g) {
    for (uint32_t i = 0; i < g->n_sites; i++)
        if (!tt_site_judgeable(e, &e->sites[g->first_site + i])) return false;
    return true;
}

static void add_sample(tt_load_test_sum *m, const tt_load *l) {
    m->n++;
    m->offered += l->offered;
    m->admitted += l->admitted;
    m->ok += l->ok;
    if (l->util_known) m->util += l->util, m->n_util++;
    if (l->latency_known) m->latency += l->latency_ms, m->n_latency++;
}

static tt_load_test_point mean_of(const tt_load_test_sum *m, double added) {
    double n = m->n ? m->n : 1;
    return (tt_load_test_point){.added = added,
                                .offered = m->offered / n,
                                .admitted = m->admitted / n,
                                .ok = m->ok / n,
                                .util = m->n_util ? m->util / m->n_util : (double)NAN,
                                .latency_ms = m->n_latency ? m->latency / m->n_latency : (double)NAN,
                                .samples = m->n};
}

/* The line through what was seen of utilization over load, to where it would be full: what a site does when idle is not taken for its requests'. */
static double full_at(const tt_load_test *t) {
    double n = 0, x = 0, y = 0, xx = 0, xy = 0, lo = INFINITY, hi = 0, last = 0;
    for (uint32_t i = 0; i < t->n_points; i++) {
        const tt_load_test_point *p = &t->point[i];
        if (isnan(p->util) || p->util <= 0.02) continue;
        n++, x += p->admitted, y += p->util, xx += p->admitted * p->admitted, xy += p->admitted * p->util;
        lo = fmin(lo, p->admitted), hi = fmax(hi, p->admitted);
        last = p->admitted / p->util;
    }
    if (n < 3 || hi < 1.15 * lo) return last;
    double slope = (n * xy - x * y) / (n * xx - x * x), idle = (y - slope * x) / n;
    if (!(slope > 0) || idle < -0.05 || idle > 0.2) return last;
    return (1 - idle) / slope;
}

static void conclude_capacity(tt_load_test *t, double delivered) {
    double hottest = 0, most_ok = delivered;
    for (uint32_t i = 0; i < t->n_points; i++) {
        if (t->point[i].util > hottest) hottest = t->point[i].util;
        most_ok = fmax(most_ok, t->point[i].ok);
        t->samples += t->point[i].samples;
    }
    if (seen_full(t)) {
        t->rps = most_ok;
        t->confidence = 0.95;
    } else if (hottest >= 0.4) {
        t->rps = fmax(full_at(t), most_ok);
        t->confidence = 0.5 + 0.4 * fmin((hottest - 0.4) / 0.45, 1);
    } else if (t->knee[0]) { /* slow or failing, and nobody says how busy */
        t->rps = most_ok;
        t->confidence = 0.6;
    } /* else it carries this, and may carry any more */
}

/* The load test has seen what it can see. `hurt`: the step it stands at is too much, so the one before is the first way back. */
static void conclude(tt_engine *e, tt_load_test *t, tt_site *s, const char *knee, bool hurt, double delivered, const char *what) {
    char text[400], c[32], conf[32];
    t->knee = knee;
    t->outcome = knee[0] ? "knee" : "limit";
    conclude_capacity(t, delivered);
    tt_num(c, sizeof c, t->rps);
    tt_pct(conf, sizeof conf, t->confidence);
    if (t->rps > 0)
        snprintf(text, sizeof text, "%s: %s in %s carries %s rps (confidence %s)", what, t->service, t->dc, c, conf);
    else
        snprintf(text, sizeof text, "%s: how much more %s in %s carries is not known", what, t->service, t->dc);
    if (t->added <= 0) {
        over(e, t, s, text);
        return;
    }
    double back = t->added - t->spec.step;
    if (hurt && t->n_points > 0) back = fmin(back, t->point[t->n_points - 1].added);
    enter(e, t, TT_TEST_RETURNING);
    tell(e, t, text);
    move(e, t, s, fmax(back, 0), "the load test is done: its traffic goes back in steps");
}

static void next_step(tt_engine *e, tt_load_test *t, tt_site *s) {
    const tt_load_test_point *p = &t->point[t->n_points - 1];
    double home = tt_home_share(e, s), next = fmin(t->added + t->spec.step, t->max), now = home + t->added;
    char text[300], a[32], u[32], m[32];
    tt_pct(a, sizeof a, t->added);
    if (!isnan(p->util) && p->util >= knee_utilization) {
        tt_pct(u, sizeof u, p->util);
        snprintf(text, sizeof text, "utilization %s with %s of the service's traffic more", u, a);
        conclude(e, t, s, "utilization", false, p->ok, text);
        return;
    }
    if (t->n_points > 1 && p->offered > 0 && t->point[0].offered > 0 && p->ok / p->offered < follow * t->point[0].ok / t->point[0].offered) {
        snprintf(text, sizeof text, "with %s of the service's traffic more, what is answered well no longer follows what is offered", a);
        conclude(e, t, s, "throughput", true, p->ok, text);
        return;
    }
    if (!isnan(p->util) && p->util > 0.05) {
        if (p->util * (home + next) / now > reckoned_max) next = fmin(next, reckoned_aim / p->util * now - home);
    } else {
        double c = tt_site_capacity(e, s, NULL); /* nobody says how busy it is: near what it is known for, half steps */
        if (c > 0 && p->offered * (home + next) / now > 0.9 * c) next = fmin(next, t->added + 0.5 * t->spec.step);
    }
    if (next - t->added < least_step) {
        tt_pct(m, sizeof m, t->max);
        snprintf(text, sizeof text, "no knee up to %s more of the service's traffic, which is as far as this test goes", m);
        conclude(e, t, s, "", false, p->ok, text);
        return;
    }
    tt_pct(m, sizeof m, next);
    snprintf(text, sizeof text, "load test: %s takes %s of the service's traffic more than its own", t->dc, m);
    enter(e, t, TT_TEST_STEPPING);
    tell(e, t, text);
    move(e, t, s, next, text);
}

/* A sign in one sample that it is enough. NULL: none. */
static const char *sign(tt_load_test *t, const tt_site *s, char *text, size_t size) {
    const tt_load *l = &s->load;
    const tt_load_test_point *base = &t->point[0];
    char a[32], b[32];
    bool telling = l->offered * (double)l->window_ns / 1e9 >= telling_requests;
    if (telling && l->refused_ratio > clean_refused) {
        tt_pct(a, sizeof a, l->refused_ratio);
        snprintf(text, size, "%s of the requests are refused", a);
        return "refusals";
    }
    if (telling && l->fail_ratio >= clean_fail) {
        tt_pct(a, sizeof a, l->fail_ratio);
        snprintf(text, size, "%s of the requests fail", a);
        return "errors";
    }
    if (l->dropped > held_back * l->offered) {
        tt_num(a, sizeof a, l->dropped);
        snprintf(text, size, "a cap holds back %s rps", a);
        return "cap";
    }
    if (l->util_known && l->util >= too_hot) {
        tt_pct(a, sizeof a, l->util);
        snprintf(text, size, "utilization %s", a);
        return "utilization";
    }
    t->slow_samples = l->latency_known && base->latency_ms > 0 && l->latency_ms > knee_latency * base->latency_ms ? t->slow_samples + 1 : 0;
    if (t->slow_samples >= 2) {
        tt_num(a, sizeof a, l->latency_ms);
        tt_num(b, sizeof b, base->latency_ms);
        snprintf(text, size, "mean latency %s ms, %s ms before", a, b);
        return "latency";
    }
    t->stuck_samples = l->flow_known && l->flow < TT_FLOW_FLOOR ? t->stuck_samples + 1 : 0;
    if (t->stuck_samples >= 2) {
        tt_pct(a, sizeof a, l->flow);
        snprintf(text, size, "only %s of what arrives is completed", a);
        return "throughput";
    }
    return NULL;
}

static void judge(tt_engine *e, tt_load_test *t, tt_site *s) {
    char text[200];
    const tt_load *l = &s->load;
    add_sample(&t->sum, l);
    if (t->phase == TT_TEST_MEASURING && !site_is_clean(s)) {
        abort_test(e, t, s, true, "the site does not answer well before its first step");
        return;
    }
    const char *knee = t->phase == TT_TEST_HOLDING ? sign(t, s, text, sizeof text) : NULL;
    if (knee) {
        /* What it delivered at that moment is a point of the line too, as long as it was not over the edge. */
        if (strcmp(knee, "utilization") == 0 || strcmp(knee, "latency") == 0) {
            tt_load_test_sum one = {0};
            add_sample(&one, l);
            if (t->n_points < TT_TEST_STEPS) t->point[t->n_points++] = mean_of(&one, t->added);
        }
        conclude(e, t, s, knee, true, l->ok, text);
        return;
    }
    if (tt_since(e->now, t->phase_at) < t->spec.hold_ns || t->sum.n < SAMPLES_MIN) return;
    if (t->n_points < TT_TEST_STEPS) t->point[t->n_points++] = mean_of(&t->sum, t->added);
    next_step(e, t, s);
}

static int64_t grace(const tt_engine *e) {
    int signal = e->load_signal[TT_LOAD_OFFERED];
    int64_t two = signal >= 0 ? 2 * e->rules->signals[signal].every_ns : 0;
    return two > blind_min_ns ? two : blind_min_ns;
}

/* Why it must end now; NULL: it need not. */
static const char *must_end(tt_engine *e, tt_load_test *t, tt_site *s, bool *ret_doubt, char *text, size_t size) {
    if (t->abort_why[0]) return t->abort_why;
    if (e->frozen) return "automation is frozen";
    const tt_loop *l = loop_near(e, s->service);
    if (l) {
        *ret_doubt = true;
        snprintf(text, size, "a loop of plan %s has opened on %s%s%s", l->plan_name, l->target.service, l->target.dc[0] ? " in " : "", l->target.dc);
        return text;
    }
    if (tt_is_protected(e, t->service)) return "the service is protected";
    *ret_doubt = true;
    const tt_group *g = group_of(e, s);
    for (uint32_t i = 0; i < g->n_sites; i++) {
        const tt_site *o = &e->sites[g->first_site + i];
        if (o->load.known && o != s && !site_is_clean(o) && tt_site_judgeable(e, o)) {
            snprintf(text, size, "%s in %s, which gives load away, does not answer well", t->service, tt_dc_cname(e, o));
            return text;
        }
        if (o->load.known) continue;
        if (tt_since(e->now, t->seen_at) <= grace(e)) return NULL;
        snprintf(text, size, "%s of %s in %s is %s", o->load.missing ? o->load.missing : "the load", t->service, tt_dc_cname(e, o), tt_quality_name(o->load.quality));
        return text;
    }
    return NULL;
}

static void all_is_back(tt_engine *e, tt_load_test *t, tt_site *s) {
    char text[500];
    snprintf(text, sizeof text, "all traffic is back where it was. %s", t->why);
    over(e, t, s, text);
}

static void go_back(tt_engine *e, tt_load_test *t, tt_site *s) {
    /* Bad on its way back, by data taken since the last step: no more steps. */
    if (!site_is_clean(s)) {
        abort_test(e, t, s, true, "the site still does not answer well");
        return;
    }
    if (t->added <= 0) {
        all_is_back(e, t, s);
        return;
    }
    if (tt_since(e->now, t->commanded_at) < return_every_ns) return;
    move(e, t, s, fmax(t->added - t->spec.step, 0), "the load test is done: its traffic goes back in steps");
}

void tt_load_test_step(tt_engine *e) {
    tt_load_test *t = tt_load_test_active(e);
    if (!t) return;
    tt_site *s = site_of(e, t);
    if (!s) {
        abort_test(e, t, NULL, false, "the rules in force no longer have this data center of the service");
        return;
    }
    tt_group *g = group_of(e, s);
    char text[300];
    bool doubt = false;
    const char *why = must_end(e, t, s, &doubt, text, sizeof text);
    if (why) {
        abort_test(e, t, s, doubt, why);
        return;
    }
    if (!all_known(e, g)) return; /* held: nothing new on what is not known */
    t->seen_at = e->now;
    if (!all_judgeable(e, g)) {
        if (tt_since(e->now, t->commanded_at) > no_effect_ns + t->spec.hold_ns) abort_test(e, t, s, false, "the effect of the last step cannot be seen");
        return;
    }
    if (t->phase == TT_TEST_STEPPING) enter(e, t, TT_TEST_HOLDING);
    if (s->load.at.ns <= t->judged_at.ns) return;
    t->judged_at = s->load.at;
    if (t->phase == TT_TEST_RETURNING)
        go_back(e, t, s);
    else
        judge(e, t, s);
}

/* ---- people ---- */

static tt_load_test *remember(tt_engine *e, const tt_command *c) {
    uint32_t n = e->n_tests;
    if (n == TT_TESTS_MAX) { /* the oldest that is over goes */
        uint32_t at = n - 1;
        while (at > 0 && e->tests[at].phase != TT_TEST_OVER) at--;
        memmove(&e->tests[at], &e->tests[at + 1], (n - 1 - at) * sizeof e->tests[0]);
        n--;
    }
    memmove(&e->tests[1], &e->tests[0], n * sizeof e->tests[0]);
    e->n_tests = n + 1;
    tt_load_test *t = &e->tests[0];
    memset(t, 0, sizeof *t);
    memcpy(t->id, c->loop, sizeof t->id);
    t->spec = c->test;
    tt_copy_text(t->service, sizeof t->service, tt_sv_of(c->test.service));
    tt_copy_text(t->dc, sizeof t->dc, tt_sv_of(c->test.dc));
    tt_copy_text(t->actor, sizeof t->actor, c->actor);
    tt_copy_text(t->reason, sizeof t->reason, c->reason);
    t->knee = "";
    t->outcome = "";
    t->started = t->phase_wall = e->wall;
    t->started_at = t->phase_at = t->commanded_at = t->seen_at = e->now;
    t->phase = TT_TEST_OVER;
    return t;
}

void tt_load_test_command(tt_engine *e, const tt_command *c) {
    char actor[64], reason[200], why[300], text[600];
    tt_copy_text(actor, sizeof actor, c->actor);
    tt_copy_text(reason, sizeof reason, c->reason);
    tt_load_test *t = NULL;
    for (uint32_t i = 0; i < e->n_tests && !t; i++)
        if (strcmp(e->tests[i].id, c->loop) == 0) t = &e->tests[i];
    if (c->kind == TT_CMD_LOAD_TEST_ABORT) {
        bool on = t && t->phase != TT_TEST_OVER;
        tt_event *ev = on ? say(e, t, "command", "") : tt_emit(e, "command", NULL, "%s", "");
        if (ev) snprintf(ev->reason, sizeof ev->reason, on ? "abort of the load test by %s: %s" : "%s asked for the end of a load test that is not under way: %s", actor, reason);
        if (on) snprintf(t->abort_why, sizeof t->abort_why, "stopped by %s", actor);
        return;
    }
    if (t || !c->loop[0]) {
        tt_emit(e, "command", NULL, "a load test asked for by %s has %s, and is not begun", actor, t ? "the id of an earlier one" : "no id");
        return;
    }
    tt_site *s;
    double max;
    bool good = tt_load_test_check(e, &c->test, &s, &max, why, sizeof why);
    t = remember(e, c);
    if (s) tt_copy_text(t->dc, sizeof t->dc, tt_sv_of(tt_dc_cname(e, s)));
    t->max = max;
    snprintf(text, sizeof text, "load test by %s: %s", actor, reason);
    (void)say(e, t, "command", text);
    if (!good) {
        t->outcome = "refused";
        t->ended = e->wall;
        snprintf(text, sizeof text, "the load test is not begun: %s", why);
        tell(e, t, text);
        return;
    }
    t->home = tt_home_share(e, s);
    t->judged_at = s->load.at;
    enter(e, t, TT_TEST_MEASURING);
    char m[32], st[32], h[32];
    tt_pct(m, sizeof m, max);
    tt_pct(st, sizeof st, t->spec.step);
    tt_format_duration(t->spec.hold_ns, h, sizeof h);
    snprintf(text, sizeof text, "load test of %s in %s begins: steps of %s of the service's traffic, each held for %s, at most %s", t->service, t->dc, st, h, m);
    tell(e, t, text);
}

void tt_load_test_rules_changed(tt_engine *e) {
    tt_load_test *t = tt_load_test_active(e);
    if (t && !t->abort_why[0]) snprintf(t->abort_why, sizeof t->abort_why, "new rules are in force");
}
