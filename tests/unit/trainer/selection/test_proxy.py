"""The proxy that scores samples trains on small inputs."""

import pytest
import torch

from comptroller_trainer.data.samples import Samples
from comptroller_trainer.selection import proxy


@pytest.mark.parametrize(
    ("shape", "small"),
    [
        ((3, 32, 32), (3, 16, 16)),
        ((1, 28, 27), (1, 14, 13)),
        ((1, 5, 5),) * 2,
        ((2, 40),) * 2,
        ((1, 640), (1, 64)),
    ],
)
def test_a_proxy_sees_small_standardised_inputs(shape: tuple[int, ...], small: tuple[int, ...]) -> None:
    inputs = torch.randint(
        0, 256, (50, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    inputs[:, 0, 0] = 9  # never varies
    found = proxy.shrunk(Samples(inputs, torch.zeros(50)))
    assert tuple(found.shape[1:]) == small
    assert found.mean().abs() < 1e-4
    assert found.isfinite().all()
    net = proxy.Proxy(small, 4)
    assert net(found).shape == (50, 4)
