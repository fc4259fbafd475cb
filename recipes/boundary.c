#include "recipes/boundary.h"

#include "core/gemm.h"
#include "core/mem.h"
#include "core/text.h"
#include "recipes/boundary_file.h"

#include <stdio.h>
#include <string.h>

#define ENDING ".cache"

int64_t gf_boundary_point_of(const gf_model *m) {
    int64_t layers = gf_model_frozen_layers(m);
    if (gf_model_encoder_frozen(m)) return GF_POINT_EMBEDDING;
    return layers > 0 ? layers : GF_POINT_NONE;
}

bool gf_boundary_start(gf_boundary *b, const gf_recipe *r, const char *run_folder,
                       const char *shared, const gf_log *log, gf_err *e) {
    const char *given = r->cache_folder ? r->cache_folder : shared;
    *b = (gf_boundary){.memory = r->cache_mb << 20,
                       .disk = r->cache_disk_mb << 20,
                       .shared = given != NULL,
                       .keep = r->cache_keep || (shared && !r->cache_folder),
                       .log = log};
    if (given) return (b->folder = gf_strdup(given, e)) != NULL;
    return !run_folder || (b->folder = gf_io_join(run_folder, "cache", e)) != NULL;
}

/* ---- where ---- */

static int64_t vectors_of(const gf_dataset *d, int64_t point) {
    return point == GF_POINT_EMBEDDING ? d->rows : d->ids.count;
}

static int64_t width_of(const gf_model *m, int64_t point) {
    return point == GF_POINT_EMBEDDING ? m->embedding_size : m->config.hidden_size;
}

int64_t gf_boundary_bytes(const gf_run *r, int64_t point, bool train) {
    int64_t count = vectors_of(&r->dev, point) + (train ? vectors_of(&r->train, point) : 0), bytes;
    if (point == GF_POINT_NONE) return 0;
    if (gf_mul_i64(count, width_of(&r->model, point), &bytes) &&
        gf_mul_i64(bytes, (int64_t)sizeof(gf_real), &bytes))
        return bytes;
    return INT64_MAX;
}

/* Of the nearest folder above that is there. */
static int64_t free_space(const char *folder) {
    char *at = gf_strdup(folder, NULL);
    int64_t bytes = -1;
    while (at && !gf_io_is_folder(at)) {
        char *above = gf_io_folder_of(at, NULL);
        bool top = !above || strcmp(above, at) == 0;
        gf_free(at);
        at = above;
        if (top) break;
    }
    if (at) bytes = gf_io_free_space(at);
    gf_free(at);
    return bytes;
}

/* The checkpoints of this run and all that others write need room, too: half of it is left. */
static bool fits_disk(const gf_boundary *b, int64_t bytes) {
    int64_t there;
    if (!b->folder || bytes > b->disk) return false;
    there = free_space(b->folder);
    return there < 0 || bytes <= there / 2;
}

gf_boundary_place gf_boundary_choose(const gf_boundary *b, int64_t bytes) {
    bool memory = bytes <= b->memory;
    if (memory && !b->shared) return GF_BOUNDARY_MEMORY;
    if (fits_disk(b, bytes)) return GF_BOUNDARY_FILE;
    return memory ? GF_BOUNDARY_MEMORY : GF_BOUNDARY_NOWHERE;
}

/* ---- the key ---- */

static bool is_below(const gf_model *m, const gf_param *p, int64_t point) {
    long long layer;
    if (strncmp(p->name, "heads.", 6) == 0 || gf_model_is_mlm(m, p)) return false;
    if (point == GF_POINT_EMBEDDING) return true;
    if (gf_model_is_dense(m, p)) return false;
    return sscanf(p->name, "encoder.layer.%lld.", &layer) != 1 || layer < point;
}

/* What of the model's description changes the values. */
static bool add_model(gf_text *t, const gf_model *m, int64_t point, gf_err *e) {
    const gf_bert_config *c = &m->config;
    size_t size = 0;
    char *tokenizer = gf_tokenizer_to_json(m->tokenizer, &size, e), hex[GF_SHA256_HEX];
    bool ok = tokenizer != NULL;
    if (ok) gf_sha256_of(tokenizer, size, hex);
    ok = ok &&
         gf_text_add(t, e, "point %lld\nlayers %lld hidden %lld heads %lld eps %.17g tanh %d\n",
                     (long long)point, (long long)c->num_hidden_layers, (long long)c->hidden_size,
                     (long long)c->num_attention_heads, c->layer_norm_eps, (int)c->gelu_tanh) &&
         gf_text_add(t, e, "tokenizer %s\nmax_length %lld\n", hex, (long long)m->max_length);
    if (ok && point == GF_POINT_EMBEDDING)
        ok = gf_text_add(t, e, "pooling %s normalize %d projection %s\n",
                         gf_pooling_name(m->pooling), (int)m->normalize,
                         m->dense.weight ? gf_dense_activation_name(m->dense_activation) : "none");
    gf_free(tokenizer);
    return ok;
}

