#include "core/onednn_library.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

typedef struct function {
    const char *name;
    size_t at; /* in gf_dnnl */
} function;

#define AT(member) offsetof(gf_dnnl, member)
static const function functions[] = {
    {"dnnl_version", AT(version)},
    {"dnnl_engine_create", AT(engine_create)},
    {"dnnl_engine_destroy", AT(engine_destroy)},
    {"dnnl_stream_create", AT(stream_create)},
    {"dnnl_stream_destroy", AT(stream_destroy)},
    {"dnnl_primitive_attr_create", AT(attr_create)},
    {"dnnl_primitive_attr_destroy", AT(attr_destroy)},
    {"dnnl_primitive_attr_set_scratchpad_mode", AT(attr_set_scratchpad_mode)},
    {"dnnl_memory_desc_init_by_strides", AT(desc_by_strides)},
    {"dnnl_memory_desc_init_by_tag", AT(desc_by_tag)},
    {"dnnl_memory_desc_get_size", AT(desc_size)},
    {"dnnl_matmul_desc_init", AT(matmul_desc)},
    {"dnnl_primitive_desc_create", AT(choose)},
    {"dnnl_reorder_primitive_desc_create", AT(choose_reorder)},
    {"dnnl_primitive_desc_query", AT(query)},
    {"dnnl_primitive_desc_query_md", AT(query_desc)},
    {"dnnl_primitive_desc_destroy", AT(choice_destroy)},
    {"dnnl_primitive_create", AT(primitive_create)},
    {"dnnl_primitive_destroy", AT(primitive_destroy)},
    {"dnnl_primitive_execute", AT(execute)},
    {"dnnl_memory_create", AT(memory_create)},
    {"dnnl_memory_set_data_handle_v2", AT(memory_move)},
    {"dnnl_memory_destroy", AT(memory_destroy)},
};

/* POSIX has object and function pointers of one size. */
static bool find(gf_dnnl *d, const char *name, size_t at) {
    void *found = dlsym(d->handle, name);
    memcpy((char *)d + at, &found, sizeof found);
    return found != NULL;
}

static bool check_version(const gf_dnnl *d, const char *name, gf_err *e) {
    const gf_dnnl_version *v = d->version();
    if (v->major != 2 || v->minor < 6)
        return gf_fail(e, GF_E_INVALID,
                       "precision: %s is oneDNN %d.%d.%d, and graft knows versions 2.6 and 2.7; "
                       "install libdnnl2, or use precision fp32",
                       name, v->major, v->minor, v->patch);
    if (v->cpu_runtime != GF_DNNL_SEQUENTIAL && v->cpu_runtime != GF_DNNL_OPENMP)
        return gf_fail(e, GF_E_INVALID,
                       "precision: %s keeps threads of a kind graft cannot still; install Debian's "
                       "libdnnl2, or use precision fp32",
                       name);
    return true;
}

static bool find_all(gf_dnnl *d, const char *name, gf_err *e) {
    bool openmp;
    if (!find(d, functions[0].name, functions[0].at))
        return gf_fail(e, GF_E_INVALID,
                       "precision: %s has no dnnl_version, so it is not oneDNN; install libdnnl2, "
                       "or use precision fp32",
                       name);
    if (!check_version(d, name, e)) return false;
    for (size_t i = 1; i < sizeof functions / sizeof *functions; i++)
        if (!find(d, functions[i].name, functions[i].at))
            return gf_fail(e, GF_E_INVALID,
                           "precision: %s lacks the function %s; install libdnnl2 anew, or use "
                           "precision fp32",
                           name, functions[i].name);
    openmp = d->version()->cpu_runtime == GF_DNNL_OPENMP;
    if (openmp && (!find(d, "omp_get_max_threads", AT(get_threads)) ||
                   !find(d, "omp_set_num_threads", AT(set_threads))))
        return gf_fail(e, GF_E_INVALID,
                       "precision: %s comes without its OpenMP; install libdnnl2 anew, or use "
                       "precision fp32",
                       name);
    return true;
}

bool gf_dnnl_load(gf_dnnl *d, const char *path, gf_err *e) {
    const char *name = path ? path : "libdnnl.so.2", *why;
    char first[256] = "";
    *d = (gf_dnnl){.handle = dlopen(name, RTLD_NOW | RTLD_LOCAL)};
    if (!d->handle) {
        why = dlerror();
        snprintf(first, sizeof first, "%s", why ? why : name);
        if (!path) d->handle = dlopen(name = "libdnnl.so.3", RTLD_NOW | RTLD_LOCAL);
    }
    if (!d->handle)
        return gf_fail(e, GF_E_INVALID,
                       "precision: bf16 needs the library oneDNN, which cannot be loaded (%s); "
                       "install it (apt install libdnnl2), or use precision fp32",
                       first);
    if (find_all(d, name, e)) return true;
    gf_dnnl_unload(d);
    return false;
}

void gf_dnnl_unload(gf_dnnl *d) {
    if (d->handle) dlclose(d->handle);
    *d = (gf_dnnl){0};
}

int gf_dnnl_alone(const gf_dnnl *d) {
    int threads = d->get_threads ? d->get_threads() : 1;
    if (threads != 1) d->set_threads(1);
    return threads;
}

void gf_dnnl_as_before(const gf_dnnl *d, int threads) {
    if (threads != 1) d->set_threads(threads);
}
