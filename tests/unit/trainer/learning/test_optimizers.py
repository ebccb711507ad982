"""Optimizers take the steps of torch, and leave alone what they must not move."""

import pytest
import torch
from torch import nn

from comptroller_trainer.learning.optimizers import NamedOptimizer
from comptroller_trainer.learning.training import Training

THEIRS = {
    "sgd": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adamw": lambda p: torch.optim.AdamW(p, 0.1, weight_decay=0.01),
    "adam": lambda p: torch.optim.Adam(p, 0.1, weight_decay=0.01),
    "rmsprop": lambda p: torch.optim.RMSprop(p, 0.1, momentum=0.9, weight_decay=0.01),
    "muon": lambda p: torch.optim.Muon(
        p, 0.1, weight_decay=0.01, momentum=0.9, adjust_lr_fn="match_rms_adamw"
    ),
}


@pytest.mark.parametrize("name", THEIRS)
@pytest.mark.parametrize("clip", [0.0, 0.05])
def test_an_optimizer_takes_torchs_steps(name: str, clip: float) -> None:
    def trained(ours: bool) -> torch.Tensor:
        torch.manual_seed(0)
        model = nn.Linear(3, 2, bias=False)
        training = Training(optimizer=name, weight_decay=0.01, lr=0.1, clip_norm=clip)
        mine, theirs = NamedOptimizer(model, training), THEIRS[name](model.parameters())
        for step in range(5):
            generator = torch.Generator().manual_seed(step)
            model(torch.rand(4, 3, generator=generator)).square().sum().backward()
            if ours:
                mine.step(0.1)
            else:
                if clip:
                    nn.utils.clip_grad_norm_(model.parameters(), clip)
                theirs.step()
                theirs.zero_grad()
        return model.weight.detach()

    assert torch.equal(trained(ours=True), trained(ours=False))


def test_muon_moves_matrices_and_adamw_the_rest() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 2))
    optimizer = NamedOptimizer(model, Training(optimizer="muon", lr=0.1))
    before = {name: p.clone() for name, p in model.named_parameters()}
    model(torch.rand(4, 1, 4, 4)).sum().backward()
    optimizer.step(0.1)
    assert all(not torch.equal(before[name], p) for name, p in model.named_parameters())
    assert {key for key in optimizer.tensors() if key.startswith("2.weight")} == {"2.weight/momentum_buffer"}
    assert "0.weight/exp_avg" in optimizer.tensors()


def test_l1_pulls_weights_to_zero_and_spares_biases() -> None:
    model = nn.Linear(2, 1)
    optimizer = NamedOptimizer(model, Training(l1=0.5, weight_decay=0, momentum=0))
    weight, bias = model.weight.detach().clone(), model.bias.detach().clone()
    model(torch.zeros(1, 2)).sum().mul(0).backward()
    optimizer.step(0.1)
    assert torch.allclose(model.weight, weight - 0.05 * weight.sign())
    assert torch.equal(model.bias, bias)
