/* boundary_help: small runs over the golden training model whose frozen layers are kept or not, and
 * what is seen of them. After <cmocka.h>; run from the project's root. */
#ifndef GF_TESTS_BOUNDARY_HELP_H
#define GF_TESTS_BOUNDARY_HELP_H

#include "core/io_fault.h"
#include "recipes/trainer.h"
#include "tests/scratch.h"

#define GOLDEN "tests/golden/training"

static char *golden; /* the same from the root */

static inline void check(bool ok, const gf_err *e) {
    if (!ok) fail_msg("%s", e->text);
}

/* ---- recipes ---- */

#define HEADS "\"heads.*\": {\"lr\": 0.01}"
#define PHASE(name, epochs, rules, more)                                                           \
    "{\"name\": \"" name "\", \"epochs\": " epochs ", \"trainable\": {" rules "}" more "}"
#define UPPER(layers) HEADS ", \"encoder.layer[-" layers ":].*\": {\"lr\": 0.002}"
#define ALL           HEADS ", \"*\": {\"lr\": 0.001}"

static const char *const heads_phases = PHASE("a", "2", HEADS, "") ", " PHASE("b", "2", HEADS, "");
static const char *const top1 = PHASE("a", "2", HEADS, "") ", " PHASE("b", "3", UPPER("1"), "");
static const char *const only_top1 = PHASE("a", "4", UPPER("1"), "");
static const char *const top2 = PHASE("a", "1", UPPER("2"), "") ", " PHASE(
    "b", "3", UPPER("2"), "") ", " PHASE("c", "2", UPPER("2"), "");
static const char *const moved =
    PHASE("a", "2", HEADS, "") ", " PHASE("b", "2", UPPER("1"), "") ", " PHASE(
        "c", "1", ALL, "") ", " PHASE("d", "3", UPPER("1"), "") ", " PHASE("e", "2", HEADS, "");
static const char *const gradual =
    PHASE("a", "9", ALL, ", \"unfreeze\": {\"layers\": 1, \"every_epochs\": 2}");
static const char *const by_steps =
    PHASE("a", "6", ALL, ", \"unfreeze\": {\"layers\": 1, \"every_steps\": 7}");

/* FOLDER/NAME.json: these phases over the golden run's model and data, dev being train, with
 * dropout and the weights' average, three batches an epoch. */
static inline void write_recipe(const char *name, const char *phases) {
    char text[4096], file[64];
    snprintf(text, sizeof text,
             "{\"model\": {\"base\": \"%s/model\", \"max_length\": 32, \"dropout\": 0.2},"
             " \"data\": {\"train\": \"%s/train.jsonl\", \"dev\": \"%s/train.jsonl\"},"
             " \"tasks\": [{\"name\": \"category\"}, {\"name\": \"sentiment\", \"classes\":"
             " [\"positive\", \"neutral\", \"negative\"]}], \"batch\": {\"size\": 8},"
             " \"optimizer\": {\"ema\": 0.5}, \"phases\": [%s], \"save\": {\"keep\": 20},"
             " \"select\": {\"metric\": \"loss\"}}",
             golden, golden, golden, phases);
    snprintf(file, sizeof file, "%s.json", name);
    write_file(path_of(file), text);
}

/* ---- runs ---- */

/* What a run is seen to do. */
typedef struct seen {
    int warnings, found;
    char last[1024];       /* the last warning */
    int64_t kept[8], live; /* updates that began behind n layers (0: with embeddings), or below */
    int stop_in;           /* calls of stop() before it says so; 0: never */
    int fault_in;          /* calls of encoding() before ... 0: none */
    int fault_at;          /* ... this call of the system from there fails */
} seen;

static inline void take_line(void *context, gf_log_level level, const char *text) {
    seen *s = context;
    if (level == GF_LOG_WARNING) {
        s->warnings++;
        snprintf(s->last, sizeof s->last, "%s", text);
    } else if (strstr(text, ".cache: found"))
        s->found++;
}

static inline void take_step(void *context, const gf_step_view *v) {
    seen *s = context;
    const gf_features *f = &v->phase->train;
    ++*(f->x ? &s->kept[f->layers] : &s->live);
}

static inline void take_encoding(void *context, int64_t done, int64_t rows) {
    seen *s = context;
    (void)done;
    (void)rows;
    if (s->fault_in > 0 && --s->fault_in == 0) gf_io_fail_self_at(s->fault_at, GF_FAULT_ENOSPC);
}

