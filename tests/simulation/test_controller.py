"""The whole controller in virtual time: its promises hold through all failures."""

import itertools
import random

import pytest

from comptroller.actions import Launch
from comptroller.cluster.simulated import Faults
from comptroller.ledger.encoding import decode, journal_key
from comptroller.ledger.stores.faulty import Fault
from comptroller.site import SitePolicy
from comptroller_api.budget import Budget

SEEDS = range(40)


def test_a_study_runs_to_its_end(simulate, make_study):
    simulation = simulate()
    simulation.cluster.apply(make_study())
    simulation.run()
    simulation.check()
    assert simulation.outcomes()[0] == "Succeeded"
    assert len(simulation.outcomes()) == 6
    assert None not in simulation.outcomes().values()


def test_after_the_end_there_is_nothing_to_do(simulate, make_study):
    simulation = simulate()
    simulation.cluster.apply(make_study())
    simulation.run()
    assert not simulation.reconcile(simulation.start_operator())


def test_an_operator_that_stood_still_looks_again_before_it_continues(simulate, make_study, monkeypatch):
    simulation = simulate()
    simulation.cluster.apply(make_study())
    act, observe = simulation.cluster.act, simulation.cluster.observe
    looks: list[str] = []
    launches: list[int] = []

    async def still_after_a_launch(namespace, action):
        await act(namespace, action)
        if isinstance(action, Launch):
            launches.append(len(looks))
            simulation.cluster.advance(30)

    async def counted(namespace, **how):
        looks.append(namespace)
        return await observe(namespace, **how)

    monkeypatch.setattr(simulation.cluster, "act", still_after_a_launch)
    monkeypatch.setattr(simulation.cluster, "observe", counted)
    while len(launches) < 2:
        simulation.reconcile()
    assert launches[0] < launches[1]


def test_the_ceiling_stops_a_trial(simulate, make_study):
    simulation = simulate()
    simulation.cluster.apply(make_study(ceiling="0.25"))
    simulation.run()
    books = simulation.check()
    assert "BudgetStopped" in simulation.outcomes().values()
    assert books.accounts["study/0000-1"].spent <= 250_000
    (study,) = simulation.cluster.studies.values()
    assert {c.type: c.reason for c in study.status.conditions}["Complete"] == "CeilingReached"


def test_a_raised_ceiling_lets_a_running_study_continue(simulate, make_study):
    simulation = simulate()
    simulation.cluster.apply(make_study(ceiling="0.20"))
    for _ in range(12):
        simulation.reconcile()
        simulation.cluster.advance(5)
    simulation.cluster.apply(make_study(ceiling="50.00"))
    simulation.run()
    simulation.check()
    assert "BudgetStopped" not in simulation.outcomes().values()


def test_a_dead_operator_cannot_overspend(simulate, make_study):
    simulation = simulate()
    simulation.cluster.apply(make_study(search={"rungs": {"epochs": [500]}}))
    for _ in range(6):
        simulation.reconcile()
        simulation.cluster.advance(5)
    simulation.cluster.advance(100_000)
    assert not [job for job in simulation.cluster.jobs.values() if job.running]
    simulation.operator = simulation.start_operator()
    simulation.reconcile()
    simulation.check()


def test_leases_end_pods_while_the_control_plane_is_down(simulate, make_study):
    simulation = simulate()
    simulation.cluster.apply(make_study(search={"rungs": {"epochs": [500]}}))
    for _ in range(6):
        simulation.reconcile()
        simulation.cluster.advance(5)
    simulation.cluster.controllers_alive = False
    simulation.cluster.advance(200)
    assert not [job for job in simulation.cluster.jobs.values() if job.running]
    simulation.cluster.controllers_alive = True
    simulation.reconcile()
    simulation.check()


def test_suspend_stops_all_and_resume_continues(simulate, make_study):
    simulation = simulate()
    simulation.cluster.apply(make_study())
    for _ in range(4):
        simulation.reconcile()
        simulation.cluster.advance(3)
    simulation.cluster.apply(make_study(suspend=True))
    for _ in range(10):
        simulation.reconcile()
        simulation.cluster.advance(5)
    assert not [job for job in simulation.cluster.jobs.values() if job.running]
    assert simulation.check().open == {}
    simulation.cluster.apply(make_study())
    simulation.run()
    simulation.check()
    assert None not in simulation.outcomes().values()


def test_a_deleted_study_is_settled_and_goes(simulate, make_study):
    simulation = simulate()
    simulation.cluster.apply(make_study())
    for _ in range(4):
        simulation.reconcile()
        simulation.cluster.advance(3)
    simulation.cluster.delete("0000-1")
    for _ in range(10):
        simulation.reconcile()
        simulation.cluster.advance(5)
    assert simulation.cluster.studies == {}
    assert simulation.check().open == {}
    assert not [job for job in simulation.cluster.jobs.values() if job.running]


