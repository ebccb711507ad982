"""A namespace at one moment, in a few words: what a row of the table gives to `plan`.

Everything in a scene is written down: the books are folded from entries that stand here, and no world comes
from an earlier pass. A core costs 0.001 USD a second, 1,000 micro-units. A lease lasts 60 s and holds 15 s
beyond that.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from comptroller.ledger.books import Books
from comptroller.ledger.entries import Ceiling, Close, Entry, Manifest, Post, Price, Reserve, Start, Void
from comptroller.ledger.names import AttemptKey
from comptroller.world import Exit, Run, World
from comptroller_api.budget import Budget
from comptroller_api.contract import Report
from comptroller_api.meta import Condition
from comptroller_api.pricelist import PriceList
from comptroller_api.study import Resources, Study, StudyStatus
from comptroller_api.trial import RungResult, Trial, TrialStatus
from support.worlds import NOW, PRICES, study

PER_SECOND = 1000
"""Micro-units."""
LEASE, OVERHEAD = 60, 15
"""Seconds; the overhead is a grace period of 10 s and a slack of 5 s."""
FIRST, NEXT = (LEASE + OVERHEAD) * PER_SECOND, LEASE * PER_SECOND
"""Micro-units that an attempt's first lease holds, and each renewal of it."""
TERMS = {"duration": "60s", "gracePeriod": "10s", "slack": "5s"}
DAY = 86_400
TODAY = 1_799_971_200
"""2027-01-15, 00:00 UTC: `NOW` is 8 hours later, on a Friday."""
JANUARY, FEBRUARY = TODAY - 14 * DAY, TODAY + 17 * DAY
PERIODS = {
    "Monthly": ("2027-01", JANUARY, FEBRUARY),
    "Weekly": ("2027-W02", TODAY - 4 * DAY, TODAY + 3 * DAY),
    "Daily": ("2027-01-15", TODAY, TODAY + DAY),
    "Total": ("total", None, None),
}
PRICED = Price(
    node_class="small/USD",
    revision=0,
    currency="USD",
    rates={"OnDemand.cpu": 3_600_000, "OnDemand.memoryGiB": 0, "Cap.cpu": 3_600_000, "Cap.memoryGiB": 0},
    since=1_767_225_600,
)
"""The price of `worlds.PRICES`, as the books have it."""
GOOD = {"accuracy": 0.9}
WHOLE_CORE = Resources()


# -- declared objects ----------------------------------------------------------------------------------------


def one(uid: str = "u1", ceiling: str = "100.00", **spec: Any) -> Study:
    """A study of four trials, two at once; `meta` are fields of its metadata, `status` its status."""
    meta = {"name": "s" if uid == "u1" else uid, "uid": uid} | spec.pop("meta", {})
    status, made = spec.pop("status", None), study(ceiling, **spec)
    return made.model_copy(update={"metadata": made.metadata.model_copy(update=meta), "status": status})


def searching(**search: Any) -> dict[str, Any]:
    """The search of a study: how many trials, how many at once, and its rungs."""
    return {"engine": "Random", "trials": 4, "parallel": 2, "rungs": {"epochs": [1]}} | search


def halving(*epochs: int, eta: int = 3) -> dict[str, Any]:
    """Rungs of successive halving."""
    return {"epochs": list(epochs), "eta": eta}


def ended(kind: str, reason: str, message: str = "", generation: int = 1, **fields: Any) -> StudyStatus:
    """The status of a study that has ended."""
    since = {"last_transition_time": "2027-01-15T07:00:00Z", "observed_generation": generation}
    last = Condition(type=kind, status="True", reason=reason, message=message, **since)
    return StudyStatus(conditions=[last], **fields)


def budget(name: str = "b", amount: str = "10.00", **spec: Any) -> Budget:
    """A monthly budget over every study."""
    meta = {"name": name, "generation": 1}
    return Budget.model_validate({"metadata": meta, "spec": {"amount": amount, "currency": "USD", **spec}})


def priced(name: str = "list", **spec: Any) -> PriceList:
    """A price list; by itself that of `worlds.PRICES`."""
    body = PRICES.to_json()["spec"] | spec
    return PriceList.model_validate({"metadata": {"name": name}, "spec": body})


