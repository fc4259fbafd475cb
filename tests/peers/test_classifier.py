"""A BertForSequenceClassification that transformers saved: graft's predictions and accuracy."""
import json
import unittest

import numpy
import torch
import transformers

from peers import (GOLDEN, REAL, Case, evaluate, export, fresh, pad, predict, scratch, texts,
                   tokenize)

CLASSES = ["refund", "praise", "question", "complaint"]
BASES = [GOLDEN / "mean_gelu/model", GOLDEN / "cls_gelu_new/model", GOLDEN / "cased_f16/model"]


def save(base, classes, **options):
    """(folder, model): a classifier with random pooler and head over a base's encoder."""
    torch.manual_seed(3)
    model = transformers.BertForSequenceClassification.from_pretrained(
        base, num_labels=len(classes), id2label=dict(enumerate(classes)),
        label2id={c: i for i, c in enumerate(classes)}, dtype=torch.float32).eval()
    with torch.no_grad():
        for p in [*model.bert.pooler.parameters(), *model.classifier.parameters()]:
            p.copy_(0.3 * torch.randn(p.shape))
    folder = fresh("classifier")
    model.save_pretrained(folder, **options)
    transformers.AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    return folder, model


def probabilities(model, rows):
    with torch.no_grad():
        logits = model(**{k: torch.from_numpy(v) for k, v in pad(rows).items()}).logits
    return torch.softmax(logits.double(), 1).numpy()


class Classifier(Case):
    def check(self, folder, model, classes):
        rows = texts(100)
        wanted = probabilities(model, tokenize(folder, rows))
        got = predict(folder, rows)
        self.assertEqual(list(got), ["classifier"])
        self.assertEqual(got["classifier"][0], classes)
        self.check_close(got["classifier"][1], wanted, 1e-5)
        return wanted

    def test_scores(self):
        for base in BASES:
            with self.subTest(base.parent.name):
                self.check(*save(base, CLASSES), CLASSES)
        self.check(*save(BASES[0], ["no", "yes"]), ["no", "yes"])

    def test_pickled(self):
        try:
            folder, model = save(BASES[0], CLASSES, safe_serialization=False)
        except (TypeError, ValueError) as why:
            self.skipTest(f"this version does not write pickles: {why}")
        if not (folder / "pytorch_model.bin").exists():
            self.skipTest("this version does not write pickles")
        self.check(folder, model, CLASSES)

    def test_accuracy(self):
        """And loss, on labels that agree with the model in half of the rows."""
        folder, model = save(BASES[0], CLASSES)
        rows = [t for t in texts(100) if t.strip()]
        scores = probabilities(model, tokenize(folder, rows))
        labels = [int(s.argmax()) if i % 2 else (7 * i) % 4 for i, s in enumerate(scores)]
        data = scratch() / "labelled.jsonl"
        data.write_text("".join(json.dumps({"text": t, "classifier": CLASSES[k]}) + "\n"
                                for t, k in zip(rows, labels, strict=True)), encoding="utf-8")
        got = evaluate(folder, data)["classifier"]
        self.assertEqual(got["support"], len(rows))
        self.assertEqual(got["accuracy"], float((scores.argmax(1) == labels).mean()))
        loss = -numpy.log(scores[numpy.arange(len(rows)), labels]).mean()
        self.assertAlmostEqual(got["loss"], loss, 5)
        for to in "hf", "sentence-transformers", "safetensors", "onnx":
            self.assertEqual(evaluate(export(folder, to), data)["classifier"], got, to)

    def test_exported_again(self):
        """Predictions of every export are bit by bit the classifier's."""
        folder, _ = save(BASES[1], CLASSES)
        wanted = predict(folder, texts(60))["classifier"][1]
        for to in "hf", "sentence-transformers", "safetensors", "onnx":
            self.check_equal(predict(export(folder, to), texts(60))["classifier"][1], wanted, to)

    @unittest.skipUnless(REAL.exists(), f"no real weights in {REAL.name}")
    def test_real_weights(self):
        self.check(*save(REAL, CLASSES), CLASSES)


if __name__ == "__main__":
    unittest.main()
