"""One namespace's books, and budgets that are edited over them; money in whole units."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from comptroller.ledger.books import Books
from comptroller.ledger.entries import Close, Post, Reserve
from comptroller.plan.accounts import missing_ceilings, purses, rollovers
from comptroller.plan.budgets import record_budgets
from comptroller.plan.membership import missing_memberships
from comptroller.world import World
from comptroller_api.budget import Budget, BudgetStatus
from comptroller_api.meta import Condition
from comptroller_api.study import Resources, Study

DAY = 86_400
TEAM = {"matchLabels": {"team": "x"}}
"""A budget's selector."""
DECEMBER, JUNE, LATER = "2026-12-31", "2027-06-30", "2028-01-01"
"""Days until which a credit can be spent."""


def at(text: str) -> int:
    """Return the Unix time of a UTC date and time."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def budget(name: str = "b", amount: str = "500", **spec: Any) -> Budget:
    spec = {"amount": amount, "currency": "USD", **spec}
    return Budget.model_validate({"metadata": {"name": name}, "spec": spec})


def study(uid: str = "s", **labels: str) -> Study:
    spec = {
        "data": {"uri": "generated:mnist1d", "format": "MNIST1D"},
        "space": {"parameters": [{"name": "recipe.lr", "type": "Float", "min": "0.1", "max": "1"}]},
        "objectives": [{"metric": "accuracy"}],
        "ceilings": {"spend": {"amount": "100000", "currency": "USD"}},
        "search": {"engine": "Random", "trials": 1, "rungs": {"epochs": [1]}},
        "runtime": {"nodeClass": "small"},
        "artifacts": {"uri": "s3://bucket/artifacts"},
    }
    return Study.model_validate({"metadata": {"name": uid, "uid": uid, "labels": labels}, "spec": spec})


def credit(amount: str, until: str) -> dict[str, str]:
    return {"amount": amount, "until": until}


@dataclass
class Desk:
    """One namespace's books, kept by the rules of the plan."""

    now: int = at("2026-12-03T12:00:00")
    budgets: tuple[Budget, ...] = ()
    studies: tuple[Study, ...] = (study(),)
    books: Books = field(default_factory=Books)
    trials: int = 0
    open: list[tuple[Reserve, int, int]] = field(default_factory=list)
    """The running leases, with their start and end."""

    @property
    def world(self) -> World:
        return World(
            now=self.now, namespace="n", books=self.books, studies=self.studies, budgets=self.budgets
        )

    def declare(self, *budgets: Budget) -> None:
        """Declare what the budgets, or these in their place, and the labels of studies lack in the books."""
        self.budgets = budgets or self.budgets
        for _ in range(9):
            world = self.world
            entries = [*missing_ceilings(world), *missing_memberships(world), *rollovers(world)]
            for entry in entries:
                assert self.books.apply(entry) is None, entry
            assert all(account.over == 0 for account in self.books.accounts.values())
            if not entries:
                return
        raise AssertionError("the books do not come to rest")

    def hold(self, amount: int, seconds: int = 600, *, of: int = 0) -> Reserve | None:
        """Reserve a lease as the plan would; return None if there is no room."""
        micro, one = amount * 10**6, self.studies[of]
        accounts = []
        for options in purses(self.world, one):
            fits = [
                p
                for p in options
                if self.books.accounts[p.account].room >= micro
                and (p.ends is None or self.now + seconds <= p.ends)
            ]
            if not fits:
                return None
            accounts.append(fits[0].account)
        lease = Reserve(
            study=one.metadata.uid, trial=self.trials, attempt=0, lease=0, name=f"t{self.trials}", rung=0,
            node_class="small", capacity="OnDemand", resources=Resources(), accounts=tuple(accounts),
            amount=micro, seconds=seconds,
        )  # fmt: skip
        assert self.books.apply(lease) is None
        self.trials += 1
        self.open.append((lease, self.now, self.now + seconds))
        return lease

    def settle(self, share: int = 100) -> None:
        """End the oldest running lease now, or at its own end, at a cost of `share` percent of its hold."""
        lease, started, ends = self.open.pop(0)
        place = {"study": lease.study, "trial": lease.trial, "attempt": 0}
        post = Post(**place, lease=0, amount=lease.amount * share // 100)
        ended = min(self.now, ends)
        for entry in (
            post,
            Close(**place, end="Finished", seconds=ended - started, started=started, ended=ended),
        ):
            assert self.books.apply(entry) is None

    def spend(self, amount: int, **how: int) -> bool:
        """Spend an amount at once, if there is room; return whether there was."""
        done = self.hold(amount, **how) is not None
        if done:
            self.now += 60
            self.settle()
            self.declare()
        return done

    def room(self, of: int = 0) -> int:
        """Return the room of the tightest ceiling over a study, over all of its accounts together."""
        rooms = [
            sum(self.books.accounts[purse.account].room for purse in options)
            for options in purses(self.world, self.studies[of])
        ]
        return min(rooms) // 10**6

    def status(self) -> tuple[BudgetStatus, dict[str, Condition]]:
        """Return the status that the plan records of the only budget, and its conditions by type."""
        ((_, status),) = ((r.budget, r.status) for r in record_budgets(self.world, ()))
        return status, {c.type: c for c in status.conditions}


def desk(*budgets: Budget, **changes: Any) -> Desk:
    """Return a desk whose budgets are declared."""
    made = Desk(**changes)
    made.declare(*budgets)
    return made
