"""Makes lrfind.json: a learning-rate range test by torch.optim.AdamW, and suggestions by numpy.

    python tests/golden/make_lrfind.py

Runs: phases of training/recipe.json, each from the base's weights, their rates multiplied so that
the largest goes from start to end; the data of training/ is one batch, so an update is an epoch.
Curves: made up, with what fastai's valley, steep and minimum say of them, written anew.
"""
from bisect import bisect_left

import numpy as np
import torch

import common as c
import make_training as m
import recipe as r

BETA, UPDATES = 0.98, 10
RUNS = [dict(phase="heads", start=1e-3, end=1.0, steps=12),
        dict(phase="upper", start=1e-5, end=5e-2, steps=11),
        dict(phase="all", start=1e-4, end=3e-2, steps=16)]


def smooth(losses):
    """Exponentially weighted means without bias: each over its own weights, which sum to 1."""
    weights = BETA ** np.arange(len(losses))[::-1]
    return [float(np.average(losses[:k + 1], weights=weights[-k - 1:])) for k in range(len(losses))]


def run(case, dtype):
    phase = next(p for p in m.RECIPE["phases"] if p["name"] == case["phase"])
    options = m.RECIPE["optimizer"]
    tasks, rows = m.resolved_tasks(), m.read_rows()
    ids = m.tokenize(rows)
    labels = {t["name"]: [row.get(t["label"]) for row in rows] for t in m.RECIPE["tasks"]}
    model = c.load_bert(m.FOLDER / "model", dtype)
    heads = c.load_heads(m.FOLDER / "heads.safetensors", dtype)
    parameters = c.encoder_parameters(model) | heads
    groups = r.phase_groups(phase, parameters, m.SIZES["num_hidden_layers"],
                            options["weight_decay"])
    for name, p in parameters.items():
        p.requires_grad_(name in groups)
    optimizer = torch.optim.AdamW([{"params": [parameters[n]], **g} for n, g in groups.items()],
                                  betas=tuple(options["betas"]), eps=options["eps"])
    ratios = [g["lr"] for g in optimizer.param_groups]
    rates = np.geomspace(case["start"], case["end"], case["steps"])[:UPDATES]
    weights, losses = r.phase_weights(phase, m.RECIPE["tasks"]), []
    for rate in rates:
        for group, ratio in zip(optimizer.param_groups, ratios):
            group["lr"] = float(ratio / max(ratios) * rate)
        optimizer.zero_grad(set_to_none=True)
        hidden, mask = c.encode(model, ids)
        embedding = c.normalise(c.pool(hidden, mask, m.RECIPE["model"]["pooling"]))
        loss = c.weighted_sum(c.task_losses(c.task_logits(embedding, heads, tasks), tasks, labels),
                              weights)
        loss.backward()
        torch.nn.utils.clip_grad_norm_([parameters[n] for n in groups], options["clip_norm"])
        optimizer.step()
        losses.append(loss.item())
    return list(map(float, rates)), losses


def longest_falls(losses):
    """The length of the longest strictly falling subsequence that ends at each point."""
    tails, lengths = [], []  # tails[k]: the negated last value of the best one of length k + 1
    for loss in losses:
        k = bisect_left(tails, -loss)
        tails[k:k + 1] = [-loss]
        lengths.append(k + 1)
    return np.array(lengths)


def suggest(rates, losses, steps):
    """{rule: [rate, index of the point]}; what is cut off does not count, but is counted."""
    skip = steps // 10
    lrs, values = np.array(rates)[skip:-5], np.array(losses)[skip:-5]
    if len(lrs) < 2:
        return dict.fromkeys(("valley", "steep", "minimum"))
    falls = longest_falls(values)
    length = int(falls.max())
    begin = int(falls.argmax()) - length if length > 1 else 0
    section = (int(falls.argmax()) - begin) / 3
    valley = max(begin + int(section) + int(section / 2), 0)
    steep = int(np.argmin(np.diff(values) / np.diff(np.log(lrs))))
    lowest = int(values.argmin())
    return {"valley": [lrs[valley], valley + skip], "steep": [lrs[steep], steep + skip],
            "minimum": [lrs[lowest] / 10, lowest + skip]}


def curves():
    """(steps, smoothed losses)"""
    random = np.random.default_rng(5)

    def valley(n, noise, bottom=0.7):
        x = np.linspace(0, 1, n)
        raw = 1 - 0.6 * np.clip((x - 0.3) / (bottom - 0.3), 0, 1) ** 2
        raw += 40 * np.clip(x - bottom, 0, 1) ** 3
        return raw + noise * random.standard_normal(n)

    yield 100, valley(100, 0.0)
    yield 100, valley(100, 0.02)
    yield 100, np.array(smooth(valley(100, 0.1)))
    yield 100, valley(100, 0.02, 0.5)[:61]                # diverged
    yield 40, np.linspace(2, 1, 40)                       # falls to the end
    yield 40, np.linspace(1, 3, 40)                       # never falls
    yield 40, np.round(valley(40, 0.1), 1)                # ties
    yield 20, np.ones(20)
    yield 10, np.array([3, 3.0, 2.9, 2.5, 2.6, 2, 1, 1, 1, 1])
    yield 10, np.array([3, 3.0, 2.9, 2.5, 2.6, 2, 1, 1])  # two points are left
    yield 10, np.array([3, 3.0, 2.9, 2.5, 2.6, 2, 1])     # one
    yield 10, np.array([3, 9.0])                          # fewer than none
    yield 35, -valley(35, 0.05)


def curve(steps, losses):
    """Losses as they are read back; the rates rise by the same ratio over all steps."""
    losses = [float(f"{x:.8g}") for x in losses]
    rates = [float(f"{x:.8g}") for x in np.geomspace(1e-6, 1, steps)[:len(losses)]]
    found = suggest(rates, losses, steps)
    return dict(steps=steps, rates=rates, losses=losses,
                suggestions={k: v and list(map(float, v)) for k, v in found.items()})


def main():
    runs = []
    for case in RUNS:
        rates, losses = run(case, torch.float64)
        single = run(case, torch.float32)[1]
        worst = max(abs(a - b) / b for a, b in zip(single, losses))
        print(f"{case['phase']}: loss {' '.join(f'{x:.4f}' for x in losses)}; "
              f"torch's float32 is off by {worst:.1e}")
        runs.append(case | dict(rates=rates, losses=losses, smoothed=smooth(losses)))
    c.write_json(c.ROOT / "lrfind.json",
                 {"runs": runs, "curves": [curve(*pair) for pair in curves()]})


if __name__ == "__main__":
    main()
