"""The past of a trial and its next step: a fold over its attempts and reports."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from comptroller.ledger.books import Attempt
from comptroller.search import Observation, Problem, RungValues
from comptroller.search.front import violation
from comptroller.search.halving import Decision
from comptroller.search.ranking import unmeasured
from comptroller.status import condition, stated
from comptroller.world import Unusable, World, trial_prefix
from comptroller_api import contract, quantity
from comptroller_api.meta import Condition
from comptroller_api.metrics import LATENCIES
from comptroller_api.money import to_amount
from comptroller_api.study import Study
from comptroller_api.trial import COUNTED_ENDS, AttemptResult, Outcome, RungResult, Trial, TrialStatus

IDLE = "Idle"
"""The prefix of the reason of a stop for low utilization."""
NOT_STARTED = "NotStarted"
"""The prefix of the reason of a stop whose work could not begin."""
LACKS = "the report lacks "
"""The prefix of the reason if an objective was not measured."""

_MEASUREMENTS = 2
"""Attempts at a rung that may measure a latency until it is one to be trusted."""
_KEPT_ATTEMPTS = 64
_GOOD = frozenset({"Succeeded", "Pruned"})
_LONGEST_PAUSE = 600
"""Seconds."""


@dataclass(frozen=True, slots=True)
class Progress:
    """One trial's attempts and results, the reports of this pass included."""

    trial: Trial
    attempts: tuple[Attempt, ...]
    rungs: Mapping[int, RungResult]
    lost: str
    """The reason why an attempt that exited 0 has no result; empty if none is lost."""
    unread: bool
    """An attempt left a report, or may have, that could not be read so far."""
    adjusted: int = 0
    """Micro-units that were found after attempts were closed."""
    near_miss: RungResult | None = None
    """The metrics of a model that must not be used."""
    missed: str = ""
    """The reason why it must not."""

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
        """Return how often the trial was suspended for low utilization."""
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
    """The next step: another attempt at `rung`, an outcome, or waiting when both are `None`."""

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
    near_miss, missed = trial.status.near_miss if trial.status else None, ""
    lost, unread = "", False
    for attempt in awaited(trial, attempts):
        key = attempt.key
        if key not in world.reports:
            unread = True
        elif (report := world.reports[key]) is None or isinstance(report, Unusable):
            if attempt.end == "Finished":  # a trainer that keeps no near misses leaves no report of them
                lost = _lost(attempt, report)
        elif attempt.end == "NoGain" or report.missed is not None:
            near_miss = _rung_result(report, trial_prefix(study, number))
            missed = report.missed or attempt.reason
        else:
            rungs[attempt.rung] = _rung_result(report, trial_prefix(study, number))
    adjusted = sum(map(world.books.spent, attempts)) - sum(attempt.spent for attempt in attempts)
    return Progress(trial, attempts, rungs, lost, unread, adjusted, near_miss, missed)


def _lost(attempt: Attempt, report: Unusable | None) -> str:
    if report is None:
        return f"attempt {attempt.number} exited 0 and left no report"
    return f"the report of attempt {attempt.number} is refused: {report.why}"


def awaited(trial: Trial, attempts: Iterable[Attempt]) -> Iterator[Attempt]:
    """Yield the attempts that may have left a report which is not in the trial's status yet."""
    if trial.status and trial.status.outcome:
        return
    known = {result.rung: result for result in (trial.status.rungs if trial.status else [])}
    for attempt in attempts:
        result = known.get(attempt.rung)
        # Of a rung that was measured again, the later report counts.
        read = result is not None and (result.attempt is None or attempt.number <= result.attempt)
        if attempt.end == "NoGain" or (attempt.end == "Finished" and not read):
            yield attempt


def _rung_result(report: contract.Report, prefix: str) -> RungResult:
    """A report as it stands in a trial's status."""
    artifact = next((a.uri for a in report.artifacts if a.name.endswith(".onnx")), "")
    return RungResult(
        rung=report.rung,
        epochs=report.epochs,
        metrics=dict(sorted(report.metrics.items())),
        artifact=artifact,
        report=f"{prefix}/{contract.report_key(report.attempt)}",
        attempt=report.attempt,
    )


def doubted(problem: Problem, metrics: Mapping[str, float]) -> list[str]:
    """Return the latencies that would decide and that the trainer says are not to be trusted."""
    if metrics.get("latency_trusted", 1.0):
        return []
    return sorted({*LATENCIES.values()}.intersection(problem.deciding, metrics))


def observations(all_progress: Iterable[Progress], problem: Problem) -> tuple[Observation, ...]:
    """Return what the search learns from: results up to the first that is not to be trusted."""
    return tuple(
        Observation(
            number=p.number,
            parameters=dict(p.trial.spec.parameters),
            rungs=tuple(_trusted(p, problem)),
            outcome=p.outcome,
            cost=p.spent,
        )
        for p in all_progress
    )


