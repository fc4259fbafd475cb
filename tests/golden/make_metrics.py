"""Writes metrics.json: what scikit-learn and scipy say of labels and predictions.

Run by hand where scikit-learn 1.9 and scipy 1.17 are installed: python make_metrics.py > metrics.json
A classification's scores are given as they are, multiples of 1/256 so that many tie; of the other
types the logits. Null: undefined. The calibration error is written out from its definition.
"""
import json
import math
import sys
import warnings

import numpy as np
from scipy import stats
from sklearn import metrics as sk

warnings.filterwarnings("ignore")
rng = np.random.default_rng(7)


def clean(value):
    if isinstance(value, dict):
        return {k: clean(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [clean(v) for v in value]
    if isinstance(value, (int, np.integer, str)):
        return value if isinstance(value, str) else int(value)
    return None if value is None or not math.isfinite(value) else float(value)


def calibration_error(confidence, came_true):
    """Guo et al. 2017, equations 2 and 3 with 15 bins (l, u]."""
    total, n = 0.0, len(confidence)
    for m in range(15):
        low, high = m / 15, (m + 1) / 15
        inside = (confidence > low) & (confidence <= high)
        if m == 0:
            inside |= confidence == 0
        if inside.any():
            gap = came_true[inside].mean() - confidence[inside].mean()
            total += inside.sum() / n * abs(gap)
    return total


def mean_or_none(values):
    return float(np.mean(values)) if values else None


def auc(labels, scores):
    n = scores.shape[1]
    if n == 2:
        return sk.roc_auc_score(labels, scores[:, 1]) if len(set(labels)) == 2 else None
    each = [sk.roc_auc_score(labels == c, scores[:, c]) for c in range(n)
            if 0 < (labels == c).sum() < len(labels)]
    if len(each) == n and abs(scores.sum(1) - 1).max() < 1e-9:
        assert abs(np.mean(each) - sk.roc_auc_score(labels, scores, multi_class="ovr")) < 1e-12
    return mean_or_none(each)


def one_label(labels, picks, scores):
    n = scores.shape[1]
    each = sk.precision_recall_fscore_support(labels, picks, labels=range(n), zero_division=0)
    rows = np.arange(len(labels))
    return {
        "accuracy": sk.accuracy_score(labels, picks),
        "balanced_accuracy": sk.balanced_accuracy_score(labels, picks),
        "macro_f1": sk.f1_score(labels, picks, average="macro", zero_division=0),
        "micro_f1": sk.f1_score(labels, picks, average="micro", zero_division=0),
        "weighted_f1": sk.f1_score(labels, picks, average="weighted", zero_division=0),
        "mcc": sk.matthews_corrcoef(labels, picks),
        "auc": auc(labels, scores),
        "ece": calibration_error(scores[rows, picks], (labels == picks).astype(float)),
    }, {"precision": each[0], "recall": each[1], "f1": each[2], "support": each[3]}


def classification(name, labels, scores):
    labels = np.asarray(labels)
    picks = scores.argmax(1)
    want, each = one_label(labels, picks, scores)
    return {"name": name, "type": "classification", "classes": scores.shape[1], "labels": labels,
            "logits": scores, "want": want, "each": each}


def ordinal(name, labels, logits):
    labels = np.asarray(labels)
    above = np.cumprod(1 / (1 + np.exp(-logits)), axis=1)
    picks = (above > 0.5).sum(1)
    edges = np.hstack([np.ones((len(labels), 1)), above, np.zeros((len(labels), 1))])
    scores = edges[:, :-1] - edges[:, 1:]
    want, each = one_label(labels, picks, scores)
    want["mae"] = sk.mean_absolute_error(labels, picks)
    want["qwk"] = sk.cohen_kappa_score(labels, picks, weights="quadratic",
                                       labels=range(scores.shape[1]))
    want["spearman"] = stats.spearmanr(labels, picks).statistic
    return {"name": name, "type": "ordinal", "classes": scores.shape[1], "labels": labels,
            "logits": logits, "want": want, "each": each}


def best_threshold(targets, scores):
    """By trying all."""
    if targets.sum() == 0:
        return 0.5
    steps = sorted(set(scores))
    tried = [steps[0]] + [(a + b) / 2 for a, b in zip(steps, steps[1:])]
    f1 = [sk.f1_score(targets, scores >= t) for t in tried]
    good = [t for t, f in zip(tried, f1) if f >= max(f1) - 1e-12]
    return min(good, key=lambda t: abs(t - 0.5))


def multi_label(name, targets, logits, thresholds):
    scores = 1 / (1 + np.exp(-logits))
    said = (scores >= np.asarray(thresholds)).astype(int)
    n = targets.shape[1]
    both = [c for c in range(n) if 0 < targets[:, c].sum() < len(targets)]
    some = [c for c in range(n) if targets[:, c].sum() > 0]

    def f1(predicted, average):
        return sk.f1_score(targets, predicted, average=average, zero_division=0)

    chosen = [best_threshold(targets[:, c], scores[:, c]) for c in range(n)]
    want = {
        "accuracy": sk.accuracy_score(targets, said),
        "macro_f1": f1(said, "macro"), "micro_f1": f1(said, "micro"),
        "weighted_f1": f1(said, "weighted"),
        "auc": mean_or_none([sk.roc_auc_score(targets[:, c], scores[:, c]) for c in both]),
        "map": mean_or_none([sk.average_precision_score(targets[:, c], scores[:, c])
                             for c in some]),
        "ece": calibration_error(scores.ravel(), targets.ravel().astype(float)),
    }
    each = sk.precision_recall_fscore_support(targets, said, zero_division=0)
    return {"name": name, "type": "multi_label", "classes": n, "thresholds": thresholds,
            "targets": targets, "logits": logits, "want": want, "density": targets.mean(),
            "each": {"precision": each[0], "recall": each[1], "f1": each[2], "support": each[3]},
            "chosen": chosen, "chosen_macro_f1": f1((scores >= np.array(chosen)).astype(int),
                                                    "macro")}


def regression(name, targets, values):
    targets, values = np.asarray(targets, float), np.asarray(values, float)
    flat = len(set(targets)) < 2 or len(set(values)) < 2
    want = {
        "mae": sk.mean_absolute_error(targets, values),
        "rmse": sk.root_mean_squared_error(targets, values),
        "r2": sk.r2_score(targets, values) if len(targets) > 1 else None,
        "pearson": None if flat else stats.pearsonr(targets, values).statistic,
        "spearman": None if flat else stats.spearmanr(targets, values).statistic,
    }
    return {"name": name, "type": "regression", "classes": 0, "targets": targets,
            "logits": values, "want": want}


def scores_for(labels, n, help_by, lumps=256):
    """Rows of multiples of 1/lumps that sum to 1."""
    rows = []
    for label in labels:
        weights = rng.dirichlet(np.ones(n))
        weights[label] += help_by
        rows.append(rng.multinomial(lumps, weights / weights.sum()) / lumps)
    return np.array(rows)


def sixteenths(x):
    return np.round(x * 16) / 16


def cases():
    y = rng.integers(0, 4, 60)
    yield classification("four classes", y, scores_for(y, 4, 0.4))
    yield classification("many ties", y, scores_for(y, 4, 0.4, 8))
    y = rng.integers(0, 2, 50)
    yield classification("two classes", y, scores_for(y, 2, 0.3, 16))
    y = rng.choice([0, 2, 3], 40)
    yield classification("a class without rows", y, scores_for(y, 5, 0.8))
    yield classification("one class of two", [1] * 12, scores_for([1] * 12, 2, 0.2))
    yield classification("one class of three", [2] * 12, scores_for([2] * 12, 3, 0.2))
    y = np.arange(20) % 4
    yield classification("perfect", y, np.eye(4)[y])
    yield classification("all wrong", y, np.eye(4)[(y + 1) % 4])
    yield classification("always the same", y, np.tile([0.25, 0.5, 0.125, 0.125], (20, 1)))
    yield classification("one row", [1], np.array([[0.25, 0.5, 0.25]]))

    y = rng.integers(0, 5, 60)
    z = y[:, None] - np.arange(4) - 0.5 + rng.normal(0, 1.5, (60, 4))
    yield ordinal("five ranks", y, np.float32(z))
    yield ordinal("a rank without rows", np.where(y == 2, 3, y), np.float32(z))
    yield ordinal("two ranks", np.arange(30) % 2, np.float32(rng.normal(0, 1, (30, 1))))
    y = np.arange(20) % 4
    z = np.where(np.arange(3) < y[:, None], 8.0, -8.0)
    yield ordinal("perfect ranks", y, z)
    yield ordinal("reversed ranks", 3 - y, z)
    yield ordinal("one rank of labels", np.full(20, 1), z)
    yield ordinal("one rank on both sides", np.zeros(20, int), np.full((20, 3), -8.0))

    t = (rng.random((60, 5)) < [0.5, 0.2, 0.1, 0.0, 1.0]).astype(int)
    z = sixteenths(t * 1.5 - 1 + rng.normal(0, 1, t.shape))
    yield multi_label("five labels", t, z, [0.5] * 5)
    yield multi_label("own thresholds", t, z, [0.25, 0.625, 0.75, 0.999, 0.375])
    t = (rng.random((40, 3)) < 0.4).astype(int)
    yield multi_label("coarse scores", t, np.round(rng.normal(0, 1, t.shape)), [0.5] * 3)
    yield multi_label("perfect labels", t, np.where(t, 4.0, -4.0), [0.5] * 3)
    yield multi_label("wrong labels", t, np.where(t, -4.0, 4.0), [0.5] * 3)
    yield multi_label("no labels", 0 * t, np.where(t, 1.0, -1.0), [0.5] * 3)

    t = np.round(rng.normal(2, 2, 60))
    yield regression("ties", t, np.round(t + rng.normal(0, 2, 60)))
    yield regression("values", np.float32(rng.normal(0, 1, 50)), np.float32(rng.normal(5, 3, 50)))
    yield regression("constant labels", [float(np.float32(0.1))] * 9, np.arange(9) / 4)
    yield regression("constant labels, met", [0.5] * 9, [0.5] * 9)
    yield regression("constant values", np.arange(9) / 4, [0.75] * 9)
    yield regression("perfect values", np.arange(9), np.arange(9))
    yield regression("reversed values", np.arange(9), -np.arange(9))
    yield regression("two rows", [1, 2], [5, 4.5])
    yield regression("one value", [1.5], [2])


json.dump({"cases": [clean(c) for c in cases()]}, sys.stdout, separators=(",", ":"))
print()
