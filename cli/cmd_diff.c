#include "checkpoints/compare.h"
#include "cli/cli.h"

static bool print_equal(gf_args *a, const gf_comparison *c, gf_err *e) {
    return gf_io_printf(a->out, e, "equal: %lld tensors, %lld elements\n", (long long)c->tensors,
                        (long long)c->elements);
}

static bool run(gf_args *a, gf_err *e) {
    gf_comparison c = {0};
    bool ok = gf_compare_paths(a->words[0], a->words[1], &a->log, &c, e);
    if (ok && c.different == 0)
        ok = print_equal(a, &c, e);
    else if (ok)
        ok = gf_io_write(a->out, c.text.data, c.text.length, e) &&
             gf_fail(e, GF_E_VERIFY,
                     "%s and %s: %lld differences in %lld tensors of both, values "
                     "by at most %.3g",
                     a->words[0], a->words[1], (long long)c.different, (long long)c.tensors,
                     c.largest);
    gf_comparison_free(&c);
    return ok;
}

const gf_command gf_cmd_diff = {
    .name = "diff",
    .summary = "compare two models, checkpoints or weight files",
    .options = "--quiet",
    .least = 2,
    .most = 2,
    .run = run,
    .help = "usage: graft diff A B\n"
            "\n"
            "Compares two models tensor by tensor: folders, runs, checkpoints (two of them\n"
            "with the optimizer's moments), exported files, or bare weight files. Prints a\n"
            "line for each tensor that differs: how many of its elements, by how much, and\n"
            "by how many ULPs (float32 values between the two); and what else differs:\n"
            "pooling, length, classes, token ids.\n"
            "\n"
            "The exit status is 0 when nothing differs, 7 when something does.\n"
            "\n"
            "example: graft diff demo/runs/two-phase demo/runs/two-phase/checkpoints/best.h5\n",
};
