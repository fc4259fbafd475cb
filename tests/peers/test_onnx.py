"""`graft export --to onnx` in ONNX Runtime, against PyTorch's golden values, transformers, graft.

usage: python3 tests/peers/test_onnx.py         (needs onnxruntime; onnx, torch and transformers
                                                 are used where they can be imported)

GRAFT is the program (default build/graft), GRAFT_MODEL one model folder or golden case to test;
without it all golden cases are.
"""
import json
import os
import pathlib
import shutil
import struct
import subprocess
import tempfile
import unittest

try:
    import numpy
    import onnxruntime
except ImportError:
    numpy = onnxruntime = None
try:
    import onnx
except ImportError:
    onnx = None
try:
    import torch
    import transformers
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
except ImportError:
    torch = transformers = None

ROOT = pathlib.Path(__file__).resolve().parents[2]
GRAFT = os.path.abspath(os.environ.get("GRAFT", ROOT / "build/graft"))
GOLDEN = ["mean_gelu", "cls_gelu_new", "max_eps", "cased_f16", "mean_bf16", "dense_tanh",
          "dense_identity", "classifier"]
TEXTS = ["the cheese was tasty", "a", "", "red shoes, and a phone that is too loud for the cat"]
TOLERANCE = 1e-5  # of the largest wanted value, or of 1 where that is smaller
TYPES = {"F32": "<f4", "F64": "<f8", "I64": "<i8"}


def read_safetensors(path):
    data = pathlib.Path(path).read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header, found = json.loads(data[8:8 + size]), {}
    header.pop("__metadata__", None)
    for name, entry in header.items():
        begin, end = (8 + size + offset for offset in entry["data_offsets"])
        if entry["dtype"] in TYPES:
            found[name] = numpy.frombuffer(data[begin:end], TYPES[entry["dtype"]]).reshape(
                entry["shape"])
    return found


def write_json(path, value):
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value))


def assemble(case, to):
    """A golden case as one sentence-transformers folder with heads, or the classifier as it is."""
    told = json.loads((case / "case.json").read_text())
    shutil.copytree(case / "model", to)
    if not (case / "heads.safetensors").exists():
        return
    shutil.copy(case / "heads.safetensors", to)
    write_json(to / "heads.json", {"version": 1, "tasks": [
        {"name": t["name"], "type": "classification", "classes": t["classes"]}
        for t in told["tasks"]]})
    if (to / "modules.json").exists():
        return
    kinds = ["Transformer", "Pooling"] + ["Normalize"] * told["normalize"]
    write_json(to / "modules.json", [
        {"idx": i, "name": str(i), "path": f"{i}_{kind}" if i else "",
         "type": "sentence_transformers.models." + kind} for i, kind in enumerate(kinds)])
    write_json(to / "1_Pooling/config.json", {
        "word_embedding_dimension": json.loads((to / "config.json").read_text())["hidden_size"],
        **{"pooling_mode_" + mode: told["pooling"] == short for short, mode in
           [("mean", "mean_tokens"), ("cls", "cls_token"), ("max", "max_tokens")]}})


def graft(*arguments, text=None):
    done = subprocess.run([GRAFT, *map(str, arguments)], input=text, capture_output=True, text=True)
    if done.returncode:
        raise AssertionError(f"graft {arguments[0]}: {done.stderr}")
    return done.stdout


def pad(rows):
    """The inputs for rows of token ids, padded on the right."""
    ids = numpy.zeros((len(rows), max(map(len, rows))), "int64")
    mask = numpy.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, :len(row)], mask[i, :len(row)] = row, 1
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": numpy.zeros_like(ids)}


class Exported:
    """A model folder, its two graphs, and how to run them."""

    def __init__(self, folder, model, case=None):
        self.model, self.case = model, case
        self.out = folder / "exported"
        graft("export", model, "--to", "onnx", self.out)
        self.full = self.open(self.out / "model.onnx")
        self.encoder = self.open(self.out / "onnx/model.onnx")
        self.hidden = json.loads((model / "config.json").read_text())["hidden_size"]
        self.size = self.hidden  # of an embedding
        for dense in model.glob("*_Dense/config.json"):
            self.size = json.loads(dense.read_text())["out_features"]
        self.heads = self.read_heads()

    def read_heads(self):
        """{task: (weight, bias)}"""
        if (self.model / "heads.json").exists():
            weights = read_safetensors(self.model / "heads.safetensors")
            tasks = json.loads((self.model / "heads.json").read_text())["tasks"]
            return {t["name"]: [weights[f"heads.{t['name']}.{part}"] for part in ("weight", "bias")]
                    for t in tasks}
        weights = read_safetensors(self.model / "model.safetensors")
        if "classifier.weight" in weights:
            return {"classifier": [weights["classifier.weight"], weights["classifier.bias"]]}
        return {}

    @staticmethod
    def open(path):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        return onnxruntime.InferenceSession(str(path), options)

    def run(self, rows):
        names = [o.name for o in self.full.get_outputs()]
        return dict(zip(names, self.full.run(None, pad(rows))))


