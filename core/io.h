/* io: the only file input and output in graft.
 *
 *     gf_map map = {0};
 *     if (!gf_io_map(&map, "model.safetensors", e)) goto done;      (map.data, map.size)
 *     ...
 *     gf_io_unmap(&map);
 *
 *     gf_file *f = gf_io_create("out.tmp", e);                      (then write, sync, close,
 * rename)
 *
 * Errors name the path and the system's reason; a file that cannot be read is GF_E_MODEL, one that
 * cannot be written GF_E_IO. Tests can make the k-th call fail
 * (core/io_fault.h).
 * "-" is standard input or output where gf_io_open and gf_io_create say so. */
#ifndef GF_CORE_IO_H
#define GF_CORE_IO_H

#include "core/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct gf_file gf_file;

/* Opens for reading; "-" is standard input. NULL on failure. */
gf_file *gf_io_open(const char *path, gf_err *e);
/* Creates or truncates for writing; "-" is standard output. */
gf_file *gf_io_create(const char *path, gf_err *e);
/* Opens for writing at the end, creating it if need be. */
gf_file *gf_io_append(const char *path, gf_err *e);
/* Opens for reading and writing at any place; `create` makes a new, empty file. */
gf_file *gf_io_open_random(const char *path, bool create, gf_err *e);
/* Reads up to `size` bytes; the count, 0 at the end, -1 on failure. */
int64_t gf_io_read(gf_file *f, void *buffer, size_t size, gf_err *e);
/* Buffered; all bytes or false. */
bool gf_io_write(gf_file *f, const void *bytes, size_t size, gf_err *e);
bool gf_io_printf(gf_file *f, gf_err *e, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
bool gf_io_flush(gf_file *f, gf_err *e);
/* Writes at `offset` from the file's start; not on a pipe. */
bool gf_io_write_at(gf_file *f, int64_t offset, const void *bytes, size_t size, gf_err *e);
/* Reads exactly `size` bytes; those behind the file's end are 0. */
bool gf_io_read_at(gf_file *f, int64_t offset, void *bytes, size_t size, gf_err *e);
/* Cuts or extends the file. */
bool gf_io_resize(gf_file *f, int64_t size, gf_err *e);
/* Flushes and syncs to the disk. A failed sync is never tried again: the data may be gone. */
bool gf_io_sync(gf_file *f, gf_err *e);
/* Flushes and closes; always releases f. NULL is allowed. */
bool gf_io_close(gf_file *f, gf_err *e);

/* The whole file, with a 0 byte behind it that *size does not count; at most `limit` bytes. Free
 * with gf_free(). */
char *gf_io_read_all(const char *path, size_t limit, size_t *size, gf_err *e);

typedef struct gf_map {
    const unsigned char *data; /* read-only bytes of the file */
    size_t size;
} gf_map;

bool gf_io_map(gf_map *map, const char *path, gf_err *e);
void gf_io_unmap(gf_map *map);
/* Bytes of a map that nobody will read soon: the pages that lie wholly in them leave memory, and
 * come back from the file should they be read after all. */
void gf_io_unload(const void *bytes, size_t size);

/* Writes bytes to PATH.tmp, syncs, renames it over PATH and syncs the folder: a reader sees the old
 * file or the new one, never a part. */
bool gf_io_replace_file(const char *path, const void *bytes, size_t size, gf_err *e);
/* Publishes an already written TMP as PATH the same way: sync, rename, sync of the folder. */
bool gf_io_publish(const char *tmp, const char *path, gf_err *e);
/* Exchanges TMP with PATH in one step, or renames it where there is no PATH; syncs the folder. */
bool gf_io_exchange(const char *tmp, const char *path, gf_err *e);
/* Makes PATH a further name of FROM, replacing what was there in one step; a copy where the file
 * system has no hard links. */
bool gf_io_link(const char *from, const char *path, gf_err *e);
/* Bytes that may still be written below this folder; -1 when that is not known. */
int64_t gf_io_free_space(const char *folder);
/* Bytes of a regular file; -1 when there is none. */
int64_t gf_io_size(const char *path);

/* A lock that other processes see, until it is released or the process ends. Forked children hold
 * it too. */
typedef struct gf_lock {
    int fd; /* 0: none */
} gf_lock;

/* Waits up to `seconds` for the lock file at PATH, which is made if need be and stays. Fails with
 * GF_E_IO when another process has it. */
bool gf_io_lock(gf_lock *lock, const char *path, double seconds, gf_err *e);
/* The same for who goes on without it: 1 locked, 0 another has it, -1 with *e set when it cannot
 * be. Who holds the lock may remove its file. */
int gf_io_try_lock(gf_lock *lock, const char *path, double seconds, gf_err *e);
void gf_io_unlock(gf_lock *lock);

bool gf_io_exists(const char *path);
bool gf_io_is_folder(const char *path);
/* A regular file: no folder, device or pipe. */
bool gf_io_is_file(const char *path);
/* Creates the folder and its parents; an existing one is fine. */
bool gf_io_make_folder(const char *path, gf_err *e);
/* A new empty folder for temporary files, below $TMPDIR or /tmp. Free with gf_free(). */
char *gf_io_make_temporary_folder(gf_err *e);
/* Removes a file; a missing one is fine. */
bool gf_io_remove(const char *path, gf_err *e);
/* Removes a folder and all in it. */
bool gf_io_remove_tree(const char *path, gf_err *e);
/* Names in a folder, sorted by bytes, without "." and ".."; free with gf_io_free_names(). */
char **gf_io_list(const char *path, int64_t *count, gf_err *e);
void gf_io_free_names(char **names, int64_t count);

/* "FOLDER/NAME", or NAME when it is absolute or FOLDER is NULL. Free with gf_free(). */
char *gf_io_join(const char *folder, const char *name, gf_err *e);
/* A path from the root, made of the working folder and PATH. Free with gf_free(). */
char *gf_io_absolute(const char *path, gf_err *e);
/* The part of a path before its last '/', "." if none. Free with gf_free(). */
char *gf_io_folder_of(const char *path, gf_err *e);

#endif
