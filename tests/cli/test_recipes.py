#!/usr/bin/env python3
"""What plan finds out, what every kind of bad recipe and data gets, and data formats.

usage: tests/cli/test_recipes.py [-v]          needs build/graft, or the program that $GRAFT names
"""
import json
import math
import os
import re
import shutil
import struct
import unittest

from runs import RECIPE, ROOT, ROWS, SHAPE, Case, results_of, sets

# What is wrong: arguments behind the recipe, the exit status, and what the one line says.
BAD_RECIPES = {
    "unknown key": (sets(bach={}), 3, 'recipe.json: unknown key "bach"; did you mean "batch"'),
    "unknown key below": (sets(phases__1__epoch=2), 3,
                          r'unknown key "phases\[1\].epoch"; did you mean "epochs"'),
    "unknown key in a rule": (["--set", 'phases.0.trainable={"heads.*": {"rl": 1}}'], 3,
                              r'unknown key "phases\[0\].trainable.heads.\*.rl"; known: lr, '),
    "unknown and far from all": (sets(save__zzzzzzzz=1), 3, "known: every_steps, keep"),
    "string for a number": (sets(batch__size="8"), 3, "size is a string; it must be a number"),
    "number for a string": (sets(tasks__0__name=3), 3, r"tasks\[0\].name is a number; .* a string"),
    "object for a list": (sets(tasks={}), 3, "tasks is an object; it must be a list"),
    "list for an object": (sets(model=[]), 3, "model is a list; it must be an object"),
    "null": (sets(seed=None), 3, "seed is null"),
    "no whole number": (sets(phases__0__epochs=1.5), 3, "epochs is 1.5; .* a whole number"),
    "below the range": (sets(save__keep=0), 3, "save.keep is 0; it must be at least 1"),
    "above the range": (sets(model__dropout=1), 3, "dropout is 1; it must be .* below 1"),
    "no number at all": (["--set", "optimizer.eps=1e999"], 3, "optimizer.eps"),
    "another choice": (sets(phases__1__schedule__type="cosin"), 3, 'did you mean "cosine"'),
    "another optimizer": (sets(optimizer__name="adam"), 3, 'did you mean "adamw"'),
    "empty string": (sets(output=""), 3, "output is empty"),
    "no tasks": (sets(tasks=[]), 3, '"tasks" lists none; name a task'),
    "no phases": (sets(phases=[]), 3, "phases has 0 entries"),
    "one class": (sets(tasks__1__classes=["a"]), 3, "classes has 1 entries; .* 2 or more"),
    "a class twice": (sets(tasks__1__classes=["a", "b", "a"]), 3, r'\[1\].classes .*"a" twice'),
    "a task twice": (sets(tasks__1__name="category"), 3, 'tasks holds "category" twice'),
    "a phase twice": (sets(phases__1__name="heads"), 3, 'phases holds "heads" twice'),
    "task name": (sets(tasks__0__name="a.b"), 3, r'tasks\[0\].name is "a.b"; use letters'),
    "no trainable": (sets(phases=[{"name": "a"}]), 3, r'phases\[0\].*trainable'),
    "no lr": (sets(phases=[{"trainable": {"*": {}}}]), 3,
              r"trainable.\*.lr is missing; it is the learning rate"),
    "pattern without a match": (sets(phases=[{"trainable": {"haeds.*": {"lr": 1}}}]), 3,
                                r'phases\[0\].trainable.*"haeds.\*" matches no .*mean "heads.\*"'),
    "layers that are not there": (sets(phases=[{"trainable": {"encoder.layer[3].*": {"lr": 1}}}]),
                                  3, "matches no parameter; the encoder has 3 layers"),
    "a pattern earlier ones took": (sets(phases=[{"trainable": {"*": {"lr": 1},
                                                               "heads.*": {"lr": 1}}}]), 3,
                                    r'"heads.\*" matches only .* most specific first'),
    "a pattern that is none": (sets(phases=[{"trainable": {"encoder.layer[a].*": {"lr": 1}}}]), 3,
                               "cannot be read: what stands in its brackets is not a number"),
    "loss_weights": (sets(phases__0__loss_weights={"sentimant": 0}), 3,
                     r'phases\[0\].loss_weights names no task .* did you mean "sentiment"'),
    "all weights 0": (sets(phases__0__loss_weights={"category": 0, "sentiment": 0}), 3,
                      "leaves every task with weight 0"),
    "metric": (sets(select__metric="category.f1"), 3,
               'select.metric: there is no metric "f1"; known: loss, accuracy, macro_f1'),
    "metric's task": (sets(select__metric="mean(categories.loss)"), 3,
                      'there is no task "categories"; did you mean "category"'),
    "metric alone": (sets(select__metric="best"), 3, '"best" is not "last", "loss"'),
    "mixed mean": (sets(select__metric="mean(category.loss, sentiment.accuracy)"), 3, "mixes"),
    "metric without dev": (sets(data__dev=None, select__metric="category.accuracy"), 3,
                           "measured on data.dev, and that is missing"),
    "patience without dev": (sets(data__dev=None, select__patience=1), 3, "needs data.dev"),
    "max_length": (sets(model__max_length=65), 3, "max_length is 65, .* has 64 positions"),
    "no base": (sets(model__base="no/such"), 4, "project/no/such"),
    "no train file": (sets(data__train="no.jsonl"), 4, "no.jsonl: .*No such file"),
    "no dev file": (sets(data__dev="no.csv"), 4, "no.csv: .*No such file"),
    "no weights": (sets(model__init=None), 4, "bert.*model.safetensors"),
    "heads_init": (sets(model__heads_init="no.safetensors"), 4, "no.safetensors"),
    "--set without a value": (["--set", "seed"], 2, "--set seed: it has no KEY=VALUE"),
    "--set without a key": (["--set", "=3"], 2, "it has no KEY=VALUE"),
    "--set behind a list's end": (sets(phases__7__epochs=3), 2, '"7.epochs" is not in a list of 2'),
    "--set by a name in a list": (sets(phases__heads__epochs=3), 2, "is not in a list of 2"),
    "--set into a number": (sets(batch__size__a=3), 2, '"a" cannot be looked up in a number'),
    "unknown option": (["--sett", "a=b"], 2, "unknown option --sett; did you mean --set"),
    "threads": (["--threads", "0"], 2, '--threads is "0"'),
    "one word too many": (["again"], 2, '"again" is one argument too many'),
}

