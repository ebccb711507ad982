"""A row of the table: a rule, a scene that shows it, and what `plan` does there, in lines for people.

A line begins with the action's verb, or for an entry of the ledger with the entry's id, and has every field
that decides something. Times are seconds from `NOW`. Amounts are micro-units.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import pytest

from comptroller import actions as todo
from comptroller.ledger import entries as ledger
from comptroller.plan import plan
from support.worlds import NOW
from unit.plan.scene import Scene

RECORDS = (todo.RecordStudy, todo.RecordTrial, todo.RecordBudget)


@dataclass(frozen=True, repr=False)
class Row:
    """The actions of `plan` in a scene. A field that is left out is not compared."""

    rule: str
    scene: Scene
    does: Sequence[str] | None = None
    """Every action but records of statuses, in order."""
    study: str | None = None
    """The true conditions that are recorded of study u1; a text that ends in `...` is how they begin."""
    trials: Mapping[int, str] = field(default_factory=dict)
    """The recorded statuses of trials of study u1, by number: the state, the outcome and the reason."""
    budgets: Mapping[str, str] = field(default_factory=dict)
    """The true conditions that are recorded of budgets."""
    launch: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the first launch."""
    status: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the recorded status of study u1, or of a budget where the path begins with its name."""

    def __repr__(self) -> str:
        """Return the rule: a failure shows the lines that differ, not the world."""
        return f"<{self.rule}>"

    def check(self) -> None:
        """Plan once and compare."""
        done = plan(self.scene.world)
        if self.does is not None:
            assert lines(action for action in done if not isinstance(action, RECORDS)) == list(self.does)
        if self.study is not None:
            found, whole = conditions(study_of(done).status), self.study.removesuffix("...")
            assert (found if whole == self.study else found[: len(whole)]) == whole
        recorded = {a.trial.spec.number: trial(a) for a in done if isinstance(a, todo.RecordTrial)}
        assert {number: recorded.get(number) for number in self.trials} == dict(self.trials)
        budgets = {a.budget.metadata.name: a.status for a in done if isinstance(a, todo.RecordBudget)}
        assert {name: conditions(budgets[name]) for name in self.budgets} == dict(self.budgets)
        for path, value in self.launch.items():
            (first, *_) = [action for action in done if isinstance(action, todo.Launch)]
            assert (path, attrgetter(path)(first)) == (path, value)
        for path, value in self.status.items():
            owner, _, rest = path.partition(".")
            if owner in budgets:
                found = attrgetter(rest)(budgets[owner])
            else:
                found = attrgetter(path)(study_of(done).status)
            assert (path, found) == (path, value)


def table(*rows: Row) -> pytest.MarkDecorator:
    """Run a test once for each row, under the name of its rule."""
    assert len({row.rule for row in rows}) == len(rows)
    for row in rows:
        compared = (
            row.does,
            row.study,
            row.trials or None,
            row.budgets or None,
            row.launch or None,
            row.status or None,
        )
        assert any(part is not None for part in compared), row
    return pytest.mark.parametrize("row", [pytest.param(row, id=row.rule.replace(" ", "_")) for row in rows])


def study_of(done: Sequence[todo.Action]) -> todo.RecordStudy:
    """The record of study u1."""
    (record,) = [a for a in done if isinstance(a, todo.RecordStudy) and a.study.metadata.uid == "u1"]
    return record


def lines(done: Iterator[todo.Action] | Sequence[todo.Action]) -> list[str]:
    """Every action in a line of its own; each entry that is appended, too."""
    return [text for action in done for text in _lines(action)]


def conditions(status: Any) -> str:
    """The conditions that are true, and a `Ready` that is not; those that say the same are listed once."""
    found: dict[str, list[str]] = {}
    for one in status.conditions:
        if one.status == "True" or one.type == "Ready":
            kind = one.type if one.status == "True" else f"not {one.type}"
            found.setdefault(f"{one.reason}: {one.message}".removesuffix(": "), []).append(kind)
    return "; ".join(f"{'+'.join(kinds)} {why}" for why, kinds in found.items())


def trial(action: todo.RecordTrial) -> str:
    """The state of a recorded trial, its outcome and why."""
    status = action.status
    return f"{' '.join(filter(None, (status.state, status.outcome)))}: {status.reason}".removesuffix(": ")


def _at(moment: int) -> str:
    return "never" if moment == 0 else f"{moment - NOW:+d}" if moment != NOW else "now"


def _lines(action: todo.Action) -> Iterator[str]:  # noqa: C901, PLR0912  (one case an action)
    match action:
        case todo.Append(entries):
            yield from map(_entry, entries)
        case todo.CreateTrial(study, made):
            yield f"create {study.metadata.uid}/{made.spec.number}: {made.spec.proposal.phase}"
        case todo.Launch(_, made, work):
            epochs = f"epoch {work.epochs} of {work.total_epochs}"
            yield f"launch {work.name} rung {work.rung}: {epochs}, {work.lease_seconds} s"
        case todo.Bury(_, name, reason, owner):
            yield f"bury {name} with {owner.kind if owner else 'nothing'}: {reason}"
        case todo.Refresh():
            yield "refresh"
        case todo.Extend(name, seconds):
            yield f"extend {name} to {seconds} s"
        case todo.Grant(name, seconds):
            yield f"grant {name} {seconds} s"
        case todo.Introduce(name, address):
            yield f"introduce {name} to {address}"
        case todo.Stop(name, end, reason):
            yield f"stop {name} {end}: {reason}"
        case todo.Expire(name):
            yield f"expire {name}"
        case todo.Release(name):
            yield f"release {name}"
        case todo.RecordTrial(made):
            yield f"record {made.spec.study_uid}/{made.spec.number} {trial(action)}"
        case todo.RecordStudy(study, status):
            yield f"record {study.metadata.uid} {conditions(status)}"
        case todo.RecordBudget(budget, status):
            yield f"record {budget.metadata.name} {conditions(status)}"
        case todo.Protect(study):
            yield f"protect {study.metadata.uid}"
        case todo.Unprotect(study):
            yield f"unprotect {study.metadata.uid}"


def _entry(entry: ledger.Entry) -> str:  # noqa: C901, PLR0911  (one case an entry)
    match entry:
        case ledger.Ceiling():
            more = {"carried": entry.carried, "pending": entry.pending, "credited": entry.credited}
            found = [f"{name} {amount:_}" for name, amount in more.items() if amount]
            return ", ".join([f"{entry.id}: {entry.amount:_} {entry.currency}", *found])
        case ledger.Transfer():
            return f"{entry.id}: {entry.amount:_} to {entry.target}"
        case ledger.Price():
            rates = ", ".join(f"{name} {rate:_}" for name, rate in entry.rates.items() if rate)
            return f"{entry.id}: {rates} since {_at(entry.since)}"
        case ledger.Approval():
            return f"{entry.id}: {entry.amount:_} by {entry.approver}"
        case ledger.Reserve():
            accounts = ", ".join(entry.accounts)
            return f"{entry.id} rung {entry.rung}: {entry.seconds} s, {entry.amount:_} on {accounts}"
        case ledger.Start():
            return f"{entry.id}: {entry.job} at {_at(entry.at)}"
        case ledger.Place():
            where = f"{entry.capacity} {entry.node_class}".rstrip()
            return f"{entry.id}: {where} since {_at(entry.since)}"
        case ledger.Post():
            return f"{entry.id}: {'overrun ' if entry.overrun else ''}{entry.amount:_}"
        case ledger.Void():
            return f"{entry.id}: void"
        case ledger.Close():
            span = f"{entry.seconds} s, {_at(entry.started)} to {_at(entry.ended)}"
            return f"{entry.id} {entry.end}: {entry.reason or '-'}; {span}"
        case ledger.Adjust():
            return f"{entry.id}: {entry.amount:_}, {entry.seconds} s"
        case _:
            return entry.id
