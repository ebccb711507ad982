"""A study's declared intent is in the books before any money is held for it; edits are amendments."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from comptroller.ledger.entries import Approval, Manifest
from comptroller.world import World
from comptroller_api.meta import APPROVED, APPROVED_BY
from comptroller_api.money import to_micro
from comptroller_api.study import Study


def missing_manifests(world: World) -> Iterator[Manifest]:
    """The studies whose spec the books do not have yet, or have another."""
    for study in world.studies:
        known = world.books.manifests.get(study.metadata.uid)
        if known is not None and known.generation == study.metadata.generation:
            continue  # the same spec
        declared = manifest(study, known.revision + 1 if known else 0)
        if known is None or (declared.spec != known.spec and declared.generation >= known.generation):
            yield declared


def missing_approvals(world: World) -> Iterator[Approval]:
    """Yield the approvals of ceilings that the books do not have yet."""
    for study in world.studies:
        amount, approver = approved(study), study.metadata.annotations.get(APPROVED_BY, "")
        known = world.books.approvals.get(study.metadata.uid)
        if amount and (known is None or (known.amount, known.approver) != (amount, approver[:256])):
            yield Approval(
                study=study.metadata.uid,
                number=known.number + 1 if known else 0,
                amount=amount,
                approver=approver[:256],
            )


def approved(study: Study) -> int:
    """Return up to how many micro-units the ceiling is approved; 0 where nobody approved it."""
    try:
        return to_micro(study.metadata.annotations.get(APPROVED, "0"))
    except ValueError:
        return 0


def manifest(study: Study, revision: int) -> Manifest:
    """The hashes of a study's spec, of its space, and of what its trials are judged by."""
    spec = study.spec.to_json()
    return Manifest(
        study=study.metadata.uid,
        revision=revision,
        generation=study.metadata.generation,
        spec=digest(spec),
        space=digest({"space": spec["space"], "baseline": spec.get("baseline", {})}),
        criteria=digest({"objectives": spec["objectives"], "ceilings": spec["ceilings"]}),
    )


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON: keys sorted, no blanks, UTF-8."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
