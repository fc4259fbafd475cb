/* version: what this graft calls itself, in `graft version` and in the files it writes. */
#ifndef GF_CORE_VERSION_H
#define GF_CORE_VERSION_H

#define GF_VERSION "0.1.0"

#endif
