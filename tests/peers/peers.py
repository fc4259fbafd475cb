"""What the tests against other tools share: the models, the texts, and ways to run graft.

GRAFT is the program (default build/graft), GRAFT_PEERS_RUN a run of demo/two-phase.json (without it
one is trained, which takes seconds), GRAFT_MODEL a sentence-transformers folder with real weights
(default models/all-MiniLM-L6-v2; tests that want one are skipped without it).
"""
import atexit
import functools
import json
import os
import pathlib
import random
import shutil
import subprocess
import tempfile
import unittest

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error",
                  TOKENIZERS_PARALLELISM="false")

import numpy  # noqa: E402 (the environment is read when these are imported)
import torch  # noqa: E402
import transformers  # noqa: E402
from safetensors.numpy import load_file  # noqa: E402

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
torch.set_num_threads(1)

ROOT = pathlib.Path(__file__).resolve().parents[2]
GRAFT = os.path.abspath(os.environ.get("GRAFT", ROOT / "build/graft"))
GOLDEN = ROOT / "tests/golden"
CASES = ["mean_gelu", "cls_gelu_new", "max_eps", "cased_f16", "mean_bf16", "dense_tanh",
         "dense_identity", "classifier"]
REAL = pathlib.Path(os.environ.get("GRAFT_MODEL", ROOT / "models/all-MiniLM-L6-v2")).resolve()

ODD = ["", " ", "a", "?", "the cheese was tasty", "THE CHEESE WAS TASTY", "ok ok ok ok ok ok ok",
       "Crème brûlée à la carte, naïve façade", "Größe und Maß: übermäßig groß", "İstanbul'da çay",
       "Он купил новый телефон вчера", "手机坏了", "このチーズは美味しいです", "치즈가 맛있어요",
       "फोन काम नहीं कर रहा है", "الهاتف لا يعمل", "Great product 👍👍🏽 😀",
       "tabs\tand\nlines\r\nends",
       "zero\u200bwidth, soft\u00adhyphen, no\u00a0break", "full width ＡＢＣ １２３",
       "ligatures: ﬁnd, waﬄe",
       "combining: e\u0301 versus \u00e9", "[MASK] is a [UNK] token [SEP] or not[MASK]", "x" * 150,
       "https://example.com/item?id=123&ref=a_b", "£19.99, €12,50 -- 3/5 (so-so) \"great!\"",
       "red shoes, and a phone that is too loud for the cat", "goes on and on. " * 300]


