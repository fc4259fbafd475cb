/* What the fault tests share: a tiny project of three phases, runs of it in processes of their own
 * that may be killed, and the comparison of what they leave.
 *
 *     outcome o = run(&(attempt){.whose = SAVES, .k = 7, .kind = GF_FAULT_KILL});
 *     assert_int_equal(o.signal, SIGKILL);
 *     resume_to_the_end();
 *     assert_reference(&reference, log);
 *
 * All runs write into FOLDER/run, one after the other, so that even recipe.json is equal. Run from
 * the project's root. GRAFT_ALL_FAULTS=1 asks for every point. */
#ifndef GF_TESTS_CRASH_HELP_H
#define GF_TESTS_CRASH_HELP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/io_fault.h"
#include "recipes/trainer.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/scratch.h"

/* ---- the project ---- */

static const char recipe_text[] =
    "{\"model\": {\"base\": \"base\", \"max_length\": 12, \"dropout\": 0.1},"
    " \"data\": {\"train\": \"train.jsonl\", \"dev\": \"dev.jsonl\", \"test\": \"test.jsonl\"},"
    " \"tasks\": [{\"name\": \"mood\", \"classes\": [\"bad\", \"good\"]}, {\"name\": \"topic\"}],"
    " \"batch\": {\"size\": 4}, \"optimizer\": {\"weight_decay\": 0.1},"
    " \"phases\": ["
    "{\"name\": \"heads\", \"epochs\": 1, \"trainable\": {\"heads.*\": {\"lr\": 0.2}}},"
    "{\"name\": \"upper\", \"epochs\": 1, \"trainable\": {\"heads.*\": {\"lr\": 0.02},"
    " \"encoder.layer[-1:].*\": {\"lr\": 0.005}},"
    " \"schedule\": {\"type\": \"linear\", \"warmup\": 1}},"
    "{\"name\": \"all\", \"epochs\": 1, \"trainable\": {\"heads.mood.*\": {\"lr\": 0.2},"
    " \"*\": {\"lr\": 0.05, \"layer_decay\": 0.5}}, \"loss_weights\": {\"topic\": 0.5},"
    " \"schedule\": {\"type\": \"cosine\", \"warmup\": 1}}],"
    " \"log\": {\"every_steps\": 2}, \"save\": {\"every_steps\": 2, \"keep\": 2},"
    " \"select\": {\"metric\": \"loss\"}, \"seed\": 4, \"output\": \"run\"}\n";
/* The model of step 3 is the best, that of 6 is not, that of 9 is. */
enum { KEEP = 2, FIRST_SAVE = 2, LAST_STEP = 9 }; /* of that recipe */

static const char *const rows[] = {
    "{\"text\": \"the cheese was tasty\", \"mood\": \"good\", \"topic\": \"food\"}\n",
    "{\"text\": \"bad shoes\", \"mood\": \"bad\", \"topic\": \"shoes\"}\n",
    "{\"text\": \"red shoes are good, the cheese was bad\", \"mood\": \"good\"}\n",
    "{\"text\": \"the shoes was red\", \"topic\": \"shoes\"}\n",
    "{\"text\": \"a bad, bad cheese\", \"mood\": \"bad\", \"topic\": \"food\"}\n",
    "{\"text\": \"tasty\", \"mood\": \"good\", \"topic\": \"food\"}\n"};
enum { N_ROWS = sizeof rows / sizeof *rows };

/* `count` of the rows, from `first` on and round. */
static inline void write_rows(const char *path, int first, int count) {
    char text[4096] = "";
    for (int i = 0; i < count; i++) strcat(text, rows[(first + i) % N_ROWS]);
    write_file(path, text);
}

