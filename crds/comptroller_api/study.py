"""`Study`: a joint search with a spend ceiling, a latency ceiling and objectives."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from comptroller_api.data import S3, Data
from comptroller_api.meta import API_VERSION, Conditions, ListMap, Metadata, Model, Rule, matches
from comptroller_api.money import Amount, Currency, PositiveAmount, amount_at_least
from comptroller_api.quantity import (
    Duration,
    PositiveNumber,
    PositiveQuantity,
    Quantity,
    at_least,
    durations,
    is_number,
    is_whole,
)
from comptroller_api.space import Space, Values

Metric = Literal[
    "accuracy", "f1_macro", "f1_macro_tuned", "auc", "ece", "brier", "loss",
    "rmse", "mae", "r2",
    "robust_accuracy", "robust_rmse",
    "slice_accuracy_least", "gap_accuracy", "gap_demographic_parity", "gap_equalised_odds",
    "slice_rmse_largest", "gap_rmse",
    "latency_p50_ms", "latency_p95_ms", "latency_p99_ms",
    "artifact_bytes", "peak_memory_bytes", "parameters", "macs", "activation_bytes", "energy_joules",
]  # fmt: skip
MAXIMISED = frozenset(
    {"accuracy", "f1_macro", "f1_macro_tuned", "auc", "r2", "robust_accuracy", "slice_accuracy_least"}
)
"""Every other metric is minimised."""
OF_CLASSES = (
    "accuracy", "f1_macro", "f1_macro_tuned", "auc", "ece", "brier", "robust_accuracy",
    "slice_accuracy_least", "gap_accuracy", "gap_demographic_parity", "gap_equalised_odds",
)  # fmt: skip
"""Metrics that only classification has."""
OF_NUMBERS = ("rmse", "mae", "r2", "robust_rmse", "slice_rmse_largest", "gap_rmse")
"""Metrics that only regression has."""

LONGEST_NAME = 36
"""Characters. `<study>-<uid>-<trial>-<attempt>` names a Job and is a label's value, so at most 63 of them;
its pods add `-xxxxx` and keep the whole name up to 57. That leaves eight for the study's uid, four digits for
the trial, six for the attempt.
"""

_SECRET = r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$"  # noqa: S105 - the pattern of a name
_RESOURCE = r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?/[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$"
_NODE_CLASS = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
_STUDY = "^[a-z]([a-z0-9-]*[a-z0-9])?$"

S3Uri = Annotated[
    str,
    Field(pattern=rf"^{S3}$", max_length=512),
    matches(rf"^{S3}$", "must be an S3 URI such as 's3://bucket/prefix'"),
]
"""A bucket and, perhaps, a prefix in it."""

NodeClassName = Annotated[
    str,
    Field(pattern=_NODE_CLASS, max_length=63),
    matches(_NODE_CLASS, "must be a node class's name: at most 63 of a-z, 0-9 and '-'"),
]
"""The name of a node class in a `PriceList`."""


WHOLE_GPU = "nvidia.com/gpu"
"""The resource of a GPU that is not shared out."""

GpuResource = Annotated[
    str,
    Field(pattern=_RESOURCE, max_length=127),
    matches(_RESOURCE, "must be a resource of a device plugin such as 'nvidia.com/mig-1g.10gb'"),
]
"""A resource as nodes advertise it: a MIG profile, or another vendor's GPU."""


class Spend(Model):
    """The hard ceiling on the study's money."""

    amount: PositiveAmount = Field(description="May rise, and may not fall below what is spent.")
    currency: Currency = Field(description="An ISO 4217 code such as USD. Immutable.")


class Latency(Model):
    """The hard ceiling on the exported artifact's latency, on the declared device."""

    limit: Duration = Field(description="The longest that one call may take at the quantile, such as 20ms.")
    quantile: Literal["P50", "P95", "P99"] = Field(default="P95", description="Which calls keep the limit.")
    batch: int = Field(default=1, ge=1, le=4096, description="Samples in one call.")
    threads: int = Field(default=1, ge=1, le=256, description="Intra-op threads.")
    device: Literal["CPU", "CUDA"] = Field(default="CPU", description="Where the artifact is measured.")


class Ceilings(Model):
    """What must not be passed. Spend and wall clock bind the study, the others each trial."""

    spend: Spend
    latency: Latency | None = None
    artifact_size: PositiveQuantity | None = Field(
        default=None, description="Bytes of the exported artifact, such as 2Mi."
    )
    peak_memory: PositiveQuantity | None = Field(
        default=None, description="Resident bytes of a process that serves the artifact, such as 512Mi."
    )
    wall_clock: Duration | None = Field(default=None, description="From the study's creation, such as 12h.")


