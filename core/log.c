#include "core/log.h"

#include <stdarg.h>
#include <stdio.h>

void gf_log_say(const gf_log *log, gf_log_level level, const char *format, ...) {
    char text[1024];
    va_list args;
    if (!log || !log->line) return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    log->line(log->context, level, text);
}
