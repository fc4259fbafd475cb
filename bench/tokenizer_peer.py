#!/usr/bin/env python3
"""What build/bench/tokenizer measures, with the Hugging Face library tokenizers on one core.

usage: bench/tokenizer_peer.py MODEL DATA.jsonl [--text NAME] [--rounds 5] [--ids FILE]

Prints the same JSON line. Of encode() in a loop, encode_batch() and encode_batch_fast(), these in
batches of 1000 texts, the quickest counts; ids become lists, as users of the library get them.
Needs: pip install tokenizers.
"""
import argparse
import array
import json
import os
import resource
import sys
import time
import zlib

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"
from tokenizers import Tokenizer

BATCH = 1000


def one_by_one(tokenizer, texts):
    return [tokenizer.encode(text).ids for text in texts]


def in_batches(name):
    def run(tokenizer, texts):
        encode = getattr(tokenizer, name)
        ids = []
        for at in range(0, len(texts), BATCH):
            ids.extend(e.ids for e in encode(texts[at:at + BATCH]))
        return ids
    return run


WAYS = {"encode": one_by_one, "encode_batch": in_batches("encode_batch"),
        "encode_batch_fast": in_batches("encode_batch_fast")}


def measure(tokenizer, texts, rounds):
    """The fastest way, its seconds, and the ids."""
    best = None
    ids = []
    for _ in range(rounds):
        for name, way in WAYS.items():
            if not hasattr(tokenizer, name):
                continue
            start = time.perf_counter()
            ids = way(tokenizer, texts)
            took = time.perf_counter() - start
            if best is None or took < best[1]:
                best = (name, took)
    return *best, ids


def check_sum(ids):
    numbers = array.array("i", (i for row in ids for i in row))
    if sys.byteorder == "big":
        numbers.byteswap()
    return f"{zlib.crc32(numbers.tobytes()):08x}"


def main():
    a = argparse.ArgumentParser(usage=__doc__)
    a.add_argument("model")
    a.add_argument("data")
    a.add_argument("--text", default="text")
    a.add_argument("--rounds", type=int, default=5)
    a.add_argument("--ids")
    o = a.parse_args()
    with open(o.data, encoding="utf-8") as file:
        texts = [json.loads(line)[o.text] for line in file if line.strip()]
    tokenizer = Tokenizer.from_file(os.path.join(o.model, "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    way, seconds, ids = measure(tokenizer, texts, o.rounds)
    if o.ids:
        with open(o.ids, "w", encoding="utf-8") as file:
            file.writelines(" ".join(map(str, row)) + "\n" for row in ids)
    tokens = sum(map(len, ids))
    mib = sum(len(text.encode()) for text in texts) / 2**20
    print(json.dumps({
        "program": f"tokenizers, {way}", "texts": len(texts), "tokens": tokens,
        "mib": round(mib, 2), "ids_crc": check_sum(ids), "tokens_s": round(tokens / seconds),
        "seq_s": round(len(texts) / seconds), "mib_s": round(mib / seconds, 1),
        "rss_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)}))


if __name__ == "__main__":
    main()
