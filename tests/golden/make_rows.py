#!/usr/bin/env python3
"""Writes tests/data/rows/: one table in every format, by Python's json and csv and by h5py.

    python3 tests/golden/make_rows.py        (from the repository's root; needs h5py and numpy)

tests/test_rows.c holds the same table as C strings and compares every file with it.
"""
import csv
import json
import pathlib

import h5py
import numpy as np

OUT = pathlib.Path("tests/data/rows")
COLUMNS = ["id", "text", "category", "sentiment"]
ROWS = [  # the text, two labels; None: missing
    ("The cheese was tasty", "cheese", "positive"),
    ('She said "never again", twice', "service", "negative"),
    ("", "cheese", None),
    ("Käse für 3 €, bitte", None, "neutral"),
    ("美味しいチーズ 🧀", "cheese", "positive"),
    (" leading and trailing ", "service", None),
]
TABLE = [[f"r{i}", text, category, sentiment] for i, (text, category, sentiment) in enumerate(ROWS)]


def column(name, missing=""):
    k = COLUMNS.index(name)
    return [missing if row[k] is None else row[k] for row in TABLE]


def write_text_formats():
    with open(OUT / "table.jsonl", "w", encoding="utf-8", newline="") as f:
        for i, row in enumerate(TABLE):
            # null and an absent key by turns; escapes by turns
            pairs = {k: v for k, v in zip(COLUMNS, row) if v is not None or i % 2}
            f.write(json.dumps(pairs, ensure_ascii=i % 2 == 0) + "\n")
    with open(OUT / "table.csv", "w", encoding="utf-8", newline="") as f:
        csv.writer(f).writerows([COLUMNS] + [[v or "" for v in row] for row in TABLE])
    with open(OUT / "table.tsv", "w", encoding="utf-8", newline="") as f:
        f.writelines("\t".join(v or "" for v in row) + "\n" for row in [COLUMNS] + TABLE)


def write_hdf5():
    def fixed(name):
        return np.array([v.encode() for v in column(name)])  # S: null-padded

    with h5py.File(OUT / "variable.h5", "w") as f:  # in the root, UTF-8; numbers as id
        f["id"] = np.arange(len(TABLE))
        for name in COLUMNS[1:]:
            f.create_dataset(name, data=column(name), dtype=h5py.string_dtype())
        f.create_dataset("matrix", data=np.zeros((2, 3)))
        f["outside"] = h5py.ExternalLink("fixed.h5", "/data/train/text")  # links are no columns
        f["soft"] = h5py.SoftLink("/text")
    with h5py.File(OUT / "fixed.h5", "w") as f:  # in the only group; sentiment space-padded, ASCII
        g = f.create_group("data").create_group("train")
        for name in COLUMNS[:3]:
            g[name] = fixed(name)
        kind = h5py.h5t.C_S1.copy()
        kind.set_size(12)
        kind.set_strpad(h5py.h5t.STR_SPACEPAD)
        space = h5py.h5s.create_simple((len(TABLE),))
        quiet = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        quiet.set_obj_track_times(False)
        d = h5py.h5d.create(g.id, b"sentiment", kind, space, quiet)
        padded = np.array([v.ljust(12).encode() for v in column("sentiment")])
        d.write(h5py.h5s.ALL, h5py.h5s.ALL, padded)
    with h5py.File(OUT / "compound.hdf5", "w") as f:  # NumPy structured array, mixed
        kind = np.dtype([("id", "i4"), ("text", h5py.string_dtype()), ("category", "S8"),
                         ("sentiment", h5py.string_dtype("ascii")), ("score", "f4")])
        cells = [(i, row[1], (row[2] or "").encode(), row[3] or "", 0.5)
                 for i, row in enumerate(TABLE)]
        f.create_dataset("table", data=np.array(cells, dtype=kind), chunks=(4,), compression="gzip")
    with h5py.File(OUT / "blocks.h5", "w") as f:  # several blocks; a column never written
        f.create_dataset("text", data=[f"text {i}" for i in range(1000)], dtype=h5py.string_dtype(),
                         chunks=(100,), compression="gzip")
        f.create_dataset("category", (1000,), dtype=h5py.string_dtype())
    with h5py.File(OUT / "unequal.h5", "w") as f:
        f.create_dataset("text", data=["a", "b", "c"], dtype=h5py.string_dtype())
        f.create_dataset("category", data=["a", "b"], dtype=h5py.string_dtype())
        f.create_dataset("grid", data=np.array([["a", "b"]], dtype="S1"))
        f.create_dataset("flag", data=np.array([True, False, True]))
        f.create_dataset("broken", data=np.array([b"ok", b"a\xffb", b"ok"]))
    with h5py.File(OUT / "hostile.h5", "w") as f:  # 4 KB that claim 10^15 rows
        f.create_dataset("text", (10**15,), dtype="S4", chunks=(1024,))
    with h5py.File(OUT / "outside.h5", "w") as f:  # data in another file
        f.create_dataset("text", (4,), dtype="S4", external=[("table.csv", 0, 16)])
    with h5py.File(OUT / "empty.h5", "w") as f:
        f.create_group("nothing")


OUT.mkdir(parents=True, exist_ok=True)
write_text_formats()
write_hdf5()
