"""An object that does not parse is reported once, with its field, value and rule, and stops nothing else."""

import pytest

from comptroller.cluster import kubernetes
from comptroller_api.budget import Budget
from support.watched import seen


async def test_an_object_that_does_not_parse_is_reported_once_with_field_value_and_rule(cluster):
    cluster.store["budgets"]["team"] = [seen("Budget", "b1", **{"spec.period": "Hourly"})]
    for _ in range(3):
        snapshot = await cluster.observe("team")
    assert snapshot.budgets == ()
    (refused,) = snapshot.refused
    assert (refused.kind, refused.uid) == ("Budget", "b1")
    assert refused.selector == {}
    assert refused.why.startswith("spec.period: 'Hourly': ")
    (event,) = cluster.server.created
    assert (event["message"], event["involvedObject"]["kind"]) == (refused.why, "Budget")
    cluster.store["budgets"]["team"] = [seen("Budget", "b1", "2", **{"spec.period": "Hourly"})]
    await cluster.observe("team")
    assert len(cluster.server.created) == 2


async def test_a_long_value_does_not_hide_the_rule(cluster):
    cluster.store["budgets"]["team"] = [seen("Budget", "b1", **{"spec.period": "long" * 1000})]
    (refused,) = (await cluster.observe("team")).refused
    assert len(refused.why) <= 512
    assert "Input should be" in refused.why


@pytest.mark.parametrize(
    ("change", "newer"),
    [
        ({"status.outcome": "Frozen"}, True),
        ({"spec.sharding": {"ways": 4}}, True),
        ({"status.outcome": "Frozen", "spec.seed": -1}, False),
        ({"spec.seed": "x"}, False),
    ],
)
async def test_a_trial_of_a_newer_release_is_newer_and_not_gone(cluster, change, newer):
    body = seen("Trial", "t1", **change)
    cluster.store["trials"] = {"team": [body]}
    snapshot = await cluster.observe("team")
    (refused,) = snapshot.refused
    assert snapshot.trials == {}
    assert (refused.kind, refused.newer) == ("Trial", newer)
    assert (refused.study, refused.number) == (body["spec"]["studyUid"], body["spec"]["number"])
    assert ("a newer release may have written it" in refused.why) == newer
    (event,) = cluster.server.created
    assert event["reason"] == ("WrittenByNewerRelease" if newer else "Refused")


@pytest.mark.parametrize("spec", [{}, {"studyUid": 7, "number": "x"}, {"number": True}, None, []])
async def test_the_study_of_an_unreadable_trial_follows_from_its_label_and_name(cluster, spec):
    body = seen("Trial", "t1") | {"spec": spec}
    body["metadata"] |= {"name": "s-u1-0012", "labels": {"comptroller.dev/study-uid": "u1"}}
    cluster.store["trials"] = {"team": [body]}
    (refused,) = (await cluster.observe("team")).refused
    assert (refused.study, refused.number) == ("u1", 12)


async def test_a_validator_that_breaks_is_the_objects_trouble_alone(cluster, monkeypatch):
    def broken(body):
        if body["metadata"]["uid"] == "b1":
            raise ArithmeticError("a number of ours")
        return Budget.model_validate(body)

    monkeypatch.setattr(kubernetes, "Budget", type("Budget", (Budget,), {"model_validate": broken}))
    cluster.store["budgets"]["team"] = [seen("Budget", "b1"), seen("Budget", "b2")]
    snapshot = await cluster.observe("team")
    assert [refused.uid for refused in snapshot.refused] == ["b1"]
    assert len(snapshot.studies) == 1


async def test_a_refused_price_list_is_reported_where_events_without_a_namespace_go(cluster):
    body = seen("PriceList", "l1", "1", **{"spec.currency": 7})
    del body["metadata"]["namespace"]
    cluster.store["pricelists"] = {"": [body]}
    assert [one.kind for one in (await cluster.observe("team")).refused] == ["PriceList"]
    (event,) = cluster.server.created
    assert event["metadata"]["namespace"] == "default"
    assert "namespace" not in event["involvedObject"]


async def test_an_event_that_cannot_be_written_stops_nothing(cluster):
    async def refuse(*_):
        raise OSError

    cluster.server.create = refuse
    cluster.store["budgets"]["team"] = [seen("Budget", "b1", **{"spec.period": "Hourly"})]
    assert (await cluster.observe("team")).refused
