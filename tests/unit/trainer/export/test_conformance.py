"""Every registered exporter keeps the promises of exporters."""

from comptroller_trainer.export.mlflow_model import MlflowModel
from comptroller_trainer.export.torch_export import TorchExport
from comptroller_trainer.export.torchscript import TorchScript
from comptroller_trainer.models.resnet import Resnet, ResnetParameters
from comptroller_trainer.models.transformer import Transformer, TransformerParameters
from comptroller_trainer.models.trees import Trees, TreesParameters
from comptroller_trainer.stages import registry
from comptroller_trainer.stages.modality import IMAGE, SEQUENCE, TABLE
from comptroller_trainer.testing.exporters import ExporterConformance


class AllFamilies(ExporterConformance):
    families = (
        *ExporterConformance.families,
        (IMAGE, Resnet(ResnetParameters(width=4))),
        (SEQUENCE, Transformer(TransformerParameters(width=8, depth=1))),
        (TABLE, Trees(TreesParameters(rounds=3))),
    )


class TestTorchExport(AllFamilies):
    exporter = TorchExport


class TestTorchScript(AllFamilies):
    exporter = TorchScript
    pickled = True


class TestMlflowModel(AllFamilies):
    exporter = MlflowModel


def test_every_registered_exporter_is_tried() -> None:
    tried = {suite.exporter for suite in globals().values() if hasattr(suite, "exporter")}
    points = registry.known(registry.EXPORTERS).values()
    assert {point.load() for point in points if point.value.startswith("comptroller_")} <= tried