@unittest.skipIf(onnxruntime is None, "onnxruntime is not installed")
class Onnx(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.models = []
        wanted = os.environ.get("GRAFT_MODEL")
        for path in [wanted] if wanted else [ROOT / "tests/golden" / name for name in GOLDEN]:
            path = pathlib.Path(path)
            folder = pathlib.Path(cls.folder.name, str(len(cls.models)))
            folder.mkdir()
            case = path if (path / "case.json").exists() else None
            if case:
                assemble(case, folder / "model")
            cls.models.append(Exported(folder, folder / "model" if case else path.resolve(), case))

    def each(self):
        for x in self.models:
            self.where = str(x.case or x.model)  # for messages
            yield x

    def check(self, got, wanted, what):
        what = f"{self.where}: {what}"
        self.assertEqual(got.shape, wanted.shape, what)
        self.assertTrue(numpy.isfinite(got).all(), what)
        worst = numpy.abs(got.astype("f8") - wanted).max() / max(1, numpy.abs(wanted).max())
        self.assertLessEqual(worst, TOLERANCE, what)

    def random_rows(self, x, lengths):
        config = json.loads((x.model / "config.json").read_text())
        rng = numpy.random.default_rng(1)
        return [list(rng.integers(0, config["vocab_size"], n)) for n in lengths]

    @unittest.skipIf(onnx is None, "onnx is not installed")
    def test_the_checker_accepts_it(self):
        for x in self.each():
            for name in "model.onnx", "onnx/model.onnx":
                model = onnx.load(x.out / name)
                onnx.checker.check_model(model, full_check=True)
                self.assertEqual((model.ir_version, model.opset_import[0].version), (8, 17))

    def test_inputs_and_outputs(self):
        for x in self.each():
            outputs = [("last_hidden_state", ["batch", "sequence", x.hidden])]
            for graph in x.encoder, x.full:
                self.assertEqual([(i.name, i.type, i.shape) for i in graph.get_inputs()], [
                    (name, "tensor(int64)", ["batch", "sequence"])
                    for name in ("input_ids", "attention_mask", "token_type_ids")])
            self.assertEqual([(o.name, o.shape) for o in x.encoder.get_outputs()], outputs)
            outputs.append(("sentence_embedding", ["batch", x.size]))
            outputs += [(f"logits_{name}", ["batch", len(bias)])
                        for name, (_, bias) in x.heads.items()]
            self.assertEqual([(o.name, o.shape) for o in x.full.get_outputs()], outputs)

    @unittest.skipIf(onnx is None, "onnx is not installed")
    def test_it_names_the_classes(self):
        for x in self.each():
            told = {p.key: p.value for p in onnx.load(x.out / "model.onnx").metadata_props}
            self.assertEqual("heads" in told, bool(x.heads))
            if (x.model / "heads.json").exists():
                self.assertEqual(json.loads(told["heads"]),
                                 json.loads((x.model / "heads.json").read_text()))

    def test_golden_values(self):
        for x in self.each():
            if not x.case:
                continue
            rows = json.loads((x.case / "case.json").read_text())["ids"]
            wanted = read_safetensors(x.case / "expected.safetensors")
            got = x.run(rows)
            hidden = got["last_hidden_state"][pad(rows)["attention_mask"] == 1]
            self.check(hidden, wanted["last_hidden_state"], "last_hidden_state")
            self.check(got["sentence_embedding"], wanted["embedding"], "sentence_embedding")
            for name in x.heads:
                self.check(got["logits_" + name], wanted["logits/" + name], name)

    def test_padding_changes_nothing(self):
        for x in self.each():
            rows = self.random_rows(x, [17, 5, 1, 9])
            together = x.run(rows + [[]])  # the last row is padding alone
            for name, value in together.items():
                self.assertTrue(numpy.isfinite(value).all(), name)
            for i, row in enumerate(rows):
                for name, alone in x.run([row]).items():
                    got = together[name][i:i + 1]
                    if name == "last_hidden_state":
                        got = got[:, :len(row)]
                    self.check(got, alone, name)

    def test_both_graphs_agree(self):
        for x in self.each():
            inputs = pad(self.random_rows(x, [4, 12]))
            self.check(x.encoder.run(None, inputs)[0],
                       x.full.run(["last_hidden_state"], inputs)[0], "last_hidden_state")

    def test_logits_come_from_the_embedding(self):
        for x in self.each():
            got = x.run(self.random_rows(x, [4, 12, 1]))
            for name, (weight, bias) in x.heads.items():
                self.check(got["logits_" + name], got["sentence_embedding"] @ weight.T + bias, name)

    def test_it_embeds_as_graft_does(self):
        for x in self.each():
            lines = "".join(json.dumps({"text": t}) + "\n" for t in TEXTS)
            source = x.out / "texts.jsonl"
            source.write_text(lines)
            tokens, wanted = (
                [json.loads(line) for line in
                 graft(command, "--model", x.model, "--input", source).splitlines()]
                for command in ("tokenize", "embed"))
            self.check(x.run([t["ids"] for t in tokens])["sentence_embedding"],
                       numpy.array([w["embedding"] for w in wanted]), "sentence_embedding")

    @unittest.skipIf(torch is None, "torch and transformers are not installed")
    def test_it_computes_as_transformers_does(self):
        for x in self.each():
            if x.case and x.case.name == "cased_f16":
                continue  # transformers would compute in half precision
            bert = transformers.BertModel.from_pretrained(
                x.model, add_pooling_layer=False, attn_implementation="eager").eval().double()
            inputs = pad(self.random_rows(x, [19, 7, 1]))
            inputs["token_type_ids"][0, 6:] = 1
            with torch.no_grad():
                wanted = bert(**{k: torch.from_numpy(v) for k, v in inputs.items()})[0].numpy()
            got = x.full.run(["last_hidden_state"], inputs)[0]
            real = inputs["attention_mask"] == 1
            self.check(got[real], wanted[real], "last_hidden_state")


if __name__ == "__main__":
    unittest.main()
