/* Rows from HDF5 tables, in two forms: 1-D datasets of one length in one group, each a column of
 * its name; or one 1-D dataset of a compound type, each member a column (a NumPy structured array,
 * a pandas table). The group is the root, or the only group below it if the root holds no dataset.
 *
 * A column's cells are strings, fixed or variable in length, ASCII or UTF-8, or numbers, which HDF5
 * turns into doubles. Rows are read a block
 * at a time; a block's variable strings go into one heap of 16 MiB, and a block that does not fit
 * is read again with half the rows. HDF5's own error messages are off while we call it.
 *
 * All of this runs in a process of its own, see data/rows_child.c. */
#include "data/rows_format.h"

#include "core/io.h"
#include "core/mem.h"

#include <hdf5.h>
#include <math.h>
#include <string.h>

enum { BLOCK_ROWS = 256, HEAP = GF_ROWS_LONGEST, DEEPEST_GROUP = 8 };

typedef struct h5_column {
    hid_t set;         /* dataset; 0: the field is not wanted */
    hid_t type;        /* one cell in memory; 0: it is neither a string nor a number */
    gf_cell_kind kind; /* of every cell: STRING, NUMBER or OTHER */
    bool variable;
    H5T_str_t padding;
    size_t width; /* bytes of one cell in `block`: a pointer when variable */
    char *block;  /* [block_rows, width] */
} h5_column;

typedef struct h5_table {
    hid_t file, group, transfer;
    char *compound;    /* name of the one compound dataset, or NULL */
    h5_column *column; /* [n_fields] */
    int64_t rows;      /* -1 until the first column is open */
    int64_t block_rows, block_first, block_count;
    hsize_t stored; /* bytes of the wanted datasets in the file */
    char *heap;     /* [HEAP] strings of variable length of one block */
    size_t heap_used;
    bool heap_full;
} h5_table;

static void release(hid_t id) {
    if (id > 0) H5Idec_ref(id);
}

static bool fail_file(const gf_rows *r, gf_err *e, const char *what) {
    return gf_fail(e, GF_E_MODEL, "%s: %s", r->place, what);
}

static bool fail_column(const gf_rows *r, int64_t i, gf_err *e, const char *what) {
    return gf_fail(e, GF_E_INVALID, "%s: column \"%s\" %s", r->place, r->field[i], what);
}

/* HDF5 takes memory for variable strings from here; it is given back all at once, by the next
 * block. */
static void *take_from_heap(size_t size, void *context) {
    h5_table *t = context;
    char *p = t->heap + t->heap_used;
    if (size > HEAP - t->heap_used) {
        t->heap_full = true;
        return NULL;
    }
    t->heap_used += size;
    return p;
}

static void keep_in_heap(void *p, void *context) { (void)p, (void)context; }

/* ---- finding the columns ---- */

/* The name of a group's i-th link if it is a hard one, else NULL: others lead out of the file or
 * nowhere. False when memory is out. */
static bool link_name(hid_t group, hsize_t i, char **name, gf_err *e) {
    H5L_info_t info;
    ssize_t length;
    *name = NULL;
    if (H5Lget_info_by_idx(group, ".", H5_INDEX_NAME, H5_ITER_INC, i, &info, H5P_DEFAULT) < 0 ||
        info.type != H5L_TYPE_HARD)
        return true;
    length = H5Lget_name_by_idx(group, ".", H5_INDEX_NAME, H5_ITER_INC, i, NULL, 0, H5P_DEFAULT);
    if (length <= 0) return true;
    if (!(*name = gf_alloc_array((int64_t)length + 1, 1, e))) return false;
    H5Lget_name_by_idx(group, ".", H5_INDEX_NAME, H5_ITER_INC, i, *name, (size_t)length + 1,
                       H5P_DEFAULT);
    return true;
}

/* Adds the datasets of t->group as columns; *below is its only group, 0 if there are none or
 * several. */
static bool list_datasets(gf_rows *r, hid_t *below, gf_err *e) {
    const h5_table *t = r->state;
    H5G_info_t info;
    int64_t groups = 0;
    bool ok = true;
    *below = 0;
    if (H5Gget_info(t->group, &info) < 0) return fail_file(r, e, "a group in it is damaged");
    if (info.nlinks > GF_ROWS_MOST_COLUMNS) return fail_file(r, e, "it has more than 4096 columns");
    for (hsize_t i = 0; ok && i < info.nlinks; i++) {
        char *name = NULL;
        ok = link_name(t->group, i, &name, e);
        hid_t object = name ? H5Oopen(t->group, name, H5P_DEFAULT) : 0;
        H5I_type_t type = object > 0 ? H5Iget_type(object) : H5I_BADID;
        if (type == H5I_DATASET) ok = gf_rows_add_column(r, name, strlen(name), e);
        if (type == H5I_GROUP && ++groups == 1)
            *below = object;
        else
            release(object);
        gf_free(name);
    }
    if (groups == 1 && ok) return true;
    release(*below);
    *below = 0;
    return ok;
}

