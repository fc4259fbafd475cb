"""By hand: python tests/golden/check_store.py CHECKPOINT.h5

Reads a checkpoint with h5py as docs/formats.md describes it, and prints what it holds; fails when a
part is missing or of another type.
"""
import json
import sys

import h5py
import numpy as np

with h5py.File(sys.argv[1]) as f:
    print("format", int(f.attrs["format"]), "graft", f.attrs["graft"].decode() if isinstance(f.attrs["graft"], bytes) else f.attrs["graft"])
    model = f["model"]
    text = {k: model[k][()].decode("utf-8") for k in ("config", "heads", "tokenizer")}
    hidden = json.loads(text["config"])["hidden_size"]
    json.loads(text["tokenizer"])
    print("pooling", model.attrs["pooling"], "normalize", int(model.attrs["normalize"]), "max_length", int(model.attrs["max_length"]))
    for task in json.loads(text["heads"])["tasks"]:
        print("head", task["name"], task["classes"])
        assert f["params"][f"heads.{task['name']}.weight"].shape == (len(task["classes"]), hidden)
    for name, d in f["params"].items():
        assert d.dtype == np.dtype("<f4"), name
    print("params", len(f["params"]), "elements", sum(d.size for d in f["params"].values()))
    for name, g in f["moments"].items():
        assert g["m"].shape == g["v"].shape == f["params"][name].shape, name
        print("moments", name, "updates", int(g.attrs["updates"]), g["v"][:].ravel()[:3])
    for name in ("recipe", "state"):
        if name in f:
            print(name, json.loads(f[name][()].decode("utf-8")))
