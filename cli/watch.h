/* watch: what a person sees of a training run on standard error. On a terminal one line is
 * refreshed in place; in a file there is one line per logged step and no control codes. After each
 * evaluation comes a table of the tasks. */
#ifndef GF_CLI_WATCH_H
#define GF_CLI_WATCH_H

#include "core/text.h"
#include "recipes/trainer.h"

typedef struct gf_screen {
    bool live, quiet;
    bool line_shown;  /* an unfinished refreshed line is on the screen */
    bool transient;   /* and it is wiped, not kept, when other text follows */
    double last_draw; /* clock */
    gf_text line;     /* reused */
} gf_screen;

gf_watch gf_screen_watch(gf_screen *s);
/* Ends the refreshed line, so that other text can follow. */
void gf_screen_finish_line(gf_screen *s);
void gf_screen_free(gf_screen *s);

#endif
