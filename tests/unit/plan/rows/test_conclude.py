"""A study ends once nothing of it can change: Complete where a trial succeeded, else Failed, and why."""

from unit.plan.scene import (
    GOOD,
    Past,
    budget,
    ended,
    halving,
    leased,
    one,
    over,
    proven,
    running,
    scene,
    searching,
)
from unit.plan.table import Row, table

TWO = one(search=searching(trials=2))
LOST = Past(end="BadAssignment", reason="model.width: odd")
LABEL = Past(end="BadAssignment", reason="data.label: no such column")
OLD = one(ceilings={"wallClock": "1h"}, meta={"creation_timestamp": "2027-01-15T07:00:00Z"})
WALL = "the study is older than its wallClock ceiling 1h"
DELETED = {"deletion_timestamp": "2027-01-15T07:59:00Z"}
ROOM = "no room for a lease, which holds at least 0.03 USD"


@table(
    Row(
        "TrialsDone: a study whose trials have ended is complete",
        proven(TWO).trial(1, Past(), rungs=[GOOD], outcome="Succeeded"),
        does=[],
        study="Complete TrialsDone: 2 trials have ended",
    ),
    Row(
        "TrialsDone: a trial that ends in this very pass counts",
        proven(TWO).trial(1, Past()).reported(1, 0, GOOD),
        does=[],
        study="Complete TrialsDone: 2 trials have ended",
        trials={1: "Ended Succeeded"},
    ),
    Row(
        "TrialsDone: one success of many failures is complete",
        proven(TWO).trial(1, LOST),
        study="Complete TrialsDone: 2 trials have ended",
    ),
    Row(
        "TrialsDone: a space without another configuration has been searched",
        proven(
            one(space={"parameters": [{"name": "model.width", "type": "Integer", "min": "16", "max": "16"}]})
        ),
        does=[],
        study="Complete TrialsDone: 1 trials have ended",
    ),
    Row(
        "a study is not complete while an attempt is open",
        proven(TWO).trial(1, running()),
        does=[],
        study="Reconciling Running: trials are running",
    ),
    Row(
        "a study is not complete before its last books are closed",
        proven(TWO).trial(1, over()),
        does=["settle/u1/1/0/0: 10_000", "close/u1/1/0 Finished: -; 10 s, -10 to now"],
        study="Reconciling Running: trials are running",
    ),
    Row(
        "NoTrialSucceeded: a study without a success has failed with counts and the first reason",
        scene(TWO).trial(0, Past(), outcome="Pruned", reason="place 9").trial(1, LOST),
        study="Failed+Stalled NoTrialSucceeded: none of 2 trials succeeded (1 Failed, 1 Pruned); trial 0:"
        " place 9; 2"
        " trials have ended",
    ),
    Row(
        "NoTrialSucceeded: what the baseline shares with every trial ends the study",
        scene().trial(0, LABEL),
        does=[],
        study="Failed+Stalled NoTrialSucceeded: trial 0, the baseline, failed for a reason that every trial"
        " shares:"
        " data.label: no such column",
        trials={0: "Ended Failed: data.label: no such column"},
    ),
    Row(
        "a baseline that fails for a parameter that is searched ends itself only",
        scene().trial(0, LOST),
        does=["create u1/1: Search"],
        study="Reconciling Running: trials are running",
        trials={0: "Ended Failed: model.width: odd"},
    ),
    Row(
        "NoTrialSucceeded: a baseline without an objective leaves nothing to compare with",
        scene().trial(0, Past()).reported(0, 0, {"loss": 1.0}),
        study="Failed+Stalled NoTrialSucceeded: trial 0, the baseline, failed for a reason that every trial"
        " shares: the"
        " report lacks accuracy",
    ),
    Row(
        "another trial that fails for a shared reason ends itself only",
        proven().trial(1, LABEL),
        does=["create u1/2: Search", "create u1/3: Search"],
        study="Reconciling Running: trials are running",
    ),
    Row(
        "FailureLimitReached: too many failures fail a study that has results too",
        proven(one(search=searching(failureLimit=2))).trial(1, LOST, outcome="Failed").trial(2, LOST),
        does=[],
        study="Failed+Stalled FailureLimitReached: 2 trials failed, the limit is 2",
    ),
    Row(
        "FailureLimitReached: what runs is stopped first",
        proven(one(search=searching(failureLimit=1))).trial(1, LOST).trial(2, running()),
        does=["stop s-u1-0002-0 Suspended: 1 trials failed, the limit is 1"],
        study="Reconciling FailureLimitReached: 1 trials failed, the limit is 1",
    ),
    Row(
        "a trial that had not ended at the failure limit is cancelled",
        proven(one(search=searching(failureLimit=1))).trial(1, LOST).trial(2),
        trials={2: "Ended Cancelled: 1 trials failed, the limit is 1"},
    ),
)
def test_a_study_ends_with_its_trials(row):
    row.check()


