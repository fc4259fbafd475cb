"""`graft export --to gguf` in the package gguf and in llama.cpp, and the files of gguf in graft."""
import json
import importlib.util
import unittest

import gguf
import numpy
import transformers

from peers import (Case, assembled, demo_run, embed, export, for_each_model, fresh, graft,
                   read_json, tensors, texts, tokenize)

# What the file cannot carry, and the word that says so.
REFUSED = {"cased_f16": "case", "max_eps": "max", "dense_tanh": "projection",
           "dense_identity": "max", "classifier": "pool"}
F32, F16 = gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.F16
POOLING = {1: "mean", 2: "cls"}
CONFIG = {"bert.context_length": "max_position_embeddings", "bert.embedding_length": "hidden_size",
          "bert.feed_forward_length": "intermediate_size",
          "bert.block_count": "num_hidden_layers",
          "bert.attention.head_count": "num_attention_heads"}
KEYS = gguf.Keys.Tokenizer


def write(path, folder, pooling, half=False):
    """A BERT as llama.cpp's converter writes it, by the package alone."""
    config, w = read_json(folder / "config.json"), gguf.GGUFWriter(path, "bert")
    w.add_context_length(config["max_position_embeddings"])
    w.add_embedding_length(config["hidden_size"])
    w.add_feed_forward_length(config["intermediate_size"])
    w.add_block_count(config["num_hidden_layers"])
    w.add_head_count(config["num_attention_heads"])
    w.add_layer_norm_eps(config["layer_norm_eps"])
    w.add_causal_attention(False)
    w.add_pooling_type(gguf.PoolingType(pooling))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    words, special = {i: t for t, i in tokenizer.get_vocab().items()}, tokenizer.all_special_ids
    tokens, types = [], []
    for i in range(config["vocab_size"]):
        t = words.get(i, f"[PAD{i}]")
        as_is = i in special or i not in words
        tokens.append(t if as_is else t[2:] if t.startswith("##") else "\u2581" + t)
        types.append(gguf.TokenType.UNUSED if i not in words else
                     gguf.TokenType.CONTROL if i in special else gguf.TokenType.NORMAL)
    w.add_tokenizer_model("bert")
    w.add_tokenizer_pre("default")
    w.add_token_list(tokens)
    w.add_token_types(types)
    w.add_token_type_count(2)
    w.add_unk_token_id(tokenizer.unk_token_id)
    w.add_sep_token_id(tokenizer.sep_token_id)
    w.add_pad_token_id(tokenizer.pad_token_id)
    w.add_mask_token_id(tokenizer.mask_token_id)
    w.add_bos_token_id(tokenizer.cls_token_id)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.BERT, config["num_hidden_layers"])
    for name, x in tensors(folder / "model.safetensors").items():
        if not name.startswith(("pooler.", "classifier.")):
            x = x.astype("float16") if half and x.ndim == 2 else x
            w.add_tensor(names.get_name(name, try_suffixes=(".weight", ".bias")), x)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def run_llama_cpp(path, rows):
    import xllamacpp
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(path)
    parameters.embedding, parameters.warmup = True, False
    answer = xllamacpp.Server(parameters).handle_embeddings({"input": rows})
    answer = json.loads(answer) if isinstance(answer, (str, bytes)) else answer
    return numpy.array([row["embedding"] for row in answer["data"]])


