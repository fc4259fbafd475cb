#!/usr/bin/env python3
"""What check finds in data, what check --fix makes of it, and the recipes that init writes.

usage: tests/cli/test_care.py [-v]          needs build/graft, or the program that $GRAFT names
"""
import json
import re
import shlex
import unittest

from runs import ROOT, Case, graft, sets

KEYS = ("text", "category", "sentiment")


def lines_of(rows):
    return "".join(json.dumps({k: v for k, v in zip(KEYS, row) if v is not None}) + "\n"
                   for row in rows).encode()


class Data(Case):
    """Files of rows beside the project's recipe; the vocabulary lacks the snowman only."""

    TASKS = [{"name": "category"}, {"name": "sentiment"}]

    def write(self, name, rows):
        (self.folder / "project" / name).write_bytes(
            rows if isinstance(rows, bytes) else lines_of(rows))

    def arguments(self, max_length=32, tasks=None, **splits):
        for name, rows in splits.items():
            self.write(name + "-check.jsonl", rows)
        return sets(tasks=tasks or self.TASKS, phases=[{"trainable": {}}],
                    data={name: f"{name}-check.jsonl" for name in splits},
                    model__max_length=max_length)

    def check(self, *args, **splits):
        return self.ok("check", self.recipe, *self.arguments(**splits), *args).stdout

    def findings(self, **splits):
        """{(kind, split or task): the finding}"""
        report = json.loads(self.check("--json", **splits))
        self.assertEqual(report["problems"], sum(f["problem"] for f in report["findings"]))
        return {(f["kind"], f["task"] if f["kind"].startswith(("class", "uneven", "rare"))
                 else f["split"]): f for f in report["findings"]}

    def found(self, finding, problem, count, places):
        self.assertEqual((finding["problem"], finding["count"], finding["places"]),
                         (problem, count, places))


