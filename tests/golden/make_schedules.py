"""Makes schedules.json: the learning-rate factors of transformers' schedules.

    python tests/golden/make_schedules.py
"""
import common as c
import recipe as r

# (warm-up, updates of the phase); below 1 the warm-up is a share, rounded up. 0.07 of 100 is 7.000000000000001
# in floating point, hence 8 updates, by transformers' rule.
CASES = [(0, 1), (0, 7), (1, 1), (1, 6), (2, 8), (3, 3), (5, 3), (0.25, 8), (0.1, 25), (0.5, 9), (0.07, 100), (10, 60)]


def main():
    table = [{"type": kind, "warmup": warmup, "total": total, "warmup_updates": r.warmup_updates(warmup, total),
              "factors": r.schedule_factors(kind, warmup, total)}
             for kind in ("constant", "linear", "cosine") for warmup, total in CASES]
    c.write_json(c.ROOT / "schedules.json", table)
    print(f"schedules.json: {len(table)} schedules")


if __name__ == "__main__":
    main()
