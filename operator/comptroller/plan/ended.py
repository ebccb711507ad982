"""Runs that have ended, or of which nothing is heard: their books are closed, then they may go."""

from dataclasses import dataclass, field

from comptroller.actions import Action, Bury, Extend, Refresh, Release, Stop
from comptroller.ledger.books import Attempt
from comptroller.ledger.entries import Entry, Start
from comptroller.ledger.names import AttemptKey
from comptroller.plan import settle
from comptroller.plan.enforce import ending
from comptroller.plan.trouble import overdue, recalled
from comptroller.plan.view import StudyView
from comptroller.world import Run, World
from comptroller_api.study import Study

UNCONFIRMED_AFTER = 60
"""Seconds past the end of a lease and its overhead after which a run that nobody hears of is given up."""
_COUNTED_WITHIN = 5
"""Seconds in which a Job controller that is alive counts a pod that is over, and so starts no other."""
_ROUNDED = 1
"""Seconds by which stamps of whole seconds may differ."""
ORPHANS_OVERHEAD = 120
"""Seconds past its lease that a run may take to end where its study, which would say, is gone."""


def close(view: StudyView, overhead: int) -> "Closing":
    """Close the books on what is over, and on attempts whose trial somebody deleted.

    Args:
        view: the study.
        overhead: seconds that a pod may outlive its lease.
    """
    closing = Closing(view.world, overhead)
    known = {trial.spec.number: trial for trial in view.trials}
    for key in sorted(key for key in view.world.runs if key.study == view.uid):
        run, trial = view.world.runs[key], known.get(key.trial)
        closing.settle(run if trial is None else recalled(run, trial))
    for attempt in list(view.world.books.open_attempts(view.uid)):
        if attempt.trial in view.gone:
            closing.abandon(attempt, "its trial is gone", view.study)
        if view.run_of(attempt) is None:
            closing.missing(attempt)
    return closing


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
            return
        self._record_start(attempt, run)
        if run.ended is not None:
            self._settle_ended(attempt, run)
        elif self._never_runs(attempt, run):
            reason = "its Job was deleted before it began"
            self.entries += settle.settle(self.world.books, attempt, run, self._now, "Suspended", reason)
            self.given_up.add(run.key)
        elif self._surely_over(attempt, run) and self._fresh():
            self._give_up(attempt, "nothing was heard of it until its lease was over")
        elif attempt.bound and run.uid is not None and not run.bound:
            self.vanished(attempt)
        elif self._overdue(attempt, run) and self._fresh():
            self.actions += ending(run, overdue=True)

    def _settle_ended(self, attempt: Attempt, run: Run) -> None:
        if run.unexplained or self._may_go_on(run):
            return
        guessed = run.unseen or (run.started is not None and run.scheduled is None)
        if guessed and not self._fresh():
            return  # only a fresh read proves that a pod never had a node, or that it is gone
        if run.scheduled is None and attempt.bound:
            self.vanished(attempt)  # a pod was on a node, and somebody has taken it away
            return
        # A pod that was taken away may run on for as long as its enforcers take, out of sight.
        latest = settle.outlived(run, self.overhead) if run.unseen else run
        over = settle.bounded(latest, attempt.granted + self.overhead)
        if run.unseen and self._now < (over.ended or 0):
            return
        if attempt.bound and run.scheduled is not None and run.scheduled > attempt.bound + _ROUNDED:
            if not self._fresh():
                return
            # The pod that was seen first is gone, and this is another: nobody knows how long the first ran.
            over = settle.whole(over, attempt.bound, attempt.granted + self.overhead)
        end, reason = settle.classify(run)
        ended = self._now if over.ended is None else over.ended
        self.entries += settle.settle(self.world.books, attempt, over, ended, end, reason)
        self.given_up.add(run.key)

    def _may_go_on(self, run: Run) -> bool:
        """Return whether a Job may start another pod; it is stopped before the books are closed."""
        if run.tombstone or not (run.unfinished or run.paused or run.uncounted):
            return False
        waited = not 0 <= self._now - (run.ended or 0) < _COUNTED_WITHIN
        if run.deadline == 1:
            return run.unfinished and not waited
        if waited:
            self.actions.append(Extend(run.name, 1, run.uid))
        return True

    def missing(self, attempt: Attempt) -> None:
        """Decide on an attempt whose Job is not seen; one that has not started may still be launched."""
        key = attempt.key
        if attempt.bound:
            self.vanished(attempt)
        elif (removed := self.world.removed.get(key)) is not None:
            self.entries.append(_start(attempt, removed.job, removed.at))
        elif (why := self.world.taken.get(key)) is not None and self._fresh():
            nothing = Run(key, attempt.name, 0, 0, started=None, ended=self._now)
            self.entries += settle.settle(self.world.books, attempt, nothing, self._now, "Suspended", why)
            self.given_up.add(key)

    def vanished(self, attempt: Attempt) -> None:
        """Bill an attempt whose Job and pods somebody took away to the end of its lease, once that is over.

        It is never launched again: nobody can say that it does not run any more.
        """
        if self._fresh() and self._now > attempt.bound + attempt.granted + self.overhead + UNCONFIRMED_AFTER:
            self._give_up(attempt, "its Job or its pods were taken away before they were seen to end")

    def _give_up(self, attempt: Attempt, reason: str) -> None:
        self.entries += settle.settle_unconfirmed(attempt, reason, self._now, self.overhead)
        self.given_up.add(attempt.key)

    def _record_start(self, attempt: Attempt, run: Run) -> None:
        """Note that the attempt has reached a node, unless its books are closed in this very pass."""
        if run.uid is None or run.scheduled is None or attempt.bound or run.ended is not None:
            return
        self.entries.append(_start(attempt, run.uid, run.scheduled))

    def abandon(self, attempt: Attempt, reason: str, owner: Study | None) -> None:
        """End an attempt that nobody would launch or go on with: its study or its trial is gone.

        What is not there may be on its way, by another operator: so its name is taken first.
        """
        key = attempt.key
        run = self.world.runs.get(key)
        if run is None:
            unknown = key not in self.world.taken and key not in self.world.removed
            if not attempt.bound and unknown and self._fresh():
                self.actions.append(Bury(key, attempt.name, reason, owner))
        elif run.ended is None and run.stop is None and run.key not in self.given_up and self._fresh():
            self.actions.append(Stop(run.name, "Suspended", reason, run.uid))

    def _close_stray(self, run: Run) -> None:
        """Stop what runs without a lease, bill what was never billed, and let go of what is over."""
        attempts = self.world.books.attempts(run.key.study, run.key.trial)
        closed = attempts[run.key.attempt] if run.key.attempt < len(attempts) else None
        granted = closed.granted if closed is not None else run.deadline
        if run.ended is not None and closed is not None:
            over = settle.bounded(run, granted + self.overhead)
            # What a Job's counts let one guess was known when the books were closed.
            if not run.unseen and (found := settle.adjustment(self.world.books, closed, over)) is not None:
                self.entries.append(found)
                return  # once that is durable, it may go
        over_for_good = (
            run.ended is not None
            or run.deleted_unstarted
            or (closed is not None and run.paused and not run.live)  # a Job that waits for nothing
            or self._surely_over_after(granted, run)
        )
        if over_for_good:
            if not run.released:
                self.actions.append(Release(run.name, run.uid))
        elif run.stop is None:
            self.actions.append(Stop(run.name, "Suspended", "no lease is held for it", run.uid))
        else:
            late = self._now > (closed.ended if closed is not None else 0) + self.overhead
            self.actions += ending(run, overdue=late)

    @property
    def _now(self) -> int:
        return self.world.now if self.world.server_now is None else self.world.server_now

    def _fresh(self) -> bool:
        """Return whether a run that is not seen does not exist; if that is not known, look again first."""
        if not self.world.fresh and not any(isinstance(action, Refresh) for action in self.actions):
            self.actions.append(Refresh())
        return self.world.fresh

    def _overdue(self, attempt: Attempt, run: Run) -> bool:
        """Return whether a pod that is seen to run should have been ended by all others."""
        if run.unreachable or run.pod_deadline <= 1:
            return False
        return overdue(attempt, run, self.overhead, self._now) is not None

    def _never_runs(self, attempt: Attempt, run: Run) -> bool:
        return run.deleted_unstarted and not attempt.bound

    def _surely_over(self, attempt: Attempt, run: Run) -> bool:
        return self._surely_over_after(attempt.granted, run)

    def _surely_over_after(self, granted: int, run: Run) -> bool:
        """Return whether its enforcers must have ended it, though nobody reports so; such as on a lost node.

        Time alone ends nothing whose kubelet still reports. A pod without a node may still get one: it costs
        nothing, and is waited for.
        """
        if run.started is None or run.scheduled is None or not run.unreachable:
            return False
        latest = max(start for start, _ in run.billed(self._now))
        return self._now > latest + granted + self.overhead + UNCONFIRMED_AFTER


def _start(attempt: Attempt, job: str, at: int) -> Start:
    return Start(study=attempt.study, trial=attempt.trial, attempt=attempt.number, job=job, at=at)