static bool add_weights(gf_text *t, const gf_model *m, int64_t point, gf_err *e) {
    char hex[GF_SHA256_HEX], shape[64];
    bool ok = true;
    for (int64_t i = 0; ok && i < m->params.count; i++) {
        const gf_param *p = m->params.items[i];
        if (!is_below(m, p, point)) continue;
        gf_sha256_of(p->value, (size_t)gf_param_count(p) * sizeof *p->value, hex);
        gf_shape_text(&p->shape, shape, sizeof shape);
        ok = gf_text_add(t, e, "%s %s %s\n", p->name, shape, hex);
    }
    return ok;
}

/* All but the texts. */
static bool describe(gf_text *t, const gf_run *r, const gf_engine *n, int64_t point, gf_err *e) {
    char gemm[128];
    return gf_text_add(t, e, "numerics %d, %zu bytes\nkernels %s; %s\n", GF_BOUNDARY_NUMERICS,
                       sizeof(gf_real), n->vec->name, gf_engine_products(n, gemm, sizeof gemm)) &&
           add_model(t, &r->model, point, e) && add_weights(t, &r->model, point, e);
}

static bool make_key(char key[GF_SHA256_HEX], const gf_text *common, const gf_dataset *d,
                     gf_err *e) {
    char ids[GF_SHA256_HEX], start[GF_SHA256_HEX];
    gf_text t = {0};
    bool ok;
    gf_sha256_of(d->ids.id, (size_t)d->ids.count * sizeof *d->ids.id, ids);
    gf_sha256_of(d->start, (size_t)(d->rows + 1) * sizeof *d->start, start);
    ok = gf_text_add_bytes(&t, common->data, common->length, e) &&
         gf_text_add(&t, e, "texts %s %s\n", ids, start);
    if (ok) gf_sha256_of(t.data, t.length, key);
    gf_text_free(&t);
    return ok;
}

/* ---- one of the two data sets ---- */

/* What is to be kept of it, and where it comes from. */
typedef struct part {
    gf_boundary *b;
    gf_run *run;
    gf_engine *engine;
    const char *name; /* "train" or "dev" */
    const gf_dataset *data;
    gf_features *features;
    int64_t point;
    gf_boundary_file what;
    int64_t bytes; /* of both data sets */
    const gf_tell *tell;
    int64_t done; /* rows */
    gf_boundary_writer writer;
    gf_err failed; /* of the writer */
} part;

static bool take_batch(void *context, const gf_batch *batch, const gf_real *x, gf_err *e) {
    part *p = context;
    const gf_dataset *d = p->data;
    for (int64_t i = 0; i < batch->sequences; i++) {
        int64_t row = batch->row[i], first = p->point ? d->start[row] : row;
        int64_t count = p->point ? d->start[row + 1] - first : 1;
        if (p->features->owned)
            memcpy(p->features->owned + first * p->what.width, x,
                   (size_t)(count * p->what.width) * sizeof *x);
        else if (!gf_boundary_file_put(&p->writer, first, count, x, &p->failed))
            return gf_fail(e, p->failed.code, "%s", p->failed.text);
        x += count * p->what.width;
    }
    p->done += batch->sequences;
    return !p->tell || p->tell->rows(p->tell->context, p->done, d->rows, e);
}

static bool compute(part *p, gf_err *e) {
    gf_sweep how = {.max_rows = GF_EVAL_ROWS, .behind = p->point};
    p->done = 0;
    return gf_engine_sweep_as(p->engine, &p->run->model, p->data, &how, take_batch, p, e);
}

static bool make_in_memory(part *p, gf_err *e) {
    gf_features *f = p->features;
    int64_t values; /* fits: its bytes have been counted */
    if (!gf_mul_i64(p->what.count, p->what.width, &values) ||
        !(f->owned = gf_alloc_array(values, sizeof *f->owned, e)))
        return false;
    if (!compute(p, e)) {
        gf_features_free(f);
        return false;
    }
    f->x = f->owned;
    f->rows = p->what.count;
    f->width = p->what.width;
    f->layers = p->point;
    return true;
}

static void warn(const part *p, const gf_err *why) {
    gf_log_say(p->b->log, GF_LOG_WARNING, "%s; the run goes on without this cache", why->text);
}

/* "FOLDER/train-layer4-0123456789abcdef.cache" */
static char *path_of(const part *p, gf_err *e) {
    char layer[32] = "embedding";
    if (p->point) snprintf(layer, sizeof layer, "layer%lld", (long long)p->point);
    return gf_format(e, "%s/%s-%s-%.16s" ENDING, p->b->folder, p->name, layer, p->what.key);
}

