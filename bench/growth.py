#!/usr/bin/env python3
"""How graft's time and memory grow with what a run is made of: fitted exponents.

usage: bench/growth.py [options]

  --bench DIR    where bench/steps was built (default: build/bench)
  --model DIR    a folder with a vocabulary (default: demo/tiny-bert)
  --data FILE    rows with text, category and sentiment (default: demo/train.jsonl)
  --only LIST    of tokens, layers, hidden, rows, tasks, threads (default: all)
  --repeats N    of each point, the quickest of which counts (default: 3)
  --quick        the least that works: two small points each, for tests
  --json FILE    where to write all figures

Models have random weights; all texts are made as long as the length limit. An exponent b is that of
y = a x^b, fitted by least squares over the logarithms of all points; "at the end" is that of the
last two, where fixed costs matter least.
"""
import argparse
import datetime
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile

LENGTH = 64  # tokens of every text, special ones included
BATCH = 16
STEPS = 8  # 3 of them untimed
# What varies, its option of bench/steps, values and those of --quick, and what stays.
TRAINING = {"--layers": 2, "--hidden": 128, "--batch": BATCH, "--tasks": 2, "--threads": 1}
SERIES = {
    "tokens": ("--batch", [8, 16, 32, 64, 128], [1, 2]),
    "layers": ("--layers", [2, 4, 8, 16], [1, 2]),
    "hidden": ("--hidden", [64, 128, 256, 512], [64, 128]),
    "rows": (None, [250, 500, 1000, 2000], [16, 32]),
    "tasks": ("--tasks", [1, 2, 4, 8, 16, 32], [1, 2]),
    "threads": ("--threads", None, [1]),
}
UNITS = {"tokens": "tokens in a batch", "layers": "layers", "hidden": "hidden size",
         "rows": "rows to embed", "tasks": "tasks", "threads": "threads"}


def fit(points):
    """The least-squares slope of log y over log x; None from fewer than two different x."""
    logs = [(math.log(x), math.log(y)) for x, y in points]
    xs, ys = zip(*logs)
    middle_x, middle_y = statistics.fmean(xs), statistics.fmean(ys)
    spread = sum((x - middle_x) ** 2 for x in xs)
    if spread == 0:
        return None
    return sum((x - middle_x) * (y - middle_y) for x, y in logs) / spread


def thread_counts():
    """1, 2, 4, ... and all processors."""
    cores = len(os.sched_getaffinity(0))
    return sorted({min(2 ** k, cores) for k in range(cores.bit_length() + 1)})


class Growth:
    def __init__(self, options, folder):
        self.o, self.folder = options, folder
        with open(options.data, encoding="utf-8") as file:
            self.rows = [row for row in map(json.loads, filter(str.strip, file))
                         if row.get("category") is not None and row.get("sentiment") is not None]
        with open(os.path.join(options.model, "config.json"), encoding="utf-8") as file:
            self.vocabulary = json.load(file)["vocab_size"]

    def write_data(self, count):
        """Rows of other rows' texts, long enough for the length limit."""
        path = os.path.join(self.folder, f"{count}.jsonl")
        if os.path.exists(path):
            return path
        chance = random.Random(0)
        with open(path, "w", encoding="utf-8") as file:
            for i in range(count):
                row, text = dict(self.rows[i % len(self.rows)]), ""
                while len(text.split()) < LENGTH:  # a word is one token or more
                    text += " " + chance.choice(self.rows)["text"]
                file.write(json.dumps({**row, "text": text}) + "\n")
        return path

    def run(self, mode, changes, rows):
        settings = {**TRAINING, **changes}
        command = [os.path.join(self.o.bench, "steps"), self.o.model, self.write_data(rows),
                   "--mode", mode, "--random-base", "--vocabulary", str(self.vocabulary),
                   "--max-length", str(LENGTH), "--steps", str(4 if self.o.quick else STEPS)]
        for name, value in settings.items():
            command += [name, str(value)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"growth: error: {' '.join(command)} ended with {done.returncode}: "
                     f"{done.stderr.strip()}")
        return json.loads(done.stdout)

    def measure(self, name, value):
        """Milliseconds and MiB: of a step, or of embedding all rows."""
        option = SERIES[name][0]
        if name == "rows":
            got = self.run("embed", {}, value)
            return 1e3 * got["rows"] / got["seq_s"], got["rss_mib"]
        changes = {option: value}
        got = self.run("full", changes, max(2 * BATCH, changes.get("--batch", 0)))
        return got["best_step_ms"], got["rss_mib"]

    def series(self, name):
        _, values, few = SERIES[name]
        values = few if self.o.quick else values or thread_counts()
        points = []
        for value in values:
            got = [self.measure(name, value) for _ in range(self.o.repeats)]
            x = value * LENGTH if name == "tokens" else value
            points.append({"x": x, "ms": min(ms for ms, _ in got),
                           "mib": statistics.median(mib for _, mib in got)})
        result = {"name": name, "points": points}
        for what in ("ms", "mib"):
            pairs = [(p["x"], p[what]) for p in points]
            result[what + "_exponent"] = fit(pairs)
            result[what + "_exponent_at_the_end"] = fit(pairs[-2:])
        return result


def show(exponent):
    return "-" if exponent is None else f"{exponent:.2f}"


def print_table(results):
    print("| what grows | time ~ | at the end | memory ~ | at the end | points: ms, MiB |\n"
          "| --- | --- | --- | --- | --- | --- |")
    for r in results:
        points = "; ".join(f"{p['x']}: {p['ms']:.4g}, {p['mib']:.4g}" for p in r["points"])
        print(f"| {UNITS[r['name']]} | {show(r['ms_exponent'])} | "
              f"{show(r['ms_exponent_at_the_end'])} | {show(r['mib_exponent'])} | "
              f"{show(r['mib_exponent_at_the_end'])} | {points} |")


def read_options():
    a = argparse.ArgumentParser(usage=__doc__, add_help=False)
    for name, value in (("--bench", "build/bench"), ("--model", "demo/tiny-bert"),
                        ("--data", "demo/train.jsonl"), ("--only", None), ("--json", None)):
        a.add_argument(name, default=value)
    a.add_argument("--repeats", type=int, default=3)
    a.add_argument("--quick", action="store_true")
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(__doc__.strip())
        sys.exit(0)
    o = a.parse_args()
    o.only = o.only.split(",") if o.only else list(SERIES)
    for name in o.only:
        if name not in SERIES:
            sys.exit(f'growth: error: --only: "{name}" is unknown; there are {", ".join(SERIES)}')
    return o


def main():
    o = read_options()
    with tempfile.TemporaryDirectory() as folder:
        g = Growth(o, folder)
        results = [g.series(name) for name in o.only]
    print(f"growth: {TRAINING['--layers']} layers, hidden size {TRAINING['--hidden']}, {BATCH} "
          f"texts of {LENGTH} tokens a batch, {TRAINING['--tasks']} tasks and\n1 thread, unless "
          "that is what grows; time of a step, and to embed all rows")
    print_table(results)
    if o.json:
        report = {"date": datetime.date.today().isoformat(), "options": vars(o),
                  "training": TRAINING, "series": results}
        with open(o.json, "w", encoding="utf-8") as file:
            json.dump(report, file, indent=1)
            file.write("\n")


if __name__ == "__main__":
    main()
