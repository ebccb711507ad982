"""A cluster in virtual time: the API server, what people do to its objects, and all that works by itself."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from comptroller.actions import Action
from comptroller.cluster import ownership
from comptroller.cluster.base import Snapshot
from comptroller.cluster.jobs import PodSettings
from comptroller.cluster.kubernetes import Kubernetes
from comptroller.cluster.simulated.bodies import Body, is_over, with_meta
from comptroller.cluster.simulated.client import Connection, Heartbeats, Lost, Watches
from comptroller.cluster.simulated.collectors import Collectors
from comptroller.cluster.simulated.controllers import JobController, job_of
from comptroller.cluster.simulated.machines import Faults, Machines
from comptroller.cluster.simulated.pods import Node, Pod, SimulatedJob
from comptroller.cluster.simulated.server import Change
from comptroller.cluster.simulated.trainer import Work, seconds_of_work
from comptroller.ledger.names import TrialKey
from comptroller_api.budget import Budget
from comptroller_api.contract import ASSIGNMENT_ENV, Assignment
from comptroller_api.meta import Model
from comptroller_api.pricelist import PriceList
from comptroller_api.study import Study
from comptroller_api.trial import Trial

PERSON = "person"
"""A user of `kubectl`."""
OPERATOR = "operator"
_NODE = frozenset({"kubelet", "scheduler"})
"""The writers of changes that the machines know already."""
_START = 1
"""Seconds until the Job controller has seen a new Job."""
_NOTICE = 1
"""Seconds until it has seen what a kubelet writes of a pod."""

M = TypeVar("M", Study, Trial, Budget, PriceList)


class Simulated(Machines):
    """`Cluster` in virtual time. What goes wrong is for `Faults` and for those who hold it to say."""

    def __init__(
        self,
        seed: int,
        put_report: Callable[[str, bytes], None],
        *,
        milli_cores: int = 4000,
        nodes: int = 1,
        faults: Faults | None = None,
        work: Work = seconds_of_work,
        now: int = 1_800_000_000,
    ) -> None:
        """Make a cluster without objects.

        Args:
            seed: decides what `faults` do.
            put_report: where a trainer leaves its report, by URI.
            milli_cores: what each node has.
            nodes: how many there are.
            faults: what goes wrong by chance.
            work: how long trials take.
            now: unix seconds.
        """
        super().__init__(
            seed, put_report, milli_cores=milli_cores, nodes=nodes, faults=faults, work=work, now=now
        )
        self.controller = JobController(self, seed)
        self.collectors = Collectors(self)
        self.launches: list[str] = []
        self.watches: list[Watches] = []
        self.server.watchers.append(self._saw)
        self._parsed: dict[tuple[str, str], Any] = {}
        self._history: tuple[Snapshot, ...] = ()
        self._own: tuple[Kubernetes, Heartbeats] | None = None

    # -- Cluster -------------------------------------------------------------------------------------------

    def connect(self, watches: Watches, pulse: Heartbeats, api: Connection) -> Kubernetes:
        """Return what an operator has of the cluster: the real adapter on these parts."""
        adapter = Kubernetes(api, watches, pulse, PodSettings({}))
        watches.gone = adapter.forget
        self.watches.append(watches)
        return adapter

    def disconnect(self, watches: Watches) -> None:
        """Let an operator hear nothing any more."""
        if watches in self.watches:
            self.watches.remove(watches)

    async def observe(self, namespace: str, *, fresh: bool = False) -> Snapshot:
        """The namespace now, or as it was."""
        adapter, pulse = self._adapter()
        pulse.listen()
        latest = await adapter.observe(namespace, fresh=fresh)
        if fresh or not self.faults.stale:
            return latest
        self._history = (*self._history[-8:], latest)
        return self._rng.choice(self._history) if self._rng.random() < self.faults.stale else latest

    async def act(self, namespace: str, action: Action) -> None:
        """Carry out one action, unless a fault says otherwise."""
        if self._rng.random() < self.faults.lost_before:
            raise Lost("before")
        await self._adapter()[0].act(namespace, action)
        if self._rng.random() < self.faults.lost_after:
            raise Lost("after")

    def _adapter(self) -> tuple[Kubernetes, Heartbeats]:
        if self._own is None:
            pulse = Heartbeats(self)
            self._own = self.connect(Watches(self), pulse, Connection(self, OPERATOR)), pulse
        return self._own

    # -- objects -------------------------------------------------------------------------------------------

    def _typed(self, model: type[M], resource: str) -> list[M]:
        found = []
        for body in self.server.objects[resource].values():
            key = (body["metadata"]["uid"], body["metadata"]["resourceVersion"])
            if key not in self._parsed:
                self._parsed[key] = model.model_validate(body)
            found.append(self._parsed[key])
        return found

    @property
    def studies(self) -> dict[str, Study]:
        """The studies there are, by uid."""
        return {study.metadata.uid: study for study in self._typed(Study, "studies")}

    @property
    def trials(self) -> dict[TrialKey, Trial]:
        """The trials there are, by their study's uid and their number."""
        return {(trial.spec.study_uid, trial.spec.number): trial for trial in self._typed(Trial, "trials")}

    @property
    def jobs(self) -> dict[str, SimulatedJob]:
        """The Jobs that the API server has, by name."""
        return {
            body["metadata"]["name"]: self.all_jobs[uid] for uid, body in self.server.objects["jobs"].items()
        }

    @property
    def budgets(self) -> tuple[Budget, ...]:
        """The budgets there are."""
        return tuple(self._typed(Budget, "budgets"))

    @budgets.setter
    def budgets(self, budgets: Iterable[Budget]) -> None:
        self._only("budgets", budgets)

    @property
    def prices(self) -> tuple[PriceList, ...]:
        """The price lists there are."""
        return tuple(self._typed(PriceList, "pricelists"))

    @prices.setter
    def prices(self, prices: Iterable[PriceList]) -> None:
        self._only("pricelists", prices)

    def _only(self, resource: str, wanted: Iterable[Model]) -> None:
        """Apply these objects, and delete all others of their kind."""
        bodies = [one.to_json() for one in wanted]
        names = {body["metadata"]["name"] for body in bodies}
        for body in list(self.server.objects[resource].values()):
            if body["metadata"]["name"] not in names:
                self.server.delete(resource, body["metadata"]["name"], PERSON)
        for body in bodies:
            self.put(resource, body)

    # -- what people do ------------------------------------------------------------------------------------

    def put(self, resource: str, body: Body, uid: str | None = None) -> None:
        """Apply an object: create it, or replace its labels, annotations and spec."""
        old = self.server.named(resource, body["metadata"]["name"])
        if old is None:
            self.server.create(resource, body, PERSON, uid)
            return
        meta = body["metadata"]
        changes = {name: meta.get(name) or None for name in ("labels", "annotations")}
        self.server.replace(resource, {**with_meta(old, **changes), "spec": body["spec"]}, PERSON)

    def apply(self, study: Study) -> None:
        """Create or change a study."""
        self.put("studies", study.to_json(), study.metadata.uid)

    def delete(self, uid: str, *, orphans: bool = False, forced: bool = False) -> None:
        """Delete a study; its finalizer holds it, unless it is taken away by hand (`forced`)."""
        body = self.server.objects["studies"][uid]
        if forced:
            body = self.server.replace("studies", with_meta(body, finalizers=None), PERSON) or body
        self.server.delete("studies", body["metadata"]["name"], PERSON, "Orphan" if orphans else "Background")

    def delete_trial(self, key: TrialKey) -> None:
        """Delete a trial by hand; the garbage collector deletes its Jobs."""
        self.server.delete("trials", self.trials[key].metadata.name, PERSON)

    def edit(self, resource: str, name: str, patch: Mapping[str, Any]) -> None:
        """Let a person patch an object."""
        self.server.merge(resource, name, dict(patch), PERSON)

    # -- what works by itself ------------------------------------------------------------------------------

    @property
    def controllers_alive(self) -> bool:
        """Return whether Job controller, scheduler and garbage collectors work."""
        return self._controllers_alive

    @controllers_alive.setter
    def controllers_alive(self, alive: bool) -> None:
        self._controllers_alive = alive
        self._go_on()

    @property
    def api_up(self) -> bool:
        """Return whether the API server answers; without it nobody hears of anybody, and pods run on."""
        return self._api_up

    @api_up.setter
    def api_up(self, up: bool) -> None:
        self._api_up = up
        self.meet()
        self._go_on()

    def _go_on(self) -> None:
        if self.controlled:
            for node in self.nodes:
                self._look_after(node)
            self.controller.sync_all()
            self.collectors.look_at_all()
        for pod in list(self.live.values()):
            self.touch(pod)

    def evict(self, node: Node) -> None:
        """Delete the pods of a node that nobody hears of."""
        self.collectors.evict(node)

    def collect(self, node: Node) -> None:
        """Take a node's object away."""
        self.collectors.collect(node)

    def preempt(self, pod: Pod, reason: str) -> None:
        """Let somebody evict a pod, properly."""
        if (body := self.server.objects["pods"].get(pod.uid)) is not None and self._api_up:
            self.collectors.disrupt(body, reason)

    # -- what the API server tells -------------------------------------------------------------------------

    def _saw(self, change: Change) -> None:
        match change.resource:
            case "jobs":
                self._saw_job(change)
            case "pods":
                self._saw_pod(change)
        self.collectors.saw(change)
        for watches in self.watches:
            watches.saw(change)
        if change.resource != "nodes":
            self.witness.changed()

    def _saw_job(self, change: Change) -> None:
        if change.old is None and change.new is not None:
            self._new_job(change.user, change.new)
        job = self.all_jobs[change.uid]
        if change.new is None:
            job.gone, job.body = True, with_meta(job.body, finalizers=None)
            return
        job.body = change.new
        self.controller.soon(job.uid, _START if change.old is None else 0)

    def _new_job(self, user: str, body: Body) -> None:
        meta, template = body["metadata"], body["spec"]["template"]
        env = template["spec"]["containers"][0].get("env", ())
        work = next((one["value"] for one in env if one["name"] == ASSIGNMENT_ENV), None)
        ours = user == OPERATOR
        job = SimulatedJob(
            name=meta["name"],
            uid=meta["uid"],
            created=self.now,
            key=ownership.key_of(meta.get("labels", {})) if ours else None,
            assignment=Assignment.model_validate_json(work) if ours and work else None,
            body=body,
        )
        self.all_jobs[job.uid] = job
        if job.assignment is not None:
            self.launches.append(job.name)
            self.witness.launched(job)

    def _saw_pod(self, change: Change) -> None:
        if change.old is None and change.new is not None:
            self.take(change.new, self.all_jobs[job_of(change.new) or ""])
        elif (pod := self.pods.get(change.uid)) is not None:
            pod.body = change.new or with_meta(pod.body, finalizers=None)
            if change.user not in _NODE or change.new is None:
                self.changed(pod, change.new)
        body = change.new or change.old or {}
        uid = job_of(body)
        news = change.user not in _NODE or change.new is None or is_over(change.new)
        if uid is not None and news and change.user != "job-controller":
            self.controller.soon(uid, _NOTICE if change.user == "kubelet" else 0)
