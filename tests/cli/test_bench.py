"""bench/steps runs each of its modes; what it measures is for bench/compare.py to say."""
import json
import os
import subprocess
import unittest

from runs import GRAFT, Case, sets

STEPS = os.path.join(os.path.dirname(GRAFT), "bench/steps")


class Bench(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.data = cls.folder / "project/train.jsonl"  # 200 rows: batches of 32 leave one of 8

    def steps(self, *args):
        done = subprocess.run([STEPS, self.model, self.data, "--threads", "1", *args],
                              capture_output=True, text=True, timeout=300)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def test_every_mode(self):
        self.model = self.train("base", *sets(phases=[{"trainable": {}}],
                                              tasks=[{"name": "category"}, {"name": "sentiment"}]))
        for mode in ("full", "top1", "heads-live"):
            with self.subTest(mode):
                got = self.steps("--mode", mode, "--steps", "10", "--bucket")
                self.assertEqual((got["mode"], got["steps"], got["rows"]), (mode, 7, 200))
                self.assertGreater(got["seq_s"], 0)
        got = self.steps("--mode", "heads", "--epochs", "2")
        self.assertEqual((got["steps"], got["rows"]), (14, 400))
        self.assertEqual(self.steps("--mode", "embed")["rows"], 200)


if __name__ == "__main__":
    unittest.main()