static inline void copy_folder(const char *from, const char *to) {
    gf_err e = {0};
    int64_t n = 0;
    char **names = gf_io_list(from, &n, &e);
    if (!names || !gf_io_make_folder(to, &e)) fail_msg("%s", e.text);
    for (int64_t i = 0; i < n; i++) {
        char *a = gf_io_join(from, names[i], &e), *b = gf_io_join(to, names[i], &e);
        char *bytes = NULL;
        size_t size = 0;
        if (!a || !b || !(bytes = gf_io_read_all(a, 1 << 24, &size, &e)) ||
            !gf_io_replace_file(b, bytes, size, &e))
            fail_msg("%s", e.text);
        gf_free(bytes);
        gf_free(a);
        gf_free(b);
    }
    gf_io_free_names(names, n);
}

static inline int make_project(void **state) {
    if (make_scratch(state) != 0) return -1;
    copy_folder("tests/data/checkpoints/plain", path_of("base"));
    write_rows(path_of("train.jsonl"), 0, 12);
    write_rows(path_of("dev.jsonl"), 1, 5);
    write_rows(path_of("test.jsonl"), 3, 4);
    write_file(path_of("recipe.json"), recipe_text);
    return 0;
}

/* ---- runs ---- */

typedef enum whose { NOBODY, SAVES, RUN } whose; /* whose calls of the system are counted */

typedef struct attempt {
    bool resume, force;
    int64_t at_step;    /* with resume; 0: from the newest checkpoint */
    const char *recipe; /* a file of the project; NULL: recipe.json */
    const char *set;    /* a setting, or NULL */
    whose whose;        /* who gets the fault, at its k-th call */
    int64_t k;
    gf_io_fault kind;
    int threads;         /* 0: one */
    int64_t stop_behind; /* step at which a SIGTERM comes, 0: none */
    int64_t stop_phase;  /* number of a phase, from 1, behind whose end it comes */
    int64_t stop_eval;   /* number of an evaluation, from 1, behind which it comes */
    int64_t stop_batch;  /* of a batch of texts that are encoded, likewise */
    int record_fd;       /* 0: none */
    void (*warned)(const char *text, char problem[256]); /* sees each warning, in the process */
} attempt;

/* In memory that the run's process shares. */
typedef struct outcome {
    int signal; /* that ended the process, 0 if it ended by itself */
    bool ok, fired, stop;
    gf_err e;
    int64_t calls;                 /* of those that were counted */
    int64_t steps, evals, batches; /* what the watcher saw: the last step, and how many */
    int warnings;
    char warning[512]; /* the last */
    char problem[256]; /* that an observer found */
} outcome;

typedef struct runner {
    const attempt *a;
    outcome *o;
} runner;

static inline void note_line(void *context, gf_log_level level, const char *text) {
    runner *r = context;
    if (level != GF_LOG_WARNING) return;
    r->o->warnings++;
    snprintf(r->o->warning, sizeof r->o->warning, "%s", text);
    if (r->a->warned) r->a->warned(text, r->o->problem);
}

static inline void note_step(void *context, const gf_step_view *v) {
    runner *r = context;
    r->o->steps = v->at->step;
    if (v->at->step == r->a->stop_behind) r->o->stop = true;
}

static inline void note_evaluation(void *context, const gf_eval_view *v) {
    runner *r = context;
    if (v->at->phase + 1 == r->a->stop_phase) r->o->stop = true;
    if (++r->o->evals == r->a->stop_eval) r->o->stop = true;
}

static inline void note_batch(void *context, int64_t done, int64_t all) {
    runner *r = context;
    (void)done;
    (void)all;
    if (++r->o->batches == r->a->stop_batch) r->o->stop = true;
}

static inline gf_code ask_stop(void *context) {
    const runner *r = context;
    return r->o->stop ? GF_E_SIGTERM : GF_OK;
}

static inline void arm(const attempt *a) {
    if (a->record_fd) gf_io_record(a->record_fd);
    if (a->whose == SAVES) gf_io_fail_child_at(a->k, a->kind);
    if (a->whose == RUN) gf_io_fail_self_at(a->k, a->kind);
}

