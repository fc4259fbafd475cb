"""Makes training/: a recipe of three phases over a tiny BERT and the weights it must end with.

    python tests/golden/make_training.py
"""
import copy
import json

import torch
from transformers import AutoTokenizer

import common as c
import recipe as r
import vocabulary

FOLDER = c.ROOT / "training"
SIZES = dict(hidden_size=24, num_hidden_layers=3, num_attention_heads=3, intermediate_size=40, hidden_act="gelu",
             hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)

# text, category, sentiment; None is written as null, ABSENT as no field at all. The last row trains nothing.
ABSENT = ...
ROWS = [
    ("The cheese tasted fine.", "food", "positive"),
    ("stale bread, not good!", "food", "negative"),
    ("this phone broke", "phones", "negative"),
    ("The charger works, fast and bright.", "phones", "positive"),
    ("my coat fits", "clothing", ABSENT),
    ("This shirt is lovely and soft.", "clothing", "positive"),
    ("the table arrived unbroken", "furniture", None),
    ("a chair is a chair", "furniture", "neutral"),
    ("It smells awful", None, "negative"),
    ("very good!", None, "positive"),
    ("cable", "phones", "neutral"),
    ("my laptop, a dear laptop, broke and broke", "phones", "negative"),
    ("poor apples in the bread?", "food", ABSENT),
    ("fresh apples.", "food", "positive"),
    ("The shoe - it is loud!", "clothing", "negative"),
    ("Lamp for the table: it works", "furniture", "neutral"),
    ("looks cheap, feels cheap, is cheap", ABSENT, "negative"),
    ("great", None, "positive"),
    ("The lamp is a great lamp, and the chair is a great chair, not fine, great!", "furniture", "positive"),
    ("shoes fit my shoes", "clothing", "neutral"),
    ("the apple phone in my coat", "phones", None),
    ("unlovely coat of this shirt", "clothing", "negative"),
    ("cheese on my table", "food", "neutral"),
    ("it was of the", None, ABSENT),
]

RECIPE = {
    "model": {"base": "model", "max_length": 32, "pooling": "mean", "normalize": True, "dropout": 0,
              "heads_init": "heads.safetensors"},
    "data": {"train": "train.jsonl", "text": "text"},
    "tasks": [
        {"name": "category", "type": "classification", "label": "category", "classes": None, "weight": 1.0},
        {"name": "sentiment", "type": "classification", "label": "sentiment",
         "classes": ["positive", "neutral", "negative"], "weight": 0.5},
    ],
    "batch": {"size": 32, "accumulate": 1, "bucket": True},
    "optimizer": {"name": "adamw", "betas": [0.9, 0.98], "eps": 1e-6, "weight_decay": 0.05, "clip_norm": 0.7},
    "phases": [
        {"name": "heads", "epochs": 6, "trainable": {"heads.*": {"lr": 1e-2}},
         "schedule": {"type": "constant", "warmup": 2}, "loss_weights": {"category": 6}},
        {"name": "upper", "epochs": 8,
         "trainable": {"heads.*": {"lr": 5e-3}, "encoder.layer[-2:].*": {"lr": 2e-3, "layer_decay": 0.8}},
         "schedule": {"type": "linear", "warmup": 0.25}, "loss_weights": {"sentiment": 1.5}},
        {"name": "all", "epochs": 7,
         "trainable": {"heads.sentiment.*": {"lr": 4e-3}, "encoder.layer[:1].*": {"lr": 5e-4},
                       "*": {"lr": 2e-3, "layer_decay": 0.9}},
         "schedule": {"type": "cosine", "warmup": 1}, "loss_weights": {"category": 0.25}},
    ],
    "select": {"metric": "last"},
    "seed": 7,
    "output": "run",
}

# The same effective batch in pieces. A piece of one row often has no label of a task.
VARIANTS = {"recipe.json": (32, 1), "recipe_accumulate.json": (6, 4), "recipe_single.json": (1, 24)}


