/* Rows from HDF5 files, read by a child process. libhdf5 1.10 crashes on damaged files (a wrong
 * length in a global heap is enough: H5HG_read), and a data file may come from anywhere; so a child
 * does the reading and sends the rows through a pipe, and its crash is an error of the file.
 *
 * The stream, numbers as int64_t: 1, count, the columns' names; then for each row 1 and the cells,
 * a kind, the eight bytes of a number if it is one, and a string each; at the end 0. In place of a
 * 1, -1 with an error's code and sentence. A string is its size and its bytes. The parent trusts no
 * size in it. */
#include "data/rows_format.h"

#include "core/io.h"
#include "core/mem.h"
#include "core/text.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BUFFER = 1 << 16, MEMORY = 1 << 30 };

/* The parent's side. */
typedef struct child {
    pid_t pid;
    int fd;
    gf_text *cell; /* [n_fields] the row's strings */
    bool ended;
    size_t first, end;
    char buffer[BUFFER]; /* bytes first .. end are not yet taken */
} child;

/* ---- the child ---- */

typedef struct sender {
    int fd;
    gf_text waiting;
} sender;

static bool flush(sender *s) {
    const char *p = s->waiting.data;
    size_t left = s->waiting.length;
    while (left > 0) {
        ssize_t n = write(s->fd, p, left);
        if (n < 0 && errno != EINTR) return false;
        p += n > 0 ? n : 0;
        left -= n > 0 ? (size_t)n : 0;
    }
    s->waiting.length = 0;
    return true;
}

static bool send_bytes(sender *s, const void *bytes, size_t size, gf_err *e) {
    return gf_text_add_bytes(&s->waiting, bytes, size, e) &&
           (s->waiting.length < BUFFER || flush(s));
}

static bool send_number(sender *s, int64_t number, gf_err *e) {
    return send_bytes(s, &number, sizeof number, e);
}

static bool send_string(sender *s, const char *text, size_t size, gf_err *e) {
    return send_number(s, (int64_t)size, e) && send_bytes(s, text, size, e);
}

static bool send_columns(sender *s, const gf_rows *r, gf_err *e) {
    bool ok = send_number(s, 1, e) && send_number(s, r->n_columns, e);
    for (int64_t i = 0; ok && i < r->n_columns; i++)
        ok = send_string(s, r->column[i], strlen(r->column[i]), e);
    return ok;
}

static bool send_row(sender *s, const gf_cell *cells, int64_t n, gf_err *e) {
    bool ok = send_number(s, 1, e);
    for (int64_t i = 0; ok && i < n; i++) {
        const gf_cell *c = &cells[i];
        size_t size = c->kind == GF_CELL_STRING ? c->size : strlen(c->text);
        ok = send_number(s, c->kind, e) &&
             (c->kind != GF_CELL_NUMBER || send_bytes(s, &c->number, sizeof c->number, e)) &&
             send_string(s, c->text, size, e);
    }
    return ok;
}

static void send_table(sender *s, gf_rows *r) {
    gf_err e = {0}, lost = {0};
    gf_cell *cells = gf_alloc_array(r->n_fields, sizeof *cells, &e);
    bool ok = cells && gf_rows_start(r, &e) && send_columns(s, r, &e);
    while (ok && r->format->next(r, cells, &e) == 1) ok = send_row(s, cells, r->n_fields, &e);
    if (e.code == GF_OK)
        send_number(s, 0, &lost);
    else if (send_number(s, -1, &lost) && send_number(s, e.code, &lost))
        send_string(s, e.text, strlen(e.text), &lost);
    flush(s);
}

/* Lets the child take 1 GiB on top of what it has: a wrong length makes libhdf5 clear gigabytes. */
static void bound_memory(void) {
    struct rlimit limit;
    size_t size;
    char *statm = gf_io_read_all("/proc/self/statm", 4096, &size, NULL); /* pages, proc(5) */
    if (statm && getrlimit(RLIMIT_AS, &limit) == 0) {
        rlim_t wanted = (rlim_t)strtoull(statm, NULL, 10) * (rlim_t)sysconf(_SC_PAGESIZE) + MEMORY;
        if (wanted < limit.rlim_cur) limit.rlim_cur = wanted;
        setrlimit(RLIMIT_AS, &limit);
    }
    gf_free(statm);
}

/* Never returns. A crash must end the child, not run the parent's handlers; an interrupt is for the
 * parent to act on, which ends the child when it closes the rows. */
static void run_child(const gf_rows *parent, int fd) {
    const int crashes[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGPIPE};
    sender s = {.fd = fd};
    gf_rows r = *parent;
    for (size_t i = 0; i < sizeof crashes / sizeof *crashes; i++) signal(crashes[i], SIG_DFL);
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    close(((const child *)parent->state)->fd); /* so that the pipe breaks when the parent ends */
    close(STDERR_FILENO);                      /* where the C library would report a broken heap */
    bound_memory();
    r.format = &gf_rows_hdf5_direct;
    r.state = NULL;
    send_table(&s, &r);
    _exit(0);
}

/* ---- the parent ---- */

