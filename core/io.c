#include "core/io.h"

#include "core/io_fault.h"
#include "core/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER = 1 << 16 };

struct gf_file {
    int fd;
    bool standard; /* stdin or stdout: not ours to close */
    size_t used;   /* bytes waiting in the buffer (writing only) */
    int64_t at;    /* where in the file the next bytes written in order go */
    char *path;
    char buffer[BUFFER];
};

static bool cannot_read(gf_err *e, const char *path) {
    return gf_fail(e, GF_E_MODEL, "%s: cannot read it: %s; check the path and its permissions",
                   path, strerror(errno));
}

static bool cannot_write(gf_err *e, const char *path) {
    return gf_fail(e, GF_E_IO,
                   "%s: cannot write it: %s; check the path, permissions and free space", path,
                   strerror(errno));
}

static gf_file *open_file(const char *path, int flags, int standard_fd, gf_err *e) {
    bool reading = flags == O_RDONLY, standard = standard_fd >= 0 && strcmp(path, "-") == 0;
    gf_file *f = gf_alloc(sizeof *f, e);
    if (!f) return NULL;
    *f = (gf_file){.fd = -1, .standard = standard};
    if (!(f->path =
              gf_strdup(standard ? (reading ? "standard input" : "standard output") : path, e)))
        goto fail;
    if (standard)
        f->fd = standard_fd;
    else if (gf_io_fault_hits() || (f->fd = open(path, flags | O_CLOEXEC, 0666)) < 0) {
        if (reading)
            cannot_read(e, path);
        else
            cannot_write(e, path);
        goto fail;
    } else if (flags & O_CREAT && !(flags & O_APPEND))
        gf_io_note(GF_IO_CREATE, path, NULL, 0, NULL, 0);
    return f;
fail:
    gf_free(f->path);
    gf_free(f);
    return NULL;
}

gf_file *gf_io_open(const char *path, gf_err *e) {
    return open_file(path, O_RDONLY, STDIN_FILENO, e);
}

gf_file *gf_io_create(const char *path, gf_err *e) {
    return open_file(path, O_WRONLY | O_CREAT | O_TRUNC, STDOUT_FILENO, e);
}

gf_file *gf_io_append(const char *path, gf_err *e) {
    return open_file(path, O_WRONLY | O_CREAT | O_APPEND, -1, e);
}

gf_file *gf_io_open_random(const char *path, bool create, gf_err *e) {
    return open_file(path, O_RDWR | (create ? O_CREAT | O_TRUNC : 0), -1, e);
}

int64_t gf_io_read(gf_file *f, void *buffer, size_t size, gf_err *e) {
    bool fault = gf_io_fault_hits(), cut = fault && gf_io_fault_kind() == GF_FAULT_SHORT;
    ssize_t n = -1;
    if (!fault || cut) do
            n = read(f->fd, buffer, cut ? (size + 1) / 2 : size);
        while (n < 0 && errno == EINTR);
    if (n < 0) cannot_read(e, f->path);
    return n;
}

/* Writes all bytes through the system, again after a signal or a part. */
static bool write_out(gf_file *f, const char *bytes, size_t size, gf_err *e) {
    while (size > 0) {
        size_t wanted = size;
        ssize_t n;
        if (gf_io_fault_hits()) {
            if (gf_io_fault_kind() != GF_FAULT_SHORT) return cannot_write(e, f->path);
            wanted = (size + 1) / 2;
        }
        n = write(f->fd, bytes, wanted);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return cannot_write(e, f->path);
        gf_io_note(GF_IO_WRITE, f->path, NULL, f->at, bytes, (size_t)n);
        f->at += n;
        bytes += n;
        size -= (size_t)n;
    }
    return true;
}

bool gf_io_flush(gf_file *f, gf_err *e) {
    size_t used = f->used;
    f->used = 0;
    return write_out(f, f->buffer, used, e);
}

