"""Makes tests/data/gguf/: GGUF files written by the Python package gguf, for checkpoints/gguf*.

By hand: python tests/golden/make_gguf.py   (gguf, numpy, safetensors, transformers). The BERT is the one of
tests/data/checkpoints/plain (make_checkpoints.py), under the names that gguf's own tensor map gives it; ids.json
holds what transformers' tokenizer makes of some texts.
"""
import json
import os

import gguf
import numpy as np
from safetensors.numpy import load_file
from transformers import AutoTokenizer

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data")
PLAIN = os.path.join(DATA, "checkpoints", "plain")
OUT = os.path.join(DATA, "gguf")
TYPE = gguf.GGMLQuantizationType
TEXTS = ["the cheese was tasty", "A bad sho\u00e9, are the REDS good.", "", "unknown [MASK] . , [SEP] x", "goody\u00a0reds tastys",
         "the the the the the the the the the the the the the the the the the the"]


def writer(name, arch="bert", **more):
    return gguf.GGUFWriter(os.path.join(OUT, name), arch, **more)


def finish(w):
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def put_config(w, c, pooling):
    w.add_context_length(c["max_position_embeddings"])
    w.add_embedding_length(c["hidden_size"])
    w.add_feed_forward_length(c["intermediate_size"])
    w.add_block_count(c["num_hidden_layers"])
    w.add_head_count(c["num_attention_heads"])
    w.add_layer_norm_eps(c["layer_norm_eps"])
    w.add_causal_attention(False)
    if pooling is not None:
        w.add_pooling_type(pooling)


def put_tokens(w, old):
    """As llama.cpp's converter does it; `old`: as that of 2024, which knew special tokens by their brackets."""
    vocab = json.load(open(os.path.join(PLAIN, "tokenizer.json")))
    words = {i: t for t, i in vocab["model"]["vocab"].items()}
    special = {t["id"] for t in vocab["added_tokens"]}
    tokens, types = [], []
    for i in range(24):
        t = words.get(i, f"[PAD{i}]")
        kind = gguf.TokenType.UNUSED if i not in words else (
            gguf.TokenType.CONTROL if i in special else gguf.TokenType.NORMAL)
        as_is = t.startswith("[") and t.endswith("]") if old else kind == gguf.TokenType.CONTROL
        if old and i in (19, 21):  # what such files also have: unused tokens, and added ones that are no special tokens
            t, as_is = ("[unused0]", True) if i == 19 else ("cheesecake", False)
            kind = gguf.TokenType.NORMAL if i == 19 else gguf.TokenType.USER_DEFINED
        tokens.append(t if as_is else t[2:] if t.startswith("##") else "\u2581" + t)
        types.append(kind)
    w.add_tokenizer_model("bert")
    w.add_tokenizer_pre("default")
    w.add_token_list(tokens)
    w.add_token_types(types)
    w.add_token_type_count(2)
    w.add_unk_token_id(1)
    w.add_sep_token_id(3)
    w.add_pad_token_id(0)
    w.add_mask_token_id(4)
    if old:
        w.add_uint32("tokenizer.ggml.cls_token_id", 2)
    else:
        w.add_bos_token_id(2)


def put_tensors(w, half):
    """`half`: F16 for the matrices, BF16 for one, F64 for another; all hold the values exactly."""
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.BERT, 2)
    for name, x in load_file(os.path.join(PLAIN, "model.safetensors")).items():
        theirs = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if not half or x.ndim == 1:
            w.add_tensor(theirs, x)
        elif "attn_q" in theirs:
            w.add_tensor(theirs, gguf.quantize(x, TYPE.BF16), raw_dtype=TYPE.BF16)
        elif "ffn_up" in theirs:
            w.add_tensor(theirs, x.astype(np.float64))
        else:
            w.add_tensor(theirs, x.astype(np.float16))


def bert(name, pooling, half=False, old=False, **more):
    w = writer(name, **more)
    if old:
        w.add_custom_alignment(64)
    put_config(w, json.load(open(os.path.join(PLAIN, "config.json"))), pooling)
    put_tokens(w, old)
    put_tensors(w, half)
    finish(w)


def layerless(name, dense):
    """A BERT of no layers whose word embeddings are Q8_0; `dense`: with a projection behind it."""
    w = writer(name)
    put_config(w, {"max_position_embeddings": 4, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 0,
                   "num_attention_heads": 2, "layer_norm_eps": 1e-12}, gguf.PoolingType.MEAN)
    put_tokens(w, False)
    w.add_tensor("token_embd.weight", gguf.quantize(np.ones((24, 32), np.float32), TYPE.Q8_0), raw_dtype=TYPE.Q8_0)
    for name, shape in [("position_embd.weight", (4, 32)), ("token_types.weight", (2, 32)),
                        ("token_embd_norm.weight", (32,)), ("token_embd_norm.bias", (32,))]:
        w.add_tensor(name, np.ones(shape, np.float32))
    if dense:
        w.add_tensor("dense_2.weight", np.ones((2, 32), np.float32))
    finish(w)


def types():
    """Another model: every type of value, and tensors of several types."""
    w = writer("types.gguf", "llama")
    w.add_uint8("a.u8", 200)
    w.add_int8("a.i8", -100)
    w.add_uint16("a.u16", 60000)
    w.add_int16("a.i16", -30000)
    w.add_uint32("a.u32", 4000000000)
    w.add_int32("a.i32", -2000000000)
    w.add_uint64("a.u64", 2**53)
    w.add_int64("a.i64", -2**53)
    w.add_float32("a.f32", 0.5)
    w.add_float64("a.f64", 0.1)
    w.add_bool("a.bool", True)
    w.add_string("a.text", "snowman \u2603\n" + "\u2603" * 100)
    w.add_array("a.texts", ["one", "", "three"])
    w.add_array("a.integers", [1, -2, 3])
    w.add_array("a.reals", [0.5, 0.25])
    x = np.linspace(-1, 1, 512, dtype=np.float32).reshape(2, 256)
    for q in (TYPE.Q8_0, TYPE.Q4_0, TYPE.TQ1_0):
        w.add_tensor("x." + q.name, gguf.quantize(x, q), raw_dtype=q)
    w.add_tensor("x.Q4_K", np.zeros((2, 144), np.uint8), raw_dtype=TYPE.Q4_K)
    w.add_tensor("x.I32", np.arange(6, dtype=np.int32).reshape(1, 2, 3))
    w.add_tensor("x.F64", np.array([0.1, -1e300]))
    w.add_tensor("x.F32", np.arange(24, dtype=np.float32).reshape(2, 3, 4))
    finish(w)


if __name__ == "__main__":
    os.makedirs(OUT, exist_ok=True)
    bert("mean_f32.gguf", gguf.PoolingType.MEAN)
    bert("cls_old.gguf", gguf.PoolingType.CLS, half=True, old=True)
    bert("big_endian.gguf", None, endianess=gguf.GGUFEndian.BIG)
    bert("rank.gguf", gguf.PoolingType.RANK)
    layerless("quantised.gguf", False)
    layerless("dense.gguf", True)
    types()
    tokenizer = AutoTokenizer.from_pretrained(PLAIN)
    ids = [{"text": t, "ids": tokenizer(t, truncation=True, max_length=12)["input_ids"]} for t in TEXTS]
    json.dump(ids, open(os.path.join(OUT, "ids.json"), "w"), indent=1)
    print({n: os.path.getsize(os.path.join(OUT, n)) for n in sorted(os.listdir(OUT))})
