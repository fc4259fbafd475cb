"""Makes strategies/: recipes with every strategy over a tiny BERT, and what torch makes of them.

    python tests/golden/make_strategies.py

strategy_run.py carries the recipes out. cases.json: per case the recipe, what trained and how
often, per update losses, their weights, the total, the schedule's factor, the gradients' norm and
how many elements trained; in cases of several batches an epoch, the rows of each batch.
expected.safetensors: per case one F32 tensor, the values of what trained, one parameter behind the
other.
"""
import json

import torch
from transformers import BertConfig, BertForMaskedLM

import common as c
import strategy_run as s

FOLDER = c.ROOT / "strategies"
WORDS = """. , the a is was not very it my good bad fine great cheese bread phone cable shirt shoe
lamp works fits smells ##s ##ed ##ly ##ness""".split()
SIZES = dict(hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=12,
             hidden_act="gelu", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)

# text, category, mood, topics, stars, grade; None is null, ABSENT no field at all.
ABSENT = ...
ROWS = [
    ("the cheese is good", "food", "up", ["taste"], 4.5, "good"),
    ("bad bread, very bad", "food", "down", ["taste", "price"], 1, "bad"),
    ("my phone works", "things", "up", "use", 4, "fine"),
    ("the cable was bad", "things", "down", None, 1.5, "bad"),
    ("a shirt fits", "wear", ABSENT, ["use"], None, "fine"),
    ("shirts fits, shoes fits", "wear", "up", [], 3.5, "good"),
    ("it smells", "food", None, ["taste"], 2, None),
    ("goodness", None, "up", None, 5, "great"),
    ("the lamp is a great lamp", "things", "up", "use | price", 5, "great"),
    ("not good, not bad", None, "flat", [], 3, "fine"),
    ("breads and cheeses", "food", "flat", ["price"], ABSENT, ABSENT),
    ("my shoe is badly fine", "wear", "flat", ["use", "taste"], 2.5, "bad"),
    ("greatly smells the phone", "things", "down", ABSENT, 1, "bad"),
    ("fine cheese.", None, "up", ["taste"], 4, "good"),
    ("it was the cable, it was not my phone", "things", ABSENT, ["use"], None, "fine"),
    ("very very good", ABSENT, "up", None, 5, "great"),
    ("lamp", "things", "flat", ["price"], 2.5, None),
    ("the the", None, None, None, None, None),
]
FIELDS = ("text", "category", "mood", "topics", "stars", "grade")

CATEGORY = {"name": "category", "type": "classification", "label": "category",
            "classes": ["food", "things", "wear"]}
MOOD = {"name": "mood", "type": "classification", "label": "mood",
        "classes": ["up", "flat", "down"]}
TOPICS = {"name": "topics", "type": "multi_label", "label": "topics",
          "classes": ["taste", "price", "use"]}
STARS = {"name": "stars", "type": "regression", "label": "stars"}
GRADE = {"name": "grade", "type": "ordinal", "label": "grade",
         "classes": ["bad", "fine", "good", "great"]}

ADAMW = {"name": "adamw", "betas": [0.9, 0.98], "eps": 1e-5, "weight_decay": 0.05,
         "clip_norm": 5.0}
TOP = {"heads.*": {"lr": 5e-3}, "encoder.layer[-1:].*": {"lr": 2e-3}}
ALL = {"heads.*": {"lr": 5e-3}, "*": {"lr": 2e-3, "layer_decay": 0.9}}


def task(base, name, **changes):
    return base | {"name": name} | changes


def phase(trainable, epochs=6, **more):
    return {"epochs": epochs, "trainable": trainable} | more


def recipe(tasks, phases, **more):
    own = all("data" in t for t in tasks)
    return {"model": {"base": "model", "max_length": 16, "pooling": "mean", "normalize": True,
                      "dropout": 0, "heads_init": "heads.safetensors"}} | \
        ({} if own else {"data": {"train": "train.jsonl", "text": "text"}}) | {
            "tasks": tasks, "batch": {"size": 32, "bucket": True}, "optimizer": ADAMW,
            "phases": phases, "select": {"metric": "last"}, "seed": 7} | more


def losses():
    tasks = [task(CATEGORY, "category"),
             task(CATEGORY, "given", class_weights={"food": 0.5, "wear": 3.0}),
             task(MOOD, "balanced", class_weights="balanced"),
             task(MOOD, "smooth", label_smoothing=0.1),
             task(MOOD, "focal", focal_gamma=2.0),
             task(TOPICS, "topics"), task(STARS, "stars", weight=0.25), task(GRADE, "grade")]
    yield "losses", recipe(tasks, [phase(TOP)])
    tasks = [task(TOPICS, "weighted", class_weights={"price": 2.5, "use": 0.5}),
             task(TOPICS, "balancedsets", class_weights="balanced", label_smoothing=0.1),
             task(TOPICS, "focalsets", focal_gamma=1.5, class_weights={"taste": 2.0}),
             task(CATEGORY, "both", class_weights="balanced", label_smoothing=0.2),
             task(MOOD, "focalweights", focal_gamma=0.5, class_weights={"down": 2.0}),
             task(GRADE, "grade", weight=2.0)]
    yield "more_losses", recipe(tasks, [phase(TOP, loss_weights={"both": 1.5, "weighted": 0.5})])


