"""Results that count, and results that are only kept: untrusted latencies, near misses, and conditions."""

import pytest

from support.worlds import SmallWorld, study

LATENCY = {"latency": {"limit": "5ms"}}
QUIET = {"accuracy": 0.9, "latency_p95_ms": 3.0, "latency_trusted": 1.0}
DISTURBED = {"accuracy": 0.99, "latency_p95_ms": 3.0, "latency_trusted": 0.0}
LATENCY_CEILING = study(ceilings=LATENCY)
LATENCY_OBJECTIVE = study(objectives=[{"metric": "accuracy"}, {"metric": "latency_p95_ms"}])


@pytest.mark.parametrize("one", [LATENCY_CEILING, LATENCY_OBJECTIVE], ids=["ceiling", "objective"])
def test_a_latency_that_is_not_to_be_trusted_is_measured_again_before_it_decides(one):
    world = SmallWorld(one)
    world.end(metrics=DISTURBED)
    again = world.open[0]
    assert (again.trial, again.number, again.rung) == (0, 1, 0)
    world.end(metrics=QUIET, trial=0)
    assert world.outcomes()[0] == "Succeeded"
    assert world.trial_status().rungs[0].metrics["accuracy"] == 0.9
    assert world.trial_status().rungs[0].attempt == 1


@pytest.mark.parametrize("milliseconds", [3.0, 300.0])
@pytest.mark.parametrize("one", [LATENCY_CEILING, LATENCY_OBJECTIVE], ids=["ceiling", "objective"])
def test_a_trial_whose_latency_is_never_trusted_has_lost_its_metrics(one, milliseconds):
    world = SmallWorld(one)
    for _ in range(2):
        world.end(metrics=DISTURBED | {"latency_p95_ms": milliseconds})
    while world.open:
        world.end(metrics=QUIET)
    first = world.trial_status()
    assert first.outcome == "MetricsLost"
    assert first.reason.startswith("LatencyNotTrusted: latency_p95_ms was measured in 2 attempts")
    assert first.rungs[0].metrics["accuracy"] == 0.99
    assert 0 not in [entry.trial for entry in world.study_status.front]
    assert world.conditions["Complete"].reason == "TrialsDone"


def test_a_latency_that_decides_nothing_need_not_be_trusted():
    world = SmallWorld()
    world.end(metrics=DISTURBED)
    assert world.outcomes()[0] == "Succeeded"


def test_a_ceiling_that_is_passed_for_sure_needs_no_second_measurement():
    world = SmallWorld(study(ceilings=LATENCY | {"artifactSize": "1Ki"}))
    world.end(metrics=DISTURBED | {"artifact_bytes": 4096.0})
    assert world.outcomes()[0] == "Infeasible"


def test_a_near_miss_keeps_its_metrics_and_is_not_on_the_front():
    world = SmallWorld()
    world.end(66, "compress.must: 'gain' is not met", metrics=QUIET)
    while world.open:
        world.end(metrics=QUIET | {"accuracy": 0.5})
    miss = world.trial_status()
    assert miss.outcome == "Infeasible"
    assert miss.reason == "compress.must: 'gain' is not met"
    assert miss.rungs == []
    assert miss.near_miss is not None
    assert miss.near_miss.metrics == QUIET
    assert 0 not in [entry.trial for entry in world.study_status.front]


def test_a_trainer_that_leaves_no_report_of_a_near_miss_is_infeasible_all_the_same():
    world = SmallWorld()
    world.end(66, "no gain")
    assert world.outcomes()[0] == "Infeasible"
    assert world.trial_status().near_miss is None


def test_a_report_with_missed_counts_as_missed_whatever_the_exit_code():
    world = SmallWorld()
    world.end(metrics=QUIET, missed="compress.must: 'smaller' is not met")
    assert world.outcomes()[0] == "Infeasible"
    miss = world.trial_status().near_miss
    assert miss is not None
    assert miss.metrics == QUIET


@pytest.mark.parametrize(
    ("end", "on"), [({"metrics": QUIET}, "Complete"), ({"code": 64, "message": "model.width: odd"}, "Failed")]
)
def test_a_trial_has_conditions(end, on):
    world = SmallWorld()

    def true():
        return [c.type for c in world.trial_status().conditions if c.status == "True"]

    assert true() == ["Reconciling"]
    since = world.trial_status().conditions[0].last_transition_time
    world.after(30)
    assert world.trial_status().conditions[0].last_transition_time == since
    world.end(**end)
    assert true() == [on]
    condition = next(c for c in world.trial_status().conditions if c.type == on)
    assert (condition.reason, condition.message) == (world.outcomes()[0], world.trial_status().reason)


def test_the_results_of_an_ended_study_stay_whatever_its_spec_says_later():
    world = SmallWorld(study(objectives=[{"metric": "accuracy"}, {"metric": "latency_p95_ms"}]))
    accuracy = 0.5
    while world.open:
        accuracy += 0.1
        world.end(metrics=QUIET | {"accuracy": accuracy, "latency_p95_ms": 10 * accuracy})
    before = world.study_status
    world.amend(study(objectives=[{"metric": "latency_p95_ms"}]))
    after = world.study_status
    assert (after.best, after.best_trial, after.front) == (before.best, before.best_trial, before.front)
    assert {c.type: (c.status, c.reason) for c in after.conditions} == {
        c.type: (c.status, c.reason) for c in before.conditions
    }
