"""Writes tests/golden/balance.json and surgery.json: loss balancing and gradient surgery, written
in torch (float64) and scipy from the papers' formulas.

Run by hand, from the root of the repository, with torch and scipy installed:
    python3 tests/golden/make_balance.py

balance.json: per method a toy network (one shared layer, four tasks, one of weight 0) trained with
it for 12 updates, 3 an epoch; some updates have no label of a task (null). Per update: raw losses,
norms of the weighted losses' gradients with respect to the shared layer, losses after the update,
and what is wanted: the weights and the total.

surgery.json: gradients (sixteenths, so exact as floats) and the wanted results.
"""
import json
import math

import numpy as np
import scipy
import torch
from scipy.optimize import minimize, minimize_scalar

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)

FIXED = [1.0, 0.5, 2.0, 0.0]
REGRESSION = [False, True, False, False]
UPDATES, UPDATES_PER_EPOCH = 12, 3
ABSENT = {1: [2], 3: [0], 4: [1, 2], 6: [0, 1, 2], 7: [3], 9: [1]}  # update: tasks


class Toy:
    """Shared layer, heads; a task's loss is the mean over all rows of an update, or None."""

    def __init__(self, seed):
        self.generator = torch.Generator().manual_seed(seed)
        self.x = self.draw(UPDATES, 8, 6)
        classes = [3, 1, 2, 4]
        self.shared = (0.7 * self.draw(6, 5)).requires_grad_()
        self.heads = [(s * self.draw(5, c)).requires_grad_()
                      for c, s in zip(classes, [1.0, 3.0, 0.3, 1.0])]
        self.labels = [torch.randint(c, (UPDATES, 8), generator=self.generator) for c in classes]
        self.values = self.draw(UPDATES, 8)

    def draw(self, *shape):
        return torch.randn(*shape, generator=self.generator)

    def losses(self, update):
        hidden = torch.tanh(self.x[update] @ self.shared)
        result = []
        for k, head in enumerate(self.heads):
            out = hidden @ head
            if k in ABSENT.get(update, []):
                result.append(None)
            elif REGRESSION[k]:
                result.append(((out[:, 0] - self.values[update]) ** 2).mean())
            else:
                result.append(torch.nn.functional.cross_entropy(out, self.labels[k][update]))
        return result

    def step(self, total):
        parameters = [self.shared] + self.heads
        grads = torch.autograd.grad(total, parameters, allow_unused=True)
        with torch.no_grad():
            for p, g in zip(parameters, grads):
                if g is not None:
                    p -= 0.3 * g


def present(losses):
    return [k for k, loss in enumerate(losses) if loss is not None and FIXED[k] > 0]


class Method:
    """total() is a function of the losses as tensors; weights are its derivatives."""

    def __init__(self, settings):
        self.settings = settings
        self.active = [k for k in range(4) if FIXED[k] > 0]

    def factors(self):
        return [1.0] * 4

    def total(self, losses):
        factors = self.factors()
        return sum((FIXED[k] * factors[k] * losses[k] for k in present(losses)), torch.zeros(()))

    def see(self, losses, toy, after):
        pass

    def end_epoch(self):
        pass


class Uncertainty(Method):
    def __init__(self, settings):
        super().__init__(settings)
        self.s = [torch.zeros((), requires_grad=True) for _ in range(4)]
        self.adam = torch.optim.Adam(self.s, lr=settings["lr"])

    def total(self, losses):
        result = torch.zeros(())
        for k in present(losses):
            scale = 0.5 if REGRESSION[k] else 1.0
            result = result + FIXED[k] * (scale * torch.exp(-self.s[k]) * losses[k]
                                          + 0.5 * self.s[k])
        return result

    def see(self, losses, toy, after):
        self.adam.zero_grad()
        if present(losses):
            self.total([None if loss is None else loss.detach() for loss in losses]).backward()
        self.adam.step()


class Dwa(Method):
    def __init__(self, settings):
        super().__init__(settings)
        self.seen = {k: [] for k in self.active}
        self.means = {k: [] for k in self.active}
        self.now = [1.0] * 4

    def factors(self):
        return self.now

    def see(self, losses, toy, after):
        for k in present(losses):
            self.seen[k].append(losses[k].item())

    def end_epoch(self):
        r = {}
        for k in self.active:
            if self.seen[k]:
                self.means[k].append(sum(self.seen[k]) / len(self.seen[k]))
            self.seen[k] = []
            r[k] = self.means[k][-1] / self.means[k][-2] if len(self.means[k]) > 1 else 1.0
        exps = {k: math.exp(r[k] / self.settings["temperature"]) for k in self.active}
        for k in self.active:
            self.now[k] = len(self.active) * exps[k] / sum(exps.values())


