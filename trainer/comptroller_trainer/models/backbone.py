"""timm's architectures, from nothing or from weights of one's own, trained whole or in part."""

import tempfile
from pathlib import Path
from typing import Any, Literal, Self

import torch
from pydantic import Field
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional

from comptroller_trainer.errors import AssignmentError, MissingError
from comptroller_trainer.models.adapters import adapt
from comptroller_trainer.models.base import Family
from comptroller_trainer.stages.base import Parameters
from comptroller_trainer.stages.modality import IMAGE, require
from comptroller_trainer.store import open_store

_WEIGHTS = r"^((s3://|file:///)[A-Za-z0-9._/=+-]+\.safetensors)?$"


class TimmParameters(Parameters):
    """`model.*` of `timm`."""

    name: str = Field(
        "resnet18",
        pattern=r"^[a-z0-9_]+(\.[a-z0-9_]+)?$",
        max_length=128,
        description="An architecture of timm's registry.",
    )
    weights: str = Field(
        "",
        pattern=_WEIGHTS,
        max_length=1024,
        description="Pretrained weights under timm's names: s3:// or file:///, .safetensors. Empty: none.",
    )
    tune: Literal["all", "adapters", "head"] = Field(
        "all", description="What is trained: all weights, low-rank adapters and the head, or the head alone."
    )
    rank: int = Field(8, ge=1, le=512, description="Of the adapters.")
    resolution: int = Field(
        0, ge=0, le=1024, description="Height and width that images are resized to; 0: as they are."
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="Before the last layer.")


class Timm(Family[TimmParameters]):
    """`timm`: an architecture by its name in timm (Wightman, 2019), its input channels the data's.

    Nothing is fetched from a hub: weights come from `weights`, or there are none.
    """

    Parameters = TimmParameters
    name = "timm"
    kinds = (IMAGE,)

    def build(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        require("model.family", self.name, shape, *self.kinds)
        p = self.parameters
        if p.tune != "all" and not p.weights:
            raise AssignmentError("model.weights", p.weights, f"must name weights with model.tune {p.tune}")
        network = self._network(shape, outputs)
        if p.tune == "adapters":
            adapt(network, p.rank, network.get_classifier())
        elif p.tune == "head":
            network.requires_grad_(requires_grad=False)
            network.get_classifier().requires_grad_(requires_grad=True)
        return Backbone(network, p.resolution, frozen=p.tune != "all")

    def shipped(self) -> TimmParameters:
        return self.parameters.model_copy(update={"weights": "", "tune": "all"})

    def _network(self, shape: tuple[int, ...], outputs: int) -> Any:
        import timm  # noqa: PLC0415 - seconds that other families do not need

        p = self.parameters
        if not timm.is_model(p.name):
            close = ", ".join(timm.list_models(f"{p.name[:6]}*")[:8])
            raise AssignmentError("model.name", p.name, f"is not an architecture of timm; close: {close}")
        size = (p.resolution,) * 2 if p.resolution else shape[1:]
        options: dict[str, Any] = {"num_classes": outputs, "in_chans": shape[0], "drop_rate": p.dropout}
        if not p.weights:
            network = _created(p.name, size, options)
        else:
            with tempfile.TemporaryDirectory() as directory:
                file = _fetched(p.weights, Path(directory))
                names = _names(file, p.weights)
                options |= {"pretrained": True, "pretrained_cfg_overlay": {"file": str(file)}}
                try:
                    network = _created(p.name, size, options)
                except RuntimeError as error:
                    raise AssignmentError("model.weights", p.weights, f"do not fit: {error}") from error
            _check_whole(network, names, p)
        try:
            with torch.no_grad():
                network.eval()(torch.zeros(1, shape[0], *size))
        except (RuntimeError, AssertionError) as error:
            raise AssignmentError(
                "model.name", p.name, f"takes no images of {size[0]} by {size[1]}: {error}"
            ) from error
        return network.train()


class Backbone(nn.Module):
    """A network, its images' size, and norms without updates if the network is frozen."""

    def __init__(self, network: nn.Module, resolution: int, *, frozen: bool) -> None:
        super().__init__()
        self.network = network
        self._resolution = resolution
        self._frozen = frozen

    def forward(self, inputs: Tensor) -> Tensor:
        if self._resolution:
            size = [self._resolution] * 2
            inputs = functional.interpolate(inputs, size, mode="bilinear", align_corners=False)
        outputs: Tensor = self.network(inputs)
        return outputs

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Switch gradient checkpointing as timm's networks do; some refuse."""
        self.network.set_grad_checkpointing(enable)  # type: ignore[operator]

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if self._frozen:
            for module in self.network.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):  # noqa: SLF001 - the base of all
                    module.eval()
        return self


def _created(name: str, size: tuple[int, ...], options: dict[str, Any]) -> Any:
    from timm import create_model  # noqa: PLC0415 - seconds that other families do not need

    try:
        return create_model(name, img_size=size, **options)
    except TypeError:  # those that take any size have no such argument
        return create_model(name, **options)


def _fetched(uri: str, directory: Path) -> Path:
    """Return a local copy of the file at `uri`."""
    prefix, _, name = uri.rpartition("/")
    try:
        return open_store(prefix).fetch(name, directory)
    except MissingError as error:
        raise AssignmentError("model.weights", uri, "is not there") from error


def _names(file: Path, uri: str) -> set[str]:
    """Return the names of the tensors in `file`."""
    try:
        with safe_open(file, "pt") as tensors:
            return set(tensors.keys())
    except SafetensorError as error:
        raise AssignmentError("model.weights", uri, f"is not a whole safetensors file: {error}") from error


def _check_whole(network: Any, names: set[str], p: TimmParameters) -> None:
    """Refuse weights that lack tensors of the network: timm loads any subset once the head differs."""
    head = {id(tensor) for tensor in network.get_classifier().parameters()}
    lacking = [
        name for name, tensor in network.named_parameters() if id(tensor) not in head and name not in names
    ]
    if lacking:
        raise AssignmentError(
            "model.weights", p.weights, f"lack {len(lacking)} tensors of {p.name}, such as {lacking[0]}"
        )