static bool open_child(gf_rows *r, gf_err *e) {
    int ends[2];
    child *c = gf_alloc_array(1, sizeof *c, e);
    if (!c) return false;
    r->state = c;
    c->fd = -1;
    if (!(c->cell = gf_alloc_array(r->n_fields, sizeof *c->cell, e))) return false;
    if (pipe(ends) != 0)
        return gf_fail(e, GF_E_IO, "%s: no pipe can be made: %s", r->place, strerror(errno));
    c->fd = ends[0];
    if ((c->pid = fork()) == 0) run_child(r, ends[1]);
    close(ends[1]);
    return c->pid > 0 ||
           gf_fail(e, GF_E_IO, "%s: no process can be made: %s", r->place, strerror(errno));
}

static void close_child(gf_rows *r) {
    child *c = r->state;
    if (c->fd >= 0) close(c->fd);
    if (c->pid > 0) {
        kill(c->pid, SIGKILL);
        while (waitpid(c->pid, NULL, 0) < 0 && errno == EINTR) {}
    }
    for (int64_t i = 0; c->cell && i < r->n_fields; i++) gf_text_free(&c->cell[i]);
    gf_free(c->cell);
}

static bool fail_crashed(const gf_rows *r, gf_err *e) {
    return gf_fail(e, GF_E_MODEL, "%s: reading it crashed HDF5; the file is damaged", r->place);
}

static bool fill(const gf_rows *r, child *c, gf_err *e) {
    ssize_t n;
    do n = read(c->fd, c->buffer, BUFFER);
    while (n < 0 && errno == EINTR);
    c->first = 0;
    c->end = n > 0 ? (size_t)n : 0;
    return n > 0 || fail_crashed(r, e);
}

static bool take_bytes(const gf_rows *r, void *bytes, size_t size, gf_err *e) {
    child *c = r->state;
    char *to = bytes;
    while (size > 0) {
        size_t n = c->end - c->first < size ? c->end - c->first : size;
        memcpy(to, c->buffer + c->first, n);
        c->first += n;
        to += n;
        size -= n;
        if (size > 0 && !fill(r, c, e)) return false;
    }
    return true;
}

/* A number from low to high, or the child has run wild. */
static bool take_number(const gf_rows *r, int64_t low, int64_t high, int64_t *number, gf_err *e) {
    if (!take_bytes(r, number, sizeof *number, e)) return false;
    return (*number >= low && *number <= high) || fail_crashed(r, e);
}

static bool take_string(const gf_rows *r, gf_text *t, gf_err *e) {
    char part[4096];
    int64_t left;
    t->length = 0;
    if (!take_number(r, 0, GF_ROWS_LONGEST, &left, e)) return false;
    if (left == 0) return gf_text_add_bytes(t, "", 0, e);
    while (left > 0) {
        size_t n = left < (int64_t)sizeof part ? (size_t)left : sizeof part;
        if (!take_bytes(r, part, n, e) || !gf_text_add_bytes(t, part, n, e)) return false;
        left -= (int64_t)n;
    }
    return true;
}

/* 1: what was announced follows; 0: the end; -1: failure, here or in the child. */
static int take_status(const gf_rows *r, gf_err *e) {
    int64_t status, code;
    gf_text text = {0};
    if (!take_number(r, -1, 1, &status, e)) return -1;
    if (status < 0 && take_number(r, GF_OK + 1, GF_E_SIGTERM, &code, e) && take_string(r, &text, e))
        gf_fail(e, (gf_code)code, "%s", text.data);
    gf_text_free(&text);
    return (int)status;
}

static bool take_columns(gf_rows *r, gf_err *e) {
    gf_text name = {0};
    int64_t count = 0;
    bool ok = take_status(r, e) == 1 || fail_crashed(r, e);
    ok = ok && take_number(r, 0, GF_ROWS_MOST_COLUMNS, &count, e);
    for (int64_t i = 0; ok && i < count; i++)
        ok = take_string(r, &name, e) && gf_rows_add_column(r, name.data, name.length, e);
    gf_text_free(&name);
    return ok;
}

static bool take_cell(const gf_rows *r, gf_text *t, gf_cell *cell, gf_err *e) {
    int64_t kind;
    double number = 0;
    if (!take_number(r, GF_CELL_MISSING, GF_CELL_OTHER, &kind, e) ||
        (kind == GF_CELL_NUMBER && !take_bytes(r, &number, sizeof number, e)) ||
        !take_string(r, t, e))
        return false;
    *cell = (gf_cell){.kind = (gf_cell_kind)kind,
                      .text = t->data,
                      .size = kind == GF_CELL_STRING ? t->length : 0,
                      .number = number};
    return true;
}

static int take_row(gf_rows *r, gf_cell *cells, gf_err *e) {
    child *c = r->state;
    int status = c->ended ? 0 : take_status(r, e);
    c->ended = status == 0;
    for (int64_t i = 0; status == 1 && i < r->n_fields; i++)
        if (!take_cell(r, &c->cell[i], &cells[i], e)) status = -1;
    r->line += status == 1;
    return status;
}

const gf_rows_format gf_rows_hdf5 = {.has_header = true,
                                     .open = open_child,
                                     .columns = take_columns,
                                     .next = take_row,
                                     .close = close_child};
