"""The verdict on a study: whether its trials may run, and why not."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from comptroller.plan.accounts import in_other_currency
from comptroller.plan.governance import approved
from comptroller.plan.membership import may_cover, uncovered
from comptroller.plan.periods import mistakes
from comptroller.pricing import Quote, Unpriced
from comptroller.world import World
from comptroller_api import quantity
from comptroller_api.budget import Budget
from comptroller_api.money import to_micro
from comptroller_api.study import Study

CEILING_REACHED, BUDGET_EXHAUSTED = "CeilingReached", "BudgetExhausted"
FAILURE_LIMIT_REACHED = "FailureLimitReached"
NO_TRIAL_SUCCEEDED, NO_ROOM_FOR_A_LEASE = "NoTrialSucceeded", "NoRoomForALease"
_REOPENED = frozenset({CEILING_REACHED, NO_TRIAL_SUCCEEDED, NO_ROOM_FOR_A_LEASE})


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision on a study as a whole."""

    state: Literal["Active", "Held", "Suspended", "Ending", "Complete", "Failed"]
    """Held: no launches and no renewals until something outside changes. Ending: what runs is stopped."""
    reason: str
    message: str
    probing: bool = False
    """The latest attempts could not begin or reach their storage: one finds out whether others can."""

    @property
    def final(self) -> bool:
        """Return whether nothing about this study will change any more."""
        return self.state in {"Complete", "Failed"}


def settled_verdict(study: Study) -> Verdict | None:
    """Return the final verdict that the study's status already carries."""
    for condition in study.status.conditions if study.status else []:
        if condition.status == "True" and condition.type in {"Complete", "Failed"}:
            state: Literal["Complete", "Failed"] = "Complete" if condition.type == "Complete" else "Failed"
            return Verdict(state, condition.reason, condition.message)
    return None


def reopened(study: Study) -> bool:
    """Return whether an ended study's spec has changed in a way that may let it go on.

    A raised ceiling lets a study that stopped at it go on with the trials that it had not begun.
    """
    ended = [c for c in study.status.conditions if c.type in {"Complete", "Failed"}] if study.status else []
    return any(
        c.status == "True" and c.reason in _REOPENED and c.observed_generation < study.metadata.generation
        for c in ended
    )


def declared(  # noqa: PLR0911  (a decision table)
    world: World, study: Study, quote: Quote | Unpriced, covering: list[Budget]
) -> Verdict:
    """Return what the declared study, its prices and the clock say, before its attempts are looked at."""
    if study.metadata.deletion_timestamp:
        return Verdict("Ending", "Deleted", "the study is being deleted")
    if refusals := list(world.site.refusals(study)):
        return Verdict("Held", refusals[0].reason, "; ".join(one.message for one in refusals))
    if (held := _held_by_budgets(world, study, covering)) is not None:
        return held
    wall_clock = study.spec.ceilings.wall_clock
    if wall_clock is not None and world.now >= _created(study) + quantity.seconds(wall_clock):
        return Verdict(
            "Ending", "WallClockReached", f"the study is older than its wallClock ceiling {wall_clock}"
        )
    if study.spec.suspend:
        return Verdict("Suspended", "Suspended", "spec.suspend is true")
    if world.unpublished:
        message = f"the head of the ledger cannot be published in the cluster: {world.unpublished}"
        return Verdict("Held", "LedgerUnpublished", f"{message}; no lease is granted until it is")
    if isinstance(quote, Unpriced):
        unread = [
            f"; PriceList {r.name} cannot be read: {r.why}" for r in world.refused if r.kind == "PriceList"
        ]
        return Verdict("Held", quote.reason, quote.message + "".join(unread[:1]))
    return Verdict("Active", "Running", "trials are running")


def _held_by_budgets(world: World, study: Study, covering: list[Budget]) -> Verdict | None:
    """Return why budgets hold the study, if they do: money that cannot be counted is not spent."""
    unread = sorted(
        (r for r in world.refused if r.kind == "Budget" and may_cover(world, r, study)),
        key=lambda refused: refused.name,
    )
    if unread:
        reason = "WrittenByNewerRelease" if unread[0].newer else "BudgetRefused"
        return Verdict("Held", reason, f"Budget {unread[0].name} cannot be read: {unread[0].why}")
    for budget in covering:
        if found := mistakes(budget):
            return Verdict("Held", "BudgetRefused", f"Budget {budget.metadata.name}: " + "; ".join(found))
        held = _other_currency(world, study, budget) or _unapproved(study, budget)
        if held is not None:
            return held
    if (why := uncovered(world, study)) is not None:
        return Verdict("Held", "BudgetRequired", why)
    return None


def _other_currency(world: World, study: Study, budget: Budget) -> Verdict | None:
    name, currency = budget.metadata.name, budget.spec.currency
    if currency != study.spec.ceilings.spend.currency:
        message = (
            f"Budget {name} is in {currency}, the study's ceiling in {study.spec.ceilings.spend.currency}"
        )
        return Verdict("Held", "CurrencyMismatch", message)
    if (account := in_other_currency(world, budget)) is not None:
        other = world.books.accounts[account].currency
        message = (
            f"Budget {name} is in {currency}, and {account} is in {other} in the books;"
            " give the budget another name"
        )
        return Verdict("Held", "CurrencyMismatch", message)
    return None


def _unapproved(study: Study, budget: Budget) -> Verdict | None:
    limit, spend = budget.spec.approval_above, study.spec.ceilings.spend
    if limit is None or to_micro(spend.amount) <= max(to_micro(limit), approved(study)):
        return None
    message = (
        f"Budget {budget.metadata.name} wants approval of a ceiling above {limit} {spend.currency}, and this"
        f" one is {spend.amount}: comptroller approve {study.metadata.name}"
    )
    return Verdict("Held", "ApprovalRequired", message)


def _created(study: Study) -> int:
    stamp = study.metadata.creation_timestamp
    if stamp is None:
        raise ValueError(f"study {study.metadata.name} has no creationTimestamp")
    return int(datetime.fromisoformat(stamp).timestamp())
