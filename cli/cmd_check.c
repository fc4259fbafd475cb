#include "cli/train.h"
#include "recipes/check.h"

static bool run(gf_args *a, gf_err *e) {
    gf_recipe r = {0};
    gf_run opened = {0};
    gf_text report = {0};
    int64_t problems = 0;
    bool ok =
        gf_cli_read_recipe(&r, a, a->words[0], e) && gf_run_open(&opened, &r, NULL, &a->log, e) &&
        gf_run_check(&opened, &report, &problems, e) && gf_io_printf(a->out, e, "%s", report.data);
    gf_text_free(&report);
    if (opened.recipe) gf_run_close(&opened);
    gf_recipe_free(&r);
    return ok;
}

const gf_command gf_cmd_check = {
    .name = "check",
    .summary = "look over recipe, model and data; trains nothing",
    .options = "--set --quiet",
    .least = 1,
    .most = 1,
    .run = run,
    .help = "usage: graft check RECIPE [options]\n"
            "\n"
            "Reads recipe, model and data as training would and reports label counts, missing\n"
            "labels, equal texts with different labels, texts shared by train, dev and test,\n"
            "truncation and [UNK] rates. Problems are marked with \"!\". What training would\n"
            "refuse is an error with its place (exit 3 or 4).\n"
            "\n"
            "  --set a.b=v    override a key; repeatable\n"
            "  --quiet        no notes\n"
            "\n"
            "example: graft check demo/two-phase.json\n",
};
