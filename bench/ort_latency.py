"""ONNX Runtime, one text a call, warm: the peer of compare.py's work "latency".

usage: bench/ort_latency.py FILE.onnx MODEL_DIR DATA.jsonl ROWS

FILE.onnx takes input_ids, attention_mask (and token_type_ids) and gives hidden states. Needs numpy,
onnxruntime and tokenizers. Prints one JSON line.
"""
import json
import resource
import sys
import time

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

LONGEST, WARM_UP = 128, 20


def main():
    onnx, folder, data, rows = sys.argv[1:5]
    session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
    tokenizer.no_padding()
    tokenizer.enable_truncation(LONGEST)
    with open(data, encoding="utf-8") as file:
        texts = [json.loads(line)["text"] for line in file][: int(rows)]
    names = [i.name for i in session.get_inputs()]

    def embed(text):
        ids = np.array([tokenizer.encode(text).ids], dtype=np.int64)
        given = {"input_ids": ids, "attention_mask": np.ones_like(ids),
                 "token_type_ids": np.zeros_like(ids)}
        mean = session.run(None, {name: given[name] for name in names})[0][0].mean(0)
        return mean / np.linalg.norm(mean)

    for text in texts[:WARM_UP]:
        embed(text)
    took = []
    for text in texts:
        begun = time.perf_counter()
        embed(text)
        took.append(time.perf_counter() - begun)
    print(json.dumps({"latency_ms": 1e3 * float(np.median(took)), "n": len(took),
                      "rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}))


if __name__ == "__main__":
    main()
