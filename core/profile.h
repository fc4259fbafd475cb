/* profile: where the time of a run goes, as a table and as a trace.
 *
 *     gf_profile *p = gf_profile_new(NULL, e);                  (NULL here: the system's clock)
 *     gf_profile_begin(p);
 *     ok = save(...);
 *     gf_profile_end(p, "saving");                              (also when it failed)
 *     ...
 *     gf_profile_table(p, &text, e);                            (80 columns)
 *     gf_profile_trace(p, &json, e);                            (chrome://tracing, ui.perfetto.dev)
 *     gf_profile_free(p);
 *
 * What begins must end, and spans may lie in each other. The table counts for each only what none
 * inside it took, so that its shares sum to 1: evaluation is then what is left of it beside the
 * ops that it ran. A span has a way: a stage, or an op of the tape run forward, backward, or
 * forward without training. Names are string constants: they are kept, not copied.
 *
 * NULL is a profile that is off: every function takes it, and begin and end then cost a comparison.
 * Nothing between new() and table() allocates or can fail; when there is no room for another line
 * of the table its time goes to the line "other", and a full trace is cut off and says so. A
 * profile belongs to the thread that made it. What is computed does not depend on it. */
#ifndef GF_CORE_PROFILE_H
#define GF_CORE_PROFILE_H

#include "core/text.h"

typedef struct gf_profile gf_profile;
typedef int64_t gf_clock(void); /* nanoseconds that only rise */

typedef enum gf_way {
    GF_WAY_STAGE,
    GF_WAY_FORWARD,
    GF_WAY_REBUILD, /* values that backward wants again, from what forward saved */
    GF_WAY_BACKWARD,
    GF_WAY_INFERENCE
} gf_way;

/* What ended. Those of one name, way and width are one line of the table. */
typedef struct gf_span {
    const char *name;
    gf_way way;
    int64_t rows;     /* worked on, for the trace; 0: unknown */
    int64_t width[2]; /* of a product: outputs and inputs; 0: not told apart by it */
    double flops;     /* 0: unknown */
    double bytes;     /* read and written at least once, 0: unknown */
} gf_span;

/* clock NULL: CLOCK_MONOTONIC. Freed by the caller. */
gf_profile *gf_profile_new(gf_clock *clock, gf_err *e);
void gf_profile_free(gf_profile *p);

/* A trace holds all stages, and the ops of the time before an update and of the first
 * GF_TRACED_UPDATES updates of each phase. gf_profile_phase() is called at a phase's start,
 * gf_profile_update() after each of its updates. */
enum { GF_TRACED_UPDATES = 10 };
void gf_profile_phase(gf_profile *p);
void gf_profile_update(gf_profile *p);

/* For the functions below; not to be called with NULL. */
void gf_profile_enter(gf_profile *p);
void gf_profile_leave(gf_profile *p, const gf_span *span);

static inline void gf_profile_begin(gf_profile *p) {
    if (p) gf_profile_enter(p);
}

static inline void gf_profile_end(gf_profile *p, const char *stage) {
    if (p) gf_profile_leave(p, &(gf_span){.name = stage});
}

/* Appends the table up to now; with a profile that is off, nothing. GF_E_NOMEM. */
bool gf_profile_table(const gf_profile *p, gf_text *out, gf_err *e);
/* Appends the trace as JSON: "complete" events of the Trace Event Format. GF_E_NOMEM. */
bool gf_profile_trace(const gf_profile *p, gf_text *out, gf_err *e);

#endif
