#!/usr/bin/env python3
"""What check and check --fix make of labels of every kind, of tasks with files of their own, of
data.split and of mlm.data; and that init's recipes for every kind of column train as they are.

usage: tests/cli/test_care_kinds.py [-v]    needs build/graft, or the program that $GRAFT names
"""
import json
import math
import shlex
import statistics
import unittest

from runs import ROOT, Case, graft, sets


def json_lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


class Kinds(Case):
    """A CSV file with classes and sets, JSON Lines with grades, numbers and lists."""

    NOTES = ("text,category,tags\n" + "".join(
        f"the {n} is,{'ab'[n % 2]},{['red ; big', 'red', ';', '', 'old'][n % 5]}\n"
        for n in range(30))).encode()
    GRADES = json_lines([{"review": f"my {n} was", "stars": [3, 10, 1, None][n % 4],
                          "price": n / 4 if n % 6 else None,
                          **({"topics": [["x"], [], ["x", "y"]][n % 3]} if n % 7 else {})}
                         for n in range(40)])
    OWN = {"train": "grades.jsonl", "dev": "grades-dev.jsonl", "text": "review"}
    TASKS = [{"name": "category", "classes": ["b", "a", "c"]},
             {"name": "tags", "type": "multi_label", "separator": ";"},
             {"name": "stars", "type": "ordinal", "data": OWN},
             {"name": "price", "type": "regression", "data": OWN},
             {"name": "topics", "type": "multi_label", "data": OWN}]

    def setUp(self):
        self.write("notes.csv", self.NOTES)
        self.write("notes-dev.csv", b"text,category,tags\nthe 3 is,b,red\nin of it,a,\n"
                                    b"my 7 was,a,;\n")
        self.write("grades.jsonl", self.GRADES)
        self.write("grades-dev.jsonl", json_lines([
            {"review": "the 4 is", "stars": 1, "price": 12.5, "topics": ["y"]},
            {"review": "my 5 was", "stars": 3, "price": -1, "topics": None},
            {"review": "my 6 was", "stars": 10}, {"review": "was my my", "price": 2}]))
        self.arguments = sets(tasks=self.TASKS, phases=[{"trainable": {}}],
                              data={"train": "notes.csv", "dev": "notes-dev.csv"})

    def write(self, name, content):
        (self.folder / "project" / name).write_bytes(content)

    def found(self, finding, problem, count, places):
        self.assertEqual((finding["problem"], finding["count"], finding["places"]),
                         (problem, count, places))

    def report(self, *args):
        said = self.ok("check", self.recipe, *(args or self.arguments), "--json").stdout
        return json.loads(said)

    def test_counts_and_values(self):
        tasks = self.report()["tasks"]
        self.assertEqual(tasks["category"]["train"], {"missing": 0, "classes":
                                                      {"b": 15, "a": 15, "c": 0}})
        self.assertEqual(tasks["tags"]["train"], {"missing": 6, "none": 6, "classes":
                                                  {"big": 6, "old": 6, "red": 12}})
        self.assertEqual(tasks["tags"]["dev"]["none"], 1)
        self.assertEqual(list(tasks["stars"]["train"]["classes"].items()),
                         [("1", 10), ("3", 10), ("10", 10)])
        self.assertEqual(tasks["stars"]["dev"], {"missing": 1, "classes":
                                                 {"1": 1, "3": 1, "10": 1}})
        topics = [[["x"], [], ["x", "y"]][n % 3] for n in range(40) if n % 7]
        self.assertEqual(tasks["topics"]["train"], {
            "missing": 6, "none": topics.count([]),
            "classes": {c: sum(c in t for t in topics) for c in "xy"}})
        values = [n / 4 for n in range(40) if n % 6]
        got = tasks["price"]["train"]
        self.assertEqual((got["values"], got["missing"], got["min"], got["max"]),
                         (len(values), 7, min(values), max(values)))
        quarters = statistics.quantiles(values, method="inclusive")  # as numpy.quantile
        for key, value in zip(("p25", "p50", "p75", "mean", "std"), quarters + [
                statistics.mean(values), statistics.pstdev(values)]):
            self.assertAlmostEqual(got[key], value, msg=key)

    def test_files(self):
        report = self.report()
        train = report["splits"]["train"]
        self.assertEqual([(f["path"].split("/")[-1], f["rows"], f["tasks"])
                          for f in train["files"]],
                         [("notes.csv", 30, ["category", "tags"]),
                          ("grades.jsonl", 40, ["stars", "price", "topics"])])
        self.assertEqual(train["rows"], 70)
        found = {(f["kind"], f["split"]): f for f in report["findings"]}
        self.found(found["shared_texts", "dev"], True, 5, [
            "notes-dev.csv:2 = notes.csv:5", "grades-dev.jsonl:1 = notes.csv:6",
            "grades-dev.jsonl:2 = grades.jsonl:6", "grades-dev.jsonl:3 = grades.jsonl:7",
            "notes-dev.csv:4 = grades.jsonl:8"])
        self.found(found["values_outside_train", "dev"], False, 2,
                   ["grades-dev.jsonl:1 (12.5)", "grades-dev.jsonl:2 (-1)"])
        text = self.ok("check", self.recipe, *self.arguments).stdout
        self.assertRegex(text, r"train: 2 files\n  .*/notes.csv: 30 rows for category, tags\n"
                               r"  .*/grades.jsonl: 40 rows for stars, price, topics\n  70 rows")

    def test_labels_that_contradict_each_other(self):
        self.write("grades.jsonl", self.GRADES + json_lines([
            {"review": "said", "stars": 1}, {"review": "said", "stars": 3},
            {"review": "told", "topics": ["x", "y"]}, {"review": "told", "topics": ["y", "x"]},
            {"review": "meant", "price": 1}, {"review": "meant", "price": 2},
            {"review": "sold", "topics": []}, {"review": "sold", "topics": ["x"]}]))
        found = {f["kind"]: f for f in self.report()["findings"]}
        self.found(found["conflicting_labels"], True, 2, ["grades.jsonl:41 = grades.jsonl:42",
                                                          "grades.jsonl:47 = grades.jsonl:48"])
        self.found(found["repeated_rows"], False, 1, ["grades.jsonl:43 = grades.jsonl:44"])

    def test_cleaned_files_say_what_was_read(self):
        said = self.ok("check", self.recipe, *self.arguments, "--fix", self.folder / "kinds")
        names = sorted(p.name for p in (self.folder / "kinds").iterdir())
        self.assertEqual(names, ["dev.jsonl", "stars.dev.jsonl", "stars.train.jsonl",
                                 "train.jsonl"])
        notes = [json.loads(line) for line in
                 (self.folder / "kinds/train.jsonl").read_text().splitlines()]
        self.assertEqual(notes[:3], [{"text": "the 0 is", "category": "a", "tags": "red ; big"},
                                     {"text": "the 1 is", "category": "b", "tags": "red"},
                                     {"text": "the 2 is", "category": "a", "tags": ";"}])
        lost = ("my 5 was", "my 6 was", "my 7 was")
        want = b"".join(line + b"\n" for line in self.GRADES.splitlines()
                        if json.loads(line)["review"] not in lost)
        have = [json.loads(line) for line in
                (self.folder / "kinds/stars.train.jsonl").read_text().splitlines()]
        self.assertEqual(have, [json.loads(line) for line in want.splitlines()])
        options = shlex.split(said.stdout.splitlines()[-1])
        self.assertIn(f"tasks.4.data.train={self.folder}/kinds/stars.train.jsonl", options)
        report = self.report(*self.arguments, *options)
        self.assertFalse([f for f in report["findings"] if f["kind"] == "shared_texts"])
        self.assertEqual(report["tasks"]["tags"]["train"]["classes"],
                         {"big": 6, "old": 5, "red": 12})  # "the 3 is", "the 4 is" went
        self.ok("check", self.recipe, *self.arguments, *options, "--fix", self.folder / "twice")
        for name in names:
            self.assertEqual((self.folder / "kinds" / name).read_bytes(),
                             (self.folder / "twice" / name).read_bytes(), name)

    def test_a_label_that_is_refused_is_not_lost(self):
        self.write("grades-dev.jsonl", b'{"review": "a b", "stars": 1.5}\n')
        self.fails(3, "check", self.recipe, *self.arguments, "--fix", self.folder / "odd",
                   says='grades-dev.jsonl:1: field "stars" is no whole number.*1 label in all')
        self.assertFalse((self.folder / "odd").exists())

    def test_uneven_sets_and_what_is_weighed(self):
        rows = [{"text": f"the {n} is", "category": "ab"[n % 2],
                 "tags": ["x", "y"] if n % 30 == 0 else ["x"]} for n in range(90)]
        self.write("uneven.jsonl", json_lines(rows))
        tasks = [{"name": "tags", "type": "multi_label"}]
        for more, kinds in (({}, ["uneven_classes"]), ({"class_weights": "balanced"}, []),
                            ({"focal_gamma": 2}, [])):
            arguments = sets(tasks=[{**tasks[0], **more}], phases=[{"trainable": {}}],
                             data={"train": "uneven.jsonl"})
            report = self.report(*arguments)
            found = [f for f in report["findings"] if f["kind"] == "uneven_classes"]
            self.assertEqual([f["kind"] for f in found], kinds)
            for f in found:
                self.assertIn('"focal_gamma": 2', f["what"])
                again = self.report(*arguments, *shlex.split(f["fix"]))
                self.assertNotIn("uneven_classes", [f["kind"] for f in again["findings"]])

    def test_the_split_that_is_made(self):
        rows = [{"text": f"the {n} is", "category": "aaab"[n % 4]} for n in range(200)]
        self.write("alone.jsonl", json_lines(rows + rows[:3]))
        arguments = sets(tasks=[{"name": "category"}], phases=[{"trainable": {}}],
                         data={"train": "alone.jsonl"})
        (f,) = [f for f in self.report(*arguments)["findings"] if f["kind"] == "no_dev"]
        fix = shlex.split(f["fix"])
        self.assertEqual(fix, ["--set", 'data.split={"dev": 0.1, "test": 0.1}'])
        report = self.report(*arguments, *fix)
        counts = report["tasks"]["category"]  # of 150 and 50 texts, and 3 of them again
        self.assertEqual([counts[s]["classes"]["b"] for s in ("train", "dev", "test")], [40, 5, 5])
        self.assertEqual(sum(counts[s]["classes"]["a"] for s in ("train", "dev", "test")), 153)
        self.assertGreaterEqual(counts["dev"]["classes"]["a"], 15)
        self.assertEqual(report["splits"]["test"]["share"], 0.1)
        self.assertNotIn("shared_texts", [f["kind"] for f in report["findings"]])
        plan = self.ok("plan", self.recipe, *arguments, *fix).stdout
        self.assertRegex(plan, rf"\b{report['splits']['train']['rows']}\b")
        text = self.ok("check", self.recipe, *arguments, *fix).stdout
        self.assertRegex(text, r"(?m)^dev: 10 % of .*alone.jsonl \(data.split\)$")

    def test_texts_without_labels(self):
        self.write("texts.txt", b"the is it\n\ncaf\xc3\x83\xc2\xa9 is it\n\n" + b"the " * 40)
        self.write("notes-dev.csv", b"text,category,tags\nin of it,a,red\n")
        mlm = sets(mlm={"data": "texts.txt", "text": "body"}, model__max_length=32)
        arguments = [*sets(tasks=[], phases=[{"objective": "mlm", "trainable": {"*": {"lr": 1}}}],
                           data={"train": None}), *mlm]
        report = self.report(*arguments)
        got = report["splits"]["mlm"]
        self.assertEqual([got[k] for k in ("rows", "empty", "truncated")], [5, 2, 1])
        self.assertEqual(report["tasks"], {})
        kinds = {f["kind"]: f for f in report["findings"]}
        self.found(kinds["empty_texts"], False, 2, ["texts.txt:2", "texts.txt:4"])
        self.assertIn("double_encoded", kinds)
        self.assertNotIn("unlabelled_rows", kinds)
        said = self.ok("check", self.recipe, *arguments, "--fix", self.folder / "texts").stdout
        self.assertEqual((self.folder / "texts/mlm.jsonl").read_text().splitlines()[:2],
                         ['{"body": "the is it"}', '{"body": "caf\u00e9 is it"}'])
        self.ok("check", self.recipe, *arguments, *shlex.split(said.splitlines()[-1]))


