/* json: bounded JSON reading over cJSON.
 *
 *     cJSON *j = gf_json_read("config.json", 1 << 20, e);
 *     ...
 *     cJSON_Delete(j);
 *
 * Refuses what cJSON lets through: bytes behind the value, bytes 0, equal keys in one object,
 * nesting deeper than 200. Errors say "FILE:LINE:COLUMN". A \u0000 in a string is read as U+FFFD,
 * since C strings end at 0 (BERT's tokenizer drops both). */
#ifndef GF_CORE_JSON_H
#define GF_CORE_JSON_H

#include "core/err.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* From now on cJSON's memory comes from core/mem: counted, made to fail by tests, and told apart
 * from bad text when it fails. cJSON keeps its allocator for the whole process, so this is for
 * programs to call, at their start; inside another program the library leaves it alone. */
void gf_json_use_core_memory(void);

/* `where` names the text in errors; `line` is its first line's number in it. The text need not end
 * with 0. A failure is of kind `code`. */
cJSON *gf_json_parse(const char *text, size_t size, const char *where, int64_t line, gf_code code,
                     gf_err *e);
/* A file of at most `limit` bytes; failures to read or parse are GF_E_MODEL. */
cJSON *gf_json_read(const char *path, size_t limit, gf_err *e);
/* As printed, indented, with a final newline; free with gf_free(). */
char *gf_json_print(const cJSON *j, gf_err *e);
/* PREFIX and then the text as a JSON string in quotes; free with gf_free(). */
char *gf_json_quote(const char *prefix, const char *text, gf_err *e);
/* What kind of value it is, for messages: "a number", "a string", ... */
const char *gf_json_kind(const cJSON *j);

/* Building, with memory checked: each returns the new item, or NULL with *e set. `name` NULL adds
 * to an array. */
cJSON *gf_json_object(cJSON *parent, const char *name, gf_err *e);
cJSON *gf_json_array(cJSON *parent, const char *name, gf_err *e);
cJSON *gf_json_string(cJSON *parent, const char *name, const char *value, gf_err *e);
cJSON *gf_json_number(cJSON *parent, const char *name, double value, gf_err *e);
/* As gf_json_number(), and what is printed reads back as the same double, where cJSON may lose the
 * last bits. For texts only: cJSON_IsNumber() can be false of it. */
cJSON *gf_json_exact(cJSON *parent, const char *name, double value, gf_err *e);
cJSON *gf_json_bool(cJSON *parent, const char *name, bool value, gf_err *e);
cJSON *gf_json_null(cJSON *parent, const char *name, gf_err *e);

#endif
