/* build/bench/steps: the work of a training or embedding script on real rows, timed, as one line of
 * JSON. bench/README.md says what each mode does and what is in its time. */
#include "bench/measure.h"
#include "core/io.h"
#include "core/mem.h"
#include "core/text.h"
#include "core/json.h"
#include "recipes/step.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: steps MODEL DATA [--mode full|topN|topN-live|heads|heads-live|embed|latency]\n"
    "             [--batch 32] [--max-length 128] [--steps 40] [--epochs 10] [--threads N]\n"
    "             [--bucket]\n"
    "             [--tasks N] [--random-base] [--layers 12] [--hidden 768]\n"
    "             [--vocabulary 30522]\n"
    "DATA has the fields text, category and sentiment. Prints one JSON line. --random-base: a "
    "BERT\n"
    "of these sizes with weights from a seed. --tasks: that many heads, all for category.\n";

enum {
    UNTIMED = 3,             /* first steps, which touch memory for the first time */
    WARM_UP = 20,            /* texts of mode latency that are not timed */
    LARGEST_FILE = 64 << 20, /* of a vocabulary */
    HEAD = 64                /* width of an attention head, as in every BERT */
};

typedef struct options {
    const char *model, *data, *mode;
    int64_t batch, max_length, steps, epochs, threads, layers, hidden, vocabulary, tasks;
    bool random_base, bucket;
} options;

typedef struct bench {
    const options *o;
    gf_recipe recipe;
    gf_run run;
    gf_engine engine;
    gf_phase phase;
    gf_boundary boundary;
    gf_stepper stepper;
    gf_progress at;
    gf_update update;
    gf_epoch epoch;
    double seconds, rows, tokens, steps; /* what was timed */
    double read_seconds;                 /* to read and tokenize all rows once */
    double encode_seconds;               /* modes heads and topN: what stands still, once */
    double best_step;                    /* seconds of the quickest one */
    double *latency;                     /* [rows] mode latency: seconds a text, rising */
} bench;

/* ---- what to do ---- */

static const char *rules_of(const char *mode, char *text, size_t size) {
    int layers = strncmp(mode, "top", 3) == 0 ? atoi(mode + 3) : 0;
    if (strcmp(mode, "full") == 0) return "\"heads.*\": {\"lr\": 1e-3}, \"*\": {\"lr\": 2e-5}";
    if (strncmp(mode, "heads", 5) == 0) return "\"heads.*\": {\"lr\": 1e-3}";
    if (strcmp(mode, "embed") == 0 || strcmp(mode, "latency") == 0) return "";
    if (layers < 1) return NULL;
    snprintf(text, size, "\"heads.*\": {\"lr\": 1e-3}, \"encoder.layer[-%d:].*\": {\"lr\": 2e-5}",
             layers);
    return text;
}

static bool add_tasks(gf_text *t, const options *o, gf_err *e) {
    bool ok = true;
    if (o->tasks == 0)
        return gf_text_add(t, e, "{\"name\": \"category\"}, {\"name\": \"sentiment\"}");
    for (int64_t i = 0; i < o->tasks; i++)
        ok = ok && gf_text_add(t, e, "%s{\"name\": \"task%lld\", \"label\": \"category\"}",
                               i ? ", " : "", (long long)i);
    return ok;
}

static bool make_recipe(bench *b, const char *base, gf_err *e) {
    const options *o = b->o;
    char room[96];
    const char *rules = rules_of(o->mode, room, sizeof room);
    char *model = gf_json_quote("", base, e), *data = gf_json_quote("", o->data, e);
    gf_text t = {0}, tasks = {0};
    bool ok = model && data && add_tasks(&tasks, o, e);
    if (!rules)
        ok = gf_fail(e, GF_E_USAGE,
                     "--mode: \"%s\" is unknown; take full, topN, heads, topN-live, heads-live, "
                     "embed or latency",
                     o->mode);
    ok = ok && gf_text_add(&t, e,
                           "{\"model\": {\"base\": %s, \"max_length\": %lld, \"init\": %s},"
                           "\"data\": {\"train\": %s},"
                           "\"tasks\": [%s],"
                           "\"batch\": {\"size\": %lld, \"bucket\": %s},"
                           "\"phases\": [{\"name\": \"bench\", \"epochs\": %lld,"
                           "\"trainable\": {%s}, \"schedule\": {\"type\": \"linear\","
                           "\"warmup\": 10}}], \"seed\": 1}",
                           model, (long long)o->max_length, o->random_base ? "\"random\"" : "null",
                           data, tasks.data, (long long)o->batch, o->bucket ? "true" : "false",
                           (long long)o->epochs, rules);
    ok = ok && gf_recipe_parse(&b->recipe, t.data, t.length, "bench.json", NULL, 0, e);
    gf_text_free(&t);
    gf_text_free(&tasks);
    gf_free(model);
    gf_free(data);
    return ok;
}

