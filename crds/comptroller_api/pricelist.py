"""`PriceList`: what a GPU, a core and a GiB cost, by node class, with a cap, a source and an age limit."""

from collections.abc import Sized
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
_DNS_LABEL = "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_PORT = "([1-9][0-9]{0,3}|[1-5][0-9]{4}|6([0-4][0-9]{3}|5([0-4][0-9]{2}|5([0-2][0-9]|3[0-5]))))"
_URL = rf"^https?://{_DNS_LABEL}(\.{_DNS_LABEL})*(:{_PORT})?(/[A-Za-z0-9._/-]*)?$"
_TAINT_VALUE = r"^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$"
FLOOR_PERCENT = 5
"""Percent of the cap under which an answer of a feed is implausible, where a class says nothing else.

Spot capacity is at most 90% cheaper than on-demand, which is 5% of a cap of twice the on-demand price.
"""
RATES = ("gpu", "cpu", "memoryGiB", "storageGiB")
"""What a node class prices, as the fields are called."""


def _is_empty(value: Sized) -> bool:
    """Nobody said anything, so there is nothing to write down."""
    return len(value) == 0


NodeSelector = Annotated[
    dict[str, LabelValue],
    Field(max_length=16),
    Rule(f"self.all(name, name.matches(r'{_LABEL}'))", "each key must be a label's name"),
]
"""Labels that nodes carry and pods select."""


class Toleration(Model):
    """A taint that pods tolerate (`core/v1` Toleration)."""

    key: Annotated[
        str,
        Field(pattern=_LABEL, max_length=317),
        matches(_LABEL, "must be a taint's key such as 'nvidia.com/gpu'"),
    ] = Field(description="The taint's key.")
    operator: Literal["Exists", "Equal"] = Field(
        default="Equal", description="Exists tolerates every value of the taint, Equal one."
    )
    value: (
        Annotated[
            str,
            Field(pattern=_TAINT_VALUE, max_length=63),
            matches(_TAINT_VALUE, "must be a taint's value: letters, digits, '-', '_' and '.'"),
        ]
        | None
    ) = Field(default=None, description="The taint's value, of Equal; empty if absent.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None, description="The taint's effect; every effect if absent."
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("self.operator != 'Exists' || !has(self.value)", "operator Exists has no value", ".value"),
    )


Tolerations = Annotated[list[Toleration], Field(max_length=16)]
"""Taints that pods tolerate."""


class Rates(Model):
    """Amounts per hour of one unit each. A rate that is absent is no price; "0" is free."""

    gpu: Amount | None = Field(default=None, description="Per hour of one GPU.")
    cpu: Amount | None = Field(default=None, description="Per hour of one core.")
    memory_gib: Amount | None = Field(
        default=None, alias="memoryGiB", description="Per hour of one GiB of memory."
    )
    storage_gib: Amount | None = Field(
        default=None,
        alias="storageGiB",
        description="Per hour of one GiB of ephemeral storage.",
    )


class Capacity(Rates):
    """What one capacity of a node class costs, and which nodes it is."""

    node_selector: NodeSelector = Field(
        default_factory=dict,
        exclude_if=_is_empty,
        description="Labels of its nodes, besides those of the class, such as karpenter.sh/capacity-type.",
    )
    tolerations: Tolerations = Field(
        default_factory=list,
        exclude_if=_is_empty,
        description="Taints of its nodes, besides those of the class.",
    )


def _under_cap(capacity: str, rate: str = "") -> Rule:
    """The cap of a rate is not under the current price."""
    cap, price = f"cap{rate}", f"{capacity}{rate}"
    absent = f"!has(self.{capacity})" + (f" || !has(self.{price}) || !has(self.{cap})" if rate else "")
    return Rule(
        f"{absent} || {amount_at_least(f'self.{cap}', f'self.{price}')}",
        f"{cap} must not be under {price}",
        f".{cap}",
        told=quoting(f"{cap} ", f"self.{cap}", f" must not be under {price} ", f"self.{price}"),
    )


def _of_rate(capacity: str, rate: str) -> Rule:
    return _under_cap(capacity, f".{rate}")


