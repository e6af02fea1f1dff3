#include "report.h"

#include <math.h>
#include <string.h>

static const char *const mesh_names[TT_SUITE_MESHES] = {"without_inner_loop", "with_inner_loop"};

/* ---- JSON ---- */

static void put_spread(tt_buf *b, const char *name, const tt_spread *s, bool total) {
    tt_buf_printf(b, "\"%s\":{\"median\":", name);
    tt_buf_number(b, s->median);
    tt_buf_put(b, TT_SV(",\"worst\":"));
    tt_buf_number(b, s->worst);
    tt_buf_put(b, TT_SV(",\"mean\":"));
    tt_buf_number(b, s->mean);
    tt_buf_put(b, TT_SV(",\"p90\":"));
    tt_buf_number(b, s->p90);
    tt_buf_put(b, TT_SV(",\"p95\":"));
    tt_buf_number(b, s->p95);
    if (total) {
        tt_buf_put(b, TT_SV(",\"total\":"));
        tt_buf_number(b, s->n ? s->total : 0);
    }
    tt_buf_put(b, TT_SV("},"));
}

static void put_tally(tt_buf *b, const tt_suite *s, const tt_tally *t) {
    tt_buf_put(b, TT_SV("{"));
    put_spread(b, "oracle_share", &t->oracle_share, false);
    put_spread(b, "time_to_mitigate_s", &t->time_to_mitigate_s, false);
    put_spread(b, "time_to_settle_s", &t->time_to_settle_s, false);
    put_spread(b, "needless_drop_ratio", &t->needless_drop_ratio, false);
    put_spread(b, "high_priority_loss_ratio", &t->high_priority_loss_ratio, false);
    put_spread(b, "reversals", &t->reversals, true);
    put_spread(b, "actions", &t->actions, true);
    put_spread(b, "invariant_violations", &t->violations, true);
    put_spread(b, "lost_ratio", &t->lost_ratio, false);
    put_spread(b, "harm_ratio", &t->harm_ratio, false);
    tt_buf_put(b, TT_SV("\"normalized_loss\":"));
    tt_buf_number(b, t->normalized_loss);
    tt_buf_printf(b, ",\"worse_than_nothing\":%zu,\"never_mitigated\":%zu,\"never_settled\":%zu,\"not_undone\":%zu,\"runs\":%zu,\"violation\":", t->worse_than_nothing,
                  t->never_mitigated, t->never_settled, t->not_undone, t->n_runs);
    if (t->violation) {
        tt_buf_put(b, TT_SV("{\"incident\":"));
        tt_buf_json_string(b, tt_sv_of(tt_incident_name(tt_suite_spec_of(s)->incidents[t->violation_incident])));
        tt_buf_printf(b, ",\"seed\":%llu,\"text\":", (unsigned long long)t->violation_seed);
        tt_buf_json_string(b, tt_sv_of(t->violation));
        tt_buf_put(b, TT_SV("}"));
    } else
        tt_buf_put(b, TT_SV("null"));
    tt_buf_printf(b, ",\"false_alarms\":{\"runs\":%zu,\"acted\":%zu,\"actions\":", t->n_false, t->false_acted);
    tt_buf_number(b, t->n_false ? t->false_actions.total : 0);
    tt_buf_put(b, TT_SV("}}"));
}

/* One member a controller. */
static bool put_controllers(tt_buf *b, const tt_suite *s, int incident, int mesh, bool first) {
    for (int by = 0; by < TT_CONTROLLER_COUNT; by++) {
        tt_tally t;
        if (!tt_suite_spec_of(s)->controllers[by]) continue;
        if (!tt_suite_tally(s, incident, mesh, (tt_controller)by, &t)) return false;
        tt_buf_printf(b, "%s\"%s\":", first ? "" : ",", tt_controller_name((tt_controller)by));
        put_tally(b, s, &t);
        first = false;
    }
    return true;
}

