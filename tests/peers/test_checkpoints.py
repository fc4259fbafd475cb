"""A run's checkpoints in h5py and h5dump, as docs/formats.md describes them."""
import hashlib
import json
import re
import subprocess
import unittest

import h5py
import numpy

from peers import ROOT, Case, demo_run, embed, fresh, graft, read_json, tensors, texts

BLOCK = 512
GROUPS = {"/", "model", "params", "moments"}
TEXTS = {"model/outline", "model/config", "model/heads", "model/tokenizer", "recipe", "state"}


class Checkpoints(Case):
    @classmethod
    def setUpClass(cls):
        cls.paths = sorted((demo_run() / "checkpoints").glob("*.h5"))
        cls.model = demo_run() / "model"

    def each(self):
        self.assertEqual([p.name for p in self.paths],
                         ["best.h5", "step-000000125.h5", "step-000000250.h5"])
        for path in self.paths:
            self.where = path.name
            with h5py.File(path) as f:
                yield path, f

    @staticmethod
    def text(f, name):
        return f[name][()].decode("utf-8")

    def test_the_user_block(self):
        for path in self.paths:
            data = path.read_bytes()
            digest = hashlib.sha256(data[BLOCK:]).hexdigest()
            wanted = f"graft checkpoint 2\nsha256 {digest}\nbytes {len(data)}\n".encode()
            self.assertEqual(data[:BLOCK], wanted.ljust(BLOCK, b"\0"), path.name)
        for path, f in self.each():
            self.assertEqual(f.userblock_size, BLOCK)

    def test_nothing_is_missing_and_nothing_else_is_there(self):
        for path, f in self.each():
            found, params, moments = set(), set(f["params"]), set(f["moments"])
            f.visit(found.add)
            wanted = TEXTS | GROUPS - {"/"} | {"params/" + p for p in params}
            for name in moments:
                wanted |= {f"moments/{name}{part}" for part in ("", "/m", "/v")}
            self.assertEqual(found, wanted)
            self.assertEqual(set(f.attrs), {"format", "graft"})
            self.assertLessEqual(moments, params)

    def test_types_and_attributes(self):
        for path, f in self.each():
            self.assertEqual((f.attrs["format"], f.attrs["format"].dtype), (2, numpy.int64))
            self.assertRegex(f.attrs["graft"].decode(), r"^\d+\.\d+\.\d+")
            for name in TEXTS:
                kind = h5py.check_string_dtype(f[name].dtype)
                self.assertEqual((kind.encoding, f[name].shape), ("utf-8", ()), name)
                self.assertIsInstance(json.loads(self.text(f, name)), dict, name)
            for name, group in f["moments"].items():
                self.assertEqual(list(group.attrs), ["updates"])
                self.assertGreater(group.attrs["updates"], 0)
                self.assertEqual(group.attrs["updates"].dtype, numpy.int64)

    def test_the_state_is_as_documented(self):
        """No key of it is missing from the table in docs/formats.md, nor from the file."""
        text = (ROOT / "docs/formats.md").read_text(encoding="utf-8")
        table = text.split("| key of `/state` |")[1].split("\n\n")[0]
        first = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
        documented = set(re.findall("`(\\w+)`", " ".join(first)))
        self.assertGreater(len(documented), 10)
        for path, f in self.each():
            state = json.loads(self.text(f, "state"))
            self.assertEqual(set(state), documented, path.name)
            for name, digest in state["inputs"].items():
                self.assertRegex(str(digest), "[0-9a-f]{64}", name)

    def test_digests_of_tensors(self):
        for path, f in self.each():
            arrays = dict(f["params"])
            for name, group in f["moments"].items():
                arrays |= {f"{name}/{part}": group[part] for part in "mv"}
                for part in "mv":
                    self.assertEqual(group[part].shape, f["params"][name].shape, name)
            self.assertGreater(len(arrays), 57)
            for name, d in arrays.items():
                self.assertEqual((d.dtype.str, d.chunks, list(d.attrs)), ("<f4", None, ["sha256"]))
                digest = d.attrs["sha256"]
                digest = digest.decode() if isinstance(digest, bytes) else digest
                self.assertEqual(digest, hashlib.sha256(d[()].tobytes()).hexdigest(), name)

    def test_best_is_the_model_folder(self):
        with h5py.File(demo_run() / "checkpoints/best.h5") as f:
            wanted = tensors(self.model / "model.safetensors")
            wanted |= tensors(self.model / "heads.safetensors")
            self.assertEqual(sorted(f["params"]), sorted(wanted))
            for name, value in wanted.items():
                self.check_equal(f["params"][name][()], value, name)
            for part in "config", "heads", "tokenizer":
                self.assertEqual(json.loads(self.text(f, "model/" + part)),
                                 read_json(self.model / f"{part}.json"))
            self.assertEqual(json.loads(self.text(f, "model/outline")), {
                "pooling": "mean", "normalize": True, "max_length": 64, "dense": None})

    def test_moments_are_those_of_what_trained(self):
        """After the first phase the heads alone have trained, after the second all has."""
        for path, f in self.each():
            every = set(f["params"])
            heads = {name for name in every if name.startswith("heads.")}
            first = path.name == "step-000000125.h5"
            self.assertEqual(set(f["moments"]), heads if first else every)
            for name, group in f["moments"].items():
                wanted = 125 if first or name not in heads else 250
                self.assertEqual(group.attrs["updates"], wanted, name)
                self.assertTrue((group["v"][()] >= 0).all())

    def test_h5dump(self):
        for path in self.paths:
            done = subprocess.run(["h5dump", "-H", path], capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertGreater(len(re.findall("H5T_IEEE_F32LE", done.stdout)), 57)
            done = subprocess.run(["h5dump", "-d", "/params/embeddings.LayerNorm.weight", path],
                                  capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("( 128 ) / ( 128 )", done.stdout)

    def test_what_h5py_changes_is_noticed(self):
        path = fresh("changed").with_suffix(".h5")
        path.write_bytes(self.paths[0].read_bytes())
        with h5py.File(path, "r+") as f:
            f["params"]["heads.sentiment.bias"][0] += 1
        said = graft("verify", path, fails=7)
        self.assertIn("heads.sentiment.bias", said)
        graft("eval", path, "demo/test.jsonl", fails=7)

    def test_graft_uses_a_checkpoint_as_a_model(self):
        self.check_equal(embed(self.paths[0], texts(60)), embed(self.model, texts(60)))


if __name__ == "__main__":
    unittest.main()
