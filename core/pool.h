/* pool: threads that share a fixed split of work.
 *
 *     gf_pool *pool = gf_pool_new(threads, e);
 *     gf_pool_run(pool, parts, run, &job);              (calls run(&job, part, thread) per part)
 *
 * Which thread takes which part changes from run to run; what the parts are never depends on the
 * number of threads, and each part writes results of its own. Reductions over parts are done after
 * the call, in the order of the parts. So N threads give the bits of one. A part must not call
 * gf_pool_run() itself. */
#ifndef GF_CORE_POOL_H
#define GF_CORE_POOL_H

#include "core/err.h"

#include <stdint.h>

enum { GF_MAX_THREADS = 256 };

typedef struct gf_pool gf_pool;
typedef void gf_part(void *job, int64_t part, int thread);

/* threads 0: the processors this process may use. The calling thread is one of them. */
gf_pool *gf_pool_new(int threads, gf_err *e);
void gf_pool_free(gf_pool *pool);
int gf_pool_threads(const gf_pool *pool);
/* The processors this process may use, at least 1. */
int gf_pool_processors(void);
/* Returns when all parts are done. `thread` is below gf_pool_threads(), for scratch memory. */
void gf_pool_run(gf_pool *pool, int64_t parts, gf_part *run, void *job);

#endif
