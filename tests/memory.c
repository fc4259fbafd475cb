/* Part of every test program: cJSON's memory comes from core/mem there, as in the program graft, so
 * that walks through failing allocations reach it. */
#include "core/json.h"

__attribute__((constructor)) static void use_core_memory(void) { gf_json_use_core_memory(); }