class InitKinds(Case):
    """The written recipe passes check, plan and train as it is."""

    ROWS = [{"text": f"the is it not {n}", "kind": "abc"[n % 3], "stars": n % 5 + 1,
             "score": round(math.sin(n), 3), "votes": n * n % 97, "year": 2001 + n % 4,
             "topics": [["x"], ["y", "z"], []][n % 3], "user_id": n} for n in range(120)]

    def project(self, name, ending, rows, siblings=True):
        """A base with weights, and files for train and, with siblings, dev and test."""
        folder = self.folder / name
        folder.mkdir()
        parts = {"train": rows[:80], "dev": rows[80:100], "test": rows[100:]} if siblings else {
            "train": rows}
        for split, part in parts.items():
            if ending == "csv":
                keys = [k for k in rows[0] if k != "topics"] + ["topics"]
                lines = [keys] + [[";".join(v) or ";" if isinstance(v, list) else v
                                   for v in (row[k] for k in keys)] for row in part]
                text = "".join(",".join(map(str, line)) + "\n" for line in lines)
                (folder / f"{split}.csv").write_text(text)
            else:
                (folder / f"{split}.jsonl").write_bytes(json_lines(part))
        return folder / f"train.{ending}"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.base = cls.folder / "project/run/model"
        done = graft("train", cls.recipe, "--quiet", "--threads", "1", *sets(
            phases=[{"trainable": {}}]))
        if done.returncode != 0:
            raise AssertionError(done.stderr)

    def passes(self, data, *args):
        recipe = data.parent / "made.json"
        said = self.ok("init", data, "--base", self.base, "--output", recipe, *args).stderr
        self.ok("check", recipe)
        self.ok("plan", recipe)
        self.ok("train", recipe, "--quiet", "--threads", "1")
        metrics = json.loads((data.parent / "runs/made/metrics.json").read_text())
        return json.loads(recipe.read_text()), metrics, said

    def types(self, recipe):
        return {t["label"]: t["type"] for t in recipe["tasks"]}

    WANTED = {"kind": "classification", "stars": "ordinal", "score": "regression",
              "topics": "multi_label"}

    def test_every_kind_with_and_without_siblings(self):
        for ending in ("jsonl", "csv"):
            for siblings in (True, False):
                with self.subTest(ending=ending, siblings=siblings):
                    data = self.project(f"{ending}-{siblings}", ending, self.ROWS, siblings)
                    recipe, metrics, said = self.passes(data)
                    self.assertEqual(self.types(recipe), self.WANTED)
                    self.assertEqual("split" in recipe["data"], not siblings)
                    self.assertEqual(set(metrics["dev"]), set(self.WANTED))
                    self.assertIn('"regression"', recipe["_votes"])
                    self.assertIn('"ordinal"', recipe["_year"])
                    self.assertRegex(said, 'column "user_id" is no label: another number in every')
                    topics = recipe["tasks"][-1]
                    self.assertEqual(topics["classes"], ["x", "y", "z"])
                    self.assertEqual(topics.get("separator"), ";" if ending == "csv" else None)
                    self.assertEqual(recipe["tasks"][1]["classes"], list("12345"))

    def test_one_kind_alone(self):
        for kind, column in (("classification", "kind"), ("ordinal", "stars"),
                             ("regression", "score"), ("multi_label", "topics"),
                             ("ordinal", "year"), ("regression", "votes")):
            with self.subTest(column):
                rows = [{"text": row["text"], column: row[column]} for row in self.ROWS]
                recipe, metrics, _ = self.passes(self.project("only-" + column, "jsonl", rows,
                                                              False))
                self.assertEqual(self.types(recipe), {column: kind})
                self.assertEqual(list(metrics["test"]), [column])

    def test_a_file_too_small_to_divide(self):
        data = self.project("small", "jsonl", self.ROWS[:4] * 2, False)
        recipe, metrics, said = self.passes(data, "--label", "kind")
        self.assertNotIn("split", recipe["data"])
        self.assertNotIn("select", recipe)
        self.assertIn("too few rows", said)
        self.assertNotIn("dev", metrics)

    def test_what_training_would_refuse_is_left_out(self):
        rows = [dict(row) for row in self.ROWS]
        rows[3]["kind"] = ""
        rows[5]["topics"] = ["x", ""]
        data = self.project("refused", "jsonl", rows)
        recipe, _, said = self.passes(data)
        self.assertEqual(set(self.types(recipe)), {"stars", "score"})
        self.assertRegex(said, 'column "kind" is left out: .*train.jsonl:4: .*is empty')
        self.fails(3, "init", data, "--base", self.base, "--label", "kind", says="jsonl:4: .*empty")
        rows = [{"text": row["text"], "kind": row["kind"]} for row in self.ROWS]
        rows[90]["kind"] = ""
        recipe, _, said = self.passes(self.project("odd-dev", "jsonl", rows))
        self.assertNotIn("dev", recipe["data"])
        self.assertEqual(recipe["data"]["split"], {"dev": 0.1})
        self.assertRegex(said, "dev.jsonl is left out: .*dev.jsonl:11: ")

    def test_classes_of_a_name_with_a_separator_are_a_comment(self):
        rows = [{"text": row["text"], "kind": ["a|b", "c|d", "e"][n % 3]}
                for n, row in enumerate(self.ROWS)]
        recipe, _, _ = self.passes(self.project("names", "jsonl", rows))
        self.assertEqual(self.types(recipe), {"kind": "classification"})
        self.assertIn('"type": "multi_label", "separator": "|"', recipe["_kind"])

    def test_the_demo(self):
        for siblings in (True, False):
            folder = self.folder / f"demo-{siblings}"
            folder.mkdir()
            for name in ("train", "dev", "test") if siblings else ("train",):
                lines = (ROOT / f"demo/{name}.jsonl").read_bytes().splitlines(keepends=True)
                (folder / f"{name}.jsonl").write_bytes(b"".join(lines[:600]))
            recipe, metrics, _ = self.passes(folder / "train.jsonl")
            self.assertEqual(self.types(recipe), {"category": "classification",
                                                  "sentiment": "classification"})
            self.assertEqual(set(metrics["test"]), {"category", "sentiment"})


if __name__ == "__main__":
    unittest.main()