def write_inputs():
    """Everything graft reads: model, heads, data, recipes."""
    c.fresh_dir(FOLDER)
    (FOLDER / "model").mkdir()
    c.random_bert(c.make_config(vocabulary.UNCASED, **SIZES), 11).save_pretrained(FOLDER / "model")
    c.write_vocab(FOLDER / "model", vocabulary.UNCASED, lower_case=True)
    c.write_tensors(FOLDER / "heads.safetensors", c.random_heads(resolved_tasks(), SIZES["hidden_size"], 12))
    rows = [{k: v for k, v in zip(("text", "category", "sentiment"), row) if v is not ABSENT} for row in ROWS]
    c.write_text(FOLDER / "train.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    for name, (size, accumulate) in VARIANTS.items():
        variant = copy.deepcopy(RECIPE)
        variant["batch"] |= {"size": size, "accumulate": accumulate}
        c.write_json(FOLDER / name, variant)


def resolved_tasks():
    """The tasks with their classes; null is learned: the labels seen, sorted."""
    seen = sorted({row[1] for row in ROWS if isinstance(row[1], str)})
    return [dict(t, classes=t["classes"] or seen) for t in RECIPE["tasks"]]


def read_rows():
    return [json.loads(line) for line in (FOLDER / "train.jsonl").read_text().splitlines()]


def tokenize(rows):
    return AutoTokenizer.from_pretrained(FOLDER / "model")([row["text"] for row in rows])["input_ids"]


def run(dtype=torch.float64, disturb=lambda gradient: None):
    """Trains on what is on disk -> [(phase, groups, records, weights after it)]."""
    rows = read_rows()
    ids = tokenize(rows)
    labels = {t["name"]: [row.get(t["label"]) for row in rows] for t in RECIPE["tasks"]}
    tasks = resolved_tasks()
    model = c.load_bert(FOLDER / "model", dtype)
    heads = c.load_heads(FOLDER / "heads.safetensors", dtype)
    parameters = c.encoder_parameters(model) | heads

    def task_losses():
        hidden, mask = c.encode(model, ids)
        embedding = c.normalise(c.pool(hidden, mask, RECIPE["model"]["pooling"]))
        return c.task_losses(c.task_logits(embedding, heads, tasks), tasks, labels)

    return [(phase, groups, records, {n: p.detach().clone() for n, p in parameters.items()})
            for phase, groups, records in r.train(RECIPE, parameters, SIZES["num_hidden_layers"], task_losses, disturb)]


def largest_difference(a, b, key_bias):
    """Over the final weights: key biases only, or all but them."""
    return max((a[n] - b[n]).abs().max().item() for n in b if n.endswith("self.key.bias") == key_bias)


def report(truth):
    """How far float32 arithmetic, and gradients off by 1e-6 of their largest element, move the final weights.

    The noise leaves the key biases alone, whose gradient is zero in exact arithmetic.
    """
    def gradient_noise(seed):
        generator = torch.Generator().manual_seed(seed)

        def add_noise(g):  # an element that is exactly zero has no rounding error
            noise = torch.randn(g.shape, generator=generator, dtype=g.dtype)
            g.add_(1e-6 * g.abs().max() * noise * (g != 0))
        return add_noise

    final = truth[-1][3]
    runs = {"torch float32": run(torch.float32)}
    runs |= {f"gradient noise {seed}": run(disturb=gradient_noise(seed)) for seed in range(4)}
    for name, other in runs.items():
        other = other[-1][3]
        print(f"  {name}: final weights differ by {largest_difference(other, final, False):.1e}, "
              f"key biases by {largest_difference(other, final, True):.1e}")


def main():
    write_inputs()
    c.write_json(FOLDER / "ids.json", tokenize(read_rows()))
    truth = run()
    tensors, log = {}, []
    for phase, groups, records, weights in truth:
        tensors |= {f"{phase['name']}/{n}": weights[n] for n in groups}
        log.append({"phase": phase["name"], "loss_weights": r.phase_weights(phase, RECIPE["tasks"]),
                    "parameters": groups, "updates": records})
        clipped = [record["clipped"] for record in records]
        print(f"{phase['name']}: loss {records[0]['loss']:.4f} -> {records[-1]['loss']:.4f}, "
              f"clipped {sum(clipped)} of {len(clipped)}, norms "
              + " ".join(f"{record['gradient_norm']:.3g}" for record in records))
    assert all(name.split("/", 1)[1] in groups for name in tensors), "the last phase must train everything"
    c.write_expected(FOLDER / "expected.safetensors", tensors)
    c.write_json(FOLDER / "updates.json", log)
    report(truth)


if __name__ == "__main__":
    main()
