"""The declarations of people from some moment on, and what follows from them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from comptroller.cluster.pods import unix
from comptroller.ledger.entries import Reserve
from comptroller_api import quantity
from comptroller_api.budget import Budget
from comptroller_api.money import to_micro
from comptroller_api.pricelist import PriceList
from comptroller_api.study import Study


@dataclass(frozen=True, slots=True)
class Declared:
    """The declarations of people from some moment on."""

    since: int
    studies: dict[str, Study]
    budgets: tuple[Budget, ...]
    prices: tuple[PriceList, ...]


def covering(one: Declared, uid: str) -> set[str]:
    """Return the names of the budgets whose selector matches a study."""
    study = one.studies.get(uid)
    if study is None:
        return set()
    labels = study.metadata.labels.items()
    return {b.metadata.name for b in one.budgets if b.spec.selector.match_labels.items() <= labels}


def capping(one: Declared, uid: str) -> set[str]:
    """Return the names of those of them that cap what one study may have."""
    capped = {budget.metadata.name for budget in one.budgets if budget.spec.cap_per_study is not None}
    return capped & covering(one, uid)


def unpriced(one: Declared, entry: Reserve, clock: int) -> str:
    """Return why what is leased had no price; empty where it had one."""
    for prices in one.prices:
        for node_class in prices.spec.node_classes:
            rates = node_class.spot if entry.capacity == "Spot" else node_class.on_demand
            if node_class.name != entry.node_class or rates is None:
                continue
            if entry.resources.gpu and None in {rates.gpu, node_class.cap.gpu}:
                return f"nobody wrote what a GPU of {entry.node_class} costs"
            age = None if prices.spec.max_age is None else quantity.seconds(prices.spec.max_age)
            if age is not None and clock - (unix(prices.spec.as_of) or 0) > age:
                return f"the price of {entry.node_class} is over {age}s old"
            return ""
    return f"{entry.node_class} has no price"


def names(one: Declared) -> set[str]:
    """Return the names of all budgets."""
    return {budget.metadata.name for budget in one.budgets}


def always(recent: list[Declared], names: Callable[[Declared], set[str]]) -> set[str]:
    """Return the names that are in each of them."""
    found = names(recent[-1])
    for one in recent:
        found &= names(one)
    return found


def amounts(one: Declared, account: str) -> set[int]:
    """Return the amounts requested for an account, in micro-units."""
    kind, name, *rest = account.split("/")
    if kind == "study":
        study = one.studies.get(name)
        return {to_micro(study.spec.ceilings.spend.amount)} if study else set()
    found = set()
    for budget in one.budgets:
        if budget.metadata.name == name:
            if rest[0] == "credit":
                found.add(sum(to_micro(c.amount) for c in budget.spec.credits if c.until == rest[1]))
            elif rest[0] == "cap":
                found.add(to_micro(budget.spec.cap_per_study or "0"))
            else:
                found.add(to_micro(budget.spec.amount))
    return found


def rates_of(one: Declared) -> Iterable[str]:
    """Yield all rates that are written in price lists."""
    for prices in one.prices:
        for node_class in prices.spec.node_classes:
            for rates in (node_class.on_demand, node_class.cap, node_class.spot):
                if rates is not None:
                    amounts = (rates.gpu, rates.cpu, rates.memory_gib, rates.storage_gib)
                    yield from (amount for amount in amounts if amount is not None)
