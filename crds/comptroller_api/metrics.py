"""The table of metrics: names, directions, units, tasks, and the parts of the trainer that measure them.

A study's objectives, the ceilings on an artifact, the trainer's reports and cards, `comptroller reproduce`
and docs/reference/metrics.md follow this table. Another trainer may report other metrics as well.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, get_args

from comptroller_api.data import Task

Direction = Literal["maximised", "minimised"]
Quantile = Literal["P50", "P95", "P99"]
"""A quantile to which a ceiling on latency can apply."""
Corruption = Literal[
    "noise", "blur", "contrast", "brightness", "translation", "occlusion", "scale", "missing", "shift"
]
"""A corruption of the validation inputs; docs/reference/measure.md has the formulas."""
PARENT = "parent_"
"""The prefix of the metrics of a compressed artifact's parent."""
_CORRUPTION = "<corruption>"


@dataclass(frozen=True, slots=True)
class Measurer:
    """A part of the trainer that measures metrics."""

    path: str
    """Its module and its name in the module, joined by `:`."""
    title: str
    """The heading of its metrics in the reference."""
    group: Literal["quality", "serving", "size", "cost"]
    """The table of a model card that has its metrics."""
    timed: bool = False
    """True if the values depend on the machine and the moment, not on the assignment alone."""
    parameter: tuple[str, str] | None = None
    """The parameter and its value in the trials that measure; `None`: a parameter does not decide."""
    field: str = ""
    """The field of a study that has to be set; empty: a field does not decide."""


QUALITY = Measurer("comptroller_trainer.measure.quality:quality", "Quality", "quality")
THRESHOLDS = Measurer(
    "comptroller_trainer.measure.thresholds:thresholds", "Thresholds", "quality",
    parameter=("recipe.thresholds", "f1_macro"),
)  # fmt: skip
ROBUSTNESS = Measurer(
    "comptroller_trainer.measure.robustness:robustness", "Robustness", "quality",
    parameter=("recipe.robustness", "corruptions"),
)  # fmt: skip
SLICES = Measurer(
    "comptroller_trainer.measure.slices:slices", "Slices", "quality", field="spec.data.slice"
)  # fmt: skip
SERVING = Measurer(
    "comptroller_trainer.measure.latency:summarize", "Latency and memory", "serving", timed=True
)
FILE = Measurer("comptroller_trainer.measure.artifact:measure", "File", "size")
PROFILE = Measurer("comptroller_trainer.models.profile:profile", "Model", "size")
ZEROS = Measurer("comptroller_trainer.measure.zeros:zero_share", "Zeros", "size")
METER = Measurer("comptroller_trainer.meter.meter:Meter.joules", "Energy", "cost", timed=True)
MEASURERS = (QUALITY, THRESHOLDS, ROBUSTNESS, SLICES, SERVING, FILE, PROFILE, ZEROS, METER)


@dataclass(frozen=True, slots=True)
class Metric:
    """One row of the table."""

    name: str
    """The name in reports; `<corruption>` in it stands for the name of each corruption."""
    measurer: Measurer
    unit: str
    """The unit, or the range of a number without one."""
    meaning: str
    """The definition, as a phrase."""
    direction: Direction | None = None
    """The direction in which the metric is better; without one it cannot be an objective."""
    task: Task | None = None
    """The only task that has the metric; `None`: both have."""
    unit_of_numbers: str = ""
    """The unit for a regression, if it is another one."""
    parent: bool = False
    """True if a compressed artifact's report also has the metric of its parent, as `parent_<name>`."""
    quantile: Quantile | None = None
    """The quantile of a ceiling on latency that limits the metric."""

    @property
    def names(self) -> tuple[str, ...]:
        """All names of the row in reports."""
        if _CORRUPTION in self.name:
            return tuple(self.name.replace(_CORRUPTION, each) for each in get_args(Corruption))
        return (self.name, PARENT + self.name) if self.parent else (self.name,)

    def of(self, task: Task) -> bool:
        """Return true if trials of `task` can have the metric."""
        return self.task in (None, task)

    def unit_for(self, task: Task) -> str:
        """Return the unit, or the range, for trials of `task`."""
        return self.unit_of_numbers if self.unit_of_numbers and task == "Regression" else self.unit


