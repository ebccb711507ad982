"""The edits of people to a namespace while its operators run."""

from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from kubernetes.aio.client.exceptions import ApiException

from comptroller.cluster.simulated import PERSON
from comptroller.simulation.convergence import audited
from comptroller.simulation.process import NAMESPACE
from comptroller_api.budget import Budget
from comptroller_api.study import Study

if TYPE_CHECKING:
    from comptroller.simulation.run import Run

_SPACE = {
    "parameters": [
        {"name": "model.width", "type": "Integer", "min": "4", "max": "64"},
        {"name": "recipe.lr", "type": "Float", "min": "0.001", "max": "1", "scale": "Log"},
    ]
}


FOREIGN = "foreign"
"""The image of which nobody knows what it does."""


@dataclass(frozen=True)
class CreateStudy:
    """Somebody applies a study."""

    at: int
    number: int
    ceiling: str = "20.00"
    trials: int = 2
    parallel: int = 2
    epochs: tuple[int, ...] = (1, 2)
    lease: int = 60
    grace: int = 10
    slack: int = 5
    renewal: str = "Renew"
    longest: int = 600
    capacity: str = "OnDemand"
    cpu: str = "1"
    team: str = "x"
    retries: int = 2
    gpu: int = 0
    foreign: bool = False
    """The study's image has no guard of ours, and ignores SIGTERM."""

    def __str__(self) -> str:
        more = f", {self.gpu} GPUs" if self.gpu else ""
        more += ", a foreign image" if self.foreign else ""
        return (
            f"study s{self.number} is applied: {self.trials} trials, {self.parallel} at once, epochs"
            f" {list(self.epochs)}, ceiling {self.ceiling}, leases of {self.lease}s ({self.renewal}),"
            f" {self.cpu} cores {self.capacity}{more}, team {self.team}"
        )

    def happen(self, run: "Run") -> None:
        """Apply it, unless one of this name is there."""
        if _study(run, self.number) is None:
            made = sum(s.metadata.name == f"s{self.number}" for s in run.oracle.studies.values())
            run.cluster.apply(self.study(f"{made:04d}-{self.number}"))
        run.oracle.declare()

    def study(self, uid: str) -> Study:
        """The manifest."""
        return _manifest(self, uid)


@lru_cache(maxsize=64)
def _manifest(one: CreateStudy, uid: str) -> Study:
    spec: dict[str, Any] = {
        "data": {"uri": "generated:mnist1d", "format": "MNIST1D"},
        "space": _SPACE,
        "baseline": {"model.width": "16", "recipe.lr": "0.1"},
        "objectives": [{"metric": "accuracy"}],
        "ceilings": {"spend": {"amount": one.ceiling, "currency": "USD"}},
        "search": {
            "engine": "Random",
            "trials": one.trials,
            "parallel": one.parallel,
            "rungs": {"epochs": list(one.epochs)},
        },
        "runtime": {
            "nodeClass": "small",
            "capacity": one.capacity,
            "resources": {"cpu": one.cpu, "gpu": one.gpu},
            "image": FOREIGN if one.foreign else None,
            "retries": one.retries,
            "lease": {
                "duration": f"{one.lease}s",
                "gracePeriod": f"{one.grace}s",
                "slack": f"{one.slack}s",
                "renewal": one.renewal,
                "longestAttempt": f"{one.longest}s",
            },
        },
        "artifacts": {"uri": "s3://bucket/artifacts"},
    }
    meta = {"name": f"s{one.number}", "namespace": NAMESPACE, "uid": uid, "labels": {"team": one.team}}
    return Study.model_validate({"metadata": meta, "spec": spec})


def _study(run: "Run", number: int) -> Study | None:
    found = (s for s in run.cluster.studies.values() if s.metadata.name == f"s{number}")
    return next(found, None)


@dataclass(frozen=True)
class EditStudy:
    """Somebody edits a study."""

    at: int
    number: int
    ceiling: str | None = None
    suspend: bool | None = None
    team: str | None = None
    parallel: int | None = None

    def __str__(self) -> str:
        changes = {
            "ceiling": self.ceiling,
            "suspend": self.suspend,
            "team": self.team,
            "parallel": self.parallel,
        }
        edits = ", ".join(f"{name} {value}" for name, value in changes.items() if value is not None)
        return f"study s{self.number} is edited: {edits}"

    def happen(self, run: "Run") -> None:
        """Edit it, as far as the API server allows."""
        study = _study(run, self.number)
        if study is None or study.metadata.deletion_timestamp:
            return
        spec, meta = study.spec, study.metadata
        spent = study.status.spent if study.status and study.status.spent else "0"
        if self.ceiling is not None and float(self.ceiling) >= float(spent):
            spend = spec.ceilings.spend.model_copy(update={"amount": self.ceiling})
            ceilings = spec.ceilings.model_copy(update={"spend": spend})
            spec = spec.model_copy(update={"ceilings": ceilings})
        if self.suspend is not None:
            spec = spec.model_copy(update={"suspend": self.suspend})
        if self.parallel is not None:
            search = spec.search.model_copy(update={"parallel": min(self.parallel, spec.search.trials)})
            spec = spec.model_copy(update={"search": search})
        if self.team is not None:
            meta = meta.model_copy(update={"labels": {"team": self.team}})
        run.cluster.apply(study.model_copy(update={"metadata": meta, "spec": spec}))
        run.oracle.declare()


