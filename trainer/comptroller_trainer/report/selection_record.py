"""`selection.npz`: the samples that each epoch was trained on."""

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from comptroller_trainer.errors import MissingError
from comptroller_trainer.learning.trial_cache import TrialCache
from comptroller_trainer.selection.base import Selector


def write(directory: Path, epochs: int, selector: Selector[Any], index: Tensor, cache: TrialCache) -> Path:
    """Write each epoch's places in the source's file, -1 if made up, and weights; equal epochs once.

    `taught` has the places whose labels were replaced.

    Args:
        directory: the file's directory.
        epochs: the number of trained epochs.
        selector: fitted.
        index: (n,), the place of each training sample in the source's file.
        cache: the loop's records of samples that the selector cannot compute again.

    Raises:
        MissingError: a record is gone.
    """
    arrays: dict[str, Any] = {}
    for epoch in range(epochs if selector.varies or selector.candidates > 1 else 1):
        indices, weights = _trained_on(epoch, selector, cache)
        arrays[f"epoch_{epoch:05d}"] = index[indices].numpy().astype(np.int32)
        if weights is not None:
            arrays[f"weights_{epoch:05d}"] = weights.numpy()
    if selector.pseudo_labels_ is not None:
        arrays["taught"] = index[selector.pseudo_labels_.indices].numpy().astype(np.int32)
    path = directory / "selection.npz"
    np.savez_compressed(path, **arrays)
    return path


def _trained_on(epoch: int, selector: Selector[Any], cache: TrialCache) -> tuple[Tensor, Tensor | None]:
    if selector.watches or selector.candidates > 1:
        kept = cache.read(f"trained-{epoch:05d}")
        if kept is None:
            raise MissingError(f"the record of the samples of epoch {epoch + 1} is gone from the store")
        return kept["indices"], kept.get("weights")
    selection = selector.select(epoch)
    return selection.indices, selection.weights
