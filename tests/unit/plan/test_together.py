"""Several pods that train one trial: one Indexed Job, one attempt, each pod paid for its own time."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.cluster import jobs, ownership
from comptroller.ledger.accounts import AccountName
from comptroller.ledger.books import Attempt, Books, Lease
from comptroller.ledger.entries import Close, Post, Price
from comptroller.ledger.names import AttemptKey
from comptroller.plan.settle import classify, settle
from comptroller.pricing.rates import HourlyRates
from comptroller.world import Exit, Run
from comptroller_api.contract import GRANT_ANNOTATION, LEADER_ANNOTATION
from comptroller_api.study import Resources
from support.attempts import LAUNCH, pod, run_of, seconds

INDEX = "batch.kubernetes.io/job-completion-index"
PER_SECOND = 1000
PRICE = Price(
    node_class="test/USD",
    revision=0,
    currency="USD",
    rates=HourlyRates(0, 3_600_000, 0, "nvidia.com/gpu").written("OnDemand")
    | HourlyRates(0, 3_600_000, 0, "nvidia.com/gpu").written("Cap"),
)


def job(pods=2):
    launch = replace(LAUNCH, resources=Resources(cpu="1", pods=pods))
    body = jobs.job(launch, jobs.PodSettings({}))
    body["metadata"] |= {"creationTimestamp": "2026-01-01T00:00:00Z"}
    return body


def member(index, phase="Running", *, code=None, at="2026-01-01T00:01:00Z", **how):
    terminated = None if code is None else {"exitCode": code, "finishedAt": at, "message": f"index {index}"}
    body = pod(phase, terminated=terminated, podIP=f"10.0.0.{index}", **how)
    body["metadata"]["uid"] = f"pod-{index}"
    body["metadata"]["annotations"][INDEX] = str(index)
    return body


def attempt(pods, held):
    found = Attempt(
        "u1", 1, 0, "s-u1-0001-0", 0, "test", "OnDemand", Resources(cpu="1", pods=pods), (AccountName("a"),)
    )
    found.price = PRICE
    found.leases.append(Lease(held, 60))
    return found


def test_one_pod_needs_no_index_and_several_get_one_each():
    assert "completionMode" not in jobs.job(LAUNCH, jobs.PodSettings({}))["spec"]
    spec = job(3)["spec"]
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 3, 3)
    (container,) = spec["template"]["spec"]["containers"]
    environment = {one["name"]: one["value"] for one in container["env"] if "value" in one}
    assert (environment["WORLD_SIZE"], environment["MASTER_PORT"]) == ("3", "29400")


def test_pods_get_the_first_ones_address_once_it_is_known_until_all_have_it():
    first, second = member(0), member(1)
    assert run_of(job(), second).leader is None
    assert run_of(job(), first, second).leader == "10.0.0.0"
    first["metadata"]["annotations"][LEADER_ANNOTATION] = "10.0.0.0"
    assert run_of(job(), first, second).leader == "10.0.0.0"
    second["metadata"]["annotations"][LEADER_ANNOTATION] = "10.0.0.0"
    assert run_of(job(), first, second).leader is None
    assert run_of(jobs.job(LAUNCH, jobs.PodSettings({})) | {"status": {}}, first).leader is None


def test_a_grant_counts_once_every_pod_has_it():
    first, second = member(0), member(1)
    first["metadata"]["annotations"][GRANT_ANNOTATION] = "120"
    assert run_of(job(), first, second).granted == 90


def test_an_attempt_is_over_with_its_last_pod_and_billed_from_its_first():
    early = member(0, "Succeeded", code=0, at="2026-01-01T00:01:00Z")
    late = member(1, bound="2026-01-01T00:00:30Z")
    running = run_of(job(), early, late)
    assert (running.ended, running.released) == (None, False)
    late = member(1, "Succeeded", code=0, at="2026-01-01T00:02:00Z", bound="2026-01-01T00:00:30Z")
    over = run_of(job(), early, late)
    assert classify(over) == ("Finished", "")
    assert over.ended is not None
    assert over.scheduled is not None
    assert (over.ended - over.scheduled, over.exit.code) == (110, 0)
    assert seconds(over) == [50, 90]


def test_what_failed_first_says_why_they_all_ended():
    others = member(0, "Failed", code=1, at="2026-01-01T00:01:09Z")
    culprit = member(1, "Failed", code=71, at="2026-01-01T00:01:00Z")
    assert classify(run_of(job(), others, culprit)) == ("OutOfMemory", "index 1")


def test_a_pod_without_a_node_makes_an_error_of_the_others_wait():
    """The wait of the other pods costs money, so the attempt counts against the retries."""
    waited = member(0, "Failed", code=75)
    without = member(1, "Pending", bound=None)
    without["status"]["conditions"] = [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}
    ]
    without["metadata"]["deletionTimestamp"] = "2026-01-01T00:01:10Z"
    over = run_of(job(), waited, without)
    assert classify(over) == ("Error", "Unschedulable: 0/3 nodes")
    assert seconds(over) == [50]


def test_pods_whose_job_is_gone_are_still_read_as_one_attempt():
    own = [member(0), member(1)]
    labels = job()["metadata"]["labels"] | {"batch.kubernetes.io/controller-uid": "j1"}
    for body in own:
        name = f"s-u1-0001-0-{body['metadata']['annotations'][INDEX]}-abcde"
        body["metadata"] |= {"name": name, "labels": labels, "creationTimestamp": "2026-01-01T00:00:01Z"}
    found = ownership.by_job(reversed(own))
    assert found == {"j1": tuple(own)}
    stand_in = ownership.stand_in(found["j1"], fresh=False)
    assert stand_in is not None
    run = run_of(stand_in, *found["j1"])
    assert (run.ended, run.deleted, len(run.spans)) == (None, True, 2)


def test_a_job_that_claims_more_pods_than_may_be_is_read_as_far_as_may_be():
    body = job()
    body["spec"]["completions"] = 10**9
    assert len(run_of(body, member(0)).spans) == 1


@given(
    lateness=st.lists(st.integers(0, 500), min_size=1, max_size=6),
    used=st.lists(st.integers(0, 90), min_size=6, max_size=6),
)
def test_however_late_pods_come_what_is_billed_is_within_what_was_held(lateness, used):
    """Each pod's guard counts from when its own node accepted the pod (P1)."""
    pods, overhead = len(lateness), 30
    held = pods * PER_SECOND * (60 + overhead)
    spans = tuple((100 + late, 100 + late + spent) for late, spent in zip(lateness, used, strict=False))
    begin, end = min(start for start, _ in spans), max(end for _, end in spans)
    known = {"started": 100, "scheduled": begin, "ended": end, "spans": spans, "exit": Exit(0)}
    run = Run(AttemptKey("u1", 1, 0), "s-u1-0001-0", 60, 60, **known)
    *posts, closed = settle(Books(), attempt(pods, held), run, end, "Finished", "")
    billed = sum(entry.amount for entry in posts if isinstance(entry, Post))
    assert billed == PER_SECOND * sum(used[:pods]) <= held
    assert not any(getattr(entry, "overrun", False) for entry in posts)
    assert isinstance(closed, Close)
    assert closed.seconds == -(-sum(used[:pods]) // pods)


@pytest.mark.parametrize("pods", [1, 2, 16])
def test_a_price_is_for_each_pod(pods):
    rates = HourlyRates.read(PRICE.rates, "OnDemand", "nvidia.com/gpu")
    assert rates.cost(Resources(cpu="1", pods=pods), 60) == pods * 60 * PER_SECOND


def test_one_pod_is_written_as_entries_without_the_field_were():
    assert "pods" not in Resources().model_dump(mode="json")


def test_a_forged_index_on_the_only_pod_of_a_job_hides_no_cost():
    alone = member(7, "Succeeded", code=0)
    run = run_of(jobs.job(LAUNCH, jobs.PodSettings({})), alone)
    assert seconds(run) == [50]
