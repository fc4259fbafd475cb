#!/usr/bin/env python3
"""What a recipe asks for and cannot have, where that is seen once its files are opened.

usage: tests/cli/test_senseless.py [-v]        needs build/graft, or the program that $GRAFT names
"""
import json
import re
import shutil
import unittest

from runs import Case, metrics_of, sets

ROWS = [("one two", "x", "1", ["p"], 0.5), ("two three", "y", "2", ["p", "q"], 1.5),
        ("three four", "x", "3", [], 2.5), ("four five", "y", "1", ["q"], 3)]


def rows(**changed):
    """Lines of JSON; a field that is given replaces that of every row, None leaves it out."""
    lines = []
    for text, name, grade, tags, value in ROWS:
        row = {"text": text, "category": name, "grade": grade, "tags": tags, "value": value}
        row.update(changed)
        lines.append(json.dumps({k: v for k, v in row.items() if v is not None}) + "\n")
    return "".join(lines)


def task(name, kind="classification", **more):
    return {"name": name, "type": kind, **more}


HEADS = [{"trainable": {"heads.*": {"lr": 1e-2}}}]
OTHER = {"train": "other.jsonl"}

# The recipe's changes, what other.jsonl holds, and what the one line says.
REFUSED = {
    "a class weight of no class": (
        {"tasks": [task("category", class_weights={"xx": 2})]}, None,
        r'tasks\[0\].class_weights names no class with "xx"; its classes are those of the tra'),
    "class weights of 0": (
        {"tasks": [task("category", class_weights={"x": 0, "y": 0})]}, None,
        r"tasks\[0\].class_weights leaves every class with weight 0; give one a weight"),
    "ordinal classes that are no numbers": (
        {"tasks": [task("category", "ordinal")]}, None,
        r'rows.jsonl:1: label "x" of task "category" is no number; list the task\'s "classes"'),
    "a number in two spellings": (
        {"tasks": [task("grade", "ordinal")], "data__train": "other.jsonl"},
        rows() + '{"text": "a", "grade": "1.0"}\n', 'the labels "1" and "1.0" are one number'),
    "an ordinal task of one class": (
        {"tasks": [task("grade", "ordinal")], "data__train": "other.jsonl"}, rows(grade="1"),
        'other.jsonl: task "grade" has one class only'),
    "a task of one class": (
        {"tasks": [task("category")], "data__train": "other.jsonl"}, rows(category="x"),
        r'other.jsonl: task "category" has one class only \("x"\); a classification needs two'),
    "empty sets alone": (
        {"tasks": [task("tags", "multi_label")], "data__train": "other.jsonl"}, rows(tags=[]),
        'task "tags": every label is the empty set'),
    "a list for one class": (
        {"tasks": [task("tags")]}, None, r'rows.jsonl:1: field "tags" is a list'),
    "a word for a number": (
        {"tasks": [task("category", "regression")]}, None,
        r'rows.jsonl:1: field "category" holds "x", which is no number'),
    "an unknown member of a set": (
        {"tasks": [task("tags", "multi_label", classes=["p", "r"])]}, None,
        r'rows.jsonl:2: label "q" of task "tags" is not one of its 2 classes'),
    "a label of own data that is not there": (
        {"tasks": [task("category"), task("grade", data=OTHER)]}, rows(grade=None),
        r'other.jsonl: no row has a label for task "grade" in field "grade"'),
    "own data without rows": (
        {"tasks": [task("category"), task("grade", data=OTHER)]}, "", "other.jsonl: "),
    "own data with another text": (
        {"tasks": [task("category"), task("grade", data={**OTHER, "text": "body"})]}, rows(),
        'other.jsonl:1: .*"body"'),
    "own dev with another class": (
        {"tasks": [task("category"), task("grade", data={"train": "rows.jsonl",
                                                         "dev": "other.jsonl"})]},
        rows(grade="9"), r'other.jsonl:1: label "9" of task "grade" is not one of its'),
    "a file too small to divide": (
        {"tasks": [task("category")], "data__split": {"dev": 0.1}}, None,
        "recipe.json: data.split: .*rows.jsonl: its 4 texts are too few to give 0.1 of them to"),
    "a rule that matches nothing": (
        {"tasks": [task("category")], "phases": [{"trainable": {"haeds.*": {"lr": 1}}}]}, None,
        r'phases\[0\].trainable.*"haeds.\*" matches no .*did you mean "heads.\*"'),
    "a layer that is not there": (
        {"tasks": [task("category")], "phases": [{"trainable": {"encoder.layer[7].*": {"lr": 1}}}]},
        None, "matches no parameter; the encoder has 3 layers"),
    "a decoder that is not there": (
        {"tasks": [task("category")], "phases": [
            {"objective": "mlm", "trainable": {"cls.predictoins.*": {"lr": 1}}}, *HEADS]}, None,
        r'phases\[0\].trainable.*matches no'),
    "masked words without texts": (
        {"tasks": [task("category")], "mlm__data": "other.jsonl", "phases": [
            {"objective": "mlm", "trainable": {"*": {"lr": 1}}}, *HEADS]}, "", "other.jsonl: "),
}


