"""`Trial`: one configuration of a study; written by the operator only."""

from typing import ClassVar, Literal

from pydantic import Field

from comptroller_api.meta import API_VERSION, Conditions, Metadata, Model, Rule
from comptroller_api.money import Amount
from comptroller_api.quantity import Measured
from comptroller_api.space import Values

Outcome = Literal["Succeeded", "Pruned", "Infeasible", "Failed", "MetricsLost", "BudgetStopped", "Cancelled"]
"""How a trial ends; exactly one."""

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
"""How an attempt ends.

`Unavailable`: it exited 69, as its storage could not be reached; tried again later, and no failure.
`MetricsLost`: it exited 0 and its report is missing. `BadAssignment`: it exited 64 and is not tried again.
"""

COUNTED_ENDS = frozenset({"Error", "OutOfMemory", "BadAssignment"})
"""The ends that count against the retry and failure limits."""


class Proposal(Model):
    """Why this configuration was tried."""

    phase: Literal["Baseline", "Search"] = Field(description="The phase of the search.")
    engine: str = Field(max_length=32, description="What proposed it.")
    reason: str = Field(default="", max_length=1024, description="Why, as a sentence.")


class TrialSpec(Model):
    """The configuration to run. Immutable."""

    study: str = Field(max_length=63, description="The study's name.")
    study_uid: str = Field(max_length=64, description="The study's metadata.uid.")
    number: int = Field(ge=0, description="Counts the study's trials from 0.")
    seed: int = Field(ge=0, description="Seeds everything random in the trial.")
    parameters: Values = Field(description="Parameter values by name.")
    proposal: Proposal

    rules: ClassVar[tuple[Rule, ...]] = (Rule("self == oldSelf", "spec is immutable"),)


class AttemptResult(Model):
    """A settled attempt."""

    number: int = Field(ge=0, description="Counts the trial's attempts from 0.")
    rung: int = Field(ge=0, description="The rung it worked towards.")
    end: End = Field(description="How it ended.")
    reason: str = Field(default="", max_length=512, description="Why, as a sentence.")
    seconds: int = Field(ge=0, description="Billed, from scheduled to terminated; the mean of its pods.")
    spent: Amount = Field(description="What it cost.")


class RungResult(Model):
    """What was measured at the end of a rung."""

    rung: int = Field(ge=0, description="Counts from 0.")
    epochs: int = Field(ge=1, description="Epochs trained in all.")
    metrics: dict[str, Measured] = Field(
        max_length=64, description="Numbers by metric, on the validation split."
    )
    artifact: str = Field(default="", max_length=1024, description="Where the exported model is.")
    report: str = Field(default="", max_length=1024, description="Where the report is.")
    attempt: int | None = Field(default=None, ge=0, description="The attempt that measured it.")


class TrialStatus(Model):
    """The observed trial."""

    state: Literal["Pending", "Running", "Suspended", "Ended"] = Field(
        default="Pending", description="Whether it waits, runs under a lease, waits to go on, or has ended."
    )
    outcome: Outcome | None = Field(default=None, description="How it ended.")
    reason: str = Field(default="", max_length=512, description="Why, as a sentence.")
    attempts: list[AttemptResult] = Field(
        default_factory=list, max_length=64, description="The latest settled attempts."
    )
    rungs: list[RungResult] = Field(default_factory=list, max_length=8, description="The rungs that ended.")
    near_miss: RungResult | None = Field(
        default=None,
        description="Measured of a model that is not what compress.must asks for; never on the front.",
    )
    spent: Amount | None = Field(default=None, description="Settled spend of all attempts.")
    conditions: Conditions = Field(default_factory=list, description="Conditions, by type.")


class Trial(Model):
    """One configuration of a study. The operator writes it; nobody else should."""

    api_version: Literal["comptroller.dev/v1alpha1"] = API_VERSION
    kind: Literal["Trial"] = "Trial"
    metadata: Metadata
    spec: TrialSpec
    status: TrialStatus | None = None

    name_rules: ClassVar[tuple[Rule, ...]] = (Rule("self.size() <= 63", "must be at most 63 characters"),)
