"""The fold: money is never promised twice, and an entry that breaks a rule changes nothing."""

import pytest

from comptroller.ledger.accounts import AccountName
from comptroller.ledger.books import Books
from comptroller.ledger.entries import Entry, Reserve, Transfer
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
        {"accounts": (AccountName.of_period("a", "total"),)},
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
    one, other = AccountName.of_period("b", "1"), AccountName.of_period("b", "2")
    for account, amount in ((one, 100), (other, 50)):
        assert books.apply(ceiling(amount, account=account)) is None
    move = {"source": one, "target": other}
    assert "more than the 100" in (books.apply(Transfer(**move, number=0, amount=101)) or "")
    assert books.apply(Transfer(**move, number=0, amount=60)) is None
    assert "does not follow" in (books.apply(Transfer(**move, number=0, amount=1)) or "")
    first, second = books.accounts[one], books.accounts[other]
    assert (first.room, first.ceiling, second.room, second.ceiling) == (40, 40, 110, 110)
    assert books.apply(ceiling(10, revision=1, account=other)) is None
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
    assert books.accounts[AccountName.of_period("b", "1")].room == 100


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
