#include "story.h"

#include <math.h>
#include <string.h>

#include "table.h"

static void put_value(char *to, size_t size, double v, const char *unit, bool weight) {
    if (isnan(v))
        snprintf(to, size, "none");
    else if (strcmp(unit, "ratio") == 0 || weight)
        snprintf(to, size, "%.0f %%", 100 * v);
    else if (strcmp(unit, "level") == 0)
        snprintf(to, size, "level %.0f", v);
    else
        snprintf(to, size, v < 10 ? "%.2f %s" : "%.0f %s", v, unit);
}

static const char *what_of(const tt_event *ev, const char **ret_ink) {
    static const struct {
        const char *kind, *word, *ink;
    } kinds[] = {{"anomaly_opened", "anomaly", "\033[33m"}, {"anomaly_cleared", "cleared", "\033[2m"}, {"loop_opened", "loop", "\033[1m"},
                 {"loop_phase", "phase", "\033[2m"},       {"loop_closed", "closed", "\033[1m"},      {"action", "action", "\033[34m"},
                 {"relapse", "relapse", "\033[33m"},       {"hold", "hold", "\033[2m"},               {"guardrail", "guardrail", "\033[33m"},
                 {"page", "page", "\033[33m"},             {"frozen", "frozen", "\033[33m"},          {"unfrozen", "unfrozen", "\033[33m"},
                 {"limit_reached", "ceiling", "\033[33m"}, {"not_chosen", "not chosen", "\033[2m"},   {"drift", "drift", "\033[33m"}};
    for (size_t i = 0; i < TT_COUNT(kinds); i++)
        if (strcmp(ev->kind, kinds[i].kind) == 0) {
            *ret_ink = kinds[i].ink;
            return kinds[i].word;
        }
    return NULL;
}

size_t tt_story_tick(const tt_story *s, double seconds, const tt_outcome *out) {
    size_t n = 0;
    for (size_t i = 0; i < out->n_events; i++) {
        const tt_event *ev = &out->events[i];
        const char *ink = "", *word = what_of(ev, &ink);
        if (!word || (strcmp(ev->kind, "action") == 0 && !ev->loop[0])) continue; /* the armed envelope is refreshed all the time */
        char about[2 * TT_NAME_MAX + 200] = "", from[40], to[40];
        if (strcmp(ev->kind, "action") == 0) {
            bool weight = strncmp(ev->action, "weights:", 8) == 0;
            put_value(from, sizeof from, ev->from, ev->unit, weight);
            put_value(to, sizeof to, ev->to, ev->unit, weight);
            snprintf(about, sizeof about, "%.60s%s%.60s %.80s %s -> %s: ", ev->target.service, ev->target.dc[0] ? "@" : "", ev->target.dc, ev->action, from, to);
        } else if (ev->target.service[0] && strncmp(ev->kind, "anomaly", 7) != 0) {
            snprintf(about, sizeof about, "%.60s%s%.60s%s%.60s: ", ev->target.service, ev->target.dc[0] ? "@" : "", ev->target.dc, ev->target.instance[0] ? "/" : "",
                     ev->target.instance);
        }
        char text[sizeof about + sizeof ev->reason];
        snprintf(text, sizeof text, "%s%s", about, ev->reason);
        fprintf(s->to, "%9.1f s  %s%-10s%s  ", seconds, s->colours ? ink : "", word, s->colours ? "\033[0m" : "");
        tt_print_wrapped(s->to, text, 25, s->width);
        n++;
    }
    return n;
}
