#include "recipes/recipe.h"

#include "core/io.h"
#include "core/json.h"
#include "core/mem.h"
#include "recipes/keys.h"
#include "recipes/override.h"
#include "recipes/resolve.h"

#include <stdio.h>
#include <string.h>

enum { LARGEST_RECIPE = 1 << 24 };

static bool read_tree(gf_recipe *r, const cJSON *root, const char *path, gf_err *e) {
    /* A recipe in the working folder leaves its paths as they are, without a "./". */
    const char *folder;
    if (!(r->path = gf_strdup(path, e)) || !(r->folder = gf_io_folder_of(path, e))) return false;
    folder = strchr(path, '/') ? r->folder : NULL;
    return gf_fields_read(&(gf_reader){path, folder}, root, gf_recipe_keys, r, e) &&
           gf_recipe_resolve(r, folder, e);
}

bool gf_recipe_parse(gf_recipe *r, const char *text, size_t size, const char *path,
                     const char *const *sets, int64_t n_sets, gf_err *e) {
    cJSON *root = gf_json_parse(text, size, path, 1, GF_E_INVALID, e);
    bool ok = root != NULL;
    *r = gf_recipe_defaults;
    for (int64_t i = 0; ok && i < n_sets; i++) ok = gf_override_apply(root, sets[i], e);
    ok = ok && read_tree(r, root, path, e);
    cJSON_Delete(root);
    if (!ok) gf_recipe_free(r);
    return ok;
}

bool gf_recipe_read(gf_recipe *r, const char *path, const char *const *sets, int64_t n_sets,
                    gf_err *e) {
    size_t size = 0;
    char *text = gf_io_read_all(path, LARGEST_RECIPE, &size, e);
    bool ok = text && gf_recipe_parse(r, text, size, path, sets, n_sets, e);
    if (!text) *r = (gf_recipe){0};
    gf_free(text);
    return ok;
}

cJSON *gf_recipe_to_json(const gf_recipe *r, gf_err *e) {
    cJSON *root = gf_json_object(NULL, NULL, e);
    if (root && gf_fields_write(root, gf_recipe_keys, r, e)) return root;
    cJSON_Delete(root);
    return NULL;
}

static void list_file(gf_recipe_file *list, int64_t *n, const char *task, const char *name,
                      const char *path) {
    if (!path) return;
    snprintf(list[*n].name, sizeof list[*n].name, "%s%s%s", task ? task : "", task ? "." : "",
             name);
    list[(*n)++].path = path;
}

gf_recipe_file *gf_recipe_files(const gf_recipe *r, int64_t *count, gf_err *e) {
    gf_recipe_file *list = gf_alloc_array(5 + 3 * r->n_tasks, sizeof *list, e);
    *count = 0;
    if (!list) return NULL;
    list_file(list, count, NULL, "heads_init", r->heads_init);
    list_file(list, count, NULL, "train", r->train);
    list_file(list, count, NULL, "dev", r->dev);
    list_file(list, count, NULL, "test", r->test);
    list_file(list, count, NULL, "mlm", r->mlm_data);
    for (int64_t i = 0; i < r->n_tasks; i++) {
        const gf_recipe_task *t = &r->tasks[i];
        list_file(list, count, t->name, "train", t->train);
        list_file(list, count, t->name, "dev", t->dev);
        list_file(list, count, t->name, "test", t->test);
    }
    return list;
}

void gf_recipe_free(gf_recipe *r) {
    for (int64_t i = 0; i < r->n_phases; i++) gf_free(r->phases[i].loss_weights);
    gf_fields_free(gf_recipe_keys, r);
    gf_select_free(&r->select);
    gf_free(r->path);
    gf_free(r->folder);
    *r = (gf_recipe){0};
}
