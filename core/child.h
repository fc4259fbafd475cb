/* child: work in a forked process, whose crash is an error and not the end.
 *
 *     gf_child c = {0};
 *     if (!gf_child_start(&c, write_it, &job, e)) goto done;    (it sees a snapshot of memory)
 *     ... while it works: gf_child_is_done(&c) ...
 *     if (!gf_child_wait(&c, "step-7.h5", e)) goto done;        (false: it failed, or died)
 *
 * The child has this process's memory as it was, its only thread runs the work, and nothing it does
 * but files comes back, except its error. It ignores SIGINT and SIGTERM, which are for the parent
 * to act on, and dies with the parent. */
#ifndef GF_CORE_CHILD_H
#define GF_CORE_CHILD_H

#include "core/err.h"

#include <stdbool.h>
#include <sys/types.h>

typedef struct gf_child {
    pid_t pid; /* 0: none */
    int fd;    /* its error comes through this pipe */
} gf_child;

typedef bool gf_child_work(void *context, gf_err *e);

/* Failures are GF_E_IO: no pipe or no process can be made. */
bool gf_child_start(gf_child *c, gf_child_work *work, void *context, gf_err *e);
/* True when a wait would not wait. */
bool gf_child_is_done(const gf_child *c);
/* Waits for its end; true when the work was. The child's own error, or GF_E_IO with the signal that
 * ended it; `what` begins that sentence. Without a child: true. */
bool gf_child_wait(gf_child *c, const char *what, gf_err *e);

#endif
