#include "cli/train.h"

#include "cli/watch.h"
#include "core/json.h"
#include "core/mem.h"

#include <stdio.h>

void gf_cli_show_profile(const gf_profile *p) {
    gf_text table = {0};
    if (gf_profile_table(p, &table, NULL) && table.data) fputs(table.data, stderr);
    gf_text_free(&table);
}

bool gf_cli_train(const gf_recipe *r, gf_args *a, bool resume, gf_err *e) {
    gf_screen screen = {.live = gf_terminal_is_live(), .quiet = a->quiet};
    gf_trainer_options o = {.threads = (int)a->threads,
                            .pin = a->pin,
                            .force = a->force,
                            .resume = resume,
                            .at_step = a->at,
                            .watch = gf_screen_watch(&screen),
                            .log = a->log};
    bool ok;
    if (a->profile && !(o.profile = gf_profile_new(NULL, e))) return false;
    gf_signals_catch();
    ok = gf_train(r, &o, e);
    gf_screen_free(&screen);
    if (!a->quiet) gf_cli_show_profile(o.profile);
    gf_profile_free(o.profile);
    return ok;
}

bool gf_cli_read_recipe(gf_recipe *r, gf_args *a, const char *path, gf_err *e) {
    char *output = NULL, *set = NULL;
    bool ok = true;
    if (a->output) {
        /* --output is relative to where the user is, the recipe's own key to the recipe */
        ok = (output = gf_io_absolute(a->output, e)) && (set = gf_json_quote("output=", output, e));
        if (ok) a->sets[a->n_sets++] = set;
    }
    ok = ok && gf_recipe_read(r, path, a->sets, a->n_sets, e);
    gf_free(output);
    gf_free(set);
    return ok;
}

static bool run(gf_args *a, gf_err *e) {
    gf_recipe r = {0};
    bool ok = gf_cli_read_recipe(&r, a, a->words[0], e) && gf_cli_train(&r, a, a->resume, e);
    gf_recipe_free(&r);
    return ok;
}

const gf_command gf_cmd_train = {
    .name = "train",
    .summary = "run all phases of a recipe",
    .options = "--set --output --resume --force --threads --pin --profile --quiet",
    .least = 1,
    .most = 1,
    .run = run,
    .help = "usage: graft train RECIPE [options]\n"
            "\n"
            "Runs all phases of a recipe and writes a run folder: checkpoints/, log.jsonl,\n"
            "metrics.json, and model/, the best model on dev as a sentence-transformers\n"
            "folder that also holds the heads. Ctrl-C saves and stops; go on with --resume.\n"
            "\n"
            "  --set a.b=v    override a key, e.g. --set phases.1.epochs=3; repeatable\n"
            "  --output DIR   the run folder (default: the recipe's \"output\")\n"
            "  --resume       go on from the newest checkpoint of the run folder\n"
            "  --force        replace a run that is there already; with --resume, go on\n"
            "                 although recipe, data or base have changed\n"
            "  --threads N    default: a processor of each core; results do not depend on it\n"
            "  --pin          keep each thread on one processor\n"
            "  --profile      tell where the time went, on standard error and in the run\n"
            "                 folder: profile.txt, and profile.json for chrome://tracing\n"
            "  --quiet        errors only\n"
            "\n"
            "example: graft train demo/two-phase.json --output runs/demo\n",
};
