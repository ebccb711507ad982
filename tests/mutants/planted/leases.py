"""Mistakes in leases: what they hold, how long they run, and how they are enforced."""

import itertools
from dataclasses import replace
from typing import Any

from comptroller.actions import Grant, Launch
from comptroller.ledger import names
from comptroller.ledger.books import Books
from comptroller.ledger.entries import Reserve
from comptroller.plan import leases, running
from mutants.planted.registry import Patch, mutant


@mutant
def overhead_not_reserved(patch: Patch) -> None:
    """A lease holds only its own seconds, without the grace period and the slack."""
    init = leases.Leases.__init__

    def without(self: leases.Leases, *args: Any) -> None:
        init(self, *args)
        self.overhead = 0

    patch.setattr(leases.Leases, "__init__", without)


@mutant
def lease_across_a_period(patch: Patch) -> None:
    """The end of a budget's period is ignored."""
    patch.setattr(leases.Leases, "_until_boundary", lambda self, _paid_from, _start: self._duration)


@mutant
def leases_renewed_without_room(patch: Patch) -> None:
    """A renewal needs no room in any account, and the books do not check it."""
    renewal, rule = leases.Leases.renewal, Books._room_rule

    def generous(self: leases.Leases, attempt: Any, run: Any) -> Reserve | None:
        room = dict(self._room)
        self._room.update(dict.fromkeys(room, 10**12))
        found = renewal(self, attempt, run)
        self._room.update(room)
        return found

    patch.setattr(leases.Leases, "renewal", generous)
    patch.setattr(Books, "_room_rule", lambda self, entry: None if entry.lease else rule(self, entry))


@mutant
def attempt_named_by_a_counter(patch: Patch) -> None:
    """An attempt is named by its time of planning and not by its number."""
    count = itertools.count()
    patch.setattr(leases, "attempt_name", lambda *place: f"{names.trial_name(*place[:3])}-{next(count)}")


@mutant
def job_deadline_longer_than_the_lease(patch: Patch) -> None:
    """A Job may run for its lease and the overhead, since both are held."""
    launch = running._launch

    def longer(view: Any, terms: Any, trial: Any, attempt: Any) -> Launch:
        found = launch(view, terms, trial, attempt)
        seconds = attempt.granted + terms.overhead
        return replace(found, assignment=found.assignment.model_copy(update={"lease_seconds": seconds}))

    patch.setattr(running, "_launch", longer)


@mutant
def guard_not_told(patch: Patch) -> None:
    """A renewal raises the Job's deadline and nothing else."""
    keep = running._keep

    def silent(*args: Any) -> Any:
        entries, actions = keep(*args)
        return entries, [action for action in actions if not isinstance(action, Grant)]

    patch.setattr(running, "_keep", silent)


@mutant
def renewed_though_nothing_is_heard(patch: Patch) -> None:
    """A run on a node that is cut off gets one lease after another."""
    patch.setattr(leases, "_SILENCE", 10**9)


@mutant
def late_start_let_be(patch: Patch) -> None:
    """A Job that has not begun may begin at any time."""
    patch.setattr(leases.Leases, "too_late", lambda _self, _attempt: False)