def node_class(name: str = "small", cpu: str = "3.60", cap: str = "3.60", **fields: Any) -> dict[str, Any]:
    """A node class with an on-demand price and a cap of a core, by the hour."""
    return {
        "name": name,
        "onDemand": {"cpu": cpu, "memoryGiB": "0"},
        "cap": {"cpu": cap, "memoryGiB": "0"},
        **fields,
    }


# -- attempts ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Past:
    """An attempt whose books are closed."""

    end: Any = "Finished"
    reason: str = ""
    seconds: int = 10
    ago: int = 100
    """Seconds since it ended."""
    rung: int = 0
    started: bool = True
    accounts: tuple[str, ...] | None = None
    left: Mapping[str, Any] | None = None
    """Fields of what is still seen of its Job, if anything is."""


@dataclass(frozen=True)
class Open:
    """An attempt that holds money, and what is seen of its Job."""

    leases: tuple[int, ...] = (LEASE,)
    """Seconds."""
    rung: int = 0
    accounts: tuple[str, ...] | None = None
    start: int | None = None
    """Seconds since its first pod was on a node, where the books have that."""
    run: Mapping[str, Any] | None = None
    """Fields of the run, if one is seen."""
    resources: Resources = WHOLE_CORE
    node_class: str = "small"
    capacity: Any = "OnDemand"
    held: int | None = None
    """Micro-units of the first lease, where they are not those of a core."""


def leased(**how: Any) -> Open:
    """An attempt whose lease is in the books and whose Job is not there."""
    return Open(**how)


def running(since: int = 20, *, leases: Sequence[int] = (LEASE,), start: bool = True, **fields: Any) -> Open:
    """An attempt whose pod is on a node for `since` seconds; more `fields` are of its run or of `Open`."""
    of_attempt = {name: fields.pop(name) for name in list(fields) if name in Open.__dataclass_fields__}
    seen = {"started": NOW - since, "scheduled": NOW - since, "bound": 1, "live": True} | fields
    return Open(tuple(leases), start=since if start else None, run=seen, **of_attempt)


def over(
    code: int | None = 0, *, seconds: int = 10, ago: int = 0, by_deadline: bool = False, **fields: Any
) -> Open:
    """An attempt whose pod ran for `seconds` and is over, while its books are still open."""
    names = Exit.__dataclass_fields__.keys() - {"deadline"}  # a run has one, too
    of_exit = {name: fields.pop(name) for name in list(fields) if name in names} | {"deadline": by_deadline}
    since = seconds + ago
    known: dict[str, Any] = {"ended": NOW - ago, "live": False, "exit": Exit(code=code, **of_exit)}
    return running(since, **(known | fields))


# -- the namespace -------------------------------------------------------------------------------------------


