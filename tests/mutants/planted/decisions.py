"""Mistakes in what is decided, of another kind than money: who runs, who is stopped, and what people read."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from comptroller import plan
from comptroller.actions import Append
from comptroller.plan import (
    baseline,
    conclusion,
    ended,
    enforce,
    launching,
    namespace,
    recording,
    running,
    settle,
    shedding,
    standing,
    steps,
    study,
    trials,
    trouble,
    verdict,
)
from comptroller.plan.conclusion import Conclusion
from comptroller.plan.verdict import Verdict
from comptroller.search import halving, ranking
from comptroller.world import trial_prefix
from comptroller_api.trial import COUNTED_ENDS
from mutants.planted.registry import Patch, decision


@decision("PeriodEnding: a lease that would cross the end of a period waits for the next one")
def the_end_of_a_period_is_called_a_lack_of_money(patch: Patch) -> None:
    """A study that waits for the next period says that its budget is exhausted."""
    conclude = conclusion.conclude

    def wrong(*args: Any) -> Conclusion:
        found = conclude(*args)
        if found.verdict.reason != "PeriodEnding":
            return found
        return replace(found, verdict=replace(found.verdict, reason="BudgetExhausted"))

    patch.setattr(study, "conclude", wrong)


@decision("ApprovalRequired: a ceiling above a budgets limit waits for approval and says how")
def an_approval_is_wanted_and_nobody_reads_how(patch: Patch) -> None:
    """The message of a study that waits for approval does not have the command that gives it."""
    unapproved = verdict._unapproved

    def mute(*args: Any) -> Verdict | None:
        found = unapproved(*args)
        return found and replace(found, message=found.message.partition(": comptroller")[0])

    patch.setattr(verdict, "_unapproved", mute)


@decision("StalePrice: a price over its age holds")
def a_held_study_does_not_say_so(patch: Patch) -> None:
    """The status of a study that stands still is not recorded."""
    record = recording.record_study

    def silent(view: Any, steps: Any, found: Verdict) -> Iterator[Any]:
        return iter(()) if found.state == "Held" else record(view, steps, found)

    patch.setattr(recording, "record_study", silent)


@decision("Suspended: a study that says so is suspended")
def a_suspended_study_launches(patch: Patch) -> None:
    """`spec.suspend` is not looked at."""
    declared = verdict.declared

    def blind(*args: Any) -> Verdict:
        found = declared(*args)
        return Verdict("Active", "Running", "trials are running") if found.state == "Suspended" else found

    patch.setattr(standing, "declared", blind)


@decision("trials that wait are leased by their number")
def the_last_trial_is_leased_first(patch: Patch) -> None:
    """The trial with the highest number gets the slot that several trials wait for."""
    patch.setattr(trials.Progress, "idle_stops", property(lambda p: -p.number))


@decision("a trial that was idle is leased after those that were not")
def an_idle_trial_is_leased_first(patch: Patch) -> None:
    """A trial that was suspended for low utilization goes before the others."""
    stops = vars(trials.Progress)["idle_stops"]
    patch.setattr(trials.Progress, "idle_stops", property(lambda p: -stops.fget(p)))


@decision("the older study has what room a budget has")
def the_younger_study_is_served_first(patch: Patch) -> None:
    """Studies are planned in the opposite order of their age."""

    def backwards(items: Any, key: Any = None) -> list[Any]:
        return sorted(items, key=key, reverse=key is not None)

    patch.setattr(namespace, "sorted", backwards, raising=False)


@decision("a launch need not wait for a lease of another trial")
def entries_come_last(patch: Patch) -> None:
    """A pass acts, and appends to the books afterwards."""
    first = plan.plan
    patch.setattr(plan, "plan", lambda world: sorted(first(world), key=lambda one: isinstance(one, Append)))


@decision("a slot that a trial freed is used")
def a_slot_is_lost(patch: Patch) -> None:
    """One trial fewer is created than there is a slot for."""
    created = launching._created
    patch.setattr(launching, "_created", lambda view, terms, slots: created(view, terms, slots - 1))


@decision("the baseline runs alone until it has a result")
def the_baseline_has_company(patch: Patch) -> None:
    """Other trials do not wait for the first result."""
    patch.setattr(baseline, "proven", lambda *_: True)


@decision("the number of a deleted trial is spent")
def a_deleted_trial_is_created_again(patch: Patch) -> None:
    """The number of a trial that somebody deleted is free."""
    created = launching._created

    def again(view: Any, *args: Any) -> Iterator[Any]:
        return created(replace(view, gone=frozenset()), *args)

    patch.setattr(launching, "_created", again)


@decision("one attempt finds out whether trouble is over")
def all_find_out_whether_trouble_is_over(patch: Patch) -> None:
    """After trouble that all trials share, as many are launched as there are slots."""
    begin = launching.begin

    def all_at_once(view: Any, terms: Any, steps: Any, found: Verdict) -> Any:
        return begin(view, terms, steps, replace(found, probing=False))

    patch.setattr(study, "begin", all_at_once)


@decision("the best of three continues")
def a_promotion_is_forgotten(patch: Patch) -> None:
    """A trial that is promoted waits on."""
    decide = halving.decide

    def forgetful(*args: Any) -> dict[int, halving.Decision]:
        found = decide(*args)
        return {n: replace(d, verdict="Wait") if d.verdict == "Promote" else d for n, d in found.items()}

    patch.setattr(steps, "decide", forgetful)


@decision("the others of three are pruned")
def the_best_is_pruned(patch: Patch) -> None:
    """Trials of a rung are ranked from the worst on."""
    in_order = ranking.ranking
    patch.setattr(halving, "ranking", lambda *args: in_order(*args)[::-1])


@decision("a resumed trial continues from its own checkpoint")
def a_trial_is_resumed_from_the_baselines_checkpoint(patch: Patch) -> None:
    """Every attempt is launched with the place of trial 0."""
    patch.setattr(running, "trial_prefix", lambda one, _: trial_prefix(one, 0))


@decision("preemptions are no failures")
def preemptions_count_as_failures(patch: Patch) -> None:
    """A trial that is preempted too often has failed."""
    patch.setattr(trials, "COUNTED_ENDS", COUNTED_ENDS | {"Preempted"})


@decision("each attempt in vain doubles the pause")
def no_pause_grows(patch: Patch) -> None:
    """An attempt that could not start is repeated after 20 s, however often."""
    for module in (trials, trouble):
        patch.setattr(module, "pause", lambda p: 20 if trials.in_vain(p.attempts[-1]) else 0)


@decision("the younger of two trials without a result is stopped")
def a_lowered_ceiling_stops_nothing(patch: Patch) -> None:
    """A run is not stopped for a ceiling that fell under what it holds."""
    why = running._why_stop

    def unlowered(view: Any, terms: Any, found: Verdict, attempt: Any, run: Any, _lowered: str | None) -> Any:
        return why(view, terms, found, attempt, run, None)

    patch.setattr(running, "_why_stop", unlowered)


@decision("of trials with as many rungs the worse is stopped")
def a_lowered_ceiling_stops_the_best(patch: Patch) -> None:
    """The most valuable trial is stopped first."""
    worth = shedding._worth

    def turned(*args: Any) -> Any:
        (rungs, place, age), *rest = worth(*args)
        return ((-rungs, -place, age), *rest)

    patch.setattr(shedding, "_worth", turned)


@decision("a paused run is stopped for good")
def a_paused_run_is_left_paused(patch: Patch) -> None:
    """A Job that a queue has suspended is no intrusion."""
    intrusion = enforce.intrusion
    patch.setattr(running, "intrusion", lambda attempt, run: intrusion(attempt, replace(run, paused=False)))


def _settled_as(patch: Patch, **fields: Any) -> None:
    """Plant that a run that is over is settled as if it had these fields."""
    close = ended.Closing._settle_ended
    patch.setattr(
        ended.Closing,
        "_settle_ended",
        lambda self, attempt, run: close(self, attempt, replace(run, **fields)),
    )


@decision("a pod that its Job does not count is not settled before its Job can start no other")
def books_close_before_a_job_starts_another_pod(patch: Patch) -> None:
    """An attempt is over with its pod, though its Job starts another in the place of one it did not count."""
    _settled_as(patch, uncounted=False)


@decision("a Job that may still start another pod is ended")
def books_close_while_a_job_starts_another_pod(patch: Patch) -> None:
    """An attempt is over with its pod, though its Job starts another after one that failed."""
    _settled_as(patch, unfinished=False)


@decision(
    "a pod that nobody saw and that was replaced is billed with its enforcers time, the other as it ran"
)
def a_replaced_pod_is_billed_to_the_next_one(patch: Patch) -> None:
    """A pod that was taken away ended when the next one was made."""
    outlived = settle.outlived
    patch.setattr(settle, "outlived", lambda run, seconds: outlived(run, seconds) if run.nowhere else run)


@decision("a deadline is raised to what the books grant before the guard is")
def the_guard_is_granted_first(patch: Patch) -> None:
    """A grant is raised in the pass that raises the Job's deadline."""

    def at_once(attempt: Any, run: Any) -> Iterator[Any]:
        yield from enforce.kept(attempt, replace(run, deadline=attempt.granted))
        yield from enforce.kept(attempt, replace(run, granted=attempt.granted, most_granted=None))

    patch.setattr(running, "kept", at_once)


