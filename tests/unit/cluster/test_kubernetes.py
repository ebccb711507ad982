"""The Kubernetes cluster's handling of the objects that watches bring, and of its own writes."""

import copy
import json

import pytest

from comptroller.actions import Bury, Extend, Grant, RecordBudget, RecordTrial, Release, Stop
from comptroller.cluster import kubernetes, runs
from comptroller.cluster.api import Api, Missing, WriteRefused
from comptroller.cluster.jobs import LABELS_ENV, MANAGED, STOP, TRIAL, PodSettings
from comptroller.cluster.kubernetes import Kubernetes
from comptroller.handlers import Picture
from comptroller.plan.settle import classify
from comptroller.world import Removed
from comptroller_api.budget import Budget, BudgetStatus
from comptroller_api.contract import GRANT_ANNOTATION
from comptroller_api.meta import FINALIZER
from comptroller_api.trial import RungResult, Trial, TrialStatus
from support import manifests

LABELS = {
    "app.kubernetes.io/managed-by": "comptroller",
    "comptroller.dev/study": "s",
    "comptroller.dev/study-uid": "s1",
    "comptroller.dev/trial": "1",
    "comptroller.dev/attempt": "0",
}
KEY, NAME = ("s1", 1, 0), "s-s1-0001-0"


class RecordingPulse:
    """A pulse that returns the Job of each call."""

    def heartbeat(self, job):
        return job

    def heard(self, _job):
        return None

    def silent_seconds(self, _job):
        return 0

    def idle_seconds(self, _job, _threshold):
        return 0


class Server(Api):
    """The API server: the objects by path, and the writes."""

    def __init__(self):
        self.there, self.created, self.patches, self.meanwhile = {}, [], [], lambda _where: None

    async def create(self, where, body):
        if where.endswith("/events"):
            self.created.append(body)
            return body
        assert f"{where}/{body['metadata']['name']}" in self.there
        return None

    async def get(self, where, **_):
        return self.there.get(where)

    async def merge(self, where, patch):
        if where not in self.there:
            raise Missing(where)
        self.patches.append((where.rsplit("/", 1)[1], patch))
        meta = self.there[where]["metadata"]
        version = patch["metadata"].get("resourceVersion", meta["resourceVersion"])
        if version != meta["resourceVersion"]:
            return None
        changed = {**meta, **patch["metadata"], "resourceVersion": str(int(meta["resourceVersion"]) + 1)}
        self.there[where] = {**self.there[where], "metadata": changed}
        return self.there[where]

    async def patch(self, where, _operations):
        return await self.merge(where.removesuffix("/status"), {"metadata": {}})

    async def objects(self, where, _selector=""):
        found = [b for path, b in self.there.items() if path.rsplit("/", 1)[0] == where]
        self.meanwhile(where)
        return found, 1_000


def seen(kind, uid, version="1", **changes):
    body = copy.deepcopy(manifests.change(manifests.valid(kind), changes))
    body["metadata"] |= {"uid": uid, "resourceVersion": version, "namespace": "team"}
    return body


def job(uid="j1", **meta):
    own = {"name": NAME, "namespace": "team", "uid": uid, "resourceVersion": "1", "labels": LABELS}
    own |= {"finalizers": [FINALIZER], "creationTimestamp": "2026-01-01T00:00:00Z"}
    template = {"metadata": {"annotations": {GRANT_ANNOTATION: "60"}}}
    spec = {"activeDeadlineSeconds": 60, "template": template}
    return {"kind": "Job", "metadata": own | meta, "spec": spec, "status": {}}


