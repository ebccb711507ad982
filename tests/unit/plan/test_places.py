"""A pod is charged the price of the node that it ran on."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.actions import Append
from comptroller.ledger.accounts import AccountName
from comptroller.ledger.books import Account, Attempt, Books, Lease
from comptroller.ledger.entries import Place, Post
from comptroller.ledger.names import AttemptKey
from comptroller.plan import places, plan, settle
from comptroller.plan.prices import missing_price
from comptroller.pricing import PriceBook, Quote, Unpriced
from comptroller.world import Run, World
from comptroller_api.pricelist import PriceList
from comptroller_api.study import Resources

NOW = 1_796_000_000
KEY = AttemptKey("u1", 0, 0)
ACCOUNT = AccountName.of_study("u1")
HOUR = 3_600_000_000
"""A micro-unit a second."""
SPOT, FIRM = {"capacity": "spot"}, {"capacity": "on-demand"}


def rates(a_core_hour: str) -> dict[str, Any]:
    return {"cpu": a_core_hour, "memoryGiB": "0"}


SMALL = {
    "name": "small",
    "onDemand": {**rates("3600"), "nodeSelector": FIRM},
    "spot": {**rates("1080"), "nodeSelector": SPOT},
    "cap": rates("7200"),
}
LARGE = {
    "name": "large",
    "nodeSelector": {"size": "large"},
    "onDemand": rates("36000"),
    "cap": rates("36000"),
}


def prices(*classes: dict[str, Any], **spec: Any) -> PriceList:
    spec = {"currency": "USD", "asOf": "2026-11-01T00:00:00Z", "nodeClasses": [*classes], **spec}
    return PriceList.model_validate({"metadata": {"name": "list"}, "spec": spec})


def world(
    *nodes: dict[str, str], lists: PriceList, capacity: str = "Spot", ended: int | None = None, **more: Any
) -> World:
    """One attempt of a core for ten seconds on nodes with these labels."""
    resources = Resources(cpu="1", memory="1Gi")
    quote = PriceBook([prices(SMALL)], NOW).quote("small", capacity, "USD", resources)
    assert isinstance(quote, Quote)
    price = missing_price(Books(), quote, NOW)
    attempt = Attempt("u1", 0, 0, "s-u1-0000-0", 0, "small", capacity, resources, (ACCOUNT,), price=price)
    attempt.leases.append(Lease(200_000_000, 60))
    books = Books(accounts={ACCOUNT: Account("USD", 10**9, 10**9, held=200_000_000)})
    books.admit(attempt)
    run = Run(KEY, attempt.name, 60, 60, started=NOW - 10, scheduled=NOW - 10, ended=ended, nodes=nodes)
    return World(NOW, "team", books, runs={KEY: run}, prices=(lists,), **more)


def missing(seen: World) -> list[Place]:
    return list(places.missing_places(seen, PriceBook(seen.prices, seen.now, seen.feed)))


def billed(seen: World) -> int:
    """Return the price of the ten seconds, once the books have the missing entries."""
    for place in missing(seen):
        assert seen.books.apply(place) is None
    attempt = seen.books.open[KEY]
    return settle.cost_so_far(seen.books, attempt, seen.runs[KEY], NOW)


@pytest.mark.parametrize(
    ("labels", "capacity", "millions"),
    [
        (SPOT, "Spot", 3),
        (FIRM, "OnDemand", 10),
        (FIRM, "Spot", 10),  # a spot pod on an on-demand node
        (SPOT, "OnDemand", 3),
        (SPOT | {"size": "large"}, "Spot", 100),  # as exact as the other, and more expensive
        ({"zone": "a"}, "Spot", 20),  # of no class: the cap
    ],
)
def test_a_pod_costs_what_its_node_costs(labels: dict[str, str], capacity: str, millions: int) -> None:
    assert billed(world(labels, lists=prices(SMALL, LARGE), capacity=capacity)) == millions * 1_000_000


def test_a_node_that_is_where_it_was_sent_needs_no_entry() -> None:
    assert missing(world(SPOT, lists=prices(SMALL, LARGE))) == []


def test_a_node_that_is_not_known_costs_what_its_selector_says() -> None:
    assert missing(world(lists=prices(SMALL))) == []
    assert billed(world(lists=prices(SMALL))) == 3_000_000


def test_a_price_that_is_too_old_for_a_launch_is_what_a_node_costs() -> None:
    assert billed(world(FIRM, lists=prices(SMALL, LARGE, maxAge="1s"), capacity="Spot")) == 10_000_000


def test_a_list_that_is_gone_changes_nothing_of_what_runs() -> None:
    assert missing(world(SPOT, lists=prices(LARGE))) == []


def test_the_more_exact_class_is_the_nodes() -> None:
    any_node = {**SMALL, "onDemand": rates("3600"), "spot": {**rates("1080"), "nodeSelector": SPOT}}
    book = PriceBook([prices(any_node)], NOW)
    assert book.kinds(SPOT, "USD") == [("small", "Spot")]
    assert book.kinds({}, "USD") == [("small", "OnDemand")]


def test_pods_that_train_together_cost_what_the_dearest_of_their_nodes_does() -> None:
    (found,) = missing(world(SPOT, FIRM, lists=prices(SMALL)))
    assert (found.node_class, found.capacity, found.since) == ("small", "OnDemand", 0)


def test_prices_in_the_books_are_not_written_again_and_a_new_price_counts_from_now() -> None:
    seen = world(FIRM, lists=prices(SMALL))
    (first,) = missing(seen)
    seen.books.apply(first)
    assert missing(seen) == []
    dear = {**SMALL, "onDemand": {**rates("7200"), "nodeSelector": FIRM}}
    (second,) = missing(replace(seen, prices=(prices(dear),)))
    assert (second.number, second.since, second.rates["OnDemand.cpu"]) == (1, NOW, 2 * HOUR)
    seen.books.apply(second)
    later = replace(seen.runs[KEY], ended=NOW + 10)
    assert settle.cost_so_far(seen.books, seen.books.open[KEY], later, NOW + 10) == 10_000_000 + 20_000_000


def test_it_is_durable_before_anything_is_settled_and_an_overrun_is_posted_as_it_is() -> None:
    seen = world(SPOT | {"size": "large"}, lists=prices(SMALL, LARGE), ended=NOW)
    seen.books.open[KEY].leases[0].amount = 50_000_000
    (action,) = plan(seen)
    assert isinstance(action, Append)
    (place,) = action.entries
    assert isinstance(place, Place)
    seen.books.apply(place)
    attempt = seen.books.open[KEY]
    post = next(
        e for e in settle.settle(seen.books, attempt, seen.runs[KEY], NOW, "Error", "") if isinstance(e, Post)
    )
    assert (post.amount, post.overrun) == (100_000_000, True)


@pytest.mark.parametrize(
    ("labels", "dearer", "says"),
    [
        (SPOT, False, ""),
        (FIRM, False, "its node is OnDemand capacity of node class small, and is billed as that"),
        ({}, False, "its node is of no node class that a PriceList prices: it is billed at the cap of small"),
        ({"size": "large"}, True, "its node is OnDemand capacity of node class large, and is billed as that"),
    ],
)
def test_a_deviation_is_reported_and_a_cost_above_the_hold_is_known(
    labels: dict[str, str], dearer: bool, says: str
) -> None:
    seen = world(labels, lists=prices(SMALL, LARGE))
    billed(seen)
    attempt = seen.books.open[KEY]
    assert (places.trouble(attempt), places.dearer(attempt)) == (says, dearer)


# -- prevention --------------------------------------------------------------------------------------------


def launched(*classes: dict[str, Any]) -> Quote | Unpriced:
    return PriceBook([prices(*classes)], NOW).quote(
        "small", "OnDemand", "USD", Resources(cpu="1", memory="1Gi")
    )


ANYWHERE = {"name": "small", "onDemand": rates("1"), "cap": rates("2")}


@pytest.mark.parametrize("selector", [{}, {"size": "large"}])
def test_pods_that_may_come_to_nodes_that_cost_more_are_not_launched(selector: dict[str, str]) -> None:
    found = launched(ANYWHERE, {**LARGE, "nodeSelector": selector})
    assert isinstance(found, Unpriced)
    assert found.reason == "AmbiguousNodes"
    assert found.message.startswith(
        "pods of node class 'small' may run on nodes of 'large', whose cap is higher"
    )


@pytest.mark.parametrize(
    "other",
    [
        {**LARGE, "tolerations": [{"key": "large", "operator": "Exists"}]},  # its taint keeps them away
        {**LARGE, "onDemand": rates("1"), "cap": rates("1")},
        {"name": "gpus", "onDemand": {"gpu": "9"}, "cap": {"gpu": "9"}},  # no price of a core
    ],
)
def test_nodes_that_cost_no_more_or_are_tainted_do_not_matter(other: dict[str, Any]) -> None:
    assert isinstance(launched(ANYWHERE, other), Quote)


@pytest.mark.parametrize(
    ("tolerated", "taint", "kept_away"),
    [
        (None, {"key": "x", "operator": "Exists"}, True),
        (None, {"key": "x", "operator": "Exists", "effect": "PreferNoSchedule"}, False),
        ({"key": "x", "operator": "Exists"}, {"key": "x", "value": "v", "effect": "NoSchedule"}, False),
        ({"key": "x", "value": "v"}, {"key": "x", "operator": "Exists"}, False),
        ({"key": "x", "value": "v"}, {"key": "x", "value": "w"}, True),
        ({"key": "x", "value": "v", "effect": "NoExecute"}, {"key": "x", "value": "v"}, False),
        ({"key": "x", "effect": "NoExecute"}, {"key": "x", "effect": "NoSchedule"}, True),
    ],
)
def test_a_taint_keeps_pods_away_only_where_nothing_tolerates_it(
    tolerated: dict[str, str] | None, taint: dict[str, str], *, kept_away: bool
) -> None:
    own = {"tolerations": [tolerated]} if tolerated else {}
    found = launched({**ANYWHERE, **own}, {**LARGE, "tolerations": [taint]})
    assert isinstance(found, Quote) is kept_away


def test_a_selector_that_the_other_does_not_match_keeps_pods_away() -> None:
    assert isinstance(launched({**ANYWHERE, "nodeSelector": {"size": "small"}}, LARGE), Quote)


labels = st.dictionaries(st.sampled_from("abc"), st.sampled_from("xy"), max_size=3)


@given(st.lists(st.tuples(labels, st.integers(1, 9)), min_size=1, max_size=4), labels)
def test_a_pod_that_is_launched_never_costs_more_than_is_held_on_nodes_that_select_it_exactly(
    kinds: list[tuple[dict[str, str], int]], more: dict[str, str]
) -> None:
    classes = [
        {"name": f"c{number}", "nodeSelector": wanted, "onDemand": rates(str(cap)), "cap": rates(str(cap))}
        for number, (wanted, cap) in enumerate(kinds)
    ]
    book, resources = PriceBook([prices(*classes)], NOW), Resources(cpu="1", memory="1Gi")
    quote = book.quote("c0", "OnDemand", "USD", resources)
    if isinstance(quote, Unpriced):
        assert quote.reason == "AmbiguousNodes"
        return
    node = more | kinds[0][0]  # the scheduler puts it on a node with its labels
    for name, capacity in book.kinds(node, "USD"):
        other = book.price(name, capacity, "USD", resources)
        assert isinstance(other, Quote)
        inside = quote.node_selector.items() <= other.node_selector.items()
        assert not inside or other.cost(resources, 3600) <= quote.worst(resources, 3600)
