"""Shrunk schedules that once broke a promise."""

import pytest

from comptroller.simulation.costs import SetPrices
from comptroller.simulation.faults import (
    ControllersDown,
    Crash,
    NextJob,
    NodeLost,
    PodFault,
    SecondOperator,
    Skew,
    Stale,
    StandStill,
)
from comptroller.simulation.people import CreateStudy, DeleteBudget, DeleteTrial, SetBudget
from comptroller.simulation.pool import quiet
from comptroller.simulation.run import Run
from comptroller.simulation.schedule import Schedule
from comptroller.simulation.storage import SlowStore
from comptroller.simulation.tenants import EditJob, Talk
from comptroller.simulation.walk import replay

SCHEDULES = {
    "a launch that comes late is settled though its trial was deleted": Schedule(
        seed=1100008068,
        start=1_800_057_344,
        horizon=367,
        nodes=2,
        milli_cores=3000,
        lag=220,
        events=(
            SetPrices(0),
            CreateStudy(
                0,
                1,
                ceiling="1.00",
                trials=1,
                parallel=1,
                epochs=(1,),
                lease=120,
                capacity="Spot",
                cpu="2",
                retries=0,
            ),
            SetBudget(0, "red", "0.60", period="Daily"),
            CreateStudy(
                34, 2, ceiling="0.20", trials=3, parallel=1, epochs=(1, 3), renewal="Never", retries=1
            ),
            SecondOperator(114, seconds=233),
            StandStill(134, "a", 20, 40),
            DeleteTrial(146, 3),
        ),
    ),
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
    "a grant is not raised by an operator whose Job was changed under its eyes": Schedule(
        seed=80002965,
        start=1_800_057_322,
        horizon=388,
        lag=60,
        events=(
            SetPrices(0, now="3.60", spot="1.20", cap="7.20", age=300, old="1.80", feed=True),
            CreateStudy(
                0, 1, trials=2, parallel=2, epochs=(1, 2), lease=60, longest=90, cpu="1", team="y", retries=2
            ),
            SetBudget(0, "blue", "0.60", period="Weekly", zone="Europe/London", exhausted="Cancel"),
            SetBudget(0, "red", "0.60", period="Daily", zone="Europe/London", exhausted="Cancel"),
            SecondOperator(52, seconds=316),
            Skew(52, "b", 30),
            Talk(65, 0),
        ),
    ),
    "a period that was replaced stops no attempt of the one after it": Schedule(
        seed=100000474,
        start=1_800_057_432,
        horizon=360,
        events=(
            SetPrices(0, now="3.60", spot="1.20", cap="7.20"),
            CreateStudy(
                0,
                1,
                trials=2,
                parallel=2,
                epochs=(1, 2),
                lease=120,
                longest=120,
                cpu="1",
                team="x",
                retries=0,
            ),
            SetBudget(10, "spell", "0.60"),
            SetBudget(38, "spell", "0.30", period="Weekly"),
            SetBudget(43, "spell", "0.30", period="Daily"),
        ),
    ),
    "a pod is released though its Job lost its label when its books were closed": Schedule(
        seed=200001654,
        start=1_800_014_400,
        horizon=289,
        events=(
            SetPrices(0, now="3.60", spot="1.20", cap="7.20"),
            CreateStudy(
                0,
                1,
                ceiling="0.20",
                trials=3,
                parallel=2,
                epochs=(1, 2),
                lease=30,
                cpu="1",
                team="y",
                retries=2,
            ),
            SecondOperator(13, seconds=256),
            EditJob(15, 0, "stop note"),
            EditJob(32, 3, "managed-by"),
        ),
    ),
    "a lease is vouched for at the time of its batch, not of the pass that requested it": Schedule(
        seed=71000987,
        start=1_800_057_238,
        horizon=343,
        lag=952,
        events=(
            SetPrices(0, now="3.60", spot="1.20", cap="3.60", age=10000),
            CreateStudy(
                0,
                1,
                ceiling="0.35",
                trials=1,
                parallel=1,
                epochs=(2,),
                lease=60,
                renewal="Never",
                capacity="Spot",
                cpu="500m",
                team="x",
                retries=0,
            ),
            SetBudget(0, "blue", "0.15", team="x"),
            StandStill(12, "a", 19, 150),
            CreateStudy(24, 2, trials=2, parallel=1, epochs=(1, 2), lease=60, cpu="1", team="x", retries=0),
            StandStill(45, "a", 5, 150),
            StandStill(89, "a", 4, 150),
            SecondOperator(100, seconds=172),
            StandStill(113, "b", 22, 150),
            StandStill(173, "a", 12, 150),
        ),
    ),
    "a Job that lost its label is not stopped as it was long ago": Schedule(
        seed=510005971,
        start=1_800_014_400,
        horizon=220,
        lag=600,
        events=(
            SetPrices(0),
            CreateStudy(0, 1, trials=1, parallel=1, epochs=(1,), lease=30, renewal="Never"),
            SlowStore(8, 120, 9),
            EditJob(9, 0, "managed-by"),
        ),
    ),
}