static bool put_meshes(tt_buf *b, const tt_suite *s, int incident) {
    bool first = true, ok = true;
    tt_buf_put(b, TT_SV("{"));
    for (int mesh = 0; mesh < TT_SUITE_MESHES && ok; mesh++) {
        if (!tt_suite_spec_of(s)->mesh[mesh]) continue;
        tt_buf_printf(b, "%s\"%s\":{", first ? "" : ",", mesh_names[mesh]);
        ok = put_controllers(b, s, incident, mesh, true);
        tt_buf_put(b, TT_SV("}"));
        first = false;
    }
    tt_buf_put(b, TT_SV("}"));
    return ok;
}

/* No finer than what people read: 0.004 % is none. */
static bool reached(const tt_target_figure *f, double bound) {
    return f->value <= bound + (strcmp(f->unit, "%") == 0 ? 5e-5 : 1e-9);
}

static const char *verdict(const tt_target_figure *f) {
    return reached(f, f->stretch) ? "stretch" : reached(f, f->must) ? "must" : "missed";
}

void tt_suite_json(const tt_suite *s, tt_buf *b) {
    const tt_suite_spec *spec = tt_suite_spec_of(s);
    const char *inner = spec->mesh[0] && spec->mesh[1] ? "both" : spec->mesh[1] ? "on" : "off";
    bool ok = true;
    tt_buf_printf(b, "{\"seeds\":{\"first\":%llu,\"count\":%u},\"inner_loop\":\"%s\",\"overall\":{", (unsigned long long)spec->first_seed, spec->n_seeds, inner);
    ok = put_controllers(b, s, TT_SUITE_ALL, -1, true);
    tt_buf_put(b, TT_SV("},\n\"by_mesh\":"));
    ok = ok && put_meshes(b, s, TT_SUITE_ALL);
    tt_buf_put(b, TT_SV(",\n\"targets\":["));
    tt_target_figure targets[TT_TARGETS];
    size_t n = tt_suite_targets(s, targets);
    for (size_t i = 0; i < n; i++) {
        const tt_target_figure *f = &targets[i];
        tt_buf_printf(b, "%s{\"mesh\":\"%s\",\"figure\":\"%s\",\"value\":", i ? "," : "", mesh_names[f->inner_loop], f->name);
        tt_buf_number(b, f->value);
        tt_buf_put(b, TT_SV(",\"must\":"));
        tt_buf_number(b, f->must);
        tt_buf_put(b, TT_SV(",\"stretch\":"));
        tt_buf_number(b, f->stretch);
        tt_buf_printf(b, ",\"met\":\"%s\"}", verdict(f));
    }
    tt_buf_put(b, TT_SV("],\n\"incidents\":["));
    for (size_t i = 0; i < spec->n_incidents && ok; i++) {
        tt_buf_put(b, i ? TT_SV(",\n{\"name\":") : TT_SV("\n{\"name\":"));
        tt_buf_json_string(b, tt_sv_of(tt_incident_name(spec->incidents[i])));
        tt_buf_put(b, TT_SV(",\"title\":"));
        tt_buf_json_string(b, tt_sv_of(tt_incident_title(spec->incidents[i])));
        tt_buf_printf(b, ",\"false_alarm\":%s,\"inner_loop\":\"%s\",\"seeds\":%u,\"duration_s\":", tt_incident_false_alarm(spec->incidents[i]) ? "true" : "false", inner,
                      spec->n_seeds);
        tt_buf_number(b, (double)tt_incident_duration_ns(spec->incidents[i]) / 1e9);
        ok = put_controllers(b, s, (int)i, -1, false);
        tt_buf_put(b, TT_SV(",\"by_mesh\":"));
        ok = ok && put_meshes(b, s, (int)i);
        tt_buf_put(b, TT_SV("}"));
    }
    tt_buf_put(b, TT_SV("\n]}\n"));
    b->failed |= !ok;
}

/* ---- text ---- */

