"""The promises that hold when a real API server, a real S3 server or an operator dies under real trials."""

import random
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from comptroller.ledger.balance import named_study
from comptroller.ledger.books import Attempt
from comptroller.ledger.store import StoreError
from support.awaiting import eventually
from support.realcluster import (
    PROGRAM,
    OperatorProcess,
    RealCluster,
    phases,
    running_pods,
    started_pods,
    study,
)

LEASE = {"duration": "30s", "gracePeriod": "10s", "slack": "10s"}
LONGER_THAN_A_LEASE = 75
"""The seconds of the lease, the grace period, the slack, and the kubelet's delay."""
DEAF = "localhost/comptroller-deaf:test"
CHAOS = 300
"""The seconds for which operators are killed."""


def attempts(cluster: RealCluster, namespace: str) -> list[Attempt]:
    return [one for own in cluster.books(namespace).trials.values() for one in own]


def ended(cluster: RealCluster, namespace: str) -> list[int]:
    """Return the ends of first attempts by the kubelet, from the books, since their pods may be deleted."""
    return [one.ended for one in attempts(cluster, namespace) if one.number == 0 and not one.open]


def stalled(cluster: RealCluster, name: str, namespace: str) -> str | None:
    return cluster.conditions(name, namespace).get("Stalled", {}).get("reason")


@contextmanager
def without_api_server() -> Iterator[None]:
    subprocess.run([PROGRAM, "stop", "apiserver"], check=True)
    try:
        yield
    finally:
        subprocess.run([PROGRAM, "start", "apiserver"], check=True)


@contextmanager
def without_s3(cluster: RealCluster) -> Iterator[None]:
    scale = ("-n", "comptroller-s3", "scale", "deployment/s3")
    cluster.kubectl(*scale, "--replicas=0")
    try:
        yield
    finally:
        cluster.kubectl(*scale, "--replicas=1")
        cluster.kubectl("-n", "comptroller-s3", "rollout", "status", "deployment/s3", "--timeout=60s")


@pytest.mark.alone
@pytest.mark.timeout(900)
def test_without_an_api_server_pods_end_at_their_lease_and_the_books_agree_afterwards(
    cluster: RealCluster,
    operator: OperatorProcess,
) -> None:
    namespace = operator.namespace
    argv = ["import signal, time", "signal.signal(signal.SIGTERM, signal.SIG_IGN)", "time.sleep(1e6)"]
    derive = ("derive", "comptroller-trainer", DEAF, "python", "-c", "; ".join(argv))
    subprocess.run([PROGRAM, *derive], check=True)
    search = {"trials": 1, "parallel": 1, "rungs": {"epochs": [1000]}}
    never = {"lease": {**LEASE, "renewal": "Never"}, "image": DEAF, "retries": 0}
    cluster.apply(
        study("keeps", namespace, search=search, runtime={"lease": LEASE}),
        study("deaf", namespace, ceiling="0.05", search=search, runtime=never),
    )
    eventually(lambda: len(started_pods(cluster, namespace)) == 2, 180, "both studies run")
    with without_api_server():
        time.sleep(LONGER_THAN_A_LEASE)  # nobody answers
        back = time.time()
    eventually(lambda: len(ended(cluster, namespace)) == 2, 180, "the kubelet reports both")
    assert max(ended(cluster, namespace)) < back
    eventually(lambda: cluster.complete("keeps", namespace), 240, "the study resumes from its checkpoint")
    eventually(lambda: cluster.ended("deaf", namespace), 240, "the deaf one is stopped by its ceiling")
    first = {named_study(one): one.end for one in attempts(cluster, namespace) if one.number == 0}
    assert first == {"keeps": "LeaseExpired", "deaf": "LeaseExpired"}
    assert cluster.books(namespace).open == {}
    trials = cluster.get("trials", namespace)["items"]
    (report,) = [trial["status"] for trial in trials if trial["spec"]["study"] == "keeps"]
    assert report["outcome"] == "Succeeded"
    assert len(report["attempts"]) >= 2


