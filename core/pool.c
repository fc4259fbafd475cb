#include "core/pool.h"

#include "core/mem.h"
#include "core/processors.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

/* How often a waiting thread looks before it sleeps: some tens of microseconds, the usual gap
 * between two products of a step. */
enum { SPINS = 4000, WAKES = 2, CACHE_LINE = 64 };

typedef struct worker {
    gf_pool *pool;
    pthread_t thread;
    int index;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
} worker;

/* Parts [next, end) are left of those a thread begins with. */
typedef struct range {
    _Alignas(CACHE_LINE) atomic_llong next;
    int64_t end;
} range;

/* A run is open while `turn` is odd. A worker that comes counts itself into `inside` and then looks
 * at the turn; the caller closes the run and then looks at `inside`: in one order of all that,
 * which these atomics have, either the worker sees that it is late or the caller that it came. Only
 * a worker inside an open run looks at ranges, run and job. Sleep is alike: a worker says that it
 * is `asleep` and then looks at the turn, the caller opens a run and then looks who is. What
 * threads write often lies in lines of its own. */
struct gf_pool {
    _Alignas(CACHE_LINE) atomic_llong turn;
    atomic_int wanted; /* threads with a range in this run; to others a hint whether to come */
    atomic_bool stop;
    gf_part *run;
    void *job;
    range *ranges; /* [threads] */
    _Alignas(CACHE_LINE) atomic_int inside;
    _Alignas(CACHE_LINE) atomic_bool asleep[GF_MAX_THREADS];
    atomic_bool caller_sleeps;
    pthread_mutex_t mutex; /* of the caller's sleep */
    pthread_cond_t done;
    int threads;
    worker *workers; /* [threads - 1], all but the caller */
    int started;
    bool pinned;
    cpu_set_t before; /* of the caller, if pinned */
};

static void take_from(gf_pool *p, range *r, int thread) {
    while (atomic_load(&r->next) < r->end) { /* who only looks leaves the line to its thread */
        int64_t part = atomic_fetch_add(&r->next, 1);
        if (part < r->end) p->run(p->job, part, thread);
    }
}

static void take_parts(gf_pool *p, int thread) {
    int ranges = atomic_load(&p->wanted), first = thread < ranges ? thread : 0;
    for (int i = 0; i < ranges; i++)
        take_from(p, &p->ranges[first + i < ranges ? first + i : first + i - ranges], thread);
}

static void pause_briefly(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Whether there is a run that this worker should come to, or an end. */
static bool is_called(gf_pool *p, const worker *w, long long seen) {
    long long turn = atomic_load(&p->turn);
    return atomic_load(&p->stop) ||
           (turn % 2 == 1 && turn != seen && w->index < atomic_load(&p->wanted));
}

/* Some of the workers that a run could use; each of them wakes more, so that many wake soon. */
static void wake_some(gf_pool *p, int most) {
    int wanted = atomic_load(&p->stop) ? p->started + 1 : atomic_load(&p->wanted);
    for (int i = 1; i < wanted && most > 0; i++) {
        worker *w = &p->workers[i - 1];
        if (!atomic_load(&p->asleep[i]) || !atomic_exchange(&p->asleep[i], false)) continue;
        pthread_mutex_lock(&w->mutex);
        pthread_cond_signal(&w->wake);
        pthread_mutex_unlock(&w->mutex);
        most--;
    }
}

static void sleep_until_called(gf_pool *p, worker *w, long long seen) {
    pthread_mutex_lock(&w->mutex);
    for (;;) {
        atomic_store(&p->asleep[w->index], true);
        if (is_called(p, w, seen)) break;
        pthread_cond_wait(&w->wake, &w->mutex);
    }
    atomic_store(&p->asleep[w->index], false);
    pthread_mutex_unlock(&w->mutex);
    wake_some(p, WAKES);
}

static void wait_for_turn(gf_pool *p, worker *w, long long seen) {
    for (int i = 0; i < SPINS; i++) {
        if (is_called(p, w, seen)) return;
        pause_briefly();
    }
    sleep_until_called(p, w, seen);
}

/* The last one out tells the caller, should it sleep. */
static void leave(gf_pool *p) {
    if (atomic_fetch_sub(&p->inside, 1) != 1 || !atomic_load(&p->caller_sleeps)) return;
    pthread_mutex_lock(&p->mutex);
    pthread_cond_signal(&p->done);
    pthread_mutex_unlock(&p->mutex);
}

static void *work(void *argument) {
    worker *w = argument;
    gf_pool *p = w->pool;
    for (long long seen = 0;;) {
        wait_for_turn(p, w, seen);
        if (atomic_load(&p->stop)) return NULL;
        atomic_fetch_add(&p->inside, 1);
        long long turn = atomic_load(&p->turn);
        if (turn % 2 == 1) {
            take_parts(p, w->index);
            seen = turn;
        }
        leave(p);
    }
}

static void wait_for_workers(gf_pool *p) {
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load(&p->inside) == 0) return;
        pause_briefly();
    }
    pthread_mutex_lock(&p->mutex);
    atomic_store(&p->caller_sleeps, true);
    while (atomic_load(&p->inside) != 0) pthread_cond_wait(&p->done, &p->mutex);
    atomic_store(&p->caller_sleeps, false);
    pthread_mutex_unlock(&p->mutex);
}

