#include "core/pool.h"

#include "core/mem.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>

/* How often a waiting thread looks before it sleeps: some tens of microseconds, the usual gap
 * between two products of a step. */
enum { SPINS = 4000 };

typedef struct worker {
    gf_pool *pool;
    pthread_t thread;
    int index;
} worker;

struct gf_pool {
    int threads;
    worker *workers; /* [threads - 1], all but the caller */
    int started;
    pthread_mutex_t mutex;
    pthread_cond_t wake, done;
    atomic_llong turn; /* counts the runs; a change is the signal to start */
    atomic_llong next; /* first part nobody has taken */
    atomic_int busy;   /* workers still in this run */
    atomic_bool stop;
    int64_t parts;
    gf_part *run;
    void *job;
};

static void take_parts(gf_pool *p, int thread) {
    for (;;) {
        int64_t part = atomic_fetch_add(&p->next, 1);
        if (part >= p->parts) return;
        p->run(p->job, part, thread);
    }
}

static void pause_briefly(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void wait_for_turn(gf_pool *p, long long seen) {
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load(&p->turn) != seen) return;
        pause_briefly();
    }
    pthread_mutex_lock(&p->mutex);
    while (atomic_load(&p->turn) == seen) pthread_cond_wait(&p->wake, &p->mutex);
    pthread_mutex_unlock(&p->mutex);
}

static void *work(void *argument) {
    worker *w = argument;
    gf_pool *p = w->pool;
    for (long long seen = 0;; seen++) {
        wait_for_turn(p, seen);
        if (atomic_load(&p->stop)) return NULL;
        take_parts(p, w->index);
        if (atomic_fetch_sub(&p->busy, 1) == 1) {
            pthread_mutex_lock(&p->mutex);
            pthread_cond_signal(&p->done);
            pthread_mutex_unlock(&p->mutex);
        }
    }
}

static void next_turn(gf_pool *p) {
    pthread_mutex_lock(&p->mutex);
    atomic_fetch_add(&p->turn, 1);
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->mutex);
}

static void wait_for_workers(gf_pool *p) {
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load(&p->busy) == 0) return;
        pause_briefly();
    }
    pthread_mutex_lock(&p->mutex);
    while (atomic_load(&p->busy) != 0) pthread_cond_wait(&p->done, &p->mutex);
    pthread_mutex_unlock(&p->mutex);
}

void gf_pool_run(gf_pool *p, int64_t parts, gf_part *run, void *job) {
    p->parts = parts;
    p->run = run;
    p->job = job;
    atomic_store(&p->next, 0);
    if (parts < 2 || p->started == 0) {
        take_parts(p, 0);
        return;
    }
    atomic_store(&p->busy, p->started);
    next_turn(p);
    take_parts(p, 0);
    wait_for_workers(p);
}

int gf_pool_processors(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
    return CPU_COUNT(&set);
}

gf_pool *gf_pool_new(int threads, gf_err *e) {
    gf_pool *p = gf_alloc_array(1, sizeof *p, e);
    if (!p) return NULL;
    p->threads = threads > 0 ? threads : gf_pool_processors();
    if (p->threads > GF_MAX_THREADS) p->threads = GF_MAX_THREADS;
    pthread_mutex_init(&p->mutex, NULL);
    pthread_cond_init(&p->wake, NULL);
    pthread_cond_init(&p->done, NULL);
    if (!(p->workers = gf_alloc_array(p->threads, sizeof *p->workers, e))) goto fail;
    for (int i = 1; i < p->threads; i++) {
        worker *w = &p->workers[i - 1];
        *w = (worker){.pool = p, .index = i};
        if (pthread_create(&w->thread, NULL, work, w) != 0) {
            gf_fail(e, GF_E_NOMEM, "thread %d of %d cannot be started; use fewer --threads", i + 1,
                    p->threads);
            goto fail;
        }
        p->started++;
    }
    return p;
fail:
    gf_pool_free(p);
    return NULL;
}

void gf_pool_free(gf_pool *p) {
    if (!p) return;
    atomic_store(&p->stop, true);
    next_turn(p);
    for (int i = 0; i < p->started; i++) pthread_join(p->workers[i].thread, NULL);
    pthread_mutex_destroy(&p->mutex);
    pthread_cond_destroy(&p->wake);
    pthread_cond_destroy(&p->done);
    gf_free(p->workers);
    gf_free(p);
}

int gf_pool_threads(const gf_pool *p) { return p->threads; }
