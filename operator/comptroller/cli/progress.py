"""Print a line for each event as it happens: attempts that begin and end, rungs, outcomes."""

from collections.abc import Callable

from comptroller.cli.tables import figure, parameters, standing
from comptroller.ledger.books import Attempt
from comptroller.search import Problem
from comptroller.world import World
from comptroller_api.money import to_amount
from comptroller_api.study import Study
from comptroller_api.trial import Trial


class Progress:
    """Prints what is new in a world since the previous one."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        """Print each line with `tell`."""
        self._tell = tell
        self._printed: set[tuple[object, ...]] = set()
        self._resumed = True

    def show(self, world: World) -> None:
        """Print what is new; nothing in the first world is."""
        for study in world.studies:
            for trial in world.trials.get(study.metadata.uid, ()):
                self._trial(world, study, trial)
            word, why = standing(study)
            if word != "Pending":
                self._once(f"study {study.metadata.name}: {word}: {why}", study.metadata.uid, word, why)
        self._resumed = False

    def _trial(self, world: World, study: Study, trial: Trial) -> None:
        uid, number = study.metadata.uid, trial.spec.number
        self._once(f"trial {number} ({trial.spec.proposal.phase}): {parameters(trial)}", uid, number)
        for attempt in world.books.attempts(uid, number):
            run = world.runs.get(attempt.key)
            if run is not None and run.scheduled is not None:
                self._once(f"trial {number}: {_start(study, attempt)}", uid, number, attempt.number)
            for lease in range(1, len(attempt.leases)):
                renewed = f"trial {number}: lease renewed for {attempt.leases[lease].seconds}s"
                self._once(renewed, uid, number, attempt.number, "lease", lease)
            if not attempt.open:
                self._once(f"trial {number}: {_end(study, attempt)}", uid, number, attempt.number, "end")
        if trial.status is None:
            return
        for rung in trial.status.rungs:
            known = (name for name in Problem.from_spec(study.spec).deciding if name in rung.metrics)
            figures = ", ".join(f"{name} {figure(rung.metrics[name])}" for name in known)
            self._once(
                f"trial {number}: after {rung.epochs} epochs {figures}", uid, number, "rung", rung.rung
            )
        if trial.status.outcome is not None:
            why = f": {trial.status.reason}" if trial.status.reason else ""
            self._once(f"trial {number}: {trial.status.outcome}{why}", uid, number, "outcome")

    def _once(self, line: str, *key: object) -> None:
        if key not in self._printed:
            self._printed.add(key)
            if not self._resumed:
                self._tell(line)


def _start(study: Study, attempt: Attempt) -> str:
    held = f"{to_amount(attempt.held)} {study.spec.ceilings.spend.currency}"
    epochs = study.spec.search.rungs.epochs[attempt.rung]
    again = "" if attempt.number == 0 else f" (attempt {attempt.number})"
    return f"started towards epoch {epochs}{again}, {held} held for {attempt.granted}s"


def _end(study: Study, attempt: Attempt) -> str:
    why = f" ({attempt.reason})" if attempt.reason else ""
    spent = f"{to_amount(attempt.spent)} {study.spec.ceilings.spend.currency}"
    return f"{attempt.end}{why} after {attempt.seconds}s, {spent} spent"
