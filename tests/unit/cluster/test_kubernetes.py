"""The Kubernetes cluster's handling of the objects that watches bring, and of its own writes."""

import pytest

from comptroller.actions import Extend, RecordBudget, RecordTrial, Release, Stop
from comptroller.cluster import kubernetes, runs
from comptroller.cluster.api import WriteRefused
from comptroller.cluster.jobs import STOP
from comptroller_api.budget import Budget, BudgetStatus
from comptroller_api.trial import RungResult, Trial, TrialStatus
from support.watched import KEY, NAME, job, pod, run_of, seen


async def test_a_version_is_parsed_once(cluster):
    first, again = await cluster.observe("team"), await cluster.observe("team")
    assert first.studies[0] is again.studies[0]
    cluster.store["studies"]["team"] = [seen("Study", "s1", version="2")]
    assert (await cluster.observe("team")).studies[0] is not first.studies[0]
    cluster.store["studies"]["team"] = []
    await cluster.observe("team")
    assert cluster._parsed["studies", "team"] == {}


async def test_what_has_not_changed_is_the_same_run(cluster):
    cluster.has(job(), pod())
    first = await run_of(cluster)
    assert await run_of(cluster) == first
    cluster.store["pods"]["team"] = [pod(phase="Failed", resourceVersion="2")]
    assert (await run_of(cluster)).ended is not None
    cluster.store["pods"]["team"] = []
    assert (await run_of(cluster)).scheduled is None


async def test_a_look_that_failed_is_made_again(cluster, monkeypatch):
    cluster.has(job(), pod())

    def broken(*_args, **_fields):
        raise OSError("no reading")

    with monkeypatch.context() as now:
        now.setattr(runs, "run", broken)
        for _ in range(2):
            with pytest.raises(OSError, match="no reading"):
                await run_of(cluster)
    assert (await run_of(cluster)).scheduled is not None


async def test_a_run_knows_the_labels_of_the_nodes_that_are_there(cluster):
    bound = pod()
    bound["spec"] = {"nodeName": "a"}
    cluster.has(job(), bound)
    labels = {"karpenter.sh/capacity-type": "spot"}
    cluster.store["nodes"] = {"": [{"metadata": {"name": "a", "uid": "n1", "labels": labels}}]}
    assert (await cluster.observe("team")).runs[KEY].nodes == (labels,)
    cluster.store["nodes"] = {"": [{"metadata": {"name": "b", "uid": "n2", "labels": labels}}]}
    assert (await cluster.observe("team")).runs[KEY].nodes == ()


# -- what watches missed -------------------------------------------------------------------------------------


async def test_what_went_unseen_is_hidden(cluster):
    cluster.picture.hide("budgets", ["b1"])
    assert (await cluster.observe("team")).budgets == ()
    assert list(cluster.picture.everywhere("budgets")) == []
    cluster.store["budgets"]["team"].append(seen("Budget", "b2"))
    assert [b.metadata.uid for b in (await cluster.observe("team")).budgets] == ["b2"]


async def test_an_object_that_a_watch_reports_exists(cluster):
    cluster.picture.hide("budgets", ["b1"])
    cluster.picture.show("budgets", "b1")
    assert [b.metadata.uid for b in (await cluster.observe("team")).budgets] == ["b1"]


@pytest.mark.parametrize("action", [Extend(NAME, 90), Stop(NAME, "Suspended", "why"), Release(NAME)])
async def test_a_job_that_a_write_does_not_find_is_gone(cluster, action):
    cluster.store["jobs"] = {"team": [job()]}
    assert KEY in (await cluster.observe("team")).runs
    await cluster.act("team", action)
    assert (await cluster.observe("team")).runs == {}


async def test_a_budget_that_a_write_does_not_find_is_gone(cluster):
    (budget,) = (await cluster.observe("team")).budgets
    await cluster.act("team", RecordBudget(budget, BudgetStatus()))
    assert (await cluster.observe("team")).budgets == ()


async def test_a_fresh_look_sees_what_watches_have_not_brought_and_lets_go_of_what_is_gone(cluster):
    cluster.has(job(), watched=False)
    snapshot = await cluster.observe("team", fresh=True)
    assert (list(snapshot.runs), snapshot.budgets, snapshot.now) == ([KEY], (), 1_000)