def test_a_missing_report_is_reported_as_lost(simulate, make_study):
    simulation = simulate(faults=Faults(no_report=1.0))
    simulation.cluster.apply(make_study())
    simulation.run()
    simulation.check()
    assert set(simulation.outcomes().values()) == {"MetricsLost"}


def test_no_price_no_launch(simulate, make_study):
    simulation = simulate()
    simulation.cluster.prices = ()
    simulation.cluster.apply(make_study())
    simulation.settle()
    (study,) = simulation.cluster.studies.values()
    stalled = next(c for c in study.status.conditions if c.type == "Stalled")
    assert (stalled.status, stalled.reason) == ("True", "NoPrice")
    assert "'small'" in stalled.message
    assert simulation.cluster.jobs == {}


def test_a_lease_below_the_clusters_floor_holds_no_money_and_the_floors_fall_lets_it_run(
    simulate, make_study
):
    simulation = simulate()
    simulation.site = SitePolicy(min_slack="5s")
    lease = {"duration": "60s", "gracePeriod": "10s", "slack": "1ns"}
    simulation.cluster.apply(make_study(runtime={"lease": lease}))
    simulation.operator = simulation.start_operator()
    simulation.settle()
    (study,) = simulation.cluster.studies.values()
    stalled = next(c for c in study.status.conditions if c.type == "Stalled")
    assert (stalled.status, stalled.reason) == ("True", "LeaseBelowFloor")
    assert "spec.runtime.lease.slack: 1ns is below this cluster's floor of 5s" in stalled.message
    assert simulation.cluster.jobs == {}
    assert simulation.check().open == {}
    simulation.site = SitePolicy()
    simulation.operator = simulation.start_operator()
    simulation.settle()
    assert simulation.cluster.jobs


IDLE = {"idle": {"threshold": 10, "window": "20s"}}


def test_an_idle_trial_is_suspended_and_resumed_later(simulate, make_study):
    simulation = simulate()
    simulation.cluster.idle_attempts = {1: 1}
    simulation.cluster.apply(make_study(runtime=IDLE))
    simulation.run()
    first, second = simulation.check().attempts("0000-1", 1)[:2]
    assert (first.end, first.reason[:4]) == ("Suspended", "Idle")
    assert second.started >= first.ended + 20
    assert simulation.outcomes()[1] in {"Succeeded", "Pruned"}


def test_a_trial_that_is_always_idle_fails_and_says_why(simulate, make_study):
    simulation = simulate()
    simulation.cluster.idle_attempts = {1: 1000}
    simulation.cluster.apply(make_study(runtime=IDLE))
    simulation.run()
    simulation.check()
    assert simulation.outcomes()[1] == "Failed"
    (trial,) = [t for t in simulation.cluster.trials.values() if t.spec.number == 1]
    assert "utilization under 10%" in trial.status.reason


def test_trials_that_still_run_when_the_study_ends_are_cancelled(simulate, make_study):
    simulation = simulate()
    simulation.cluster.apply(make_study(ceilings={"wallClock": "2m"}, search={"rungs": {"epochs": [500]}}))
    simulation.run()
    simulation.check()
    assert set(simulation.outcomes().values()) == {"Cancelled"}
    (study,) = simulation.cluster.studies.values()
    failed = next(c for c in study.status.conditions if c.type == "Failed")
    assert (failed.status, failed.reason) == ("True", "NoTrialSucceeded")
    assert "wallClock ceiling 2m" in failed.message


def test_a_budget_that_is_spent_suspends_the_study_until_its_next_period(simulate, make_study):
    simulation = simulate()
    spec = {"amount": "0.20", "currency": "USD", "period": "Daily"}
    simulation.cluster.budgets = (Budget.model_validate({"metadata": {"name": "b"}, "spec": spec}),)
    simulation.cluster.apply(make_study())
    for _ in range(400):
        simulation.reconcile()
        simulation.cluster.advance(5)
    (study,) = simulation.cluster.studies.values()
    stalled = next(c for c in study.status.conditions if c.type == "Stalled")
    assert (stalled.status, stalled.reason) == ("True", "BudgetExhausted")
    simulation.run(seconds=200_000, step=60)
    books = simulation.check()
    assert None not in simulation.outcomes().values()
    assert len([name for name in books.accounts if name.startswith("budget/b/")]) >= 2


def test_a_budget_in_no_time_zone_is_refused_by_name(simulate, make_study):
    simulation = simulate()
    spec = {"amount": "50.00", "currency": "USD", "timeZone": "Mars/Olympus"}
    simulation.cluster.budgets = (Budget.model_validate({"metadata": {"name": "b"}, "spec": spec}),)
    simulation.cluster.apply(make_study())
    simulation.settle()
    (study,) = simulation.cluster.studies.values()
    stalled = next(c for c in study.status.conditions if c.type == "Stalled")
    assert stalled.reason == "BudgetRefused"
    assert "'Mars/Olympus'" in stalled.message
    assert simulation.cluster.jobs == {}


