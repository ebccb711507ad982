"""Every registered compressor keeps the promises of compressors."""

from comptroller_trainer.compression.int8 import DynamicInt8, StaticInt8, StaticInt8Parameters
from comptroller_trainer.compression.low_rank import LowRank
from comptroller_trainer.compression.none import Uncompressed
from comptroller_trainer.compression.prune import Prune, PruneParameters
from comptroller_trainer.compression.qat import QuantizationAwareTraining
from comptroller_trainer.compression.sparse import Sparse, SparseParameters
from comptroller_trainer.compression.train import Distil, DistilParameters, Tune, TuneParameters
from comptroller_trainer.stages import registry
from comptroller_trainer.testing.compressors import CompressorConformance


class TestUncompressed(CompressorConformance):
    compressor = Uncompressed


class TestDynamicInt8(CompressorConformance):
    compressor = DynamicInt8


class TestStaticInt8(CompressorConformance):
    compressor = StaticInt8
    parameters = StaticInt8Parameters(calibration=16)


class TestPrune(CompressorConformance):
    compressor = Prune


class TestPruneByTaylor(CompressorConformance):
    compressor = Prune
    parameters = PruneParameters(importance="taylor", scope="network", pruning_samples=16)


class TestLowRank(CompressorConformance):
    compressor = LowRank


class TestSparse(CompressorConformance):
    compressor = Sparse


class TestSparseByPattern(CompressorConformance):
    compressor = Sparse
    parameters = SparseParameters(pattern="2:4")


class TestTune(CompressorConformance):
    compressor = Tune
    parameters = TuneParameters(tune_epochs=1)


class TestDistil(CompressorConformance):
    compressor = Distil
    parameters = DistilParameters(tune_epochs=1)


class TestDistilFeatures(CompressorConformance):
    compressor = Distil
    parameters = DistilParameters(tune_epochs=1, match="features")


class TestQuantizationAwareTraining(CompressorConformance):
    compressor = QuantizationAwareTraining
    parameters = TuneParameters(tune_epochs=1)


def test_every_registered_compressor_is_tried() -> None:
    tried = {suite.compressor for suite in globals().values() if hasattr(suite, "compressor")}
    points = registry.known("comptroller.compressors").values()
    assert {point.load() for point in points if point.value.startswith("comptroller_")} <= tried
