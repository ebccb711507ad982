"""Scores are those of their definitions, and are computed once in a trial."""

from typing import Any

import pytest
import torch
from torch import Tensor

from comptroller_trainer.data.samples import Samples
from comptroller_trainer.selection import proxy, scored
from comptroller_trainer.selection.curriculum import Curriculum
from comptroller_trainer.selection.denoise import Denoise
from comptroller_trainer.selection.rho import RhoLoss
from comptroller_trainer.selection.signals import forgetting_events, signals
from support.selection import CLASSES, COUNT, FEATURES, context, fitted, table


@pytest.mark.parametrize("name", ["El2n", "Grand", "TracIn", "Forgetting", "Aum"])
def test_scores_rank_what_contradicts_its_neighbours_over_the_rest(name: str) -> None:
    samples, wrong = table(noisy=60)
    selector = fitted(getattr(scored, name), samples, keep=0.1)
    assert wrong[selector.indices_].float().mean() > 0.8
    easy = fitted(getattr(scored, name), samples, keep=0.1, end="easy")
    assert not bool(wrong[easy.indices_].any())
    assert torch.equal(easy.scores_, -selector.scores_)


@pytest.mark.parametrize("name", ["Margin", "Entropy", "LeastConfidence"])
def test_uncertain_is_what_lies_between_classes(name: str) -> None:
    samples, _ = table()
    between = torch.arange(0, COUNT, 20)
    samples.inputs[between] = torch.eye(CLASSES, FEATURES)[:2].sum(0) * 2
    selector = fitted(getattr(scored, name), samples, keep=len(between) / COUNT)
    assert torch.isin(selector.indices_, between).float().mean() > 0.8


def test_signals_are_those_of_their_definitions() -> None:
    samples, _ = table()
    inputs = proxy.shrunk(samples)
    found = signals(inputs, samples.labels, context(), epochs=1)
    (net,) = proxy.train(inputs, samples.labels, context(), 1, "signals")
    embeddings = net.body(inputs)
    logits = net.head(embeddings).detach()
    error = logits.softmax(1) - torch.nn.functional.one_hot(samples.labels, CLASSES)
    assert torch.allclose(found["el2n"], error.norm(dim=1), atol=1e-5)
    loss = torch.nn.functional.cross_entropy(net(inputs[:1]), samples.labels[:1])
    grads = torch.autograd.grad(loss, list(net.head.parameters()))
    norm = torch.cat([grad.flatten() for grad in grads]).norm()
    assert torch.allclose(found["grand"][0], norm, rtol=1e-3)
    assert torch.allclose(found["tracin"], found["grand"].square(), rtol=1e-3)


def test_forgetting_counts_turns_from_right_to_wrong() -> None:
    right = torch.tensor([[0, 1, 1, 0], [1, 0, 1, 0], [1, 1, 1, 0], [1, 0, 1, 0]], dtype=torch.bool)
    assert forgetting_events(right).tolist() == [0, 2, 0, 4]


def test_scoring_is_done_once_in_a_trial_and_its_cost_remembered() -> None:
    samples, _ = table()
    kept: dict[str, dict[str, Tensor]] = {}

    def keep(name: str, make: Any) -> dict[str, Tensor]:
        if name not in kept:
            kept[name] = make()
        return kept[name]

    given = context(keep=keep)
    for kind in (scored.El2n, Curriculum, Denoise, RhoLoss):
        kept.clear()
        first = fitted(kind, samples, given, keep=0.5)
        stored = {name: {k: v.clone() for k, v in tensors.items()} for name, tensors in kept.items()}
        assert stored
        kept.update(stored)
        again = fitted(kind, Samples(samples.inputs * 0, samples.labels), given, keep=0.5)
        assert torch.equal(first.select(3).indices, again.select(3).indices)
        assert first.cost_seconds_ == again.cost_seconds_ > 0


def test_the_global_generator_is_left_alone() -> None:
    samples, _ = table()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    fitted(scored.El2n, samples)
    assert torch.equal(torch.get_rng_state(), before)
