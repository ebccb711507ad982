"""The choice of attempts to stop when a ceiling falls under the held amount: the least valuable first."""

from collections.abc import Iterable, Mapping
from typing import TypeAlias

from comptroller.ledger.accounts import AccountName
from comptroller.ledger.books import Account, Attempt, Books
from comptroller.ledger.names import AttemptKey, TrialKey
from comptroller.plan.settle import cost_so_far
from comptroller.search import Problem
from comptroller.search.ranking import ranking, unmeasured
from comptroller.world import Run, World
from comptroller_api.study import Study
from comptroller_api.trial import Trial

Value: TypeAlias = tuple[float, float, int]
"""Share of the rungs done, standing among the trials that did as many, and the older first."""


def shed(world: World) -> dict[AttemptKey, AccountName]:
    """The attempts to stop, each with the account that is over its ceiling.

    What an attempt that stops has used is spent; what it holds beyond that comes back. Attempts that end
    already are counted first, so that asking again stops no more.
    """
    over = {
        name: excess for name, account in world.books.accounts.items() if (excess := _excess(account)) > 0
    }
    if not over:
        return {}
    counted = {key: names for key, a in world.books.open.items() if (names := _counted(world, a, over))}
    affected = [world.books.open[key] for key in counted]
    stopping = [a for a in affected if _ends(world.runs.get(a.key))]
    values = _values(world)
    victims: dict[AttemptKey, AccountName] = {}
    for attempt in stopping:
        _give_back(attempt, counted, over, world)
    for attempt in sorted((a for a in affected if a not in stopping), key=lambda a: _worth(a, values)):
        account = next((name for name in counted[attempt.key] if over[name] > 0), None)
        if account is not None:
            victims[attempt.key] = account
            _give_back(attempt, counted, over, world)
    return victims


def _excess(account: Account) -> int:
    # What others hold is counted in the period that replaced this one, and is not known here any more.
    pending = 0 if account.current else account.pending
    return account.spent + account.held - account.limit - pending


def _counted(world: World, attempt: Attempt, over: Iterable[AccountName]) -> list[AccountName]:
    """Return those of `over` in which the attempt counts: it holds on them, or is carried to them."""
    return [name for name in over if name in attempt.accounts or _is_carried(world.books, attempt, name)]


def _is_carried(books: Books, attempt: Attempt, name: AccountName) -> bool:
    account = books.accounts[name]
    if not account.current or not account.pending:
        return False
    return any(
        other.family == name.family and books.accounts[other].overlaps(account.starts, account.ends)
        for other in attempt.accounts
    )


def _ends(run: Run | None) -> bool:
    return run is not None and (run.stop is not None or run.ended is not None or run.deleted)


def _give_back(
    attempt: Attempt,
    counted: Mapping[AttemptKey, list[AccountName]],
    over: dict[AccountName, int],
    world: World,
) -> None:
    run = world.runs.get(attempt.key)
    used = cost_so_far(world.books, attempt, run, world.now) if run else 0
    for name in counted[attempt.key]:
        over[name] -= max(0, attempt.held - used)


def _worth(attempt: Attempt, values: Mapping[TrialKey, Value]) -> tuple[Value, str, int]:
    return (
        values.get(attempt.key.of_trial, (0.0, 0.0, -attempt.trial)),
        attempt.study,
        -attempt.trial,
    )


def _values(world: World) -> dict[TrialKey, Value]:
    found: dict[TrialKey, Value] = {}
    for study in world.studies:
        found |= _values_of(study, world.trials.get(study.metadata.uid, ()))
    return found


def _values_of(study: Study, trials: Iterable[Trial]) -> dict[TrialKey, Value]:
    problem, by_rungs = Problem.from_spec(study.spec), dict[int, dict[int, Mapping[str, float]]]()
    for trial in trials:
        rungs = trial.status.rungs if trial.status else []
        metrics = rungs[-1].metrics if rungs else {}
        by_rungs.setdefault(len(rungs), {})[trial.spec.number] = metrics
    found: dict[TrialKey, Value] = {}
    for done, results in by_rungs.items():
        measured = {n: metrics for n, metrics in results.items() if not unmeasured(problem, metrics)}
        place = {number: i for i, number in enumerate(ranking(problem, measured))}
        for number in results:
            standing = 1 - place.get(number, len(results)) / len(results)
            found[study.metadata.uid, number] = (done / len(problem.epochs), standing, -number)
    return found
