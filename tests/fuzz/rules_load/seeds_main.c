/* Runs a fuzz target once on each file given, where there is no libFuzzer. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "no seeds\n");
        return 1;
    }
    for (int i = 1; i < argc; i++) {
        FILE *f = fopen(argv[i], "rb");
        uint8_t *text = malloc(1 << 21);
        if (!f || !text) {
            fprintf(stderr, "%s: can't be read\n", argv[i]);
            return 1;
        }
        size_t n = fread(text, 1, 1 << 21, f);
        LLVMFuzzerTestOneInput(text, n);
        free(text);
        fclose(f);
    }
    return 0;
}
