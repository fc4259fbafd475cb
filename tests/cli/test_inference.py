#!/usr/bin/env python3
"""The commands that run or look at a model, from outside: what they print, and how they fail.

usage: tests/cli/test_inference.py [-v]        needs build/graft, or the program that $GRAFT names

The model is the golden case mean_gelu; expected numbers are those PyTorch computed for it
(tests/golden/README.md). Only Python's standard library is used.
"""
import json
import math
import os
import pathlib
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
GRAFT = os.path.abspath(os.environ.get("GRAFT", ROOT / "build/graft"))
GOLDEN = ROOT / "tests/golden/mean_gelu"
CASE = json.loads((GOLDEN / "case.json").read_text())
TASKS = {t["name"]: t["classes"] for t in CASE["tasks"]}
COMMANDS = "eval predict embed similarity tokenize info doctor version help".split()


def read_safetensors(path):
    """{name: flat list of floats}, for F32 and F64."""
    data = pathlib.Path(path).read_bytes()
    (n,) = struct.unpack_from("<Q", data)
    tensors = {}
    for name, t in json.loads(data[8 : 8 + n]).items():
        if name == "__metadata__":
            continue
        begin, end = t["data_offsets"]
        kind = {"F32": "f", "F64": "d"}[t["dtype"]]
        count = (end - begin) // struct.calcsize(kind)
        tensors[name] = list(struct.unpack_from(f"<{count}{kind}", data, 8 + n + begin))
    return tensors


def write_safetensors(path, tensors):
    """{name: (shape, floats)} as F32."""
    header, body = {}, b""
    for name, (shape, values) in tensors.items():
        part = struct.pack(f"<{len(values)}f", *values)
        header[name] = {"dtype": "F32", "shape": shape,
                        "data_offsets": [len(body), len(body) + len(part)]}
        body += part
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    pathlib.Path(path).write_bytes(struct.pack("<Q", len(text)) + text + body)


def rows(flat, width):
    return [flat[i : i + width] for i in range(0, len(flat), width)]


def texts_of_case():
    """{sequence: the text that has its token ids}: its tokens with "##" pieces glued on. A sequence
    with such a piece behind a comma has no text."""
    vocabulary = (GOLDEN / "model/vocab.txt").read_text().split("\n")
    texts = {}
    for i, ids in enumerate(CASE["ids"]):
        tokens = [vocabulary[k] for k in ids[1:-1]]
        if all(a.strip("#").isalpha() for a, b in zip(tokens, tokens[1:]) if b.startswith("##")):
            texts[i] = " ".join(tokens).replace(" ##", "")
    return texts


EXPECTED = read_safetensors(GOLDEN / "expected.safetensors")
TEXTS = list(texts_of_case().values())
IDS, EMBEDDINGS = ([of_case[i] for i in texts_of_case()]
                   for of_case in (CASE["ids"], rows(EXPECTED["embedding"], 24)))
LOGITS = {t: [rows(EXPECTED[f"logits/{t}"], len(c))[i] for i in texts_of_case()]
          for t, c in TASKS.items()}
LABELS = {t: [CASE["labels"][t][i] for i in texts_of_case()] for t in TASKS}


def softmax(z):
    e = [math.exp(v - max(z)) for v in z]
    return [v / sum(e) for v in e]


def cosine(x, y):
    dot = sum(a * b for a, b in zip(x, y))
    return dot / math.sqrt(sum(a * a for a in x) * sum(b * b for b in y))