/* ---- --random-base: a folder with a configuration and the vocabulary of the model ---- */

static bool copy_if_there(const char *from, const char *to, const char *name, gf_err *e) {
    char *source = gf_io_join(from, name, e), *target = gf_io_join(to, name, e), *bytes = NULL;
    bool ok = source && target;
    size_t size;
    if (ok && gf_io_exists(source)) {
        bytes = gf_io_read_all(source, LARGEST_FILE, &size, e);
        ok = bytes && gf_io_replace_file(target, bytes, size, e);
    }
    gf_free(bytes);
    gf_free(source);
    gf_free(target);
    return ok;
}

static bool fill_random_base(const char *folder, const options *o, gf_err *e) {
    char *config = gf_io_join(folder, "config.json", e);
    const char *model = o->model;
    gf_text t = {0};
    bool ok =
        config &&
        gf_text_add(&t, e,
                    "{\"model_type\": \"bert\", \"architectures\": [\"BertModel\"],"
                    "\"vocab_size\": %lld, \"hidden_size\": %lld, \"num_hidden_layers\": %lld,"
                    "\"num_attention_heads\": %lld, \"intermediate_size\": %lld,"
                    "\"hidden_act\": \"gelu\", \"hidden_dropout_prob\": 0.1,"
                    "\"attention_probs_dropout_prob\": 0.1, \"max_position_embeddings\": 512,"
                    "\"type_vocab_size\": 2, \"initializer_range\": 0.02,"
                    "\"layer_norm_eps\": 1e-12}\n",
                    (long long)o->vocabulary, (long long)o->hidden, (long long)o->layers,
                    (long long)(o->hidden / HEAD), (long long)(4 * o->hidden)) &&
        gf_io_replace_file(config, t.data, t.length, e) &&
        copy_if_there(model, folder, "vocab.txt", e) &&
        copy_if_there(model, folder, "tokenizer.json", e) &&
        copy_if_there(model, folder, "tokenizer_config.json", e);
    gf_text_free(&t);
    gf_free(config);
    return ok;
}

static bool open_run(bench *b, gf_err *e) {
    const options *o = b->o;
    char *folder = o->random_base ? gf_io_make_temporary_folder(e) : NULL;
    bool ok = !o->random_base || (folder && fill_random_base(folder, o, e));
    ok = ok && make_recipe(b, folder ? folder : o->model, e) &&
         gf_run_open(&b->run, &b->recipe, NULL, &(gf_log){0}, e);
    if (folder) gf_io_remove_tree(folder, NULL);
    gf_free(folder);
    return ok && gf_engine_start(&b->engine, (int)o->threads, e);
}

/* ---- the work ---- */

/* Reads and tokenizes all rows once more, for its time. */
static bool read_again(bench *b, gf_dataset *d, gf_err *e) {
    double start = gf_bench_now();
    bool ok = gf_dataset_add(d, b->o->data, "text", b->run.fields, b->recipe.n_tasks,
                             b->run.model.tokenizer, b->run.model.max_length, e);
    b->read_seconds = gf_bench_now() - start;
    return ok;
}

/* Update `index` of the phase, over one batch. */
static bool step(bench *b, int64_t index, gf_err *e) {
    int64_t per_epoch = b->phase.updates_per_epoch;
    b->at.epoch = index / per_epoch;
    b->at.update = index % per_epoch;
    if (b->at.update == 0 && !gf_phase_make_epoch(&b->phase, &b->run, b->at.epoch, &b->epoch, e))
        return false;
    if (!gf_step_run(&b->stepper, &b->run, &b->engine, &b->phase, &b->at, &b->epoch, b->at.update,
                     1, &b->update, e))
        return false;
    b->rows += (double)b->update.rows;
    b->tokens += (double)b->update.tokens;
    b->steps++;
    return true;
}

