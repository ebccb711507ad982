"""Structured pruning: channels are taken out, and what is left is a smaller dense network."""

import copy
import warnings
from typing import Any, Literal, Self

import structlog
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from comptroller_trainer.compression.base import Compressor, CompressorParameters
from comptroller_trainer.compression.pipeline import FIELD
from comptroller_trainer.data.samples import Dataset
from comptroller_trainer.errors import AssignmentError
from comptroller_trainer.models.adapters import merge
from comptroller_trainer.models.base import parameter_count
from comptroller_trainer.stages.base import Context

_PART = 64
"""Samples of a backward pass."""
_log = structlog.get_logger("prune")


class PruneParameters(CompressorParameters):
    """`compress.*` of `prune`."""

    ratio: float = Field(0.5, gt=0, lt=1, description="Share of the channels (units) taken out.")
    importance: Literal["magnitude", "taylor", "bn_scale"] = Field(
        "magnitude",
        description="Of a channel and all that goes with it: its weights, the loss's change without it, or"
        " its norm's scale.",
    )
    scope: Literal["layer", "network"] = Field(
        "layer",
        description="Whether each layer gives its share, or the network the least important anywhere.",
    )
    multiple: int = Field(4, ge=1, le=64, description="Channels that are left are a multiple of it.")
    pruning_samples: int = Field(512, ge=1, le=100_000, description="Training samples that taylor looks at.")


class Prune(Compressor[PruneParameters]):
    """`prune`: by dependency graph (Fang et al., 2023): layers that share channels lose the same ones.

    The last layer keeps its outputs. Magnitude is the group's L2 norm, taylor is first order (Molchanov et
    al., 2019), bn_scale is network slimming's (Liu et al., 2017).
    """

    Parameters = PruneParameters
    place = "parts"
    channels = True

    @property
    def labelled(self) -> str:
        return "importance" if self.parameters.importance == "taylor" else ""

    def check(self, model: nn.Module, context: Context) -> None:
        if self.parameters.importance == "bn_scale" and not any(map(_scales, model.modules())):
            raise AssignmentError("compress.importance", "bn_scale", "finds no batch norm in this model")
        # Others want gradients, or scales that have been trained; what they take out is as much as magnitude.
        self._pruned(merge(copy.deepcopy(model)).eval(), "magnitude", context)

    def fit(self, model: nn.Module, dataset: Dataset, context: Context) -> Self:
        model.requires_grad_(requires_grad=True)
        if self.parameters.importance == "taylor":
            self._gradients(model, dataset, context)
        before = parameter_count(model)
        self._pruned(model, self.parameters.importance, context)
        model.zero_grad()
        _log.info("pruned", parameters=parameter_count(model), of=before)
        self.model_ = model
        return self

    def _pruned(self, model: nn.Module, importance: str, context: Context) -> None:
        import torch_pruning as tp  # noqa: PLC0415 - four seconds

        p, before = self.parameters, parameter_count(model)
        importances: dict[str, Any] = {
            "magnitude": tp.importance.GroupMagnitudeImportance,
            "taylor": tp.importance.GroupTaylorImportance,
            "bn_scale": tp.importance.BNScaleImportance,
        }
        last = [layer for layer in model.modules() if isinstance(layer, nn.Linear)][-1:]
        example = torch.zeros(2, *context.shape, device=next(model.parameters()).device)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", UserWarning)  # it would guess some weights' channels
                pruner = tp.pruner.BasePruner(
                    model, example, importance=importances[importance](), pruning_ratio=p.ratio,
                    global_pruning=p.scope == "network", ignored_layers=last, round_to=p.multiple,
                )  # fmt: skip
            pruner.step()
            model(example)
        except (RuntimeError, IndexError, KeyError, TypeError, UserWarning) as error:
            why = str(error).splitlines()[0]
            raise AssignmentError(FIELD, "prune", f"cannot take channels out of this model: {why}") from error
        if parameter_count(model) == before:
            raise AssignmentError("compress.ratio", p.ratio, "takes nothing out of this model")

    def _gradients(self, model: nn.Module, dataset: Dataset, context: Context) -> None:
        """Leave the mean loss's gradient in the parameters."""
        train, count = dataset.train, min(self.parameters.pruning_samples, len(dataset.train))
        chosen = torch.randperm(len(train), generator=context.generator("prune"))[:count]
        device = next(model.parameters()).device
        for part in torch.split(chosen.to(train.inputs.device), _PART):
            outputs = model(train.inputs[part].float().to(device))
            loss = _loss(outputs, train.labels[part.to(train.labels.device)].to(device))
            torch.autograd.backward(loss * (len(part) / count))


def _scales(module: nn.Module) -> bool:
    return isinstance(module, _BatchNorm) and module.affine


def _loss(outputs: Tensor, labels: Tensor) -> Tensor:
    if labels.is_floating_point():
        return functional.mse_loss(outputs.squeeze(1), labels)
    return functional.cross_entropy(outputs, labels)