def _labels_of_its_own(capacity: str) -> Rule:
    """A capacity's labels come in addition to those of its class."""
    selector = f"self.{capacity}.nodeSelector"
    return Rule(
        f"!has(self.nodeSelector) || !has(self.{capacity}) || !has({selector}) ||"
        f" {selector}.all(name, !(name in self.nodeSelector))",
        f"{capacity}.nodeSelector must not repeat a label of nodeSelector",
        f".{capacity}.nodeSelector",
    )


def _capped(capacity: str, rate: str) -> Rule:
    """A rate that is charged has a cap."""
    return Rule(
        f"!has(self.{capacity}) || !has(self.{capacity}.{rate}) || has(self.cap.{rate})",
        f"cap.{rate} is needed where {capacity} has one",
        f".cap.{rate}",
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
    node_selector: NodeSelector = Field(
        default_factory=dict,
        description="Labels that its nodes carry and its pods select, such as nvidia.com/gpu.product.",
    )
    tolerations: Tolerations = Field(
        default_factory=list,
        exclude_if=_is_empty,
        description="Taints that its nodes carry and its pods tolerate, such as nvidia.com/gpu.",
    )
    on_demand: Capacity | None = Field(
        default=None,
        description="On-demand capacity: its nodes, and what it costs now where no feed says so.",
    )
    cap: Rates = Field(description="The most that may ever be charged; sizes leases.")
    spot: Capacity | None = Field(
        default=None, description="Spot capacity: its nodes, and what it costs now where no feed says so."
    )
    floor_percent: int | None = Field(
        default=None,
        ge=1,
        le=100,
        description="Of a feed, percent of cap: a lower price is implausible and holds launches;"
        f" {FLOOR_PERCENT} if absent.",
    )
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
    rules: ClassVar[tuple[Rule, ...]] = (
        *(
            rule(capacity, rate)
            for capacity in ("onDemand", "spot")
            for rate in RATES
            for rule in (_capped, _of_rate)
        ),
        Rule(
            " || ".join(f"(has(self.cap.{rate}) && self.cap.{rate}.matches('[1-9]'))" for rate in RATES)
            + " || has(self.gpuProfiles)",
            "cap must charge for something",
            ".cap",
        ),
        Rule(
            "!has(self.spot) || !has(self.onDemand) || (has(self.spot.nodeSelector) &&"
            " self.spot.nodeSelector.exists(name,"
            " !(has(self.nodeSelector) && name in self.nodeSelector) &&"
            " !(has(self.onDemand.nodeSelector) && name in self.onDemand.nodeSelector &&"
            " self.onDemand.nodeSelector[name] == self.spot.nodeSelector[name])))",
            "spot.nodeSelector must name a label that only spot nodes carry, such as"
            " karpenter.sh/capacity-type: spot",
            ".spot.nodeSelector",
        ),
        *map(_labels_of_its_own, ("onDemand", "spot")),
        Rule(
            "!has(self.spotQuantiles) || has(self.spot)",
            "spotQuantiles need spot, whose price they spread",
            ".spotQuantiles",
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
        Rule("self.source == 'Static' || !has(self.asOf)", "asOf is for source Static", ".asOf"),
        Rule("(self.source == 'AWS') == has(self.aws)", "source AWS, and no other, has aws", ".aws"),
        Rule(
            "(self.source == 'OpenCost') == has(self.openCost)",
            "source OpenCost, and no other, has openCost",
            ".openCost",
        ),
        Rule(
            "self.source != 'Static' || self.nodeClasses.all(c, has(c.onDemand) || has(c.spot))",
            "source Static needs onDemand or spot of each node class",
            ".nodeClasses",
        ),
        Rule(
            "self.source != 'AWS' || self.nodeClasses.all(c, has(c.instanceType))",
            "source AWS needs instanceType of each node class",
            ".nodeClasses",
        ),
        Rule(
            "self.source == 'AWS' || !self.nodeClasses.exists(c, has(c.instanceType))",
            "instanceType is for source AWS",
            ".nodeClasses",
        ),
        Rule(
            "self.source != 'Static' || !self.nodeClasses.exists(c, has(c.floorPercent))",
            "floorPercent is for feeds, and source Static has none",
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
    conditions: Conditions = Field(
        default_factory=list, description="Ready: each capacity of each node class has a price, or why not."
    )


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
