#!/usr/bin/env python3
"""Measures graft beside a peer, taking turns, and prints medians and ratios.

usage: bench/compare.py --graft build --model DIR --data TRAIN.jsonl --peer "python3 peer.py"
           [--ort "python3 ort.py"] [--work full,top2,embed] [--rounds 5] [--steps 12]
           [--embed-rows 960] [--json OUT.json]

The peer is called as `PEER MODE MODEL DATA --steps N [--sort]` with MODE full, top2 or embed,
and closes with one JSON line that holds seq_s, tok_s and rss_mib; --ort as `ORT MODEL DATA ROWS
--sort`. A round runs graft, then the peer, for each work; a ratio is the median of the rounds'
ratios. No other job should run meanwhile; see bench/README.md.
"""
import argparse
import datetime
import json
import os
import random
import shlex
import statistics
import subprocess
import sys
import tempfile
import time


def run(command):
    """The last JSON line a command prints."""
    done = subprocess.run(command, capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode != 0 or not lines:
        sys.exit(f"{shlex.join(command)}: exit {done.returncode}\n{done.stderr[-2000:]}")
    return json.loads(lines[-1])


def sample_rows(path, count, folder):
    """A file of `count` rows drawn with a fixed seed, for embedding."""
    with open(path, encoding="utf-8") as f:
        rows = f.readlines()
    random.Random(0).shuffle(rows)
    out = os.path.join(folder, "rows.jsonl")
    with open(out, "w", encoding="utf-8") as f:
        f.writelines(rows[:count])
    return out


def commands(o, work, rows):
    """The contestants' commands for one work: name -> argument list."""
    steps = os.path.join(o.graft, "bench", "steps")
    data = rows if work == "embed" else o.data
    updates = o.embed_rows // 32 if work == "embed" else o.steps
    peer = shlex.split(o.peer) + [work, o.model, data, "--steps", str(updates)]
    graft = [steps, o.model, data, "--mode", work]
    if work != "embed":
        return {"graft": graft + ["--steps", str(updates)], "peer": peer}
    both = {"graft": graft, "peer": peer + ["--sort"]}
    if o.ort:
        both["ort"] = shlex.split(o.ort) + [o.model, data, str(o.embed_rows), "--sort"]
    return both


def memory(figures):
    return figures.get("rss_mib", figures.get("rss", 0))


def measure(o, works, rows):
    found = {work: {} for work in works}
    for number in range(o.rounds):
        for work in works:
            for name, command in commands(o, work, rows).items():
                figures = run(command)
                found[work].setdefault(name, []).append(figures)
                print(f"round {number + 1} {work} {name}: {figures['seq_s']:.1f} seq/s",
                      file=sys.stderr, flush=True)
    return found


def start_times(o):
    """Seconds of `graft similarity` from start to end."""
    command = [os.path.join(o.graft, "graft"), "similarity", "--quiet", "--model", o.model,
               "The cheese was tasty", "I thought the cheese was delicious"]
    times = []
    for _ in range(10):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return times


def summarise(found):
    table = []
    for work, runs in found.items():
        graft = runs["graft"]
        for name in runs:
            if name == "graft":
                continue
            ratios = [g["seq_s"] / p["seq_s"] for g, p in zip(graft, runs[name])]
            table.append({
                "work": work, "against": name,
                "graft_seq_s": statistics.median(r["seq_s"] for r in graft),
                "peer_seq_s": statistics.median(r["seq_s"] for r in runs[name]),
                "graft_tok_s": statistics.median(r["tok_s"] for r in graft),
                "peer_tok_s": statistics.median(r["tok_s"] for r in runs[name]),
                "ratio": statistics.median(ratios), "ratios": ratios,
                "graft_mib": max(memory(r) for r in graft),
                "peer_mib": max(memory(r) for r in runs[name])})
    return table


def processor():
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        info = f.read()
    model = next(line for line in info.splitlines() if line.startswith("model name"))
    flags = next(line for line in info.splitlines() if line.startswith("flags")).split()
    wanted = ("avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16")
    return {"model": model.split(":")[1].strip(), "processors": os.cpu_count(),
            "features": [flag for flag in wanted if flag in flags]}


def print_table(table, start):
    print(f"{'work':8} {'against':8} {'graft':>8} {'peer':>8} {'ratio':>6} {'from':>5} {'to':>5}"
          f" {'graft MiB':>10} {'peer MiB':>9}")
    for r in table:
        print(f"{r['work']:8} {r['against']:8} {r['graft_seq_s']:8.1f} {r['peer_seq_s']:8.1f}"
              f" {r['ratio']:6.2f} {min(r['ratios']):5.2f} {max(r['ratios']):5.2f}"
              f" {r['graft_mib']:10.0f} {r['peer_mib']:9.0f}")
    print(f"graft similarity, start to end: median {statistics.median(start):.3f} s")


def main():
    parser = argparse.ArgumentParser(usage="\n".join(__doc__.splitlines()[2:5])[7:])
    for name in ("--graft", "--model", "--data", "--peer"):
        parser.add_argument(name, required=True)
    parser.add_argument("--ort")
    parser.add_argument("--work", default="full,embed")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--embed-rows", type=int, default=960)
    parser.add_argument("--json")
    o = parser.parse_args()
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
        os.environ.pop(name, None)  # they slow the peers' numpy
    with tempfile.TemporaryDirectory() as folder:
        rows = sample_rows(o.data, o.embed_rows, folder)
        found = measure(o, o.work.split(","), rows)
    start, table = start_times(o), summarise(found)
    print_table(table, start)
    if o.json:
        with open(o.json, "w", encoding="utf-8") as f:
            json.dump({"date": datetime.date.today().isoformat(), "machine": processor(),
                       "table": table, "similarity_s": start, "runs": found}, f, indent=1)


if __name__ == "__main__":
    main()