static bool add_members(gf_rows *r, hid_t type, gf_err *e) {
    int count = H5Tget_nmembers(type);
    bool ok = true;
    for (unsigned i = 0; ok && (int)i < count; i++) {
        char *name = H5Tget_member_name(type, i);
        ok = name ? gf_rows_add_column(r, name, strlen(name), e)
                  : fail_file(r, e, "its compound type is damaged");
        H5free_memory(name);
    }
    return ok;
}

/* If the only dataset is of a compound type, its members become the columns. */
static bool look_into_compound(gf_rows *r, gf_err *e) {
    h5_table *t = r->state;
    hid_t set = H5Dopen2(t->group, r->column[0], H5P_DEFAULT);
    hid_t type = set > 0 ? H5Dget_type(set) : 0;
    bool ok = true;
    if (type > 0 && H5Tget_class(type) == H5T_COMPOUND) {
        t->compound = r->column[0];
        r->n_columns = 0;
        ok = add_members(r, type, e);
    }
    release(type);
    release(set);
    return ok;
}

static bool find_columns(gf_rows *r, gf_err *e) {
    h5_table *t = r->state;
    for (int depth = 0; depth < DEEPEST_GROUP; depth++) {
        hid_t below = 0;
        if (!list_datasets(r, &below, e)) return false;
        if (r->n_columns > 0 || below == 0) {
            release(below);
            break;
        }
        release(t->group);
        t->group = below;
    }
    if (r->n_columns == 0)
        return gf_fail(e, GF_E_INVALID,
                       "%s: it holds no table; 1-D datasets of strings in one group are wanted",
                       r->place);
    return r->n_columns > 1 || look_into_compound(r, e);
}

/* ---- opening a column ---- */

static bool check_space(gf_rows *r, int64_t i, hid_t set, gf_err *e) {
    h5_table *t = r->state;
    hid_t space = H5Dget_space(set);
    hsize_t rows = 0;
    int rank = H5Sget_simple_extent_ndims(space);
    bool ok = rank == 1 && H5Sget_simple_extent_dims(space, &rows, NULL) == 1;
    release(space);
    if (!ok || rows > INT64_MAX) return fail_column(r, i, e, "is not a 1-D dataset");
    if (t->rows >= 0 && (int64_t)rows != t->rows)
        return gf_fail(e, GF_E_INVALID,
                       "%s: column \"%s\" has %llu rows, another has %lld; make them equal",
                       r->place, r->field[i], (unsigned long long)rows, (long long)t->rows);
    t->rows = (int64_t)rows;
    t->stored += H5Dget_storage_size(set);
    return true;
}

/* Data outside the file could be any file of the reader's. */
static bool check_layout(gf_rows *r, int64_t i, hid_t set, gf_err *e) {
    hid_t list = H5Dget_create_plist(set);
    bool ok = H5Pget_layout(list) != H5D_VIRTUAL && H5Pget_external_count(list) <= 0;
    release(list);
    return ok || fail_column(r, i, e, "keeps its data outside the file; write it into the file");
}

/* The type of a cell in memory: a double, or a string as in the file; alone in a compound if it is
 * a member. */
static hid_t memory_type(const gf_rows *r, h5_column *c, hid_t element, int64_t i) {
    const h5_table *t = r->state;
    hid_t cell = H5Tcopy(c->kind == GF_CELL_NUMBER ? H5T_NATIVE_DOUBLE : H5T_C_S1), type;
    if (c->kind == GF_CELL_STRING) {
        H5Tset_size(cell, c->variable ? H5T_VARIABLE : c->width);
        H5Tset_strpad(cell, c->padding);
        H5Tset_cset(cell, H5Tget_cset(element));
    }
    if (!t->compound) return cell;
    type = H5Tcreate(H5T_COMPOUND, c->width);
    if (type > 0) H5Tinsert(type, r->field[i], 0, cell);
    release(cell);
    return type;
}

