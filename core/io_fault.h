/* io_fault: what tests do to core/io: make a call of the system fail or kill, and record what was
 * written. Only core/io.c and tests include this.
 *
 *     gf_io_fail_at(3, GF_FAULT_ENOSPC);         the third call from now fails
 *     gf_io_fail_child_at(3, GF_FAULT_KILL);     the third call of processes forked from now kills
 *                                                the process group
 *     gf_io_record(fd);                          see gf_io_op; fd < 0 stops it
 *
 * Process-wide because the disk is; shared with forked children, whose calls count too. */
#ifndef GF_CORE_IO_FAULT_H
#define GF_CORE_IO_FAULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum gf_io_fault {
    GF_FAULT_EIO,
    GF_FAULT_ENOSPC,
    GF_FAULT_SHORT, /* half of the bytes; any call but a read or write fails with EIO */
    GF_FAULT_KILL,  /* SIGKILL to the process group before the call, as after the one before it */
    GF_FAULT_CRASH  /* SIGABRT to this process alone, as when a library dies in the call */
} gf_io_fault;

/* Makes the k-th call of the system from now (1 is the next) fail this way, once; 0 disarms. */
void gf_io_fail_at(int64_t k, gf_io_fault kind);
/* The same, counting only the calls of children forked from now on, all of them together. */
void gf_io_fail_child_at(int64_t k, gf_io_fault kind);
/* The same, counting only the calls of this process. */
void gf_io_fail_self_at(int64_t k, gf_io_fault kind);
bool gf_io_fault_fired(void);
/* Calls of the system made so far, by this process, and by children since gf_io_fail_child_at(). */
int64_t gf_io_calls(void);
int64_t gf_io_child_calls(void);

/* What a record tells: a header, then the path and the second path with their 0 bytes, then
 * `size` bytes for GF_IO_WRITE. A record stands for a call that succeeded. */
typedef enum gf_io_op {
    GF_IO_CREATE, /* emptied if it was there */
    GF_IO_WRITE,
    GF_IO_TRUNCATE, /* to `offset` bytes */
    GF_IO_SYNC,     /* of a file or a folder */
    GF_IO_RENAME,   /* path to second */
    GF_IO_EXCHANGE, /* path with second */
    GF_IO_LINK,     /* second is a further name of path */
    GF_IO_REMOVE,
    GF_IO_MAKE_FOLDER
} gf_io_op;

typedef struct gf_io_record_head {
    int32_t op, path_size, second_size; /* sizes with the 0 byte; 0 without a second path */
    int32_t reserved;
    int64_t offset, size;
} gf_io_record_head;

/* Appends a record of every changing call, of children too, to this descriptor. */
void gf_io_record(int fd);

/* For core/io.c: true when this call must fail; errno is then set. */
bool gf_io_fault_hits(void);
/* The kind that is armed. */
gf_io_fault gf_io_fault_kind(void);
void gf_io_note(gf_io_op op, const char *path, const char *second, int64_t offset,
                const void *bytes, size_t size);

#endif
