"""An attempt that is over has its leases posted or voided, then it is closed, then its Job is released."""

from comptroller.ledger.entries import Adjust, Place
from comptroller_api.study import Resources
from support.worlds import NOW
from unit.plan.scene import (
    FIRST,
    GOOD,
    LEASE,
    OVERHEAD,
    PRICED,
    Past,
    node_class,
    one,
    over,
    priced,
    proven,
    running,
    scene,
)
from unit.plan.table import Row, table

COVERED = LEASE + OVERHEAD
STILL = one(suspend=True)
"""A study of which nothing is launched."""


def closed(end, reason="-", *, seconds=10):
    """The lines of one lease that cost `seconds` until now."""
    span = f"{seconds} s, -{seconds} to now"
    return [f"settle/u1/0/0/0: {seconds * 1000:_}", f"close/u1/0/0 {end}: {reason}; {span}"]


def over_with(end, reason="-", **exit_fields):
    return scene().trial(0, over(**exit_fields)), closed(end, reason)


def ends(rule, end, reason="-", **exit_fields):
    """The row of one way to end."""
    done, lines = over_with(end, reason, **exit_fields)
    return Row(rule, done, does=lines)


@table(
    ends("exit 0 is finished", "Finished", code=0),
    ends(
        "exit 64 is a bad assignment",
        "BadAssignment",
        "model.width: odd",
        code=64,
        message="model.width: odd",
    ),
    ends("exit 65 diverged", "Diverged", "loss is nan", code=65, message="loss is nan"),
    ends("exit 66 gained nothing", "NoGain", "slower", code=66, message="slower"),
    ends("exit 69 could not reach its storage", "Unavailable", "no s3", code=69, message="no s3"),
    ends("exit 71 ran out of memory", "OutOfMemory", "2 GiB", code=71, message="2 GiB"),
    ends(
        "a kill for memory is out of memory",
        "OutOfMemory",
        "the container was killed for memory",
        code=137,
        out_of_memory=True,
    ),
    ends("exit 75 was suspended", "Suspended", "stopped from outside", code=75),
    ends("exit 1 is an error", "Error", "exit 1", code=1),
    ends("exit 137 without a reason is an error", "Error", "killed (exit 137)", code=137),
    ends(
        "a deadline that ends work is the end of its lease",
        "LeaseExpired",
        "the lease ended",
        code=75,
        by_deadline=True,
    ),
    ends("work that failed before its deadline failed", "Error", "exit 1", code=1, by_deadline=True),
    ends(
        "a stop that was requested is the end",
        "Preempted",
        "by hand",
        code=75,
        stop="Preempted",
        stop_reason="by hand",
    ),
    ends("work that finished while it was stopped is finished", "Finished", code=0, stop="Suspended"),
    ends(
        "a disruption is a preemption",
        "Preempted",
        "EvictionByEvictionAPI",
        code=None,
        disruption="EvictionByEvictionAPI",
    ),
    ends(
        "a node that is gone is lost", "NodeLost", "DeletionByPodGC", code=None, disruption="DeletionByPodGC"
    ),
    ends(
        "a pod without an exit code is lost",
        "NodeLost",
        "the pod is gone and nothing says how it ended",
        code=None,
    ),
    ends(
        "a container that was never started did not start",
        "Suspended",
        "NotStarted: ErrImagePull: none",
        code=None,
        unstarted=True,
        message="ErrImagePull: none",
    ),
    ends(
        "a pod that a kubelet rejected did not start",
        "Preempted",
        "NotStarted: OutOfcpu",
        code=None,
        rejected="OutOfcpu",
    ),
)
def test_an_attempt_ends(row):
    row.check()


