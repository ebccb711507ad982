"""The checks before the first lease, which cost nothing."""

import boto3
import pytest
from moto import mock_aws

from comptroller.ledger.store import TooLarge, Unavailable
from comptroller.ledger.stores import Objects
from comptroller.preflight import Preflight
from comptroller.world import Unreachable
from support.worlds import SmallWorld, study


class Store:
    def __init__(self, *, kept=("s3://data/digits/train",), **wrong):
        self.wrong, self.kept = wrong, kept

    def get(self, uri, limit):
        self._answer(uri)
        if uri in self.kept and limit < 1:
            raise TooLarge(uri)
        return b"" if uri in self.kept else None

    def first(self, uri):
        self._answer(uri)
        return next((key for key in self.kept if key.startswith(f"{uri}/")), None)

    def _answer(self, uri):
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


def test_an_empty_prefix_of_data_is_found_before_anything_is_paid():
    preflight = Preflight(Store(kept=()), lambda: 0)
    preflight.check("team", [study()])
    found = preflight.found("team")["u1"]
    uri = study().spec.data.uri
    assert (found.reason, found.message) == (
        "DataUnavailable",
        f"spec.data: {uri} has no objects below it, so there are no data to train on",
    )


def test_an_object_in_the_place_of_a_prefix_is_named():
    uri = study().spec.data.uri
    assert uri is not None
    preflight = Preflight(Store(kept=(uri,)), lambda: 0)
    preflight.check("team", [study()])
    found = preflight.found("team")["u1"]
    above = uri.rpartition("/")[0]
    assert (found.reason, found.message) == (
        "DataUnavailable",
        f"spec.data: {uri} is an object; name the prefix that holds it, {above}",
    )


def test_a_success_is_not_repeated_and_a_failure_is_retried_after_a_while():
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
    assert preflight.due("team", [])  # another operator, which could reach its storage, has begun it
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


@mock_aws
def test_a_prefix_is_listed_as_the_trainer_lists_it(monkeypatch):
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    client, objects = boto3.client("s3"), Objects()
    client.create_bucket(Bucket="data")
    client.put_object(Bucket="data", Key="empty/", Body=b"")  # as a console makes a folder
    assert [objects.first(uri) for uri in ("s3://data/empty", "s3://data/none", "s3://data")] == [None] * 3
    client.put_object(Bucket="data", Key="digits/train", Body=b"1")
    found = [
        objects.first(uri) for uri in ("s3://data/digits", "s3://data/digits/", "s3://data", "s3://data/dig")
    ]
    assert found == ["s3://data/digits/train"] * 3 + [None]
    assert objects.first("s3://data/digits/train") is None
    with pytest.raises(Unavailable, match="NoSuchBucket"):
        objects.first("s3://nowhere/digits")
