/* Runs the fuzz target over files or directories of files, where there is no libFuzzer: the seeds are tests too. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static unsigned n_run;

static void run_file(const char *path) {
    FILE *f = fopen(path, "rb");
    if (!f) return;
    static uint8_t data[1 << 20];
    size_t n = fread(data, 1, sizeof data, f);
    fclose(f);
    uint8_t *exact = malloc(n ? n : 1); /* so that the sanitizer sees a byte too many */
    if (!exact) exit(1);
    memcpy(exact, data, n);
    (void)LLVMFuzzerTestOneInput(exact, n);
    for (size_t cut = 0; cut < n; cut++) (void)LLVMFuzzerTestOneInput(exact, cut);
    for (size_t i = 0; i < n; i++)
        for (unsigned bit = 0; bit < 8; bit++) {
            exact[i] ^= (uint8_t)(1u << bit);
            (void)LLVMFuzzerTestOneInput(exact, n);
            exact[i] ^= (uint8_t)(1u << bit);
        }
    free(exact);
    n_run++;
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        DIR *d = opendir(argv[i]);
        if (!d) {
            run_file(argv[i]);
            continue;
        }
        for (struct dirent *e; (e = readdir(d));) {
            char path[4096];
            struct stat st;
            snprintf(path, sizeof path, "%s/%s", argv[i], e->d_name);
            if (stat(path, &st) == 0 && S_ISREG(st.st_mode)) run_file(path);
        }
        closedir(d);
    }
    printf("%u seeds\n", n_run);
    return n_run == 0;
}
