/* build/bench/tokenizer: how many texts and tokens a second one core turns into ids, as one line of
 * JSON. bench/README.md says what is timed. */
#include "bench/measure.h"
#include "core/io.h"
#include "core/json.h"
#include "core/mem.h"
#include "data/rows.h"
#include "data/wordpiece.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

static const char usage[] =
    "usage: tokenizer MODEL DATA [--text NAME] [--rounds 5] [--ids FILE]\n"
    "Tokenizes all texts of DATA on one core, without a length limit. Prints one JSON line: the\n"
    "best round's tokens and texts a second, the size of the texts, and the CRC-32 of all ids.\n"
    "--ids writes them, each text's on a line.\n";

enum { NO_LIMIT = 1 << 30 };

typedef struct bench {
    const char *model, *data, *field, *list;
    int rounds;
    gf_tokenizer *tokenizer;
    char **text; /* [texts], each of size[i] bytes */
    size_t *size;
    int64_t texts, text_room, size_room;
    gf_ids ids;     /* of all texts, one behind the other */
    int64_t *count; /* [texts] */
    double bytes, best;
} bench;

static bool keep(bench *b, const gf_cell *cell, gf_err *e) {
    if (!gf_grow(&b->text, b->texts, &b->text_room, sizeof *b->text, e) ||
        !gf_grow(&b->size, b->texts, &b->size_room, sizeof *b->size, e) ||
        !(b->text[b->texts] = gf_strndup(cell->text, cell->size, e)))
        return false;
    b->size[b->texts++] = cell->size;
    b->bytes += (double)cell->size;
    return true;
}

static bool read_texts(bench *b, gf_err *e) {
    const char *fields[] = {b->field};
    gf_rows *rows = gf_rows_open(b->data, fields, 1, e);
    gf_cell cell;
    int got = rows ? 1 : -1;
    while (got == 1 && (got = gf_rows_next(rows, &cell, e)) == 1)
        if (!keep(b, &cell, e)) got = -1;
    gf_rows_close(rows);
    return got == 0 && (b->count = gf_alloc_array(b->texts + 1, sizeof *b->count, e));
}

static bool encode_all(bench *b, gf_err *e) {
    gf_encoding out;
    b->ids.count = 0;
    for (int64_t i = 0; i < b->texts; i++) {
        if (!gf_tokenizer_encode(b->tokenizer, b->text[i], b->size[i], NO_LIMIT, &b->ids, &out, e))
            return false;
        b->count[i] = out.count;
    }
    return true;
}

static bool measure(bench *b, gf_err *e) {
    for (int i = 0; i < b->rounds; i++) {
        double start = gf_bench_now(), took;
        if (!encode_all(b, e)) return false;
        took = gf_bench_now() - start;
        if (i == 0 || took < b->best) b->best = took;
    }
    return true;
}

static bool write_ids(const bench *b, gf_err *e) {
    gf_file *f = gf_io_create(b->list, e);
    const int32_t *id = b->ids.id;
    bool ok = f != NULL;
    for (int64_t i = 0; ok && i < b->texts; i++)
        for (int64_t k = 0; ok && k < b->count[i]; k++, id++)
            ok = gf_io_printf(f, e, "%d%s", *id, k + 1 < b->count[i] ? " " : "\n");
    return gf_io_close(f, e) && ok;
}

/* Of the ids as little-endian numbers of 32 bits. */
static unsigned long check_sum(const bench *b) {
    unsigned long sum = crc32(0, NULL, 0);
    for (int64_t i = 0; i < b->ids.count; i++) {
        uint32_t id = (uint32_t)b->ids.id[i];
        unsigned char bytes[4] = {(unsigned char)id, (unsigned char)(id >> 8),
                                  (unsigned char)(id >> 16), (unsigned char)(id >> 24)};
        sum = crc32(sum, bytes, 4);
    }
    return sum;
}

static void print(const bench *b) {
    printf("{\"program\": \"graft\", \"texts\": %lld, \"tokens\": %lld, \"mib\": %.2f, "
           "\"ids_crc\": \"%08lx\", \"tokens_s\": %.0f, \"seq_s\": %.0f, \"mib_s\": %.1f, "
           "\"rss_mib\": %.1f}\n",
           (long long)b->texts, (long long)b->ids.count, b->bytes / 1048576, check_sum(b),
           (double)b->ids.count / b->best, (double)b->texts / b->best, b->bytes / 1048576 / b->best,
           gf_bench_peak_mib());
}

static void drop(bench *b) {
    for (int64_t i = 0; i < b->texts; i++) gf_free(b->text[i]);
    gf_free(b->text);
    gf_free(b->size);
    gf_free(b->count);
    gf_free(b->ids.id);
    gf_tokenizer_free(b->tokenizer);
}

static bool read_options(bench *b, int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        bool value = i + 1 < argc;
        if (strcmp(argv[i], "--text") == 0 && value)
            b->field = argv[++i];
        else if (strcmp(argv[i], "--ids") == 0 && value)
            b->list = argv[++i];
        else if (strcmp(argv[i], "--rounds") == 0 && value && atoi(argv[i + 1]) > 0)
            b->rounds = atoi(argv[++i]);
        else if (*argv[i] == '-' || b->data)
            return false;
        else
            *(b->model ? &b->data : &b->model) = argv[i];
    }
    return b->data != NULL;
}

int main(int argc, char **argv) {
    bench b = {.field = "text", .rounds = 5};
    gf_err e = {0};
    bool ok;
    if (!read_options(&b, argc, argv)) {
        bool help = argc == 2 && strcmp(argv[1], "--help") == 0;
        fputs(usage, help ? stdout : stderr);
        return help ? 0 : 2;
    }
    ok = (b.tokenizer = gf_tokenizer_open(b.model, &e)) && read_texts(&b, &e) && measure(&b, &e) &&
         (!b.list || write_ids(&b, &e));
    if (ok) print(&b);
    drop(&b);
    if (!ok) fprintf(stderr, "tokenizer: error: %s\n", e.text);
    return ok ? 0 : gf_err_status(e.code);
}
