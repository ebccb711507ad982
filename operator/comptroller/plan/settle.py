"""How an attempt ended, and what it cost."""

from collections.abc import Iterator
from itertools import accumulate

from comptroller.ledger.books import Attempt, Books
from comptroller.ledger.entries import Close, Entry, Place, Post, Price, Void
from comptroller.plan.prices import price_key
from comptroller.pricing.rates import HourlyRates, metered
from comptroller.world import Run
from comptroller_api import contract
from comptroller_api.trial import End

_KILLED = 137
_BY_DEADLINE = frozenset({None, contract.EXIT_SUSPENDED, _KILLED, 143})
"""Exit codes that a deadline explains; work that failed before it, failed."""
_NODE_LOST = frozenset({"DeletionByTaintManager", "DeletionByPodGC"})


def classify(run: Run) -> tuple[End, str]:  # noqa: C901, PLR0911, PLR0912  (a decision table)
    """The end of a run whose work has stopped, and a sentence for a person."""
    done = run.exit
    if done.code == contract.EXIT_FINISHED:
        return "Finished", ""
    if done.code == contract.EXIT_BAD_ASSIGNMENT:
        return "BadAssignment", done.message
    if done.code == contract.EXIT_DIVERGED:
        return "Diverged", done.message
    if done.code == contract.EXIT_NO_GAIN:
        return "NoGain", done.message
    if run.stop is not None:
        return run.stop, run.stop_reason
    if done.out_of_memory or done.code == contract.EXIT_OUT_OF_MEMORY:
        return "OutOfMemory", done.message or "the container was killed for memory"
    if done.code is None and done.message and run.scheduled is not None:
        return "Error", done.message
    if done.deadline and done.code in _BY_DEADLINE:
        return "LeaseExpired", done.message if run.scheduled is None and done.message else "the lease ended"
    if done.disruption in _NODE_LOST:
        return "NodeLost", done.disruption
    if done.disruption:
        return "Preempted", done.disruption
    if done.code == contract.EXIT_SUSPENDED:
        return "Suspended", done.message or "stopped from outside"
    if done.code is None:
        return "NodeLost", "the pod is gone and nothing says how it ended"
    if done.code == _KILLED:
        return "Error", done.message or "killed (exit 137)"
    return "Error", done.message or f"exit {done.code}"


def billed_seconds(attempt: Attempt, run: Run, ended: int) -> int:
    """From scheduled to terminated; 0 for a pod that never reached a node (P7). Of several, their mean."""
    return -(-sum(end - start for start, end in run.billed(ended)) // attempt.resources.pods)


def cost_so_far(books: Books, attempt: Attempt, run: Run, now: int) -> int:
    """Micro-units that it is billed, did it end at `run.ended`, or else now.

    Each pod is billed for its own time: where some come late, their guards' leases end late, and all of it
    is within what was held for each. Each price is charged from its own moment on. None is charged above the
    cap that sized the hold: where a cap is raised, a lease that was given before is paid at the old one (P1).
    A pod on another class's node costs what that node costs, whatever was held.
    """
    prices, gpus = [attempt.price or _price(books, attempt), *attempt.changes], attempt.resources.gpus
    cap = HourlyRates.read(prices[0].rates, "Cap", gpus)
    if attempt.places:
        charged = [
            (place.since, _on(place, HourlyRates.read(place.rates, place.capacity, gpus), attempt, cap))
            for place in attempt.places
        ]
    else:
        charged = [
            (price.since, HourlyRates.read(price.rates, attempt.capacity, gpus).at_most(cap))
            for price in prices
        ]
    spans: list[tuple[HourlyRates, int]] = []
    for start, ended in run.billed(now):
        moments = accumulate((since for since, _ in charged[1:]), max, initial=start)
        begins = [min(moment, ended) for moment in moments]
        ends = [*begins[1:], ended]
        spans += [(rates, end - begin) for (_, rates), begin, end in zip(charged, begins, ends, strict=True)]
    return metered(attempt.resources.model_copy(update={"pods": 1}), spans)


def _on(place: Place, rates: HourlyRates, attempt: Attempt, cap: HourlyRates) -> HourlyRates:
    return rates.at_most(cap) if place.node_class in {attempt.node_class, ""} else rates


def settle(books: Books, attempt: Attempt, run: Run, ended: int, end: End, reason: str) -> Iterator[Entry]:
    """One `Post` or `Void` for each lease, oldest first, then `Close`."""
    seconds = billed_seconds(attempt, run, ended)
    cost = cost_so_far(books, attempt, run, ended)
    yield from _spread(attempt, cost)
    report = run.exit.report if end == "Finished" else None
    close = _close(attempt, end, reason, seconds=seconds, started=run.scheduled or 0, ended=ended)
    yield close.model_copy(update={"report": report})


def settle_unconfirmed(attempt: Attempt, reason: str, now: int) -> Iterator[Entry]:
    """Nothing tells how long it ran: it is billed to the end of its lease, at the cap."""
    seconds = attempt.granted
    yield from _spread(attempt, attempt.held + attempt.spent)
    yield _close(attempt, "NodeLost", reason, seconds=seconds, started=max(0, now - seconds), ended=now)


def _spread(attempt: Attempt, cost: int) -> Iterator[Entry]:
    left, last = cost, len(attempt.leases) - 1
    place = {"study": attempt.study, "trial": attempt.trial, "attempt": attempt.number}
    for number, lease in enumerate(attempt.leases):
        amount = left if number == last else min(left, lease.amount)
        left -= amount
        if lease.posted is not None:
            continue
        if amount == 0:
            yield Void.model_validate(place | {"lease": number})
        else:
            overrun = amount > lease.amount
            yield Post.model_validate(place | {"lease": number, "amount": amount, "overrun": overrun})


def _close(attempt: Attempt, end: End, reason: str, *, seconds: int, started: int, ended: int) -> Close:
    return Close(
        study=attempt.study,
        trial=attempt.trial,
        attempt=attempt.number,
        end=end,
        reason=reason[:512],
        seconds=seconds,
        started=started,
        ended=ended,
    )


def _price(books: Books, attempt: Attempt) -> Price:
    return books.prices[price_key(attempt.node_class, books.accounts[attempt.accounts[0]].currency)]
