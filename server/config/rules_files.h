/* Rules from files: each path is a file, or a directory that stands for its *.yaml, in the order of their names. */
#ifndef TT_RULES_FILES_H
#define TT_RULES_FILES_H

#include "plan.h"

enum { TT_RULES_FILES_MAX = 256 };

/* The documents alone, parsed into `arena` and not crossed yet: what tt_rules_load takes. false when any could not be read or parsed. */
bool tt_rules_documents(const char *const paths[], size_t n, tt_arena *arena, const tt_doc *docs[TT_RULES_FILES_MAX], size_t *n_docs, tt_err errs[],
                        size_t max, size_t *n_errs);
/* NULL, and the first *n_errs problems of all files at once. A file that can't be read or parsed does not hide the problems of the others,
 * but the documents are only crossed when each could be read. `matcher` must outlive the rules. */
tt_rules *tt_rules_read(const char *const paths[], size_t n, const tt_matcher *matcher, tt_err errs[], size_t max, size_t *n_errs);

/* The documents as they were read, whole. */
typedef struct {
    tt_sv path, text;
} tt_rules_text;
typedef struct {
    size_t n;
    const tt_rules_text *at;
    tt_arena *arena; /* owns them; NULL: borrowed */
} tt_rules_texts;
/* The same, keeping the texts: these bytes and no others gave the rules. *ret is for tt_rules_texts_free, also when the rules are NULL. */
tt_rules *tt_rules_read_keep(const char *const paths[], size_t n, const tt_matcher *matcher, tt_rules_texts *ret, tt_err errs[], size_t max,
                             size_t *n_errs);
/* Rules from texts kept before. */
tt_rules *tt_rules_of_texts(const tt_rules_texts *texts, const tt_matcher *matcher, tt_err errs[], size_t max, size_t *n_errs);
void tt_rules_texts_free(tt_rules_texts *t);

#endif