@table(
    Row(
        "an attempt that never had a node is voided",
        scene().trial(0, over(None, scheduled=None, bound=0, start=False, by_deadline=True)),
        does=["settle/u1/0/0/0: void", "close/u1/0/0 LeaseExpired: the lease ended; 0 s, never to now"],
    ),
    # 100 s: the first lease is posted whole, the second with the other 25.
    Row(
        "the oldest lease is posted first",
        scene().trial(0, over(seconds=100, leases=(60, 60))),
        does=[
            f"settle/u1/0/0/0: {FIRST:_}",
            "settle/u1/0/0/1: 25_000",
            "close/u1/0/0 Finished: -; 100 s, -100 to now",
        ],
    ),
    Row(
        "a renewal that was not used is voided",
        scene().trial(0, over(seconds=10, leases=(60, 60))),
        does=[
            "settle/u1/0/0/0: 10_000",
            "settle/u1/0/0/1: void",
            "close/u1/0/0 Finished: -; 10 s, -10 to now",
        ],
    ),
    Row(
        "what ran over its lease is posted as it was",
        scene().trial(0, over(seconds=100)),
        does=["settle/u1/0/0/0: overrun 100_000", "close/u1/0/0 Finished: -; 100 s, -100 to now"],
    ),
    Row(
        "an end that is not certain is bounded by the lease",
        scene().trial(0, over(seconds=900, certain=False)),
        does=[
            f"settle/u1/0/0/0: {FIRST:_}",
            f"close/u1/0/0 Finished: -; {COVERED} s, -900 to -{900 - COVERED}",
        ],
    ),
    # Two pods of one core: 10 s and 20 s at 1,000 each; their mean is 15 s.
    Row(
        "pods are billed each for its own time and closed with their mean",
        scene().trial(
            0,
            over(
                seconds=20,
                bound=2,
                resources=Resources(pods=2),
                held=2 * FIRST,
                spans=((NOW - 20, NOW - 10), (NOW - 20, NOW)),
            ),
        ),
        does=["settle/u1/0/0/0: 30_000", "close/u1/0/0 Finished: -; 15 s, -20 to now"],
    ),
    # 10 s at 3.60 an hour, then 10 s at 1.80.
    Row(
        "each price is charged from its own moment on",
        scene(prices=(priced(asOf="2027-01-15T07:59:50Z", nodeClasses=[node_class(cpu="1.80")]),))
        .trial(0, over(seconds=20))
        .book(
            PRICED.model_copy(
                update={
                    "revision": 1,
                    "rates": PRICED.rates | {"OnDemand.cpu": 1_800_000},
                    "since": NOW - 10,
                }
            )
        ),
        does=["settle/u1/0/0/0: 15_000", "close/u1/0/0 Finished: -; 20 s, -20 to now"],
    ),
    Row(
        "an attempt that ran on a node of another class is billed as that",
        scene()
        .trial(0, over(seconds=10))
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
        does=["settle/u1/0/0/0: 20_000", "close/u1/0/0 Finished: -; 10 s, -10 to now"],
    ),
    Row(
        "a new price is booked before anything is settled at it",
        proven(
            one(),
            prices=(priced(asOf="2027-01-15T07:59:55Z", nodeClasses=[node_class(cpu="1.80")]),),
        ).trial(1, over(seconds=20)),
        does=["price/small/USD/1: OnDemand.cpu 1_800_000, Cap.cpu 3_600_000 since -5"],
    ),
)
def test_an_attempt_is_billed(row):
    row.check()


@table(
    Row(
        "an attempt that reached a node is noted with its Job",
        scene().trial(0, running(20, start=False)),
        does=["start/u1/0/0: job-0-0 at -20"],
    ),
    Row("a start is noted once", scene().trial(0, running(20)), does=[]),
    Row(
        "a Job is not released before its books are closed",
        scene().trial(0, over()),
        does=closed("Finished"),
    ),
    Row(
        "a Job whose books are closed is released",
        scene().trial(
            0, Past(left={"scheduled": NOW - 110, "ended": NOW - 100}), rungs=[GOOD], outcome="Succeeded"
        ),
        does=["release s-u1-0000-0", "create u1/1: Search", "create u1/2: Search"],
    ),
    Row(
        "a Job is released once",
        scene().trial(
            0,
            Past(left={"scheduled": NOW - 110, "ended": NOW - 100, "released": True}),
            rungs=[GOOD],
            outcome="Succeeded",
        ),
        does=["create u1/1: Search", "create u1/2: Search"],
    ),
    Row(
        "what ran on after its books were closed is billed before its Job is released",
        proven(STILL).trial(1, Past(end="NodeLost", left={"scheduled": NOW - 110, "ended": NOW - 60})),
        does=["adjust/u1/1/0/0: 40_000, 40 s"],
    ),
    Row(
        "what was billed already is not billed again",
        proven(STILL)
        .trial(1, Past(end="NodeLost", left={"scheduled": NOW - 110, "ended": NOW - 60}))
        .book(Adjust(study="u1", trial=1, attempt=0, number=0, amount=40_000, seconds=40)),
        does=["release s-u1-0001-0"],
    ),
    Row(
        "a Job that runs without a lease is stopped",
        proven(one(search={"parallel": 1})).trial(1, running()).stray(3, 0),
        does=["stop s-u1-0003-0 Suspended: no lease is held for it"],
    ),
    Row(
        "a Job without a lease that is over is released",
        proven(one(search={"parallel": 1})).trial(1, running()).stray(3, 0, ended=NOW, live=False),
        does=["release s-u1-0003-0"],
    ),
    Row(
        "a Job without a lease that does not end is ended by its kubelet",
        proven(one(search={"parallel": 1}))
        .trial(1, running())
        .stray(3, 0, stop="Suspended", deadline=1, pod_deadline=600),
        does=["expire s-u1-0003-0"],
    ),
)
def test_a_job_goes(row):
    row.check()