TABLE = (
    Metric(
        "accuracy", QUALITY, "0 to 1", "the share of samples that are classified correctly",
        "maximised", "Classification", parent=True,
    ),
    Metric(
        "f1_macro", QUALITY, "0 to 1",
        "the mean of the classes' F1; a class that is neither present nor predicted counts 0",
        "maximised", "Classification",
    ),
    Metric(
        "f1_macro_tuned", THRESHOLDS, "0 to 1",
        "`f1_macro` with tuned thresholds: each half of validation has those of the other half",
        "maximised", "Classification",
    ),
    Metric(
        "auc", QUALITY, "0 to 1",
        "the area under the ROC curve of one class against the rest, the mean over the classes present",
        "maximised", "Classification",
    ),
    Metric(
        "ece", QUALITY, "0 to 1",
        "the expected calibration error over 15 bins of equal width (Guo et al., 2017)",
        "minimised", "Classification",
    ),
    Metric(
        "brier", QUALITY, "0 to 2", "the squared error of the probabilities, summed over the classes",
        "minimised", "Classification",
    ),
    Metric(
        "loss", QUALITY, "nats", "the mean cross entropy; for a regression, the mean squared error",
        "minimised", unit_of_numbers="the target's, squared", parent=True,
    ),
    Metric(
        "rmse", QUALITY, "the target's", "the root of the mean squared error",
        "minimised", "Regression", parent=True,
    ),
    Metric("mae", QUALITY, "the target's", "the mean absolute error", "minimised", "Regression"),
    Metric(
        "r2", QUALITY, "at most 1", "the share of the target's variance that the model explains",
        "maximised", "Regression",
    ),
    Metric(
        "accuracy_<corruption>", ROBUSTNESS, "0 to 1", "the mean accuracy over the three severities",
        task="Classification",
    ),
    Metric(
        "rmse_<corruption>", ROBUSTNESS, "the target's", "the mean RMSE over the three severities",
        task="Regression",
    ),
    Metric(
        "robust_accuracy", ROBUSTNESS, "0 to 1", "the mean of `accuracy_<corruption>` over the corruptions",
        "maximised", "Classification",
    ),
    Metric(
        "robust_rmse", ROBUSTNESS, "the target's", "the mean of `rmse_<corruption>` over the corruptions",
        "minimised", "Regression",
    ),
    Metric(
        "robust_worst", ROBUSTNESS, "0 to 1",
        "the smallest `accuracy_<corruption>`; for a regression, the largest `rmse_<corruption>`",
        unit_of_numbers="the target's",
    ),
    Metric(
        "slice_accuracy_least", SLICES, "0 to 1", "the smallest accuracy of a slice",
        "maximised", "Classification",
    ),
    Metric(
        "slice_accuracy_largest", SLICES, "0 to 1", "the largest accuracy of a slice",
        task="Classification",
    ),
    Metric(
        "gap_accuracy", SLICES, "0 to 1", "`slice_accuracy_largest` less `slice_accuracy_least`",
        "minimised", "Classification",
    ),
    Metric(
        "gap_demographic_parity", SLICES, "0 to 1",
        "the largest difference between two slices in the share of samples for which a class is predicted,"
        " for the class with the largest difference",
        "minimised", "Classification",
    ),
    Metric(
        "gap_equalised_odds", SLICES, "0 to 1",
        "the largest difference between two slices in the true or the false positive rate of a class, for the"
        " class with the largest difference (Hardt et al., 2016)",
        "minimised", "Classification",
    ),
    Metric("slice_rmse_least", SLICES, "the target's", "the smallest RMSE of a slice", task="Regression"),
    Metric(
        "slice_rmse_largest", SLICES, "the target's", "the largest RMSE of a slice",
        "minimised", "Regression",
    ),
    Metric(
        "gap_rmse", SLICES, "the target's", "`slice_rmse_largest` less `slice_rmse_least`",
        "minimised", "Regression",
    ),
    Metric(
        "latency_p50_ms", SERVING, "ms",
        "the median latency of one call, over the quiet calls of the launches that agree",
        "minimised", parent=True, quantile="P50",
    ),
    Metric(
        "latency_p95_ms", SERVING, "ms", "the 95th percentile of that latency",
        "minimised", parent=True, quantile="P95",
    ),
    Metric(
        "latency_p99_ms", SERVING, "ms", "the 99th percentile of that latency",
        "minimised", quantile="P99",
    ),
    Metric(
        "latency_p95_low_ms", SERVING, "ms",
        "the lower end of the 95% interval of `latency_p95_ms`, by its order statistics",
    ),
    Metric("latency_p95_high_ms", SERVING, "ms", "the upper end of the same interval"),
    Metric(
        "latency_trusted", SERVING, "0 or 1",
        "1; or 0 if fewer than three launches agree: the other latencies are then over all quiet calls, or"
        " over all calls",
        parent=True,
    ),
    Metric(
        "cold_start_ms", SERVING, "ms",
        "the median time from the start of a process's imports to its first answer",
    ),
    Metric(
        "artifact_bytes", FILE, "bytes", "the size of the exported ONNX file", "minimised", parent=True
    ),
    Metric(
        "peak_memory_bytes", SERVING, "bytes",
        "the most resident memory of a serving process, if the kernel reports it",
        "minimised", parent=True,
    ),
    Metric(
        "parameters", PROFILE, "weights", "the number of weights of the exported module, frozen ones too",
        "minimised",
    ),
    Metric(
        "macs", PROFILE, "multiply-adds",
        "the multiply-adds of the module for one sample in matrix products, convolutions and attention",
        "minimised",
    ),
    Metric(
        "activation_bytes", PROFILE, "bytes",
        "the memory that training keeps of one sample for the backward pass, without weights and buffers",
        "minimised",
    ),
    Metric(
        "zero_share", ZEROS, "0 to 1",
        "the share of zeros among the weights of the exported file, if `compress.method` has `sparse`",
    ),
    Metric(
        "energy_joules", METER, "J",
        "the energy that all processes of the attempt used until the report, if every one has a counter",
        "minimised",
    ),
)  # fmt: skip
"""All metrics; the order is that of the objectives in a Study's schema."""

