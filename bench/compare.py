#!/usr/bin/env python3
"""Measures graft beside another program that does the same work, and prints ratios.

usage: bench/compare.py --model DIR --data FILE.jsonl --peer COMMAND [options]

  --graft DIR       where graft and bench/steps were built (default: build)
  --model DIR       a BERT folder
  --data FILE       rows with text, category and sentiment; a sample of them is used
  --peer COMMAND    called as COMMAND MODE MODEL DATA --steps N --batch N --max-len N ...
  --ort COMMAND     called as COMMAND MODEL DATA ROWS --sort, for the work "ort"
  --ort-latency COMMAND    called as COMMAND MODEL DATA ROWS, for the work "latency"
  --tokenizer COMMAND      called as COMMAND MODEL DATA, for the work "tokenizer":
                    "python3 bench/tokenizer_peer.py"
  --start NAME=COMMAND     called as COMMAND MODEL TEXT TEXT, for the work "start"; repeatable
  --work LIST       of full, full-bucket, top2, heads, heads-cached, embed, ort, latency, tokenizer,
                    start, threads (default: all that can be run)
  --rounds N        default 5       --steps N    default 40, 3 of them untimed
  --batch N         default 32      --epochs N   of the works heads..., default 10
  --max-length N    default 128     --threads N  default: all processors
  --random-base     a BERT-base with random weights instead of MODEL's
  --json FILE       where to write all figures

A round runs every work once with each program, in turn, because a shared machine is fast in one
minute and slow in the next. Medians over the rounds are compared; bench/README.md has the rules.
"""
import argparse
import datetime
import json
import os
import platform
import random
import shlex
import statistics
import subprocess
import sys
import tempfile
import time

# work: mode and options of bench/steps, those of the peer; None: not what that program does.
WORKS = {
    "full": (["full"], ["full"]),
    "full-bucket": (["full", "--bucket"], ["full", "--bucket"]),
    "top2": (["top2"], ["top2"]),
    "heads": (["heads"], ["heads"]),
    "heads-cached": (["heads"], ["heads-cached"]),
    "embed": (["embed"], ["embed", "--sort"]),
    "ort": (["embed"], None),
    "latency": (["latency"], None),
    "tokenizer": (None, None),
    "start": (None, None),
    "threads": (["full"], None),  # graft itself: on two threads and on one
}
SHOWN_FEATURES = {"avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "asimd",
                  "sve"}
PAIR = ["The cheese was tasty", "I thought the cheese was delicious"]
STARTS = 10
BERT_BASE = {"hidden_size": 768, "num_hidden_layers": 12, "intermediate_size": 3072}
# Passes a token makes: forward, and backward as much again for inputs and for weights. The work of
# the others depends on what is frozen.
PASSES = {"full": 3, "full-bucket": 3, "embed": 1, "ort": 1}


def read_field(path, name):
    """The value of the first line "NAME : VALUE" of a file of /proc, "" if there is none."""
    try:
        with open(path, encoding="utf-8") as file:
            for line in file:
                key, _, value = line.partition(":")
                if key.strip() == name:
                    return value.strip()
    except OSError:
        pass
    return ""


def machine():
    flags = read_field("/proc/cpuinfo", "flags") or read_field("/proc/cpuinfo", "Features")
    return {
        "processor": read_field("/proc/cpuinfo", "model name") or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "features": sorted(SHOWN_FEATURES & set(flags.split())),
        "memory": read_field("/proc/meminfo", "MemTotal"),
        "system": platform.platform(),
        "date": datetime.date.today().isoformat(),
        "load_before": os.getloadavg()[0],
    }


class Failed(Exception):
    """A program that ended badly or printed no figures."""


def run(command, threads=None):
    """What a program printed on standard output."""
    environment = dict(os.environ, TOKENIZERS_PARALLELISM="false")
    if threads:
        environment["OMP_NUM_THREADS"] = str(threads)
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        raise Failed(f"{shlex.join(command)} ended with {done.returncode}:\n"
                     f"{done.stderr.strip()[-2000:]}")
    return done.stdout