GOOD = ('{"text": "a", "category": "x", "sentiment": "neutral"}\n'
        '{"text": "b", "category": "y", "sentiment": "positive"}\n')

# What a file that is trained on holds, by its name.
BAD_DATA = {
    "number.jsonl": (GOOD + '{"text": "a", "category": 7}\n', 3,
                     r':3: field "category" is a number; labels are strings or null$'),
    "label-empty.jsonl": (GOOD + '{"text": "a", "category": ""}\n', 3,
                          ':3: field "category" is empty; write null for a missing label'),
    "unknown.jsonl": (GOOD + '{"text": "a", "sentiment": "negativ"}\n', 3,
                      r'unknown.jsonl:3: label "negativ" of task "sentiment" is not one of its 3 '
                      r'classes; did you mean "negative"'),
    "textless.jsonl": (GOOD + '\n{"category": "x"}\n', 3, r':4: .*"text"'),
    "text-number.jsonl": (GOOD + '{"text": 5, "category": "x"}\n', 3, r':3: .*"text" is a number'),
    "broken.jsonl": (GOOD + '{"text": "b\n', 3, "broken.jsonl:3:"),
    "array.jsonl": (GOOD + '["a"]\n', 3, r"array.jsonl:3:1: the line is a list; .* one object"),
    "latin.jsonl": (GOOD.encode() + b'{"text": "caf\xe9"}\n', 3, "latin.jsonl:3: .*UTF-8"),
    "deep.jsonl": ("[" * 100000 + "\n", 3, "deep.jsonl:1:201: nested too deeply"),
    "empty.jsonl": ("", 3, "empty.jsonl: "),
    "labelless.jsonl": (GOOD.replace("category", "categry"), 3,
                        r'no row has a label for task "category".*did you mean "categry"'),
    "one.jsonl": (GOOD.replace('"y"', '"x"'), 3, r'task "category" has one class only \("x"\)'),
    "control.jsonl": (GOOD + '{"text": "a", "sentiment": "up\\n\\u001b[31m"}\n', 3,
                      r'label "up\?\?\[31m"'),
    "long.jsonl": (GOOD + '{"text": "a", "sentiment": "%s"}\n' % ("y" * 5000), 3,
                   r':3: label "y{100}" of'),
    "no-column.csv": ("text,sentiment\na,neutral\n", 3, r'no-column.csv.* "category"'),
    "no-text.tsv": ("txt\tcategory\tsentiment\na\tx\tneutral\nb\ty\tneutral\n", 3,
                    r'no-text.tsv.* "text"'),
    "quote.csv": ('text,category,sentiment\n"a,x,neutral\n', 3, "quote.csv:2: "),
    "short.csv": ("text,category,sentiment\na\n", 3, "short.csv:2: "),
    "plain.txt": ("a\nb\n", 3, "plain.txt: "),
    "junk.h5": ("this is no HDF5 file", 4, "junk.h5: "),
}


