"""One study with one trial, whose Job and pods are bodies as the API server has them, and its books.

A pass reads the bodies with the operator's own code, plans, and makes durable what the plan appends, until
the plan appends nothing more.
"""

import copy
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from comptroller import actions as todo
from comptroller.cluster import jobs, ownership, runs
from comptroller.cluster.pods import TRACKING
from comptroller.ledger.accounts import AccountName
from comptroller.ledger.books import Attempt, Books
from comptroller.ledger.entries import Entry, Start
from comptroller.ledger.names import AttemptKey
from comptroller.plan import plan
from comptroller.status import rfc3339
from comptroller.world import Run, World
from comptroller_api.meta import FINALIZER, Condition
from comptroller_api.pricelist import PriceList
from comptroller_api.study import Study
from support.attempts import STUDY, TRIAL, pod

T0 = 1_767_225_600
"""2026-01-01 00:00:00 UTC."""
PER_SECOND = 1000
"""The micro-units that the attempt's core costs in a second."""
LEASE, GRACE, SLACK = 600, 30, 15
COVERED = LEASE + GRACE + SLACK
"""The seconds that the first lease pays for."""
KEY, NAME = AttemptKey("u1", 0, 0), "s-u1-0000-0"
PRICES = PriceList.model_validate(
    {
        "metadata": {"name": "list"},
        "spec": {
            "currency": "USD",
            "asOf": rfc3339(T0),
            "nodeClasses": [
                {
                    "name": "small",
                    "onDemand": {"cpu": "3.60", "memoryGiB": "0"},
                    "cap": {"cpu": "3.60", "memoryGiB": "0"},
                }
            ],
        },
    }
)


def stamp(second: int) -> str:
    """Return a Kubernetes time, so many seconds after the beginning."""
    return rfc3339(T0 + second)


