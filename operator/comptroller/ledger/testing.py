"""Entries and journals to try things on: for tests, benchmarks and simulation."""

import hashlib
import random

from comptroller.ledger.accounts import AccountName
from comptroller.ledger.books import Account, Attempt, Books
from comptroller.ledger.entries import (
    Adjust,
    Approval,
    Ceiling,
    Close,
    Entry,
    Manifest,
    Membership,
    Place,
    Post,
    Price,
    Reserve,
    Start,
    Transfer,
    Void,
)
from comptroller.ledger.names import attempt_name
from comptroller_api.study import Resources

_BUDGET, _NEXT_BUDGET = (AccountName.of_period("team", label) for label in ("2026-11", "2026-12"))
STUDY = "11111111-2222-4333-8444-555555555555"
ACCOUNT = AccountName.of_study(STUDY)
_RESOURCES = Resources()
_MOVE, _RENEW, _VOID, _AMEND, _STRAY = 0.2, 0.4, 0.2, 0.1, 0.1
"""The probability that a ceiling moves, an attempt is renewed, a lease is voided, something else changes, or
a node is not the requested one.
"""


def ceiling(amount: int, revision: int = 0, account: str = ACCOUNT, currency: str = "USD") -> Ceiling:
    """An account may hold and spend `amount`."""
    return Ceiling(account=account, revision=revision, amount=amount, currency=currency)


def price(revision: int = 0, node_class: str = "cpu-small/USD") -> Price:
    """A node class costs 0.04 an hour and core."""
    rates = {"OnDemand.cpu": 40_000, "OnDemand.gpu": 0, "OnDemand.memoryGiB": 5_000}
    return Price(node_class=node_class, revision=revision, currency="USD", rates=rates)


def manifest(revision: int = 0, study: str = STUDY, generation: int = 1) -> Manifest:
    """A study says what it will do; each revision something else."""
    spec, space, criteria = (
        hashlib.sha256(f"{part} {revision}".encode()).hexdigest() for part in ("spec", "space", "criteria")
    )
    return Manifest(
        study=study, revision=revision, generation=generation, spec=spec, space=space, criteria=criteria
    )


def approval(amount: int, number: int = 0, study: str = STUDY, approver: str = "ana") -> Approval:
    """Somebody approved a study's ceiling up to an amount."""
    return Approval(study=study, number=number, amount=amount, approver=approver)


def transfer(amount: int, number: int = 0, source: str = ACCOUNT, target: str = "budget/a") -> Transfer:
    """Room of one account becomes another's."""
    return Transfer(source=source, target=target, number=number, amount=amount)


def reserve(
    amount: int,
    trial: int = 0,
    attempt: int = 0,
    lease: int = 0,
    accounts: tuple[str, ...] = (ACCOUNT,),
    study: str = STUDY,
) -> Reserve:
    """Hold `amount` for ten minutes of an attempt."""
    return Reserve(
        study=study,
        trial=trial,
        attempt=attempt,
        lease=lease,
        name=attempt_name("cifar", study, trial, attempt),
        rung=0,
        node_class="cpu-small",
        capacity="OnDemand",
        resources=_RESOURCES,
        accounts=accounts,
        amount=amount,
        seconds=600,
    )


def post(amount: int, trial: int = 0, attempt: int = 0, lease: int = 0, *, overrun: bool = False) -> Post:
    """Spend `amount` of what a lease holds."""
    return Post(study=STUDY, trial=trial, attempt=attempt, lease=lease, amount=amount, overrun=overrun)


def void(trial: int = 0, attempt: int = 0, lease: int = 0) -> Void:
    """Spend nothing of what a lease holds."""
    return Void(study=STUDY, trial=trial, attempt=attempt, lease=lease)


def close(trial: int = 0, attempt: int = 0, seconds: int = 600, started: int = 1_700_000_000) -> Close:
    """The attempt finished."""
    ended = started + seconds
    return Close(
        study=STUDY,
        trial=trial,
        attempt=attempt,
        end="Finished",
        seconds=seconds,
        started=started,
        ended=ended,
    )


def start(trial: int = 0, attempt: int = 0, at: int = 1_700_000_000) -> Start:
    """The attempt's first pod is on a node."""
    return Start(study=STUDY, trial=trial, attempt=attempt, job=f"job-{trial}-{attempt}", at=at)


