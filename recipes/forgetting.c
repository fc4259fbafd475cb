#include "recipes/forgetting.h"

#include "checkpoints/safetensors.h"
#include "core/mem.h"
#include "core/sha256.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char tensor_name[] = "embeddings", digest_name[] = "sha256";

static int64_t sample_rows(const gf_dataset *dev) {
    return dev->rows < GF_FORGETTING_ROWS ? dev->rows : GF_FORGETTING_ROWS;
}

/* Row i of the sample. */
static int64_t row_at(const gf_dataset *dev, int64_t rows, int64_t i) {
    return i * dev->rows / rows;
}

/* Embeds the sample in file order, in batches whose make-up depends on nothing else: the same
 * weights give the same bits whenever they are asked. */
static bool embed_sample(gf_forgetting *f, const gf_forgetting_place *p, gf_err *e) {
    gf_batch b = {0};
    int64_t *row = gf_alloc_array(f->rows, sizeof *row, e), done = 0;
    bool ok = row != NULL;
    for (int64_t i = 0; ok && i < f->rows; i++) row[i] = row_at(p->dev, f->rows, i);
    while (ok && done < f->rows) {
        int64_t n = gf_engine_take_rows(p->dev, row + done, f->rows - done, GF_EVAL_ROWS);
        ok = gf_batch_fill(&b, p->dev, row + done, n, e) &&
             gf_engine_embed(p->engine, p->model, &b, f->now + done * f->width, e);
        done += n;
        ok = ok && (!p->tell || p->tell->rows(p->tell->context, done, f->rows, e));
    }
    f->known = ok;
    gf_batch_free(&b);
    gf_free(row);
    return ok;
}

static bool ensure_now(gf_forgetting *f, const gf_forgetting_place *p, gf_err *e) {
    if (!f->now) {
        f->rows = sample_rows(p->dev);
        f->width = p->model->embedding_size;
        if (!(f->now = gf_alloc_array(f->rows * f->width, sizeof *f->now, e))) return false;
    }
    return f->known || embed_sample(f, p, e);
}

static char *file_of(const gf_forgetting *f, int64_t phase, gf_err *e) {
    char name[64] = "forgetting/base.safetensors";
    if (phase >= 0)
        snprintf(name, sizeof name, "forgetting/phase-%lld.safetensors", (long long)phase + 1);
    return gf_io_join(f->folder, name, e);
}

static void digest_of(const gf_real *x, int64_t count, char hex[GF_SHA256_HEX]) {
    gf_sha256_of(x, (size_t)count * sizeof *x, hex);
}

static bool write_now(const gf_forgetting *f, const char *path, gf_err *e) {
    gf_named_tensor t = {tensor_name, gf_shape2(f->rows, f->width), f->now};
    char *folder = gf_io_join(f->folder, "forgetting", e), hex[GF_SHA256_HEX];
    cJSON *metadata = gf_json_object(NULL, NULL, e);
    bool ok = folder && metadata;
    digest_of(f->now, f->rows * f->width, hex);
    ok = ok && gf_json_string(metadata, digest_name, hex, e) && gf_io_make_folder(folder, e) &&
         gf_safetensors_write_as(path, &t, 1, GF_DTYPE_F32, metadata, e);
    cJSON_Delete(metadata);
    gf_free(folder);
    return ok;
}

static bool has_digest(const gf_safetensors *s, const gf_real *x, int64_t count) {
    const cJSON *metadata = cJSON_GetObjectItemCaseSensitive(s->header, "__metadata__");
    const cJSON *digest = cJSON_GetObjectItemCaseSensitive(metadata, digest_name);
    char hex[GF_SHA256_HEX];
    digest_of(x, count, hex);
    return cJSON_IsString(digest) && strcmp(digest->valuestring, hex) == 0;
}

/* NULL with *e set when the file is not there, or not what was written. */
static gf_real *read_file(const gf_forgetting_place *p, const char *path, gf_err *e) {
    gf_shape wanted = gf_shape2(sample_rows(p->dev), p->model->embedding_size), shape;
    gf_safetensors s = {0};
    const gf_tensor *t = NULL;
    gf_real *x = NULL;
    if (gf_safetensors_open(&s, path, e) && (t = gf_safetensors_find(&s, tensor_name)) &&
        gf_tensor_shape(t, &shape, path, e) && gf_shape_equal(&shape, &wanted) &&
        (x = gf_alloc_array(gf_shape_count(&wanted), sizeof *x, e)) &&
        !(gf_tensor_to_real(t, x, path, e) && has_digest(&s, x, gf_shape_count(&wanted)))) {
        gf_free(x);
        x = NULL;
    }
    if (!x) gf_fail(e, GF_E_MODEL, "%s: it does not hold what it should", path);
    gf_safetensors_close(&s);
    return x;
}

/* What stood at the beginning: measured now, whatever an earlier course of the run has left there,
 * or from its file. */
static bool recall(gf_forgetting *f, int64_t phase, bool measurable, const gf_forgetting_place *p,
                   gf_real **out, gf_err *e) {
    char *path = file_of(f, phase, e);
    gf_err lost = {0};
    bool ok = path != NULL;
    gf_free(*out);
    *out = NULL;
    if (ok && measurable) ok = ensure_now(f, p, e) && write_now(f, path, e);
    if (ok && !(*out = read_file(p, path, &lost)))
        gf_log_say(p->log, GF_LOG_WARNING,
                   "%s; what this phase does to the embeddings will not be told", lost.text);
    gf_free(path);
    return ok;
}

bool gf_forgetting_begin(gf_forgetting *f, int64_t phase, bool fresh, bool first,
                         const gf_forgetting_place *p, gf_err *e) {
    if (!recall(f, -1, fresh && first, p, &f->run, e)) return false;
    if (!recall(f, phase, fresh, p, &f->before, e)) return false;
    f->known = false; /* the weights are about to change */
    return true;
}

/* The mean cosine of rows [rows, width]; each row's products are summed in double. */
static double mean_cosine(int64_t rows, int64_t width, const gf_real *x, const gf_real *y) {
    double sum = 0;
    if (!x || !y || rows == 0) return NAN;
    for (int64_t i = 0; i < rows; i++) {
        double xy = 0, xx = 0, yy = 0;
        for (int64_t k = i * width; k < (i + 1) * width; k++) {
            xy += (double)x[k] * (double)y[k];
            xx += (double)x[k] * (double)x[k];
            yy += (double)y[k] * (double)y[k];
        }
        sum += xx > 0 && yy > 0 ? xy / sqrt(xx * yy) : 0;
    }
    return sum / (double)rows;
}

bool gf_forgetting_end(gf_forgetting *f, const gf_forgetting_place *p, gf_cosines *c, gf_err *e) {
    f->known = false;
    if (!ensure_now(f, p, e)) return false;
    c->phase = mean_cosine(f->rows, f->width, f->before, f->now);
    c->run = mean_cosine(f->rows, f->width, f->run, f->now);
    return true;
}

void gf_forgetting_free(gf_forgetting *f) {
    gf_free(f->now);
    gf_free(f->before);
    gf_free(f->run);
    *f = (gf_forgetting){0};
}
