"""Prices that change: the price at each launch, and the amount paid."""

import pytest

from comptroller.status import rfc3339
from comptroller_api.pricelist import PriceList


def prices(spot, on_demand="3.60", cap="7.20", since="2026-01-01T00:00:00Z"):
    node_class = {
        "name": "small",
        "onDemand": {"cpu": on_demand, "memoryGiB": "0"},
        "spot": {"cpu": spot, "memoryGiB": "0", "nodeSelector": {"capacity": "spot"}},
        "cap": {"cpu": cap, "memoryGiB": "0"},
    }
    spec = {"currency": "USD", "asOf": since, "nodeClasses": [node_class]}
    return (PriceList.model_validate({"metadata": {"name": "list"}, "spec": spec}),)


@pytest.mark.parametrize(("spot", "capacity"), [("2.51", "Spot"), ("2.53", "OnDemand")])
def test_spot_over_its_share_of_on_demand_is_not_taken(simulate, make_study, spot, capacity):
    simulation = simulate()
    simulation.cluster.prices = prices(spot)
    simulation.cluster.apply(make_study(runtime={"capacity": "Spot", "hedge": 70}))
    simulation.run()
    attempts = [one for own in simulation.check().trials.values() for one in own]
    assert {one.capacity for one in attempts} == {capacity}


def test_spot_that_rises_during_a_study_sends_the_next_attempts_on_demand(simulate, make_study):
    simulation = simulate()
    simulation.cluster.prices = prices("1.00")
    simulation.cluster.apply(make_study(runtime={"capacity": "Spot", "hedge": 70}))
    for _ in range(8):
        simulation.reconcile()
        simulation.cluster.advance(5)
    simulation.cluster.prices = prices("3.50")
    simulation.run()
    attempts = [one for own in simulation.check().trials.values() for one in own]
    in_order = [one.capacity for one in sorted(attempts, key=lambda one: one.started)]
    assert (in_order[0], in_order[-1]) == ("Spot", "OnDemand")


def test_a_price_that_changes_under_a_running_attempt_splits_what_it_is_billed(simulate, make_study):
    simulation = simulate()
    simulation.cluster.prices = prices("1.00")
    search = {"trials": 1, "parallel": 1, "rungs": {"epochs": [10]}}
    simulation.cluster.apply(make_study(search=search))
    for _ in range(12):
        simulation.reconcile()
        simulation.cluster.advance(5)
    changed = simulation.cluster.now
    simulation.cluster.prices = prices("1.00", on_demand="7.20")
    simulation.run()
    (attempts,) = simulation.check().trials.values()
    (attempt,) = attempts
    before, after = changed - attempt.started, attempt.ended - changed
    assert min(before, after) > 30
    assert attempt.spent == before * 1000 + after * 2000


def test_an_attempt_that_ends_unseen_is_billed_at_the_price_that_changed_meanwhile(simulate, make_study):
    simulation = simulate()
    simulation.cluster.prices = prices("1.00")
    search = {"trials": 1, "parallel": 1, "rungs": {"epochs": [10]}}
    for uid in ("0000-1", "0000-2"):  # the first is Active and gives the price, the second has just ended
        simulation.cluster.apply(make_study(uid=uid, search=search))
    for _ in range(4):
        simulation.reconcile()
        simulation.cluster.advance(5)
    changed = simulation.cluster.now
    simulation.cluster.prices = prices("1.00", on_demand="7.20", since=rfc3339(changed))
    simulation.cluster.advance(100)
    simulation.reconcile()
    attempts = [own[0] for own in simulation.check().trials.values()]
    assert len(attempts) == 2
    for one in attempts:
        assert one.spent == (changed - one.started) * 1000 + (one.ended - changed) * 2000


def test_a_cap_that_is_raised_is_not_charged_to_leases_that_were_sized_by_the_old_one(simulate, make_study):
    simulation = simulate()
    simulation.cluster.prices = prices("1.00")
    search = {"trials": 1, "parallel": 1, "rungs": {"epochs": [10]}}
    simulation.cluster.apply(make_study(search=search))
    for _ in range(12):
        simulation.reconcile()
        simulation.cluster.advance(5)
    simulation.cluster.prices = prices("1.00", on_demand="36.00", cap="36.00")
    simulation.run()
    (attempts,) = simulation.check().trials.values()
    first, second = attempts[:2]
    assert first.end == "LeaseExpired"
    assert first.spent <= (first.ended - first.started) * 2000
    assert second.spent == (second.ended - second.started) * 10_000
