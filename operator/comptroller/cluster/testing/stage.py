"""The stage of the suite of clusters: a cluster, a study in it, and what people and time do to both."""
# ruff: noqa: S101 - pytest's way to say what must hold

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import ClassVar, Literal

from comptroller import actions as todo
from comptroller.actions import Action
from comptroller.cluster.base import Cluster, Snapshot
from comptroller.ledger.names import AttemptKey, attempt_name, trial_name
from comptroller.world import Run, trial_prefix
from comptroller_api.contract import Assignment
from comptroller_api.meta import Metadata
from comptroller_api.study import Study
from comptroller_api.trial import Proposal, Trial, TrialSpec

_TURNS = 2000
"""The turns that a condition may take."""

Failure = Literal["before", "after"]
"""A write raises before it takes effect, or after."""


class ClusterStage(ABC):
    """A cluster to test, with one study and without trials."""

    cluster: Cluster
    namespace: str
    image: str = "trainer:1"
    lease_seconds: ClassVar[int] = 60
    """Long enough for a trainer to begin, and to end by itself if its work is short."""
    short_seconds: ClassVar[int] = 60
    """The lease of a run that is left alone to its deadline: long enough for a trainer to begin."""
    grace_seconds: ClassVar[int] = 10

    # -- what differs between clusters -----------------------------------------------------------------------

    rivals: ClassVar[bool] = True
    """False if one process at a time uses the cluster."""
    removable: ClassVar[bool] = True
    """False if nobody can take a run away."""
    deletable: ClassVar[bool] = True
    """False if nobody can delete a study."""
    pods: ClassVar[bool] = True
    """False if attempts have no pods, so that nothing introduces or expires them."""
    stale: ClassVar[bool] = True
    """False if every snapshot is fresh."""
    failures: ClassVar[tuple[Failure, ...]] = ("before", "after")
    """The ways in which `failing` makes an act raise."""

    @abstractmethod
    def another(self) -> Cluster:
        """Return the cluster as another process has it, which has only begun; the first one may be dead."""

    @abstractmethod
    def work(self, *, long: bool) -> tuple[dict[str, str], int]:
        """Return a trial's parameters and epochs: of a few seconds, or more than any lease of the tests."""

    @abstractmethod
    def trainers(self) -> int:
        """Return the number of trainers that were ever started for the study, by whatever counts them."""

    @abstractmethod
    async def turn(self) -> None:
        """Let a moment pass: a second, or less where time passes by itself."""

    @abstractmethod
    async def over(self, name: str) -> None:
        """Wait until nothing of an attempt runs any more, without a use of the cluster under test."""

    @abstractmethod
    @contextmanager
    def failing(self, failure: Failure) -> Iterator[None]:
        """Make the writes of the cluster fail."""

    @abstractmethod
    def suspend(self) -> None:
        """Let a person suspend the study."""

    @contextmanager
    def deaf(self) -> Iterator[None]:
        """Let watches bring nothing."""
        assert not self.stale, "a stage of stale snapshots stops its watches here"
        yield

    def remove(self, name: str) -> None:
        """Let a person remove an attempt with its pod and their finalizers."""
        raise NotImplementedError

    def delete(self) -> None:
        """Let a person delete the study."""
        raise NotImplementedError

    def requests(self) -> int:
        """Return the number of requests that the cluster has sent."""
        raise NotImplementedError

    # -- what is the same ------------------------------------------------------------------------------------

    async def snapshot(self, *, fresh: bool = False) -> Snapshot:
        """Observe the namespace."""
        return await self.cluster.observe(self.namespace, fresh=fresh)

    async def act(self, *actions: Action) -> None:
        """Carry out actions in order."""
        for action in actions:
            await self.cluster.act(self.namespace, action)

    async def study(self, *, fresh: bool = False) -> Study:
        """Return the study as observed."""
        (found,) = (await self.snapshot(fresh=fresh)).studies
        return found

    async def run(self, key: AttemptKey, *, fresh: bool = False) -> Run:
        """Return the run of an attempt as observed."""
        return (await self.snapshot(fresh=fresh)).runs[key]

    async def turns(self) -> None:
        """Let some moments pass, in which something that must not happen would begin."""
        for _ in range(5):
            await self.turn()

    async def until(self, key: AttemptKey, holds: Callable[[Run], bool]) -> Run:
        """Observe until something holds of a run, and return the run."""

        async def look() -> Run | None:
            found = (await self.snapshot()).runs.get(key)
            return found if found is not None and holds(found) else None

        return await self.eventually(look, f"{key} never got there")

    async def eventually(self, look: Callable[[], Awaitable[Run | None]], what: str) -> Run:
        """Let time pass until `look` finds a run."""
        for _ in range(_TURNS):
            if (found := await look()) is not None:
                return found
            await self.turn()
        raise AssertionError(what)

    async def trial(self, number: int, *, long: bool = True) -> todo.CreateTrial:
        """Return the creation of a trial."""
        study = await self.study()
        meta = study.metadata
        name = trial_name(meta.name, meta.uid, number)
        spec = TrialSpec(
            study=meta.name,
            study_uid=meta.uid,
            number=number,
            seed=0,
            parameters=self.work(long=long)[0],
            proposal=Proposal(phase="Search", engine="Random"),
        )
        return todo.CreateTrial(
            study, Trial(metadata=Metadata(name=name, namespace=self.namespace), spec=spec)
        )

    async def launch(self, number: int = 0, *, long: bool = True, lease: int | None = None) -> todo.Launch:
        """Create a trial and return the launch of its first attempt."""
        await self.act(await self.trial(number, long=long))
        snapshot = await self.snapshot(fresh=True)
        (study,) = snapshot.studies
        meta, runtime = study.metadata, study.spec.runtime
        (trial,) = [one for one in snapshot.trials[meta.uid] if one.spec.number == number]
        parameters, epochs = self.work(long=long)
        assignment = Assignment(
            study=meta.name,
            namespace=self.namespace,
            trial=number,
            attempt=0,
            name=attempt_name(meta.name, meta.uid, number, 0),
            seed=0,
            parameters=parameters,
            rung=0,
            epochs=epochs,
            total_epochs=epochs,
            data=study.spec.data,
            artifacts=trial_prefix(study, number),
            lease_seconds=lease or self.lease_seconds,
            grace_seconds=self.grace_seconds,
        )
        return todo.Launch(study, trial, assignment, self.image, runtime.resources, {})