static bool open_cells(gf_rows *r, int64_t i, hid_t element, gf_err *e) {
    h5_table *t = r->state;
    h5_column *c = &t->column[i];
    H5T_class_t class = H5Tget_class(element);
    c->kind = class == H5T_STRING                          ? GF_CELL_STRING
              : class == H5T_INTEGER || class == H5T_FLOAT ? GF_CELL_NUMBER
                                                           : GF_CELL_OTHER;
    if (c->kind == GF_CELL_OTHER) return true;
    c->variable = c->kind == GF_CELL_STRING && H5Tis_variable_str(element) > 0;
    if (c->kind == GF_CELL_STRING) c->padding = H5Tget_strpad(element);
    c->width = c->kind == GF_CELL_NUMBER ? sizeof(double)
               : c->variable             ? sizeof(char *)
                                         : H5Tget_size(element);
    if (c->width == 0 || c->width > GF_ROWS_LONGEST)
        return fail_column(r, i, e, "has strings longer than 16 MiB");
    if (t->block_rows > (int64_t)(GF_ROWS_LONGEST / c->width))
        t->block_rows = (int64_t)(GF_ROWS_LONGEST / c->width);
    c->type = memory_type(r, c, element, i);
    return c->type > 0 || fail_file(r, e, "HDF5 cannot describe a column of it");
}

static bool open_column(gf_rows *r, int64_t i, gf_err *e) {
    h5_table *t = r->state;
    const char *name = r->column[r->source[i]];
    hid_t set = H5Dopen2(t->group, t->compound ? t->compound : name, H5P_DEFAULT);
    hid_t type, element;
    bool ok;
    if (set <= 0 || (type = H5Dget_type(set)) <= 0) {
        release(set);
        return fail_column(r, i, e, "cannot be opened; the file is damaged");
    }
    t->column[i].set = set;
    element = t->compound ? H5Tget_member_type(type, (unsigned)r->source[i]) : H5Tcopy(type);
    ok = check_space(r, i, set, e) && check_layout(r, i, set, e) && open_cells(r, i, element, e);
    release(element);
    release(type);
    return ok;
}

/* A few bytes can claim any number of rows. deflate, the strongest usual filter, makes data 1032
 * times smaller at most; beyond that, and a million rows never written, the file is not meant to be
 * read. */
static bool check_row_count(const gf_rows *r, gf_err *e) {
    const h5_table *t = r->state;
    if (t->rows <= 1000000 || (hsize_t)t->rows / 1032 <= t->stored) return true;
    return gf_fail(e, GF_E_INVALID, "%s: it claims %lld rows in %llu bytes of data", r->place,
                   (long long)t->rows, (unsigned long long)t->stored);
}

static bool open_columns(gf_rows *r, gf_err *e) {
    h5_table *t = r->state;
    t->rows = -1;
    t->block_rows = BLOCK_ROWS;
    if (!(t->column = gf_alloc_array(r->n_fields, sizeof *t->column, e))) return false;
    for (int64_t i = 0; i < r->n_fields; i++)
        if (r->source[i] >= 0 && !open_column(r, i, e)) return false;
    if (!check_row_count(r, e) || !(t->heap = gf_alloc(HEAP, e))) return false;
    for (int64_t i = 0; i < r->n_fields; i++) {
        h5_column *c = &t->column[i];
        if (c->type > 0 && !(c->block = gf_alloc_array(t->block_rows, c->width, e))) return false;
    }
    return true;
}

/* ---- reading ---- */

static bool read_column(const h5_table *t, const h5_column *c, int64_t count) {
    hsize_t first = (hsize_t)t->block_first, rows = (hsize_t)count;
    hid_t from = H5Dget_space(c->set), to = H5Screate_simple(1, &rows, NULL);
    bool ok = H5Sselect_hyperslab(from, H5S_SELECT_SET, &first, NULL, &rows, NULL) >= 0 &&
              H5Dread(c->set, c->type, to, from, t->transfer, c->block) >= 0;
    release(from);
    release(to);
    return ok;
}

/* Reads count rows of every column; *bad is the one that failed. */
static bool read_rows(gf_rows *r, int64_t count, int64_t *bad) {
    h5_table *t = r->state;
    t->heap_used = 0;
    t->heap_full = false;
    for (*bad = 0; *bad < r->n_fields; ++*bad) {
        const h5_column *c = &t->column[*bad];
        if (c->type > 0 && !read_column(t, c, count)) return false;
    }
    return true;
}

static bool read_block(gf_rows *r, gf_err *e) {
    h5_table *t = r->state;
    int64_t count = t->rows - t->block_first, bad;
    if (count > t->block_rows) count = t->block_rows;
    for (; !read_rows(r, count, &bad); count /= 2) {
        if (t->heap_full && count > 1) continue;
        if (t->heap_full)
            return gf_fail(e, GF_E_INVALID, "%s:%lld: the row is longer than 16 MiB; split it",
                           r->place, (long long)t->block_first + 1);
        return gf_fail(
            e, GF_E_MODEL,
            "%s: column \"%s\": rows %lld to %lld cannot be read; the file is damaged, or "
            "needs a filter that is not installed",
            r->place, r->field[bad], (long long)t->block_first + 1,
            (long long)(t->block_first + count));
    }
    t->block_count = count;
    return true;
}