@decision("a run that lost its labels is looked at again, since watches bring nothing new of it")
def what_watches_leave_out_is_believed(patch: Patch) -> None:
    """A run without its labels is taken for what it was when watches last brought it."""
    patch.setattr(namespace, "_unsure", lambda world: world.doubtful)


@decision("nothing is given up by what watches brought some time ago")
def a_refresh_is_forgotten(patch: Patch) -> None:
    """A decision that needs a fresh read waits for one that nobody requests."""
    patch.setattr(ended.Closing, "_fresh", lambda self: self.world.fresh)


@decision("NoTrialSucceeded: a ceiling that is reached before a success fails the study")
def a_study_without_a_success_is_complete(patch: Patch) -> None:
    """However its trials ended, a study that stops is complete."""
    patch.setattr(conclusion, "concluded", lambda reason, message, *_: Verdict("Complete", reason, message))


@decision("a study that ended at its ceiling continues once its spec is edited")
def a_raised_ceiling_reopens_nothing(patch: Patch) -> None:
    """A study that has ended stays so, whatever becomes of its spec."""
    patch.setattr(standing, "reopened", lambda _: False)


@decision("a Job that ended without a pod is not settled while its events cannot be read")
def what_was_not_read_says_nothing(patch: Patch) -> None:
    """A Job whose events could not be read never had a pod."""
    close = ended.Closing._settle_ended
    patch.setattr(
        ended.Closing,
        "_settle_ended",
        lambda self, attempt, run: close(self, attempt, replace(run, unexplained=False)),
    )


@decision("a Job that may start another pod is given time to count the one that is over")
def a_job_is_ended_before_it_counts_its_pod(patch: Patch) -> None:
    """A Job whose pod is over is ended at once, so that its own end is not known."""
    patch.setattr(ended, "_COUNTED_WITHIN", 0)
