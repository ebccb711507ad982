"""Ended studies cost nothing while nothing of them changes, and any change of them is seen."""

from dataclasses import replace

import pytest

from comptroller.actions import Append, RecordStudy, RecordTrial, Release
from comptroller.ledger.entries import Adjust
from comptroller.plan import namespace, plan
from comptroller.plan.study import plan_study
from comptroller.world import Refused
from support.worlds import SmallWorld, study


@pytest.fixture
def world():
    ended = SmallWorld()
    while ended.open:
        ended.end(metrics={"accuracy": 0.9})
    ended.settle()
    assert "Complete" in ended.conditions
    return ended


@pytest.fixture
def passes(monkeypatch):
    made = []

    def counted(*args):
        made.append(args)
        return plan_study(*args)

    monkeypatch.setattr(namespace, "plan_study", counted)
    return made


def test_an_ended_study_is_not_looked_at_again_however_late_it_is(world, passes):
    world.world = replace(world.world, now=world.world.now + 10**8)
    assert plan(world.world) == []
    assert passes == []


def test_a_study_that_runs_is_looked_at_in_every_pass(passes):
    world = SmallWorld()
    passes.clear()
    for _ in range(3):
        plan(world.world)
    assert len(passes) == 3


def _edit_trial(world):
    first = world.trials[0].model_copy(update={"status": None})
    world.world = replace(world.world, trials={"u1": (first, *world.trials[1:])})


def _edit_study(world):
    status = world.study.status.model_copy(update={"spent": "0.01"})
    world.world = replace(world.world, studies=(world.study.model_copy(update={"status": status}),))


def _start_a_stray(world):
    attempt = world.world.books.closed[0]
    key = attempt.key
    world.see(key, world._run(attempt, started=world.world.now, ended=world.world.now))


def _adjust(world):
    found = {"amount": 5, "seconds": 1, "number": 0, "reason": "late"}
    assert world.world.books.apply(Adjust(study="u1", trial=0, attempt=0, **found)) is None


@pytest.mark.parametrize(
    ("change", "action_type"),
    [
        (_edit_trial, RecordTrial),
        (_edit_study, RecordStudy),
        (_start_a_stray, Release),
        (_adjust, RecordTrial),
    ],
)
def test_every_change_of_an_ended_study_is_seen(world, change, action_type):
    assert plan(world.world) == []
    change(world)
    assert action_type in [type(action) for action in plan(world.world)]


def test_an_ended_study_is_looked_at_while_an_object_cannot_be_read(world, passes):
    refused = Refused("Trial", "s-9", "t9", "it is bad", study="u1", number=9)
    world.world = replace(world.world, refused=(refused,))
    plan(world.world)
    assert len(passes) == 1


def test_an_ended_study_whose_ceiling_is_raised_continues():
    world = SmallWorld(study("0.08"))
    while world.open:
        world.end(metrics={"accuracy": 0.9}, seconds=40)
    world.after(60)
    assert [c.reason for c in world.conditions.values()] == ["CeilingReached"]
    world.amend(study("100.00"))
    assert world.open


def test_a_pass_that_finds_something_is_not_remembered_as_rest(world):
    _edit_study(world)
    first = plan(world.world)
    assert [type(action) for action in first] == [RecordStudy]
    assert plan(world.world) == first
    assert not any(isinstance(action, Append) for action in first)
