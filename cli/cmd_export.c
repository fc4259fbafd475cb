#include "checkpoints/export.h"
#include "checkpoints/open.h"
#include "cli/cli.h"
#include "core/text.h"
#include "recipes/card.h"

#include <string.h>

static bool read_dtype(const char *name, gf_dtype *dtype, gf_err *e) {
    static const char *const names[] = {"f32", "f16", "bf16"};
    static const gf_dtype types[] = {GF_DTYPE_F32, GF_DTYPE_F16, GF_DTYPE_BF16};
    for (int i = 0; i < 3; i++)
        if (strcmp(name ? name : "f32", names[i]) == 0) {
            *dtype = types[i];
            return true;
        }
    return gf_fail(e, GF_E_USAGE, "export: --dtype is \"%s\"; f32, f16 or bf16 is wanted", name);
}

static bool read_format(const char *name, gf_err *e) {
    const char *nearest;
    for (int i = 0; name && i < GF_EXPORTS; i++)
        if (strcmp(gf_export_names[i], name) == 0) return true;
    if (!name)
        return gf_fail(e, GF_E_USAGE,
                       "export: no format; add --to hf, sentence-transformers, onnx, "
                       "safetensors or gguf");
    nearest = gf_text_nearest(name, gf_export_names, GF_EXPORTS);
    return gf_fail(e, GF_E_USAGE, "export: unknown format \"%s\"; did you mean %s?", name,
                   nearest ? nearest : "hf, sentence-transformers, onnx, safetensors or gguf");
}

static bool run(gf_args *a, gf_err *e) {
    gf_export_options o = {.format = a->to, .without_heads = a->without_heads};
    gf_export_result r = {0};
    gf_model m = {0};
    gf_text card = {0};
    bool ok = read_format(a->to, e) && read_dtype(a->dtype, &o.dtype, e) &&
              gf_model_open(&m, a->words[0], &a->log, e) &&
              gf_card_write(&m, a->words[0], &card, e);
    o.readme = card.data;
    ok = ok && gf_export(&m, a->words[1], &o, &r, e) &&
         gf_io_printf(a->out, e,
                      "%s: read again, %lld tensors of %lld elements: largest difference %.3g\n",
                      a->words[1], (long long)r.tensors, (long long)r.elements, r.largest);
    gf_text_free(&card);
    gf_model_free(&m);
    return ok;
}

const gf_command gf_cmd_export = {
    .name = "export",
    .summary = "write a model in the form that other tools read",
    .options = "--to --dtype --without-heads --quiet",
    .least = 2,
    .most = 2,
    .run = run,
    .help = "usage: graft export MODEL --to FORMAT OUT [options]\n"
            "\n"
            "Writes a model, reads it again and prints the largest difference to MODEL.\n"
            "\n"
            "  --to hf                     a folder for transformers\n"
            "  --to sentence-transformers  a folder for it, with a model card and the heads\n"
            "  --to onnx                   the same with model.onnx (all outputs) and\n"
            "                              onnx/model.onnx (the encoder) in place of weights\n"
            "  --to safetensors            one file: encoder, heads, tokenizer, settings\n"
            "  --to gguf                   one file for llama.cpp: the encoder alone\n"
            "  --dtype T                   f32 (default), f16 or bf16 weights, where the\n"
            "                              format has them; heads stay f32 beside folders\n"
            "  --without-heads             leave the heads out\n"
            "  --quiet                     no notes\n"
            "\n"
            "What a format cannot carry is refused by name.\n"
            "\n"
            "example: graft export demo/runs/two-phase --to onnx /tmp/demo-onnx\n",
};
