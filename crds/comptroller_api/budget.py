"""`Budget`: an amount per period for the studies that it selects."""

from importlib.resources import files
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from comptroller_api.meta import (
    API_VERSION,
    Conditions,
    Labels,
    ListSet,
    Metadata,
    Model,
    Rule,
    quoting,
)
from comptroller_api.money import Amount, Currency, PositiveAmount

_NO_ZONES = {"Factory", "localtime", "posixrules"}
"""Names in the database for a machine without a zone, and for a machine's own links."""
TIME_ZONES = frozenset(files("tzdata").joinpath("zones").read_text(encoding="utf-8").split()) - _NO_ZONES
"""The names of the IANA time zone database, without its directories such as Europe."""
A_TIME_ZONE = "must be an IANA time zone such as 'UTC' or 'Europe/Berlin'"


class Selector(Model):
    """Labels of the studies; an empty selector selects every study of the namespace.

    Labels decide until a study's first lease: a budget that covers the study then, or later, continues to.
    """

    match_labels: Labels = Field(default_factory=dict, description="Labels that a study must carry.")


class Credit(Model):
    """Money from a vendor that can be used until a day."""

    amount: PositiveAmount = Field(description="The amount of the credit.")
    until: str = Field(description="The last day, such as 2030-12-31.", json_schema_extra={"format": "date"})


class BudgetSpec(Model):
    """The desired budget."""

    amount: Amount = Field(description="The most that may be spent in a period. 0 stops all spending.")
    currency: Currency = Field(description="An ISO 4217 code such as USD. Immutable.")
    period: Literal["Daily", "Weekly", "Monthly", "Total"] = Field(
        default="Monthly", description="The time after which the amount may be spent again; Total: never."
    )
    time_zone: Annotated[
        str,
        Field(max_length=64),
        Rule(
            f"self in {sorted(TIME_ZONES)}",
            A_TIME_ZONE,
            message_expression=quoting("'", "self", f"' {A_TIME_ZONE}"),
        ),
    ] = Field(default="UTC", description="An IANA time zone; periods begin at its midnight.")
    selector: Selector = Selector()
    required: bool = Field(
        default=False, description="If true, studies of the namespace that no budget covers are held."
    )
    rollover: Literal["Never", "Unspent"] = Field(
        default="Never", description="The money that the next period takes over from this one."
    )
    credits: list[Credit] = Field(
        default_factory=list,
        max_length=32,
        description=(
            "Money that is used before the amount. Keep a credit that is used up: once it is not listed,"
            " what it spent counts against the credits that are added or raised."
        ),
    )
    thresholds: Annotated[list[Annotated[int, Field(ge=1, le=100)]], Field(max_length=10), ListSet()] = Field(
        default_factory=list,
        description="Percentages of what the period offers (amount, rollover, credits) at which a condition"
        " is set.",
    )
    cap_per_study: PositiveAmount | None = Field(
        default=None, description="The most that one study may spend; no such limit if absent."
    )
    approval_above: Amount | None = Field(
        default=None, description="A study with a ceiling above this amount waits for approval."
    )
    when_exhausted: Literal["Suspend", "Cancel"] = Field(
        default="Suspend", description="The action on running trials when the money is used up."
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.rollover == 'Never' || self.period != 'Total'",
            "rollover needs periods that end, and period Total has none",
            ".rollover",
        ),
    )


class BudgetStatus(Model):
    """The observed state of the budget in this period."""

    observed_generation: int = Field(default=0, ge=0, description="The metadata.generation of this status.")
    period: str = Field(default="", max_length=32, description="The period, such as 2030-12.")
    spent: Amount | None = Field(default=None, description="Settled spend of the period, credits included.")
    held: Amount | None = Field(default=None, description="Reserved for leases that are not settled.")
    ceiling: Amount | None = Field(default=None, description="Amount, credits and rollover together.")
    studies: int = Field(default=0, ge=0, description="Number of studies that the budget selects.")
    conditions: Conditions = Field(default_factory=list, description="Conditions, by type.")


class Budget(Model):
    """A namespace's money: an amount per period for the studies that the budget selects."""

    api_version: Literal["comptroller.dev/v1alpha1"] = API_VERSION
    kind: Literal["Budget"] = "Budget"
    metadata: Metadata
    spec: BudgetSpec
    status: BudgetStatus | None = None

    name_rules: ClassVar[tuple[Rule, ...]] = (Rule("self.size() <= 63", "must be at most 63 characters"),)
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("self.spec.currency == oldSelf.spec.currency", "spec.currency is immutable", ".spec.currency"),
    )