def test_rungs_that_are_taken_away_end_trials_where_they_are(simulate, make_study):
    simulation = simulate()
    simulation.cluster.apply(make_study())
    for _ in range(14):
        simulation.reconcile()
        simulation.cluster.advance(5)
    simulation.cluster.apply(make_study(search={"rungs": {"epochs": [1]}}))
    simulation.run()
    simulation.check()
    assert None not in simulation.outcomes().values()


def test_two_studies_on_one_node_class_do_not_stop_each_other(simulate, make_study):
    simulation = simulate()
    simulation.cluster.apply(make_study(uid="0000-1"))
    simulation.cluster.apply(make_study(uid="0000-2"))
    simulation.run()
    simulation.check()
    assert simulation.over


def test_a_price_that_rises_while_trials_run_overruns_nothing(simulate, make_study):
    simulation = simulate()
    simulation.cluster.apply(make_study(search={"rungs": {"epochs": [10]}}))
    for _ in range(8):
        simulation.reconcile()
        simulation.cluster.advance(5)
    dear = {
        "name": "small",
        "onDemand": {"cpu": "36.00", "memoryGiB": "0"},
        "cap": {"cpu": "72.00", "memoryGiB": "0"},
    }
    (prices,) = simulation.cluster.prices
    spec = prices.spec.to_json() | {"nodeClasses": [dear]}
    simulation.cluster.prices = (type(prices).model_validate({"metadata": {"name": "list"}, "spec": spec}),)
    simulation.run()
    simulation.check()
    assert None not in simulation.outcomes().values()


def test_no_lease_crosses_the_end_of_a_budgets_period(simulate, make_study):
    simulation = simulate()
    simulation.cluster.now += 16 * 3600 - 20  # just before midnight, UTC
    spec = {"amount": "50.00", "currency": "USD", "period": "Daily"}
    simulation.cluster.budgets = (Budget.model_validate({"metadata": {"name": "b"}, "spec": spec}),)
    simulation.cluster.apply(make_study())
    simulation.settle()
    (study,) = simulation.cluster.studies.values()
    stalled = next(c for c in study.status.conditions if c.type == "Stalled")
    assert (stalled.status, stalled.reason) == ("True", "PeriodEnding")
    assert simulation.cluster.jobs == {}
    simulation.run()
    books = simulation.check()
    assert None not in simulation.outcomes().values()
    assert books.accounts["budget/b/2027-01-15"].spent == 0
    assert books.accounts["budget/b/2027-01-16"].spent > 0


def _fate(seed, rate):
    rng = random.Random(seed)
    faults = [fault for fault in Fault if fault is not Fault.NONE]
    return lambda _call, _key: rng.choice(faults) if rng.random() < rate else Fault.NONE


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_goes_wrong_the_ceiling_holds_and_the_study_ends(simulate, make_study, seed):
    rng = random.Random(seed)
    faults = Faults(stale=0.2, lost_before=0.05, lost_after=0.05, error=0.2, hostile=0.1, no_report=0.05)
    simulation = simulate(seed, faults, _fate(seed, 0.03))
    simulation.cluster.apply(make_study(ceiling=rng.choice(["0.25", "1.00", "20.00"])))
    other = simulation.start_operator()
    for _ in range(2000):
        for operator in rng.sample([simulation.operator, other], rng.randint(0, 2)):
            simulation.reconcile(operator)
        if rng.random() < 0.05:
            simulation.operator = simulation.start_operator()
        simulation.remote.arrive()
        simulation.cluster.advance(rng.choice([1, 3, 5, 5, 10, 90 if rng.random() < 0.1 else 5]))
        if simulation.over:
            break
    simulation.cluster.faults = Faults()
    simulation.remote._fate = lambda _call, _key: Fault.NONE
    for _ in range(50):
        simulation.cluster.advance(5)
        if not simulation.reconcile():
            break
    simulation.check()
    assert simulation.over
    assert not simulation.reconcile()


def test_a_studys_spec_is_in_the_books_before_any_money_and_edits_are_amendments(simulate, make_study):
    simulation = simulate()
    simulation.cluster.apply(make_study(ceiling="0.25"))
    for _ in range(4):
        simulation.reconcile()
        simulation.cluster.advance(5)
    simulation.cluster.apply(make_study(ceiling="50.00"))
    simulation.run()
    simulation.check()
    entries = [
        entry
        for sequence in itertools.takewhile(
            lambda n: simulation.store.get(journal_key("team", n)), itertools.count()
        )
        for entry in decode(simulation.store.get(journal_key("team", sequence))).entries
    ]
    first, second = [entry for entry in entries if entry.kind == "Manifest"]
    assert entries.index(first) < next(i for i, entry in enumerate(entries) if entry.kind == "Reserve")
    assert (first.revision, second.revision) == (0, 1)
    assert first.space == second.space
    assert first.criteria != second.criteria
