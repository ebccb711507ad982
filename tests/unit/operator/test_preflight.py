"""What is checked before the first lease, at no cost."""

import pytest

from comptroller.ledger.store import Unavailable
from comptroller.preflight import Preflight
from comptroller.world import Unreachable
from worlds import SmallWorld, study


class Store:
    def __init__(self, **wrong):
        self.wrong, self.reads = wrong, []

    def get(self, uri, _limit):
        self.reads.append(uri)
        for bucket, why in self.wrong.items():
            if uri.startswith(f"s3://{bucket}/"):
                raise Unavailable(why)


NONE = "An error occurred (NoSuchBucket) when calling the GetObject operation"
DENIED = "An error occurred (AccessDenied) when calling the GetObject operation"


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({}, None),
        ({"bucket": NONE}, "ArtifactsUnavailable"),
        ({"bucket": "Could not connect to the endpoint URL"}, "ArtifactsUnavailable"),
        ({"bucket": "An error occurred (InvalidAccessKeyId)"}, "ArtifactsUnavailable"),
        ({"bucket": DENIED}, None),
        ({"data": NONE}, "DataUnavailable"),
        ({"data": DENIED}, None),
        ({"data": "Could not connect"}, None),
    ],
)
def test_storage_is_tried_as_far_as_the_operator_may(wrong, reason):
    preflight = Preflight(Store(**wrong), lambda: 0)
    assert preflight.due("team", [study()])
    preflight.check("team", [study()])
    found = preflight.found("team")
    assert (found["u1"].reason if found else None) == reason
    assert not preflight.found("elsewhere")


def test_what_works_is_tried_once_and_what_does_not_again_after_a_while():
    store, now = Store(bucket=NONE), [0]
    preflight = Preflight(store, lambda: now[0])
    preflight.check("team", [study()])
    now[0] = 14
    assert not preflight.due("team", [study()])
    assert preflight.found("team")
    now[0], store.wrong = 15, {}
    assert preflight.due("team", [study()])
    preflight.check("team", [study()])
    assert not preflight.found("team")
    now[0] = 1000
    assert not preflight.due("team", [study()])
    preflight.check("team", [])
    assert preflight.due("team", [study()])


def test_what_was_wrong_before_a_study_began_holds_it_no_longer():
    preflight = Preflight(Store(bucket=NONE), lambda: 0)
    preflight.check("team", [study()])
    assert not preflight.due("team", [study()])
    assert preflight.due("team", [])  # another operator, for which its storage was there, has begun it
    preflight.check("team", [])
    assert not preflight.found("team")
    assert not preflight.due("team", [])


def test_a_study_whose_storage_is_away_holds_no_money():
    away = Unreachable("ArtifactsUnavailable", "spec.artifacts.uri: s3://bucket/artifacts cannot be read")
    world = SmallWorld(unreachable={"u1": away})
    assert not world.open
    assert world.trials == ()
    assert (world.conditions["Stalled"].reason, world.conditions["Stalled"].message) == (
        away.reason,
        away.message,
    )
