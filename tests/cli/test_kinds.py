"""predict and info over a model with a head of every type.

Expected values come from the embeddings that `graft embed` prints and each type's formula, in
Python's double precision. Only Python's standard library is used.
"""
import json
import math
import random
import shutil
import struct

from runs import ROOT, Case

TEXTS = ["lovely", "smells for, FRESH bread", "a poor loud poor ? coat", ""]
CLASSES = ["a", "b \"quoted\"", "c", "d"]
THRESHOLDS = [0.25, 0.5, 0.625, 0.875]
OUTPUTS = {"one": 4, "many": 4, "value": 1, "grade": 3}
TYPES = {"one": "classification", "many": "multi_label", "value": "regression", "grade": "ordinal"}


def write_safetensors(path, tensors):
    """tensors: {name: (shape, floats)}"""
    header, data = {}, b""
    for name, (shape, values) in sorted(tensors.items()):
        start = len(data)
        data += struct.pack(f"<{len(values)}f", *values)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [start, len(data)]}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def float32(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


class Kinds(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.model = cls.folder / "model"
        shutil.copytree(ROOT / "tests/golden/mean_gelu/model", cls.model)
        draw = random.Random(3)
        cls.heads = {task: ([[float32(draw.gauss(0, 3)) for _ in range(24)] for _ in range(n)],
                            [float32(draw.gauss(0, 1)) for _ in range(n)])
                     for task, n in OUTPUTS.items()}
        tensors = {}
        for task, (weight, bias) in cls.heads.items():
            tensors[f"heads.{task}.weight"] = [len(bias), 24], sum(weight, [])
            tensors[f"heads.{task}.bias"] = [len(bias)], bias
        write_safetensors(cls.model / "heads.safetensors", tensors)
        tasks = [{"name": task, "type": kind, "classes": [] if kind == "regression" else CLASSES}
                 for task, kind in TYPES.items()]
        tasks[1]["thresholds"] = THRESHOLDS
        (cls.model / "heads.json").write_text(json.dumps({"version": 1, "tasks": tasks}))

    def logits(self, task, embedding):
        weight, bias = self.heads[task]
        return [b + sum(w * x for w, x in zip(row, embedding)) for row, b in zip(weight, bias)]

    def predicted(self, *args):
        lines = self.ok("predict", "--model", self.model, *args, *TEXTS).stdout.splitlines()
        vectors = self.ok("embed", "--model", self.model, *TEXTS).stdout.splitlines()
        return [(json.loads(line), json.loads(vector)["embedding"])
                for line, vector in zip(lines, vectors)]

    def assert_scores(self, have, wanted):
        self.assertEqual(list(have), CLASSES)
        for x, y in zip(have.values(), wanted):
            self.assertAlmostEqual(x, y, delta=2e-5)

    def test_every_type_prints_what_it_predicts(self):
        seen = set()
        for line, x in self.predicted("--scores"):
            self.assertEqual(list(line), ["text", *TYPES])
            powers = [math.exp(z) for z in self.logits("one", x)]
            scores = [p / sum(powers) for p in powers]
            self.assertEqual(list(line["one"]), ["label", "score", "scores"])
            self.assertEqual(line["one"]["label"], CLASSES[scores.index(max(scores))])
            self.assert_scores(line["one"]["scores"], scores)

            scores = [sigmoid(z) for z in self.logits("many", x)]
            self.assertEqual(list(line["many"]), ["labels", "scores"])
            self.assertEqual(line["many"]["labels"],
                             [c for c, s, t in zip(CLASSES, scores, THRESHOLDS) if s >= t])
            self.assert_scores(line["many"]["scores"], scores)
            seen.add(len(line["many"]["labels"]))

            self.assertEqual(list(line["value"]), ["value"])
            self.assertAlmostEqual(line["value"]["value"], self.logits("value", x)[0], delta=2e-5)

            above = [1.0]
            for z in self.logits("grade", x):
                above.append(above[-1] * sigmoid(z))
            scores = [a - b for a, b in zip(above, above[1:] + [0.0])]
            best = sum(a > 0.5 for a in above[1:])
            self.assertEqual(list(line["grade"]), ["label", "score", "scores"])
            self.assertEqual(line["grade"]["label"], CLASSES[best])
            self.assertAlmostEqual(line["grade"]["score"], scores[best], delta=2e-5)
            self.assert_scores(line["grade"]["scores"], scores)
        self.assertGreater(len(seen), 1, "always as many labels")

    def test_without_scores_one_label_stands_alone(self):
        for line, _ in self.predicted():
            self.assertEqual(list(line["one"]), ["label", "score"])
            self.assertEqual(list(line["grade"]), ["label", "score"])
            self.assertEqual(list(line["many"]), ["labels", "scores"])

    def test_damaged_weights_are_told(self):
        folder = self.folder / "damaged"
        shutil.copytree(self.model, folder)
        data = bytearray((folder / "heads.safetensors").read_bytes())
        data[-4 * 25:-4 * 24] = struct.pack("<f", math.nan)  # value's bias; its weight is last
        (folder / "heads.safetensors").write_bytes(data)
        self.fails(5, "predict", "--model", folder, "lovely",
                   says='task "value" gives NaN or infinity')

    def test_info_names_the_types(self):
        said = self.ok("info", self.model).stdout
        self.assertIn("many, multi_label, 4 classes:", said)
        self.assertIn("a >= 0.25", said)
        self.assertIn("value, regression\n", said)
        self.assertIn("grade, ordinal, 4 classes:", said)