@functools.cache
def texts(count=200):
    """The odd ones and, in a fixed order, rows of the demo, some joined to longer ones."""
    lines = (ROOT / "demo/test.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line)["text"] for line in lines]
    draw = random.Random(7)
    more = [" ".join(draw.sample(rows, draw.choice([1, 1, 1, 2, 5]))) for _ in range(count)]
    return (ODD + more)[:count]


# ---- graft ----

def graft(*arguments, fails=0):
    """Standard output; with `fails`, the exit status that is wanted, standard error too."""
    done = subprocess.run([GRAFT, *map(str, arguments)], stdin=subprocess.DEVNULL,
                          capture_output=True, encoding="utf-8")
    if done.returncode != fails:
        raise AssertionError(f"graft {' '.join(map(str, arguments))}: exit status "
                             f"{done.returncode}, {fails} wanted: {done.stderr}")
    return done.stdout + (done.stderr if fails else "")


@functools.cache
def scratch():
    """A folder that is removed at the end."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="graft-peers-")).resolve()
    atexit.register(shutil.rmtree, folder, True)
    return folder


def fresh(name):
    """A path in the scratch folder at which nothing is."""
    n = 0
    while (path := scratch() / f"{name}-{n}").exists():
        n += 1
    return path


def input_file(rows):
    path = scratch() / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": t}) + "\n" for t in rows), encoding="utf-8")
    return path


def embed(model, rows, *options):
    """float32 [rows, embedding]"""
    out = scratch() / "embeddings.npy"
    graft("embed", "--model", model, "--input", input_file(rows), "--output", out, *options)
    return numpy.load(out)


def tokenize(model, rows, *options):
    """A list of ids for each text."""
    lines = graft("tokenize", "--model", model, "--input", input_file(rows), *options).splitlines()
    return [json.loads(line)["ids"] for line in lines]


def predict(model, rows, *options):
    """{task: (classes, float64 [rows, classes])}"""
    lines = [json.loads(line) for line in
             graft("predict", "--model", model, "--scores", "--input", input_file(rows),
                   *options).splitlines()]
    return {task: (list(lines[0][task]["scores"]),
                   numpy.array([list(line[task]["scores"].values()) for line in lines]))
            for task in lines[0] if task != "text"}


def evaluate(model, data):
    return json.loads(graft("eval", model, data, "--json"))


def export(model, to, *options):
    """The path of what was written; what graft says of it must be that."""
    out = fresh(to)
    said = graft("export", model, "--to", to, out, *options)
    if not said.startswith(f"{out}: read again, "):
        raise AssertionError(f"graft export says {said}")
    return out


# ---- models ----

def write_json(path, value):
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value))


def read_json(path):
    return json.loads(pathlib.Path(path).read_text(encoding="utf-8"))


@functools.cache
def demo_run():
    """A run folder."""
    if "GRAFT_PEERS_RUN" in os.environ:
        return pathlib.Path(os.environ["GRAFT_PEERS_RUN"]).resolve()
    run = scratch() / "run"
    graft("train", ROOT / "demo/two-phase.json", "--set", "phases.1.epochs=1", "--output", run,
          "--quiet")
    return run


@functools.cache
def assembled(name):
    """A golden case as one sentence-transformers folder with heads, or the classifier as it is."""
    case, to = GOLDEN / name, scratch() / name
    told = read_json(case / "case.json")
    shutil.copytree(case / "model", to)
    if not (case / "heads.safetensors").exists():
        return to
    shutil.copy(case / "heads.safetensors", to)
    write_json(to / "heads.json", {"version": 1, "tasks": [
        {"name": t["name"], "type": "classification", "classes": t["classes"]}
        for t in told["tasks"]]})
    if (to / "modules.json").exists():
        return to
    kinds = ["Transformer", "Pooling"] + ["Normalize"] * told["normalize"]
    write_json(to / "modules.json", [
        {"idx": i, "name": str(i), "path": f"{i}_{kind}" if i else "",
         "type": "sentence_transformers.models." + kind} for i, kind in enumerate(kinds)])
    write_json(to / "sentence_bert_config.json", {"max_seq_length": 32, "do_lower_case": False})
    write_json(to / "1_Pooling/config.json", {
        "word_embedding_dimension": read_json(to / "config.json")["hidden_size"],
        **{"pooling_mode_" + mode: told["pooling"] == short for short, mode in
           [("mean", "mean_tokens"), ("cls", "cls_token"), ("max", "max_tokens")]}})
    return to


def models(*unwanted):
    """(name, MODEL, its folder): the demo's run, the golden cases, real weights where there are."""
    yield "demo", demo_run(), demo_run() / "model"
    for name in CASES:
        if name not in unwanted:
            yield name, assembled(name), assembled(name)
    if REAL.exists():
        yield REAL.name, REAL, REAL


def tensors(path):
    """{name: float32 array} of a safetensors file, by graft's names."""
    found = {}
    try:
        every = load_file(path)
    except (AttributeError, KeyError, TypeError):  # numpy has no bfloat16
        from safetensors.torch import load_file as load
        every = {name: t.float().numpy() for name, t in load(path).items()}
    for name, value in every.items():
        name = name.removeprefix("bert.").replace("LayerNorm.gamma", "LayerNorm.weight")
        if value.dtype.kind in "fV" and not name.startswith("cls."):
            found[name.replace("LayerNorm.beta", "LayerNorm.bias")] = value.astype("float32")
    return found


def max_length(folder):
    return int(read_json(folder / "tokenizer_config.json")["model_max_length"])


def pad(rows):
    """The inputs for rows of token ids, padded on the right."""
    ids = numpy.zeros((len(rows), max(map(len, rows))), "int64")
    mask = numpy.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, :len(row)], mask[i, :len(row)] = row, 1
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": numpy.zeros_like(ids)}


def load_bert(folder, **options):
    """In evaluation mode, float32 unless told."""
    return transformers.AutoModel.from_pretrained(
        folder, **{"dtype": torch.float32, **options}).eval()


def hidden_states(bert, rows):
    """float32 [rows, tokens, hidden], and the mask"""
    inputs = pad(rows)
    with torch.no_grad():
        out = bert(**{k: torch.from_numpy(v) for k, v in inputs.items()}).last_hidden_state
    return out.float().numpy(), inputs["attention_mask"]


def for_each_model(*unwanted):
    """Makes of test(self, name, model, folder) a test with a subtest for each model."""
    def decorate(test):
        @functools.wraps(test)
        def run(self):
            for name, model, folder in models(*unwanted):
                with self.subTest(model=name):
                    test(self, name, model, folder)
        return run
    return decorate


class Case(unittest.TestCase):
    def check_close(self, got, wanted, tolerance, what=""):
        """Differences are relative to the largest wanted value, or to 1 where that is smaller."""
        got, wanted = numpy.asarray(got, "float64"), numpy.asarray(wanted, "float64")
        self.assertEqual(got.shape, wanted.shape, what)
        self.assertTrue(numpy.isfinite(got).all(), what)
        worst = numpy.abs(got - wanted).max() / max(1, numpy.abs(wanted).max())
        self.assertLessEqual(worst, tolerance, what)

    def check_equal(self, got, wanted, what=""):
        self.assertEqual(got.shape, wanted.shape, what)
        self.assertTrue(numpy.array_equal(got, wanted),
                        f"{what}: they differ by up to {abs(got - wanted).max()}")