class GradNorm(Method):
    def __init__(self, settings):
        super().__init__(settings)
        self.w = [torch.ones((), requires_grad=True) for _ in range(4)]
        self.adam = torch.optim.Adam(self.w, lr=settings["lr"])
        self.first = {}

    def factors(self):
        return [w.detach() for w in self.w]

    def norms(self, losses, toy):
        """Of the weighted losses' gradients, as functions of w."""
        return {k: torch.autograd.grad(FIXED[k] * self.w[k] * losses[k], toy.shared,
                                       create_graph=True)[0].norm() for k in present(losses)}

    def see(self, losses, toy, after):
        tasks = present(losses)
        if not tasks:
            return
        norms = self.norms(losses, toy)
        for k in tasks:
            self.first.setdefault(k, losses[k].item())
        ratio = {k: losses[k].item() / self.first[k] for k in tasks}
        mean_ratio = sum(ratio.values()) / len(tasks)
        mean_norm = sum(norms.values()).detach() / len(tasks)
        self.adam.zero_grad()
        loss = sum((norms[k] - mean_norm * (ratio[k] / mean_ratio) ** self.settings["alpha"]).abs()
                   for k in tasks)
        grads = torch.autograd.grad(loss, [self.w[k] for k in tasks])
        total = sum(self.w[k].item() for k in tasks)
        for k, g in zip(tasks, grads):
            self.w[k].grad = g
        self.adam.step()
        with torch.no_grad():
            behind = sum(self.w[k].item() for k in tasks)
            for k in tasks:
                self.w[k] *= total / behind


class Famo(Method):
    def __init__(self, settings):
        super().__init__(settings)
        self.w = [torch.zeros((), requires_grad=True) for _ in range(4)]
        self.adam = torch.optim.Adam(self.w, lr=settings["lr"], weight_decay=settings["decay"])

    def total(self, losses):
        tasks = present(losses)
        if not tasks:
            return torch.zeros(())
        z = torch.softmax(torch.stack([self.w[k] for k in tasks]), 0).detach()
        distance = torch.stack([losses[k] for k in tasks]) + 1e-8
        c = (z / distance).sum().detach()
        return (torch.tensor([FIXED[k] for k in tasks]) * distance.log() * z / c).sum()

    def see(self, losses, toy, after):
        tasks = present(losses)
        self.adam.zero_grad()
        if not tasks:
            return
        before = torch.stack([losses[k] for k in tasks]).detach()
        behind = torch.stack([after[k] for k in tasks]).detach()
        delta = (before + 1e-8).log() - (behind + 1e-8).log()
        z = torch.softmax(torch.stack([self.w[k] for k in tasks]), 0)
        grads = torch.autograd.grad(z, [self.w[k] for k in tasks], grad_outputs=delta)
        for k, g in zip(tasks, grads):
            self.w[k].grad = g
        self.adam.step()


METHODS = {"fixed": Method, "uncertainty": Uncertainty, "dwa": Dwa, "gradnorm": GradNorm,
           "famo": Famo}


def numbers(losses):
    return [None if loss is None else loss.item() for loss in losses]


def run(name, settings, seed):
    toy, method = Toy(seed), METHODS[name](settings)
    updates = []
    for update in range(UPDATES):
        losses = toy.losses(update)
        leaves = [None if x is None else x.detach().requires_grad_() for x in losses]
        total = method.total(leaves)
        tasks = present(losses)
        slopes = torch.autograd.grad(total, [leaves[k] for k in tasks]) if tasks else []
        weights, norms = [None] * 4, [None] * 4
        for k, slope in zip(tasks, slopes):
            weights[k] = slope.item()
            g = torch.autograd.grad(losses[k], toy.shared, retain_graph=True)[0]
            norms[k] = (slope.item() * g).norm().item()
        kept = [None if x is None else x.detach() for x in losses]
        if name == "gradnorm":  # needs the graph of the old weights of the network
            method.see(losses, toy, None)
        if tasks:
            toy.step(sum(weights[k] * toy.losses(update)[k] for k in tasks))
        after = toy.losses(update)
        if name != "gradnorm":
            method.see(kept, toy, after)
        end = update % UPDATES_PER_EPOCH == UPDATES_PER_EPOCH - 1
        if end:
            method.end_epoch()
        updates.append({"losses": numbers(losses), "norms": norms, "after": numbers(after),
                        "weights": weights, "total": total.item(), "end_epoch": end})
    return {"method": name, "settings": settings, "fixed": FIXED, "regression": REGRESSION,
            "updates": updates}


def settings(lr=0.025, alpha=1.5, temperature=2.0, decay=0.01):
    return {"lr": lr, "alpha": alpha, "temperature": temperature, "decay": decay}


# ---- surgery ----

