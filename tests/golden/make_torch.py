"""Makes tests/data/torch/: files of torch.save for checkpoints/torch_file, and hostile ones written by hand.

By hand: python tests/golden/make_torch.py   (torch, safetensors and what make_checkpoints.py needs). Beside each
good NAME.bin stands NAME.safetensors with the same tensors, contiguous and each for itself, as safetensors wrote them.
hostile/ holds what must be refused; none of it is ever loaded here. A second run
writes the same bytes, but for old_form.bin, which holds an address.
"""
import json
import os
import shutil
import struct
import warnings
import zipfile
from collections import OrderedDict

import torch
from safetensors.torch import save_file

from make_checkpoints import tiny

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data", "torch")


def good(name, tensors):
    """What torch.save writes for the dict, and what safetensors writes for its tensors."""
    torch.save(tensors, os.path.join(HERE, name + ".bin"))
    save_file({k: v.detach().clone().contiguous() for k, v in tensors.items()},
              os.path.join(HERE, name + ".safetensors"))


def types():
    """Every type of element, values that use its bits."""
    n = torch.arange(6).reshape(2, 3)
    return {"f32": n / 7, "f16": (n / 7).half(), "bf16": (n / 7).bfloat16(), "f64": n.double() / 7,
            "i64": n - (1 << 40), "i32": (n - (1 << 20)).int(), "i16": (n - 300).short(), "i8": (n - 3).char(),
            "u8": (n + 250).byte(), "bool": n % 2 == 0}


def views():
    """Tensors that share storages, that have gaps, that are turned round, that have nothing in them."""
    base = torch.arange(24.).reshape(4, 6)
    cube = torch.arange(60, dtype=torch.float16).reshape(3, 4, 5)
    return OrderedDict({"snowman \u2603": torch.ones(1)},
        base=base, tied=base, turned=base.t(), rows=base[1:3], columns=base[:, 2:4], every_second=base.reshape(24)[1::2],
        block=base[1:, 1:3].t(), cube=cube, cube_turned=cube.permute(2, 0, 1), cube_part=cube[1:, ::2, 1:4],
        one_column=base[:, 5:6], one_row=base[3:4, :], last=base[3, 5], scalar=torch.tensor(-2.5),
        no_rows=torch.zeros(0, 3), no_columns=base[:, 6:], parameter=torch.nn.Parameter(torch.ones(2, 2) / 3),
        frozen=torch.nn.Parameter(torch.ones(3), requires_grad=False))


def shards(state):
    names = sorted(state)
    where = {n: f"pytorch_model-0000{1 + (i >= len(names) // 2)}-of-00002.bin" for i, n in enumerate(names)}
    for file in sorted(set(where.values())):
        torch.save(OrderedDict((n, state[n].clone()) for n in names if where[n] == file), os.path.join(HERE, "sharded", file))
    with open(os.path.join(HERE, "sharded", "pytorch_model.bin.index.json"), "w") as f:
        json.dump({"metadata": {"total_size": sum(t.nbytes for t in state.values())}, "weight_map": where}, f, indent=1)


# ---- pickles by hand -----------------------------------------------------------------------------------------

def text(s):
    return b"X" + struct.pack("<I", len(s.encode())) + s.encode()


def number(n):
    return b"\x8a\x08" + struct.pack("<q", n)


def name(module, attribute):
    return b"c" + f"{module}\n{attribute}\n".encode()


def numbers(values):
    return b"(" + b"".join(map(number, values)) + b"t"


def storage(numel, key="0", kind="FloatStorage"):
    return b"(" + text("storage") + name("torch", kind) + text(key) + text("cpu") + number(numel) + b"tQ"


def tensor(numel, offset, size, stride, tail=b"", **kind):
    return (name("torch._utils", "_rebuild_tensor_v2") + b"(" + storage(numel, **kind) + number(offset) + numbers(size) +
            numbers(stride) + b"\x89}" + tail + b"tR")


def program(value):
    return b"\x80\x02" + value + b"."


def dict_of(value, key=text("x")):
    return program(b"}" + key + value + b"s")


GOOD = tensor(4, 0, [4], [1])
FLOATS = struct.pack("<4f", 1, 2, 3, 4)