static gf_cell string_cell(const h5_column *c, int64_t field, int64_t k) {
    const char *text = c->block + (size_t)k * c->width;
    size_t size = c->width;
    if (c->variable) {
        memcpy(&text, text, sizeof text);
        if (!text) text = "";
        size = strlen(text);
    } else if (c->padding == H5T_STR_NULLTERM)
        size = strnlen(text, size);
    else
        while (size > 0 && text[size - 1] == (c->padding == H5T_STR_SPACEPAD ? ' ' : 0)) size--;
    return gf_cell_string(field, text, size);
}

static gf_cell number_cell(const h5_column *c, int64_t k) {
    gf_cell cell = gf_cell_other(GF_CELL_NUMBER, "a number");
    memcpy(&cell.number, c->block + (size_t)k * c->width, sizeof cell.number);
    return isnan(cell.number) ? gf_cell_other(GF_CELL_MISSING, "missing") : cell;
}

static gf_cell cell_of(const h5_column *c, int64_t field, int64_t k) {
    if (c->set <= 0) return gf_cell_other(GF_CELL_MISSING, "missing");
    if (c->kind == GF_CELL_OTHER)
        return gf_cell_other(GF_CELL_OTHER, "of a type that is no string");
    return c->kind == GF_CELL_NUMBER ? number_cell(c, k) : string_cell(c, field, k);
}

static int next_row(gf_rows *r, gf_cell *cells, gf_err *e) {
    h5_table *t = r->state;
    bool ok = true;
    if (r->line >= t->rows) return 0;
    if (r->line == t->block_first + t->block_count) {
        t->block_first = r->line;
        H5E_BEGIN_TRY { ok = read_block(r, e); }
        H5E_END_TRY
        if (!ok) return -1;
    }
    for (int64_t i = 0; i < r->n_fields; i++)
        cells[i] = cell_of(&t->column[i], i, r->line - t->block_first);
    r->line++;
    return 1;
}

/* ---- the format ---- */

static bool open_file(gf_rows *r, gf_err *e) {
    h5_table *t = r->state;
    t->file = H5Fopen(r->path, H5F_ACC_RDONLY, H5P_DEFAULT);
    if (t->file <= 0) return fail_file(r, e, "it is not an HDF5 file, or a damaged one");
    t->group = H5Gopen2(t->file, "/", H5P_DEFAULT);
    t->transfer = H5Pcreate(H5P_DATASET_XFER);
    if (t->group <= 0 || t->transfer <= 0 ||
        H5Pset_vlen_mem_manager(t->transfer, take_from_heap, t, keep_in_heap, t) < 0)
        return fail_file(r, e, "HDF5 cannot open its root group");
    return true;
}

/* Opened by core/io first, which says better than HDF5 why a file cannot be read. */
static bool open_hdf5(gf_rows *r, gf_err *e) {
    gf_file *f = gf_io_open(r->path, e);
    bool ok = f && (r->state = gf_alloc_array(1, sizeof(h5_table), e));
    gf_io_close(f, NULL);
    H5E_BEGIN_TRY { ok = ok && open_file(r, e); }
    H5E_END_TRY
    return ok;
}

static bool list_columns(gf_rows *r, gf_err *e) {
    bool ok;
    H5E_BEGIN_TRY { ok = find_columns(r, e); }
    H5E_END_TRY
    return ok;
}

static bool start_hdf5(gf_rows *r, gf_err *e) {
    bool ok;
    H5E_BEGIN_TRY { ok = open_columns(r, e); }
    H5E_END_TRY
    return ok;
}

static void close_table(h5_table *t, int64_t n_fields) {
    for (int64_t i = 0; t->column && i < n_fields; i++) {
        release(t->column[i].type);
        release(t->column[i].set);
        gf_free(t->column[i].block);
    }
    gf_free(t->column);
    gf_free(t->heap);
    gf_free(t->compound);
    release(t->transfer);
    release(t->group);
    release(t->file);
}

static void close_hdf5(gf_rows *r) {
    H5E_BEGIN_TRY { close_table(r->state, r->n_fields); }
    H5E_END_TRY
}

const gf_rows_format gf_rows_hdf5_direct = {.has_header = true,
                                            .open = open_hdf5,
                                            .columns = list_columns,
                                            .start = start_hdf5,
                                            .next = next_row,
                                            .close = close_hdf5};
