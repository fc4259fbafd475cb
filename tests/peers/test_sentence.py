"""`graft export --to sentence-transformers` in sentence-transformers, and its folders in graft."""
import json
import shutil
import unittest
import warnings

import numpy
import torch
import yaml
from huggingface_hub import ModelCard
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Dense, Normalize, Pooling, Transformer

from peers import (REAL, Case, assembled, demo_run, embed, evaluate, export, for_each_model, fresh,
                   graft, models, predict, read_json, texts, tokenize)

warnings.filterwarnings("ignore", category=FutureWarning)

TOLERANCE = 1e-6
HIDDEN = 24  # of the golden BERT that modules are put on

# Pipelines behind it: pooling, Dense (outputs, bias, activation), whether normalised.
PIPELINES = {
    "mean": ("mean", None, True),
    "mean, not normalised": ("mean", None, False),
    "cls": ("cls", None, True),
    "max": ("max", None, False),
    "Dense Tanh": ("mean", (17, True, torch.nn.Tanh()), True),
    "Dense Tanh, not normalised": ("cls", (40, False, torch.nn.Tanh()), False),
    "Dense Identity": ("max", (5, True, torch.nn.Identity()), False),
}


def open_sentence(folder, **options):
    return SentenceTransformer(str(folder), device="cpu", **options)


def encode(model, rows, **options):
    return model.encode(rows, show_progress_bar=False, **options)


def build(pooling, dense, normalize, base=None):
    torch.manual_seed(5)
    base = base or assembled("mean_gelu")
    modules = [Transformer(str(base), max_seq_length=20), Pooling(HIDDEN, pooling_mode=pooling)]
    if dense:
        modules.append(Dense(HIDDEN, dense[0], bias=dense[1], activation_function=dense[2]))
    return SentenceTransformer(modules=modules + [Normalize()] * normalize, device="cpu")


class Written(Case):
    """by graft"""
    @classmethod
    def setUpClass(cls):
        cls.out = {name: export(model, "sentence-transformers") for name, model, _ in models()}
        cls.opened = {name: open_sentence(out) for name, out in cls.out.items()}

    @for_each_model()
    def test_padded_batches(self, name, model, _):
        """Texts of all lengths, from the empty one to those beyond max_length."""
        st, wanted = self.opened[name], embed(model, texts())
        self.check_close(encode(st, texts()), wanted, TOLERANCE)
        self.check_close(encode(st, texts(), batch_size=7), wanted, TOLERANCE)
        self.check_equal(embed(self.out[name], texts()), wanted)

    @for_each_model()
    def test_single_texts(self, name, model, _):
        rows = texts(60)
        wanted = embed(model, rows)
        for i, text in enumerate(rows):
            self.check_close(encode(self.opened[name], text), wanted[i], TOLERANCE, repr(text[:60]))
            self.check_close(encode(self.opened[name], [text])[0], wanted[i], TOLERANCE)

    @for_each_model()
    def test_long_texts_are_cut_alike(self, name, model, folder):
        st, rows = self.opened[name], ["good cheese " * n for n in (10, 30, 300, 700)]
        told = folder / "sentence_bert_config.json"
        longest = told.exists() and read_json(told).get("max_seq_length") or \
            read_json(folder / "config.json")["max_position_embeddings"]
        self.assertEqual(st.max_seq_length, longest)
        self.assertEqual([len(ids) for ids in tokenize(model, rows[2:])], [longest] * 2)
        self.check_close(encode(st, rows), embed(model, rows), TOLERANCE)

    @for_each_model()
    def test_empty_text(self, name, model, _):
        empty = ["", "   ", "a"]
        self.check_close(encode(self.opened[name], empty), embed(model, empty), TOLERANCE)

    @for_each_model()
    def test_similarity(self, name, model, _):
        pair = ["the cheese was tasty", "red shoes, and a phone"]
        st = self.opened[name]
        wanted = st.similarity(*encode(st, pair)).item()
        self.assertAlmostEqual(float(graft("similarity", "--model", model, *pair)), wanted, 4)

    @for_each_model()
    def test_half_precision(self, name, model, _):
        for dtype in "f16", "bf16":
            out = export(model, "sentence-transformers", "--dtype", dtype)
            encoded = encode(open_sentence(out), texts(60))
            self.check_close(encoded, embed(out, texts(60)), TOLERANCE)

    def test_heads_lie_beside_it(self):
        """They change nothing for sentence-transformers, and graft reads them."""
        out, bare = self.out["demo"], export(demo_run(), "sentence-transformers", "--without-heads")
        self.assertTrue((out / "heads.json").exists() and (out / "heads.safetensors").exists())
        self.assertFalse((bare / "heads.json").exists() or (bare / "heads.safetensors").exists())
        self.check_equal(encode(self.opened["demo"], texts(60)),
                         encode(open_sentence(bare), texts(60)))
        got, wanted = predict(out, texts()), predict(demo_run(), texts())
        for task in "category", "sentiment":
            self.assertEqual(got[task][0], wanted[task][0])
            self.check_equal(got[task][1], wanted[task][1])

    @for_each_model()
    def test_saved_again(self, name, model, _):
        """By sentence-transformers, in its version's dialect; the heads are put beside it again."""
        again = fresh("again")
        self.opened[name].save(str(again), create_model_card=False)
        self.check_equal(embed(again, texts(60)), embed(model, texts(60)))
        if name == "demo":
            for part in "heads.json", "heads.safetensors":
                shutil.copy(self.out[name] / part, again)
            self.assertEqual(evaluate(again, "demo/test.jsonl"),
                             evaluate(demo_run(), "demo/test.jsonl"))

    def test_the_card(self):
        text = (self.out["demo"] / "README.md").read_text(encoding="utf-8")
        front, body = text.split("---\n", 2)[1:]
        told = yaml.safe_load(front)
        self.assertEqual(told["library_name"], "sentence-transformers")
        self.assertEqual(told["pipeline_tag"], "sentence-similarity")
        card = ModelCard(text)
        self.assertIn("sentence-transformers", card.data.tags)
        self.assertEqual(card.text.strip(), body.strip())
        metrics = read_json(demo_run() / "metrics.json")
        for split in "dev", "test":
            for task, m in metrics[split].items():
                self.assertIn(f"| {task} | {split} | {m['support']} | {m['loss']:.4f} | "
                              f"{m['accuracy']:.4f} | {m['macro_f1']:.4f} |\n", body)
        recipe = json.loads(body.split("```json\n")[1].split("```")[0])
        self.assertEqual([p["name"] for p in recipe["phases"]], ["heads", "all"])
        for task in read_json(demo_run() / "model/heads.json")["tasks"]:
            for label in task["classes"]:
                self.assertIn(label, body)

    @for_each_model()
    def test_cards_of_other_models(self, name, *_):
        card = ModelCard((self.out[name] / "README.md").read_text(encoding="utf-8"))
        self.assertEqual(card.data.library_name, "sentence-transformers")


