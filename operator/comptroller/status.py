"""A study's status: constant in size however many trials there are, and the same for the same world."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

from comptroller.ledger.books import Account
from comptroller.search import Observation, Problem
from comptroller.search.front import front_and_best
from comptroller_api.meta import Condition, Model
from comptroller_api.money import to_amount
from comptroller_api.study import FrontEntry, Study, StudyStatus, TrialCounts
from comptroller_api.text import plain
from comptroller_api.trial import Trial

_FRONT = 20

M = TypeVar("M", bound=Model)


class Standing(Protocol):
    """The verdict's fields, read here without importing `plan`."""

    @property
    def state(self) -> str: ...
    @property
    def reason(self) -> str: ...
    @property
    def message(self) -> str: ...


def rfc3339(now: int) -> str:
    """Unix seconds as Kubernetes writes a time."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def stated(model: type[M], known: M | None, **fields: Any) -> M:
    """Return the part of a status with these fields, which are all that `model` has.

    It is the `known` one where that says the same: most passes change nothing, and to validate what is
    already written would be most of their work.
    """
    return known if known is not None and known.__dict__ == fields else model(**fields)


def study_status(
    study: Study,
    problem: Problem,
    observations: Sequence[Observation],
    states: Iterable[str],
    trials: Iterable[Trial],
    account: Account | None,
    verdict: Standing,
    now: int,
) -> StudyStatus:
    """The status to publish.

    Args:
        study: as observed; its present conditions keep their times where they do not change.
        problem: its search.
        observations: every trial with its outcome.
        states: every trial's state, in the same order.
        trials: every trial, in the same order.
        account: the study's own account in the books.
        verdict: where the study stands.
        now: unix seconds.
    """
    before = study.status
    counts = _counts(observations, states, before.trials if before else None)
    ended = sum(o.outcome is not None for o in observations)
    if before is not None and is_final(study) and verdict.state in {"Complete", "Failed"}:
        # Results of an ended study stay what they were, whatever its spec says now.
        best, best_number, front = before.best, before.best_trial, before.front
    else:
        best, best_number, front = _results(before, problem, observations, trials)
    return stated(
        StudyStatus,
        before,
        observed_generation=study.metadata.generation,
        trials=counts,
        progress=f"{ended}/{study.spec.search.trials}",
        spent=to_amount(account.spent if account else 0),
        held=to_amount(account.held if account else 0),
        best=best,
        best_trial=best_number,
        front=front,
        conditions=conditions(study, verdict, now),
    )


def _results(
    before: StudyStatus | None, problem: Problem, observations: Sequence[Observation], trials: Iterable[Trial]
) -> tuple[str, int | None, list[FrontEntry]]:
    """Return the best trial for people, its number, and the front."""
    front, best = front_and_best(problem, observations, most=_FRONT)
    by_number, artifacts = {o.number: o for o in observations}, {t.spec.number: t for t in trials}
    entries = {entry.trial: entry for entry in before.front} if before else {}
    first = problem.objectives[0].metric
    named = "" if best is None else f"{best}: {first} {_short(by_number[best].rungs[-1].metrics[first])}"
    return named, best, [_entry(by_number[n], artifacts.get(n), problem, entries.get(n)) for n in front]


def _entry(
    observation: Observation, trial: Trial | None, problem: Problem, known: FrontEntry | None
) -> FrontEntry:
    final = observation.rungs[-1]
    artifact = ""
    if trial is not None and trial.status is not None and trial.status.rungs:
        artifact = trial.status.rungs[-1].artifact
    metrics = {m: _short(final.metrics[m]) for m in problem.deciding if m in final.metrics}
    return stated(FrontEntry, known, trial=observation.number, metrics=metrics, artifact=artifact)


def _short(value: float) -> str:
    return f"{value:.6g}"


def _counts(
    observations: Sequence[Observation], states: Iterable[str], known: TrialCounts | None
) -> TrialCounts:
    outcomes = Counter(o.outcome for o in observations)
    state = Counter(states)
    return stated(
        TrialCounts,
        known,
        total=len(observations),
        pending=state["Pending"],
        running=state["Running"],
        suspended=state["Suspended"],
        succeeded=outcomes["Succeeded"],
        pruned=outcomes["Pruned"],
        infeasible=outcomes["Infeasible"],
        failed=outcomes["Failed"],
        metrics_lost=outcomes["MetricsLost"],
        budget_stopped=outcomes["BudgetStopped"],
        cancelled=outcomes["Cancelled"],
    )


class _Held(NamedTuple):
    reason: str
    message: str
    state: str = "Held"


def is_final(study: Study) -> bool:
    """Return whether its status states that it is complete or has failed."""
    conditions = study.status.conditions if study.status else []
    return any(c.type in {"Complete", "Failed"} and c.status == "True" for c in conditions)


def stalled(study: Study, reason: str, message: str, now: int) -> StudyStatus:
    """The status it has, with the conditions of a study that stands still for `reason`."""
    return (study.status or StudyStatus()).model_copy(
        update={"conditions": conditions(study, _Held(reason, message), now)}
    )


def conditions(study: Study, verdict: Standing, now: int) -> list[Condition]:
    """The four conditions of kstatus, always all of them, in one order."""
    truth = {
        "Complete": verdict.state == "Complete",
        "Failed": verdict.state == "Failed",
        "Reconciling": verdict.state in {"Active", "Ending"},
        "Stalled": verdict.state in {"Held", "Suspended", "Failed"},
    }
    known = {c.type: c for c in study.status.conditions} if study.status else {}
    reason, message, generation = verdict.reason, verdict.message, study.metadata.generation
    return [
        condition(known.get(kind), kind, on, reason, message, generation, now) for kind, on in truth.items()
    ]


def condition(
    known: Condition | None, kind: str, on: bool, reason: str, message: str, generation: int, now: int
) -> Condition:
    """The condition `kind`; its time is that of the `known` one unless it has turned.

    Others may have written a part of the message, and people print it on their terminals.
    """
    status: Literal["True", "False"] = "True" if on else "False"
    message = message[:1024] if message.isprintable() else plain(message, 1024)
    if known is not None and known.status == status:
        stands = (known.reason, known.message, known.observed_generation)
        if stands == (reason, message, generation):
            return known
    return Condition(
        type=kind,
        status=status,
        reason=reason,
        message=message,
        last_transition_time=known.last_transition_time
        if known is not None and known.status == status
        else rfc3339(now),
        observed_generation=generation,
    )
