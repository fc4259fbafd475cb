#include "checkpoints/h5.h"

#include <stdio.h>

bool gf_h5_has_attribute(gf_h5 *h, const char *group, const char *name) {
    return h->ok && H5Aexists_by_name(h->file, group, name, H5P_DEFAULT) > 0;
}

static void describe_type(hid_t type, char *text, size_t size) {
    static const char *const names[] = {"int",      "float",     "time", "string", "bits", "opaque",
                                        "compound", "reference", "enum", "list",   "array"};
    H5T_class_t class = H5Tget_class(type);
    if (class == H5T_STRING && H5Tis_variable_str(type) > 0)
        snprintf(text, size, "string");
    else if (class == H5T_STRING)
        snprintf(text, size, "string of %zu", H5Tget_size(type));
    else if (class == H5T_INTEGER || class == H5T_FLOAT)
        snprintf(text, size, "%s%s%zu",
                 class == H5T_INTEGER && H5Tget_sign(type) == H5T_SGN_NONE ? "u" : "", names[class],
                 8 * H5Tget_size(type));
    else
        snprintf(text, size, "%s", class >= 0 && class < H5T_NCLASSES ? names[class] : "unknown");
}

static void describe_space(hid_t space, char *text, size_t size) {
    hsize_t dims[H5S_MAX_RANK];
    int n = H5Sget_simple_extent_dims(space, dims, NULL);
    size_t used = (size_t)snprintf(text, size, " [");
    for (int i = 0; i < n && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%llu", i ? ", " : "",
                                 (unsigned long long)dims[i]);
    if (used < size) snprintf(text + used, size - used, "]");
    if (n <= 0) text[0] = 0; /* a scalar needs no shape */
}

const char *gf_h5_kind(gf_h5 *h, const char *group, const char *name, char *text, size_t size) {
    char path[512], space_text[256] = "", type_text[64];
    hid_t object = -1;
    H5G_info_t info;
    snprintf(path, sizeof path, "%s/%s", group, name);
    snprintf(text, size, "unreadable");
    if (!h->ok || (object = H5Oopen(h->file, path, H5P_DEFAULT)) < 0) return text;
    if (H5Iget_type(object) == H5I_GROUP && H5Gget_info(object, &info) >= 0) {
        snprintf(text, size, "group of %llu", (unsigned long long)info.nlinks);
    } else if (H5Iget_type(object) == H5I_DATASET) {
        hid_t type = H5Dget_type(object), space = H5Dget_space(object);
        describe_type(type, type_text, sizeof type_text);
        describe_space(space, space_text, sizeof space_text);
        snprintf(text, size, "%s%s", type_text, space_text);
        H5Sclose(space);
        H5Tclose(type);
    }
    H5Oclose(object);
    return text;
}
