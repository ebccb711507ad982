"""One study's part of a pass: close, decide, begin, steer, record."""

from collections.abc import Mapping
from dataclasses import dataclass

from comptroller.actions import Action, Protect
from comptroller.ledger.accounts import AccountName
from comptroller.ledger.entries import Entry
from comptroller.ledger.names import AttemptKey
from comptroller.plan import recording
from comptroller.plan.conclusion import Conclusion, conclude
from comptroller.plan.ended import close
from comptroller.plan.launching import begin, unlikely
from comptroller.plan.leases import Leases
from comptroller.plan.running import steer
from comptroller.plan.standing import failing, standing, with_overruns
from comptroller.plan.steps import Steps, next_steps
from comptroller.plan.verdict import Verdict
from comptroller.plan.view import StudyView, view
from comptroller.pricing import PriceBook
from comptroller.world import World
from comptroller_api.meta import FINALIZER
from comptroller_api.study import Study


@dataclass(frozen=True, slots=True)
class StudyPlan:
    """The actions that one study needs in a pass."""

    entries: tuple[Entry, ...]
    actions: tuple[Action, ...]
    room: Mapping[AccountName, int]
    """Micro-units that each account has left for the studies after it."""
    blocked: AccountName | None = None
    """The account without room for a lease that was wanted."""


def plan_study(
    world: World,
    study: Study,
    prices: PriceBook,
    room: Mapping[AccountName, int],
    lowered: Mapping[AttemptKey, AccountName],
) -> StudyPlan:
    """Return what one study asks for.

    Args:
        world: the namespace.
        study: one of its studies.
        prices: of this moment.
        room: micro-units that each account has left.
        lowered: attempts to stop, each with the account whose ceiling fell under what it holds.
    """
    if FINALIZER not in study.metadata.finalizers and not study.metadata.deletion_timestamp:
        return StudyPlan((), (Protect(study),), room)
    seen, leases = view(world, study), Leases(world, study, prices, room)
    closing = close(seen, leases.overhead)
    seen, found = _decided(seen, leases)
    entries, actions = list(closing.entries), list(closing.actions)
    if found.verdict.state == "Active":
        if (price := leases.missing_price()) is not None:
            entries.append(price)
        granted, created = begin(seen, leases, found.steps, found.verdict)
        entries += granted
        actions += created
    for p in seen.progress:
        if p.open is not None and p.open.key not in closing.given_up:
            renewed, steered = steer(seen, leases, found.verdict, p, p.open, lowered.get(p.open.key))
            entries += renewed
            actions += steered
        actions += recording.record_trial(seen, p, found.steps[p.number])
    stated = with_overruns(seen, found.verdict, leases.overhead)
    actions += recording.record_study(seen, found.steps, stated)
    return StudyPlan(tuple(entries), tuple(actions), leases.left, found.blocked)


def _decided(seen: StudyView, leases: Leases) -> tuple[StudyView, Conclusion]:
    """Return where the study stands and what its trials do, and the view that this was decided on."""
    verdict, steps = _standing(seen, leases)
    why = unlikely(seen, leases, steps) if verdict.state == "Active" else None
    if why is None:
        return seen, conclude(seen, leases, verdict, steps, None)
    # No more results come, so the trials that wait for some are decided now.
    last = seen.without_more_trials()
    return last, conclude(last, leases, verdict, next_steps(last, verdict), why)


def _standing(seen: StudyView, leases: Leases) -> tuple[Verdict, Steps]:
    """Return where the study stands once the trials that fail in this pass are counted."""
    before = standing(seen, leases.quote)
    steps = next_steps(seen, before)
    end = failing(seen, steps, before)
    return (before, steps) if end is None else (end, next_steps(seen, end))
