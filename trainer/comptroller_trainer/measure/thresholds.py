"""Tune a classifier's thresholds for the largest macro F1 on validation.

The class whose probability is the largest multiple of its threshold is predicted. With two classes this is
the usual threshold of one probability. scikit-learn tunes those only, and takes three seconds to import.
"""

import numpy as np
from numpy.typing import NDArray

from comptroller_trainer.errors import AssignmentError
from comptroller_trainer.measure.quality import f1_macro
from comptroller_trainer.stages.base import Context

MOST = 100
"""Classes at most; more take long, since each is tuned against every other."""
_FIELD = "recipe.thresholds"
_ROUNDS = 10


def decidable(context: Context) -> None:
    """Check the number of classes, before anything is spent.

    Raises:
        AssignmentError: there are too many classes.
    """
    if context.classes > MOST:
        raise AssignmentError(_FIELD, "f1_macro", f"takes {MOST} classes at most; here are {context.classes}")


def thresholds(
    outputs: NDArray[np.float32], labels: NDArray[np.int64], context: Context
) -> tuple[dict[str, float], dict[str, object]]:
    """Return the metric of tuned thresholds, and the content of thresholds.json.

    `f1_macro_tuned` is not measured on the tuning's samples: each half of the split, drawn by the trial's
    seed, gets the thresholds of the other half. The thresholds in the file are tuned on the whole split.

    Args:
        outputs: (n, classes) logits.
        labels: (n,).
        context: the trial.
    """
    drawn = context.generator("thresholds")
    order = np.random.default_rng(drawn.initial_seed()).permutation(len(labels))
    predicted = np.empty_like(labels)
    for half, other in (halves := np.array_split(order, 2)), halves[::-1]:
        predicted[half] = (outputs[half] + tuned(outputs[other], labels[other])).argmax(1)
    found = {"f1_macro_tuned": f1_macro(predicted, labels, outputs.shape[1])}
    share = np.exp(-tuned(outputs, labels))
    content: dict[str, object] = {
        "rule": "predict the class whose probability is the largest multiple of its threshold",
        "thresholds": (share / share.sum()).tolist(),
        "f1_macro": f1_macro(outputs.argmax(1), labels, outputs.shape[1]),
    }
    return found, content | found


def tuned(outputs: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return offsets (classes,) of logits (n, classes) with the largest macro F1, moving one at a time.

    Adding b to a logit is dividing its probability by a threshold of exp(-b).
    """
    classes = outputs.shape[1]
    offsets = np.zeros(classes)
    best = f1_macro(outputs.argmax(1), labels, classes)
    for _ in range(_ROUNDS):
        before = best
        for label in range(classes):
            best, offsets[label] = _one(outputs + offsets, labels, label, best, offsets[label])
        if best <= before:
            break
    return offsets


def _one(
    logits: NDArray[np.float64], labels: NDArray[np.int64], label: int, best: float, offset: float
) -> tuple[float, float]:
    """Return the largest F1 from moving one class's logits, and the offset; a tie changes nothing."""
    others = logits.copy()
    others[:, label] = -np.inf
    rival = others.argmax(1)
    lead = others.max(1) - logits[:, label]  # what moving must exceed for this sample to be of the class
    order = np.argsort(lead, kind="stable")
    lead, rival, truth = lead[order], rival[order], labels[order]
    total = np.zeros(len(labels) + 1)
    for one in range(logits.shape[1]):
        actual = int((labels == one).sum())
        moved = np.ones(len(labels)) if one == label else -(rival == one).astype(float)
        predicted = (0 if one == label else (rival == one).sum()) + _summed(moved)
        hits = (0 if one == label else ((rival == one) & (truth == one)).sum()) + _summed(
            moved * (truth == one)
        )
        total += 2 * hits / np.maximum(predicted + actual, 1)
    total /= logits.shape[1]
    between = np.concatenate([[True], np.diff(lead) > 0, [True]])  # equal ones move together
    place = int(np.where(between, total, -1).argmax())
    if total[place] <= best + 1e-12:
        return best, offset
    ends = np.concatenate([[lead[0] - 1], lead, [lead[-1] + 1]])
    return float(total[place]), offset + float((ends[place] + ends[place + 1]) / 2)


def _summed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate([[0.0], np.cumsum(values)])
