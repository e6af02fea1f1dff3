#include "table.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

static const char *const ink_on[] = {"", "\033[1m", "\033[34m", "\033[33m", "\033[2m"};

int tt_terminal_width(int fd) {
    struct winsize w;
    return ioctl(fd, TIOCGWINSZ, &w) == 0 && w.ws_col > 20 ? w.ws_col : 0;
}

tt_table *tt_table_new(size_t columns, const char *const heads[]) {
    tt_table *t = calloc(1, sizeof *t);
    if (!t) return NULL;
    t->columns = columns;
    (void)tt_table_row(t, TT_BOLD, heads);
    return t;
}

void tt_table_free(tt_table *t) {
    if (!t) return;
    for (size_t i = 0; i < t->rows; i++)
        for (size_t k = 0; k < t->columns; k++) free(t->cell[i][k]);
    free(t);
}

bool tt_table_row(tt_table *t, tt_ink ink, const char *const cells[]) {
    if (t->rows == TT_TABLE_ROWS) return false;
    for (size_t k = 0; k < t->columns; k++) {
        char *text = strdup(cells[k] && *cells[k] ? cells[k] : "-");
        /* What a label holds must not move the terminal's cursor. */
        for (char *p = text; p && *p; p++)
            if ((unsigned char)*p < ' ' || *p == 0x7f) *p = ' ';
        t->cell[t->rows][k] = text;
    }
    t->ink[t->rows++] = ink;
    return true;
}

/* Characters, not bytes; every one is taken to be one column wide. */
static size_t width_of(const char *s) {
    size_t n = 0;
    for (; s && *s; s++) n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

static void put_cut(const char *s, size_t most, FILE *to) {
    size_t n = 0;
    bool cut = width_of(s) > most && most > 1;
    for (; s && *s; s++) {
        bool begins = ((unsigned char)*s & 0xc0) != 0x80;
        if (begins && cut && n == most - 1) {
            fputs("…", to);
            return;
        }
        n += begins;
        fputc(*s, to);
    }
}

void tt_table_print(const tt_table *t, FILE *to, bool colours, int width) {
    size_t wide[TT_TABLE_COLUMNS] = {0};
    for (size_t i = 0; i < t->rows; i++)
        for (size_t k = 0; k < t->columns; k++) {
            size_t w = width_of(t->cell[i][k]);
            if (w > wide[k]) wide[k] = w;
        }
    for (size_t i = 0; i < t->rows; i++) {
        size_t at = 0;
        if (colours) fputs(ink_on[t->ink[i]], to);
        for (size_t k = 0; k < t->columns; k++) {
            const char *text = t->cell[i][k] ? t->cell[i][k] : "";
            if (k + 1 == t->columns) {
                put_cut(text, width > 0 && (size_t)width > at + 8 ? (size_t)width - at : SIZE_MAX, to);
                break;
            }
            fputs(text, to);
            for (size_t w = width_of(text); w < wide[k] + 2; w++) fputc(' ', to);
            at += wide[k] + 2;
        }
        if (colours && t->ink[i] != TT_PLAIN) fputs("\033[0m", to);
        fputc('\n', to);
    }
}

void tt_print_wrapped(FILE *to, const char *text, int indent, int width) {
    int used = 0, room = width - indent;
    if (width <= 0 || room < 24) {
        fprintf(to, "%s\n", text);
        return;
    }
    while (*text) {
        int n = (int)strcspn(text, " ");
        if (used && used + 1 + n > room) {
            fprintf(to, "\n%*s", indent, "");
            used = 0;
        }
        fprintf(to, "%s%.*s", used ? " " : "", n, text);
        used += n + (used ? 1 : 0);
        text += n;
        while (*text == ' ') text++;
    }
    fputc('\n', to);
}