def write_safetensors(path, tensors):
    """{name: (shape, bytes)} as F32."""
    header, body = {}, b""
    for name, (shape, data) in tensors.items():
        span = [len(body), len(body) + len(data)]
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": span}
        body += data
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


class Bad(Case):
    """Nothing that is refused crashes, says more than a line, or leaves a run folder."""

    def refused(self, status, *args, says, commands=("train", "plan", "check")):
        for command in commands:
            self.fails(status, command, *args, says=says)
        self.assertFalse((self.folder / "project/run").exists())

    def with_base(self, name, status, says, **changes):
        """A copy of the base with other files: a file's name, its ending behind "__", as key."""
        base = self.folder / "project" / name
        shutil.copytree(self.folder / "project/bert", base)
        init = {} if name == "wrong-weights" else {"model__init": "random"}
        for file, content in changes.items():
            path = base / file.replace("__", ".")
            path.unlink() if content is None else path.write_bytes(content)
        with self.subTest(name):
            self.refused(status, self.recipe, *sets(model__base=name, **{"model__init": None,
                                                                         **init}), says=says)

    def test_recipes(self):
        for what, (args, status, says) in BAD_RECIPES.items():
            with self.subTest(what):
                self.refused(status, self.recipe, *args, says=says, commands=["train"])

    def test_recipes_before_check_and_plan(self):
        for what in ("unknown key", "pattern without a match", "metric", "no train file"):
            args, status, says = BAD_RECIPES[what]
            self.refused(status, self.recipe, *args, says=says, commands=["plan", "check"])

    def test_recipe_files(self):
        for name, content, status, says in [
                ("missing.json", None, 4, "missing.json: .*No such file"),
                ("empty.json", b"", 3, "empty.json"),
                ("comma.json", b'{"seed": 1,\n\n}', 3, r"comma.json:3:"),
                ("list.json", b"[]", 3, r"list.json: the file is a list"),
                ("bytes.json", b"\xff\x00\x80", 3, "bytes.json"),
                ("deep.json", b"[" * 100000, 3, "deep.json"),
                ("long.json", json.dumps({"k" * 9000: 1}).encode(), 3, "unknown key"),
                ("twice.json", b'{"seed": 1, "seed": 2}', 3, "twice.json.*seed"),
                ("missing-keys.json", b"{}", 3, r"missing-keys.json: .*model.base")]:
            with self.subTest(name):
                path = self.folder / "project" / name
                if content is not None:
                    path.write_bytes(content)
                self.refused(status, path, says=says)
        self.refused(4, self.folder, says="[Ii]s a (directory|folder)")

    def test_data(self):
        for name, (content, status, says) in BAD_DATA.items():
            path = self.folder / "project" / name
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
            with self.subTest(name):
                # check tells of malformed UTF-8 at length: test_care.py
                commands = ["train"] if name == "latin.jsonl" else ["train", "check"]
                self.refused(status, self.recipe, *sets(data__train=name), says=says,
                             commands=commands)

    def test_dev_knows_only_the_classes_of_train(self):
        (self.folder / "project/other.jsonl").write_text('{"text": "a", "category": "Toys"}\n')
        for split in ("dev", "test"):
            self.refused(3, self.recipe, *sets(**{f"data__{split}": "other.jsonl"}),
                         says=r'other.jsonl:1: label "Toys" of task "category" is not one of its')

    def test_bases(self):
        config = {**json.loads((self.folder / "project/bert/config.json").read_text())}

        def changed(**keys):
            return json.dumps({**config, **keys}).encode()
        vocabulary = (self.folder / "project/bert/vocab.txt").read_bytes()
        self.with_base("roberta", 4, 'config.json.*"?roberta', config__json=changed(
            model_type="roberta"))
        self.with_base("no-config", 4, "no-config", config__json=None)
        self.with_base("broken-config", 4, "config.json", config__json=b"{")
        self.with_base("odd-heads", 4, "num_attention_heads", config__json=changed(
            num_attention_heads=5))
        self.with_base("huge", 4, "hidden_size", config__json=changed(hidden_size=2**40))
        self.with_base("no-vocab", 4, "vocab.txt", vocab__txt=None)
        self.with_base("large-vocab", 4, "1474|1473", vocab__txt=vocabulary + b"zyzzyva\n")
        self.with_base("no-unk", 4, "UNK", vocab__txt=vocabulary.replace(b"[UNK]\n", b"unk1\n"))
        self.with_base("wrong-weights", 4, r"model.safetensors: .*embeddings\.",
                       model__safetensors=b"\x02" + b"\0" * 7 + b"{}")

    def test_heads_init_of_another_shape(self):
        write_safetensors(self.folder / "project/heads.safetensors", {
            "heads.sentiment.weight": ([2, 32], bytes(4 * 2 * 32)),
            "heads.sentiment.bias": ([2], bytes(4 * 2))})
        self.refused(4, self.recipe, *sets(model__heads_init="heads.safetensors"),
                     says=r"heads.safetensors: .*heads\.(category|sentiment)")

    def test_a_folder_that_cannot_be_made(self):
        self.fails(2, "train", self.recipe, "--output", self.recipe, says="n: it is a file")
        self.fails(6, "train", self.recipe, "--output", self.recipe / "x", says="recipe.json/")


