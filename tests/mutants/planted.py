"""Mistakes that the simulation must find. Each plants one, and says which."""

import gzip
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import pytest

from comptroller import controller, plan, reports
from comptroller.actions import Action, Extend, Grant, Launch, Release
from comptroller.ledger import journal, names, snapshots, state
from comptroller.ledger.books import Books
from comptroller.ledger.entries import Ceiling, Entry, Post, Reserve, Void
from comptroller.ledger.journal import Journal
from comptroller.ledger.store import Ambiguous, Conflict, Exists, Unavailable
from comptroller.ledger.stores.memory import MemoryStore
from comptroller.plan import accounts, ended, leases, membership, settle, study
from comptroller.pricing import Quote
from comptroller.pricing.rates import HourlyRates
from comptroller_api.contract import Report

Patch: TypeAlias = pytest.MonkeyPatch
Mutant: TypeAlias = Callable[[Patch], None]

MUTANTS: dict[str, Mutant] = {}


def mutant(plant: Mutant) -> Mutant:
    MUTANTS[plant.__name__] = plant
    return plant


# -- the order of things -----------------------------------------------------------------------------------


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


# -- the ledger --------------------------------------------------------------------------------------------


@mutant
def append_retried_without_read_back(patch: Patch) -> None:
    """A number that is taken is taken to be our own write, whose reply was lost."""

    def settle(self: Journal, sequence: int, data: bytes) -> bytes:
        key, lost = journal.journal_key(self._namespace, sequence), False
        for _ in range(journal._TRIES):
            try:
                self._store.create(key, data)
            except Conflict:
                continue
            except Ambiguous:
                lost = True
            except Exists:
                if lost:
                    return data
                stored = self._read(sequence)
                return data if stored is None else stored
            else:
                return data
        raise Unavailable(key)

    patch.setattr(Journal, "_settle", settle)


@mutant
def snapshot_trusted_blindly(patch: Patch) -> None:
    """A snapshot is believed without asking the chain."""

    def trusting(compressed: bytes, _state: Any) -> Any:
        try:
            return state._restored(gzip.decompress(compressed))
        except (OSError, EOFError, ValueError) as error:
            raise state.UnreadableState(str(error)) from error

    patch.setattr(snapshots, "restore", trusting)


@mutant
def two_operators_without_fencing(patch: Patch) -> None:
    """A batch overwrites the one that is there."""

    def overwrite(self: MemoryStore, key: str, data: bytes) -> None:
        self.objects[key] = bytes(data)

    patch.setattr(MemoryStore, "create", overwrite)


# -- settling ----------------------------------------------------------------------------------------------


@mutant
def void_after_post(patch: Patch) -> None:
    """What a lease held beyond its expense is given back by a `Void` of its own."""
    spread = settle._spread

    def twice(attempt: Any, cost: int) -> Iterator[Entry]:
        for entry in spread(attempt, cost):
            yield entry
            if isinstance(entry, Post):
                yield Void(study=entry.study, trial=entry.trial, attempt=entry.attempt, lease=entry.lease)

    patch.setattr(settle, "_spread", twice)


@mutant
def post_without_hold(patch: Patch) -> None:
    """The whole expense is posted on the first lease, whatever that holds; the others are given back."""

    def at_once(attempt: Any, cost: int) -> Iterator[Entry]:
        place = {"study": attempt.study, "trial": attempt.trial, "attempt": attempt.number}
        for number, lease in enumerate(attempt.leases):
            if number == 0 and cost:
                yield Post(**place, lease=0, amount=cost, overrun=cost > lease.amount)
            else:
                yield Void(**place, lease=number)

    patch.setattr(settle, "_spread", at_once)


@mutant
def settle_what_still_runs(patch: Patch) -> None:
    """An attempt that was told to stop is settled without waiting for its end."""
    close = ended.Closing.settle

    def hasty(self: ended.Closing, run: Any) -> None:
        stopped = run.stop is not None and run.scheduled is not None
        close(self, replace(run, ended=self.world.now) if stopped and run.ended is None else run)

    patch.setattr(ended.Closing, "settle", hasty)


@mutant
def released_before_the_books_are_closed(patch: Patch) -> None:
    """A Job that is over may be deleted at once, and is settled if it is still there afterwards."""
    close = ended.Closing.settle

    def hasty(self: ended.Closing, run: Any) -> None:
        if run.ended is not None and not run.released:
            self.actions.append(Release(run.name))
        else:
            close(self, run)

    patch.setattr(ended.Closing, "settle", hasty)


@mutant
def given_up_by_what_watches_brought(patch: Patch) -> None:
    """What is not seen is taken not to be there, without a second look."""
    patch.setattr(ended.Closing, "_fresh", lambda _self: True)


@mutant
def the_gone_are_forgotten(patch: Patch) -> None:
    """Attempts whose study is gone are nobody's business."""
    patch.setattr(plan, "_ownerless", lambda world: ended.Closing(world, 0))


