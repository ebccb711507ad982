"""A trial whose attempt has ended is resumed at its rung, later, or not: by how the attempt ended."""

from comptroller.ledger.names import AttemptKey
from comptroller.world import Unusable
from unit.plan.scene import (
    FIRST,
    GOOD,
    Past,
    halving,
    leased,
    one,
    proven,
    running,
    searching,
)
from unit.plan.table import Row, table

ALONE = one(search=searching(parallel=1))
LIMITED = one(search=searching(parallel=1), ceilings={"latency": {"limit": "20ms"}})
IDLE = one(search=searching(parallel=1), runtime={"idle": {"threshold": 5, "window": "60s"}})
FAST, SLOW = GOOD | {"latency_p95_ms": 9.0}, GOOD | {"latency_p95_ms": 21.0}
DOUBTED = {"latency_trusted": 0.0}


def lease(attempt, rung=0, trial=1):
    return f"reserve/u1/{trial}/{attempt}/0 rung {rung}: 60 s, {FIRST:_} on study/u1"


def after(*attempts, study=ALONE, **trial):
    """A proven study whose second trial has had these attempts."""
    return proven(study).trial(1, *attempts, **trial)


def again(rule, end, **past):
    return Row(rule, after(Past(end=end, **past)), does=[lease(1)])


@table(
    again("a suspended trial is resumed", "Suspended"),
    again("a trial whose lease ended is resumed", "LeaseExpired"),
    again("a preempted trial is resumed", "Preempted"),
    again("a trial whose node was lost is resumed", "NodeLost"),
    again("a trial that failed is retried", "Error", reason="exit 1"),
    again("a trial that ran out of memory is retried", "OutOfMemory"),
    Row(
        "a trial is resumed at the first rung without a result",
        after(
            Past(),
            Past(end="Preempted", rung=1),
            study=one(search=searching(trials=2, parallel=1, rungs=halving(1, 2))),
            rungs=[GOOD],
        ),
        does=[lease(2, rung=1)],
    ),
    Row(
        "a resumed trial continues from its own checkpoint",
        after(Past(end="Preempted"), leased()),
        does=["launch s-u1-0001-1 rung 0: epoch 1 of 1, 60 s"],
        launch={
            "assignment.artifacts": "s3://bucket/artifacts/team/s-u1/trials/0001",
            "assignment.attempt": 1,
            "assignment.parameters": {"model.width": "17", "model.family": "mlp"},
        },
    ),
    Row(
        "a trial is retried as often as the study says",
        after(Past(end="Error"), Past(end="Error")),
        does=[lease(2)],
    ),
    Row(
        "a trial that failed once too often has failed",
        after(Past(end="Error"), Past(end="Error"), Past(end="Error", reason="exit 1")),
        trials={1: "Ended Failed: 3 attempts failed, the last with: exit 1"},
    ),
    Row(
        "a trial that is out of memory once too often is infeasible",
        after(Past(end="Error"), Past(end="Error"), Past(end="OutOfMemory", reason="2 GiB")),
        trials={1: "Ended Infeasible: 3 attempts failed, the last with: 2 GiB"},
    ),
    Row("preemptions are no failures", after(*[Past(end="Preempted")] * 5), does=[lease(5)]),
    Row(
        "a bad assignment is not tried again",
        after(Past(end="BadAssignment", reason="model.width: odd")),
        trials={1: "Ended Failed: model.width: odd"},
    ),
    Row(
        "a trial that diverged is infeasible",
        after(Past(end="Diverged", reason="loss is nan")),
        trials={1: "Ended Infeasible: loss is nan"},
    ),
)
def test_a_trial_is_resumed(row):
    row.check()


