"""The CustomResourceDefinitions, made from the models, as `crds/*.yaml` and the chart hold them."""

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from comptroller_api.budget import Budget
from comptroller_api.meta import GROUP, RULES, VERSION
from comptroller_api.pricelist import PriceList
from comptroller_api.schema import Schema, structural
from comptroller_api.study import Study
from comptroller_api.trial import Trial

Object = Study | Trial | Budget | PriceList
"""Any object of the API."""


@dataclass(frozen=True)
class Column:
    """A column of `kubectl get`; `wide` shows it only with `-o wide`."""

    name: str
    path: str
    description: str
    type: Literal["string", "integer", "date"] = "string"
    wide: bool = False

    def to_json(self) -> dict[str, Any]:
        out = {"name": self.name, "type": self.type, "jsonPath": self.path, "description": self.description}
        return {**out, "priority": 1} if self.wide else out


def _condition(name: str, *, wide: bool = False) -> Column:
    """The status of one condition, found by its type."""
    path = f'.status.conditions[?(@.type=="{name}")].status'
    return Column(name, path, f"Whether it is {name.lower()}.", wide=wide)


_AGE = Column("Age", ".metadata.creationTimestamp", "Since its creation.", "date")


@dataclass(frozen=True)
class Kind:
    """What a CRD says beside the schema."""

    model: type[Study | Trial | Budget | PriceList]
    plural: str
    short: str
    scope: Literal["Namespaced", "Cluster"]
    columns: tuple[Column, ...]

    @property
    def name(self) -> str:
        return self.model.__name__


KINDS = (
    Kind(
        Study, "studies", "st", "Namespaced",
        (
            Column("Trials", ".status.progress", "Trials ended, of those planned."),
            Column("Spent", ".status.spent", "Settled spend."),
            Column("Ceiling", ".spec.ceilings.spend.amount", "The most that it may spend."),
            Column("Currency", ".spec.ceilings.spend.currency", "Of the amounts.", wide=True),
            Column("Held", ".status.held", "Reserved for leases.", wide=True),
            Column("Best", ".status.best", "The best trial and its first objective."),
            _condition("Complete"),
            _condition("Stalled", wide=True),
            _AGE,
        ),
    ),
    Kind(
        Trial, "trials", "tri", "Namespaced",
        (
            Column("Study", ".spec.study", "Whose configuration it is."),
            Column("State", ".status.state", "Pending, Running, Suspended or Ended."),
            Column("Outcome", ".status.outcome", "How it ended."),
            Column("Spent", ".status.spent", "Settled spend."),
            Column("Reason", ".status.reason", "Why.", wide=True),
            _AGE,
        ),
    ),
    Kind(
        Budget, "budgets", "bud", "Namespaced",
        (
            Column("Period", ".spec.period", "After which the amount may be spent again."),
            Column("Amount", ".spec.amount", "What may be spent in a period."),
            Column("Currency", ".spec.currency", "Of the amounts."),
            Column("Spent", ".status.spent", "Settled spend of this period."),
            Column("Held", ".status.held", "Reserved for leases.", wide=True),
            Column("Studies", ".status.studies", "How many studies it selects.", "integer"),
            _condition("Ready", wide=True),
            _condition("Exhausted"),
            _AGE,
        ),
    ),
    Kind(
        PriceList, "pricelists", "pl", "Cluster",
        (
            Column("Source", ".spec.source", "Where the prices come from."),
            Column("Currency", ".spec.currency", "Of the prices."),
            Column("As of", ".spec.asOf", "When the prices were true.", "date"),
            _condition("Ready"),
            _AGE,
        ),
    ),
)  # fmt: skip


@cache
def schema(kind: Kind) -> Schema:
    """The structural schema of a kind's objects. It is kept: copy it before a change."""
    name = {
        "type": "string",
        "description": "The object's name.",
        "maxLength": 253,
        RULES: [rule.to_json() for rule in kind.model.name_rules],
    }
    return structural(
        kind.model,
        {
            "apiVersion": {"type": "string", "maxLength": 64, "description": f"{GROUP}/{VERSION}."},
            "kind": {"type": "string", "maxLength": 64, "description": f"{kind.name}."},
            "metadata": {
                "type": "object",
                "properties": {"name": name},
            },
        },
    )


def definition(kind: Kind) -> dict[str, Any]:
    """The CustomResourceDefinition of a kind."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": kind.name,
                "listKind": f"{kind.name}List",
                "plural": kind.plural,
                "singular": kind.name.lower(),
                "shortNames": [kind.short],
                "categories": ["comptroller"],
            },
            "scope": kind.scope,
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [column.to_json() for column in kind.columns],
                    "schema": {"openAPIV3Schema": schema(kind)},
                }
            ],
        },
    }
