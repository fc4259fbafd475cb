#!/usr/bin/env python3
"""graft lrfind as a user runs it: nothing on the disk and nothing of a later run is changed by it;
what it prints is the same for any number of threads and can be pasted; misuse; Ctrl-C.

usage: tests/cli/test_lrfind.py [-v]           needs build/graft, or the program that $GRAFT names
"""
import json
import re
import shlex
import signal
import subprocess
import unittest

from runs import (ALONE, GRAFT, SENTIMENTS, Case, log_of, make_project, read_until, sets,
                  start_slowly)
from test_watch import on_terminal

SHORT = ("--steps", 20, "--start", 1e-5, "--end", 1)


def tree_of(*folders):
    """{path: bytes, time of change, number} of every file and folder."""
    found = {}
    for folder in folders:
        for path in [folder, *folder.rglob("*")]:
            at = path.stat()
            found[str(path)] = (at.st_mtime_ns, at.st_ctime_ns, at.st_ino, at.st_mode,
                                path.read_bytes() if path.is_file() else None)
    return found


class LrFind(Case):
    def lrfind(self, *args, **more):
        return self.ok("lrfind", self.recipe, *args, **more)

    def object(self, *args):
        done = self.lrfind("--json", "--quiet", *ALONE, *args)
        self.assertEqual(done.stderr, "")
        return json.loads(done.stdout)


class Untouched(LrFind):
    def interrupted(self, name):
        """A run that stopped in its second phase."""
        run = self.folder / name
        p = start_slowly("train", self.recipe, "--output", run, *ALONE)
        read_until(p, r"^all 2/2  step 9/")
        p.send_signal(signal.SIGINT)
        p.stderr.read()
        self.assertEqual(p.wait(), 130)
        p.stderr.close()
        return run

    def test_an_unfinished_run_and_what_becomes_of_it(self):
        whole = self.train("whole")
        run = self.interrupted("half")
        temporary, here = self.folder / "tmp", self.folder / "here"
        temporary.mkdir()
        here.mkdir()
        before = tree_of(self.folder)
        for phase in ("heads", "all"):
            self.lrfind("--phase", phase, "--set", f"output={run}", *SHORT, cwd=here,
                        env={"TMPDIR": str(temporary), "HOME": str(here)})
        self.fails(2, "lrfind", self.recipe, "--phase", "x", says="--phase x", cwd=here)
        self.assertEqual(tree_of(self.folder), before)
        self.ok("resume", run, "--quiet", *ALONE)
        self.assert_same_results(run, whole)

    def test_a_run_begun_afterwards(self):
        """The recipe's own folder is not made; what is trained later has the same bytes."""
        other = make_project(self.folder / "other")
        self.ok("lrfind", other, *SHORT)
        self.assertEqual([p.name for p in other.parent.glob("run*")], [])
        first = self.train("first", recipe=other)
        self.ok("lrfind", other, "--phase", "all", *SHORT)
        self.assert_same_results(self.train("second", recipe=other), first)
        self.assert_same_results(self.train("without"), first)

    def test_while_another_trains(self):
        """No lock is taken and none is minded."""
        p = start_slowly("train", self.recipe, "--output", self.folder / "busy", *ALONE)
        read_until(p, "^heads 1/2  step 2/")
        self.lrfind("--set", f"output={self.folder}/busy", *SHORT)
        p.terminate()
        p.stderr.read()
        self.assertEqual(p.wait(), 143)
        p.stderr.close()