METRICS: Mapping[str, Metric] = MappingProxyType({name: row for row in TABLE for name in row.names})
"""The rows by each of their names in reports."""

OBJECTIVES = tuple(row.name for row in TABLE if row.direction)
"""The metrics that can be an objective."""
MAXIMISED = frozenset(row.name for row in TABLE if row.direction == "maximised")
"""The objectives that are maximised; the others are minimised."""
LATENCIES: Mapping[Quantile, str] = MappingProxyType(
    {row.quantile: row.name for row in TABLE if row.quantile}
)
"""The metric that a ceiling on latency limits, by its quantile."""
ON_REQUEST: Mapping[str, tuple[str, str]] = MappingProxyType(
    {row.name: row.measurer.parameter for row in TABLE if row.direction and row.measurer.parameter}
)
"""The objectives that a report has only if a parameter has the given value."""

if TYPE_CHECKING:
    ObjectiveName = str
else:
    ObjectiveName = Literal[OBJECTIVES]


def objectives_of(task: Task) -> tuple[str, ...]:
    """Return the objectives that only `task` has."""
    return tuple(row.name for row in TABLE if row.direction and row.task == task)


def prefixes(measurer: Measurer) -> tuple[str, ...]:
    """Return the first words of the names that `measurer` reports, each with its `_`, sorted."""
    return tuple(sorted({row.name.partition("_")[0] + "_" for row in TABLE if row.measurer == measurer}))


_TIMED = tuple(prefix for measurer in MEASURERS if measurer.timed for prefix in prefixes(measurer))


def is_timed(name: str) -> bool:
    """Return true if a metric, of an artifact or of its parent, depends on the machine and the moment.

    Metrics of other trainers count as the metrics of the table whose first word they share.
    """
    return name.removeprefix(PARENT).startswith(_TIMED)
