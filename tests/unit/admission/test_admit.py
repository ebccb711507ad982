"""`lint` gives the API server's answers; `tests/cluster/test_api.py` checks the server against this table."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comptroller.admission import admit
from comptroller_api.budget import Budget
from comptroller_api.study import Study
from support import manifests


@pytest.mark.parametrize("case", manifests.cases("accepted"), ids=str)
def test_accepted(case: manifests.Case) -> None:
    verdict = admit(case.sent, case.stored)
    assert verdict.refusals == ()
    assert verdict.object is not None


@pytest.mark.parametrize("case", manifests.cases("refused"), ids=str)
def test_refused(case: manifests.Case) -> None:
    verdict = admit(case.sent, case.stored)
    assert sorted(map(str, verdict.refusals)) == sorted(case.says)
    assert verdict.object is None


def test_every_case_has_a_name_of_its_own() -> None:
    names = [case.name for section in ("accepted", "refused") for case in manifests.cases(section)]
    assert len(names) == len(set(names))


def test_defaults_are_filled_in() -> None:
    study = admit(manifests.valid("Study")).object
    assert isinstance(study, Study)
    assert study.spec.runtime.lease.duration == "10m"
    assert study.spec.objectives[0].weight == "1"


def test_a_manifest_is_left_as_it_was() -> None:
    manifest = manifests.valid("Study")
    admit(manifest)
    assert manifest == manifests.valid("Study")


def test_a_status_is_not_the_authors_to_write() -> None:
    study = admit({**manifests.valid("Study"), "status": {"spent": "1"}}).object
    assert isinstance(study, Study)
    assert study.status is None


def test_another_kind_is_refused() -> None:
    assert [str(r) for r in admit({"apiVersion": "v1", "kind": "Secret"}).refusals] == [
        'apiVersion: Unsupported value: "v1": supported values: "comptroller.dev/v1alpha1"'
    ]
    assert [str(r) for r in admit({"apiVersion": "comptroller.dev/v1alpha1"}).refusals] == [
        "kind: Required value"
    ]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(JSON, st.sampled_from(["labels", "annotations", "name", "namespace", "generateName"]))
def test_nonsense_in_metadata_is_not_crashed_on(value: object, field: str) -> None:
    admit(manifests.change(manifests.valid("Study"), {f"metadata.{field}": value}))


@settings(deadline=None)
@given(
    JSON,
    st.sampled_from(
        [
            "metadata",
            "spec",
            "spec.space",
            "spec.space.parameters",
            "spec.ceilings",
            "spec.search.rungs.epochs",
        ]
    ),
)
def test_nonsense_is_refused_and_not_crashed_on(value: object, path: str) -> None:
    assert admit(manifests.change(manifests.valid("Study"), {path: value})).refusals


@settings(deadline=None)
@given(
    st.sampled_from(["Daily", "Total", "Yearly"]),
    st.text("0123456789.-", max_size=12),
    st.sampled_from(["UTC", "Europe/Berlin", "GMT +1", ""]),
)
def test_what_is_accepted_is_a_model(period: str, amount: str, zone: str) -> None:
    fields = {"spec.period": period, "spec.amount": amount, "spec.timeZone": zone}
    verdict = admit(manifests.change(manifests.valid("Budget"), fields))
    assert isinstance(verdict.object, Budget) == (not verdict.refusals)
