"""An S3 server in the cluster: versitygw over a directory of the node."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path

import node
from components import answers
from console import ClusterError, run, wait_for
from containerd import StaticImage
from settings import S3_ADDRESS, S3_NAMESPACE, S3_PORT, S3_REGION, Paths

USER = 65532

ROOT, OPERATOR, TRAINER = "root", "operator", "trainer"
"""The identities with keys: the cluster's administrator, the ledger's writer, and the trainer pods.

The last two have no rights until a bucket's policy names them.
"""


def image(paths: Paths) -> StaticImage:
    """The server's image."""
    return StaticImage("comptroller-s3", paths.programs / "versitygw")


def endpoint() -> str:
    """Return the server's address, for the node and for pods."""
    return f"http://{S3_ADDRESS}:{S3_PORT}"


def credentials(paths: Paths, who: str = ROOT) -> dict[str, str]:
    """Return the keys of one identity, made at the first call. Policies name identities by access key."""
    path = paths.state / ("s3-credentials.json" if who == ROOT else f"s3-{who}.json")
    if not path.exists():
        path.touch(mode=0o600)
        access = f"CPT{secrets.token_hex(8).upper()}" if who == ROOT else who
        made = {"access": access, "secret": secrets.token_hex(20)}
        path.write_text(json.dumps(made, indent=1))
    found: dict[str, str] = json.loads(path.read_text())
    return found


def environment(paths: Paths) -> dict[str, str]:
    """Return the environment variables for clients, and the keys of the other two identities."""
    found = {
        "COMPTROLLER_S3_ENDPOINT": endpoint(),
        "AWS_ENDPOINT_URL_S3": endpoint(),
        "AWS_REGION": S3_REGION,
    }
    for who, prefix in ((ROOT, ""), (OPERATOR, "OPERATOR_"), (TRAINER, "TRAINER_")):
        keys = credentials(paths, who)
        found |= {
            f"{prefix}AWS_ACCESS_KEY_ID": keys["access"],
            f"{prefix}AWS_SECRET_ACCESS_KEY": keys["secret"],
        }
    return found


def deploy(paths: Paths) -> None:
    """Apply the server's objects."""
    for directory in _directories(paths).values():
        directory.mkdir(exist_ok=True)
        os.chown(directory, USER, USER)
    kubectl = [str(paths.programs / "kubectl"), f"--kubeconfig={paths.kubeconfig}"]
    objects = {"apiVersion": "v1", "kind": "List", "items": _objects(paths)}
    run([*kubectl, "apply", "--server-side", "--force-conflicts", "-f", "-"], stdin=json.dumps(objects))


def wait(paths: Paths) -> None:
    """Wait until the server answers at its address, and knows its users."""
    kubectl = f"{paths.programs / 'kubectl'} --kubeconfig {paths.kubeconfig}"
    wait_for(
        f"The S3 server at {endpoint()}",
        reachable,
        seconds=150,
        hint=f"See `{kubectl} -n {S3_NAMESPACE} describe pods`.",
    )
    wait_for("The S3 server's list of users", lambda: _has_users(paths), seconds=30)


def _has_users(paths: Paths) -> bool:
    """Create the users that the server does not have; return False if the server does not answer now."""
    keys = credentials(paths)
    admin: list[str | Path] = [
        paths.programs / "versitygw", "admin",
        f"--access={keys['access']}", f"--secret={keys['secret']}",
        f"--region={S3_REGION}", f"--endpoint-url={endpoint()}",
    ]  # fmt: skip
    try:
        known = run([*admin, "list-users"])
        for user in (credentials(paths, who) for who in (OPERATOR, TRAINER)):
            options = [f"--access={user['access']}", f"--secret={user['secret']}"]
            if user["access"] not in known.split():
                run([*admin, "create-user", "--role=user", *options])
    except ClusterError:
        return False
    return True


def reachable() -> bool:
    """Return whether the server reports that it is healthy.

    Without the node's bridge there is no request: the address would belong to another network.
    """
    return node.has_bridge() and answers(f"{endpoint()}/healthz")


def _directories(paths: Paths) -> dict[str, Path]:
    """Return the server's files, by their paths in its pod."""
    return {"data": paths.state / "s3", "users": paths.state / "s3-users"}


def _objects(paths: Paths) -> list[dict[str, object]]:
    keys = credentials(paths)
    labels = {"app.kubernetes.io/name": "versitygw"}
    named = {"name": "s3", "namespace": S3_NAMESPACE, "labels": labels}
    container = {
        "name": "versitygw",
        "image": image(paths).reference,
        "args": (
            f"--port :{S3_PORT} --region {S3_REGION} --health /healthz --quiet --iam-dir /users posix /data"
        ).split(),
        "envFrom": [{"secretRef": {"name": "s3"}}],
        "ports": [{"containerPort": S3_PORT}],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": S3_PORT}, "periodSeconds": 2},
        "resources": {"requests": {"cpu": "25m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}},
        "volumeMounts": [{"name": name, "mountPath": f"/{name}"} for name in _directories(paths)],
        "securityContext": {
            "runAsUser": USER,
            "runAsGroup": USER,
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": S3_NAMESPACE}},
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": named,
            "stringData": {"ROOT_ACCESS_KEY": keys["access"], "ROOT_SECRET_KEY": keys["secret"]},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": named,
            # There is no cluster DNS, so clients get the address itself.
            "spec": {"clusterIP": S3_ADDRESS, "selector": labels, "ports": [{"port": S3_PORT}]},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": named,
            "spec": {
                "replicas": 1,
                "strategy": {"type": "Recreate"},
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {
                        "automountServiceAccountToken": False,
                        "terminationGracePeriodSeconds": 5,
                        "containers": [container],
                        "volumes": [
                            {"name": name, "hostPath": {"path": str(directory), "type": "Directory"}}
                            for name, directory in _directories(paths).items()
                        ],
                    },
                },
            },
        },
    ]