@dataclass(frozen=True)
class DeleteStudy:
    """Somebody deletes a study."""

    at: int
    number: int
    forced: bool = False
    """Somebody takes its finalizer away, too."""
    orphans: bool = False
    """The study is deleted with `--cascade=orphan`, so that its objects stay."""

    def __str__(self) -> str:
        forced = ", its finalizer taken away" if self.forced else ""
        return f"study s{self.number} is deleted{forced}{', what it owns stays' if self.orphans else ''}"

    def happen(self, run: "Run") -> None:
        """Delete it, where it is there."""
        study = _study(run, self.number)
        if study is not None and not study.metadata.deletion_timestamp:
            run.cluster.delete(study.metadata.uid, orphans=self.orphans, forced=self.forced)
            run.oracle.declare()


@dataclass(frozen=True)
class DeleteTrial:
    """Somebody deletes a trial by hand."""

    at: int
    pick: int

    def __str__(self) -> str:
        return f"trial {self.pick} of those there are is deleted by hand"

    def happen(self, run: "Run") -> None:
        """Delete one of those that are there."""
        keys = sorted(run.cluster.trials)
        if keys:
            run.cluster.delete_trial(keys[self.pick % len(keys)])


@dataclass(frozen=True)
class DeleteJob:
    """Somebody deletes a Job by hand."""

    at: int
    pick: int

    def __str__(self) -> str:
        return f"Job {self.pick} of those there are is deleted by hand"

    def happen(self, run: "Run") -> None:
        """Delete one, running ones first."""
        jobs = sorted(run.cluster.jobs.values(), key=lambda job: (not job.running, job.name))
        if jobs:
            name = jobs[self.pick % len(jobs)].name
            run.say("***", f"it is {name}")
            with suppress(ApiException):  # a policy may refuse it
                run.cluster.server.delete("jobs", name, PERSON)


@dataclass(frozen=True)
class Verify:
    """Somebody runs `comptroller ledger verify`."""

    at: int

    def __str__(self) -> str:
        return "somebody verifies the ledger"

    def happen(self, run: "Run") -> None:
        """Do so, where there is a ledger."""
        if run.batches:
            audited(run)


@dataclass(frozen=True)
class SetBudget:
    """Somebody creates or changes a budget."""

    at: int
    name: str
    amount: str
    period: str = "Total"
    zone: str = "UTC"
    team: str | None = None
    credit: tuple[str, str] | None = None
    """An amount and its last day."""
    cap: str | None = None
    exhausted: str = "Suspend"

    def __str__(self) -> str:
        who = f"team {self.team}" if self.team else "everybody"
        more = f", credit {self.credit[0]} until {self.credit[1]}" if self.credit else ""
        more += f", cap per study {self.cap}" if self.cap else ""
        return f"budget {self.name} is {self.amount} {self.period} for {who}{more} ({self.exhausted})"

    def happen(self, run: "Run") -> None:
        """Apply it."""
        run.cluster.put("budgets", _budget(self))
        run.oracle.declare()


def _budget(one: SetBudget) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "amount": one.amount,
        "currency": "USD",
        "period": one.period,
        "timeZone": one.zone,
        "selector": {"matchLabels": {"team": one.team}} if one.team else {},
        "credits": [{"amount": one.credit[0], "until": one.credit[1]}] if one.credit else [],
        "capPerStudy": one.cap,
        "whenExhausted": one.exhausted,
    }
    return Budget.model_validate({"metadata": {"name": one.name}, "spec": spec}).to_json()


@dataclass(frozen=True)
class DeleteBudget:
    """Somebody deletes a budget."""

    at: int
    name: str

    def __str__(self) -> str:
        return f"budget {self.name} is deleted"

    def happen(self, run: "Run") -> None:
        """Delete it, where it is there."""
        if run.cluster.server.named("budgets", self.name) is not None:
            run.cluster.server.delete("budgets", self.name, PERSON)
        run.oracle.declare()
