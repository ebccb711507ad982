"""The fold: money is never promised twice, and an entry that breaks a rule changes nothing."""

import copy

import pytest
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
from comptroller.ledger.testing import (
    ACCOUNT,
    STUDY,
    adjust,
    approval,
    ceiling,
    close,
    manifest,
    place,
    post,
    price,
    reserve,
    start,
    void,
)
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
            assert attempt.open == ((attempt.study, attempt.trial, attempt.number) in books.open)
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


def folded(*history: Entry) -> Books:
    books = Books()
    for entry in history:
        assert books.apply(entry) is None
    return books


def test_a_lease_is_held_then_spent_and_the_rest_is_free_again() -> None:
    books = folded(ceiling(100), reserve(60))
    assert (books.accounts[ACCOUNT].held, books.accounts[ACCOUNT].room) == (60, 40)
    assert books.apply(reserve(41, trial=1)) == f"41 does not fit {ACCOUNT}, which has room for 40"
    assert books.apply(post(25)) is None
    account = books.accounts[ACCOUNT]
    assert (account.spent, account.held, account.room) == (25, 0, 75)


def test_a_lease_must_fit_every_account() -> None:
    books = folded(ceiling(100), ceiling(10, account="budget/a/total"))
    assert books.apply(reserve(11, accounts=(ACCOUNT, "budget/a/total"))) is not None
    assert books.accounts[ACCOUNT].held == 0


def test_an_account_named_twice_would_hold_twice_and_is_refused() -> None:
    books = folded(ceiling(100))
    assert books.apply(reserve(60, accounts=(ACCOUNT, ACCOUNT))) == "a reservation holds on an account once"


def test_a_ceiling_lowered_under_what_is_held_comes_down_as_holds_end() -> None:
    books = folded(ceiling(100), reserve(50), reserve(40, trial=1), ceiling(30, revision=1))
    account = books.accounts[ACCOUNT]
    assert (account.ceiling, account.room) == (90, 0)
    assert books.apply(post(20)) is None
    assert account.ceiling == 60
    assert books.apply(void(trial=1)) is None
    assert (account.ceiling, account.room) == (30, 10)


def test_a_lowered_ceiling_never_rises_by_itself() -> None:
    books = folded(ceiling(100), reserve(50), ceiling(30, revision=1), post(10))
    assert books.accounts[ACCOUNT].ceiling == 30
    assert books.apply(reserve(21, trial=1)) is not None


def test_under_a_ceiling_that_was_lowered_nothing_is_launched_not_even_for_nothing() -> None:
    books = folded(ceiling(100), reserve(50), ceiling(30, revision=1))
    assert books.apply(reserve(0, trial=1)) is not None


def test_an_overrun_is_booked_flagged_counted_and_leaves_the_account_over_its_ceiling() -> None:
    books = folded(ceiling(100), reserve(90))
    assert books.apply(post(120)) is not None
    assert books.apply(post(80, overrun=True)) is not None
    assert books.apply(post(120, overrun=True)) is None
    account = books.accounts[ACCOUNT]
    assert (account.spent, account.over, account.room, books.overruns) == (120, 20, 0, 1)


def test_the_last_amendment_is_the_manifest_of_a_study() -> None:
    books = folded(manifest(), manifest(1, generation=3), manifest(study="other"))
    assert (books.manifests[STUDY].revision, books.manifests[STUDY].generation) == (1, 3)
    assert books.manifests["other"].revision == 0


def test_the_last_approval_of_a_study_counts() -> None:
    books = folded(approval(5), approval(7, number=1, approver="ben"), approval(1, study="other"))
    assert (books.approvals[STUDY].amount, books.approvals[STUDY].approver) == (7, "ben")


def test_what_many_attempts_have_is_there_once() -> None:
    books = folded(ceiling(100), *(Reserve.model_validate(reserve(1, n).model_dump()) for n in range(9)))
    attempts = list(books.open.values())
    assert len({id(attempt.resources) for attempt in attempts}) == 1
    assert len({id(attempt.accounts) for attempt in attempts}) == 1


def test_money_held_in_one_currency_only() -> None:
    books = folded(ceiling(100), ceiling(100, account="budget/a/total", currency="EUR"))
    rule = books.apply(reserve(1, accounts=(ACCOUNT, "budget/a/total")))
    assert rule == "a reservation is in one currency, not EUR and USD"


def test_a_renewal_is_for_what_was_launched() -> None:
    books = folded(ceiling(100), reserve(10))
    for change in (
        {"resources": Resources(cpu="64")},
        {"capacity": "Spot"},
        {"node_class": "gpu"},
        {"name": "other"},
        {"rung": 1},
        {"accounts": ("budget/a/total",)},
    ):
        assert books.apply(reserve(10, lease=1).model_copy(update=change)) is not None
    assert books.apply(reserve(10, lease=1)) is None


