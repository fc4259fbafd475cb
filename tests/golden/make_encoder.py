"""Makes the encoder cases: hidden states, embeddings, logits, losses and every gradient of tiny BERTs.

    python tests/golden/make_encoder.py
"""
import json

import torch
from safetensors.torch import load_file
from transformers import BertForPreTraining

import common as c
import vocabulary

CATEGORY = {"name": "category", "classes": ["audio", "clothing", "food", "furniture", "phones"], "weight": 1.0}
SENTIMENT = {"name": "sentiment", "classes": ["negative", "neutral", "positive"], "weight": 0.5}
SPAM = {"name": "spam", "classes": ["no", "yes"], "weight": 2.0}

CASES = {
    "mean_gelu": dict(
        seed=1, words=vocabulary.UNCASED, lower_case=True, dtype=torch.float32,
        pooling="mean", normalize=True, tasks=[CATEGORY, SENTIMENT], lengths=[3, 32, 7, 2, 18, 11, 7],
        sizes=dict(hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
                   hidden_act="gelu")),
    "cls_gelu_new": dict(
        seed=2, words=vocabulary.UNCASED, lower_case=True, dtype=torch.float32,
        pooling="cls", normalize=True, tasks=[SENTIMENT, CATEGORY, SPAM], lengths=[32, 3, 9, 21, 5],
        sizes=dict(hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=64,
                   hidden_act="gelu_new")),
    # Small embeddings, so that the first LayerNorm's variance is near enough to eps for it to show. Sizes that no
    # vector width divides.
    "max_eps": dict(
        seed=3, words=vocabulary.UNCASED, lower_case=True, dtype=torch.float32, embedding_std=0.02,
        pooling="max", normalize=False, tasks=[CATEGORY], lengths=[6, 32, 3, 13, 4, 17],
        sizes=dict(hidden_size=22, num_hidden_layers=1, num_attention_heads=2, intermediate_size=37,
                   hidden_act="gelu", layer_norm_eps=1e-5)),
    "cased_f16": dict(
        seed=4, words=vocabulary.CASED, lower_case=False, dtype=torch.float16, old_checkpoint=True,
        pooling="mean", normalize=False, tasks=[SENTIMENT, SPAM], lengths=[10, 32, 3, 8],
        sizes=dict(hidden_size=18, num_hidden_layers=2, num_attention_heads=3, intermediate_size=40,
                   hidden_act="gelu")),
}
CASES["mean_bf16"] = dict(CASES["mean_gelu"], dtype=torch.bfloat16)


def write_model(folder, case):
    """Writes the model folder as save_pretrained does."""
    model = c.random_bert(c.make_config(case["words"], **case["sizes"]), case["seed"],
                          case.get("embedding_std", 0.3))
    model.to(case["dtype"]).save_pretrained(folder)


def write_old_model(folder, case):
    """Writes a model as a pre-training checkpoint of 2019 looks.

    `bert.` prefix, gamma and beta in LayerNorm, a position_ids buffer, the pre-training heads, and a config.json
    that leaves out what had a default then.
    """
    model = BertForPreTraining(c.make_config(case["words"], **case["sizes"]))
    c.fill_random(model, torch.Generator().manual_seed(case["seed"]))
    tensors = {name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"):
               p.to(case["dtype"]) for name, p in model.named_parameters()}
    tensors["bert.embeddings.position_ids"] = torch.arange(32).unsqueeze(0)
    c.write_tensors(folder / "model.safetensors", tensors)
    c.write_json(folder / "config.json", {
        "architectures": ["BertForPreTraining"], "attention_probs_dropout_prob": 0.1,
        "hidden_dropout_prob": 0.1, "initializer_range": 0.02, "max_position_embeddings": 32,
        "model_type": "bert", "type_vocab_size": 2, "vocab_size": len(c.SPECIAL) + len(case["words"]),
        **case["sizes"]})


def random_inputs(case):
    """Token ids of the given lengths, and labels of which some are missing; row 2 has none at all."""
    generator = torch.Generator().manual_seed(100 + case["seed"])
    n_vocab = len(c.SPECIAL) + len(case["words"])

    def draw(low, high, n):
        return torch.randint(low, high, (n,), generator=generator).tolist()

    ids = [[c.CLS] + draw(c.MASK, n_vocab, n - 2) + [c.SEP] for n in case["lengths"]]
    labels = {}
    for k, task in enumerate(case["tasks"]):
        picks = draw(0, len(task["classes"]), len(ids))
        labels[task["name"]] = [None if row == 2 or (row + k) % 4 == 0 else task["classes"][pick]
                                for row, pick in enumerate(picks)]
    return ids, labels


