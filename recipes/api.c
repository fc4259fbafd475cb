/* The public API of include/graft.h over the library's own parts. */
#include "checkpoints/open.h"
#include "core/mem.h"
#include "include/graft.h"
#include "model/engine.h"
#include "recipes/score.h"

#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>

enum { BATCH = 256 };

/* A call takes an idle engine, or starts one, or waits where there are as many as there may be.
 * Nothing else of a model changes once it is open. */
struct graft_model {
    gf_model model;
    int threads; /* of an engine */
    pthread_mutex_t mutex;
    pthread_cond_t freed;
    gf_engine **idle; /* [most] of which n_idle are there; the last one worked last */
    int n_idle, n_engines, most;
};

_Static_assert(sizeof((graft_error *)0)->text == sizeof((gf_err *)0)->text, "one size of text");

static bool tell(graft_error *out, const gf_err *e) {
    if (!out || e->code == GF_OK) return e->code == GF_OK;
    out->code = gf_err_status(e->code);
    memcpy(out->text, e->text, sizeof out->text);
    return false;
}

const char *graft_version(void) { return GRAFT_VERSION; }

static void free_engine(gf_engine *n) {
    if (n) gf_engine_stop(n);
    gf_free(n);
}

/* Its threads take no signals but those of their own faults: handlers run on the program's. */
static gf_engine *make_engine(int threads, gf_err *e) {
    static const int own[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS};
    gf_engine *n = gf_alloc_array(1, sizeof *n, e);
    sigset_t blocked, before;
    bool ok;
    if (!n) return NULL;
    sigfillset(&blocked);
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) sigdelset(&blocked, own[i]);
    pthread_sigmask(SIG_BLOCK, &blocked, &before);
    ok = gf_engine_start(n, threads, e);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (ok) return n;
    free_engine(n);
    return NULL;
}

static void give_engine(graft_model *m, gf_engine *n) {
    pthread_mutex_lock(&m->mutex);
    if (n)
        m->idle[m->n_idle++] = n;
    else
        m->n_engines--; /* it did not start; another call may try */
    pthread_cond_signal(&m->freed);
    pthread_mutex_unlock(&m->mutex);
}

static gf_engine *take_engine(graft_model *m, gf_err *e) {
    gf_engine *n = NULL;
    pthread_mutex_lock(&m->mutex);
    while (m->n_idle == 0 && m->n_engines == m->most) pthread_cond_wait(&m->freed, &m->mutex);
    if (m->n_idle > 0)
        n = m->idle[--m->n_idle];
    else
        m->n_engines++;
    pthread_mutex_unlock(&m->mutex);
    if (n || (n = make_engine(m->threads, e))) return n;
    give_engine(m, NULL);
    return NULL;
}

/* As many engines as keep the threads at work within the processors; the first one at once, so that
 * what is wrong with it shows at opening. */
static bool start_engines(graft_model *m, int threads, gf_err *e) {
    int processors = gf_pool_processors();
    gf_engine *first;
    m->threads = threads > 0 ? threads : processors;
    m->most = m->threads < processors ? processors / m->threads : 1;
    if (!(m->idle = gf_alloc_array(m->most, sizeof(gf_engine *), e)) ||
        !(first = take_engine(m, e)))
        return false;
    give_engine(m, first);
    return true;
}

static graft_model *make_model(gf_err *e) {
    graft_model *m = gf_alloc_array(1, sizeof *m, e);
    if (!m) return NULL;
    if (pthread_mutex_init(&m->mutex, NULL) == 0) {
        if (pthread_cond_init(&m->freed, NULL) == 0) return m;
        pthread_mutex_destroy(&m->mutex);
    }
    gf_fail(e, GF_E_NOMEM, "graft_open: a lock cannot be made; free some memory");
    gf_free(m);
    return NULL;
}

graft_model *graft_open(const char *path, int threads, graft_error *out) {
    gf_err e = {0};
    graft_model *m = NULL;
    bool ok = true;
    if (!path)
        ok = gf_fail(&e, GF_E_USAGE, "graft_open: the path is NULL; give a model's");
    else if (threads < 0)
        ok =
            gf_fail(&e, GF_E_USAGE, "graft_open: %d threads; 0 stands for all processors", threads);
    ok = ok && (m = make_model(&e)) && gf_model_open(&m->model, path, NULL, &e) &&
         start_engines(m, threads, &e);
    if (ok) return m;
    graft_close(m);
    tell(out, &e);
    return NULL;
}