def archive(path, pickle, data=FLOATS, extra=(), **how):
    """A zip archive as torch.save lays it out."""
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", **how) as z:
        warnings.simplefilter("ignore")  # of an entry that stands twice
        for entry, content in [("data.pkl", pickle), ("data/0", data), *extra]:
            z.writestr(zipfile.ZipInfo("archive/" + entry), content, z.compression)


def hostile_pickles():
    huge = 1 << 62
    call = text("true") + b"\x85R"
    return {
        # code to run
        "os_system": program(name("os", "system") + call),
        "posix_system": program(name("posix", "system") + call),
        "builtins_eval": program(name("builtins", "eval") + call),
        "torch_load": program(name("torch", "load") + call),
        "prefix_of_name": program(name("collections", "OrderedDic") + b")R"),
        "no_dot_in_name": program(name("torc", ".Size") + b"))\x85R"),
        "dotted_name": program(name("collections", "OrderedDict.fromkeys") + call),
        "stack_global": program(text("os") + text("system") + b"\x93" + call),
        "inst": program(b"(" + text("true") + b"ios\nsystem\n"),
        "obj": program(b"(" + name("collections", "OrderedDict") + b"o"),
        "newobj": program(name("collections", "OrderedDict") + b")\x81"),
        "extension": program(b"\x82\x01"),
        "call_of_text": program(text("os.system") + b")R"),
        "call_of_storage": program(name("torch", "FloatStorage") + b")R"),
        "call_with_dict": program(name("collections", "OrderedDict") + b"}R"),
        "build_of_call": dict_of(GOOD + b"}" + text("data") + text("x") + b"sb"),
        "dict_of_arguments": program(name("collections", "OrderedDict") + b"(]tR"),
        "size_of_text": program(name("torch", "Size") + text("ab") + b"\x85R"),
        "code_in_build": program(b"}" + name("nt", "system") + call + b"b"),
        # a machine to exhaust or to confuse
        "huge_long": program(b"\x8a\xff" + b"\xff" * 255),
        "long4": program(b"\x8b\xff\xff\xff\x7f"),
        "memo_number": program(b"}r\xff\xff\xff\x7f"),
        "memo_empty": program(b"q\x00"),
        "memo_missing": program(b"h\x07"),
        "memo_below_mark": program(b"}(q\x00"),
        "deep_tuples": program(b")" + b"\x85" * 40),
        "deep_marks": program(b"(" * 70),
        "doubled_tuples": program(b")q\x00" + b"".join(b"h%ch%c\x86q%c" % (i, i, i + 1) for i in range(90))),
        "deep_lists": program(b"]" * 40 + b"a" * 39),
        "self": program(b"}q\x00" + (text("x") + b"h\x00s") * 2),
        "pop_of_nothing": program(b"s"),
        "pop_below_mark": program(b"}" + text("x") + text("y") + b"(s"),
        "no_mark": program(b"}u"),
        "half_item": program(b"}(" + text("x") + b"u"),
        "item_of_list": program(b"]" + text("x") + text("y") + b"s"),
        "append_to_dict": program(b"}" + text("x") + b"a"),
        "long_text": program(b"X\xff\xff\xff\xff" + b"abc"),
        "not_utf8": program(b"}X\x02\x00\x00\x00\xff\xfe" + GOOD + b"s"),
        "no_stop": b"\x80\x02}",
        "no_value": b"\x80\x02.",
        "two_values": program(b"}}"),
        "bytes_behind": program(b"}") + b"}",
        "protocol_4": b"\x80\x04\x95\x02\x00\x00\x00\x00\x00\x00\x00}.",
        "no_operation": program(b"\xfe"),
        "long_name": program(b"c" + b"a" * 300 + b"\nb\n"),
        "empty": b"",
        # tensors that are not there
        "numel_overflow": dict_of(tensor(huge, 0, [4], [1])),
        "size_overflow": dict_of(tensor(4, 0, [huge, huge, 0], [0, 0, 1])),
        "reach_overflow": dict_of(tensor(4, 0, [3, 3], [huge, huge])),
        "reach_wraps": dict_of(tensor(4, 0, [3, 3], [huge // 2, huge // 2])),
        "negative_stride": dict_of(tensor(4, 3, [4], [-1])),
        "negative_offset": dict_of(tensor(4, -1, [4], [1])),
        "negative_offset_short": dict_of(tensor(4, -1, [4], [1]).replace(number(-1), b"\x8a\x01\xff")),
        "negative_size": dict_of(tensor(4, 0, [-4], [1])),
        "negative_numel": dict_of(tensor(-4, 0, [4], [1])),
        "offset_past_end": dict_of(tensor(4, 5, [0], [1])),
        "one_past_end": dict_of(tensor(4, 1, [4], [1])),
        "one_past_end_by_stride": dict_of(tensor(4, 0, [2, 2], [3, 1])),
        "storage_too_short": dict_of(tensor(5, 0, [4], [1])),
        "storage_too_long": dict_of(tensor(3, 0, [3], [1])),
        "storage_of_other_type": dict_of(tensor(4, 0, [4], [1], kind="HalfStorage")),
        "storage_unknown_type": dict_of(tensor(4, 0, [4], [1], kind="QInt8Storage")),
        "storage_of_function": dict_of(name("torch._utils", "_rebuild_tensor_v2") + b"((" + text("storage") + name(
            "torch", "Size") + text("0") + text("cpu") + number(4) + b"tQ" + number(0) + numbers([4]) + numbers([1]) +
            b"\x89}tR"),
        "storage_missing": dict_of(tensor(4, 0, [4], [1], key="1")),
        "storage_elsewhere": dict_of(tensor(4, 0, [4], [1], key="../data.pkl")),
        "storage_long_key": dict_of(tensor(4, 0, [4], [1], key="0" * 100)),
        "storage_text": dict_of(name("torch._utils", "_rebuild_tensor_v2") + b"(" + text("storage") + number(0) + numbers(
            [4]) + numbers([1]) + b"\x89}tR"),
        "shape_of_other_length": dict_of(tensor(4, 0, [2, 2], [1])),
        "nine_dimensions": dict_of(tensor(4, 0, [1] * 9, [1] * 9)),
        "repeated_elements": dict_of(tensor(4, 0, [1 << 20, 1 << 20], [0, 0])),
        "few_arguments": dict_of(name("torch._utils", "_rebuild_tensor_v2") + b"(" + storage(4) + b"tR"),
        "hooks": dict_of(name("torch._utils", "_rebuild_tensor_v2") + b"(" + storage(4) + number(0) + numbers([4]) +
                         numbers([1]) + b"\x89}" + number(1) + text("hook") + b"s" + b"tR"),
        "metadata": dict_of(tensor(4, 0, [4], [1], b"}" + text("neg") + b"\x88s")),
        "parameter_of_nothing": dict_of(name("torch._utils", "_rebuild_parameter") + b")R"),
        "parameter_of_parameter": dict_of(name("torch._utils", "_rebuild_parameter") + b"(" + name(
            "torch._utils", "_rebuild_parameter") + b"(" + GOOD + b"\x88}tR" + b"\x88}tR"),
        # dicts of something else
        "key_number": dict_of(GOOD, number(1)),
        "key_with_zero": dict_of(GOOD, text("a\0b")),
        "key_twice": program(b"}(" + text("x") + GOOD + text("x") + GOOD + b"u"),
        "list": program(b"](" + GOOD + b"e"),
        "tensor": program(GOOD),
        "tuple_in_dict": dict_of(b")"),
        "key_to_paste": dict_of(b"}", text("']; import os; os.system('true') #")),
    }


def good_pickles():
    """What torch.save may write, or could, beside what it writes today."""
    numeric = b"}(" + b"".join(k + v for k, v in [
        (text("none"), b"N"), (text("step"), b"M\x10\x27"), (text("loss"), b"G\x3f\xf0" + b"\0" * 6),
        (text("note"), text("plain text")), (text("flag"), b"\x88"), (b"U\x01y", GOOD),
        (text("size"), tensor(4, 0, [4], [1])), (text("negative"), b"\x8a\x01\xff"), (text("zero"), b"\x8a\x00"),
        (text("none_metadata"), tensor(4, 2, [2], [1], b"N")), (text("row"), tensor(4, 1, [1, 3], [1 << 62, 1])),
        (text("gaps"), tensor(4, 1, [1, 2], [(1 << 63) - 1, 2]))]) + b"u"
    sized = name("torch._utils", "_rebuild_tensor_v2") + b"(" + storage(4) + b"K\x00" + name(
        "torch", "Size") + b"J\x02\x00\x00\x00K\x02\x86\x85R" + b"K\x02K\x01\x86\x89}tR"
    return {"odd": program(numeric + text("sized") + sized + b"s")}


ODD = torch.tensor([1., 2, 3, 4])
ODD = {"y": ODD, "size": ODD, "none_metadata": ODD[2:], "row": ODD[None, 1:], "gaps": ODD[None, 1::2], "sized": ODD.reshape(2, 2)}


def hostile():
    folder = os.path.join(HERE, "hostile")
    os.makedirs(folder)
    path = lambda case: os.path.join(folder, case + ".bin")
    for case, pickle in hostile_pickles().items():
        archive(path(case), pickle)
    archive(path("many_copies"), program(b"}(" + b"".join(
        text(f"x{i}") + tensor(2500, 0, [50, 50], [1, 50]) for i in range(14)) + b"u"), bytes(10000))
    archive(path("compressed"), dict_of(GOOD), compression=zipfile.ZIP_DEFLATED)
    archive(path("big_endian"), dict_of(GOOD), extra=[("byteorder", "big")])
    archive(path("unknown_endian"), dict_of(GOOD), extra=[("byteorder", "middle")])
    archive(path("entry_twice"), dict_of(GOOD), extra=[("data/0", FLOATS)])
    with zipfile.ZipFile(path("two_folders"), "w") as z:
        z.writestr(zipfile.ZipInfo("a/data.pkl"), dict_of(GOOD))
        z.writestr(zipfile.ZipInfo("b/data/0"), FLOATS)
    with zipfile.ZipFile(path("no_folder"), "w") as z:
        z.writestr(zipfile.ZipInfo("data.pkl"), dict_of(GOOD))
    with zipfile.ZipFile(path("no_pickle"), "w") as z:
        z.writestr(zipfile.ZipInfo("archive/other"), b"")
    with zipfile.ZipFile(path("long_entry"), "w") as z:
        z.writestr(zipfile.ZipInfo("archive/" + "long" * 200), b"")
    x = {"x": torch.ones(2)}
    torch.save(x, path("old_form"), _use_new_zipfile_serialization=False)
    torch.save(torch.nn.Linear(2, 2), path("whole_model"))
    torch.save({"epoch": 3, "state_dict": x}, path("training_checkpoint"))
    torch.save({"x": torch.tensor([1 + 2j]).conj().imag}, path("negated_view"))
    torch.save({"x": torch.ones(2, dtype=torch.complex64)}, path("complex"))
    torch.save({"x": torch.ones(2, dtype=torch.float8_e4m3fn)}, path("float8"))
    torch.save({"x": torch.eye(3).to_sparse()}, path("sparse"))


def main():
    torch.manual_seed(0)
    shutil.rmtree(HERE, ignore_errors=True)
    os.makedirs(os.path.join(HERE, "sharded"))
    good("types", types())
    good("views", views())
    one = torch.arange(3.)
    many = {f"t{i}": one for i in range(1100)}  # more than one piece of 1000 pairs, and a long memo
    torch.save(many, os.path.join(HERE, "many.bin"))
    torch.serialization.set_crc32_options(False)
    torch.save({"x": torch.arange(5.)}, os.path.join(HERE, "no_crc.bin"))
    torch.serialization.set_crc32_options(True)
    for case, pickle in good_pickles().items():
        archive(os.path.join(HERE, case + ".bin"), pickle)
    save_file({k: v.clone() for k, v in ODD.items()}, os.path.join(HERE, "odd.safetensors"))
    limit, zipfile.ZIP64_LIMIT = zipfile.ZIP64_LIMIT, 1
    archive(os.path.join(HERE, "zip64.bin"), dict_of(GOOD))
    zipfile.ZIP64_LIMIT = limit
    state = OrderedDict(("bert." + n, t) for n, t in tiny().state_dict().items())
    state["bert.pooler.dense.weight"] = torch.zeros(8, 8)
    state["cls.predictions.decoder.weight"] = state["bert.embeddings.word_embeddings.weight"]
    torch.save(state, os.path.join(HERE, "pytorch_model.bin"))
    shards(tiny().state_dict())
    hostile()


if __name__ == "__main__":
    main()
