"""Mistakes in closing the books on attempts that have ended, or have not."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from comptroller import reports
from comptroller.actions import Release
from comptroller.ledger.entries import Entry, Post, Void
from comptroller.plan import ended, namespace, settle
from comptroller_api.contract import Report
from mutants.planted.registry import Patch, mutant


@mutant
def void_after_post(patch: Patch) -> None:
    """The unused part of a lease is given back by a separate `Void`."""
    spread = settle._spread

    def twice(attempt: Any, cost: int) -> Iterator[Entry]:
        for entry in spread(attempt, cost):
            yield entry
            if isinstance(entry, Post):
                yield Void(study=entry.study, trial=entry.trial, attempt=entry.attempt, lease=entry.lease)

    patch.setattr(settle, "_spread", twice)


@mutant
def post_without_hold(patch: Patch) -> None:
    """The whole expense is posted on the first lease, whatever it holds; the others are given back."""

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
    """An attempt that got a stop is settled without waiting for its end."""
    close = ended.Closing.settle

    def hasty(self: ended.Closing, run: Any) -> None:
        stopped = run.stop is not None and run.scheduled is not None
        close(self, replace(run, ended=self.world.now) if stopped and run.ended is None else run)

    patch.setattr(ended.Closing, "settle", hasty)


@mutant
def released_before_the_books_are_closed(patch: Patch) -> None:
    """A finished Job may be deleted at once, and is settled only if it still exists afterwards."""
    close = ended.Closing.settle

    def hasty(self: ended.Closing, run: Any) -> None:
        if run.ended is not None and not run.released:
            self.actions.append(Release(run.name))
        else:
            close(self, run)

    patch.setattr(ended.Closing, "settle", hasty)


@mutant
def given_up_by_what_watches_brought(patch: Patch) -> None:
    """An object that is not seen counts as deleted, without a second look."""
    patch.setattr(ended.Closing, "_fresh", lambda _self: True)


@mutant
def the_gone_are_forgotten(patch: Patch) -> None:
    """Attempts whose study is gone are ignored."""
    patch.setattr(namespace, "_ownerless", lambda world: ended.Closing(world, 0))


@mutant
def any_report_is_believed(patch: Patch) -> None:
    """A report is not checked: neither its writer, nor its attempt, nor its form."""

    def believed(_attempt: Any, _uri: str, data: bytes) -> Report:
        try:
            return Report.model_validate_json(data)
        except ValueError:
            return Report(name="", trial=0, attempt=0, rung=0, epochs=1, metrics={"accuracy": 0.5}, seconds=1)

    patch.setattr(reports, "_forged", lambda *_, **__: None)
    patch.setattr(reports, "checked", believed)