bool gf_io_write_at(gf_file *f, int64_t offset, const void *bytes, size_t size, gf_err *e) {
    const char *p = bytes;
    if (!gf_io_flush(f, e)) return false;
    while (size > 0) {
        bool fault = gf_io_fault_hits(), cut = fault && gf_io_fault_kind() == GF_FAULT_SHORT;
        ssize_t n =
            fault && !cut ? -1 : pwrite(f->fd, p, cut ? (size + 1) / 2 : size, (off_t)offset);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return cannot_write(e, f->path);
        gf_io_note(GF_IO_WRITE, f->path, NULL, offset, p, (size_t)n);
        p += n;
        offset += n;
        size -= (size_t)n;
    }
    return true;
}

bool gf_io_read_at(gf_file *f, int64_t offset, void *bytes, size_t size, gf_err *e) {
    char *p = bytes;
    if (!gf_io_flush(f, e)) return false;
    while (size > 0) {
        ssize_t n = gf_io_fault_hits() ? -1 : pread(f->fd, p, size, (off_t)offset);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return cannot_read(e, f->path);
        if (n == 0) {
            memset(p, 0, size);
            return true;
        }
        p += n;
        offset += n;
        size -= (size_t)n;
    }
    return true;
}

bool gf_io_resize(gf_file *f, int64_t size, gf_err *e) {
    if (!gf_io_flush(f, e)) return false;
    if (gf_io_fault_hits() || ftruncate(f->fd, (off_t)size) != 0) return cannot_write(e, f->path);
    gf_io_note(GF_IO_TRUNCATE, f->path, NULL, size, NULL, 0);
    return true;
}

bool gf_io_write(gf_file *f, const void *bytes, size_t size, gf_err *e) {
    if (size > BUFFER - f->used && !gf_io_flush(f, e)) return false;
    if (size > BUFFER) return write_out(f, bytes, size, e);
    if (size) memcpy(f->buffer + f->used, bytes, size);
    f->used += size;
    return true;
}

bool gf_io_printf(gf_file *f, gf_err *e, const char *format, ...) {
    char small[512], *text = small;
    va_list args;
    int length;
    bool ok;
    va_start(args, format);
    length = vsnprintf(small, sizeof small, format, args);
    va_end(args);
    if (length < 0) return gf_fail(e, GF_E_INTERNAL, "%s: a line cannot be formatted", f->path);
    if ((size_t)length >= sizeof small) {
        if (!(text = gf_alloc((size_t)length + 1, e))) return false;
        va_start(args, format);
        vsnprintf(text, (size_t)length + 1, format, args);
        va_end(args);
    }
    ok = gf_io_write(f, text, (size_t)length, e);
    if (text != small) gf_free(text);
    return ok;
}

bool gf_io_sync(gf_file *f, gf_err *e) {
    if (!gf_io_flush(f, e)) return false;
    if (gf_io_fault_hits() || fsync(f->fd) != 0) return cannot_write(e, f->path);
    gf_io_note(GF_IO_SYNC, f->path, NULL, 0, NULL, 0);
    return true;
}

bool gf_io_close(gf_file *f, gf_err *e) {
    bool ok = true;
    if (!f) return true;
    if (f->used) ok = gf_io_flush(f, e);
    if (!f->standard && (close(f->fd) != 0 || gf_io_fault_hits()) && ok)
        ok = cannot_write(e, f->path);
    gf_free(f->path);
    gf_free(f);
    return ok;
}

char *gf_io_read_all(const char *path, size_t limit, size_t *size, gf_err *e) {
    gf_file *f = gf_io_open(path, e);
    char *bytes = NULL, *out = NULL;
    size_t used = 0;
    int64_t capacity = 0, n = 0;
    if (!f) return NULL;
    for (;;) {
        while ((int64_t)used + BUFFER >= capacity)
            if (!gf_grow(&bytes, capacity, &capacity, 1, e)) goto done;
        if ((n = gf_io_read(f, bytes + used, BUFFER, e)) < 0) goto done;
        if (n == 0) break;
        used += (size_t)n;
        if (used > limit) {
            gf_fail(e, GF_E_MODEL, "%s: it is larger than the %zu bytes allowed here", path, limit);
            goto done;
        }
    }
    bytes[used] = 0;
    *size = used;
    out = bytes, bytes = NULL; /* the caller owns it now */
done:
    gf_free(bytes);
    gf_io_close(f, NULL);
    return out;
}

