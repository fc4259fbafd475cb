/* pool: threads that share a fixed split of work.
 *
 *     gf_pool *pool = gf_pool_new(threads, e);
 *     if (pin && !gf_pool_pin(pool, e)) ...
 *     gf_pool_run(pool, parts, run, &job);              (calls run(&job, part, thread) per part)
 *
 * Which thread takes which part changes from run to run; what the parts are never depends on the
 * number of threads, and each part writes results of its own. Reductions over parts are done after
 * the call, in the order of the parts. So N threads give the bits of one. A part must not call
 * gf_pool_run() itself.
 *
 * Each thread begins with a range of the parts that is the same in every run of as many, and only
 * then helps the others with theirs: what a part works on is mostly in the caches, and on a machine
 * of several memories in the memory, of the thread that worked on it before, since a page of new
 * memory lies where it is first written to. A run waits only for threads that have come: one that
 * is asleep, or that the system runs something else on, is missed and not waited for. */
#ifndef GF_CORE_POOL_H
#define GF_CORE_POOL_H

#include "core/err.h"

#include <stdbool.h>
#include <stdint.h>

enum { GF_MAX_THREADS = 256 };

typedef struct gf_pool gf_pool;
typedef void gf_part(void *job, int64_t part, int thread);

/* threads 0: gf_pool_processors(). The calling thread is one of them. */
gf_pool *gf_pool_new(int threads, gf_err *e);
void gf_pool_free(gf_pool *pool);
int gf_pool_threads(const gf_pool *pool);
/* The processors it is worth to use: those this process may use, one of each core, and no more than
 * its control group has the time of (core/processors.h). At least 1. */
int gf_pool_processors(void);
/* Binds each thread, the calling one too, to one of the processors this process may use: one of
 * each core first. gf_pool_free() by the same thread lets that one go again. GF_E_USAGE where the
 * threads are more than the processors. */
bool gf_pool_pin(gf_pool *pool, gf_err *e);
/* Returns when all parts are done. `thread` is below gf_pool_threads(), for scratch memory. */
void gf_pool_run(gf_pool *pool, int64_t parts, gf_part *run, void *job);

#endif
