"""Runs that have ended, or of which nothing is heard: their books are closed, then they may go."""

from dataclasses import dataclass, field

from comptroller.actions import Action, Bury, Refresh, Release, Stop
from comptroller.ledger.books import Attempt
from comptroller.ledger.entries import Entry
from comptroller.plan import settle
from comptroller.world import AttemptKey, Run, World
from comptroller_api.study import Study

UNCONFIRMED_AFTER = 60
"""Seconds past the end of a lease and its overhead after which a run that nobody hears of is given up."""
ORPHANS_OVERHEAD = 120
"""Seconds past its lease that a run may take to end where its study, which would say, is gone."""


@dataclass
class Closing:
    """The runs and attempts of one study, or of studies that are gone."""

    world: World
    overhead: int
    """Seconds that a pod may outlive its lease: the grace period and the slack of the enforcers."""
    entries: list[Entry] = field(default_factory=list)
    actions: list[Action] = field(default_factory=list)
    given_up: set[AttemptKey] = field(default_factory=set)

    def settle(self, run: Run) -> None:
        """Close the books on a run that is over; one that they do not know must not run, and may go."""
        attempt = self.world.books.open.get(run.key)
        if attempt is None:
            self._close_stray(run)
        elif run.ended is not None:
            guessed = run.unseen or (run.started is not None and run.scheduled is None)
            if guessed and not self._fresh():
                return  # only a fresh read proves that a pod never had a node, or that it is gone
            end, reason = settle.classify(run)
            self.entries += settle.settle(self.world.books, attempt, run, run.ended, end, reason)
        elif self._never_runs(run):
            reason = "its Job was deleted before it began"
            self.entries += settle.settle(self.world.books, attempt, run, self._now, "Suspended", reason)
            self.given_up.add(run.key)
        elif self._surely_over(run, attempt.granted) and self._fresh():
            reason = "nothing was heard of it until its lease was over"
            self.entries += settle.settle_unconfirmed(attempt, reason, self._now)
            self.given_up.add(run.key)

    def abandon(self, attempt: Attempt, reason: str, owner: Study | None) -> None:
        """End an attempt that nobody would launch or go on with: its study or its trial is gone.

        What is not there may be on its way, by another operator: so its name is taken first.
        """
        key = (attempt.study, attempt.trial, attempt.number)
        run = self.world.runs.get(key)
        if run is None:
            if self._fresh():
                self.actions.append(Bury(key, attempt.name, reason, owner))
        elif run.ended is None and run.stop is None and run.key not in self.given_up and self._fresh():
            self.actions.append(Stop(run.name, "Suspended", reason))

    def _close_stray(self, run: Run) -> None:
        attempts = self.world.books.attempts(run.key[0], run.key[1])
        granted = attempts[run.key[2]].granted if run.key[2] < len(attempts) else run.deadline
        over = run.ended is not None or self._never_runs(run) or self._surely_over(run, granted)
        if over and not run.released:
            self.actions.append(Release(run.name))
        elif not over and run.stop is None:
            self.actions.append(Stop(run.name, "Suspended", "no lease is held for it"))

    @property
    def _now(self) -> int:
        return self.world.now if self.world.server_now is None else self.world.server_now

    def _fresh(self) -> bool:
        """Whether what is not seen is not there; where that is not known, look again first."""
        if not self.world.fresh and not any(isinstance(action, Refresh) for action in self.actions):
            self.actions.append(Refresh())
        return self.world.fresh

    def _never_runs(self, run: Run) -> bool:
        return run.deleted and run.started is None and run.scheduled is None

    def _surely_over(self, run: Run, granted: int) -> bool:
        """Whether its enforcers must have ended it, though nobody says so; such as on a lost node.

        A pod without a node may still get one: it costs nothing, and is waited for.
        """
        if run.started is None or run.scheduled is None:
            return False
        latest = max(start for start, _ in run.billed(self._now))
        return self._now > latest + granted + self.overhead + UNCONFIRMED_AFTER
