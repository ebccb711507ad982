"""What a trial has done and what it does next: a fold over its attempts and reports."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from comptroller.ledger.books import Attempt
from comptroller.search import Observation, Problem, RungValues
from comptroller.search.front import violation
from comptroller.search.halving import Decision
from comptroller.search.ranking import unmeasured
from comptroller.world import Unusable, World, trial_prefix
from comptroller_api import contract, quantity
from comptroller_api.money import to_amount
from comptroller_api.study import Study
from comptroller_api.trial import COUNTED_ENDS, AttemptResult, Outcome, RungResult, Trial, TrialStatus

IDLE = "Idle"
"""How the reason of a stop for low utilization begins."""

_KEPT_ATTEMPTS = 64
_LONGEST_PAUSE = 600
"""Seconds."""


@dataclass(frozen=True, slots=True)
class Progress:
    """One trial's attempts and results, the reports of this pass included."""

    trial: Trial
    attempts: tuple[Attempt, ...]
    rungs: Mapping[int, RungResult]
    lost: str
    """Why there is no result of an attempt that exited 0; empty where none is lost."""
    unread: bool
    """An attempt exited 0 and its report could not be read so far."""
    adjusted: int = 0
    """Micro-units that were found after attempts were closed."""

    @property
    def number(self) -> int:
        """The trial's number."""
        return self.trial.spec.number

    @property
    def outcome(self) -> Outcome | None:
        """The recorded outcome."""
        return self.trial.status.outcome if self.trial.status else None

    @property
    def open(self) -> Attempt | None:
        """The attempt that holds money, if any."""
        return self.attempts[-1] if self.attempts and self.attempts[-1].open else None

    @property
    def idle_stops(self) -> int:
        """How often it was suspended for low utilization."""
        return sum(attempt.reason.startswith(IDLE) for attempt in self.attempts)

    @property
    def rung(self) -> int:
        """The first rung without a result."""
        return len(self.rungs)

    @property
    def spent(self) -> int:
        """Micro-units posted by all its attempts."""
        return sum(attempt.spent for attempt in self.attempts) + self.adjusted


@dataclass(frozen=True, slots=True)
class Step:
    """What comes next: another attempt at `rung`, an outcome, or waiting when both are `None`."""

    rung: int | None = None
    outcome: Outcome | None = None
    reason: str = ""
    not_before: int = 0
    """Unix seconds before which the attempt is not launched."""


def progress(world: World, study: Study, trial: Trial) -> Progress:
    """Fold the books and the reports of `trial`."""
    number = trial.spec.number
    attempts = tuple(world.books.attempts(study.metadata.uid, number))
    rungs = {result.rung: result for result in (trial.status.rungs if trial.status else [])}
    lost, unread = "", False
    for attempt in attempts:
        if attempt.end != "Finished" or attempt.rung in rungs:
            continue
        key = (study.metadata.uid, number, attempt.number)
        if key not in world.reports:
            unread = True
        elif (report := world.reports[key]) is None:
            lost = f"attempt {attempt.number} exited 0 and left no report"
        elif isinstance(report, Unusable):
            lost = f"the report of attempt {attempt.number} is refused: {report.why}"
        else:
            rungs[attempt.rung] = _rung_result(report, trial_prefix(study, number))
    adjusted = sum(map(world.books.spent, attempts)) - sum(attempt.spent for attempt in attempts)
    return Progress(trial, attempts, rungs, lost, unread, adjusted)


def _rung_result(report: contract.Report, prefix: str) -> RungResult:
    """A report as it stands in a trial's status."""
    artifact = next((a.uri for a in report.artifacts if a.name.endswith(".onnx")), "")
    return RungResult(
        rung=report.rung,
        epochs=report.epochs,
        metrics=dict(sorted(report.metrics.items())),
        artifact=artifact,
        report=f"{prefix}/{contract.report_key(report.attempt)}",
    )


def observations(all_progress: Iterable[Progress]) -> tuple[Observation, ...]:
    """What the search learns from."""
    return tuple(
        Observation(
            number=p.number,
            parameters=dict(p.trial.spec.parameters),
            rungs=tuple(RungValues(rung, dict(p.rungs[rung].metrics)) for rung in sorted(p.rungs)),
            outcome=p.outcome,
            cost=p.spent,
        )
        for p in all_progress
    )


