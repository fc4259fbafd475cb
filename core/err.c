#include "core/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void hide_controls(char *text) {
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f) *text = '?';
}

bool gf_fail(gf_err *e, gf_code code, const char *format, ...) {
    va_list args;
    if (!e || e->code != GF_OK) return false;
    e->code = code;
    va_start(args, format);
    vsnprintf(e->text, sizeof e->text, format, args);
    va_end(args);
    hide_controls(e->text);
    return false;
}

void gf_err_prefix(gf_err *e, const char *format, ...) {
    char text[sizeof e->text];
    va_list args;
    size_t used;
    if (!e || e->code == GF_OK) return;
    memcpy(text, e->text, sizeof text);
    va_start(args, format);
    vsnprintf(e->text, sizeof e->text, format, args);
    va_end(args);
    used = strlen(e->text);
    snprintf(e->text + used, sizeof e->text - used, ": %s", text);
    hide_controls(e->text);
}

static const int statuses[] = {
    [GF_OK] = 0,
#define GF_ERR(name, status, text) [GF_E_##name] = status,
#include "core/err.def"
#undef GF_ERR
};

int gf_err_status(gf_code code) { return statuses[code]; }