@table(
    Row(
        "a trial that could not start is resumed after 20 s",
        after(Past(end="Preempted", reason="NotStarted: OutOfcpu", ago=20)),
        does=[lease(1)],
    ),
    Row(
        "a trial that could not start is not resumed before 20 s",
        after(Past(end="Preempted", reason="NotStarted: OutOfcpu", ago=19)),
        does=[],
        study="Stalled NotStarted: trial 1: OutOfcpu; the next attempt is launched at 2027-01-15T08:00:01Z",
    ),
    Row("each attempt in vain doubles the pause", after(*[Past(end="Unavailable", ago=79)] * 3), does=[]),
    Row(
        "each attempt in vain doubles the pause and no more",
        after(*[Past(end="Unavailable", ago=80)] * 3),
        does=[lease(3)],
    ),
    Row(
        "the pause of a trial doubles though another trial works",
        proven().trial(1, *[Past(end="Unavailable", ago=79)] * 3).trial(2, running(60, leases=(60, 60))),
        does=[],
        study="Reconciling Running: trials are running",
    ),
    Row("a pause is ten minutes at most", after(*[Past(end="Unavailable", ago=600)] * 9), does=[lease(9)]),
    Row(
        "an attempt that worked ends the doubling",
        after(Past(end="Unavailable"), Past(end="Preempted"), Past(end="Unavailable", ago=20)),
        does=[lease(3)],
    ),
    Row(
        "an idle trial is resumed after its window",
        after(Past(end="Suspended", reason="Idle: x", ago=60), study=IDLE),
        does=[lease(1)],
    ),
    Row(
        "an idle trial is not resumed within its window",
        after(Past(end="Suspended", reason="Idle: x", ago=59), study=IDLE),
        does=[],
    ),
    Row(
        "a trial that was idle too often has failed",
        after(*[Past(end="Suspended", reason="Idle: x")] * 3, study=IDLE),
        trials={1: "Ended Failed: Idle: x; suspended for it 3 times"},
    ),
    Row(
        "a study that no longer minds idle trials resumes one at once",
        after(*[Past(end="Suspended", reason="Idle: x", ago=1)] * 3),
        does=[lease(3)],
    ),
)
def test_a_trial_waits(row):
    row.check()


@table(
    Row(
        "a report that was not read yet ends nothing",
        after(Past()),
        does=[],
        study="Stalled ArtifactsUnavailable: the report of trial 1 cannot be read from s3://bucket/artifacts",
        trials={1: "Pending"},
    ),
    Row(
        "a report that is not there loses the trials metrics",
        after(Past()).reported(1, 0, None),
        trials={1: "Ended MetricsLost: attempt 0 exited 0 and left no report"},
    ),
    Row(
        "a report that is refused loses the trials metrics",
        proven(ALONE, reports={AttemptKey("u1", 1, 0): Unusable("it is of another attempt")}).trial(
            1, Past()
        ),
        trials={1: "Ended MetricsLost: the report of attempt 0 is refused: it is of another attempt"},
    ),
    Row(
        "a report of the last rung makes a success",
        after(Past()).reported(1, 0, GOOD),
        trials={1: "Ended Succeeded"},
    ),
    Row(
        "a report without an objective loses the trials metrics",
        after(Past()).reported(1, 0, {"loss": 1.0}),
        trials={1: "Ended MetricsLost: the report lacks accuracy"},
    ),
    Row(
        "a report of a model that must not be used makes its trial infeasible",
        after(Past()).reported(1, 0, GOOD, missed="slower than its parent"),
        trials={1: "Ended Infeasible: slower than its parent"},
    ),
    Row(
        "a trainer without a report of its near miss is infeasible all the same",
        after(Past(end="NoGain", reason="slower")).reported(1, 0, None),
        trials={1: "Ended Infeasible: slower"},
    ),
    Row(
        "a model over a ceiling is infeasible and says by how much",
        after(Past(), study=LIMITED).reported(1, 0, SLOW),
        trials={1: "Ended Infeasible: latency_p95_ms 21 is over its ceiling 20"},
    ),
    Row(
        "a model within its ceilings is a success",
        after(Past(), study=LIMITED).reported(1, 0, FAST),
        trials={1: "Ended Succeeded"},
    ),
    Row(
        "a latency that is not to be trusted is measured again at the same rung",
        after(Past(), study=LIMITED, rungs=[SLOW | DOUBTED]),
        does=[lease(1)],
    ),
    Row(
        "a latency that is never to be trusted decides nothing",
        after(Past(), Past(), study=LIMITED, rungs=[SLOW | DOUBTED]),
        trials={
            1: "Ended MetricsLost: LatencyNotTrusted: latency_p95_ms was measured in 2 attempts, each time"
            " while"
            " other work disturbed the CPU, so it cannot be judged; request whole cores, or use nodes"
            " without other"
            " work"
        },
    ),
    Row(
        "a latency that decides nothing need not be trusted",
        after(Past()).reported(1, 0, SLOW | DOUBTED),
        trials={1: "Ended Succeeded"},
    ),
)
def test_a_report_decides(row):
    row.check()