void graft_close(graft_model *m) {
    if (!m) return;
    while (m->n_idle > 0) free_engine(m->idle[--m->n_idle]);
    gf_free(m->idle);
    gf_model_free(&m->model);
    pthread_cond_destroy(&m->freed);
    pthread_mutex_destroy(&m->mutex);
    gf_free(m);
}

int graft_embedding_size(const graft_model *m) { return m ? (int)m->model.embedding_size : 0; }
int graft_max_length(const graft_model *m) { return m ? (int)m->model.max_length : 0; }
int graft_task_count(const graft_model *m) { return m ? (int)m->model.n_heads : 0; }

static const gf_head *head_at(const graft_model *m, int task) {
    return task >= 0 && task < graft_task_count(m) ? &m->model.heads[task] : NULL;
}

const char *graft_task_name(const graft_model *m, int task) {
    const gf_head *h = head_at(m, task);
    return h ? h->name : NULL;
}

int graft_task_find(const graft_model *m, const char *name) {
    const gf_head *h = m && name ? gf_model_find_head(&m->model, name) : NULL;
    return h ? (int)(h - m->model.heads) : -1;
}

static int64_t scores_of(const gf_head *h) { return gf_task_score_count(h->type, h->n_classes); }

int graft_class_count(const graft_model *m, int task) {
    const gf_head *h = head_at(m, task);
    return h ? (int)scores_of(h) : 0;
}

const char *graft_class_name(const graft_model *m, int task, int class_index) {
    const gf_head *h = head_at(m, task);
    if (!h || class_index < 0 || class_index >= scores_of(h)) return NULL;
    return h->type == GF_TASK_REGRESSION ? "value" : h->classes[class_index];
}

_Static_assert((int)GRAFT_CLASSIFICATION == (int)GF_TASK_CLASSIFICATION &&
                   (int)GRAFT_MULTI_LABEL == (int)GF_TASK_MULTI_LABEL &&
                   (int)GRAFT_REGRESSION == (int)GF_TASK_REGRESSION &&
                   (int)GRAFT_ORDINAL == (int)GF_TASK_ORDINAL,
               "the same types in the same order");

int graft_task_kind(const graft_model *m, int task) {
    const gf_head *h = head_at(m, task);
    return h ? (int)h->type : -1;
}

float graft_class_threshold(const graft_model *m, int task, int class_index) {
    const gf_head *h = head_at(m, task);
    if (!h || !h->thresholds || class_index < 0 || class_index >= h->n_classes) return NAN;
    return h->thresholds[class_index];
}

int graft_best_class(const graft_model *m, int task, const float *scores) {
    const gf_head *h = head_at(m, task);
    return h && scores ? (int)gf_score_pick(h->type, h->n_classes, scores) : -1;
}

typedef struct answer {
    const char *caller; /* the function, for errors */
    graft_model *m;
    gf_engine *engine;
    float *embeddings;
    float *const *scores;
    float **logits; /* [heads][rows of a batch, outputs] */
} answer;

static bool check_arguments(const answer *a, const char *const *texts, size_t n, gf_err *e) {
    if (!a->m) return gf_fail(e, GF_E_USAGE, "%s: the model is NULL; see graft_open", a->caller);
    if (n == 0) return true;
    if (!texts) return gf_fail(e, GF_E_USAGE, "%s: the texts are NULL; give %zu", a->caller, n);
    if (n > PTRDIFF_MAX / sizeof *texts)
        return gf_fail(e, GF_E_USAGE,
                       "%s: %zu texts are more than memory can hold; was the number "
                       "negative?",
                       a->caller, n);
    for (size_t i = 0; i < n; i++)
        if (!texts[i])
            return gf_fail(e, GF_E_USAGE,
                           "%s: text %zu of 0 to %zu is NULL; give \"\" for an "
                           "empty one",
                           a->caller, i, n - 1);
    return true;
}

