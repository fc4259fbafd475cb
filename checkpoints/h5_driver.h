/* h5_driver: libhdf5's input and output through core/io.
 *
 *     hid_t access = H5Pcreate(H5P_FILE_ACCESS);
 *     hid_t driver = gf_h5_use_file(access, &failure);                    (to write)
 *     hid_t driver = gf_h5_use_bytes(access, map.data, map.size, e);      (to read)
 *     ... H5Fclose(file);
 *     H5Idec_ref(driver);
 *
 * Files are written with core/io's calls, and read from bytes in memory. libhdf5 1.10 can crash
 * after a failed write; so it is never told of one: the first failure goes to the gf_err, what is
 * written after it is dropped, and the writer looks at the gf_err when the file is closed.
 *
 * Both functions return the driver's id, -1 after a failure. It is to be held until the file is
 * closed: H5FD_close() of libhdf5 1.10 drops the file's own reference to the driver and then calls
 * it, in memory that is freed if that reference was the last. */
#ifndef GF_CHECKPOINTS_H5_DRIVER_H
#define GF_CHECKPOINTS_H5_DRIVER_H

#include "core/err.h"

#include <hdf5.h>
#include <stddef.h>

/* The file access list then writes through core/io; failures go to *failure, which must outlive the
 * file. */
hid_t gf_h5_use_file(hid_t access, gf_err *failure);
/* The file access list then reads these bytes, which must outlive the file; its path is ignored. A
 * lack of memory goes to *failure. */
hid_t gf_h5_use_bytes(hid_t access, const unsigned char *bytes, size_t size, gf_err *failure);

#endif