def place(trial: int = 0, attempt: int = 0, number: int = 0, since: int = 0) -> Place:
    """The attempt runs on a node of another class."""
    return Place(
        study=STUDY,
        trial=trial,
        attempt=attempt,
        number=number,
        node_class="large",
        capacity="OnDemand",
        rates={"OnDemand.cpu": 90_000, "OnDemand.memoryGiB": 5_000},
        since=since,
    )


def adjust(amount: int, trial: int = 0, attempt: int = 0, number: int = 0, seconds: int = 30) -> Adjust:
    """The closed attempt cost `amount` more."""
    return Adjust(
        study=STUDY,
        trial=trial,
        attempt=attempt,
        number=number,
        amount=amount,
        seconds=seconds,
        reason="late",
    )


def plausible(books: Books, rng: random.Random, trials: int = 8, *, late: float = 0.0) -> list[Entry]:
    """Return an operator's possible next entries: a few that the books accept, in this order.

    It launches, renews, settles and closes attempts of one study under its own ceiling and a budget's, and
    now and then moves a ceiling. With probability `late` a closed attempt turns out to have cost more.
    """
    if ACCOUNT not in books.accounts:
        following = ceiling(10_000, account=_NEXT_BUDGET)
        return [manifest(), ceiling(20_000), ceiling(30_000, account=_BUDGET), following, price()]
    accounts = (ACCOUNT, _BUDGET)
    found: list[Entry] = []
    for trial in rng.sample(range(trials), rng.randint(1, 3)):
        attempts = books.attempts(STUDY, trial)
        number = len(attempts)
        entries: list[Entry] = (
            _on(attempts[-1], rng, accounts)
            if attempts and attempts[-1].open
            else [reserve(rng.randint(1, 900), trial, number, accounts=accounts)]
        )
        if books.refusal([*found, *entries]) is None:
            found += entries
    if rng.random() < _MOVE or not found:
        account = rng.choice(accounts)
        found.append(ceiling(rng.randint(0, 60_000), books.accounts[account].revision + 1, account))
    if books.closed and rng.random() < late:
        closed = rng.choice(books.closed)
        number = len(books.adjustments.get(closed.key, ()))
        found.append(adjust(rng.randint(1, 9), closed.trial, closed.number, number))
    if rng.random() < _AMEND and books.refusal([*found, *(more := _amendments(books, rng))]) is None:
        found += more
    return found


def _amendments(books: Books, rng: random.Random) -> list[Entry]:
    """Return entries of no attempt: a study is amended, a price changes, a budget is edited."""
    budget, known = books.accounts[_BUDGET], price()
    return [
        manifest(books.manifests[STUDY].revision + 1, generation=2),
        price(books.prices[known.node_class].revision + 1),
        transfer(rng.randint(0, budget.room), budget.transfers, _BUDGET, _NEXT_BUDGET),
        Membership(study=STUDY, budget=f"team-{len(books.covered.get(STUDY, ()))}"),
        _reopened(books.accounts[_NEXT_BUDGET]),
    ]


def _reopened(account: Account) -> Ceiling:
    """Declare the next period again, with other days and with what was spent in them elsewhere."""
    revision = account.revision + 1
    again = ceiling(account.requested, revision, _NEXT_BUDGET)
    return again.model_copy(update={"starts": revision, "ends": 99, "carried": revision, "pending": 1})


def _on(attempt: Attempt, rng: random.Random, accounts: tuple[AccountName, ...]) -> list[Entry]:
    key = (attempt.trial, attempt.number)
    if not attempt.bound:
        return [start(*key)]
    if rng.random() < _STRAY:
        return [place(*key, len(attempt.places), since=len(attempt.places))]
    if rng.random() < _RENEW:
        return [reserve(rng.randint(1, 900), *key, len(attempt.leases), accounts=accounts)]
    settled: list[Entry] = [
        void(*key, number) if rng.random() < _VOID else post(rng.randint(1, lease.amount), *key, number)
        for number, lease in enumerate(attempt.leases)
        if lease.posted is None
    ]
    return [*settled, close(*key, seconds=rng.randint(0, 600))]
