"""Actions of people and failures of parts during running studies cost no more than necessary."""

import itertools
from dataclasses import replace

import pytest

from comptroller.cluster.simulated import Lost
from comptroller.ledger.store import Unavailable
from comptroller.plan import namespace
from comptroller.plan.study import plan_study
from comptroller.world import Exit, Refused
from comptroller_api.budget import Budget
from comptroller_api.contract import Report


def stalled(simulation, uid="0000-1"):
    conditions = simulation.cluster.studies[uid].status.conditions
    return next(c.reason for c in conditions if c.type == "Stalled" and c.status == "True")


def step(simulation, times):
    for _ in range(times):
        simulation.reconcile()
        simulation.cluster.advance(5)


def second_trial(simulation):
    """Step until the baseline has finished and trial 1 runs; return the Job of trial 1."""
    for _ in range(20):
        step(simulation, 1)
        for job in simulation.cluster.jobs.values():
            if job.key.trial == 1:
                return job
    raise AssertionError("trial 1 was never launched")


def seen_with(simulation, monkeypatch, **changes):
    """Let observers see more than the cluster contains."""
    observe = simulation.cluster.observe

    async def changed(namespace, *, fresh=False):
        return replace(await observe(namespace, fresh=fresh), **changes)

    monkeypatch.setattr(simulation.cluster, "observe", changed)


def test_a_deleted_trial_lets_go_of_its_money_and_its_number_is_not_given_again(simulate, make_study):
    simulation = simulate()
    simulation.cluster.apply(make_study())
    job = second_trial(simulation)
    before = simulation.cluster.trials[job.key.of_trial].spec.parameters
    simulation.cluster.delete_trial(job.key.of_trial)
    del simulation.cluster.jobs[job.name]
    simulation.run()
    books = simulation.check()
    assert books.open == {}
    assert books.attempts("0000-1", 1)[-1].reason == "its trial is gone"
    assert len(books.attempts("0000-1", 1)) == 1
    assert 1 not in simulation.outcomes()
    assert len(simulation.outcomes()) == 5
    assert before not in [t.spec.parameters for t in simulation.cluster.trials.values()]


def test_the_pod_of_a_deleted_trial_is_stopped(simulate, make_study):
    simulation = simulate()
    simulation.cluster.apply(make_study())
    job = second_trial(simulation)
    simulation.cluster.delete_trial(job.key.of_trial)
    step(simulation, 3)
    assert job.ended is not None
    assert simulation.check().attempts("0000-1", 1)[-1].spent < 60 * 1000


def test_a_study_whose_trials_were_deleted_can_be_deleted(simulate, make_study):
    simulation = simulate()
    simulation.cluster.apply(make_study())
    step(simulation, 4)
    for key in simulation.cluster.trials:
        simulation.cluster.delete_trial(key)
    simulation.cluster.delete("0000-1")
    step(simulation, 4)
    assert simulation.cluster.studies == {}
    assert simulation.check().open == {}


@pytest.mark.parametrize("change", [{"rung": 7}, {"trial": 5}, {"attempt": 3}, {"name": "x"}, {"epochs": 0}])
def test_a_report_of_something_else_is_no_report(simulate, make_study, change):
    simulation = simulate()
    put = simulation._put

    def meddle(uri, data):
        report = Report.model_validate_json(data)
        changed = report.model_copy(update=change if report.trial == 2 else {})
        put(uri, changed.model_dump_json(by_alias=True).encode())

    simulation.cluster._put = meddle
    simulation.cluster.apply(make_study())
    simulation.run()
    simulation.check()
    assert simulation.outcomes()[2] == "MetricsLost"
    assert [n for n, outcome in simulation.outcomes().items() if outcome == "MetricsLost"] == [2]


