"""Attempts that nobody saw end or that belong to nobody are billed to the lease's end, stopped or awaited."""

from comptroller.ledger.names import AttemptKey
from comptroller.world import Refused, Removed
from support.worlds import NOW
from unit.plan.scene import (
    FIRST,
    LEASE,
    OVERHEAD,
    Open,
    deserted,
    one,
    over,
    proven,
    running,
    scene,
    searching,
)
from unit.plan.table import Row, table

COVERED = LEASE + OVERHEAD
LATE = COVERED + 61
"""Seconds after which a lease, what its enforcers take and a minute are over."""
FINISHED = ["settle/u1/0/0/0: 10_000", "close/u1/0/0 Finished: -; 10 s, -10 to now"]
REMOVED = {AttemptKey("u1", 0, 0): Removed("job-0-0", NOW - 20)}
ALONE = one(search=searching(parallel=1))


@table(
    Row(
        "a Job that was deleted before it began is voided",
        scene().trial(0, Open(run={"deleted": True})),
        does=[
            "settle/u1/0/0/0: void",
            "close/u1/0/0 Suspended: its Job was deleted before it began; 0 s, never to now",
        ],
    ),
    Row(
        "an attempt whose Job was taken away is waited for until its lease and a minute are over",
        scene().trial(0, Open(start=LATE - 1)),
        does=[],
    ),
    Row(
        "an attempt whose Job was taken away is billed for all that it holds",
        scene().trial(0, Open(start=LATE)),
        does=[
            f"settle/u1/0/0/0: {FIRST:_}",
            (
                "close/u1/0/0 NodeLost: its Job or its pods were taken away before they were seen to end;"
                f" {COVERED} s, -{LATE} to -{LATE - COVERED}"
            ),
        ],
    ),
    Row(
        "nothing is given up by what watches brought some time ago",
        scene(fresh=False).trial(0, Open(start=LATE)),
        does=["refresh"],
    ),
    Row(
        "a node that does not report is given up with its lease and a minute",
        scene().trial(0, running(LATE, unreachable=True, leases=(60,))),
        does=[
            f"settle/u1/0/0/0: {FIRST:_}",
            (
                f"close/u1/0/0 NodeLost: nothing was heard of it until its lease was over; {COVERED} s,"
                f" -{LATE} to -{LATE - COVERED}"
            ),
        ],
    ),
    Row(
        "a node that does not report is given up by a fresh read only",
        scene(fresh=False).trial(0, running(LATE, unreachable=True, silent_seconds=90)),
        does=["refresh"],
    ),
    Row(
        "a pod without a node is settled by a fresh read only",
        scene(fresh=False).trial(0, over(None, scheduled=None, bound=0, start=False)),
        does=["refresh"],
    ),
    Row(
        "one refresh is enough for many attempts",
        scene(fresh=False).trial(0, Open(start=LATE)).trial(1, Open(start=LATE)),
        does=["refresh"],
    ),
    Row(
        "another pod in the place of the first is billed to the end of the lease",
        scene().trial(0, over(seconds=10, start=True, scheduled=NOW - 5)),
        does=[
            f"settle/u1/0/0/0: {FIRST:_}",
            f"close/u1/0/0 Finished: -; {COVERED} s, -10 to +{COVERED - 10}",
        ],
    ),
    Row(
        "a pause that somebody may take back is stopped before it is settled",
        scene().trial(0, over(75, paused=True)),
        does=["stop s-u1-0000-0 Preempted: its Job was suspended by a queue or by hand"],
    ),
    Row(
        "a pod that its Job does not count is not settled before its Job can start no other",
        scene().trial(0, over(0, uncounted=True)),
        does=[
            "stop s-u1-0000-0 Suspended: its pod lost the Job controller's finalizer, so another would start"
        ],
    ),
    Row(
        "a pod that its Job did not count is settled once its Job has ended",
        scene().trial(0, over(75, uncounted=True, stop="Suspended", deadline=1)),
        does=["settle/u1/0/0/0: 10_000", "close/u1/0/0 Suspended: stopped; 10 s, -10 to now"],
    ),
    Row(
        "a pause that was stopped for good is settled",
        scene().trial(0, over(75, paused=True, stop="Preempted", deadline=1)),
        does=["settle/u1/0/0/0: 10_000", "close/u1/0/0 Preempted: stopped; 10 s, -10 to now"],
    ),
    Row(
        "an attempt whose Job was removed before it was seen is noted as begun, and never launched again",
        scene(removed=REMOVED).trial(0, Open()),
        does=["start/u1/0/0: job-0-0 at -20"],
    ),
    Row(
        "an attempt whose Job was removed is billed for all that it holds",
        scene(removed=REMOVED).trial(0, Open(start=LATE)),
        does=[
            f"settle/u1/0/0/0: {FIRST:_}",
            (
                "close/u1/0/0 NodeLost: its Job or its pods were taken away before they were seen to end;"
                f" {COVERED} s, -{LATE} to -{LATE - COVERED}"
            ),
        ],
    ),
    Row(
        "a Job that ended without a pod is not settled while its events cannot be read",
        scene().trial(0, over(None, scheduled=None, bound=0, start=False, unexplained=True)),
        does=[],
    ),
    Row(
        "a Job that may start another pod is given time to count the one that is over",
        scene().trial(0, over(ago=4, unfinished=True)),
        does=[],
    ),
    Row(
        "a Job that may still start another pod is ended",
        scene().trial(0, over(ago=5, unfinished=True)),
        does=["extend s-u1-0000-0 to 1 s"],
    ),
    Row(
        "a pod is settled once its Job can start no other, whether or not it counts it",
        scene().trial(0, over(ago=5, unfinished=True, deadline=1)),
        does=["settle/u1/0/0/0: 10_000", "close/u1/0/0 Finished: -; 10 s, -15 to -5"],
    ),
    Row(
        "a pod that nobody saw and that is gone is waited for as long as its enforcers take",
        scene().trial(0, over(None, start=False, bound=0, ago=OVERHEAD - 1, unseen=1, certain=False)),
        does=[],
    ),
    Row(
        "a pod that nobody saw and that is gone is billed with its enforcers time, and no more than is held",
        scene().trial(
            0, over(None, start=False, bound=0, seconds=LEASE, ago=OVERHEAD, unseen=1, certain=False)
        ),
        does=[
            f"settle/u1/0/0/0: {FIRST:_}",
            (
                f"close/u1/0/0 NodeLost: the pod is gone and nothing says how it ended; {COVERED} s,"
                f" -{COVERED} to now"
            ),
        ],
    ),
    Row(
        "a pod that nobody saw and that was replaced is billed with its enforcers time, the other as it ran",
        scene().trial(
            0,
            over(
                start=False,
                ago=OVERHEAD,
                unseen=1,
                certain=False,
                first_pod=NOW - OVERHEAD - 10,
                spans=((NOW - OVERHEAD - 12, NOW - OVERHEAD - 10), (NOW - OVERHEAD - 10, NOW - OVERHEAD)),
            ),
        ),
        does=[
            f"settle/u1/0/0/0: {(12 + OVERHEAD) * 1000:_}",
            f"close/u1/0/0 Finished: -; {12 + OVERHEAD} s, -{OVERHEAD + 10} to -10",
        ],
    ),
    Row(
        "a pod that is not in sight is not looked for while its Job is new",
        scene(fresh=False).trial(0, running(5, incomplete=True)),
        does=[],
    ),
    Row(
        "a pod that its Job counts and no watch brings is looked for",
        scene(fresh=False).trial(0, running(6, incomplete=True)),
        does=["refresh"],
    ),
    Row(
        "a pod that a fresh look did not find is looked for in the next pass",
        scene().trial(0, running(6, incomplete=True)),
        does=[],
    ),
    Row(
        "a Job without an owner is the attempts if its template states so",
        scene().trial(0, over(start=False, trial=None, stated=True)),
        does=["settle/u1/0/0/0: 10_000", "close/u1/0/0 Finished: -; 10 s, -10 to now"],
    ),
    Row(
        "a Job that is not the attempts is not billed",
        scene().trial(0, over(start=False, trial=None)),
        does=[
            "settle/u1/0/0/0: void",
            "close/u1/0/0 Suspended: Job s-u1-0000-0 is not owned by its trial; 0 s, never to now",
        ],
    ),
)
def test_what_nobody_saw_end(row):
    row.check()


