"""The metrics of a namespace's studies and trials."""

import prometheus_client

from comptroller import metrics
from comptroller.ledger.books import Books
from comptroller.world import World
from support.attempts import STUDY, TRIAL


def states(namespace):
    families = {family.name: family for family in prometheus_client.REGISTRY.collect()}
    samples = families["comptroller_trials"].samples
    return {s.labels["state"]: s.value for s in samples if s.labels["namespace"] == namespace}


def test_a_state_without_trials_is_reported_no_more():
    world = World(now=0, namespace="metered", books=Books(), studies=(STUDY,), trials={"u1": (TRIAL,)})
    metrics.observe("metered", world, [])
    assert states("metered") == {"Pending": 1}
    metrics.observe("elsewhere", World(now=0, namespace="elsewhere", books=Books()), [])
    assert states("metered") == {"Pending": 1}
    metrics.observe("metered", World(now=0, namespace="metered", books=Books()), [])
    assert states("metered") == {}