static bool run_steps(bench *b, int64_t untimed, int64_t steps, gf_err *e) {
    double start = gf_bench_now(), began, took;
    for (int64_t i = 0; i < steps; i++) {
        if (i == untimed) {
            b->rows = b->tokens = b->steps = 0;
            start = gf_bench_now();
        }
        began = gf_bench_now();
        if (!step(b, i, e)) return false;
        took = gf_bench_now() - began;
        if (i == untimed || took < b->best_step) b->best_step = took;
    }
    b->seconds += gf_bench_now() - start;
    return true;
}

static bool train(bench *b, gf_err *e) {
    const options *o = b->o;
    gf_dataset again = {0};
    bool once = strcmp(o->mode, "full") != 0 && !strstr(o->mode, "-live"), ok;
    double start;
    if (o->steps <= UNTIMED || b->run.train.rows < o->batch)
        return gf_fail(e, GF_E_USAGE, "--steps must be above %d, and DATA hold a batch", UNTIMED);
    ok = (b->update.loss = gf_alloc_array(b->recipe.n_tasks, sizeof *b->update.loss, e)) &&
         (b->update.weight = gf_alloc_array(b->recipe.n_tasks, sizeof *b->update.weight, e)) &&
         gf_stepper_start(&b->stepper, &b->run, e) &&
         gf_phase_begin(&b->phase, &b->run, 0, &b->at, e) &&
         gf_stepper_begin(&b->stepper, &b->run, &b->engine, &b->phase, e) &&
         read_again(b, &again, e);
    gf_dataset_free(&again);
    start = gf_bench_now();
    if (once)
        ok = ok && gf_boundary_start(&b->boundary, &b->recipe, NULL, NULL, NULL, e) &&
             gf_phase_make_features(&b->phase, &b->run, &b->engine, &b->boundary, 2, NULL, e);
    b->encode_seconds = b->seconds = gf_bench_now() - start;
    if (once) return ok && run_steps(b, 0, b->phase.updates, e);
    b->seconds = 0;
    return ok && run_steps(b, UNTIMED, o->steps, e);
}

static bool embed(bench *b, gf_err *e) {
    gf_dataset d = {0};
    gf_features f = {0};
    double start = gf_bench_now();
    bool ok = read_again(b, &d, e) &&
              gf_features_make(&f, &b->engine, &b->run.model, &d, GF_EVAL_ROWS, NULL, e);
    b->seconds = gf_bench_now() - start - b->read_seconds;
    b->rows = (double)d.rows;
    b->tokens = (double)d.ids.count;
    gf_features_free(&f);
    gf_dataset_free(&d);
    return ok;
}

