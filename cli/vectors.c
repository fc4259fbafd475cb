#include "cli/vectors.h"

#include "cli/jsonl.h"
#include "core/mem.h"

#include <string.h>
#include <strings.h>
#include <unistd.h>

struct gf_vectors_format {
    const char *name; /* of --format, and the file ending */
    bool binary;
    bool (*start)(gf_vectors *v, gf_err *e);
    bool (*add)(gf_vectors *v, int64_t rows, const gf_real *x, gf_err *e);
    bool (*end)(gf_vectors *v, gf_err *e);
};

static bool nothing(gf_vectors *v, gf_err *e) {
    (void)v;
    (void)e;
    return true;
}

static bool write_text(gf_vectors *v, gf_err *e) {
    return gf_io_write(v->file, v->text.data, v->text.length, e);
}

/* ---- JSON Lines ---- */

static bool add_jsonl(gf_vectors *v, int64_t rows, const gf_real *x, gf_err *e) {
    bool ok = true;
    for (int64_t i = 0; ok && i < rows; i++) {
        v->text.length = 0;
        ok = gf_text_add(&v->text, e, "{\"embedding\": ") &&
             gf_jsonl_add_reals(&v->text, v->width, x + i * v->width, e) &&
             gf_text_add(&v->text, e, "}\n") && write_text(v, e);
    }
    return ok;
}

/* ---- numbers between tabs ---- */

static bool add_tsv(gf_vectors *v, int64_t rows, const gf_real *x, gf_err *e) {
    bool ok = true;
    for (int64_t i = 0; ok && i < rows; i++) {
        v->text.length = 0;
        for (int64_t k = 0; ok && k < v->width; k++)
            ok = gf_text_add(&v->text, e, "%s%.9g", k ? "\t" : "", (double)x[i * v->width + k]);
        ok = ok && gf_text_add(&v->text, e, "\n") && write_text(v, e);
    }
    return ok;
}

/* ---- NumPy's format 1.0 (numpy.lib.format) ---- */

/* Its header holds the number of rows, which is known last: a file gets it then, over the one it
 * was begun with; for a pipe everything waits in v->text. 128 bytes hold any two numbers. */
enum { NPY_HEADER = 128, NPY_PREFIX = 10 };

static bool make_npy_header(const gf_vectors *v, char header[NPY_HEADER + 1], gf_err *e) {
    gf_text t = {0};
    static const char prefix[NPY_PREFIX] = "\x93NUMPY\x01\x00\x76"; /* 118 bytes follow */
    bool ok =
        gf_text_add(&t, e, "{'descr': '<f4', 'fortran_order': False, 'shape': (%lld, %lld), }",
                    (long long)v->rows, (long long)v->width);
    if (ok) {
        memset(header, ' ', NPY_HEADER);
        memcpy(header, prefix, NPY_PREFIX);
        memcpy(header + NPY_PREFIX, t.data, t.length);
        header[NPY_HEADER - 1] = '\n';
    }
    gf_text_free(&t);
    return ok;
}

static bool start_npy(gf_vectors *v, gf_err *e) {
    char header[NPY_HEADER + 1];
    return make_npy_header(v, header, e) &&
           (!v->path || gf_io_write(v->file, header, NPY_HEADER, e));
}

static bool add_npy(gf_vectors *v, int64_t rows, const gf_real *x, gf_err *e) {
    size_t size = (size_t)(rows * v->width) * sizeof *x;
    return v->path ? gf_io_write(v->file, x, size, e) : gf_text_add_bytes(&v->text, x, size, e);
}

static bool end_npy(gf_vectors *v, gf_err *e) {
    char header[NPY_HEADER + 1];
    if (!make_npy_header(v, header, e)) return false;
    if (v->path) return gf_io_write_at(v->file, 0, header, NPY_HEADER, e);
    return gf_io_write(v->file, header, NPY_HEADER, e) && write_text(v, e);
}

/* ---- HDF5 ---- */

static bool start_h5(gf_vectors *v, gf_err *e) {
    v->h5 = gf_h5_create(v->written, 0, e);
    v->h5_rows = gf_h5_rows_create(&v->h5, "embeddings", v->width);
    return v->h5.ok;
}

static bool add_h5(gf_vectors *v, int64_t rows, const gf_real *x, gf_err *e) {
    (void)e;
    gf_h5_rows_append(&v->h5_rows, rows, x);
    return v->h5.ok;
}

/* ---- all of them ---- */

static const gf_vectors_format formats[] = {
    {"jsonl", false, nothing, add_jsonl, nothing},
    {"tsv", false, nothing, add_tsv, nothing},
    {"npy", true, start_npy, add_npy, end_npy},
    {"h5", true, start_h5, add_h5, nothing},
};
enum { N_FORMATS = sizeof formats / sizeof *formats };

static const gf_vectors_format *find_format(const char *name) {
    for (int i = 0; i < N_FORMATS; i++)
        if (strcasecmp(formats[i].name, name) == 0) return &formats[i];
    return NULL;
}

static bool is_h5(const gf_vectors *v) { return v->format->start == start_h5; }

bool gf_vectors_choose(gf_vectors *v, const gf_args *a, gf_err *e) {
    const char *dot = a->output ? strrchr(a->output, '.') : NULL;
    v->path = a->output && strcmp(a->output, "-") != 0 ? a->output : NULL;
    if (a->format && !(v->format = find_format(a->format)))
        return gf_fail(e, GF_E_USAGE, "--format: \"%s\" is unknown; take jsonl, tsv, npy or h5",
                       a->format);
    if (!v->format && dot) v->format = find_format(dot + 1);
    if (!v->format) v->format = &formats[0];
    if (is_h5(v) && !v->path)
        return gf_fail(e, GF_E_USAGE,
                       "--format: HDF5 cannot be written to standard output; add "
                       "--output FILE");
    if (v->format->binary && !v->path && isatty(STDOUT_FILENO))
        return gf_fail(e, GF_E_USAGE,
                       "--format: %s is not for a terminal; add --output FILE, or a pipe",
                       v->format->name);
    return true;
}

bool gf_vectors_start(gf_vectors *v, int64_t width, gf_err *e) {
    bool special = v->path && gf_io_exists(v->path) && !gf_io_is_file(v->path);
    v->width = width;
    if (v->path && !(v->written = gf_format(e, special ? "%s" : "%s.tmp", v->path))) return false;
    if (!is_h5(v) && !(v->file = gf_io_create(v->path ? v->written : "-", e))) return false;
    return v->format->start(v, e);
}

bool gf_vectors_add(gf_vectors *v, int64_t rows, const gf_real *x, gf_err *e) {
    v->rows += rows;
    return v->format->add(v, rows, x, e);
}

bool gf_vectors_finish(gf_vectors *v, bool ok, gf_err *e) {
    bool begun = v->h5.path || v->file;
    ok = ok && v->format->end(v, e);
    if (v->h5.path) {
        gf_h5_rows_close(&v->h5_rows);
        ok = gf_h5_close(&v->h5) && ok;
    }
    ok = gf_io_close(v->file, e) && ok;
    if (begun && v->written && strcmp(v->written, v->path) != 0) {
        if (ok)
            ok = gf_io_publish(v->written, v->path, e);
        else
            gf_io_remove(v->written, NULL);
    }
    gf_free(v->written);
    gf_text_free(&v->text);
    return ok;
}
