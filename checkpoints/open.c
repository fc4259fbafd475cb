#include "checkpoints/open.h"

#include "checkpoints/folder.h"
#include "checkpoints/single.h"
#include "checkpoints/store.h"
#include "checkpoints/tensors.h"
#include "core/mem.h"
#include "core/text.h"

#include <string.h>

/* HDF5's signature at the file's start. */
static bool is_hdf5(const char *path) {
    static const char signature[8] = "\x89HDF\r\n\x1a\n";
    char begin[sizeof signature];
    gf_file *f = gf_io_is_file(path) ? gf_io_open(path, NULL) : NULL;
    bool is = f && gf_io_read(f, begin, sizeof begin, NULL) == (int64_t)sizeof begin &&
              memcmp(begin, signature, sizeof begin) == 0;
    gf_io_close(f, NULL);
    return is;
}

gf_place_kind gf_place_find(const char *path) {
    if (gf_io_is_folder(path)) {
        if (gf_folder_holds(path, "config.json") || gf_folder_holds(path, "modules.json"))
            return GF_PLACE_MODEL;
        return gf_folder_holds(path, "recipe.json") ? GF_PLACE_RUN : GF_PLACE_NONE;
    }
    if (gf_io_is_file(path) &&
        (gf_text_ends_with(path, ".safetensors") || gf_text_ends_with(path, ".index.json") ||
         gf_tensors_is_known(path)))
        return GF_PLACE_TENSORS;
    if (gf_store_is_checkpoint(path)) return GF_PLACE_CHECKPOINT;
    return is_hdf5(path) ? GF_PLACE_HDF5 : GF_PLACE_NONE;
}

/* The weights of a checkpoint are their average, where one was kept. */
static bool open_checkpoint(gf_model *m, const char *path, gf_err *e) {
    if (!gf_store_read(m, path, NULL, NULL, e)) return false;
    gf_params_take_averages(&m->params);
    return true;
}

static bool open_run(gf_model *m, const char *path, const gf_log *log, gf_err *e) {
    char *model = gf_io_join(path, "model", e);
    char *best = model ? gf_io_join(path, "checkpoints/best.h5", e) : NULL;
    bool ok = best != NULL;
    if (ok && gf_place_find(model) == GF_PLACE_MODEL)
        ok = gf_folder_open(m, model, GF_OPEN_WEIGHTS, log, e);
    else if (ok && gf_io_exists(best))
        ok = open_checkpoint(m, best, e);
    else if (ok)
        ok = gf_fail(e, GF_E_MODEL,
                     "%s: the run has neither model/ nor checkpoints/best.h5 yet; train it first",
                     path);
    gf_free(best);
    gf_free(model);
    return ok;
}

bool gf_model_open(gf_model *m, const char *path, const gf_log *log, gf_err *e) {
    switch (gf_place_find(path)) {
    case GF_PLACE_MODEL: return gf_folder_open(m, path, GF_OPEN_WEIGHTS, log, e);
    case GF_PLACE_RUN: return open_run(m, path, log, e);
    case GF_PLACE_CHECKPOINT: return open_checkpoint(m, path, e);
    case GF_PLACE_HDF5:
        return gf_fail(e, GF_E_MODEL, "%s: it is an HDF5 file, but no checkpoint of graft", path);
    case GF_PLACE_TENSORS: return gf_single_open(m, path, log, e);
    case GF_PLACE_NONE: break;
    }
    if (!gf_io_exists(path))
        return gf_fail(e, GF_E_MODEL, "%s: there is no such file or folder; check the path", path);
    return gf_fail(e, GF_E_MODEL,
                   "%s: it is no model; wanted is a folder with config.json or modules.json, a run "
                   "folder with recipe.json, or a checkpoint (.h5)",
                   path);
}