def next_step(  # noqa: PLR0911  (a decision table)
    p: Progress, study: Study, problem: Problem, decisions: Mapping[int, Decision]
) -> Step:
    """Decide for a trial without an outcome and without an open attempt."""
    retries, rungs = study.spec.runtime.retries, study.spec.search.rungs.epochs
    if not p.attempts:
        return Step(rung=0)
    last = p.attempts[-1]
    if p.lost:
        return Step(outcome="MetricsLost", reason=p.lost)
    if last.end == "BadAssignment":
        return Step(outcome="Failed", reason=last.reason)
    if last.end in {"Diverged", "NoGain"}:
        return Step(outcome="Infeasible", reason=last.reason)
    if last.end in COUNTED_ENDS:
        failures = sum(attempt.end in COUNTED_ENDS for attempt in p.attempts)
        if failures > retries:
            outcome: Outcome = "Infeasible" if last.end == "OutOfMemory" else "Failed"
            return Step(outcome=outcome, reason=f"{failures} attempts failed, the last with: {last.reason}")
        return Step(rung=p.rung)
    if last.end == "Finished":
        return _after_rung(p, problem, len(rungs), decisions)
    if last.reason.startswith(IDLE) and study.spec.runtime.idle is not None:
        if p.idle_stops > retries:
            return Step(outcome="Failed", reason=f"{last.reason}; suspended for it {p.idle_stops} times")
        return Step(rung=p.rung, not_before=last.ended + _idle_pause(study))
    return Step(rung=p.rung, not_before=_after_vain_attempts(p))


def _after_vain_attempts(p: Progress) -> int:
    """When to try again after attempts that never had a node: later and later, up to ten minutes."""
    vain = 0
    for attempt in reversed(p.attempts):
        if attempt.started:
            break
        vain += 1
    return p.attempts[-1].ended + min(_LONGEST_PAUSE, 10 * 2**vain) if vain else 0


def _after_rung(p: Progress, problem: Problem, rungs: int, decisions: Mapping[int, Decision]) -> Step:
    metrics = p.rungs[p.rung - 1].metrics
    if broken := violation(problem, metrics):
        return Step(outcome="Infeasible", reason=broken)
    if missing := unmeasured(problem, metrics):
        return Step(outcome="MetricsLost", reason=f"the report lacks {', '.join(missing)}")
    if p.rung >= rungs:
        return Step(outcome="Succeeded")
    decision = decisions.get(p.number)
    if decision is None or decision.verdict == "Wait":
        return Step()
    if decision.verdict == "Prune":
        return Step(outcome="Pruned", reason=decision.reason)
    return Step(rung=p.rung)


def _idle_pause(study: Study) -> int:
    return quantity.seconds(study.spec.runtime.idle.window) if study.spec.runtime.idle else 0


def trial_state(p: Progress, outcome: Outcome | None) -> str:
    """Where a trial stands, in a word."""
    if outcome is not None:
        return "Ended"
    if p.open is not None:
        return "Running"
    return "Suspended" if p.attempts and p.attempts[-1].end != "Finished" else "Pending"


def trial_status(p: Progress, outcome: Outcome | None, reason: str) -> TrialStatus:
    """The status that says what the books and the reports say."""
    closed = [attempt for attempt in p.attempts if not attempt.open]
    return TrialStatus.model_validate(
        {
            "state": trial_state(p, outcome),
            "outcome": outcome,
            "reason": reason[:512],
            "attempts": [
                AttemptResult(
                    number=attempt.number,
                    rung=attempt.rung,
                    end=attempt.end,
                    reason=attempt.reason,
                    seconds=attempt.seconds,
                    spent=to_amount(attempt.spent),
                )
                for attempt in closed[-_KEPT_ATTEMPTS:]
            ],
            "rungs": [p.rungs[rung] for rung in sorted(p.rungs)],
            "spent": to_amount(p.spent),
        }
    )
