"""`PriceList`: the prices of a GPU, a core and a GiB by node class, with a cap, a source and an age limit."""

from collections.abc import Sized
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from pydantic.alias_generators import to_camel

from comptroller_api.meta import (
    API_VERSION,
    LABEL_KEY,
    LONGEST_LABEL_KEY,
    Conditions,
    Labels,
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

_INSTANCE_TYPE = r"^[a-z0-9-]+\.[a-z0-9-]+$"
_REGION = r"^[a-z]{2}(-[a-z]+)+-[0-9]$"
_DNS_LABEL = "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_PORT = "([1-9][0-9]{0,3}|[1-5][0-9]{4}|6([0-4][0-9]{3}|5([0-4][0-9]{2}|5([0-2][0-9]|3[0-5]))))"
_URL = rf"^https?://{_DNS_LABEL}(\.{_DNS_LABEL})*(:{_PORT})?(/[A-Za-z0-9._/-]*)?$"
_TAINT_VALUE = r"^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$"
FLOOR_PERCENT = 5
"""The default percentage of the cap below which a feed's price is implausible.

Spot capacity is at most 90% cheaper than on-demand, which is 5% of a cap of twice the on-demand price.
"""
RATES = ("gpu", "cpu", "memoryGiB", "storageGiB")
"""The names of the fields with a node class's rates."""
FEEDS = {"AWS": "aws", "OpenCost": "open_cost"}
"""The field with the terms of each source that is a service; by the name of the source."""


def _is_empty(value: Sized) -> bool:
    """Return whether a value is empty, so that it is left out."""
    return len(value) == 0


NodeSelector = Labels
"""Labels that nodes carry and pods select."""


class Toleration(Model):
    """The toleration of a taint (`core/v1` Toleration)."""

    key: Annotated[
        str,
        Field(pattern=LABEL_KEY, max_length=LONGEST_LABEL_KEY),
        matches(LABEL_KEY, "must be a taint's key such as 'nvidia.com/gpu'"),
    ] = Field(description="The taint's key.")
    operator: Literal["Exists", "Equal"] = Field(
        default="Equal", description="Exists tolerates every value of the taint, Equal only one."
    )
    value: (
        Annotated[
            str,
            Field(pattern=_TAINT_VALUE, max_length=63),
            matches(_TAINT_VALUE, "must be a taint's value: letters, digits, '-', '_' and '.'"),
        ]
        | None
    ) = Field(default=None, description="The taint's value for Equal; empty if absent.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None, description="The taint's effect; every effect if absent."
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("self.operator != 'Exists' || !has(self.value)", "operator Exists has no value", ".value"),
    )


Tolerations = Annotated[list[Toleration], Field(max_length=16)]
"""Tolerations of pods."""


class Rates(Model):
    """Amounts for one unit and one hour. A rate that is absent is no price; "0" is free."""

    gpu: Amount | None = Field(default=None, description="The price of one GPU for an hour.")
    cpu: Amount | None = Field(default=None, description="The price of one core for an hour.")
    memory_gib: Amount | None = Field(
        default=None, alias="memoryGiB", description="The price of one GiB of memory for an hour."
    )
    storage_gib: Amount | None = Field(
        default=None,
        alias="storageGiB",
        description="The price of one GiB of ephemeral storage for an hour.",
    )


class Capacity(Rates):
    """The price of one capacity of a node class, and the selection of its nodes."""

    node_selector: NodeSelector = Field(
        default_factory=dict,
        exclude_if=_is_empty,
        description="Labels of the nodes in addition to those of the class, such as"
        " karpenter.sh/capacity-type.",
    )
    tolerations: Tolerations = Field(
        default_factory=list,
        exclude_if=_is_empty,
        description="Tolerations for the nodes' taints in addition to those of the class.",
    )


def _under_cap(capacity: str, rate: str = "") -> Rule:
    """Return the rule that the cap of a rate is not under the current price."""
    cap, price = f"cap{rate}", f"{capacity}{rate}"
    absent = f"!has(self.{capacity})" + (f" || !has(self.{price}) || !has(self.{cap})" if rate else "")
    return Rule(
        f"{absent} || {amount_at_least(f'self.{cap}', f'self.{price}')}",
        f"{cap} must not be under {price}",
        f".{cap}",
        message_expression=quoting(f"{cap} ", f"self.{cap}", f" must not be under {price} ", f"self.{price}"),
    )


def _of_rate(capacity: str, rate: str) -> Rule:
    return _under_cap(capacity, f".{rate}")


def _labels_of_its_own(capacity: str) -> Rule:
    """Return the rule that a capacity does not repeat labels of its class."""
    selector = f"self.{capacity}.nodeSelector"
    return Rule(
        f"!has(self.nodeSelector) || !has(self.{capacity}) || !has({selector}) ||"
        f" {selector}.all(name, !(name in self.nodeSelector))",
        f"{capacity}.nodeSelector must not repeat a label of nodeSelector",
        f".{capacity}.nodeSelector",
    )


def _capped(capacity: str, rate: str) -> Rule:
    """Return the rule that a rate has a cap."""
    return Rule(
        f"!has(self.{capacity}) || !has(self.{capacity}.{rate}) || has(self.cap.{rate})",
        f"cap.{rate} is needed where {capacity} has one",
        f".cap.{rate}",
    )


class GpuProfile(Model):
    """A part of a GPU, or another kind of GPU, with its own price."""

    resource: GpuResource = Field(
        description="The resource that nodes advertise, such as nvidia.com/mig-1g.10gb."
    )
    on_demand: Amount | None = Field(
        default=None, description="The current on-demand price of one for an hour."
    )
    spot: Amount | None = Field(default=None, description="The current spot price of one for an hour.")
    cap: Amount = Field(description="The highest price of one for an hour that may ever be charged.")

    rules: ClassVar[tuple[Rule, ...]] = (_under_cap("onDemand"), _under_cap("spot"))


class Quantile(Model):
    """One point of a distribution: with probability `at`, the price is at most `percent`."""

    at: int = Field(ge=0, le=100, description="The probability in percent.")
    percent: int = Field(ge=1, le=10_000, description="The price in percent of the current price.")


class NodeClass(Model):
    """A kind of node: the selection of its nodes and their prices."""

    name: NodeClassName = Field(description="The name of the node class in studies.")
    node_selector: NodeSelector = Field(
        default_factory=dict,
        description="Labels that the nodes carry and the pods select, such as nvidia.com/gpu.product.",
    )
    tolerations: Tolerations = Field(
        default_factory=list,
        exclude_if=_is_empty,
        description="Tolerations of the pods for the nodes' taints, such as nvidia.com/gpu.",
    )
    on_demand: Capacity | None = Field(
        default=None,
        description="On-demand capacity: its nodes, and its current price if no feed gives one.",
    )
    cap: Rates = Field(description="The highest rates that may ever be charged; leases are sized by them.")
    spot: Capacity | None = Field(
        default=None, description="Spot capacity: its nodes, and its current price if no feed gives one."
    )
    floor_percent: int | None = Field(
        default=None,
        ge=1,
        le=100,
        description="Percentage of cap below which a feed's price is implausible and holds launches;"
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
        description="The distribution of the spot price relative to the current one; `plan` uses it.",
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
    ) = Field(
        default=None, description="The AWS instance type, whose price is split in the proportions of cap."
    )
    rules: ClassVar[tuple[Rule, ...]] = (
        *(
            rule(capacity, rate)
            for capacity in ("onDemand", "spot")
            for rate in RATES
            for rule in (_capped, _of_rate)
        ),
        Rule(
            " || ".join(f"(has(self.cap.{rate}) && self.cap.{rate}.matches('[1-9]'))" for rate in RATES)
            + " || (has(self.gpuProfiles) && self.gpuProfiles.exists(p, p.cap.matches('[1-9]')))",
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
    """The prices to read from AWS."""

    region: Annotated[
        str,
        Field(pattern=_REGION, max_length=32),
        matches(_REGION, "must be a region such as 'eu-central-1'"),
    ] = Field(description="The region whose offers and spot prices count.")
    zones: Annotated[list[Annotated[str, Field(max_length=32)]], Field(max_length=16)] = Field(
        default_factory=list,
        exclude_if=_is_empty,
        description="Availability zones whose spot prices count; all if empty.",
    )
    history: Duration = Field(
        default="168h", description="The length of the history of spot prices that gives their distribution."
    )


class OpenCost(Model):
    """The OpenCost API to read; its currency is assumed to be the list's."""

    url: Annotated[
        str,
        Field(pattern=_URL, max_length=256),
        matches(_URL, "must be a URL such as 'http://opencost.opencost:9003'"),
    ] = Field(description="The URL of OpenCost's API.")
    window: Duration = Field(default="24h", description="The time over which nodes' costs are averaged.")


class PriceListSpec(Model):
    """The desired prices."""

    currency: Currency = Field(description="An ISO 4217 code such as USD. Immutable.")
    source: Literal["Static", "AWS", "OpenCost"] = Field(
        default="Static", description="The source of the prices. The caps always come from this list."
    )
    as_of: str | None = Field(
        default=None,
        description="For source Static: the time at which the prices were correct, such as"
        " 2030-01-31T00:00:00Z.",
        json_schema_extra={"format": "date-time"},
    )
    max_age: Duration | None = Field(
        default=None, description="The age at which prices become stale and hold launches."
    )
    priority: int = Field(
        default=0,
        ge=-1000,
        le=1000,
        description="If several lists price a class, the one with the highest priority wins; with equal"
        " priorities, none prices it.",
    )
    aws: Aws | None = None
    open_cost: OpenCost | None = None
    node_classes: Annotated[list[NodeClass], Field(min_length=1, max_length=64), ListMap("name")] = Field(
        description="Kinds of nodes, by name."
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("self.source != 'Static' || has(self.asOf)", "source Static needs asOf", ".asOf"),
        Rule("self.source == 'Static' || !has(self.asOf)", "asOf is for source Static", ".asOf"),
        *(
            Rule(
                f"(self.source == '{source}') == has(self.{terms})",
                f"source {source}, and no other, has {terms}",
                f".{terms}",
            )
            for source, terms in zip(FEEDS, map(to_camel, FEEDS.values()), strict=True)
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

    @property
    def terms(self) -> Model | None:
        """Return the terms of the source, such as `aws`; `None` for source Static."""
        found: Model | None = getattr(self, FEEDS[self.source]) if self.source in FEEDS else None
        return found


class PriceListStatus(Model):
    """The observed state of the prices."""

    observed_generation: int = Field(default=0, ge=0, description="The metadata.generation of this status.")
    conditions: Conditions = Field(
        default_factory=list,
        description="Ready is True if each capacity of each node class has a price; otherwise it gives the"
        " reason.",
    )


class PriceList(Model):
    """A cluster's prices of a GPU, a core and a GiB, by node class."""

    api_version: Literal["comptroller.dev/v1alpha1"] = API_VERSION
    kind: Literal["PriceList"] = "PriceList"
    metadata: Metadata
    spec: PriceListSpec
    status: PriceListStatus | None = None

    name_rules: ClassVar[tuple[Rule, ...]] = (Rule("self.size() <= 63", "must be at most 63 characters"),)
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("self.spec.currency == oldSelf.spec.currency", "spec.currency is immutable", ".spec.currency"),
    )
