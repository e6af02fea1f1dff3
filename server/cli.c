#include "cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WORD_MAX = 64, OPTIONS_MAX = 32, TEXT_COLUMN = 26 };

bool tt_cli_colours(int fd) {
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
    return isatty(fd) && !(no && *no) && !(term && strcmp(term, "dumb") == 0);
}

static size_t least(size_t a, size_t b) {
    return a < b ? a : b;
}

/* Edits from one word to the other: insert, delete, replace, swap neighbours. */
static size_t distance(const char *a, const char *b) {
    size_t n = strlen(a), m = strlen(b), row[3][WORD_MAX + 1];
    if (n > WORD_MAX || m > WORD_MAX) return WORD_MAX;
    for (size_t k = 0; k <= m; k++) row[0][k] = k;
    for (size_t i = 1; i <= n; i++) {
        size_t *now = row[i % 3], *last = row[(i - 1) % 3], *before = row[(i + 1) % 3];
        now[0] = i;
        for (size_t k = 1; k <= m; k++) {
            now[k] = least(least(last[k] + 1, now[k - 1] + 1), last[k - 1] + (a[i - 1] != b[k - 1]));
            if (i > 1 && k > 1 && a[i - 1] == b[k - 2] && a[i - 2] == b[k - 1]) now[k] = least(now[k], before[k - 2] + 1);
        }
    }
    return row[n % 3][m];
}

const char *tt_cli_nearest(const char *typed, const char *const candidates[], size_t n) {
    const char *best = NULL;
    size_t near = WORD_MAX, typed_n = strlen(typed);
    for (size_t i = 0; i < n; i++) {
        size_t d = distance(typed, candidates[i]);
        /* The beginning of a word is as good as one edit. */
        if (typed_n >= 2 && strncmp(typed, candidates[i], typed_n) == 0) d = least(d, 1);
        if (d >= near) continue;
        near = d;
        best = candidates[i];
    }
    return near <= 1 + typed_n / 4 ? best : NULL;
}

bool tt_cli_number(const char *text, uint64_t max, uint64_t *ret) {
    uint64_t v = 0;
    if (!*text) return false;
    for (const char *p = text; *p; p++) {
        if (*p < '0' || *p > '9' || v > (UINT64_MAX - 9) / 10) return false;
        v = v * 10 + (uint64_t)(*p - '0');
    }
    if (v > max) return false;
    *ret = v;
    return true;
}

bool tt_cli_bytes(const char *text, uint64_t *ret) {
    static const struct {
        const char *unit;
        uint64_t bytes;
    } units[] = {{"", 1},          {"B", 1},          {"kB", 1000},           {"KiB", 1 << 10}, {"MB", 1000000},
                 {"MiB", 1 << 20}, {"GB", 1000000000}, {"GiB", 1ull << 30}, {"TB", 1000000000000}, {"TiB", 1ull << 40}};
    char digits[24];
    size_t n = strspn(text, "0123456789");
    uint64_t v;
    if (n >= sizeof digits) return false;
    memcpy(digits, text, n);
    digits[n] = 0;
    if (!tt_cli_number(digits, UINT64_MAX, &v)) return false;
    for (size_t i = 0; i < TT_COUNT(units); i++)
        if (strcmp(text + n, units[i].unit) == 0) return !__builtin_mul_overflow(v, units[i].bytes, ret);
    return false;
}

int tt_cli_wrong(const tt_cli *cli, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    fputs("trimtab: ", stderr);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fprintf(stderr, "\nusage: %s\n", cli->usage);
    return TT_EXIT_USAGE;
}

/* Text in its column, broken at spaces. */
static void print_column(const char *text, int indent, int width) {
    int room = width - indent, used = 0;
    while (*text) {
        int n = (int)strcspn(text, " \n");
        if (used && used + 1 + n > room) {
            printf("\n%*s", indent, "");
            used = 0;
        }
        printf("%s%.*s", used ? " " : "", n, text);
        used += n + (used ? 1 : 0);
        text += n;
        if (*text == '\n') {
            printf("\n%*s", indent, "");
            used = 0;
        }
        if (*text) text++;
    }
    putchar('\n');
}

static void print_help(const tt_cli *cli) {
    printf("usage: %s\n\n%s\n", cli->usage, cli->about);
    printf("\nOptions:\n");
    for (size_t i = 0; i < cli->n_options; i++) {
        const tt_cli_option *o = &cli->options[i];
        int n = printf("  --%s%s%s", o->name, o->arg ? " " : "", o->arg ? o->arg : "");
        if (n >= TEXT_COLUMN - 1) {
            putchar('\n');
            n = 0;
        }
        printf("%*s", TEXT_COLUMN - n, "");
        char text[512];
        snprintf(text, sizeof text, "%s%s%s%s", o->help, o->env ? " [" : "", o->env ? o->env : "", o->env ? "]" : "");
        print_column(text, TEXT_COLUMN, 100);
    }
    printf("  --help%*sThis text.\n", TEXT_COLUMN - 8, "");
    if (cli->more) printf("\n%s\n", cli->more);
}

