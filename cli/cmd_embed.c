#include "cli/texts.h"
#include "cli/train.h"
#include "cli/vectors.h"

static bool run(gf_args *a, gf_err *e) {
    gf_texts t = {0};
    gf_vectors v = {0};
    int got = 0;
    gf_profile *p = a->profile ? gf_profile_new(NULL, e) : NULL;
    bool ok = (p || !a->profile) && gf_vectors_choose(&v, a, e) &&
              gf_texts_open(&t, GF_RUNNER_EMBEDS, a, e) &&
              gf_vectors_start(&v, t.runner.model.embedding_size, e);
    if (ok) gf_engine_profile(&t.runner.engine, p);
    while (ok && (got = gf_texts_next(&t, e)) == 1)
        ok = gf_vectors_add(&v, t.window.rows, t.embeddings.x, e);
    ok = gf_vectors_finish(&v, ok && got == 0, e);
    gf_texts_close(&t);
    if (ok && !a->quiet) gf_cli_show_profile(p);
    gf_profile_free(p);
    return ok;
}

const gf_command gf_cmd_embed = {
    .name = "embed",
    .summary = "embeddings of texts, as JSON Lines, TSV, NumPy or HDF5",
    .options = "--model --input --text --format --output --threads --pin --precision "
               "--max-length --batch --profile --quiet",
    .most = -1,
    .run = run,
    .help = "usage: graft embed --model M [--input FILE] [TEXT...] [options]\n"
            "\n"
            "Prints the embedding of each text, in the order of the input. Texts are\n"
            "arguments, the rows of FILE, or lines of standard input.\n"
            "\n"
            "  --model M       a model folder, a run folder or a checkpoint\n"
            "  --input FILE    .jsonl, .csv, .tsv, .h5, or plain text, one a line; - is\n"
            "                  standard input\n"
            "  --text NAME     the field that holds the text (default: text)\n"
            "  --format F      jsonl: {\"embedding\": [...]} a line, with all digits; tsv:\n"
            "                  numbers between tabs; npy: float32 [texts, hidden]; h5: the\n"
            "                  same, dataset \"embeddings\" (default: by --output, else jsonl)\n"
            "  --output FILE   written as FILE.tmp, renamed when complete (default: -)\n"
            "  --threads N     default: a processor of each core\n"
            "  --pin           keep each thread on one processor\n"
            "  --precision P   fp32, or bf16 where the processor has it (default: fp32)\n"
            "  --max-length N  cut texts at N tokens (default: the model's)\n"
            "  --batch N       at most N texts at once (default: 512)\n"
            "  --profile       tell on standard error where the time went\n"
            "  --quiet         no notes\n"
            "\n"
            "example: graft embed --model demo/runs/two-phase \"The cheese was tasty\"\n",
};
