"""Writes onednn.json: how torch rounds to bf16, and what a linear layer is whose products take
factors rounded so.

Run by hand where torch is installed: python make_onednn.py > onednn.json
The layer's gelu is linear's forward pass followed by torch's; sums are in double, so that they are
nobody's order of adding. What is rounded: x, W and, in the backward pass, the gradient of what goes
into the activation. Bias, activation and sums are not.
"""
import json
import struct

import torch

TOKENS, IN, OUT = 70, 29, 13


def bits_of(value):
    return struct.unpack("<I", struct.pack("<f", value))[0]


def rounded_bits():
    torch.manual_seed(1)
    bits = [0, 0x80000000, 0x3f800000, 0x3f808000, 0x3f818000, 0x3f807fff, 0x3f808001, 0x3f817fff,
            0x7f7fffff, 0xff7fffff, 0x7f7f7fff, 0x7f7f8000, 0x7f800000, 0xff800000, 1, 0x8000,
            0x8001, 0x00018000, 0x007fffff, 0x80008001]
    bits += [b & 0xffffffff for b in torch.randint(-2**31, 2**31, (180,)).tolist()]
    bits = [b for b in bits if (b & 0x7fffffff) <= 0x7f800000]
    x = torch.tensor([struct.unpack("<i", struct.pack("<I", b))[0] for b in bits],
                     dtype=torch.int32).view(torch.float32)
    y = x.to(torch.bfloat16).view(torch.int16)
    return {"from": bits, "to": [v & 0xffff for v in y.tolist()]}


def bf16(x):
    return x.float().to(torch.bfloat16).double()


def layer():
    torch.manual_seed(2)
    x, w, b, dy = ((torch.randn(*s) * 1000).round() / 1000 for s in ((TOKENS, IN), (OUT, IN), (OUT,),
                                                     (TOKENS, OUT)))
    z = (bf16(x) @ bf16(w).T + b.double()).requires_grad_()
    y = torch.nn.functional.gelu(z)
    y.backward(dy.double())
    dz = z.grad
    parts = {"x": x, "w": w, "b": b, "dy": dy, "y": y, "dx": bf16(dz) @ bf16(w),
             "dw": bf16(dz).T @ bf16(x), "db": dz.sum(0)}
    return {k: [float(f"{v:.9g}") for v in t.detach().reshape(-1).tolist()]
            for k, t in parts.items()}


print(json.dumps({"rounding": rounded_bits(), "tokens": TOKENS, "in": IN, "out": OUT,
                  "layer": layer()}))
