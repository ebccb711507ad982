"""The platform team's requirements for every study, as the operator enforces them."""

from copy import deepcopy

import pytest

from comptroller.settings import Settings
from comptroller.site import SitePolicy
from comptroller_api import quantity
from comptroller_api.study import Study
from support import manifests


def study(**runtime: object) -> Study:
    changes = {f"spec.runtime.{field}": value for field, value in runtime.items()}
    return Study.model_validate(manifests.change(deepcopy(manifests.valid("Study")), changes))


def refused(site: SitePolicy, one: Study) -> list[tuple[str, str]]:
    return [(refusal.reason, refusal.message) for refusal in site.refusals(one)]


@pytest.mark.parametrize(
    ("field", "value", "floor"),
    [
        ("slack", "1ns", "5s"),
        ("slack", "0.1ns", "5s"),
        ("slack", "4.999999s", "5s"),
        ("slack", "4999ms", "5s"),
        ("gracePeriod", "1s", "2s"),
    ],
)
def test_a_lease_below_a_default_floor_is_refused_with_its_field_value_and_floor(
    field: str, value: str, floor: str
) -> None:
    site = Settings(ledger_uri="s3://ledger/books").site
    [(reason, message)] = refused(site, study(lease={field: value}))
    assert reason == "LeaseBelowFloor"
    assert message.startswith(
        f"spec.runtime.lease.{field}: {value} is below this cluster's floor of {floor};"
    )


def test_a_lease_at_its_floors_is_allowed() -> None:
    lease = {"duration": "10s", "gracePeriod": "2000ms", "slack": "5s"}
    assert refused(Settings(ledger_uri="s3://ledger/books").site, study(lease=lease)) == []


def test_the_floors_are_the_sites_to_set() -> None:
    site = Settings(ledger_uri="s3://ledger/books", lease_min_duration="1m", lease_min_slack="30s").site
    found = refused(site, study(lease={"duration": "50s", "gracePeriod": "20s", "slack": "20s"}))
    assert [message.partition(":")[0] for _, message in found] == [
        "spec.runtime.lease.duration",
        "spec.runtime.lease.slack",
    ]


@pytest.mark.parametrize("floor", ["5", "-1s", "soon"])
def test_a_floor_is_a_duration(floor: str) -> None:
    with pytest.raises(ValueError, match="lease_min_slack"):
        Settings(ledger_uri="s3://ledger/books", lease_min_slack=floor)


def test_no_duration_of_more_than_zero_rounds_to_nothing() -> None:
    assert quantity.nanoseconds("0.1ns") == 1
    assert quantity.seconds("0.1ns") == quantity.seconds("1ns") == 1


IMAGES = "registry.example.com/trainers/,ghcr.io/lab/vision,ghcr.io/lab/text@sha256:aa"


@pytest.mark.parametrize(
    "image",
    [
        "registry.example.com/trainers/a:1",
        "registry.example.com/trainers/deep/b@sha256:00",
        "ghcr.io/lab/vision",
        "ghcr.io/lab/vision:2",
        "ghcr.io/lab/vision:2@sha256:00",
        "ghcr.io/lab/text@sha256:aa",
    ],
)
def test_an_allowed_image(image: str) -> None:
    site = Settings(ledger_uri="s3://ledger/books", allowed_images=IMAGES).site
    assert refused(site, study(image=image)) == []


@pytest.mark.parametrize(
    "image",
    [
        "registry.example.com/trainers-of-others/a:1",
        "ghcr.io/lab/vision-2:1",
        "ghcr.io/lab/vision/other:1",
        "ghcr.io/lab/vision:5000/other:1",
        "ghcr.io/lab/text:1",
        "ghcr.io/lab/text@sha256:ab",
        "docker.io/ghcr.io/lab/vision",
    ],
)
def test_another_image_is_refused_with_those_that_are_allowed(image: str) -> None:
    site = Settings(ledger_uri="s3://ledger/books", allowed_images=IMAGES).site
    [(reason, message)] = refused(site, study(image=image))
    assert reason == "ImageNotAllowed"
    assert image in message
    assert IMAGES.replace(",", ", ") in message


def test_without_a_list_any_image_is_allowed() -> None:
    assert refused(SitePolicy(), study(image="anything")) == []


@pytest.mark.parametrize(
    ("ledger", "artifacts", "overlap"),
    [
        ("s3://ledger/books", "s3://ledger/books", True),
        ("s3://ledger/books", "s3://ledger/books/artifacts/", True),
        ("s3://ledger/books/", "s3://ledger/books/ledger/team/journal", True),
        ("s3://ledger/books", "s3://ledger", True),
        ("s3://ledger/books", "s3://ledger/", True),
        ("s3://ledger", "s3://ledger/artifacts", True),
        ("s3://ledger/books", "s3://ledger/bookshelf", False),
        ("s3://ledger/books", "s3://ledger/artifacts", False),
        ("s3://ledger/books", "s3://artifacts/books", False),
        ("file:///ledger", "s3://ledger/books", False),
    ],
)
def test_artifacts_are_kept_where_their_key_cannot_write_the_ledger(
    ledger: str, artifacts: str, overlap: bool
) -> None:
    changes = {"spec.artifacts.uri": artifacts}
    one = Study.model_validate(manifests.change(manifests.valid("Study"), changes))
    found = refused(Settings(ledger_uri=ledger).site, one)
    assert [reason for reason, _ in found] == ["ArtifactsInLedger"] * overlap
    for _, message in found:
        assert message.startswith(f"spec.artifacts.uri: {artifacts} overlaps the ledger's {ledger}, which")
