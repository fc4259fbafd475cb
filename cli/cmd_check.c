#include "cli/train.h"
#include "core/json.h"
#include "core/mem.h"
#include "recipes/check.h"
#include "recipes/findings.h"

#include <string.h>

/* "graft check RECIPE --set ... --fix cleaned", to be pasted. */
static bool add_command(gf_text *out, const gf_args *a, gf_err *e) {
    bool ok = gf_text_add(out, e, "graft check ") && gf_text_add_shell_word(out, a->words[0], e);
    for (int64_t i = 0; ok && i < a->n_sets; i++)
        ok = gf_text_add(out, e, " --set ") && gf_text_add_shell_word(out, a->sets[i], e);
    return ok && gf_text_add(out, e, " --fix cleaned");
}

static bool print_check(gf_args *a, const gf_check *c, gf_err *e) {
    char *text = NULL;
    bool ok;
    if (!a->json) return gf_io_printf(a->out, e, "%s", c->text.data);
    text = gf_json_print(c->json, e);
    ok = text && gf_io_write(a->out, text, strlen(text), e);
    gf_free(text);
    return ok;
}

static bool look(gf_args *a, const gf_recipe *r, gf_err *e) {
    gf_text command = {0};
    gf_check c = {0};
    bool ok = add_command(&command, a, e) && gf_check_run(&c, r, command.data, &a->log, e) &&
              print_check(a, &c, e);
    if (ok && c.refused.code) ok = gf_fail(e, c.refused.code, "%s", c.refused.text);
    gf_check_free(&c);
    gf_text_free(&command);
    return ok;
}

static bool fix(gf_args *a, const gf_recipe *r, gf_err *e) {
    gf_text report = {0};
    bool ok = gf_check_fix(r, a->fix, a->force, &a->log, &report, e) &&
              gf_io_printf(a->out, e, "%s", report.data);
    gf_text_free(&report);
    return ok;
}

static bool run(gf_args *a, gf_err *e) {
    gf_recipe r = {0};
    bool ok =
        gf_cli_read_recipe(&r, a, a->words[0], e) && (a->fix ? fix(a, &r, e) : look(a, &r, e));
    gf_recipe_free(&r);
    return ok;
}

const gf_command gf_cmd_check = {
    .name = "check",
    .summary = "look over recipe, model and data, and clean them; trains nothing",
    .options = "--set --fix --force --json --quiet",
    .least = 1,
    .most = 1,
    .run = run,
    .help =
        "usage: graft check RECIPE [--fix FOLDER] [options]\n"
        "\n"
        "Reads recipe, model and data as training would. Reports lengths, label counts\n"
        "or values, and the fit of the vocabulary; then findings, with places and a fix:\n"
        "\"!\" marks problems, \"-\" the rest. Equal texts (in two splits, with other labels,\n"
        "again), near-empty and damaged texts, absent, rare, uneven classes, truncation.\n"
        "Exit status 0, whatever is found, unless training would refuse it (3 or 4).\n"
        "\n"
        "  --set a.b=v    override a key; repeatable\n"
        "  --fix FOLDER   write the data as FOLDER/train.jsonl, TASK.train.jsonl, ...:\n"
        "                 mends encoding and control characters; drops near-empty texts,\n"
        "                 contradictions, repeats, and texts of a later split\n"
        "  --force        overwrite files in FOLDER\n"
        "  --json         {\"recipe\", \"splits\": {name: {\"files\", \"rows\", \"length\", "
        "...}},\n"
        "                 \"vocabulary\": {\"pieces_per_word\", ...}, \"tasks\": {task: {split:\n"
        "                 {\"missing\", \"classes\" or \"min\", \"mean\", ...}}}, \"problems\",\n"
        "                 \"findings\": [{\"kind\", \"problem\", \"split\", \"task\", \"count\",\n"
        "                 \"what\", \"fix\", \"places\"}]}\n"
        "  --quiet        no notes\n"
        "\n"
        "example: graft check demo/two-phase.json --fix /tmp/cleaned\n",
};
