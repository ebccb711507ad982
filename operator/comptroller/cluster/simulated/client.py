"""One operator's connection to the API server: its watches may stand still, and its writes may be refused."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from comptroller import actions as todo
from comptroller.actions import Action
from comptroller.cluster.base import Snapshot
from comptroller.cluster.simulated import job as of_jobs
from comptroller.cluster.simulated.cluster import Simulated
from comptroller.cluster.simulated.job import JobView, PodView, SimulatedJob
from comptroller.world import AttemptKey, Run
from comptroller_api.budget import Budget
from comptroller_api.pricelist import PriceList
from comptroller_api.study import Study
from comptroller_api.trial import Trial

Kind: TypeAlias = Literal["studies", "trials", "jobs", "pods", "budgets", "prices"]
KINDS: tuple[Kind, ...] = ("studies", "trials", "jobs", "pods", "budgets", "prices")


@dataclass
class _Picture:
    """What the watches of some kinds had brought when they stopped."""

    studies: dict[str, Study] | None = None
    trials: dict[tuple[str, int], Trial] | None = None
    jobs: dict[str, JobView] | None = None
    pods: dict[AttemptKey, PodView | None] | None = None
    budgets: tuple[Budget, ...] | None = None
    prices: tuple[PriceList, ...] | None = None


@dataclass
class Client:
    """What an operator sees and may do.

    As with the real one: what it wrote itself is laid over what its watches brought, a status is written
    only over the version that was seen, and a Job is changed only as it was seen. Such a write is no error
    where it is refused; the next pass finds out.
    """

    cluster: Simulated
    _old: _Picture = field(default_factory=_Picture)
    asked: dict[str, int] = field(default_factory=dict)
    """When a pod was first asked for a heartbeat, by the pod's name."""
    _heard: dict[str, int] = field(default_factory=dict)
    """When one last came, or when it was first asked."""
    _versions: dict[str, int] = field(default_factory=dict)
    """Of each Job as it was last observed, or written since."""

    @property
    def up_to_date(self) -> bool:
        """All its watches bring what is."""
        return self._old == _Picture()

    def freeze(self, kinds: Iterable[Kind]) -> None:
        """Let the watches of `kinds` bring nothing more."""
        for kind in kinds:
            if getattr(self._old, kind) is None:
                setattr(self._old, kind, _NOW[kind](self.cluster))

    def thaw(self, kinds: Iterable[Kind] = KINDS) -> None:
        """Let them catch up."""
        for kind in kinds:
            setattr(self._old, kind, None)

    def snapshot(self, *, fresh: bool = False) -> Snapshot:
        """The namespace as this operator sees it; `fresh`: as it is."""
        old, cluster = self._old, self.cluster
        self._listen()
        there: Mapping[str, SimulatedJob | JobView] = cluster.jobs if fresh or old.jobs is None else old.jobs
        self._versions = {name: job.version for name, job in there.items()}
        if fresh:
            return replace(self._with_silence(cluster.snapshot()), now=cluster.now)
        if self.up_to_date:
            return self._with_silence(cluster.snapshot())
        known = cluster.trials if old.trials is None else old.trials
        trials: dict[str, list[Trial]] = {}
        for (uid, _), trial in sorted(known.items()):
            trials.setdefault(uid, []).append(trial)
        studies = cluster.studies if old.studies is None else old.studies
        jobs: Mapping[str, JobView] = _jobs(cluster) if old.jobs is None else old.jobs
        pods: Mapping[AttemptKey, PodView | None] = _pods(cluster) if old.pods is None else old.pods
        seen = Snapshot(
            studies=tuple(studies.values()),
            trials={uid: tuple(own) for uid, own in trials.items()},
            runs={job.key: of_jobs.run(job, pods.get(job.key)) for job in jobs.values()},
            budgets=cluster.budgets if old.budgets is None else old.budgets,
            prices=cluster.prices if old.prices is None else old.prices,
        )
        return self._with_silence(seen)

    def _listen(self) -> None:
        """Ask every pod that runs, as far as the API server knows; those within reach answer."""
        for job in self.cluster.jobs.values():
            if job.container is not None and not job.reported and job.collected is None:
                self.asked.setdefault(job.name, self.cluster.now)
                if job.ended is None and job.reachable:
                    self._heard[job.name] = self.cluster.now
                else:
                    self._heard.setdefault(job.name, self.cluster.now)

    def _with_silence(self, seen: Snapshot) -> Snapshot:
        """Add for how long nothing was heard of those whose node is lost."""
        if all(node.reachable for node in self.cluster.nodes):
            return seen
        return replace(seen, runs={key: self._silent(run) for key, run in seen.runs.items()})

    def _silent(self, run: Run) -> Run:
        job = self.cluster.jobs.get(run.name)
        if job is None or job.reachable or run.ended is not None or run.name not in self._heard:
            return run
        return replace(run, silent_seconds=self.cluster.now - self._heard[run.name])

    def do(self, action: Action) -> bool:
        """Let an action take effect where the API server takes it; whether it did."""
        if self._outdated(action):
            return False
        self.cluster.do(action)
        self._lay_over(action)
        return True

    def _outdated(self, action: Action) -> bool:
        """Whether the object has changed since this operator saw it."""
        match action:
            case todo.Extend(name) | todo.Stop(name) | todo.Release(name):
                return self._job_outdated(name)
            case todo.Grant(name):
                return self._pod_unseen(name)
        return self._status_outdated(action)

    def _status_outdated(self, action: Action) -> bool:
        cluster = self.cluster
        match action:
            case todo.RecordTrial(trial, _):
                known = cluster.trials.get((trial.spec.study_uid, trial.spec.number))
                return known is None or known.metadata.resource_version != trial.metadata.resource_version
            case todo.RecordStudy(study, _) | todo.Protect(study) | todo.Unprotect(study):
                found = cluster.studies.get(study.metadata.uid)
                return found is None or found.metadata.resource_version != study.metadata.resource_version
            case todo.RecordBudget(budget, _):
                return all(b.metadata != budget.metadata for b in cluster.budgets)
        return False

    def _job_outdated(self, name: str) -> bool:
        job = self.cluster.jobs.get(name)
        return job is None or self._versions.get(name) != job.version

    def _pod_unseen(self, name: str) -> bool:
        # A pod is found by its Job's labels, so both must have been seen.
        pods, jobs, there = self._old.pods, self._old.jobs, self.cluster.jobs.get(name)
        unseen = pods is not None and there is not None and pods.get(there.key) is None
        return there is None or unseen or (jobs is not None and name not in jobs)

    def _lay_over(self, action: Action) -> None:  # noqa: C901, PLR0912  (one row a kind of object)
        old, cluster = self._old, self.cluster
        match action:
            case todo.CreateTrial(_, trial) | todo.RecordTrial(trial, _):
                key = (trial.spec.study_uid, trial.spec.number)
                if old.trials is not None and key in cluster.trials:
                    old.trials[key] = cluster.trials[key]
            case todo.RecordStudy(study, _) | todo.Protect(study) | todo.Unprotect(study):
                uid = study.metadata.uid
                if old.studies is not None and uid in cluster.studies:
                    old.studies[uid] = cluster.studies[uid]
                elif old.studies is not None:
                    old.studies.pop(uid, None)
            case todo.RecordBudget():
                if old.budgets is not None:
                    now = {b.metadata.name: b for b in cluster.budgets}
                    old.budgets = tuple(now.get(b.metadata.name, b) for b in old.budgets)
            case todo.Launch() | todo.Bury() | todo.Extend() | todo.Stop() | todo.Release() | todo.Grant():
                name = action.assignment.name if isinstance(action, todo.Launch) else action.name
                job = cluster.jobs.get(name)
                if job is not None and not isinstance(action, todo.Grant):
                    self._versions[name] = job.version
                if old.jobs is not None and not isinstance(action, todo.Grant):
                    if job is not None:
                        old.jobs[name] = JobView.of(job)
                    else:
                        old.jobs.pop(name, None)
                if old.pods is not None and job is not None and isinstance(action, todo.Grant | todo.Release):
                    old.pods[job.key] = PodView.of(job)


def _jobs(cluster: Simulated) -> dict[str, JobView]:
    return {name: JobView.of(job) for name, job in cluster.jobs.items()}


def _pods(cluster: Simulated) -> dict[AttemptKey, PodView | None]:
    return {job.key: PodView.of(job) for job in cluster.jobs.values()}


_NOW: dict[Kind, Callable[[Simulated], object]] = {
    "studies": lambda cluster: dict(cluster.studies),
    "trials": lambda cluster: dict(cluster.trials),
    "jobs": _jobs,
    "pods": _pods,
    "budgets": lambda cluster: cluster.budgets,
    "prices": lambda cluster: cluster.prices,
}
