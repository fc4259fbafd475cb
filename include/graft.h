/* graft.h: the public C API: open a model, embed texts and predict all tasks in one encoder pass.
 *
 *     const char *texts[] = {"The cheese was tasty", "Works as described"};
 *     float embeddings[2 * 384];                          (384 is graft_embedding_size() here)
 *     graft_error e;
 *     graft_model *m = graft_open("runs/demo", 0, &e);
 *     if (!m || !graft_embed(m, texts, 2, embeddings, &e)) fprintf(stderr, "%s\n", e.text);
 *     graft_close(m);
 *
 * Compile and link with `pkg-config --cflags --libs graft`; docs/api.md and libgraft(3) say more.
 *
 * Errors are values: a function that fails returns NULL or false and fills *e, which may be NULL;
 * after a success *e is as it was. The library never prints and never exits, and leaves signal
 * handlers, the floating-point state and the locale alone.
 *
 * Threads: any number of them may call any function on one model at the same time, except
 * graft_close(), which comes last. Models are independent of each other. There is no global state
 * of graft's own. On a processor without AVX2, graft_open() loads OpenBLAS, which has one number of
 * threads for the whole process, and sets it to 1, since graft brings its own threads. After fork()
 * the child must not use, nor close, a model of its parent. */
#ifndef GRAFT_H
#define GRAFT_H

#include <stdbool.h>
#include <stddef.h>

#if defined(__GNUC__)
#define GRAFT_API __attribute__((visibility("default")))
#else
#define GRAFT_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define GRAFT_VERSION "0.1.0" /* core/version.h says the same, which test_api checks */

/* What kind of failure; the numbers are also the exit statuses of the program graft. */
typedef enum graft_code {
    GRAFT_OK = 0,
    GRAFT_ERROR_INTERNAL = 1, /* a fault of graft or of a library under it */
    GRAFT_ERROR_USAGE = 2,    /* a wrong argument */
    GRAFT_ERROR_DATA = 3,     /* invalid data */
    GRAFT_ERROR_MODEL = 4,    /* the model cannot be read, or is of a kind graft does not run */
    GRAFT_ERROR_NUMERIC = 5,  /* NaN or infinity came out: the model's weights are damaged */
    GRAFT_ERROR_SYSTEM = 6,   /* no memory, or a disk or I/O failure */
    GRAFT_ERROR_VERIFY = 7    /* a checkpoint's digest does not hold */
} graft_code;

typedef struct graft_error {
    int code;       /* a graft_code */
    char text[768]; /* one line in UTF-8: WHERE: WHAT; WHAT TO DO */
} graft_error;

/* What a task predicts of a text; other kinds may come. */
typedef enum graft_kind {
    GRAFT_CLASSIFICATION = 0, /* one of its classes */
    GRAFT_MULTI_LABEL = 1,    /* any number of its classes */
    GRAFT_REGRESSION = 2,     /* a number */
    GRAFT_ORDINAL = 3         /* one of its classes, which stand in their order */
} graft_kind;

typedef struct graft_model graft_model;

/* GRAFT_VERSION of the library that runs. */
GRAFT_API const char *graft_version(void);

/* Opens what `graft predict --model` does: a Hugging Face or sentence-transformers BERT folder, a
 * run folder, a checkpoint, an exported file or folder. Its files must stay as they are until the
 * model is closed: weights are mapped, not copied, where they can be.
 *
 * threads: how many one call computes with, its own included; 0: one a core. Calls on several
 * threads compute side by side as long as that takes no more threads than there are processors,
 * and then wait for each other: a server that calls from many threads passes 1, a program that
 * calls from one passes 0. */
GRAFT_API graft_model *graft_open(const char *path, int threads, graft_error *e);

/* Frees all of it; no call may still run. NULL is fine. */
GRAFT_API void graft_close(graft_model *m);

/* These cannot fail. Names are UTF-8, valid until the model is closed, and NULL outside the range;
 * of NULL for a model all is 0 or NULL. */

/* Elements of an embedding: the hidden size, or the width of the projection behind the pooling. */
GRAFT_API int graft_embedding_size(const graft_model *m);
/* Tokens of a text, special ones included; longer texts are cut there. */
GRAFT_API int graft_max_length(const graft_model *m);
GRAFT_API int graft_task_count(const graft_model *m);
GRAFT_API const char *graft_task_name(const graft_model *m, int task);
/* The task of a name, or -1. */
GRAFT_API int graft_task_find(const graft_model *m, const char *name);
/* The task's graft_kind, or -1. */
GRAFT_API int graft_task_kind(const graft_model *m, int task);
/* Numbers that graft_predict() gives for a text: one per class. A regression has one, with the name
 * "value". */
GRAFT_API int graft_class_count(const graft_model *m, int task);
GRAFT_API const char *graft_class_name(const graft_model *m, int task, int class_index);
/* The score from which on a class of GRAFT_MULTI_LABEL is predicted, itself included; NaN for other
 * kinds. */
GRAFT_API float graft_class_threshold(const graft_model *m, int task, int class_index);

/* texts [n] are UTF-8 and end with 0; malformed sequences are read as U+FFFD. An empty text is a
 * text like others; NULL for one is an error that names its index. After a failure the results hold
 * anything. */

/* embeddings [n, graft_embedding_size()]: row i is that of texts[i]. */
GRAFT_API bool graft_embed(graft_model *m, const char *const *texts, size_t n, float *embeddings,
                           graft_error *e);

/* One encoder pass for all tasks. scores [graft_task_count()] points to an array per task, of
 * [n, graft_class_count()] numbers in the order of graft_class_name(): probabilities, which for a
 * text and task sum to 1, but of GRAFT_MULTI_LABEL are each class's own; of GRAFT_REGRESSION the
 * value. A task whose pointer is NULL is left out; so are all of them where scores is NULL, and the
 * embeddings where embeddings is. */
GRAFT_API bool graft_predict(graft_model *m, const char *const *texts, size_t n, float *embeddings,
                             float *const *scores, graft_error *e);

/* The class that a row [graft_class_count()] of such scores predicts. GRAFT_CLASSIFICATION: the
 * largest score's, the first of equals. GRAFT_ORDINAL: the highest class that the text reaches with
 * a probability above 0.5, which need not be the likeliest one. -1 of the other kinds. */
GRAFT_API int graft_best_class(const graft_model *m, int task, const float *scores);

#ifdef __cplusplus
}
#endif

#endif
