"""Makes mlm/: a BertForMaskedLM as transformers saves it, and five AdamW updates over masked batches.

    python tests/golden/make_mlm.py
"""
import torch
from transformers import BertConfig, BertForMaskedLM

import common as c
import vocabulary

FOLDER = c.ROOT / "mlm"
SIZES = dict(hidden_size=12, num_hidden_layers=2, num_attention_heads=2, intermediate_size=20, hidden_act="gelu",
             layer_norm_eps=1e-3, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
CASE = {"lr": 1e-3, "weight_decay": 0.05, "betas": [0.9, 0.99], "eps": 1e-6, "updates": 5}
LENGTHS = [9, 4, 15, 3, 7]


def masked_batch(generator, vocab_size):
    """-> sequences as they are read, and per sequence the ids to be found again, null where nothing is asked.

    A fifth of the tokens is asked for; most of them are [MASK], some another token, some as they were.
    """
    ids, labels = [], []
    for length in LENGTHS:
        true = torch.randint(len(c.SPECIAL), vocab_size, (length - 2,), generator=generator).tolist()
        chosen = [bool(b) for b in torch.rand(length - 2, generator=generator) < 0.3]
        fate = torch.rand(length - 2, generator=generator).tolist()
        seen = [t if not m or f > 0.85 else c.MASK if f < 0.7 else (7 * t) % vocab_size
                for t, m, f in zip(true, chosen, fate)]
        ids.append([c.CLS] + seen + [c.SEP])
        labels.append([None] + [t if m else None for t, m in zip(true, chosen)] + [None])
    assert sum(x is not None for row in labels for x in row) > 3
    return {"ids": ids, "labels": labels}


def own_name(name):
    """graft's name: without `bert.`."""
    return name.removeprefix("bert.")


def run_batch(model, batch):
    """-> the loss and the logits [M, V] at the tokens asked for, in their order."""
    ids, mask = c.pad_batch(batch["ids"])
    wanted = torch.full_like(ids, -100)
    for row, labels in enumerate(batch["labels"]):
        wanted[row, :len(labels)] = torch.tensor([-100 if x is None else x for x in labels])
    out = model(input_ids=ids, attention_mask=mask, token_type_ids=torch.zeros_like(ids), labels=wanted)
    return out.loss, out.logits[wanted != -100]


def load(dtype, **changes):
    config = BertConfig.from_pretrained(FOLDER / "model", **changes)
    model, info = BertForMaskedLM.from_pretrained(FOLDER / "model", config=config, dtype=dtype,
                                                  attn_implementation="eager", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"], info
    assert model.cls.predictions.decoder.weight is model.bert.embeddings.word_embeddings.weight
    return model.eval()


def train(batches, dtype):
    """-> the tensors of expected.safetensors."""
    model = load(dtype)
    parameters = dict(model.named_parameters())
    plain = [n.endswith(".bias") or ".LayerNorm." in n for n in parameters]
    adamw = torch.optim.AdamW([{"params": [p], "weight_decay": 0.0 if no else CASE["weight_decay"]}
                               for p, no in zip(parameters.values(), plain)],
                              lr=CASE["lr"], betas=tuple(CASE["betas"]), eps=CASE["eps"])
    out = {}
    for update, batch in enumerate(batches):
        adamw.zero_grad()
        loss, logits = run_batch(model, batch)
        loss.backward()
        out[f"loss/{update}"] = loss.detach()
        if update == 0:
            out["logits"] = logits.detach()
            out |= {f"grad/{own_name(n)}": p.grad.clone() for n, p in parameters.items()}
        adamw.step()
    return out | {f"value/{own_name(n)}": p.detach() for n, p in parameters.items()}


def main():
    c.fresh_dir(FOLDER)
    generator = torch.Generator().manual_seed(57)
    config = c.make_config(vocabulary.UNCASED, **SIZES)
    model = c.fill_random(BertForMaskedLM(config), generator)
    model.save_pretrained(FOLDER / "model")
    (FOLDER / "model" / "generation_config.json").unlink(missing_ok=True)
    c.write_vocab(FOLDER / "model", vocabulary.UNCASED, True)
    batches = [masked_batch(generator, config.vocab_size) for _ in range(CASE["updates"])]
    c.write_json(FOLDER / "case.json", CASE | {"batches": batches})
    truth, single = train(batches, torch.float64), train(batches, torch.float32)
    with torch.no_grad():
        truth["logits/gelu_new"] = run_batch(load(torch.float64, hidden_act="gelu_new"), batches[0])[1]
    c.write_expected(FOLDER / "expected.safetensors", truth)
    worst = {n: c.relative_difference(single[n], truth[n]) for n in single if ".key.bias" not in n}
    print("mlm: torch's float32 is off by at most %.1e (%s)" % max((d, n) for n, d in worst.items()))
    print("gelu_new makes %.1e" % c.relative_difference(truth["logits"], truth["logits/gelu_new"]))


if __name__ == "__main__":
    main()
