"""Every family that is registered keeps the promises of families."""

from pathlib import Path

import pytest
from safetensors.torch import save_file
from torch import nn

from comptroller_trainer.models.backbone import Timm, TimmParameters
from comptroller_trainer.models.convolutional import Cnn, ConvolutionalParameters, DepthwiseSeparableCnn
from comptroller_trainer.models.ensemble import Ensemble, EnsembleParameters
from comptroller_trainer.models.linear import Linear
from comptroller_trainer.models.mlp import Mlp, MlpParameters
from comptroller_trainer.models.recurrent import Gru, GruParameters
from comptroller_trainer.models.resnet import Resnet, ResnetParameters
from comptroller_trainer.models.transformer import Transformer, TransformerParameters
from comptroller_trainer.models.trees import Trees, TreesParameters
from comptroller_trainer.stages import registry
from comptroller_trainer.stages.base import Parameters
from comptroller_trainer.stages.modality import IMAGE, SEQUENCE, TABLE
from comptroller_trainer.testing.models import FamilyConformance, left


class TestLinear(FamilyConformance):
    family = Linear


class TestMlp(FamilyConformance):
    family = Mlp
    parameters = MlpParameters(width=4, depth=2, dropout=0.1)
    larger = MlpParameters(width=8, depth=2)


class TestCnn(FamilyConformance):
    family = Cnn
    parameters = ConvolutionalParameters(width=4, depth=2, dropout=0.1)
    larger = ConvolutionalParameters(width=8, depth=2)
    kinds = (IMAGE, SEQUENCE)


class TestDepthwiseSeparableCnn(TestCnn):
    family = DepthwiseSeparableCnn
    larger = ConvolutionalParameters(width=4, depth=3)


class TestResnet(FamilyConformance):
    family = Resnet
    parameters = ResnetParameters(width=4, depth=1, stages=2, dropout=0.1)
    larger = ResnetParameters(width=4, depth=2, stages=2)
    kinds = (IMAGE, SEQUENCE)


class TestGru(FamilyConformance):
    family = Gru
    parameters = GruParameters(width=4, depth=2, dropout=0.1)
    larger = GruParameters(width=8, depth=2)
    kinds = (SEQUENCE,)


class TestGruOfMeans(TestGru):
    parameters = GruParameters(width=4, pool="mean", directions=1)


class TestGruOfLastSteps(TestGru):
    parameters = GruParameters(width=4, pool="last")


class TestTransformer(FamilyConformance):
    family = Transformer
    parameters = TransformerParameters(width=8, depth=2, heads=2, dropout=0.1)
    larger = TransformerParameters(width=8, depth=3, heads=2)
    kinds = (IMAGE, SEQUENCE)


class TestLightTransformer(TestTransformer):
    parameters = TransformerParameters(
        width=8, heads=2, attention="linear", positions="sinusoidal", share=True
    )
    larger = TransformerParameters(width=8, heads=2, expansion=4)


class TestTimm(FamilyConformance):
    family = Timm
    parameters = TimmParameters(name="test_resnet")
    kinds = (IMAGE,)


class TestTimmWithFixedResolution(TestTimm):
    parameters = TimmParameters(name="test_vit", resolution=32)


class TestTimmWithAdapters(TestTimm):
    @pytest.fixture(autouse=True)
    def _pretrained(self, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
        import timm  # noqa: PLC0415 - seconds that other tests do not need

        path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
        save_file(timm.create_model("test_vit", num_classes=5, img_size=32).state_dict(), path)
        given = TimmParameters(
            name="test_vit", resolution=32, tune="adapters", rank=2, weights=f"file://{path}"
        )
        monkeypatch.setattr(type(self), "parameters", given)


class TestTrees(FamilyConformance):
    family = Trees
    parameters = TreesParameters(rounds=10, samples=2)
    kinds = (TABLE,)


class TestEnsemble(FamilyConformance):
    family = Ensemble

    def build(
        self, shape: tuple[int, ...], classes: int, path: Path, parameters: Parameters | None = None
    ) -> nn.Module:
        given = left(path / f"{len(shape)}-{classes}", shape, classes)
        own = {name.removeprefix("model."): value for name, value in given.items()}
        return super().build(shape, classes, path, parameters or EnsembleParameters(**own))


def test_every_registered_family_is_tried() -> None:
    tried = {suite.family for suite in globals().values() if hasattr(suite, "family")}
    ours = [p for p in registry.known("comptroller.models").values() if p.value.startswith("comptroller_")]
    assert {point.load() for point in ours} <= tried