@dataclass
class Scene:
    """A world that is put together trial by trial."""

    studies: tuple[Study, ...] = field(default_factory=lambda: (one(),))
    budgets: tuple[Budget, ...] = ()
    declared: bool = True
    """The books have each ceiling, each manifest and the price."""
    entries: tuple[Entry, ...] = ()
    """The entries of the books before any attempt, next to the declared ones."""
    fields: dict[str, Any] = field(default_factory=dict)
    """Further fields of the world."""
    pays: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """The accounts of each study's attempts."""

    def __post_init__(self) -> None:
        self.books, self.trials, self.runs = Books(), dict[str, list[Trial]](), dict[Any, Run]()
        self.reports = dict(self.fields.pop("reports", {}))
        for one_study in self.studies:
            uid, spend = one_study.metadata.uid, one_study.spec.ceilings.spend
            self.trials[uid] = []
            accounts = [f"study/{uid}"]
            if self.declared:
                self._book(
                    Ceiling(account=f"study/{uid}", revision=0, amount=micro(spend.amount), currency="USD")
                )
                self._book(manifest(uid, one_study.metadata.generation))
            for each in self.budgets:
                accounts.append(f"budget/{each.metadata.name}/{PERIODS[each.spec.period][0]}")
                if each.spec.cap_per_study is not None:
                    accounts.append(f"budget/{each.metadata.name}/cap/{uid}")
                    if self.declared:
                        self._book(
                            ceiling(accounts[-1], each.spec.cap_per_study, currency=each.spec.currency)
                        )
            self.pays.setdefault(uid, tuple(accounts))
        for each in self.budgets if self.declared else ():
            label, starts, ends = PERIODS[each.spec.period]
            of_budget: dict[str, Any] = {"currency": each.spec.currency}
            for credit in each.spec.credits:
                self._book(
                    ceiling(f"budget/{each.metadata.name}/credit/{credit.until}", credit.amount, **of_budget)
                )
            name = f"budget/{each.metadata.name}/{label}"
            self._book(ceiling(name, each.spec.amount, starts=starts, ends=ends, **of_budget))
        if self.declared and not any(isinstance(entry, Price) for entry in self.entries):
            self._book(PRICED)
        for entry in self.entries:
            self._book(entry)

    def trial(
        self,
        number: int,
        *attempts: Past | Open,
        of: str = "u1",
        rungs: Sequence[Mapping[str, float]] = (),
        outcome: Any = None,
        reason: str = "",
        near_miss: RungResult | None = None,
        spec: Mapping[str, Any] = {},
        **meta: Any,
    ) -> "Scene":
        """Put in a trial, with its attempts and with what its status says."""
        name = self._name(of)
        for place, attempt in enumerate(attempts):
            self._attempt(of, number, place, attempt)
        status = None
        if attempts or rungs or outcome:
            state = "Ended" if outcome else "Running" if isinstance(attempts[-1], Open) else "Suspended"
            status = TrialStatus(state=state, outcome=outcome, reason=reason, near_miss=near_miss)
            measured = [self._measured(rung, metrics, attempts) for rung, metrics in enumerate(rungs)]
            status = status.model_copy(update={"rungs": measured})
        body: dict[str, Any] = {
            "study": name,
            "studyUid": of,
            "number": number,
            "seed": 0,
            "parameters": {"model.width": str(16 + number), "model.family": "mlp"},
            "proposal": {"phase": "Search" if number else "Baseline", "engine": "Random"},
        }
        about = {"name": f"{name}-{of}-{number:04d}", "namespace": "team", "uid": f"t-{of}-{number}"} | meta
        made = Trial.model_validate({"metadata": about, "spec": body | dict(spec)})
        self.trials[of].append(made.model_copy(update={"status": status}))
        return self

    def gone(self, number: int, *attempts: Past | Open, of: str = "u1") -> "Scene":
        """Put in the attempts of a trial that somebody deleted, or whose study is gone."""
        for place, attempt in enumerate(attempts):
            self._attempt(of, number, place, attempt)
        return self

    def stray(self, number: int, attempt: int, **fields: Any) -> "Scene":
        """Put in a run that the books do not know."""
        key = AttemptKey("u1", number, attempt)
        known: dict[str, Any] = {"deadline": LEASE, "granted": LEASE, "live": True, "bound": 1}
        known |= {"started": NOW - 20, "scheduled": NOW - 20}
        self.runs[key] = Run(key, f"s-u1-{number:04d}-{attempt}", **(known | fields))
        return self

    def reported(
        self, number: int, attempt: int, metrics: Mapping[str, float] | None, **fields: Any
    ) -> "Scene":
        """Put in the report that an attempt left, or its absence."""
        report = None
        if metrics is not None:
            known = {"rung": 0, "epochs": 1, "seconds": 1.0, "metrics": dict(metrics)} | fields
            report = Report(name=f"s-u1-{number:04d}-{attempt}", trial=number, attempt=attempt, **known)
        self.reports["u1", number, attempt] = report
        return self

    def book(self, *entries: Entry) -> "Scene":
        """Put further entries into the books, after the attempts."""
        for entry in entries:
            self._book(entry)
        return self

    @property
    def world(self) -> World:
        """The world that `plan` sees."""
        usual: dict[str, Any] = {"prices": (PRICES,), "fresh": True, "trainer_image": "trainer:1"}
        known = usual | self.fields
        now = known.pop("now", NOW)
        if known["fresh"]:
            known.setdefault("server_now", now)
        return World(
            now,
            "team",
            self.books,
            studies=self.studies,
            trials={uid: tuple(sorted(own, key=lambda t: t.spec.number)) for uid, own in self.trials.items()},
            runs=self.runs,
            reports=self.reports,
            budgets=self.budgets,
            **known,
        )

    def _name(self, uid: str) -> str:
        return next((s.metadata.name for s in self.studies if s.metadata.uid == uid), uid)

    def _book(self, entry: Entry) -> None:
        assert self.books.apply(entry) is None, entry

    def _attempt(self, uid: str, number: int, place: int, attempt: Past | Open) -> None:
        name = f"{self._name(uid)}-{uid}-{number:04d}-{place}"
        where: dict[str, Any] = {"study": uid, "trial": number, "attempt": place}
        terms = Open() if isinstance(attempt, Past) else attempt
        for lease, seconds in enumerate(terms.leases):
            held = (seconds + (0 if lease else OVERHEAD)) * PER_SECOND
            self._book(
                Reserve(
                    **where,
                    lease=lease,
                    name=name,
                    rung=attempt.rung,
                    node_class=terms.node_class,
                    capacity=terms.capacity,
                    resources=terms.resources,
                    accounts=attempt.accounts or self.pays.get(uid, (f"study/{uid}",)),
                    amount=held if lease or terms.held is None else terms.held,
                    seconds=seconds,
                )
            )
        key, job = AttemptKey(uid, number, place), f"job-{number}-{place}"
        if isinstance(attempt, Past):
            self._close(where, attempt)
            seen = attempt.left
        else:
            seen = attempt.run
            if attempt.start is not None:
                self._book(Start(**where, job=job, at=NOW - attempt.start))
        if seen is not None:
            known: dict[str, Any] = {"uid": job, "trial": f"t-{uid}-{number}"}
            known |= {"deadline": sum(terms.leases), "granted": sum(terms.leases)}
            self.runs[key] = Run(key, name, **(known | dict(seen)))

    def _close(self, where: Mapping[str, Any], past: Past) -> None:
        ended = NOW - past.ago
        seconds = past.seconds if past.started else 0
        cost = seconds * PER_SECOND
        self._book(
            Post(**where, lease=0, amount=cost, overrun=cost > FIRST) if cost else Void(**where, lease=0)
        )
        started = ended - seconds if past.started else 0
        span = {"seconds": seconds, "started": started, "ended": ended}
        self._book(Close(**where, end=past.end, reason=past.reason, **span))

    @staticmethod
    def _measured(rung: int, metrics: Mapping[str, float], attempts: Sequence[Past | Open]) -> RungResult:
        by = [
            n
            for n, a in enumerate(attempts)
            if isinstance(a, Past) and a.rung == rung and a.end == "Finished"
        ]
        return RungResult(rung=rung, epochs=1, metrics=dict(metrics), attempt=by[-1] if by else None)


