"""Mistakes in the order of what is done: reserve, then launch, extend and grant."""

from collections.abc import Callable, Sequence
from typing import Any

from comptroller import controller, plan
from comptroller.actions import Action, Bury, Extend, Grant, Launch
from comptroller.ledger.books import Books
from comptroller.ledger.entries import Entry, Reserve
from comptroller.ledger.journal import Journal
from comptroller.ledger.store import Unavailable
from comptroller.plan import leases, settle, study
from comptroller.world import Run
from mutants.planted.registry import Patch, mutant


@mutant
def renew_before_reserve(patch: Patch) -> None:
    """A Job's deadline is raised, and its lease is reserved in the pass after."""
    keep = study.StudyPass._keep

    def wrong(self: study.StudyPass, attempt: Any, run: Any, verdict: Any) -> None:
        lease = self.leases.renewal(attempt, run) if verdict.state == "Active" else None
        if lease is None or run.deadline > attempt.granted:
            keep(self, attempt, run, verdict)
        else:
            self.actions.append(Extend(run.name, attempt.granted + lease.seconds))

    patch.setattr(study.StudyPass, "_keep", wrong)


@mutant
def grant_before_extend(patch: Patch) -> None:
    """The guard is told of a lease before the Job's deadline is raised."""

    def swapped(self: study.StudyPass, attempt: Any, run: Any, verdict: Any) -> None:
        if run.granted < attempt.granted:
            self.actions.append(Grant(run.name, attempt.granted))
        elif run.deadline < attempt.granted:
            self.actions.append(Extend(run.name, attempt.granted))
        if verdict.state == "Active" and (lease := self.leases.renewal(attempt, run)) is not None:
            self.entries.append(lease)

    patch.setattr(study.StudyPass, "_keep", swapped)


@mutant
def launch_before_the_lease_is_durable(patch: Patch) -> None:
    """What a pass reserves it launches too, and appends afterwards."""
    propose = study.StudyPass._propose

    def hasty(self: study.StudyPass, everything: Any, slots: int) -> None:
        trials = {p.number: p.trial for p in everything}
        for entry in [e for e in self.entries if isinstance(e, Reserve) and e.lease == 0]:
            books = Books(
                prices=self.world.books.prices, accounts=self.world.books._copy_for([entry]).accounts
            )
            books.trials[entry.study, entry.trial] = list(self.world.books.attempts(entry.study, entry.trial))
            books.apply(entry)
            if entry.key in books.open:
                self.actions.append(self._launch_of(trials[entry.trial], books.open[entry.key]))
        propose(self, everything, slots)

    def last(world: Any, plan: Callable[[Any], list[Action]] = plan.plan) -> list[Action]:
        found = plan(world)
        # Launches first: a pass without an `Append` in front acts, and the next one appends.
        launches = [a for a in found if isinstance(a, Launch) and a.assignment.name not in _names(world)]
        return launches or found

    patch.setattr(study.StudyPass, "_propose", hasty)
    patch.setattr(controller, "plan", last)


def _names(world: Any) -> set[str]:
    return {run.name for run in world.runs.values()}


@mutant
def launch_on_what_was_not_stored(patch: Patch) -> None:
    """An append that failed counts, since it will surely be stored later."""
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
    """What accounts have room for is what they had when they were first seen, and nobody checks it again."""
    first: dict[tuple[int, str], int] = {}

    class Stale(dict[str, int]):
        def __init__(self, room: dict[str, int], place: int) -> None:
            super().__init__({name: first.setdefault((place, name), amount) for name, amount in room.items()})

    init = leases.Leases.__init__

    def stale(self: leases.Leases, world: Any, study: Any, prices: Any, room: dict[str, int]) -> None:
        if world.now < min((key[0] for key in first), default=world.now):
            first.clear()  # another run
        init(self, world, study, prices, Stale(room, min((key[0] for key in first), default=world.now)))

    patch.setattr(leases.Leases, "__init__", stale)
    patch.setattr(Books, "_room_rule", lambda _self, _entry: None)


@mutant
def acts_though_another_writer_was_first(patch: Patch) -> None:
    """What was planned is done, also where the batch it rests on lost its number."""
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
    steer = study.StudyPass._steer

    def hasty(self: study.StudyPass, p: Any, attempt: Any, verdict: Any, *, wanted: bool) -> None:
        before = len(self.actions)
        steer(self, p, attempt, verdict, wanted=wanted)
        if any(isinstance(action, Bury) for action in self.actions[before:]):
            del self.actions[before:]
            key, now = (attempt.study, attempt.trial, attempt.number), self.world.now
            nothing = Run(key, attempt.name, 0, 0, ended=now)
            self.entries += settle.settle(self.world.books, attempt, nothing, now, "Suspended", "unwanted")

    patch.setattr(study.StudyPass, "_steer", hasty)