class Read(Case):
    """by graft"""
    def test_saved_pipelines(self):
        rows = texts(80)
        for what, parts in PIPELINES.items():
            with self.subTest(what):
                model, folder = build(*parts), fresh("saved")
                model.save(str(folder), create_model_card=False)
                wanted = encode(model, rows)
                self.check_close(embed(folder, rows), wanted, TOLERANCE)
                out = export(folder, "sentence-transformers")
                self.check_close(encode(open_sentence(out), rows), wanted, TOLERANCE)
                self.check_equal(embed(out, rows), embed(folder, rows))

    def test_saved_with_pickles(self):
        rows, parts = texts(40), PIPELINES["Dense Tanh"]
        model, folder = build(*parts), fresh("saved")
        try:
            model.save(str(folder), create_model_card=False, safe_serialization=False)
        except (TypeError, ValueError) as why:
            self.skipTest(f"this version does not write them: {why}")
        if not list(folder.glob("**/pytorch_model.bin")):
            self.skipTest("this version does not write them")
        self.check_close(embed(folder, rows), encode(model, rows), TOLERANCE)

    def test_saved_cased(self):
        model, folder, rows = build("mean", None, True), fresh("saved"), texts(60)
        del model
        torch.manual_seed(5)
        base = assembled("cased_f16")
        hidden = read_json(base / "config.json")["hidden_size"]
        model = SentenceTransformer(modules=[Transformer(str(base)), Pooling(hidden)], device="cpu")
        model.float().save(str(folder), create_model_card=False)
        self.check_close(embed(folder, rows), encode(model, rows), TOLERANCE)

    @unittest.skipUnless(REAL.exists(), f"no real weights in {REAL.name}")
    def test_real_weights(self):
        st = open_sentence(REAL)
        self.check_close(embed(REAL, texts()), encode(st, texts()), TOLERANCE)
        folder = fresh("saved")
        st.save(str(folder), create_model_card=False)
        self.check_equal(embed(folder, texts(60)), embed(REAL, texts(60)))
        norms = numpy.linalg.norm(embed(REAL, texts(20)), axis=1)
        self.check_close(norms, numpy.ones(20), 1e-6)


if __name__ == "__main__":
    unittest.main()
