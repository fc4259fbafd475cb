/* model_help: model folders for tests: copied, edited, opened, compared with a file's tensors. */
#ifndef GF_TESTS_MODEL_HELP_H
#define GF_TESTS_MODEL_HELP_H

/* After <cmocka.h>. */
#include "checkpoints/folder.h"
#include "checkpoints/safetensors.h"
#include "checkpoints/weights.h"
#include "core/text.h"
#include "tests/scratch.h"

static inline void copy_tree(const char *from, const char *to) {
    int64_t n = 0;
    char **names = gf_io_list(from, &n, NULL);
    assert_non_null(names);
    assert_true(gf_io_make_folder(to, NULL));
    for (int64_t i = 0; i < n; i++) {
        char *a = gf_io_join(from, names[i], NULL), *b = gf_io_join(to, names[i], NULL);
        if (gf_io_is_folder(a))
            copy_tree(a, b);
        else
            assert_true(gf_io_link(a, b, NULL));
        gf_free(a);
        gf_free(b);
    }
    gf_io_free_names(names, n);
}

/* Replaces the first `from` in a file. */
static inline void edit(const char *path, const char *from, const char *to) {
    size_t size = 0;
    char *text = gf_io_read_all(path, 1 << 20, &size, NULL), *at = strstr(text, from), *edited;
    if (!at) fail_msg("%s has no %s", path, from);
    edited = gf_format(NULL, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    write_file(path, edited);
    gf_free(edited);
    gf_free(text);
}

static inline void open_ok(gf_model *m, const char *path, const gf_log *log) {
    gf_err e = {0};
    *m = (gf_model){0};
    if (!gf_folder_open(m, path, GF_OPEN_WEIGHTS, log, &e)) fail_msg("%s", e.text);
}

static inline void open_fails(const char *path, const char *part) {
    gf_model m = {0};
    gf_err e = {0};
    if (gf_folder_open(&m, path, GF_OPEN_WEIGHTS, NULL, &e)) fail_msg("opened; wanted: %s", part);
    if (!strstr(e.text, part)) fail_msg("\"%s\" is not in: %s", part, e.text);
    assert_int_equal(e.code, GF_E_MODEL);
    gf_model_free(&m);
}

/* A parameter must hold what the file's tensor holds. */
static inline void check_tensor(const gf_param *p, const char *path, const char *name) {
    gf_safetensors s = {0};
    gf_err e = {0};
    const gf_tensor *t;
    if (!gf_safetensors_open(&s, path, &e)) fail_msg("%s", e.text);
    assert_non_null(t = gf_safetensors_find(&s, name));
    assert_int_equal(t->bytes, (size_t)gf_param_count(p) * sizeof(float));
    assert_memory_equal(p->value, t->data, t->bytes);
    gf_safetensors_close(&s);
}

static inline void keep_line(void *context, gf_log_level level, const char *text) {
    (void)level;
    gf_text_add(context, NULL, "%s\n", text);
}

/* Projection before heads, and nothing behind them. */
static inline void check_order(const gf_model *m) {
    int64_t n = m->params.count, heads = 2 * m->n_heads;
    for (int64_t i = 0; i < n; i++)
        assert_int_equal(gf_weights_is_head(m->params.items[i]), i >= n - heads);
    if (m->dense.weight)
        assert_ptr_equal(m->params.items[n - heads - (m->dense.bias ? 2 : 1)], m->dense.weight);
}

#endif