def broke(ceiling="0.09", seconds=70, outcome="Succeeded", **how):
    """A study that has spent what its baseline took; trial 1 waits."""
    of_study = {name: how.pop(name) for name in ("search", "status", "meta") if name in how}
    made = scene(one(ceiling=ceiling, **of_study), **how)
    return made.trial(
        0,
        Past(seconds=seconds),
        rungs=[GOOD] if outcome == "Succeeded" else [],
        outcome=outcome,
        reason="" if outcome == "Succeeded" else "exit 1",
    ).trial(1)


@table(
    # 0.090 less 0.070 is less than 0.030.
    Row(
        "CeilingReached: a ceiling that is reached after a success completes the study",
        broke(),
        does=[],
        study=f"Complete CeilingReached: the ceiling of 0.09 USD leaves {ROOM}",
        trials={1: f"Ended BudgetStopped: the ceiling of 0.09 USD leaves {ROOM}"},
    ),
    Row(
        "NoTrialSucceeded: a ceiling that is reached before a success fails the study",
        broke(outcome="Failed"),
        study="Failed+Stalled NoTrialSucceeded: none of 2 trials succeeded (1 BudgetStopped, 1 Failed);"
        " trial 0: exit 1;"
        f" the ceiling of 0.09 USD leaves {ROOM}",
    ),
    Row(
        "NoRoomForALease: a ceiling below one lease fails the study and says what a lease holds",
        scene(one(ceiling="0.02")),
        does=[],
        study=f"Failed+Stalled NoRoomForALease: the ceiling of 0.02 USD leaves {ROOM}",
    ),
    Row(
        "a ceiling ends nothing while an attempt is open",
        scene(one(ceiling="0.09")).trial(0, running(10)),
        does=[],
        study="Reconciling Running: trials are running",
    ),
    Row(
        "BudgetExhausted: a budget that cancels ends the study",
        broke(ceiling="9", budgets=[budget(amount="0.09", whenExhausted="Cancel")]),
        does=[],
        study=f"Complete BudgetExhausted: budget b/2027-01 has {ROOM}",
        trials={1: f"Ended BudgetStopped: budget b/2027-01 has {ROOM}"},
    ),
    Row(
        "BudgetExhausted: a budget that suspends keeps the trial waiting",
        broke(ceiling="9", budgets=[budget(amount="0.09")]),
        does=[],
        study=f"Stalled BudgetExhausted: budget b/2027-01 has {ROOM}",
    ),
    Row(
        "a ceiling is reached at once by a study whose tightest account it is",
        broke(budgets=[budget(amount="0.10")]),
        study=f"Complete CeilingReached: the ceiling of 0.09 USD leaves {ROOM}",
    ),
    # Three first rungs took 70 s: at 75% the next takes no longer, and holds 85,000; 80,000 are left.
    Row(
        "CeilingReached: no trial is begun that is not likely to fit",
        scene(one(ceiling="0.29", search=searching(trials=9, risk=25)))
        .trial(0, Past(seconds=70), rungs=[GOOD], outcome="Succeeded")
        .trial(1, Past(seconds=70), rungs=[GOOD], outcome="Succeeded")
        .trial(2, Past(seconds=70), rungs=[GOOD], outcome="Succeeded"),
        does=[],
        study="Complete CeilingReached: the ceiling of 0.29 USD leaves no room for a first rung, which holds"
        " 0.085 at most with 75% probability",
    ),
    Row(
        "a trial that is likely to fit is begun, and no more than are",
        scene(one(ceiling="0.30", search=searching(trials=9, risk=25)))
        .trial(0, Past(seconds=70), rungs=[GOOD], outcome="Succeeded")
        .trial(1, Past(seconds=70), rungs=[GOOD], outcome="Succeeded")
        .trial(2, Past(seconds=70), rungs=[GOOD], outcome="Succeeded"),
        does=["create u1/3: Search"],
    ),
    Row(
        "a trial is begun while too few have ended to say what is likely",
        proven(one(search=searching(trials=9, risk=25))),
        does=["create u1/1: Search", "create u1/2: Search"],
    ),
    Row(
        "a trial that has begun continues however unlikely another one is",
        scene(one(ceiling="0.22", search=searching(trials=9, risk=25, rungs=halving(1, 2))))
        .trial(0, Past(seconds=70), rungs=[GOOD])
        .trial(1, Past(seconds=70), rungs=[GOOD], outcome="Pruned")
        .trial(2, Past(seconds=10), rungs=[GOOD], outcome="Pruned"),
        does=["reserve/u1/0/1/0 rung 1: 55 s, 70_000 on study/u1"],
    ),
)
def test_a_study_ends_with_its_money(row):
    row.check()


