/* machine: the facts about this graft and this computer that version and doctor print. */
#ifndef GF_CLI_MACHINE_H
#define GF_CLI_MACHINE_H

#include "core/text.h"

/* "graft 0.1.0" and a line for each library that it stands on. */
bool gf_machine_add_versions(gf_text *out, gf_err *e);
/* The kernels that are used, and those that would run too. */
bool gf_machine_add_kernels(gf_text *out, gf_err *e);
/* Processor, memory, and free space of the working folder. */
bool gf_machine_add_hardware(gf_text *out, gf_err *e);

#endif
