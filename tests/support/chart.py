"""The chart as helm renders it, and its objects on an API server."""

import json
import subprocess
from pathlib import Path
from typing import Any

import yaml

from support.apiserver import ApiServer, binaries

CHART = Path(__file__).parents[2] / "charts" / "comptroller"
LEDGER = "ledger.uri=s3://ledger/books"
NAMESPACE = "comptroller"
OPERATOR = f"system:serviceaccount:{NAMESPACE}:comptroller"


def helm(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([binaries() / "helm", *words], capture_output=True, text=True, check=False)


def rendered(*words: str) -> list[dict[str, Any]]:
    run = helm("template", "comptroller", str(CHART), "--namespace", NAMESPACE, *words)
    assert run.returncode == 0, run.stderr
    return [document for document in yaml.safe_load_all(run.stdout) if document]


def place(document: dict[str, Any]) -> str:
    """Return the path of an object."""
    group, _, version = document["apiVersion"].rpartition("/")
    kind = document["kind"].lower()
    plural = f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}s"
    namespace = document["metadata"].get("namespace")
    parts = [f"/apis/{group}/{version}" if group else f"/api/{version}"]
    parts += ["namespaces", namespace] if namespace else []
    return "/".join([*parts, plural, document["metadata"]["name"]])


def applied(api_server: ApiServer, document: dict[str, Any], *, dry: bool) -> None:
    """Apply an object with server-side apply, with every field checked."""
    response = api_server.client.patch(
        place(document),
        params={
            "fieldManager": "tests",
            "fieldValidation": "Strict",
            "force": "true",
            **({"dryRun": "All"} if dry else {}),
        },
        headers={"Content-Type": "application/apply-patch+yaml"},
        content=json.dumps(document),
    )
    assert response.is_success, f"{document['kind']}: {response.text}"


def removed(api_server: ApiServer, documents: list[dict[str, Any]]) -> None:
    """Delete the objects."""
    for document in documents:
        api_server.client.delete(place(document)).raise_for_status()


def bound(role: str, namespace: str) -> dict[str, Any]:
    """Return a binding of one of the chart's roles to the user with the role's name."""
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": role, "namespace": namespace},
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": f"comptroller-{role}",
        },
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": role}],
    }
