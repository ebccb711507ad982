"""The budgets that cover a study: those that select it, and all that have covered it since its first lease.

Labels decide until the first lease. From then on a budget that covers the study continues to cover it, even
if the study's labels or the budget's selector change, so that no edit of a label leaves a budget.
"""

from collections.abc import Iterator, Mapping

from comptroller.ledger.entries import Membership
from comptroller.world import Refused, World
from comptroller_api.budget import Budget
from comptroller_api.study import Study


def selects(budget: Budget, study: Study) -> bool:
    """Return whether the budget's selector matches the study's labels."""
    return _matches(budget.spec.selector.match_labels, study)


def _matches(labels: Mapping[str, str], study: Study) -> bool:
    return labels.items() <= study.metadata.labels.items()


def may_cover(world: World, refused: Refused, study: Study) -> bool:
    """Return whether a budget that cannot be read may pay for `study`.

    It may where not even its selector can be read.
    """
    known = world.books.covered.get(study.metadata.uid, frozenset())
    return refused.selector is None or refused.name in known or _matches(refused.selector, study)


def covers(world: World, budget: Budget, study: Study) -> bool:
    """Return whether `budget` pays for `study`."""
    known = world.books.covered.get(study.metadata.uid, frozenset())
    return budget.metadata.name in known or selects(budget, study)


def covering(world: World, study: Study) -> list[Budget]:
    """Return the budgets that pay for `study`, by name."""
    known = world.covering.get(study.metadata.uid)
    if known is None:
        found = sorted((b for b in world.budgets if covers(world, b, study)), key=lambda b: b.metadata.name)
        known = world.covering[study.metadata.uid] = found
    return known


def missing_memberships(world: World) -> Iterator[Membership]:
    """Yield the budgets that cover a study since its first lease and are not in the books as such."""
    for study in world.studies:
        uid = study.metadata.uid
        known = world.books.covered.get(uid)
        if known is None:
            continue  # it has had no lease
        for budget in sorted(world.budgets, key=lambda b: b.metadata.name):
            if budget.metadata.name not in known and selects(budget, study):
                yield Membership(study=uid, budget=budget.metadata.name)


def uncovered(world: World, study: Study) -> str | None:
    """Return why a study that no budget covers may not run; `None` where no budget is `required`."""
    requiring = sorted(b.metadata.name for b in world.budgets if b.spec.required)
    if not requiring or covering(world, study):
        return None
    ways = sorted(f"{_labels(b)} (Budget {b.metadata.name})" for b in world.budgets)
    return (
        f"Budget {requiring[0]} requires that a budget covers each study of the namespace, and none covers"
        f" this one; label the study {' or '.join(ways)}"
    )


def _labels(budget: Budget) -> str:
    return ",".join(f"{label}={value}" for label, value in sorted(budget.spec.selector.match_labels.items()))
