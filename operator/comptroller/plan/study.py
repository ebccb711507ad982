"""One study's part of a pass: settle, renew, launch, stop, propose."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from comptroller.actions import (
    Action,
    Bury,
    CreateTrial,
    Introduce,
    Launch,
    Protect,
    RecordStudy,
    RecordTrial,
    Stop,
    Unprotect,
)
from comptroller.ledger.books import Attempt
from comptroller.ledger.entries import Entry
from comptroller.ledger.names import budget_of, trial_name
from comptroller.plan import baseline, places, trials, trouble
from comptroller.plan.accounts import study_account
from comptroller.plan.conclusion import concluded, too_many_failed
from comptroller.plan.ended import Closing
from comptroller.plan.enforce import ending, intrusion, kept
from comptroller.plan.leases import PERIOD, Leases, silent
from comptroller.plan.membership import covering
from comptroller.plan.risk import likely
from comptroller.plan.trials import Progress, Step
from comptroller.plan.verdict import (
    BUDGET_EXHAUSTED,
    CEILING_REACHED,
    NO_TRIAL_SUCCEEDED,
    Verdict,
    reopened,
    settled_verdict,
    standing,
)
from comptroller.pricing import PriceBook
from comptroller.search import Observation, Problem
from comptroller.search.halving import decide
from comptroller.search.propose import propose
from comptroller.status import study_status
from comptroller.world import AttemptKey, Refused, Run, World, trial_prefix
from comptroller_api import quantity
from comptroller_api.contract import Assignment
from comptroller_api.meta import FINALIZER, Metadata
from comptroller_api.money import to_amount
from comptroller_api.study import Latency, Study
from comptroller_api.trial import End, Trial, TrialSpec
from comptroller_api.trial import Proposal as TrialProposal

_OF_ALL_TRIALS = ("trials", "progress", "best", "best_trial", "front")
"""Parts of a study's status that are folded from all of its trials."""


