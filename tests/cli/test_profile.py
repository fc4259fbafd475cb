"""--profile tells where the time of a run went, and changes nothing else about it."""
import json
import unittest

from runs import ALONE, Case, log_of, without_times

STAGES = ["opening", "encoding features", "evaluation", "saving", "waiting for a save",
          "gradient norm", "optimizer", "batch filling", "building tapes"]


class Profile(Case):
    def assert_table(self, text):
        lines = text[text.index("profile of "):].splitlines()
        self.assertTrue(all(len(line) <= 80 for line in lines), text)
        shares = [float(line[56:62]) for line in lines[3:]
                  if line[:2] == "  " and "all of it" not in line]
        self.assertAlmostEqual(sum(shares), 100, delta=0.05 * len(shares) + 0.1)
        return lines

    def calls(self, lines, way, name):
        behind = lines[lines.index(way) + 1:]
        return next(int(line[33:42]) for line in behind if line[2:].startswith(name + " "))

    def test_a_run_keeps_its_bytes(self):
        plain = self.train("plain")
        run = self.folder / "told"
        done = self.ok("train", self.recipe, "--output", run, "--profile", *ALONE)
        self.assert_same_results(run, plain)
        self.assertEqual(without_times(log_of(run)), without_times(log_of(plain)))
        self.assertFalse((plain / "profile.txt").exists())
        table = (run / "profile.txt").read_text()
        self.assert_table(done.stderr)
        lines = self.assert_table(table)
        for stage in STAGES:
            self.assertGreater(self.calls(lines, "stage", stage), 0)
        self.assertEqual(self.calls(lines, "stage", "optimizer"), 100)
        # phase "all": 75 updates of 3 layers; a head trains in all 100
        self.assertEqual(self.calls(lines, "backward", "attention"), 3 * 75)
        self.assertEqual(self.calls(lines, "forward", "cross_entropy"), 2 * 100)
        events = json.loads((run / "profile.json").read_text())["traceEvents"]
        self.assertEqual({e["ph"] for e in events}, {"X"})
        traced = [e for e in events if e["name"] == "attention" and e["cat"] == "backward"]
        self.assertEqual(len(traced), 3 * 10)  # of the first ten updates
        self.ok("verify", run)

    def test_what_was_there_stays(self):
        run = self.train("first", "--profile")
        before = (run / "profile.txt").read_bytes()
        self.fails(2, "train", self.recipe, "--output", run, "--profile", "--quiet", *ALONE,
                   says="--force")
        self.assertEqual((run / "profile.txt").read_bytes(), before)
        done = self.ok("resume", run, "--profile", "--quiet", *ALONE)
        self.assertEqual(done.stderr, "")
        self.assertNotEqual((run / "profile.txt").read_bytes(), before)

    def test_embedding(self):
        model = self.train("model", "--set", "phases=[{\"trainable\": {}}]")
        texts = ["--model", model, "one text", "another"]
        done = self.ok("embed", *texts, "--profile")
        self.assertEqual(done.stdout, self.ok("embed", *texts).stdout)
        lines = self.assert_table(done.stderr)
        self.assertEqual(self.calls(lines, "inference", "attention"), 3)
        self.assertEqual(self.ok("embed", *texts, "--profile", "--quiet").stderr, "")


if __name__ == "__main__":
    unittest.main()
