"""By hand: python tests/golden/check_folder.py SAVED [ORIGINAL]

Loads a folder that graft saved with sentence-transformers and transformers, and compares its embeddings
with those of the folder it was read from. Ends with status 1 on a difference.
"""
import json
import os
import sys

import numpy as np
from safetensors.numpy import load_file
from sentence_transformers import SentenceTransformer
from transformers import AutoModel, AutoTokenizer

TEXTS = ["the cheese was tasty", "a bad shoe, are the reds good", "", "unknownword . , the the the the the the the the the the"]


def main(saved, original=None):
    model = SentenceTransformer(saved, device="cpu")
    x = model.encode(TEXTS)
    print("modules", [type(m).__name__ for m in model], "max_seq_length", model.max_seq_length, "embedding", x.shape)
    encoder = AutoModel.from_pretrained(saved)
    print("encoder", type(encoder).__name__, "parameters", sum(p.numel() for p in encoder.parameters()))
    print("tokens", AutoTokenizer.from_pretrained(saved)(TEXTS[0])["input_ids"])
    if os.path.exists(os.path.join(saved, "heads.json")):
        heads = load_file(os.path.join(saved, "heads.safetensors"))
        for task in json.load(open(os.path.join(saved, "heads.json")))["tasks"]:
            shape = heads[f"heads.{task['name']}.weight"].shape
            print("head", task["name"], task["classes"], shape)
            assert shape == (len(task["classes"]), x.shape[1])
    if original:
        y = SentenceTransformer(original, device="cpu").encode(TEXTS)
        print("largest difference", np.abs(x - y).max())
        return int(not np.array_equal(x, y))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