bool gf_io_map(gf_map *map, const char *path, gf_err *e) {
    struct stat st;
    void *data = NULL;
    bool ok = false;
    int fd = gf_io_fault_hits() ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return cannot_read(e, path);
    if (gf_io_fault_hits() || fstat(fd, &st) != 0)
        cannot_read(e, path);
    else if (!S_ISREG(st.st_mode))
        gf_fail(e, GF_E_MODEL, "%s: it is not a regular file", path);
    else if (st.st_size == 0)
        gf_fail(e, GF_E_MODEL, "%s: it is empty", path);
    else if (gf_io_fault_hits() ||
             (data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0)) == MAP_FAILED)
        cannot_read(e, path);
    else {
        map->data = data;
        map->size = (size_t)st.st_size;
        ok = true;
    }
    close(fd);
    return ok;
}

void gf_io_unmap(gf_map *map) {
    if (map->data) munmap((void *)(uintptr_t)map->data, map->size);
    *map = (gf_map){0};
}

void gf_io_unload(const void *bytes, size_t size) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), at = (uintptr_t)bytes;
    uintptr_t first = (at + page - 1) / page * page, last = (at + size) / page * page;
    if (first < last) madvise((void *)first, last - first, MADV_DONTNEED); /* a hint: may fail */
}

static bool sync_path(const char *path, int flags, gf_err *e) {
    int fd = gf_io_fault_hits() ? -1 : open(path, flags | O_CLOEXEC);
    bool ok = fd >= 0 && !gf_io_fault_hits() && fsync(fd) == 0;
    if (!ok) cannot_write(e, path);
    if (ok) gf_io_note(GF_IO_SYNC, path, NULL, 0, NULL, 0);
    if (fd >= 0) close(fd);
    return ok;
}

static bool sync_folder_of(const char *path, gf_err *e) {
    char *folder = gf_io_folder_of(path, e);
    bool ok = folder && sync_path(folder, O_RDONLY | O_DIRECTORY, e);
    gf_free(folder);
    return ok;
}

bool gf_io_publish(const char *tmp, const char *path, gf_err *e) {
    if (!sync_path(tmp, O_RDONLY, e)) return false;
    if (gf_io_fault_hits() || rename(tmp, path) != 0) return cannot_write(e, path);
    gf_io_note(GF_IO_RENAME, tmp, path, 0, NULL, 0);
    return sync_folder_of(path, e);
}

bool gf_io_exchange(const char *tmp, const char *path, gf_err *e) {
    if (!gf_io_exists(path)) return gf_io_publish(tmp, path, e);
    if (!sync_path(tmp, O_RDONLY, e)) return false;
    if (gf_io_fault_hits() || renameat2(AT_FDCWD, tmp, AT_FDCWD, path, RENAME_EXCHANGE) != 0)
        return cannot_write(e, path);
    gf_io_note(GF_IO_EXCHANGE, tmp, path, 0, NULL, 0);
    return sync_folder_of(path, e);
}

bool gf_io_replace_file(const char *path, const void *bytes, size_t size, gf_err *e) {
    char *tmp = gf_format(e, "%s.tmp", path);
    gf_file *f = tmp ? gf_io_create(tmp, e) : NULL;
    bool ok = f && gf_io_write(f, bytes, size, e);
    ok = gf_io_close(f, e) && ok;
    ok = ok && gf_io_publish(tmp, path, e);
    if (!ok && tmp) unlink(tmp);
    gf_free(tmp);
    return ok;
}

