"""Writes losses.json: what torch computes for each loss, with its gradient, and five AdamW updates
of a linear layer under each.

Run by hand where torch is installed: python make_losses.py > losses.json
Inputs are float32 values, the arithmetic float64. Where torch has the loss, it is torch's; the
focal losses are the formulas of Lin et al. 2017 and of torchvision.ops.sigmoid_focal_loss, CORN
that of Shi et al. 2023.
"""
import json

import torch
from torch.nn import functional as F

torch.set_num_threads(1)
torch.manual_seed(11)
NAN = float("nan")


def rounded(x):
    """As the float32 that graft gets."""
    return x.float().double()


def numbers(x, digits=9):
    return [None if v != v else float(f"{v:.{digits}g}") for v in x.detach().reshape(-1).tolist()]


# ---- the losses: (logits, labels or target, settings) -> (sum, divisor) --------------------------

def cross_entropy(z, ids, s):
    weight = s["class_weight"]
    there = ids >= 0
    w = torch.ones(z.shape[1]).double() if weight is None else weight
    divisor = w[ids[there]].sum()
    if s["gamma"]:
        hit = F.one_hot(ids[there], z.shape[1]).bool()
        lse = torch.logsumexp(z[there], 1)
        log_p = z[there][hit] - lse
        log_wrong = torch.logsumexp(z[there].masked_fill(hit, -torch.inf), 1) - lse
        return -(w[ids[there]] * torch.exp(s["gamma"] * log_wrong) * log_p).sum(), divisor
    target = torch.where(there, ids, -100)
    total = F.cross_entropy(z, target, weight, ignore_index=-100, label_smoothing=s["smoothing"],
                            reduction="sum")
    if there.any():
        mean = F.cross_entropy(z, target, weight, ignore_index=-100, label_smoothing=s["smoothing"])
        assert torch.isclose(mean, total / divisor, rtol=1e-12)
    return total, divisor


def binary_cross_entropy(z, target, s):
    there = ~target[:, 0].isnan()
    z, y = z[there], target[there] * (1 - s["smoothing"]) + s["smoothing"] / 2
    each = F.binary_cross_entropy_with_logits(z, y, pos_weight=s["class_weight"], reduction="none")
    if s["gamma"]:
        each = each * torch.exp(s["gamma"] * F.logsigmoid(torch.where(y > 0.5, -z, z)))
    return each.sum(), torch.tensor(float(y.numel()))


def squared_error(z, target, _):
    there = ~target.isnan()
    return F.mse_loss(z[there, 0], target[there], reduction="sum"), there.sum()


def ordinal(z, ids, _):
    total, terms = z.sum() * 0, 0
    for k in range(z.shape[1]):
        there = ids >= k
        above = (ids[there] > k).double()
        log_p = F.logsigmoid(z[there, k])
        total = total - (log_p * above + (log_p - z[there, k]) * (1 - above)).sum()
        terms += int(there.sum())
    return total, torch.tensor(terms)


LOSSES = {"cross_entropy": cross_entropy, "binary_cross_entropy": binary_cross_entropy,
          "squared_error": squared_error, "ordinal": ordinal}


def plain_formulas():
    """The stable forms above against the published ones, where these can be computed."""
    z, gamma = torch.randn(50, 4).double(), 1.7
    s = dict(class_weight=torch.rand(4).double() + 0.5, smoothing=0.0, gamma=gamma)
    ids, y = torch.randint(0, 4, (50,)), torch.randint(0, 2, (50, 4)).double()
    p = torch.softmax(z, 1).gather(1, ids[:, None])[:, 0]
    want = -(s["class_weight"][ids] * (1 - p) ** gamma * p.log()).sum()
    assert torch.isclose(cross_entropy(z, ids, s)[0], want, rtol=1e-12)
    p = torch.sigmoid(z)
    ce = F.binary_cross_entropy_with_logits(z, y, reduction="none", pos_weight=s["class_weight"])
    want = (ce * (1 - (p * y + (1 - p) * (1 - y))) ** gamma).sum()
    assert torch.isclose(binary_cross_entropy(z, y, s)[0], want, rtol=1e-12)


# ---- draws ---------------------------------------------------------------------------------------

