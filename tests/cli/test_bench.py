"""The programs of bench/ run in each of their modes; what they measure is for people to judge."""
import json
import os
import subprocess
import sys
import unittest

from runs import GRAFT, ROOT, Case, sets

BUILD = os.path.dirname(GRAFT)
BENCH = os.path.join(BUILD, "bench")
# What stands for the other programs, whatever they are asked for.
STUB = 'print(\'{"seq_s": 2, "rss_mib": 64, "latency_ms": 4}\')\n'


class Bench(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.data = cls.folder / "project/train.jsonl"  # 200 rows: batches of 32 leave one of 8
        cls.model = None

    def run_it(self, program, *args):
        done = subprocess.run([*program, *map(str, args)], capture_output=True, text=True,
                              cwd=ROOT, timeout=300)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.told = done.stderr
        return done.stdout

    def steps(self, *args):
        return json.loads(self.run_it([os.path.join(BENCH, "steps")], self.model, self.data,
                                      "--threads", "1", *args))

    def start_model(self):
        if not self.model:
            Bench.model = self.train("base", *sets(phases=[{"trainable": {}}],
                                                   tasks=[{"name": "category"},
                                                          {"name": "sentiment"}]))

    def test_every_mode(self):
        self.start_model()
        for mode in ("full", "top1-live", "heads-live"):
            with self.subTest(mode):
                got = self.steps("--mode", mode, "--steps", "10", "--bucket")
                self.assertEqual((got["mode"], got["steps"], got["rows"]), (mode, 7, 200))
                self.assertGreater(got["seq_s"], 0)
                self.assertLessEqual(got["best_step_ms"], got["step_ms"])
        for mode in ("heads", "top1"):
            got = self.steps("--mode", mode, "--epochs", "2")
            self.assertEqual((got["steps"], got["rows"]), (14, 400))
            self.assertGreater(got["encode_s"], 0)
        self.assertEqual(self.steps("--mode", "embed")["rows"], 200)
        got = self.steps("--mode", "latency")
        self.assertEqual(got["rows"], 200)
        self.assertLess(0, got["best_latency_ms"])
        self.assertLessEqual(got["best_latency_ms"], got["latency_ms"])
        self.assertLessEqual(got["latency_ms"], got["p90_latency_ms"])

    def test_kernels_name_the_machine(self):
        path = self.folder / "machine.json"
        shown = self.run_it([os.path.join(BENCH, "kernels")], "--machine", "--save", path)
        report = json.loads(path.read_text())
        self.assertIn(report["machine"]["date"], shown)
        self.assertIn(f"{report['peak']['gflops']:.1f} GF/s", shown)
        self.assertIn(f"{report['memory']['gb_s']:.1f} GB/s", shown)

    def test_every_op(self):
        report = json.loads(self.run_it([os.path.join(BENCH, "ops")], "--json", "--tokens", 32))
        self.assertEqual(report["not_measured"], [])
        ops = (ROOT / "autograd/ops.def").read_text()
        for name in {o["op"] for o in report["ops"]}:
            self.assertIn(f"GF_OP({name})", ops)
        for model in ("MiniLM", "BERT-base"):
            for way in ("forward", "backward"):
                got = [o for o in report["ops"] if (o["model"], o["way"]) == (model, way)]
                self.assertEqual(len({o["op"] for o in got}), ops.count("GF_OP("))
                self.assertTrue(all(o["ns"] > 0 and o["copy_ns"] > 0 for o in got))
        products = [o for o in report["ops"] if "gflops" in o]
        self.assertEqual(len(products), 2 * 2 * 4)  # three of linear, and attention

    def test_growth(self):
        sys.path.insert(0, str(ROOT / "bench"))
        import growth
        sys.path.pop(0)
        for power in (0.5, 1, 2):
            points = [(x, 3 * x ** power) for x in (2, 3, 8, 20)]
            self.assertAlmostEqual(growth.fit(points), power)
        # numpy.polyfit(log([1, 2, 4, 8]), log([1, 3, 7, 30]), 1)[0]
        self.assertAlmostEqual(growth.fit([(1, 1), (2, 3), (4, 7), (8, 30)]), 1.594306, places=6)
        self.assertIsNone(growth.fit([(2, 5)]))
        path = self.folder / "growth.json"
        shown = self.run_it([sys.executable, "bench/growth.py"], "--bench", BENCH, "--quick",
                            "--repeats", 1, "--only", "tokens,rows,tasks", "--json", path)
        series = json.loads(path.read_text())["series"]
        self.assertEqual([s["name"] for s in series], ["tokens", "rows", "tasks"])
        self.assertEqual([p["x"] for p in series[0]["points"]], [64, 128])
        self.assertIn("| rows to embed |", shown)

    def test_compare(self):
        self.start_model()
        path, stub = self.folder / "compare.json", self.folder / "stub.py"
        stub.write_text(STUB)
        peer = f"{sys.executable} {stub}"
        bare = self.folder / "bare"  # a sample of the rows may lack classes that its heads know
        self.ok("export", self.model, "--to", "hf", "--without-heads", bare)
        shown = self.run_it(
            [sys.executable, "bench/compare.py"], "--graft", BUILD, "--model", bare,
            "--data", self.data, "--peer", peer, "--ort", peer, "--ort-latency", peer, "--start",
            f"stub={peer}", "--rounds", 1, "--steps", 5, "--batch", 8, "--epochs", 1,
            "--max-length", 32, "--json", path)
        report = json.loads(path.read_text())
        works = {s["work"]: s for s in report["summary"]}
        self.assertNotIn("left out", self.told)
        self.assertEqual(set(works), {"full", "full-bucket", "top2", "heads", "embed", "ort",
                                      "latency", "threads", "start", "heads-cached"})
        for work, s in works.items():
            self.assertEqual(s.get("share_of_peak") is not None,
                             work in ("full", "full-bucket", "embed", "ort"))
        self.assertEqual(works["latency"]["peer_seq_s"], 250)
        self.assertEqual(works["full"]["peer_seq_s"], 2)
        runs = report["rounds"]
        self.assertEqual([runs["threads"][side][0]["threads"] for side in ("graft", "peer")],
                         [2, 1])
        self.assertEqual((len(runs["start"]["graft"]), len(runs["start"]["stub"])), (10, 1))
        self.assertIn("times graft's", shown)
        # A step's products by hand: 2 (4 H² + 2 H I) and, with all pairs of tokens, attention.
        full, lengths = runs["full"]["graft"][0], report["tokens"]
        seconds = full["steps"] * full["step_ms"] / 1e3
        tokens = full["rows"] * full["tok_per_seq"]
        least = 3 * 3 * 2 * (4 * 32 * 32 + 2 * 32 * 64) * tokens / seconds
        most = least + 3 * 3 * 4 * lengths["longest"] * 32 * tokens / seconds
        share = works["full"]["share_of_peak"] * full["threads"] * 1e9 * (
            report["kernels"]["peak"]["gflops"])
        self.assertTrue(least < share < most, (least, share, most))


if __name__ == "__main__":
    unittest.main()