class Overrides(Case):
    def planned(self, *args, recipe=None, **more):
        text = self.ok("plan", recipe or self.recipe, *args, **more).stdout
        return json.JSONDecoder().raw_decode(text)[0]

    def test_types(self):
        got = self.planned("--set", "phases.1.epochs=4", "--set", "phases[0].name=first",
                           "--set", "batch.bucket=false", "--set", "optimizer.clip_norm=null",
                           "--set", "phases.0.trainable.heads.*.lr=5e-4",
                           "--set", 'tasks[1].classes=["negative", "neutral", "positive", "a=b"]',
                           "--set", "save.every_steps=7", "--set=seed=7")
        self.assertEqual(got["phases"][1]["epochs"], 4)
        self.assertEqual(got["phases"][0]["name"], "first")
        self.assertIs(got["batch"]["bucket"], False)
        self.assertIsNone(got["optimizer"]["clip_norm"])
        self.assertEqual(got["phases"][0]["trainable"]["heads.*"]["lr"], 5e-4)
        self.assertEqual(got["tasks"][1]["classes"][3], "a=b")
        self.assertEqual((got["save"]["every_steps"], got["seed"]), (7, 7))

    def test_a_later_one_wins(self):
        self.assertEqual(self.planned(*sets(seed=1), *sets(seed=2))["seed"], 2)

    def test_what_is_not_touched_stays(self):
        before, after = self.planned(), self.planned(*sets(phases__1__epochs=9))
        after["phases"][1]["epochs"] = before["phases"][1]["epochs"]
        self.assertEqual(after, before)

    def test_output_is_relative_to_where_it_is_written(self):
        project, elsewhere = self.folder / "project", self.folder / "elsewhere"
        elsewhere.mkdir()
        name = os.path.relpath(self.recipe, elsewhere)

        def output(*args, recipe=name):
            planned = self.planned(*args, recipe=recipe, cwd=elsewhere)
            return os.path.realpath(planned["output"])
        self.assertEqual(output(), str(project / "run"))
        self.assertEqual(output(*sets(output="runs/x")), str(project / "runs/x"))
        self.assertEqual(output("--output", "runs/x"), str(elsewhere / "runs/x"))
        self.assertEqual(output("--output", "/tmp/x"), "/tmp/x")
        recipe = {k: v for k, v in RECIPE.items() if k != "output"}
        (project / "own-name.json").write_text(json.dumps(recipe))
        self.assertEqual(output(recipe=project / "own-name.json"), str(project / "runs/own-name"))

    def test_comments(self):
        self.assertEqual(self.planned(*sets(_a=1, model___b=[], phases__0__trainable___c=0)),
                         self.planned())


