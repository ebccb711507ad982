"""Gradient-boosted trees for tables: grown by scikit-learn, computed by torch."""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from comptroller_trainer.data.samples import Samples
from comptroller_trainer.errors import AssignmentError
from comptroller_trainer.models.base import EstimatorFamily
from comptroller_trainer.stages.base import Context, Parameters
from comptroller_trainer.stages.modality import TABLE, require


class TreesParameters(Parameters):
    """`model.*` of `trees`."""

    rounds: int = Field(100, ge=1, le=5000, description="Of boosting; a rung has its share of them.")
    depth: int = Field(6, ge=1, le=32, description="Splits from a tree's root to its leaves, at most.")
    leaves: int = Field(31, ge=2, le=4096, description="Of a tree, at most.")
    samples: int = Field(20, ge=1, le=1_000_000, description="Training samples of a leaf, at least.")
    rate: float = Field(0.1, gt=0, le=1, description="What each tree's output is multiplied by.")
    l2: float = Field(0.0, ge=0, le=1e6, description="Penalty on the leaves' values.")


class Trees(EstimatorFamily[TreesParameters]):
    """`trees`: histogram-based gradient boosting, as LightGBM (Ke et al., 2017)."""

    Parameters = TreesParameters
    name = "trees"
    kinds = (TABLE,)

    def train(self, samples: Samples, weights: Tensor | None, share: float, context: Context) -> nn.Module:
        require("model.family", self.name, context.shape, *self.kinds)
        from sklearn import ensemble  # noqa: PLC0415 - seconds that other families do not need

        p = self.parameters
        inputs, labels = samples.inputs.cpu().numpy(), samples.labels.cpu().numpy()
        if context.classes and len(np.unique(labels)) == 1:
            raise AssignmentError("model.family", self.name, "needs selected samples of two classes or more")
        kind = (
            ensemble.HistGradientBoostingClassifier
            if context.classes
            else ensemble.HistGradientBoostingRegressor
        )
        boosting = kind(
            max_iter=max(1, round(p.rounds * share)),
            max_depth=p.depth,
            max_leaf_nodes=p.leaves,
            min_samples_leaf=p.samples,
            learning_rate=p.rate,
            l2_regularization=p.l2,
            early_stopping=False,  # it would hold out samples of its own
            random_state=int(torch.randint(2**31, (), generator=context.generator("trees"))),
        )
        boosting.fit(inputs, labels, None if weights is None else weights.cpu().numpy())
        return Forest(boosting, context.classes).eval()


class Forest(nn.Module):
    """A fitted ensemble as tensors: (n, features) float32 to (n, outputs).

    All trees are walked at once, a level a step, as Hummingbird does (Nakandala et al., 2020); every
    decision is the one that scikit-learn takes.

    Args:
        boosting: a fitted HistGradientBoosting estimator over numeric features.
        classes: of the task, 0 for regression; those never seen get the logit of half a sample.
    """

    feature: Tensor
    threshold: Tensor
    missing: Tensor
    left: Tensor
    right: Tensor
    value: Tensor
    roots: Tensor
    spread: Tensor
    offset: Tensor

    def __init__(self, boosting: Any, classes: int) -> None:
        super().__init__()
        # No public attribute holds the trees: a test compares with `predict_proba` of the installed release.
        trees = [tree.nodes for round_ in boosting._predictors for tree in round_]  # noqa: SLF001 - see above
        roots = np.cumsum([0, *(len(tree) for tree in trees)])[:-1]
        nodes = np.concatenate(trees)
        itself = np.arange(len(nodes))
        first = np.repeat(roots, [len(tree) for tree in trees])
        leaf = nodes["is_leaf"].astype(bool)  # a sample at a leaf stays
        self._depth = int(nodes["depth"].max())
        buffers: dict[str, NDArray[Any]] = {
            "feature": np.where(leaf, 0, nodes["feature_idx"]),
            "missing": nodes["missing_go_to_left"].astype(bool),
            "left": np.where(leaf, itself, first + nodes["left"]),
            "right": np.where(leaf, itself, first + nodes["right"]),
            "roots": roots,
        }
        for name, array in buffers.items():
            self.register_buffer(name, torch.from_numpy(array))
        # Thresholds and values are learned, so they count as weights.
        self.threshold = nn.Parameter(torch.from_numpy(_below(nodes["num_threshold"])), requires_grad=False)
        self.value = nn.Parameter(torch.from_numpy(nodes["value"].astype(np.float32)), requires_grad=False)
        spread, offset = _outputs(boosting, classes, int(trees[0]["count"][0]))
        self.register_buffer("spread", spread)
        self.register_buffer("offset", offset)

    def forward(self, inputs: Tensor) -> Tensor:
        place = torch.zeros_like(inputs[:, :1], dtype=torch.int64) + self.roots  # (n, trees)
        for _ in range(self._depth):
            value = inputs.gather(1, self.feature[place])
            left = (value <= self.threshold[place]) | (value.isnan() & self.missing[place])
            place = torch.where(left, self.left[place], self.right[place])
        columns = len(self.spread)
        raw = self.value[place].view(-1, len(self.roots) // columns, columns).sum(1)
        return raw @ self.spread + self.offset


def _below(thresholds: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the greatest float32 not above each: for a float32 `x`, `x <= threshold` stays the same."""
    rounded = thresholds.astype(np.float32)
    return np.where(rounded > thresholds, np.nextafter(rounded, np.float32(-np.inf)), rounded)


def _outputs(boosting: Any, classes: int, samples: int) -> tuple[Tensor, Tensor]:
    """Return the matrix (columns, outputs) and the offset that turn sums over trees into outputs."""
    baseline = torch.from_numpy(boosting._baseline_prediction).float().flatten()  # noqa: SLF001 - not public
    if not classes:
        return torch.ones(1, 1), baseline
    seen = torch.from_numpy(boosting.classes_.astype(np.int64))
    columns = seen if len(baseline) > 1 else seen[1:]  # two classes share a column, the second's logit
    spread = functional.one_hot(columns, classes).float()
    offset = baseline @ spread
    unseen = torch.full((classes,), math.log(0.5 / samples)) + offset[seen].logsumexp(0)
    return spread, unseen.index_copy(0, seen, offset[seen])
