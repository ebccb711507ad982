"""The API server's treatment of one manifest, in the API server's order."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from comptroller.admission import cel, metadata, refusal, structure
from comptroller.admission.refusal import Refusal
from comptroller_api.crd import KINDS, Kind, Object, schema
from comptroller_api.meta import API_VERSION, GROUP

_NOT_CHECKED = (
    "some validation rules were not checked because the object was invalid; correct the existing errors to"
    " complete validation"
)
_ROOT = "<nil>"
_RESEMBLES = 0.8
"""The similarity of two groups, from 0 to 1, above which one is taken for the other misspelt."""
_BY_NAME = {kind.name: kind for kind in KINDS}


@dataclass(frozen=True)
class Verdict:
    """The object as it would be stored, or why it would be refused."""

    object: Object | None
    refusals: tuple[Refusal, ...] = ()


def concerns(manifest: Mapping[str, Any]) -> bool:
    """Return whether the manifest is meant for this API; its `apiVersion` may be absent or misspelt."""
    version = str(manifest.get("apiVersion", API_VERSION))
    return version.partition("/")[0] == GROUP or _is_misspelt(version, str(manifest.get("kind", "")))


def _is_misspelt(version: str, kind: str) -> bool:
    """Return whether an `apiVersion` resembles ours; the core API, without a group, has no kind of ours."""
    group, slash, _ = version.partition("/")
    if not slash and kind in _BY_NAME:
        return group != GROUP
    return group != GROUP and bool(get_close_matches(group.lower(), [GROUP], cutoff=_RESEMBLES))


def admit(manifest: Mapping[str, Any], old: Mapping[str, Any] | None = None) -> Verdict:
    """Return the API server's verdict if `manifest` were created or, given the stored object, updated to it.

    Args:
        manifest: JSON values, as `comptroller.admission.parse` makes them. Not changed.
        old: the stored object, with its status.
    """
    for field, known in (("apiVersion", [API_VERSION]), ("kind", list(_BY_NAME))):
        if field not in manifest:
            return Verdict(None, (refusal.required(field),))
        if manifest[field] not in known:
            meant = API_VERSION if field == "apiVersion" and concerns(manifest) else ""
            return Verdict(None, (refusal.unsupported(field, manifest[field], known, meant),))
    kind = _BY_NAME[manifest["kind"]]
    content = deepcopy(dict(manifest))
    strict = _unknown(content, kind)
    if strict:
        return Verdict(None, tuple(strict))
    content.pop("status", None)
    if old is not None and "status" in old:
        content["status"] = deepcopy(old["status"])
    before = deepcopy(dict(old)) if old is not None else None
    for tree in (content, before):
        structure.default(tree, schema(kind))
    found = _refusals(content, before, kind)
    if found:
        return Verdict(None, tuple(dict.fromkeys(sorted(found, key=lambda r: (r.field == _ROOT, str(r))))))
    return Verdict(kind.model.model_validate(content))


def _unknown(content: dict[str, Any], kind: Kind) -> list[Refusal]:
    """Fields that strict decoding does not know; nothing else is looked at where there is one."""
    body = {key: value for key, value in content.items() if key != "metadata"}
    found = [*metadata.unknown_fields(content.get("metadata")), *structure.unknown_fields(body, schema(kind))]
    return sorted(found, key=str)


def _refusals(content: dict[str, Any], before: dict[str, Any] | None, kind: Kind) -> list[Refusal]:
    root = schema(kind)
    meta = content.setdefault("metadata", {})
    if isinstance(meta, dict) and not meta.get("name") and meta.get("generateName"):
        meta["name"] = f"{meta['generateName']}xxxxx"
    body = {**content, "metadata": {"name": meta.get("name", "")}} if isinstance(meta, dict) else content
    found = list(structure.refusals(body, root))
    if isinstance(meta, dict):
        found += metadata.refusals(meta, namespaced=kind.scope == "Namespaced")
    if any(r.blocks for r in found):
        return [*found, refusal.invalid(_ROOT, None, _NOT_CHECKED)]
    return [*found, *cel.refusals(body, before, root)]
