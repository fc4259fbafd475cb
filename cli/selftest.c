#include "cli/selftest.h"

#include "core/gemm.h"
#include "core/gemm_tiles.h"
#include "core/mem.h"
#include "core/text.h"
#include "core/vec.h"
#include "recipes/trainer.h"

#include <math.h>
#include <string.h>

typedef struct selftest {
    int threads;   /* of the second training */
    char *folder;  /* temporary */
    gf_text files; /* what the first training wrote */
    double first_loss, last_loss, accuracy;
} selftest;

/* ---- BLAS and kernels ---- */

static bool check_blas(selftest *s, gf_err *e) {
    (void)s;
    return gf_gemm_start(e);
}

enum { SAMPLE = 1003, RESULTS = 20 }; /* no multiple of any vector's width */

/* Every kernel of a table over x[SAMPLE], into y[RESULTS][SAMPLE]. */
static void run_kernels(const gf_vec *v, const gf_real *x, gf_real (*y)[SAMPLE]) {
    gf_dropout d = gf_dropout_make(0.1, 1, 2, 3);
    gf_adamw a = {.decay = (gf_real)0.99,
                  .step_size = (gf_real)0.01,
                  .bias2_sqrt = (gf_real)0.1,
                  .rate1 = (gf_real)0.1,
                  .rate2 = (gf_real)0.001,
                  .beta2 = (gf_real)0.999,
                  .eps = (gf_real)1e-8,
                  .grad_scale = 1};
    gf_real rstd, small = (gf_real)1e-5;
    for (int i = 0; i < RESULTS; i++) memcpy(y[i], x, sizeof *y);
    v->exp(SAMPLE, x, y[0]);
    v->erf(SAMPLE, x, y[1]);
    v->tanh(SAMPLE, x, y[2]);
    v->gelu(SAMPLE, x, y[3]);
    v->gelu_tanh(SAMPLE, x, y[4]);
    v->gelu_slope(SAMPLE, x, x, y[5]);
    v->gelu_tanh_slope(SAMPLE, x, x, y[6]);
    v->add(SAMPLE, x, y[7]);
    v->axpy(SAMPLE, 3, x, y[8]);
    v->add_rows(1, SAMPLE, SAMPLE, x, x, NULL, y[9]);
    v->scale(SAMPLE, 3, x, y[10]);
    y[11][0] = v->sum(SAMPLE, x);
    y[11][1] = v->dot(SAMPLE, x, x);
    y[11][2] = v->max(SAMPLE, x);
    y[11][3] = (gf_real)v->sum_squares(SAMPLE, x);
    v->softmax(SAMPLE, 1, x, y[12]);
    v->softmax_slope(SAMPLE, 1, y[12], y[12], x, y[13]);
    v->layernorm(SAMPLE, x, x, x, small, y[14], y[15], &rstd);
    v->layernorm_slope(SAMPLE, x, x, y[15], rstd, y[16]);
    v->dropout(SAMPLE, &d, 5, x, y[17]);
    memset(y[18], 0, sizeof *y);
    memset(y[19], 0, sizeof *y);
    v->adamw(SAMPLE, &a, x, y[7], y[18], y[19]);
}

static bool check_kernels(selftest *s, gf_err *e) {
    gf_real x[SAMPLE];
    gf_real(*plain)[SAMPLE] = gf_alloc_array(RESULTS, sizeof *plain, e);
    gf_real(*fast)[SAMPLE] = gf_alloc_array(RESULTS, sizeof *fast, e);
    const gf_vec *v;
    bool ok = plain && fast;
    (void)s;
    for (int i = 0; i < SAMPLE; i++) x[i] = (gf_real)((i * 37 % SAMPLE) - 500) / 61;
    if (ok) run_kernels(gf_vec_at(0), x, plain);
    for (int i = 1; ok && (v = gf_vec_at(i)); i++) {
        run_kernels(v, x, fast);
        for (int k = 0; ok && k < RESULTS; k++)
            if (memcmp(plain[k], fast[k], sizeof *plain) != 0)
                ok = gf_fail(e, GF_E_INTERNAL, "result %d of the %s kernels is not the plain one's",
                             k, v->name);
    }
    gf_free(plain);
    gf_free(fast);
    return ok;
}

enum { ROWS = 38, COLUMNS = 70, DEPTH = 53, ROOM = 4096 }; /* no multiples of a tile's sides */

