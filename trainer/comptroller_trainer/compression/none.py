"""No compression."""

from comptroller_trainer.compression.base import Compressor
from comptroller_trainer.stages.base import Parameters


class Uncompressed(Compressor[Parameters]):
    """`none`: the model as trained, in fp32."""
