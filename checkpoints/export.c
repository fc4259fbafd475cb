#include "checkpoints/export.h"

#include "checkpoints/compare.h"
#include "checkpoints/folder.h"
#include "checkpoints/gguf_bert.h"
#include "checkpoints/onnx.h"
#include "checkpoints/open.h"
#include "checkpoints/single.h"
#include "core/mem.h"

#include <math.h>
#include <string.h>

const char *const gf_export_names[] = {"hf", "sentence-transformers", "onnx", "safetensors",
                                       "gguf"};

static bool refuse(const gf_export_options *o, const char *what, gf_err *e) {
    return gf_fail(e, GF_E_MODEL, "%s: the format cannot carry %s", o->format, what);
}

static bool write_hf(const gf_model *m, const char *out, const gf_export_options *o, gf_err *e) {
    if (m->dense.weight && m->pooling != GF_POOL_POOLER)
        return refuse(o, "a Dense projection; export to sentence-transformers", e);
    return gf_folder_save_as(m, out, &(gf_folder_style){.dtype = o->dtype, .plain = true}, e);
}

static bool write_sentence(const gf_model *m, const char *out, const gf_export_options *o,
                           gf_err *e) {
    return gf_folder_save_as(m, out, &(gf_folder_style){.dtype = o->dtype, .readme = o->readme}, e);
}

/* model.onnx, and the encoder alone where sentence-transformers looks for it, both in FOLDER. */
static bool write_graphs(const gf_model *m, const char *folder, gf_err *e) {
    char *whole = gf_io_join(folder, "model.onnx", e);
    char *inner = whole ? gf_io_join(folder, "onnx", e) : NULL;
    char *encoder = inner ? gf_io_join(inner, "model.onnx", e) : NULL;
    bool ok = encoder && gf_io_make_folder(inner, e) && gf_onnx_write(m, false, whole, e) &&
              gf_onnx_write(m, true, encoder, e);
    gf_free(encoder);
    gf_free(inner);
    gf_free(whole);
    return ok;
}

/* A sentence-transformers folder with graphs in place of model.safetensors. */
static bool write_onnx(const gf_model *m, const char *out, const gf_export_options *o, gf_err *e) {
    char *tmp = NULL;
    bool ok;
    if (o->dtype != GF_DTYPE_F32) return refuse(o, "other weights than f32 here", e);
    ok = (tmp = gf_format(e, "%s.tmp", out)) && gf_folder_may_replace(out, e) &&
         gf_io_remove_tree(tmp, e) && gf_io_make_folder(tmp, e) &&
         gf_folder_write(m, tmp, &(gf_folder_style){.no_weights = true, .readme = o->readme}, e) &&
         write_graphs(m, tmp, e) && gf_io_exchange(tmp, out, e) && gf_io_remove_tree(tmp, e);
    if (!ok && tmp) gf_io_remove_tree(tmp, NULL);
    gf_free(tmp);
    return ok;
}

static bool write_safetensors(const gf_model *m, const char *out, const gf_export_options *o,
                              gf_err *e) {
    return gf_single_write(m, out, o->dtype, e);
}

static bool write_gguf(const gf_model *m, const char *out, const gf_export_options *o, gf_err *e) {
    if (o->dtype == GF_DTYPE_BF16) return refuse(o, "bf16 weights here; choose f32 or f16", e);
    return gf_gguf_can_carry(m, e) && gf_gguf_write_model(m, o->dtype, out, e);
}

static bool (*const writers[])(const gf_model *m, const char *out, const gf_export_options *o,
                               gf_err *e) = {write_hf, write_sentence, write_onnx,
                                             write_safetensors, write_gguf};

/* Half a step of the type's fraction bits: the most that rounding to nearest may change. */
static double most_rounding(gf_dtype dtype, const gf_model *m) {
    double largest = 0;
    for (int64_t i = 0; i < m->params.count; i++)
        for (int64_t k = 0; k < gf_param_count(m->params.items[i]); k++)
            largest = fmax(largest, fabs((double)m->params.items[i]->value[k]));
    return dtype == GF_DTYPE_F32 ? 0 : largest * (dtype == GF_DTYPE_F16 ? 0x1p-11 : 0x1p-8);
}

static bool check_again(const gf_model *m, const char *out, const gf_export_options *o,
                        gf_export_result *r, gf_err *e) {
    gf_model again = {0};
    gf_comparison c = {0};
    bool ok = gf_model_open(&again, out, NULL, e);
    ok = ok && gf_compare_models(m, &again, "the model", out, &c, e);
    r->tensors = c.tensors;
    r->elements = c.elements;
    r->largest = c.largest;
    if (ok && (c.largest > most_rounding(o->dtype, m) || c.tensors != m->params.count ||
               (c.different > 0 && o->dtype == GF_DTYPE_F32)))
        ok = gf_fail(e, GF_E_VERIFY, "%s: read again, it is another model: %.*s", out,
                     (int)strcspn(c.text.data ? c.text.data : "", "\n"),
                     c.text.data ? c.text.data : "");
    gf_comparison_free(&c);
    gf_model_free(&again);
    return ok;
}

static bool check_graph(const gf_model *m, const char *out, const char *name, gf_export_result *r,
                        gf_err *e) {
    char *path = gf_io_join(out, name, e);
    double largest = 0;
    bool ok = path && gf_onnx_compare(m, path, &largest, e);
    if (ok && largest > 0)
        ok = gf_fail(e, GF_E_VERIFY, "%s: read again, values differ by up to %g", path, largest);
    r->largest = fmax(r->largest, largest);
    gf_free(path);
    return ok;
}

bool gf_export(gf_model *m, const char *out, const gf_export_options *o, gf_export_result *r,
               gf_err *e) {
    size_t i = 0;
    bool ok;
    while (i < GF_EXPORTS && strcmp(gf_export_names[i], o->format) != 0) i++;
    if (i == GF_EXPORTS)
        return gf_fail(e, GF_E_USAGE, "\"%s\" is no format of graft export", o->format);
    gf_model_drop_mlm(m); /* it belongs to training */
    while (o->without_heads && m->n_heads > 0) gf_model_drop_last_head(m);
    ok = writers[i](m, out, o, e) && check_again(m, out, o, r, e);
    if (ok && strcmp(o->format, "onnx") == 0)
        ok =
            check_graph(m, out, "model.onnx", r, e) && check_graph(m, out, "onnx/model.onnx", r, e);
    return ok;
}
