"""python tests/golden/make_floats.py: tests/data/checkpoints/floats.safetensors.

Every value of the two 8-bit floats and of binary16 and bfloat16, and what PyTorch says they are as
float32; and float32 values with what PyTorch rounds them to.
"""
import pathlib
import struct

import torch
from safetensors.torch import save_file

bytes_ = torch.arange(256, dtype=torch.uint8)
halves = torch.arange(0, 65536, 7, dtype=torch.int32).to(torch.int16)
generator = torch.Generator().manual_seed(1)
exponents = torch.randint(-30, 20, (2000,), generator=generator)
x = torch.randn(2000, generator=generator) * torch.pow(2.0, exponents.float())
edges = [0.0, -0.0, 65504.0, 65519.9, 65520.0, 2.0**-24, 2.0**-25, 2.0**-25 * 1.0000001, 2.0**-14,
         2.0**-14 - 2.0**-25, 1 + 2.0**-11, 1 + 3 * 2.0**-11, 3.4e38, 2.0**-126, 2.0**-149, 1e-40]
x = torch.cat([x, torch.tensor(edges), -torch.tensor(edges)])
tensors = {
    "e5m2": bytes_.view(torch.float8_e5m2), "e5m2.f32": bytes_.view(torch.float8_e5m2).float(),
    "e4m3": bytes_.view(torch.float8_e4m3fn), "e4m3.f32": bytes_.view(torch.float8_e4m3fn).float(),
    "f16": halves.view(torch.float16), "f16.f32": halves.view(torch.float16).float(),
    "bf16": halves.view(torch.bfloat16), "bf16.f32": halves.view(torch.bfloat16).float(),
    "x": x, "x.f16": x.half(), "x.bf16": x.bfloat16(),
}
path = pathlib.Path(__file__).parent.parent / "data/checkpoints/floats.safetensors"
save_file({k: t.clone() for k, t in tensors.items()}, path, {"format": "pt"})
print(path, path.stat().st_size, "bytes")
