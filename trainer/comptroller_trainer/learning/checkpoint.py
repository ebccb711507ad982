"""Checkpoints: tensors as safetensors, the rest as JSON, never a pickle.

The data object is written first, then the small pointer that makes it a checkpoint. So a checkpoint exists
whole or not at all, and a pointer whose data does not match its sha256 is skipped for the one before.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from safetensors.torch import load, save
from torch import Tensor

from comptroller_trainer.errors import MissingError
from comptroller_trainer.store import ObjectStore

_PREFIX = "checkpoints/"
_KEPT = 2
"""Checkpoints kept: the newest, and the one before in case the newest is damaged."""
_log = structlog.get_logger("checkpoint")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint that training can resume from."""

    uri: str
    """URI of the pointer."""
    tensors: dict[str, Tensor]
    state: dict[str, Any]
    """State of JSON types."""


class Checkpoints:
    """The checkpoints of one trial.

    Args:
        store: the trial's prefix.
        fingerprint: hash of all that decides the numbers; other fingerprints' checkpoints are not read.
        attempt: part of the name, so that two attempts alive at once never write one object.
        prefix: the checkpoints' prefix below the store's.
    """

    def __init__(self, store: ObjectStore, fingerprint: str, attempt: int, prefix: str = _PREFIX) -> None:
        self._store = store
        self._fingerprint = fingerprint
        self._attempt = attempt
        self._prefix = prefix

    def save(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any], step: int) -> str:
        """Write a checkpoint after `step` steps in all, and drop those that are no longer needed.

        Returns:
            The pointer's URI.
        """
        name = f"{self._prefix}{step:012d}-{self._attempt:05d}"
        data = save({key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()})
        pointer = {
            "format": 1,
            "fingerprint": self._fingerprint,
            "data": f"{name}.safetensors",
            "sha256": hashlib.sha256(data).hexdigest(),
            "size": len(data),
            "state": dict(state),
        }
        self._store.put(f"{name}.safetensors", data)
        self._store.put(f"{name}.json", json.dumps(pointer, allow_nan=False).encode())
        self._prune()
        return self._store.uri_of(f"{name}.json")

    def newest(self) -> Checkpoint | None:
        """Return the newest whole checkpoint with this fingerprint; None without one."""
        for key in reversed(self._pointers()):
            found = self._read(key)
            if found is not None:
                return found
        return None

    def _pointers(self) -> list[str]:
        # Names begin with the step in a fixed width, so that their order is that of the steps.
        return [key for key in self._store.list(self._prefix) if key.endswith(".json")]

    def _read(self, key: str) -> Checkpoint | None:
        try:
            return self._whole(key)
        except (MissingError, ValueError, KeyError, TypeError) as error:
            _log.warning("checkpoint passed over", key=key, reason=str(error))
            return None

    def _whole(self, key: str) -> Checkpoint:
        pointer = json.loads(self._store.get(key))
        if pointer["fingerprint"] != self._fingerprint:
            raise ValueError("it is of other parameters")
        data = self._store.get(pointer["data"])
        if hashlib.sha256(data).hexdigest() != pointer["sha256"]:
            raise ValueError(f"its data has {len(data)} bytes and is not what was written")
        return Checkpoint(self._store.uri_of(key), load(data), pointer["state"])

    def _prune(self) -> None:
        pointers = self._pointers()
        kept = pointers[-_KEPT:]
        for key in pointers[:-_KEPT]:
            self._store.delete(key)  # the pointer first: without it the data is no checkpoint
        names = {key.removesuffix(".json") for key in kept}
        for key in self._store.list(self._prefix):
            # Newer data without a pointer may be a checkpoint that another attempt is just writing.
            stem = key.removesuffix(".safetensors")
            if key != stem and stem not in names and key < kept[0]:
                self._store.delete(key)