def test_reports_that_cannot_be_read_are_waited_for_and_stop_no_other_study(
    simulate, make_study, monkeypatch
):
    simulation = simulate()
    simulation.cluster.apply(make_study(uid="0000-1", artifacts={"uri": "s3://forbidden/x"}))
    simulation.cluster.apply(make_study(uid="0000-2"))
    get = simulation.get

    def forbid(uri, limit):
        if "forbidden" in uri:
            raise Unavailable("403")
        return get(uri, limit)

    step(simulation, 2)  # the preflight check could read
    monkeypatch.setattr(simulation, "get", forbid)
    step(simulation, 100)
    assert stalled(simulation) == "ArtifactsUnavailable"
    outcomes = {key: trial.status.outcome for key, trial in simulation.cluster.trials.items()}
    assert {outcome for (uid, _), outcome in outcomes.items() if uid == "0000-1"} == {None}
    assert None not in {outcome for (uid, _), outcome in outcomes.items() if uid == "0000-2"}
    monkeypatch.undo()
    simulation.run()
    simulation.check()
    assert simulation.over
    assert "MetricsLost" not in simulation.outcomes().values()


def test_a_bug_of_ours_in_one_study_is_reported_and_stops_no_other(simulate, make_study, monkeypatch):
    def mistaken(world, study, *rest):
        if study.metadata.uid == "0000-1":
            raise IndexError("list index out of range")
        return plan_study(world, study, *rest)

    monkeypatch.setattr(namespace, "plan_study", mistaken)
    simulation = simulate()
    simulation.cluster.apply(make_study(uid="0000-1"))
    simulation.cluster.apply(make_study(uid="0000-2"))
    step(simulation, 100)
    assert stalled(simulation) == "InternalError"
    message = simulation.cluster.studies["0000-1"].status.conditions[0].message
    assert message.startswith("IndexError: list index out of range (test_interference.py:")
    assert any(c.type == "Complete" for c in simulation.cluster.studies["0000-2"].status.conditions)
    assert not simulation.reconcile()


def test_a_deleted_job_is_stopped_and_its_trial_continues(simulate, make_study, monkeypatch):
    simulation = simulate()
    simulation.cluster.apply(make_study())
    job = second_trial(simulation)
    observe = simulation.cluster.observe

    async def deleted(namespace, *, fresh=False):
        snapshot = await observe(namespace, fresh=fresh)
        runs = {key: replace(run, deleted=key == job.key) for key, run in snapshot.runs.items()}
        return replace(snapshot, runs=runs)

    monkeypatch.setattr(simulation.cluster, "observe", deleted)
    simulation.run()
    first, second = simulation.check().attempts("0000-1", 1)[:2]
    assert (first.end, first.reason) == ("Suspended", "its Job was deleted")
    assert second.number == 1
    assert None not in simulation.outcomes().values()
    assert job.released


def test_a_job_deleted_before_it_began_is_closed_and_released(simulate, make_study, monkeypatch):
    simulation = simulate()
    simulation.cluster.controllers_alive = False
    simulation.cluster.apply(make_study())
    step(simulation, 3)
    (job,) = [job for job in simulation.cluster.jobs.values() if job.key.trial == 0]
    observe = simulation.cluster.observe

    async def deleted(namespace, *, fresh=False):
        snapshot = await observe(namespace, fresh=fresh)
        runs = {key: replace(run, deleted=key == job.key) for key, run in snapshot.runs.items()}
        return replace(snapshot, runs=runs)

    monkeypatch.setattr(simulation.cluster, "observe", deleted)
    step(simulation, 3)
    assert not simulation.check().attempts("0000-1", 0)[0].open
    assert job.released


def test_a_run_on_a_lost_node_is_given_up_and_released_once_its_lease_is_certainly_over(simulate, make_study):
    simulation = simulate()
    simulation.cluster.apply(make_study(search={"rungs": {"epochs": [500]}}))
    step(simulation, 3)
    job = simulation.cluster.jobs["s1-0000-1-0000-0"]
    node = simulation.cluster.nodes[0]
    simulation.cluster.cut(node, off=True)
    simulation.cluster.advance(200)
    step(simulation, 3)
    assert simulation.check().attempts("0000-1", 0)[0].end == "NodeLost"
    assert job.released


def test_a_budget_that_cannot_be_read_holds_the_studies(simulate, make_study, monkeypatch):
    simulation = simulate()
    seen_with(simulation, monkeypatch, refused=(Refused("Budget", "team", "u1", "spec.period: 'Hourly'"),))
    simulation.cluster.apply(make_study())
    step(simulation, 3)
    assert stalled(simulation) == "BudgetRefused"
    assert simulation.cluster.jobs == {}


