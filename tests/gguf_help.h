/* gguf_help: what the tests of GGUF files share. Include after <cmocka.h>. */
#ifndef GF_TESTS_GGUF_HELP_H
#define GF_TESTS_GGUF_HELP_H

#include "checkpoints/folder.h"
#include "checkpoints/gguf.h"
#include "checkpoints/gguf_bert.h"
#include "core/io_fault.h"
#include "core/json.h"
#include "data/tokenizer.h"

#include "tests/scratch.h"

#define DATA  "tests/data/gguf/"
#define PLAIN "tests/data/checkpoints/plain"

/* The value that make_checkpoints.py gives to element i of a parameter. */
static inline gf_real expected(const char *name, int64_t i) {
    uint32_t h = 2166136261u;
    for (; *name; name++) h = (h ^ (unsigned char)*name) * 16777619u;
    return (gf_real)((h + 37 * (uint64_t)i) % 256) / 128 - 1;
}

static inline void open_ok(gf_model *m, const char *path) {
    gf_err e = {0};
    if (!gf_gguf_open_model(m, path, NULL, &e)) fail_msg("%s", e.text);
}

static inline void open_plain(gf_model *m) {
    gf_err e = {0};
    if (!gf_folder_open(m, PLAIN, GF_OPEN_WEIGHTS, NULL, &e)) fail_msg("%s", e.text);
}

static inline void write_ok(const gf_model *m, gf_dtype dtype, const char *path) {
    gf_err e = {0};
    if (!gf_gguf_write_model(m, dtype, path, &e)) fail_msg("%s", e.text);
}

/* The ids that transformers' tokenizer gives. */
static inline void check_ids(const gf_model *m) {
    cJSON *list = gf_json_read(DATA "ids.json", 1 << 16, NULL), *item, *id;
    assert_true(cJSON_GetArraySize(list) > 4);
    cJSON_ArrayForEach(item, list) {
        const char *text = cJSON_GetObjectItem(item, "text")->valuestring;
        gf_ids ids = {0};
        gf_encoding enc;
        int64_t i = 0;
        assert_true(gf_tokenizer_encode(m->tokenizer, text, strlen(text), 12, &ids, &enc, NULL));
        cJSON_ArrayForEach(id, cJSON_GetObjectItem(item, "ids")) {
            assert_true(i < ids.count);
            if (ids.id[i++] != id->valueint) fail_msg("\"%s\": id %d", text, (int)i - 1);
        }
        assert_int_equal(i, ids.count);
        gf_free(ids.id);
    }
    cJSON_Delete(list);
}

static inline const char *text_of(const cJSON *j, const char *name) {
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(j, name));
}

#endif
