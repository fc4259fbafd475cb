/* boundary: what the frozen part of the network makes of the texts, computed once and used over
 * epochs, phases and runs.
 *
 *     gf_boundary b = {0};
 *     if (!gf_boundary_start(&b, &recipe, run_folder, NULL, log, e)) goto done;
 *     ... at the start of a phase, and of each of its stages:
 *     ok = gf_boundary_prepare(&b, &run, &engine, gf_boundary_point_of(&run.model), true, tell, e);
 *     ... b.train.x, b.dev.x: NULL, or what gf_evaluate() and recipes/step.h begin with ...
 *     gf_boundary_end(&b, true);
 *
 * The point is where the frozen part ends: 0 when only heads train, behind which a text is its
 * embedding [E]; n > 0 when the n lowest layers stand still, behind which it is the hidden states
 * of its tokens [T, H]. Frozen modules run without dropout and every row of a product depends on
 * nothing but that row (core/gemm.h), so what is kept has the bits that computing it again would
 * have, and a run's results are the same with and without.
 *
 * Where it is kept. In memory when train and dev fit cache.memory_mb together; else in files of
 * cache.folder that are mapped, when they fit cache.disk_mb and half of what is free on the disk;
 * else nowhere, and each pass runs from the tokens. A folder that is shared (cache.folder, or that
 * of graft compare) comes before memory: there the next run finds what this one made.
 *
 * A file is named after what it is a function of, its key: a digest over the values of all
 * parameters below the point, over what else of the model's configuration counts, tokenizer,
 * max_length, the token ids themselves, the kernels' names and the version of their numerics. It is
 * verified whole when it is opened (recipes/boundary_file.h). One that is damaged, or in the run's
 * own folder of another key, is a warning and is made again. A lock lets one process make a file
 * while others wait for it. Whatever fails in writing one is a warning too: the run goes on
 * without. */
#ifndef GF_RECIPES_BOUNDARY_H
#define GF_RECIPES_BOUNDARY_H

#include "core/log.h"
#include "core/sha256.h"
#include "recipes/evaluate.h"
#include "recipes/run.h"

/* The version of the kernels' numerics: to be raised when any of them gives other bits. */
enum { GF_BOUNDARY_NUMERICS = 1 };

enum { GF_POINT_NONE = -1, GF_POINT_EMBEDDING = 0 };

/* Of the parameters that train just now. NONE where there is no whole layer below. */
int64_t gf_boundary_point_of(const gf_model *m);

typedef enum gf_boundary_place {
    GF_BOUNDARY_NOWHERE,
    GF_BOUNDARY_MEMORY,
    GF_BOUNDARY_FILE
} gf_boundary_place;

typedef struct gf_boundary {
    int64_t memory, disk; /* bytes at most */
    char *folder;         /* of files; NULL: none */
    bool shared;          /* with other runs, which have files in it, too */
    bool keep;            /* the files stay at the end */
    const gf_log *log;
    gf_features train, dev; /* x NULL: nothing is kept */
    char train_key[GF_SHA256_HEX], dev_key[GF_SHA256_HEX];
    char **made; /* [n_made] paths of the files made here */
    int64_t n_made, capacity;
} gf_boundary;

/* run_folder: in whose cache/ files lie when the recipe names no folder; NULL: then there are none.
 * shared: a folder of the caller's that comes before that, and whose files stay; may be NULL. The
 * log outlives b. */
bool gf_boundary_start(gf_boundary *b, const gf_recipe *r, const char *run_folder,
                       const char *shared, const gf_log *log, gf_err *e);
/* Bytes of what is kept at a point: of the dev rows, and of the training rows if `train`;
 * INT64_MAX when they cannot be counted. */
int64_t gf_boundary_bytes(const gf_run *r, int64_t point, bool train);
/* Where so much would be kept. */
gf_boundary_place gf_boundary_choose(const gf_boundary *b, int64_t bytes);
/* Sees to it that b->train (if `train`) and b->dev hold what the point asks for, or nothing: keeps
 * what is there and still true, drops the rest, finds a file, or computes. tell may be NULL. Fails
 * when the pass over the texts does, or tell stops it. */
bool gf_boundary_prepare(gf_boundary *b, gf_run *r, gf_engine *n, int64_t point, bool train,
                         const gf_tell *tell, gf_err *e);
/* Frees all; `over`: the run will not be gone on with, and files that nobody keeps are removed. */
void gf_boundary_end(gf_boundary *b, bool over);
/* Removes the files of a folder that are of this kind, and the folder if nothing else is in it. */
bool gf_boundary_clean(const char *folder, gf_err *e);

#endif