THREE = [task(CATEGORY, "category"), task(MOOD, "mood", weight=0.5), task(STARS, "stars",
                                                                         weight=2.0)]


def balance():
    yield "uncertainty", recipe(THREE, [phase(TOP)], balance={"method": "uncertainty", "lr": 0.05})
    yield "dwa", recipe(THREE, [phase(TOP)], balance={"method": "dwa", "temperature": 0.5})
    yield "gradnorm", recipe(THREE, [phase(ALL)], balance={"method": "gradnorm", "lr": 0.05,
                                                           "alpha": 0.8})
    yield "famo", recipe(THREE, [phase(TOP)], balance={"method": "famo", "lr": 0.1})
    yield "uncertainty_default", recipe(THREE[:2], [phase(TOP)], balance={"method": "uncertainty"})


def surgery():
    tasks = [task(CATEGORY, "category"), task(MOOD, "mood", weight=0.5), task(GRADE, "grade")]
    yield "pcgrad", recipe(tasks, [phase(ALL)], surgery={"method": "pcgrad"})
    yield "cagrad", recipe(tasks, [phase(ALL)], surgery={"method": "cagrad", "c": 0.4})
    yield "gradnorm_pcgrad", recipe(tasks, [phase(TOP)], surgery={"method": "pcgrad"},
                                    balance={"method": "gradnorm", "lr": 0.05})


def optimizers():
    sgd = {"name": "sgd", "momentum": 0.8, "weight_decay": 0.02, "clip_norm": 1.0}
    tops = {"heads.*": {"lr": 0.1}, "encoder.layer[-1:].*": {"lr": 0.02}}
    yield "sgd", recipe([CATEGORY, MOOD], [
        phase({"heads.*": {"lr": 0.1}}, 2), phase(tops, schedule={"type": "linear", "warmup": 1})],
        optimizer=sgd)
    yield "nesterov", recipe([CATEGORY, MOOD], [
        phase(tops, 7, schedule={"type": "cosine_with_restarts", "cycles": 2, "warmup": 2})],
        optimizer=sgd | {"nesterov": True})
    yield "ema", recipe([CATEGORY, MOOD], [
        phase({"heads.*": {"lr": 1e-2}}, 3), phase(TOP, 6, schedule={"type": "one_cycle"})],
        optimizer=ADAMW | {"ema": 0.7})


def transfer():
    heads = {"heads.*": {"lr": 5e-3}}
    yield "unfreeze_epochs", recipe([CATEGORY, MOOD], [
        phase(ALL, 6, unfreeze={"layers": 1, "every_epochs": 1})])
    yield "unfreeze_steps", recipe([CATEGORY, MOOD], [
        phase(heads, 2), phase(ALL, 5, unfreeze={"layers": 2, "every_steps": 2},
                               schedule={"type": "linear", "warmup": 1})])
    yield "unfreeze_ema", recipe([CATEGORY, MOOD], [
        phase(TOP, 5, unfreeze={"layers": 1, "every_epochs": 2})],
        optimizer=ADAMW | {"ema": 0.6})
    # without the key biases, whose gradient is 0: a pull would make noise of any size count
    pulled = {"encoder.layer[-1:].*output.*": {"lr": 5e-3, "l2_sp": 0.5, "weight_decay": 0}}
    yield "l2_sp", recipe([CATEGORY, MOOD], [
        phase(heads | pulled, 5),
        phase(heads | {"encoder.*.output.*": {"lr": 3e-3, "l2_sp": 2.0}}, 3)])
    yield "biases", recipe([CATEGORY, MOOD], [phase(heads | {"*.bias": {"lr": 5e-3}})])
    yield "layer_norms", recipe([CATEGORY, MOOD], [phase(heads | {"*.LayerNorm.*": {"lr": 5e-3}})])


def adaptation():
    yield "mlm", recipe([CATEGORY, MOOD], [
        phase({"*": {"lr": 3e-3}}, 5, objective="mlm"),
        phase({"heads.*": {"lr": 5e-3}}, 2),
        phase(TOP, 3)], mlm={"probability": 0.25})
    yield "mlm_words", recipe([MOOD], [
        phase({"cls.*": {"lr": 3e-3}, "embeddings.*": {"lr": 2e-3}}, 5, objective="mlm"),
        phase({"heads.*": {"lr": 5e-3}}, 2)],
        mlm={"probability": 0.3, "whole_word": True, "data": "texts.jsonl", "text": "text"})