static bool add(tt_cli_list *l, const char *text) {
    if (l->n == TT_CLI_LIST_MAX) return false;
    l->at[l->n++] = text;
    return true;
}

static bool give(const tt_cli_option *o, const char *text) {
    if (o->list) return add(o->list, text);
    *o->value = text;
    return true;
}

static int unknown(const tt_cli *cli, const char *word, size_t n) {
    char name[WORD_MAX + 1];
    const char *names[OPTIONS_MAX + 1];
    size_t n_names = 0;
    snprintf(name, sizeof name, "%.*s", (int)n, word);
    for (size_t i = 0; i < cli->n_options && i < OPTIONS_MAX; i++) names[n_names++] = cli->options[i].name;
    names[n_names++] = "help";
    const char *near = tt_cli_nearest(name, names, n_names);
    return near ? tt_cli_wrong(cli, "there is no option --%s: did you mean --%s?", name, near) : tt_cli_wrong(cli, "there is no option --%s", name);
}

static const tt_cli_option *find(const tt_cli *cli, const char *word, size_t n) {
    for (size_t i = 0; i < cli->n_options; i++)
        if (strlen(cli->options[i].name) == n && memcmp(cli->options[i].name, word, n) == 0) return &cli->options[i];
    return NULL;
}

/* Environment, for what the command line left open. The text of a list is split in a copy that lives as long as the process. */
static bool from_environment(const tt_cli *cli) {
    for (size_t i = 0; i < cli->n_options; i++) {
        const tt_cli_option *o = &cli->options[i];
        const char *text = o->env ? getenv(o->env) : NULL;
        if (!text || !*text) continue;
        if (!o->list) {
            if (!*o->value) *o->value = text;
            continue;
        }
        if (o->list->n) continue;
        static char copy[8192];
        snprintf(copy, sizeof copy, "%s", text);
        char *rest = copy;
        for (char *one; (one = strsep(&rest, ":"));)
            if (*one && !add(o->list, one)) return false;
    }
    return true;
}

int tt_cli_parse(const tt_cli *cli, int argc, char **argv, tt_cli_list *operands, bool *ret_go) {
    bool only_operands = false;
    *ret_go = false;
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i];
        if (only_operands || a[0] != '-' || !a[1]) {
            if (!add(operands, a)) return tt_cli_wrong(cli, "more than %d names", TT_CLI_LIST_MAX);
            continue;
        }
        if (strcmp(a, "--") == 0) {
            only_operands = true;
            continue;
        }
        if (strcmp(a, "--help") == 0 || strcmp(a, "-h") == 0) {
            print_help(cli);
            return TT_EXIT_OK;
        }
        const char *word = a + 2, *text = NULL;
        size_t n = strcspn(word, "=");
        if (a[1] == 'o') { /* -o is --output, as elsewhere; every other option has two dashes */
            text = a[2] ? a + 2 : NULL;
            word = "output";
            n = strlen(word);
        } else if (a[1] != '-') {
            return unknown(cli, a + 1, strlen(a + 1));
        } else if (word[n] == '=') {
            text = word + n + 1;
        }
        const tt_cli_option *o = find(cli, word, n);
        if (!o) return unknown(cli, word, n);
        if (!o->arg) {
            if (text) return tt_cli_wrong(cli, "--%s takes no value", o->name);
            text = "";
        } else if (!text) {
            if (i + 1 == argc) return tt_cli_wrong(cli, "--%s needs %s behind it", o->name, o->arg);
            text = argv[++i];
        }
        if (!give(o, text)) return tt_cli_wrong(cli, "--%s is given more than %d times", o->name, TT_CLI_LIST_MAX);
    }
    if (!from_environment(cli)) return tt_cli_wrong(cli, "more than %d names in the environment", TT_CLI_LIST_MAX);
    *ret_go = true;
    return TT_EXIT_OK;
}

void tt_cli_errors(const tt_err errs[], size_t n) {
    for (size_t i = 0; i < n; i++) {
        char text[900];
        tt_err_print(&errs[i], text, sizeof text);
        fprintf(stderr, "%s\n", text);
    }
}

bool tt_cli_write(const char *path, const tt_buf *b) {
    FILE *f = strcmp(path, "-") == 0 ? stdout : fopen(path, "we");
    bool ok = f && !b->failed && fwrite(b->p, 1, b->n, f) == b->n;
    int os = errno;
    if (f && f != stdout && fclose(f) != 0 && ok) {
        os = errno;
        ok = false;
    }
    if (!ok) fprintf(stderr, "trimtab: %s cannot be written: %s\n", path, b->failed ? "out of memory" : strerror(os));
    return ok;
}
