"""What the tests of train, resume, plan and check share: a small project and ways to run graft.

A project is a folder with a recipe, slices of demo/'s data, and demo/tiny-bert made smaller still,
its weights drawn from the seed. Only Python's standard library is used.
"""
import fcntl
import json
import os
import pathlib
import re
import shutil
import struct
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
GRAFT = os.path.abspath(os.environ.get("GRAFT", ROOT / "build/graft"))
SHAPE = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2,
         "intermediate_size": 64, "max_position_embeddings": 64, "vocab_size": 1473}
ROWS = {"train": 200, "dev": 60, "test": 50}
SENTIMENTS = ["negative", "neutral", "positive"]
BATCH, HEADS, ALL = 8, 25, 75  # rows of a batch, updates of the two phases
RECIPE = {
    "_": "two phases as in demo/, but seconds short; a line of the log for every update",
    "model": {"base": "bert", "init": "random", "max_length": 32},
    "data": {name: name + ".jsonl" for name in ROWS},
    "tasks": [{"name": "category"},
              {"name": "sentiment", "classes": SENTIMENTS, "weight": 0.5}],
    "batch": {"size": BATCH},
    "phases": [
        {"name": "heads", "epochs": 1, "trainable": {"heads.*": {"lr": 1e-2}}},
        {"name": "all", "epochs": 3,
         "trainable": {"heads.*": {"lr": 1e-2}, "*": {"lr": 1e-3, "layer_decay": 0.5}},
         "schedule": {"type": "linear", "warmup": 0.1}, "loss_weights": {"category": 2}}],
    "log": {"every_steps": 1},
    "output": "run",
}
SANITIZER = re.compile(r"AddressSanitizer|LeakSanitizer|runtime error:|Sanitizer:")
ALONE = ("--threads", 1)  # the quickest for runs this small
PIPE_SIZE = 1031  # F_SETPIPE_SZ, which Python names from 3.10 on


def make_project(folder, recipe=RECIPE):
    """Fills a folder, which is made; returns the path of the recipe."""
    folder.mkdir(parents=True)
    shutil.copytree(ROOT / "demo/tiny-bert", folder / "bert")
    config = json.loads((folder / "bert/config.json").read_text())
    (folder / "bert/config.json").write_text(json.dumps({**config, **SHAPE}))
    for name, count in ROWS.items():
        lines = (ROOT / f"demo/{name}.jsonl").read_text().splitlines(keepends=True)
        (folder / f"{name}.jsonl").write_text("".join(lines[:count]))
    (folder / "recipe.json").write_text(json.dumps(recipe))
    return folder / "recipe.json"


def graft(*args, cwd=None, env=None):
    return subprocess.run([GRAFT, *map(str, args)], stdin=subprocess.DEVNULL, text=True,
                          capture_output=True, cwd=cwd, env={**os.environ, **(env or {})},
                          timeout=300)


def sets(**changes):
    """--set arguments; a key's dots are written as two underscores."""
    return [word for key, value in changes.items()
            for word in ("--set", key.replace("__", ".") + "=" + json.dumps(value))]


def start_slowly(*args):
    """A process whose standard error is a pipe of one page, so that it can be no more than some
    forty lines ahead of whoever reads them."""
    p = subprocess.Popen([GRAFT, *map(str, args)], stdin=subprocess.DEVNULL,
                         stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, bufsize=0)
    fcntl.fcntl(p.stderr, PIPE_SIZE, 4096)
    return p


def read_until(p, pattern):
    for line in p.stderr:
        if re.search(pattern, line.decode()):
            return line.decode()
    raise AssertionError(f"the run ended before it wrote {pattern}")


def log_of(run):
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def without_times(log):
    return [{k: v for k, v in line.items() if k != "tokens_per_s"} for line in log]


def metrics_of(run):
    return json.loads((run / "metrics.json").read_text())


def results_of(run):
    """{path: bytes} of all that two runs of one recipe have in common."""
    files = [p for part in ("checkpoints", "model") for p in (run / part).rglob("*") if p.is_file()]
    return {str(p.relative_to(run)): p.read_bytes() for p in files + [run / "metrics.json"]}


def read_safetensors(path):
    """{name: bytes}"""
    data = path.read_bytes()
    (n,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8:8 + n])
    header.pop("__metadata__", None)
    return {name: data[8 + n + t["data_offsets"][0]:8 + n + t["data_offsets"][1]]
            for name, t in header.items()}


class Case(unittest.TestCase):
    """self.folder is a new folder for the class, self.recipe a project's recipe in it."""

    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="graft-test-")).resolve()
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.recipe = make_project(cls.folder / "project")

    def ok(self, *args, **more):
        done = graft(*args, **more)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIsNone(SANITIZER.search(done.stderr), done.stderr)
        return done

    def fails(self, status, *args, says, **more):
        """One line that begins "graft: error: " and matches, at most notes before it, nothing on
        standard output."""
        done = graft(*args, **more)
        lines = done.stderr.splitlines()
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertTrue(lines, "nothing on standard error")
        self.assertTrue(all(line.startswith("graft: ") for line in lines), done.stderr)
        errors = [line for line in lines if line.startswith("graft: error: ")]
        self.assertEqual(errors, lines[-1:], done.stderr)
        self.assertRegex(lines[-1], says)
        self.assertEqual(done.stdout, "")
        return lines[-1]

    def train(self, name, *args, recipe=None):
        """Trains into self.folder/NAME, which it returns."""
        run = self.folder / name
        self.ok("train", recipe or self.recipe, "--output", run, "--quiet", *ALONE, *args)
        return run

    def assert_same_results(self, run, expected):
        got, wanted = results_of(run), results_of(expected)
        self.assertEqual(sorted(got), sorted(wanted))
        for path in wanted:
            self.assertTrue(got[path] == wanted[path], f"{run.name}/{path} differs")