# -- what is held ------------------------------------------------------------------------------------------


@mutant
def held_at_the_price_of_the_day(patch: Patch) -> None:
    """A lease holds what it costs today, and not what it may cost at most."""
    patch.setattr(Quote, "worst", Quote.cost)


@mutant
def billed_above_the_cap_it_was_held_at(patch: Patch) -> None:
    """A price above the cap that sized the hold is billed in full."""
    patch.setattr(HourlyRates, "at_most", lambda self, _cap: self)


@mutant
def overhead_not_reserved(patch: Patch) -> None:
    """A lease holds its own seconds only, and not those that the enforcers take."""
    init = leases.Leases.__init__

    def without(self: leases.Leases, *args: Any) -> None:
        init(self, *args)
        self.overhead = 0

    patch.setattr(leases.Leases, "__init__", without)


@mutant
def lease_across_a_period(patch: Patch) -> None:
    """Nobody looks when a budget's period ends."""
    patch.setattr(leases.Leases, "_until_boundary", lambda self, _paid_from, _start: self._duration)


@mutant
def second_budget_ignored(patch: Patch) -> None:
    """A study is under the first budget that covers it, and no other."""
    covering = accounts.covering
    patch.setattr(accounts, "covering", lambda world, study: covering(world, study)[:1])


@mutant
def a_label_edit_leaves_a_budget(patch: Patch) -> None:
    """Labels alone decide which budgets cover a study, at each lease again."""
    patch.setattr(membership, "covers", lambda _world, budget, study: membership.selects(budget, study))


@mutant
def lowered_ceilings_ignored(patch: Patch) -> None:
    """A ceiling in the books only rises."""
    ceiling = accounts._ceiling

    def rising(books: Books, purse: Any, currency: str) -> Iterator[Ceiling]:
        known = books.accounts.get(purse.account)
        if known is None or purse.amount > known.requested:
            yield from ceiling(books, purse, currency)

    patch.setattr(accounts, "_ceiling", rising)


@mutant
def leases_renewed_without_room(patch: Patch) -> None:
    """A renewal asks no account, and the books do not either."""
    renewal, rule = leases.Leases.renewal, Books._room_rule

    def generous(self: leases.Leases, attempt: Any, run: Any) -> Reserve | None:
        room = dict(self._room)
        self._room.update(dict.fromkeys(room, 10**12))
        found = renewal(self, attempt, run)
        self._room.update(room)
        return found

    patch.setattr(leases.Leases, "renewal", generous)
    patch.setattr(Books, "_room_rule", lambda self, entry: None if entry.lease else rule(self, entry))


# -- what runs ---------------------------------------------------------------------------------------------


@mutant
def attempt_named_by_a_counter(patch: Patch) -> None:
    """An attempt's name says when it was planned, and not its place."""
    count = itertools.count()
    patch.setattr(leases, "attempt_name", lambda *place: f"{names.trial_name(*place[:3])}-{next(count)}")


@mutant
def job_deadline_longer_than_the_lease(patch: Patch) -> None:
    """A Job may run for its lease and the overhead, since both are held."""
    launch_of = study.StudyPass._launch_of

    def longer(self: study.StudyPass, trial: Any, attempt: Any) -> Launch:
        launch = launch_of(self, trial, attempt)
        seconds = attempt.granted + self.leases.overhead
        return replace(launch, assignment=launch.assignment.model_copy(update={"lease_seconds": seconds}))

    patch.setattr(study.StudyPass, "_launch_of", longer)


@mutant
def guard_not_told(patch: Patch) -> None:
    """A renewal raises the Job's deadline and nothing else."""
    keep = study.StudyPass._keep

    def silent(self: study.StudyPass, attempt: Any, run: Any, verdict: Any) -> None:
        keep(self, attempt, run, verdict)
        self.actions = [action for action in self.actions if not isinstance(action, Grant)]

    patch.setattr(study.StudyPass, "_keep", silent)


@mutant
def renewed_though_nothing_is_heard(patch: Patch) -> None:
    """A run on a node that is cut off gets one lease after another."""
    patch.setattr(leases, "_SILENCE", 10**9)


@mutant
def late_start_let_be(patch: Patch) -> None:
    """A Job that has not begun may begin at any time."""
    patch.setattr(leases.Leases, "too_late", lambda _self, _attempt: False)


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
def any_report_is_believed(patch: Patch) -> None:
    """A report need not be what the pod wrote, say of which attempt it is, nor be one."""

    def believed(_attempt: Any, _uri: str, data: bytes) -> Report:
        try:
            return Report.model_validate_json(data)
        except ValueError:
            return Report(name="", trial=0, attempt=0, rung=0, epochs=1, metrics={"accuracy": 0.5}, seconds=1)

    patch.setattr(reports, "_forged", lambda *_, **__: None)
    patch.setattr(reports, "checked", believed)
