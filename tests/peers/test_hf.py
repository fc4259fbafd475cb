"""`graft export --to hf` in transformers: weights, hidden states, token ids."""
import unittest

import torch
import transformers

from peers import (Case, assembled, demo_run, embed, evaluate, export, for_each_model, graft,
                   hidden_states, load_bert, max_length, models, read_json, tensors, texts,
                   tokenize)

DENSE = "dense_tanh", "dense_identity"  # a projection has no place in such a folder


class HuggingFace(Case):
    @classmethod
    def setUpClass(cls):
        cls.out = {name: export(model, "hf") for name, model, _ in models(*DENSE)}

    @for_each_model(*DENSE)
    def test_weights_are_the_originals_bit_by_bit(self, name, _, folder):
        wanted = load_bert(folder).state_dict()
        got = load_bert(self.out[name]).state_dict()
        pooler = name == "classifier"
        for key, value in wanted.items():
            if pooler or not key.startswith("pooler."):  # graft keeps it where it pools
                self.assertTrue(torch.equal(got[key], value), key)

    @for_each_model(*DENSE)
    def test_hidden_states_are_the_originals(self, name, model, folder):
        rows = tokenize(model, texts(40), "--max-length", 24)
        got, _ = hidden_states(load_bert(self.out[name]), rows)
        self.check_equal(got, hidden_states(load_bert(folder), rows)[0])

    @for_each_model("classifier", *DENSE)
    def test_pooled_hidden_states_are_grafts_embeddings(self, name, model, folder):
        rows = texts(40)
        hidden, mask = hidden_states(load_bert(self.out[name]), tokenize(model, rows))
        told = read_json(folder / "1_Pooling/config.json")
        mask = mask[:, :, None]
        if told.get("pooling_mode_max_tokens"):
            pooled = (hidden - 1e9 * (1 - mask)).max(1)
        elif told.get("pooling_mode_cls_token"):
            pooled = hidden[:, 0]
        else:
            pooled = (hidden * mask).sum(1) / mask.sum(1)
        got = embed(model, rows)
        if abs((got ** 2).sum(1) - 1).max() < 1e-5:
            pooled /= (pooled ** 2).sum(1, keepdims=True) ** 0.5
        self.check_close(got, pooled, 2e-6)

    @for_each_model(*DENSE)
    def test_graft_reads_it_back_equal(self, name, model, _):
        self.check_equal(embed(self.out[name], texts(40)), embed(model, texts(40)))
        self.assertTrue(graft("diff", model, self.out[name]).startswith("equal: "))

    @for_each_model(*DENSE)
    def test_token_ids(self, name, model, folder):
        rows, out = texts(), self.out[name]
        tokenizer = transformers.AutoTokenizer.from_pretrained(out)
        self.assertEqual(tokenizer.model_max_length, max_length(out))
        got = tokenizer(rows, truncation=True)["input_ids"]
        self.assertEqual(len(got), 200)
        self.assertTrue(any(len(ids) == max_length(out) for ids in got))  # some are cut
        original = transformers.AutoTokenizer.from_pretrained(folder)
        for wanted in (original(rows, truncation=True, max_length=max_length(out))["input_ids"],
                       tokenize(model, rows), tokenize(out, rows)):
            for text, x, y in zip(rows, got, wanted, strict=True):
                self.assertEqual(x, y, repr(text[:80]))

    @for_each_model(*DENSE)
    def test_padding_and_specials(self, name, _, folder):
        ours, theirs = (transformers.AutoTokenizer.from_pretrained(f)
                        for f in (self.out[name], folder))
        self.assertEqual(ours(texts(40)[:5] + ["a b"], padding=True)["input_ids"],
                         theirs(texts(40)[:5] + ["a b"], padding=True)["input_ids"])
        for part in "pad", "unk", "cls", "sep", "mask":
            for what in part + "_token", part + "_token_id":
                self.assertEqual(getattr(ours, what), getattr(theirs, what), what)

    @for_each_model(*DENSE)
    def test_half_precision(self, name, model, folder):
        """Weights are rounded to nearest as PyTorch rounds them."""
        rows = tokenize(model, texts(40))[4:8]
        for option, dtype in ("f16", torch.float16), ("bf16", torch.bfloat16):
            out = export(model, "hf", "--dtype", option)
            wanted = load_bert(folder).to(dtype)
            got, exact = load_bert(out, dtype=dtype), wanted.state_dict()
            for key, value in got.state_dict().items():
                if name == "classifier" or not key.startswith("pooler."):
                    self.assertTrue(torch.equal(value, exact[key]), key)
            self.check_equal(hidden_states(got, rows)[0], hidden_states(wanted, rows)[0], option)
            got = hidden_states(load_bert(out), rows)[0]  # as graft computes: in float32
            self.check_equal(got, hidden_states(wanted.float(), rows)[0], option)

    def test_projections_are_refused(self):
        for name in DENSE:
            said = graft("export", assembled(name), "--to", "hf", "unwritten", fails=4)
            self.assertIn("sentence-transformers", said)

    def test_a_classifier_goes_on_as_one(self):
        """BERT's pooler comes along, and its values are read."""
        out = self.out["classifier"]
        wanted = tensors(assembled("classifier") / "model.safetensors")
        got = load_bert(out).pooler.dense.weight.detach().numpy()
        self.check_equal(got, wanted["pooler.dense.weight"])

    def test_heads_come_along(self):
        data = "demo/test.jsonl"
        self.assertEqual(evaluate(self.out["demo"], data), evaluate(demo_run(), data))


if __name__ == "__main__":
    unittest.main()
