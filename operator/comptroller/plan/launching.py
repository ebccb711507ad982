"""The start of a study's work: leases for trials that wait for an attempt, and new trials."""

from collections.abc import Iterator

from comptroller.actions import CreateTrial
from comptroller.ledger.entries import Reserve
from comptroller.ledger.names import trial_name
from comptroller.plan import baseline
from comptroller.plan.leases import Leases
from comptroller.plan.risk import likely
from comptroller.plan.steps import Steps
from comptroller.plan.verdict import Verdict
from comptroller.plan.view import StudyView
from comptroller.search import Proposal
from comptroller.search.propose import propose
from comptroller_api.meta import Metadata
from comptroller_api.money import to_amount
from comptroller_api.trial import Proposal as TrialProposal
from comptroller_api.trial import Trial, TrialSpec


def begin(
    view: StudyView, leases: Leases, steps: Steps, verdict: Verdict
) -> tuple[list[Reserve], list[CreateTrial]]:
    """Return a lease for each attempt that begins now, and the trials to create.

    Trials that were suspended for low utilization come after the others, then the lowest number is first.
    Nothing is created while a trial that is there waits for a slot or for room.
    """
    free = _slots(view, verdict)
    pending = [p for p in view.progress if p.open is None and steps[p.number].rung is not None]
    ready = [p for p in pending if steps[p.number].not_before <= view.world.now]
    granted: list[Reserve] = []
    for p in sorted(ready, key=lambda p: (p.idle_stops, p.number)):
        rung = steps[p.number].rung or 0
        lease = leases.first(p.number, len(p.attempts), rung) if len(granted) < free else None
        if lease is None:
            return granted, []
        granted.append(lease)
    # Trials that wait out a pause keep their slots.
    return granted, list(_created(view, leases, free - len(pending)))


def unlikely(view: StudyView, leases: Leases, steps: Steps) -> str | None:
    """Return why no other trial is begun, though a lease would fit: its first rung is not likely to."""
    busy = any(p.open is not None or steps[p.number].rung is not None for p in view.progress)
    if busy or len(view.progress) >= view.problem.trials or leases.fit().blocked is not None:
        return None
    hold, risk = _likely_hold(view, leases), view.study.spec.search.risk
    if hold is None or risk is None or hold <= leases.room:
        return None
    return f"no room for a first rung, which holds {to_amount(hold)} at most with {100 - risk}% probability"


def _slots(view: StudyView, verdict: Verdict) -> int:
    """Return how many attempts may begin next to those that are open."""
    most = view.study.spec.search.parallel
    if verdict.probing or not baseline.proven(view.progress, view.gone):
        most = min(most, 1)
    return most - sum(1 for _ in view.open)


def _likely_hold(view: StudyView, leases: Leases) -> int | None:
    """Return the micro-units that another trial's first rung holds at most, at the declared probability.

    Its seconds are those of the trials before; its price is the cap, since that is what leases hold. `None`:
    too few trials are known, or no probability is declared.
    """
    risk, runtime = view.study.spec.search.risk, view.study.spec.runtime
    if risk is None:
        return None
    spans = [sum(a.seconds for a in p.attempts if a.rung == 0) for p in view.progress if p.rungs]
    seconds = likely(spans, 100 - risk)
    return None if seconds is None else leases.priced.worst(runtime.resources, seconds + leases.overhead)


def _created(view: StudyView, leases: Leases, slots: int) -> Iterator[CreateTrial]:
    """Yield as many new trials as there are slots and room for."""
    wanted = min(slots, view.problem.trials - len(view.progress), leases.affordable())
    if (hold := _likely_hold(view, leases)) is not None:
        wanted = min(wanted, leases.room // max(1, hold))
    if wanted <= 0:
        return
    search = view.study.spec.search
    taken = {p.number for p in view.progress} | view.gone
    numbers = (number for number in range(search.trials) if number not in taken)
    found = propose(view.problem, view.observations, wanted, search.seed, view.gone)
    for number, proposal in zip(numbers, found, strict=False):
        yield CreateTrial(view.study, _trial(view, number, proposal))


def _trial(view: StudyView, number: int, proposal: Proposal) -> Trial:
    meta = view.study.metadata
    return Trial(
        metadata=Metadata(name=trial_name(meta.name, meta.uid, number), namespace=meta.namespace),
        spec=TrialSpec(
            study=meta.name,
            study_uid=meta.uid,
            number=number,
            seed=view.study.spec.search.seed,
            parameters=proposal.parameters,
            proposal=TrialProposal(
                phase=proposal.phase, engine=proposal.engine, reason=proposal.reason[:1024]
            ),
        ),
    )
