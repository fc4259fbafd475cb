#!/usr/bin/env python3
"""What a run leaves behind, and that nothing changes it: threads, places, interruptions.

usage: tests/cli/test_training.py [-v]         needs build/graft, or the program that $GRAFT names
"""
import fcntl
import json
import math
import shutil
import signal
import subprocess
import termios
import time
import unittest

from runs import (ALL, ALONE, BATCH, HEADS, RECIPE, ROWS, SENTIMENTS, Case, graft, log_of,
                  make_project, metrics_of, read_safetensors, read_until, results_of, sets,
                  start_slowly, without_times)


class Trained(Case):
    """self.run_folder is one run of the recipe, which ran from its beginning to its end."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.run_folder = cls.folder / "project/run"
        cls.done = graft("train", cls.recipe, "--threads", 2)
        if cls.done.returncode != 0:
            raise AssertionError(cls.done.stderr)


class RunFolder(Trained):
    def test_holds_the_files_of_the_contract_and_no_other(self):
        names = sorted(str(p.relative_to(self.run_folder)) for p in self.run_folder.rglob("*"))
        self.assertEqual([n for n in names if not n.startswith("model")],
                         ["SHA256SUMS", "checkpoints", "checkpoints/best.h5",
                          "checkpoints/step-000000075.h5", "checkpoints/step-000000100.h5",
                          "forgetting", "forgetting/base.safetensors",
                          "forgetting/phase-2.safetensors", "lock", "log.jsonl",
                          "metrics.json", "plan.txt", "recipe.json"])
        for name in ("modules.json", "config_sentence_transformers.json", "config.json",
                     "sentence_bert_config.json", "1_Pooling/config.json", "model.safetensors",
                     "vocab.txt", "tokenizer.json", "tokenizer_config.json",
                     "special_tokens_map.json", "heads.safetensors", "heads.json"):
            self.assertIn(f"model/{name}", names)

    def test_results_go_to_files_and_the_rest_to_standard_error(self):
        self.assertEqual(self.done.stdout, "")
        self.assertIn("best model on test", self.done.stderr)

    def test_recipe_is_resolved(self):
        recipe = json.loads((self.run_folder / "recipe.json").read_text())
        self.assertEqual(recipe["optimizer"], {
            "name": "adamw", "momentum": 0.9, "nesterov": False, "ema": None,
            "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.01, "clip_norm": 1})
        self.assertEqual(recipe["select"], {
            "metric": "mean(category.macro_f1, sentiment.macro_f1)", "patience": None})
        self.assertEqual(recipe["save"], {"every_steps": None, "keep": 2})
        self.assertEqual(recipe["seed"], 42)
        self.assertEqual(recipe["data"]["train"], str(self.folder / "project/train.jsonl"))
        self.assertNotIn("_", recipe)

    def test_recipe_runs_again(self):
        again = self.train("again", recipe=self.run_folder / "recipe.json")
        self.assert_same_results(again, self.run_folder)
        theirs, ours = (json.loads((r / "recipe.json").read_text())
                        for r in (again, self.run_folder))
        self.assertEqual({**theirs, "output": 0}, {**ours, "output": 0})

    def test_plan_is_what_the_command_prints(self):
        planned = self.ok("plan", self.recipe).stdout
        self.assertIn((self.run_folder / "plan.txt").read_text(), planned)

    def test_metrics(self):
        metrics = metrics_of(self.run_folder)
        self.assertEqual(list(metrics), ["best", "dev", "test", "phases"])
        for split in ("dev", "test"):
            lines = (self.folder / f"project/{split}.jsonl").read_text().splitlines()
            rows = [json.loads(line) for line in lines]
            self.assertEqual(list(metrics[split]), ["category", "sentiment"])
            for task, values in metrics[split].items():
                self.assertEqual(list(values)[:4], ["loss", "accuracy", "macro_f1", "support"])
                self.assertEqual(values["support"],
                                 sum(row.get(task) is not None for row in rows))
                self.assertTrue(0 <= values["macro_f1"] <= 1 and 0 <= values["accuracy"] <= 1)
                self.assertGreater(values["loss"], 0)

    def test_metrics_are_those_of_the_predictions(self):
        data = self.folder / "project/dev.jsonl"
        rows = [json.loads(line) for line in data.read_text().splitlines()]
        out = self.ok("predict", "--model", self.run_folder, "--scores", "--input", data).stdout
        predictions = [json.loads(line) for line in out.splitlines()]
        for task, values in metrics_of(self.run_folder)["dev"].items():
            pairs = [(row[task], p[task]) for row, p in zip(rows, predictions) if row.get(task)]
            loss = -sum(math.log(p["scores"][label]) for label, p in pairs) / len(pairs)
            right = sum(label == p["label"] for label, p in pairs)
            self.assertAlmostEqual(values["loss"], loss, places=4)
            self.assertAlmostEqual(values["accuracy"], right / len(pairs))
            labels = {label for label, _ in pairs} | {p["label"] for _, p in pairs}
            f1 = [2 * sum(label == c == p["label"] for label, p in pairs) /
                  sum((label == c) + (p["label"] == c) for label, p in pairs) for c in labels]
            self.assertAlmostEqual(values["macro_f1"], sum(f1) / len(f1))

    def test_model_lists_classes_learned_and_given(self):
        heads = json.loads((self.run_folder / "model/heads.json").read_text())
        train = (self.folder / "project/train.jsonl").read_text().splitlines()
        categories = {json.loads(line).get("category") for line in train} - {None}
        self.assertEqual([t["classes"] for t in heads["tasks"]], [sorted(categories), SENTIMENTS])
        tensors = read_safetensors(self.run_folder / "model/heads.safetensors")
        self.assertEqual(set(tensors), {f"heads.{task}.{part}" for task in ("category", "sentiment")
                                        for part in ("weight", "bias")})

    def test_eval_gives_the_same_figures_from_run_model_and_best_checkpoint(self):
        metrics = metrics_of(self.run_folder)
        for model in (".", "model", "checkpoints/best.h5"):
            for split in ("dev", "test"):
                data = self.folder / f"project/{split}.jsonl"
                out = json.loads(self.ok("eval", self.run_folder / model, data, "--json").stdout)
                figures = {task: {k: values[k] for k in metrics[split][task]}
                           for task, values in out.items()}
                self.assertEqual(figures, metrics[split])

    def test_predict_takes_the_run(self):
        out = self.ok("predict", "--model", self.run_folder, "the cheese was tasty").stdout
        self.assertIn(json.loads(out)["sentiment"]["label"], SENTIMENTS)


class Log(Trained):
    def lines(self, kind):
        return [line for line in log_of(self.run_folder) if line["type"] == kind]

    def test_steps_and_epochs(self):
        got = [(line["phase"], line["step"], line["epoch"]) for line in self.lines("step")]
        self.assertEqual(got, [("heads", s, s / 25) for s in range(1, HEADS + 1)] +
                         [("all", HEADS + s, s / 25) for s in range(1, ALL + 1)])

    def test_losses_rates_and_speed_of_a_step(self):
        warmup = math.ceil(0.1 * ALL)
        for line in self.lines("step"):
            in_heads = line["phase"] == "heads"
            weights = {"category": 1 if in_heads else 2, "sentiment": 0.5}
            for task, weight in weights.items():
                self.assertGreater(line["loss"][task], 0)
                self.assertAlmostEqual(line["weighted"][task], weight * line["loss"][task])
            self.assertAlmostEqual(line["total"], sum(line["weighted"].values()))
            self.assertGreater(line["grad_norm"], 0)
            s = line["step"] - HEADS - 1  # updates done in the phase before this one
            factor = min(s / warmup, (ALL - s) / (ALL - warmup))
            wanted = {"heads.*": 1e-2} if in_heads else {"heads.*": 1e-2 * factor,
                                                         "*": 1e-3 * factor}
            self.assertEqual(list(line["lr"]), list(wanted))
            for pattern, lr in wanted.items():
                self.assertAlmostEqual(line["lr"][pattern], lr, delta=1e-12)
            if not in_heads:  # where the encoder stands still no tokens pass
                self.assertGreater(line["tokens_per_s"], 0)

    def test_evaluations(self):
        evals, metrics = self.lines("eval"), metrics_of(self.run_folder)
        self.assertEqual([line["step"] for line in evals], [25, 50, 75, 100])
        best = None
        for line in evals:
            self.assertAlmostEqual(line["selected_by"],
                                   sum(t["macro_f1"] for t in line["dev"].values()) / 2)
            better = best is None or line["selected_by"] > best["selected_by"]
            self.assertEqual(line["best"], better)
            best = line if line["best"] else best
        self.assertEqual(metrics["best"], {"step": best["step"], "metric": best["selected_by"],
                                           "name": "mean(category.macro_f1, sentiment.macro_f1)"})
        for task, values in metrics["dev"].items():
            for name, value in values.items():
                self.assertAlmostEqual(best["dev"][task][name], value, delta=1e-6)

    def test_every_steps_means_over_the_lines_left_out(self):
        run = self.train("rare", *sets(log__every_steps=10))
        rare = [line for line in log_of(run) if line["type"] == "step"]
        ends = [10, 20, 25] + [25 + s for s in (10, 20, 30, 40, 50, 60, 70, 75)]
        self.assertEqual([line["step"] for line in rare], ends)
        every = {line["step"]: line["loss"]["category"] for line in self.lines("step")}
        for first, line in zip([0] + ends, rare):
            window = [every[s] for s in range(first + 1, line["step"] + 1)]
            self.assertAlmostEqual(line["loss"]["category"], sum(window) / len(window), places=9)
        self.assertEqual(metrics_of(run), metrics_of(self.run_folder))


class SameBytes(Trained):
    def test_threads(self):
        for threads in (1, 3):
            self.assert_same_results(self.train(f"threads{threads}", "--threads", threads),
                                     self.run_folder)

    def test_places_and_ways_to_write_them(self):
        moved = make_project(self.folder / "elsewhere/deep")
        self.ok("train", "recipe.json", "--quiet", *ALONE, cwd=moved.parent)
        self.assert_same_results(moved.parent / "run", self.run_folder)
        self.ok("train", "../deep/recipe.json", "--output", "../out", *ALONE, cwd=moved.parent)
        self.assert_same_results(moved.parent.parent / "out", self.run_folder)

    def test_another_seed_gives_other_bytes(self):
        other = self.train("seed", *sets(seed=43))
        self.assertNotEqual(results_of(other)["checkpoints/best.h5"],
                            results_of(self.run_folder)["checkpoints/best.h5"])

    def test_no_times_or_places_but_in_the_log_and_the_recipe(self):
        for path, content in results_of(self.run_folder).items():
            self.assertNotIn(str(self.folder).encode(), content, path)


class Overwriting(Trained):
    def setUp(self):
        self.target = self.folder / self.id().rsplit(".", 1)[-1]

    def test_a_run_is_not_overwritten_without_force(self):
        shutil.copytree(self.run_folder, self.target)
        (self.target / "note").write_text("mine")
        before = results_of(self.target)
        self.fails(2, "train", self.recipe, "--output", self.target,
                   says=f"{self.target}: a run is there already; .*--resume.*--force.*--output")
        self.assertEqual(results_of(self.target), before)
        self.ok("train", self.recipe, "--output", self.target, *ALONE, "--force",
                *sets(seed=1, phases__1__epochs=1))
        self.assertEqual([p.name for p in self.target.glob("note")], [])
        self.assertEqual(metrics_of(self.target)["best"]["step"] % 25, 0)
        self.assertEqual(len(log_of(self.target)), 50 + 2 + 2)  # updates, epochs, phases
        self.assertNotEqual(results_of(self.target), before)

    def test_what_is_no_run_is_never_removed(self):
        make_project(self.target)  # it holds a recipe.json, too
        before = sorted(self.target.rglob("*"))
        for force in ([], ["--force"]):
            self.fails(2, "train", self.recipe, "--output", self.target, *force,
                       says="not empty and no run of graft; choose another --output")
            self.fails(2, "train", self.recipe, "--output", self.recipe, *force,
                       says="it is a file")
        self.assertEqual(sorted(self.target.rglob("*")), before)

    def test_a_run_that_the_recipe_reads_is_never_removed(self):
        shutil.copytree(self.run_folder, self.target)
        self.fails(2, "train", self.recipe, "--output", self.target, "--force", "--set",
                   f"model.base={self.target}/model", *sets(model__init=None),
                   says="--force would remove .*/model, which the recipe reads")
        self.assert_same_results(self.target, self.run_folder)

    def test_a_recipe_that_is_refused_replaces_no_run(self):
        shutil.copytree(self.run_folder, self.target)
        self.fails(3, "train", self.recipe, "--output", self.target, "--force",
                   *sets(phases=[{"trainable": {"nothing.*": {"lr": 1}}}]),
                   says='"nothing.*" matches no parameter')
        self.assert_same_results(self.target, self.run_folder)

    def test_an_empty_folder_is_taken(self):
        self.target.mkdir()
        self.train(self.target.name, *sets(phases=RECIPE["phases"][:1]))
        self.assertTrue((self.target / "metrics.json").exists())

    def test_a_refused_recipe_leaves_no_folder(self):
        self.fails(3, "train", self.recipe, "--output", self.target, *sets(seed=-1),
                   says="seed is -1")
        self.assertFalse(self.target.exists())


class Interrupted(Trained):
    """Each test ends with the files of the uninterrupted run, and with its log but for times."""

    def setUp(self):
        self.target = self.folder / self.id().rsplit(".", 1)[-1]

    def start(self, *args):
        return start_slowly("train", self.recipe, "--output", self.target, *ALONE, *args)

    def stop(self, p, at, number):
        read_until(p, at)
        p.send_signal(number)
        error = p.communicate(timeout=60)[1].decode()
        return p.returncode, error.splitlines()[-1]

    def resume(self, *args):
        return self.ok("resume", self.target, *ALONE, *args).stderr

    def assert_as_uninterrupted(self):
        """A stop's own checkpoint may still be among the newest, in the place of an older one."""
        steps = [str(p.relative_to(self.target)) for p in self.target.glob("checkpoints/step-*")]
        self.assertEqual(len(steps), 2)
        got, wanted = results_of(self.target), results_of(self.run_folder)
        for path in set(got) ^ set(wanted):
            self.assertRegex(path, r"^checkpoints/step-0000000\d\d.h5$")
        for path in set(got) & set(wanted):
            self.assertTrue(got[path] == wanted[path], f"{self.target.name}/{path} differs")
        self.assertEqual(without_times(log_of(self.target)),
                         without_times(log_of(self.run_folder)))
        self.assertEqual(list(self.target.rglob("*.tmp")), [])

    def checkpoints(self):
        return sorted(int(p.stem[5:]) for p in (self.target / "checkpoints").glob("step-*.h5"))

    def test_sigint_saves_and_exits_130(self):
        status, error = self.stop(self.start(), "all 2/2  step 4/", signal.SIGINT)
        self.assertEqual(status, 130)
        self.assertRegex(error, r"^graft: error: .*interrupted at step (\d+) and saved; .*resume")
        step = int(error.split("at step ")[1].split()[0])
        self.assertEqual(self.checkpoints()[-1], step)
        self.assertEqual(log_of(self.target)[-1]["step"], step)
        self.assertFalse((self.target / "metrics.json").exists())
        self.assertRegex(self.resume("--threads", 2), f"going on from .*step {step}\n")
        self.assert_as_uninterrupted()

    def test_sigterm_saves_and_exits_143_in_a_phase_of_frozen_features(self):
        status, error = self.stop(self.start(), "heads 1/2  step 2/", signal.SIGTERM)
        self.assertEqual(status, 143)
        self.assertIn("and saved", error)
        self.resume()
        self.assert_as_uninterrupted()

    def test_train_resume_goes_on_too_and_a_run_survives_several_stops(self):
        for args in ([], ["--resume"]):
            status, _ = self.stop(self.start(*args), "all 2/2  step ", signal.SIGINT)
            self.assertEqual(status, 130)
        self.ok("train", self.recipe, "--output", self.target, "--resume", *ALONE)
        self.assert_as_uninterrupted()

    def test_kill_loses_only_what_came_after_the_last_checkpoint(self):
        p = self.start()
        read_until(p, "all 2/2  step 27/")
        p.kill()
        p.communicate()
        self.assertEqual(self.checkpoints()[-1] % 25, 0)
        self.resume()
        self.assert_as_uninterrupted()

    def test_what_a_kill_left_unfinished_is_removed(self):
        shutil.copytree(self.run_folder, self.target)
        for name in ("step-000000123.h5.tmp", "best.h5.tmp"):
            (self.target / "checkpoints" / name).write_text("torn")
        self.resume()
        self.assert_as_uninterrupted()

    def test_kill_with_checkpoints_every_few_steps(self):
        p = self.start(*sets(save__every_steps=10))
        read_until(p, "all 2/2  step 13/")
        p.kill()
        p.communicate()
        self.resume()
        self.assertEqual(self.checkpoints(), [90, 100])
        self.assertEqual(metrics_of(self.target), metrics_of(self.run_folder))
        self.assertEqual(without_times(log_of(self.target)),
                         without_times(log_of(self.run_folder)))

    def wait_until_full(self, pipe):
        filled = [0, bytearray(4)]
        while filled[0] < 3500 or filled[0] != int.from_bytes(filled[1], "little"):
            filled[0] = int.from_bytes(filled[1], "little")
            time.sleep(0.1)
            fcntl.ioctl(pipe, termios.FIONREAD, filled[1])

    def test_second_signal_ends_at_once(self):
        p = self.start()
        self.wait_until_full(p.stderr)  # nobody reads, so that it cannot save
        p.send_signal(signal.SIGINT)
        with self.assertRaises(subprocess.TimeoutExpired):
            p.wait(timeout=0.3)
        p.send_signal(signal.SIGINT)
        self.assertEqual(p.wait(timeout=10), 130)
        self.assertNotIn(b"saved", p.communicate()[1])
        self.resume()
        self.assert_as_uninterrupted()

    def test_lines_that_no_checkpoint_knows_are_cut(self):
        shutil.copytree(self.run_folder, self.target)
        (self.target / "checkpoints/step-000000100.h5").unlink()
        lines = (self.target / "log.jsonl").read_text().splitlines(keepends=True)
        known = [k for k in range(len(lines)) if '"eval"' in lines[k]][2] + 1
        # the same evaluation once more, a later step, and a line torn by a crash
        text = "".join(lines[:known] + lines[known - 1:known + 1]) + lines[known][:30]
        (self.target / "log.jsonl").write_text(text)
        self.resume()
        self.assert_as_uninterrupted()

    def test_a_finished_run_resumes_to_itself(self):
        shutil.copytree(self.run_folder, self.target)
        self.resume()
        self.assert_as_uninterrupted()

    def test_a_moved_run_resumes_where_it_is(self):
        shutil.copytree(self.run_folder, self.target)
        (self.target / "checkpoints/step-000000100.h5").unlink()
        before = results_of(self.run_folder)
        self.resume()
        self.assert_as_uninterrupted()
        self.assertEqual(results_of(self.run_folder), before)

    def test_a_checkpoint_that_does_not_read_is_skipped_and_named(self):
        shutil.copytree(self.run_folder, self.target)
        newest = self.target / "checkpoints/step-000000100.h5"
        newest.write_bytes(newest.read_bytes()[:5000])
        said = self.resume()
        self.assertRegex(said, "warning: skipped a checkpoint: .*000000100.h5: its 5000 bytes")
        self.assertRegex(said, "going on from .*000000075.h5, step 75")
        self.assert_as_uninterrupted()

    def test_at_goes_back_and_forgets_what_came_later(self):
        shutil.copytree(self.run_folder, self.target)
        p = start_slowly("resume", self.target, "--at", 75, *ALONE)
        status, error = self.stop(p, "all 2/2  step 52/", signal.SIGINT)
        if status == 130:  # else it was at its end already
            step = int(error.split("at step ")[1].split()[0])
            self.assertEqual(self.checkpoints(), [75, step] if step < 100 else [75, 100])
        self.resume()
        self.assert_as_uninterrupted()

    def test_a_kill_behind_at_leaves_no_hole_in_the_log(self):
        shutil.copytree(self.run_folder, self.target)
        p = start_slowly("resume", self.target, "--at", 75, *ALONE)
        read_until(p, "phase 2 of 2")
        p.kill()
        p.communicate()
        self.resume()
        self.assert_as_uninterrupted()

    def test_at_wants_a_step_that_is_there(self):
        before = results_of(self.run_folder)
        self.fails(4, "resume", self.run_folder, "--at", 3, says="no whole checkpoint of step 3")
        self.assertEqual(results_of(self.run_folder), before)

    def test_nothing_to_resume(self):
        nowhere = self.folder / "nowhere"
        self.fails(4, "train", self.recipe, "--output", nowhere, "--resume",
                   says=f"{nowhere}: there is no run to go on with")
        self.fails(4, "resume", nowhere, says=f"{nowhere}: it is no run folder")
        self.fails(4, "resume", self.recipe.parent / "bert", says="it is no run folder")
        self.assertFalse(nowhere.exists())

    def test_a_forced_change_is_what_the_run_folder_then_says(self):
        shutil.copytree(self.run_folder, self.target)
        self.ok("train", self.recipe, "--output", self.target, "--resume", "--force",
                *sets(phases__1__epochs=4))
        recipe = json.loads((self.target / "recipe.json").read_text())
        self.assertEqual(recipe["phases"][1]["epochs"], 4)
        self.assertEqual(self.checkpoints()[-1], 125)
        self.assertIn("step 125", self.resume())  # by that recipe.json, with nothing to force

    def test_other_classes_than_the_checkpoint_s(self):
        shutil.copytree(self.run_folder, self.target)
        self.fails(3, "train", self.recipe, "--output", self.target, "--resume", "--set",
                   'tasks.1.classes=["positive", "neutral", "negative"]',
                   says='changed since the run began: tasks.1.classes.0: "negative" is now')
        self.fails(3, "train", self.recipe, "--output", self.target, "--resume", "--force", "--set",
                   'tasks.1.classes=["positive", "neutral", "negative"]',
                   says="tasks or classes are not those of the recipe")
        self.assert_as_uninterrupted()


