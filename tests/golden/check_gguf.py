"""By hand: python tests/golden/check_gguf.py FILE.gguf FOLDER

Reads a GGUF file that graft wrote with the Python package gguf, and compares names, shapes, values and keys with
the folder the model came from, by the package's own tensor map. Ends with status 1 on a difference.
"""
import json
import os
import sys

import gguf
import numpy as np
from safetensors.numpy import load_file
from transformers import AutoTokenizer

CONFIG = {"bert.context_length": "max_position_embeddings", "bert.embedding_length": "hidden_size",
          "bert.feed_forward_length": "intermediate_size", "bert.block_count": "num_hidden_layers",
          "bert.attention.head_count": "num_attention_heads", "tokenizer.ggml.token_type_count": "type_vocab_size"}
KEYS = gguf.Keys.Tokenizer


def main(path, folder):
    reader, differences = gguf.GGUFReader(path), []

    def same(what, found, wanted):
        if found != wanted:
            differences.append(f"{what}: {found!r}, {wanted!r} wanted")

    def value(key):
        field = reader.get_field(key)
        return None if field is None else field.contents()

    config = json.load(open(os.path.join(folder, "config.json")))
    same("architecture", value(gguf.Keys.General.ARCHITECTURE), "bert")
    for theirs, ours in CONFIG.items():
        same(theirs, value(theirs), config[ours])
    same("epsilon", np.float32(value("bert.attention.layer_norm_epsilon")), np.float32(config["layer_norm_eps"]))
    same("causal", value("bert.attention.causal"), False)

    tokenizer = AutoTokenizer.from_pretrained(folder)
    same("tokenizer", value(KEYS.MODEL), "bert")
    for key, wanted in [(KEYS.UNK_ID, tokenizer.unk_token_id), (KEYS.SEP_ID, tokenizer.sep_token_id),
                        (KEYS.PAD_ID, tokenizer.pad_token_id), (KEYS.MASK_ID, tokenizer.mask_token_id),
                        (KEYS.BOS_ID, tokenizer.cls_token_id), ("tokenizer.ggml.cls_token_id", tokenizer.cls_token_id)]:
        same(key, value(key), wanted)
    words, special = {i: t for t, i in tokenizer.get_vocab().items()}, set(tokenizer.all_special_ids)
    tokens, types = value(KEYS.LIST), value(KEYS.TOKEN_TYPE)
    same("tokens", len(tokens), config["vocab_size"])
    for i, (token, kind) in enumerate(zip(tokens, types, strict=True)):
        t = words.get(i)
        same(f"type {i}", kind, int(gguf.TokenType.UNUSED if t is None else
                                    gguf.TokenType.CONTROL if i in special else gguf.TokenType.NORMAL))
        if t is not None:
            same(f"token {i}", token, t if i in special else t[2:] if t.startswith("##") else "\u2581" + t)

    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.BERT, config["num_hidden_layers"])
    found, n = {t.name: t for t in reader.tensors}, 0
    for name, x in load_file(os.path.join(folder, "model.safetensors")).items():
        theirs = names.get_name(name.removeprefix("bert."), try_suffixes=(".weight", ".bias"))
        if theirs is None or name.startswith("pooler."):
            continue
        t, n = found.pop(theirs), n + 1
        half = t.tensor_type == gguf.GGMLQuantizationType.F16
        same(theirs + " shape", tuple(t.data.shape), x.shape)
        same(theirs + " values", np.array_equal(t.data, x.astype(np.float16) if half else x), True)
        same(theirs + " offset", t.data_offset % 32, 0)
    same("further tensors", sorted(found), [])
    print(f"{len(reader.fields)} keys, {len(tokens)} tokens, {n} tensors, "
          f"{sum(t.tensor_type == gguf.GGMLQuantizationType.F16 for t in reader.tensors)} of them F16; "
          f"{len(differences)} differences", *differences[:20], sep="\n")
    return int(bool(differences))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
