"""Draws that torch makes from its global generator alone, made to depend on a given one."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def drawn_from(generator: torch.Generator) -> Iterator[None]:
    """Torch's global CPU generator seeded from `generator`, and afterwards as it was before."""
    everyone = torch.default_generator
    state = everyone.get_state()
    everyone.manual_seed(int(torch.randint(2**62, (), generator=generator)))
    try:
        yield
    finally:
        everyone.set_state(state)


def beta(alpha: float, count: int, generator: torch.Generator) -> Tensor:
    """(count,) float32 of Beta(alpha, alpha)."""
    with drawn_from(generator):
        return torch.distributions.Beta(alpha, alpha).sample((count,))