class Phases(Trained):
    """Runs of the head phase alone, or of what the test sets in its place."""

    def run_phases(self, name, phases, *args):
        return self.train(name, *sets(phases=phases), *args)

    def evaluations(self, run):
        return [(line["phase"], line["step"]) for line in log_of(run) if line["type"] == "eval"]

    def test_nothing_trains_so_it_evaluates_once_and_says_so(self):
        run = self.folder / "frozen"
        phases = [{"name": "look", "epochs": 3, "trainable": {}},
                  {"name": "learn", "trainable": {"heads.*": {"lr": 1e-2}}}]
        said = self.ok("train", self.recipe, "--output", run, *sets(phases=phases)).stderr
        self.assertIn('"look": nothing trains', said)
        self.assertEqual(self.evaluations(run), [("look", 0), ("learn", 25)])
        for step in (0, 25):  # a resumed run does not evaluate it again
            self.ok("resume", run, "--at", step, *ALONE)
            self.assertEqual(self.evaluations(run), [("look", 0), ("learn", 25)])

    def test_patience_ends_a_phase_early(self):
        still = {"epochs": 9, "trainable": {"heads.*": {"lr": 0, "weight_decay": 0}}}
        phases = [{"name": "a", **still}, {"name": "b", **still}]
        for patience in (1, 2):
            run = self.run_phases(f"patience{patience}", phases, *sets(select__patience=patience))
            a, b = 1 + patience, patience  # the first evaluation of all is an improvement
            self.assertEqual(self.evaluations(run), [("a", 25 * k) for k in range(1, a + 1)] +
                             [("b", 25 * (a + k)) for k in range(1, b + 1)])
            self.assertEqual(metrics_of(run)["best"]["step"], 25)

    def test_weight_0_ignores_a_task_and_leaving_it_out_freezes_its_head(self):
        start = self.run_phases("start", [{"trainable": {}}])
        ignored = self.run_phases("ignored", [{"loss_weights": {"category": 0}, "trainable": {
            "heads.*": {"lr": 0.1, "weight_decay": 0}}}])
        frozen = self.run_phases("left-out", [{"trainable": {
            "heads.sentiment.*": {"lr": 0.1}, "encoder.layer[-1:].*": {"lr": 0.01}}}])
        name = "model/heads.safetensors"
        before, a, b = (read_safetensors(r / name) for r in (start, ignored, frozen))
        self.assertEqual(a["heads.category.weight"], before["heads.category.weight"])
        self.assertNotEqual(a["heads.sentiment.weight"], before["heads.sentiment.weight"])
        self.assertEqual(b["heads.category.weight"], before["heads.category.weight"])
        self.assertEqual(b["heads.category.bias"], before["heads.category.bias"])
        encoder, new = (read_safetensors(r / "model/model.safetensors") for r in (start, frozen))
        changed = {name.split("layer.")[-1][0] for name in new if new[name] != encoder[name]}
        self.assertEqual(changed, {"2"})
        weighted = [line["weighted"]["category"] for line in log_of(ignored)
                    if line["type"] == "step"]
        self.assertEqual(set(weighted), {0})

    def test_select_last_and_loss_and_no_dev(self):
        last = self.train("last", *sets(select__metric="last"))
        self.assertEqual(metrics_of(last)["best"], {"step": 100, "metric": None, "name": "last"})
        none = self.train("no-dev", *sets(data__dev=None, data__test=None))
        self.assertEqual(metrics_of(none),
                         {"best": {"step": 100, "metric": None, "name": "last"}})
        self.assertEqual(results_of(none)["model/model.safetensors"],
                         results_of(last)["model/model.safetensors"])
        loss = self.train("loss", *sets(select__metric="loss"))
        totals = {line["step"]: line["dev"]["category"]["loss"] +
                  0.5 * line["dev"]["sentiment"]["loss"]
                  for line in log_of(loss) if line["type"] == "eval"}
        self.assertEqual(metrics_of(loss)["best"]["step"], min(totals, key=totals.get))

    def test_keep(self):
        run = self.train("keep", *sets(save__keep=3, save__every_steps=10))
        self.assertEqual(sorted(p.name for p in (run / "checkpoints").iterdir()),
                         ["best.h5"] + [f"step-{s:09d}.h5" for s in (80, 90, 100)])

    def test_accumulated_batches_count_as_one_update(self):
        run = self.train("accumulate", *sets(batch__accumulate=4, phases=RECIPE["phases"][:1]))
        steps = [line["step"] for line in log_of(run) if line["type"] == "step"]
        self.assertEqual(steps[-1], math.ceil(ROWS["train"] / (4 * BATCH)))

    def test_a_run_is_the_base_of_another(self):
        phases = [{"trainable": {}}]
        for k, base in enumerate(("run", "run/model", "run/checkpoints/best.h5")):
            run = self.run_phases(f"further{k}", phases, "--set", f"model.base={base}",
                                  *sets(model__init=None))
            further, first = metrics_of(run), metrics_of(self.run_folder)
            self.assertEqual(further["dev"], first["dev"])
            self.assertEqual(further["test"], first["test"])

    def test_a_base_with_other_classes(self):
        self.fails(3, "train", self.recipe, "--output", self.folder / "other",
                   "--set", 'tasks.1.classes=["neutral", "negative", "positive"]',
                   *sets(model__base="run/model", model__init=None),
                   says='the base has a head "sentiment" with other classes')

    def test_numbers_that_are_none_exit_5_and_keep_the_last_checkpoint(self):
        run = self.folder / "nan"
        done = graft("train", self.recipe, "--output", run, *sets(phases=[
            {"name": "good", "trainable": {"heads.*": {"lr": 1e-2}}},
            {"name": "bad", "trainable": {"*": {"lr": 1e15}}}]))
        self.assertEqual(done.returncode, 5)
        self.assertRegex(done.stderr.splitlines()[-1],
                         r'^graft: error: phase "bad", step \d+: (the loss of task "\w+"|the '
                         r'gradient of [\w.]+) is not finite \(rows of .*/train.jsonl: lines \d+, ')
        self.assertTrue((run / "checkpoints/step-000000025.h5").exists())
        self.ok("eval", run, self.folder / "project/dev.jsonl")


if __name__ == "__main__":
    unittest.main()