def compute(folder, dtype):
    """Forward and backward over what is on disk -> {name: tensor}, the names of expected.safetensors."""
    case = json.loads((folder / "case.json").read_text())
    model = c.load_bert(folder / "model", dtype)
    heads = c.load_heads(folder / "heads.safetensors", dtype)
    hidden, mask = c.encode(model, case["ids"])
    pooled = c.pool(hidden, mask, case["pooling"])
    embedding = c.normalise(pooled) if case["normalize"] else pooled
    logits = c.task_logits(embedding, heads, case["tasks"])
    losses = c.task_losses(logits, case["tasks"], case["labels"])
    total = c.weighted_sum(losses, {t["name"]: t["weight"] for t in case["tasks"]})
    total.backward()
    out = {"last_hidden_state": hidden[mask.bool()], "pooled": pooled, "embedding": embedding, "loss": total}
    out |= {f"logits/{name}": t for name, t in logits.items()}
    out |= {f"loss/{name}": t for name, t in losses.items()}
    out |= {f"grad/{name}": p.grad for name, p in (c.encoder_parameters(model) | heads).items()}
    return out


def check(folder, case, truth):
    """The truth must not depend on the padding, must come from the weights drawn, and must be well posed."""
    ids = json.loads((folder / "case.json").read_text())["ids"]
    model = c.load_bert(folder / "model")
    alone = torch.cat([c.encode(model, [s])[0][0] for s in ids])
    assert (alone - truth["last_hidden_state"]).abs().max() < 1e-12, "padding changes the result"
    stored = load_file(str(folder / "model" / "model.safetensors"))
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    for name, p in c.encoder_parameters(model).items():
        if case.get("old_checkpoint"):
            name = "bert." + name
            for new_name, old_name in old.items():
                name = name.replace(new_name, old_name)
        assert stored[name].dtype == case["dtype"] and torch.equal(stored[name].double(), p), name
    if case["pooling"] == "max":
        top = [part.topk(2, dim=0).values for part in alone.split([len(s) for s in ids])]
        gap = min((t[0] - t[1]).min().item() for t in top)
        assert gap > 1e-4, f"max pooling is near a tie ({gap:g}); take another seed"
        model.config.layer_norm_eps = 1e-12
        for module in model.modules():
            if isinstance(module, torch.nn.LayerNorm):
                module.eps = 1e-12
        other = torch.cat([c.encode(model, [s])[0][0] for s in ids])
        assert (other - alone).abs().max() > 1e-3, "eps does not show"


def float32_error(folder, truth):
    """torch's own float32 error: what a test's tolerance has to leave room for. -> (worst, its name)"""
    single = compute(folder, torch.float32)
    return max((c.relative_difference(single[n], truth[n]), n) for n in truth
               if not n.endswith("attention.self.key.bias"))


def make(name, case):
    folder = c.fresh_dir(c.ROOT / name)
    (folder / "model").mkdir()
    (write_old_model if case.get("old_checkpoint") else write_model)(folder / "model", case)
    c.write_vocab(folder / "model", case["words"], case["lower_case"])
    c.write_tensors(folder / "heads.safetensors",
                    c.random_heads(case["tasks"], case["sizes"]["hidden_size"], 200 + case["seed"]))
    ids, labels = random_inputs(case)
    c.write_json(folder / "case.json", {"pooling": case["pooling"], "normalize": case["normalize"],
                                        "tasks": case["tasks"], "ids": ids, "labels": labels})
    truth = compute(folder, torch.float64)
    check(folder, case, truth)
    c.write_expected(folder / "expected.safetensors", truth)
    worst, where = float32_error(folder, truth)
    print(f"{name}: {len(truth)} tensors, loss {truth['loss'].item():.6f}, "
          f"torch's float32 is off by at most {worst:.1e} ({where})")


if __name__ == "__main__":
    for name, case in CASES.items():
        make(name, case)
