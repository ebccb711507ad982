"""The CustomResourceDefinitions of `crds/*.yaml` and of the chart, made from the models."""

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
    """A column of `kubectl get`; one with `wide` is shown only with `-o wide`."""

    name: str
    path: str
    description: str
    type: Literal["string", "integer", "date"] = "string"
    wide: bool = False

    def to_json(self) -> dict[str, Any]:
        out = {"name": self.name, "type": self.type, "jsonPath": self.path, "description": self.description}
        return {**out, "priority": 1} if self.wide else out


def _condition(name: str, *, wide: bool = False) -> Column:
    """Return the column with the status of one condition, found by its type."""
    path = f'.status.conditions[?(@.type=="{name}")].status'
    return Column(name, path, f"True if the object is {name.lower()}.", wide=wide)


_AGE = Column("Age", ".metadata.creationTimestamp", "Time since the creation.", "date")


@dataclass(frozen=True)
class Kind:
    """The parts of a CRD other than the schema."""

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
            Column("Trials", ".status.progress", "Ended and planned trials."),
            Column("Spent", ".status.spent", "Settled spend."),
            Column("Ceiling", ".spec.ceilings.spend.amount", "The most that the study may spend."),
            Column("Currency", ".spec.ceilings.spend.currency", "Currency of the amounts.", wide=True),
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
            Column("Study", ".spec.study", "The study of the trial."),
            Column("State", ".status.state", "Pending, Running, Suspended or Ended."),
            Column("Outcome", ".status.outcome", "The way in which the trial ended."),
            Column("Spent", ".status.spent", "Settled spend."),
            Column("Reason", ".status.reason", "The reason of the outcome.", wide=True),
            _AGE,
        ),
    ),
    Kind(
        Budget, "budgets", "bud", "Namespaced",
        (
            Column("Period", ".spec.period", "The time after which the amount may be spent again."),
            Column("Amount", ".spec.amount", "The most that may be spent in a period."),
            Column("Currency", ".spec.currency", "Currency of the amounts."),
            Column("Spent", ".status.spent", "Settled spend of this period."),
            Column("Held", ".status.held", "Reserved for leases.", wide=True),
            Column("Studies", ".status.studies", "Number of studies that the budget selects.", "integer"),
            _condition("Ready", wide=True),
            _condition("Exhausted"),
            _AGE,
        ),
    ),
    Kind(
        PriceList, "pricelists", "pl", "Cluster",
        (
            Column("Source", ".spec.source", "The source of the prices."),
            Column("Currency", ".spec.currency", "Currency of the prices."),
            Column("As of", ".spec.asOf", "The time at which the prices were correct.", "date"),
            _condition("Ready"),
            _AGE,
        ),
    ),
)  # fmt: skip


@cache
def schema(kind: Kind) -> Schema:
    """Return the structural schema of a kind's objects. It is cached, so copy it before a change."""
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
    """Return the CustomResourceDefinition of a kind."""
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