static bool copy_file(const char *from, const char *to, gf_err *e) {
    gf_file *in = gf_io_open(from, e), *out = in ? gf_io_create(to, e) : NULL;
    char *buffer = out ? gf_alloc(BUFFER, e) : NULL;
    int64_t n = 0;
    bool ok = buffer != NULL;
    while (ok && (n = gf_io_read(in, buffer, BUFFER, e)) != 0)
        ok = n > 0 && gf_io_write(out, buffer, (size_t)n, e);
    gf_free(buffer);
    gf_io_close(in, NULL);
    return gf_io_close(out, e) && ok;
}

bool gf_io_link(const char *from, const char *path, gf_err *e) {
    char *tmp = gf_format(e, "%s.tmp", path);
    bool ok = tmp && gf_io_remove(tmp, e);
    if (ok && !gf_io_fault_hits() && link(from, tmp) == 0)
        gf_io_note(GF_IO_LINK, from, tmp, 0, NULL, 0);
    else
        ok = ok && copy_file(from, tmp, e);
    ok = ok && gf_io_publish(tmp, path, e);
    if (!ok && tmp) gf_io_remove(tmp, NULL);
    gf_free(tmp);
    return ok;
}

int64_t gf_io_free_space(const char *folder) {
    struct statvfs s;
    int64_t bytes;
    if (gf_io_fault_hits()) return gf_io_fault_kind() == GF_FAULT_ENOSPC ? 0 : -1;
    if (statvfs(folder, &s) != 0) return -1;
    return gf_mul_i64((int64_t)s.f_bavail, (int64_t)s.f_frsize, &bytes) ? bytes : INT64_MAX;
}

int64_t gf_io_size(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) ? (int64_t)st.st_size : -1;
}

/* 1: locked and the file is still the one at this path; 0: another has it; -1: it cannot be. */
static int try_lock(int fd, const char *path) {
    struct stat mine, there;
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) return errno == EWOULDBLOCK ? 0 : -1;
    return fstat(fd, &mine) == 0 && stat(path, &there) == 0 && mine.st_ino == there.st_ino &&
           mine.st_dev == there.st_dev;
}

int gf_io_try_lock(gf_lock *lock, const char *path, double seconds, gf_err *e) {
    const struct timespec pause = {0, 20000000};
    for (double waited = 0;; waited += 0.02) {
        int fd = gf_io_fault_hits() ? -1 : open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        int got = fd >= 0 ? try_lock(fd, path) : -1;
        if (got == 1) lock->fd = fd;
        if (got < 0) cannot_write(e, path);
        if (got != 1 && fd >= 0) close(fd);
        if (got != 0 || waited >= seconds) return got;
        nanosleep(&pause, NULL);
    }
}

bool gf_io_lock(gf_lock *lock, const char *path, double seconds, gf_err *e) {
    int got = gf_io_try_lock(lock, path, seconds, e);
    if (got == 0)
        gf_fail(e, GF_E_IO,
                "%s: another process works on this run; wait for its end, or choose another "
                "--output",
                path);
    return got == 1;
}

void gf_io_unlock(gf_lock *lock) {
    if (lock->fd) close(lock->fd);
    lock->fd = 0;
}

bool gf_io_exists(const char *path) { return access(path, F_OK) == 0; }

