"""`Budget`: an amount per period over the studies it selects."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from comptroller_api.meta import (
    API_VERSION,
    Conditions,
    LabelValue,
    ListSet,
    Metadata,
    Model,
    Rule,
    matches,
)
from comptroller_api.money import Amount, Currency, PositiveAmount

_ZONE = r"^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}$"


class Selector(Model):
    """Label equality; an empty selector takes every study of the namespace."""

    match_labels: dict[str, LabelValue] = Field(
        default_factory=dict, max_length=16, description="Labels that a study must carry."
    )


class Credit(Model):
    """Money from a vendor, usable until a day."""

    amount: PositiveAmount = Field(description="How much.")
    until: str = Field(description="The last day, such as 2030-12-31.", json_schema_extra={"format": "date"})


class BudgetSpec(Model):
    """The desired budget."""

    amount: Amount = Field(description="What may be spent in a period. 0 stops all spending.")
    currency: Currency = Field(description="An ISO 4217 code such as USD. Immutable.")
    period: Literal["Daily", "Weekly", "Monthly", "Total"] = Field(
        default="Monthly", description="After which the amount may be spent again; Total: never."
    )
    time_zone: Annotated[
        str,
        Field(max_length=64, pattern=_ZONE),
        matches(_ZONE, "must be an IANA time zone such as 'UTC' or 'Europe/Berlin'"),
    ] = Field(default="UTC", description="An IANA time zone, in which periods begin at midnight.")
    selector: Selector = Selector()
    rollover: Literal["Never", "Unspent"] = Field(
        default="Never", description="What the next period takes over from this one."
    )
    credits: list[Credit] = Field(default_factory=list, max_length=32, description="Used before the amount.")
    thresholds: Annotated[list[Annotated[int, Field(ge=1, le=100)]], Field(max_length=10), ListSet()] = Field(
        default_factory=list, description="Percent of the amount at which to raise a condition."
    )
    cap_per_study: Amount | None = Field(default=None, description="The most that one study may spend.")
    approval_above: Amount | None = Field(
        default=None, description="A study with a ceiling above this waits for approval."
    )
    when_exhausted: Literal["Suspend", "Cancel"] = Field(
        default="Suspend", description="What happens to running trials."
    )


class BudgetStatus(Model):
    """The observed budget, this period."""

    observed_generation: int = Field(default=0, ge=0, description="The generation that this is about.")
    period: str = Field(default="", max_length=32, description="The period, such as 2030-12.")
    spent: Amount | None = Field(default=None, description="Settled spend of the period.")
    held: Amount | None = Field(default=None, description="Reserved for leases that are not settled.")
    ceiling: Amount | None = Field(default=None, description="Amount, credits and rollover together.")
    studies: int = Field(default=0, ge=0, description="How many studies it selects.")
    conditions: Conditions = Field(default_factory=list, description="Conditions, by type.")


class Budget(Model):
    """A namespace's money: an amount per period over the studies it selects."""

    api_version: Literal["comptroller.dev/v1alpha1"] = API_VERSION
    kind: Literal["Budget"] = "Budget"
    metadata: Metadata
    spec: BudgetSpec
    status: BudgetStatus | None = None

    name_rules: ClassVar[tuple[Rule, ...]] = (Rule("self.size() <= 63", "must be at most 63 characters"),)
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("self.spec.currency == oldSelf.spec.currency", "spec.currency is immutable", ".spec.currency"),
    )