@pytest.mark.alone
@pytest.mark.timeout(1000)
def test_without_s3_pods_end_at_their_lease_nothing_is_launched_and_all_resumes(
    cluster: RealCluster,
    operator: OperatorProcess,
) -> None:
    namespace = operator.namespace
    search = {"trials": 1, "parallel": 1, "rungs": {"epochs": [1500]}}
    names = ("patient", "steady")
    cluster.apply(*(study(name, namespace, search=search, runtime={"lease": LEASE}) for name in names))
    eventually(lambda: phases(cluster, namespace) == ["fit", "fit"], 180, "two pods train")
    eventually(lambda: len(cluster.books(namespace).open) == 2, 120, "both are in the books")
    before = {job["metadata"]["name"] for job in cluster.get("jobs", namespace)["items"]}
    with without_s3(cluster):
        eventually(
            lambda: not running_pods(cluster, namespace), LONGER_THAN_A_LEASE, "pods end at their lease"
        )
        jobs = {job["metadata"]["name"] for job in cluster.get("jobs", namespace)["items"]}
        assert jobs == before

        def unavailable(name: str) -> bool:
            return bool(stalled(cluster, name, namespace) == "LedgerUnavailable")

        for name in names:
            eventually(partial(unavailable, name), 60, f"{name} says why")
    for name in names:
        eventually(partial(cluster.complete, name, namespace), 300, f"{name} completes")
    first = [one.end for one in attempts(cluster, namespace) if one.number == 0]
    assert first == ["LeaseExpired", "LeaseExpired"]
    assert cluster.books(namespace).open == {}


@pytest.mark.timeout(CHAOS + 900)
def test_two_operators_and_somebody_who_kills_them(cluster: RealCluster, tmp_path: Path) -> None:
    namespace = cluster.namespace("test-two-operators")
    logs = [tmp_path / f"operator-{i}.log" for i in range(2)]
    operators = [OperatorProcess(cluster, log, namespace) for log in logs]
    search = {"trials": 60, "parallel": 3, "rungs": {"epochs": [20, 60]}}
    small = {"lease": {**LEASE, "duration": "25s"}, "resources": {"cpu": "300m", "memory": "700Mi"}}
    over = threading.Event()

    def kill() -> None:
        rng = random.Random(11)
        while not over.wait(rng.uniform(1, 9)):
            one = rng.choice(operators)
            at_work = rng.random() < 0.8  # otherwise it may be killed while it starts
            while at_work and not one.healthy() and not over.wait(0.3):
                pass
            one.kill()
            over.wait(rng.uniform(0, 3))
            one.start()

    killer = threading.Thread(target=kill)
    for one in operators:
        one.start()
    cluster.apply(study("contested", namespace, ceiling="0.35", search=search, runtime=small))
    killer.start()
    try:
        deadline, prefixes = time.monotonic() + CHAOS, 0
        while time.monotonic() < deadline and not cluster.complete("contested", namespace):
            prefixes = _whole(cluster, namespace)
            time.sleep(2)
    finally:
        over.set()
        killer.join()
    try:
        eventually(lambda: cluster.complete("contested", namespace), 400, "the study completes")
    finally:
        for one in operators:
            one.kill()
    names = [one.name for one in attempts(cluster, namespace)]
    assert len(names) == len(set(names)) > 10
    assert cluster.books(namespace).open == {}
    assert prefixes > 0
    jobs = [job["metadata"]["name"] for job in cluster.get("jobs", namespace)["items"]]
    assert len(jobs) == len(set(jobs))
    assert set(jobs) <= set(names)


def _whole(cluster: RealCluster, namespace: str) -> int:
    """Check P1 in every prefix so far; return the number of accounts."""
    try:
        books: Any = cluster.books(namespace)
    except StoreError:
        return 0
    return len(books.accounts)