def graft(*args, stdin=b"", cwd=None):
    if isinstance(stdin, str):
        stdin = stdin.encode()
    return subprocess.run([GRAFT, *map(str, args)], input=stdin, capture_output=True, cwd=cwd,
                          timeout=300)


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="graft-test-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.bare = str(GOLDEN / "model")
        cls.model = str(cls.folder / "model")
        shutil.copytree(cls.bare, cls.model)
        shutil.copy(GOLDEN / "heads.safetensors", cls.model)
        heads = [{"name": n, "type": "classification", "classes": c} for n, c in TASKS.items()]
        (cls.folder / "model/heads.json").write_text(json.dumps({"version": 1, "tasks": heads}))

    def path(self, name, content=None):
        p = self.folder / name
        if content is not None:
            p.write_bytes(content if isinstance(content, bytes) else content.encode())
        return p

    def ok(self, *args, stdin=b""):
        r = graft(*args, stdin=stdin)
        self.assertEqual(r.returncode, 0, r.stderr.decode())
        return r.stdout.decode()

    def lines(self, *args, stdin=b""):
        return [json.loads(line) for line in self.ok(*args, stdin=stdin).splitlines()]

    def fails(self, status, *args, says=(), stdin=b"", stdout=b""):
        """One line on standard error, the contract's status, nothing printed, and these words."""
        r = graft(*args, stdin=stdin)
        error = r.stderr.decode(errors="replace").splitlines()
        self.assertEqual(r.returncode, status, error)
        errors = [line for line in error if line.startswith("graft: error: ")]
        self.assertEqual(len(errors), 1, error)
        self.assertEqual(error[-1], errors[0])
        for words in [says] if isinstance(says, str) else says:
            self.assertIn(words, errors[0])
        if stdout is not None:
            self.assertEqual(r.stdout, stdout)

    def embeddings(self, *args, stdin=b""):
        return [j["embedding"]
                for j in self.lines("embed", "--model", self.bare, *args, stdin=stdin)]

    def close(self, got, expected, tolerance=2e-6):
        self.assertEqual(len(got), len(expected))
        for g, w in zip(got, expected):
            self.assertEqual(len(g), len(w))
            for a, b in zip(g, w):
                self.assertAlmostEqual(a, b, delta=tolerance)


class Help(Case):
    def test_help_texts_fit_a_terminal_and_have_an_example(self):
        for c in COMMANDS:
            text = self.ok(c, "--help")
            self.assertEqual(text, self.ok("help", c))
            lines = text.splitlines()
            self.assertLessEqual(len(lines), 25, c)
            self.assertLessEqual(max(map(len, lines)), 80, c)
            self.assertTrue(lines[0].startswith(f"usage: graft {c}"), c)
            self.assertIn(f"example: graft {c}", text)

    def test_help_names_every_option_that_is_taken(self):
        for c in COMMANDS:
            for line in self.ok(c, "--help").splitlines():
                words = line.split()
                if line.startswith("  --"):
                    r = graft(c, words[0], *(["1"] if words[1].isupper() else []))
                    self.assertNotIn(b"unknown option", r.stderr, (c, words[0]))

    def test_list_fits_and_names_the_commands(self):
        lines = self.ok("help").splitlines()
        self.assertLessEqual(len(lines), 25)
        self.assertLessEqual(max(map(len, lines)), 80)
        for c in COMMANDS:
            self.assertTrue(any(line.split()[:1] == [c] for line in lines), c)
        self.assertEqual(self.ok("--help"), self.ok("help"))

    def test_no_command_is_a_usage_error(self):
        self.assertEqual(graft().returncode, 2)

    def test_unknown_commands_and_options_propose_the_nearest(self):
        self.fails(2, "predikt", says='did you mean "predict"?')
        self.fails(2, "help", "embedd", says='did you mean "embed"?')
        self.fails(2, "embed", "--modell", "x", "a", says="did you mean --model?")
        self.fails(2, "tokenize", "--scores", says="unknown option --scores")
        self.fails(2, "predict", "--zzzzzzzzzz", says="see graft predict --help")

    def test_options_want_sensible_values(self):
        self.fails(2, "embed", "--model", self.bare, "--threads", "0", "a", says="--threads")
        self.fails(2, "embed", "--model", self.bare, "--batch", "two", "a", says="--batch")
        self.fails(2, "embed", "--model", self.bare, "--threads", "99999999999999999999", "a")
        self.fails(2, "embed", "--model", self.bare, "--threads", "4294967297", "a",
                   says="--threads")
        self.fails(2, "embed", "a", "--model", says="--model wants a value")
        self.fails(2, "predict", "--model", self.model, "--scores=yes", "a", says="takes no value")
        self.fails(2, "info", says="0 of at least 1")
        self.fails(2, "version", "now", says="one argument too many")


