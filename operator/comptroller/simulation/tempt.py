"""The edits of tenants and their controllers in a run, drawn from its seed."""

import random
from collections.abc import Callable, Iterator

from comptroller.simulation import faults, tenants
from comptroller.simulation.schedule import Event

TENANTS = frozenset(
    {
        "talk",
        "edit_job",
        "queue",
        "edit_pod",
        "delete_managed",
        "remover",
        "impostor",
        "clock_step",
        "sidecars",
        "quota",
    }
)


class Tenants:
    """The kinds of what people with `edit` in the namespace do."""

    rng: random.Random
    _at: Callable[[], int]

    def talk(self) -> Iterator[Event]:
        """Somebody raises a deadline and a grant, perhaps with a note that says that it was stopped."""
        at, pick = self._at(), self.rng.choice((0, 0, 1, 2))
        if self.rng.randrange(100) < 30:  # noqa: PLR2004  (percent)
            yield tenants.EditJob(at, pick, "stop note")
        yield tenants.Talk(at, pick)

    def edit_job(self) -> Iterator[Event]:
        """Somebody patches a Job."""
        event = tenants.EditJob(self._at(), self.rng.randint(0, 3), self.rng.choice(tenants.JOB_EDITS))
        yield from self._then_restarted(event)

    def queue(self) -> Iterator[Event]:
        """A queue suspends a Job, and resumes it later."""
        seconds = self.rng.choice((2, 10, 40, 120))
        yield tenants.EditJob(self._at(), self.rng.randint(0, 2), "suspend", seconds)

    def edit_pod(self) -> Iterator[Event]:
        """Somebody patches a pod."""
        event = tenants.EditPod(self._at(), self.rng.randint(0, 3), self.rng.choice(tenants.POD_EDITS))
        yield from self._then_restarted(event)

    def _then_restarted(self, event: tenants.EditJob | tenants.EditPod) -> Iterator[Event]:
        """Restart the operator after an object lost its label: watches do not bring it any more."""
        yield event
        if event.edit == "managed-by" and self.rng.randrange(2):
            yield faults.Crash(event.at + self.rng.randint(1, 20), "a", 1, self.rng.choice((0, 5)))

    def delete_managed(self) -> Iterator[Event]:
        """Somebody deletes a Job or a pod, in one of the ways there are."""
        resource = self.rng.choice(("jobs", "pods"))
        hows = ("Background", "Foreground", "Orphan", "stripped", "forced")
        how = self.rng.choice(hows[:4] if resource == "jobs" else (hows[0], *hows[3:]))
        yield tenants.DeleteManaged(self._at(), self.rng.randint(0, 3), resource, how)

    def remover(self) -> Iterator[Event]:
        """Somebody removes attempts as soon as they run, perhaps while the operator is down."""
        at = self._at() // 2
        yield tenants.Remover(at, self.rng.choice((2, 10, 40)))
        for crash in range(self.rng.randrange(4)):
            points, down = self.rng.randint(1, 25), self.rng.choice((1, 5, 20))
            yield faults.Crash(at + 10 * crash, "a", points, down)

    def impostor(self) -> Iterator[Event]:
        """Somebody takes the name of an attempt."""
        trial, attempt = self.rng.randint(0, 1), self.rng.choice((0, 1, 1, 2))
        labelled = self.rng.choice((True, False))
        number = self.rng.choice((1, 1, 2))
        yield tenants.Impostor(self._at() // 2, number, trial, attempt, labelled=labelled)

    def clock_step(self) -> Iterator[Event]:
        """A node's clock is stepped."""
        seconds = self.rng.choice((-3600, -90, -10, 10, 90, 3600))
        yield tenants.ClockStep(self._at(), self.rng.choice((0, 0, 1, 2)), seconds)

    def sidecars(self) -> Iterator[Event]:
        """A mesh injects a container."""
        yield tenants.Sidecars(self._at() // 2, self.rng.choice((20, 100, 300)))

    def quota(self) -> Iterator[Event]:
        """A quota refuses pods."""
        yield tenants.Quota(self._at() // 2, self.rng.choice((5, 60, 200)))