/* In the run's own process, which is a process group of its own: GF_FAULT_KILL kills all of it. */
static inline void run_here(const attempt *a, outcome *o) {
    runner r = {a, o};
    gf_recipe recipe = {0};
    gf_trainer_options t = {.resume = a->resume, .force = a->force};
    const char *sets[] = {a->set};
    t.threads = a->threads ? a->threads : 1;
    t.at_step = a->at_step ? a->at_step : -1;
    setsid();
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    t.watch = (gf_watch){.context = &r, .step = note_step, .evaluated = note_evaluation};
    t.watch.encoding = note_batch;
    t.watch.stop = ask_stop;
    t.log = (gf_log){note_line, &r};
    if (gf_recipe_read(&recipe, path_of(a->recipe ? a->recipe : "recipe.json"), sets,
                       a->set ? 1 : 0, &o->e)) {
        int64_t before = gf_io_calls();
        arm(a);
        o->ok = gf_train(&recipe, &t, &o->e);
        o->fired = gf_io_fault_fired();
        o->calls = a->whose == SAVES ? gf_io_child_calls() : gf_io_calls() - before;
    }
    gf_recipe_free(&recipe);
}

static inline outcome run(const attempt *a) {
    outcome *shared =
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    outcome o;
    int status = 0;
    pid_t pid;
    assert_true(shared != MAP_FAILED);
    fflush(NULL);
    if ((pid = fork()) == 0) {
        run_here(a, shared);
        _exit(0);
    }
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    o = *shared;
    munmap(shared, sizeof *shared);
    if (WIFSIGNALED(status)) o.signal = WTERMSIG(status);
    if (!o.signal) assert_int_equal(status, 0);
    if (o.signal == SIGKILL) o.fired = true;
    return o;
}

static inline void run_ok(const attempt *a) {
    outcome o = run(a);
    if (!o.ok || o.signal) fail_msg("signal %d: %s", o.signal, o.e.text);
    if (o.problem[0]) fail_msg("%s", o.problem);
}

static inline void start_anew(void) {
    gf_err e = {0};
    if (!gf_io_remove_tree(path_of("run"), &e)) fail_msg("%s", e.text);
}

static inline bool has_checkpoint(void) {
    int64_t n = 0;
    bool has = false;
    char **names = gf_io_is_folder(path_of("run/checkpoints"))
                       ? gf_io_list(path_of("run/checkpoints"), &n, NULL)
                       : NULL;
    for (int64_t i = 0; i < n; i++)
        has |= strncmp(names[i], "step-", 5) == 0 && !strstr(names[i], ".tmp");
    gf_io_free_names(names, n);
    return has;
}

/* Goes on with FOLDER/run, or begins again where nothing was saved yet. */
static inline void resume_recipe(const char *recipe) {
    bool has = has_checkpoint();
    run_ok(&(attempt){.resume = has, .force = !has, .recipe = recipe});
}

static inline void resume_to_the_end(void) { resume_recipe(NULL); }

/* ---- what a run left ---- */

typedef struct kept_file {
    char *name; /* below the run folder */
    char *bytes;
    size_t size;
} kept_file;

typedef struct tree {
    kept_file files[64];
    int count;
} tree;

static inline void keep_file(tree *t, const char *name) {
    kept_file *f = &t->files[t->count];
    gf_err e = {0};
    char *path = gf_io_join(path_of("run"), name, &e);
    assert_true(t->count++ < 64);
    if (!(f->name = gf_strdup(name, &e)) || !path ||
        !(f->bytes = gf_io_read_all(path, 1 << 24, &f->size, &e)))
        fail_msg("%s", e.text);
    gf_free(path);
}

