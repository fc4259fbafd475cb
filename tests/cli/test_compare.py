#!/usr/bin/env python3
"""graft compare: the figures against Python's own statistics over the runs' files; a comparison
that was killed or interrupted ends as one that was not, and repeats nothing; the ready recipes;
misuse.

usage: tests/cli/test_compare.py [-v]          needs build/graft, or the program that $GRAFT names
"""
import json
import os
import pathlib
import pty
import re
import shutil
import signal
import statistics
import subprocess
import time
import unittest

from runs import (ALONE, GRAFT, RECIPE, ROOT, ROWS, Case, graft, make_project, metrics_of,
                  results_of, sets)

READY = sorted((ROOT / "recipes").glob("*.json"), key=lambda path: path.stem)
STRATEGIES = re.findall(r'^GF_STRATEGY\("(.*)"\)', (ROOT / "recipes/strategies.def").read_text(),
                        re.M)
SHORT = [{**phase, "epochs": 1} for phase in RECIPE["phases"]]


def report_of(output):
    return json.loads((output / "compare.json").read_text())


def without_times(report):
    """What two comparisons have in common, wherever they lie."""
    if isinstance(report, list):
        return [without_times(item) for item in report]
    if not isinstance(report, dict):
        return report
    return {k: without_times(v) for k, v in report.items()
            if k not in ("seconds", "peak_mib", "folder")}