@table(
    Row(
        "WallClockReached: what runs is stopped",
        proven(OLD).trial(1, running()),
        does=[f"stop s-u1-0001-0 Suspended: {WALL}"],
        study=f"Reconciling WallClockReached: {WALL}",
    ),
    Row(
        "WallClockReached: a study with a success is complete",
        proven(OLD).trial(1),
        does=[],
        study=f"Complete WallClockReached: {WALL}",
        trials={1: f"Ended Cancelled: {WALL}"},
    ),
    Row(
        "WallClockReached: a study without one has failed",
        scene(OLD).trial(0),
        does=[],
        study=f"Failed+Stalled NoTrialSucceeded: none of 1 trials succeeded (1 Cancelled); trial 0: {WALL}",
    ),
    Row(
        "a study that is younger than its wall clock continues",
        proven(one(ceilings={"wallClock": "1h"}, meta={"creation_timestamp": "2027-01-15T07:00:01Z"})).trial(
            1
        ),
        does=["reserve/u1/1/0/0 rung 0: 60 s, 75_000 on study/u1", "create u1/2: Search"],
    ),
    Row(
        "Deleted: what runs is stopped",
        proven(one(meta=DELETED)).trial(1, running()),
        does=["stop s-u1-0001-0 Suspended: the study is being deleted"],
    ),
    Row(
        "Deleted: a lease that is not launched is buried",
        proven(one(meta=DELETED)).trial(1, leased()),
        does=["bury s-u1-0001-0 with Trial: the study is being deleted"],
    ),
    Row(
        "Deleted: a study is not let go before its books are closed",
        proven(one(meta=DELETED)).trial(1, over()),
        does=["settle/u1/1/0/0: 10_000", "close/u1/1/0 Finished: -; 10 s, -10 to now"],
    ),
    Row(
        "Deleted: a study whose books are closed is let go",
        proven(one(meta=DELETED)).trial(1),
        does=["unprotect u1"],
    ),
    Row(
        "Deleted: a study that somebody else keeps is left alone",
        proven(one(meta=DELETED | {"finalizers": ["other"]})).trial(1),
        does=[],
    ),
)
def test_a_study_is_ended(row):
    row.check()


def reached(reason="CeilingReached", kind="Complete", *, generation=1, ceiling="5.00", **spec):
    """A study that has ended for `reason`, at generation 1, and whose trial 1 was stopped for it."""
    known = ended(kind, reason, "so it was", generation=1)
    study = one(ceiling=ceiling, status=known, meta={"generation": generation}, **spec)
    return proven(study).trial(1, outcome="BudgetStopped")


@table(
    Row("an ended study is not begun again", reached(), does=[]),
    Row(
        "a study that ended at its ceiling continues once its spec is edited",
        reached(generation=2),
        does=["create u1/2: Search", "create u1/3: Search"],
        study="Reconciling Running: trials are running",
    ),
    Row(
        "a study without a success continues once its spec is edited",
        reached("NoTrialSucceeded", "Failed", generation=2),
        does=["create u1/2: Search", "create u1/3: Search"],
    ),
    Row(
        "a study without room for a lease continues once its spec is edited",
        reached("NoRoomForALease", "Failed", generation=2),
        does=["create u1/2: Search", "create u1/3: Search"],
    ),
    Row(
        "a study that is done is not begun again by an edit",
        reached("TrialsDone", generation=2),
        does=[],
        study="Complete TrialsDone: so it was",
    ),
    Row(
        "a study that failed too often is not begun again by an edit",
        reached("FailureLimitReached", "Failed", generation=2),
        does=[],
        study="Failed+Stalled FailureLimitReached: so it was",
    ),
    Row(
        "an edit that lets nothing run leaves a study ended",
        reached(generation=2, suspend=True),
        does=[],
        study="Complete CeilingReached: so it was",
    ),
    Row(
        "a study that continues where its ceiling still has no room ends again",
        broke(status=ended("Complete", "CeilingReached"), meta={"generation": 2}),
        does=[],
        study=f"Complete CeilingReached: the ceiling of 0.09 USD leaves {ROOM}",
    ),
    Row(
        "what runs of an ended study is stopped",
        proven(one(status=ended("Complete", "TrialsDone", "so it was"))).trial(1, running()),
        does=["stop s-u1-0001-0 Suspended: so it was"],
    ),
    Row(
        "a trial of an ended study is cancelled",
        proven(one(status=ended("Complete", "TrialsDone", "so it was"))).trial(1),
        does=[],
        trials={1: "Ended Cancelled: so it was"},
    ),
    Row(
        "a trial of a study that ended for money is stopped by the budget",
        proven(one(status=ended("Complete", "CeilingReached", "so it was"))).trial(1),
        does=[],
        trials={1: "Ended BudgetStopped: so it was"},
    ),
)
def test_an_ended_study(row):
    row.check()
