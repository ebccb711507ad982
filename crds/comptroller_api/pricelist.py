"""`PriceList`: what a GPU, a core and a GiB cost, by node class, with a cap, a source and an age limit."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from comptroller_api.meta import (
    API_VERSION,
    Conditions,
    LabelValue,
    ListMap,
    Metadata,
    Model,
    Rule,
    matches,
    quoting,
)
from comptroller_api.money import Amount, Currency, amount_at_least
from comptroller_api.quantity import Duration
from comptroller_api.study import GpuResource, NodeClassName

_LABEL = r"^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$"
_INSTANCE_TYPE = r"^[a-z0-9-]+\.[a-z0-9-]+$"
_REGION = r"^[a-z]{2}(-[a-z]+)+-[0-9]$"
_URL = r"^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._/-]*)?$"


def _is_empty(value: list[object]) -> bool:
    """Nobody said anything, so there is nothing to write down."""
    return not value


class Rates(Model):
    """Amounts per hour of one unit each."""

    gpu: Amount = Field(default="0", description="Per hour of one GPU.")
    cpu: Amount = Field(default="0", description="Per hour of one core.")
    memory_gib: Amount = Field(default="0", alias="memoryGiB", description="Per hour of one GiB.")


def _under_cap(capacity: str, rate: str = "") -> Rule:
    """The cap of a rate is not under what is charged now."""
    cap, price = f"cap{rate}", f"{capacity}{rate}"
    return Rule(
        f"!has(self.{capacity}) || {amount_at_least(f'self.{cap}', f'self.{price}')}",
        f"{cap} must not be under {price}",
        f".{cap}",
        told=quoting(f"{cap} ", f"self.{cap}", f" must not be under {price} ", f"self.{price}"),
    )


class GpuProfile(Model):
    """A part of a GPU, or another kind of it, that has a price of its own."""

    resource: GpuResource = Field(description="As nodes advertise it, such as nvidia.com/mig-1g.10gb.")
    on_demand: Amount | None = Field(default=None, description="Per hour of one, now.")
    spot: Amount | None = Field(default=None, description="Per hour of one as spot capacity, now.")
    cap: Amount = Field(description="The most that may ever be charged for an hour of one.")

    rules: ClassVar[tuple[Rule, ...]] = (_under_cap("onDemand"), _under_cap("spot"))


class Quantile(Model):
    """One point of a distribution: with this probability, the price is at most this."""

    at: int = Field(ge=0, le=100, description="Probability, in percent.")
    percent: int = Field(ge=1, le=10_000, description="Percent of the price of now.")


class NodeClass(Model):
    """A kind of node: how to find it and what it costs."""

    name: NodeClassName = Field(description="What studies call it.")
    node_selector: Annotated[
        dict[str, LabelValue],
        Field(max_length=16),
        Rule(f"self.all(name, name.matches(r'{_LABEL}'))", "each key must be a label's name"),
    ] = Field(
        default_factory=dict,
        description="Labels that its nodes carry and its pods select, such as nvidia.com/gpu.product.",
    )
    on_demand: Rates | None = Field(default=None, description="What it costs now, where no feed says so.")
    cap: Rates = Field(description="The most that may ever be charged; sizes leases.")
    spot: Rates | None = Field(default=None, description="What it costs now as spot capacity.")
    spot_quantiles: Annotated[
        list[Quantile],
        Field(max_length=11),
        ListMap("at"),
        Rule(
            "self.all(q, self.all(r, q.at >= r.at || q.percent <= r.percent))",
            "percent must not fall as at rises",
        ),
    ] = Field(
        default_factory=list,
        exclude_if=_is_empty,
        description="How the spot price is spread around that of now; plan reckons with it.",
    )
    gpu_profiles: Annotated[list[GpuProfile], Field(max_length=16), ListMap("resource")] = Field(
        default_factory=list,
        exclude_if=_is_empty,
        description="GPUs other than nvidia.com/gpu, such as MIG profiles, by resource.",
    )
    instance_type: (
        Annotated[
            str,
            Field(pattern=_INSTANCE_TYPE, max_length=32),
            matches(_INSTANCE_TYPE, "must be an instance type of AWS such as 'm7i.large'"),
        ]
        | None
    ) = Field(default=None, description="Of AWS, whose price is split by the shares of cap.")
    kwh: Amount | None = Field(default=None, description="Price of a kWh, where energy is billed apart.")
    grams_co2_per_kwh: int | None = Field(
        default=None, ge=0, le=5000, alias="gramsCO2PerKWh", description="Grams of CO2 per kWh."
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        *(
            _under_cap(capacity, f".{rate}")
            for capacity in ("onDemand", "spot")
            for rate in ("gpu", "cpu", "memoryGiB")
        ),
        Rule(
            "[self.cap.gpu, self.cap.cpu, self.cap.memoryGiB].exists(a, a.matches('[1-9]'))",
            "cap must charge for something",
            ".cap",
        ),
    )


class Aws(Model):
    """Where to ask AWS."""

    region: Annotated[
        str,
        Field(pattern=_REGION, max_length=32),
        matches(_REGION, "must be a region such as 'eu-central-1'"),
    ] = Field(description="Whose offers and spot prices count.")
    zones: Annotated[list[Annotated[str, Field(max_length=32)]], Field(max_length=16)] = Field(
        default_factory=list,
        exclude_if=_is_empty,
        description="Availability zones whose spot prices count; all if empty.",
    )
    history: Duration = Field(default="168h", description="Of spot prices, from which the spread comes.")


class OpenCost(Model):
    """Where to ask OpenCost, whose currency is taken to be the list's."""

    url: Annotated[
        str,
        Field(pattern=_URL, max_length=256),
        matches(_URL, "must be a URL such as 'http://opencost.opencost:9003'"),
    ] = Field(description="Of OpenCost's API.")
    window: Duration = Field(default="24h", description="Over which nodes' costs are averaged.")


