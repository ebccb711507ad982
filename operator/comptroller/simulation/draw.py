"""The faults and edits of a run, drawn from its seed.

Each seed draws which kinds of faults it has at all (swarm testing: Groce et al., ISSTA 2012): a run with
three kinds of faults goes deeper into each than a run with twenty.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime

from comptroller.cluster.simulated import KINDS
from comptroller.simulation import costs, faults, people, storage, tenants
from comptroller.simulation.schedule import Event, Schedule
from comptroller.simulation.tempt import TENANTS, Tenants

_NOON = 1_800_014_400
"""2027-01-15 12:00:00 UTC."""
_MIDNIGHT = _NOON + 12 * 3600
_LONGEST = 480
"""Seconds of what is drawn; what happens takes longer."""
_SHORTEST = 30
"""Seconds, at least, of a lease with its overhead."""
_EPOCH = 40
"""Seconds, at most."""
_AFTERWARDS = 20
_SLOTS = ("a", "a", "b")
_OFTEN = dict.fromkeys(TENANTS, 2) | {
    "delete_study": 2,
    "moved_period": 2,
    "edit_study": 2,
    "node_lost": 2,
    "second": 3,
    "stand_still": 2,
}
"""The weights of events that come more often: they take several steps to their end, and can be cut short."""


def schedule(seed: int) -> Schedule:
    """The schedule of a seed; the same on every machine."""
    return _Draw(seed).schedule()


def _over(event: Event) -> int:
    """Return when the effect of an event is over."""
    seconds: int | None = getattr(event, "seconds", None)
    return event.at + abs(seconds or 0)


def _unguarded(event: Event) -> bool:
    """Return whether it keeps the guard away for longer than the shortest lease and its overhead."""
    match event:
        case faults.NextJob(_, field):
            return field == "hostile"
        case faults.SlowPull(_, seconds):
            return seconds > _SHORTEST
        case tenants.Sidecars():
            return True  # the guard ends the trainer and not the sidecar
        case tenants.ClockStep(_, _, seconds):
            return seconds < 0  # the kubelet reads its node's clock, and the pod's own deadline is later
    return False


_WRITERS = (faults.SecondOperator, storage.StoreFault, people.Verify)
"""Events left out if the bucket is rolled back: late writes may come to where a batch is gone."""

_UNPRICED = (costs.DropPrices, costs.FeedErrs)
"""Events left out if there are nodes of two kinds: without a price nobody knows the cost of a node."""


class _Draw(Tenants):
    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.events: list[Event] = []
        self.start = _NOON
        self.lag = 30
        self.span = 60
        """Seconds in which the studies run, where nothing goes wrong."""
        self.gpu: str | None = None
        """The price of a GPU."""
        self.gpus = False
        """Some studies ask for GPUs."""
        self.old: str | None = None
        """The price of a core of an old node."""
        self.feed = False
        """Prices come from a feed."""

    def schedule(self) -> Schedule:
        rng = self.rng
        self._scene()
        kinds = rng.sample(
            sorted(_KINDS), rng.randint(1, 5), counts=[_OFTEN.get(k, 1) for k in sorted(_KINDS)]
        )
        for _ in range(rng.randint(2, 9)):
            self.events += _KINDS[rng.choice(kinds)](self)
        if TENANTS & set(kinds) and self._chance(25):
            self.events.insert(0, tenants.Policies(0))
        if self._names({"ControllersDown", "ApiAway", "NodeLost"}):
            # Two enforcers at once: an image that has no guard, or is still being pulled, and nobody to tell
            # the kubelet. Only the pod's own deadline is left, which covers the lease where it is not renewed
            # (design, section 3).
            self.events = [e for e in self.events if not _unguarded(e)]
        if self._names({"OldNodes"}):
            self.events = [e for e in self.events if not isinstance(e, _UNPRICED)]
        if self._names({"RolledBack"}):
            self.events = [e for e in self.events if not isinstance(e, _WRITERS)]
        return Schedule(
            seed=self.seed,
            start=self.start,
            events=tuple(sorted(self.events, key=lambda event: event.at)),
            horizon=max(map(_over, self.events)) + _AFTERWARDS,
            lag=self.lag,
        )

    def _names(self, names: set[str]) -> bool:
        return any(type(event).__name__ in names for event in self.events)

    # -- what there is -------------------------------------------------------------------------------------

    def _scene(self) -> None:
        rng = self.rng
        if self._chance(40):
            self.start = _MIDNIGHT - rng.randint(20, 400)
        cap = rng.choice(("3.60", "7.20", "7.20"))
        age = rng.choice((None, None, 10_000, 300))
        if self._chance(20):  # what is written of them stays, so that what they cost is known
            self.old = rng.choice(("0.60", "1.80"))
            self.events.append(costs.OldNodes(0))
        self.gpu = rng.choice(("1.50", "3.00")) if self._chance(15) else None
        self.feed = self._chance(20)
        self.gpus = self.gpu is not None or self._chance(10)
        self.events.append(costs.SetPrices(0, cap=cap, age=age, gpu=self.gpu, old=self.old, feed=self.feed))
        for number in range(1, rng.choice((1, 1, 1, 2, 2, 3)) + 1):
            self.events.append(self._study(number, 0 if number == 1 else rng.randint(0, 200)))
        for name in ("blue", "red", "wine")[: rng.choice((0, 1, 1, 2, 2, 3))]:
            self.events.append(self._budget(name, 0))

    def _study(self, number: int, at: int) -> people.CreateStudy:
        rng = self.rng
        trials = rng.choice((1, 2, 2, 2, 3))
        parallel = rng.randint(1, trials)
        epochs = rng.choice(((1,), (2,), (1, 2), (1, 3)))
        self.span = max(self.span, at + trials * epochs[-1] * _EPOCH // parallel)
        lease = rng.choice((30, 60, 60, 120))
        return people.CreateStudy(
            at,
            number,
            ceiling=rng.choice(("0.20", "0.35", "1.00", "20.00", "20.00")),
            trials=trials,
            parallel=parallel,
            epochs=epochs,
            lease=lease,
            renewal=rng.choice(("Renew", "Renew", "Renew", "Never")),
            longest=max(lease, rng.choice((90, 600, 600))),
            capacity=rng.choice(("OnDemand", "OnDemand", "Spot")),
            cpu=rng.choice(("1", "1", "2", "500m")),
            team=rng.choice("xy"),
            retries=rng.randint(0, 2),
            gpu=rng.choice((0, 1, 2)) if self.gpus else 0,
            foreign=self._chance(8),
        )

    def _budget(self, name: str, at: int) -> people.SetBudget:
        rng = self.rng
        day = datetime.fromtimestamp(self.start + rng.choice((0, 0, 86400)), UTC)
        return people.SetBudget(
            at,
            name,
            rng.choice(("0.15", "0.30", "0.60", "5.00", "5.00", "50.00")),
            period=rng.choice(("Total", "Daily", "Daily", "Weekly")),
            zone=rng.choice(("UTC", "UTC", "Europe/London")),
            team=rng.choice((None, "x", "x", "y")),
            credit=(rng.choice(("0.20", "1.00")), f"{day:%Y-%m-%d}") if self._chance(20) else None,
            cap=rng.choice(("0.25", "2.00")) if self._chance(20) else None,
            exhausted=rng.choice(("Suspend", "Suspend", "Suspend", "Cancel")),
        )

    def _chance(self, percent: int) -> bool:
        return self.rng.randrange(100) < percent

    # -- what befalls it -----------------------------------------------------------------------------------

    def _at(self) -> int:
        return self.rng.randint(1, min(_LONGEST, self.span + 20))

    def _second(self, at: int, slot: str) -> Iterator[Event]:
        """The second operator, where something is to befall it."""
        if slot == "b" and not self._names({"SecondOperator"}):
            yield faults.SecondOperator(max(0, at - 20), self.rng.randint(60, 300))

    def crash(self) -> Iterator[Event]:
        at, slot = self._at(), self.rng.choice(_SLOTS)
        yield from self._second(at, slot)
        down = self.rng.choice((0, 1, 5, 20, 90, 200))
        yield faults.Crash(at, slot, self.rng.randint(1, 25), down)

    def stand_still(self) -> Iterator[Event]:
        at, slot = self._at(), self.rng.choice(_SLOTS)
        yield from self._second(at, "b" if self._chance(60) else slot)  # the world continues without it
        seconds = self.rng.choice((2, 10, 40, 150))
        self.lag += seconds
        yield faults.StandStill(at, slot, self.rng.randint(1, 25), seconds)

    def second(self) -> Iterator[Event]:
        at = self._at() // 2
        yield faults.SecondOperator(at, self.rng.randint(60, 400))
        if self._chance(50):  # it wants other things than the first, since its clock or its world is another
            yield faults.Skew(at, "b", self.rng.choice((-20, 10, 20, 30, 90)))
        if self._chance(50):
            stale = self._stale(at + self.rng.randint(1, 20), "b")
            yield stale
            if self._chance(50):
                yield people.DeleteTrial(
                    stale.at + self.rng.randint(1, stale.seconds), self.rng.randint(0, 5)
                )

    def skewed(self) -> Iterator[Event]:
        at, slot = self._at(), self.rng.choice(_SLOTS)
        yield from self._second(at, slot)
        seconds = self.rng.choice((-200, -90, -30, -5, 5, 30, 90, 200))
        yield faults.Skew(at, slot, seconds)

    def store_fault(self) -> Iterator[Event]:
        at, slot = self._at(), self.rng.choice(_SLOTS)
        yield from self._second(at, slot)
        rng = self.rng
        kind = rng.choice(("create", "create", "create", "read"))
        which = rng.choice(
            ("REFUSED", "REFUSED", "CONFLICT", "LOST_REQUEST", "LOST_REPLY", "LOST_REPLY", "LATE", "LATE")
        )
        count = rng.choice((1, 2, 4, 7))
        yield storage.StoreFault(
            at, slot, kind, which if kind == "create" else "REFUSED", count, rng.randint(1, 30)
        )
        if self._chance(30):
            yield faults.Crash(at, slot, rng.randint(1, 12), rng.choice((0, 5, 40)))
        if self._chance(40):  # what is lost meets the writes of another
            yield from self._second(at, "b")
            for each in "ab":
                yield storage.StoreFault(at, each, "create", "LOST_REQUEST", 6, apart=True)

    def store_away(self) -> Iterator[Event]:
        yield storage.StoreAway(self._at(), self.rng.choice((10, 60, 200)))

    def bad_snapshot(self) -> Iterator[Event]:
        at = self.rng.randint(self.span // 2, self.span + 20)  # no snapshot exists at first
        yield storage.BadSnapshot(at, self.rng.choice(("cut", "forged", "forged", "forged")))
        yield people.Verify(at)  # later on there may be newer ones in its place
        yield faults.Crash(at, "a", 1, self.rng.choice((0, 5)))

    def rolled_back(self) -> Iterator[Event]:
        """The bucket is restored from an old copy, and an operator starts on that."""
        at, rng = self.rng.randint(self.span // 2, self.span + 20), self.rng
        yield storage.RolledBack(at, rng.choice((1, 2, 5, 1000)), rng.choice((40, 150)))
        yield faults.Crash(at, "a", 1, rng.choice((0, 5, 60)))

    def slow_store(self) -> Iterator[Event]:
        call = self.rng.choice((1, 2, 4, 9))
        self.lag += 60 * call
        yield storage.SlowStore(self._at(), self.rng.choice((30, 120)), call)

    def lost_action(self) -> Iterator[Event]:
        at, slot = self._at(), self.rng.choice(_SLOTS)
        yield from self._second(at, slot)
        yield faults.LostAction(at, slot, self._chance(50), self.rng.choice((1, 1, 3)))

    def api_away(self) -> Iterator[Event]:
        seconds = self.rng.choice((5, 40, 150))
        self.lag += seconds
        yield faults.ApiAway(self._at(), seconds, self._chance(50))

    def stale(self) -> Iterator[Event]:
        at, slot = self._at(), self.rng.choice(_SLOTS)
        yield from self._second(at, slot)
        event = self._stale(at, slot)
        yield event
        if self._chance(40):
            yield people.DeleteTrial(at + self.rng.randint(1, event.seconds), self.rng.randint(0, 5))

    def _stale(self, at: int, slot: str) -> faults.Stale:
        kinds = tuple(kind for kind in KINDS if self._chance(40)) or (self.rng.choice(KINDS),)
        seconds = self.rng.choice((5, 30, 120))
        self.lag += seconds
        return faults.Stale(at, slot, kinds, seconds)

    def controllers_down(self) -> Iterator[Event]:
        at, seconds = self._at(), self.rng.choice((10, 60, 200))
        yield faults.ControllersDown(at, seconds)
        if self._chance(30):  # so that only the kubelet is left to end it
            yield replace(self._study(3, max(0, at - 10)), lease=30, longest=600, foreign=True)

    def late_start(self) -> Iterator[Event]:
        """A day of a budget ends while Jobs wait for a controller that is down."""
        rng = self.rng
        self.start = max(self.start, _MIDNIGHT - rng.randint(60, 300))
        at = max(1, _MIDNIGHT - self.start - rng.randint(30, 140))
        yield people.SetBudget(0, "night", "50.00", period="Daily")
        yield self._study(3, at)
        yield faults.ControllersDown(at, rng.choice((60, 150, 200)))

    def node_lost(self) -> Iterator[Event]:
        rng, at = self.rng, self._at() // 2
        seconds = rng.choice((20, 150, 250, 250, None))
        collected = rng.choice((None, 100, 300)) if seconds is None else None
        # Pods come to the first node with room.
        yield faults.NodeLost(at, rng.choice((0, 0, 0, 1, 2)), seconds, self._chance(40), collected)
        if self._chance(50):  # so that something runs there
            yield self._study(3, max(0, at - rng.randint(5, 15)))
        if self._chance(20):
            yield faults.Crash(at + rng.randint(1, 60), "a", 1, rng.choice((0, 5)))

    def node_clock(self) -> Iterator[Event]:
        seconds = self.rng.choice((-3600, -90, -20, 20, 90, 3600))
        yield faults.NodeClock(self._at(), self.rng.randint(0, 3), seconds)

    def pod_fault(self) -> Iterator[Event]:
        kind = self.rng.choice(("error", "oom", "diverged", "preempted", "preempted"))
        yield faults.PodFault(self._at(), self.rng.randint(0, 3), kind)

    def next_job(self) -> Iterator[Event]:
        yield faults.NextJob(self._at() // 2, self.rng.choice(("stubborn", "hostile")))

    def slow_pull(self) -> Iterator[Event]:
        yield faults.SlowPull(self._at() // 2, self.rng.choice((1, 3, 5, 20, 60)))

    def bad_report(self) -> Iterator[Event]:
        yield faults.BadReport(self._at() // 2, self.rng.choice(("lost", "garbage", "foreign")))

    def edit_study(self) -> Iterator[Event]:
        rng, number = self.rng, self.rng.choice((1, 1, 2))
        match rng.choice((0, 0, 1, 2, 3, 4)):
            case 0:
                ceiling = rng.choice(("0.10", "0.20", "0.30", "2.00"))
                yield people.EditStudy(self._at() // 2, number, ceiling=ceiling)
            case 1:
                at = self._at()
                yield people.EditStudy(at, number, suspend=True)
                if self._chance(80):
                    yield people.EditStudy(min(_LONGEST - 1, at + rng.randint(1, 120)), number, suspend=False)
            case 2:
                yield people.EditStudy(self._at(), number, team=rng.choice("xy"))
            case 3:
                yield people.EditStudy(self._at(), number, parallel=rng.randint(1, 3))
            case _:
                yield people.EditStudy(self._at(), number, ceiling="50.00")

    def delete_study(self) -> Iterator[Event]:
        at, number = self._at(), self.rng.choice((1, 1, 2))
        if self._chance(30):
            yield faults.Crash(max(1, at - 5), "a", self.rng.randint(1, 25), self.rng.choice((5, 40, 90)))
        yield people.DeleteStudy(at, number, forced=self._chance(50), orphans=self._chance(20))
        if self._chance(40):
            yield self._study(number, min(_LONGEST - 1, at + self.rng.randint(1, 60)))

    def delete_trial(self) -> Iterator[Event]:
        yield people.DeleteTrial(self._at(), self.rng.randint(0, 5))

    def delete_job(self) -> Iterator[Event]:
        yield people.DeleteJob(self._at(), self.rng.randint(0, 5))

    def set_budget(self) -> Iterator[Event]:
        yield self._budget(self.rng.choice(("blue", "red", "green")), self._at())

    def moved_credit(self) -> Iterator[Event]:
        """A credit that is being spent is given another day."""
        rng, at = self.rng, self._at()
        today, later = (datetime.fromtimestamp(self.start + days * 86400, UTC) for days in (0, 3))
        amount, own = rng.choice(("0.15", "0.30", "0.60")), rng.choice(("0.01", "0.30"))
        yield people.SetBudget(0, "gift", own, credit=(amount, f"{today:%Y-%m-%d}"))
        yield people.SetBudget(at, "gift", own, credit=(amount, f"{later:%Y-%m-%d}"))

    def moved_period(self) -> Iterator[Event]:
        """A budget of a day that is being spent becomes one of a week, or the other way round."""
        rng, at = self.rng, self._at()
        amount, kinds = rng.choice(("0.30", "0.60")), ["Daily", "Weekly", "Total"]
        rng.shuffle(kinds)
        yield people.SetBudget(0, "spell", amount, period=kinds[0])
        yield people.SetBudget(at, "spell", amount, period=kinds[1])

    def delete_budget(self) -> Iterator[Event]:
        yield people.DeleteBudget(self._at(), self.rng.choice(("blue", "red")))

    def set_prices(self) -> Iterator[Event]:
        rng = self.rng
        cap = rng.choice(("7.20", "7.20", "14.40"))
        now = rng.choice(("1.80", "3.60", "7.20", cap, cap))
        yield costs.SetPrices(
            self._at() // 2,
            now,
            rng.choice(("0.60", "1.20", "7.20")),
            cap,
            rng.choice((None, 300)),
            gpu=self.gpu,
            old=self.old,
            feed=self.feed,
        )

    def feed_errs(self) -> Iterator[Event]:
        """A feed fails, and answers all the same."""
        at, rng = self._at() // 2, self.rng
        if not self.feed:
            yield costs.SetPrices(max(0, at - 30), gpu=self.gpu, old=self.old, feed=True)
        yield costs.FeedErrs(at, rng.choice((20, 60, 200)), rng.choice((0, 1000)))

    def drop_prices(self) -> Iterator[Event]:
        at = self._at()
        yield costs.DropPrices(at)
        if self._chance(70):
            again = min(_LONGEST - 1, at + self.rng.randint(1, 120))
            yield costs.SetPrices(again, gpu=self.gpu, old=self.old, feed=self.feed)


_KINDS: dict[str, Callable[[_Draw], Iterator[Event]]] = {
    name: method
    for name, method in (vars(Tenants) | vars(_Draw)).items()
    if not name.startswith("_") and name != "schedule"
}
