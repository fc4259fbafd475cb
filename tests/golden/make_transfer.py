"""Makes transfer.json: SGD, moving averages of weights, L2-SP and gradual unfreezing by torch.

    python tests/golden/make_transfer.py

Six updates per case on parameters of a few elements, all with the same start and gradients, in
float64. The model's loss is sum(gradient * w), whose gradient is the one given; L2-SP is added to
it as its paper writes it and differentiated by autograd. Weights are averaged by AveragedModel.
"""
from fnmatch import fnmatchcase

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import common as c

LAYERS, UPDATES, DEFAULT_DECAY = 3, 6, 0.05
SHAPES = {
    "embeddings.word_embeddings.weight": [4, 3],
    "embeddings.LayerNorm.bias": [3],
    "encoder.layer.0.output.dense.weight": [3, 2],
    "encoder.layer.0.output.dense.bias": [3],
    "encoder.layer.1.output.dense.weight": [3, 2],
    "encoder.layer.2.output.dense.weight": [3, 2],
    "encoder.layer.2.output.LayerNorm.weight": [3],
    "pooler.dense.weight": [2, 3],
    "heads.a.weight": [2, 3],
    "heads.a.bias": [2],
}
ADAMW = {"type": "adamw", "betas": [0.9, 0.98], "eps": 1e-6}
SGD = {"type": "sgd", "momentum": 0.9, "nesterov": False}


def rule(pattern, lr, weight_decay=None, layer_decay=1.0, l2_sp=0.0):
    return dict(pattern=pattern, lr=lr, weight_decay=weight_decay, layer_decay=layer_decay,
                l2_sp=l2_sp)


HEADS = rule("heads.*", 2e-2)
# `lowest`: from which update on which lowest layer trains, see lowest_of(); -1: all may.
CASES = [
    dict(name="sgd without momentum", optimizer=SGD | {"momentum": 0.0}, clip_norm=0.0,
         rules=[rule("*", 1e-1, 0.1)]),
    dict(name="sgd with momentum", optimizer=SGD, clip_norm=3.0,
         factors=[0.0, 0.5, 1.0, 1.0, 0.75, 0.25], rules=[HEADS, rule("e*", 3e-2)]),
    dict(name="sgd with Nesterov's momentum", optimizer=SGD | {"nesterov": True}, clip_norm=0.0,
         rules=[rule("*", 5e-2, 0.2, 0.7)]),
    dict(name="sgd, momentum over a freeze", optimizer=SGD | {"momentum": 0.8}, clip_norm=2.0,
         rules=[rule("*", 5e-2)], lowest={0: 1, 2: 3, 4: 2}),
    dict(name="average of sgd", optimizer=SGD, clip_norm=1.0, average=0.9,
         rules=[HEADS, rule("encoder.*", 5e-2)]),
    dict(name="average of adamw, unfreezing", optimizer=ADAMW, clip_norm=1.0, average=0.7,
         rules=[rule("*", 2e-2)], lowest={0: 3, 2: 1, 3: 0, 4: -1}),
    dict(name="L2-SP with sgd", optimizer=SGD, clip_norm=0.0,
         rules=[HEADS, rule("embeddings.*", 3e-2, 0.1, 1.0, 2.0), rule("*", 3e-2, 0.0, 0.9, 0.5)]),
    dict(name="L2-SP with adamw, clipped", optimizer=ADAMW, clip_norm=1.5,
         rules=[HEADS, rule("e*", 1e-1, 0.0, 0.8, 3.0)]),
    dict(name="L2-SP over a freeze", optimizer=ADAMW, clip_norm=1.5,
         rules=[HEADS, rule("e*", 5e-2, 0.0, 1.0, 2.0)], lowest={0: 0, 2: 3, 3: 0, 5: -1}),
    dict(name="gradual unfreezing by one layer", optimizer=ADAMW, clip_norm=1.0,
         rules=[HEADS, rule("e*", 1e-2, None, 0.8)], lowest={0: 3, 1: 2, 2: 1, 3: 0, 4: -1}),
    dict(name="gradual unfreezing by two layers", optimizer=ADAMW, clip_norm=0.0,
         rules=[rule("*", 1e-2)], lowest={0: 3, 2: 1, 3: 0, 4: -1}),
]


def numbers(tensor):
    return [float(x) for x in tensor.detach().reshape(-1)]


def layer_of(name):
    return int(name.split(".")[2]) if name.startswith("encoder.layer.") else None


def is_open(name, lowest):
    if name.startswith("embeddings."):
        return lowest < 0
    return layer_of(name) is None or layer_of(name) >= lowest


def rule_for(name, case):
    return next((r for r in case["rules"] if fnmatchcase(name, r["pattern"])), None)


def lowest_of(case, update):
    return [low for at, low in case.get("lowest", {0: -1}).items() if at <= update][-1]


