"""`graft eval` of every export of a run gives the test figures of its metrics.json."""
import math
import unittest

from peers import Case, demo_run, evaluate, export, graft, read_json

DATA = "demo/test.jsonl"
FIGURES = ["loss", "accuracy", "macro_f1", "support"]
F32 = ["hf", "sentence-transformers", "onnx", "safetensors"]
F16 = [(to, dtype) for to in ("hf", "sentence-transformers", "safetensors")
       for dtype in ("f16", "bf16")]


def figures(metrics):
    return {task: {key: m[key] for key in FIGURES} for task, m in metrics.items()}


class Evaluation(Case):
    @classmethod
    def setUpClass(cls):
        cls.wanted = read_json(demo_run() / "metrics.json")["test"]
        cls.whole = evaluate(demo_run(), DATA)  # with classes and confusion

    def test_the_run_and_its_parts(self):
        for model in (demo_run(), demo_run() / "model", demo_run() / "checkpoints/best.h5"):
            with self.subTest(model=model.name):
                self.assertEqual(figures(evaluate(model, DATA)), figures(self.wanted))
                self.assertEqual(evaluate(model, DATA), self.whole)

    def test_every_export(self):
        for to in F32:
            with self.subTest(to=to):
                out = export(demo_run(), to)
                self.assertEqual(figures(evaluate(out, DATA)), figures(self.wanted))
                self.assertEqual(evaluate(out, DATA), self.whole)

    def test_exports_of_exports(self):
        """Each format's export is exported to each other format."""
        for first in F32:
            out = export(demo_run(), first)
            for second in F32:
                with self.subTest(first=first, second=second):
                    self.assertEqual(evaluate(export(out, second), DATA), self.whole)

    def test_half_precision_stays_near(self):
        for to, dtype in F16:
            with self.subTest(to=to, dtype=dtype):
                got = evaluate(export(demo_run(), to, "--dtype", dtype), DATA)
                for task, m in self.wanted.items():
                    room = 0.002 if dtype == "f16" else 0.02
                    self.assertTrue(math.isclose(got[task]["loss"], m["loss"], rel_tol=room))
                    self.assertNotEqual(got[task]["loss"], m["loss"])  # it is rounded
                    self.assertLessEqual(abs(got[task]["accuracy"] - m["accuracy"]), room)
                    self.assertEqual(got[task]["support"], m["support"])

    def test_without_heads_there_is_nothing_to_evaluate(self):
        for to in F32:
            with self.subTest(to=to):
                out = export(demo_run(), to, "--without-heads")
                self.assertIn("head", graft("eval", out, DATA, fails=4))


if __name__ == "__main__":
    unittest.main()
