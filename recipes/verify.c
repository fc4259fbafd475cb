#include "recipes/verify.h"

#include "checkpoints/open.h"
#include "checkpoints/store.h"
#include "core/io.h"
#include "core/mem.h"
#include "core/sha256.h"

#include <string.h>

#define SUMS "SHA256SUMS"

/* Adds the line of a file, or of all files below a folder, in the order of their names. */
static bool add_sums(gf_text *out, const char *folder, const char *name, gf_err *e) {
    char hex[GF_SHA256_HEX], *path = gf_io_join(folder, name, e), **names = NULL;
    int64_t n = 0;
    bool ok = path != NULL;
    if (ok && !gf_io_is_folder(path))
        ok = gf_sha256_of_file(path, hex, e) && gf_text_add(out, e, "%s  %s\n", hex, name);
    else if (ok)
        ok = (names = gf_io_list(path, &n, e)) != NULL;
    for (int64_t i = 0; ok && i < n; i++) {
        char *child = gf_format(e, "%s/%s", name, names[i]);
        ok = child && add_sums(out, folder, child, e);
        gf_free(child);
    }
    gf_io_free_names(names, n);
    gf_free(path);
    return ok;
}

bool gf_verify_write_sums(const char *folder, gf_err *e) {
    gf_text out = {0};
    char *path = gf_io_join(folder, SUMS, e);
    bool ok = path && add_sums(&out, folder, "metrics.json", e) &&
              add_sums(&out, folder, "model", e) &&
              gf_io_replace_file(path, out.data, out.length, e);
    gf_text_free(&out);
    gf_free(path);
    return ok;
}

typedef struct tally {
    gf_text *out;
    int64_t good, bad;
} tally;

/* A line for a file; why NULL: it holds. */
static bool note(tally *t, const char *name, const char *why, gf_err *e) {
    *(why ? &t->bad : &t->good) += 1;
    if (!why) return gf_text_add(t->out, e, "ok       %s\n", name);
    return gf_text_add(t->out, e, "damaged  %s\n", why);
}

static bool verify_checkpoint(tally *t, const char *path, gf_err *e) {
    gf_err why = {0};
    bool ok = gf_store_verify(path, &why);
    if (!ok && why.code == GF_E_NOMEM) return gf_fail(e, why.code, "%s", why.text);
    return note(t, path, ok ? NULL : why.text, e);
}

static bool verify_checkpoints(tally *t, const char *run, gf_err *e) {
    char *folder = gf_io_join(run, "checkpoints", e), **names = NULL;
    int64_t n = 0;
    bool ok = folder && (!gf_io_is_folder(folder) || (names = gf_io_list(folder, &n, e)));
    for (int64_t i = 0; ok && i < n; i++) {
        size_t length = strlen(names[i]);
        char *path = gf_io_join(folder, names[i], e);
        bool ours = length > 3 && strcmp(names[i] + length - 3, ".h5") == 0;
        ok = path && (!ours || verify_checkpoint(t, path, e));
        gf_free(path);
    }
    gf_io_free_names(names, n);
    gf_free(folder);
    return ok;
}

/* "HEX  NAME": the line is cut at its end. */
static bool verify_sum(tally *t, const char *run, char *line, gf_err *e) {
    const size_t digits = GF_SHA256_HEX - 1;
    char hex[GF_SHA256_HEX], *path, *why = NULL;
    gf_err unreadable = {0};
    bool ok;
    if (strlen(line) < digits + 3 || strncmp(line + digits, "  ", 2) != 0)
        return note(t, SUMS, SUMS ": a line is no digest and name", e);
    if (!(path = gf_io_join(run, line + digits + 2, e))) return false;
    if (!gf_sha256_of_file(path, hex, &unreadable))
        why = gf_strdup(unreadable.text, e);
    else if (strncmp(hex, line, digits) != 0)
        why = gf_format(e, "%s: its SHA-256 is not the one in " SUMS, path);
    ok = note(t, path, why, e);
    gf_free(why);
    gf_free(path);
    return ok;
}

static bool verify_sums(tally *t, const char *run, gf_err *e) {
    char *path = gf_io_join(run, SUMS, e), *text = NULL;
    size_t size = 0;
    bool ok = path != NULL;
    if (ok && gf_io_exists(path)) ok = (text = gf_io_read_all(path, 1 << 20, &size, e)) != NULL;
    for (char *line = text, *end; ok && line && (end = strchr(line, '\n')); line = end + 1) {
        *end = 0;
        ok = verify_sum(t, run, line, e);
    }
    gf_free(text);
    gf_free(path);
    return ok;
}

bool gf_verify(const char *path, gf_text *out, gf_err *e) {
    tally t = {.out = out};
    bool ok;
    if (!gf_io_exists(path))
        return gf_fail(e, GF_E_MODEL, "%s: there is no such file or folder; check the path", path);
    if (gf_io_is_file(path))
        ok = verify_checkpoint(&t, path, e);
    else if (gf_place_find(path) == GF_PLACE_RUN)
        ok = verify_checkpoints(&t, path, e) && verify_sums(&t, path, e);
    else
        return gf_fail(e, GF_E_MODEL,
                       "%s: it is no checkpoint and no run folder, and nothing else "
                       "carries digests",
                       path);
    if (ok && t.good + t.bad == 0)
        return gf_fail(e, GF_E_MODEL, "%s: the run has saved nothing yet", path);
    return ok && (t.bad == 0 || gf_fail(e, GF_E_VERIFY, "%s: %lld of %lld files are damaged", path,
                                        (long long)t.bad, (long long)(t.good + t.bad)));
}
