/* graft.h: the public C API: open a model, embed texts and predict all tasks in one encoder pass.
 *
 *     graft_error e = {0};
 *     graft_model *m = graft_open("runs/demo", 0, &e);
 *     const char *texts[] = {"The cheese was tasty", "Works as described"};
 *     float *scores = malloc(sizeof *scores * 2 * graft_class_count(m, 0));
 *     if (!m || !graft_predict(m, texts, 2, NULL, &scores, &e)) fprintf(stderr, "%s\n", e.text);
 *     graft_close(m);
 *
 * Errors are values: a function that fails returns NULL or 0 and fills *e, which may be NULL. The
 * library never prints and never exits. One model may be used from several threads: calls on it
 * wait for each other. Link with -lgraft. */
#ifndef GRAFT_H
#define GRAFT_H

#ifdef __cplusplus
extern "C" {
#endif

#define GRAFT_VERSION "0.1.0" /* core/version.h says the same, which test_api checks */

typedef struct graft_model graft_model;

typedef struct graft_error {
    int code;       /* the exit status graft would end with: 3 data, 4 model, 6 memory, ... */
    char text[768]; /* WHERE: WHAT; WHAT TO DO */
} graft_error;

/* GRAFT_VERSION of the library that runs. */
const char *graft_version(void);

/* Opens a Hugging Face or sentence-transformers BERT folder, a run folder or a checkpoint. threads
 * 0: all processors. Close with graft_close(). */
graft_model *graft_open(const char *path, int threads, graft_error *e);
void graft_close(graft_model *m); /* NULL is fine */

/* Elements of an embedding: the hidden size, or the width of the projection behind the pooling. */
int graft_embedding_size(const graft_model *m);
int graft_task_count(const graft_model *m);
/* Names stay valid until the model is closed; NULL outside the range. */
const char *graft_task_name(const graft_model *m, int task);
int graft_class_count(const graft_model *m, int task);
const char *graft_class_name(const graft_model *m, int task, int class_index);

/* texts [n], UTF-8. embeddings [n, embedding size] or NULL; scores[task] [n, classes of the task]
 * are probabilities, scores NULL: none wanted. 1 on success, 0 on failure. */
int graft_predict(graft_model *m, const char *const *texts, int n, float *embeddings,
                  float *const *scores, graft_error *e);

#ifdef __cplusplus
}
#endif

#endif
