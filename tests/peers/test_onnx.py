"""`graft export --to onnx` in ONNX Runtime, against PyTorch's golden values and transformers."""
import json
import unittest

import numpy
import onnx
import onnxruntime
from safetensors.numpy import load_file

from peers import (CASES, GOLDEN, Case, assembled, demo_run, embed, export, for_each_model, graft,
                   hidden_states, load_bert, models, pad, predict, read_json, tensors, texts,
                   tokenize)

try:
    import optimum.onnxruntime  # noqa: F401
    from sentence_transformers import SentenceTransformer
except ImportError:
    SentenceTransformer = None

TOLERANCE = 1e-5


def open_graph(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def softmax(x):
    x = numpy.exp(x.astype("float64") - x.max(1, keepdims=True))
    return x / x.sum(1, keepdims=True)


class Exported:
    """A model's two graphs, and what they are to have."""

    def __init__(self, name, model, folder):
        self.name, self.model, self.folder = name, model, folder
        self.out = export(model, "onnx")
        self.full = open_graph(self.out / "model.onnx")
        self.encoder = open_graph(self.out / "onnx/model.onnx")
        self.config = read_json(folder / "config.json")
        self.hidden = self.size = self.config["hidden_size"]
        for dense in folder.glob("*_Dense/config.json"):
            self.size = read_json(dense)["out_features"]
        self.heads = {}  # {task: (weight, bias)}
        weights = tensors(folder / "model.safetensors")
        if (folder / "heads.json").exists():
            told, weights = read_json(folder / "heads.json"), tensors(folder / "heads.safetensors")
            for task in (t["name"] for t in told["tasks"]):
                self.heads[task] = [weights[f"heads.{task}.{p}"] for p in ("weight", "bias")]
        elif "classifier.weight" in weights:
            self.heads["classifier"] = [weights["classifier." + p] for p in ("weight", "bias")]

    def run(self, rows, inputs=None):
        names = [o.name for o in self.full.get_outputs()]
        return dict(zip(names, self.full.run(None, inputs or pad(rows)), strict=True))

    def random_rows(self, *lengths):
        rng = numpy.random.default_rng(1)
        return [list(rng.integers(0, self.config["vocab_size"], n)) for n in lengths]


class Onnx(Case):
    @classmethod
    def setUpClass(cls):
        cls.exported = {one[0]: Exported(*one) for one in models()}

    @for_each_model()
    def test_the_checker_accepts_it(self, name, *_):
        for path in "model.onnx", "onnx/model.onnx":
            model = onnx.load(self.exported[name].out / path)
            onnx.checker.check_model(model, full_check=True)
            self.assertEqual((model.ir_version, model.opset_import[0].version), (8, 17))
            self.assertEqual([o.domain for o in model.opset_import], [""])

    @for_each_model()
    def test_inputs_and_outputs(self, name, *_):
        x = self.exported[name]
        outputs = [("last_hidden_state", ["batch", "sequence", x.hidden])]
        for graph in x.encoder, x.full:
            self.assertEqual([(i.name, i.type, i.shape) for i in graph.get_inputs()], [
                (name, "tensor(int64)", ["batch", "sequence"])
                for name in ("input_ids", "attention_mask", "token_type_ids")])
        self.assertEqual([(o.name, o.shape) for o in x.encoder.get_outputs()], outputs)
        outputs.append(("sentence_embedding", ["batch", x.size]))
        outputs += [(f"logits_{task}", ["batch", len(bias)])
                    for task, (_, bias) in x.heads.items()]
        self.assertEqual([(o.name, o.shape) for o in x.full.get_outputs()], outputs)

    @for_each_model()
    def test_it_names_the_classes(self, name, *_):
        x = self.exported[name]
        told = {p.key: p.value for p in onnx.load(x.out / "model.onnx").metadata_props}
        self.assertEqual("heads" in told, bool(x.heads))
        if (x.folder / "heads.json").exists():
            self.assertEqual(json.loads(told["heads"]), read_json(x.folder / "heads.json"))

    def test_golden_values(self):
        for name in CASES:
            with self.subTest(name):
                x = self.exported[name]
                rows = read_json(GOLDEN / name / "case.json")["ids"]
                wanted = load_file(GOLDEN / name / "expected.safetensors")
                got = x.run(rows)
                hidden = got["last_hidden_state"][pad(rows)["attention_mask"] == 1]
                self.check_close(hidden, wanted["last_hidden_state"], TOLERANCE)
                self.check_close(got["sentence_embedding"], wanted["embedding"], TOLERANCE)
                for task in x.heads:
                    self.check_close(got["logits_" + task], wanted["logits/" + task], TOLERANCE)

    @for_each_model()
    def test_padding_changes_nothing(self, name, *_):
        """In a batch with a row of one token, and one that is padding alone."""
        x = self.exported[name]
        rows = x.random_rows(17, 5, 1, 9)
        together = x.run(rows + [[]])
        for output, value in together.items():
            self.assertTrue(numpy.isfinite(value).all(), output)
        for i, row in enumerate(rows):
            for output, alone in x.run([row]).items():
                got = together[output][i:i + 1]
                if output == "last_hidden_state":
                    got = got[:, :len(row)]
                self.check_close(got, alone, TOLERANCE, output)

    @for_each_model()
    def test_any_batch_and_length(self, name, *_):
        x = self.exported[name]
        positions = x.config["max_position_embeddings"]
        for batch, length in (1, 1), (1, positions), (3, 2), (40, 7):
            got = x.run(x.random_rows(*[length] * batch))
            self.assertEqual(got["last_hidden_state"].shape, (batch, length, x.hidden))
            self.assertEqual(got["sentence_embedding"].shape, (batch, x.size))

    @for_each_model()
    def test_both_graphs_agree(self, name, *_):
        x = self.exported[name]
        inputs = pad(x.random_rows(4, 12))
        self.check_equal(x.encoder.run(None, inputs)[0],
                         x.full.run(["last_hidden_state"], inputs)[0])

    @for_each_model()
    def test_logits_come_from_the_embedding(self, name, *_):
        x = self.exported[name]
        got = x.run(x.random_rows(4, 12, 1))
        for task, (weight, bias) in x.heads.items():
            self.check_close(got["logits_" + task], got["sentence_embedding"] @ weight.T + bias,
                             TOLERANCE, task)

    @for_each_model()
    def test_it_embeds_as_graft_does(self, name, model, _):
        rows = texts()
        got = self.exported[name].run(tokenize(model, rows))
        self.check_close(got["sentence_embedding"], embed(model, rows), TOLERANCE)

    @for_each_model()
    def test_it_predicts_as_graft_does(self, name, model, _):
        x, rows = self.exported[name], texts()
        if not x.heads:
            return
        got, wanted = x.run(tokenize(model, rows)), predict(model, rows)
        self.assertEqual(list(wanted), list(x.heads))
        for task, (_, scores) in wanted.items():
            self.check_close(softmax(got["logits_" + task]), scores, TOLERANCE, task)

    @for_each_model()
    def test_it_computes_as_transformers_does(self, name, _, folder):
        x, bert = self.exported[name], load_bert(folder, attn_implementation="eager").double()
        inputs = pad(x.random_rows(19, 7, 1))
        wanted, mask = hidden_states(bert, x.random_rows(19, 7, 1))
        got = x.full.run(["last_hidden_state"], inputs)[0]
        self.check_close(got[mask == 1], wanted[mask == 1], TOLERANCE)

    @for_each_model()
    def test_token_types(self, name, _, folder):
        import torch
        x, bert = self.exported[name], load_bert(folder, attn_implementation="eager").double()
        inputs = pad(x.random_rows(19, 7))
        inputs["token_type_ids"][0, 6:] = 1
        with torch.no_grad():
            wanted = bert(**{k: torch.from_numpy(v) for k, v in inputs.items()})[0].numpy()
        got, real = x.full.run(["last_hidden_state"], inputs)[0], inputs["attention_mask"] == 1
        self.check_close(got[real], wanted[real], TOLERANCE)

    @for_each_model()
    def test_initializers_are_the_parameters(self, name, model, folder):
        x = self.exported[name]
        graph = onnx.load(x.out / "model.onnx").graph
        got = {i.name: onnx.numpy_helper.to_array(i) for i in graph.initializer if "." in i.name}
        wanted = tensors(folder / "model.safetensors")
        for key, value in got.items():
            if key in wanted:
                self.check_equal(value, wanted[key], key)
        keep = [k for k in wanted if name == "classifier" or not k.startswith("pooler.")]
        self.assertEqual([k for k in keep if k not in got and not k.startswith("classifier.")], [])
        for task, parts in x.heads.items():
            for part, value in zip(("weight", "bias"), parts, strict=True):
                self.check_equal(got[f"heads.{task}.{part}"], value)

    @for_each_model()
    def test_graft_reads_it_back_equal(self, name, model, _):
        self.check_equal(embed(self.exported[name].out, texts(60)), embed(model, texts(60)))

    @unittest.skipIf(SentenceTransformer is None, "optimum-onnx is not installed")
    @for_each_model()
    def test_sentence_transformers_runs_the_encoder(self, name, model, _):
        for file in "onnx/model.onnx", "model.onnx":
            st = SentenceTransformer(str(self.exported[name].out), device="cpu", backend="onnx",
                                     model_kwargs={"file_name": file,
                                                   "provider": "CPUExecutionProvider"})
            self.check_close(st.encode(texts(80), show_progress_bar=False),
                             embed(model, texts(80)), TOLERANCE, file)

    def test_other_types_are_refused(self):
        for dtype in "f16", "bf16":
            self.assertIn("onnx", graft("export", demo_run(), "--to", "onnx", "unwritten",
                                        "--dtype", dtype, fails=4))

    def test_without_heads(self):
        graph = open_graph(export(assembled("mean_gelu"), "onnx", "--without-heads") / "model.onnx")
        self.assertEqual([o.name for o in graph.get_outputs()],
                         ["last_hidden_state", "sentence_embedding"])


if __name__ == "__main__":
    unittest.main()