def group(name, p, r):
    lr, decay = r["lr"], r["weight_decay"]
    depth = LAYERS if name.startswith("embeddings.") else LAYERS - 1 - layer_of(name) \
        if layer_of(name) is not None else 0
    if decay is None:
        decay = 0.0 if name.endswith(".bias") or "LayerNorm" in name else DEFAULT_DECAY
    return dict(params=[p], lr=lr * r["layer_decay"] ** depth, weight_decay=decay)


def make_optimizer(case, params):
    groups = [group(n, p, rule_for(n, case)) for n, p in params.items() if rule_for(n, case)]
    o = case["optimizer"]
    if o["type"] == "sgd":
        return torch.optim.SGD(groups, momentum=o["momentum"], nesterov=o["nesterov"])
    return torch.optim.AdamW(groups, betas=tuple(o["betas"]), eps=o["eps"])


def backward(case, params, trains, anchors, grads, dtype):
    """The gradient of the loss, and of L2-SP's alpha / 2 |w - w0|^2, for what trains."""
    loss = 0
    for name, p in params.items():
        p.requires_grad_(name in trains)
        p.grad = None
        if name not in trains:
            continue
        loss = loss + (grads[name].to(dtype) * p).sum()
        strength = rule_for(name, case)["l2_sp"]
        if strength:
            loss = loss + strength / 2 * ((p - anchors[name]) ** 2).sum()
    loss.backward()


def run(case, start, grads, dtype):
    model = torch.nn.Module()
    for name, value in start.items():
        p = torch.nn.Parameter(value.to(dtype, copy=True))
        model.register_parameter(name.replace(".", "/"), p)
    params = {name.replace("/", "."): p for name, p in model.named_parameters()}
    anchors = {name: p.detach().clone() for name, p in params.items()}
    optimizer = make_optimizer(case, params)
    full_rates = [g["lr"] for g in optimizer.param_groups]
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(case.get("average", 0.5)))
    average.update_parameters(model)  # the first call copies
    norms, updates = [], dict.fromkeys(params, 0)
    for u in range(UPDATES):
        low = lowest_of(case, u)
        trains = [n for n in params if rule_for(n, case) and is_open(n, low)]
        backward(case, params, trains, anchors, grads[u], dtype)
        limit = case["clip_norm"] or torch.inf
        norms.append(float(torch.nn.utils.clip_grad_norm_([params[n] for n in trains], limit)))
        for g, lr in zip(optimizer.param_groups, full_rates):
            g["lr"] = lr * case.get("factors", [1.0] * UPDATES)[u]
        optimizer.step()
        average.update_parameters(model)
        for n in trains:
            updates[n] += 1
    return params, optimizer, dict(average.module.named_parameters()), norms, updates


def after(case, params, optimizer, averages, updates):
    out = {}
    for name, p in params.items():
        out[name] = item = dict(updates=updates[name], value=numbers(p))
        state = optimizer.state.get(p, {})
        for ours, theirs in (("moment1", "momentum_buffer"), ("moment1", "exp_avg"),
                             ("moment2", "exp_avg_sq")):
            if state.get(theirs) is not None:
                item[ours] = numbers(state[theirs])
        if "average" in case and updates[name]:
            item["average"] = numbers(averages[name.replace(".", "/")])
    return out


def finish(case, start, grads, dtype):
    params, optimizer, averages, norms, updates = run(case, start, grads, dtype)
    return norms, after(case, params, optimizer, averages, updates)


def difference(single, truth):
    """The largest of float32's errors, as the test measures them."""
    worst = 0
    for name, arrays in truth.items():
        for key in arrays.keys() - {"updates"}:
            quarter = max(map(abs, arrays[key])) / 4
            worst = max([worst] + [abs(a - b) / max(abs(b), quarter)
                                   for a, b in zip(single[name][key], arrays[key])])
    return worst


def main():
    generator = torch.Generator().manual_seed(11)
    start = {n: 0.5 * torch.randn(s, generator=generator) for n, s in SHAPES.items()}
    grads = [{n: 0.4 * torch.randn(s, generator=generator) for n, s in SHAPES.items()}
             for _ in range(UPDATES)]
    cases = []
    for case in CASES:
        norms, truth = finish(case, start, grads, torch.float64)
        single = finish(case, start, grads, torch.float32)[1]
        lowest = [lowest_of(case, u) for u in range(UPDATES)]
        cases.append(case | dict(lowest=lowest, norms=norms, after=truth))
        clipped = sum(n > case["clip_norm"] > 0 for n in norms)
        print(f"{case['name']}: clipped {clipped} of {UPDATES}, "
              f"torch's float32 is off by {difference(single, truth):.1e}")
    c.write_json(c.ROOT / "transfer.json", {
        "layers": LAYERS, "weight_decay": DEFAULT_DECAY,
        "start": {n: dict(shape=SHAPES[n], value=numbers(v)) for n, v in start.items()},
        "grads": [{n: numbers(g) for n, g in update.items()} for update in grads],
        "cases": cases})


if __name__ == "__main__":
    main()