static const char *ink(const tt_report *r, const char *escape) { return r->colours ? escape : ""; }
#define BOLD "\033[1m"
#define DIM "\033[2m"
#define BLUE "\033[34m"
#define ORANGE "\033[33m"
#define OFF "\033[0m"

/* "12 / 47" of a spread, times `scale`, with so many digits; nothing where there is nothing. */
static void pair(char *to, size_t size, const tt_spread *s, double scale, int digits) {
    if (!s->n) {
        snprintf(to, size, "-");
        return;
    }
    /* No minus in front of a zero. */
    double least = 0.5 / pow(10, digits), m = s->median * scale, w = s->worst * scale;
    snprintf(to, size, "%.*f / %.*f", digits, fabs(m) < least ? 0 : m, digits, fabs(w) < least ? 0 : w);
}

static void seconds(char *to, size_t size, const tt_spread *s, size_t never, size_t n) {
    char worst[24];
    if (!s->n) {
        snprintf(to, size, "-");
        return;
    }
    snprintf(worst, sizeof worst, "%.0f", s->worst);
    if (2 * never > n)
        snprintf(to, size, "never");
    else
        snprintf(to, size, "%.0f / %s", s->median, never ? "never" : worst);
}

static void head(const tt_report *r, const tt_suite *s, int mesh) {
    const tt_suite_spec *spec = tt_suite_spec_of(s);
    fprintf(r->to, "%s%s the inner loop%s: %zu incident%s, %u seed%s from %llu; median / worst\n", ink(r, BOLD), mesh ? "With" : "Without", ink(r, OFF), spec->n_incidents,
            spec->n_incidents == 1 ? "" : "s", spec->n_seeds, spec->n_seeds == 1 ? "" : "s", (unsigned long long)spec->first_seed);
}

static void incident_row(const tt_report *r, const tt_suite *s, size_t i, int mesh) {
    const tt_suite_spec *spec = tt_suite_spec_of(s);
    char cell[40];
    tt_tally t;
    bool alarm = tt_incident_false_alarm(spec->incidents[i]);
    fprintf(r->to, "%-22.22s", tt_incident_name(spec->incidents[i]));
    static const tt_controller lost[] = {TT_BY_NOTHING, TT_BY_RUNBOOK, TT_BY_AIMD, TT_BY_TRIMTAB};
    for (size_t k = 0; k < TT_COUNT(lost); k++) {
        if (!spec->controllers[lost[k]] || !tt_suite_tally(s, (int)i, mesh, lost[k], &t)) continue;
        pair(cell, sizeof cell, &t.lost_ratio, 100, 1);
        bool bad = lost[k] == TT_BY_TRIMTAB && t.worse_than_nothing;
        fprintf(r->to, "%s%13s%s", lost[k] == TT_BY_TRIMTAB ? ink(r, bad ? ORANGE : BLUE) : "", cell, lost[k] == TT_BY_TRIMTAB ? ink(r, OFF) : "");
    }
    if (!spec->controllers[TT_BY_TRIMTAB] || !tt_suite_tally(s, (int)i, mesh, TT_BY_TRIMTAB, &t)) {
        fputc('\n', r->to);
        return;
    }
    pair(cell, sizeof cell, &t.oracle_share, 100, 0);
    fprintf(r->to, "%12s", cell);
    seconds(cell, sizeof cell, &t.time_to_mitigate_s, t.never_mitigated, t.n_real);
    fprintf(r->to, "%13s", cell);
    pair(cell, sizeof cell, &t.needless_drop_ratio, 100, 1);
    fprintf(r->to, "%12s", cell);
    pair(cell, sizeof cell, &t.reversals, 1, 0);
    fprintf(r->to, "%9s", cell);
    pair(cell, sizeof cell, &t.actions, 1, 0);
    fprintf(r->to, "%s%10s%s", alarm && t.actions.worst > 0 ? ink(r, ORANGE) : "", cell, alarm && t.actions.worst > 0 ? ink(r, OFF) : "");
    if (alarm) fprintf(r->to, "%s  false alarm%s", ink(r, DIM), ink(r, OFF));
    if (t.worse_than_nothing) fprintf(r->to, "  %sworse than nothing in %zu of %zu%s", ink(r, ORANGE), t.worse_than_nothing, t.n_real, ink(r, OFF));
    if (t.violations.total > 0) fprintf(r->to, "  %sinvariants broken%s", ink(r, ORANGE), ink(r, OFF));
    fputc('\n', r->to);
}

