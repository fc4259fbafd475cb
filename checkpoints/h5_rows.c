#include "checkpoints/h5_rows.h"

#include <stdio.h>

/* About 64 KiB of floats. HDF5 wants a growing dataset cut into chunks. */
enum { CHUNK_FLOATS = 1 << 14 };

gf_h5_rows gf_h5_rows_create(gf_h5 *h, const char *name, int64_t width) {
    gf_h5_rows r = {.h = h, .name = name, .dataset = -1, .width = width};
    hsize_t start[2] = {0, (hsize_t)width}, most[2] = {H5S_UNLIMITED, (hsize_t)width};
    hsize_t chunk[2] = {(hsize_t)(width < CHUNK_FLOATS ? CHUNK_FLOATS / width : 1), (hsize_t)width};
    hid_t space, list;
    if (!h->ok) return r;
    space = H5Screate_simple(2, start, most);
    list = H5Pcreate(H5P_DATASET_CREATE);
    if (space >= 0 && list >= 0 && H5Pset_chunk(list, 2, chunk) >= 0 &&
        H5Pset_obj_track_times(list, 0) >= 0)
        r.dataset =
            H5Dcreate2(h->file, name, H5T_IEEE_F32LE, space, H5P_DEFAULT, list, H5P_DEFAULT);
    if (r.dataset < 0) gf_h5_fail(h, "/", name, "the dataset cannot be created");
    H5Pclose(list);
    H5Sclose(space);
    return r;
}

void gf_h5_rows_append(gf_h5_rows *r, int64_t rows, const gf_real *x) {
    hsize_t size[2] = {(hsize_t)(r->rows + rows), (hsize_t)r->width};
    hsize_t from[2] = {(hsize_t)r->rows, 0}, count[2] = {(hsize_t)rows, (hsize_t)r->width};
    hid_t memory, file = -1;
    if (!r->h->ok) return;
    memory = H5Screate_simple(2, count, NULL);
    if (H5Dset_extent(r->dataset, size) >= 0) file = H5Dget_space(r->dataset);
    if (file < 0 || H5Sselect_hyperslab(file, H5S_SELECT_SET, from, NULL, count, NULL) < 0 ||
        H5Dwrite(r->dataset, GF_REAL_IS_FLOAT ? H5T_NATIVE_FLOAT : H5T_NATIVE_DOUBLE, memory, file,
                 H5P_DEFAULT, x) < 0)
        gf_h5_fail(r->h, "/", r->name, "rows cannot be written");
    H5Sclose(file);
    H5Sclose(memory);
    r->rows += rows;
}

void gf_h5_rows_close(gf_h5_rows *r) {
    if (r->dataset >= 0 && H5Dclose(r->dataset) < 0 && r->h->ok)
        gf_h5_fail(r->h, "/", r->name, "the dataset cannot be closed");
    r->dataset = -1;
}

const char *gf_h5_version(char *text, int size) {
    unsigned major = 0, minor = 0, release = 0;
    H5get_libversion(&major, &minor, &release);
    snprintf(text, (size_t)size, "%u.%u.%u", major, minor, release);
    return text;
}