class Pcg32:
    """O'Neill 2014, XSH-RR 64/32, with the published way of seeding and of bounding."""
    MASK = (1 << 64) - 1

    def __init__(self, seed, stream):
        self.state, self.increment = 0, (stream << 1 | 1) & self.MASK
        self.next()
        self.state = (self.state + seed) & self.MASK
        self.next()

    def next(self):
        old = self.state
        self.state = (old * 6364136223846793005 + self.increment) & self.MASK
        shifted, turn = ((old >> 18 ^ old) >> 27) & 0xffffffff, old >> 59
        return (shifted >> turn | shifted << (-turn & 31)) & 0xffffffff

    def advance(self, count):
        a, c, multiplier, plus = 1, 0, 6364136223846793005, self.increment
        while count:
            if count & 1:
                a, c = a * multiplier & self.MASK, (c * multiplier + plus) & self.MASK
            plus = (multiplier + 1) * plus & self.MASK
            multiplier = multiplier * multiplier & self.MASK
            count >>= 1
        self.state = (a * self.state + c) & self.MASK

    def below(self, bound):
        while True:
            x = self.next()
            if x >= (1 << 32) % bound:
                return x % bound

    def shuffle(self, items):
        for i in range(len(items), 1, -1):
            j = self.below(i)
            items[j], items[i - 1] = items[i - 1], items[j]


def fnv1a(name):
    value = 0xcbf29ce484222325
    for byte in name.encode():
        value = (value ^ byte) * 0x100000001b3 & Pcg32.MASK
    return value


def pcgrad(g, seed, step):
    rng = Pcg32(seed, fnv1a("pcgrad"))
    rng.advance(step << 24)
    total = torch.zeros_like(next(x for x in g if x is not None))
    for i in range(len(g)):
        order = [j for j in range(len(g)) if j != i]
        rng.shuffle(order)
        if g[i] is None:
            continue
        projected = g[i].clone()
        for j in order:
            if g[j] is not None and projected @ g[j] < 0:
                projected = projected - (projected @ g[j]) / (g[j] @ g[j]) * g[j]
        total = total + projected
    return total


def cagrad(g, c):
    """(K d, the least F) by the paper's formulas; F's minimum by scipy."""
    m = torch.stack([x for x in g if x is not None]).numpy()
    K, g0 = len(m), m.mean(0)
    radius = c * np.linalg.norm(g0)
    scale = (m * m).sum(1).max()

    def f(w):
        return (w @ m @ g0 + radius * np.linalg.norm(w @ m)) / scale

    def slope(w):
        return (m @ g0 + radius * m @ (w @ m) / np.linalg.norm(w @ m)) / scale

    if K == 2:
        x = minimize_scalar(lambda t: f(np.array([t, 1 - t])), bounds=(0, 1), method="bounded",
                            options={"xatol": 1e-13}).x
        results = [np.array([t, 1 - t]) for t in (x, 0.0, 1.0)]
    else:
        starts = [np.full(K, 1 / K)] + [0.9 * np.eye(K)[k] + 0.1 / K for k in range(K)]
        results = [minimize(f, s, jac=slope, method="SLSQP", bounds=[(0, 1)] * K,
                            constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
                            options={"ftol": 1e-16, "maxiter": 1000}).x for s in starts]
    w = min(results, key=f)
    gap = w @ slope(w) - slope(w).min()
    print(f"cagrad K={K} c={c} w={w.round(4)} gap={gap:.1e}")
    gw = w @ m
    return K * (g0 + radius * gw / np.linalg.norm(gw))


def gradients(kind, K, n, generator):
    def draw(*shape):
        return torch.randn(*shape, generator=generator)
    if kind == "random":
        g = [draw(n) for _ in range(K)]
    elif kind == "conflicting":  # pairwise cosines well below 0, of unlike lengths
        centre = draw(n)
        g = [4.0 ** (k % 3 - 1) * ((-1) ** k * centre + 0.8 * draw(n)) for k in range(K)]
    else:
        centre = draw(n)
        g = [2 * centre + draw(n) for _ in range(K)]
    return [torch.round(16 * x) / 16 for x in g]


def surgery():
    generator = torch.Generator().manual_seed(7)
    cases = []
    for number, (K, n) in enumerate([(2, 60), (3, 61), (5, 59)]):
        for kind in ["random", "conflicting", "agreeing"]:
            g = gradients(kind, K, n, generator)
            if kind == "random" and K == 5:
                g[1] = None
            seed, step = 40 + number, 1000 * number + len(cases)
            case = {"kind": kind, "seed": seed, "step": step, "c": [0.5, 0.2, 0.9][number],
                    "g": [None if x is None else x.tolist() for x in g],
                    "none": sum(x for x in g if x is not None).tolist()}
            case["pcgrad"] = pcgrad(g, seed, step).tolist()
            case["cagrad"] = cagrad(g, case["c"]).tolist()
            cases.append(case)
    return cases


def write(name, content):
    with open("tests/golden/" + name, "w") as f:
        json.dump({"torch": torch.__version__, "scipy": scipy.__version__, "cases": content}, f,
                  separators=(",", ":"))
        f.write("\n")


if __name__ == "__main__":
    write("balance.json", [run("fixed", settings(), 1), run("uncertainty", settings(0.05), 2),
                           run("dwa", settings(), 3), run("dwa", settings(temperature=0.1), 4),
                           run("gradnorm", settings(), 5),
                           run("gradnorm", settings(0.1, alpha=0.5), 6),
                           run("famo", settings(), 7), run("famo", settings(0.2, decay=0.3), 8)])
    write("surgery.json", surgery())
