"""Objects as the API server stores them, and the two kinds of patches. A body is never changed in place."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, TypeAlias, cast

Body: TypeAlias = dict[str, Any]


class Invalid(ValueError):  # noqa: N818 - HTTP calls it so
    """The API server does not take an object: HTTP 422."""


@lru_cache(maxsize=65536)
def stamp(now: int) -> str:
    """Unix seconds as Kubernetes writes them."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def merged(target: Any, patch: Any) -> Any:
    """Return `target` after a JSON merge patch (RFC 7396)."""
    if not isinstance(patch, Mapping):
        return patch
    found = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            found.pop(name, None)
        else:
            found[name] = merged(found.get(name), value)
    return found


def operated(target: Body, operations: Sequence[Body]) -> Body | None:
    """Return `target` after a JSON patch (RFC 6902); `None` where a `test` does not hold.

    Raises:
        Invalid: a path does not exist.
    """
    found: Any = target
    for operation in operations:
        steps = [step.replace("~1", "/").replace("~0", "~") for step in operation["path"].split("/")[1:]]
        if operation["op"] == "test":
            if _at(found, steps) != operation["value"]:
                return None
        else:
            found = _put(found, steps, operation)
    return cast("Body", found)


def _at(target: Any, steps: Sequence[str]) -> Any:
    for step in steps:
        if isinstance(target, list):
            target = target[int(step)] if step.isdigit() and int(step) < len(target) else None
        else:
            target = (target or {}).get(step)
    return target


def _put(target: Any, steps: Sequence[str], operation: Body) -> Any:
    step, *rest = steps
    found = list(target) if isinstance(target, list) else dict(target or {})
    place: Any = len(found) if step == "-" else int(step) if isinstance(found, list) else step
    if rest:
        if isinstance(found, dict) and place not in found:
            raise Invalid(f"{operation['path']} does not exist")
        found[place] = _put(found[place], rest, operation)
    elif operation["op"] == "remove":
        del found[place]
    elif isinstance(found, list) and operation["op"] == "add":
        found.insert(place, operation["value"])
    else:
        found[place] = operation["value"]
    return found


def with_meta(body: Body, **changes: Any) -> Body:
    """Return the body with some of its metadata changed; a value of `None` takes a field away."""
    meta = {**body["metadata"], **changes}
    return {**body, "metadata": {name: value for name, value in meta.items() if value is not None}}


def controllers(body: Body) -> list[Body]:
    """Return the references to the objects that control it."""
    return [one for one in body["metadata"].get("ownerReferences", ()) if one.get("controller")]


def condition(body: Body, kind: str) -> Body | None:
    """Return a condition that is True."""
    for one in body.get("status", {}).get("conditions", ()):
        if one["type"] == kind and one["status"] == "True":
            return cast("Body", one)
    return None


def with_condition(
    conditions: Sequence[Body], kind: str, status: str, now: int, reason: str = "", message: str = ""
) -> list[Body]:
    """Return the conditions with one of them set; its time changes only where its status does."""
    old = next((one for one in conditions if one["type"] == kind), None)
    if old is not None and old["status"] == status:
        return list(conditions)
    new = {"type": kind, "status": status, "lastTransitionTime": stamp(now)}
    if reason:
        new["reason"] = reason
    if message:
        new["message"] = message
    return [*(one for one in conditions if one["type"] != kind), new]


def is_over(pod: Body) -> bool:
    """Return whether the API server has a pod as ended."""
    return pod.get("status", {}).get("phase") in {"Succeeded", "Failed"}
