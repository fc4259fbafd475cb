/* What the tests of data/labels.h and data/dataset.h share, with a stand-in for the tokenizer:
 * [CLS] is 1, [SEP] 2, and each byte a piece of its own value, 'x' being unknown. */
#ifndef GF_TESTS_DATASET_HELP_H
#define GF_TESTS_DATASET_HELP_H

#include "core/io.h"
#include "core/mem.h"
#include "data/dataset.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define DATA "tests/data/rows/"

static inline bool add_id(gf_ids *ids, int32_t id, gf_err *e) {
    if (!gf_grow(&ids->id, ids->count, &ids->capacity, sizeof *ids->id, e)) return false;
    ids->id[ids->count++] = id;
    return true;
}

bool gf_tokenizer_encode(const gf_tokenizer *t, const char *text, size_t size, int64_t max_length,
                         gf_ids *ids, gf_encoding *out, gf_err *e) {
    int64_t pieces = (int64_t)size, kept = pieces < max_length - 2 ? pieces : max_length - 2;
    bool ok = add_id(ids, 1, e);
    assert_null(t);
    *out = (gf_encoding){.first = ids->count, .count = kept + 2, .pieces = pieces};
    for (int64_t i = 0; ok && i < kept; i++) {
        ok = add_id(ids, (unsigned char)text[i], e);
        out->unknown += text[i] == 'x';
    }
    out->truncated = kept < pieces;
    return ok && add_id(ids, 2, e);
}

static char folder[] = SCRATCH "/graft-dataset-XXXXXX";

static inline int make_folder(void **state) {
    (void)state;
    return mkdtemp(folder) == NULL;
}

static inline int remove_folder(void **state) {
    (void)state;
    return !gf_io_remove_tree(folder, NULL);
}

static inline const char *write_text(const char *name, const char *text) {
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_true(gf_io_replace_file(path, text, strlen(text), NULL));
    return path;
}

static inline void add(gf_labels *l, const char *name) {
    gf_err e = {0};
    assert_true(gf_labels_add(l, name, strlen(name), &e));
}

#endif