class Objective(Model):
    """A metric to push; its direction is the metric's own."""

    metric: Metric = Field(
        description=f"The metric's name; {', '.join(sorted(MAXIMISED))} are maximised, the rest minimised."
    )
    weight: PositiveNumber = Field(
        default="1", description="Its weight in the score that picks the best trial from the front."
    )


class Rungs(Model):
    """Asynchronous successive halving (Li et al., 2020) over epochs."""

    epochs: Annotated[
        list[Annotated[int, Field(ge=1, le=10_000)]],
        Field(min_length=1, max_length=8),
        Rule(
            "self.isSorted() && self.all(e, self.exists_one(f, f == e))",
            "must ascend, each more than the one before",
        ),
    ] = Field(description="Epochs at the end of each rung, ascending.")
    eta: int = Field(default=3, ge=2, le=10, description="One trial in eta goes on to the next rung.")


class Search(Model):
    """How configurations are proposed."""

    engine: Literal["Random", "TPE"] = Field(default="TPE", description="What proposes them.")
    trials: int = Field(ge=1, le=10_000, description="How many trials there may be, the baseline included.")
    parallel: int = Field(default=1, ge=1, le=1000, description="How many trials may run at the same time.")
    seed: int = Field(default=0, ge=0, le=2**31 - 1, description="The same seed proposes the same trials.")
    rungs: Rungs
    failure_limit: int = Field(default=5, ge=1, le=1000, description="Failed trials that fail the study.")
    risk: int | None = Field(
        default=None,
        ge=1,
        le=50,
        description="Percent: a trial begins only if its first rung fits what is left at 100 - risk or more.",
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("self.parallel <= self.trials", "parallel must not be more than trials", ".parallel"),
    )


class Lease(Model):
    """How long a pod may run on what has been reserved for it."""

    duration: Duration = Field(default="10m", description="What one reservation pays for; at least 10s.")
    grace_period: Duration = Field(
        default="30s", description="From SIGTERM to SIGKILL; a checkpoint fits in it."
    )
    slack: Duration = Field(default="15s", description="What the enforcers may take; reserved as well.")
    renewal: Literal["Renew", "Never"] = Field(
        default="Renew", description="Whether a running pod's lease is renewed while there is room."
    )
    longest_attempt: Duration = Field(
        default="6h",
        description="The pod's own deadline, kept by the kubelet; with renewal Never that is the duration.",
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            durations(">", "self.duration", "self.gracePeriod"),
            "duration must be longer than gracePeriod",
            ".duration",
        ),
        Rule(durations(">=", "self.duration", "'10s'"), "duration must be at least 10s", ".duration"),
        Rule(
            durations(">=", "self.longestAttempt", "self.duration"),
            "longestAttempt must not be shorter than duration",
            ".longestAttempt",
        ),
    )


class Idle(Model):
    """When a running attempt counts as idle; it is then suspended, and resumed later."""

    threshold: int = Field(ge=1, le=99, description="Utilization in percent of what was requested.")
    window: Duration = Field(default="5m", description="How long it must stay under the threshold.")


MOST_PODS = 16
"""That train one trial together."""
SCRATCH = "8Gi"
"""Ephemeral storage of a pod whose study names none: its writable layer, its logs and /tmp."""


def _without_default(schema: dict[str, Any]) -> None:
    del schema["default"]


_ROOM = at_least("16Mi", "a trainer cannot live in less; bytes have a unit, as in '2Gi'")


class Resources(Model):
    """Requests, which are also the limits and what is billed."""

    cpu: Annotated[Quantity, at_least("1m", "Kubernetes counts nothing less")] = Field(
        default="1", description="Cores, such as 2 or 500m; at least 1m."
    )
    memory: Annotated[Quantity, _ROOM] = Field(
        default="2Gi", description="Bytes, such as 2Gi; at least 16Mi."
    )
    ephemeral_storage: Annotated[Quantity, _ROOM] | None = Field(
        default=None,
        description=f"Bytes of the node's disk, such as 100Gi; at least 16Mi; {SCRATCH} if absent.",
        # So that entries of the ledger that were written without it keep their bytes.
        exclude_if=lambda value: value is None,
    )
    gpu: int = Field(default=0, ge=0, le=16, description="GPUs, or parts of one where gpuResource says so.")
    gpu_resource: GpuResource | None = Field(
        default=None,
        description="What gpu counts, such as nvidia.com/mig-1g.10gb; nvidia.com/gpu if absent.",
        exclude_if=lambda value: value is None,  # as above
    )
    pods: int = Field(
        default=1,
        ge=1,
        le=MOST_PODS,
        description="How many pods, each with these resources, train a trial together; 1 if absent.",
        # As above; and so that the API server writes no default that we would leave out.
        exclude_if=lambda value: value == 1,
        json_schema_extra=_without_default,
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("!has(self.gpuResource) || self.gpu > 0", "gpuResource needs gpu", ".gpuResource"),
    )

    @property
    def gpus(self) -> str:
        """The resource that `gpu` counts."""
        return self.gpu_resource or WHOLE_GPU

    @property
    def storage(self) -> str:
        """The bytes of the node's disk that each pod may use."""
        return self.ephemeral_storage or SCRATCH