class Check(Data):
    TRAIN = [("the is it", "a", "x"), ("the is it", None, "y"), ("the is it", "b", None),
             ("the \u2603 it", "a", None),
             ("the is it not this was \u2603 \u2603 \u2603 \u2603", "b", None),
             ("the it", None, None), ("the it", None, None)]
    DEV = [("the is it", "a", "x"), ("was it", "c", "x"), ("the is it", "a", "x")]
    TEST = [("in of", "a", "y"), ("was it", "b", "x")]
    LISTED = [{"name": "category", "classes": ["a", "b", "c"]}, {"name": "sentiment"}]

    def test_the_whole_report(self):
        before = sorted(self.folder.rglob("*"))
        text = self.check(train=self.TRAIN, dev=self.DEV, test=self.TEST, max_length=8,
                          tasks=self.LISTED)
        command = text.splitlines()[-1]
        self.assertTrue(command.startswith("write cleaned splits with: graft check "), command)
        self.assertTrue(command.endswith(" --fix cleaned"), command)
        report = [" ".join(line.split()) for line in text.splitlines()[:-1]
                  if "fix: graft" not in line and not line.startswith("- ")]
        report = [line for line in report if not re.match(r"\w+-check.jsonl:\d+, \w+.*:\d+$", line)]
        self.assertEqual(report[:15], [
            f"train: {self.folder}/project/train-check.jsonl",
            "7 rows, 5.7 tokens each; 50 % have up to 5, 95 % 12, 99 % 12, all 12",
            "truncated at 8 tokens: 1 rows (14.3 %)",
            "[UNK]: 5 of 26 pieces (19.23 %)",
            "without any label: 2 rows",
            f"dev: {self.folder}/project/dev-check.jsonl",
            "3 rows, 4.7 tokens each; 50 % have up to 5, 95 % 5, 99 % 5, all 5",
            "truncated at 8 tokens: 0 rows (0.0 %)",
            "[UNK]: 0 of 8 pieces (0.00 %)",
            f"test: {self.folder}/project/test-check.jsonl",
            "2 rows, 4.0 tokens each; 50 % have up to 4, 95 % 4, 99 % 4, all 4",
            "truncated at 8 tokens: 0 rows (0.0 %)",
            "[UNK]: 0 of 4 pieces (0.00 %)",
            "vocabulary of 1473 pieces on 38 words (9 different)",
            "1.00 pieces per word; 86.8 % of words whole, 13.16 % [UNK]"])
        table = report.index("task category train dev test")
        self.assertEqual(report[table:table + 9], [
            "task category train dev test", "a 2 2 1", "b 2 0 1", "c 0 1 0", "(missing) 3 0 0",
            "task sentiment train dev test", "x 1 3 1", "y 1 0 1", "(missing) 5 0 0"])
        self.assertIn('! class "c" of task "category" has no row in train', report)
        self.assertEqual(report[-1], "7 problems, marked with !")
        new = [p for p in sorted(self.folder.rglob("*")) if p not in before]
        self.assertTrue(all(p.name.endswith("-check.jsonl") for p in new))

    def test_80_columns(self):
        text = self.check(train=self.TRAIN, dev=self.DEV, test=self.TEST, max_length=8,
                          tasks=self.LISTED)
        for line in text.splitlines():
            if not re.match(r"    fix: |train: |dev: |test: |write cleaned", line):
                self.assertLessEqual(len(line), 80, line)

    def test_equal_texts(self):
        got = self.findings(train=self.TRAIN, dev=self.DEV, test=self.TEST, tasks=self.LISTED)
        self.found(got["conflicting_labels", "train"], True, 2,
                   ["train-check.jsonl:1 = train-check.jsonl:2",
                    "train-check.jsonl:1 = train-check.jsonl:3"])
        self.found(got["shared_texts", "dev"], True, 2,
                   ["dev-check.jsonl:1 = train-check.jsonl:1",
                    "dev-check.jsonl:3 = train-check.jsonl:1"])
        self.found(got["shared_texts", "test"], True, 1,
                   ["test-check.jsonl:2 = dev-check.jsonl:2"])
        self.found(got["repeated_rows", "train"], False, 1,
                   ["train-check.jsonl:6 = train-check.jsonl:7"])
        self.found(got["repeated_rows", "dev"], False, 1,
                   ["dev-check.jsonl:1 = dev-check.jsonl:3"])
        self.found(got["unlabelled_rows", "train"], False, 2,
                   ["train-check.jsonl:6", "train-check.jsonl:7"])
        self.assertNotIn(("conflicting_labels_folded", "train"), got)
        self.assertNotIn(("shared_texts_folded", "dev"), got)

    def test_texts_equal_but_for_white_space_and_case(self):
        got = self.findings(train=[("The  IS it ", "a", "x"), ("the is\tit", "b", "x"),
                                   ("\u00dcber das", "a", "y"), ("\u00fcber das", "a", None)],
                            dev=[("this was it", "a", "x"), ("the is IT", "b", "y")])
        self.found(got["conflicting_labels_folded", "train"], True, 1,
                   ["train-check.jsonl:1 = train-check.jsonl:2"])
        self.assertIn("but for white space and case",
                      got["conflicting_labels_folded", "train"]["what"])
        self.found(got["shared_texts_folded", "dev"], False, 1,
                   ["dev-check.jsonl:2 = train-check.jsonl:1"])
        self.assertFalse({("conflicting_labels", "train"), ("shared_texts", "dev"),
                          ("repeated_rows", "train")} & set(got))

    def test_more_places_than_are_shown(self):
        train = [(text, label, "x" if label == "a" else "y")
                 for text in "the-is is-it it-not not-this this-was was-my my-the".split()
                 for label in "ab"]
        got = self.findings(train=train)["conflicting_labels", "train"]
        self.found(got, True, 7, [f"train-check.jsonl:{n} = train-check.jsonl:{n + 1}"
                                  for n in (1, 3, 5, 7, 9)])
        self.assertRegex(self.check(train=train), r"train-check.jsonl:10,\s+\.\.\.\n")

    def test_nothing_is_found(self):
        rows = [(f"{a} {b}", c, s) for a, c in zip(("the", "is", "it", "was"), "abab")
                for b, s in zip(("this", "not", "my", "of", "in", "and", "a"), "xyxyxyx")]
        self.assertEqual(self.check(train=rows).splitlines()[-1], "no problems found")
        self.assertEqual(set(self.findings(train=rows)), {("no_dev", "dev")})

    def test_near_empty_texts(self):
        got = self.findings(train=[("the is", "a", "x"), ("", "b", "y"), (" \n\u00a0", "b", "y"),
                                   ("?! \u2026", "b", "y"), ("it", "b", "y"), ("it is", "b", "y")])
        self.found(got["empty_texts", "train"], True, 3,
                   [f"train-check.jsonl:{n}" for n in (2, 3, 4)])
        self.found(got["one_piece_texts", "train"], False, 1, ["train-check.jsonl:5"])

    def test_damaged_texts(self):
        got = self.findings(train=[
            ("the caf\u00c3\u00a9 is", "a", "x"), ("it\u00e2\u20ac\u2122s the", "b", "y"),
            ("the\x07 is \x1b", "b", "y"), ("the \ufffd is", "b", "y"),
            ("the<br />is &amp; it", "b", "y"),
            ("the caf\u00e9 \u00bbSpa\u00df\u201c it\u2019s", "b", "y")])
        self.found(got["double_encoded", "train"], True, 2,
                   ['train-check.jsonl:1 ("\u00c3\u00a9")',
                    'train-check.jsonl:2 ("\u00e2\u20ac\u2122s")'])
        self.found(got["control_characters", "train"], False, 1, ["train-check.jsonl:3"])
        self.found(got["replacement_characters", "train"], False, 1, ["train-check.jsonl:4"])
        self.found(got["html", "train"], False, 1, ["train-check.jsonl:5"])

    def test_invalid_utf8_is_told_of_every_row(self):
        rows = lines_of([("the is it", "a", "x"), ("not this", "b", "y")])
        bad = rows + b'{"text": "caf\xe9 it", "category": "a"}\n' + rows[:1] + rows[1:-1] + \
            b'\n{"text": "it is", "category": "b\xff"}\n{"text": "\xc3"}\n'
        arguments = self.arguments(train=bad)
        done = graft("check", self.recipe, *arguments)
        self.assertEqual(done.returncode, 3)
        self.assertRegex(done.stderr, r"^graft: error: .*train-check.jsonl:3: invalid UTF-8 at "
                                      rf"byte {bad.index(0xe9)} of the file, 3 rows in all")
        report = json.loads(graft("check", self.recipe, *arguments, "--json").stdout)
        (f,) = [f for f in report["findings"] if f["kind"] == "invalid_utf8"]
        self.found(f, True, 3, [f"train-check.jsonl:3 (byte {bad.index(0xe9)})",
                                f"train-check.jsonl:6 (byte {bad.index(0xff)})",
                                f"train-check.jsonl:7 (byte {bad.rindex(0xc3)})"])

    def test_classes(self):
        train = [(f"the {n} is", "a" if n < 120 else "b", "x" if n < 60 else "y")
                 for n in range(129)]
        got = self.findings(train=train, dev=[("the is", "a", "x"), ("it is", "a", "x")],
                            tasks=[{"name": "category", "classes": ["a", "b", "c", "it's"]},
                                   {"name": "sentiment"}])
        uneven = got["uneven_classes", "category"]
        self.found(uneven, False, 13, [])
        self.assertEqual(uneven["fix"], "--set tasks.0.class_weights=balanced")
        self.found(got["rare_classes", "category"], False, 1, ['"b" (9)'])
        self.assertIn("class_absent_from_dev", {kind for kind, _ in got})
        self.assertNotIn(("uneven_classes", "sentiment"), got)
        absent = got["class_absent_from_train", "category"]
        (_, value) = shlex.split(absent["fix"])
        self.assertEqual(value, 'tasks.0.classes=["a", "b"]')

    def test_truncation_with_a_length_that_would_do(self):
        train = [("the " * n, "ab"[n % 2], "xy"[n % 2]) for n in range(1, 41)] * 5
        got = self.findings(train=train, max_length=20)["truncated_texts", "train"]
        self.found(got, True, 110, [])  # 19 .. 40 pieces and two
        self.assertEqual(got["fix"], "--set model.max_length=40")  # 38 pieces: 190 of 200 rows
        self.assertIn("20", got["what"])
        self.assertIn("42 1 %", got["what"])
        self.assertNotIn(("truncated_texts", "train"), self.findings(train=train, max_length=40))

    def test_the_vocabulary(self):
        train = [("the zyzzyva Is it", "a", "x"), ("zyzzyva, \u4e2d\u6587 the", "b", "y")] * 5
        report = json.loads(self.check("--json", train=train))
        got = report["vocabulary"]
        tokens = json.loads(self.ok("tokenize", "--model", self.folder / "project/bert",
                                    "zyzzyva").stdout)["tokens"][1:-1]
        unknown = json.loads(self.ok("tokenize", "--model", self.folder / "project/bert",
                                     "\u4e2d\u6587").stdout)["tokens"].count("[UNK]")
        self.assertEqual((got["words"], got["different_words"]), (40, 6))
        self.assertEqual(got["broken"], [{"word": "zyzzyva", "count": 10, "pieces": tokens}])
        self.assertAlmostEqual(got["unknown_percent"], 100 * 5 * unknown / 40)
        self.assertAlmostEqual(got["pieces_per_word"], (30 + 10 * len(tokens)) / 40)
        self.assertAlmostEqual(got["whole_percent"], 100 * (30 - 5 * unknown) / 40)


