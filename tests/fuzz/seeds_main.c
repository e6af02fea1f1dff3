/* Runs each file given once through the fuzz target: keeps seeds and crashes of the past as tests. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        FILE *f = fopen(argv[i], "rb");
        if (!f || fseek(f, 0, SEEK_END) != 0) return 1;
        long n = ftell(f);
        rewind(f);
        uint8_t *data = malloc(n > 0 ? (size_t)n : 1);
        if (n < 0 || !data || fread(data, 1, (size_t)n, f) != (size_t)n) return 1;
        fclose(f);
        (void)LLVMFuzzerTestOneInput(data, (size_t)n);
        free(data);
    }
    printf("%d seeds\n", argc - 1);
    return argc > 1 ? 0 : 1;
}
