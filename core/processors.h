/* processors: which processors this process may use, and how many threads suit them.
 *
 *     gf_processors p;
 *     gf_processors_read(&p, "", &allowed);             "" for this machine, a folder for a test
 *     threads = gf_processors_threads(&p);
 *     ... p.order[0 .. p.allowed) are their numbers, one of each core first ...
 *
 * Siblings are processors that share one core (SMT): a second thread on a core whose
 * multiply-adds are all taken adds nothing. They are told by
 * ROOT/sys/devices/system/cpu/cpuN/topology/thread_siblings_list; where that cannot be read, each
 * processor counts as a core. A container may have many processors and the time of few: quotas of
 * its control group and of those above it are read below ROOT/sys/fs/cgroup, cpu.max of version 2
 * and cpu.cfs_quota_us of version 1 (Linux, Documentation/admin-guide/cgroup-v2.rst and
 * scheduler/sched-bwc.rst). Nothing here fails: what cannot be read limits nothing. */
#ifndef GF_CORE_PROCESSORS_H
#define GF_CORE_PROCESSORS_H

#include <sched.h>

typedef struct gf_processors {
    int allowed;            /* processors of the mask, at least 1 */
    int cores;              /* of theirs */
    int quota;              /* processors whose time may be used, rounded up; 0: no limit */
    int order[CPU_SETSIZE]; /* [allowed] the first of each core, then the others; both rising */
} gf_processors;

void gf_processors_read(gf_processors *p, const char *root, const cpu_set_t *allowed);
/* Its cores, but no more than its quota; at least 1. */
int gf_processors_threads(const gf_processors *p);

#endif