class Tokenize(Case):
    def tokenize(self, *args, **more):
        return self.lines("tokenize", "--model", self.bare, *args, **more)

    def test_ids_are_those_of_the_golden_case(self):
        got = self.tokenize(*TEXTS)
        self.assertEqual([j["ids"] for j in got], IDS)
        self.assertEqual(got[0]["tokens"], ["[CLS]", "lovely", "[SEP]"])

    def test_max_length_counts_the_special_tokens(self):
        self.assertEqual(len(self.tokenize("the cheese was good", "--max-length", "4")[0]["ids"]),
                         4)
        self.fails(2, "tokenize", "--model", self.bare, "--max-length", "33", "a",
                   says="32 positions")
        self.fails(2, "tokenize", "--model", self.bare, "--max-length", "2", "a", says="from 3")

    def test_weights_are_not_needed(self):
        folder = self.folder / "no-weights"
        shutil.copytree(self.bare, folder, ignore=shutil.ignore_patterns("*.safetensors"))
        got = self.lines("tokenize", "--model", folder, "cheese")
        self.assertEqual(got, self.tokenize("cheese"))
        self.fails(4, "embed", "--model", folder, "cheese")

    def test_strange_text_gives_valid_json(self):
        for text in ["", "\t", 'quo"te\\', "[MASK]", "\x7f\u2028", "ä€😀"]:
            self.tokenize(text)


