"""`Trial`: one configuration of a study, written only by the operator."""

from typing import ClassVar, Literal

from pydantic import Field

from comptroller_api.meta import API_VERSION, Conditions, Metadata, Model, Rule
from comptroller_api.money import Amount
from comptroller_api.quantity import Measured
from comptroller_api.space import Values

Outcome = Literal["Succeeded", "Pruned", "Infeasible", "Failed", "MetricsLost", "BudgetStopped", "Cancelled"]
"""The way in which a trial ends."""

End = Literal[
    "Finished",
    "Suspended",
    "LeaseExpired",
    "Preempted",
    "NodeLost",
    "OutOfMemory",
    "Error",
    "BadAssignment",
    "Diverged",
    "NoGain",
    "Unavailable",
    "MetricsLost",
]
"""The way in which an attempt ends.

`Unavailable`: the attempt exited 69, because its storage could not be reached; it is tried again later and
does not count as a failure. `MetricsLost`: the attempt exited 0 and its report is missing. `BadAssignment`:
the attempt exited 64 and is not tried again.
"""

COUNTED_ENDS = frozenset({"Error", "OutOfMemory", "BadAssignment"})
"""The ends that count against the retry and failure limits."""


class Proposal(Model):
    """The origin of this configuration."""

    phase: Literal["Baseline", "Search"] = Field(description="The phase of the search.")
    engine: str = Field(max_length=32, description="The engine that proposed the configuration.")
    reason: str = Field(default="", max_length=1024, description="The reason of the proposal, as a sentence.")


class TrialSpec(Model):
    """The configuration that the trial runs. Immutable."""

    study: str = Field(max_length=63, description="The study's name.")
    study_uid: str = Field(max_length=64, description="The study's metadata.uid.")
    number: int = Field(ge=0, description="The trial's number, from 0.")
    seed: int = Field(ge=0, description="The seed of everything random in the trial.")
    parameters: Values = Field(description="Parameter values by name.")
    proposal: Proposal

    rules: ClassVar[tuple[Rule, ...]] = (Rule("self == oldSelf", "spec is immutable"),)


class AttemptResult(Model):
    """A settled attempt."""

    number: int = Field(ge=0, description="The attempt's number, from 0.")
    rung: int = Field(ge=0, description="The rung that the attempt trained for.")
    end: End = Field(description="The way in which the attempt ended.")
    reason: str = Field(default="", max_length=512, description="Why, as a sentence.")
    seconds: int = Field(
        ge=0, description="The billed seconds, from scheduled to terminated; the mean of the pods."
    )
    spent: Amount = Field(description="The cost of the attempt.")


class RungResult(Model):
    """The measurements at the end of a rung."""

    rung: int = Field(ge=0, description="The rung's number, from 0.")
    epochs: int = Field(ge=1, description="The epochs trained in total.")
    metrics: dict[str, Measured] = Field(
        max_length=64, description="Values by metric, on the validation split."
    )
    artifact: str = Field(default="", max_length=1024, description="The address of the exported model.")
    report: str = Field(default="", max_length=1024, description="The address of the report.")
    attempt: int | None = Field(default=None, ge=0, description="The attempt that measured it.")


class TrialStatus(Model):
    """The observed state of the trial."""

    state: Literal["Pending", "Running", "Suspended", "Ended"] = Field(
        default="Pending",
        description="Pending before the first lease, Running under a lease, Suspended between leases, or"
        " Ended.",
    )
    outcome: Outcome | None = Field(default=None, description="The way in which the trial ended.")
    reason: str = Field(default="", max_length=512, description="The reason of the outcome, as a sentence.")
    attempts: list[AttemptResult] = Field(
        default_factory=list, max_length=64, description="The latest settled attempts."
    )
    rungs: list[RungResult] = Field(default_factory=list, max_length=8, description="The rungs that ended.")
    near_miss: RungResult | None = Field(
        default=None,
        description="The measurements of a model that does not meet compress.must; never on the front.",
    )
    spent: Amount | None = Field(default=None, description="Settled spend of all attempts.")
    conditions: Conditions = Field(default_factory=list, description="Conditions, by type.")


class Trial(Model):
    """One configuration of a study. Only the operator should write it."""

    api_version: Literal["comptroller.dev/v1alpha1"] = API_VERSION
    kind: Literal["Trial"] = "Trial"
    metadata: Metadata
    spec: TrialSpec
    status: TrialStatus | None = None

    name_rules: ClassVar[tuple[Rule, ...]] = (Rule("self.size() <= 63", "must be at most 63 characters"),)