class Plan(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.before = sorted(cls.folder.rglob("*"))
        cls.phases = [
            {"name": "heads", "epochs": 2, "trainable": {"heads.*": {"lr": 1e-2}}},
            {"name": "upper", "trainable": {"heads.category.*": {"lr": 5e-3, "weight_decay": 0.1},
                                            "encoder.layer[-2:].*": {"lr": 2e-4}}},
            {"name": "all", "epochs": 3, "schedule": {"type": "cosine", "warmup": 0.1},
             "trainable": {"heads.*": {"lr": 1e-3}, "*": {"lr": 1e-4, "layer_decay": 0.9}}},
            {"name": "none", "trainable": {}}]

    def setUp(self):
        self.text = self.ok("plan", self.recipe, *sets(phases=self.phases)).stdout
        self.recipe_part, end = json.JSONDecoder().raw_decode(self.text)
        self.plan = self.text[end:]

    def wanted(self, phase, name):
        """Learning rate and decay of a parameter by the contract, None where it is frozen."""
        layer = re.match(r"encoder\.layer\.(\d+)\.", name)
        default = 0 if name.endswith(".bias") or "LayerNorm" in name else 0.01
        is_head = name.startswith("heads.")
        if phase == "heads" and is_head:
            return 1e-2, default
        if phase == "upper" and name.startswith("heads.category."):
            return 5e-3, 0.1
        if phase == "upper" and layer and int(layer[1]) >= 1:
            return 2e-4, default
        if phase == "all":
            depth = 0 if is_head else 3 if not layer else 2 - int(layer[1])
            return (1e-3 if is_head else 1e-4 * 0.9 ** depth), default
        return None

    def test_table(self):
        lines = self.plan.splitlines()
        top = next(i for i, line in enumerate(lines) if line.startswith("parameter"))
        self.assertEqual(lines[top].split()[-5:], ["elements", "heads", "upper", "all", "none"])
        end = next(i for i, line in enumerate(lines) if i > top and not line.strip())
        total = {}
        for line in lines[top + 1:end]:
            name, elements, rest = line.split(maxsplit=2)
            cells = re.findall(r"(\S+) wd (\S+)|(-)", rest)
            self.assertEqual(len(cells), 4, line)
            for phase, (lr, decay, frozen) in zip(self.phases, cells):
                wanted = self.wanted(phase["name"], name)
                self.assertEqual(bool(frozen), wanted is None, line)
                if wanted:
                    self.assertAlmostEqual(float(lr), wanted[0], delta=0.006 * wanted[0])
                    self.assertEqual(float(decay), wanted[1], line)
            total[name] = int(elements.replace(",", ""))
        h, wide, layers = SHAPE["hidden_size"], SHAPE["intermediate_size"], 3
        each = 4 * (h * h + h) + 2 * h * wide + wide + h + 4 * h
        self.assertEqual(total["embeddings.word_embeddings.weight"], SHAPE["vocab_size"] * h)
        self.assertEqual(total["heads.sentiment.weight"], 3 * h)
        encoder = (SHAPE["vocab_size"] + 64 + 2 + 2) * h + layers * each
        self.assertEqual(sum(n for name, n in total.items() if not name.startswith("heads.")),
                         encoder)
        self.assertIn(f"{encoder:,} parameters in the encoder", self.plan)
        self.assertIn(f"trains {sum(total.values()):,} of {sum(total.values()):,} ", self.plan)

    def test_the_default_length_fits_the_base(self):
        plan = self.ok("plan", self.recipe, *sets(model__max_length=128)).stdout
        self.assertIn("; max_length 64\n", plan)

    def test_steps_memory_disk_time(self):
        updates = math.ceil(ROWS["train"] / 8)
        self.assertRegex(self.plan, rf'phase 1 "heads": epochs 2, updates in each {updates}, ')
        self.assertRegex(self.plan, rf'phase 3 "all": epochs 3, updates in each {updates}, ')
        self.assertRegex(self.plan, rf"cosine, warm-up {math.ceil(0.3 * updates)} of {3 * updates}")
        self.assertRegex(self.plan, 'phase 4 "none": nothing trains')
        self.assertEqual(len(re.findall(r"^  memory \d+ MiB: ", self.plan, re.M)), 4)
        self.assertRegex(self.plan, r"(?m)^disk     up to \d+ MiB: 2 checkpoints")
        self.assertRegex(self.plan, r"(?m)^estimated time .*, \d+ threads: \d+\.\d minutes$")

    def test_trains_nothing_writes_nothing(self):
        self.assertEqual(sorted(self.folder.rglob("*")), self.before)

    def test_prints_the_recipe_that_a_run_keeps(self):
        run = self.train("kept", *sets(phases=self.phases[:1]))
        kept = json.loads((run / "recipe.json").read_text())
        self.assertEqual(kept["phases"], self.recipe_part["phases"][:1])
        self.assertEqual({**kept, "phases": 0, "output": 0},
                         {**self.recipe_part, "phases": 0, "output": 0})
        shutil.rmtree(run)

    def test_disk_is_what_it_comes_to(self):
        promised = float(re.search(r"disk     up to (\d+) MiB", self.plan)[1])
        run = self.train("disk", *sets(phases=self.phases))
        used = sum(p.stat().st_size for p in run.rglob("*") if p.is_file()) / 2**20
        self.assertLess(0.4 * promised, used)
        self.assertLess(used, 1.1 * promised + 1)
        shutil.rmtree(run)


class Formats(Case):
    PHASES = [{"trainable": {"heads.*": {"lr": 1e-2}, "*": {"lr": 1e-3}}}]

    def run_of(self, files, *args):
        """The results for the same rows in each of these files but for what names the files."""
        got = []
        for path in files:
            run = self.train(f"of-{path.name}", *args, *sets(phases=self.PHASES,
                                                             data={"train": str(path),
                                                                   "dev": str(path)}))
            results = results_of(run)
            got.append({k: v for k, v in results.items() if not k.startswith("checkpoints/")})
        return got

    def test_every_format_of_one_table(self):
        rows = ROOT / "tests/data/rows"
        names = ("table.jsonl", "table.csv", "table.tsv", "variable.h5", "fixed.h5",
                 "compound.hdf5")
        first, *others = self.run_of([rows / name for name in names])
        self.assertEqual(json.loads(first["metrics.json"])["dev"]["category"]["support"], 5)
        self.assertEqual(json.loads(first["metrics.json"])["dev"]["sentiment"]["support"], 4)
        for name, other in zip(names[1:], others):
            self.assertEqual(other["metrics.json"], first["metrics.json"], name)
            self.assertTrue(other == first, name)

    def test_delimiters_and_renamed_columns(self):
        rows = [json.loads(line) for line in
                (self.folder / "project/train.jsonl").read_text().splitlines()]
        columns = ["body", "shelf", "mood"]
        for row in rows:
            row["text"] = " ".join(row["text"].split())  # no TSV field can hold a newline
        cells = [[row["text"], row.get("category") or "", row.get("sentiment") or ""]
                 for row in rows]
        same = self.folder / "same.jsonl"
        same.write_text("".join(json.dumps(row) + "\n" for row in rows))
        quoted = "\r\n".join(",".join('"%s"' % c.replace('"', '""') for c in line)
                             for line in [columns] + cells) + "\r\n"
        plain = "".join("\t".join(line) + "\n" for line in [columns] + cells)
        paths = [self.folder / "renamed.csv", self.folder / "renamed.tsv"]
        for path, text in zip(paths, (quoted, plain)):
            path.write_bytes(text.encode())
        (first,) = self.run_of([same])
        for path in paths:
            run = self.train("of-" + path.name, *sets(
                phases=self.PHASES, data={"train": str(path), "dev": str(path), "text": "body"},
                tasks=[{**RECIPE["tasks"][0], "label": "shelf"},
                       {**RECIPE["tasks"][1], "label": "mood"}]))
            self.assertEqual((run / "metrics.json").read_bytes(), first["metrics.json"], path.name)


if __name__ == "__main__":
    unittest.main()