static bool is_made_here(const gf_boundary *b, const char *path) {
    for (int64_t i = 0; i < b->n_made; i++)
        if (strcmp(b->made[i], path) == 0) return true;
    return false;
}

static bool note_made(gf_boundary *b, const char *path, gf_err *e) {
    if (is_made_here(b, path)) return true;
    if (!gf_grow(&b->made, b->n_made, &b->capacity, sizeof *b->made, e)) return false;
    b->made[b->n_made] = gf_strdup(path, e);
    return b->made[b->n_made] && ++b->n_made;
}

/* In a folder of its own, the run can never use files of the same part that have another key: its
 * weights have changed, by this run's training or since an earlier course of it. */
static void drop_stale(const part *p, const char *path) {
    const char *name = strrchr(path, '/') + 1;
    size_t same = strlen(name) - 16 - strlen(ENDING);
    int64_t n = 0;
    char **names = p->b->shared ? NULL : gf_io_list(p->b->folder, &n, NULL);
    for (int64_t i = 0; names && i < n; i++) {
        char *old = gf_io_join(p->b->folder, names[i], NULL);
        if (old && strncmp(names[i], name, same) == 0 && strcmp(names[i], name) != 0 &&
            gf_text_ends_with(names[i], ENDING)) {
            if (!is_made_here(p->b, old))
                gf_log_say(p->b->log, GF_LOG_WARNING,
                           "%s: it is of other weights, texts, max_length or kernels; it is made "
                           "again",
                           old);
            gf_io_remove(old, NULL);
        }
        gf_free(old);
    }
    gf_io_free_names(names, n);
}

/* Whether train or dev, as they are held now, lies in the file. */
static bool is_in_use(const gf_boundary *b, const char *name) {
    const char *key = strrchr(name, '-');
    if (!key) return false;
    return (b->train.x && strncmp(key + 1, b->train_key, 16) == 0) ||
           (b->dev.x && strncmp(key + 1, b->dev_key, 16) == 0);
}

/* Files of this kind may take up cache.disk_mb together; others than those in use go, by name. A
 * process that has one mapped keeps it. */
static bool make_room(const part *p, int64_t bytes) {
    const gf_boundary *b = p->b;
    int64_t n = 0, sum = bytes;
    char **names = gf_io_list(b->folder, &n, NULL);
    for (int pass = 0; names && pass < 2; pass++)
        for (int64_t i = 0; i < n && (pass == 0 || sum > b->disk); i++) {
            char *path =
                gf_text_ends_with(names[i], ENDING) ? gf_io_join(b->folder, names[i], NULL) : NULL;
            int64_t size = path ? gf_io_size(path) : 0;
            if (size > 0 && pass == 0) sum += size;
            if (size > 0 && pass == 1 && !is_in_use(b, names[i]) && gf_io_remove(path, NULL))
                sum -= size;
            gf_free(path);
        }
    gf_io_free_names(names, n);
    return names && sum <= b->disk;
}

/* True with features->x when the file could be made; also true without, after a warning. False when
 * the pass over the texts failed. */
static bool write_file(part *p, const char *path, gf_err *e) {
    int64_t bytes = p->what.count * p->what.width * (int64_t)sizeof(gf_real); /* counted before */
    gf_err why = {0};
    bool ok;
    if (!make_room(p, bytes + GF_BOUNDARY_HEAD)) {
        gf_log_say(p->b->log, GF_LOG_WARNING,
                   "%s: there is no room for it within cache.disk_mb; the run goes on without it",
                   path);
        return true;
    }
    ok = gf_boundary_file_begin(&p->writer, path, &p->what, &p->failed) && compute(p, &why);
    if (!ok && p->failed.code == GF_OK) {
        gf_boundary_file_end(&p->writer, false, NULL);
        return gf_fail(e, why.code, "%s", why.text);
    }
    ok = gf_boundary_file_end(&p->writer, ok, ok ? &p->failed : NULL) &&
         note_made(p->b, path, &p->failed) &&
         gf_boundary_file_open(p->features, path, &p->what, false, &p->failed);
    if (!ok) warn(p, &p->failed);
    return true;
}

/* Under the lock: what is there and holds, or else made anew. */
static bool find_or_write(part *p, const char *path, gf_err *e) {
    gf_err why = {0};
    drop_stale(p, path);
    if (gf_io_exists(path)) {
        if (gf_boundary_file_open(p->features, path, &p->what, true, &why)) {
            gf_log_say(p->b->log, GF_LOG_NOTE, "%s: found, its texts are not computed again", path);
            return true;
        }
        gf_log_say(p->b->log, GF_LOG_WARNING, "%s; it is made again", why.text);
    }
    return write_file(p, path, e);
}