@pytest.mark.parametrize("what", SCHEDULES)
def test_it_does_not_happen_again(what):
    quiet()
    assert Run(SCHEDULES[what]).execute().violations == []


@pytest.mark.parametrize("last", ["pod deleted", "a dies at point 2"])
def test_a_pods_deletion_does_not_prove_that_its_unlabelled_job_is_gone(last):
    quiet()
    assert replay(("talked out of its lease", "Job unlabelled", last)).oracle.violations == []


def test_a_pod_that_was_seen_is_billed_as_it_ran_next_to_one_that_was_not():
    quiet()
    assert replay(("over", "pod stripped", "study deleted by force")).oracle.violations == []


def test_a_deleted_job_that_is_paused_is_settled_though_its_trial_is_gone():
    quiet()
    path = ("trial deleted", "Job orphaned", "a passes", "Job: no deadline", "parallelism 0")
    assert replay(("deaf, unseen", *path)).oracle.violations == []


@pytest.mark.parametrize(
    "path",
    [
        ("pod stripped", "pod deleted by force"),
        ("Job: suspend", "pod deleted by force", "time passes", "pod's finalizers taken off"),
    ],
)
def test_a_pod_that_was_replaced_at_once_is_billed(path):
    quiet()
    assert replay(("deaf, unseen", *path)).oracle.violations == []


def test_an_unlabelled_pod_that_terminates_on_a_dead_node_is_found():
    quiet()
    assert replay(("unseen", "pod unlabelled", "node dead")).oracle.violations == []


def test_an_evicted_pod_is_signalled_at_once():
    quiet()
    study = CreateStudy(0, 1, trials=1, parallel=1, epochs=(3,), lease=60, retries=0)
    run = Run(Schedule(1, 1_800_000_000, (SetPrices(0), study, PodFault(20, 0, "preempted")), horizon=60))
    assert run.execute().violations == []
    pod = next(iter(run.cluster.pods.values()))
    assert pod.signalled == 1_800_000_020


def test_a_guard_that_ends_its_worker_is_not_put_off_by_a_signal():
    quiet()
    study = CreateStudy(0, 1, trials=1, parallel=1, epochs=(9,), lease=30, ceiling="0.10", retries=0)
    down, stubborn = ControllersDown(5, 33), NextJob(0, "stubborn")
    run = Run(Schedule(1, 1_800_000_000, (SetPrices(0), study, stubborn, down), horizon=60))
    assert run.execute().violations == []
    pod = next(iter(run.cluster.pods.values()))
    assert pod.guarded is not None
    assert pod.signalled is not None
    assert pod.guarded < pod.signalled
    assert pod.ended == pod.guarded + pod.grace