class Senseless(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.project = cls.folder / "project"
        (cls.project / "rows.jsonl").write_text(rows())

    def changes(self, **more):
        return sets(**{"data": {"train": "rows.jsonl"}, "phases": HEADS, **more})

    def test_refused(self):
        for what, (changed, other, says) in REFUSED.items():
            with self.subTest(what):
                (self.project / "other.jsonl").write_text(rows() if other is None else other)
                for command in ("train", "plan"):
                    self.fails(3, command, self.recipe, *self.changes(**changed), says=says)
                self.assertFalse((self.project / "run").exists())

    def test_bf16_without_a_processor_for_it(self):
        if not re.search("^bf16 +no: ", self.ok("doctor").stdout, re.M):
            self.skipTest("this machine has it")
        run = self.train("fp32", *self.changes(tasks=[task("category")]))
        changed = self.changes(tasks=[task("category")], precision="bf16")
        for command in ("train", "plan", "lrfind"):
            with self.subTest(command):
                self.fails(3, command, self.recipe, *changed,
                           says="precision: .*(AVX512-BF16|oneDNN).*; .*use precision fp32")
        self.assertFalse((self.project / "run").exists())
        self.fails(3, "embed", "--model", run, "--precision", "bf16", "a",
                   says="precision: .*use precision fp32")
        self.fails(2, "embed", "--model", run, "--precision", "fp8", "a",
                   says='--precision: "fp8" is unknown; use fp32 or bf16')
        shutil.rmtree(run)

    def test_heads_of_another_type(self):
        run = self.train("typed", *self.changes(tasks=[task("grade")]))
        for other in (task("grade", "ordinal"), task("grade", classes=["1", "2", "3", "4"])):
            with self.subTest(other):
                self.fails(3, "plan", self.recipe, *self.changes(
                    tasks=[other], model={"base": str(run), "max_length": 32}),
                    says='the base has a head "grade" with other classes or of another type; give')
        shutil.rmtree(run)

    def test_what_changes_nothing_is_noted(self):
        two = [task("category"), task("grade")]
        for key, value in (("surgery", {"method": "pcgrad"}), ("conflicts", {"every_steps": 1})):
            with self.subTest(key):
                changed = {"tasks": two, key: value}
                note = f"graft: {key}.{[*value][0]} changes nothing: no phase moves the encoder"
                said = self.ok("plan", self.recipe, *self.changes(**changed)).stderr
                self.assertIn(note, said)
                said = self.ok("plan", self.recipe, *self.changes(**{
                    **changed, "phases": [{"trainable": {"*": {"lr": 1e-3}}}]})).stderr
                self.assertNotIn("changes nothing", said)

    def test_thresholds_that_nothing_chooses_are_noted(self):
        tags = [task("tags", "multi_label")]
        note = 'task "tags": dev has no label of it to choose thresholds by, so they stay .*0.5'
        said = self.ok("plan", self.recipe, *self.changes(tasks=tags)).stderr
        self.assertRegex(said, note)
        for more in ({"data": {"train": "rows.jsonl", "dev": "rows.jsonl"}},
                     {"tasks": [{**tags[0], "threshold": 0.3}]}):
            said = self.ok("plan", self.recipe, *self.changes(**{"tasks": tags, **more})).stderr
            self.assertNotRegex(said, "thresholds")

    def test_a_metric_that_dev_has_no_rows_of_is_left_out(self):
        (self.project / "other.jsonl").write_text(rows(category=None))
        run = self.train("own", *self.changes(
            tasks=[task("category"), task("grade", data=OTHER)],
            data={"train": "rows.jsonl", "dev": "rows.jsonl"}))
        self.assertEqual(metrics_of(run)["best"]["name"], "category.macro_f1")
        shutil.rmtree(run)


if __name__ == "__main__":
    unittest.main()
