"""The API server of a simulation: its objects, what people do to them, and the actions of operators."""

from collections.abc import Callable
from dataclasses import replace

from comptroller import actions as todo
from comptroller.actions import Action
from comptroller.cluster.base import Snapshot
from comptroller.cluster.simulated import job as of_jobs
from comptroller.cluster.simulated.job import JobView, PodView, SimulatedJob
from comptroller.cluster.simulated.machines import Faults, Machines
from comptroller.cluster.simulated.trainer import Work, seconds_of_work
from comptroller.status import rfc3339
from comptroller.world import Run
from comptroller_api import quantity
from comptroller_api.budget import Budget
from comptroller_api.meta import FINALIZER, Metadata
from comptroller_api.pricelist import PriceList
from comptroller_api.study import Study
from comptroller_api.trial import Trial

_COLLECTED_AFTER = 2
"""Seconds that the garbage collector takes to find out that an owner does not exist."""


class Lost(Exception):  # noqa: N818 - says what happened
    """A call raised; whether it took effect is not known to the caller."""


class Simulated(Machines):
    """`Cluster` in virtual time. What goes wrong, `Faults` and whoever holds it say."""

    budgets: tuple[Budget, ...] = ()
    prices: tuple[PriceList, ...] = ()
    _version = 0
    _history: tuple[Snapshot, ...] = ()

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
        """A cluster without objects.

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
        self.studies: dict[str, Study] = {}
        self.trials: dict[tuple[str, int], Trial] = {}
        self.orphaning: set[str] = set()
        """Studies, by uid, that leave what they own behind when they go."""

    # -- what a user does ----------------------------------------------------------------------------------

    def apply(self, study: Study) -> None:
        """Create or change a study."""
        old = self.studies.get(study.metadata.uid)
        update = {
            "creation_timestamp": old.metadata.creation_timestamp if old else rfc3339(self.now),
            "generation": (old.metadata.generation if old else 0) + 1,
            "finalizers": old.metadata.finalizers if old else study.metadata.finalizers,
        }
        meta = self._stamped(study.metadata.model_copy(update=update))
        self.studies[study.metadata.uid] = study.model_copy(
            update={"metadata": meta, "status": old.status if old else None}
        )
        self.witness.changed()

    def delete(self, uid: str) -> None:
        """Delete a study; its finalizer holds it."""
        study = self.studies[uid]
        meta = study.metadata.model_copy(update={"deletion_timestamp": rfc3339(self.now)})
        self.studies[uid] = study.model_copy(update={"metadata": self._stamped(meta)})
        if not meta.finalizers:
            self._remove(uid)
        self.witness.changed()

    def delete_trial(self, key: tuple[str, int]) -> None:
        """Delete a trial by hand; the garbage collector deletes its Jobs."""
        self._collect(self.trials.pop(key).metadata.uid)
        self.witness.changed()

    def _collect(self, owner: str) -> None:
        """The garbage collector: an owner is gone, and what it owns goes too."""
        for job in [job for job in self.jobs.values() if job.owner == owner]:
            self.delete_job(job)

    def delete_job(self, job: SimulatedJob) -> None:
        """Delete a Job; ours stay until their finalizer is taken away."""
        job.deleted, job.version = True, job.version + 1
        if job.released:
            self.forget(job)
        else:
            self.touch(job)
        self.witness.changed()

    def set_budget(self, budget: Budget) -> None:
        """Create or change a budget."""
        kept = [b for b in self.budgets if b.metadata.name != budget.metadata.name]
        self.budgets = (*kept, budget.model_copy(update={"metadata": self._stamped(budget.metadata)}))
        self.witness.changed()

    def delete_budget(self, name: str) -> None:
        """Delete a budget."""
        self.budgets = tuple(b for b in self.budgets if b.metadata.name != name)
        self.witness.changed()

    def set_prices(self, prices: tuple[PriceList, ...]) -> None:
        """Replace the price lists."""
        self.prices = prices
        self.witness.changed()

    def _remove(self, uid: str) -> None:
        del self.studies[uid]
        if uid in self.orphaning:
            return
        for key in [key for key in self.trials if key[0] == uid]:
            self.delete_trial(key)
        self._collect(uid)

    def _own(self, job: SimulatedJob) -> None:
        """Collect what was created for an owner that is gone already."""
        owners = {trial.metadata.uid for trial in self.trials.values()} | self.studies.keys()
        if job.owner and job.owner not in owners:
            self.timeline.after(_COLLECTED_AFTER, lambda: self._collect(job.owner))

    def _stamped(self, meta: Metadata) -> Metadata:
        self._version += 1
        return meta.model_copy(update={"resource_version": str(self._version)})

    # -- Cluster -------------------------------------------------------------------------------------------

    async def observe(self, namespace: str, *, fresh: bool = False) -> Snapshot:
        """The namespace now, or as it was."""
        del namespace
        latest = self.snapshot()
        if fresh:
            return replace(latest, now=self.now)
        if not self.faults.stale:
            return latest
        self._history = (*self._history[-8:], latest)
        return self._rng.choice(self._history) if self._rng.random() < self.faults.stale else latest

    def snapshot(self) -> Snapshot:
        """What the API server has."""
        trials: dict[str, list[Trial]] = {}
        for (uid, _), trial in sorted(self.trials.items()):
            trials.setdefault(uid, []).append(trial)
        return Snapshot(
            studies=tuple(self.studies.values()),
            trials={uid: tuple(own) for uid, own in trials.items()},
            runs={job.key: self._run(job) for job in self.jobs.values()},
            budgets=self.budgets,
            prices=self.prices,
        )

    def _run(self, job: SimulatedJob) -> Run:
        idle = self.now - job.scheduled if job.scheduled and self._idle(job) else 0
        return of_jobs.run(JobView.of(job), PodView.of(job), idle)

    async def act(self, namespace: str, action: Action) -> None:
        """Carry out one action, unless a fault says otherwise."""
        del namespace
        if self._rng.random() < self.faults.lost_before:
            raise Lost("before")
        self.do(action)
        if self._rng.random() < self.faults.lost_after:
            raise Lost("after")

    def do(self, action: Action) -> None:
        """Let an action take effect."""
        match action:
            case todo.CreateTrial(study, trial):
                self._create_trial(study, trial)
            case todo.Launch():
                self._launch(action)
            case todo.Bury():
                self._bury(action)
            case todo.Extend() | todo.Grant() | todo.Stop() | todo.Release():
                if (job := self.jobs.get(action.name)) is not None:
                    self._steer(job, action)
            case todo.RecordTrial() | todo.RecordStudy() | todo.RecordBudget():
                self._record(action)
            case todo.Protect(study) | todo.Unprotect(study):
                self._protect(study, keep=isinstance(action, todo.Protect))
            case todo.Append() | todo.Refresh():
                raise TypeError(f"{type(action).__name__} is for the controller")
        self.witness.changed()

    def _create_trial(self, study: Study, trial: Trial) -> None:
        key = (study.metadata.uid, trial.spec.number)
        if any(one.metadata.name == trial.metadata.name for one in self.trials.values()):
            return
        uid = f"{study.metadata.uid}-{trial.spec.number}-{self._version}"
        meta = self._stamped(trial.metadata.model_copy(update={"uid": uid}))
        self.trials[key] = trial.model_copy(update={"metadata": meta})
        if study.metadata.uid not in self.studies:

            def collect() -> None:
                if key in self.trials:
                    self.delete_trial(key)

            self.timeline.after(_COLLECTED_AFTER, collect)

    def _launch(self, launch: todo.Launch) -> None:
        work = launch.assignment
        if work.name in self.jobs:
            return
        lease = launch.study.spec.runtime.lease
        longest = quantity.seconds(lease.longest_attempt) if lease.renewal == "Renew" else work.lease_seconds
        job = SimulatedJob(
            key=(launch.study.metadata.uid, work.trial, work.attempt),
            name=work.name,
            assignment=work,
            deadline=work.lease_seconds,
            granted=work.lease_seconds,
            created=self.now,
            cpu=quantity.milli(launch.resources.cpu),
            longest=longest,
            owner=launch.trial.metadata.uid,
            hostile=bool(self.faults.hostile) and self._rng.random() < self.faults.hostile,
        )
        self.start(job)
        self._own(job)

    def _bury(self, bury: todo.Bury) -> None:
        if bury.name in self.jobs:
            return
        job = SimulatedJob(bury.key, bury.name, None, 1, 0, self.now, 0, 1, ended=self.now)
        job.owner = bury.owner.metadata.uid if bury.owner else ""
        job.stop, job.stop_reason, job.released, job.reported = "Suspended", bury.reason, True, True
        self.start(job)
        self._own(job)

    def _steer(self, job: SimulatedJob, action: todo.Extend | todo.Grant | todo.Stop | todo.Release) -> None:
        match action:
            case todo.Extend(_, seconds):
                if job.stop is None:
                    job.deadline = seconds
            case todo.Grant(_, seconds):
                if job.started is None:
                    return  # there is no pod yet
                job.granted = seconds
                if self._reachable(job):
                    job.heard = max(job.heard, seconds)
            case todo.Stop(_, end, reason):
                job.deadline, job.stop, job.stop_reason = 1, end, reason
            case todo.Release():
                job.released = True
        job.version += 1
        if job.released and job.deleted:
            self.forget(job)
        else:
            self.touch(job)

    def _record(self, action: todo.RecordTrial | todo.RecordStudy | todo.RecordBudget) -> None:
        match action:
            case todo.RecordTrial(trial, status):
                key = (trial.spec.study_uid, trial.spec.number)
                if (known := self.trials.get(key)) is not None:
                    update = {"metadata": self._stamped(known.metadata), "status": status}
                    self.trials[key] = known.model_copy(update=update)
            case todo.RecordStudy(study, status):
                uid = study.metadata.uid
                if (found := self.studies.get(uid)) is not None:
                    update = {"metadata": self._stamped(found.metadata), "status": status}
                    self.studies[uid] = found.model_copy(update=update)
            case todo.RecordBudget(budget, status):
                self.budgets = tuple(
                    b.model_copy(update={"metadata": self._stamped(b.metadata), "status": status})
                    if b.metadata.name == budget.metadata.name
                    else b
                    for b in self.budgets
                )

    def _protect(self, study: Study, *, keep: bool) -> None:
        uid = study.metadata.uid
        known = self.studies.get(uid)
        if known is None:
            return
        if not keep and known.metadata.deletion_timestamp:
            self._remove(uid)
            return
        meta = known.metadata.model_copy(update={"finalizers": [FINALIZER] if keep else []})
        self.studies[uid] = known.model_copy(update={"metadata": self._stamped(meta)})