/* The heads and cells of the table over all, in one place so that they line up. */
static const struct {
    const char *head[2];
    int width;
} columns[] = {{{"normal.", "loss"}, 9},           {{"oracle", "share %"}, 9},         {{"lost %", "p95 / worst"}, 13}, {{"mitigated s", "med / p90"}, 13},
               {{"settled s", "med / p90"}, 12},   {{"needless", "%, mean"}, 10},      {{"high prio", "lost %"}, 11},   {{"reversals", "mean"}, 11},
               {{"actions", "mean"}, 9},           {{"worse than", "nothing"}, 12},    {{"false alarms", "acted on"}, 14}, {{"harm %", "mean"}, 8}};

static void overall_row(const tt_report *r, const tt_suite *s, int mesh, tt_controller by) {
    tt_tally t;
    char cell[TT_COUNT(columns)][40];
    if (!tt_suite_spec_of(s)->controllers[by] || !tt_suite_tally(s, TT_SUITE_ALL, mesh, by, &t)) return;
    size_t n = 0;
#define CELL(...) snprintf(cell[n++], sizeof cell[0], __VA_ARGS__)
    CELL("%.3f", t.normalized_loss);
    CELL("%.1f", 100 * t.oracle_share.median);
    CELL("%.1f / %.1f", 100 * t.lost_ratio.p95, 100 * t.lost_ratio.worst);
    CELL("%.0f / %.0f", t.time_to_mitigate_s.median, t.time_to_mitigate_s.p90);
    CELL("%.0f / %.0f", t.time_to_settle_s.median, t.time_to_settle_s.p90);
    CELL("%.2f", 100 * t.needless_drop_ratio.mean);
    CELL("%.2f", 100 * t.high_priority_loss_ratio.mean);
    CELL("%.1f", t.reversals.mean);
    CELL("%.1f", t.actions.mean);
    CELL("%zu", t.worse_than_nothing);
    if (t.n_false) {
        CELL("%zu", t.false_acted);
        CELL("%.2f", 100 * fmax(t.harm_ratio.mean, 0));
    }
#undef CELL
    fprintf(r->to, "  %s%-10s%s", by == TT_BY_TRIMTAB ? ink(r, BLUE) : "", tt_controller_name(by), by == TT_BY_TRIMTAB ? ink(r, OFF) : "");
    for (size_t i = 0; i < n; i++) fprintf(r->to, "%*s", columns[i].width, cell[i]);
    fputc('\n', r->to);
}

static void overall(const tt_report *r, const tt_suite *s, int mesh) {
    static const tt_controller order[] = {TT_BY_TRIMTAB, TT_BY_NOTHING, TT_BY_RUNBOOK, TT_BY_AIMD};
    const tt_suite_spec *spec = tt_suite_spec_of(s);
    bool alarms = false;
    for (size_t i = 0; i < spec->n_incidents; i++) alarms |= tt_incident_false_alarm(spec->incidents[i]);
    for (int row = 0; row < 2; row++) {
        fprintf(r->to, "%s%s  %-10s", row ? "" : "\n", ink(r, DIM), row ? "over all" : "");
        for (size_t i = 0; i < TT_COUNT(columns) - (alarms ? 0 : 2); i++) fprintf(r->to, "%*s", columns[i].width, columns[i].head[row]);
        fprintf(r->to, "%s\n", ink(r, OFF));
    }
    for (size_t i = 0; i < TT_COUNT(order); i++) overall_row(r, s, mesh, order[i]);
    if (mesh) fprintf(r->to, "%s  nothing is the inner loop alone; shares and losses are set against doing nothing without it.%s\n", ink(r, DIM), ink(r, OFF));
}