class Compare(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.project = cls.recipe.parent
        for name, lr in (("slow", 1e-3), ("fast", 1e-1)):
            phases = [{"name": "heads", "epochs": 2, "trainable": {"heads.*": {"lr": lr}}}]
            (cls.project / f"{name}.json").write_text(json.dumps({**RECIPE, "phases": phases}))
        cls.recipes = [cls.project / "slow.json", cls.project / "fast.json"]
        cls.output = cls.folder / "whole"
        cls.first = cls.compare(cls.output)

    @classmethod
    def compare(cls, output, *more):
        return graft("compare", *cls.recipes, "--seeds", 3, "--output", output, *ALONE, *more)

    def test_figures(self):
        """Means and deviations are those of the statistics module over the runs' metrics.json."""
        self.assertEqual(self.first.returncode, 0, self.first.stderr)
        report = report_of(self.output)
        self.assertEqual([r["name"] for r in report["recipes"]], ["slow", "fast"])
        self.assertEqual(report["metrics"], {"category": "macro_f1", "sentiment": "macro_f1"})
        scores = {}
        for recipe in report["recipes"]:
            runs = [self.output / recipe["name"] / f"seed-{seed}" for seed in (42, 43, 44)]
            self.assertEqual([run["folder"] for run in recipe["runs"]], [str(run) for run in runs])
            self.assertEqual([run["seed"] for run in recipe["runs"]], [42, 43, 44])
            self.assertEqual({run["state"] for run in recipe["runs"]}, {"done"})
            metrics = [metrics_of(run) for run in runs]
            for run, wanted in zip(recipe["runs"], metrics):
                self.assertEqual({k: run[k] for k in wanted}, wanted)
                self.assertGreater(run["seconds"], 0)
                self.assertGreater(run["peak_mib"], 1)
            for split in ("dev", "test"):
                for task in ("category", "sentiment"):
                    self.assert_spread(recipe[split][task],
                                       [m[split][task]["macro_f1"] for m in metrics])
            values = [m["best"]["metric"] for m in metrics]
            self.assert_spread(recipe["select"], values)
            scores[recipe["name"]] = statistics.mean(values)
            self.assert_spread(recipe["seconds"], [run["seconds"] for run in recipe["runs"]])
            self.assertEqual(recipe["peak_mib"], max(run["peak_mib"] for run in recipe["runs"]))
            plan = (runs[0] / "plan.txt").read_text()
            self.assertIn(f"trains {recipe['trainable']:,} of {recipe['parameters']:,} ", plan)
        self.assertNotEqual(scores["slow"], scores["fast"])
        self.assertEqual(report["best"], max(scores, key=scores.get))

    def assert_spread(self, spread, values):
        self.assertEqual(spread["n"], len(values))
        self.assertAlmostEqual(spread["mean"], statistics.mean(values), delta=1e-12)
        self.assertAlmostEqual(spread["sd"], statistics.stdev(values), delta=1e-12)

    def test_runs_are_those_of_train(self):
        run = self.train("alone", *sets(seed=43), recipe=self.project / "fast.json")
        other = results_of(self.output / "fast/seed-43")
        for path, data in results_of(run).items():
            if path.startswith("checkpoints/step-"):
                self.assertNotIn(path, other)  # only the best is kept
            else:
                self.assertTrue(other[path] == data, path)
        self.ok("verify", self.output / "fast/seed-43")

    def test_table(self):
        self.assertRegex(self.first.stderr, r"(?m)^run 6 of 6: fast, seed 44$")
        lines = self.first.stdout.splitlines()
        self.assertLessEqual(max(map(len, lines)), 80)
        self.assertNotIn("\033", self.first.stdout)
        report = report_of(self.output)
        for recipe in report["recipes"]:
            figures, costs = [line for line in lines if line[2:].startswith(recipe["name"])]
            self.assertEqual(figures[0] == "*", recipe["name"] == report["best"])
            cells = re.findall(r"(\d\.\d{4}) ±(\d\.\d{4})", figures)
            wanted = [recipe[split][task] for task in ("category", "sentiment")
                      for split in ("dev", "test")]
            self.assertEqual(cells, [(f"{s['mean']:.4f}", f"{s['sd']:.4f}") for s in wanted])
            self.assertRegex(costs, rf" {recipe['trainable']} +[\d.]+ %.* 3/3$")

    def test_again_repeats_nothing(self):
        before = {path: path.stat().st_mtime_ns for path in self.output.rglob("*") if path.is_file()
                  and path.name not in ("compare.json", "lock")}
        again = self.compare(self.output)
        self.assertEqual(again.stdout, self.first.stdout)
        self.assertEqual(len(re.findall(r"^run .*: done already$", again.stderr, re.M)), 6)
        self.assertNotIn("phase", again.stderr)
        self.assertEqual({path: path.stat().st_mtime_ns for path in before}, before)
        quiet = self.compare(self.output, "--json", "--quiet")
        self.assertEqual(quiet.stderr, "")
        self.assertEqual(json.loads(quiet.stdout), report_of(self.output))

    def test_terminal(self):
        parent, child = pty.openpty()
        env = {**os.environ, "TERM": "xterm", "NO_COLOR": ""}
        for no_color in ("", "1"):
            p = subprocess.Popen([GRAFT, "compare", *map(str, self.recipes), "--output",
                                  str(self.output)], stdout=child, stderr=subprocess.DEVNULL,
                                 env={**env, "NO_COLOR": no_color})
            self.assertEqual(p.wait(60), 0)
            text = os.read(parent, 65536).decode()
            self.assertEqual("\033[1m* " in text, not no_color)
        os.close(parent)
        os.close(child)

    def test_killed_and_interrupted(self):
        """Each call goes on where the one before was stopped, to the same results."""
        output = self.folder / "stopped"
        command = [GRAFT, "compare", *map(str, self.recipes), "--output", str(output), "--quiet",
                   *map(str, ALONE), *sets(save__every_steps=5)]
        whole = self.folder / "saved-often"
        start = time.monotonic()
        self.ok(*command[1:4], "--output", whole, "--quiet", *ALONE, *sets(save__every_steps=5))
        seconds = (time.monotonic() - start) / 8
        status, stops = None, {-signal.SIGKILL: 0, 130: 0, 143: 0}
        for number in 30 * [signal.SIGKILL, signal.SIGINT, signal.SIGTERM]:
            p = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            try:
                p.wait(max(seconds, 0.05))
            except subprocess.TimeoutExpired:
                p.send_signal(number)
            error = p.communicate(timeout=60)[1].decode()
            if p.returncode == 0:
                break
            self.assertIn(p.returncode, stops, error)
            stops[p.returncode] += 1
            if p.returncode > 0:
                self.assertRegex(error, r": interrupted in run \d of 6 \((slow|fast), seed 4\d\); "
                                 "go on by the same command again\n$")
            seconds *= 1.1  # every call verifies what is done: the last one must get to the end
        self.assertEqual(p.returncode, 0)
        self.assertGreater(stops[-signal.SIGKILL], 0)
        self.assertGreater(stops[130] + stops[143], 0)
        self.assertEqual(without_times(report_of(output)), without_times(report_of(whole)))
        for name in ("slow", "fast"):
            for seed in (42, 43, 44):
                self.assert_same_results(output / name / f"seed-{seed}",
                                         whole / name / f"seed-{seed}")
        self.assertEqual(list(output.rglob("*.tmp")), [])

    def test_times_add_up(self):
        """The time before an interruption stands in the file beside the run, and counts."""
        output = self.folder / "times"
        self.compare(output, "--set", "seed=42")
        notes = output / "slow/seed-42.json"
        before = json.loads(notes.read_text())
        run = output / "slow/seed-42"
        (run / "SHA256SUMS").unlink()  # as before its end; the best checkpoint alone is no start
        (run / "metrics.json").unlink()
        shutil.copy(run / "checkpoints/best.h5", run / "checkpoints/step-000000050.h5")
        notes.write_text(json.dumps({**before, "seconds": 1000, "peak_mib": 5000}))
        self.compare(output, "--set", "seed=42")
        self.assertGreater(json.loads(notes.read_text())["seconds"], 1000)
        self.assertLess(json.loads(notes.read_text())["seconds"], 1100)
        self.assertEqual(report_of(output)["recipes"][0]["peak_mib"], 5000)

    def test_a_run_of_another_recipe_is_refused(self):
        output = self.folder / "other"
        shutil.copytree(self.output, output)
        changed = sets(phases__0__epochs=1)
        self.fails(2, "compare", *self.recipes, "--output", output, *changed,
                   says="phases.0.epochs: 2 is now 1; replace it with --force, or choose another")
        self.assertEqual(report_of(output), report_of(self.output))
        done = self.compare(output, "--force", *changed)
        self.assertEqual(done.returncode, 0, done.stderr)
        recipe = json.loads((output / "slow/seed-42/recipe.json").read_text())
        self.assertEqual(recipe["phases"][0]["epochs"], 1)

    def test_changed_data_are_seen(self):
        project = self.folder / "data-project"
        recipe = make_project(project, {**RECIPE, "phases": SHORT})
        output = self.folder / "data"
        self.ok("compare", recipe, "--seeds", 1, "--output", output, "--quiet", *ALONE)
        lines = (project / "dev.jsonl").read_text().splitlines(keepends=True)
        (project / "dev.jsonl").write_text("".join(lines[1:]))
        self.fails(2, "compare", recipe, "--seeds", 1, "--output", output,
                   says="dev file dev.jsonl has other bytes; replace it with --force")

    def test_a_damaged_run_is_trained_anew(self):
        output = self.folder / "damaged"
        shutil.copytree(self.output, output)
        metrics = output / "fast/seed-43/metrics.json"
        metrics.write_text(metrics.read_text().replace("0", "1", 1))
        done = self.compare(output)
        self.assertRegex(done.stderr, "warning: .*fast/seed-43: 1 of .* damaged; it is trained")
        self.assertEqual(done.stderr.count("done already"), 5)
        self.assertEqual(metrics_of(output / "fast/seed-43"),
                         metrics_of(self.output / "fast/seed-43"))

    def test_a_failed_run_does_not_stop_the_others(self):
        bad = self.project / "bad.json"
        bad.write_text(json.dumps({**RECIPE, "phases": [{"trainable": {"nothing.*": {"lr": 1}}}]}))
        output = self.folder / "bad"
        args = ("compare", bad, self.recipes[0], "--seeds", 2, "--output", output, *ALONE)
        for call in range(2):
            done = graft(*args)
            self.assertEqual(done.returncode, 3, done.stderr)
            self.assertRegex(done.stderr, r"\ngraft: error: 2 of 4 runs failed, the first: "
                             r".*bad.json: phases\[0\].trainable")
            self.assertEqual(len(re.findall("^failed: bad, seed 4[23]: .*nothing", done.stdout,
                                            re.M)), 2)
            self.assertEqual("done already" in done.stderr, call == 1)
            self.assertRegex(done.stdout, r"(?m)^  bad +- .* 0/2$")
            self.assertRegex(done.stdout, r"(?m)^\* slow .* 2/2$")
        bad_runs = report_of(output)["recipes"][0]["runs"]
        self.assertEqual([(run["state"], run["status"]) for run in bad_runs], 2 * [("failed", 3)])
        self.assertIn("nothing.*", bad_runs[0]["error"])
        bad.write_text(json.dumps({**RECIPE, "phases": SHORT}))  # mended, it needs no --force
        self.assertNotIn("failed", self.ok(*args).stdout)

    def test_dry_run(self):
        output = self.folder / "dry"
        text = self.ok("compare", *self.recipes, "--output", output, "--dry-run").stdout
        self.assertEqual(len(re.findall(r"seed 4[234] +to do +about \d+\.\d minutes", text)), 6)
        self.assertFalse(output.exists())
        text = self.ok("compare", *self.recipes, "--output", self.output, "--dry-run", "--seeds",
                       4).stdout
        self.assertEqual((len(re.findall("done", text)), len(re.findall("to do", text))), (6, 2))

    def test_keep(self):
        output = self.folder / "keep"
        self.compare(output, "--keep")
        self.assertEqual(len(list(output.glob("*/*/checkpoints/step-*.h5"))), 12)
        self.assertEqual(list(self.output.glob("*/*/checkpoints/step-*.h5")), [])

    def test_misuse(self):
        some = self.recipes[0]
        for says, args in (
                ("no recipe is given; graft compare RECIPE", []),
                ('"twophase" is no strategy; did you mean "two-phase"', [some, "--strategies",
                                                                         "twophase"]),
                ('"" is no strategy; known: ', [some, "--strategies", "full,"]),
                ('--seeds is "0"; a whole number from 1', [some, "--seeds", "0"]),
                ('--seeds is "three"', [some, "--seeds", "three"]),
                ('a recipe named "slow" is there already', [some, some]),
                ('a recipe named "full" is there already', [some, "--strategies", "full,full"]),
                ("from one recipe, and 2 are given", [*self.recipes, "--strategies", "all"]),
                ("has no KEY=VALUE", [some, "--set", "nothing"]),
                ("unknown option --seed; did you mean --seeds", [some, "--seed", "1"])):
            self.fails(2, "compare", *args, says=re.escape(says))
        self.fails(4, "compare", self.project / "none.json", says="none.json: cannot read it")
        self.fails(3, "compare", some, *sets(data__tran="x"), says='did you mean "train"')
        self.fails(3, "compare", some, "--strategies", "full", *sets(phases__0__epochs=0),
                   says=r"phases\[0\].epochs")
        self.assertFalse((self.project / "runs").exists())

    def test_default_output_is_beside_the_recipe(self):
        project = self.folder / "beside"
        recipe = make_project(project, {**RECIPE, "phases": SHORT})
        done = self.ok("compare", "beside/recipe.json", "--seeds", 1, *ALONE, cwd=self.folder)
        self.assertIn("all figures: beside/runs/compare/compare.json", done.stdout)
        self.assertTrue((recipe.parent / "runs/compare/recipe/seed-42/metrics.json").exists())


class Strategies(Case):
    def test_list(self):
        lines = self.ok("compare", "--list").stdout.splitlines()
        self.assertEqual([line.split()[0] for line in lines], STRATEGIES)
        self.assertLessEqual(max(map(len, lines)), 80)
        self.assertTrue(all(len(line.split()) > 3 for line in lines))

    def test_every_ready_recipe_is_one(self):
        self.assertEqual(sorted(STRATEGIES), [path.stem for path in READY])

    def test_ready_recipes_run(self):
        """plan and train take each as it is, but for where the base and the data are."""
        project = self.recipe.parent
        for path in READY:
            copy = shutil.copy(path, project)
            args = sets(model__base=str(project / "bert"), model__init="random",
                        model__max_length=32, data={n: n + ".jsonl" for n in ROWS})
            plan = self.ok("plan", copy, *args).stdout
            self.assertIn("estimated time", plan)
            run = self.train("ready-" + path.stem, *args, recipe=pathlib.Path(copy))
            self.assertIn("test", metrics_of(run), path.name)
            self.assertLessEqual(max(map(len, path.read_text().splitlines())), 250, path.name)

    def test_all(self):
        """Each trains by the phases of its file, with model, data, batch and seed of the recipe."""
        output = self.folder / "all"
        args = sets(seed=7, batch__size=16)
        done = self.ok("compare", self.recipe, "--strategies", "all", "--seeds", 1, "--output",
                       output, "--json", "--quiet", *ALONE, *args)
        report = json.loads(done.stdout)
        self.assertEqual([r["name"] for r in report["recipes"]], STRATEGIES)
        for recipe in report["recipes"]:
            resolved = json.loads((output / recipe["name"] / "seed-7/recipe.json").read_text())
            ready = json.loads((ROOT / f"recipes/{recipe['name']}.json").read_text())
            self.assertEqual([p["name"] for p in resolved["phases"]],
                             [p["name"] for p in ready["phases"]])
            self.assertEqual([list(p["trainable"]) for p in resolved["phases"]],
                             [list(p["trainable"]) for p in ready["phases"]])
            self.assertEqual(resolved["optimizer"]["weight_decay"],
                             ready.get("optimizer", {}).get("weight_decay", 0.01))
            self.assertEqual((resolved["batch"]["size"], resolved["seed"]), (16, 7))
            self.assertEqual(resolved["tasks"][1]["weight"], 0.5)
            self.assertIn("strategy", recipe)
        share = {r["name"]: r["trainable"] / r["parameters"] for r in report["recipes"]}
        self.assertEqual((share["frozen"], share["two-phase"]), (0, 1))
        self.assertLess(share["frozen-backbone"], share["layernorm"])
        self.assertLess(share["layernorm"], share["bitfit"])
        self.assertLess(share["bitfit"], share["frozen-head"])

    def test_tasks_by_their_places(self):
        """The head that is frozen is the recipe's second task, whatever it is called."""
        tasks = [{"name": "shelf", "label": "category"}, {"name": "mood", "label": "sentiment"}]
        output = self.folder / "places"
        self.ok("compare", self.with_tasks(tasks), "--strategies", "frozen-head,ignored-head",
                "--seeds", 1, "--output", output, "--quiet", *ALONE)
        for name, weights in (("frozen-head", {}), ("ignored-head", {"mood": 0})):
            resolved = json.loads((output / name / "seed-42/recipe.json").read_text())
            self.assertIn("heads.shelf.*", resolved["phases"][1]["trainable"])
            self.assertEqual(resolved["phases"][1].get("loss_weights") or {}, weights)

    def with_tasks(self, tasks):
        path = self.recipe.parent / "tasks.json"
        path.write_text(json.dumps({**RECIPE, "tasks": tasks}))
        return path

    def test_left_out_where_the_tasks_do_not_fit(self):
        recipe = self.with_tasks([{"name": "category"}])
        args = ("compare", recipe, "--seeds", 1, "--output", self.folder / "one", "--dry-run")
        done = self.ok(*args, "--strategies", "all")
        self.assertEqual(len(re.findall(r"^graft: left out: .*for 2 tasks, the recipe has 1",
                                        done.stderr, re.M)), 2)
        self.assertNotIn("-head ", done.stdout)
        self.fails(2, *args, "--strategies", "frozen-head", says='"frozen-head" is for 2 tasks')


if __name__ == "__main__":
    unittest.main()
