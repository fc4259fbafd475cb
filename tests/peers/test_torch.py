"""pytorch_model.bin and sharded weights: embeddings as of the safetensors folder, bit by bit."""
import collections
import json
import shutil
import unittest

import torch
import transformers
from safetensors.torch import load_file, save_file

from peers import (REAL, Case, assembled, embed, export, for_each_model, fresh, graft, load_bert,
                   texts)

PREFIXES = ["", "bert.", "model.", "0.auto_model."]
ROWS = 40


def without_weights(folder):
    to = fresh("torch")
    shutil.copytree(folder, to, ignore=shutil.ignore_patterns("model.safetensors", "heads.*"))
    for dense in folder.glob("2_Dense/model.safetensors"):
        shutil.copy(dense, to / "2_Dense")
    return to


def state_of(folder):
    return load_file(folder / "model.safetensors")


def write_shards(to, state, count, suffix, write):
    """As transformers names them: NAME-00001-of-00003.SUFFIX and NAME.SUFFIX.index.json."""
    stem = "pytorch_model" if suffix == "bin" else "model"
    names = [f"{stem}-{i + 1:05}-of-{count:05}.{suffix}" for i in range(count)]
    shards, where = [{} for _ in names], {}
    for i, (key, value) in enumerate(state.items()):
        shards[i % count][key], where[key] = value, names[i % count]
    for name, shard in zip(names, shards, strict=True):
        write(shard, to / name)
    size = sum(t.nbytes for t in state.values())
    (to / f"{stem}.{suffix}.index.json").write_text(json.dumps(
        {"metadata": {"total_size": size}, "weight_map": where}))


class Torch(Case):
    def check(self, to, folder, what=""):
        self.check_equal(embed(to, texts(ROWS)), embed(folder, texts(ROWS)), what)

    @for_each_model()
    def test_plain(self, name, _, folder):
        to = without_weights(folder)
        torch.save(state_of(folder), to / "pytorch_model.bin")
        self.check(to, folder)

    @for_each_model()
    def test_as_old_models_were_saved(self, name, _, folder):
        """An OrderedDict with parameters, transposed views, buffers and a shared storage."""
        to, state = without_weights(folder), collections.OrderedDict()
        for key, value in state_of(folder).items():
            if value.dim() == 2 and value.dtype.is_floating_point:
                value = value.t().contiguous().t()
            if value.dtype.is_floating_point and value.dim() == 1:
                value = torch.cat([torch.ones(3).to(value), value])[3:]
            state[key] = torch.nn.Parameter(value, requires_grad=value.dtype.is_floating_point)
        state["embeddings.position_ids"] = torch.arange(32).unsqueeze(0)
        torch.save(state, to / "pytorch_model.bin")
        self.check(to, folder)

    @for_each_model("cased_f16", "classifier")
    def test_prefixes(self, name, _, folder):
        for prefix in PREFIXES:
            to = without_weights(folder)
            state = {prefix + key: value for key, value in state_of(folder).items()}
            torch.save(state, to / "pytorch_model.bin")
            self.check(to, folder, prefix)
            (to / "pytorch_model.bin").unlink()
            save_file(state, to / "model.safetensors", {"format": "pt"})
            self.check(to, folder, prefix)

    @for_each_model()
    def test_shards(self, name, _, folder):
        for suffix, write in ("bin", torch.save), ("safetensors", save_file):
            to = without_weights(folder)
            write_shards(to, state_of(folder), 3, suffix, write)
            self.check(to, folder, suffix)
            next(to.glob("*-00002-of-*")).unlink()
            self.assertIn("-00002-of-00003", graft("embed", "--model", to, "x", fails=4))

    @for_each_model("dense_tanh", "dense_identity", "classifier")
    def test_saved_by_transformers(self, name, _, folder):
        """Sharded by it; pickled where its version still does that."""
        size = sum(t.nbytes for t in state_of(folder).values()) // 3
        bert = load_bert(folder)
        for options in {}, {"max_shard_size": size}, {"safe_serialization": False}, \
                {"max_shard_size": size, "safe_serialization": False}:
            to = without_weights(folder)
            bert.save_pretrained(to, **options)
            shards = len(list(to.glob("*-of-*")))
            self.assertGreaterEqual(shards, 2 if "max_shard_size" in options else 0)
            if transformers.__version__ < "5":
                pickled = not options.get("safe_serialization", True)
                self.assertEqual(bool(list(to.glob("pytorch_model*"))), pickled)
            self.check(to, folder, options)

    def test_half_precision(self):
        for dtype in torch.float16, torch.bfloat16:
            folder, to = assembled("mean_gelu"), without_weights(assembled("mean_gelu"))
            torch.save({k: v.to(dtype) for k, v in state_of(folder).items()},
                       to / "pytorch_model.bin")
            other = without_weights(folder)
            save_file({k: v.to(dtype) for k, v in state_of(folder).items()},
                      other / "model.safetensors")
            self.check(to, other, dtype)

    def test_double_precision(self):
        folder, to = assembled("mean_gelu"), without_weights(assembled("mean_gelu"))
        torch.save({k: v.double() for k, v in state_of(folder).items()}, to / "pytorch_model.bin")
        self.check(to, folder)

    def test_a_pickled_dense_module(self):
        folder, to = assembled("dense_tanh"), without_weights(assembled("dense_tanh"))
        torch.save(state_of(folder), to / "pytorch_model.bin")
        torch.save(load_file(folder / "2_Dense/model.safetensors"),
                   to / "2_Dense/pytorch_model.bin")
        (to / "2_Dense/model.safetensors").unlink()
        self.check(to, folder)

    def test_what_is_refused(self):
        to = without_weights(assembled("mean_gelu"))
        state = state_of(assembled("mean_gelu"))
        file = to / "pytorch_model.bin"
        torch.save(state, file, _use_new_zipfile_serialization=False)
        self.assertIn("save", graft("embed", "--model", to, "x", fails=4))
        torch.save({"epoch": 3, "state_dict": state}, file)
        self.assertIn("state_dict", graft("embed", "--model", to, "x", fails=4))
        torch.save(torch.nn.Linear(2, 2), file)
        self.assertIn("torch", graft("embed", "--model", to, "x", fails=4))
        class Evil:
            def __reduce__(self):
                return print, ("executed",)
        torch.save({**state, "evil": Evil()}, file)
        self.assertNotIn("executed\n", said := graft("embed", "--model", to, "x", fails=4))
        self.assertIn("print", said)

    @unittest.skipUnless(REAL.exists(), f"no real weights in {REAL.name}")
    def test_exports_of_pickles(self):
        to = without_weights(REAL)
        torch.save(state_of(REAL), to / "pytorch_model.bin")
        self.check(export(to, "sentence-transformers"), REAL)


if __name__ == "__main__":
    unittest.main()