class Output(LrFind):
    def test_threads_change_nothing(self):
        for how in ([], ["--json"]):
            outputs = {self.lrfind("--phase", "all", "--threads", n, *SHORT, *how).stdout
                       for n in (1, 2, 3)}
            self.assertEqual(len(outputs), 1)

    def test_object(self):
        got = self.object("--phase", 1, *SHORT)
        self.assertEqual(got["phase"], {"index": 1, "name": "all"})
        self.assertEqual((got["start"], got["end"], got["steps"]), (1e-5, 1, 20))
        self.assertEqual(got["ended"], "finished")
        rates = [p["lr"] for p in got["points"]]
        for i, rate in enumerate(rates):
            self.assertAlmostEqual(rate / (1e-5 * 1e5 ** (i / 19)), 1, 12)
        self.assertEqual(got["ended_at"], rates[-1])
        self.assertEqual(list(got["suggestions"]), ["valley", "steep", "minimum"])
        for name, hint in got["suggestions"].items():
            tenth = 10 if name == "minimum" else 1
            self.assertEqual(hint["lr"], rates[hint["point"]] / tenth)

    def test_losses_are_those_of_train(self):
        """The same batches, and weights that hardly move, at rates of next to nothing."""
        run = self.train("slow", *sets(phases__0__trainable={"heads.*": {"lr": 1e-9}},
                                       phases__0__epochs=3))
        trained = [line["total"] for line in log_of(run) if "total" in line][:75]
        got = self.object("--start", 1e-9, "--end", 2e-9, "--steps", 75)["points"]
        self.assertEqual(len(got), 75)
        for point, loss in zip(got, trained):
            self.assertAlmostEqual(point["loss"], loss, 5)

    def test_what_is_printed_can_be_pasted(self):
        done = self.lrfind("--phase", "all", *SHORT)
        last = done.stdout.splitlines()[-1]
        self.assertTrue(last.startswith('to take "valley": --set '), last)
        words = shlex.split(last.removeprefix('to take "valley": '))
        wanted = self.object("--phase", "all", *SHORT)["suggestions"]["valley"]
        self.assertEqual(words[::2], ["--set", "--set"])
        self.assertEqual(words[1::2], wanted["set"])
        plan = json.loads(self.ok("plan", self.recipe, *words).stdout.split("\n\n")[0])
        rates = {k: v["lr"] for k, v in plan["phases"][1]["trainable"].items()}
        self.assertEqual(list(rates), ["heads.*", "*"])
        self.assertAlmostEqual(rates["heads.*"] / wanted["lr"], 1, 2)
        self.assertAlmostEqual(rates["*"] / rates["heads.*"], 0.1, 3)
        self.assertIn('phase "all" is tested on the base\'s weights and new heads', done.stderr)
        for line in done.stdout.splitlines()[:-1]:
            self.assertLessEqual(len(line), 80)
        self.assertEqual(len(re.findall(r"^ \d\.\d\de", done.stdout, re.M)), 20)

    def test_moving_line(self):
        args = ("lrfind", self.recipe, *SHORT, *ALONE)
        status, out, seen = on_terminal(*args)
        self.assertEqual(status, 0)
        self.assertRegex(seen, r"\r\x1b\[K20/20  lr 1\.00e\+00  loss \d+\.\d+\r\x1b\[K$")
        self.assertNotIn("\x1b", out)
        self.assertNotIn("20/20", self.lrfind(*SHORT).stderr)
        self.assertEqual(on_terminal(*args, "--quiet")[2], "")
        self.assertNotIn("\x1b", on_terminal(*args, NO_COLOR="1")[2])