_IMAGE = r"^[A-Za-z0-9\[][A-Za-z0-9._:/@\[\]-]*$"
_AN_IMAGE = "must be an image such as 'registry.example.com/trainer:1.0', without spaces"


class Runtime(Model):
    """The pod a trial runs in."""

    image: Annotated[str, Field(max_length=512), matches(_IMAGE, _AN_IMAGE)] | None = Field(
        default=None,
        description="A trainer image; the operator's default if absent.",
    )
    node_class: NodeClassName = Field(description="A node class of a PriceList.")
    capacity: Literal["OnDemand", "Spot"] = Field(default="OnDemand", description="What is paid for.")
    hedge: int | None = Field(
        default=None,
        ge=1,
        le=200,
        description="Of Spot, percent of the on-demand price: above it the next lease goes on-demand.",
    )
    resources: Resources = Resources()
    lease: Lease = Lease()
    idle: Idle | None = None
    retries: int = Field(default=2, ge=0, le=20, description="Attempts after an Error, per trial.")

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("!has(self.hedge) || self.capacity == 'Spot'", "hedge needs capacity Spot", ".hedge"),
    )


class Artifacts(Model):
    """Where models, checkpoints and reports go."""

    uri: S3Uri = Field(description="s3://bucket/prefix; each trial has its own prefix below it.")
    credentials_secret: (
        Annotated[
            str,
            Field(pattern=_SECRET, max_length=253),
            matches(_SECRET, "must be a Secret's name: a-z, 0-9, '-' and '.'"),
        ]
        | None
    ) = Field(
        default=None,
        description="Secret of this namespace with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
    )


class StudySpec(Model):
    """The desired study."""

    data: Data
    space: Space
    baseline: Values = Field(
        default_factory=dict,
        description="The reference recipe, run first; parameters outside the space keep these values.",
    )
    objectives: Annotated[list[Objective], Field(min_length=1, max_length=3), ListMap("metric")] = Field(
        description="One to three metrics, by name."
    )
    ceilings: Ceilings
    search: Search
    runtime: Runtime
    artifacts: Artifacts
    suspend: bool = Field(
        default=False, description="Stop every trial at its next checkpoint and start none, until unset."
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.baseline) || self.space.parameters.all(p, p.type != 'Categorical' || !has(p.values) ||"
            " !(p.name in self.baseline) || self.baseline[p.name] in p.values)",
            "baseline must give each Categorical parameter of the space one of its values",
            ".baseline",
        ),
        Rule(
            "!has(self.baseline) || self.space.parameters.all(p, p.type == 'Categorical' ||"
            " !(p.name in self.baseline) || !has(p.min) || !has(p.max) ||"
            f" !{is_number('p.min')} || !{is_number('p.max')} ||"
            f" ({is_number('self.baseline[p.name]')}"
            f" && (p.type == 'Float' || {is_whole('self.baseline[p.name]')})"
            " && double(self.baseline[p.name]) >= double(p.min)"
            " && double(self.baseline[p.name]) <= double(p.max)))",
            "baseline must give each Integer or Float parameter of the space a number from min to max",
            ".baseline",
        ),
        Rule(
            "!has(self.ceilings.latency) || self.ceilings.latency.device != 'CUDA' ||"
            " self.runtime.resources.gpu > 0",
            "ceilings.latency.device CUDA needs runtime.resources.gpu",
            ".ceilings.latency.device",
        ),
        Rule(
            f"self.data.task != 'Regression' || !self.objectives.exists(o, o.metric in {list(OF_CLASSES)})",
            f"objectives of a Regression must not be of classes: {', '.join(OF_CLASSES)}",
            ".objectives",
        ),
        Rule(
            "self.data.task != 'Classification' ||"
            f" !self.objectives.exists(o, o.metric in {list(OF_NUMBERS)})",
            f"objectives of a Classification must not be of numbers: {', '.join(OF_NUMBERS)}",
            ".objectives",
        ),
        Rule(
            "has(self.data.slice) ||"
            " !self.objectives.exists(o, o.metric.startsWith('gap_') || o.metric.startsWith('slice_'))",
            "objectives of slices, gap_ and slice_, need data.slice",
            ".objectives",
        ),
    )


