"""The attempt that a pod belongs to: by its Job, by its labels, or by its container's environment."""

import json

import pytest

from comptroller.actions import Bury, Grant, Release, Stop
from comptroller.cluster.jobs import LABELS_ENV, MANAGED, TRIAL
from comptroller.plan.settle import classify
from comptroller.world import Removed
from comptroller_api.meta import FINALIZER
from support.watched import KEY, LABELS, NAME, job, pod, run_of


async def test_a_pod_that_only_carries_our_labels_is_not_the_attempts(cluster):
    cluster.has(job(), pod(of="somebody"))
    assert (await run_of(cluster)).scheduled is None
    await cluster.act("team", Grant(NAME, 90))
    assert cluster.server.patches == []


async def test_heartbeats_are_looked_up_by_the_jobs_uid(cluster):
    cluster.has(job("j7"))
    heartbeat = (await run_of(cluster)).heartbeat
    assert heartbeat is not None
    assert heartbeat.name == "j7"


async def test_a_pod_that_was_orphaned_is_billed_and_stopped_with_its_job(cluster):
    cluster.has(job(deletionTimestamp="2026-01-01T00:00:30Z"), pod(of=None))
    run = await run_of(cluster)
    assert (run.deleted, run.stop, run.scheduled is not None, run.ended) == (True, None, True, None)
    await cluster.act("team", Stop(NAME, "Suspended", "its Job was deleted"))
    stopped = {name: patch["spec"]["activeDeadlineSeconds"] for name, patch in cluster.server.patches}
    assert stopped == {NAME: 1, f"{NAME}-x7x7x": 1}
    assert (await run_of(cluster)).stop == "Suspended"


@pytest.mark.parametrize(
    "left", [pod(of=None), pod(deletionTimestamp="2026-01-01T00:00:30Z")], ids=["orphaned", "collected"]
)
async def test_a_job_whose_finalizers_were_taken_away_leaves_a_pod_that_is_billed_and_released(cluster, left):
    cluster.has(left)
    run = await run_of(cluster)
    assert (run.name, run.deleted, run.ended, run.released) == (NAME, True, None, False)
    await cluster.act("team", Stop(NAME, "Suspended", "its Job was deleted"))
    assert (await run_of(cluster)).stop == "Suspended"
    over = {**pod(phase="Failed"), "metadata": left["metadata"] | {"resourceVersion": "3"}}
    cluster.store["pods"]["team"] = []
    cluster.has(over)
    run = await run_of(cluster)
    assert run.ended is not None
    ((start, end),) = run.billed(run.ended)
    assert (end - start, classify(run)) == (50, ("Suspended", "stopped from outside"))
    await cluster.act("team", Release(NAME))
    assert all(one.released for one in (await cluster.observe("team")).runs.values())


async def test_a_name_that_was_taken_does_not_hide_the_pod_that_still_runs_under_it(cluster):
    taken = job("j2")
    taken["spec"]["parallelism"] = 0
    cluster.has(taken, pod(of=None))
    assert (await run_of(cluster)).ended is None


async def test_a_pod_whose_job_is_only_not_seen_yet_tells_nothing_of_it(cluster):
    cluster.has(pod())
    snapshot = await cluster.observe("team")
    assert snapshot.runs == {}
    assert snapshot.doubtful


async def test_a_fresh_look_does_not_forget_who_has_an_attempts_name(cluster):
    strangers = job("j9", labels={})
    cluster.has(strangers, watched=False)
    assert not await cluster._take_name("team", KEY, job("j1"))
    for fresh in (False, True, False):
        (run,) = (await cluster.observe("team", fresh=fresh)).runs.values()
        assert (run.key, run.uid, run.trial) == (KEY, "j9", None)
    cluster.server.there.clear()
    assert (await cluster.observe("team", fresh=True)).runs == {}


async def test_a_name_whose_job_had_a_pod_and_is_gone_is_not_taken_again(cluster):
    made = {"involvedObject": {"uid": "j1"}, "metadata": {"creationTimestamp": "1970-01-01T00:01:00Z"}}
    cluster.server.there["/api/v1/namespaces/team/events"] = {"items": [made]}
    await cluster.act("team", Bury(KEY, NAME, "its trial is gone", None))
    snapshot = await cluster.observe("team", fresh=True)
    assert (snapshot.runs, snapshot.removed) == ({}, {KEY: Removed("j1", 60)})