def scene(*studies: Study, budgets: Sequence[Budget] = (), **how: Any) -> Scene:
    """The namespace of one study, or of these; further words are fields of `Scene` or of the world."""
    of_scene = {name: how.pop(name) for name in list(how) if name in Scene.__dataclass_fields__}
    return Scene(studies or (one(),), tuple(budgets), fields=how, **of_scene)


def deserted(**how: Any) -> Scene:
    """A namespace whose study u1 is gone, and its books are not."""
    return Scene((), entries=(ceiling("study/u1", "100"), PRICED), fields=how)


def proven(*studies: Study, **how: Any) -> Scene:
    """A scene whose baseline has succeeded, for 10 s."""
    return scene(*studies, **how).trial(0, Past(), rungs=[GOOD], outcome="Succeeded")


def ceiling(account: str, amount: str, **more: Any) -> Ceiling:
    """The first ceiling of an account, in USD where nothing else is written."""
    return Ceiling(account=account, revision=0, amount=micro(amount), **({"currency": "USD"} | more))


def manifest(uid: str, generation: int = 1) -> Manifest:
    """The manifest of a study's spec as of a generation; its digests are of nothing."""
    digests = dict.fromkeys(("spec", "space", "criteria"), "0" * 64)
    return Manifest(study=uid, revision=0, generation=generation, **digests)


def micro(amount: str) -> int:
    """Micro-units of a decimal amount."""
    whole, _, rest = amount.partition(".")
    return int(whole) * 10**6 + int(rest.ljust(6, "0"))
