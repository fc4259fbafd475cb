"""ONNX Runtime with tokenizers, from its start to the similarity of two texts: a peer for
compare.py's work "start".

usage: bench/start_ort.py FILE.onnx MODEL_DIR TEXT TEXT
"""
import sys

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

onnx, folder, *texts = sys.argv[1:]
session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
tokenizer.no_padding()
vectors = []
for text in texts:
    ids = np.array([tokenizer.encode(text).ids], dtype=np.int64)
    given = {"input_ids": ids, "attention_mask": np.ones_like(ids),
             "token_type_ids": np.zeros_like(ids)}
    mean = session.run(None, {i.name: given[i.name] for i in session.get_inputs()})[0][0].mean(0)
    vectors.append(mean / np.linalg.norm(mean))
print(float(vectors[0] @ vectors[1]))