/* Waits while another process makes the file, heeding a wish to stop. */
static int lock_file(const part *p, gf_lock *lock, const char *path, gf_err *why, gf_err *e) {
    int got;
    while ((got = gf_io_try_lock(lock, path, 0.5, why)) == 0)
        if (p->tell && !p->tell->rows(p->tell->context, 0, p->data->rows, e)) return 0;
    return got;
}

/* features->x stays NULL when no file can be had, after a warning. */
static bool make_in_file(part *p, gf_err *e) {
    gf_err why = {0};
    gf_lock lock = {0};
    char *path = path_of(p, e), *lock_path = path ? gf_format(e, "%s.lock", path) : NULL;
    bool ok = lock_path != NULL;
    int got = -1;
    if (ok && gf_io_make_folder(p->b->folder, &why)) got = lock_file(p, &lock, lock_path, &why, e);
    if (ok && got < 0) warn(p, &why);
    if (ok && got == 0) ok = false;
    if (got == 1) {
        ok = find_or_write(p, path, e);
        gf_io_remove(lock_path, NULL);
        gf_io_unlock(&lock);
    }
    p->features->layers = p->point;
    gf_free(path);
    gf_free(lock_path);
    return ok;
}

static bool make_part(part *p, gf_boundary_place place, gf_err *e) {
    if (place == GF_BOUNDARY_FILE && !make_in_file(p, e)) return false;
    return p->features->x || p->bytes > p->b->memory || make_in_memory(p, e);
}

/* ---- both ---- */

static void drop(gf_features *f, char *key) {
    gf_features_free(f);
    key[0] = 0;
}

/* Drops what is held and is not, or no longer, wanted; both go before anything is made, so that
 * their memory is there again. */
static bool settle_key(part *p, bool wanted, const gf_text *common, char *key, gf_err *e) {
    char now[GF_SHA256_HEX] = "";
    if (wanted && !make_key(now, common, p->data, e)) return false;
    if (strcmp(now, key) != 0) drop(p->features, key);
    memcpy(key, now, sizeof now);
    p->what =
        (gf_boundary_file){key, vectors_of(p->data, p->point), width_of(&p->run->model, p->point)};
    return true;
}

bool gf_boundary_prepare(gf_boundary *b, gf_run *r, gf_engine *n, int64_t point, bool train,
                         const gf_tell *tell, gf_err *e) {
    int64_t bytes = gf_boundary_bytes(r, point, train);
    gf_boundary_place place =
        point == GF_POINT_NONE ? GF_BOUNDARY_NOWHERE : gf_boundary_choose(b, bytes);
    part t = {b, r, n, "train", &r->train, &b->train, point, .bytes = bytes, .tell = tell}, d = t;
    gf_text common = {0};
    bool ok;
    d.name = "dev", d.data = &r->dev, d.features = &b->dev;
    if (place == GF_BOUNDARY_NOWHERE) {
        drop(&b->train, b->train_key);
        drop(&b->dev, b->dev_key);
        return true;
    }
    ok = describe(&common, r, n, point, e) &&
         settle_key(&t, train && r->train.rows, &common, b->train_key, e) &&
         settle_key(&d, r->dev.rows, &common, b->dev_key, e);
    if (ok && *b->train_key && !b->train.x) ok = make_part(&t, place, e);
    if (ok && *b->dev_key && !b->dev.x) ok = make_part(&d, place, e);
    gf_text_free(&common);
    return ok;
}

/* ---- the end ---- */

bool gf_boundary_clean(const char *folder, gf_err *e) {
    static const char *const endings[] = {ENDING, ENDING ".tmp", ENDING ".lock"};
    int64_t n = 0, left;
    char **names;
    bool ok = true;
    if (!gf_io_is_folder(folder)) return true;
    if (!(names = gf_io_list(folder, &n, e))) return false;
    left = n;
    for (int64_t i = 0; ok && i < n; i++) {
        char *path = gf_io_join(folder, names[i], e);
        bool ours = false;
        for (size_t k = 0; k < sizeof endings / sizeof *endings; k++)
            ours = ours || gf_text_ends_with(names[i], endings[k]);
        ok = path && (!ours || !gf_io_is_file(path) || (left--, gf_io_remove(path, e)));
        gf_free(path);
    }
    gf_io_free_names(names, n);
    return ok && (left > 0 || gf_io_remove_tree(folder, e));
}

void gf_boundary_end(gf_boundary *b, bool over) {
    bool remove = over && !b->keep && b->folder;
    drop(&b->train, b->train_key);
    drop(&b->dev, b->dev_key);
    if (remove && !b->shared) gf_boundary_clean(b->folder, NULL);
    for (int64_t i = 0; i < b->n_made; i++) {
        if (remove && b->shared) gf_io_remove(b->made[i], NULL);
        gf_free(b->made[i]);
    }
    gf_free(b->made);
    gf_free(b->folder);
    *b = (gf_boundary){0};
}