class Stage:
    """The objects and the books, with one pass after another over them."""

    def __init__(self, ceiling: str = "5.00", image: str | None = None, renewal: str = "Renew") -> None:
        body = STUDY.to_json()
        spec, runtime = body["spec"], body["spec"]["runtime"]
        spec["ceilings"]["spend"]["amount"] = ceiling
        spec["search"] |= {"trials": 1, "parallel": 1}
        runtime["image"] = image
        runtime["lease"] |= {"duration": f"{LEASE}s", "renewal": renewal}
        runtime["lease"] |= {"gracePeriod": f"{GRACE}s", "slack": f"{SLACK}s"}
        body["metadata"] |= {"finalizers": [FINALIZER], "creationTimestamp": stamp(0), "generation": 1}
        self.study = Study.model_validate(body)
        self.trial = TRIAL.model_copy(update={"spec": TRIAL.spec.model_copy(update={"number": 0})})
        self.books = Books()
        self.bodies: list[jobs.Body] = []
        self.lost_nodes: tuple[str, ...] = ()
        self.entries: list[Entry] = []
        self.heard: int | None = None
        self.launched = next(action for action in self.at(0) if isinstance(action, todo.Launch))

    def at(self, second: int, *, fresh: bool = True) -> list[todo.Action]:
        """Run passes; return the actions of the plan that appends nothing."""
        while True:
            world = self._world(T0 + second, fresh=fresh)
            actions = plan(world)
            if not actions or not isinstance(actions[0], todo.Append):
                return actions
            for entry in actions[0].entries:
                assert self.books.apply(entry) is None, entry
                self.entries.append(entry)

    def _world(self, now: int, *, fresh: bool) -> World:
        there = {body["metadata"]["uid"]: body for body in self.bodies if body["kind"] == "Job"}
        own = ownership.by_job(body for body in self.bodies if body["kind"] == "Pod")
        left = [b for uid, p in own.items() if uid not in there and (b := ownership.stand_in(p, fresh=fresh))]
        found: dict[AttemptKey, Run] = {}
        for body in [*there.values(), *left]:
            run = runs.run(body, *own.get(body["metadata"]["uid"], ()), lost_nodes=self.lost_nodes)
            if run is not None:
                found.setdefault(run.key, replace(run, heard=self.heard))
        return World(
            now=now,
            namespace="team",
            books=self.books,
            studies=(self.study,),
            trials={"u1": (self.trial,)},
            runs=found,
            prices=(PRICES,),
            trainer_image="trainer:1",
            fresh=fresh,
            server_now=now if fresh else None,
        )

    # -- objects ---------------------------------------------------------------------------------------------

    def job(self, started: int | None = 1, **spec: Any) -> jobs.Body:
        """Return the Job that the plan launched, as the API server has it."""
        body = copy.deepcopy(jobs.job(self.launched, jobs.PodSettings({})))
        body["metadata"] |= {"uid": "j1", "creationTimestamp": stamp(1), "resourceVersion": "1"}
        body["spec"] |= spec
        body["status"] = {} if started is None else {"startTime": stamp(started)}
        self.bodies.append(body)
        return body

    def pod(
        self,
        bound: int | None = 10,
        phase: str = "Running",
        ended: int | None = None,
        code: int = 0,
        uid: str = "p1",
        job: str = "j1",
        clock: int = 0,
        reported: int | None = None,
        counted: bool = True,
    ) -> jobs.Body:
        """Add a pod.

        Args:
            clock: seconds by which its node's clock is ahead at its end.
            reported: when its kubelet wrote its status.
            counted: once it is over, the Job controller has counted it.
        """
        done = None if ended is None else {"exitCode": code, "finishedAt": stamp(ended + clock)}
        body = pod(phase, bound=None if bound is None else stamp(bound), terminated=done)
        template = jobs.job(self.launched, jobs.PodSettings({}))["spec"]["template"]
        made_by = {"batch.kubernetes.io/controller-uid": job}
        body["kind"] = "Pod"
        body["spec"] = template["spec"] | {"nodeName": "node-0"}
        body["metadata"] = copy.deepcopy(template["metadata"]) | {
            "name": f"{self.launched.assignment.name}-{uid}",
            "uid": uid,
            "resourceVersion": "1",
            "labels": template["metadata"]["labels"] | made_by,
            "creationTimestamp": stamp(bound or 2),
            "finalizers": [FINALIZER, TRACKING],
            "ownerReferences": [{"kind": "Job", "name": "x", "uid": job, "controller": True}],
        }
        if counted and phase in {"Succeeded", "Failed"}:
            body["metadata"]["finalizers"].remove(TRACKING)
            for its in (one for one in self.bodies if one["metadata"]["uid"] == job):
                its["status"][phase.lower()] = its["status"].get(phase.lower(), 0) + 1
        if bound is not None:
            body["status"]["startTime"] = stamp(bound)
        if reported is not None:
            entry = {"manager": "kubelet", "subresource": "status", "time": stamp(reported)}
            body["metadata"]["managedFields"] = [entry]
        self.bodies.append(body)
        return body

    # -- results ---------------------------------------------------------------------------------------------

    @property
    def spent(self) -> int:
        """Return the expense of the study's account, in seconds at the price."""
        return self.books.accounts[AccountName.of_study("u1")].spent // PER_SECOND

    def conditions(self, second: int) -> Mapping[str, Condition]:
        """Return the study's true conditions after a pass, by type."""
        (record,) = of(todo.RecordStudy, self.at(second))
        return {one.type: one for one in record.status.conditions if one.status == "True"}

    @property
    def attempt(self) -> Attempt:
        """Return the first attempt."""
        return self.books.attempts("u1", 0)[0]


Kind = TypeVar("Kind")


def of(kind: type[Kind], actions: Iterable[object]) -> list[Kind]:
    """Return the actions of a kind."""
    return [action for action in actions if isinstance(action, kind)]


def running(**how: str) -> Stage:
    """Return a stage whose attempt has run for 10 s."""
    stage = Stage(**how)
    stage.job()
    stage.pod()
    stage.at(20)
    assert of(Start, stage.entries)
    return stage
