#include "cli/train.h"
#include "core/json.h"
#include "core/mem.h"
#include "recipes/plan.h"

static bool print_recipe(gf_args *a, const gf_recipe *r, gf_err *e) {
    cJSON *j = gf_recipe_to_json(r, e);
    char *text = j ? gf_json_print(j, e) : NULL;
    bool ok = text && gf_io_printf(a->out, e, "%s\n", text);
    gf_free(text);
    cJSON_Delete(j);
    return ok;
}

static bool run(gf_args *a, gf_err *e) {
    gf_recipe r = {0};
    gf_run opened = {0};
    gf_engine engine = {0};
    gf_text plan = {0};
    int64_t disk = 0;
    double seconds = 0;
    bool ok =
        gf_cli_read_recipe(&r, a, a->words[0], e) && gf_engine_start(&engine, (int)a->threads, e) &&
        (!a->pin || gf_pool_pin(engine.pool, e)) && gf_engine_precision(&engine, r.precision, e) &&
        gf_run_open(&opened, &r, NULL, &a->log, e) &&
        gf_run_plan(&opened, &engine, &plan, &disk, e) &&
        gf_run_estimate(&opened, &engine, &seconds, e);
    ok = ok && print_recipe(a, &r, e) && gf_io_printf(a->out, e, "%s\n", plan.data) &&
         gf_io_printf(a->out, e, "estimated time on this machine, %d threads: %.1f minutes\n",
                      gf_pool_threads(engine.pool), seconds / 60);
    gf_text_free(&plan);
    if (opened.recipe) gf_run_close(&opened);
    gf_engine_stop(&engine);
    gf_recipe_free(&r);
    return ok;
}

const gf_command gf_cmd_plan = {
    .name = "plan",
    .summary = "what a recipe would do and need; trains nothing",
    .options = "--set --output --threads --pin --quiet",
    .least = 1,
    .most = 1,
    .run = run,
    .help = "usage: graft plan RECIPE [options]\n"
            "\n"
            "Prints the resolved recipe with all defaults, then per phase the updates, the\n"
            "memory and what trains; disk; a table of all parameters by phase with learning\n"
            "rate and weight decay; and a rough estimate of the time. Trains nothing.\n"
            "\n"
            "  --set a.b=v    override a key, e.g. --set phases.1.epochs=3; repeatable\n"
            "  --output DIR   the run folder (default: the recipe's \"output\")\n"
            "  --threads N    default: a processor of each core\n"
            "  --pin          keep each thread on one processor\n"
            "  --quiet        no notes\n"
            "\n"
            "example: graft plan demo/two-phase.json | less\n",
};