def test_a_study_that_can_no_longer_be_read_keeps_its_trials_to_the_end_of_their_leases(
    simulate, make_study, monkeypatch
):
    simulation = simulate()
    simulation.cluster.apply(make_study(search={"rungs": {"epochs": [500]}}))
    step(simulation, 3)
    refused = (Refused("Study", "s1", "0000-1", "spec.search: missing"),)
    seen_with(simulation, monkeypatch, studies=(), refused=refused)
    step(simulation, 2)
    assert [job.stop for job in simulation.cluster.jobs.values()] == [None]
    step(simulation, 30)
    books = simulation.check()
    assert books.open == {}
    assert {attempt.end for own in books.trials.values() for attempt in own} == {"LeaseExpired"}


@pytest.mark.parametrize("number", [0, None])
def test_a_trial_of_a_newer_release_runs_on_and_nothing_is_put_in_its_place(
    simulate, make_study, monkeypatch, number
):
    simulation = simulate()
    simulation.cluster.apply(make_study(search={"rungs": {"epochs": [500]}}))
    step(simulation, 3)
    before = dict(simulation.cluster.trials)
    counts = simulation.cluster.studies["0000-1"].status.trials
    others = tuple(trial for trial in before.values() if trial.spec.number != 0)
    why = "status.outcome: 'Frozen'"
    refused = (Refused("Trial", "s1-0000-1-0000", "t", why, newer=True, study="0000-1", number=number),)
    seen_with(simulation, monkeypatch, trials={"0000-1": others}, refused=refused)
    step(simulation, 2)
    assert stalled(simulation) == "WrittenByNewerRelease"
    assert [job.stop for job in simulation.cluster.jobs.values()] == [None]
    step(simulation, 30)
    study = simulation.cluster.studies["0000-1"]
    (held,) = [c for c in study.status.conditions if c.type == "Stalled"]
    assert "Trial s1-0000-1-0000 cannot be read: status.outcome: 'Frozen'" in held.message
    assert study.status.trials == counts
    assert simulation.cluster.trials.keys() == before.keys()
    books = simulation.check()
    assert books.open == {}
    assert {attempt.end for own in books.trials.values() for attempt in own} == {"LeaseExpired"}
    monkeypatch.undo()
    step(simulation, 5)
    assert simulation.check().attempts("0000-1", 0)[1].open  # the same trial continues


def test_a_refused_job_is_reported_on_its_study_and_on_no_other(simulate, make_study, monkeypatch):
    simulation = simulate()
    simulation.cluster.apply(make_study(uid="0000-1"))
    simulation.cluster.apply(make_study(uid="0000-2"))
    act, failed = simulation.cluster.act, []

    async def refuse(namespace, action):
        if type(action).__name__ == "Launch" and action.study.metadata.uid == "0000-1":
            failed.append(action)
            raise Lost("the quota does not allow it")
        await act(namespace, action)

    monkeypatch.setattr(simulation.cluster, "act", refuse)
    reasons: dict[str, set[str]] = {}
    for _ in range(30):
        step(simulation, 1)
        for uid, study in simulation.cluster.studies.items():
            for condition in study.status.conditions if study.status else []:
                if condition.type == "Stalled" and condition.status == "True":
                    reasons.setdefault(uid, set()).add(condition.reason)
    assert len(failed) > 3
    assert reasons == {"0000-1": {"PassFailing"}}
    assert any(
        trial.status.outcome == "Succeeded"
        for (uid, _), trial in simulation.cluster.trials.items()
        if uid == "0000-2"
    )


def test_a_lease_is_not_launched_on_terms_that_were_edited_since(simulate, make_study):
    simulation = simulate()
    cluster = simulation.cluster
    cluster.apply(make_study())
    act = cluster.act

    async def edit_between(namespace, action):
        if type(action).__name__ == "Launch" and not cluster.launches:
            cluster.apply(make_study(runtime={"resources": {"cpu": "4"}}))
            cluster.act = act
            return
        await act(namespace, action)

    cluster.act = edit_between
    simulation.run()
    books = simulation.check()
    assert books.attempts("0000-1", 0)[0].started == 0
    assert books.attempts("0000-1", 0)[1].resources.cpu == "4"
    assert "s1-0000-1-0000-0" not in cluster.launches


