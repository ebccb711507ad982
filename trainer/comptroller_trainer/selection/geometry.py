"""Selectors by the place of samples among each other: `k_center`, `herding`, `dedup`.

Greedy choice over n samples takes n k distances; it is done in blocks of samples drawn at random, all blocks
at once, as for data on many machines (Malkomes et al., 2015). Up to a block's size it is the exact one.
"""

import torch
from pydantic import Field
from torch import Tensor

from comptroller_trainer.selection.base import drawn
from comptroller_trainer.selection.static import StaticParameters, StaticSelector
from comptroller_trainer.selection.strata import proportional
from comptroller_trainer.stages.base import Context

_BLOCK = 2048
_COMPONENTS, _DIRECTIONS, _WINDOW = 32, 4, 64
"""Settings of `near_duplicates`."""


class KCenter(StaticSelector[StaticParameters]):
    """`k_center`: each next sample is the one farthest from those chosen (Sener and Savarese, 2018)."""

    Parameters = StaticParameters
    name = "k_center"

    def _choose(self, inputs: Tensor, labels: Tensor, count: int, context: Context) -> tuple[Tensor, None]:
        points = self._signals(inputs, labels, context)["embeddings"]
        blocks = _blocks(torch.zeros(len(points), dtype=torch.int64), context.generator("blocks"))
        return _greedy(points, blocks, count, farthest=True), None


class Herding(StaticSelector[StaticParameters]):
    """`herding`: the subset's mean embedding follows its class's (Welling, 2009; regression: that of all)."""

    Parameters = StaticParameters
    name = "herding"

    def _choose(self, inputs: Tensor, labels: Tensor, count: int, context: Context) -> tuple[Tensor, None]:
        points = self._signals(inputs, labels, context)["embeddings"]
        groups = torch.zeros(len(points), dtype=torch.int64) if labels.is_floating_point() else labels
        return _greedy(points, _blocks(groups, context.generator("blocks")), count, farthest=False), None


class DedupParameters(StaticParameters):
    """`data.*` of `dedup`."""

    distance: float = Field(
        0.1, ge=0, le=1,
        description="Of two samples that count as one, as a share of the typical distance between two.",
    )  # fmt: skip


class Dedup(StaticSelector[DedupParameters]):
    """`dedup`: of near duplicates the first stays; of what is left, a random `keep` of all.

    Distances are between the samples themselves, pooled and standardised: a proxy's embedding brings all of a
    class together (what Abbas et al., 2023, do with an encoder that has seen no labels).
    """

    Parameters = DedupParameters
    name = "dedup"

    def _choose(self, inputs: Tensor, labels: Tensor, count: int, context: Context) -> tuple[Tensor, None]:
        del labels
        found = near_duplicates(inputs.flatten(1), self.parameters.distance, context.generator("directions"))
        kept = (~found).nonzero().flatten()
        return kept[drawn(min(count, len(kept)), len(kept), context.generator("select"))], None


def _blocks(groups: Tensor, generator: torch.Generator) -> Tensor:
    """Return places (b, size) int64 of samples of one group each, in random order; -1 fills up."""
    order = torch.randperm(len(groups), generator=generator)
    parts: list[Tensor] = []
    for group in torch.unique(groups).tolist():
        members = order[groups[order] == group]
        parts += members.tensor_split(-(-len(members) // _BLOCK))
    return torch.nn.utils.rnn.pad_sequence(parts, batch_first=True, padding_value=-1)


def _greedy(points: Tensor, blocks: Tensor, count: int, *, farthest: bool) -> Tensor:
    """Return `count` places, each block's share in proportion to its size.

    Args:
        points: (n, d) float32.
        blocks: (b, size) int64, of `_blocks`.
        count: at most n.
        farthest: k-center; else herding.
    """
    filled = blocks >= 0
    quotas = proportional(filled.sum(1), count)
    x = points[blocks.clamp_min(0)] * filled[..., None]
    mean = x.sum(1) / filled.sum(1, keepdim=True)
    x = (x - mean[:, None]) * filled[..., None]
    squares = x.square().sum(2)
    taken = ~filled
    # Both rules begin with the sample nearest to the mean.
    score = -squares
    nearest = torch.full_like(squares, torch.inf)
    total = torch.zeros(len(blocks), points.shape[1])
    rows = torch.arange(len(blocks))
    found = []
    for step in range(int(quotas.max())):
        place = score.masked_fill(taken, -torch.inf).argmax(1)
        wanted = step < quotas
        found.append(blocks[rows, place][wanted])
        taken[rows[wanted], place[wanted]] = True
        new = x[rows, place]
        if farthest:
            products = torch.bmm(x, new[:, :, None]).squeeze(2)
            nearest = torch.minimum(nearest, squares - 2 * products + squares[rows, place][:, None])
            score = nearest
        else:
            # The next brings the mean of the chosen (centred: to be zero) nearest to its aim.
            total += new
            score = -(squares + 2 * torch.bmm(x, total[:, :, None]).squeeze(2))
    return torch.cat(found)


def near_duplicates(points: Tensor, distance: float, generator: torch.Generator) -> Tensor:
    """Return booleans (n,): true for `points` with an earlier, kept one within `distance`.

    Candidates are neighbours in the order along each of the data's main directions (sorted neighbourhoods,
    Hernandez and Stolfo, 1995), since near points are near in every projection: n times a window of
    comparisons, which miss none except in dense crowds.

    Args:
        points: (n, d) float32.
        distance: as a share of the root mean square distance between two of `points`.
        generator: begins the search for the main directions (Halko et al., 2011).
    """
    centred = points - points.mean(0)
    limit = distance**2 * 2 * float(centred.square().sum(1).mean()) + 1e-9
    start = torch.randn(points.shape[1], min(_COMPONENTS, *points.shape), generator=generator)
    basis = torch.linalg.qr(centred.T @ (centred @ start)).Q  # orthonormal: no distance grows
    projected = centred @ basis
    projected = projected @ torch.linalg.eigh(projected.T @ projected).eigenvectors.flip(1)
    pairs = []
    for axis in range(min(_DIRECTIONS, projected.shape[1])):
        order = projected[:, axis].argsort(stable=True)
        ahead = projected[order]
        for step in range(1, min(_WINDOW, len(points) - 1) + 1):
            near = (ahead[step:] - ahead[:-step]).square().sum(1) <= limit
            pairs.append(torch.stack([order[:-step][near], order[step:][near]], 1))
    if not pairs:
        return torch.zeros(len(points), dtype=torch.bool)
    found = torch.unique(torch.cat(pairs).sort(1).values, dim=0)
    found = found[(centred[found[:, 0]] - centred[found[:, 1]]).square().sum(1) <= limit]
    dropped = torch.zeros(len(points), dtype=torch.bool)
    for first, second in found.tolist():  # ascending: whether `first` stays is settled
        if not dropped[first]:
            dropped[second] = True
    return dropped