class Embed(Case):
    def test_embeddings_are_pytorchs(self):
        self.close(self.embeddings(*TEXTS), EMBEDDINGS)

    def test_threads_batches_and_order_change_nothing(self):
        texts = [random.Random(7).choice(TEXTS) for _ in range(5000)]
        path = self.path("many.txt", "\n".join(texts) + "\n")
        got = self.embeddings("--input", path)
        self.close(got, [EMBEDDINGS[TEXTS.index(t)] for t in texts])
        one = self.ok("embed", "--model", self.bare, "--input", path, "--threads", "1")
        self.assertEqual(one,
                         self.ok("embed", "--model", self.bare, "--input", path, "--threads", "3"))
        self.assertEqual(one, self.ok("embed", "--model", self.bare, "--input", path, "--pin"))
        many = str(len(os.sched_getaffinity(0)) + 1)
        self.fails(2, "embed", "--model", self.bare, "--threads", many, "--pin", "a",
                   says=f"--pin: {many} threads want a processor each")
        self.close(self.embeddings("--input", path, "--batch", "3"), got)

    def test_all_ways_in_give_the_same(self):
        texts = [t for t in TEXTS if t]
        plain = "\n".join(texts) + "\n"
        jsonl = "".join(json.dumps({"n": 1, "body": t}) + "\n" for t in texts)
        csv = "".join('"%s",1\r\n' % t for t in ["body"] + texts)
        tsv = "body\tn\n" + "".join(t + "\t1\n" for t in texts)
        expected = self.embeddings(*texts)
        self.assertEqual(self.embeddings(stdin=plain), expected)
        self.assertEqual(self.embeddings("-", stdin=plain), expected)
        self.assertEqual(self.embeddings("--input", "-", stdin=plain), expected)
        self.assertEqual(self.embeddings("--input", self.path("t.txt", plain)), expected)
        for name, content in [("t.jsonl", jsonl), ("t.csv", csv), ("t.tsv", tsv)]:
            path = self.path(name, content)
            self.assertEqual(self.embeddings("--input", path, "--text", "body"), expected, name)
            self.fails(3, "embed", "--model", self.bare, "--input", path, says=name)

    def test_fields_are_for_files_that_have_them(self):
        self.fails(2, "embed", "--model", self.bare, "--text", "body", says="--text", stdin="a\n")
        path = self.path("plain.txt", "a\n")
        self.fails(2, "embed", "--model", self.bare, "--text", "body", "--input", path,
                   says="no fields")

    def test_words_behind_two_dashes_are_texts(self):
        self.assertEqual(self.embeddings("--", "--good"), self.embeddings(" - - good"))

    def test_empty_input_gives_nothing(self):
        self.assertEqual(self.ok("embed", "--model", self.bare), "")
        out = self.folder / "empty.npy"
        self.ok("embed", "--model", self.bare, "--output", out)
        self.assertIn(b"'shape': (0, 24)", out.read_bytes())

    def npy(self, data):
        self.assertEqual(data[:8], b"\x93NUMPY\x01\x00")
        (length,) = struct.unpack_from("<H", data, 8)
        self.assertEqual((10 + length) % 64, 0)
        header = eval(data[10 : 10 + length].decode(), {"__builtins__": {}})
        self.assertEqual((header["descr"], header["fortran_order"]), ("<f4", False))
        n, width = header["shape"]
        self.assertEqual(len(data), 10 + length + 4 * n * width)
        return rows(list(struct.unpack_from(f"<{n * width}f", data, 10 + length)), width)

    def test_formats_hold_the_same_floats(self):
        jsonl = self.embeddings(*TEXTS)
        as_float = [list(struct.unpack("<24f", struct.pack("<24f", *x))) for x in jsonl]
        tsv = self.ok("embed", "--model", self.bare, "--format", "tsv", *TEXTS)
        self.assertEqual([[float(v) for v in line.split("\t")] for line in tsv.splitlines()], jsonl)
        pipe = graft("embed", "--model", self.bare, "--format", "npy", *TEXTS).stdout
        self.assertEqual(self.npy(pipe), as_float)
        out = self.folder / "e.npy"
        self.ok("embed", "--model", self.bare, "--output", out, *TEXTS)
        self.assertEqual(out.read_bytes(), pipe)
        self.assertFalse((self.folder / "e.npy.tmp").exists())

    def test_hdf5_holds_them_too(self):
        path = self.path("many.txt", "\n".join(TEXTS * 500) + "\n")
        out = self.folder / "e.h5"
        self.ok("embed", "--model", self.bare, "--input", path, "--output", out)
        info = self.ok("info", out)
        self.assertIn("embeddings", info)
        self.assertIn(f"[{len(TEXTS) * 500}, 24]", info)
        if not shutil.which("h5dump"):
            self.skipTest("h5dump (package hdf5-tools) is not installed")
        raw = self.folder / "e.raw"
        subprocess.run(["h5dump", "-d", "/embeddings", "-b", "LE", "-o", raw, out], check=True,
                       stdout=subprocess.DEVNULL)
        data = raw.read_bytes()
        got = rows(list(struct.unpack(f"<{len(data) // 4}f", data)), 24)
        self.close(got, EMBEDDINGS * 500)

    def test_a_file_appears_only_when_it_is_complete(self):
        out = self.path("kept.jsonl", "as before\n")
        bad = self.path("bad.jsonl", '{"text": "good"}\n' * 3000 + '{"text": 5}\n')
        self.fails(3, "embed", "--model", self.bare, "--input", bad, "--output", out,
                   says="bad.jsonl:3001")
        self.assertEqual(out.read_text(), "as before\n")
        self.assertFalse((self.folder / "kept.jsonl.tmp").exists())

    def test_a_pipe_is_written_as_it_is(self):
        pipe = self.folder / "pipe"
        os.mkfifo(pipe)
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        self.assertEqual(self.ok("embed", "--model", self.bare, "--output", pipe, "good"), "")
        got = os.read(reader, 1 << 16).decode()
        self.assertEqual(got, self.ok("embed", "--model", self.bare, "good"))
        self.assertTrue(pipe.is_fifo())

    def test_refusals(self):
        self.fails(2, "embed", "good", says="--model")
        self.fails(2, "embed", "--model", self.bare, "--format", "xml", "good",
                   says="jsonl, tsv, npy or h5")
        self.fails(2, "embed", "--model", self.bare, "--format", "h5", "good", says="--output")
        path = self.path("one.txt", "good\n")
        self.fails(2, "embed", "--model", self.bare, "--input", path, "good", says="--input")
        self.fails(4, "embed", "--model", self.bare, "--input", "no/such.txt", says="no/such.txt")
        self.fails(6, "embed", "--model", self.bare, "--output", "no/such/e.npy", "good",
                   says="no/such/e.npy")


