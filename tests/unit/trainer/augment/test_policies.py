"""The change of a batch by each policy, and its moment."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torchvision.transforms.v2 import functional as vision

from comptroller_trainer.augment.automatic import RandAugment, RandAugmentParameters, Trivial
from comptroller_trainer.augment.base import Augmentation, ScheduledParameters, TrainingBatch
from comptroller_trainer.augment.colour import Colour, ColourParameters, Scale, ScaleParameters
from comptroller_trainer.augment.compose import Compose, ComposeParameters
from comptroller_trainer.augment.draws import beta
from comptroller_trainer.augment.geometric import (
    Affine,
    AffineParameters,
    Crop,
    CropParameters,
    Flip,
    FlipCrop,
)
from comptroller_trainer.augment.mixing import Cutmix, CutmixParameters, MixingParameters, Mixup
from comptroller_trainer.augment.noise import Erasing, ErasingParameters, Noise, NoiseParameters
from comptroller_trainer.data.samples import Samples
from comptroller_trainer.errors import AssignmentError
from comptroller_trainer.stages.base import Context


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(count: int = 200, channels: int = 3, side: int = 12) -> Tensor:
    shape = (count, channels, side, side)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=seeded(9))


def fitted(policy: Augmentation[Any], inputs: Tensor, classes: int = 4) -> Augmentation[Any]:
    context = Context(0, 4, classes, tuple(inputs.shape[1:]), torch.device("cpu"), Path())
    return policy.fit(Samples(inputs, torch.arange(len(inputs)) % 4), context)


def changed(
    policy: Augmentation[Any], inputs: Tensor, progress: float = 0.5, classes: int = 4
) -> TrainingBatch:
    labels = torch.arange(len(inputs)) % classes if classes else torch.arange(len(inputs)).float()
    return fitted(policy, inputs, classes)(TrainingBatch(inputs, labels), seeded(), progress)


@pytest.mark.parametrize(
    ("policy", "digests"),
    [
        (Flip(ScheduledParameters()), ("606bb9fd20f109a7", "b79d678a911c4eaf")),
        (FlipCrop(CropParameters(padding=2)), ("7c7fb5a03b24f909", "1fbfd10f0d9ba5c5")),
    ],
)
def test_recorded_results_stay_reproducible(policy: Augmentation[Any], digests: tuple[str, str]) -> None:
    inputs = torch.randint(0, 256, (64, 2, 9, 9), dtype=torch.uint8, generator=seeded(3))
    for given, digest in zip((inputs, inputs[:, :, 0].float()), digests, strict=True):
        found = policy(TrainingBatch(given, given), seeded(3), 0.0).inputs
        assert hashlib.sha256(found.contiguous().numpy().tobytes()).hexdigest()[:16] == digest


# -- schedules -----------------------------------------------------------------------------------------


def test_a_ramp_grows_and_the_last_share_is_without() -> None:
    ramp = ScheduledParameters(schedule="ramp", off=0.2)
    assert [ramp.strength(p) for p in (0, 0.4, 0.79)] == pytest.approx([0, 0.5, 0.9875])
    assert ramp.strength(0.8) == ramp.strength(1.0) == 0
    constant = ScheduledParameters()
    assert constant.strength(0.0) == constant.strength(1.0) == 1
    assert ScheduledParameters(off=1.0).strength(0.0) == 0


def test_strength_is_how_much_is_changed() -> None:
    inputs = images(count=400)
    flips = Flip(ScheduledParameters(schedule="ramp"))
    share = [
        float((changed(flips, inputs, progress).inputs != inputs).flatten(1).any(1).float().mean())
        for progress in (0.0, 0.2, 1.0)
    ]
    assert share == pytest.approx([0, 0.1, 0.5], abs=0.06)
    noise = Noise(NoiseParameters(magnitude=0.5, schedule="ramp"))
    values = torch.randn(400, 6, generator=seeded(4)) * torch.tensor([1, 2, 3, 4, 5, 6.0])
    for progress in (0.1, 1.0):
        added = changed(noise, values, progress).inputs - values
        assert torch.allclose(added.std(0) / values.std(0), torch.full((6,), 0.5 * progress), rtol=0.15)


# -- geometry and colour -------------------------------------------------------------------------------


def test_a_crop_without_a_flip_keeps_the_direction() -> None:
    steps = torch.arange(40, dtype=torch.float32).expand(50, 1, 40) + 1
    for progress, furthest in ((1.0, 4), (0.5, 2)):
        moved = changed(Crop(CropParameters(padding=4, schedule="ramp")), steps, progress).inputs
        inside = moved[:, 0, 5:35]
        assert bool((inside.diff(dim=1) == 1).all())
        offsets = set((inside[:, 0] - steps[0, 0, 5]).tolist())
        assert offsets == set(range(-furthest, furthest + 1))


def test_rotations_are_torchvisions() -> None:
    inputs = images(count=8, channels=1, side=16).float()
    p = AffineParameters(rotation=90, zoom=0)
    found = changed(Affine(p), inputs).inputs
    angles = (torch.rand(2, 8, generator=seeded()) * 2 - 1)[0] * 90
    for sample, angle, original in zip(found, angles, inputs, strict=True):
        expected = vision.affine(
            original, angle=float(angle), translate=[0, 0], scale=1.0, shear=[0.0, 0.0],
            interpolation=vision.InterpolationMode.BILINEAR,
        )  # fmt: skip
        assert torch.allclose(sample, expected, atol=0.5)


def test_a_rotation_keeps_shapes_in_images_that_are_not_square() -> None:
    inputs = torch.zeros(200, 1, 20, 40)
    inputs[:, :, 8:12, 18:22] = 100.0
    moved = changed(Affine(AffineParameters(rotation=180, zoom=0)), inputs).inputs
    assert moved.sum((1, 2, 3)).std() / inputs[0].sum() < 0.05
    spread = (moved > 50).any(2).sum(2) - (moved > 50).any(3).sum(2)  # wider than high
    assert spread.abs().max() <= 1


def test_colours_are_torchvisions() -> None:
    inputs = images(count=6)
    p = ColourParameters(brightness=0, contrast=0, saturation=0.9)
    found = changed(Colour(p), inputs).inputs
    generator = seeded()
    factors = [torch.rand(6, generator=generator) for _ in range(3)][2] * 1.8 + 0.1
    for sample, factor, original in zip(found, factors, inputs, strict=True):
        expected = vision.adjust_saturation(original, float(factor))
        # torchvision cuts fractions off, of the grey and of the result, where we round.
        assert (sample.int() - expected.int()).abs().max() <= 2


def test_an_amplitude_is_scaled_as_a_whole() -> None:
    inputs = torch.rand(100, 2, 20, generator=seeded(1)) + 1
    ratio = (changed(Scale(ScaleParameters(magnitude=0.3)), inputs).inputs / inputs).flatten(1)
    assert (ratio.amax(1) - ratio.amin(1)).max() < 1e-5
    assert 0.7 <= ratio.min() < 0.75
    assert 1.25 < ratio.max() <= 1.3


# -- destruction ---------------------------------------------------------------------------------------


def test_erasing_takes_one_rectangle_of_the_area_allowed() -> None:
    inputs = torch.rand(300, 3, 20, 24, generator=seeded(2))
    found = changed(Erasing(ErasingParameters(probability=0.5, area=0.3)), inputs).inputs
    lost = (found != inputs).any(1)
    hit = lost.flatten(1).any(1)
    assert 0.4 < hit.float().mean() < 0.6
    box = lost.any(1).sum(1) * lost.any(2).sum(1)
    assert torch.equal(box, lost.flatten(1).sum(1))
    assert 0.01 < lost[hit].float().mean() < 0.3
    assert (lost.flatten(1).float().mean(1)).max() < 0.35
    values = found[:, 0][lost]
    assert torch.allclose(values, inputs[:, 0].mean().expand_as(values), atol=1e-5)


# -- mixing --------------------------------------------------------------------------------------------


def test_mixup_mixes_targets_as_it_mixes_inputs() -> None:
    classes = torch.eye(4)[torch.arange(200) % 4]
    batch = changed(Mixup(MixingParameters(alpha=1.0)), classes)
    assert torch.allclose(batch.inputs, batch.targets, atol=1e-6)
    assert (batch.targets.max(1).values < 0.99).float().mean() > 0.5


def test_cutmix_targets_are_the_area_that_is_left() -> None:
    labels = torch.arange(200) % 4
    inputs = torch.eye(4)[labels][:, :, None, None].expand(200, 4, 16, 16).contiguous()
    batch = changed(Cutmix(CutmixParameters()), inputs)
    assert torch.allclose(batch.inputs.mean((2, 3)), batch.targets, atol=1e-6)
    assert (batch.targets.max(1).values < 0.99).float().mean() > 0.4


def test_regression_targets_are_mixed_too() -> None:
    inputs = torch.arange(100, dtype=torch.float32)[:, None]
    batch = changed(Mixup(MixingParameters(alpha=1.0)), inputs, classes=0)
    assert torch.allclose(batch.inputs.flatten(), batch.targets, atol=1e-3)
    assert not torch.equal(batch.targets, inputs.flatten())


def test_shares_follow_the_beta_distribution() -> None:
    found = beta(0.2, 20_000, seeded())
    assert float(found.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(found.var()) == pytest.approx(1 / (4 * (2 * 0.2 + 1)), rel=0.03)


# -- policies of many operations -----------------------------------------------------------------------


def test_groups_are_changed_alike_and_differ() -> None:
    inputs = images(count=1, side=16).expand(64, 3, 16, 16)
    p = RandAugmentParameters(groups=8, operations=3, magnitude=20)
    found = changed(RandAugment(p), inputs).inputs
    assert 3 <= len(found.flatten(1).unique(dim=0)) <= 8
    assert torch.equal(changed(Trivial(Trivial.Parameters(off=1.0)), inputs).inputs, inputs)


@pytest.mark.parametrize("inputs", [torch.rand(4, 3, 8, 8), images(4, channels=4)])
def test_what_torchvision_cannot_take_is_refused(inputs: Tensor) -> None:
    with pytest.raises(AssignmentError, match="needs images of bytes with 1 or 3 channels"):
        changed(Trivial(Trivial.Parameters()), inputs)


# -- composition ---------------------------------------------------------------------------------------


def test_a_composition_is_its_policies_in_their_order() -> None:
    inputs = images(count=32)
    p = ComposeParameters(flip=True, crop=2, erasing=0.5, mixup=0.4)
    generator, expected = seeded(), TrainingBatch(inputs, torch.arange(32) % 4)
    for policy in (
        Flip(ScheduledParameters()), Crop(CropParameters(padding=2)),
        Erasing(ErasingParameters(probability=0.5)), Mixup(MixingParameters(alpha=0.4)),
    ):  # fmt: skip
        expected = fitted(policy, inputs)(expected, generator, 0.5)
    found = changed(Compose(p), inputs)
    assert torch.equal(found.inputs, expected.inputs)
    assert torch.equal(found.targets, expected.targets)


def test_nothing_turned_on_changes_nothing() -> None:
    inputs = images(count=8)
    assert changed(Compose(ComposeParameters()), inputs).inputs is inputs


def test_a_composition_is_refused_by_the_parameter_that_does_not_fit() -> None:
    with pytest.raises(AssignmentError, match=r"augment.zoom: 0.1 needs images, not samples of \(6,\)"):
        changed(Compose(ComposeParameters(scale=0.1, zoom=0.1)), torch.rand(8, 6))
    with pytest.raises(ValidationError, match="a sample is mixed once"):
        ComposeParameters(mixup=0.2, cutmix=1.0)


def test_a_composition_stores_each_of_its_policies() -> None:
    found = Compose(ComposeParameters(crop=2, noise=0.3, schedule="ramp", off=0.1)).configuration()
    assert [step["policy"].rpartition(":")[2] for step in found["steps"]] == ["Crop", "Noise"]
    assert found["steps"][1]["parameters"] == {"schedule": "ramp", "off": 0.1, "magnitude": 0.3}
