"""Schedules that once broke a promise, as they were shrunk."""

import pytest

from comptroller.simulation.costs import SetPrices
from comptroller.simulation.faults import Crash, NodeLost, SecondOperator, Stale, StandStill
from comptroller.simulation.people import CreateStudy, DeleteBudget, SetBudget
from comptroller.simulation.pool import quiet
from comptroller.simulation.run import Run
from comptroller.simulation.schedule import Schedule

SCHEDULES = {
    "a pod without a node is not billed by an operator that cannot see it": Schedule(
        seed=2015401369,
        start=1_800_057_558,
        horizon=467,
        lag=155,
        events=(
            SetPrices(0, age=300),
            NodeLost(85, node=1, seconds=250),
            SecondOperator(92, seconds=223),
            CreateStudy(98, 3, epochs=(1,), lease=30, retries=1),
            NodeLost(105, node=0, seconds=250, dead=True),
            Stale(111, "b", ("pods",), seconds=120),
        ),
    ),
    "a node comes back while an operator that looked before gives its pod up": Schedule(
        seed=771005573,
        start=1_800_014_400,
        horizon=396,
        lag=120,
        events=(
            SetPrices(0),
            CreateStudy(0, 1, ceiling="0.20", trials=3, parallel=1, epochs=(1, 3), lease=30, team="y"),
            SetBudget(0, "blue", "0.15", period="Daily", zone="Europe/London", team="y", cap="2.00"),
            CreateStudy(0, 3, ceiling="0.20", trials=1, parallel=1, epochs=(1,), longest=90, retries=1),
            NodeLost(8, node=1, seconds=20, dead=True),
            NodeLost(18, node=0, seconds=150, dead=True),
            Crash(18, "a", 1, 5),
            SecondOperator(101, seconds=143),
            StandStill(121, "a", 9, 40),
            DeleteBudget(156, "blue"),
        ),
    ),
}


@pytest.mark.parametrize("what", SCHEDULES)
def test_it_does_not_happen_again(what):
    quiet()
    assert Run(SCHEDULES[what]).execute().violations == []
