"""Makes tests/data/onnx/: what test_onnx.c compares with.

usage: GRAFT=build/graft python tests/golden/make_onnx.py     (needs onnx, onnxruntime)

other.onnx is written by the onnx package. CASE.txt lists the graph that graft exports for a golden
case, as the onnx package reads it; first ONNX Runtime must compute PyTorch's golden values with it.
"""
import pathlib
import sys
import tempfile
import unittest

import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper

ROOT = pathlib.Path(__file__).resolve().parents[2]
OUT = ROOT / "tests/data/onnx"
sys.path.insert(0, str(ROOT / "tests/peers"))
import test_onnx as peer  # noqa: E402


def make_other():
    """Element i of a tensor is i / 2 - 1."""
    values = numpy.arange(6, dtype="f4").reshape(2, 3) / 2 - 1
    half = numpy_helper.from_array(values.astype("f2"), "a.half")
    listed = helper.make_tensor("a.listed", TensorProto.FLOAT, [2, 3], values.ravel())
    others = [numpy_helper.from_array(values, "plain"),
              numpy_helper.from_array(values.astype("i8"), "a.index")]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])],
        [numpy_helper.from_array(values, "a.raw"), half, listed, *others])
    model = helper.make_model(graph, producer_name="make_onnx.py", ir_version=8,
                              opset_imports=[helper.make_opsetid("", 17)])
    onnx.checker.check_model(model)
    onnx.save(model, OUT / "other.onnx")


def number(x):
    return "%.9g" % x


def dims(value):
    return ",".join(d.dim_param or str(d.dim_value) for d in value.type.tensor_type.shape.dim)


def attribute(a):
    value = helper.get_attribute_value(a)
    values = value if isinstance(value, list) else [value]
    return f" {a.name}=" + ",".join(map(number, values))


def listing(path):
    graph = onnx.load(path).graph
    for kind, values in ("input", graph.input), ("output", graph.output):
        for v in values:
            yield f"{kind} {v.name} {v.type.tensor_type.elem_type} [{dims(v)}]"
    for t in graph.initializer:
        shape = ",".join(map(str, t.dims))
        values = "" if "." in t.name else "".join(
            " " + number(x) for x in numpy_helper.to_array(t).ravel())
        yield f"initializer {t.name} {t.data_type} [{shape}]{values}"
    for n in graph.node:
        yield (f"{n.op_type} {' '.join(n.input)} -> {' '.join(n.output)}" +
               "".join(map(attribute, n.attribute)))


def main():
    OUT.mkdir(exist_ok=True)
    make_other()
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(peer.Onnx)
    if not unittest.TextTestRunner().run(suite).wasSuccessful():
        return 1
    for name in "mean_gelu", "cls_gelu_new", "max_eps", "dense_tanh", "classifier":
        with tempfile.TemporaryDirectory() as folder:
            model = pathlib.Path(folder, "model")
            peer.assemble(ROOT / "tests/golden" / name, model)
            out = peer.Exported(pathlib.Path(folder), model).out
            (OUT / f"{name}.txt").write_text("".join(
                line + "\n" for line in listing(out / "model.onnx")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
