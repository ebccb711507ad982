"""The metrics of the operator for Prometheus."""

from collections import defaultdict
from typing import TypeAlias

from prometheus_client import Counter, Gauge

from comptroller.actions import Action
from comptroller.world import World
from comptroller_api.money import MICRO

ACTIONS = Counter("comptroller_actions", "Actions requested by plan.", ["namespace", "action"])
FAILURES = Counter("comptroller_pass_failures", "Passes that raised and will be tried again.", ["namespace"])
LOOP_FAILURES = Counter(
    "comptroller_loop_failures", "Rounds of the operator's own loops that raised.", ["loop"]
)
UNPUBLISHED = Counter(
    "comptroller_ledger_publish_failures",
    "Heads of a namespace's ledger that could not be published in the cluster.",
    ["namespace"],
)
OVERRUNS = Gauge("comptroller_overruns", "Amounts posted above what was held: bugs.", ["namespace"])
MONEY = Gauge(
    "comptroller_account",
    "Money of an account, in its currency.",
    ["namespace", "account", "currency", "part"],
)
TRIALS = Gauge("comptroller_trials", "Trials of a study by state.", ["namespace", "study", "state"])


_Series: TypeAlias = dict[tuple[str, ...], float]
_reported: dict[tuple[Gauge, str], set[tuple[str, ...]]] = {}
"""The labels of each gauge that a namespace's last pass set."""


def observe(namespace: str, world: World, actions: list[Action]) -> None:
    """Record one pass."""
    for action in actions:
        ACTIONS.labels(namespace, type(action).__name__).inc()
    OVERRUNS.labels(namespace).set(world.books.overruns)
    _report(MONEY, namespace, _money(namespace, world))
    _report(TRIALS, namespace, _trials(namespace, world))


def _money(namespace: str, world: World) -> _Series:
    # The books keep the accounts of all studies that ever were; a series each would be more every day.
    there = {study.metadata.uid for study in world.studies} | {refused.uid for refused in world.refused}
    return {
        (namespace, name, account.currency, part): micro / MICRO
        for name, account in world.books.accounts.items()
        if account.held or name.study is None or name.study in there
        for part, micro in (("ceiling", account.ceiling), ("spent", account.spent), ("held", account.held))
    }


def _trials(namespace: str, world: World) -> _Series:
    found: _Series = defaultdict(float)
    for study in world.studies:
        for trial in world.trials.get(study.metadata.uid, ()):
            state = trial.status.outcome or trial.status.state if trial.status else "Pending"
            found[namespace, study.metadata.name, state] += 1
    return found


def _report(gauge: Gauge, namespace: str, now: _Series) -> None:
    """Set the present values, and remove reported ones that are gone: the last trial has left a state."""
    for labels in _reported.get((gauge, namespace), set()) - now.keys():
        gauge.remove(*labels)
    for labels, value in now.items():
        gauge.labels(*labels).set(value)
    _reported[gauge, namespace] = set(now)
