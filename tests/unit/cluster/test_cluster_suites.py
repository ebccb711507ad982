"""The simulated cluster and this machine keep the promises of `Cluster`; a cluster that breaks one fails."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from comptroller import actions as todo
from comptroller.actions import Action
from comptroller.cluster.base import Cluster, Snapshot
from comptroller.cluster.testing import ClusterConformance
from comptroller.ledger.names import attempt_name

from .stages import LocalStage, SimulatedStage


class TestSimulated(ClusterConformance):
    @pytest.fixture
    def stage(self) -> SimulatedStage:
        return SimulatedStage()


class TestLocal(ClusterConformance):
    @pytest.fixture
    async def stage(self, tmp_path: Path) -> AsyncIterator[LocalStage]:
        stage = LocalStage(tmp_path)
        yield stage
        await stage.close()


class Changed:
    """A cluster that is right; the broken clusters differ from it in one thing."""

    def __init__(self, cluster: Cluster) -> None:
        self.right = cluster

    async def observe(self, namespace: str, *, fresh: bool = False) -> Snapshot:
        return await self.right.observe(namespace, fresh=fresh)

    async def act(self, namespace: str, action: Action) -> None:
        await self.right.act(namespace, action)


class Forgets(Changed):
    """A pass sees what the last fresh snapshot had."""

    last: Snapshot | None = None

    async def observe(self, namespace, *, fresh=False):
        if fresh or self.last is None:
            self.last = await super().observe(namespace, fresh=fresh)
        return self.last


class IsNeverFresh(Changed):
    async def observe(self, namespace, *, fresh=False):
        del fresh
        return await super().observe(namespace)


class IsAlwaysFresh(Changed):
    async def observe(self, namespace, *, fresh=False):
        del fresh
        return await super().observe(namespace, fresh=True)


class LaunchesUnderAnotherName(Changed):
    async def act(self, namespace, action):
        key = action.key if isinstance(action, todo.Launch) else None
        if key is not None and key in (await self.observe(namespace, fresh=True)).runs:
            meta, trial = action.study.metadata, action.assignment.trial
            name = attempt_name(meta.name, meta.uid, trial, 1)
            work = action.assignment.model_copy(update={"attempt": 1, "name": name})
            action = replace(action, assignment=work)
        await super().act(namespace, action)


class MissesWhatIsGone(Changed):
    async def act(self, namespace, action):
        names = {run.name for run in (await self.observe(namespace)).runs.values()}
        if isinstance(action, todo.Stop) and action.name not in names:
            raise LookupError(action.name)
        await super().act(namespace, action)


class RepeatsWhatRaised(Changed):
    """Takes an attempt whose launch raised for done."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self.done: set[str] = set()

    async def act(self, namespace, action):
        if isinstance(action, todo.Launch):
            name = action.assignment.name
            if name in self.done:
                return
            self.done.add(name)
        await super().act(namespace, action)


class SaysNothing(Changed):
    async def act(self, namespace, action):
        try:
            await super().act(namespace, action)
        except Exception:
            if not isinstance(action, todo.Launch | todo.Append):
                raise


class BuriesNothing(Changed):
    async def act(self, namespace, action):
        if not isinstance(action, todo.Bury):
            await super().act(namespace, action)


class ReplacesTombstones(Changed):
    """Both operators believe that they have the name."""

    async def act(self, namespace, action):
        if isinstance(action, todo.Bury):
            action = replace(action, key=action.key._replace(attempt=1), name=f"{action.name[:-1]}1")
        await super().act(namespace, action)


class LaunchesWhatWasRemoved(Changed):
    async def act(self, namespace, action):
        await super().act(
            namespace, replace(action, first=True) if isinstance(action, todo.Launch) else action
        )


class RunsForever(Changed):
    async def act(self, namespace, action):
        if isinstance(action, todo.Launch):
            work = action.assignment.model_copy(update={"lease_seconds": 90_000})
            action = replace(action, assignment=work)
        await super().act(namespace, action)


class ExtendsNothing(Changed):
    async def act(self, namespace, action):
        if not isinstance(action, todo.Extend):
            await super().act(namespace, action)


class StopsWithoutAReason(Changed):
    async def act(self, namespace, action):
        await super().act(namespace, replace(action, reason="") if isinstance(action, todo.Stop) else action)


class ListsTheLatestFirst(Changed):
    async def observe(self, namespace, *, fresh=False):
        found = await super().observe(namespace, fresh=fresh)
        return replace(found, trials={uid: trials[::-1] for uid, trials in found.trials.items()})


class ProtectsNothing(Changed):
    async def act(self, namespace, action):
        if not isinstance(action, todo.Protect):
            await super().act(namespace, action)


SEES = "test_a_pass_sees_what_the_pass_before_did"
FRESH = "test_a_fresh_snapshot_sees_every_write_by_any_writer"
REQUESTS = "test_a_snapshot_costs_no_request"
TWICE = "test_an_action_done_twice_is_done_once"
NEVER = "test_what_was_never_there_can_be_acted_on"
TAKEN = "test_a_name_is_taken_once"
RIVALS = "test_one_of_two_operators_takes_a_name"
TOMBSTONE = "test_a_name_with_a_tombstone_never_runs"
RELEASED = "test_a_released_attempt_never_runs_again"
REMOVED = "test_an_attempt_that_somebody_removed_is_not_run_again"
DEADLINE = "test_a_run_ends_at_its_deadline_with_nobody_watching"
RAISED = "test_a_raised_deadline_is_seen"
STOPPED = "test_a_stopped_run_ends_and_says_why"
REPEATED = "test_an_act_that_raised_can_be_repeated"
ORDER = "test_trials_are_in_order_of_their_numbers"
DELETED = "test_a_deleted_study_stays_until_it_is_unprotected"
JOURNAL = "test_an_entry_for_the_journal_is_refused"

BROKEN: list[tuple[type[Changed], str, type[Exception]]] = [
    (Forgets, SEES, AssertionError),
    (IsNeverFresh, FRESH, AssertionError),
    (IsAlwaysFresh, REQUESTS, AssertionError),
    (LaunchesUnderAnotherName, TWICE, AssertionError),
    (MissesWhatIsGone, NEVER, LookupError),
    (LaunchesUnderAnotherName, TAKEN, AssertionError),
    (ReplacesTombstones, RIVALS, AssertionError),
    (BuriesNothing, TOMBSTONE, AssertionError),
    (LaunchesUnderAnotherName, RELEASED, AssertionError),
    (LaunchesWhatWasRemoved, REMOVED, AssertionError),
    (RunsForever, DEADLINE, AssertionError),
    (ExtendsNothing, RAISED, AssertionError),
    (StopsWithoutAReason, STOPPED, AssertionError),
    (RepeatsWhatRaised, REPEATED, AssertionError),
    (SaysNothing, REPEATED, AssertionError),
    (ListsTheLatestFirst, ORDER, AssertionError),
    (ProtectsNothing, DELETED, ValueError),
    (SaysNothing, JOURNAL, AssertionError),
]


@pytest.mark.parametrize(("broken", "test", "error"), BROKEN)
async def test_a_broken_promise_fails_its_test(
    broken: type[Changed], test: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await getattr(ClusterConformance(), test)(SimulatedStage(broken))


def test_each_promise_has_a_cluster_that_breaks_it() -> None:
    assert {test for _, test, _ in BROKEN} == {n for n in vars(ClusterConformance) if n.startswith("test_")}
