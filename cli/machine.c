#include "cli/machine.h"

#include "checkpoints/h5_rows.h"
#include "core/gemm.h"
#include "core/io.h"
#include "core/json.h"
#include "core/mem.h"
#include "core/onednn.h"
#include "core/vec.h"
#include "core/version.h"

#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <utf8proc.h>

static bool add_line(gf_text *out, const char *name, const char *value, gf_err *e) {
    return gf_text_add(out, e, "%-11s %s\n", name, value);
}

bool gf_machine_add_versions(gf_text *out, gf_err *e) {
    char text[256];
#if defined(__clang__)
    static const char compiler[] = __VERSION__;
#else
    static const char compiler[] = "gcc " __VERSION__;
#endif
    return gf_text_add(out, e, "graft " GF_VERSION "\n") &&
           add_line(out, "compiler", compiler, e) &&
           add_line(out, "products", gf_gemm_name(text, sizeof text), e) &&
           add_line(out, "HDF5", gf_h5_version(text, sizeof text), e) &&
           add_line(out, "cJSON", cJSON_Version(), e) &&
           add_line(out, "utf8proc", utf8proc_version(), e);
}

bool gf_machine_add_kernels(gf_text *out, gf_err *e) {
    const gf_vec *best = gf_vec_best(), *other;
    bool ok = gf_text_add(out, e, "%-11s %s", "kernels", best->name);
    for (int i = 0; ok && (other = gf_vec_at(i)); i++)
        if (other != best) ok = gf_text_add(out, e, "%s%s", i ? ", " : "; also: ", other->name);
    return ok && gf_text_add(out, e, "\n");
}

/* The value of the first line "KEY : value" of a file of /proc, or NULL; cuts the text there. */
static char *find_value(char *text, const char *key) {
    char *line = text ? strstr(text, key) : NULL, *colon = line ? strchr(line, ':') : NULL;
    if (!colon) return NULL;
    colon += 1 + strspn(colon + 1, " \t");
    colon[strcspn(colon, "\n")] = 0;
    return colon;
}

/* Whether `precision` may be bf16 here, and through what or why not. */
static bool add_bf16(gf_text *out, gf_err *e) {
    gf_err why = {0};
    char name[128];
    gf_onednn *o = gf_onednn_open(&(gf_onednn_options){.type = GF_ONEDNN_BF16}, &why);
    bool ok = o ? add_line(out, "bf16", gf_onednn_name(o, name, sizeof name), e)
                : gf_text_add(out, e, "%-11s no: %s\n", "bf16", strchr(why.text, ' ') + 1);
    gf_onednn_close(o);
    return ok;
}

static bool add_from_file(gf_text *out, const char *name, const char *path, const char *key,
                          gf_err *e) {
    size_t size = 0;
    char *text = gf_io_read_all(path, 1 << 24, &size, NULL), *value = find_value(text, key);
    bool ok = add_line(out, name, value ? value : "unknown", e);
    gf_free(text);
    return ok;
}

bool gf_machine_add_hardware(gf_text *out, gf_err *e) {
    char features[256];
    struct statvfs disk;
    double free_bytes =
        statvfs(".", &disk) == 0 ? (double)disk.f_bavail * (double)disk.f_frsize : 0;
    double pages = (double)sysconf(_SC_PHYS_PAGES), page = (double)sysconf(_SC_PAGESIZE);
    return add_from_file(out, "processor", "/proc/cpuinfo", "model name", e) &&
           add_line(out, "features", gf_vec_cpu_features(features, sizeof features), e) &&
           add_bf16(out, e) &&
           gf_text_add(out, e, "%-11s %ld online\n", "processors", sysconf(_SC_NPROCESSORS_ONLN)) &&
           gf_text_add(out, e, "%-11s %.1f GiB\n", "memory", pages * page / (1 << 30)) &&
           add_from_file(out, "available", "/proc/meminfo", "MemAvailable", e) &&
           gf_text_add(out, e, "%-11s %.1f GiB free here\n", "disk", free_bytes / (1 << 30));
}
