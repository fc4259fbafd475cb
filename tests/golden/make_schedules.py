"""Makes schedules.json and schedule_kinds.json: the factors of transformers' and torch's schedules.

    python tests/golden/make_schedules.py
"""
import torch
from transformers import optimization as t

import common as c
import recipe as r

# (warm-up, updates of the phase); below 1 the warm-up is a share, rounded up. 0.07 of 100 is 7.000000000000001
# in floating point, hence 8 updates, by transformers' rule.
CASES = [(0, 1), (0, 7), (1, 1), (1, 6), (2, 8), (3, 3), (5, 3), (0.25, 8), (0.1, 25), (0.5, 9), (0.07, 100), (10, 60)]

# Per kind: the settings to try, by graft's names; what is left out is torch's default.
KINDS = {
    "cosine": [{"cycles": 1.0}, {"cycles": 1.75}, {"end": 0.1}, {"cycles": 1.5, "end": 0.25}],
    "cosine_with_restarts": [{}, {"cycles": 2}, {"cycles": 3}],
    "polynomial": [{"end": 1e-7}, {"end": 0.05}, {"power": 2.0, "end": 0.1},
                   {"power": 0.5, "end": 0.0}],
    "inverse_sqrt": [{}, {"timescale": 3}, {"timescale": 500}],
    "one_cycle": [{}, {"peak": 0.5}, {"peak": 0.0}, {"peak": 1.0},
                  {"peak": 0.25, "start_divisor": 4.0, "final_divisor": 10.0}],
}
LENGTHS = [(0, 7), (2, 11), (4, 24)]

# (whether higher is better, settings, values of the evaluations)
PLATEAUS = [
    (False, {"patience": 0, "factor": 0.5}, [1.0, 0.9, 0.9, 0.91, 0.8, 0.8, 0.79]),
    (False, {"patience": 1, "factor": 0.1}, [2.0, 2.0, 2.0, 2.0, 2.0, 1.0, 1.5, 1.5, 1.5, 1.5]),
    (True, {"patience": 2, "factor": 0.3}, [0.5, 0.6, 0.6, 0.55, 0.6, 0.61, 0.6, 0.6, 0.6, 0.6]),
    (True, {"patience": 0, "factor": 0.2, "end": 0.1},
     [-1.0, -2.0, -3.0, -0.5, -0.5, float("nan"), -0.25]),
    (False, {"patience": 0, "factor": 0.5},
     [float("nan"), float("inf"), 3.0, float("-inf"), 3.0]),
    (True, {}, [0.5] * 24),
]


def dummy():
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))], lr=1.0)


def make(kind, warmup, total, settings):
    """-> transformers' scheduler for graft's settings."""
    cycles = {"num_cycles": settings["cycles"]} if "cycles" in settings else {}
    if kind == "cosine" and "end" in settings:
        return t.get_cosine_with_min_lr_schedule_with_warmup(
            dummy(), warmup, total, min_lr_rate=settings["end"], **cycles)
    if kind == "cosine":
        return t.get_cosine_schedule_with_warmup(dummy(), warmup, total, **cycles)
    if kind == "cosine_with_restarts":
        return t.get_cosine_with_hard_restarts_schedule_with_warmup(
            dummy(), warmup, total, **cycles)
    if kind == "inverse_sqrt":
        return t.get_inverse_sqrt_schedule(dummy(), warmup, settings.get("timescale"))
    power = {"power": settings["power"]} if "power" in settings else {}
    return t.get_polynomial_decay_schedule_with_warmup(
        dummy(), warmup, total, lr_end=settings["end"], **power)


def one_cycle_factors(total, settings):
    names = {"peak": "pct_start", "start_divisor": "div_factor",
             "final_divisor": "final_div_factor"}
    optimizer = dummy()
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=1.0, total_steps=total, cycle_momentum=False,
        **{names[k]: v for k, v in settings.items()})
    factors = []
    for step in range(total):
        factors.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step + 1 < total:
            schedule.step()
    return factors


def factors(kind, warmup, total, settings):
    if kind == "one_cycle":
        return one_cycle_factors(total, settings)
    schedule = make(kind, warmup, total, settings)
    return [float(schedule.lr_lambdas[0](step)) for step in range(total)]


def plateau(higher, settings, values):
    """Behind each evaluation the factor, best value (a string: it may be infinite), stale count."""
    optimizer, options = dummy(), dict(settings)
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode="max" if higher else "min", threshold=0.0, threshold_mode="abs", eps=0.0,
        min_lr=options.pop("end", 0.0), **options)
    states = []
    for value in values:
        schedule.step(value)
        states.append([optimizer.param_groups[0]["lr"], str(schedule.best),
                       schedule.num_bad_epochs])
    return {"higher_is_better": higher, "settings": settings, "values": [str(v) for v in values],
            "states": states}


def main():
    table = [{"type": kind, "warmup": warmup, "total": total, "warmup_updates": r.warmup_updates(warmup, total),
              "factors": r.schedule_factors(kind, warmup, total)}
             for kind in ("constant", "linear", "cosine") for warmup, total in CASES]
    c.write_json(c.ROOT / "schedules.json", table)
    kinds = [{"type": kind, "warmup": warmup, "total": total, "settings": s,
              "factors": factors(kind, warmup, total, s)}
             for kind, settings in KINDS.items() for s in settings for warmup, total in LENGTHS
             if kind != "one_cycle" or warmup == 0 or total > 11]
    plateaus = [plateau(*p) for p in PLATEAUS]
    c.write_json(c.ROOT / "schedule_kinds.json", {"factors": kinds, "plateaus": plateaus})
    print(f"schedules.json: {len(table)} schedules; "
          f"schedule_kinds.json: {len(kinds)}, and {len(plateaus)} plateaus")


if __name__ == "__main__":
    main()