def draw_labels(op, rows, columns, missing):
    gone = torch.rand(rows) < missing
    if op == "squared_error":
        return rounded(torch.randn(rows) * 3).masked_fill(gone, NAN)
    if op == "binary_cross_entropy":
        return torch.randint(0, 2, (rows, columns)).double().masked_fill(gone[:, None], NAN)
    classes = columns + 1 if op == "ordinal" else columns
    return torch.randint(0, classes, (rows,)).masked_fill(gone, -1)


def settings(columns, weighted=False, smoothing=0.0, gamma=0.0):
    weight = rounded(torch.rand(columns) * 3 + 0.1) if weighted else None
    return dict(class_weight=weight, smoothing=smoothing, gamma=gamma)


def show_settings(s):
    weight = s["class_weight"]
    return dict(s, class_weight=None if weight is None else numbers(weight))


def show_labels(labels):
    return dict(target=numbers(labels)) if labels.is_floating_point() else dict(ids=labels.tolist())


def case(op, rows, columns, scale, missing, s):
    z = rounded(torch.randn(rows, columns) * scale).requires_grad_()
    labels = draw_labels(op, rows, columns, missing)
    total, divisor = LOSSES[op](z, labels, s)
    loss = total / divisor if divisor > 0 else total * 0
    loss.backward()
    return dict(op=op, rows=rows, columns=columns, **show_settings(s), z=numbers(z),
                **show_labels(labels), divisor=float(divisor), loss=loss.item(),
                gradient=numbers(z.grad))


def cases():
    out = []
    variants = [dict(), dict(weighted=True), dict(smoothing=0.1),
                dict(weighted=True, smoothing=0.3), dict(gamma=0.5), dict(gamma=2.0),
                dict(weighted=True, gamma=2.0)]
    shapes = [(7, 3, 1.0, 0.3), (3, 37, 4.0, 0.3), (5, 4, 60.0, 0.2), (4, 2, 1e4, 0.0),
              (3, 5, 1.0, 1.0)]
    for op in "cross_entropy", "binary_cross_entropy":
        for rows, columns, scale, missing in shapes:
            out += [case(op, rows, columns, scale, missing, settings(columns, **v))
                    for v in variants]
    out += [case("ordinal", *shape, settings(shape[1])) for shape in shapes + [(9, 1, 2.0, 0.2)]]
    out += [case("squared_error", rows, 1, scale, missing, settings(1))
            for rows, _, scale, missing in shapes]
    return out


# ---- five updates of a linear layer --------------------------------------------------------------

WIDTH, ROWS, UPDATES = 4, 6, 5
LR, DECAY = 1e-2, 0.05


def run(op, columns, s):
    layer = torch.nn.Linear(WIDTH, columns).double()
    with torch.no_grad():
        for p in layer.parameters():
            p.copy_(rounded(torch.randn(p.shape)))
    start = dict(weight=numbers(layer.weight), bias=numbers(layer.bias))
    optimizer = torch.optim.AdamW(layer.parameters(), lr=LR, weight_decay=DECAY, foreach=False)
    updates = []
    for _ in range(UPDATES):
        x, labels = rounded(torch.randn(ROWS, WIDTH)), draw_labels(op, ROWS, columns, 0.2)
        optimizer.zero_grad()
        total, divisor = LOSSES[op](layer(x), labels, s)
        (total / divisor).backward()
        optimizer.step()
        updates.append(dict(x=numbers(x), **show_labels(labels), divisor=float(divisor),
                            loss=(total / divisor).item(), weight=numbers(layer.weight),
                            bias=numbers(layer.bias)))
    return dict(op=op, rows=ROWS, width=WIDTH, columns=columns, **show_settings(s), lr=LR,
                weight_decay=DECAY, **start, updates=updates)


def runs():
    return [run("cross_entropy", 3, settings(3)), run("cross_entropy", 3, settings(3, True, 0.1)),
            run("cross_entropy", 3, settings(3, True, gamma=2.0)),
            run("binary_cross_entropy", 3, settings(3, True, 0.1)),
            run("binary_cross_entropy", 3, settings(3, gamma=0.5)),
            run("squared_error", 1, settings(1)), run("ordinal", 3, settings(3))]


if __name__ == "__main__":
    plain_formulas()
    print(json.dumps(dict(cases=cases(), runs=runs())))
