"""One study in a namespace: `plan`'s actions take effect at once, and runs end when a test ends them."""

from dataclasses import replace
from typing import Any

from comptroller.actions import Append, CreateTrial, Launch, Protect, RecordStudy, RecordTrial, Release, Stop
from comptroller.ledger.books import Attempt, Books
from comptroller.ledger.names import AttemptKey
from comptroller.plan import plan
from comptroller.world import Exit, Run, World
from comptroller_api.contract import Report
from comptroller_api.meta import FINALIZER, Condition
from comptroller_api.pricelist import PriceList
from comptroller_api.study import Study, StudyStatus
from comptroller_api.trial import Trial, TrialStatus

NOW = 1_800_000_000
RATES = {"cpu": "3.60", "memoryGiB": "0"}
PRICES = PriceList.model_validate(
    {
        "metadata": {"name": "list"},
        "spec": {
            "currency": "USD",
            "asOf": "2026-01-01T00:00:00Z",
            "nodeClasses": [{"name": "small", "onDemand": RATES, "cap": RATES}],
        },
    }
)
"""A core costs 0.001 a second."""


def study(ceiling: str = "100.00", **changes: Any) -> Study:
    """Return a study of four trials, two at once, with one rung; `changes` are fields of its spec."""
    spec: dict[str, Any] = {
        "data": {"uri": "s3://data/digits", "format": "NPZ"},
        "space": {"parameters": [{"name": "model.width", "type": "Integer", "min": "4", "max": "64"}]},
        "baseline": {"model.width": "16", "model.family": "mlp"},
        "objectives": [{"metric": "accuracy"}],
        "ceilings": {"spend": {"amount": ceiling, "currency": "USD"}},
        "search": {"engine": "Random", "trials": 4, "parallel": 2, "rungs": {"epochs": [1]}},
        "runtime": {"nodeClass": "small", "lease": {"duration": "60s", "gracePeriod": "10s", "slack": "5s"}},
        "artifacts": {"uri": "s3://bucket/artifacts"},
    }
    for field, value in changes.items():
        spec[field] = {**spec[field], **value} if isinstance(value, dict) else value
    meta = {
        "name": "s",
        "namespace": "team",
        "uid": "u1",
        "generation": 1,
        "creationTimestamp": "2027-01-15T08:00:00Z",
        "finalizers": [FINALIZER],
    }
    return Study.model_validate({"metadata": meta, "spec": spec})


class SmallWorld:
    """The world of one study."""

    def __init__(self, one: Study | None = None, **fields: Any) -> None:
        self.world = World(
            NOW, "team", Books(), studies=(one or study(),), prices=(PRICES,), fresh=True, server_now=NOW
        )
        self.world = replace(self.world, **fields)
        self.undone: list[Any] = []
        """The actions of the last pass that nobody executed: stops, releases, ..."""
        self.settle()

    @property
    def study(self) -> Study:
        """Return the current study."""
        return self.world.studies[0]

    @property
    def trials(self) -> tuple[Trial, ...]:
        """Return its trials."""
        return self.world.trials.get("u1", ())

    @property
    def study_status(self) -> StudyStatus:
        """Return the study's status, which a pass has recorded."""
        assert self.study.status is not None
        return self.study.status

    def trial_status(self, number: int = 0) -> TrialStatus:
        """Return the status of a trial, which a pass has recorded."""
        status = self.trials[number].status
        assert status is not None
        return status

    @property
    def conditions(self) -> dict[str, Condition]:
        """Return its true conditions."""
        return {c.type: c for c in self.study_status.conditions if c.status == "True"}

    @property
    def open(self) -> list[Attempt]:
        """Return the attempts that hold money."""
        return sorted(self.world.books.open.values(), key=lambda a: (a.trial, a.number))

    def outcomes(self) -> list[str | None]:
        """Return the trials' outcomes, by number."""
        return [trial.status.outcome if trial.status else None for trial in self.trials]

    def settle(self) -> None:
        """Run passes until nothing changes."""
        for _ in range(50):
            before, actions = self.world, plan(self.world)
            self.undone = [action for action in actions if not self._do(action)]
            if self.world == before and not any(isinstance(action, Append) for action in actions):
                return
        raise AssertionError("plan does not come to rest")

    def after(self, seconds: int) -> None:
        """Let time pass, then settle."""
        now = self.world.now + seconds
        self.world = replace(self.world, now=now, server_now=now)
        self.settle()

    def amend(self, new: Study) -> None:
        """Apply another spec, then settle."""
        meta = self.study.metadata.model_copy(update={"generation": self.study.metadata.generation + 1})
        changed = new.model_copy(update={"metadata": meta, "status": self.study.status})
        self.world = replace(self.world, studies=(changed,))
        self.settle()

    def end(
        self,
        code: int | None = 0,
        message: str = "",
        metrics: dict[str, float] | None = None,
        *,
        trial: int | None = None,
        seconds: int = 10,
        missed: str | None = None,
        **exit_fields: Any,
    ) -> None:
        """End the open attempt of `trial`, or the first one; with `metrics`, the attempt leaves a report."""
        attempt = next(a for a in self.open if trial in {None, a.trial})
        start, now = self.world.now, self.world.now + seconds
        self.world = replace(self.world, now=now, server_now=now)
        run = self._run(attempt, started=start, scheduled=start, ended=now)
        self.see(attempt.key, replace(run, exit=Exit(code=code, message=message, **exit_fields)))
        if code in {0, 66} or metrics is not None:
            self._report(attempt, metrics, missed)
        self.settle()

    def see(self, key: AttemptKey, run: Run) -> None:
        """Show a run to the next pass."""
        self.world = replace(self.world, runs={**self.world.runs, key: run})

    def _run(self, attempt: Attempt, **fields: Any) -> Run:
        return Run(
            key=attempt.key, name=attempt.name, deadline=attempt.granted, granted=attempt.granted, **fields
        )

    def _report(self, attempt: Attempt, metrics: dict[str, float] | None, missed: str | None) -> None:
        report = None
        if metrics is not None:
            report = Report(
                name=attempt.name,
                trial=attempt.trial,
                attempt=attempt.number,
                rung=attempt.rung,
                epochs=1,
                metrics=metrics,
                seconds=1.0,
                missed=missed,
            )
        self.world = replace(self.world, reports={**self.world.reports, attempt.key: report})

    def _do(self, action: Any) -> bool:
        """Execute one action; return `False` if it is left to the test."""
        world = self.world
        match action:
            case Append(entries):
                for entry in entries:
                    assert world.books.apply(entry) is None, entry
            case CreateTrial(_, trial):
                meta = trial.metadata.model_copy(update={"uid": f"t{trial.spec.number}"})
                made = [*self.trials, trial.model_copy(update={"metadata": meta})]
                made.sort(key=lambda t: t.spec.number)
                self.world = replace(world, trials={"u1": tuple(made)})
            case RecordTrial(trial, status):
                known = [
                    t.model_copy(update={"status": status}) if t.metadata.uid == trial.metadata.uid else t
                    for t in self.trials
                ]
                self.world = replace(world, trials={"u1": tuple(known)})
            case RecordStudy(one, status):
                self.world = replace(world, studies=(one.model_copy(update={"status": status}),))
            case Launch(_, trial, work):
                key = AttemptKey("u1", work.trial, work.attempt)
                attempt = world.books.open[key]
                self.see(key, self._run(attempt, started=world.now, scheduled=world.now))
            case Release(name):
                self.world = replace(world, runs={k: r for k, r in world.runs.items() if r.name != name})
            case Protect() | Stop():
                return False
        return True