static int compare_doubles(const void *left, const void *right) {
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

/* One text a call, one call after the other, in the order of the file; the first ones once more
 * before that. What reading and tokenizing a text takes on average is added to each. */
static bool embed_singly(bench *b, gf_err *e) {
    gf_dataset d = {0};
    gf_batch one = {0};
    gf_real *x = gf_alloc_array(b->run.model.embedding_size, sizeof *x, e);
    bool ok =
        x && read_again(b, &d, e) && (b->latency = gf_alloc_array(d.rows, sizeof *b->latency, e));
    for (int64_t i = -WARM_UP; ok && i < d.rows; i++) {
        int64_t row = i < 0 ? (i + WARM_UP) % d.rows : i;
        double start = gf_bench_now(), took;
        ok = gf_batch_fill(&one, &d, &row, 1, e) &&
             gf_engine_embed(&b->engine, &b->run.model, &one, x, e);
        took = gf_bench_now() - start;
        if (i < 0) continue;
        b->latency[i] = took + b->read_seconds / (double)d.rows;
        b->seconds += took;
    }
    b->rows = (double)d.rows;
    b->tokens = (double)d.ids.count;
    if (ok) qsort(b->latency, (size_t)d.rows, sizeof *b->latency, compare_doubles);
    gf_batch_free(&one);
    gf_dataset_free(&d);
    gf_free(x);
    return ok;
}

/* Rows are read before the timed steps; a script tokenizes as it goes, so their share counts. */
static void print_result(bench *b) {
    double all = (double)b->run.train.rows, once = b->phase.train.x ? all : b->rows;
    double tokens = (double)b->run.train.ids.count / all;
    double seconds = b->seconds + b->read_seconds * once / all;
    if (!b->phase.train.x) tokens = b->tokens / b->rows;
    printf("{\"mode\": \"%s\", \"threads\": %d, \"seq_s\": %.3f, \"tok_s\": %.1f, \"tok_per_seq\": "
           "%.2f, \"rows\": %.0f, \"read_s\": %.4f",
           b->o->mode, gf_pool_threads(b->engine.pool), b->rows / seconds,
           tokens * b->rows / seconds, tokens, b->rows, b->read_seconds);
    if (b->steps > 0)
        printf(", \"steps\": %.0f, \"step_ms\": %.3f, \"best_step_ms\": %.3f, \"loss\": %.4f",
               b->steps, 1e3 * (b->seconds - b->encode_seconds) / b->steps, 1e3 * b->best_step,
               b->update.total);
    if (b->latency)
        printf(", \"latency_ms\": %.4f, \"best_latency_ms\": %.4f, \"p90_latency_ms\": %.4f",
               1e3 * b->latency[(int64_t)b->rows / 2], 1e3 * b->latency[0],
               1e3 * b->latency[(int64_t)b->rows * 9 / 10]);
    if (b->phase.train.x)
        printf(", \"encode_s\": %.3f, \"epochs\": %lld", b->encode_seconds,
               (long long)b->o->epochs);
    printf(", \"rss_mib\": %.1f}\n", gf_bench_peak_mib());
}

static void close_bench(bench *b) {
    gf_phase_end(&b->phase);
    gf_boundary_end(&b->boundary, true);
    gf_stepper_free(&b->stepper, &b->run);
    gf_epoch_free(&b->epoch);
    gf_free(b->latency);
    gf_free(b->update.loss);
    gf_free(b->update.weight);
    gf_run_close(&b->run);
    gf_engine_stop(&b->engine);
    gf_recipe_free(&b->recipe);
}

/* ---- options ---- */

static bool read_option(options *o, const char *name, const char *value, int *used) {
    const struct {
        const char *name;
        int64_t *to;
    } counts[] = {
        {"--batch", &o->batch},   {"--max-length", &o->max_length}, {"--steps", &o->steps},
        {"--epochs", &o->epochs}, {"--threads", &o->threads},       {"--layers", &o->layers},
        {"--hidden", &o->hidden}, {"--vocabulary", &o->vocabulary}, {"--tasks", &o->tasks}};
    *used = 1;
    if (strcmp(name, "--random-base") == 0) return o->random_base = true;
    if (strcmp(name, "--bucket") == 0) return o->bucket = true;
    if (!value) return false;
    *used = 2;
    if (strcmp(name, "--mode") == 0) return (o->mode = value) != NULL;
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        if (strcmp(name, counts[i].name) == 0) return (*counts[i].to = atoll(value)) > 0;
    return false;
}

static bool read_options(options *o, int argc, char **argv) {
    int used;
    for (int i = 1; i < argc; i += used) {
        used = 1;
        if (strncmp(argv[i], "--", 2) == 0) {
            if (!read_option(o, argv[i], argv[i + 1], &used)) return false;
        } else if (!o->model)
            o->model = argv[i];
        else if (!o->data)
            o->data = argv[i];
        else
            return false;
    }
    return o->model && o->data && o->hidden % HEAD == 0;
}

int main(int argc, char **argv) {
    options o = {.mode = "full",
                 .batch = 32,
                 .max_length = 128,
                 .steps = 40,
                 .epochs = 10,
                 .layers = 12,
                 .hidden = 768,
                 .vocabulary = 30522};
    bench b = {.o = &o};
    gf_err e = {0};
    bool ok;
    if (!read_options(&o, argc, argv)) {
        fputs(usage, stderr);
        return 2;
    }
    ok = open_run(&b, &e) && (strcmp(o.mode, "embed") == 0     ? embed
                              : strcmp(o.mode, "latency") == 0 ? embed_singly
                                                               : train)(&b, &e);
    if (ok) print_result(&b);
    close_bench(&b);
    if (!ok) fprintf(stderr, "steps: error: %s\n", e.text);
    return ok ? 0 : gf_err_status(e.code);
}
