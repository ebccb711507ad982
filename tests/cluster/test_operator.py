"""Real studies on a real cluster: API server, scheduler, kubelet, pods, S3."""

import json
import random
import subprocess
import time
from typing import Any

import pytest

from support.awaiting import eventually
from support.realcluster import PROGRAM, outcomes, phases, running_pods, study

STEP_S = 4


@pytest.mark.timeout(800)
def test_a_study_completes_and_its_books_agree(cluster, operator):
    namespace = operator.namespace
    cluster.apply(study("small", namespace))
    eventually(lambda: cluster.complete("small", namespace), 400, "the study is complete")
    assert set(outcomes(cluster, namespace).values()) == {"Succeeded"}
    books = cluster.books(namespace)
    assert books.open == {}
    found = cluster.get("study/small", namespace)
    assert found["status"]["spent"] != "0.00"
    assert found["status"]["front"]
    columns = cluster.kubectl("-n", namespace, "get", "studies").splitlines()[0].split()
    assert [c for c in columns if c in {"TRIALS", "SPENT", "CEILING", "BEST", "AGE"}] == [
        "TRIALS", "SPENT", "CEILING", "BEST", "AGE",
    ]  # fmt: skip


@pytest.mark.timeout(800)
def test_the_ceiling_stops_a_study(cluster, operator):
    namespace = operator.namespace
    cluster.apply(study("poor", namespace, ceiling="0.06", search={"rungs": {"epochs": [2000]}}))
    eventually(lambda: cluster.ended("poor", namespace), 400, "the study has ended")
    failed = cluster.conditions("poor", namespace)["Failed"]
    assert failed["reason"] == "NoTrialSucceeded"
    assert "BudgetStopped" in outcomes(cluster, namespace).values()
    cluster.books(namespace)


@pytest.mark.timeout(1200)
def test_a_killed_operator_changes_nothing(cluster, operator):
    """Kill the operator ten times at random moments, once for longer than a lease."""
    namespace, rng = operator.namespace, random.Random(7)
    lease = {"duration": "30s", "gracePeriod": "15s", "slack": "15s"}
    search = {"trials": 3, "rungs": {"epochs": [600]}}
    cluster.apply(study("hardy", namespace, search=search, runtime={"lease": lease}))
    for kill in range(10):
        time.sleep(rng.uniform(0, STEP_S))  # a random moment
        if kill == 3:
            eventually(lambda: len(running_pods(cluster, namespace)) == 2, 180, "two pods run")
        operator.kill()
        if kill == 3:
            eventually(
                lambda: not running_pods(cluster, namespace), 180, "pods end at their lease by themselves"
            )
        operator.start()
    eventually(lambda: cluster.complete("hardy", namespace), 600, "the study is complete")
    assert outcomes(cluster, namespace) == {0: "Succeeded", 1: "Succeeded", 2: "Succeeded"}
    books = cluster.books(namespace)
    assert books.open == {}
    attempts = [attempt for attempts in books.trials.values() for attempt in attempts]
    names = [attempt.name for attempt in attempts]
    assert len(names) == len(set(names))
    assert sorted(job["metadata"]["name"] for job in cluster.get("jobs", namespace)["items"]) == sorted(names)
    assert any(attempt.end == "LeaseExpired" for attempt in attempts)


@pytest.mark.timeout(700)
def test_a_suspended_study_stops_with_a_checkpoint_and_resumes(cluster, operator):
    namespace = operator.namespace
    manifest = study("paused", namespace, search={"trials": 1, "parallel": 1, "rungs": {"epochs": [200]}})
    cluster.apply(manifest)
    eventually(lambda: running_pods(cluster, namespace), 180, "a pod")
    patch = json.dumps({"spec": {"suspend": True}})
    cluster.kubectl("-n", namespace, "patch", "study/paused", "--type=merge", "-p", patch)
    eventually(lambda: not cluster.books(namespace).open, 180, "the books are closed")
    assert not running_pods(cluster, namespace)
    cluster.kubectl(
        "-n",
        namespace,
        "patch",
        "study/paused",
        "--type=merge",
        "-p",
        json.dumps({"spec": {"suspend": False}}),
    )
    eventually(lambda: cluster.complete("paused", namespace), 300, "the study is complete")
    assert outcomes(cluster, namespace) == {0: "Succeeded"}


@pytest.mark.timeout(500)
def test_a_fault_in_the_data_is_reported_in_the_trial_and_not_tried_again(cluster, operator):
    namespace = operator.namespace
    cluster.apply(
        study("misled", namespace, data={"manifest": "0" * 64}, search={"trials": 1, "parallel": 1})
    )
    eventually(lambda: outcomes(cluster, namespace) == {0: "Failed"}, 240, "the trial failed")
    (trial,) = cluster.get("trials", namespace)["items"]
    assert "data.manifest: '0000" in trial["status"]["reason"]
    assert [attempt["end"] for attempt in trial["status"]["attempts"]] == ["BadAssignment"]


