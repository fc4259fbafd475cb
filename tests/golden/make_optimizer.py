"""Makes optimizer/: ten AdamW updates with clipping on random vectors, some of which rest in some updates.

    python tests/golden/make_optimizer.py
"""
import torch

import common as c

FOLDER = c.ROOT / "optimizer"
CASE = {
    "betas": [0.9, 0.999], "eps": 1e-8, "clip_norm": 3.0, "updates": 10,
    # `rests`: the updates (from 0) in which the parameter is frozen: no gradient, no count, no decay, no clipping.
    "parameters": [
        {"name": "a", "shape": [7], "lr": 1e-2, "weight_decay": 0.0, "rests": []},
        {"name": "b", "shape": [3, 5], "lr": 3e-3, "weight_decay": 0.1, "rests": [0, 1, 2]},
        {"name": "c", "shape": [2, 17], "lr": 1e-1, "weight_decay": 0.01, "rests": [3, 4, 8]},
        {"name": "d", "shape": [1], "lr": 1e-3, "weight_decay": 0.5, "rests": [9]},
    ],
}


def random_inputs():
    """`<name>`: where it starts; `grad/<update>/<name>`: its gradient, of a size that differs from update to update."""
    generator = torch.Generator().manual_seed(21)
    inputs = {p["name"]: torch.randn(p["shape"], generator=generator) for p in CASE["parameters"]}
    for update in range(CASE["updates"]):
        size = 0.1 + torch.rand(1, generator=generator)
        for p in CASE["parameters"]:
            gradient = size * torch.randn(p["shape"], generator=generator)
            if update not in p["rests"]:
                inputs[f"grad/{update}/{p['name']}"] = gradient
    return inputs


def run(inputs, dtype):
    """-> the tensors of expected.safetensors."""
    values = {p["name"]: inputs[p["name"]].to(dtype).requires_grad_() for p in CASE["parameters"]}
    adamw = torch.optim.AdamW([{"params": [values[p["name"]]], "lr": p["lr"], "weight_decay": p["weight_decay"]}
                               for p in CASE["parameters"]], betas=tuple(CASE["betas"]), eps=CASE["eps"])
    out, norms = {}, []
    for update in range(CASE["updates"]):
        for name, value in values.items():
            gradient = inputs.get(f"grad/{update}/{name}")
            value.grad = None if gradient is None else gradient.to(dtype)
        trained = [v for v in values.values() if v.grad is not None]
        norms.append(torch.nn.utils.clip_grad_norm_(trained, CASE["clip_norm"]).detach())
        adamw.step()
        out |= {f"value/{update}/{name}": value.detach().clone() for name, value in values.items()}
    for p in CASE["parameters"]:
        state = adamw.state[values[p["name"]]]
        assert int(state["step"]) == CASE["updates"] - len(p["rests"])
        out |= {f"first_moment/{p['name']}": state["exp_avg"], f"second_moment/{p['name']}": state["exp_avg_sq"]}
    return out | {"norm": torch.stack(norms)}


def main():
    c.fresh_dir(FOLDER)
    inputs = random_inputs()
    truth = run(inputs, torch.float64)
    single = run(inputs, torch.float32)
    c.write_json(FOLDER / "case.json", CASE)
    c.write_tensors(FOLDER / "inputs.safetensors", inputs)
    c.write_expected(FOLDER / "expected.safetensors", truth)
    clipped = (truth["norm"] > CASE["clip_norm"]).sum().item()
    assert 0 < clipped < CASE["updates"]
    worst = max(c.relative_difference(single[n], truth[n]) for n in truth)
    print(f"optimizer: clipped {clipped} of {CASE['updates']}, torch's float32 is off by at most {worst:.1e}")


if __name__ == "__main__":
    main()
