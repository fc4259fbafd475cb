/* findings: what check found, as lines for a person and as JSON for a program.
 *
 *     gf_finding *f = gf_findings_add(&all, "repeated_rows", false, 12, e);
 *     bool ok = f && gf_finding_place(f, e, "%s:%lld", file, line) &&
 *               gf_text_add(&f->what, e, "%lld rows of train ...", n) &&
 *               gf_text_add(&f->fix, e, "--set model.max_length=%d", 256);
 *
 * In lines a finding is one paragraph of at most 80 columns, "!" before a problem and "-" before
 * the others, its first places, and the fix on a line of its own, whole, to be pasted. */
#ifndef GF_RECIPES_FINDINGS_H
#define GF_RECIPES_FINDINGS_H

#include "core/text.h"

#include <cjson/cJSON.h>

enum { GF_PLACES = 5 };

typedef struct gf_finding {
    const char *kind; /* a static name, for programs */
    bool problem;
    int64_t count;
    const char *split, *task; /* NULL: it concerns none; not owned */
    gf_text what, fix;
    char *place[GF_PLACES]; /* the first ones, e.g. "train.jsonl:3" */
    int64_t n_places, all_places;
} gf_finding;

typedef struct gf_findings {
    gf_finding **list; /* [count] */
    int64_t count, capacity;
    int64_t problems;
} gf_findings;

/* The new finding, owned by the list; NULL when memory is out. */
gf_finding *gf_findings_add(gf_findings *f, const char *kind, bool problem, int64_t count,
                            gf_err *e);
void gf_findings_free(gf_findings *f);

/* Counts a place and keeps it if it is among the first. */
bool gf_finding_place(gf_finding *f, gf_err *e, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

bool gf_findings_print(const gf_findings *f, gf_text *out, gf_err *e);
/* A list of {"kind", "problem", "split", "task", "count", "what", "fix", "places"} as "findings" in
 * `parent`. */
bool gf_findings_to_json(const gf_findings *f, cJSON *parent, gf_err *e);

/* Adds text with line breaks at blanks, so that no line has more than 80 columns unless one word
 * is longer. The first line begins with `first`, the others with `rest`. */
bool gf_text_add_wrapped(gf_text *out, const char *first, const char *rest, const char *text,
                         gf_err *e);
/* Adds a word for a shell, in quotes where it needs them. */
bool gf_text_add_shell_word(gf_text *out, const char *word, gf_err *e);

#endif
