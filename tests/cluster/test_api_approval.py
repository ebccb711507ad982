"""The API server decides who may approve a ceiling, by a policy with an authorizer check."""

import itertools
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from comptroller_api.meta import APPROVED, APPROVED_BY
from support import manifests
from support.apiserver import ApiServer
from support.awaiting import eventually
from support.chart import LEDGER, applied, bound, removed, rendered

STUDIES = "/apis/comptroller.dev/v1alpha1/namespaces/team-a/studies"


@pytest.fixture(scope="module")
def policy(api_server: ApiServer, namespaces: None) -> Iterator[None]:  # noqa: ARG001 - made first
    """Apply the chart's policy and roles, and make one user of each role."""
    documents = [
        d
        for d in rendered("--set", LEDGER)
        if d["kind"].startswith("ValidatingAdmissionPolicy") or d["kind"] == "ClusterRole"
    ]
    documents += [bound(role, "team-a") for role in ("study-editor", "budget-admin")]
    for document in documents:
        applied(api_server, document, dry=False)
    yield
    removed(api_server, documents)


def ask(api_server: ApiServer, role: str, method: str, where: str, body: dict[str, Any]) -> httpx.Response:
    kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
    headers = {"Impersonate-User": role, "Content-Type": kind}
    return api_server.client.request(method, where, json=body, headers=headers)


def approval(amount: str, approver: str = "budget-admin") -> dict[str, Any]:
    return {"metadata": {"annotations": {APPROVED: amount, APPROVED_BY: approver}}}


def refusal(api_server: ApiServer, study: str) -> str:
    """Return the answer to a study-editor who approves; a policy takes a moment to be in force."""
    amounts = itertools.count(1)  # a request without a change is not refused

    def refused() -> str | None:
        answer = ask(api_server, "study-editor", "PATCH", study, approval(f"{next(amounts)}.00"))
        return str(answer.json()["message"]) if answer.status_code == httpx.codes.FORBIDDEN else None

    return str(eventually(refused, 180, "the policy is in force"))


@pytest.fixture
def study(api_server: ApiServer, policy: None) -> Iterator[str]:  # noqa: ARG001 - made first
    """Return a study of the study-editor."""
    body = manifests.change(manifests.valid("Study"), {"metadata.namespace": "team-a"})
    name = body["metadata"]["name"]
    made = ask(api_server, "study-editor", "POST", STUDIES, body)
    made.raise_for_status()
    try:
        refusal(api_server, f"{STUDIES}/{name}")
        yield f"{STUDIES}/{name}"
    finally:
        api_server.client.delete(f"{STUDIES}/{name}").raise_for_status()


def test_only_who_may_approve_can_approve(api_server: ApiServer, study: str) -> None:
    assert "the verb 'approve' on studies.comptroller.dev" in refusal(api_server, study)
    assert ask(api_server, "budget-admin", "PATCH", study, approval("250.00")).is_success
    assert ask(api_server, "study-editor", "PATCH", study, {"spec": {"suspend": True}}).is_success
    assert ask(api_server, "study-editor", "PATCH", study, approval("999.00")).status_code == 403
    assert ask(api_server, "study-editor", "PATCH", study, {"metadata": {"annotations": None}}).is_error


def test_an_approval_names_the_user_who_approves(api_server: ApiServer, study: str) -> None:
    refused = ask(api_server, "budget-admin", "PATCH", study, approval("250.00", "somebody"))
    assert refused.status_code == 403
    assert "approved-by']: 'somebody' must be 'budget-admin'" in refused.json()["message"]
    assert ask(api_server, "budget-admin", "PATCH", study, approval("250.00")).is_success
    later = {"metadata": {"annotations": {APPROVED_BY: "study-editor"}}}
    assert ask(api_server, "study-editor", "PATCH", study, later).status_code == 403
    assert ask(api_server, "budget-admin", "PATCH", study, {"metadata": {"annotations": None}}).is_success


def test_an_approval_is_an_amount(api_server: ApiServer, study: str) -> None:
    refused = ask(api_server, "budget-admin", "PATCH", study, approval("all of it"))
    assert refused.status_code in {403, 422}
    assert "'all of it' must be an amount such as '250.00'" in refused.json()["message"]


def test_a_study_cannot_be_created_approved(api_server: ApiServer, study: str) -> None:
    body = manifests.change(manifests.valid("Study"), {"metadata.namespace": "team-a"})
    body["metadata"] |= {"name": "approved-by-itself", **approval("9.00")["metadata"]}
    assert ask(api_server, "study-editor", "POST", STUDIES, body).status_code == 403
    assert api_server.client.get(study).is_success