class Fix(Data):
    TRAIN = [("the is it", "a", "x"), ("the is it", "a", "x"), ("in dev it", "b", "y"),
             ("not or this", "a", None), ("not or this", "b", None), ("it", "a", "y"),
             ("caf\u00c3\u00a9 is the", "b", "y"), ("the is\x01\x0bit", "a", "x"),
             ("no label is", None, None)]
    DEV = [("in dev it", "b", "y"), ("was my", "a", "x")]

    def fix(self, out, *args, **splits):
        return self.ok("check", self.recipe, *self.arguments(**splits), "--fix",
                       self.folder / out, *args).stdout

    def rows(self, path):
        return [tuple(json.loads(line).get(k) for k in KEYS)
                for line in (self.folder / path).read_text().splitlines()]

    def test_what_is_kept(self):
        text = self.fix("kept", train=self.TRAIN, dev=self.DEV)
        self.assertEqual(self.rows("kept/train.jsonl"), [
            ("the is it", "a", "x"), ("caf\u00e9 is the", "b", "y"), ("no label is", None, None)])
        self.assertEqual(self.rows("kept/dev.jsonl"), self.DEV)
        self.assertFalse((self.folder / "kept/test.jsonl").exists())
        numbers = {" ".join(line.split()[:2]): line.split()[-3:] for line in text.splitlines()
                   if re.search(r" \d+$", line)}
        self.assertEqual(numbers["rows kept"], ["3", "2", "0"])
        self.assertEqual(numbers["near-empty: blank,"], ["1", "0", "0"])
        self.assertEqual(numbers["equal texts"], ["2", "0", "0"])
        self.assertEqual(numbers["text stands"], ["1", "0", "0"])
        self.assertEqual(numbers["repeats of"], ["2", "0", "0"])
        self.assertEqual(numbers["double-encoded text,"][-1], "1")
        self.assertEqual(numbers["control characters,"][-1], "1")

    def test_the_options_it_prints_work_and_cleaning_again_changes_nothing(self):
        options = self.fix("once", train=self.TRAIN, dev=self.DEV).splitlines()[-1]
        arguments = [*self.arguments(train=self.TRAIN, dev=self.DEV), *shlex.split(options)]
        self.ok("check", self.recipe, *arguments, "--fix", self.folder / "twice")
        for name in ("train.jsonl", "dev.jsonl"):
            self.assertEqual((self.folder / "once" / name).read_bytes(),
                             (self.folder / "twice" / name).read_bytes(), name)
        text = self.ok("check", self.recipe, *arguments).stdout
        self.assertIn(f"train: {self.folder}/once/train.jsonl", text)
        self.assertIn("no label of any task in 1 row", text)

    def test_the_command_that_check_prints_works(self):
        command = self.check(train=self.TRAIN, dev=self.DEV).splitlines()[-1]
        words = shlex.split(command.partition("with: graft ")[2])
        self.ok(*words, cwd=self.folder)
        self.assertEqual(len(self.rows("cleaned/train.jsonl")), 3)

    def test_files_are_not_overwritten(self):
        self.fix("there", train=self.TRAIN, dev=self.DEV)
        arguments = self.arguments(train=self.TRAIN, dev=self.DEV)
        before = (self.folder / "there/train.jsonl").read_bytes()
        self.fails(6, "check", self.recipe, *arguments, "--fix", self.folder / "there",
                   says="there/train.jsonl: it is there already.*--force")
        (self.folder / "there/train.jsonl").write_text("mine\n")
        (self.folder / "there/dev.jsonl").unlink()
        self.fails(6, "check", self.recipe, *arguments, "--fix", self.folder / "there",
                   says="--force")
        self.assertFalse((self.folder / "there/dev.jsonl").exists())
        self.fix("there", "--force", train=self.TRAIN, dev=self.DEV)
        self.assertEqual((self.folder / "there/train.jsonl").read_bytes(), before)

    def test_invalid_utf8_is_mended(self):
        bad = b'{"text": "caf\xe9 it", "category": "a"}\n' + lines_of([("the is", "b", "x"),
                                                                       ("it is", "b", "y")])
        options = shlex.split(self.fix("mended", train=bad).splitlines()[-1])
        self.assertEqual(self.rows("mended/train.jsonl")[0], ("caf\ufffd it", "a", None))
        self.ok("check", self.recipe, *self.arguments(train=bad), *options)


