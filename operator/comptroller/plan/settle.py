"""The end of an attempt, and its cost."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import accumulate

from comptroller.ledger.accounts import AccountName
from comptroller.ledger.books import Attempt, Books
from comptroller.ledger.entries import Adjust, Close, Entry, Place, Post, Price, Void
from comptroller.plan.prices import price_key
from comptroller.plan.trials import NOT_STARTED
from comptroller.pricing.rates import HourlyRates, metered
from comptroller.world import Exit, Run, World
from comptroller_api import contract
from comptroller_api.trial import End

_KILLED = 137
_BY_DEADLINE = frozenset({None, contract.EXIT_SUSPENDED, _KILLED, 143})
"""Exit codes that a deadline explains; work that failed before it, failed."""
_ESTIMATED = 15
"""Seconds by which the end of a pod may be estimated otherwise in a later pass."""
_SKEW = 5
"""Seconds by which the operator's clock may be ahead of the API server's."""
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
    if done.code == contract.EXIT_UNAVAILABLE:
        return "Unavailable", done.message
    if run.stop is not None:
        return run.stop, run.stop_reason or "stopped"
    if done.unstarted:
        return _without_work(done)
    if done.out_of_memory or done.code == contract.EXIT_OUT_OF_MEMORY:
        return "OutOfMemory", done.message or "the container was killed for memory"
    if done.code is None and done.message and run.scheduled is not None:
        return "Error", done.message
    if done.deadline and done.code in _BY_DEADLINE:
        return "LeaseExpired", done.message if run.scheduled is None and done.message else "the lease ended"
    if done.disruption in _NODE_LOST:
        return "NodeLost", done.disruption
    if done.disruption:
        return "Preempted", ": ".join(filter(None, (done.disruption, done.rejected)))
    if done.code is None and done.rejected:
        return "Preempted", f"{NOT_STARTED}: {done.rejected}"
    if done.code == contract.EXIT_SUSPENDED:
        return "Suspended", done.message or "stopped from outside"
    if done.code is None:
        return "NodeLost", "the pod is gone and nothing says how it ended"
    if done.code == _KILLED:
        return "Error", done.message or done.rejected or "killed (exit 137)"
    return "Error", done.message or f"exit {done.code}"


def _without_work(done: Exit) -> tuple[End, str]:
    """Return the end of a run whose container was never started: no lease of it was used for work."""
    taken = ": ".join(filter(None, (done.disruption, done.rejected)))
    end: End = "LeaseExpired" if done.deadline else "Preempted" if taken else "Suspended"
    when = "when its lease ended" if done.deadline else "when its pod was ended"
    why = done.message or taken or f"its container had not been started {when}"
    return end, f"{NOT_STARTED}: {why}"


def billed_seconds(attempt: Attempt, run: Run, ended: int) -> int:
    """Return the seconds from scheduled to terminated; 0 for a pod that never reached a node (P7).

    The mean, if there are several pods.
    """
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


def unposted(world: World) -> Iterator[tuple[AccountName, int]]:
    """Yield what running attempts have cost beyond what is held for them, by account.

    It is posted once they have ended; until then nobody else may spend it.
    """
    for key, attempt in world.books.open.items():
        run = world.runs.get(key)
        if run is not None and run.ended is None and run.scheduled is not None:
            excess = cost_so_far(world.books, attempt, run, world.now) - attempt.held - attempt.spent
            if excess > 0:
                yield from ((account, excess) for account in attempt.accounts)


def bounded(run: Run, seconds: int) -> Run:
    """Return a run whose uncertain spans end with its lease at the latest.

    Where a node's clock stepped, the control plane knows only that the work had ended when that was reported,
    and a report is late where the node was cut off.

    Args:
        run: one that is over.
        seconds: the lease and what its enforcers may take.
    """
    run = _as_heard(run)
    if run.certain or run.ended is None:
        return run
    spans = tuple((start, min(end, start + seconds)) for start, end in run.billed(run.ended))
    return replace(run, spans=spans, ended=max(end for _, end in spans))


def outlived(run: Run, seconds: int) -> Run:
    """Return a run that is over, whose pods that nobody saw may have run for so many more `seconds`."""
    billed = run.billed(run.ended or 0)
    unseen = [(start, end + seconds) for start, end in billed[: run.unseen]]
    spans = (*unseen, *billed[run.unseen :])
    return replace(run, spans=spans, ended=max((end for _, end in spans), default=run.ended))


def _as_heard(run: Run) -> Run:
    """Return a run that ends no earlier than its trainer's last heartbeat.

    A heartbeat that came after the end which the node's clock gives shows that this clock was stepped back
    while the pod ran. Then the pod ended at the latest when its kubelet reported that, by the API server's
    clock.
    """
    if run.heard is None or run.ended is None or run.ended >= run.heard - _SKEW:
        return run
    end = max(run.heard, run.reported or 0)
    *before, (start, _) = sorted(run.billed(run.ended), key=lambda span: span[1])
    return replace(run, spans=(*before, (start, end)), ended=end, certain=False)


def whole(run: Run, start: int, seconds: int) -> Run:
    """Return a run that is billed to the end of its lease, since a pod of it is gone that nobody saw end.

    Args:
        run: one that is over.
        start: when the first of its pods came to a node.
        seconds: the lease and what its enforcers may take.
    """
    return replace(run, scheduled=start, spans=((start, start + seconds),), ended=start + seconds)


def adjustment(books: Books, attempt: Attempt, run: Run) -> Adjust | None:
    """Return what a closed attempt's run cost beyond what was billed; `None` where that is nothing.

    It is charged at the price that the attempt was launched at. What was settled without knowing the end of
    the run is billed for more seconds than are leased, so that only what was never paid for is found here.
    Books are closed once a pod is over. Where the same pod seems to have ended a little later by what is
    known now, only the estimate is another.
    """
    seconds = billed_seconds(attempt, run, run.ended or 0) - books.billed_seconds(attempt)
    doubt = _ESTIMATED if _is_what_was_billed(attempt, run) else 0
    if run.ended is None or seconds <= doubt or attempt.price is None:
        return None
    gpus = attempt.resources.gpus
    cap = HourlyRates.read(attempt.price.rates, "Cap", gpus)
    rates = HourlyRates.read(attempt.price.rates, attempt.capacity, gpus).at_most(cap)
    return Adjust(
        study=attempt.study,
        trial=attempt.trial,
        attempt=attempt.number,
        number=len(books.adjustments.get(run.key, ())),
        amount=rates.cost(attempt.resources, seconds),
        seconds=seconds,
        reason=f"it ran for {seconds} s more than was billed when its books were closed",
    )


def _is_what_was_billed(attempt: Attempt, run: Run) -> bool:
    """Return whether a closed attempt was billed for what was seen of the pods that its run has.

    One that was given up without an end was billed by its lease.
    """
    pods, seen = len(run.billed(run.ended or 0)), attempt.end != "NodeLost"
    return seen and run.scheduled == attempt.started and pods <= attempt.resources.pods


def settle(books: Books, attempt: Attempt, run: Run, ended: int, end: End, reason: str) -> Iterator[Entry]:
    """Yield one `Post` or `Void` for each lease, oldest first, then `Close`."""
    seconds = billed_seconds(attempt, run, ended)
    cost = cost_so_far(books, attempt, run, ended)
    if run.unseen:
        # The ends of pods that nobody saw are guesses, and no more was held for them.
        seen = tuple(run.billed(ended)[run.unseen :])
        known = cost_so_far(books, attempt, replace(run, spans=seen), ended) if seen else 0
        cost = max(known, min(cost, attempt.held + attempt.spent))
    yield from _spread(attempt, cost)
    report = run.exit.report if end in {"Finished", "NoGain"} else None
    close = _close(attempt, end, reason, seconds=seconds, started=run.scheduled or 0, ended=ended)
    yield close.model_copy(update={"report": report})


def settle_unconfirmed(attempt: Attempt, reason: str, now: int, overhead: int) -> Iterator[Entry]:
    """Yield what settles an attempt of which nobody knows how long it ran: all that it holds is spent.

    That is the lease, and the seconds that its enforcers may take, at the cap, from when it reached a node.
    """
    seconds = attempt.granted + overhead
    started = attempt.bound or max(0, now - seconds)
    yield from _spread(attempt, attempt.held + attempt.spent)
    yield _close(attempt, "NodeLost", reason, seconds=seconds, started=started, ended=started + seconds)


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