class FrontEntry(Model):
    """One trial of the Pareto front."""

    trial: int = Field(ge=0, description="Its number.")
    metrics: dict[str, Annotated[str, Field(max_length=32)]] = Field(
        max_length=16, description="Its metrics, rounded to print."
    )
    artifact: str = Field(max_length=1024, description="Where its exported model is.")


class TrialCounts(Model):
    """Trials by state; `total` counts every one that exists."""

    total: int = Field(default=0, ge=0, description="All that exist.")
    pending: int = Field(default=0, ge=0, description="Waiting for their first lease.")
    running: int = Field(default=0, ge=0, description="Under a lease.")
    suspended: int = Field(default=0, ge=0, description="Waiting to go on from a checkpoint.")
    succeeded: int = Field(default=0, ge=0, description="Ended with metrics of the last rung.")
    pruned: int = Field(default=0, ge=0, description="Ended early, as not promising.")
    infeasible: int = Field(default=0, ge=0, description="Ended over a ceiling of the artifact.")
    failed: int = Field(default=0, ge=0, description="Ended after too many errors.")
    metrics_lost: int = Field(default=0, ge=0, description="Ended without a report.")
    budget_stopped: int = Field(default=0, ge=0, description="Ended for lack of money.")
    cancelled: int = Field(default=0, ge=0, description="Ended because the study did.")


class StudyStatus(Model):
    """The observed study; constant in size however many trials there are."""

    observed_generation: int = Field(default=0, ge=0, description="The generation that this is about.")
    trials: TrialCounts = TrialCounts()
    progress: str = Field(default="", max_length=32, description="Ended trials over planned ones, to print.")
    spent: Amount | None = Field(default=None, description="Settled spend.")
    held: Amount | None = Field(default=None, description="Reserved for leases that are not settled.")
    best: str = Field(
        default="", max_length=128, description="The best trial and its first objective, to print."
    )
    best_trial: int | None = Field(default=None, ge=0, description="The best trial's number.")
    front: list[FrontEntry] = Field(default_factory=list, max_length=20, description="The Pareto front.")
    conditions: Conditions = Field(default_factory=list, description="Conditions, by type.")


_MAY_BE_ABSENT = frozenset(
    {"baseline", "ceilings.latency", "ceilings.artifactSize", "ceilings.peakMemory"}
)  # fmt: skip


def _fixed_once_tried(field: str) -> Rule:
    """`spec.<field>` may change only while there is no trial."""
    parent, _, name = f"spec.{field}".rpartition(".")
    now, before = f"self.{parent}", f"oldSelf.{parent}"
    same = f"{now}.{name} == {before}.{name}"
    if field in _MAY_BE_ABSENT:
        same = f"has({now}.{name}) == has({before}.{name}) && (!has({now}.{name}) || {same})"
    return Rule(
        f"({same}) || !has(oldSelf.status) || !has(oldSelf.status.trials)"
        " || oldSelf.status.trials.total == 0",
        f"spec.{field} is immutable once a trial exists",
        f".spec.{field}",
    )


class Study(Model):
    """A budgeted training study: a joint search with a spend ceiling, a latency ceiling and objectives."""

    api_version: Literal["comptroller.dev/v1alpha1"] = API_VERSION
    kind: Literal["Study"] = "Study"
    metadata: Metadata
    spec: StudySpec
    status: StudyStatus | None = None

    name_rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            f"self.size() <= {LONGEST_NAME}",
            f"must be at most {LONGEST_NAME} characters, since the study's Jobs are named after it",
        ),
        matches(_STUDY, "must start with a letter and hold only a-z, 0-9 and '-'"),
    )
    rules: ClassVar[tuple[Rule, ...]] = (
        # What trials are judged and compared by, and where they left what they go on from.
        *map(
            _fixed_once_tried,
            (
                "data",
                "space",
                "baseline",
                "search.rungs",
                "search.seed",
                "artifacts.uri",
                "objectives",
                "ceilings.latency",
                "ceilings.artifactSize",
                "ceilings.peakMemory",
            ),
        ),
        Rule(
            # Only where the ceiling moves: a status that reports an overrun must get through.
            "self.spec.ceilings.spend.amount == oldSelf.spec.ceilings.spend.amount ||"
            " !has(oldSelf.status) || !has(oldSelf.status.spent) || "
            + amount_at_least("self.spec.ceilings.spend.amount", "oldSelf.status.spent"),
            "spec.ceilings.spend.amount must not be under what is spent (status.spent)",
            ".spec.ceilings.spend.amount",
        ),
        Rule(
            "self.spec.ceilings.spend.currency == oldSelf.spec.ceilings.spend.currency",
            "spec.ceilings.spend.currency is immutable",
            ".spec.ceilings.spend.currency",
        ),
    )
