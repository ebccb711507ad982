"""`Study`: a joint search with a spend ceiling, a latency ceiling and objectives."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from comptroller_api.data import S3, Data
from comptroller_api.meta import (
    API_VERSION,
    QUALIFIED_NAME,
    SUBDOMAIN,
    Conditions,
    ListMap,
    Metadata,
    Model,
    Rule,
    matches,
)
from comptroller_api.metrics import MAXIMISED, SLICES, ObjectiveName, Quantile, objectives_of, prefixes
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

_OF_CLASSES, _OF_NUMBERS = objectives_of("Classification"), objectives_of("Regression")
_OF_SLICES = prefixes(SLICES)

LONGEST_NAME = 36
"""The maximum length of a study's name, in characters.

`<study>-<uid>-<trial>-<attempt>` names a Job and is a label's value, so it has at most 63 characters; pods
add `-xxxxx` to the first 57. The uid takes eight characters, the trial four digits, and the attempt six.
"""

_SECRET = f"^{SUBDOMAIN}$"
_RESOURCE = f"^{SUBDOMAIN}/{QUALIFIED_NAME}$"
_NODE_CLASS = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
_STUDY = "^[a-z]([a-z0-9-]*[a-z0-9])?$"

S3Uri = Annotated[
    str,
    Field(pattern=rf"^{S3}$", max_length=512),
    matches(rf"^{S3}$", "must be an S3 URI such as 's3://bucket/prefix'"),
]
"""A bucket and, optionally, a prefix in the bucket."""

NodeClassName = Annotated[
    str,
    Field(pattern=_NODE_CLASS, max_length=63),
    matches(_NODE_CLASS, "must be a node class's name: at most 63 of a-z, 0-9 and '-'"),
]
"""The name of a node class in a `PriceList`."""


WHOLE_GPU = "nvidia.com/gpu"
"""The resource of a GPU that is not partitioned."""

GpuResource = Annotated[
    str,
    Field(pattern=_RESOURCE, max_length=127),
    matches(_RESOURCE, "must be a resource of a device plugin such as 'nvidia.com/mig-1g.10gb'"),
]
"""A resource that nodes advertise: a MIG profile, or another vendor's GPU."""


class Spend(Model):
    """The hard ceiling on the study's money."""

    amount: PositiveAmount = Field(
        description="The ceiling. It may rise, and may not fall below what is spent."
    )
    currency: Currency = Field(description="An ISO 4217 code such as USD. Immutable.")


class Latency(Model):
    """The hard ceiling on the exported artifact's latency, on the declared device."""

    limit: Duration = Field(description="The longest latency of one call at the quantile, such as 20ms.")
    quantile: Quantile = Field(default="P95", description="The quantile to which the limit applies.")
    batch: int = Field(default=1, ge=1, le=4096, description="The number of samples in one call.")
    threads: int = Field(default=1, ge=1, le=256, description="The number of intra-op threads.")
    device: Literal["CPU", "CUDA"] = Field(
        default="CPU", description="The device on which the artifact is measured."
    )


class Ceilings(Model):
    """The hard limits. Spend and wall clock apply to the study, the others to each trial."""

    spend: Spend
    latency: Latency | None = None
    artifact_size: PositiveQuantity | None = Field(
        default=None, description="The maximum size of the exported artifact in bytes, such as 2Mi."
    )
    peak_memory: PositiveQuantity | None = Field(
        default=None,
        description="The maximum resident memory in bytes of a process that serves the artifact, such as"
        " 512Mi.",
    )
    wall_clock: Duration | None = Field(
        default=None, description="The longest time from the study's creation, such as 12h."
    )


