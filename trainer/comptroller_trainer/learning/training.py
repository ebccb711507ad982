"""`recipe.*`: how a trial trains, whichever stages the other levers pick."""

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from comptroller_api.metrics import QUALITY, TABLE
from comptroller_api.trainer import JOINT
from comptroller_trainer.stages.base import Parameters
from comptroller_trainer.stages.registry import EXPORTERS


def _of(classes: set[str], numbers: set[str]) -> dict[str, Any]:
    """A field's `json_schema_extra`: values that have a meaning only for classes, or for numbers."""
    tasks = dict.fromkeys(sorted(classes), "Classification") | dict.fromkeys(sorted(numbers), "Regression")
    return {"tasks": tasks}


_MONITORED = [row for row in TABLE if row.measurer == QUALITY]
if TYPE_CHECKING:
    Monitor = str
else:
    Monitor = Literal["auto", *(row.name for row in _MONITORED)]

_OF_CLASSES = _of({"*"}, set())
_OF_NETWORKS: dict[str, Any] = {"network": True}


class Training(Parameters):
    """`recipe.*`: how the weights are found. The defaults are a good Fashion-MNIST baseline."""

    optimizer: Literal["sgd", "adamw", "adam", "rmsprop", "muon"] = Field(
        "sgd",
        description="SGD has Nesterov momentum. muon: of matrices; AdamW of all else.",
    )
    lr: float = Field(0.2, gt=0, le=100, description="Peak learning rate.")
    momentum: float = Field(0.9, ge=0, lt=1, description="Of sgd, rmsprop and muon.")
    weight_decay: float = Field(5e-4, ge=0, le=1, description="Not applied to biases and norms.")
    l1: float = Field(0.0, ge=0, le=1, description="Lasso on the same weights; with weight_decay, elastic.")
    clip_norm: float = Field(0.0, ge=0, description="Longest gradient of a step; 0: any.")
    ema: float = Field(
        0.0, ge=0, lt=1, description="Decay of the weights' moving average, which is shipped; 0: no average."
    )
    pretrain_epochs: int = Field(
        0,
        ge=0,
        le=1000,
        description="Before training, on all samples, labels unread (SimCLR); 0: none.",
        json_schema_extra=_OF_NETWORKS,
    )
    batch_size: int = Field(128, ge=2, le=65536, description="Samples in a step.")
    microbatch: int = Field(
        0, ge=0, le=65536, description="Samples of a step that are in memory at once; 0: as many as fit."
    )
    loss: Literal["auto", "cross_entropy", "focal", "mse", "huber"] = Field(
        "auto",
        description="auto: cross_entropy for classes, mse for numbers.",
        json_schema_extra=_of({"cross_entropy", "focal"}, {"mse", "huber"}),
    )
    focal_gamma: float = Field(2.0, ge=0, le=10, description="Of the focal loss (Lin et al., 2017).")
    huber_delta: float = Field(
        1.0, gt=0, le=100, description="Where the Huber loss turns linear, in deviations of the target."
    )
    class_weights: Literal["none", "balanced", "effective"] = Field(
        "none",
        description="Of the loss. effective: by the effective number of samples (Cui et al., 2019).",
        json_schema_extra=_OF_CLASSES,
    )
    oversample: Literal["none", "smote"] = Field(
        "none",
        description="Synthetic samples for tables, all classes as large as the largest.",
        json_schema_extra=_OF_CLASSES,
    )
    label_smoothing: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of the target given to all classes.",
        json_schema_extra=_OF_CLASSES,
    )
    schedule: Literal["one_cycle", "cosine", "linear", "constant", "plateau"] = Field(
        "one_cycle", description="Of the learning rate, over the last rung's epochs."
    )
    warmup: float | None = Field(
        None, ge=0, lt=1, description="Share of training in which the rate rises; None: one_cycle's is 0.25."
    )
    plateau_factor: float = Field(0.3, gt=0, lt=1, description="What plateau multiplies the rate by.")
    plateau_patience: int = Field(
        2, ge=1, le=10_000, description="Epochs without a better validation before plateau does."
    )
    monitor: Monitor = Field(
        "auto",
        description="Which validation is better. auto: accuracy, then loss; for numbers, rmse.",
        json_schema_extra=_of(
            {row.name for row in _MONITORED if not row.of("Regression")},
            {row.name for row in _MONITORED if not row.of("Classification")},
        ),
    )
    patience: int = Field(
        0, ge=0, le=10_000, description="Epochs without a better validation before training ends; 0: never."
    )
    max_seconds: float = Field(
        0.0,
        ge=0,
        description="Of training: no epoch is begun that would end later; 0: any.",
    )
    calibration: Literal["none", "temperature", "platt", "isotonic"] = Field(
        "none",
        description="Of the shipped model's confidence, on validation; docs/reference/measure.md says how.",
        json_schema_extra=_OF_CLASSES | _OF_NETWORKS,
    )
    thresholds: Literal["none", "f1_macro"] = Field(
        "none",
        description="Of the classes' probabilities, for the largest macro F1 on validation.",
        json_schema_extra=_OF_CLASSES,
    )
    robustness: Literal["none", "corruptions"] = Field(
        "none", description="Measured on validation inputs made worse; docs/reference/measure.md says how."
    )
    precision: Literal["fp32", "bf16", "fp16", "auto"] = Field(
        "auto", description="bf16, fp16: mixed. auto: bf16 on a GPU that has it, else fp32."
    )
    gradient_checkpointing: bool = Field(
        default=False, description="Blocks are computed again in the backward pass, not kept."
    )
    compile: bool = Field(default=False, description="torch.compile; needs a C++ compiler in the image.")
    resolution_start: float = Field(
        1.0, gt=0, le=1, description="Share of an image's side at first; whole from 0.75 of training on."
    )
    batch_start: float = Field(1.0, gt=0, le=1, description="Share of batch_size in the first epoch.")
    depth_start: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Share of the residual blocks in the first epoch; the front ones come first.",
    )
    subset_start: float = Field(
        1.0, gt=0, le=1, description="Share of the selected samples in the first epoch."
    )
    exports: str = Field(
        "none",
        description=f"Forms shipped next to ONNX: entry points `{EXPORTERS}`, joined by `{JOINT}`.",
    )
