"""A run that may not go on is stopped with the reason, and ended by its kubelet where that does not work."""

from comptroller.ledger.entries import Ceiling, Place
from comptroller.world import Exit, Requested
from unit.plan.scene import (
    FEBRUARY,
    FIRST,
    GOOD,
    JANUARY,
    LEASE,
    OVERHEAD,
    PRICED,
    TERMS,
    Past,
    budget,
    ceiling,
    leased,
    manifest,
    one,
    running,
    scene,
    searching,
)
from unit.plan.table import Row, table

IDLE = one(
    search=searching(),
    runtime={"idle": {"threshold": 5, "window": "60s"}, "lease": TERMS | {"duration": "600s"}},
)
LONG = {"leases": (600,)}
GIB = 2**30


def stopped(rule, why, since=20, *, study=None, end="Suspended", does=None, **run):
    """A run that is stopped for what is seen of it."""
    made = scene(*(() if study is None else (study,))).trial(0, running(since, **run))
    return Row(rule, made, does=[f"stop s-u1-0000-0 {end}: {why}"] if does is None else does)


@table(
    stopped(
        "a run whose labels were taken off is stopped",
        "its labels were taken off, so that the operator no longer sees it",
        hidden=True,
    ),
    stopped(
        "a run whose image was replaced is stopped",
        "the image of one of its containers was replaced",
        restarted=True,
    ),
    stopped(
        "a pod that a sidecar keeps is stopped",
        "its trainer has ended, and another container keeps its pod running",
        done=True,
        exit=Exit(code=0),
    ),
    stopped(
        "a trainer that failed in a pod that a sidecar keeps has failed",
        "its trainer has ended, and another container keeps its pod running; exit 1",
        end="Error",
        done=True,
        exit=Exit(code=1),
    ),
    stopped(
        "a paused run is stopped for good",
        "its Job was suspended by a queue or by hand",
        end="Preempted",
        paused=True,
    ),
    stopped(
        "a run with more pods than are paid for is stopped", "2 pods were started for it, 1 paid for", bound=2
    ),
    stopped(
        "a pod that requests more than is paid for is an error",
        "its pod is not what is paid for: cpu: 2000m requested, 1000m paid for",
        end="Error",
        requested=(Requested(2000, 2 * GIB),),
    ),
    stopped(
        "a pod that requests a device that is not paid for is an error",
        "its pod is not what is paid for: nvidia.com/gpu: 1 requested, 0 paid for",
        end="Error",
        requested=(Requested(1000, 2 * GIB, (("nvidia.com/gpu", 1),)),),
    ),
    stopped("a run whose Job was deleted is stopped", "its Job was deleted", deleted=True),
    stopped(
        "an idle run is suspended", "Idle: utilization under 5% for 60s", study=IDLE, idle_seconds=60, **LONG
    ),
    stopped(
        "a run that was idle for less than the window continues",
        "",
        study=IDLE,
        does=[],
        idle_seconds=59,
        **LONG,
    ),
    stopped("a run of a study that minds no idleness continues", "", does=[], idle_seconds=600),
)
def test_a_run_is_stopped(row):
    row.check()


def kept_waiting(rule, since, message, does, **run):
    known = {"exit": Exit(message=message), **run}
    return stopped(
        rule,
        f"NotStarted: {message}",
        since,
        study=one(runtime={"lease": TERMS | {"duration": "600s"}}),
        does=does,
        leases=(600,),
        **known,
    )


