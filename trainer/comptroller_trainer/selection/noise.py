"""Label noise: found by confident learning, from our own out-of-fold probabilities."""

import warnings

import torch
from torch import Tensor

from comptroller_trainer.errors import AssignmentError
from comptroller_trainer.selection.signals import out_of_fold
from comptroller_trainer.stages.base import Context


def check(name: str, context: Context) -> None:
    """Refuse regression.

    Raises:
        AssignmentError: the task has no classes.
    """
    if not context.classes:
        raise AssignmentError(
            "data.clean", "true", f"needs classes for data.selector {name}; the task is regression"
        )


def issues(inputs: Tensor, labels: Tensor, context: Context, epochs: int) -> tuple[Tensor, Tensor]:
    """Find labels that are probably wrong (Northcutt et al., 2021).

    Args:
        inputs: (n, *shape) float32, of `proxy.shrunk`.
        labels: (n,) int64.
        context: the trial.
        epochs: of each fold's proxy.

    Returns:
        Booleans (n,), at least one False, and the label's out-of-fold probability (n,) float32, 0 to 1.
    """
    from cleanlab.filter import find_label_issues  # noqa: PLC0415 - seconds that most trials do not need

    present, compact = torch.unique(labels, return_inverse=True)
    if len(present) < 2 or len(labels) < 2:  # noqa: PLR2004 - one label or sample contradicts nothing
        return torch.zeros(len(labels), dtype=torch.bool), torch.ones(len(labels))
    probabilities = out_of_fold(inputs, labels, context, epochs)[:, present].double().softmax(1)
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # about classes of one sample
        wrong = find_label_issues(
            compact.numpy(), probabilities.numpy(), filter_by="prune_by_noise_rate", n_jobs=1
        )
    quality = probabilities.gather(1, compact[:, None]).squeeze(1).float()
    found = torch.from_numpy(wrong)
    if bool(found.all()):
        found[quality.argmax()] = False
    return found, quality