class Objective(Model):
    """A metric to optimise; the metric decides whether it is maximised or minimised."""

    metric: ObjectiveName = Field(
        description=f"The metric's name; {', '.join(sorted(MAXIMISED))} are maximised, the rest minimised."
    )
    weight: PositiveNumber = Field(
        default="1", description="The metric's weight in the score that picks the best trial from the front."
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
    eta: int = Field(default=3, ge=2, le=10, description="One trial in eta is promoted to the next rung.")


class Search(Model):
    """The search for configurations."""

    engine: Literal["Random", "TPE"] = Field(
        default="TPE", description="The engine that proposes configurations."
    )
    trials: int = Field(ge=1, le=10_000, description="The maximum number of trials, including the baseline.")
    parallel: int = Field(
        default=1, ge=1, le=1000, description="The maximum number of trials that may run at the same time."
    )
    seed: int = Field(default=0, ge=0, le=2**31 - 1, description="The same seed proposes the same trials.")
    rungs: Rungs
    failure_limit: int = Field(
        default=5, ge=1, le=1000, description="The number of failed trials at which the study fails."
    )
    risk: int | None = Field(
        default=None,
        ge=1,
        le=50,
        description="Percent: a trial begins only if its first rung fits the remaining money with a"
        " probability of 100 - risk or more.",
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("self.parallel <= self.trials", "parallel must not be more than trials", ".parallel"),
    )


class Lease(Model):
    """The time that a pod may run on the money reserved for it."""

    duration: Duration = Field(
        default="10m", description="The time that one reservation pays for; at least 10s."
    )
    grace_period: Duration = Field(
        default="30s", description="The time from SIGTERM to SIGKILL; a checkpoint must fit in it."
    )
    slack: Duration = Field(
        default="15s",
        description="The time by which the Job controller, the kubelet or the guard may be late; reserved as"
        " well.",
    )
    renewal: Literal["Renew", "Never"] = Field(
        default="Renew",
        description="Renew extends a running pod's lease while there is room; Never does not.",
    )
    longest_attempt: Duration = Field(
        default="6h",
        description="The pod's own deadline, which the kubelet enforces; with renewal Never it is the"
        " duration.",
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
    """The rule by which a running attempt counts as idle and is suspended, to be resumed later."""

    threshold: int = Field(ge=1, le=99, description="The utilization in percent of the requested resources.")
    window: Duration = Field(
        default="5m", description="The time that the utilization must stay under the threshold."
    )


MOST_PODS = 16
"""The maximum number of pods that train one trial together."""
SCRATCH = "8Gi"
"""The default ephemeral storage of a pod: its writable layer, its logs and /tmp."""


def _without_default(schema: dict[str, Any]) -> None:
    del schema["default"]


_ROOM = at_least("16Mi", "a trainer cannot live in less; bytes have a unit, as in '2Gi'")


class Resources(Model):
    """The requests of each pod, which are also its limits and are billed."""

    cpu: Annotated[Quantity, at_least("1m", "Kubernetes counts nothing less")] = Field(
        default="1", description="The cores, such as 2 or 500m; at least 1m."
    )
    memory: Annotated[Quantity, _ROOM] = Field(
        default="2Gi", description="The bytes of memory, such as 2Gi; at least 16Mi."
    )
    ephemeral_storage: Annotated[Quantity, _ROOM] | None = Field(
        default=None,
        description=f"The bytes of the node's disk, such as 100Gi; at least 16Mi; {SCRATCH} if absent.",
        # Left out if absent, so that ledger entries written before this field existed keep their bytes.
        exclude_if=lambda value: value is None,
    )
    gpu: int = Field(
        default=0, ge=0, le=16, description="The number of GPUs, or of the parts that gpuResource names."
    )
    gpu_resource: GpuResource | None = Field(
        default=None,
        description="The resource that gpu counts, such as nvidia.com/mig-1g.10gb; nvidia.com/gpu if absent.",
        exclude_if=lambda value: value is None,  # as above
    )
    pods: int = Field(
        default=1,
        ge=1,
        le=MOST_PODS,
        description="The number of pods, each with these resources, that train a trial together; 1 if"
        " absent.",
        # As above; and the schema has no default, since the API server would write a value that we leave out.
        exclude_if=lambda value: value == 1,
        json_schema_extra=_without_default,
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("!has(self.gpuResource) || self.gpu > 0", "gpuResource needs gpu", ".gpuResource"),
    )

    @property
    def gpus(self) -> str:
        """Return the resource that `gpu` counts."""
        return self.gpu_resource or WHOLE_GPU

    @property
    def storage(self) -> str:
        """Return the bytes of the node's disk that each pod may use."""
        return self.ephemeral_storage or SCRATCH


_IMAGE = r"^[A-Za-z0-9\[][A-Za-z0-9._:/@\[\]-]*$"
_AN_IMAGE = "must be an image such as 'registry.example.com/trainer:1.0', without spaces"


class Runtime(Model):
    """The pods in which a trial runs."""

    image: Annotated[str, Field(max_length=512), matches(_IMAGE, _AN_IMAGE)] | None = Field(
        default=None,
        description="The trainer's image; the operator's default if absent.",
    )
    node_class: NodeClassName = Field(description="A node class of a PriceList.")
    capacity: Literal["OnDemand", "Spot"] = Field(
        default="OnDemand", description="The capacity that the pods select."
    )
    hedge: int | None = Field(
        default=None,
        ge=1,
        le=200,
        description="For Spot, in percent of the on-demand price: while spot costs more, the next lease is"
        " on-demand.",
    )
    resources: Resources = Resources()
    lease: Lease = Lease()
    idle: Idle | None = None
    retries: int = Field(
        default=2, ge=0, le=20, description="The number of attempts after an Error, for each trial."
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("!has(self.hedge) || self.capacity == 'Spot'", "hedge needs capacity Spot", ".hedge"),
    )


class Artifacts(Model):
    """The storage of models, checkpoints and reports."""

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
        description="A Secret of this namespace with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
    )


class StudySpec(Model):
    """The desired study."""

    data: Data
    space: Space
    baseline: Values = Field(
        default_factory=dict,
        description="The reference configuration, which runs first; parameters outside the space keep these"
        " values.",
    )
    objectives: Annotated[list[Objective], Field(min_length=1, max_length=3), ListMap("metric")] = Field(
        description="One to three metrics, by name."
    )
    ceilings: Ceilings
    search: Search
    runtime: Runtime
    artifacts: Artifacts
    suspend: bool = Field(
        default=False, description="If true, every trial stops at its next checkpoint and no trial starts."
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
            f"self.data.task != 'Regression' || !self.objectives.exists(o, o.metric in {list(_OF_CLASSES)})",
            f"objectives of a Regression must not be of classes: {', '.join(_OF_CLASSES)}",
            ".objectives",
        ),
        Rule(
            "self.data.task != 'Classification' ||"
            f" !self.objectives.exists(o, o.metric in {list(_OF_NUMBERS)})",
            f"objectives of a Classification must not be of numbers: {', '.join(_OF_NUMBERS)}",
            ".objectives",
        ),
        Rule(
            "has(self.data.slice) || !self.objectives.exists(o, "
            + " || ".join(f"o.metric.startsWith('{prefix}')" for prefix in _OF_SLICES)
            + ")",
            f"objectives of slices, {' and '.join(_OF_SLICES)}, need data.slice",
            ".objectives",
        ),
    )