@table(
    kept_waiting("an image that is not there is waited for", 59, "ImagePullBackOff: none", []),
    kept_waiting(
        "an image that is not there for a minute ends the attempt", 60, "ImagePullBackOff: none", None
    ),
    kept_waiting("a secret that is missing is waited for", 14, "CreateContainerConfigError: none", []),
    kept_waiting(
        "a secret that is missing for 15 s ends the attempt", 15, "CreateContainerConfigError: none", None
    ),
    kept_waiting(
        "a quota that refuses a pod for a minute ends the attempt",
        60,
        "FailedCreate: quota",
        None,
        scheduled=None,
        bound=0,
        start=False,
        live=False,
    ),
    kept_waiting(
        "a pod without a node is waited for",
        179,
        "Unschedulable: none",
        [],
        scheduled=None,
        bound=0,
        start=False,
        live=False,
    ),
    kept_waiting(
        "a pod without a node for three minutes ends the attempt",
        180,
        "Unschedulable: none",
        None,
        scheduled=None,
        bound=0,
        start=False,
        live=False,
    ),
    stopped(
        "a pod that cannot begin is ended 10 s before its lease is",
        "NotStarted: ImagePullBackOff: none",
        50,
        exit=Exit(message="ImagePullBackOff: none"),
    ),
)
def test_a_pod_that_cannot_begin_is_stopped(row):
    row.check()


@table(
    stopped("a stop that is in force is not requested again", "", does=[], stop="Suspended", deadline=1),
    stopped(
        "a stop whose deadline somebody raised is put in force again",
        "by hand",
        end="Preempted",
        stop="Preempted",
        stop_reason="by hand",
        deadline=600,
    ),
    stopped(
        "a stopped pod whose trainer is done is ended by its kubelet",
        "",
        does=["expire s-u1-0000-0"],
        done=True,
        stop="Suspended",
        deadline=1,
        pod_deadline=600,
    ),
    stopped(
        "a pod whose image was replaced is ended by its kubelet",
        "",
        does=["expire s-u1-0000-0"],
        restarted=True,
        stop="Suspended",
        deadline=1,
        pod_deadline=600,
    ),
    stopped("a stopped run keeps its lease and gets no other", "", 40, does=[], stop="Suspended", deadline=1),
    Row(
        "what runs on after its lease and the enforcers seconds is ended by its kubelet",
        scene(one(runtime={"image": "mine:1"})).trial(0, running(LEASE + OVERHEAD + 1, pod_deadline=600)),
        does=["expire s-u1-0000-0"],
    ),
    Row(
        "what runs on within the enforcers seconds is left to them",
        scene(one(runtime={"image": "mine:1"})).trial(0, running(LEASE + OVERHEAD, pod_deadline=600)),
        does=[],
    ),
    Row(
        "a pod whose own deadline was lowered is not lowered again",
        scene(one(runtime={"image": "mine:1"})).trial(0, running(LEASE + OVERHEAD + 9, pod_deadline=1)),
        does=[],
    ),
    Row(
        "a pod is ended by its kubelet by a fresh read only",
        scene(one(runtime={"image": "mine:1"}), fresh=False).trial(
            0, running(LEASE + OVERHEAD + 9, pod_deadline=600)
        ),
        does=["refresh"],
    ),
)
def test_a_stop_is_enforced(row):
    row.check()


def lowered(amount):
    """A study whose ceiling was lowered to `amount` while its trials run."""
    terms = searching(trials=9, parallel=2, rungs={"epochs": [1, 2]})
    low = Ceiling(account="study/u1", revision=1, amount=amount, currency="USD")
    made = scene(
        one(ceiling=f"0.{amount:06d}", search=terms),
        declared=False,
        entries=(ceiling("study/u1", "100"), manifest("u1"), PRICED),
    )
    return made, low


def shed(rule, amount, does, *trials):
    made, low = lowered(amount)
    for number, attempts, rungs in trials:
        made.trial(number, *attempts, rungs=rungs)
    return Row(rule, made.book(low), does=does)


def gone(trial, attempt=0, what="stop"):
    why = "study/u1 was lowered under what is held" if what == "stop" else "study/u1"
    name = f"s-u1-{trial:04d}-{attempt}"
    return f"stop {name} Suspended: {why}" if what == "stop" else f"bury {name} with Trial: {why}"


RUN = running(10)
"""It has used 10,000 of the 75,000 that it holds."""