def run_for_figures(command, threads=None):
    """The last line it printed that is a JSON object."""
    for line in reversed(run(command, threads).splitlines()):
        if line.startswith("{"):
            return json.loads(line)
    raise Failed(f"{shlex.join(command)} printed no JSON line")


class Comparison:
    def __init__(self, options, data, lengths):
        self.o, self.data, self.rows, self.lengths = options, data, len(lengths), lengths
        self.graft = os.path.join(options.graft, "graft")
        self.steps = os.path.join(options.graft, "bench", "steps")
        self.peak = None
        self.results = {work: {} if work == "start" else {"graft": [], "peer": []}
                        for work in options.work}

    def graft_command(self, work, mode, threads=None):
        o = self.o
        threads = threads or o.threads
        if work == "tokenizer":
            return [os.path.join(o.graft, "bench", "tokenizer"), o.model, self.data]
        command = [self.steps, o.model, self.data, "--mode", mode[0], "--steps",
                   str(o.steps), "--batch", str(o.batch), "--max-length", str(o.max_length),
                   "--epochs", str(o.epochs), *mode[1:]]
        return command + (["--threads", str(threads)] if threads else []) + (
            ["--random-base"] if o.random_base else [])

    def peer_command(self, work, mode):
        o = self.o
        if work in ("ort", "latency"):
            command = shlex.split(o.ort if work == "ort" else o.ort_latency)
            sort = ["--sort"] if work == "ort" else []
            return command + [o.model, self.data, str(self.rows), *sort]
        if work == "tokenizer":
            return shlex.split(o.tokenizer) + [o.model, self.data]
        command = shlex.split(o.peer) + [mode[0], o.model, self.data, *mode[1:], "--steps",
                                         str(o.steps), "--batch", str(o.batch), "--max-len",
                                         str(o.max_length), "--epochs", str(o.epochs)]
        return command + (["--random-base"] if o.random_base else [])

    def run_peer(self, work, mode):
        result = run_for_figures(self.peer_command(work, mode), self.o.threads)
        if work == "latency":
            if "latency_ms" not in result:
                raise Failed("the program for --ort-latency printed no latency_ms")
            result["seq_s"] = 1e3 / result["latency_ms"]
        if "total_s" in result:  # embedded once, then trained for some epochs
            result["seq_s"] = result["n"] * self.o.epochs / result["total_s"]
        result.setdefault("rss_mib", result.get("rss"))
        self.results[work]["peer"].append(result)

    def run_graft(self, work, mode, threads=None, side="graft"):
        result = run_for_figures(self.graft_command(work, mode, threads))
        if "latency_ms" in result:  # of the median text
            result["seq_s"] = 1e3 / result["latency_ms"]
        self.results[work][side].append(result)

    def time_start(self, name, command, times):
        """Whole processes from the command line to the answer."""
        for _ in range(times):
            begun = time.perf_counter()
            run(command)
            self.results["start"].setdefault(name, []).append(
                {"seconds": time.perf_counter() - begun})

    def start(self):
        self.time_start("graft", [self.graft, "similarity", "--model", self.o.model, *PAIR], STARTS)
        for name, command in self.o.start:
            self.time_start(name, [*command, self.o.model, *PAIR], 1)

    def read_peak(self):
        """Multiply-adds of one core, in GF/s; measured once, before the rounds."""
        kernels = os.path.join(self.o.graft, "bench", "kernels")
        report = json.loads(run([kernels, "--machine", "--json"]))
        self.peak = report["peak"]["gflops"]
        return report

    def flops_of_a_token(self):
        """Of the matrix products of one pass forward: a multiplication and an addition are two.
        Attention is between all pairs of a text's tokens, so a token of a long text costs more."""
        c = BERT_BASE
        if not self.o.random_base:
            with open(os.path.join(self.o.model, "config.json"), encoding="utf-8") as file:
                c = json.load(file)
        h, up = c["hidden_size"], c["intermediate_size"]
        partners = sum(n * n for n in self.lengths) / sum(self.lengths)
        return c["num_hidden_layers"] * (2 * (4 * h * h + 2 * h * up) + 4 * partners * h)

    def share_of_peak(self, work, result):
        """Of what all threads together could multiply and add in the time; None: not known."""
        if work not in PASSES or not self.peak:
            return None
        rate = result["tok_s"]
        if "step_ms" in result:  # without reading
            rate = 1e3 * result["rows"] * result["tok_per_seq"] / (
                result["steps"] * result["step_ms"])
        return PASSES[work] * self.flops_of_a_token() * rate / (
            1e9 * self.peak * result["threads"])

    def run_both(self, work, number):
        """The two programs begin a round by turns."""
        ours, theirs = WORKS[work]
        turns = [lambda: self.run_graft(work, ours), lambda: self.run_peer(work, theirs)]
        if work == "threads":
            turns = [lambda: self.run_graft(work, ours, 2),
                     lambda: self.run_graft(work, ours, 1, "peer")]
        for turn in turns if number % 2 == 0 else reversed(turns):
            turn()
        last = [self.results[work][side][-1] for side in ("graft", "peer")]
        if last[0].get("ids_crc") != last[1].get("ids_crc"):
            raise Failed("the two programs give different ids")
        print(f"round {number + 1}, {work}: {last[0]['seq_s']:.1f} and {last[1]['seq_s']:.1f} "
              "sequences/s", file=sys.stderr)

    def run_round(self, number):
        for work in list(self.results):
            try:
                if work == "start":
                    self.start()
                else:
                    self.run_both(work, number)
            except Failed as failure:  # what was measured is worth more than what is missing
                print(f"compare: warning: {work} is left out: {failure}", file=sys.stderr)
                del self.results[work]

    def summary(self, work):
        if work == "start":
            return self.summary_of_start()
        ours, theirs = self.results[work]["graft"], self.results[work]["peer"]
        rates = [[r["seq_s"] for r in side] for side in (ours, theirs)]
        memory = [statistics.median(r["rss_mib"] for r in side) for side in (ours, theirs)]
        graft, peer = map(statistics.median, rates)
        ratios = [a / b for a, b in zip(*rates)]
        shares = [self.share_of_peak(work, r) for r in ours]
        return {"work": work, "graft_seq_s": graft, "peer_seq_s": peer, "ratio": graft / peer,
                "lowest_ratio": min(ratios), "highest_ratio": max(ratios),
                "graft_mib": memory[0], "peer_mib": memory[1],
                "memory_share": memory[0] / memory[1],
                "share_of_peak": None if None in shares else statistics.median(shares)}

    def summary_of_start(self):
        s = {"work": "start", "others": {}}
        for name, runs in self.results["start"].items():
            seconds = [r["seconds"] for r in runs]
            best, median = min(seconds), statistics.median(seconds)
            if name == "graft":
                s.update(graft_best_s=best, graft_median_s=median)
            else:
                s["others"][name] = {"best_s": best, "median_s": median,
                                     "ratio": median / s["graft_median_s"]}
        return s


