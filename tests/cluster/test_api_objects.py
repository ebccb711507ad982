"""The API server's other functions for our objects: defaults, status, columns, explanations."""

import pytest

from comptroller.admission import admit
from comptroller_api.study import Study
from support import manifests
from support.apiserver import API, ApiServer


@pytest.mark.parametrize("kind", ["Study", "Trial", "Budget", "PriceList"])
def test_what_is_stored_is_what_lint_returns(api_server: ApiServer, kind: str) -> None:
    sent = manifests.valid(kind)
    stored = api_server.create(sent, dry=True).raise_for_status().json()
    verdict = admit(sent)
    assert verdict.object is not None
    assert stored["spec"] == verdict.object.to_json()["spec"]


def test_a_status_that_reports_an_overrun_gets_through(api_server: ApiServer) -> None:
    study = manifests.change(manifests.valid("Study"), {"status": {"spent": "5.01", "trials": {"total": 1}}})
    try:
        assert api_server.store(study)["status"]["spent"] == "5.01"
    finally:
        api_server.delete(study)


def test_a_status_is_not_the_authors_to_write(api_server: ApiServer) -> None:
    study = manifests.change(manifests.valid("Study"), {"status": {"spent": "1"}})
    assert "status" not in api_server.create(study, dry=True).raise_for_status().json()


def test_a_stored_study_reads_back_as_a_model(api_server: ApiServer) -> None:
    sent = manifests.valid("Study")
    try:
        stored = api_server.store({**sent, "status": {"conditions": [_condition()]}})
        status = Study.model_validate(stored).status
        assert status is not None
        assert [condition.to_json() for condition in status.conditions] == stored["status"]["conditions"]
    finally:
        api_server.delete(sent)


def test_columns_find_conditions_by_type(api_server: ApiServer) -> None:
    other = {**_condition(), "type": "Reconciling", "status": "True"}
    status = {
        "progress": "7/20",
        "spent": "1.25",
        "best": "3: accuracy 0.91",
        "conditions": [other, _condition()],
    }
    study = {**manifests.valid("Study"), "status": status}
    try:
        api_server.store(study)
        table = api_server.client.get(
            f"{API}/namespaces/default/studies",
            headers={"Accept": "application/json;as=Table;g=meta.k8s.io;v=v1"},
        ).json()
    finally:
        api_server.delete(study)
    names = [column["name"] for column in table["columnDefinitions"] if column["priority"] == 0]
    assert names == ["Name", "Trials", "Spent", "Ceiling", "Best", "Complete", "Age"]
    row = dict(zip([c["name"] for c in table["columnDefinitions"]], table["rows"][0]["cells"], strict=True))
    expected = {"Trials": "7/20", "Spent": "1.25", "Ceiling": "5.00", "Best": "3: accuracy 0.91"}
    assert expected.items() <= row.items()
    assert row["Complete"] == "False"


def _condition() -> dict[str, object]:
    return {
        "type": "Complete",
        "status": "False",
        "reason": "Searching",
        "message": "",
        "lastTransitionTime": "2030-01-01T00:00:00Z",
        "observedGeneration": 1,
    }
