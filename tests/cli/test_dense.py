#!/usr/bin/env python3
"""The commands over models with a projection, whose embeddings are not as wide as the encoder.

usage: tests/cli/test_dense.py [-v]        needs build/graft, or the program that $GRAFT names

Expected numbers are those sentence-transformers and transformers computed (tests/golden/README.md).
Only Python's standard library is used.
"""
import json
import math
import os
import pathlib
import struct
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from test_inference import GRAFT, ROOT, read_safetensors, rows  # noqa: E402

GOLDEN = ROOT / "tests/golden"
WIDTH = {"dense_tanh": 7, "dense_identity": 19}


def graft(*args):
    return subprocess.run([GRAFT, *map(str, args)], stdin=subprocess.DEVNULL, text=True,
                          capture_output=True, timeout=120, check=True).stdout


class Dense(unittest.TestCase):
    def cases(self):
        for name, width in WIDTH.items():
            texts = json.loads((GOLDEN / name / "case.json").read_text())["texts"]
            wanted = rows(read_safetensors(GOLDEN / name / "expected.safetensors")["texts"], width)
            with self.subTest(name):
                yield GOLDEN / name / "model", texts, wanted

    def close(self, got, wanted):
        self.assertEqual(len(got), len(wanted))
        for a, b in zip(got, wanted):
            self.assertEqual(len(a), len(b))
            for x, y in zip(a, b):
                self.assertAlmostEqual(x, y, delta=1e-5 * max(1, abs(y)))

    def test_embed_prints_the_projected_embedding(self):
        for model, texts, wanted in self.cases():
            out = graft("embed", "--model", model, "--", *texts)
            self.close([json.loads(line)["embedding"] for line in out.splitlines()], wanted)

    def test_embed_writes_it_as_numpy_array(self):
        for model, texts, wanted in self.cases():
            with tempfile.TemporaryDirectory() as folder:
                path = pathlib.Path(folder) / "e.npy"
                graft("embed", "--model", model, "--output", path, "--", *texts)
                data = path.read_bytes()
            (size,) = struct.unpack_from("<H", data, 8)
            self.assertIn(f"({len(texts)}, {len(wanted[0])})".encode(), data[10 : 10 + size])
            body = struct.unpack(f"<{len(texts) * len(wanted[0])}f", data[10 + size :])
            self.close(rows(list(body), len(wanted[0])), wanted)

    def test_similarity_is_the_cosine_of_it(self):
        def cosine(x, y):
            dot = sum(a * b for a, b in zip(x, y))
            return dot / math.sqrt(sum(a * a for a in x) * sum(b * b for b in y))

        for model, texts, wanted in self.cases():
            out = graft("similarity", "--model", model, texts[0], texts[1])
            self.assertAlmostEqual(float(out), cosine(wanted[0], wanted[1]), delta=6e-5)

    def test_info_says_so(self):
        self.assertRegex(graft("info", GOLDEN / "dense_tanh/model"),
                         r"mean pooling, projected to 7 elements \(tanh\), L2 norm")
        self.assertRegex(graft("info", GOLDEN / "classifier/model"),
                         r"(?s)pooler pooling, not normalised.*head +classifier, 4 classes")

    def test_a_classifier_predicts_its_classes(self):
        out = json.loads(graft("predict", "--model", GOLDEN / "classifier/model", "a good cheese"))
        self.assertIn("classifier", json.dumps(out))
        self.assertRegex(json.dumps(out), "refund|praise|question|complaint")


if __name__ == "__main__":
    unittest.main()