class Init(Data):
    BERT = ROOT / "demo/tiny-bert"

    def folder_of(self, name, **files):
        folder = self.folder / name
        folder.mkdir()
        for file, rows in files.items():
            (folder / file.replace("__", ".")).write_bytes(rows)
        return folder

    def init(self, path, *args):
        done = self.ok("init", path, "--base", self.BERT, *args)
        return json.loads(done.stdout), done.stderr

    ROWS = [("the is it not this was in of " * 2, "ab"[n % 11 == 0], "xyz"[n % 3])
            for n in range(121)]
    UNLIKE = [(f"{n} {text}", a, b) for n, (text, a, b) in enumerate(ROWS)]

    def test_a_recipe_that_check_takes(self):
        folder = self.folder_of("plain", train__jsonl=lines_of(self.UNLIKE),
                                valid__jsonl=lines_of(self.UNLIKE[:9]),
                                test__jsonl=lines_of(self.UNLIKE[-9:]), test__csv=b"text\n")
        done = self.ok("init", folder / "train.jsonl", "--base", self.BERT, "--output",
                       folder / "my recipe.json")
        self.assertEqual(done.stdout, "")
        self.assertIn(f"next: graft check '{folder}/my recipe.json'", done.stderr)
        self.assertIn('text: column "text"', done.stderr)
        got = json.loads((folder / "my recipe.json").read_text())
        self.assertEqual({k: v for k, v in got["data"].items() if k[0] != "_"}, {
            "train": "train.jsonl", "dev": "valid.jsonl", "test": "test.jsonl", "text": "text"})
        self.assertEqual([(t["name"], t["label"], t["classes"]) for t in got["tasks"]],
                         [("category", "category", ["a", "b"]),
                          ("sentiment", "sentiment", ["x", "y", "z"])])
        self.assertNotIn("class_weights", got["tasks"][0])  # 110 rows to 11 are not above 10
        self.assertEqual(got["model"]["max_length"], 24)  # 17 to 19 pieces and two
        self.assertEqual([p["name"] for p in got["phases"]], ["heads", "all"])
        self.assertEqual(got["output"], "runs/my recipe")
        self.ok("check", folder / "my recipe.json", *sets(model__init="random"))
        self.fails(2, "init", folder / "train.jsonl", "--output", folder / "my recipe.json",
                   says="my recipe.json: it is there already; use --force")
        self.ok("init", folder / "train.jsonl", "--base", self.BERT, "--force", "--output",
                folder / "my recipe.json")

    def test_a_file_alone_is_split(self):
        folder = self.folder_of("alone", all__jsonl=lines_of(self.UNLIKE + self.UNLIKE[1:6]))
        got, said = self.init(folder / "all.jsonl")
        self.assertEqual(got["data"]["split"], {"dev": 0.1, "test": 0.1})
        self.assertEqual(got["data"]["train"], str(folder / "all.jsonl"))
        self.assertEqual(got["select"]["metric"], "mean(category.macro_f1, sentiment.macro_f1)")
        self.assertIn("save the recipe", said)

    def test_uneven_and_many_classes(self):
        rows = [(f"the {n} is it", f"c{n % 60:02}", "x" if n % 15 else "y") for n in range(300)]
        folder = self.folder_of("many", train__jsonl=lines_of(rows), dev__jsonl=lines_of(
            [("the is it", "c00", "z")]))
        got, _ = self.init(folder / "train.jsonl")
        self.assertNotIn("classes", got["tasks"][0])
        self.assertIn("60", got["tasks"][0]["_classes"])
        self.assertEqual(got["tasks"][1]["class_weights"], "balanced")
        self.assertEqual(got["tasks"][1]["classes"], ["x", "y", "z"])  # z is dev's

    def test_csv_with_ids_numbers_and_odd_names(self):
        table = "id,review text,Product Kind,stars,_note\n" + "".join(
            f'{n},"this is it, number {n}",{"kitchen" if n % 2 else "bath"},{n % 5},{n}x\n'
            for n in range(50))
        folder = self.folder_of("odd", the_train_set__csv=table.encode(),
                                the_dev_set__csv=table.encode(), other__csv=b"a\n1\n")
        got, said = self.init(folder / "the_train_set.csv")
        self.assertEqual(got["data"]["text"], "review text")
        self.assertEqual(got["data"]["dev"], str(folder / "the_dev_set.csv"))
        self.assertEqual([(t["name"], t["label"]) for t in got["tasks"]],
                         [("Product_Kind", "Product Kind"), ("stars", "stars")])
        self.assertEqual(got["select"]["metric"], "mean(Product_Kind.macro_f1, stars.macro_f1)")
        self.assertEqual(got["tasks"][1]["type"], "ordinal")
        self.assertNotIn("_id", got)
        self.assertRegex(said, 'column "id" is no label: .*an id')
        self.assertRegex(said, 'column "_note" is no label: .*an id')

    def test_options_win(self):
        folder = self.folder_of("asked", train__jsonl=lines_of(self.UNLIKE))
        got, _ = self.init(folder / "train.jsonl", "--label", "sentiment")
        self.assertEqual([t["name"] for t in got["tasks"]], ["sentiment"])
        self.fails(3, "init", folder / "train.jsonl", "--base", self.BERT, "--label", "sentimant",
                   says='--label: there is no column "sentimant"; did you mean "sentiment"')
        self.fails(3, "init", folder / "train.jsonl", "--base", self.BERT, "--text", "txt",
                   says='--text: there is no column "txt"; did you mean "text"')

    def test_without_a_base(self):
        folder = self.folder_of("baseless", train__jsonl=lines_of(self.UNLIKE))
        done = self.ok("init", "train.jsonl", cwd=folder)
        self.assertIn("get-model", done.stderr)
        self.assertEqual(json.loads(done.stdout)["model"]["base"], "models/all-MiniLM-L6-v2")
        self.assertEqual(json.loads(done.stdout)["data"]["train"], "train.jsonl")

    def test_what_is_refused(self):
        for name, content, says in [
                ("nothing.jsonl", b"", "nothing.jsonl: "),
                ("plain.txt", b"a\nb\n", "plain.txt: it has no columns"),
                ("header.csv", b"text,label\n", "header.csv: it holds no rows"),
                ("textless.jsonl", b'{"a": 1, "label": "x"}\n{"a": 2, "label": "y"}\n' * 9,
                 "no column looks like text"),
                ("labelless.csv", b"text,id\n" + b"".join(b"this is row %d,k%d\n" % (n, n)
                                                          for n in range(20)),
                 'no column looks like labels.*"id": another string in every row.*--label'),
                ("too-many.csv", b"text,user\n" + b"".join(b"this is row %d,u%d\n" % (n, n % 400)
                                                           for n in range(1600)),
                 "too many different strings"),
                ("broken.jsonl", b'{"text": "a\n', "broken.jsonl:1:"),
                ("some.jsonl", b'{"text": "a b", "l": "x"}\n{"l": "x"}\n' * 3,
                 "no column looks like text")]:
            with self.subTest(name):
                (self.folder / name).write_bytes(content)
                self.fails(3, "init", self.folder / name, "--base", self.BERT, says=says)
        self.fails(4, "init", self.folder / "gone.jsonl", says="gone.jsonl: .*No such file")
        (self.folder / "good.jsonl").write_bytes(lines_of(self.UNLIKE))
        self.fails(4, "init", self.folder / "good.jsonl", "--base", "no/such", says="no/such")


if __name__ == "__main__":
    unittest.main()
