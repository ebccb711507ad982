"""The state that must hold after the faults (P5): all has ended, or states why not; the books agree."""

from typing import TYPE_CHECKING

from comptroller.cluster.ownership import is_watched
from comptroller.cluster.simulated.trainer import metrics
from comptroller.ledger.audit import verify
from comptroller.ledger.books import Books
from comptroller.ledger.snapshots import snapshot_key
from comptroller.pricing import PriceBook, Unpriced
from comptroller.simulation.fold import Fold
from comptroller.simulation.process import NAMESPACE
from comptroller_api import quantity
from comptroller_api.meta import FINALIZER, Condition
from comptroller_api.money import to_micro
from comptroller_api.study import Study

if TYPE_CHECKING:
    from comptroller.simulation.run import Run


_TRIED_AGAIN = "ArtifactsUnavailable"
"""The reason to wait that is over by itself: the store answers again, and a later pass tries it."""


def unsettled(run: "Run") -> str:
    """Return what has neither ended nor a stated reason to wait; empty if nothing is left."""
    open_ones = [held.first.name for held in run.oracle.fold.attempts.values() if held.closed is None]
    if open_ones:
        return f"{open_ones[0]} is open in the books"
    for resource in ("jobs", "pods"):
        for body in run.cluster.server.objects[resource].values():
            # One whose label somebody took off is brought by no watch; it costs nothing, and may stay.
            if FINALIZER in body["metadata"].get("finalizers", ()) and is_watched(body):
                return f"{body['metadata']['name']} is not released"
    for study in run.cluster.studies.values():
        if study.metadata.deletion_timestamp:
            return f"{study.metadata.name} is deleted and does not go"
        stated = {c.type: c for c in study.status.conditions} if study.status else {}
        if not any(
            kind in stated and stated[kind].status == "True" for kind in ("Complete", "Failed", "Stalled")
        ):
            return f"{study.metadata.name} has not ended and does not say why"
        if (stalled := stated.get("Stalled")) and stalled.reason == _TRIED_AGAIN:
            return f"{study.metadata.name} has not tried its store again"
    return ""


def audited(run: "Run") -> Books:
    """The books as `comptroller ledger verify` folds them: it finds damaged snapshots, and nothing else."""
    oracle = run.oracle
    if not run.batches:
        return Books()  # nothing was ever written, which `verify` calls no ledger
    verdict = verify(run.store, NAMESPACE)
    found = {v.sequence for v in verdict.violations if v.rule == "Snapshot"}
    for sequence, bad in run.damaged.items():
        if run.store.objects.get(snapshot_key(NAMESPACE, sequence)) == bad and sequence not in found:
            oracle.violated("P1", f"verify does not see that the snapshot of batch {sequence} is damaged")
    for violation in verdict.violations:
        if violation.rule == "Snapshot" and violation.sequence in run.damaged:
            continue  # it must be found, and is
        beyond = violation.rule in {"Overrun", "OverCeiling"}
        if beyond and any(job.tampered for job in oracle.launched.values()):
            continue  # the oracle's own bill and accounts say whether it is right
        oracle.violated("P1", f"verify: {violation.rule} in batch {violation.sequence}: {violation.detail}")
    return verdict.books


def at_rest(run: "Run") -> None:
    """Hold the end state against the promises."""
    oracle = run.oracle
    if (difference := _difference(oracle.fold, audited(run))) is not None:
        oracle.violated("P5", f"the books and the replay differ: {difference}")
    for name, account in oracle.fold.accounts.items():
        if account.held:
            oracle.violated("P5", f"{name} still holds {account.held}")
    oracle.settled()
    for study in run.cluster.studies.values():
        declared = study.spec.ceilings.spend.amount
        if oracle.fold.accounts[f"study/{study.metadata.uid}"].requested != to_micro(declared):
            oracle.violated("P5", f"{study.metadata.name}: its ceiling of {declared} is not in the books")
        for promise, what in _study(run, study):
            oracle.violated(promise, f"{study.metadata.name}: {what}")


def _difference(fold: Fold, books: Books) -> str | None:
    for name, account in books.accounts.items():
        ours = fold.accounts[name]
        if (ours.spent, ours.held, ours.ceiling, ours.requested) != (
            account.spent,
            account.held,
            account.ceiling,
            account.requested,
        ):
            return name
    if fold.accounts.keys() != books.accounts.keys():
        return "accounts"
    theirs = {a.key: (a.spent, a.granted, a.open) for own in books.trials.values() for a in own}
    ours_ = {key: (held.covered, held.granted, held.closed is None) for key, held in fold.attempts.items()}
    return None if theirs == ours_ else "attempts"


def _study(run: "Run", study: Study) -> list[tuple[str, str]]:
    """Return the faults of one study's end."""
    conditions = {c.type: c for c in study.status.conditions if c.status == "True"} if study.status else {}
    trials = [t for (uid, _), t in run.cluster.trials.items() if uid == study.metadata.uid]
    found: list[tuple[str, str]] = []
    if "Complete" in conditions or "Failed" in conditions:
        unended = [t.metadata.name for t in trials if t.status is None or t.status.outcome is None]
        if unended:
            found.append(("P5", f"it is over, and {unended[0]} has no outcome"))
    elif (wrong := _excuse(run, study, conditions["Stalled"])) is not None:
        found.append(("P5", wrong))
    for trial in trials:
        for rung in trial.status.rungs if trial.status else ():
            epochs = study.spec.search.rungs.epochs
            true = metrics(study.metadata.name, trial.spec.number, epochs[rung.rung], epochs[-1])
            if rung.metrics != true:
                found.append(("P3", f"{trial.metadata.name} has metrics that nobody measured"))
    return found


def _excuse(  # noqa: PLR0911  (a decision table)
    run: "Run", study: Study, why: Condition
) -> str | None:
    """Return the fault of the reason for which a study stands still."""
    runtime, now = study.spec.runtime, run.cluster.now
    currency = study.spec.ceilings.spend.currency
    book = PriceBook(run.cluster.prices, now, run.feed)
    quote = book.quote(runtime.node_class, runtime.capacity, currency, runtime.resources)
    match why.reason:
        case "Suspended":
            return None if study.spec.suspend else "it says that it is suspended, and it is not"
        case "NoPrice" | "StalePrice":
            return None if isinstance(quote, Unpriced) and quote.reason == why.reason else "it has a price"
        case "BudgetExhausted":
            if isinstance(quote, Unpriced):
                return "it has no price and says that it has no money"
            seconds = quantity.seconds(runtime.lease.duration) + run.oracle.overhead(study.metadata.uid)
            worst = quote.worst(runtime.resources, seconds)
            room = min(
                account.limit - account.spent - account.held
                for name, account in run.oracle.fold.accounts.items()
                if name.startswith("budget/") and name.replace("/", " ", 1) in why.message
            )
            return f"there is room for {room}, a lease is {worst}" if room >= worst else None
        case "PeriodEnding":
            ends = [run.oracle.ends(name) for name in run.oracle.fold.accounts]
            near = quantity.seconds(runtime.lease.duration) + run.oracle.overhead(study.metadata.uid)
            return (
                None if any(e is not None and 0 <= e - now <= near for e in ends) else "no period ends soon"
            )
        case "NotStarted" | "StorageUnavailable":
            # It continues by itself, later and later while nothing has changed.
            return (
                None
                if "the next attempt is launched at" in why.message
                else "it does not say when it continues"
            )
        case _:
            return f"it stands still for {why.reason}: {why.message}"