def print_table(summaries):
    print("| work | graft, sequences/s | peer, sequences/s | ratio (rounds) | graft, MiB | "
          "peer, MiB | share | of the peak |\n"
          "| --- | --- | --- | --- | --- | --- | --- | --- |")
    for s in summaries:
        if s["work"] == "start":
            continue
        print(f"| {s['work']} | {s['graft_seq_s']:.1f} | {s['peer_seq_s']:.1f} | "
              f"{s['ratio']:.2f} ({s['lowest_ratio']:.2f} to {s['highest_ratio']:.2f}) | "
              f"{s['graft_mib']:.0f} | {s['peer_mib']:.0f} | {s['memory_share']:.2f} | "
              + (f"{s['share_of_peak']:.1%} |" if s["share_of_peak"] is not None else "|"))
    for s in summaries:
        if s["work"] == "start":
            print(f"\ngraft similarity, start to finish: best {s['graft_best_s']:.3f} s, median "
                  f"{s['graft_median_s']:.3f} s")
            for name, other in s["others"].items():
                print(f"{name}: best {other['best_s']:.3f} s, median {other['median_s']:.3f} s, "
                      f"{other['ratio']:.1f} times graft's")


def sample_rows(options, path):
    """Rows for every step, so that both programs work on the same texts."""
    with open(options.data, encoding="utf-8") as file:
        rows = [row for row in map(json.loads, filter(str.strip, file))
                if row.get("category") is not None and row.get("sentiment") is not None]
    wanted = options.steps * options.batch
    if len(rows) < wanted:
        sys.exit(f"compare: error: {options.data}: {len(rows)} rows with text, category and "
                 f"sentiment, but {options.steps} steps of {options.batch} want {wanted}; lower "
                 "--steps")
    with open(path, "w", encoding="utf-8") as file:
        for row in random.Random(0).sample(rows, wanted):
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def read_lengths(options, path):
    output = run([os.path.join(options.graft, "graft"), "tokenize", "--model", options.model,
                  "--input", path, "--max-length", str(options.max_length)])
    return sorted(len(json.loads(line)["ids"]) for line in output.splitlines())


