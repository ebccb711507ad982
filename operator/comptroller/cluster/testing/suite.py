"""The suite of clusters: each promise of `Cluster` is a test."""
# ruff: noqa: S101 - pytest's way to say what must hold

import asyncio
from contextlib import suppress
from unittest import SkipTest

from comptroller import actions as todo
from comptroller.cluster.testing.stage import ClusterStage
from comptroller.world import Run
from comptroller_api.contract import EXIT_FINISHED
from comptroller_api.trial import TrialStatus


def bury(launch: todo.Launch) -> todo.Bury:
    """Return the action that takes the name of a launch."""
    return todo.Bury(launch.key, launch.assignment.name, "the study is suspended", launch.trial)


def ended(run: Run) -> bool:
    """Return whether a run has ended."""
    return run.ended is not None


def placed(run: Run) -> bool:
    """Return whether a run has reached a node."""
    return run.scheduled is not None


class ClusterConformance:
    """Tests of one implementation. A subclass has a fixture `stage`."""

    async def test_a_pass_sees_what_the_pass_before_did(self, stage: ClusterStage) -> None:
        launch = await stage.launch()
        with stage.deaf():
            study = await stage.study()
            await stage.act(await stage.trial(1), launch, todo.Protect(study))
            seen = await stage.snapshot()
            assert len(seen.trials[study.metadata.uid]) == 2  # noqa: PLR2004 - both trials
            assert seen.runs[launch.key].name == launch.assignment.name
            (study,) = seen.studies
            assert study.metadata.finalizers
            trial = seen.trials[study.metadata.uid][0]
            await stage.act(todo.RecordTrial(trial, TrialStatus(state="Suspended")))
            status = (await stage.snapshot()).trials[study.metadata.uid][0].status
            assert status is not None
            assert status.state == "Suspended"

    async def test_a_fresh_snapshot_sees_every_write_by_any_writer(self, stage: ClusterStage) -> None:
        launch = await stage.launch()
        with stage.deaf():
            other = stage.another()
            await other.observe(stage.namespace)
            await other.act(stage.namespace, await stage.trial(1))
            await other.act(stage.namespace, launch)
            stage.suspend()
            seen = await stage.snapshot(fresh=True)
        (study,) = seen.studies
        assert study.spec.suspend
        assert [one.spec.number for one in seen.trials[study.metadata.uid]] == [0, 1]
        assert launch.key in seen.runs

    async def test_a_snapshot_costs_no_request(self, stage: ClusterStage) -> None:
        if not stage.stale:
            raise SkipTest("every snapshot of this cluster is fresh")
        await stage.act(await stage.launch())
        await stage.snapshot()
        before = stage.requests()
        for _ in range(3):
            await stage.snapshot()
        assert stage.requests() == before
        await stage.snapshot(fresh=True)
        assert stage.requests() > before, "requests are not counted"

    async def test_an_action_done_twice_is_done_once(self, stage: ClusterStage) -> None:
        launch = await stage.launch()
        name = launch.assignment.name
        await stage.act(launch, launch)
        await stage.until(launch.key, placed)
        for action in (
            await stage.trial(0),
            todo.Extend(name, 600),
            todo.Grant(name, 600),
            todo.Stop(name, "Suspended", "enough"),
        ):
            await stage.act(action, action)
        await stage.until(launch.key, ended)
        await stage.act(todo.Release(name), todo.Release(name))
        seen = await stage.snapshot(fresh=True)
        assert len(seen.trials[launch.key.study]) == 1
        assert len(seen.runs) <= 1
        assert stage.trainers() <= 1

    async def test_what_was_never_there_can_be_acted_on(self, stage: ClusterStage) -> None:
        create, name = await stage.trial(7), "never-0000-0"
        gone = create.trial.model_copy(
            update={
                "metadata": create.trial.metadata.model_copy(update={"uid": "gone", "resource_version": "1"})
            }
        )
        await stage.act(
            todo.Extend(name, 60),
            todo.Grant(name, 60),
            todo.Stop(name, "Suspended", "enough"),
            todo.Release(name),
            todo.RecordTrial(gone, TrialStatus(state="Pending")),
        )
        if stage.pods:
            await stage.act(todo.Introduce(name, "10.0.0.1"), todo.Expire(name))
        assert not (await stage.snapshot(fresh=True)).runs

    async def test_a_name_is_taken_once(self, stage: ClusterStage) -> None:
        launch = await stage.launch(long=False)
        await stage.act(launch)
        await stage.until(launch.key, ended)
        other = stage.another()
        await other.observe(stage.namespace)
        for action in (launch, bury(launch), launch):
            await other.act(stage.namespace, action)
        await stage.turns()
        runs = (await stage.snapshot(fresh=True)).runs
        assert list(runs) == [launch.key]
        run = runs[launch.key]
        assert (run.exit.code, run.stop, run.tombstone) == (EXIT_FINISHED, None, False)
        assert stage.trainers() == 1

    async def test_one_of_two_operators_takes_a_name(self, stage: ClusterStage) -> None:
        if not stage.rivals:
            raise SkipTest("one process at a time uses this cluster")
        for number, first in enumerate(("launch", "bury")):
            launch = await stage.launch(number)
            other, before = stage.another(), stage.trainers()
            await other.observe(stage.namespace)
            acts = [stage.act(launch), other.act(stage.namespace, bury(launch))]
            await asyncio.gather(*(acts if first == "launch" else reversed(acts)))
            runs = (await stage.snapshot(fresh=True)).runs
            assert len(runs) == number + 1, "both have effect"
            run = runs[launch.key]
            assert not run.rivals
            assert run.uid == (await other.observe(stage.namespace, fresh=True)).runs[launch.key].uid
            if run.stop is None:
                await stage.until(launch.key, placed)
            await stage.turns()
            assert stage.trainers() - before <= (run.stop is None)

    async def test_a_name_with_a_tombstone_never_runs(self, stage: ClusterStage) -> None:
        launch = await stage.launch()
        await stage.act(bury(launch), launch)
        run = await stage.until(launch.key, ended)
        assert run.scheduled is None
        assert (run.stop, run.stop_reason) == ("Suspended", "the study is suspended")
        await stage.turns()
        assert stage.trainers() == 0

    async def test_a_released_attempt_never_runs_again(self, stage: ClusterStage) -> None:
        launch = await stage.launch(long=False)
        await stage.act(launch)
        await stage.until(launch.key, ended)
        await stage.act(todo.Release(launch.assignment.name))
        left = (await stage.snapshot(fresh=True)).runs.get(launch.key)
        assert left is None or left.released
        await stage.act(launch)
        await stage.snapshot()
        await stage.turns()
        assert stage.trainers() == 1

    async def test_an_attempt_that_somebody_removed_is_not_run_again(self, stage: ClusterStage) -> None:
        if not stage.removable:
            raise SkipTest("nobody can take a run away from this cluster")
        launch = await stage.launch()
        await stage.act(launch)
        await stage.until(launch.key, lambda run: placed(run) and stage.trainers() == 1)
        stage.remove(launch.assignment.name)
        await stage.over(launch.assignment.name)
        assert launch.key not in (await stage.snapshot(fresh=True)).runs
        for cluster in (stage.cluster, stage.another()):
            for action in (launch, bury(launch)):
                await cluster.observe(stage.namespace, fresh=True)
                await cluster.act(stage.namespace, action)
                seen = await cluster.observe(stage.namespace)
                assert launch.key not in seen.runs
                assert seen.removed[launch.key].at > 0
        assert stage.trainers() == 1

    async def test_a_run_ends_at_its_deadline_with_nobody_watching(self, stage: ClusterStage) -> None:
        launch = await stage.launch(lease=stage.short_seconds)
        await stage.act(launch)
        await stage.until(launch.key, placed)
        await stage.over(launch.assignment.name)
        stage.cluster = stage.another()
        run = await stage.until(launch.key, ended)
        assert run.exit.deadline
        assert run.scheduled is not None
        assert run.ended is not None
        assert run.ended - run.scheduled <= 2 * (stage.short_seconds + stage.grace_seconds)

    async def test_a_raised_deadline_is_seen(self, stage: ClusterStage) -> None:
        launch = await stage.launch()
        name, longer = launch.assignment.name, 10 * stage.lease_seconds
        await stage.act(launch)
        await stage.until(launch.key, placed)
        await stage.act(todo.Extend(name, longer))
        assert (await stage.run(launch.key)).deadline == longer
        await stage.act(todo.Grant(name, longer))
        assert (await stage.run(launch.key)).granted == longer
        await stage.act(todo.Stop(name, "Suspended", "enough"))
        await stage.over(name)

    async def test_a_stopped_run_ends_and_says_why(self, stage: ClusterStage) -> None:
        launch = await stage.launch()
        await stage.act(launch)
        await stage.until(launch.key, placed)
        await stage.act(todo.Stop(launch.assignment.name, "Preempted", "another trial is worth more"))
        for run in (await stage.run(launch.key), await stage.until(launch.key, ended)):
            assert (run.stop, run.stop_reason) == ("Preempted", "another trial is worth more")

    async def test_an_act_that_raised_can_be_repeated(self, stage: ClusterStage) -> None:
        for number, failure in enumerate(stage.failures):
            launch = await stage.launch(number)
            raised = False
            with stage.failing(failure):
                try:
                    await stage.act(launch)
                except Exception:  # noqa: BLE001 - any exception is allowed
                    raised = True
            seen = await stage.snapshot(fresh=True)
            assert raised or launch.key in seen.runs, "an act without effect did not raise"
            assert (launch.key in seen.runs) is (failure == "after"), "the stage does not fail as it says"
            await stage.act(launch)
            await stage.until(launch.key, placed)
            await stage.act(todo.Stop(launch.assignment.name, "Suspended", "enough"))
            await stage.until(launch.key, ended)
            assert stage.trainers() <= number + 1

    async def test_trials_are_in_order_of_their_numbers(self, stage: ClusterStage) -> None:
        for number in (2, 0, 10, 1):
            await stage.act(await stage.trial(number))
        for fresh in (False, True):
            (trials,) = (await stage.snapshot(fresh=fresh)).trials.values()
            assert [one.spec.number for one in trials] == [0, 1, 2, 10]

    async def test_a_deleted_study_stays_until_it_is_unprotected(self, stage: ClusterStage) -> None:
        if not stage.deletable:
            raise SkipTest("nobody can delete a study of this cluster")
        await stage.act(todo.Protect(await stage.study()))
        await stage.snapshot(fresh=True)
        stage.delete()
        study = await stage.study(fresh=True)
        assert study.metadata.deletion_timestamp is not None
        await stage.act(todo.Unprotect(study))
        assert not (await stage.snapshot(fresh=True)).studies
        await stage.act(todo.Unprotect(study))

    async def test_an_entry_for_the_journal_is_refused(self, stage: ClusterStage) -> None:
        with suppress(TypeError):
            await stage.act(todo.Append(()))
            raise AssertionError("an action that is not for the cluster was taken")
