"""The training part of a graft recipe, carried out by torch.optim.AdamW and transformers' schedules.

Semantics, each by the library that defines it:
- One AdamW over all parameters, one group a parameter. A frozen parameter has grad None, which AdamW skips, so
  moments and the count of updates are each parameter's own and live on over phases.
- The schedule restarts in each phase and multiplies the rates as LambdaLR does, update s counted from 0.
- Gradients are clipped by torch.nn.utils.clip_grad_norm_ over the parameters that train in the phase.
"""
import re
from types import SimpleNamespace

import torch
import transformers
from transformers import TrainingArguments


def warmup_updates(warmup, total):
    """A count of updates, or below 1 a share of the phase."""
    return TrainingArguments.get_warmup_steps(SimpleNamespace(warmup_steps=warmup), total)


def schedule_factors(kind, warmup, total):
    """The factors of updates 0 .. total-1 of a phase."""
    arguments = {"num_warmup_steps": warmup_updates(warmup, total)}
    if kind != "constant":
        arguments["num_training_steps"] = total
    make = getattr(transformers, f"get_{kind}_schedule_with_warmup")
    schedule = make(torch.optim.SGD([torch.zeros(1)], lr=1.0), **arguments)
    return [float(schedule.lr_lambdas[0](s)) for s in range(total)]


def pattern_regex(pattern, n_layers):
    """`*` is any run of characters, `layer[-2:]` a slice over the layers as in Python, the rest is literal."""
    def piece(match):
        if match.group() == "*":
            return ".*"
        if match.group(1) is None:
            return re.escape(match.group())
        bounds = [int(bound) if bound else None for bound in match.groups()]
        return r"layer\.(" + "|".join(map(str, range(n_layers)[slice(*bounds)])) + ")"

    return re.sub(r"layer\[(-?\d*):(-?\d*)\]|.", piece, pattern)


def layer_decay_power(name, n_layers):
    """How often layer_decay applies: the last layer and the heads not at all, the embeddings most."""
    layer = re.match(r"encoder\.layer\.(\d+)\.", name)
    if layer:
        return n_layers - 1 - int(layer.group(1))
    return n_layers if name.startswith("embeddings.") else 0


def phase_groups(phase, names, n_layers, weight_decay):
    """-> {name: {"lr", "weight_decay"}} of the parameters that train; the first pattern that matches decides."""
    groups = {}
    for name in names:
        for pattern, settings in phase["trainable"].items():
            if re.fullmatch(pattern_regex(pattern, n_layers), name):
                decay = settings.get("layer_decay", 1.0) ** layer_decay_power(name, n_layers)
                plain = name.endswith(".bias") or ".LayerNorm." in name
                groups[name] = {"lr": settings["lr"] * decay, "weight_decay": 0.0 if plain else weight_decay}
                break
    return groups


def phase_weights(phase, tasks):
    """The tasks' loss weights in this phase."""
    return {t["name"]: t.get("weight", 1.0) for t in tasks} | phase.get("loss_weights", {})


def train(recipe, parameters, n_layers, task_losses, disturb=lambda gradient: None):
    """Runs all phases, an epoch being one update over all rows; changes the parameters in place.

    task_losses() -> {task: loss}, of the parameters as they stand. disturb(gradient) may change a gradient in
    place. Yields after each phase: (phase, its groups, a record of each update).
    """
    options = recipe["optimizer"]
    adamw = torch.optim.AdamW([{"params": [p], "name": n} for n, p in parameters.items()],
                              betas=tuple(options["betas"]), eps=options["eps"])
    for phase in recipe["phases"]:
        groups = phase_groups(phase, parameters, n_layers, options["weight_decay"])
        for name, p in parameters.items():
            p.requires_grad_(name in groups)
            p.grad = None
        records = []
        schedule = phase["schedule"]
        for factor in schedule_factors(schedule["type"], schedule["warmup"], phase["epochs"]):
            for group in adamw.param_groups:
                settings = groups.get(group["name"], {"lr": 0.0, "weight_decay": 0.0})
                group.update(lr=settings["lr"] * factor, weight_decay=settings["weight_decay"])
            adamw.zero_grad(set_to_none=True)
            losses = task_losses()
            total = sum(weight * losses[task] for task, weight in phase_weights(phase, recipe["tasks"]).items())
            total.backward()
            trained = [parameters[name] for name in groups]
            for p in trained:
                disturb(p.grad)
            norm = torch.nn.utils.clip_grad_norm_(trained, options["clip_norm"])
            adamw.step()
            records.append({"factor": factor, "loss": total.item(), "losses": {t: v.item() for t, v in losses.items()},
                            "gradient_norm": norm.item(), "clipped": norm.item() > options["clip_norm"]})
        check_counts(adamw, groups, len(records))
        yield phase, groups, records


def check_counts(adamw, groups, n_updates):
    """AdamW must have counted this phase's updates for the trained parameters only."""
    for group in adamw.param_groups:
        state = adamw.state.get(group["params"][0], {})
        count = int(state.get("step", 0))
        seen = group.setdefault("updates_seen", 0)
        group["updates_seen"] = count
        assert count - seen == (n_updates if group["name"] in groups else 0), group["name"]
