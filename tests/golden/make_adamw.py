"""Writes tests/golden/adamw.json: a few updates of torch.optim.AdamW on eight weights in float32.

Run by hand, from the root of the repository, with torch installed: python3 tests/golden/make_adamw.py
Two settings; per update the gradients, as given, and the weights and moments afterwards. The gradients
are scaled by `grad_scale` before torch sees them, as clipping does.
"""
import json
import torch


def run(lr, betas, eps, weight_decay, grad_scale, updates, seed):
    generator = torch.Generator().manual_seed(seed)
    w = torch.nn.Parameter(torch.randn(8, generator=generator))
    optimizer = torch.optim.AdamW([w], lr=lr, betas=betas, eps=eps, weight_decay=weight_decay,
                                  foreach=False, fused=False)
    case = {"lr": lr, "beta1": betas[0], "beta2": betas[1], "eps": eps,
            "weight_decay": weight_decay, "grad_scale": grad_scale,
            "start": w.detach().tolist(), "updates": []}
    for _ in range(updates):
        g = torch.randn(8, generator=generator) * 10.0 ** torch.randint(-6, 3, (8,),
                                                                        generator=generator)
        w.grad = g * torch.tensor(grad_scale)
        optimizer.step()
        state = optimizer.state[w]
        case["updates"].append({"g": g.tolist(), "w": w.detach().tolist(),
                                "m": state["exp_avg"].tolist(), "v": state["exp_avg_sq"].tolist()})
    return case


cases = [run(1e-3, (0.9, 0.999), 1e-8, 0.01, 1.0, 6, 1), run(5e-2, (0.8, 0.95), 1e-6, 0.2, 0.37, 6, 2)]
with open("tests/golden/adamw.json", "w") as f:
    json.dump({"torch": torch.__version__, "cases": cases}, f, indent=1)
    f.write("\n")