class FrontEntry(Model):
    """One trial of the Pareto front."""

    trial: int = Field(ge=0, description="The trial's number.")
    metrics: dict[str, Annotated[str, Field(max_length=32)]] = Field(
        max_length=16, description="The trial's metrics, rounded to print."
    )
    artifact: str = Field(max_length=1024, description="The address of the exported model.")


class TrialCounts(Model):
    """The number of trials by state; `total` counts every trial that exists."""

    total: int = Field(default=0, ge=0, description="All trials that exist.")
    pending: int = Field(default=0, ge=0, description="Waiting for their first lease.")
    running: int = Field(default=0, ge=0, description="Under a lease.")
    suspended: int = Field(default=0, ge=0, description="Waiting to resume from a checkpoint.")
    succeeded: int = Field(default=0, ge=0, description="Ended with metrics of the last rung.")
    pruned: int = Field(default=0, ge=0, description="Ended early, as not promising.")
    infeasible: int = Field(default=0, ge=0, description="Ended above a ceiling for the artifact.")
    failed: int = Field(default=0, ge=0, description="Ended after too many errors.")
    metrics_lost: int = Field(default=0, ge=0, description="Ended without a report.")
    budget_stopped: int = Field(default=0, ge=0, description="Ended for lack of money.")
    cancelled: int = Field(default=0, ge=0, description="Ended because the study ended.")


class StudyStatus(Model):
    """The observed state of the study; its size does not depend on the number of trials."""

    observed_generation: int = Field(default=0, ge=0, description="The metadata.generation of this status.")
    trials: TrialCounts = TrialCounts()
    progress: str = Field(default="", max_length=32, description="Ended and planned trials, to print.")
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
    """Return the rule that `spec.<field>` may change only while no trial exists."""
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
        # The criteria by which trials are compared, and the address of their checkpoints.
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
            # Checked only if the ceiling changes, so that a status that reports an overrun is accepted.
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