static void targets(const tt_report *r, const tt_suite *s) {
    tt_target_figure f[TT_TARGETS];
    size_t n = tt_suite_targets(s, f);
    int mesh = -1;
    if (!n) return;
    fprintf(r->to, "\n%sWhat was asked of trimtab%s\n", ink(r, BOLD), ink(r, OFF));
    for (size_t i = 0; i < n; i++) {
        double scale = strcmp(f[i].unit, "%") == 0 ? 100 : 1;
        const char *v = verdict(&f[i]);
        if ((int)f[i].inner_loop != mesh) fprintf(r->to, "  %s%-40s%10s%10s%10s%s\n", ink(r, DIM), f[i].inner_loop ? "with the inner loop" : "without the inner loop", "reached", "must", "stretch", ink(r, OFF));
        mesh = f[i].inner_loop;
        fprintf(r->to, "  %-34s%-6s%10.4g%10.4g%10.4g   %s%s%s\n", f[i].name, f[i].unit, round(f[i].value * scale * 1e4) / 1e4, f[i].must * scale, f[i].stretch * scale,
                ink(r, strcmp(v, "missed") == 0 ? ORANGE : BLUE), strcmp(v, "must") == 0 ? "met" : strcmp(v, "stretch") == 0 ? "met, stretch too" : "missed", ink(r, OFF));
    }
}

static void violations(const tt_report *r, const tt_suite *s) {
    const tt_suite_spec *spec = tt_suite_spec_of(s);
    for (int by = 0; by < TT_CONTROLLER_COUNT; by++) {
        tt_tally t;
        if (!spec->controllers[by] || by == TT_BY_ORACLE || by == TT_BY_NOTHING || !tt_suite_tally(s, TT_SUITE_ALL, -1, (tt_controller)by, &t) || !t.violation) continue;
        fprintf(r->to, "%s: an invariant was broken %.0f times, first in %s, seed %llu: %s\n", tt_controller_name((tt_controller)by), t.violations.total,
                tt_incident_name(spec->incidents[t.violation_incident]), (unsigned long long)t.violation_seed, t.violation);
    }
}

static void in_one_line(const tt_report *r, const tt_suite *s) {
    tt_tally t;
    tt_target_figure f[TT_TARGETS];
    size_t n = tt_suite_targets(s, f), missed = 0;
    for (size_t i = 0; i < n; i++) missed += strcmp(verdict(&f[i]), "missed") == 0;
    if (!tt_suite_spec_of(s)->controllers[TT_BY_TRIMTAB] || !tt_suite_tally(s, TT_SUITE_ALL, -1, TT_BY_TRIMTAB, &t)) return;
    fprintf(r->to, "\n%strimtab%s loses %.1f %% of what doing nothing loses; %zu of %zu runs are worse than nothing by over 1 %%; %zu of %zu false alarms were acted on; invariants broken: %.0f; ",
            ink(r, BOLD), ink(r, OFF), 100 * t.normalized_loss, t.worse_than_nothing, t.n_real, t.false_acted, t.n_false, t.violations.total);
    if (missed)
        fprintf(r->to, "%s%zu of %zu targets are missed%s\n", ink(r, ORANGE), missed, n, ink(r, OFF));
    else
        fprintf(r->to, "all %zu targets are met\n", n);
}