static void run_tiles(const gf_tiles *t, const gf_real *x, gf_real *a, gf_real *b, gf_real *y) {
    gf_packing rows = {.items = ROWS, .k = DEPTH, .item_stride = DEPTH, .k_stride = 1, .x = x};
    gf_packing columns = {
        .items = COLUMNS, .k = DEPTH, .item_stride = 1, .k_stride = COLUMNS, .x = x};
    t->pack_rows(&rows, a);
    t->pack_columns(&columns, b);
    t->multiply(&(gf_tiling){.m = ROWS,
                             .n = COLUMNS,
                             .k = DEPTH,
                             .ldc = COLUMNS,
                             .a = {a, 1, t->rows},
                             .a_stride = DEPTH * t->rows,
                             .rest = {a + ROWS / t->rows * t->rows * DEPTH, 1, t->rows},
                             .b = b,
                             .b_stride = DEPTH * t->columns,
                             .from = x,
                             .c = y});
}

static bool check_tiles(selftest *s, gf_err *e) {
    gf_real *room = gf_alloc_array(7 * ROOM, sizeof *room, e), *x = room;
    gf_real *plain = x + ROOM, *fast = plain + ROOM, *a = fast + ROOM, *b = a + ROOM;
    bool ok = room != NULL;
    (void)s;
    for (int i = 0; ok && i < ROOM; i++) x[i] = (gf_real)((i * 37 % SAMPLE) - 500) / 61;
    for (int i = 0; ok && gf_tiles_at(i); i++) {
        run_tiles(gf_tiles_at(i), x, a, b, i ? fast : plain);
        if (i && memcmp(plain, fast, ROWS * COLUMNS * sizeof *plain) != 0)
            ok = gf_fail(e, GF_E_INTERNAL, "the %s matrix kernel's result is not the plain one's",
                         gf_tiles_at(i)->name);
    }
    gf_free(room);
    return ok;
}

/* ---- a tiny BERT ---- */

static const char *const nouns[] = {"bread", "cheese", "coffee", "soup",
                                    "train", "hotel",  "flight", "beach"};
static const char *const adjectives[] = {"lovely", "great", "fine", "awful", "poor", "bad"};
enum { NOUNS = 8, ADJECTIVES = 6 };

static const char config[] =
    "{\"model_type\": \"bert\", \"vocab_size\": 21, \"hidden_size\": 32, \"num_hidden_layers\": "
    "2,\n"
    " \"num_attention_heads\": 2, \"intermediate_size\": 64, \"max_position_embeddings\": 16}\n";

static const char recipe_text[] =
    "{\"model\": {\"base\": \"base\", \"init\": \"random\", \"max_length\": 16},\n"
    " \"data\": {\"train\": \"data.jsonl\", \"dev\": \"data.jsonl\"},\n"
    " \"tasks\": [{\"name\": \"topic\", \"type\": \"classification\", \"label\": \"topic\"},\n"
    "           {\"name\": \"mood\", \"type\": \"classification\", \"label\": \"mood\"}],\n"
    " \"batch\": {\"size\": 8},\n"
    " \"phases\": [{\"name\": \"heads\", \"epochs\": 1, \"trainable\": {\"heads.*\": {\"lr\": "
    "1e-2}}},\n"
    "            {\"name\": \"all\", \"epochs\": 6, \"trainable\": {\"*\": {\"lr\": 5e-3}}}],\n"
    " \"select\": {\"metric\": \"loss\"}, \"seed\": 1, \"output\": \"run\"}\n";

static bool write_file(const selftest *s, const char *name, const char *text, gf_err *e) {
    char *path = gf_io_join(s->folder, name, e);
    bool ok = path && gf_io_replace_file(path, text, strlen(text), e);
    gf_free(path);
    return ok;
}

static bool write_vocabulary(const selftest *s, gf_err *e) {
    gf_text t = {0};
    bool ok = gf_text_add(&t, e, "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\nwas\n");
    for (int i = 0; ok && i < NOUNS; i++) ok = gf_text_add(&t, e, "%s\n", nouns[i]);
    for (int i = 0; ok && i < ADJECTIVES; i++) ok = gf_text_add(&t, e, "%s\n", adjectives[i]);
    ok = ok && write_file(s, "base/vocab.txt", t.data, e);
    gf_text_free(&t);
    return ok;
}

static bool write_data(const selftest *s, gf_err *e) {
    gf_text t = {0};
    bool ok = true;
    for (int n = 0; n < NOUNS; n++)
        for (int a = 0; ok && a < ADJECTIVES; a++)
            ok = gf_text_add(&t, e,
                             "{\"text\": \"The %s was %s\", \"topic\": \"%s\", \"mood\": %s}\n",
                             nouns[n], adjectives[a], n < NOUNS / 2 ? "food" : "travel",
                             (n + a) % 7 == 0     ? "null" /* some labels are missing */
                             : a < ADJECTIVES / 2 ? "\"good\""
                                                  : "\"bad\"");
    ok = ok && write_file(s, "data.jsonl", t.data, e);
    gf_text_free(&t);
    return ok;
}