@table(
    Row(
        "an attempt whose trial was deleted is stopped",
        proven(ALONE).trial(2, running()).gone(1, running()),
        does=["stop s-u1-0001-0 Suspended: its trial is gone"],
    ),
    Row(
        "the name of an attempt whose trial was deleted is taken before it can be launched",
        proven(ALONE).trial(2, running()).gone(1, Open()),
        does=["bury s-u1-0001-0 with Study: its trial is gone"],
    ),
    Row(
        "the name of an attempt whose Job was removed is not taken",
        proven(ALONE, removed={AttemptKey("u1", 1, 0): Removed("job-1-0", NOW - 20)})
        .trial(2, running())
        .gone(1, Open()),
        does=["start/u1/1/0: job-1-0 at -20"],
    ),
    Row(
        "an attempt whose study is gone is stopped",
        deserted().gone(0, running()),
        does=["stop u1-u1-0000-0 Suspended: its study is gone"],
    ),
    Row(
        "the name of an attempt whose study is gone is taken before it can be launched",
        deserted().gone(0, Open()),
        does=["bury u1-u1-0000-0 with nothing: its study is gone"],
    ),
    Row(
        "an attempt whose study is gone is settled when it is over",
        deserted().gone(0, over()),
        does=FINISHED,
    ),
    Row(
        "a pod of ours whose Job is not seen is looked at again",
        scene(fresh=False, doubtful=True).trial(0, running()),
        does=["refresh"],
    ),
    Row(
        "a run that lost its labels is looked at again, since watches bring nothing new of it",
        scene(fresh=False).trial(0, running(hidden=True)),
        does=[
            "stop s-u1-0000-0 Suspended: its labels were taken off, so that the operator no longer sees it",
            "refresh",
        ],
    ),
    Row(
        "a paused run that nobody steers is ended before it is settled",
        deserted().gone(0, over(ago=5, paused=True)),
        does=["extend u1-u1-0000-0 to 1 s"],
    ),
    Row(
        "an attempt whose study cannot be read runs on",
        deserted(refused=(Refused("Study", "s", "u1", "no"),)).gone(0, running()),
        does=[],
    ),
    Row(
        "an attempt whose study cannot be read is settled when it is over",
        deserted(refused=(Refused("Study", "s", "u1", "no"),)).gone(0, over()),
        does=FINISHED,
    ),
    Row(
        "an attempt whose trial cannot be read runs on",
        scene(refused=(Refused("Trial", "s-u1-0000", "t", "no", study="u1", number=0),)).gone(0, running()),
        does=[],
    ),
    Row(
        "no attempt is of a deleted trial while a trial cannot be read that may be its own",
        scene(refused=(Refused("Trial", "x", "t", "no"),)).gone(0, running()),
        does=[],
    ),
)
def test_what_belongs_to_nobody(row):
    row.check()