void tt_report_suite(const tt_report *r, const tt_suite *s) {
    const tt_suite_spec *spec = tt_suite_spec_of(s);
    static const tt_controller lost[] = {TT_BY_NOTHING, TT_BY_RUNBOOK, TT_BY_AIMD, TT_BY_TRIMTAB};
    for (int mesh = 0; mesh < TT_SUITE_MESHES; mesh++) {
        if (!spec->mesh[mesh]) continue;
        head(r, s, mesh);
        fprintf(r->to, "%s%-22s", ink(r, DIM), "");
        bool first = true;
        for (size_t k = 0; k < TT_COUNT(lost); k++)
            if (spec->controllers[lost[k]]) {
                fprintf(r->to, "%13s", first ? "lost %:" : "");
                first = false;
            }
        fprintf(r->to, "%s\n%-22s", spec->controllers[TT_BY_TRIMTAB] ? "    trimtab:" : "", "incident");
        for (size_t k = 0; k < TT_COUNT(lost); k++)
            if (spec->controllers[lost[k]]) fprintf(r->to, "%13s", mesh && lost[k] == TT_BY_NOTHING ? "inner loop" : tt_controller_name(lost[k]));
        if (spec->controllers[TT_BY_TRIMTAB]) fprintf(r->to, "%12s%13s%12s%9s%10s", "share %", "mitigated s", "needless %", "revers.", "actions");
        fprintf(r->to, "%s\n", ink(r, OFF));
        for (size_t i = 0; i < spec->n_incidents; i++) incident_row(r, s, i, mesh);
        overall(r, s, mesh);
        fputc('\n', r->to);
    }
    targets(r, s);
    violations(r, s);
    in_one_line(r, s);
}

void tt_report_incident(const tt_report *r, const tt_suite *s, size_t incident) {
    const tt_suite_spec *spec = tt_suite_spec_of(s);
    static const tt_controller order[] = {TT_BY_ORACLE, TT_BY_TRIMTAB, TT_BY_NOTHING, TT_BY_RUNBOOK, TT_BY_AIMD};
    bool one = spec->n_seeds == 1;
    for (int mesh = 0; mesh < TT_SUITE_MESHES; mesh++) {
        if (!spec->mesh[mesh]) continue;
        fprintf(r->to, "%s%s, %s the inner loop%s: %s%llu%s\n", ink(r, BOLD), tt_incident_name(spec->incidents[incident]), mesh ? "with" : "without", ink(r, OFF),
                one ? "seed " : "seeds from ", (unsigned long long)spec->first_seed, one ? "" : "; median / worst");
        fprintf(r->to, "%s  %-10s%15s%16s%14s%14s%14s%14s%12s%12s%8s%s\n", ink(r, DIM), "", "lost %", "oracle share %", "mitigated s", "settled s", "needless %", "high prio %", "reversals",
                "actions", "broken", ink(r, OFF));
        for (size_t k = 0; k < TT_COUNT(order); k++) {
            tt_tally t;
            char c[8][40];
            if (!spec->controllers[order[k]] || !tt_suite_tally(s, (int)incident, mesh, order[k], &t)) continue;
            pair(c[0], sizeof c[0], &t.lost_ratio, 100, 1);
            pair(c[1], sizeof c[1], &t.oracle_share, 100, 1);
            seconds(c[2], sizeof c[2], &t.time_to_mitigate_s, t.never_mitigated, t.n_real);
            seconds(c[3], sizeof c[3], &t.time_to_settle_s, t.never_settled, t.n_real);
            pair(c[4], sizeof c[4], &t.needless_drop_ratio, 100, 2);
            pair(c[5], sizeof c[5], &t.high_priority_loss_ratio, 100, 1);
            pair(c[6], sizeof c[6], &t.reversals, 1, 0);
            pair(c[7], sizeof c[7], &t.actions, 1, 0);
            for (int i = 0; i < 8 && one; i++) { /* of one run the median is all there is */
                char *slash = strstr(c[i], " / ");
                if (slash) *slash = 0;
            }
            fprintf(r->to, "  %s%-10s%s%15s%16s%14s%14s%14s%14s%12s%12s%8.0f%s\n", order[k] == TT_BY_TRIMTAB ? ink(r, BLUE) : "", tt_controller_name(order[k]),
                    order[k] == TT_BY_TRIMTAB ? ink(r, OFF) : "", c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7], t.violations.total,
                    t.worse_than_nothing ? "  worse than nothing" : "");
        }
        fputc('\n', r->to);
    }
}