def _trusted(p: Progress, problem: Problem) -> Iterator[RungValues]:
    for rung in sorted(p.rungs):
        metrics = p.rungs[rung].metrics
        if doubted(problem, metrics):
            return
        yield RungValues(rung, dict(metrics))


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
    if last.end in {"Diverged", "NoGain"} or p.missed:
        return Step(outcome="Infeasible", reason=last.reason or p.missed)
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
    return Step(rung=p.rung, not_before=last.ended + pause(p))


def in_vain(attempt: Attempt) -> bool:
    """Return whether an ended attempt did no work, for a reason that its configuration has no part in."""
    return attempt.end == "Unavailable" or not attempt.started or attempt.reason.startswith(NOT_STARTED)


def pause(p: Progress) -> int:
    """Return the seconds to wait after attempts that did no work: more each time, up to ten minutes."""
    vain = 0
    for attempt in reversed(p.attempts):
        if not in_vain(attempt):
            break
        vain += 1
    return min(_LONGEST_PAUSE, 10 * 2**vain) if vain else 0


def _after_rung(  # noqa: PLR0911  (a decision table)
    p: Progress, problem: Problem, rungs: int, decisions: Mapping[int, Decision]
) -> Step:
    metrics = p.rungs[p.rung - 1].metrics
    doubts = doubted(problem, metrics)
    sure = replace(problem, constraints=tuple(c for c in problem.constraints if c.metric not in doubts))
    if broken := violation(sure, metrics):
        return Step(outcome="Infeasible", reason=broken)
    if doubts:
        return _measured_again(p, doubts)
    if missing := unmeasured(problem, metrics):
        return Step(outcome="MetricsLost", reason=f"{LACKS}{', '.join(missing)}")
    if p.rung >= rungs:
        return Step(outcome="Succeeded")
    decision = decisions.get(p.number)
    if decision is None or decision.verdict == "Wait":
        return Step()
    if decision.verdict == "Prune":
        return Step(outcome="Pruned", reason=decision.reason)
    return Step(rung=p.rung)


def _measured_again(p: Progress, doubts: list[str]) -> Step:
    """Measure a latency again from the checkpoint; at the limit, say that the trial cannot be judged."""
    times = sum(attempt.end == "Finished" and attempt.rung == p.rung - 1 for attempt in p.attempts)
    if times < _MEASUREMENTS:
        return Step(rung=p.rung - 1)
    reason = (
        f"LatencyNotTrusted: {', '.join(doubts)} was measured in {times} attempts, each time while other work"
        " disturbed the CPU, so it cannot be judged; request whole cores, or use nodes without other work"
    )
    return Step(outcome="MetricsLost", reason=reason)


def _idle_pause(study: Study) -> int:
    return quantity.seconds(study.spec.runtime.idle.window) if study.spec.runtime.idle else 0


def trial_state(p: Progress, outcome: Outcome | None) -> str:
    """Return the state of a trial, in a word."""
    if outcome is not None:
        return "Ended"
    if p.open is not None:
        return "Running"
    return "Suspended" if p.attempts and p.attempts[-1].end != "Finished" else "Pending"


def trial_status(p: Progress, outcome: Outcome | None, reason: str, now: int) -> TrialStatus:
    """Return the status that follows from the books and the reports."""
    closed, before = [attempt for attempt in p.attempts if not attempt.open], p.trial.status
    known = {result.number: result for result in before.attempts} if before else {}
    return stated(
        TrialStatus,
        before,
        state=trial_state(p, outcome),
        outcome=outcome,
        reason=reason[:512],
        attempts=[
            stated(
                AttemptResult,
                known.get(attempt.number),
                number=attempt.number,
                rung=attempt.rung,
                end=attempt.end,
                reason=attempt.reason,
                seconds=attempt.seconds,
                spent=to_amount(attempt.spent),
            )
            for attempt in closed[-_KEPT_ATTEMPTS:]
        ],
        rungs=[p.rungs[rung] for rung in sorted(p.rungs)],
        near_miss=p.near_miss,
        spent=to_amount(p.spent),
        conditions=_conditions(p, outcome, reason, now),
    )


def _conditions(p: Progress, outcome: Outcome | None, reason: str, now: int) -> list[Condition]:
    """Return Complete, Failed and Reconciling; a trial that was pruned is Complete, as nothing is wrong."""
    truth = {
        "Complete": outcome in _GOOD,
        "Failed": outcome is not None and outcome not in _GOOD,
        "Reconciling": outcome is None,
    }
    known = {c.type: c for c in p.trial.status.conditions} if p.trial.status else {}
    why, generation = outcome or trial_state(p, outcome), p.trial.metadata.generation
    return [
        condition(known.get(kind), kind, on, why, reason[:512], generation, now) for kind, on in truth.items()
    ]