class PriceListSpec(Model):
    """The desired prices."""

    currency: Currency = Field(description="An ISO 4217 code such as USD. Immutable.")
    source: Literal["Static", "AWS", "OpenCost"] = Field(
        default="Static", description="Where the prices come from. The caps are always those of this list."
    )
    as_of: str | None = Field(
        default=None,
        description="Of Static: when the prices were true, such as 2030-01-31T00:00:00Z.",
        json_schema_extra={"format": "date-time"},
    )
    max_age: Duration | None = Field(
        default=None, description="After this, the prices are stale and hold launches."
    )
    priority: int = Field(
        default=0,
        ge=-1000,
        le=1000,
        description="Where lists price the same class, the highest wins; equal ones price nothing.",
    )
    aws: Aws | None = None
    open_cost: OpenCost | None = None
    node_classes: Annotated[list[NodeClass], Field(min_length=1, max_length=64), ListMap("name")] = Field(
        description="Kinds of nodes, by name."
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("self.source != 'Static' || has(self.asOf)", "source Static needs asOf", ".asOf"),
        Rule("(self.source == 'AWS') == has(self.aws)", "source AWS, and no other, has aws", ".aws"),
        Rule(
            "(self.source == 'OpenCost') == has(self.openCost)",
            "source OpenCost, and no other, has openCost",
            ".openCost",
        ),
        Rule(
            "self.source != 'Static' || self.nodeClasses.all(c, has(c.onDemand))",
            "source Static needs onDemand of each node class",
            ".nodeClasses",
        ),
        Rule(
            "self.source != 'AWS' || self.nodeClasses.all(c, has(c.instanceType))",
            "source AWS needs instanceType of each node class",
            ".nodeClasses",
        ),
        Rule(
            "!has(self.aws) || self.currency == (self.aws.region.startsWith('cn-') ? 'CNY' : 'USD')",
            "currency must be the one that AWS bills in: CNY in China, else USD",
            ".currency",
        ),
        Rule(
            "self.source == 'Static' || has(self.maxAge)",
            "maxAge is needed where a feed may fall silent",
            ".maxAge",
        ),
    )


class PriceListStatus(Model):
    """The observed prices."""

    observed_generation: int = Field(default=0, ge=0, description="The generation that this is about.")
    conditions: Conditions = Field(default_factory=list, description="Conditions, by type.")


class PriceList(Model):
    """A cluster's prices: what a GPU, a core and a GiB cost, by node class."""

    api_version: Literal["comptroller.dev/v1alpha1"] = API_VERSION
    kind: Literal["PriceList"] = "PriceList"
    metadata: Metadata
    spec: PriceListSpec
    status: PriceListStatus | None = None

    name_rules: ClassVar[tuple[Rule, ...]] = (Rule("self.size() <= 63", "must be at most 63 characters"),)
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("self.spec.currency == oldSelf.spec.currency", "spec.currency is immutable", ".spec.currency"),
    )
