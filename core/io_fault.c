#include "core/io_fault.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

enum { ALL, CHILDREN, SELF }; /* whose calls a fault counts */

typedef struct faults {
    atomic_llong calls, child_calls, fail_in;
    atomic_int kind, record_fd, whose;
    atomic_bool fired;
    atomic_long armed_by; /* the process, for CHILDREN and SELF */
} faults;

/* Until a fault for children is armed nobody shares this, and a page of its own is not needed. */
static faults own = {.record_fd = -1};
static faults *_Atomic disk = &own;

static faults *share(void) {
    faults *f = atomic_load(&disk);
    if (f != &own) return f;
    f = mmap(NULL, sizeof *f, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (f == MAP_FAILED) return &own;
    memcpy((void *)f, (const void *)&own, sizeof own);
    atomic_store(&disk, f);
    return f;
}

static void arm(faults *f, int64_t k, gf_io_fault kind, int whose) {
    atomic_store(&f->kind, (int)kind);
    atomic_store(&f->fired, false);
    atomic_store(&f->whose, whose);
    atomic_store(&f->armed_by, (long)getpid());
    atomic_store(&f->fail_in, k);
}

void gf_io_fail_at(int64_t k, gf_io_fault kind) { arm(atomic_load(&disk), k, kind, ALL); }
void gf_io_fail_self_at(int64_t k, gf_io_fault kind) { arm(atomic_load(&disk), k, kind, SELF); }

void gf_io_fail_child_at(int64_t k, gf_io_fault kind) {
    faults *f = share();
    atomic_store(&f->child_calls, 0);
    arm(f, k, kind, CHILDREN);
}

bool gf_io_fault_fired(void) { return atomic_load(&atomic_load(&disk)->fired); }
int64_t gf_io_calls(void) { return atomic_load(&atomic_load(&disk)->calls); }
int64_t gf_io_child_calls(void) { return atomic_load(&atomic_load(&disk)->child_calls); }
gf_io_fault gf_io_fault_kind(void) { return (gf_io_fault)atomic_load(&atomic_load(&disk)->kind); }

bool gf_io_fault_hits(void) {
    faults *f = atomic_load(&disk);
    long long left = atomic_load(&f->fail_in);
    int whose = atomic_load(&f->whose);
    atomic_fetch_add(&f->calls, 1);
    if (whose != ALL && (atomic_load(&f->armed_by) == (long)getpid()) != (whose == SELF))
        return false;
    if (whose == CHILDREN) atomic_fetch_add(&f->child_calls, 1);
    if (left == 0 || atomic_fetch_sub(&f->fail_in, 1) != 1) return false;
    atomic_store(&f->fired, true);
    if (atomic_load(&f->kind) == GF_FAULT_KILL) kill(0, SIGKILL);
    if (atomic_load(&f->kind) == GF_FAULT_CRASH) raise(SIGABRT);
    errno = atomic_load(&f->kind) == GF_FAULT_ENOSPC ? ENOSPC : EIO;
    return true;
}

void gf_io_record(int fd) { atomic_store(&share()->record_fd, fd); }

void gf_io_note(gf_io_op op, const char *path, const char *second, int64_t offset,
                const void *bytes, size_t size) {
    int fd = atomic_load(&atomic_load(&disk)->record_fd);
    gf_io_record_head head = {.op = (int32_t)op, .offset = offset, .size = (int64_t)size};
    struct iovec parts[4];
    if (fd < 0) return;
    head.path_size = (int32_t)strlen(path) + 1;
    head.second_size = second ? (int32_t)strlen(second) + 1 : 0;
    parts[0] = (struct iovec){&head, sizeof head};
    parts[1] = (struct iovec){(void *)(uintptr_t)path, (size_t)head.path_size};
    parts[2] = (struct iovec){(void *)(uintptr_t)second, (size_t)head.second_size};
    parts[3] = (struct iovec){(void *)(uintptr_t)bytes, size};
    if (writev(fd, parts, 4) < 0) atomic_store(&atomic_load(&disk)->record_fd, -1);
}