def pod(uid="p1", of="j1", phase="Running", **meta):
    own = {"name": f"{NAME}-x7x7x", "namespace": "team", "uid": uid, "resourceVersion": "1"}
    own |= {"labels": LABELS | {"batch.kubernetes.io/controller-uid": of or "j1"}, "finalizers": [FINALIZER]}
    own |= {"creationTimestamp": "2026-01-01T00:00:01Z", "annotations": {GRANT_ANNOTATION: "60"}}
    if of:
        own["ownerReferences"] = [{"kind": "Job", "name": NAME, "uid": of, "controller": True}]
    bound = {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:10Z"}
    ended = {"exitCode": 75, "finishedAt": "2026-01-01T00:01:00Z"}
    state = {"terminated": ended} if phase in {"Failed", "Succeeded"} else {"running": {}}
    status = {"phase": phase, "conditions": [bound]}
    return {
        "kind": "Pod",
        "metadata": own | meta,
        "status": status | {"containerStatuses": [{"name": "trainer", "state": state}]},
    }


class Filled(Kubernetes):
    """A cluster whose server and watches a test fills."""

    def __init__(self):
        self.server, self.picture = Server(), Picture()
        self.store = {"budgets": {"team": [seen("Budget", "b1")]}, "studies": {"team": [seen("Study", "s1")]}}
        self.picture.attach(self.store)
        super().__init__(self.server, self.picture, RecordingPulse(), PodSettings({}))

    def has(self, *bodies, watched=True):
        for body in bodies:
            kind, meta = body["kind"], body["metadata"]
            group = {"Job": "/apis/batch/v1", "Pod": "/api/v1"}.get(kind, "/apis/comptroller.dev/v1alpha1")
            plural = {"Study": "studies"}.get(kind, f"{kind.lower()}s")
            self.server.there[f"{group}/namespaces/team/{plural}/{meta['name']}"] = body
            if watched:
                self.store.setdefault(plural, {}).setdefault("team", []).append(body)


@pytest.fixture
def cluster():
    return Filled()


async def run_of(cluster):
    return (await cluster.observe("team")).runs[KEY]


# -- objects that do not parse -----------------------------------------------------------------------------


async def test_an_object_that_does_not_parse_is_reported_once_with_field_value_and_rule(cluster):
    cluster.store["budgets"]["team"] = [seen("Budget", "b1", **{"spec.period": "Hourly"})]
    for _ in range(3):
        snapshot = await cluster.observe("team")
    assert snapshot.budgets == ()
    (refused,) = snapshot.refused
    assert (refused.kind, refused.uid) == ("Budget", "b1")
    assert refused.selector == {}
    assert refused.why.startswith("spec.period: 'Hourly': ")
    (event,) = cluster.server.created
    assert (event["message"], event["involvedObject"]["kind"]) == (refused.why, "Budget")
    cluster.store["budgets"]["team"] = [seen("Budget", "b1", "2", **{"spec.period": "Hourly"})]
    await cluster.observe("team")
    assert len(cluster.server.created) == 2


async def test_a_long_value_does_not_hide_the_rule(cluster):
    cluster.store["budgets"]["team"] = [seen("Budget", "b1", **{"spec.period": "long" * 1000})]
    (refused,) = (await cluster.observe("team")).refused
    assert len(refused.why) <= 512
    assert "Input should be" in refused.why


@pytest.mark.parametrize(
    ("change", "newer"),
    [
        ({"status.outcome": "Frozen"}, True),
        ({"spec.sharding": {"ways": 4}}, True),
        ({"status.outcome": "Frozen", "spec.seed": -1}, False),
        ({"spec.seed": "x"}, False),
    ],
)
async def test_a_trial_of_a_newer_release_is_newer_and_not_gone(cluster, change, newer):
    body = seen("Trial", "t1", **change)
    cluster.store["trials"] = {"team": [body]}
    snapshot = await cluster.observe("team")
    (refused,) = snapshot.refused
    assert snapshot.trials == {}
    assert (refused.kind, refused.newer) == ("Trial", newer)
    assert (refused.study, refused.number) == (body["spec"]["studyUid"], body["spec"]["number"])
    assert ("a newer release may have written it" in refused.why) == newer
    (event,) = cluster.server.created
    assert event["reason"] == ("WrittenByNewerRelease" if newer else "Refused")


@pytest.mark.parametrize("spec", [{}, {"studyUid": 7, "number": "x"}, {"number": True}, None, []])
async def test_the_study_of_an_unreadable_trial_follows_from_its_label_and_name(cluster, spec):
    body = seen("Trial", "t1") | {"spec": spec}
    body["metadata"] |= {"name": "s-u1-0012", "labels": {"comptroller.dev/study-uid": "u1"}}
    cluster.store["trials"] = {"team": [body]}
    (refused,) = (await cluster.observe("team")).refused
    assert (refused.study, refused.number) == ("u1", 12)


async def test_a_validator_that_breaks_is_the_objects_trouble_alone(cluster, monkeypatch):
    def broken(body):
        if body["metadata"]["uid"] == "b1":
            raise ArithmeticError("a number of ours")
        return Budget.model_validate(body)

    monkeypatch.setattr(kubernetes, "Budget", type("Budget", (Budget,), {"model_validate": broken}))
    cluster.store["budgets"]["team"] = [seen("Budget", "b1"), seen("Budget", "b2")]
    snapshot = await cluster.observe("team")
    assert [refused.uid for refused in snapshot.refused] == ["b1"]
    assert len(snapshot.studies) == 1


async def test_a_run_knows_the_labels_of_the_nodes_that_are_there(cluster):
    bound = pod()
    bound["spec"] = {"nodeName": "a"}
    cluster.has(job(), bound)
    labels = {"karpenter.sh/capacity-type": "spot"}
    cluster.store["nodes"] = {"": [{"metadata": {"name": "a", "uid": "n1", "labels": labels}}]}
    assert (await cluster.observe("team")).runs[KEY].nodes == (labels,)
    cluster.store["nodes"] = {"": [{"metadata": {"name": "b", "uid": "n2", "labels": labels}}]}
    assert (await cluster.observe("team")).runs[KEY].nodes == ()


async def test_a_refused_price_list_is_reported_where_events_without_a_namespace_go(cluster):
    body = seen("PriceList", "l1", **{"spec.currency": 7})
    del body["metadata"]["namespace"]
    cluster.store["pricelists"] = {"": [body]}
    assert [one.kind for one in (await cluster.observe("team")).refused] == ["PriceList"]
    (event,) = cluster.server.created
    assert event["metadata"]["namespace"] == "default"
    assert "namespace" not in event["involvedObject"]


async def test_an_event_that_cannot_be_written_stops_nothing(cluster):
    async def refuse(*_):
        raise OSError

    cluster.server.create = refuse
    cluster.store["budgets"]["team"] = [seen("Budget", "b1", **{"spec.period": "Hourly"})]
    assert (await cluster.observe("team")).refused


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


# -- what watches missed -----------------------------------------------------------------------------------


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


# -- our own writes ----------------------------------------------------------------------------------------


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


# -- the owner of a pod --------------------------------------------------------------------------------------


async def test_a_pod_that_only_carries_our_labels_is_not_the_attempts(cluster):
    cluster.has(job(), pod(of="somebody"))
    assert (await run_of(cluster)).scheduled is None
    await cluster.act("team", Grant(NAME, 90))
    assert cluster.server.patches == []


async def test_heartbeats_are_looked_up_by_the_jobs_uid(cluster):
    cluster.has(job("j7"))
    assert (await run_of(cluster)).heartbeat == "j7"


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


async def test_nothing_is_doubtful_of_a_pod_whose_job_is_there_or_that_is_not_kept(cluster):
    cluster.has(job(), pod())
    assert not (await cluster.observe("team")).doubtful
    cluster.store["jobs"]["team"] = []
    cluster.store["pods"]["team"] = []
    cluster.has(pod(finalizers=[], resourceVersion="2"))
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
