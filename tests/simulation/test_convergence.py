"""The remains of lost or isolated objects block nothing and hold no money forever (P5)."""

import pytest

from comptroller.ledger.names import AttemptKey
from comptroller.simulation.costs import SetPrices
from comptroller.simulation.faults import Crash, NodeLost
from comptroller.simulation.people import CreateStudy, DeleteStudy
from comptroller.simulation.run import Run
from comptroller.simulation.schedule import Event, Schedule


def run(*events: Event) -> Run:
    one = Run(Schedule(seed=0, start=1_800_014_400, events=(SetPrices(0), *events), horizon=400))
    assert one.execute().violations == []
    return one


def outcomes(one: Run, uid: str) -> list[str | None]:
    return [t.status.outcome for (study, _), t in one.cluster.trials.items() if study == uid and t.status]


def test_a_study_of_the_same_name_runs_despite_tombstones_of_the_earlier_one() -> None:
    tombstones = []
    for points in range(25, 50):  # a crash after each step around the first launch
        one = run(
            CreateStudy(0, 1, trials=1, parallel=1),
            Crash(0, "a", points, 60),
            DeleteStudy(30, 1, forced=True),
            CreateStudy(120, 1, trials=1, parallel=1),
        )
        assert outcomes(one, "0001-1") == ["Succeeded"], points
        tombstones += [job.key for job in one.cluster.jobs.values() if job.assignment is None]
    # In some of these histories the lease was durable and nothing was launched.
    assert set(tombstones) == {("0000-1", 0, 0)}


@pytest.mark.parametrize("at", [5, 25, 200])
def test_a_study_of_the_same_name_runs_next_to_trials_and_jobs_that_were_left_behind(at: int) -> None:
    one = run(
        CreateStudy(0, 1, trials=2, parallel=2),
        DeleteStudy(at, 1, orphans=True),
        CreateStudy(at + 60, 1, trials=2, parallel=2),
    )
    assert outcomes(one, "0001-1") == ["Succeeded", "Succeeded"]
    assert any(uid == "0000-1" for uid, _ in one.cluster.trials)


def test_an_operator_that_starts_while_a_node_is_lost_stops_renewing_what_it_never_hears() -> None:
    one = run(
        CreateStudy(0, 1, trials=1, parallel=1, epochs=(20,), lease=30),
        NodeLost(20, 0, 250),
        Crash(22, "a", 1, 0),
    )
    first = one.oracle.fold.attempts[AttemptKey("0000-1", 0, 0)]
    assert first.granted <= 22 + 60 + 2 * 30
