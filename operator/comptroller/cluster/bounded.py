"""The part of an object that is kept in memory: only what a pass reads, whatever its author put in. Pure."""

import json
from typing import Any

from comptroller_api.meta import FINALIZER, GROUP

Body = dict[str, Any]

TOO_LARGE = "tooLarge"
"""The field in the place of an object's content that is not kept; it says why."""
_MOST_BYTES = {"Trial": 512 * 1024}
"""The most bytes of one object of our own kinds, without its annotations; the API's bounds allow less."""
_OTHERWISE = 256 * 1024
_POD_BYTES = 64 * 1024
"""The most bytes of a Job or a pod."""
_OURS = (f"{GROUP}/", "batch.kubernetes.io/")
"""The prefixes of the annotations that a pass reads."""
_LABELS = (*_OURS, "app.kubernetes.io/", "job-name", "controller-uid")
"""The prefixes of the labels of Jobs and pods that a pass reads."""
_IDENTITY = ("name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp")
_UNREAD = frozenset(
    {
        *("env", "envFrom", "command", "args", "ports", "lifecycle", "volumes", "volumeMounts"),
        *("volumeDevices", "affinity", "livenessProbe", "readinessProbe", "startupProbe"),
        *("hostAliases", "dnsConfig", "imagePullSecrets"),
    }
)
"""Parts of a pod's spec that no pass reads, and that may be as large as an object can be."""
_CUTS = ((256, 4096), (32, 512), (8, 128))
"""Members of a list and characters of a text that are kept, until the object is small enough."""
_FINALIZERS = 32


def bounded(body: Body) -> Body:
    """Return `body` without what is not read, so that no author decides how much memory it takes.

    A Job or a pod is cut down, and an object of another API stays as it is. An object of our own kinds is
    whole or refused: with a part of its labels a study would be under other budgets. One that is refused
    keeps its identity and says why in `TOO_LARGE`.
    """
    kind, ours = body.get("kind"), str(body.get("apiVersion", "")).startswith(f"{GROUP}/")
    if (not ours and kind not in {"Job", "Pod"}) or "items" in body:
        return body
    meta = dict(body["metadata"])
    if notes := meta.get("annotations"):
        meta["annotations"] = {name: notes[name][:4096] for name in notes if name.startswith(_OURS)}
    body = {**body, "metadata": meta}
    if ours:
        return _whole(body)
    if labels := meta.get("labels"):
        meta["labels"] = {name: labels[name] for name in labels if name.startswith(_LABELS)}
    if len(kept := meta.get("finalizers") or ()) > _FINALIZERS:
        meta["finalizers"] = [name for name in kept if name == FINALIZER]
    parts = {name: body[name] for name in ("spec", "status") if name in body}
    for most, text in _CUTS:
        cut = {name: _cut(part, most, text) for name, part in parts.items()}
        if _size(cut) <= _POD_BYTES:
            break
    return body | cut


def _whole(body: Body) -> Body:
    limit = _MOST_BYTES.get(str(body.get("kind")), _OTHERWISE)
    if (size := _size(body)) <= limit:
        return body
    meta = body["metadata"]
    kept = {name: meta[name] for name in _IDENTITY if name in meta}
    labels = {name: value for name, value in (meta.get("labels") or {}).items() if name.startswith(_OURS)}
    rule = f"it has {size} bytes without its annotations; at most {limit} are read"
    return {
        "apiVersion": body.get("apiVersion"),
        "kind": body.get("kind"),
        "metadata": {**kept, "labels": labels},
        TOO_LARGE: rule,
    }


def _size(body: Any) -> int:
    return len(json.dumps(body, ensure_ascii=False).encode(errors="replace"))


def _cut(value: Any, most: int, text: int) -> Any:
    if isinstance(value, str):
        return value[:text]
    if isinstance(value, list):
        return [_cut(item, most, text) for item in value[:most]]
    if isinstance(value, dict):
        names = [name for name in value if name not in _UNREAD]
        return {name: _cut(value[name], most, text) for name in names[: 4 * most]}
    return value
