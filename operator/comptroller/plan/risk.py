"""A bound of the next trial's cost, from the costs of trials so far, without a guess beyond them.

Costs of trials that one search proposed are taken as exchangeable. Of `n` past costs and the next one, each
is then equally likely to be at any rank, and the next is at most the k-th smallest with a probability of at
least `k / (n + 1)`, whatever the distribution: split conformal prediction (Vovk et al., "Algorithmic Learning
in a Random World", 2005; Lei et al., JASA 2018).
"""

from collections.abc import Sequence
from math import ceil


def likely(costs: Sequence[int], percent: int) -> int | None:
    """Return a bound of the next cost at `percent` probability or more; `None` if too few costs are known."""
    rank = ceil((len(costs) + 1) * percent / 100)
    return sorted(costs)[rank - 1] if 1 <= rank <= len(costs) else None
