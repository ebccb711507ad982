"""Each selector's purpose, on data where the right answer is known."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from comptroller_trainer.data.samples import Samples
from comptroller_trainer.errors import AssignmentError
from comptroller_trainer.recipe.parse import parse
from comptroller_trainer.selection import geometry, noise, proxy, scored, strata
from comptroller_trainer.selection.active import Active
from comptroller_trainer.selection.curriculum import Curriculum
from comptroller_trainer.selection.denoise import Denoise
from comptroller_trainer.selection.geometry import Dedup, Herding, KCenter, near_duplicates
from comptroller_trainer.selection.imbalance import Balanced, oversample
from comptroller_trainer.selection.rho import RhoLoss
from comptroller_trainer.selection.signals import forgetting_events, signals
from comptroller_trainer.selection.watching import Importance, InfoBatch, Reweight, inclusion_probabilities
from comptroller_trainer.stages.base import Context

CLASSES, FEATURES, COUNT = 3, 8, 600


def context(classes: int = CLASSES, seed: int = 0, epochs: int = 8, **changes: Any) -> Context:
    return Context(seed, epochs, classes, (FEATURES,), torch.device("cpu"), Path(), **changes)


def table(noisy: int = 0) -> tuple[Samples, Tensor]:
    """Three clusters; the labels of `noisy` samples are moved on by one. Which they are comes along."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(COUNT) % CLASSES
    centres = torch.eye(CLASSES, FEATURES) * 4
    inputs = centres[labels] + torch.randn(COUNT, FEATURES, generator=generator)
    wrong = torch.zeros(COUNT, dtype=torch.bool)
    wrong[torch.randperm(COUNT, generator=generator)[:noisy]] = True
    return Samples(inputs, torch.where(wrong, (labels + 1) % CLASSES, labels)), wrong


def fitted(kind: Any, samples: Samples, given: Context | None = None, **parameters: Any) -> Any:
    return kind(kind.Parameters(**parameters)).fit(samples, given or context())


def test_denoise_leaves_out_the_planted_label_noise() -> None:
    samples, wrong = table(noisy=90)
    kept = fitted(Denoise, samples).indices_
    left_out = torch.ones(COUNT, dtype=torch.bool)
    left_out[kept] = False
    assert (left_out & wrong).sum() > 0.9 * wrong.sum()
    assert (left_out & ~wrong).sum() < 0.03 * COUNT


def test_clean_gives_any_selector_what_denoise_leaves() -> None:
    samples, wrong = table(noisy=90)
    dirty, clean = (fitted(scored.El2n, samples, keep=0.2, clean=clean) for clean in (False, True))
    assert wrong[dirty.indices_].float().mean() > 0.6
    assert wrong[clean.indices_].float().mean() < 0.1
    assert clean.scores_[~torch.isfinite(clean.scores_)].numel() > 70


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


