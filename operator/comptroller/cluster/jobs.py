"""Attempts as Kubernetes Jobs: building them. Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from comptroller.actions import Bury, Launch
from comptroller.ledger.names import AttemptKey, study_name
from comptroller_api import quantity
from comptroller_api.contract import (
    ASSIGNMENT_ENV,
    GRANT_ANNOTATION,
    GRANT_FILE,
    HEARTBEAT_PORT,
    IMAGE_ENV,
    LEADER_ANNOTATION,
    LEADER_FILE,
    LEADER_PORT,
    TRACKING_ENV,
)
from comptroller_api.meta import API_VERSION, FINALIZER, GROUP
from comptroller_api.study import Study
from comptroller_api.trial import Trial

MANAGED = {"app.kubernetes.io/managed-by": "comptroller"}
STUDY, STUDY_UID, TRIAL, ATTEMPT = (f"{GROUP}/{part}" for part in ("study", "study-uid", "trial", "attempt"))
STOP, STOP_REASON = f"{GROUP}/stop", f"{GROUP}/stop-reason"
NOTHING = "none"
"""The name of a tombstone's container, and its image: a Job's template cannot be changed to another."""
_USER = 65532
_NO_SIDECARS = {
    "labels": {"sidecar.istio.io/inject": "false", "kuma.io/sidecar-injection": "disabled"},
    "annotations": {"linkerd.io/inject": "disabled", "sidecar.istio.io/inject": "false"},
}
"""The settings that keep service meshes from adding a container that outlives the trainer, unpaid."""
_DOWNWARD = {GRANT_ANNOTATION: GRANT_FILE, LEADER_ANNOTATION: LEADER_FILE}
_NVIDIA, _DEVICES = "nvidia.com/", "NVIDIA_VISIBLE_DEVICES"
_CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
LABELS_ENV = "COMPTROLLER_LABELS"
"""A pod's labels as it was made with them, in its environment: nobody can change that."""
_TRACKING = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class PodSettings:
    """The settings that every trainer pod of this cluster gets."""

    environment: Mapping[str, str]
    """Variables such as the object store's endpoint and region; never a secret."""


def _labels(key: AttemptKey, study: str) -> dict[str, str]:
    return MANAGED | {
        "app.kubernetes.io/name": "comptroller-trainer",
        STUDY: study,
        STUDY_UID: key.study,
        TRIAL: str(key.trial),
        ATTEMPT: str(key.attempt),
    }


def _labels_of(launch: Launch) -> dict[str, str]:
    return _labels(launch.key, launch.assignment.study)


def _owners(one: Trial | Study | None) -> list[Body]:
    if one is None:
        return []
    meta = {"name": one.metadata.name, "uid": one.metadata.uid}
    flags = {"controller": True, "blockOwnerDeletion": True}
    return [{"apiVersion": API_VERSION, "kind": one.kind, **meta, **flags}]


def job(launch: Launch, settings: PodSettings) -> Body:
    """Return the Job of an attempt.

    Its deadline is the lease, so that it ends with the operator dead. The pod's own deadline, which can only
    be lowered, ends it with the control plane dead too. For an image with our guard it is the longest
    attempt, since the guard keeps to the lease; for any other it is the lease. Our finalizer keeps both
    objects until the books are closed, so that what is billed is what the kubelet saw. Where several pods
    train together, one that fails ends them all.
    """
    work, lease = launch.assignment, launch.study.spec.runtime.lease
    labels, owners = _labels_of(launch), _owners(launch.trial)
    renewed = lease.renewal == "Renew" and launch.guarded
    longest = quantity.seconds(lease.longest_attempt) if renewed else work.lease_seconds
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": work.name,
            "namespace": work.namespace,
            "labels": labels,
            "ownerReferences": owners,
            "finalizers": [FINALIZER],
        },
        "spec": {
            "activeDeadlineSeconds": work.lease_seconds,
            "backoffLimit": 0,
            "podReplacementPolicy": "Failed",
            **_together(launch.resources.pods),
            "template": {
                "metadata": {
                    "labels": labels | _NO_SIDECARS["labels"],
                    "annotations": _NO_SIDECARS["annotations"] | {GRANT_ANNOTATION: str(work.lease_seconds)},
                    "finalizers": [FINALIZER],
                },
                "spec": _pod(launch, settings, longest),
            },
        },
    }