/* The texts as token ids, with what gf_engine_sweep() reads of a data set. */
static bool tokenize(const gf_model *m, const char *const *texts, int64_t n, gf_dataset *d,
                     gf_err *e) {
    if (!(d->start = gf_alloc_array(n + 1, sizeof *d->start, e))) return false;
    for (; d->rows < n; d->rows++) {
        gf_encoding one;
        if (!gf_tokenizer_encode(m->tokenizer, texts[d->rows], strlen(texts[d->rows]),
                                 m->max_length, &d->ids, &one, e))
            return false;
        d->start[d->rows + 1] = d->ids.count;
    }
    return true;
}

static bool check_finite(const answer *a, int64_t text, const char *what, int64_t n, const float *x,
                         gf_err *e) {
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(x[i]))
            return gf_fail(e, GF_E_NUMERIC,
                           "%s: text %lld: %s gives NaN or infinity; the model's "
                           "weights are damaged",
                           a->caller, (long long)text, what);
    return true;
}

static bool take_scores(const answer *a, const gf_batch *b, const gf_head *h, const float *logits,
                        float *scores, gf_err *e) {
    for (int64_t i = 0, n = scores_of(h); i < b->sequences; i++) {
        float *row = scores + b->row[i] * n;
        gf_task_scores(h->type, h->n_classes, a->engine->vec, logits + i * h->outputs, row);
        if (!check_finite(a, b->row[i], h->name, n, row, e)) return false;
    }
    return true;
}

static bool take_batch(void *context, const gf_batch *b, const gf_real *x, gf_err *e) {
    const answer *a = context;
    const gf_model *m = &a->m->model;
    int64_t width = m->embedding_size;
    for (int64_t i = 0; i < b->sequences; i++) {
        if (!check_finite(a, b->row[i], "the encoder", width, x + i * width, e)) return false;
        if (a->embeddings)
            memcpy(a->embeddings + b->row[i] * width, x + i * width, (size_t)width * sizeof *x);
    }
    if (!a->scores) return true;
    if (!gf_engine_heads(a->engine, m, b->sequences, x, a->logits, e)) return false;
    for (int64_t h = 0; h < m->n_heads; h++)
        if (a->scores[h] && !take_scores(a, b, &m->heads[h], a->logits[h], a->scores[h], e))
            return false;
    return true;
}

static bool sweep(answer *a, const gf_dataset *d, gf_err *e) {
    gf_model *m = &a->m->model;
    int64_t most = d->rows < BATCH ? d->rows : BATCH;
    bool ok = (a->logits = gf_alloc_array(m->n_heads, sizeof *a->logits, e)) != NULL;
    for (int64_t h = 0; ok && a->scores && h < m->n_heads; h++)
        ok = (a->logits[h] = gf_alloc_array(most * m->heads[h].outputs, sizeof(float), e));
    ok = ok && (a->engine = take_engine(a->m, e));
    ok = ok && gf_engine_sweep(a->engine, m, d, BATCH, take_batch, a, e);
    if (a->engine) give_engine(a->m, a->engine);
    for (int64_t h = 0; a->logits && h < m->n_heads; h++) gf_free(a->logits[h]);
    gf_free(a->logits);
    return ok;
}

static bool predict(answer *a, const char *const *texts, size_t n, graft_error *out) {
    gf_dataset d = {0};
    gf_err e = {0};
    if (check_arguments(a, texts, n, &e) && n > 0 &&
        tokenize(&a->m->model, texts, (int64_t)n, &d, &e))
        sweep(a, &d, &e);
    gf_dataset_free(&d);
    return tell(out, &e);
}

bool graft_predict(graft_model *m, const char *const *texts, size_t n, float *embeddings,
                   float *const *scores, graft_error *out) {
    answer a = {.caller = "graft_predict", .m = m, .embeddings = embeddings, .scores = scores};
    return predict(&a, texts, n, out);
}

bool graft_embed(graft_model *m, const char *const *texts, size_t n, float *embeddings,
                 graft_error *out) {
    answer a = {.caller = "graft_embed", .m = m, .embeddings = embeddings};
    gf_err e = {0};
    if (embeddings || n == 0) return predict(&a, texts, n, out);
    gf_fail(&e, GF_E_USAGE, "graft_embed: embeddings is NULL; give room for %zu times %d floats", n,
            graft_embedding_size(m));
    return tell(out, &e);
}