class Predict(Case):
    def predict(self, *args, **more):
        return self.lines("predict", "--model", self.model, *args, **more)

    def test_labels_and_scores_are_pytorchs(self):
        got = self.predict("--scores", *TEXTS)
        self.assertEqual([list(j) for j in got], [["text", "category", "sentiment"]] * len(TEXTS))
        self.assertEqual([j["text"] for j in got], TEXTS)
        for task, classes in TASKS.items():
            for j, z in zip(got, LOGITS[task]):
                p = softmax(z)
                self.assertEqual(list(j[task]["scores"]), classes)
                self.close([list(j[task]["scores"].values())], [p])
                self.assertEqual(j[task]["label"], classes[p.index(max(p))])
                self.assertEqual(j[task]["score"], max(j[task]["scores"].values()))

    def test_scores_are_left_out_unless_wanted(self):
        self.assertEqual(list(self.predict("good")[0]["category"]), ["label", "score"])

    def test_order_of_the_input_is_kept(self):
        texts = [" ".join(["good"] * random.Random(i).randint(1, 30)) + f" {i}"
                 for i in range(4500)]
        self.assertEqual([j["text"] for j in self.predict(stdin="\n".join(texts))], texts)

    def test_any_bytes_come_back_as_valid_json(self):
        raw = b'\xff\xc3(\xed\xa0\x80 tab\t quote" back\\ \x01 \x00 \xe2\x82\n\xf0\x9f\x98\x80\n'
        got = self.predict(stdin=raw)
        self.assertEqual(got[0]["text"], raw.split(b"\n")[0].decode("utf-8", "replace"))
        self.assertEqual(got[1]["text"], "\U0001f600")
        controls = "".join(map(chr, range(1, 32))) + "\x7f"
        self.assertEqual(self.predict(controls)[0]["text"], controls)
        path = self.path("latin1.csv", b"text\nna\xefve\n")
        self.fails(3, "predict", "--model", self.model, "--input", path,
                   says=("latin1.csv:2", "UTF-8"))

    def test_a_model_without_heads_says_how_to_get_one(self):
        self.fails(4, "predict", "--model", self.bare, "good", says="graft train")

    def test_the_reader_may_leave(self):
        path = self.path("long.txt", "good\n" * 20000)
        p = subprocess.Popen([GRAFT, "predict", "--model", self.model, "--input", path],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        p.stdout.readline()
        p.stdout.close()
        error = p.stderr.read().decode()
        p.stderr.close()
        self.assertIn(p.wait(), (6, -13))
        self.assertNotIn("Sanitizer", error)

    def test_a_full_disk_is_told(self):
        if os.path.exists("/dev/full"):
            with open("/dev/full", "wb") as full:
                r = subprocess.run([GRAFT, "predict", "--model", self.model, "good"], stdout=full,
                                   stderr=subprocess.PIPE)
            self.assertEqual(r.returncode, 6)
            self.assertIn(b"graft: error: standard output", r.stderr)


class Similarity(Case):
    def similarity(self, *args, **more):
        return self.ok("similarity", "--model", self.bare, *args, **more)

    def test_two_texts_give_one_number(self):
        for i, j in [(0, 1), (1, 0), (4, 5), (2, 2)]:
            got = self.similarity(TEXTS[i], TEXTS[j])
            self.assertRegex(got, r"^-?[01]\.\d{4}\n$")
            self.assertAlmostEqual(float(got), cosine(EMBEDDINGS[i], EMBEDDINGS[j]), delta=6e-5)

    def test_more_give_a_symmetrical_matrix(self):
        lines = self.similarity(*TEXTS).splitlines()
        self.assertEqual(lines[0].split(), [str(i + 1) for i in range(len(TEXTS))])
        self.assertEqual(len({len(line) for line in lines}), 1)
        m = [[float(v) for v in line.split()[1:]] for line in lines[1:]]
        for i, x in enumerate(EMBEDDINGS):
            self.assertEqual(m[i][i], 1)
            for j, y in enumerate(EMBEDDINGS):
                self.assertEqual(m[i][j], m[j][i])
                self.assertAlmostEqual(m[i][j], cosine(x, y), delta=6e-5)

    def test_norms_are_divided_out_where_the_model_does_not(self):
        model = ROOT / "tests/golden/max_eps/model"
        folder = self.folder / "not-normalised"
        shutil.copytree(model, folder)
        (folder / "1_Pooling").mkdir()
        modules = [{"idx": 0, "name": "0", "path": "",
                    "type": "sentence_transformers.models.Transformer"},
                   {"idx": 1, "name": "1", "path": "1_Pooling",
                    "type": "sentence_transformers.models.Pooling"}]
        (folder / "modules.json").write_text(json.dumps(modules))
        pooling = {"word_embedding_dimension": 22, "pooling_mode_mean_tokens": True}
        (folder / "1_Pooling/config.json").write_text(json.dumps(pooling))
        e = [j["embedding"]
             for j in self.lines("embed", "--model", folder, "good cheese", "a lamp")]
        self.assertGreater(abs(sum(v * v for v in e[0]) - 1), 0.01)
        got = self.ok("similarity", "--model", folder, "good cheese", "a lamp")
        self.assertAlmostEqual(float(got), cosine(*e), delta=6e-5)

    def test_pairs_get_a_column(self):
        n = 1500
        pairs = [(TEXTS[i % 3], TEXTS[(i + 1) % 5]) for i in range(n)]
        named = ["%s\tx\t%s\t0.5" % p for p in pairs]
        unnamed = ["7\t%s\t%s" % p for p in pairs]
        expected = ["%.4f" % cosine(EMBEDDINGS[i % 3], EMBEDDINGS[(i + 1) % 5]) for i in range(n)]
        for name, header, body in [("named.tsv", ["sentence1\tgenre\tsentence2\tscore"], named),
                                   ("unnamed.tsv", [], unnamed)]:
            path = self.path(name, "".join(line + "\r\n" for line in header + body))
            got = self.similarity("--pairs", path).splitlines()
            self.assertEqual(got[: len(header)], [line + "\tcosine" for line in header])
            for line, out, c in zip(body, got[len(header) :], expected):
                self.assertEqual(out.rsplit("\t", 1)[0], line)
                self.assertAlmostEqual(float(out.rsplit("\t", 1)[1]), float(c), delta=1.01e-4)
            self.assertEqual(len(got), n + len(header))
        self.assertEqual(self.similarity("--pairs", "-", stdin="good\tgood\n\n"),
                         "good\tgood\t1.0000\n")

    def test_refusals(self):
        self.fails(2, "similarity", "--model", self.bare, "good", says="at least two")
        self.fails(2, "similarity", "--model", self.bare, "--pairs", "p.tsv", "good",
                   says="--pairs")
        self.fails(4, "similarity", "--model", self.bare, "--pairs", "no.tsv", says="no.tsv")
        path = self.path("short.tsv", "good\tbad\nfine\n")
        self.fails(3, "similarity", "--model", self.bare, "--pairs", path, says="short.tsv:2")
        path = self.path("ragged.tsv", "sentence1\tsentence2\ngood\n")
        self.fails(3, "similarity", "--model", self.bare, "--pairs", path, says="ragged.tsv:2",
                   stdout=None)


class Eval(Case):
    def setUp(self):
        self.data = self.path("labels.jsonl", self.jsonl())

    def jsonl(self, names=("category", "sentiment")):
        out = ""
        for i, text in enumerate(TEXTS):
            row = {"text": text}
            for task, name in zip(TASKS, names):
                label = LABELS[task][i]
                if label is not None or i % 2:
                    row[name] = label
            out += json.dumps(row) + "\n"
        return out

    def expected(self, task):
        """Mean loss, and {(label, prediction): count}."""
        classes, losses, confusion = TASKS[task], [], {}
        for z, label in zip(LOGITS[task], LABELS[task]):
            if label is not None:
                guess = classes[z.index(max(z))]
                confusion[label, guess] = confusion.get((label, guess), 0) + 1
                losses.append(-math.log(softmax(z)[classes.index(label)]))
        return sum(losses) / len(losses), confusion

    def test_metrics_are_pytorchs(self):
        got = json.loads(self.ok("eval", self.model, self.data, "--json"))
        self.assertEqual(list(got), list(TASKS))
        for task, classes in TASKS.items():
            loss, confusion = self.expected(task)
            n = sum(confusion.values())
            hits = sum(v for (a, b), v in confusion.items() if a == b)
            t = got[task]
            self.assertAlmostEqual(t["loss"], loss, delta=2e-6)
            self.assertEqual(t["support"], n)
            self.assertAlmostEqual(t["accuracy"], hits / n, delta=1e-12)
            self.assertEqual(t["confusion"],
                             [[confusion.get((a, b), 0) for b in classes] for a in classes])
            f1 = []
            for c in classes:
                hit = confusion.get((c, c), 0)
                support = sum(v for (a, _), v in confusion.items() if a == c)
                guessed = sum(v for (_, b), v in confusion.items() if b == c)
                self.assertEqual(t["classes"][c]["support"], support)
                if support + guessed:
                    f1.append(2 * hit / (support + guessed))
                    self.assertAlmostEqual(t["classes"][c]["f1"], f1[-1], delta=1e-12)
            self.assertAlmostEqual(t["macro_f1"], sum(f1) / len(f1), delta=1e-12)

    def test_the_table_shows_the_same(self):
        out = self.ok("eval", self.model, self.data)
        for task in TASKS:
            line = next(x for x in out.splitlines() if x.startswith(task + " "))
            self.assertIn("%.4f" % self.expected(task)[0], line)
        for words in ["precision", "support", "confusion", "furniture"]:
            self.assertIn(words, out)

    def test_fields_can_be_renamed_and_left_out(self):
        want = json.loads(self.ok("eval", self.model, self.data, "--json"))
        path = self.path("renamed.jsonl", self.jsonl(("kind", "sentiment")))
        args = ("eval", self.model, path, "--json")
        self.assertEqual(json.loads(self.ok(*args, "--label", "category=kind")), want)
        self.assertIsNone(json.loads(self.ok(*args))["category"]["loss"])
        csv = "text,kind\n" + "".join(
            '"%s",%s\n' % (t, l or "") for t, l in zip(TEXTS, LABELS["category"]) if t)
        path = self.path("renamed.csv", csv)
        args = ("eval", self.model, path, "--json")
        got = json.loads(self.ok(*args, "--label", "category=kind"))
        self.assertEqual(got["sentiment"]["support"], 0)
        self.fails(3, *args, says=('"kind"', '"sentiment"', "--label"))
        self.fails(2, *args, "--label", "mood=kind", says='"category", "sentiment"')
        self.fails(2, *args, "--label", "category", says="TASK=FIELD")
        self.fails(3, *args, "--label", "category=kin", says='did you mean "kind"')

    def test_refusals(self):
        path = self.path("unknown.jsonl", '{"text": "a", "sentiment": "neutral"}\n'
                                          '{"text": "b", "sentiment": "neutrl"}\n')
        self.fails(3, "eval", self.model, path,
                   says=("unknown.jsonl:2", "neutrl", 'did you mean "neutral"'))
        path = self.path("number.jsonl", '{"text": "a", "sentiment": 5}\n')
        self.fails(3, "eval", self.model, path, says="number.jsonl:1")
        path = self.path("none.jsonl", '{"text": "a", "other": "b"}\n')
        self.fails(3, "eval", self.model, path, says=('"category"', '"other"'))
        path = self.path("plain.txt", "a\n")
        self.fails(3, "eval", self.model, path, says="no columns")
        self.fails(3, "eval", self.model, self.path("empty.jsonl", ""), says="no rows")
        self.fails(4, "eval", self.bare, self.data, says="no heads")
        self.fails(4, "eval", self.model, "no.jsonl", says="no.jsonl")
        self.fails(2, "eval", self.model, says="1 of at least 2")


class BadModels(Case):
    def broken(self, name):
        folder = self.folder / name
        shutil.copytree(self.model, folder)
        return folder

    def test_missing_and_foreign(self):
        self.fails(4, "embed", "--model", "no/such", "a", says="no/such")
        self.fails(4, "embed", "--model", self.folder, "a")
        self.fails(4, "embed", "--model", __file__, "a")

    def test_broken_weights(self):
        folder = self.broken("cut")
        weights = folder / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:5000])
        self.fails(4, "embed", "--model", folder, "a", says="model.safetensors")
        weights.write_bytes(b"not a model at all")
        self.fails(4, "embed", "--model", folder, "a", says="model.safetensors")

    def test_broken_config(self):
        folder = self.broken("config")
        (folder / "config.json").write_text("{")
        self.fails(4, "tokenize", "--model", folder, "a", says="config.json")
        (folder / "config.json").write_text('{"model_type": "gpt2"}')
        self.fails(4, "embed", "--model", folder, "a", says="gpt2")

    def test_weights_that_are_not_finite(self):
        folder = self.broken("nan-head")
        tensors = {n: ([len(v) // 24, 24] if n.endswith("weight") else [len(v)], v)
                   for n, v in read_safetensors(GOLDEN / "heads.safetensors").items()}
        tensors["heads.sentiment.bias"][1][0] = math.nan
        write_safetensors(folder / "heads.safetensors", tensors)
        self.fails(5, "predict", "--model", folder, "a", says=("command line:1", '"sentiment"'))
        folder = self.broken("nan")
        weights = folder / "model.safetensors"
        data = bytearray(weights.read_bytes())
        (n,) = struct.unpack_from("<Q", data)
        begin = json.loads(data[8 : 8 + n])["embeddings.LayerNorm.weight"]["data_offsets"][0]
        struct.pack_into("<f", data, 8 + n + begin, math.inf)
        weights.write_bytes(data)
        self.fails(5, "embed", "--model", folder, "a", says="command line:1")


class Machine(Case):
    def test_version(self):
        lines = self.ok("version").splitlines()
        self.assertRegex(lines[0], r"^graft \d+\.\d+\.\d+$")
        self.assertEqual([line.split()[0] for line in lines[1:]],
                         ["compiler", "products", "HDF5", "cJSON", "utf8proc", "kernels"])
        self.assertEqual(self.ok("--version").splitlines(), lines)

    def test_doctor(self):
        with tempfile.TemporaryDirectory() as empty:
            r = subprocess.run([GRAFT, "doctor"], capture_output=True, cwd=empty,
                               env={**os.environ, "TMPDIR": empty}, timeout=300)
            self.assertEqual(os.listdir(empty), [])
        self.assertEqual(r.returncode, 0, r.stdout.decode() + r.stderr.decode())
        tests = [line for line in r.stdout.decode().splitlines() if line.startswith("self-test")]
        self.assertEqual(len(tests), 5)
        self.assertTrue(all(line.endswith(" ok") for line in tests))

    def test_doctor_reports_a_failure(self):
        r = subprocess.run([GRAFT, "doctor"], capture_output=True,
                           env={**os.environ, "TMPDIR": "/no/such"})
        self.assertEqual(r.returncode, 1)
        self.assertIn(b"FAILED: /no/such/graft-", r.stdout)
        self.assertIn(b"graft: error: doctor: ", r.stderr)

    def test_info(self):
        self.assertIn("embeddings.word_embeddings.weight",
                      self.ok("info", self.bare + "/model.safetensors"))
        self.assertIn("24", self.ok("info", self.model))
        self.fails(4, "info", "no/such", says="no/such")
        self.fails(4, "info", self.path("junk.safetensors", "junk"), says="junk.safetensors")


if __name__ == "__main__":
    if not os.access(GRAFT, os.X_OK):
        sys.exit(f"{GRAFT} is not there; run make first")
    unittest.main()
