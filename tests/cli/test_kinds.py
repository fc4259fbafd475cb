"""Heads of every type: what predict and info say of them, and a run that trains four at once.

Expected values come from the embeddings that `graft embed` prints and each type's formula, in
Python's double precision; those of eval from what predict prints, by the definitions of
scikit-learn's and scipy's functions. Only Python's standard library is used.
"""
import csv
import json
import math
import random
import shutil
import struct
import unittest

from runs import ALONE, ROOT, Case, graft, metrics_of, results_of, sets

TEXTS = ["lovely", "smells for, FRESH bread", "a poor loud poor ? coat", ""]
CLASSES = ["a", "b \"quoted\"", "c", "d"]
THRESHOLDS = [0.25, 0.5, 0.625, 0.875]
OUTPUTS = {"one": 4, "many": 4, "value": 1, "grade": 3}
TYPES = {"one": "classification", "many": "multi_label", "value": "regression", "grade": "ordinal"}


def write_safetensors(path, tensors):
    """tensors: {name: (shape, floats)}"""
    header, data = {}, b""
    for name, (shape, values) in sorted(tensors.items()):
        start = len(data)
        data += struct.pack(f"<{len(values)}f", *values)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [start, len(data)]}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def float32(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


class Kinds(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.model = cls.folder / "model"
        shutil.copytree(ROOT / "tests/golden/mean_gelu/model", cls.model)
        draw = random.Random(3)
        cls.heads = {task: ([[float32(draw.gauss(0, 3)) for _ in range(24)] for _ in range(n)],
                            [float32(draw.gauss(0, 1)) for _ in range(n)])
                     for task, n in OUTPUTS.items()}
        tensors = {}
        for task, (weight, bias) in cls.heads.items():
            tensors[f"heads.{task}.weight"] = [len(bias), 24], sum(weight, [])
            tensors[f"heads.{task}.bias"] = [len(bias)], bias
        write_safetensors(cls.model / "heads.safetensors", tensors)
        tasks = [{"name": task, "type": kind, "classes": [] if kind == "regression" else CLASSES}
                 for task, kind in TYPES.items()]
        tasks[1]["thresholds"] = THRESHOLDS
        (cls.model / "heads.json").write_text(json.dumps({"version": 1, "tasks": tasks}))

    def logits(self, task, embedding):
        weight, bias = self.heads[task]
        return [b + sum(w * x for w, x in zip(row, embedding)) for row, b in zip(weight, bias)]

    def predicted(self, *args):
        lines = self.ok("predict", "--model", self.model, *args, *TEXTS).stdout.splitlines()
        vectors = self.ok("embed", "--model", self.model, *TEXTS).stdout.splitlines()
        return [(json.loads(line), json.loads(vector)["embedding"])
                for line, vector in zip(lines, vectors)]

    def assert_scores(self, have, wanted):
        self.assertEqual(list(have), CLASSES)
        for x, y in zip(have.values(), wanted):
            self.assertAlmostEqual(x, y, delta=2e-5)

    def test_every_type_prints_what_it_predicts(self):
        seen = set()
        for line, x in self.predicted("--scores"):
            self.assertEqual(list(line), ["text", *TYPES])
            powers = [math.exp(z) for z in self.logits("one", x)]
            scores = [p / sum(powers) for p in powers]
            self.assertEqual(list(line["one"]), ["label", "score", "scores"])
            self.assertEqual(line["one"]["label"], CLASSES[scores.index(max(scores))])
            self.assert_scores(line["one"]["scores"], scores)

            scores = [sigmoid(z) for z in self.logits("many", x)]
            self.assertEqual(list(line["many"]), ["labels", "scores"])
            self.assertEqual(line["many"]["labels"],
                             [c for c, s, t in zip(CLASSES, scores, THRESHOLDS) if s >= t])
            self.assert_scores(line["many"]["scores"], scores)
            seen.add(len(line["many"]["labels"]))

            self.assertEqual(list(line["value"]), ["value"])
            self.assertAlmostEqual(line["value"]["value"], self.logits("value", x)[0], delta=2e-5)

            above = [1.0]
            for z in self.logits("grade", x):
                above.append(above[-1] * sigmoid(z))
            scores = [a - b for a, b in zip(above, above[1:] + [0.0])]
            best = sum(a > 0.5 for a in above[1:])
            self.assertEqual(list(line["grade"]), ["label", "score", "scores"])
            self.assertEqual(line["grade"]["label"], CLASSES[best])
            self.assertAlmostEqual(line["grade"]["score"], scores[best], delta=2e-5)
            self.assert_scores(line["grade"]["scores"], scores)
        self.assertGreater(len(seen), 1, "always as many labels")

    def test_without_scores_one_label_stands_alone(self):
        for line, _ in self.predicted():
            self.assertEqual(list(line["one"]), ["label", "score"])
            self.assertEqual(list(line["grade"]), ["label", "score"])
            self.assertEqual(list(line["many"]), ["labels", "scores"])

    def test_damaged_weights_are_told(self):
        folder = self.folder / "damaged"
        shutil.copytree(self.model, folder)
        data = bytearray((folder / "heads.safetensors").read_bytes())
        data[-4 * 25:-4 * 24] = struct.pack("<f", math.nan)  # value's bias; its weight is last
        (folder / "heads.safetensors").write_bytes(data)
        self.fails(5, "predict", "--model", folder, "lovely",
                   says='task "value" gives NaN or infinity')

    def test_info_names_the_types(self):
        said = self.ok("info", self.model).stdout
        self.assertIn("many, multi_label, 4 classes:", said)
        self.assertIn("a >= 0.25", said)
        self.assertIn("value, regression\n", said)
        self.assertIn("grade, ordinal, 4 classes:", said)


# ---- a run over four tasks ----

WORDS = "the is it not this was in of my for".split()
SPLITS = {"train": 90, "dev": 40, "test": 40}
REVIEWS = {"train": "reviews-train.jsonl", "dev": "reviews-dev.jsonl", "test": "reviews-test.jsonl",
           "text": "review"}
FOUR = {
    "model": {"base": "bert", "init": "random", "max_length": 24},
    "data": {**{name: f"notes-{name}.csv" for name in SPLITS}, "text": "note"},
    "tasks": [{"name": "kind", "label": "Kind of note", "class_weights": "balanced"},
              {"name": "tags", "type": "multi_label", "separator": ";"},
              {"name": "stars", "type": "ordinal", "data": REVIEWS},
              {"name": "price", "type": "regression", "data": REVIEWS}],
    "batch": {"size": 16}, "mix": {"type": "square_root"},
    "phases": [{"epochs": 3, "trainable": {"heads.*": {"lr": 1e-2}, "*": {"lr": 1e-3}}}],
    "output": "four"}


def f1_of(truth, guess):
    """Of two lists of booleans; 0 where undefined."""
    hits = sum(t and g for t, g in zip(truth, guess))
    return 2 * hits / (sum(truth) + sum(guess)) if hits else 0.0


def ranks_of(x):
    """From 1 on, equal values having the mean of their ranks."""
    return [sum(b < a for b in x) + (sum(b == a for b in x) + 1) / 2 for a in x]


def correlation(x, y):
    mx, my = sum(x) / len(x), sum(y) / len(y)
    return sum((a - mx) * (b - my) for a, b in zip(x, y)) / math.sqrt(
        sum((a - mx) ** 2 for a in x) * sum((b - my) ** 2 for b in y))


class FourTasks(Case):
    """Notes in CSV carry two tasks, reviews in JSON Lines two more; labels are missing in all."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.project = cls.folder / "project"
        cls.draw = random.Random(11)
        for name, rows in SPLITS.items():
            cls.write_notes(cls.project / f"notes-{name}.csv", rows)
            cls.write_reviews(cls.project / f"reviews-{name}.jsonl", rows)
        cls.four = cls.project / "four.json"
        cls.four.write_text(json.dumps(FOUR))
        done = graft("train", cls.four, "--quiet", *ALONE)
        if done.returncode != 0:
            raise AssertionError(done.stderr)

    @classmethod
    def text(cls, words):
        return " ".join(cls.draw.choices(WORDS, k=5) + words)

    @classmethod
    def write_notes(cls, path, rows):
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["tags", "note", "Kind of note"])
            for i in range(rows):
                kind = cls.draw.choice("ab")
                tags = [t for t in ("red", "big", "old") if cls.draw.random() < 0.4]
                writer.writerow(["" if i % 9 == 0 else " ; ".join(tags) or ";",
                                 cls.text([kind, *tags]), "" if i % 7 == 0 else kind])

    @classmethod
    def write_reviews(cls, path, rows):
        with path.open("w") as file:
            for i in range(rows):
                stars = cls.draw.randint(1, 4)
                row = {"review": cls.text(["good"] * stars), "stars": stars,
                       "price": round(stars / 2 + cls.draw.gauss(0, 0.1), 3)}
                if i % 5 == 0:
                    row["stars"] = None
                if i % 8 == 0:
                    del row["price"]
                file.write(json.dumps(row) + "\n")

    def notes(self, name):
        with (self.project / f"notes-{name}.csv").open(newline="") as file:
            return list(csv.DictReader(file))

    def reviews(self, name):
        return [json.loads(line) for line in
                (self.project / f"reviews-{name}.jsonl").read_text().splitlines()]

    def predicted(self, file, text, model="four"):
        said = self.ok("predict", "--model", self.project / model, "--input", self.project / file,
                       "--text", text, "--scores").stdout
        return [json.loads(line) for line in said.splitlines()]

    def evaluated(self, file, *args, model="four"):
        return json.loads(self.ok("eval", self.project / model, self.project / file, "--json",
                                  "--quiet", *args).stdout)

    def test_eval_of_what_predict_says(self):
        notes = self.evaluated("notes-test.csv")  # text, label and separator are the run's
        rows = list(zip(self.notes("test"), self.predicted("notes-test.csv", "note")))
        pairs = [(n["Kind of note"], p["kind"]["label"]) for n, p in rows if n["Kind of note"]]
        self.assertEqual(notes["kind"]["support"], len(pairs))
        hits = sum(a == b for a, b in pairs)
        self.assertAlmostEqual(notes["kind"]["accuracy"], hits / len(pairs))
        self.check_tags(notes["tags"], rows)
        self.assertEqual(notes["stars"]["support"], 0)

        reviews = self.evaluated("reviews-test.jsonl")
        rows = list(zip(self.reviews("test"), self.predicted("reviews-test.jsonl", "review")))
        self.check_stars(reviews["stars"], [(r["stars"], p["stars"]) for r, p in rows
                                            if r["stars"]])
        self.check_price(reviews["price"], [(r["price"], p["price"]["value"]) for r, p in rows
                                            if "price" in r])
        self.assertEqual(reviews["kind"]["support"], 0)

    def check_tags(self, got, rows):
        rows = [({t.strip() for t in n["tags"].split(";")} - {""}, p["tags"]) for n, p in rows
                if n["tags"]]
        classes = ["big", "old", "red"]
        self.assertEqual((got["support"], list(got["classes"])), (len(rows), classes))
        truth = [[c in tags for tags, _ in rows] for c in classes]
        guess = [[c in p["labels"] for _, p in rows] for c in classes]
        f1 = [f1_of(t, g) for t, g in zip(truth, guess)]
        self.assertAlmostEqual(got["macro_f1"], sum(f1) / 3)
        self.assertAlmostEqual(got["micro_f1"], f1_of(sum(truth, []), sum(guess, [])))
        self.assertAlmostEqual(got["accuracy"], sum(tags == set(p["labels"]) for tags, p in rows)
                               / len(rows))
        auc = []
        for c, labels in zip(classes, truth):
            scores = [p["scores"][c] for _, p in rows]
            ones = [s for s, t in zip(scores, labels) if t]
            rest = [s for s, t in zip(scores, labels) if not t]
            auc.append(sum((a > b) + (a == b) / 2 for a in ones for b in rest)
                       / (len(ones) * len(rest)))
        self.assertAlmostEqual(got["auc"], sum(auc) / 3)
        loss = sum(-math.log(p["scores"][c] if c in tags else 1 - p["scores"][c])
                   for tags, p in rows for c in classes) / (3 * len(rows))
        self.assertAlmostEqual(got["loss"], loss, delta=1e-5)

    def check_stars(self, got, pairs):
        pairs = [(stars, int(p["label"])) for stars, p in pairs]
        self.assertEqual((got["support"], list(got["classes"])), (len(pairs), list("1234")))
        self.assertAlmostEqual(got["accuracy"], sum(a == b for a, b in pairs) / len(pairs))
        self.assertAlmostEqual(got["mae"], sum(abs(a - b) for a, b in pairs) / len(pairs))
        weight = sum((a - b) ** 2 for a, b in pairs) / len(pairs)
        chance = sum((a - b) ** 2 for a, _ in pairs for _, b in pairs) / len(pairs) ** 2
        self.assertAlmostEqual(got["qwk"], 1 - weight / chance)

    def check_price(self, got, pairs):
        truth, guess = zip(*pairs)
        errors = [a - b for a, b in pairs]
        mean = sum(truth) / len(truth)
        self.assertEqual(got["support"], len(pairs))
        self.assertAlmostEqual(got["mae"], sum(map(abs, errors)) / len(errors), delta=1e-6)
        squares = sum(x * x for x in errors)
        self.assertAlmostEqual(got["loss"], squares / len(errors), delta=1e-6)
        self.assertAlmostEqual(got["rmse"], math.sqrt(squares / len(errors)), delta=1e-6)
        self.assertAlmostEqual(got["r2"], 1 - squares / sum((a - mean) ** 2 for a in truth),
                               delta=1e-5)
        self.assertAlmostEqual(got["pearson"], correlation(truth, guess), delta=1e-6)
        self.assertAlmostEqual(got["spearman"], correlation(ranks_of(truth), ranks_of(guess)),
                               delta=1e-6)

    def test_the_run_has_learned_and_tells_the_same_as_eval(self):
        kept = metrics_of(self.project / "four")["test"]
        got = {**self.evaluated("notes-test.csv"),
               **{k: v for k, v in self.evaluated("reviews-test.jsonl").items() if v["support"]}}
        self.assertEqual(list(kept), ["kind", "tags", "stars", "price"])
        for task, metrics in kept.items():
            for key, value in metrics.items():
                with self.subTest(task=task, key=key):
                    self.assertAlmostEqual(got[task][key] or 0, value or 0, delta=1e-5)
        self.assertGreater(kept["price"]["spearman"], 0.3)

    def test_threads_and_resume_change_nothing(self):
        again = self.folder / "again"
        self.ok("train", self.four, "--output", again, "--quiet", "--threads", 3)
        a, b = results_of(self.project / "four"), results_of(again)
        self.assertTrue(a == b, [path for path in a if a[path] != b.get(path)])

    def test_every_export_predicts_the_same(self):
        want = self.predicted("reviews-test.jsonl", "review")
        for name in ("hf", "sentence-transformers", "onnx", "safetensors"):
            with self.subTest(name):
                out = self.project / f"out-{name}"
                said = self.ok("export", self.project / "four", "--to", name, out).stdout
                self.assertIn("largest difference 0\n", said)
                self.assertEqual(self.predicted("reviews-test.jsonl", "review", out.name), want)
                got = self.evaluated("notes-test.csv", "--text", "note", "--separator", ";",
                                     "--label", "kind=Kind of note", model=out.name)
                self.assertEqual(got, self.evaluated("notes-test.csv"))

    def test_labels_of_another_form_are_told_by_file_and_line(self):
        path = self.project / "odd.jsonl"
        path.write_text('{"note": "a", "price": 1}\n{"note": "b", "price": "cheap"}\n')
        self.fails(3, "eval", self.project / "four", path,
                   says='odd.jsonl:2: field "price" holds "cheap", which is no number')
        path.write_text('{"note": "a", "stars": 2.5}\n')
        self.fails(3, "eval", self.project / "four", path, says="odd.jsonl:1: .*no whole number")
        path.write_text('{"note": "a", "stars": 9}\n')
        self.fails(3, "eval", self.project / "four", path, says='label "9" .* not one of its 4')
        path.write_text('{"note": "a", "tags": "red|big"}\n')
        self.fails(3, "eval", self.project / "four", path, says='label "red|big" of task "tags"')
        self.ok("eval", self.project / "four", path, "--separator", "|")

    def test_a_split_too_small_is_refused(self):
        self.fails(3, "train", self.recipe, "--output", self.folder / "none",
                   *sets(data={"train": "dev.jsonl", "split": {"dev": 0.001}}),
                   says="data.split: .*dev.jsonl: its 60 texts are too few to give 0.001 .*dev")


if __name__ == "__main__":
    unittest.main()
