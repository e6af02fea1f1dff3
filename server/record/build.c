#include <link.h>
#include <stdio.h>
#include <string.h>

#include "record/record.h"

/* The linker's note of our own executable, which is the first object: "GNU", then the id. */
static int find_note(struct dl_phdr_info *info, size_t size, void *ctx) {
    (void)size;
    char *to = ctx;
    for (size_t i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *h = &info->dlpi_phdr[i];
        if (h->p_type != PT_NOTE) continue;
        const char *at = (const char *)(info->dlpi_addr + h->p_vaddr), *end = at + h->p_memsz;
        while (at + sizeof(ElfW(Nhdr)) <= end) {
            ElfW(Nhdr) n;
            memcpy(&n, at, sizeof n);
            const char *name = at + sizeof n, *id = name + ((n.n_namesz + 3u) & ~3u);
            if (n.n_type == NT_GNU_BUILD_ID && n.n_namesz == 4 && memcmp(name, "GNU", 4) == 0 && id + n.n_descsz <= end && n.n_descsz <= 20)
                for (size_t k = 0; k < n.n_descsz; k++) snprintf(to + 2 * k, 3, "%02x", (unsigned char)id[k]);
            at = id + ((n.n_descsz + 3u) & ~3u);
        }
    }
    return 1;
}

void tt_record_build_id(char buf[TT_RECORD_BUILD_SIZE]) {
    buf[0] = 0;
    dl_iterate_phdr(find_note, buf);
}