def describe(lengths):
    return {"rows": len(lengths), "mean": round(statistics.mean(lengths), 1),
            "median": statistics.median(lengths), "p90": lengths[len(lengths) * 9 // 10],
            "longest": lengths[-1]}


def read_options():
    a = argparse.ArgumentParser(usage=__doc__, add_help=False)
    for name in ("--model", "--data", "--peer"):
        a.add_argument(name, required=name != "--peer")
    for name, value in (("--graft", "build"), ("--ort", None), ("--ort-latency", None),
                        ("--tokenizer", None),
                        ("--work", None), ("--json", None)):
        a.add_argument(name, default=value)
    a.add_argument("--start", action="append", default=[])
    for name, value in (("--rounds", 5), ("--steps", 40), ("--batch", 32), ("--epochs", 10),
                        ("--max-length", 128), ("--threads", 0)):
        a.add_argument(name, type=int, default=value)
    a.add_argument("--random-base", action="store_true")
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(__doc__.strip())
        sys.exit(0)
    o = a.parse_args()
    for i, start in enumerate(o.start):
        name, equals, command = start.partition("=")
        if not equals or not command:
            sys.exit(f'compare: error: --start: "{start}" is not NAME=COMMAND')
        o.start[i] = (name, shlex.split(command))
    needs = {"start": True, "threads": True, "ort": o.ort, "latency": o.ort_latency,
             "tokenizer": o.tokenizer}
    able = [w for w in WORKS if needs.get(w, o.peer)]
    o.work = o.work.split(",") if o.work else able
    for work in o.work:
        if work not in able:
            sys.exit(f'compare: error: --work: "{work}" cannot be run; there are '
                     f'{", ".join(able)} (more with --peer, --ort, --ort-latency, --tokenizer)')
    return o


def main():
    o = read_options()
    report = {"machine": machine(), "options": vars(o)}
    with tempfile.TemporaryDirectory() as folder:
        data = os.path.join(folder, "sample.jsonl")
        sample_rows(o, data)
        try:
            lengths = read_lengths(o, data)
        except Failed as failure:
            sys.exit(f"compare: error: {failure}")
        report["tokens"] = describe(lengths)
        c = Comparison(o, data, lengths)
        try:
            report["kernels"] = c.read_peak()
        except (Failed, OSError) as failure:
            print(f"compare: warning: no share of the peak: {failure}", file=sys.stderr)
        for number in range(o.rounds):
            c.run_round(number)
    report["machine"]["load_after"] = os.getloadavg()[0]
    report["summary"] = [c.summary(work) for work in c.results]
    report["rounds"] = c.results
    m = report["machine"]
    print(f"{m['processor']}, {m['cores']} cores ({' '.join(m['features'])}), {m['date']}; "
          f"tokens a text: {report['tokens']}")
    print_table(report["summary"])
    if o.json:
        with open(o.json, "w", encoding="utf-8") as file:
            json.dump(report, file, indent=1)
            file.write("\n")


if __name__ == "__main__":
    main()