def mixes():
    mine = [task(CATEGORY, "category", data={"train": "things.jsonl"}),
            task(MOOD, "mood", data={"train": "moods.jsonl"}),
            task(GRADE, "grade", data={"train": "moods.jsonl"})]
    batch = {"size": 4, "bucket": False}
    yield "proportional", recipe(mine, [phase(TOP, 2)], mix={"type": "proportional"}, batch=batch)
    yield "round_robin", recipe(mine, [phase(TOP, 2)], mix={"type": "round_robin"}, batch=batch,
                                balance={"method": "famo", "lr": 0.1})
    yield "uniform", recipe(mine, [phase(TOP, 2)], mix={"type": "uniform"},
                            batch={"size": 4, "bucket": True, "accumulate": 2},
                            surgery={"method": "pcgrad"})
    yield "tokens", recipe([CATEGORY, MOOD], [phase(TOP, 2)], mix={"type": "proportional"},
                           batch={"tokens": 20, "bucket": True, "size": None})


GROUPS = [losses, balance, surgery, optimizers, transfer, adaptation, mixes]


def jsonl(rows, fields):
    rows = [{k: v for k, v in zip(FIELDS, row) if v is not ABSENT and k in fields} for row in rows]
    return "".join(json.dumps(row) + "\n" for row in rows)


def own_tasks():
    """Every task of every case."""
    found = {}
    for group in GROUPS:
        for _, made in group():
            for t in made["tasks"]:
                known = found.setdefault(t["name"], t)
                assert known["type"] == t["type"] and known.get("classes") == t.get("classes")
    return found.values()


def write_heads():
    outputs = {"regression": lambda t: 1, "ordinal": lambda t: len(t["classes"]) - 1}
    tasks = [{"name": t["name"], "classes": range(outputs.get(t["type"], lambda t: len(
        t["classes"]))(t))} for t in own_tasks()]
    c.write_tensors(FOLDER / "heads.safetensors", c.random_heads(tasks, SIZES["hidden_size"], 22))


def write_inputs():
    c.fresh_dir(FOLDER)
    config = BertConfig(vocab_size=len(c.SPECIAL) + len(WORDS), max_position_embeddings=16,
                        type_vocab_size=2, pad_token_id=c.PAD, **SIZES)
    model = c.fill_random(BertForMaskedLM(config), torch.Generator().manual_seed(21))
    model.save_pretrained(FOLDER / "model")
    (FOLDER / "model" / "generation_config.json").unlink(missing_ok=True)
    c.write_vocab(FOLDER / "model", WORDS, True)
    write_heads()
    for name, rows, fields in [("train", ROWS, FIELDS), ("texts", ROWS[3:], ("text",)),
                               ("things", ROWS[:7], ("text", "category")),
                               ("moods", ROWS[5:17], ("text", "mood", "grade"))]:
        c.write_text(FOLDER / f"{name}.jsonl", jsonl(rows, fields))


def digits(value):
    """Ten of them, which are enough."""
    if isinstance(value, dict):
        return {k: digits(v) for k, v in value.items()}
    if isinstance(value, list):
        return [digits(v) for v in value]
    return float(f"{value:.10g}") if isinstance(value, float) else value


def differences(a, b):
    """Of the weights, key biases apart, and of the losses."""
    worst = {False: 0.0, True: 0.0}
    for name, p in a.parameters.items():
        key = "key.bias" in name
        worst[key] = max(worst[key], (p - b.parameters[name]).abs().max().item())
    pairs = [(x, y) for u, v in zip(a.records, b.records) for x, y in zip(u["losses"], v["losses"])]
    return worst[False], worst[True], max(abs(x - y) for x, y in pairs if x is not None)


def make_case(group, name, made):
    truth, single = s.run(FOLDER, made), s.run(FOLDER, made, torch.float32)
    trained = [n for n, count in truth.counts.items() if count]
    several = any(len(e) > 1 for p in truth.batches for e in p)
    weights, keys, lost = differences(truth, single)
    print(f"{group}/{name}: {len(truth.records)} updates of {len(trained)} parameters, total "
          f"{truth.records[0]['total']:.4f} -> {truth.records[-1]['total']:.4f}; float32 is off by "
          f"{weights:.1e}, key biases {keys:.1e}, losses {lost:.1e}", flush=True)
    case = {"group": group, "name": name, "recipe": made,
            "trained": trained,
            "counts": [truth.counts[n] for n in trained],
            "batches": truth.batches if several else None, "updates": digits(truth.records)}
    return case, torch.cat([truth.parameters[n].detach().reshape(-1) for n in trained])


def to_lines(cases):
    """A line for each part of a case."""
    return "[\n" + ",\n".join("{" + ",\n ".join(
        json.dumps(k) + ": " + json.dumps(v, separators=(",", ":")) for k, v in case.items()) + "}"
        for case in cases) + "\n]\n"


def main():
    torch.set_default_dtype(torch.float32)  # make_balance.py works in double
    write_inputs()
    torch.set_default_dtype(torch.float64)
    cases, tensors = [], {}
    for group in GROUPS:
        for name, made in group():
            case, tensors[name] = make_case(group.__name__, name, made)
            cases.append(case)
    c.write_text(FOLDER / "cases.json", to_lines(cases))
    c.write_tensors(FOLDER / "expected.safetensors", tensors, torch.float32)


if __name__ == "__main__":
    main()
