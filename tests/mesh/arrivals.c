#include "arrivals.h"
#include "util.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static double gap(uint64_t seed, uint64_t index) {
    return -log(1 - mesh_unit(mesh_hash(seed, "gap", index)));
}

void mesh_arrivals_init(mesh_arrivals *a, uint64_t seed) {
    memset(a, 0, sizeof *a);
    a->seed = seed;
    a->left = gap(seed, 0);
}

bool mesh_arrivals_add(mesh_arrivals *a, int64_t at_ns, const char *text, char *why, size_t why_size) {
    mesh_command c = {.at_ns = at_ns};
    char word[16] = "", value[32] = "", rest[2] = "";
    int n = sscanf(text, "%15s %31s %1s", word, value, rest);
    char *end = value;
    if (n == 2 && strcmp(word, "rate") == 0) {
        c.kind = MESH_RATE;
        c.rate = strtod(value, &end);
        if (*end || !isfinite(c.rate) || c.rate < 0 || c.rate > 100000) n = -1;
    } else if (n == 2 && strcmp(word, "mark") == 0) {
        c.kind = MESH_MARK;
        memcpy(c.name, value, sizeof c.name);
    } else if (n == 1 && strcmp(word, "quit") == 0)
        c.kind = MESH_QUIT;
    else
        n = -1;
    if (n < 0) {
        snprintf(why, why_size, "'%s' is not 'rate N', 'mark NAME' or 'quit'", text);
        return false;
    }
    if (a->n_commands == sizeof a->commands / sizeof *a->commands) {
        snprintf(why, why_size, "more than %zu commands", a->n_commands);
        return false;
    }
    if (c.at_ns < a->at_ns) c.at_ns = a->at_ns;
    size_t i = a->n_commands++;
    for (; i > a->next_command && a->commands[i - 1].at_ns > c.at_ns; i--) a->commands[i] = a->commands[i - 1];
    a->commands[i] = c;
    return true;
}

static bool read_line(mesh_arrivals *a, char *line, char *why, size_t why_size) {
    line[strcspn(line, "#\r\n")] = 0;
    char *p = line + strspn(line, " \t");
    if (!*p) return true;
    char *end;
    double at = strtod(p, &end);
    if (end == p || (*end != ' ' && *end != '\t') || !isfinite(at) || at < 0 || at > 1e6) {
        snprintf(why, why_size, "'%s' does not begin with a time in seconds", p);
        return false;
    }
    return mesh_arrivals_add(a, (int64_t)(at * 1e9), end, why, why_size);
}

bool mesh_arrivals_read(mesh_arrivals *a, const char *path, char *why, size_t why_size) {
    FILE *f = fopen(path, "re");
    if (!f) {
        snprintf(why, why_size, "%s: %s", path, strerror(errno));
        return false;
    }
    char line[256], what[200];
    bool ok = true;
    for (int n = 1; ok && fgets(line, sizeof line, f); n++) {
        ok = read_line(a, line, what, sizeof what);
        if (!ok) snprintf(why, why_size, "%s:%d: %s", path, n, what);
    }
    fclose(f);
    return ok;
}

static int64_t arrival_time(const mesh_arrivals *a) {
    return a->rate > 0 ? a->at_ns + (int64_t)(a->left / a->rate * 1e9) : INT64_MAX;
}

int64_t mesh_arrivals_when(const mesh_arrivals *a) {
    int64_t t = arrival_time(a);
    if (a->next_command < a->n_commands && a->commands[a->next_command].at_ns < t) t = a->commands[a->next_command].at_ns;
    return t;
}

mesh_happening mesh_arrivals_next(mesh_arrivals *a) {
    int64_t t = arrival_time(a);
    if (a->next_command < a->n_commands && a->commands[a->next_command].at_ns <= t) {
        const mesh_command *c = &a->commands[a->next_command++];
        a->left -= a->rate * (double)(c->at_ns - a->at_ns) / 1e9;
        if (a->left < 0) a->left = 0;
        a->at_ns = c->at_ns;
        if (c->kind == MESH_RATE) a->rate = c->rate;
        return (mesh_happening){.kind = MESH_COMMAND, .at_ns = c->at_ns, .command = *c};
    }
    if (t == INT64_MAX) return (mesh_happening){.kind = MESH_NOTHING, .at_ns = t};
    a->at_ns = t;
    uint64_t index = a->next_index++;
    a->left = gap(a->seed, a->next_index);
    return (mesh_happening){.kind = MESH_ARRIVAL, .at_ns = t, .index = index};
}
