"""Mistakes in the order of actions, which is reserve, then launch, extend and grant."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from comptroller import controller, plan
from comptroller.actions import Action, Bury, Extend, Grant, Launch
from comptroller.ledger.accounts import AccountName
from comptroller.ledger.books import Books
from comptroller.ledger.entries import Entry, Reserve
from comptroller.ledger.journal import Journal
from comptroller.ledger.store import Unavailable
from comptroller.plan import launching, leases, running, settle, study
from comptroller.world import Run
from mutants.planted.registry import Patch, mutant

Decided: TypeAlias = tuple[list[Entry], list[Action]]
"""The entries and actions for one attempt."""


@mutant
def renew_before_reserve(patch: Patch) -> None:
    """A Job's deadline is raised, and its lease is reserved in the pass after."""
    keep = running._keep

    def wrong(terms: Any, verdict: Any, attempt: Any, run: Any) -> Decided:
        lease = terms.renewal(attempt, run) if verdict.state == "Active" else None
        if lease is None or run.deadline > attempt.granted:
            return keep(terms, verdict, attempt, run)
        return [], [Extend(run.name, attempt.granted + lease.seconds)]

    patch.setattr(running, "_keep", wrong)


@mutant
def grant_before_extend(patch: Patch) -> None:
    """The guard gets a lease before the Job's deadline is raised."""

    def swapped(terms: Any, verdict: Any, attempt: Any, run: Any) -> Decided:
        actions: list[Action] = []
        if run.granted < attempt.granted:
            actions.append(Grant(run.name, attempt.granted))
        elif run.deadline < attempt.granted:
            actions.append(Extend(run.name, attempt.granted))
        lease = terms.renewal(attempt, run) if verdict.state == "Active" else None
        return [] if lease is None else [lease], actions

    patch.setattr(running, "_keep", swapped)


@mutant
def launch_before_the_lease_is_durable(patch: Patch) -> None:
    """A pass launches what it reserves at once, and appends afterwards."""
    begin = launching.begin

    def hasty(view: Any, terms: Any, steps: Any, verdict: Any) -> tuple[list[Reserve], list[Any]]:
        granted, created = begin(view, terms, steps, verdict)
        known, trials, launched = view.world.books, {p.number: p.trial for p in view.progress}, list[Any]()
        for entry in granted:
            books = Books(prices=known.prices, accounts=known._copy_for([entry]).accounts)
            books.trials[entry.study, entry.trial] = list(known.attempts(entry.study, entry.trial))
            books.apply(entry)
            if entry.key in books.open:
                launched.append(running._launch(view, terms, trials[entry.trial], books.open[entry.key]))
        return granted, [*launched, *created]

    def last(world: Any, plan: Callable[[Any], list[Action]] = plan.plan) -> list[Action]:
        found = plan(world)
        # Launches first: a pass acts even with an `Append`, and the next one appends.
        launches: list[Action] = [
            a for a in found if isinstance(a, Launch) and a.assignment.name not in _names(world)
        ]
        return launches or found

    patch.setattr(study, "begin", hasty)
    patch.setattr(controller, "plan", last)


def _names(world: Any) -> set[str]:
    return {run.name for run in world.runs.values()}


@mutant
def launch_on_what_was_not_stored(patch: Patch) -> None:
    """An append that failed counts, as if it were certain to be stored later."""
    append = Journal.append

    def optimistic(self: Journal, entries: Sequence[Entry]) -> bool:
        try:
            return append(self, entries)
        except Unavailable:
            for entry in entries:
                self.books.apply(entry)
            return True

    patch.setattr(Journal, "append", optimistic)


@mutant
def launch_on_a_stale_balance(patch: Patch) -> None:
    """The room of an account is the room at its first use, and nobody checks it again."""
    first: dict[tuple[int, AccountName], int] = {}

    class Stale(dict[AccountName, int]):
        def __init__(self, room: dict[AccountName, int], place: int) -> None:
            super().__init__({name: first.setdefault((place, name), amount) for name, amount in room.items()})

    init = leases.Leases.__init__

    def stale(self: leases.Leases, world: Any, study: Any, prices: Any, room: dict[AccountName, int]) -> None:
        if world.now < min((key[0] for key in first), default=world.now):
            first.clear()  # another run
        init(self, world, study, prices, Stale(room, min((key[0] for key in first), default=world.now)))

    patch.setattr(leases.Leases, "__init__", stale)
    patch.setattr(Books, "_room_rule", lambda _self, _entry: None)


@mutant
def acts_though_another_writer_was_first(patch: Patch) -> None:
    """A plan is executed even if its batch lost its number to another one."""
    append = Journal.append

    def careless(self: Journal, entries: Sequence[Entry]) -> bool:
        append(self, entries)
        for entry in entries:
            self.books.apply(entry)
        return True

    patch.setattr(Journal, "append", careless)


@mutant
def closed_without_taking_its_name(patch: Patch) -> None:
    """An attempt that is not wanted any more is closed, though another operator may be launching it."""
    steer = running.steer

    def hasty(view: Any, terms: Any, verdict: Any, p: Any, attempt: Any, lowered: Any) -> Decided:
        entries, actions = steer(view, terms, verdict, p, attempt, lowered)
        if not any(isinstance(action, Bury) for action in actions):
            return entries, actions
        now = view.world.now
        nothing = Run(attempt.key, attempt.name, 0, 0, ended=now)
        return [*settle.settle(view.world.books, attempt, nothing, now, "Suspended", "unwanted")], []

    patch.setattr(study, "steer", hasty)
