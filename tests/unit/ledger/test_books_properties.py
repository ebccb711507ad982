"""Over any history, the fold promises no money twice, and an entry that breaks a rule changes nothing."""

import copy

from hypothesis import given
from hypothesis import strategies as st

from comptroller.ledger.books import Books
from comptroller.ledger.entries import (
    Adjust,
    Ceiling,
    Close,
    Entry,
    Manifest,
    Membership,
    Post,
    Price,
    Reserve,
    Start,
    Transfer,
    Void,
)
from comptroller.ledger.testing import ACCOUNT, STUDY, ceiling
from comptroller_api.study import Resources

small = st.integers(0, 2)
amounts = st.integers(0, 60)
accounts = st.sampled_from([ACCOUNT, "budget/a/total", "budget/a/2026-12"])
resources = st.sampled_from([Resources(), Resources(cpu="2")])
lease = {
    "study": st.sampled_from([STUDY, "other"]),
    "trial": st.integers(0, 1),
    "attempt": small,
    "lease": small,
}

entries: st.SearchStrategy[Entry] = st.one_of(
    st.builds(
        Ceiling,
        account=accounts,
        revision=small,
        amount=st.integers(0, 150),
        currency=st.sampled_from(["USD", "USD", "USD", "EUR"]),
        starts=st.none() | small,
        ends=st.none() | small,
        carried=small,
        pending=small,
    ),
    st.builds(Membership, study=lease["study"], budget=st.sampled_from(["a", "b"])),
    st.builds(Transfer, source=accounts, target=accounts, number=small, amount=amounts),
    st.builds(
        Price, node_class=st.just("cpu/USD"), revision=small, currency=st.just("USD"), rates=st.just({})
    ),
    st.builds(
        Reserve,
        **lease,
        name=st.just("n"),
        rung=st.just(0),
        node_class=st.just("cpu"),
        capacity=st.just("OnDemand"),
        resources=resources,
        accounts=st.lists(accounts, min_size=1, max_size=3).map(tuple),
        amount=amounts,
        seconds=st.just(600),
    ),
    st.builds(
        Manifest,
        study=lease["study"],
        revision=small,
        generation=small,
        **dict.fromkeys(("spec", "space", "criteria"), st.sampled_from(["a" * 64, "b" * 64])),
    ),
    st.builds(Post, **lease, amount=amounts, overrun=st.booleans()),
    st.builds(Void, **lease),
    st.builds(
        Close,
        study=lease["study"],
        trial=lease["trial"],
        attempt=small,
        end=st.just("Error"),
        seconds=st.just(1),
    ),
    st.builds(
        Start,
        study=lease["study"],
        trial=lease["trial"],
        attempt=small,
        job=st.sampled_from("ab"),
        at=st.integers(1, 2),
    ),
    st.builds(
        Adjust,
        study=lease["study"],
        trial=lease["trial"],
        attempt=small,
        number=small,
        amount=amounts,
        seconds=st.just(1),
    ),
)

# Mostly in a sensible order, since otherwise hardly any entry would be accepted.
opening: list[Entry] = [
    ceiling(100),
    ceiling(120, account="budget/a/total"),
    ceiling(80, account="budget/a/2026-12"),
]
histories = st.lists(entries, max_size=60).map(lambda more: [*opening, *more])


@given(histories)
def test_in_every_prefix_spent_and_held_are_within_every_ceiling_unless_an_overrun_says_so(
    history: list[Entry],
) -> None:
    books = Books()
    for entry in history:
        books.apply(entry)
        assert books.overruns or all(account.over == 0 for account in books.accounts.values())


@given(histories)
def test_a_rejected_entry_changes_nothing(history: list[Entry]) -> None:
    books = Books()
    for entry in history:
        before = copy.deepcopy(books)
        if books.apply(entry) is not None:
            assert books == before


@given(histories)
def test_an_account_is_the_sum_of_its_leases(history: list[Entry]) -> None:
    books = Books()
    for entry in history:
        books.apply(entry)
    for name, account in books.accounts.items():
        attempts = [a for trial in books.trials.values() for a in trial if name in a.accounts]
        assert account.held == sum(attempt.held for attempt in attempts)
        assert account.spent == sum(map(books.spent, attempts))


@given(histories)
def test_a_reservation_is_settled_once_and_a_closed_attempt_holds_nothing(history: list[Entry]) -> None:
    books = Books()
    settled: set[str] = set()
    for entry in history:
        accepted = books.apply(entry) is None
        if accepted and isinstance(entry, Post | Void):
            assert entry.id not in settled
            settled.add(entry.id)
    for attempts in books.trials.values():
        for attempt in attempts:
            assert attempt.open == (attempt.key in books.open)
            assert attempt.open or attempt.held == 0
            assert attempt.open == (attempt in list(books.open_attempts(attempt.study)))
            assert attempt.open == (not any(attempt is closed for closed in books.closed))
        assert all(not attempt.open for attempt in attempts[:-1])


@given(histories)
def test_no_entry_has_an_effect_twice(history: list[Entry]) -> None:
    books = Books()
    seen: set[str] = set()
    for entry in [*history, *history]:
        if books.apply(entry) is None:
            assert entry.id not in seen
            seen.add(entry.id)


@given(histories, st.data())
def test_refusal_says_what_apply_would_say_and_touches_nothing(
    history: list[Entry], data: st.DataObject
) -> None:
    books = Books()
    cut = data.draw(st.integers(0, len(history)))
    for entry in history[:cut]:
        books.apply(entry)
    before = copy.deepcopy(books)
    refused = books.refusal(history[cut:])
    assert books == before
    first = next(((e, rule) for e in history[cut:] if (rule := books.apply(e)) is not None), None)
    assert refused == first
