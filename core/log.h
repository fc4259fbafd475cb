/* log: how the library tells something that is no failure. It never prints: the caller's function
 * gets one line at a time, without its newline. A gf_log with a NULL function is silent. */
#ifndef GF_CORE_LOG_H
#define GF_CORE_LOG_H

typedef enum gf_log_level { GF_LOG_NOTE, GF_LOG_WARNING } gf_log_level;

typedef struct gf_log {
    void (*line)(void *context, gf_log_level level, const char *text);
    void *context;
} gf_log;

void gf_log_say(const gf_log *log, gf_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