async def test_a_job_that_is_there_was_not_removed_whatever_its_events_say(cluster):
    cluster.server.there["/api/v1/namespaces/team/events"] = {"items": [{}]}
    cluster.has(job("j9", labels={}), watched=False)
    await cluster.act("team", Bury(KEY, NAME, "its trial is gone", None))
    snapshot = await cluster.observe("team")
    assert ([run.uid for run in snapshot.runs.values()], snapshot.removed) == (["j9"], {})


@pytest.mark.parametrize(("trial", "stated"), [("1", True), ("2", False)])
async def test_a_job_without_an_owner_states_its_attempt_in_its_template(cluster, trial, stated):
    variable = {"name": LABELS_ENV, "value": json.dumps(LABELS | {TRIAL: trial})}
    one = job()
    one["spec"]["template"]["spec"] = {"containers": [{"name": "trainer", "env": [variable]}]}
    cluster.has(one)
    run = await run_of(cluster)
    assert (run.trial, run.stated) == (None, stated)


@pytest.mark.parametrize(("kept", "hidden"), [([FINALIZER], True), ([], False)])
async def test_a_pod_that_is_over_and_lost_its_label_is_looked_for_until_it_is_released(
    cluster, kept, hidden
):
    cluster.has(job(), pod(phase="Failed", labels={}, finalizers=kept))
    assert (await run_of(cluster)).hidden is hidden


@pytest.mark.parametrize(
    "kept",
    [LABELS | {TRIAL: "7"}, MANAGED, {}],
    ids=["another trial's", "only what watches search", "only the Job controller's"],
)
async def test_an_orphan_whose_labels_were_changed_is_known_by_its_environment(cluster, kept):
    left = pod(of=None, labels=kept | {"batch.kubernetes.io/controller-uid": "j1"})
    container = {"name": "trainer", "env": [{"name": LABELS_ENV, "value": json.dumps(LABELS)}]}
    cluster.has({**left, "spec": {"containers": [container]}}, watched=kept.items() >= MANAGED.items())
    (run,) = (await cluster.observe("team", fresh=True)).runs.values()
    assert (run.key, run.jobless, run.hidden) == (KEY, True, not kept.items() >= MANAGED.items())
    await cluster.act("team", Stop(NAME, "Suspended", "its Job was deleted"))
    assert {"spec": {"activeDeadlineSeconds": 1}}.items() <= cluster.server.patches[-1][1].items()


@pytest.mark.parametrize("value", ["", "{", "[1]", '{"comptroller.dev/trial": 1}', "{" + " " * 3000 + "}"])
async def test_an_environment_that_somebody_else_wrote_tells_nothing(cluster, value):
    left = pod(of=None)
    container = {"name": "trainer", "env": [{"name": LABELS_ENV, "value": value}, {"name": "A"}]}
    cluster.has({**left, "spec": {"containers": [container]}})
    assert (await run_of(cluster)).key == KEY


@pytest.mark.parametrize(
    "left", [pod(), pod(deletionTimestamp="2026-01-01T00:00:30Z")], ids=["not seen", "deleted"]
)
async def test_a_fresh_look_settles_whether_a_pods_job_is_gone(cluster, left):
    cluster.has(left)
    assert (await cluster.observe("team")).doubtful
    for fresh in (True, False):
        snapshot = await cluster.observe("team", fresh=fresh)
        assert ([run.jobless for run in snapshot.runs.values()], snapshot.doubtful) == ([True], False)


async def test_nothing_is_doubtful_of_a_pod_whose_job_is_there_or_that_is_over_and_not_kept(cluster):
    cluster.has(job(), pod())
    assert not (await cluster.observe("team")).doubtful
    cluster.store["jobs"]["team"] = []
    cluster.store["pods"]["team"] = []
    cluster.has(pod(phase="Failed", finalizers=[], resourceVersion="2"))
    assert not (await cluster.observe("team")).doubtful


async def test_a_copy_of_a_pod_is_no_attempt(cluster):
    cluster.has(pod(of=None, name="mine"))
    assert (await cluster.observe("team")).runs == {}


async def test_of_two_pods_of_one_job_the_one_that_runs_counts_and_both_are_released(cluster):
    over = pod("p2", phase="Failed", name=f"{NAME}-aaaaa")
    cluster.has(job(), over, pod("p1"))
    assert (await run_of(cluster)).ended is None
    cluster.store["pods"]["team"] = []
    cluster.has(over, pod("p1", phase="Failed", resourceVersion="2"))
    for _ in range(2):
        await run_of(cluster)
        await cluster.act("team", Release(NAME))
    assert (await run_of(cluster)).released
    assert {name for name, _ in cluster.server.patches} == {NAME, f"{NAME}-x7x7x", f"{NAME}-aaaaa"}