bool gf_io_is_folder(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool gf_io_is_file(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

char *gf_io_make_temporary_folder(gf_err *e) {
    const char *parent = getenv("TMPDIR");
    char *path = gf_io_join(parent && *parent ? parent : "/tmp", "graft-XXXXXX", e);
    if (path && (gf_io_fault_hits() || !mkdtemp(path))) {
        cannot_write(e, path);
        gf_free(path);
        path = NULL;
    }
    return path;
}

/* Its name is on the disk too, or the files synced in it would be lost with it. */
static bool make_one_folder(const char *path, gf_err *e) {
    if (gf_io_fault_hits()) return cannot_write(e, path);
    if (mkdir(path, 0777) != 0) return errno == EEXIST || cannot_write(e, path);
    gf_io_note(GF_IO_MAKE_FOLDER, path, NULL, 0, NULL, 0);
    return sync_folder_of(path, e);
}

bool gf_io_make_folder(const char *path, gf_err *e) {
    char *copy = gf_strdup(path, e);
    bool ok = copy != NULL;
    for (size_t i = 1, n = strlen(path); ok && i <= n; i++) { /* "a", "a/b", "a/b/c" */
        if (path[i] != '/' && path[i] != 0) continue;
        copy[i] = 0;
        ok = make_one_folder(copy, e);
        copy[i] = path[i];
    }
    if (ok && !gf_io_is_folder(path))
        ok = gf_fail(e, GF_E_IO, "%s: it exists and is not a folder; choose another name", path);
    gf_free(copy);
    return ok;
}

bool gf_io_remove(const char *path, gf_err *e) {
    if (gf_io_fault_hits()) return cannot_write(e, path);
    if (unlink(path) == 0)
        gf_io_note(GF_IO_REMOVE, path, NULL, 0, NULL, 0);
    else if (errno != ENOENT)
        return cannot_write(e, path);
    return true;
}

bool gf_io_remove_tree(const char *path, gf_err *e) {
    int64_t count = 0;
    bool ok = true;
    char **names;
    struct stat st;
    if (lstat(path, &st) != 0 || !S_ISDIR(st.st_mode)) return gf_io_remove(path, e);
    if (!(names = gf_io_list(path, &count, e))) return false;
    for (int64_t i = 0; ok && i < count; i++) {
        char *child = gf_io_join(path, names[i], e);
        ok = child && gf_io_remove_tree(child, e);
        gf_free(child);
    }
    gf_io_free_names(names, count);
    if (ok && (gf_io_fault_hits() || rmdir(path) != 0)) ok = cannot_write(e, path);
    if (ok) gf_io_note(GF_IO_REMOVE, path, NULL, 0, NULL, 0);
    return ok;
}

static int by_bytes(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

char **gf_io_list(const char *path, int64_t *count, gf_err *e) {
    DIR *folder = gf_io_fault_hits() ? NULL : opendir(path);
    char **names = NULL;
    int64_t n = 0, capacity = 0;
    bool ok = folder != NULL;
    if (!ok) cannot_read(e, path);
    ok = ok && gf_grow(&names, 0, &capacity, sizeof *names, e);
    for (struct dirent *d; ok;) {
        errno = 0; /* readdir() tells the end from a failure by it alone */
        if (!(d = readdir(folder))) {
            if (errno) ok = cannot_read(e, path);
            break;
        }
        if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0) continue;
        ok = gf_grow(&names, n, &capacity, sizeof *names, e);
        ok = ok && (names[n] = gf_strdup(d->d_name, e));
        n += ok;
    }
    if (folder) closedir(folder);
    if (!ok) {
        gf_io_free_names(names, n);
        return NULL;
    }
    qsort(names, (size_t)n, sizeof *names, by_bytes);
    *count = n;
    return names;
}

void gf_io_free_names(char **names, int64_t count) {
    for (int64_t i = 0; names && i < count; i++) gf_free(names[i]);
    gf_free(names);
}

char *gf_io_join(const char *folder, const char *name, gf_err *e) {
    size_t n = folder ? strlen(folder) : 0;
    if (n == 0 || name[0] == '/') return gf_strdup(name, e);
    return gf_format(e, "%s%s%s", folder, folder[n - 1] == '/' ? "" : "/", name);
}

char *gf_io_absolute(const char *path, gf_err *e) {
    char here[PATH_MAX];
    if (path[0] == '/') return gf_strdup(path, e);
    if (getcwd(here, sizeof here)) return gf_io_join(here, path, e);
    gf_fail(e, GF_E_IO, "the working folder is not known: %s", strerror(errno));
    return NULL;
}

char *gf_io_folder_of(const char *path, gf_err *e) {
    const char *slash = strrchr(path, '/');
    if (!slash) return gf_strdup(".", e);
    return gf_strndup(path, slash == path ? 1 : (size_t)(slash - path), e);
}