static void cut(gf_pool *p, int64_t parts, int ranges) {
    int64_t each = parts / ranges, more = parts % ranges, first = 0;
    for (int i = 0; i < ranges; i++) {
        atomic_store_explicit(&p->ranges[i].next, first, memory_order_relaxed);
        p->ranges[i].end = first += each + (i < more);
    }
    atomic_store(&p->wanted, ranges);
}

void gf_pool_run(gf_pool *p, int64_t parts, gf_part *run, void *job) {
    if (parts < 2 || p->started == 0) {
        for (int64_t part = 0; part < parts; part++) run(job, part, 0);
        return;
    }
    p->run = run;
    p->job = job;
    cut(p, parts, parts < p->threads ? (int)parts : p->threads);
    atomic_fetch_add(&p->turn, 1);
    wake_some(p, WAKES);
    take_parts(p, 0);
    atomic_fetch_add(&p->turn, 1);
    wait_for_workers(p);
}

/* ---- processors ---- */

static bool find_processors(gf_processors *found, cpu_set_t *allowed) {
    CPU_ZERO(allowed);
    if (sched_getaffinity(0, sizeof *allowed, allowed) != 0) return false;
    gf_processors_read(found, "", allowed);
    return true;
}

int gf_pool_processors(void) {
    gf_processors found;
    cpu_set_t allowed;
    return find_processors(&found, &allowed) ? gf_processors_threads(&found) : 1;
}

static int bind_to(pthread_t thread, int processor) {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET((size_t)processor, &one);
    return pthread_setaffinity_np(thread, sizeof one, &one);
}

static bool bind_all(gf_pool *p, const gf_processors *found, gf_err *e) {
    for (int i = 0; i < p->threads; i++) {
        pthread_t thread = i ? p->workers[i - 1].thread : pthread_self();
        int error = bind_to(thread, found->order[i]);
        if (error)
            return gf_fail(e, GF_E_INTERNAL,
                           "--pin: thread %d cannot be bound to processor %d (%s); leave --pin out",
                           i + 1, found->order[i], strerror(error));
    }
    return true;
}

bool gf_pool_pin(gf_pool *p, gf_err *e) {
    gf_processors found;
    if (p->pinned) return true;
    if (!find_processors(&found, &p->before))
        return gf_fail(e, GF_E_INTERNAL,
                       "--pin: the processors of this process are not known; leave --pin out");
    if (p->threads > found.allowed)
        return gf_fail(e, GF_E_USAGE,
                       "--pin: %d threads want a processor each, and this process may use %d; "
                       "lower --threads or leave --pin out",
                       p->threads, found.allowed);
    p->pinned = true;
    return bind_all(p, &found, e);
}

/* ---- start and end ---- */

static bool start_worker(gf_pool *p, int index, gf_err *e) {
    worker *w = &p->workers[index - 1];
    *w = (worker){.pool = p, .index = index};
    pthread_mutex_init(&w->mutex, NULL);
    pthread_cond_init(&w->wake, NULL);
    if (pthread_create(&w->thread, NULL, work, w) == 0) {
        p->started++;
        return true;
    }
    pthread_mutex_destroy(&w->mutex);
    pthread_cond_destroy(&w->wake);
    return gf_fail(e, GF_E_NOMEM, "thread %d of %d cannot be started; use fewer --threads",
                   index + 1, p->threads);
}

/* All have to end before the first one's mutex goes: they wake each other. */
static void end_workers(gf_pool *p) {
    atomic_store(&p->stop, true);
    wake_some(p, p->started);
    for (int i = 0; i < p->started; i++) pthread_join(p->workers[i].thread, NULL);
    for (int i = 0; i < p->started; i++) {
        pthread_mutex_destroy(&p->workers[i].mutex);
        pthread_cond_destroy(&p->workers[i].wake);
    }
}

gf_pool *gf_pool_new(int threads, gf_err *e) {
    gf_pool *p = gf_alloc_array(1, sizeof *p, e);
    if (!p) return NULL;
    p->threads = threads > 0 ? threads : gf_pool_processors();
    if (p->threads > GF_MAX_THREADS) p->threads = GF_MAX_THREADS;
    pthread_mutex_init(&p->mutex, NULL);
    pthread_cond_init(&p->done, NULL);
    if (!(p->workers = gf_alloc_array(p->threads, sizeof *p->workers, e)) ||
        !(p->ranges = gf_alloc_array(p->threads, sizeof *p->ranges, e)))
        goto fail;
    while (p->started < p->threads - 1)
        if (!start_worker(p, p->started + 1, e)) goto fail;
    return p;
fail:
    gf_pool_free(p);
    return NULL;
}

void gf_pool_free(gf_pool *p) {
    if (!p) return;
    end_workers(p);
    if (p->pinned) pthread_setaffinity_np(pthread_self(), sizeof p->before, &p->before);
    pthread_mutex_destroy(&p->mutex);
    pthread_cond_destroy(&p->done);
    gf_free(p->ranges);
    gf_free(p->workers);
    gf_free(p);
}

int gf_pool_threads(const gf_pool *p) { return p->threads; }
