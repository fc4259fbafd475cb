"""`graft export --to safetensors`: one file, which other readers see as tensors alone."""
import json
import unittest

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from peers import (Case, embed, evaluate, export, for_each_model, demo_run, fresh, graft, predict,
                   read_json, tensors, texts)


def parameters(folder):
    """What graft keeps of a folder, as {name: array}."""
    found = tensors(folder / "model.safetensors")
    kept = {}
    classifier = "classifier.weight" in found
    for name, value in found.items():
        if name.startswith("classifier."):
            kept["heads." + name] = value
        elif classifier or not name.startswith("pooler."):
            kept[name] = value
    for dense in folder.glob("2_Dense/model.safetensors"):
        for name, value in tensors(dense).items():
            kept["dense." + name.removeprefix("linear.")] = value
    if (folder / "heads.safetensors").exists():
        kept.update(tensors(folder / "heads.safetensors"))
    return kept


class Safetensors(Case):
    @for_each_model()
    def test_all_tensors_are_equal(self, name, model, folder):
        got, wanted = load_file(export(model, "safetensors")), parameters(folder)
        self.assertEqual(sorted(got), sorted(wanted))
        for key, value in wanted.items():
            self.assertTrue(torch.equal(got[key], torch.from_numpy(value)), key)

    @for_each_model()
    def test_half_precision(self, name, model, folder):
        """Rounded to nearest, as PyTorch rounds."""
        wanted = parameters(folder)
        for option, dtype in ("f16", torch.float16), ("bf16", torch.bfloat16):
            out = export(model, "safetensors", "--dtype", option)
            got = load_file(out)
            self.assertIn(dtype, {t.dtype for t in got.values()})
            for key, value in wanted.items():
                exact = torch.from_numpy(value).to(got[key].dtype)
                self.assertTrue(torch.equal(got[key], exact), key)
                self.assertEqual(got[key].dtype, dtype)
            self.assertEqual(embed(out, texts(20)).shape, embed(model, texts(20)).shape)

    @for_each_model()
    def test_graft_opens_the_file(self, name, model, folder):
        out = export(model, "safetensors")
        self.check_equal(embed(out, texts(60)), embed(model, texts(60)))
        self.assertTrue(graft("diff", model, out).startswith("equal: "))

    def test_predictions_and_metrics(self):
        out = export(demo_run(), "safetensors")
        got, wanted = predict(out, texts()), predict(demo_run(), texts())
        self.assertEqual(sorted(got), ["category", "sentiment"])
        for task, (classes, scores) in wanted.items():
            self.assertEqual(got[task][0], classes)
            self.check_equal(got[task][1], scores, task)
        self.assertEqual(evaluate(out, "demo/test.jsonl"), evaluate(demo_run(), "demo/test.jsonl"))

    def test_metadata_says_what_the_tensors_do_not(self):
        with safe_open(export(demo_run(), "safetensors"), "pt") as f:
            told = f.metadata()
        config = json.loads(told["graft.config"])
        self.assertEqual(config, read_json(demo_run() / "model/config.json"))
        self.assertEqual(json.loads(told["graft.heads"]),
                         read_json(demo_run() / "model/heads.json"))
        self.assertEqual(json.loads(told["graft.tokenizer"]),
                         read_json(demo_run() / "model/tokenizer.json"))
        self.assertEqual(json.loads(told["graft.outline"]), {
            "pooling": "mean", "normalize": True, "max_length": 64, "dense": None})

    def test_a_file_that_python_wrote_again_opens(self):
        out, again = export(demo_run(), "safetensors"), fresh("again")
        with safe_open(out, "pt") as f:
            save_file(load_file(out), again, f.metadata())
        self.check_equal(embed(again, texts(60)), embed(demo_run(), texts(60)))


if __name__ == "__main__":
    unittest.main()
