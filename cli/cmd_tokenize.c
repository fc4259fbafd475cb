#include "cli/jsonl.h"
#include "cli/texts.h"

#include <string.h>

static bool add_tokens(gf_text *line, const gf_tokenizer *t, int64_t count, const int32_t *id,
                       gf_err *e) {
    bool ok = gf_text_add(line, e, "{\"ids\": [");
    for (int64_t i = 0; ok && i < count; i++)
        ok = gf_text_add(line, e, "%s%d", i ? ", " : "", (int)id[i]);
    ok = ok && gf_text_add(line, e, "], \"tokens\": [");
    for (int64_t i = 0; ok && i < count; i++) {
        const char *token = gf_tokenizer_token(t, id[i]);
        ok = (i == 0 || gf_text_add(line, e, ", ")) &&
             gf_jsonl_add_string(line, token, strlen(token), e);
    }
    return ok && gf_text_add(line, e, "]}\n");
}

static bool run(gf_args *a, gf_err *e) {
    gf_texts t = {0};
    gf_text line = {0};
    const gf_dataset *d = &t.window;
    bool ok = gf_texts_open(&t, GF_RUNNER_TOKENIZES, a, e);
    int got = 0;
    while (ok && (got = gf_texts_next(&t, e)) == 1)
        for (int64_t i = 0; ok && i < d->rows; i++) {
            line.length = 0;
            ok = add_tokens(&line, t.runner.model.tokenizer, d->start[i + 1] - d->start[i],
                            d->ids.id + d->start[i], e) &&
                 gf_io_write(a->out, line.data, line.length, e);
        }
    gf_text_free(&line);
    gf_texts_close(&t);
    return ok && got == 0;
}

const gf_command gf_cmd_tokenize = {
    .name = "tokenize",
    .summary = "texts as the model's token ids and tokens",
    .options = "--model --input --text --max-length --quiet",
    .most = -1,
    .run = run,
    .help = "usage: graft tokenize --model M [--input FILE] [TEXT...] [options]\n"
            "\n"
            "Prints a JSON object a line, in the order of the input, special tokens included:\n"
            "  {\"ids\": [101, 7592, 102], \"tokens\": [\"[CLS]\", \"hello\", \"[SEP]\"]}\n"
            "Texts are arguments, the rows of FILE, or lines of standard input.\n"
            "\n"
            "  --model M       a model folder (weights are not needed), a run folder or a\n"
            "                  checkpoint\n"
            "  --input FILE    .jsonl, .csv, .tsv, .h5, or plain text, one a line; - is\n"
            "                  standard input\n"
            "  --text NAME     the field that holds the text (default: text)\n"
            "  --max-length N  cut texts at N tokens (default: the model's)\n"
            "  --quiet         no notes\n"
            "\n"
            "example: graft tokenize --model demo/tiny-bert \"The cheese was tasty\"\n",
};
