/* torch_file: pytorch_model.bin and other files of torch.save that hold a dict of tensors.
 *
 *     gf_tensors t = {0};
 *     if (!gf_tensors_open(&t, "pytorch_model.bin", e)) goto done;      (which comes to here)
 *     const gf_tensor *x = gf_tensors_find(&t, "bert.embeddings.LayerNorm.weight");
 *     gf_tensors_close(&t);
 *
 * The format (pytorch/pytorch, caffe2/serialize/inline_container.h and torch/serialization.py): a
 * zip archive, nothing in it compressed, whose entries all begin with one folder's name. data.pkl
 * is a pickle (checkpoints/pickle.h, which executes nothing) of the dict; a tensor is a view of a
 * storage: offset, size, strides; data/KEY are a storage's bytes. Contiguous tensors are used in
 * the file's bytes; others, transposed ones for example, are copied into memory of the gf_tensors.
 *
 * Numbers, texts and None beside the tensors of the dict are passed over. A dict in the dict (a
 * training checkpoint), a whole pickled model, compressed or encrypted entries, big endian data,
 * files of more than 4 GB (zip64), and the form before PyTorch 1.6, which is no zip archive, are
 * refused with a sentence that says how to save the file again.
 *
 * The file may be hostile: storages must be as long as the pickle says, tensors must lie in their
 * storages, and copies are bounded by the file's size. The CRC-32 of each entry that is used is
 * checked (PyTorch itself does not; a field of 0 is how it says that there is none).
 *
 * minizip reads the zip archive from the bytes through its callbacks. It takes its memory, some
 * 20 KB while a file is read, from malloc and not from core/mem; that memory is not counted. */
#ifndef GF_CHECKPOINTS_TORCH_FILE_H
#define GF_CHECKPOINTS_TORCH_FILE_H

#include "checkpoints/tensors.h"

/* The format as gf_tensors_open() knows it. */
bool gf_torch_begins(const unsigned char *bytes, size_t size);
bool gf_torch_read(gf_tensors *t, const unsigned char *bytes, size_t size, const char *where,
                   gf_err *e);

#endif
