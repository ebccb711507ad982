"""Limit how many training samples come from each source of a mixture."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from comptroller_api.data import Source
from comptroller_trainer.data.split import words
from comptroller_trainer.seeds import derive


def limit(
    train: NDArray[np.int64], source: NDArray[np.int64], sources: Sequence[Source], seed: int
) -> NDArray[np.int64]:
    """Return the part of `train` that stays, ascending: a uniform draw from each source, without replacement.

    Under weights the mixture is as large as its scarcest source allows.

    Args:
        train: (n,), ascending.
        source: of each sample of all sources, (m,), in the order of `sources`.
        sources: with budgets, or with weights.
        seed: decides which stay.
    """
    members = [train[source[train] == code] for code in range(len(sources))]
    counts = [min(len(own), s.budget or len(own)) for own, s in zip(members, sources, strict=True)]
    weights = [float(s.weight) for s in sources if s.weight is not None]
    if len(weights) == len(sources):
        whole = min(len(own) / weight for own, weight in zip(members, weights, strict=True))
        counts = [min(len(own), round(w * whole)) for own, w in zip(members, weights, strict=True)]
    kept = []
    for own, count, s in zip(members, counts, sources, strict=True):
        drawn = words(len(own), derive(seed, "source", s.name))
        kept.append(own[np.argsort(drawn, kind="stable")[:count]])
    return np.sort(np.concatenate(kept))