def test_ccs_covers_every_bin_and_leaves_out_the_hardest() -> None:
    samples, wrong = table(noisy=60)
    ccs = fitted(strata.Ccs, samples, keep=0.3, beta=0.15, bins=10, within="all")
    assert len(ccs.indices_) == 180
    assert wrong[ccs.indices_].float().mean() < 0.05
    # Evenly over the score: bins that are small are taken whole.
    left = ccs.scores_.argsort(descending=True)[: COUNT - round(0.15 * COUNT)]
    values = ccs.scores_[left]
    bins = ((values - values.min()) / (values.max() - values.min()) * 10).long().clamp_max(9)
    chosen = torch.isin(left, ccs.indices_)
    for number in bins.unique().tolist():
        members = chosen[bins == number]
        assert members.sum() >= min(len(members), 180 // 10) - 1
    assert len(fitted(strata.Ccs, samples, keep=1.0).indices_) == COUNT


def test_ccs_within_classes_keeps_the_share_of_each() -> None:
    samples, wrong = table(noisy=60)
    ccs = fitted(strata.Ccs, samples, keep=0.3, beta=0.15)
    shares = samples.labels.bincount() * 0.3
    assert ((samples.labels[ccs.indices_].bincount() - shares).abs() < 1).all()
    assert wrong[ccs.indices_].float().mean() < 0.05


def test_even_quotas_hand_on_what_small_strata_cannot_use() -> None:
    assert strata.even(torch.tensor([2, 100, 50, 0]), 62).tolist() == [2, 30, 30, 0]
    assert strata.even(torch.tensor([3, 3]), 6).tolist() == [3, 3]


def test_stratified_keeps_each_class_share() -> None:
    labels = torch.tensor([0] * 100 + [1] * 50 + [2] * 10)
    chosen = fitted(strata.Stratified, Samples(torch.zeros(160, FEATURES), labels), keep=0.1).indices_
    assert labels[chosen].bincount().tolist() == [10, 5, 1]
    numbers = torch.randn(200, generator=torch.Generator().manual_seed(0))
    split = Samples(torch.zeros(200, FEATURES), numbers)
    tenths = (
        numbers.argsort().argsort()[fitted(strata.Stratified, split, context(0), keep=0.1).indices_] // 20
    )
    assert tenths.bincount().tolist() == [2] * 10


def test_dedup_removes_planted_duplicates_and_nothing_else() -> None:
    samples, _ = table()
    generator = torch.Generator().manual_seed(3)
    copied = torch.randperm(COUNT, generator=generator)[:50]
    inputs = torch.cat([samples.inputs, samples.inputs[copied] + 1e-3 * torch.randn(50, FEATURES)])
    labels = torch.cat([samples.labels, samples.labels[copied]])
    kept = fitted(Dedup, Samples(inputs, labels)).indices_
    assert kept.tolist() == list(range(COUNT))


@pytest.mark.parametrize("count", [1, 2, 40])
def test_of_equal_samples_the_first_stays(count: int) -> None:
    found = near_duplicates(torch.ones(count, 5), 0.1, torch.Generator().manual_seed(0))
    assert found.tolist() == [False] + [True] * (count - 1)


def covering_radius(points: Tensor, chosen: Tensor) -> float:
    return float(torch.cdist(points, points[chosen]).amin(1).max())


def test_k_center_covers_better_than_chance_and_as_the_plain_greedy_does() -> None:
    samples, _ = table()
    points = signals(proxy.shrunk(samples), samples.labels, context(), 4)["embeddings"]
    chosen = fitted(KCenter, samples, keep=0.05).indices_
    random = torch.randperm(COUNT, generator=torch.Generator().manual_seed(0))[:30]
    assert covering_radius(points, chosen) < 0.8 * covering_radius(points, random)
    start = int((points - points.mean(0)).norm(dim=1).argmin())
    greedy = [start]
    for _ in range(29):
        greedy.append(int(torch.cdist(points, points[greedy]).amin(1).argmax()))
    plain = covering_radius(points, torch.tensor(greedy))
    assert covering_radius(points, chosen) <= 1.1 * plain


def test_herding_keeps_each_class_mean() -> None:
    samples, _ = table()
    points = signals(proxy.shrunk(samples), samples.labels, context(), 4)["embeddings"]
    chosen = fitted(Herding, samples, keep=0.05).indices_
    random = torch.randperm(COUNT, generator=torch.Generator().manual_seed(0))[:30]

    def distance(index: Tensor) -> float:
        of_class = [index[samples.labels[index] == label] for label in range(CLASSES)]
        means = [points[samples.labels == label].mean(0) for label in range(CLASSES)]
        return sum(float((points[i].mean(0) - m).norm()) for i, m in zip(of_class, means, strict=True))

    assert samples.labels[chosen].bincount().tolist() == [10, 10, 10]
    assert distance(chosen) < 0.3 * distance(random)


def test_blocks_do_what_one_block_does(monkeypatch: pytest.MonkeyPatch) -> None:
    samples, _ = table()
    whole = fitted(KCenter, samples, keep=0.1).indices_
    monkeypatch.setattr(geometry, "_BLOCK", 128)
    parts = fitted(KCenter, samples, keep=0.1).indices_
    points = signals(proxy.shrunk(samples), samples.labels, context(), 4)["embeddings"]
    assert len(parts) == len(whole) == 60
    assert covering_radius(points, parts) < 2 * covering_radius(points, whole)


def watched(kind: Any, losses: Tensor, **parameters: Any) -> Any:
    split = Samples(torch.zeros(len(losses), FEATURES), torch.arange(len(losses)) % CLASSES)
    selector = fitted(kind, split, **parameters)
    selector.observe(torch.arange(len(losses)), losses)
    return selector


def test_infobatch_drops_the_easy_and_keeps_the_expected_gradient() -> None:
    losses = torch.cat([torch.full((70,), 0.1), torch.full((30,), 3.0)])
    selector = watched(InfoBatch, losses, keep=0.6)
    sums = torch.zeros(100)
    for epoch in range(7):
        found = selector.select(epoch)
        assert len(found.indices) == 60
        assert set(range(70, 100)) <= set(found.indices.tolist())
        hard = found.indices >= 70
        assert bool((found.weights[hard] == 1).all())
        assert bool((found.weights[~hard] == 70 / 30).all())
        sums[found.indices] += found.weights
    assert sums.sum() == pytest.approx(700)
    last = selector.select(7)
    assert (last.indices.tolist(), last.weights) == (list(range(100)), None)


def test_infobatch_knows_nothing_at_first_and_stays_unbiased() -> None:
    split = Samples(torch.zeros(100, FEATURES), torch.zeros(100, dtype=torch.int64))
    found = fitted(InfoBatch, split, keep=0.3).select(0)
    assert len(found.indices) == 30
    assert found.weights.sum() == pytest.approx(100, rel=1e-5)
    sure = found.indices[found.weights == 1]  # 22 that stay whatever is drawn, themselves at random
    assert len(sure) == 22
    assert sure.min() < 50


def test_importance_sampling_is_unbiased() -> None:
    losses = torch.rand(200, generator=torch.Generator().manual_seed(0)) ** 4
    selector = watched(Importance, losses, keep=0.25)
    found = [selector.select(epoch) for epoch in range(400)]
    assert {len(selection.indices) for selection in found} == {50}
    means = torch.stack([(s.weights * losses[s.indices]).mean() for s in found])
    assert means.mean() == pytest.approx(float(losses.mean()), rel=0.02)
    uniform = torch.stack(
        [
            losses[torch.randperm(200, generator=torch.Generator().manual_seed(e))[:50]].mean()
            for e in range(400)
        ]
    )
    assert means.std() < 0.5 * uniform.std()


def test_inclusion_probabilities_sum_to_the_count_and_none_is_above_one() -> None:
    scores = torch.tensor([100.0, 50.0, 1.0, 1.0, 1.0], dtype=torch.float64)
    found = inclusion_probabilities(scores, 3)
    assert found.tolist() == pytest.approx([1, 1, 1 / 3, 1 / 3, 1 / 3])
    assert inclusion_probabilities(scores, 5).tolist() == pytest.approx([1] * 5)


def test_reweight_favours_the_hard_or_the_easy() -> None:
    losses = torch.tensor([0.1, 0.1, 2.0, 0.2])
    hard, easy = (watched(Reweight, losses, tilt=tilt).select(0).weights for tilt in (1, -1))
    assert hard.argmax() == easy.argmin() == 2
    assert hard.sum() == pytest.approx(4)
    assert easy.sum() == pytest.approx(4)


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


def test_a_curriculum_goes_from_easy_to_all() -> None:
    samples, wrong = table(noisy=60)
    selector = fitted(Curriculum, samples, keep=0.5)
    found = [selector.select(epoch).indices for epoch in range(8)]
    assert [len(indices) for indices in found] == [180, 285] + [300] * 6
    assert wrong[found[0]].sum() == 0
    assert wrong[found[-1]].sum() > 15
    hard = fitted(Curriculum, samples, keep=0.1, order="hard_first").select(0).indices
    assert wrong[hard].float().mean() > 0.2


def test_balanced_draws_each_class_as_often() -> None:
    labels = torch.tensor([0] * 90 + [1] * 9 + [3])
    split = Samples(torch.zeros(100, FEATURES), labels)
    selector = fitted(Balanced, split, context(4), keep=0.9)
    chosen = selector.select(0).indices
    assert labels[chosen].bincount().tolist() == [30, 30, 0, 30]
    assert chosen.bincount(minlength=100)[90:99].max() == 4
    assert len(chosen[labels[chosen] == 0].unique()) == 30
    as_is = fitted(Balanced, split, context(4), balance=0.0).select(0).indices
    assert sorted(as_is.tolist()) == list(range(100))
    assert not torch.equal(chosen, selector.select(1).indices)


def test_smote_fills_up_small_classes_and_says_what_is_synthetic() -> None:
    samples, _ = table()
    rare = torch.cat([torch.arange(0, COUNT, 3), torch.tensor([1, 4, 7, 10]), torch.tensor([2])])
    split = samples.take(rare)
    made, synthetic = oversample(split, context())
    assert made.labels.bincount().tolist() == [200, 200, 1]
    assert not bool(synthetic[: len(rare)].any())
    assert int(synthetic.sum()) == 196 == len(made) - len(rare)
    assert torch.equal(made.inputs[: len(rare)], split.inputs)
    points = split.inputs[split.labels == 1]
    assert torch.allclose(made.inputs[synthetic].mean(0), points.mean(0), atol=1.0)
    assert made.inputs[synthetic].amax() <= points.amax()
    assert torch.equal(made.inputs, oversample(split, context()).samples.inputs)
    assert not torch.equal(made.inputs, oversample(split, context(seed=1)).samples.inputs)
    with pytest.raises(AssignmentError, match="needs a table"):
        oversample(
            Samples(torch.zeros(4, 1, 8), torch.arange(4)),
            Context(0, 1, 4, (1, 8), torch.device("cpu"), Path()),
        )


@pytest.mark.parametrize("acquire", ["margin", "entropy", "least_confidence", "k_center"])
def test_active_learning_reads_no_label_that_it_has_not_bought(acquire: str) -> None:
    samples, _ = table()
    bought = fitted(Active, samples, keep=0.1, acquire=acquire).indices_
    assert len(bought) == 60
    hidden = torch.full((COUNT,), 10**6)  # no class: reading one of these fails
    hidden[bought] = samples.labels[bought]
    again = fitted(Active, Samples(samples.inputs, hidden), keep=0.1, acquire=acquire)
    assert torch.equal(again.indices_, bought)


@pytest.mark.parametrize(
    "given",
    [
        {"recipe.class_weights": "balanced"}, {"recipe.oversample": "smote"},
        {"compress.method": "prune+tune", "compress.importance": "taylor"},
    ],
)  # fmt: skip
def test_nothing_else_reads_labels_that_were_not_bought(given: dict[str, str]) -> None:
    parse(given)
    field = list(given)[-1]
    with pytest.raises(AssignmentError, match=f"{field}: .* and data.selector 'active' buys a part"):
        parse(given | {"data.selector": "active"})


def test_pseudo_labels_are_what_a_proxy_is_sure_of_and_read_no_other_label() -> None:
    samples, _ = table()
    bought = fitted(Active, samples, keep=0.1, proxy_epochs=20).indices_
    hidden = torch.full((COUNT,), 10**6)
    hidden[bought] = samples.labels[bought]
    found = {
        pseudo: fitted(Active, Samples(samples.inputs, hidden), keep=0.1, pseudo=pseudo, proxy_epochs=20)
        for pseudo in (0.6, 0.95)
    }
    counts = []
    for selector in found.values():
        pseudo = selector.pseudo_labels_
        assert pseudo is not None
        own = selector.indices_[~torch.isin(selector.indices_, pseudo.indices)]
        assert len(own) == 60
        assert len(selector.indices_) == 60 + len(pseudo.indices)
        assert (pseudo.labels == samples.labels[pseudo.indices]).float().mean() > 0.7
        counts.append(len(pseudo.indices))
    assert counts[0] > counts[1] > 0
    assert fitted(Active, samples, keep=0.1).pseudo_labels_ is None


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


def test_noise_needs_classes() -> None:
    with pytest.raises(AssignmentError, match=r"data\.clean: .true. needs classes"):
        fitted(KCenter, table()[0], context(classes=0), clean=True)
    samples, _ = table()
    one_class = samples.labels * 0
    found, _ = noise.issues(samples.inputs, one_class, context(), 1)
    assert not bool(found.any())
