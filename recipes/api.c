/* The public API of include/graft.h over the library's own parts. */
#include "checkpoints/open.h"
#include "core/mem.h"
#include "include/graft.h"
#include "model/engine.h"

#include <pthread.h>
#include <string.h>

struct graft_model {
    gf_model model;
    gf_engine engine;
    pthread_mutex_t turn;
};

static void tell(graft_error *out, const gf_err *e) {
    if (!out) return;
    out->code = gf_err_status(e->code);
    memcpy(out->text, e->text, sizeof out->text);
}

const char *graft_version(void) { return GRAFT_VERSION; }

graft_model *graft_open(const char *path, int threads, graft_error *out) {
    gf_err e = {0};
    graft_model *m = gf_alloc_array(1, sizeof *m, &e);
    if (m && pthread_mutex_init(&m->turn, NULL) != 0) {
        gf_fail(&e, GF_E_NOMEM, "%s: a lock cannot be made", path);
        gf_free(m);
        m = NULL;
    }
    if (m && gf_model_open(&m->model, path, NULL, &e) && gf_engine_start(&m->engine, threads, &e))
        return m;
    graft_close(m);
    tell(out, &e);
    return NULL;
}

void graft_close(graft_model *m) {
    if (!m) return;
    gf_engine_stop(&m->engine);
    gf_model_free(&m->model);
    pthread_mutex_destroy(&m->turn);
    gf_free(m);
}

int graft_embedding_size(const graft_model *m) { return (int)m->model.embedding_size; }
int graft_task_count(const graft_model *m) { return (int)m->model.n_heads; }

static const gf_head *find(const graft_model *m, int task) {
    return task >= 0 && task < m->model.n_heads ? &m->model.heads[task] : NULL;
}

const char *graft_task_name(const graft_model *m, int task) {
    const gf_head *h = find(m, task);
    return h ? h->name : NULL;
}

int graft_class_count(const graft_model *m, int task) {
    const gf_head *h = find(m, task);
    return h ? (int)h->n_classes : 0;
}

const char *graft_class_name(const graft_model *m, int task, int class_index) {
    const gf_head *h = find(m, task);
    return h && class_index >= 0 && class_index < h->n_classes ? h->classes[class_index] : NULL;
}

/* The texts as token ids, with what gf_engine_sweep() reads of a data set. */
static bool tokenize(const graft_model *m, const char *const *texts, int n, gf_dataset *d,
                     gf_err *e) {
    if (!(d->start = gf_alloc_array(n + 1, sizeof *d->start, e))) return false;
    for (; d->rows < n; d->rows++) {
        gf_encoding one;
        if (!gf_tokenizer_encode(m->model.tokenizer, texts[d->rows], strlen(texts[d->rows]),
                                 m->model.max_length, &d->ids, &one, e))
            return false;
        d->start[d->rows + 1] = d->ids.count;
    }
    return true;
}

typedef struct answer {
    graft_model *m;
    float *embeddings;
    float *const *scores;
    float **logits; /* [heads][rows of a batch, classes] */
} answer;

static bool take_batch(void *context, const gf_batch *b, const gf_real *x, gf_err *e) {
    answer *a = context;
    const gf_model *m = &a->m->model;
    int64_t width = m->embedding_size;
    for (int64_t i = 0; a->embeddings && i < b->sequences; i++)
        memcpy(a->embeddings + b->row[i] * width, x + i * width, (size_t)width * sizeof *x);
    if (!a->scores) return true;
    if (!gf_engine_heads(&a->m->engine, m, b->sequences, x, a->logits, e)) return false;
    for (int64_t h = 0; h < m->n_heads; h++)
        for (int64_t i = 0, n = m->heads[h].n_classes; i < b->sequences; i++)
            gf_engine_softmax(&a->m->engine, n, a->logits[h] + i * n, a->scores[h] + b->row[i] * n);
    return true;
}

enum { BATCH = 256 };

static bool predict(answer *a, const char *const *texts, int n, gf_err *e) {
    const gf_model *m = &a->m->model;
    gf_dataset d = {0};
    bool ok = tokenize(a->m, texts, n, &d, e) &&
              (a->logits = gf_alloc_array(m->n_heads, sizeof *a->logits, e));
    for (int64_t h = 0; ok && h < m->n_heads; h++)
        ok = (a->logits[h] = gf_alloc_array(BATCH * m->heads[h].n_classes, sizeof(float), e));
    ok = ok && gf_engine_sweep(&a->m->engine, &a->m->model, &d, BATCH, take_batch, a, e);
    for (int64_t h = 0; a->logits && h < m->n_heads; h++) gf_free(a->logits[h]);
    gf_free(a->logits);
    gf_dataset_free(&d);
    return ok;
}

int graft_predict(graft_model *m, const char *const *texts, int n, float *embeddings,
                  float *const *scores, graft_error *out) {
    answer a = {m, embeddings, scores, NULL};
    gf_err e = {0};
    bool ok;
    if (n < 0) gf_fail(&e, GF_E_USAGE, "graft_predict: %d texts; 0 or more are wanted", n);
    pthread_mutex_lock(&m->turn);
    ok = e.code == GF_OK && (n == 0 || predict(&a, texts, n, &e));
    pthread_mutex_unlock(&m->turn);
    if (!ok) tell(out, &e);
    return ok;
}