static inline gf_code stop_soon(void *context) {
    seen *s = context;
    return s->stop_in > 0 && --s->stop_in == 0 ? GF_E_SIGINT : GF_OK;
}

#define MEMORY "cache.memory_mb=64"
#define NONE   "cache={\"memory_mb\": 0, \"disk_mb\": 0}"
#define DISK   "cache={\"memory_mb\": 0}"
#define KEPT   "cache={\"memory_mb\": 0, \"keep\": true}"

static inline bool try_train(const char *recipe, const char *name, const char *cache,
                             const char *set, gf_trainer_options o, seen *s, gf_err *e) {
    char output[256], file[64];
    const char *sets[3] = {output, cache, set};
    gf_recipe r = {0};
    bool ok;
    o.watch =
        (gf_watch){.context = s, .step = take_step, .encoding = take_encoding, .stop = stop_soon};
    o.log = (gf_log){take_line, s};
    snprintf(output, sizeof output, "output=\"%s/%s\"", folder, name);
    snprintf(file, sizeof file, "%s.json", recipe);
    ok = gf_recipe_read(&r, path_of(file), sets, set ? 3 : 2, e) && gf_train(&r, &o, e);
    gf_recipe_free(&r);
    return ok;
}

/* FOLDER/NAME, in the place of an earlier one. */
static inline seen train(const char *recipe, const char *name, const char *cache, int threads) {
    gf_trainer_options o = {.threads = threads, .force = true};
    gf_err e = {0};
    seen s = {0};
    check(try_train(recipe, name, cache, NULL, o, &s, &e), &e);
    return s;
}

static inline char *read_all(const char *run, const char *name, size_t *size) {
    char path[512];
    gf_err e = {0};
    char *bytes;
    snprintf(path, sizeof path, "%s/%s/%s", folder, run, name);
    check((bytes = gf_io_read_all(path, 1 << 28, size, &e)) != NULL, &e);
    return bytes;
}

static inline void same_file(const char *a, const char *b, const char *name) {
    size_t size[2];
    char *bytes[2] = {read_all(a, name, &size[0]), read_all(b, name, &size[1])};
    if (size[0] != size[1] || memcmp(bytes[0], bytes[1], size[0]) != 0)
        fail_msg("%s of %s and of %s differ", name, a, b);
    gf_free(bytes[0]);
    gf_free(bytes[1]);
}

/* All checkpoints, the model and the metrics of two runs, byte for byte. */
static inline void same_runs(const char *a, const char *b) {
    static const char *const folders[] = {"checkpoints", "model"};
    int checkpoints = 0;
    same_file(a, b, "metrics.json");
    for (int f = 0; f < 2; f++) {
        char path[512], name[300];
        int64_t count[2];
        char **names[2];
        for (int i = 0; i < 2; i++) {
            snprintf(path, sizeof path, "%s/%s/%s", folder, i ? b : a, folders[f]);
            assert_non_null(names[i] = gf_io_list(path, &count[i], NULL));
        }
        assert_int_equal(count[0], count[1]);
        for (int64_t i = 0; i < count[0]; i++) {
            snprintf(name, sizeof name, "%s/%s", folders[f], names[0][i]);
            snprintf(path, sizeof path, "%s/%s/%s", folder, a, name);
            if (!gf_io_is_file(path)) continue;
            same_file(a, b, name);
            checkpoints += f == 0;
        }
        gf_io_free_names(names[0], count[0]);
        gf_io_free_names(names[1], count[1]);
    }
    assert_true(checkpoints >= 4);
}

/* Files of a folder that end so. */
static inline int count_files(const char *where, const char *ending) {
    int64_t n = 0;
    int found = 0;
    char **names = gf_io_is_folder(where) ? gf_io_list(where, &n, NULL) : NULL;
    for (int64_t i = 0; i < n; i++) found += gf_text_ends_with(names[i], ending);
    gf_io_free_names(names, n);
    return found;
}

static inline const char *cache_of(const char *run) {
    char name[64];
    snprintf(name, sizeof name, "%s/cache", run);
    return path_of(name);
}

static inline int make_files(void **state) {
    if (make_scratch(state) != 0) return -1;
    return (golden = gf_io_absolute(GOLDEN, NULL)) ? 0 : -1;
}

static inline int remove_files(void **state) {
    gf_free(golden);
    return remove_scratch(state);
}

#endif
