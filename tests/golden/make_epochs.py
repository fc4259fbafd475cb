"""Writes epochs.json: the rows and batches of epochs, and the counts of mixed sources, by a second
implementation in plain Python, from the papers and the headers data/batch.h and data/mix.h.

    python3 tests/golden/make_epochs.py

PCG32 is O'Neill's pcg_setseq_64_xsh_rr_32, the shuffle that of Durstenfeld 1964 with
pcg32_boundedrand_r(), a stream's number FNV-1a 64 of its name.
"""

import json
import os
from fractions import Fraction

MASK = (1 << 64) - 1
WINDOW = 50


def stream_of(name):
    h = 0xCBF29CE484222325
    for b in name.encode():
        h = (h ^ b) * 0x100000001B3 & MASK
    return h


class Pcg32:
    def __init__(self, seed, stream):
        self.state, self.increment = 0, (stream << 1 | 1) & MASK
        self.next()
        self.state = (self.state + seed) & MASK
        self.next()

    def next(self):
        old = self.state
        self.state = (old * 6364136223846793005 + self.increment) & MASK
        x, rot = (old >> 18 ^ old) >> 27 & 0xFFFFFFFF, old >> 59
        return (x >> rot | x << (-rot & 31)) & 0xFFFFFFFF

    def below(self, bound):
        threshold = (1 << 32) % bound
        while (r := self.next()) < threshold:
            pass
        return r % bound

    def permutation(self, n):
        order = list(range(n))
        for i in range(n, 1, -1):
            k = self.below(i)
            order[k], order[i - 1] = order[i - 1], order[k]
        return order


def lengths(rows):
    """The row lengths that the test makes, too: 1 to 40."""
    x, out = 1, []
    for _ in range(rows):
        x = (x * 1664525 + 1013904223) & 0xFFFFFFFF
        out.append(1 + (x >> 16) % 40)
    return out


def shares(kind, sizes, epoch, epochs, temperature, cap, start, end):
    """Exact where the exponent is 0 or 1, else in 60 bits beyond a double."""
    if kind == "proportional":
        return [Fraction(n) for n in sizes]
    if kind == "temperature":
        sizes, power = [min(n, cap or n) for n in sizes], 1 / temperature
    else:
        power = {"uniform": 0, "round_robin": 0, "square_root": 0.5,
                 "annealed": start + (end - start) * epoch / max(1, epochs - 1)}[kind]
    return [Fraction(float(n) ** power) for n in sizes]


def counts(kind, sizes, epoch, epochs, temperature=1, cap=0, start=1, end=0.2):
    """Largest remainders (Hamilton's method), where none of them is raised to one row."""
    w = shares(kind, sizes, epoch, epochs, temperature, cap, start, end)
    quota = [sum(sizes) * x / sum(w) for x in w]
    out = [int(q) for q in quota]
    for s in sorted(range(len(w)), key=lambda s: (out[s] - quota[s], s))[: sum(sizes) - sum(out)]:
        out[s] += 1
    assert min(out) > 0 and sum(out) == sum(sizes)
    return out


def endless(seed, phase, source, rows, first, count):
    out, cycle = [], first // rows
    while len(out) < first % rows + count:
        stream = (stream_of("source") + (phase << 48) + (source << 32) + cycle) & MASK
        out += Pcg32(seed, stream).permutation(rows)
        cycle += 1
    return out[first % rows :][:count]


def take(rows, length, size, tokens, batches):
    """How many of the rows fit `batches` batches."""
    n = total = 0
    for r in rows:
        total += length[r]
        if size and n == size * batches or tokens and n and total > tokens * batches:
            break
        n += 1
    return n


def cut(rows, length, size, tokens, bucket, random):
    def batches_of(part):
        out = []
        while part:
            n = take(part, length, size, tokens, 1)
            out.append(part[:n])
            part = part[n:]
        return out

    if not bucket:
        return batches_of(rows)
    full = len(rows) if tokens else len(rows) // size * size
    rest, rows, out = rows[full:], rows[:full], []
    while rows:
        n = take(rows, length, size, tokens, WINDOW)
        out += batches_of(sorted(rows[:n], key=lambda r: -length[r]))
        rows = rows[n:]
    out = [out[b] for b in random.permutation(len(out))]
    return out + ([rest] if rest else [])


def epoch_of(case):
    sizes, kind, seed = case["sizes"], case["kind"], case["seed"]
    phase, epoch, epochs = case["phase"], case["epoch"], case["epochs"]
    size, tokens, bucket = case["size"], case["tokens"], case["bucket"]
    length = lengths(sum(sizes))
    random = Pcg32(seed, (stream_of("order") + (phase << 32) + epoch) & MASK)
    if len(sizes) == 1 or kind == "proportional":
        order = random.permutation(sum(sizes))
        return cut(order, length, size, tokens, bucket, random)
    mix = {k: case[k] for k in ("temperature", "cap", "start", "end") if k in case}
    given = [counts(kind, sizes, k, epochs, **mix) for k in range(epoch + 1)]
    parts = []
    for s, n in enumerate(sizes):
        done = sum(g[s] for g in given[:-1])
        rows = endless(seed, phase, s, n, done, given[-1][s])
        parts.append([sum(sizes[:s]) + r for r in rows])
    if kind != "round_robin":
        flat = [r for part in parts for r in part]
        rows = [flat[i] for i in random.permutation(len(flat))]
        return cut(rows, length, size, tokens, bucket, random)
    queues = [cut(part, length, size, tokens, bucket, random) for part in parts]
    return [q[i] for i in range(max(map(len, queues))) for q in queues if i < len(q)]


def make_cases():
    base = dict(kind="proportional", seed=42, phase=1, epoch=2, epochs=5, size=4, tokens=0,
                bucket=False, sizes=[331])
    mixed = dict(base, sizes=[200, 70, 9, 41])
    yield base
    yield dict(base, bucket=True)
    yield dict(base, bucket=True, sizes=[200, 70, 9, 41], seed=7, phase=0)
    yield dict(base, tokens=100, size=0)
    yield dict(base, tokens=100, size=5)
    yield dict(base, tokens=100, size=5, bucket=True)
    yield dict(base, tokens=60, size=0, bucket=True, phase=0, epoch=0)
    yield dict(base, tokens=7, size=0, bucket=True)
    yield dict(base, kind="uniform", bucket=True)
    yield dict(mixed, kind="uniform", epoch=0)
    yield dict(mixed, kind="uniform", epoch=3, bucket=True)
    yield dict(mixed, kind="square_root", tokens=80, bucket=True)
    yield dict(mixed, kind="temperature", temperature=2.5, cap=100, size=7)
    yield dict(mixed, kind="temperature", temperature=1, cap=0, size=7)
    yield dict(mixed, kind="annealed", start=1, end=0.2, epoch=3)
    yield dict(mixed, kind="annealed", start=0.9, end=0.1, epoch=0, epochs=1)
    yield dict(mixed, kind="round_robin", size=6)
    yield dict(mixed, kind="round_robin", size=0, tokens=120, bucket=True, epoch=4)


def main():
    cases = [dict(c, batches=epoch_of(c)) for c in make_cases()]
    path = os.path.join(os.path.dirname(__file__), "epochs.json")
    with open(path, "w") as f:
        f.write("[\n")
        f.write(",\n".join(json.dumps(c, separators=(",", ":")) for c in cases))
        f.write("\n]\n")


if __name__ == "__main__":
    main()