@pytest.mark.parametrize(
    ("history", "entry"),
    [
        ([], ceiling(1, revision=1)),
        ([ceiling(1)], ceiling(2)),
        ([ceiling(1)], ceiling(2, revision=2)),
        ([ceiling(1)], ceiling(2, revision=1, currency="EUR")),
        ([], price(1)),
        ([], manifest(1)),
        ([], approval(1, number=1)),
        ([approval(1)], approval(2)),
        ([manifest()], manifest()),
        ([manifest()], manifest(2)),
        ([manifest(generation=4)], manifest(1, generation=3)),
        ([price()], price()),
        ([], reserve(0)),
        ([ceiling(9)], reserve(1, attempt=1)),
        ([ceiling(9)], reserve(1, lease=1)),
        ([ceiling(9), reserve(1)], reserve(1)),
        ([ceiling(9), reserve(1)], reserve(1, attempt=1)),
        ([ceiling(9), reserve(1)], reserve(1, lease=2)),
        ([ceiling(9), reserve(1), post(1), close()], reserve(1, lease=1)),
        ([ceiling(9), reserve(1), post(1), close()], reserve(1)),
        ([ceiling(9)], post(0)),
        ([ceiling(9), reserve(1)], post(1, lease=1)),
        ([ceiling(9), reserve(1), post(1)], post(1)),
        ([ceiling(9), reserve(1), post(1)], void()),
        ([ceiling(9), reserve(1), void()], post(1)),
        ([ceiling(9), reserve(1), void()], void()),
        ([ceiling(9), reserve(1)], close()),
        ([ceiling(9), reserve(1), void(), close()], close()),
        ([ceiling(9)], close()),
    ],
)
def test_an_entry_that_breaks_a_rule_is_rejected(history: list[Entry], entry: Entry) -> None:
    assert folded(*history).apply(entry) is not None


def test_a_price_before_a_close_is_refused_or_not_as_it_would_be_folded():
    books = folded(ceiling(100), price(), reserve(10), post(1))
    assert books.refusal([price(1), close()]) is None
    assert books.refusal([price(1), post(1), close()]) is not None


def test_a_transfer_moves_room_and_no_more_than_there_is():
    books = Books()
    for account, amount in (("budget/b/1", 100), ("budget/b/2", 50)):
        assert books.apply(ceiling(amount, account=account)) is None
    move = {"source": "budget/b/1", "target": "budget/b/2"}
    assert "more than the 100" in (books.apply(Transfer(**move, number=0, amount=101)) or "")
    assert books.apply(Transfer(**move, number=0, amount=60)) is None
    assert "does not follow" in (books.apply(Transfer(**move, number=0, amount=1)) or "")
    first, second = books.accounts["budget/b/1"], books.accounts["budget/b/2"]
    assert (first.room, first.ceiling, second.room, second.ceiling) == (40, 40, 110, 110)
    assert books.apply(ceiling(10, revision=1, account="budget/b/2")) is None
    assert second.room == 70


@pytest.mark.parametrize(
    "change", [{"target": "budget/b/9"}, {"source": "budget/b/9"}, {"target": "budget/b/1"}, {"target": "e"}]
)
def test_a_transfer_is_between_two_accounts_of_one_currency(change):
    books = Books()
    assert books.apply(ceiling(100, account="budget/b/1")) is None
    assert books.apply(ceiling(100, account="e", currency="EUR")) is None
    move = {"source": "budget/b/1", "target": "budget/b/2", "number": 0, "amount": 1} | change
    assert books.apply(Transfer.model_validate(move)) is not None
    assert books.accounts["budget/b/1"].room == 100


def test_an_attempt_starts_once_and_while_it_is_open() -> None:
    books = Books()
    for entry in (ceiling(100), reserve(60), start(at=7)):
        assert books.apply(entry) is None
    (attempt,) = books.open.values()
    assert (attempt.job, attempt.bound) == ("job-0-0", 7)
    assert books.apply(start(at=9)) == "attempt 0 of trial 0 has started already"
    for ending in (post(10), close()):
        assert books.apply(ending) is None
    assert books.apply(start()) == "attempt 0 of trial 0 is not open"


def test_the_places_of_an_attempt_are_in_order_and_while_it_is_open() -> None:
    books = Books()
    for entry in (ceiling(100), reserve(60), place(), place(number=1, since=7)):
        assert books.apply(entry) is None
    (attempt,) = books.open.values()
    assert [one.since for one in attempt.places] == [0, 7]
    assert books.apply(place(number=1, since=8)) == "place 1 does not follow 2 others"
    assert books.apply(place(number=2, since=6)) == "6 is before 7, from when it has its last place"
    for ending in (post(10), close()):
        assert books.apply(ending) is None
    assert attempt.places == ()
    assert books.apply(place()) == "attempt 0 of trial 0 is not open"


def test_what_is_found_after_an_attempt_was_closed_is_spent_even_over_the_ceiling_and_counted() -> None:
    books = Books()
    for entry in (ceiling(100), reserve(60), post(60), close()):
        assert books.apply(entry) is None
    assert books.refusal([adjust(70)]) is None
    assert books.apply(adjust(70)) is None
    assert (books.accounts[ACCOUNT].spent, books.accounts[ACCOUNT].over, books.overruns) == (130, 30, 1)
    (attempt,) = books.closed
    assert (attempt.spent, books.spent(attempt), books.billed_seconds(attempt)) == (60, 130, 630)
    assert books.apply(adjust(5)) == "adjustment 0 does not follow 1 others"
    assert books.apply(adjust(5, number=1)) is None


def test_an_attempt_that_is_open_is_not_adjusted() -> None:
    books = Books()
    for entry in (ceiling(100), reserve(60)):
        books.apply(entry)
    assert books.apply(adjust(5)) == "attempt 0 of trial 0 is not closed"
