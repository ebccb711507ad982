"""Every possible crash in a small study gives the same books, and then nothing is left to do (P5)."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from comptroller.ledger.encoding import decode
from comptroller.ledger.entries import Close, Entry, Manifest, Price
from comptroller.simulation.costs import SetPrices
from comptroller.simulation.faults import Crash
from comptroller.simulation.people import CreateStudy, SetBudget
from comptroller.simulation.process import NAMESPACE, Process, Stop
from comptroller.simulation.run import Run
from comptroller.simulation.schedule import Event, Schedule

START = 1_800_014_400
STUDY = (
    SetPrices(0),
    SetBudget(0, "blue", "5.00", period="Daily"),
    CreateStudy(0, 1, trials=2, parallel=2, epochs=(1, 2), lease=30),
)


class Counted(Run):
    """A recorder of every point at which the first operator may die."""

    def __init__(self, events: tuple[Event, ...]) -> None:
        super().__init__(Schedule(seed=0, start=START, events=events, horizon=1))
        self.points: list[str] = []

    def start_operator(self, slot: str, delay: int = 1) -> None:
        super().start_operator(slot, delay)
        if self.points:
            return
        point, points = Process._point, self.points

        def counted(process: Process, when: str, what: str) -> None:
            points.append(f"{when} {what}")
            point(process, when, what)

        self.processes[slot].__dict__["_point"] = counted.__get__(self.processes[slot])


class Dying(Run):
    """The first operator dies at its n-th point; its successor starts `down` seconds later."""

    def __init__(self, point: int, down: int) -> None:
        super().__init__(Schedule(seed=0, start=START, events=STUDY, horizon=1))
        self._stop: Stop | None = Stop(point, down=down)
        self.deaths = 0

    def die(self, process: Process, down: int) -> None:
        self.deaths += 1
        super().die(process, down)

    def start_operator(self, slot: str, delay: int = 1) -> None:
        super().start_operator(slot, delay)
        if self._stop is not None:
            self.processes[slot].stop_at(self._stop)
            self._stop = None

    def _calm_down(self) -> None:
        # The only crash may come later than the last fault.
        stops = {slot: list(process._stops) for slot, process in self.processes.items()}
        super()._calm_down()
        for slot, kept in stops.items():
            self.processes[slot]._stops = kept


def entries(run: Run) -> Iterator[Entry]:
    for key in run.store.keys(f"ledger/{NAMESPACE}/journal/"):
        yield from decode(run.store.objects[key]).entries


def sums(run: Run) -> dict[str, Any]:
    """Return the final entries by id and amount, without the parts that depend on the time of observation."""
    found: dict[str, Any] = {}
    for entry in entries(run):
        match entry:
            case Close():
                found[entry.id] = (entry.end, entry.seconds)
            case Price():
                found[entry.id] = entry.rates
            case Manifest():
                found[entry.id] = (entry.spec, entry.generation)
            case _:
                found[entry.id] = getattr(entry, "amount", None)
    return found


@pytest.fixture(scope="module")
def undisturbed() -> Counted:
    run = Counted(STUDY)
    assert run.execute().violations == []
    return run


def test_the_study_is_large_enough_to_say_something(undisturbed):
    kinds = Counter(point.split()[1] for point in undisturbed.points)
    assert {
        "PUT",
        "GET",
        "Launch",
        "Extend",
        "Grant",
        "Release",
        "RecordTrial",
        "RecordStudy",
    } <= kinds.keys()


def test_whatever_point_it_dies_at_the_books_are_the_same(undisturbed):
    wanted = sums(undisturbed)
    for point in range(1, len(undisturbed.points) + 1):
        run = Dying(point, down=0)
        assert run.execute().violations == [], f"point {point}: {undisturbed.points[point - 1]}"
        assert run.deaths == 1
        assert sums(run) == wanted, f"point {point}: {undisturbed.points[point - 1]}"


def test_down_for_longer_than_a_lease_it_converges_all_the_same(undisturbed):
    for point in range(1, len(undisturbed.points) + 1):
        run = Dying(point, down=100)
        assert run.execute().violations == [], f"point {point}: {undisturbed.points[point - 1]}"
        assert run.deaths == 1
        ends = [entry.end for entry in entries(run) if isinstance(entry, Close)]
        assert ends.count("Finished") == 4, f"point {point}: {undisturbed.points[point - 1]}"
        assert set(ends) <= {"Finished", "LeaseExpired", "Suspended"}


def test_a_crash_is_in_the_trace():
    run = Run(
        Schedule(seed=0, start=START, events=(*STUDY, Crash(5, "a", 1, 3)), horizon=60), keep_trace=True
    )
    assert run.execute().violations == []
    assert any(" dies " in line for line in run.trace.lines)