class Gguf(Case):
    def value(self, reader, key):
        field = reader.get_field(key)
        self.assertIsNotNone(field, key)
        return field.contents()

    def check_tensors(self, reader, folder, half):
        layers = read_json(folder / "config.json")["num_hidden_layers"]
        names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.BERT, layers)
        found = {t.name: t for t in reader.tensors}
        for name, wanted in tensors(folder / "model.safetensors").items():
            if name.startswith("pooler."):
                continue
            theirs = names.get_name(name, try_suffixes=(".weight", ".bias"))
            t = found.pop(theirs)
            matrix = wanted.ndim == 2 and not theirs.startswith(("position_embd", "token_types"))
            self.assertEqual(t.tensor_type, F16 if half and matrix else F32, theirs)
            self.assertEqual([int(n) for n in t.shape][::-1], list(wanted.shape), theirs)
            self.check_equal(t.data, wanted.astype(t.data.dtype), theirs)
            self.assertEqual(t.data_offset % 32, 0)
        self.assertEqual(found, {})

    def check_keys(self, reader, folder):
        config = read_json(folder / "config.json")
        self.assertEqual(self.value(reader, "general.architecture"), "bert")
        for theirs, ours in CONFIG.items():
            self.assertEqual(self.value(reader, theirs), config[ours], theirs)
        self.assertEqual(numpy.float32(self.value(reader, "bert.attention.layer_norm_epsilon")),
                         numpy.float32(config["layer_norm_eps"]))
        self.assertFalse(self.value(reader, "bert.attention.causal"))
        told = read_json(folder / "1_Pooling/config.json")
        mode = POOLING[self.value(reader, "bert.pooling_type")]
        self.assertTrue(told.get(f"pooling_mode_{mode}_token" + "s" * (mode == "mean")))

    def check_tokens(self, reader, folder):
        t = transformers.AutoTokenizer.from_pretrained(folder)
        words, special = {i: w for w, i in t.get_vocab().items()}, set(t.all_special_ids)
        self.assertEqual(self.value(reader, KEYS.MODEL), "bert")
        for key, wanted in ((KEYS.UNK_ID, t.unk_token_id), (KEYS.SEP_ID, t.sep_token_id),
                            (KEYS.PAD_ID, t.pad_token_id), (KEYS.MASK_ID, t.mask_token_id),
                            (KEYS.BOS_ID, t.cls_token_id),
                            ("tokenizer.ggml.cls_token_id", t.cls_token_id)):
            self.assertEqual(self.value(reader, key), wanted, key)
        tokens, types = self.value(reader, KEYS.LIST), self.value(reader, KEYS.TOKEN_TYPE)
        self.assertEqual(len(tokens), read_json(folder / "config.json")["vocab_size"])
        for i, (token, kind) in enumerate(zip(tokens, types, strict=True)):
            w = words.get(i)
            self.assertEqual(kind, int(gguf.TokenType.UNUSED if w is None else
                                       gguf.TokenType.CONTROL if i in special else
                                       gguf.TokenType.NORMAL), i)
            if w is not None:
                self.assertEqual(token, w if i in special else
                                 w[2:] if w.startswith("##") else "\u2581" + w)

    @for_each_model(*REFUSED)
    def test_the_package_reads_it(self, name, model, folder):
        for dtype in "f32", "f16":
            out = export(model, "gguf", "--without-heads", "--dtype", dtype)
            reader = gguf.GGUFReader(out)
            self.check_tensors(reader, folder, dtype == "f16")
            self.check_keys(reader, folder)
            self.check_tokens(reader, folder)
            self.assertEqual(self.value(reader, "general.file_type"), int(dtype == "f16"))

    @for_each_model(*REFUSED)
    def test_graft_opens_it(self, name, model, folder):
        out, rows = export(model, "gguf", "--without-heads"), texts()
        self.check_equal(embed(out, rows), embed(model, rows))
        self.assertEqual(tokenize(out, rows), tokenize(model, rows))
        half = export(model, "gguf", "--without-heads", "--dtype", "f16")
        self.check_close(embed(half, rows), embed(model, rows), 0.01)
        again = export(out, "gguf")
        self.assertEqual(out.read_bytes(), again.read_bytes())

    def test_refusals(self):
        for name, word in REFUSED.items():
            with self.subTest(name):
                said = graft("export", assembled(name), "--to", "gguf", fresh("refused"),
                             "--without-heads", fails=4)
                self.assertIn(word, said)
        said = graft("export", demo_run(), "--to", "gguf", fresh("refused"), fails=4)
        self.assertIn("--without-heads", said)
        graft("export", demo_run(), "--to", "gguf", fresh("refused"), "--without-heads",
              "--dtype", "bf16", fails=4)
        graft("predict", "--model", export(demo_run(), "gguf", "--without-heads"), "x", fails=4)

    @for_each_model("cased_f16", "max_eps", "dense_tanh", "dense_identity", "classifier")
    def test_graft_opens_what_the_package_wrote(self, name, model, folder):
        told = read_json(folder / "1_Pooling/config.json")
        pooling = 2 if told.get("pooling_mode_cls_token") else 1
        path, rows = fresh("theirs").with_suffix(".gguf"), texts(100)
        write(path, folder, pooling)
        act = read_json(folder / "config.json").get("hidden_act")
        longest = ("--max-length", 32)
        got, wanted = embed(path, rows, *longest), embed(model, rows, *longest)
        self.assertEqual(tokenize(path, rows, *longest), tokenize(model, rows, *longest))
        if act == "gelu":  # such a file says nothing of the activation
            self.check_equal(got, wanted)
        else:
            self.check_close(got, wanted, 0.01)
        half = fresh("theirs").with_suffix(".gguf")
        write(half, folder, pooling, half=True)
        self.check_close(embed(half, rows, *longest), wanted, 0.01)

    @unittest.skipUnless(importlib.util.find_spec("xllamacpp"), "xllamacpp is not installed")
    @for_each_model(*REFUSED)
    def test_llama_cpp(self, name, model, _):
        """In the server of llama.cpp itself, whose GELU is tanh's."""
        rows = ["the cheese was tasty", "red shoes, and a phone that is too loud for the cat", "a"]
        wanted = embed(model, rows)
        wanted /= numpy.linalg.norm(wanted, axis=1, keepdims=True)
        for dtype in ("f32", "f16"):
            out = export(model, "gguf", "--without-heads", "--dtype", dtype)
            got = run_llama_cpp(out, rows)
            self.check_close(got / numpy.linalg.norm(got, axis=1, keepdims=True), wanted, 3e-3)


if __name__ == "__main__":
    unittest.main()
