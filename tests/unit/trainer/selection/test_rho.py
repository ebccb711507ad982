"""RHO-LOSS picks what can be learned and is not yet."""

import torch

from comptroller_trainer.selection.rho import RhoLoss
from support.selection import CLASSES, COUNT, fitted, table


def test_rho_loss_avoids_noise_and_what_is_learned() -> None:
    samples, wrong = table(noisy=60)
    selector = fitted(RhoLoss, samples, keep=0.25)
    assert selector.candidates == 4
    # A model that has memorised the first half, noise and all, and knows nothing of the rest.
    half = torch.arange(COUNT) < COUNT // 2
    losses = torch.where(half, 0.01, torch.log(torch.tensor(float(CLASSES))))
    index = torch.randperm(COUNT, generator=torch.Generator().manual_seed(0))[:200]
    chosen = index[selector.pick(index, losses[index], 50)]
    assert not bool(wrong[chosen].any())
    assert bool((chosen >= COUNT // 2).all())
    assert len(selector.select(0).indices) == COUNT