async def test_an_object_that_comes_during_a_fresh_list_is_not_gone(cluster):
    cluster.has(job(), seen("Study", "s1"))

    def brought(where):
        if where.endswith("/pods"):
            cluster.store["pods"] = {"team": [pod()]}

    cluster.server.meanwhile = brought
    await cluster.observe("team", fresh=True)
    assert (await run_of(cluster)).scheduled is not None


# -- our own writes ------------------------------------------------------------------------------------------


async def test_a_job_is_changed_only_as_it_was_observed(cluster):
    cluster.has(job())
    await run_of(cluster)
    changed = job(resourceVersion="5", annotations={STOP: "Suspended"})
    cluster.store["jobs"]["team"] = []
    cluster.has(changed)
    await cluster.act("team", Extend(NAME, 90))
    ((_, patch),) = cluster.server.patches
    assert patch["metadata"]["resourceVersion"] == "1"
    assert cluster._written == {}


async def test_a_pass_may_write_to_one_job_twice(cluster):
    cluster.has(job(), pod())
    await run_of(cluster)
    await cluster.act("team", Extend(NAME, 90))
    await cluster.act("team", Stop(NAME, "Suspended", "why"))
    assert [patch["metadata"]["resourceVersion"] for _, patch in cluster.server.patches] == ["1", "2"]
    assert (await run_of(cluster)).stop == "Suspended"


async def test_the_write_that_is_dropped_is_the_oldest(cluster, monkeypatch):
    monkeypatch.setattr(kubernetes, "_LIMIT", 2)
    for uid in ("a", "b", "a", "c"):
        cluster._wrote("jobs", job(uid))
    assert [uid for _, uid in cluster._written] == ["a", "c"]


async def test_a_write_that_takes_the_last_finalizer_leaves_nothing_laid_over(cluster):
    cluster._wrote("jobs", job())
    cluster._wrote("jobs", job(resourceVersion="2", deletionTimestamp="2026-01-01T00:01:00Z", finalizers=[]))
    assert (await cluster.observe("team")).runs == {}


async def test_a_pod_without_finalizers_that_is_in_its_grace_period_is_there(cluster):
    going = pod(finalizers=[], labels={"batch.kubernetes.io/controller-uid": "j1"})
    going["metadata"] |= {"deletionTimestamp": "2026-01-01T00:01:00Z", "deletionGracePeriodSeconds": 30}
    cluster.has(job(), going, watched=False)
    snapshot = await cluster.observe("team", fresh=True)
    assert [run.live for run in snapshot.runs.values()] == [True]


# -- statuses that the API server does not take --------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "outcome", "ends"),
    [
        ("Suspended", None, "MetricsLost"),
        ("Ended", "Succeeded", "MetricsLost"),
        ("Ended", "Failed", "Failed"),
        ("Running", None, None),
    ],
)
async def test_a_status_that_is_refused_ends_a_trial_at_rest_with_the_reason(cluster, state, outcome, ends):
    trial = Trial.model_validate(seen("Trial", "t1"))
    written = []

    async def patch(_, operations):
        written.append(operations[1]["value"])
        if "rungs" in written[-1]:
            raise WriteRefused("status.rungs: Too long")
        return seen("Trial", "t1", "2")

    cluster.server.patch = patch
    rung = RungResult(rung=0, epochs=1, metrics={"loss": 1.0})
    status = TrialStatus(state=state, outcome=outcome, rungs=[rung], spent="1.00")
    await cluster.act("team", RecordTrial(trial, status))
    why = "its status is refused by the API server: status.rungs: Too long"
    messages = [event["message"] for event in cluster.server.created if event["reason"] == "StatusRefused"]
    assert messages == [why]
    if ends is None:
        assert len(written) == 1  # it is written again when it has changed
    else:
        assert written[1] == {"state": "Ended", "outcome": ends, "reason": why, "spent": "1.00"}
        TrialStatus.model_validate(written[1])


async def test_a_budgets_status_that_is_refused_stops_no_other_action(cluster):
    async def patch(*_):
        raise WriteRefused("too large")

    cluster.server.patch = patch
    budget = Budget.model_validate(seen("Budget", "b1"))
    await cluster.act("team", RecordBudget(budget, BudgetStatus()))
    assert [event["reason"] for event in cluster.server.created] == ["StatusRefused"]
