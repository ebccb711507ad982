"""One study as a pass sees it: its trials, what they have done, and what of it cannot be read."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from comptroller.ledger.books import Attempt
from comptroller.plan import trials
from comptroller.plan.trials import Progress
from comptroller.search import Observation, Problem
from comptroller.world import Refused, Run, World
from comptroller_api.study import Study
from comptroller_api.trial import Trial


@dataclass(frozen=True, slots=True)
class StudyView:
    """The facts that every decision on a study rests on. Made by `view`; nothing changes it."""

    world: World
    study: Study
    trials: tuple[Trial, ...]
    """All that are not being deleted."""
    gone: frozenset[int]
    """The numbers of deleted trials, which are not used again: their attempts are in the books."""
    unread: tuple[Refused, ...]
    """Trials that cannot be read, of this study or of one that cannot be read either."""
    problem: Problem
    """The search, without the trials that are gone."""
    progress: tuple[Progress, ...]
    """The progress of each of `trials`, in their order."""
    observations: tuple[Observation, ...]
    """The observations that the search learns from."""

    @property
    def uid(self) -> str:
        """The study's uid."""
        return self.study.metadata.uid

    @property
    def open(self) -> Iterator[Attempt]:
        """The attempts of its trials that hold money."""
        return (p.open for p in self.progress if p.open is not None)

    def run_of(self, attempt: Attempt) -> Run | None:
        """Return what is seen of an attempt."""
        return self.world.runs.get(attempt.key)

    def without_more_trials(self) -> "StudyView":
        """Return the view of a search that proposes nothing more, so that no trial waits for its results."""
        return replace(self, problem=replace(self.problem, trials=len(self.progress)))


def view(world: World, study: Study) -> StudyView:
    """Return what a pass over `world` knows of `study`."""
    uid = study.metadata.uid
    present = world.trials.get(uid, ())
    own = tuple(trial for trial in present if not trial.metadata.deletion_timestamp)
    unread = tuple(r for r in world.refused if r.kind == "Trial" and r.study in {uid, ""})
    numbers = world.books.numbers(uid) | {trial.spec.number for trial in present}
    gone = frozenset(numbers - {trial.spec.number for trial in own} - {refused.number for refused in unread})
    if any(refused.number is None or not refused.study for refused in unread):
        gone = frozenset()  # each of them may be the one that cannot be read
    declared = Problem.from_spec(study.spec)
    problem = replace(declared, trials=declared.trials - len(gone)) if gone else declared
    progress = tuple(trials.progress(world, study, trial) for trial in own)
    return StudyView(
        world, study, own, gone, unread, problem, progress, trials.observations(progress, problem)
    )
