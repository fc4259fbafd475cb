#include "cli/cli.h"
#include "core/mem.h"
#include "recipes/findings.h"
#include "recipes/init.h"

static bool may_write(const gf_args *a, gf_err *e) {
    if (!a->output || a->force || !gf_io_exists(a->output)) return true;
    return gf_fail(e, GF_E_USAGE, "%s: it is there already; use --force to overwrite it",
                   a->output);
}

static bool tell_next(const gf_args *a, gf_err *e) {
    gf_text word = {0};
    bool ok = gf_text_add_shell_word(&word, a->output ? a->output : "RECIPE.json", e);
    if (ok && !a->output)
        gf_log_say(&a->log, GF_LOG_NOTE, "save the recipe as RECIPE.json, or use --output");
    if (ok)
        gf_log_say(&a->log, GF_LOG_NOTE, "next: graft check %s && graft train %s", word.data,
                   word.data);
    gf_text_free(&word);
    return ok;
}

static bool run(gf_args *a, gf_err *e) {
    gf_init_options o = {.data = a->words[0],
                         .base = a->base,
                         .output = a->output,
                         .text = a->text,
                         .labels = a->labels,
                         .n_labels = a->n_labels};
    gf_text recipe = {0};
    bool ok = may_write(a, e) && gf_init_recipe(&o, &recipe, &a->log, e) &&
              (a->output ? gf_io_replace_file(a->output, recipe.data, recipe.length, e)
                         : gf_io_write(a->out, recipe.data, recipe.length, e)) &&
              tell_next(a, e);
    gf_text_free(&recipe);
    return ok;
}

const gf_command gf_cmd_init = {
    .name = "init",
    .summary = "write a recipe for a data file and a base",
    .options = "--base --output --text --label --force --quiet",
    .least = 1,
    .most = 1,
    .run = run,
    .help = "usage: graft init DATA [--base DIR] [--output RECIPE.json] [options]\n"
            "\n"
            "Looks at a .jsonl, .csv, .tsv or .h5 file and writes a commented recipe: its\n"
            "text and label columns, the tasks' types (strings, grades, numbers or lists of\n"
            "labels), a max_length that 95 % of the texts keep to, and two phases. Files\n"
            "beside DATA called dev, valid, validation or test with the same ending are taken\n"
            "up; without them the recipe splits DATA. What was found, what is left out, and\n"
            "what to run next, is told on standard error.\n"
            "\n"
            "  --base DIR     the model to start from (default: models/all-MiniLM-L6-v2)\n"
            "  --output FILE  where to write the recipe (default: standard output)\n"
            "  --text NAME    the text's column, instead of looking for it\n"
            "  --label NAME   a label's column, instead of looking for them; repeatable\n"
            "  --force        overwrite the recipe\n"
            "  --quiet        errors only\n"
            "\n"
            "example: graft init demo/train.jsonl --base demo/tiny-bert\n",
};
