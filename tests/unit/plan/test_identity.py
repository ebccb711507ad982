"""The attempt that a Job, or a pod without one, belongs to, and imitations of it."""

from dataclasses import replace

import pytest

from comptroller import actions as todo
from comptroller.cluster import jobs
from comptroller.ledger.books import Books
from comptroller.ledger.names import AttemptKey
from comptroller.ledger.testing import STUDY, ceiling, close, post, price, reserve
from comptroller.plan.identity import identified
from comptroller.world import Run, World
from support.stage import COVERED, NAME, Stage, of, running
from support.worlds import SmallWorld


@pytest.mark.parametrize(
    ("scheduled", "ours"), [(1_000, False), (1_494, False), (1_495, True), (1_600, True)]
)
def test_a_pod_that_was_there_before_its_attempt_was_leased_is_not_ours(scheduled: int, ours: bool) -> None:
    books = Books()
    ended = close(seconds=60, started=1_440)  # at 1,500
    for entry in (ceiling(1_000), price(), reserve(60), post(20), ended, reserve(60, attempt=1)):
        assert books.apply(entry) is None, entry
    key = AttemptKey(STUDY, 0, 1)
    run = Run(key, "imitation", 60, 60, started=scheduled, scheduled=scheduled, uid="j9", jobless=True)
    world = identified(World(now=1_700, namespace="team", books=books, studies=(), runs={key: run}))
    assert (key in world.runs) is ours
    assert ("before its attempt was leased" in world.taken.get(key, "")) is not ours


@pytest.mark.parametrize(("scheduled", "ours"), [(1_440, True), (1_505, True), (1_506, False)])
def test_a_pod_that_came_after_the_books_were_closed_is_not_ours(scheduled: int, ours: bool) -> None:
    books = Books()
    for entry in (ceiling(1_000), price(), reserve(60), post(20), close(seconds=60, started=1_440)):
        assert books.apply(entry) is None, entry
    key = AttemptKey(STUDY, 0, 0)
    run = Run(key, "imitation", 60, 60, started=scheduled, scheduled=scheduled, uid="j9", jobless=True)
    world = identified(World(now=1_700, namespace="team", books=books, studies=(), runs={key: run}))
    assert (key in world.runs) is ours


@pytest.mark.parametrize(
    ("created", "trial", "ours"),
    [(1_430, None, True), (1_505, None, True), (1_506, None, False), (1_506, "gone", True)],
)
def test_a_job_that_was_created_after_its_attempt_had_ended_is_ours_by_its_owner_alone(
    created: int, trial: str | None, ours: bool
) -> None:
    books = Books()
    for entry in (ceiling(1_000), price(), reserve(60), post(20), close(seconds=60, started=1_440)):
        assert books.apply(entry) is None, entry
    key = AttemptKey(STUDY, 0, 0)
    run = Run(
        *(key, "imitation", 60, 60, created),
        started=created,
        scheduled=created,
        uid="j9",
        trial=trial,
        stated=True,
    )
    world = identified(World(now=1_700, namespace="team", books=books, studies=(), runs={key: run}))
    assert (key in world.runs) is ours
    assert ("after its attempt had ended" in world.taken.get(key, "")) is not ours


@pytest.mark.parametrize(
    ("trial", "stated", "ours"), [(None, False, False), ("t", False, True), (None, True, True)]
)
def test_a_job_whose_trial_is_gone_is_ours_by_its_owner_or_its_template(trial, stated, ours) -> None:
    books = Books()
    for entry in (ceiling(1_000), price(), reserve(60)):
        assert books.apply(entry) is None, entry
    key = AttemptKey(STUDY, 0, 0)
    run = Run(key, "imitation", 60, 60, started=1_440, uid="j9", trial=trial, stated=stated)
    world = identified(World(now=1_700, namespace="team", books=books, studies=(), runs={key: run}))
    assert (key in world.runs) is ours


def test_a_job_of_our_trial_that_was_created_late_is_ours_to_stop():
    ended = SmallWorld()
    while ended.open:
        ended.end(metrics={"accuracy": 0.9})
    ended.settle()
    first = ended.world.books.closed[0]
    key = first.key
    trial = next(one for one in ended.trials if one.spec.number == first.trial)
    late = Run(key, first.name, 60, 60, created=first.ended + 100, uid="j9", trial=trial.metadata.uid)
    world = identified(replace(ended.world, runs={key: late}))
    assert world.runs == {key: late}


# -- objects as the API server has them -------------------------------------------------------------------


def unowned(job):
    job["metadata"]["ownerReferences"] = []
    del job["spec"]["template"]["spec"]["containers"][0]["env"]


def requesting(name, amount):
    def ask(job):
        job["spec"]["template"]["spec"]["containers"][0]["resources"] = {"requests": {name: amount}}

    return ask


def claiming_devices(job):
    job["spec"]["template"]["spec"]["resourceClaims"] = [{"name": "gpus", "resourceClaimTemplateName": "8"}]


def of_several_pods(job):
    job["spec"] |= {"completions": 9, "parallelism": 9}


def without_completions(job):
    job["spec"]["parallelism"] = 9


def numbering_its_pods(job):
    job["spec"] |= {"completionMode": "Indexed", "completions": 1}


def called_as_a_tombstone(job):
    requesting("nvidia.com/gpu", "8")(job)
    job["spec"]["template"]["spec"]["containers"][0]["name"] = jobs.NOTHING


@pytest.mark.parametrize(
    "forge",
    [
        unowned,
        requesting("nvidia.com/gpu", "8"),
        requesting("amd.com/gpu", "1"),
        requesting("ephemeral-storage", "9Gi"),
        requesting("hugepages-2Mi", "4Mi"),
        claiming_devices,
        of_several_pods,
        without_completions,
        numbering_its_pods,
        called_as_a_tombstone,
    ],
)
def test_a_job_of_somebody_else_under_an_attempts_name_is_not_the_attempt(forge):
    stage = Stage()
    forge(stage.job())
    stage.pod(phase="Succeeded", ended=300, reported=301)
    actions = stage.at(310)
    assert stage.spent == 0
    assert (stage.attempt.end, stage.attempt.started) == ("Suspended", 0)
    assert stage.attempt.reason.startswith(f"Job {NAME} ")
    assert of(todo.Release, actions) == []


def test_a_job_of_ours_without_its_owner_is_the_attempt_and_billed():
    stage = Stage()
    stage.job()["metadata"]["ownerReferences"] = []
    stage.pod(phase="Succeeded", ended=300, reported=301)
    stage.at(310)
    assert (stage.attempt.end, stage.spent) == ("Finished", 290)


def test_a_job_that_replaces_one_that_ran_is_not_the_attempt_and_ours_is_never_launched_again():
    stage = running()
    stage.bodies.clear()
    stage.job()["metadata"]["uid"] = "j2"
    stage.pod(job="j2", uid="p2")
    assert of(todo.Launch, stage.at(60)) == []
    assert of(todo.Bury, stage.at(60)) == []
    assert stage.attempt.open
    stage.at(10 + COVERED + 61)
    assert (stage.spent, stage.attempt.end) == (COVERED, "NodeLost")