static bool write_inputs(selftest *s, gf_err *e) {
    char *base = NULL;
    bool ok = (s->folder = gf_io_make_temporary_folder(e)) &&
              (base = gf_io_join(s->folder, "base", e)) && gf_io_make_folder(base, e) &&
              write_file(s, "base/config.json", config, e) && write_vocabulary(s, e) &&
              write_data(s, e);
    gf_free(base);
    return ok;
}

static void note_loss(void *context, const gf_eval_view *v) {
    selftest *s = context;
    s->last_loss = v->dev->tasks[0].value[GF_METRIC_LOSS] + v->dev->tasks[1].value[GF_METRIC_LOSS];
    s->accuracy =
        (v->dev->tasks[0].value[GF_METRIC_ACCURACY] + v->dev->tasks[1].value[GF_METRIC_ACCURACY]) /
        2;
    if (!v->before) s->first_loss = s->last_loss;
}

static bool train(selftest *s, int threads, gf_err *e) {
    char *path = gf_io_join(s->folder, "recipe.json", e);
    gf_recipe r = {0};
    gf_trainer_options o = {.threads = threads,
                            .force = true,
                            .at_step = -1,
                            .watch = {.context = s, .evaluated = note_loss}};
    bool ok = path && gf_recipe_parse(&r, recipe_text, sizeof recipe_text - 1, path, NULL, 0, e) &&
              gf_train(&r, &o, e);
    gf_recipe_free(&r);
    gf_free(path);
    return ok;
}

static bool check_training(selftest *s, gf_err *e) {
    if (!write_inputs(s, e) || !train(s, 1, e)) return false;
    if (s->last_loss < s->first_loss / 2 && s->accuracy > 0.8) return true;
    return gf_fail(e, GF_E_INTERNAL, "the loss went from %.4f to %.4f, the accuracy to %.4f",
                   s->first_loss, s->last_loss, s->accuracy);
}

/* ---- the same with more threads ---- */

static bool read_files(const selftest *s, gf_text *bytes, gf_err *e) {
    static const char *const names[] = {"run/metrics.json", "run/checkpoints/best.h5",
                                        "run/model/model.safetensors",
                                        "run/model/heads.safetensors"};
    bool ok = true;
    for (size_t i = 0; ok && i < sizeof names / sizeof *names; i++) {
        char *path = gf_io_join(s->folder, names[i], e), *file;
        size_t size = 0;
        file = path ? gf_io_read_all(path, 1 << 26, &size, e) : NULL;
        ok = file && gf_text_add_bytes(bytes, file, size, e);
        gf_free(file);
        gf_free(path);
    }
    return ok;
}

static bool check_threads(selftest *s, gf_err *e) {
    gf_text again = {0};
    bool ok = read_files(s, &s->files, e) && train(s, s->threads, e) && read_files(s, &again, e);
    if (ok &&
        (again.length != s->files.length || memcmp(again.data, s->files.data, again.length) != 0))
        ok = gf_fail(e, GF_E_INTERNAL, "the files differ from those that one thread wrote");
    gf_text_free(&again);
    return ok;
}

/* ---- all of them ---- */

static const struct {
    const char *name;
    bool (*run)(selftest *s, gf_err *e);
} checks[] = {
    {"products have a kernel, or a BLAS that keeps to one thread", check_blas},
    {"all vector kernels give the plain ones' bits", check_kernels},
    {"all matrix kernels give the plain one's bits", check_tiles},
    {"a tiny BERT trains and is evaluated", check_training},
    {"more threads write the same bytes", check_threads},
};

bool gf_selftest_run(gf_file *out, int threads, int64_t *failed, gf_err *e) {
    selftest s = {.threads = threads};
    bool printed = true;
    *failed = 0;
    for (size_t i = 0; printed && i < sizeof checks / sizeof *checks; i++) {
        gf_err why = {0};
        bool ok = checks[i].run(&s, &why);
        *failed += !ok;
        printed = gf_io_printf(out, e, "self-test   %-46s %s%s\n", checks[i].name,
                               ok ? "ok" : "FAILED: ", ok ? "" : why.text) &&
                  gf_io_flush(out, e);
    }
    if (s.folder) gf_io_remove_tree(s.folder, NULL);
    gf_free(s.folder);
    gf_text_free(&s.files);
    return printed;
}
