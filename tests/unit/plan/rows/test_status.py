"""The recorded statuses of a study and its trials, and the order of all actions of a pass."""

from dataclasses import replace

from comptroller.actions import RecordStudy, RecordTrial
from comptroller.plan import plan
from comptroller.world import Exit, Refused
from comptroller_api.study import StudyStatus
from unit.plan.scene import FIRST, Past, budget, leased, one, over, proven, running, scene, searching
from unit.plan.table import Row, lines, table

RUNS = "Reconciling Running: trials are running"


@table(
    Row(
        "a new study says that it runs",
        scene(),
        study=RUNS,
        status={"progress": "0/4", "spent": "0.00", "held": "0.00", "best": "", "best_trial": None},
    ),
    Row(
        "a study says what it spent and holds",
        proven().trial(1, running()).trial(2, leased()),
        study=RUNS,
        status={"spent": "0.01", "held": "0.15", "progress": "1/4"},
    ),
    Row(
        "a study counts its trials",
        proven().trial(1, running()).trial(2, Past(end="Preempted")).trial(3),
        status={
            "trials.total": 4,
            "trials.succeeded": 1,
            "trials.running": 1,
            "trials.suspended": 1,
            "trials.pending": 1,
        },
    ),
    Row(
        "a study names its best trial",
        proven().trial(1, Past(), rungs=[{"accuracy": 0.95}], outcome="Succeeded").trial(2, running()),
        status={"best": "1: accuracy 0.95", "best_trial": 1},
    ),
    Row(
        "a trial that ends in this very pass may be the best",
        proven().trial(1, Past()).reported(1, 0, {"accuracy": 0.95}),
        status={"best": "1: accuracy 0.95", "progress": "2/4"},
    ),
    Row(
        "a trial that cannot be read leaves the counts of all trials as they were",
        proven(
            one(status=StudyStatus(progress="3/4", best="2: accuracy 0.95", best_trial=2)),
            refused=(Refused("Trial", "s-u1-0002", "t", "no", study="u1", number=2),),
        ),
        status={"progress": "3/4", "best": "2: accuracy 0.95", "best_trial": 2, "spent": "0.01"},
    ),
    Row("a trial is pending until it has a lease", scene().trial(0), trials={0: "Pending"}),
    Row("a trial runs from its lease on", scene().trial(0, leased()), trials={0: "Running"}),
    Row(
        "a trial is suspended between its attempts",
        proven(one(suspend=True)).trial(1, Past(end="Preempted")),
        trials={1: "Suspended"},
    ),
    Row(
        "a trial says what its pod waits for",
        scene().trial(0, running(exit=Exit(message="Unschedulable: none"))),
        trials={0: "Running: Unschedulable: none"},
    ),
)
def test_it_is_recorded(row):
    row.check()


def settled(world):
    """The world once the statuses of a pass are written."""
    for action in plan(world):
        if isinstance(action, RecordStudy):
            studies = tuple(
                one.model_copy(update={"status": action.status}) if one is action.study else one
                for one in world.studies
            )
            world = replace(world, studies=studies)
        elif isinstance(action, RecordTrial):
            uid = action.trial.spec.study_uid
            own = tuple(
                one.model_copy(update={"status": action.status}) if one is action.trial else one
                for one in world.trials[uid]
            )
            world = replace(world, trials=dict(world.trials) | {uid: own})
    return world


def test_a_status_that_says_what_is_so_is_not_written_again():
    world = settled(proven().trial(1, running()).trial(2, running()).world)
    assert lines(plan(world)) == []


def test_a_status_is_written_again_when_what_is_so_changes():
    world = settled(proven().trial(1, running()).trial(2, running()).world)
    assert lines(plan(replace(world, prices=()))) == [
        "record u1 Stalled NoPrice: no PriceList prices node class 'small' in USD"
    ]


def every(made):
    """All lines of a pass, records too."""
    return lines(plan(made.world))


def test_entries_come_first_then_closings_creations_runs_and_their_records_by_trial_and_the_study_last():
    made = (
        proven(one(search=searching(trials=9, parallel=6)))
        .trial(1, running(30))
        .trial(2, leased())
        .trial(3, running(deleted=True))
        .trial(4, over())
        .trial(5)
        .gone(6, running())
    )
    found = every(made)
    assert found[:4] == [
        "settle/u1/4/0/0: 10_000",
        "close/u1/4/0 Finished: -; 10 s, -10 to now",
        f"reserve/u1/5/0/0 rung 0: 60 s, {FIRST:_} on study/u1",
        "reserve/u1/1/0/1 rung 0: 60 s, 60_000 on study/u1",
    ]
    assert [line.partition(":")[0] for line in found[4:]] == [
        "stop s-u1-0006-0 Suspended",
        "create u1/7",
        "record u1/0 Ended Succeeded",
        "record u1/1 Running",
        "launch s-u1-0002-0 rung 0",
        "record u1/2 Running",
        "stop s-u1-0003-0 Suspended",
        "record u1/3 Running",
        "record u1/4 Running",
        "record u1/5 Pending",
        "record u1 Reconciling Running",
    ]


def test_studies_are_served_by_age_and_then_budgets_and_then_what_belongs_to_nobody():
    made = scene(one("u2", meta={"creation_timestamp": "2027-01-15T07:00:00Z"}), one(), budgets=[budget()])
    made.gone(0, leased(accounts=("study/u1",)), of="u9")
    assert [line.partition(":")[0] for line in every(made)] == [
        "create u2/0",
        "record u2 Reconciling Running",
        "create u1/0",
        "record u1 Reconciling Running",
        "record b Ready Enforced",
        "bury u9-u9-0000-0 with nothing",
    ]


def test_the_same_world_is_planned_the_same():
    made = proven().trial(1, running(30)).trial(2, leased()).trial(3)
    assert every(made) == every(made)