class Kinds(LrFind):
    """Recipes whose epochs, losses and parameters are of other kinds."""

    OWN = [{"name": "category"},
           {"name": "sentiment", "classes": SENTIMENTS, "data": {"train": "dev.jsonl"}}]

    def rates(self, *args, steps=90):
        got = self.object("--steps", steps, "--end", 0.1, *args)
        self.assertEqual(len(got["points"]), steps)
        return got["points"]

    def test_epochs_go_on(self):
        """Three and a half epochs of a phase that has one."""
        for mix in ({"type": "proportional"}, {"type": "annealed"}, {"type": "round_robin"}):
            self.rates(*sets(tasks=self.OWN, data={"train": "train.jsonl"}, mix=mix), steps=120)

    def test_an_annealed_mix_begins_again(self):
        phase = {"epochs": 2, "trainable": {"heads.*": {"lr": 1e-3}}}
        args = sets(tasks=self.OWN, data={"train": "train.jsonl"}, mix={"type": "annealed"},
                    phases=[phase])
        got = self.object("--start", 1e-9, "--end", 2e-9, "--steps", 140, *args)["points"]
        losses = [p["loss"] for p in got]
        period = 2 * -(-260 // 8)  # updates of two epochs over 200 + 60 rows
        for a, b in zip(losses, losses[period:]):
            self.assertAlmostEqual(a, b, 5)
        self.assertNotAlmostEqual(losses[0], losses[period // 2], 5)

    def test_an_update_without_labels_is_no_point(self):
        rows = [json.loads(line) for line in
                (self.folder / "project/train.jsonl").read_text().splitlines()[:40]]
        for row in rows[::2]:
            row["category"] = row["sentiment"] = None
        (self.folder / "project/half.jsonl").write_text(
            "".join(json.dumps(row) + "\n" for row in rows))
        got = self.object("--steps", 40, "--end", 1e-2,
                          *sets(data={"train": "half.jsonl"}, batch={"size": 1}))
        self.assertEqual(len(got["points"]), 20)
        self.assertTrue(all(p["loss"] > 0.5 for p in got["points"]))

    def test_budgets_and_pieces(self):
        self.rates(*sets(batch={"tokens": 200}))
        self.rates(*sets(batch={"size": 3, "accumulate": 3}))

    def test_balancing_and_surgery(self):
        for method in ("uncertainty", "dwa", "gradnorm", "famo"):
            self.rates("--phase", 1, *sets(balance={"method": method}), steps=30)
        self.rates("--phase", 1, *sets(surgery={"method": "pcgrad"}), steps=30)

    def test_masked_language_model(self):
        phase = {"name": "domain", "objective": "mlm", "trainable": {"*": {"lr": 1e-4}}}
        points = self.rates(*sets(tasks=[], phases=[phase]))
        self.assertAlmostEqual(points[0]["loss"], 7.3, 0)  # ln 1473

    def test_what_is_cached_is_what_is_encoded(self):
        points = self.rates(steps=60)
        without = self.rates(*sets(cache__memory_mb=0), steps=60)
        for a, b in zip(points, without):
            self.assertAlmostEqual(a["loss"], b["loss"], 5)

    def test_little_data(self):
        few = self.folder / "project/few.jsonl"
        few.write_text("".join((self.folder / "project/train.jsonl").read_text()
                               .splitlines(keepends=True)[:9]))
        done = self.lrfind(*sets(data={"train": "few.jsonl"}), *ALONE)
        self.assertIn("100 updates are 50 epochs of 9 rows", done.stderr)
        few.write_text("")
        self.fails(3, "lrfind", self.recipe, "--set", "data.train=few.jsonl", says="few.jsonl")


class Misuse(LrFind):
    def test_help(self):
        text = self.ok("lrfind", "--help").stdout
        self.assertLessEqual(len(text.splitlines()), 25)
        self.assertLessEqual(max(map(len, text.splitlines())), 80)
        for option in ("phase", "start", "end", "steps", "set", "json", "threads", "quiet"):
            self.assertIn(f"  --{option} ", text)
        self.assertIn("example: graft lrfind demo/two-phase.json", text)

    def test_usage(self):
        for args, says in ((["--steps", 9], "--steps is \"9\"; a whole number from 10"),
                           (["--steps", 10001], "between 10 and 10000"),
                           (["--start", "fast"], "--start is \"fast\"; a number above 0"),
                           (["--end", "inf"], "--end is \"inf\""),
                           (["--end", "-1"], "--end is \"-1\""),
                           (["--start", 1, "--end", 1], "0 < start < end"),
                           (["--start", 11], "--start 11 --end 10"),
                           (["--phase", "al"], "did you mean \"all\""),
                           (["--phase", 2], "known: heads, all"),
                           (["--output", "x"], "unknown option --output"),
                           (["--phase", "heads", "--set", "phases.0.trainable={}"],
                            r'phase "heads" \(0\) trains nothing; those that do: "all" \(1\)')):
            self.fails(2, "lrfind", self.recipe, *args, says=says)

    def test_numbers_that_are_none(self):
        tasks = [{"name": "n", "type": "regression", "label": "n"}]
        (self.folder / "project/n.jsonl").write_text('{"text": "a", "n": 1e30}\n' * 20)
        self.fails(5, "lrfind", self.recipe,
                   *sets(tasks=tasks, data={"train": "n.jsonl"}, phases__1__loss_weights={}),
                   says='"heads", step 1: .* is not finite .* before any lr was tried')

    def test_ctrl_c(self):
        p = subprocess.Popen([GRAFT, "lrfind", self.recipe, "--phase", "all", "--steps", "10000",
                              *map(str, ALONE)], stdin=subprocess.DEVNULL, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        p.stderr.readline()  # its note comes when it is about to train
        p.send_signal(signal.SIGINT)
        out, error = p.communicate(timeout=60)
        self.assertEqual((p.returncode, out), (130, ""))
        self.assertRegex(error, r"interrupted behind update \d+ of 10000; nothing was written")


if __name__ == "__main__":
    unittest.main()
