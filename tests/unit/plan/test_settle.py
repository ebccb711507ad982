"""The end of an attempt, from the reports of the kubelet and the Job controller."""

import pytest

from comptroller.ledger.names import AttemptKey
from comptroller.plan.settle import classify
from comptroller.world import Exit, Run


def run(stop=None, **how):
    return Run(
        AttemptKey("u", 0, 0),
        "s-u-0000-0",
        60,
        60,
        started=1,
        scheduled=1,
        ended=9,
        exit=Exit(**how),
        stop=stop,
    )


@pytest.mark.parametrize(
    ("how", "end"),
    [
        ({"code": 0}, "Finished"),
        ({"code": 0, "deadline": True}, "Finished"),
        ({"code": 1}, "Error"),
        ({"code": 1, "deadline": True}, "Error"),
        ({"code": 64, "deadline": True}, "BadAssignment"),
        ({"code": 65}, "Diverged"),
        ({"code": 66}, "NoGain"),
        ({"code": 75}, "Suspended"),
        ({"code": 75, "deadline": True}, "LeaseExpired"),
        ({"code": 137}, "Error"),
        ({"code": 137, "deadline": True}, "LeaseExpired"),
        ({"code": 137, "out_of_memory": True}, "OutOfMemory"),
        ({"code": 143, "deadline": True}, "LeaseExpired"),
        ({"deadline": True}, "LeaseExpired"),
        ({"message": "ErrImagePull: no such image"}, "Error"),
        ({"unstarted": True}, "Suspended"),
        ({"unstarted": True, "deadline": True}, "LeaseExpired"),
        ({"unstarted": True, "disruption": "PreemptionByScheduler"}, "Preempted"),
        ({"code": 75, "disruption": "PreemptionByScheduler"}, "Preempted"),
        ({"disruption": "DeletionByTaintManager"}, "NodeLost"),
        ({}, "NodeLost"),
    ],
)
def test_an_end_is_what_the_work_did_and_then_what_was_done_to_it(how, end):
    assert classify(run(**how))[0] == end


@pytest.mark.parametrize("how", [{"code": 75}, {"code": 137, "deadline": True}, {}])
def test_a_requested_end_is_the_end(how):
    assert classify(run(stop="Suspended", **how))[0] == "Suspended"