@pytest.mark.timeout(900)
def test_two_pods_train_one_trial_together_stop_together_and_resume(cluster, operator):
    namespace = operator.namespace
    resources = {"cpu": "400m", "memory": "1Gi", "pods": 2}
    search = {"trials": 1, "parallel": 1, "rungs": {"epochs": [60]}}
    cluster.apply(study("together", namespace, search=search, runtime={"resources": resources}))
    eventually(lambda: phases(cluster, namespace) == ["fit", "fit"], 240, "both train")
    patch = {"spec": {"suspend": True}}
    cluster.kubectl("-n", namespace, "patch", "study/together", "--type=merge", "-p", json.dumps(patch))
    eventually(lambda: not cluster.books(namespace).open, 180, "the books are closed")
    patch["spec"]["suspend"] = False
    cluster.kubectl("-n", namespace, "patch", "study/together", "--type=merge", "-p", json.dumps(patch))
    eventually(lambda: cluster.complete("together", namespace), 300, "the study is complete")
    ((first, *_, last),) = cluster.books(namespace).trials.values()
    assert (first.end, last.end) == ("Suspended", "Finished")
    pods = [pod["metadata"] for pod in cluster.get("pods", namespace)["items"]]
    assert sum(pod["name"].startswith(f"{last.name}-") for pod in pods) == 2
    (trial,) = cluster.get("trials", namespace)["items"]
    assert cluster.read(trial["status"]["rungs"][-1]["report"])["environment"]["processes"] == "2"
    # Each second costs 0.0005 for 400m, and is paid for twice.
    assert last.spent >= 2 * 500 * (last.seconds - 1) > 0


@pytest.mark.timeout(500)
def test_a_deleted_study_is_settled_and_leaves_nothing(cluster, operator):
    namespace = operator.namespace
    cluster.apply(study("gone", namespace, search={"rungs": {"epochs": [2000]}}))
    eventually(lambda: running_pods(cluster, namespace), 180, "a pod")
    cluster.kubectl("-n", namespace, "delete", "study/gone", "--timeout=120s")
    eventually(lambda: not cluster.get("jobs,pods,trials", namespace)["items"], 180, "nothing is left")
    assert cluster.books(namespace).open == {}


@pytest.mark.timeout(700)
def test_a_job_that_is_deleted_without_its_pod_is_stopped_billed_and_let_go(cluster, operator):
    namespace = operator.namespace
    search = {"trials": 1, "parallel": 1, "rungs": {"epochs": [2000]}}
    cluster.apply(study("orphaned", namespace, search=search))
    (pod,) = eventually(lambda: running_pods(cluster, namespace), 180, "a pod")
    (job,) = [one["metadata"]["name"] for one in cluster.get("jobs", namespace)["items"]]
    bound = ("wait", "--for=condition=Ready", f"pod/{pod}", "--timeout=120s")
    cluster.kubectl("-n", namespace, *bound)
    cluster.kubectl("-n", namespace, "delete", f"job/{job}", "--cascade=orphan", "--wait=false")

    def jobs() -> list[str]:
        return [one["metadata"]["name"] for one in cluster.get("jobs", namespace)["items"]]

    def released() -> dict[str, Any] | None:
        left = cluster.get(f"pod/{pod}", namespace)
        return left if "finalizers" not in left["metadata"] else None

    eventually(lambda: job not in jobs(), 180, "the Job is let go")
    left = eventually(released, 180, "the pod is let go")
    assert left["status"]["phase"] == "Failed"
    books = cluster.books(namespace)
    first = next(one for own in books.trials.values() for one in own if one.name == job)
    assert first.end == "Suspended"
    assert first.spent > 0


@pytest.mark.timeout(400)
def test_no_price_no_launch(cluster, operator):
    namespace = operator.namespace
    cluster.apply(study("unpriced", namespace, runtime={"nodeClass": "unheard-of"}))
    stalled = eventually(
        lambda: (
            (c := cluster.conditions("unpriced", namespace).get("Stalled")) and c["status"] == "True" and c
        ),
        180,
        "the study is stalled",
    )
    assert stalled["reason"] == "NoPrice"
    assert "unheard-of" in stalled["message"]
    assert cluster.get("jobs", namespace)["items"] == []


@pytest.mark.timeout(400)
def test_a_study_that_asks_for_a_gpu_gets_a_node_with_one(cluster, operator):
    subprocess.run([PROGRAM, "gpus", "2"], check=True)
    namespace = operator.namespace
    manifest = study(
        "graphic", namespace, search={"trials": 1, "parallel": 1}, runtime={"resources": {"gpu": 1}}
    )
    cluster.apply(manifest)
    pods = eventually(lambda: cluster.get("pods", namespace)["items"], 180, "a pod")
    amounts = pods[0]["spec"]["containers"][0]["resources"]
    assert amounts["limits"]["nvidia.com/gpu"] == "1"
    bound = ("wait", "--for=condition=PodScheduled", f"pod/{pods[0]['metadata']['name']}", "--timeout=120s")
    cluster.kubectl("-n", namespace, *bound)