def test_a_budget_that_comes_back_in_another_currency_says_so(simulate, make_study):
    simulation = simulate()
    spec = {"amount": "50.00", "currency": "USD"}
    simulation.cluster.budgets = (Budget.model_validate({"metadata": {"name": "b"}, "spec": spec}),)
    simulation.cluster.apply(make_study())
    step(simulation, 3)
    other = Budget.model_validate({"metadata": {"name": "b"}, "spec": spec | {"currency": "EUR"}})
    simulation.cluster.budgets = (other,)
    step(simulation, 30)
    assert stalled(simulation) == "CurrencyMismatch"
    simulation.check()


def test_failing_passes_are_reported_and_withdrawn(simulate, make_study):
    simulation = simulate()
    simulation.cluster.apply(make_study())
    step(simulation, 3)
    get, create = simulation.store.get, simulation.store.create

    def away(*_):
        raise Unavailable("request 7f3a: away")

    simulation.store.get = simulation.store.create = away
    step(simulation, 4)
    assert stalled(simulation) == "LedgerUnavailable"
    simulation.store.get, simulation.store.create = get, create
    simulation.run()
    simulation.check()
    assert simulation.over


def test_a_study_without_leases_says_that_the_ledgers_head_cannot_be_published(simulate, make_study):
    simulation = simulate()
    write = simulation.anchor.write

    async def forbidden(*_):
        raise PermissionError("configmaps is forbidden")

    simulation.anchor.write = forbidden
    simulation.cluster.apply(make_study())
    step(simulation, 30)
    assert stalled(simulation) == "LedgerUnpublished"
    assert not simulation.cluster.launches
    simulation.anchor.write = write
    simulation.run()
    simulation.check()
    assert simulation.over


def test_a_raised_ceiling_lets_a_study_continue_that_had_stopped_at_it(simulate, make_study):
    simulation = simulate()
    simulation.cluster.apply(make_study(ceiling="0.25"))
    simulation.run()
    stopped = simulation.outcomes()
    assert "BudgetStopped" in stopped.values()
    simulation.cluster.apply(make_study(ceiling="50.00"))
    simulation.reconcile()
    simulation.run()
    simulation.check()
    assert len(stopped) < len(simulation.outcomes()) == 6
    assert {n: simulation.outcomes()[n] for n in stopped} == stopped


def test_pods_that_get_no_node_are_tried_again_later_and_later(simulate, make_study):
    simulation = simulate()
    simulation.cluster._milli_cores = 0
    simulation.cluster.apply(make_study())
    step(simulation, 400)
    attempts = simulation.check().attempts("0000-1", 0)
    pauses = [later.ended - earlier.ended for earlier, later in itertools.pairwise(attempts)]
    assert len(attempts) < 12
    assert pauses == sorted(pauses)
    assert sum(attempt.spent for attempt in attempts) == 0


@pytest.mark.parametrize(
    "sign", [{"silent_seconds": 61}, {"exit": Exit(disruption="DeletionByTaintManager")}]
)
def test_an_attempt_on_a_lost_node_gets_no_more_leases(simulate, make_study, monkeypatch, sign):
    simulation = simulate()
    simulation.cluster.apply(make_study(search={"rungs": {"epochs": [500]}}))
    step(simulation, 3)
    observe = simulation.cluster.observe

    async def lost(namespace, *, fresh=False):
        snapshot = await observe(namespace, fresh=fresh)
        runs = {key: replace(run, **sign) if run.ended is None else run for key, run in snapshot.runs.items()}
        return replace(snapshot, runs=runs)

    monkeypatch.setattr(simulation.cluster, "observe", lost)
    step(simulation, 10)
    leases = [one.leases for own in simulation.check().trials.values() for one in own]
    assert {len(own) for own in leases} == {1}
    if "silent_seconds" in sign:
        assert {
            t.status.reason for t in simulation.cluster.trials.values() if t.status.state == "Running"
        } == {"no heartbeat comes from it, so its lease is not renewed"}