/* All files but the log and the lock. */
static inline void keep_tree(tree *t, const char *below) {
    gf_err e = {0};
    int64_t n = 0;
    char *path = gf_io_join(path_of("run"), below, &e), **names;
    if (!path || !(names = gf_io_list(path, &n, &e))) fail_msg("%s", e.text);
    for (int64_t i = 0; i < n; i++) {
        char *name = gf_io_join(*below ? below : NULL, names[i], &e);
        gf_free(path);
        if (!name || !(path = gf_io_join(path_of("run"), name, &e))) fail_msg("%s", e.text);
        if (gf_io_is_folder(path))
            keep_tree(t, name);
        else if (strcmp(name, "log.jsonl") != 0 && strcmp(name, "lock") != 0)
            keep_file(t, name);
        gf_free(name);
    }
    gf_free(path);
    gf_io_free_names(names, n);
}

static inline void free_tree(tree *t) {
    for (int i = 0; i < t->count; i++) {
        gf_free(t->files[i].name);
        gf_free(t->files[i].bytes);
    }
    t->count = 0;
}

/* The log's lines without their times, in order. */
static inline char *read_log(void) {
    gf_err e = {0};
    size_t size = 0;
    char *text = gf_io_read_all(path_of("run/log.jsonl"), 1 << 20, &size, &e), *out, *end;
    if (!text || !(out = gf_alloc(size + 1, &e))) fail_msg("%s", e.text);
    out[0] = 0;
    for (char *line = text; *line; line = end + 1) {
        cJSON *j;
        char *kept;
        if (!(end = strchr(line, '\n'))) fail_msg("log.jsonl ends within a line: %s", line);
        if (!(j = cJSON_ParseWithLength(line, (size_t)(end - line)))) fail_msg("%.80s", line);
        cJSON_DeleteItemFromObject(j, "tokens_per_s");
        kept = cJSON_PrintUnformatted(j);
        strcat(strcat(out, kept), "\n");
        cJSON_free(kept);
        cJSON_Delete(j);
    }
    gf_free(text);
    return out;
}

static inline void assert_same_tree(const tree *want, const tree *got) {
    for (int i = 0; i < want->count && i < got->count; i++) {
        const kept_file *a = &want->files[i], *b = &got->files[i];
        if (strcmp(a->name, b->name) != 0)
            fail_msg("there is %s where %s is wanted", b->name, a->name);
        if (a->size != b->size || memcmp(a->bytes, b->bytes, a->size) != 0)
            fail_msg("%s differs from the uninterrupted run's", a->name);
    }
    assert_int_equal(got->count, want->count);
}

/* The whole run folder is the uninterrupted run's, byte for byte, times in the log apart. */
static inline void assert_reference(const tree *want, const char *want_log) {
    static tree got;
    char *log = read_log();
    free_tree(&got); /* of a comparison that failed */
    keep_tree(&got, "");
    assert_same_tree(want, &got);
    assert_string_equal(log, want_log);
    free_tree(&got);
    gf_free(log);
}

/* ---- how many points ---- */

static inline bool all_points(void) {
    const char *all = getenv("GRAFT_ALL_FAULTS");
    return all && *all && strcmp(all, "0") != 0;
}

/* The distance of points that gives about `wanted` of `all`; sanitized programs take a fifth. */
static inline int64_t stride(int64_t all, int64_t wanted) {
#ifdef __SANITIZE_ADDRESS__
    wanted = wanted / 5 + 1;
#endif
    return all_points() || all <= wanted ? 1 : (all + wanted - 1) / wanted;
}

/* Prints the count and fails below the figure that docs/promises.md states. */
static inline void report(const char *what, int64_t covered, int64_t all, int64_t promised) {
    printf("    %s: %lld of %lld points\n", what, (long long)covered, (long long)all);
#ifdef __SANITIZE_ADDRESS__
    promised = promised / 6;
#endif
    if (covered < promised)
        fail_msg("%s: %lld points, %lld are promised", what, (long long)covered,
                 (long long)promised);
}

#endif