@dataclass
class StudyPass:
    """The pass over one study. `room` is shared by the studies of a namespace, since budgets are."""

    world: World
    study: Study
    prices: PriceBook
    room: dict[str, int]
    shed: Mapping[AttemptKey, str] = field(default_factory=dict)
    """Attempts to stop, each with the account whose ceiling fell under what it holds."""
    entries: list[Entry] = field(default_factory=list)
    actions: list[Action] = field(default_factory=list)
    probing: bool = False
    """The latest attempts could not begin or reach their storage: one finds out whether others can."""
    blocked: set[str] = field(default_factory=set)
    """Accounts without room for a lease that was wanted."""

    def __post_init__(self) -> None:
        self.uid = self.study.metadata.uid
        self.leases = Leases(self.world, self.study, self.prices, self.room)
        present = self.world.trials.get(self.uid, ())
        self.trials = [trial for trial in present if not trial.metadata.deletion_timestamp]
        # A deleted trial's number is spent: its attempts are in the books, under its parameters.
        known = self.world.books.numbers(self.uid) | {trial.spec.number for trial in present}
        self.gone = known - {trial.spec.number for trial in self.trials}
        self.unread = [r for r in self.world.refused if r.kind == "Trial" and r.study in {self.uid, ""}]
        if any(refused.number is None or not refused.study for refused in self.unread):
            self.gone = set()  # each of them may be the one that cannot be read
        self.gone -= {refused.number for refused in self.unread}
        problem = Problem.from_spec(self.study.spec)
        self.problem = replace(problem, trials=problem.trials - len(self.gone)) if self.gone else problem
        self.seen: tuple[Observation, ...] = ()

    def run(self) -> None:
        """Fill `entries` and `actions`."""
        if FINALIZER not in self.study.metadata.finalizers and not self.study.metadata.deletion_timestamp:
            self.actions.append(Protect(self.study))
            return
        given_up = self._close().given_up
        everything = [trials.progress(self.world, self.study, trial) for trial in self.trials]
        self.seen = trials.observations(everything, self.problem)
        verdict = self._verdict(everything)
        steps = self._steps(everything, verdict)
        if (failing := self._failing(everything, steps, verdict)) is not None:
            verdict = failing
            steps = self._steps(everything, verdict)
        unlikely = self._unlikely(everything, steps) if verdict.state == "Active" else None
        if unlikely is not None:
            # No more results come, so those that wait for some are decided now.
            self.problem = replace(self.problem, trials=len(everything))
            steps = self._steps(everything, verdict)
        verdict = self._conclude(everything, steps, verdict, unlikely)
        if verdict.state == "Active":
            if (price := self.leases.missing_price()) is not None:
                self.entries.append(price)
            self._launch(everything, steps)
        for p in everything:
            if p.open is not None and (self.uid, p.number, p.open.number) not in given_up:
                self._steer(p, p.open, verdict, wanted=verdict.state in {"Active", "Held"})
            self._record_trial(p, steps[p.number])
        self._record_study(everything, steps, verdict)

    # -- what has ended ------------------------------------------------------------------------------------

    def _close(self) -> Closing:
        """Close the books on what is over, and on attempts whose trial somebody deleted."""
        closing = Closing(self.world, self.leases.overhead)
        known = {trial.spec.number: trial for trial in self.trials}
        for key in sorted(key for key in self.world.runs if key[0] == self.uid):
            run, trial = self.world.runs[key], known.get(key[1])
            closing.settle(run if trial is None else trouble.recalled(run, trial))
        for attempt in list(self.world.books.open_attempts(self.uid)):
            if attempt.trial in self.gone:
                closing.abandon(attempt, "its trial is gone", self.study)
            if (self.uid, attempt.trial, attempt.number) not in self.world.runs:
                closing.missing(attempt)
        self.entries += closing.entries
        self.actions += closing.actions
        return closing

    # -- where the study stands ----------------------------------------------------------------------------

    def _verdict(self, everything: list[Progress]) -> Verdict:
        """The verdict that stands, or a new one where an ended study may go on under its changed spec."""
        settled = settled_verdict(self.study)
        if settled is not None and not reopened(self.study):
            return settled
        now = self._standing(everything)
        return (
            now if settled is None or now.state in {"Active", "Held"} or now.reason == "Deleted" else settled
        )

    def _standing(self, everything: list[Progress]) -> Verdict:
        verdict = standing(self.world, self.study, self.leases.quote, covering(self.world, self.study))
        if verdict.state == "Active" and (away := self.world.unreachable.get(self.uid)) is not None:
            return Verdict("Held", away.reason, away.message)
        unread = next((p for p in everything if p.unread and p.outcome is None), None)
        if verdict.state == "Active" and unread is not None:
            message = (
                f"the report of trial {unread.number} cannot be read from {self.study.spec.artifacts.uri}"
            )
            return Verdict("Held", "ArtifactsUnavailable", message)
        if (
            verdict.state == "Active"
            and (held := trouble.trouble(everything, self.world.runs, self.world.now)) is not None
        ):
            self.probing = True
            if self.world.now < held.until:
                return Verdict("Held", held.reason, held.message)
        if verdict.state == "Active" and (why := trouble.waiting(everything, self.world.runs)) is not None:
            verdict = Verdict("Active", *why)
        if self.unread and verdict.reason != "Deleted":
            return self._unreadable(self.unread[0])
        return verdict

    def _unreadable(self, refused: Refused) -> Verdict:
        """What runs may run to the end of its lease; nothing is built on a trial that cannot be read."""
        reason = "WrittenByNewerRelease" if refused.newer else "TrialRefused"
        message = f"Trial {refused.name} cannot be read: {refused.why}"
        return Verdict("Held", reason, message)

    def _failing(
        self, everything: list[Progress], steps: dict[int, Step], verdict: Verdict
    ) -> Verdict | None:
        """The end of a study whose trials fail: all of them for one reason, or too many."""
        if verdict.final or verdict.reason == "Deleted":
            return None
        if (fault := baseline.shared_fault(self.study, everything, steps)) is not None:
            return Verdict("Ending", NO_TRIAL_SUCCEEDED, fault)
        return too_many_failed(self.study, steps)

    def _steps(self, everything: list[Progress], verdict: Verdict) -> dict[int, Step]:
        """Each trial's next step; a recorded outcome stays."""
        decisions = decide(self.problem, self.seen)
        steps: dict[int, Step] = {}
        for p in everything:
            if p.outcome is not None:
                reason = p.trial.status.reason if p.trial.status else ""
                steps[p.number] = Step(outcome=p.outcome, reason=reason)
            elif p.open is not None:
                steps[p.number] = Step()
            else:
                step = Step() if p.unread else trials.next_step(p, self.study, self.problem, decisions)
                if step.outcome is None and (verdict.state == "Ending" or verdict.final):
                    spent = verdict.reason in {CEILING_REACHED, BUDGET_EXHAUSTED}
                    step = Step(outcome="BudgetStopped" if spent else "Cancelled", reason=verdict.message)
                steps[p.number] = step
        return steps

    def _conclude(  # noqa: PLR0911  (a decision table)
        self, everything: list[Progress], steps: dict[int, Step], verdict: Verdict, unlikely: str | None
    ) -> Verdict:
        """Stop at the ceiling, and end the study once nothing of it can change."""
        if verdict.final or any(p.open is not None for p in everything):
            return verdict
        unended = [p for p in everything if steps[p.number].outcome is None]
        if verdict.state == "Ending" and verdict.reason != "Deleted":
            return concluded(verdict.reason, verdict.message, everything, steps)
        if verdict.state != "Active":
            return verdict
        if not unended and unlikely is not None:
            return self._without_money(self.leases.tightest, everything, [], steps, unlikely)
        if not unended and (len(everything) >= self.problem.trials or self._exhausted()):
            return concluded("TrialsDone", f"{len(everything)} trials have ended", everything, steps)
        blocked = self.leases.fit().blocked
        if blocked is None:
            return verdict
        if blocked == PERIOD:
            return Verdict("Held", "PeriodEnding", "another lease would cross the end of a budget's period")
        return self._without_money(blocked, everything, unended, steps, self.leases.shortage())

    def _without_money(
        self,
        account: str,
        everything: list[Progress],
        unended: list[Progress],
        steps: dict[int, Step],
        why: str,
    ) -> Verdict:
        """A ceiling ends the study; a budget may get more money, and says whether to wait for it."""
        self.blocked.add(account)
        name = budget_of(account)
        amount = self.study.spec.ceilings.spend
        if name is not None:
            message = f"{account.replace('/', ' ', 1)} has {why}"
            budgets = {budget.metadata.name: budget for budget in self.world.budgets}
            if budgets[name].spec.when_exhausted == "Suspend":
                return Verdict("Held", BUDGET_EXHAUSTED, message)
            reason = BUDGET_EXHAUSTED
        else:
            reason = CEILING_REACHED
            message = f"the ceiling of {amount.amount} {amount.currency} leaves {why}"
        for p in unended:
            steps[p.number] = Step(outcome="BudgetStopped", reason=message)
        return concluded(reason, message, everything, steps)

    def _unlikely(self, everything: list[Progress], steps: dict[int, Step]) -> str | None:
        """Why no further trial is begun, though a lease would fit: its first rung is not likely to."""
        busy = any(p.open is not None or steps[p.number].rung is not None for p in everything)
        if busy or len(everything) >= self.problem.trials or self.leases.fit().blocked is not None:
            return None
        hold, risk = self._likely_hold(everything), self.study.spec.search.risk
        if hold is None or risk is None or hold <= self.leases.room:
            return None
        return (
            f"no room for a first rung, which holds {to_amount(hold)} at most with {100 - risk}% probability"
        )

    def _likely_hold(self, everything: list[Progress]) -> int | None:
        """What a further trial's first rung holds at most, at the probability asked for; `None`: not known.

        Its seconds are those of the trials before; its price is the cap, since that is what leases hold.
        """
        risk, runtime = self.study.spec.search.risk, self.study.spec.runtime
        if risk is None:
            return None
        spans = [sum(a.seconds for a in p.attempts if a.rung == 0) for p in everything if p.rungs]
        seconds = likely(spans, 100 - risk)
        if seconds is None:
            return None
        return self.leases.priced.worst(runtime.resources, seconds + self.leases.overhead)

    def _exhausted(self) -> bool:
        seed = self.study.spec.search.seed
        return not propose(self.problem, self.seen, 1, seed, self.gone)

    # -- what may run --------------------------------------------------------------------------------------

    def _launch(self, everything: list[Progress], steps: dict[int, Step]) -> None:
        slots = self.study.spec.search.parallel - sum(p.open is not None for p in everything)
        waiting = [
            p
            for p in everything
            if p.open is None
            and (step := steps[p.number]).rung is not None
            and step.not_before <= self.world.now
        ]
        if self.probing or not baseline.proven(everything, self.gone):
            slots = min(slots, 1 - sum(p.open is not None for p in everything))
        for p in sorted(waiting, key=lambda p: (p.idle_stops, p.number)):
            rung = steps[p.number].rung or 0
            lease = self.leases.first(p.number, len(p.attempts), rung) if slots > 0 else None
            if lease is None:
                return
            self.entries.append(lease)
            slots -= 1
        # Trials that wait out a pause keep their place.
        slots -= sum(p.open is None and steps[p.number].rung is not None for p in everything) - len(waiting)
        self._propose(everything, slots)

    def _propose(self, everything: list[Progress], slots: int) -> None:
        spec, meta = self.study.spec, self.study.metadata
        wanted = min(slots, self.problem.trials - len(everything), self.leases.affordable())
        if (hold := self._likely_hold(everything)) is not None:
            wanted = min(wanted, self.leases.room // max(1, hold))
        if wanted <= 0:
            return
        found = propose(self.problem, self.seen, wanted, spec.search.seed, self.gone)
        taken = {p.number for p in everything} | self.gone
        numbers = (n for n in range(spec.search.trials) if n not in taken)
        for number, proposal in zip(numbers, found, strict=False):
            self.actions.append(
                CreateTrial(
                    self.study,
                    Trial(
                        metadata=Metadata(
                            name=trial_name(meta.name, meta.uid, number), namespace=meta.namespace
                        ),
                        spec=TrialSpec(
                            study=meta.name,
                            study_uid=meta.uid,
                            number=number,
                            seed=spec.search.seed,
                            parameters=proposal.parameters,
                            proposal=TrialProposal(
                                phase=proposal.phase, engine=proposal.engine, reason=proposal.reason[:1024]
                            ),
                        ),
                    ),
                )
            )

    # -- what runs -----------------------------------------------------------------------------------------

    def _steer(self, p: Progress, attempt: Attempt, verdict: Verdict, *, wanted: bool) -> None:
        key = (attempt.study, attempt.trial, attempt.number)
        run, lowered = self.world.runs.get(key), self.shed.get(key)
        if run is None:
            if attempt.bound or key in self.world.taken:
                return  # it is never launched again; `Closing` decides when it is settled
            if lowered is None and wanted and verdict.state == "Active" and self.leases.launchable(attempt):
                self.actions.append(self._launch_of(p.trial, attempt))
            else:
                self.actions.append(Bury(key, attempt.name, lowered or verdict.message, p.trial))
            return
        if run.ended is not None and not run.paused:
            return
        if run.stop is not None:
            # A pod whose trainer is done has no guard any more, so that its kubelet has to end it too.
            self.actions += ending(run, overdue=run.done or run.restarted)
        elif (why := self._why_stop(attempt, run, verdict, lowered, wanted=wanted)) is not None:
            self.actions.append(Stop(run.name, *why, run.uid))
        else:
            self._keep(attempt, run, verdict)

    def _why_stop(
        self, attempt: Attempt, run: Run, verdict: Verdict, lowered: str | None, *, wanted: bool
    ) -> tuple[End, str] | None:
        """Return the end and the reason of a run that may not go on; `None` where it may."""
        if (found := intrusion(attempt, run)) is not None:
            return found
        idle = self.study.spec.runtime.idle
        why: str | None
        if not wanted:
            why = verdict.message
        elif lowered is not None:
            why = f"{lowered} was lowered under what is held"
        elif run.started is None and self.leases.too_late(attempt):
            why = "it came too late to begin"
        elif run.deleted:
            # Its pods outlive it: our finalizer keeps it, and the garbage collector waits for that.
            why = "its Job was deleted"
        elif places.dearer(attempt):
            why = f"{places.trouble(attempt)}, above what is held"
        elif idle is not None and run.idle_seconds >= quantity.seconds(idle.window):
            why = f"{trials.IDLE}: utilization under {idle.threshold}% for {run.idle_seconds}s"
        else:
            why = trouble.not_started(attempt, run, self.world.now)
        return None if why is None else ("Suspended", why)

    def _launch_of(self, trial: Trial, attempt: Attempt) -> Launch:
        spec, meta = self.study.spec, self.study.metadata
        epochs = spec.search.rungs.epochs
        assignment = Assignment(
            study=meta.name,
            namespace=meta.namespace,
            trial=attempt.trial,
            attempt=attempt.number,
            name=attempt.name,
            seed=trial.spec.seed,
            parameters=trial.spec.parameters,
            rung=attempt.rung,
            epochs=epochs[min(attempt.rung, len(epochs) - 1)],
            total_epochs=epochs[-1],
            data=spec.data,
            artifacts=trial_prefix(self.study, attempt.trial),
            latency=spec.ceilings.latency or Latency(limit="1h"),
            lease_seconds=attempt.granted,
            grace_seconds=self.leases.grace,
        )
        image = spec.runtime.image or self.world.trainer_image
        quote = self.leases.priced
        return Launch(
            self.study,
            trial,
            assignment,
            image,
            attempt.resources,
            quote.node_selector,
            quote.tolerations,
            self.leases.guarded,
        )

    def _keep(self, attempt: Attempt, run: Run, verdict: Verdict) -> None:
        """Let the run have what the books grant, and ask them for more at half-time."""
        self.actions += kept(attempt, run)
        if run.leader is not None:
            self.actions.append(Introduce(run.name, run.leader))
        if verdict.state == "Active" and (lease := self.leases.renewal(attempt, run)) is not None:
            self.entries.append(lease)

    # -- what is told --------------------------------------------------------------------------------------

    def _record_trial(self, p: Progress, step: Step) -> None:
        run = self.world.runs.get((self.uid, p.number, p.open.number)) if p.open else None
        told = self._trouble(trouble.recalled(run, p.trial), p.open) if run else ""
        status = trials.trial_status(p, step.outcome, step.reason or told, self.world.now)
        if status != p.trial.status:
            self.actions.append(RecordTrial(p.trial, status))

    def _trouble(self, run: Run, attempt: Attempt | None) -> str:
        """What keeps a run from going on, for a person; empty where nothing does."""
        if run.ended is None and silent(run) and self.study.spec.runtime.lease.renewal == "Renew":
            return "no heartbeat comes from it, so its lease is not renewed"
        return run.exit.message or (places.trouble(attempt) if attempt else "")

    def _with_overruns(self, everything: list[Progress], verdict: Verdict) -> Verdict:
        """Return the verdict with what runs on after its lease, and what is done about that."""
        found = []
        for attempt in (p.open for p in everything if p.open is not None):
            run = self.world.runs.get((attempt.study, attempt.trial, attempt.number))
            if run is None:
                continue
            if (end := trouble.overdue(attempt, run, self.leases.overhead, self.world.now)) is not None:
                found.append(trouble.overrun(attempt, run, end))
        if not found or verdict.final:
            return verdict
        if verdict.state == "Active":
            return Verdict("Active", "LeaseOverrun", "; ".join(found))
        return replace(verdict, message="; ".join([verdict.message, *found]))

    def _record_study(self, everything: list[Progress], steps: dict[int, Step], verdict: Verdict) -> None:
        if self.study.metadata.deletion_timestamp:
            held = FINALIZER in self.study.metadata.finalizers
            if (
                held
                and not any(p.open for p in everything)
                and not list(self.world.books.open_attempts(self.uid))
            ):
                self.actions.append(Unprotect(self.study))
            return
        outcomes = {p.number: steps[p.number].outcome for p in everything}
        account = self.world.books.accounts.get(study_account(self.study))
        seen = [
            o if o.outcome == outcomes[o.number] else replace(o, outcome=outcomes[o.number])
            for o in self.seen
        ]
        states = [trials.trial_state(p, outcomes[p.number]) for p in everything]
        status = study_status(
            self.study,
            self.problem,
            seen,
            states,
            [p.trial for p in everything],
            account,
            self._with_overruns(everything, verdict),
            self.world.now,
        )
        if self.unread and (told := self.study.status) is not None:
            # What is known of the others alone would take an unread trial out of the counts and the front.
            kept = {name: getattr(told, name) for name in _OF_ALL_TRIALS}
            status = status.model_copy(update=kept)
        if status != self.study.status:
            self.actions.append(RecordStudy(self.study, status))
