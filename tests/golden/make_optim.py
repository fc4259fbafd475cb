"""Writes optim.json: what torch.optim.AdamW and transformers' schedules compute.

Run by hand where torch and transformers are installed: python make_optim.py > optim.json
Three phases of four updates: the heads; the heads and the upper layer with layer decay; all but the
heads, so that moments are born at different times and outlive a freeze.
"""
import json
from types import SimpleNamespace

import torch
from transformers import TrainingArguments
from transformers.optimization import (get_constant_schedule_with_warmup,
                                       get_cosine_schedule_with_warmup,
                                       get_linear_schedule_with_warmup)

LAYERS = 2
SHAPES = {
    "embeddings.word_embeddings.weight": [5, 3],
    "embeddings.LayerNorm.weight": [3],
    "encoder.layer.0.output.dense.weight": [3, 4],
    "encoder.layer.0.output.dense.bias": [3],
    "encoder.layer.1.output.dense.weight": [3, 4],
    "encoder.layer.1.output.LayerNorm.bias": [3],
    "heads.category.weight": [2, 3],
    "heads.category.bias": [2],
}
BETAS, EPS, DECAY = (0.9, 0.999), 1e-8, 0.01
# Per phase: rules as graft's (pattern, lr, weight_decay or None, layer_decay), the prefixes each
# stands for, a schedule, its warm-up and the largest norm.
PHASES = [
    dict(rules=[("heads.*", 1e-2, None, 1.0)], prefixes=["heads."],
         schedule="constant", warmup=0, clip_norm=1.0),
    dict(rules=[("heads.*", 5e-3, None, 1.0), ("encoder.layer[-1:].*", 2e-3, 0.05, 0.9)],
         prefixes=["heads.", "encoder.layer.1."], schedule="linear", warmup=1, clip_norm=0.5),
    dict(rules=[("encoder.*", 1e-3, None, 0.8), ("embeddings.*", 3e-3, None, 0.8)],
         prefixes=["encoder.", "embeddings."], schedule="cosine", warmup=0, clip_norm=100.0),
]
UPDATES = 4
MAKE = {"constant": lambda o, w, t: get_constant_schedule_with_warmup(o, w),
        "linear": get_linear_schedule_with_warmup, "cosine": get_cosine_schedule_with_warmup}


def numbers(tensor):
    return [float(x) for x in tensor.detach().reshape(-1)]


def slowed(lr, name, decay):
    if name.startswith("embeddings."):
        return lr * decay ** LAYERS
    if name.startswith("encoder.layer."):
        return lr * decay ** (LAYERS - 1 - int(name.split(".")[2]))
    return lr


def run_phase(phase, params, state):
    groups, names = [], []
    for name, p in params.items():
        for (_, lr, weight_decay, layer_decay), prefix in zip(phase["rules"], phase["prefixes"]):
            if not name.startswith(prefix):
                continue
            if weight_decay is None:
                weight_decay = 0.0 if name.endswith(".bias") or "LayerNorm." in name else DECAY
            groups.append(dict(params=[p], lr=slowed(lr, name, layer_decay),
                               weight_decay=weight_decay))
            names.append(name)
            break
    optimizer = torch.optim.AdamW(groups, betas=BETAS, eps=EPS, foreach=False)
    for name in names:
        if name in state:
            optimizer.state[params[name]] = state[name]
    schedule = MAKE[phase["schedule"]](optimizer, phase["warmup"], UPDATES)
    updates = []
    for _ in range(UPDATES):
        grads = {name: torch.randn(SHAPES[name]) for name in names}
        for name in names:
            params[name].grad = grads[name].clone()
        norm = torch.nn.utils.clip_grad_norm_([params[n] for n in names], phase["clip_norm"])
        optimizer.step()
        schedule.step()
        updates.append(dict(grads={n: numbers(g) for n, g in grads.items()}, norm=float(norm)))
    for name in names:
        state[name] = optimizer.state[params[name]]
    return dict(rules=[dict(pattern=p, lr=lr, weight_decay=w, layer_decay=d)
                       for p, lr, w, d in phase["rules"]],
                schedule=phase["schedule"], warmup=phase["warmup"], clip_norm=phase["clip_norm"],
                updates=updates,
                after={n: dict(value=numbers(p), updates=int(state[n]["step"]),
                               moment1=numbers(state[n]["exp_avg"]),
                               moment2=numbers(state[n]["exp_avg_sq"]))
                       if n in state else dict(value=numbers(p), updates=0)
                       for n, p in params.items()})


def adamw():
    torch.manual_seed(7)
    params = {n: torch.nn.Parameter(torch.randn(s) * 0.5) for n, s in SHAPES.items()}
    start = {n: dict(shape=SHAPES[n], value=numbers(p)) for n, p in params.items()}
    state = {}
    return dict(layers=LAYERS, betas=BETAS, eps=EPS, weight_decay=DECAY, start=start,
                phases=[run_phase(p, params, state) for p in PHASES])


def factors(kind, warmup, total):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = MAKE[kind](optimizer, warmup, total)
    out = []
    for _ in range(total + 2):
        out.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return out


def schedules():
    return [dict(name=k, warmup=w, total=t, factors=factors(k, w, t))
            for k in MAKE for w, t in [(0, 1), (0, 7), (1, 7), (3, 10), (10, 10), (12, 10), (2, 25)]]


def warmups():
    out = []
    for warmup in [0, 0.001, 0.06, 0.1, 0.3, 0.5, 0.999, 1, 1.0, 2.7, 500]:
        # The method alone: a whole TrainingArguments wants the accelerate package.
        args = SimpleNamespace(warmup_steps=warmup)
        out += [dict(warmup=warmup, total=t, updates=TrainingArguments.get_warmup_steps(args, t))
                for t in [1, 3, 10, 70, 1000, 12345]]
    return out


print(json.dumps(dict(adamw=adamw(), schedules=schedules(), warmups=warmups())))