def _together(pods: int) -> Body:
    if pods == 1:
        return {}
    return {"completionMode": "Indexed", "completions": pods, "parallelism": pods}


def _pod(launch: Launch, settings: PodSettings, longest: int) -> Body:
    work = launch.assignment
    return {
        "restartPolicy": "Never",
        "activeDeadlineSeconds": longest,
        "terminationGracePeriodSeconds": work.grace_seconds,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "nodeSelector": launch.node_selector,
        "tolerations": [one.to_json() for one in launch.tolerations],
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(launch, settings)],
        "volumes": [
            {"name": "tmp", "emptyDir": {"sizeLimit": launch.resources.storage}},
            {
                "name": "lease",
                "downwardAPI": {
                    "items": [
                        {
                            "path": file.rsplit("/", 1)[1],
                            "fieldRef": {"fieldPath": f"metadata.annotations['{annotation}']"},
                        }
                        for annotation, file in _DOWNWARD.items()
                    ]
                },
            },
        ],
    }


def _container(launch: Launch, settings: PodSettings) -> Body:
    resources = launch.resources
    amounts = {"cpu": resources.cpu, "memory": resources.memory, "ephemeral-storage": resources.storage}
    if resources.gpu:
        amounts[resources.gpus] = str(resources.gpu)
    environment = dict(settings.environment) | {
        "HOME": "/tmp",  # noqa: S108  (an emptyDir of the pod's own)
        "COMPTROLLER_CPUS": f"{quantity.milli(resources.cpu) / 1000:g}",
        IMAGE_ENV: launch.image,
        LABELS_ENV: json.dumps(_labels_of(launch)),
        ASSIGNMENT_ENV: launch.assignment.model_dump_json(by_alias=True, exclude_none=True),
    }
    if not (resources.gpu and resources.gpus.startswith(_NVIDIA)):
        # Where NVIDIA's runtime is the node's default, it would show every GPU of the node to the pod.
        environment[_DEVICES] = "void"
    ports = [{"name": "heartbeat", "containerPort": HEARTBEAT_PORT}]
    if resources.pods > 1:
        # As torchrun names them; the Job controller adds JOB_COMPLETION_INDEX, which is the rank.
        environment |= {"WORLD_SIZE": str(resources.pods), "MASTER_PORT": str(LEADER_PORT)}
        ports.append({"name": "leader", "containerPort": LEADER_PORT})
    env: list[Body] = [{"name": name, "value": value} for name, value in environment.items()]
    secret = launch.study.spec.artifacts.credentials_secret
    if secret is not None:
        env += [
            {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": name}}}
            for name in _CREDENTIALS
        ]
    if secret is not None and TRACKING_ENV in settings.environment:
        env += [
            {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": name, "optional": True}}}
            for name in _TRACKING
        ]
    return {
        "name": "trainer",
        "image": launch.image,
        "env": env,
        "ports": ports,
        "resources": {"requests": amounts, "limits": amounts},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
            {"name": "lease", "mountPath": GRANT_FILE.rsplit("/", 1)[0], "readOnly": True},
        ],
    }


def tombstone(bury: Bury, namespace: str) -> Body:
    """A Job that only takes a name: it is suspended and would run no pod."""
    labels = _labels(bury.key, study_name(bury.name, *bury.key))
    container = {
        "name": NOTHING,
        "image": NOTHING,
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": bury.name,
            "namespace": namespace,
            "labels": labels,
            "annotations": {STOP: "Suspended", STOP_REASON: bury.reason[:512]},
            "ownerReferences": _owners(bury.owner),
        },
        "spec": {
            "suspend": True,
            "parallelism": 0,
            "activeDeadlineSeconds": 1,
            "backoffLimit": 0,
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "restartPolicy": "Never",
                    "automountServiceAccountToken": False,
                    "securityContext": {
                        "runAsNonRoot": True,
                        "runAsUser": _USER,
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "containers": [container],
                },
            },
        },
    }