@table(
    shed(
        "a ceiling that still has room for what is held stops nothing",
        2 * FIRST,
        [],
        (0, (RUN,), []),
        (1, (RUN,), []),
    ),
    shed(
        "the younger of two trials without a result is stopped",
        2 * FIRST - 1,
        [gone(1)],
        (0, (RUN,), []),
        (1, (RUN,), []),
    ),
    shed(
        "no more are stopped than give back what is lacking",
        3 * FIRST - 65_000,
        [gone(2)],
        (0, (RUN,), []),
        (1, (RUN,), []),
        (2, (RUN,), []),
    ),
    shed(
        "as many are stopped as give back what is lacking",
        3 * FIRST - 65_001,
        [gone(1), gone(2)],
        (0, (RUN,), []),
        (1, (RUN,), []),
        (2, (RUN,), []),
    ),
    # The first rung of trial 1 cost 10,000.
    shed(
        "a trial with fewer rungs is stopped before one with more",
        2 * FIRST + 10_000 - 1,
        [gone(0)],
        (0, (RUN,), []),
        (1, (Past(), running(10, rung=1)), [GOOD]),
    ),
    shed(
        "of trials with as many rungs the worse is stopped",
        2 * FIRST + 20_000 - 1,
        [gone(1, 1)],
        (1, (Past(), running(10, rung=1)), [{"accuracy": 0.5}]),
        (2, (Past(), running(10, rung=1)), [{"accuracy": 0.6}]),
    ),
    shed(
        "an attempt that ends already gives back what it holds",
        2 * FIRST - 1,
        [],
        (0, (RUN,), []),
        (1, (running(10, stop="Suspended", deadline=1),), []),
    ),
    shed(
        "a lease that is not launched is buried for the ceiling",
        2 * FIRST - 1,
        [gone(1, what="bury")],
        (0, (RUN,), []),
        (1, (leased(),), []),
    ),
    Row(
        "a budget that is lowered stops the least valuable of all its studies",
        scene(
            one(),
            one("u2"),
            budgets=[budget(amount="0.14")],
            declared=False,
            entries=(
                ceiling("study/u1", "100"),
                manifest("u1"),
                ceiling("study/u2", "100"),
                manifest("u2"),
                PRICED,
                ceiling("budget/b/2027-01", "10", starts=JANUARY, ends=FEBRUARY),
            ),
        )
        .trial(0, RUN)
        .trial(0, RUN, of="u2")
        .book(
            ceiling("budget/b/2027-01", "0.14", starts=JANUARY, ends=FEBRUARY).model_copy(
                update={"revision": 1}
            )
        ),
        does=["stop s-u1-0000-0 Suspended: budget/b/2027-01 was lowered under what is held"],
    ),
)
def test_a_lowered_ceiling_stops_the_least_valuable(row):
    row.check()


@table(
    Row(
        "a run on a node that costs more than is held is stopped",
        scene()
        .trial(0, running(20))
        .book(
            Place(
                study="u1",
                trial=0,
                attempt=0,
                number=0,
                node_class="large",
                capacity="OnDemand",
                rates={"OnDemand.cpu": 7_200_000, "OnDemand.memoryGiB": 0},
                since=0,
            )
        ),
        does=[
            (
                "stop s-u1-0000-0 Suspended: its node is OnDemand capacity of node class large, and is billed"
                " as that,"
                " above what is held"
            )
        ],
    ),
    Row(
        "a run on a node that no list knows continues and says so",
        scene()
        .trial(0, running(20))
        .book(
            Place(
                study="u1",
                trial=0,
                attempt=0,
                number=0,
                node_class="",
                capacity="Cap",
                rates={"Cap.cpu": 3_600_000, "Cap.memoryGiB": 0},
                since=0,
            )
        ),
        does=[],
        trials={
            0: "Running: its node is of no node class that a PriceList prices: it is billed at the cap of"
            " small"
        },
    ),
)
def test_a_run_elsewhere(row):
    row.check()
