"""Every policy that is registered keeps the promises of policies."""

import torch

from comptroller_trainer.augment.automatic import RandAugment, Trivial
from comptroller_trainer.augment.colour import Colour, Scale
from comptroller_trainer.augment.compose import Compose, ComposeParameters
from comptroller_trainer.augment.geometric import Affine, Crop, CropParameters, Flip, FlipCrop, Identity
from comptroller_trainer.augment.mixing import Cutmix, Mixup
from comptroller_trainer.augment.noise import Erasing, ErasingParameters, Noise
from comptroller_trainer.stages import registry
from comptroller_trainer.stages.modality import IMAGE, SEQUENCE
from comptroller_trainer.testing.augmentations import AugmentationConformance


class TestIdentity(AugmentationConformance):
    policy = Identity
    identity = True


class TestFlip(AugmentationConformance):
    policy = Flip
    kinds = (IMAGE, SEQUENCE)


class TestCrop(AugmentationConformance):
    policy = Crop
    kinds = (IMAGE, SEQUENCE)
    parameters = CropParameters(schedule="ramp")


class TestFlipCrop(AugmentationConformance):
    policy = FlipCrop
    kinds = (IMAGE, SEQUENCE)
    parameters = CropParameters(padding=3)


class TestAffine(AugmentationConformance):
    policy = Affine
    kinds = (IMAGE,)


class TestColour(AugmentationConformance):
    policy = Colour
    kinds = (IMAGE,)


class TestScale(AugmentationConformance):
    policy = Scale


class TestNoise(AugmentationConformance):
    policy = Noise


class TestErasing(AugmentationConformance):
    policy = Erasing
    kinds = (IMAGE, SEQUENCE)
    parameters = ErasingParameters(probability=0.8)


class TestMixup(AugmentationConformance):
    policy = Mixup


class TestCutmix(AugmentationConformance):
    policy = Cutmix
    kinds = (IMAGE, SEQUENCE)


class TestTrivial(AugmentationConformance):
    policy = Trivial
    kinds = (IMAGE,)
    dtypes = (torch.uint8,)


class TestRandAugment(AugmentationConformance):
    policy = RandAugment
    kinds = (IMAGE,)
    dtypes = (torch.uint8,)


class TestCompose(AugmentationConformance):
    policy = Compose
    parameters = ComposeParameters(
        flip=True, crop=1, rotation=5, colour=0.1, scale=0.1, noise=0.1, erasing=0.1, mixup=0.2,
        schedule="ramp", off=0.25,
    )  # fmt: skip
    kinds = (IMAGE,)


class TestComposeOfTables(AugmentationConformance):
    policy = Compose
    parameters = ComposeParameters(scale=0.1, noise=0.1, mixup=0.2)


def test_every_registered_policy_is_tried() -> None:
    tried = {suite.policy for suite in globals().values() if hasattr(suite, "policy")}
    points = registry.known("comptroller.augmentations").values()
    assert {point.load() for point in points if point.value.startswith("comptroller_")} <= tried
