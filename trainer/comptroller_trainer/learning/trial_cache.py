"""A cache of computed tensors for a trial's later attempts: safetensors in the trial's store."""

import re
from typing import Self

import structlog
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from comptroller_trainer.errors import MissingError
from comptroller_trainer.learning.distributed import Peers
from comptroller_trainer.runtime.stop import StopSignal
from comptroller_trainer.stages.base import Make
from comptroller_trainer.store import ObjectStore

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_log = structlog.get_logger("trial")


class TrialCache:
    """`stages.base.Keep` over a store.

    Args:
        store: the trial's prefix.
        fingerprint: hash of all that decides the numbers; entries of other fingerprints are not read.
        peers: only the first computes and writes, so that all continue from the same bits.
        stop: ends the wait for the first.
    """

    def __init__(self, store: ObjectStore, fingerprint: str, peers: Peers, stop: StopSignal) -> None:
        self._store = store
        self._fingerprint = fingerprint
        self._peers = peers
        self._stop = stop

    def __call__(self, name: str, make: Make) -> dict[str, Tensor]:
        """Return the entry `name`; compute it with `make` and store it if it is missing.

        Raises:
            ValueError: `name` cannot be a key.
            Suspended: a stop was requested while the first peer computes the entry.
            ObjectStoreError: the store refuses or does not answer.
        """
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not a name of letters, digits, - and _")
        found = self.read(name) if self._peers.first else None
        if found is None and self._peers.first:
            found = {key: tensor.detach().cpu().contiguous().clone() for key, tensor in make().items()}
            self._store.put(self._key(name), save(found))
        self._peers.wait(self._stop)
        if found is None:
            found = self.read(name)
        if found is None:
            raise MissingError(f"{self._store.uri_of(self._key(name))}: rank 0 has not left it")
        return found

    def alone(self) -> Self:
        """Return this cache for a process whose peers have left."""
        return type(self)(self._store, self._fingerprint, Peers(), self._stop)

    def read(self, name: str) -> dict[str, Tensor] | None:
        """Return the entry `name`; None if it is missing or damaged."""
        try:
            found: dict[str, Tensor] = load(self._store.get(self._key(name)))
        except MissingError:
            return None
        except (SafetensorError, ValueError) as error:
            _log.warning("remembered tensors passed over", name=name, reason=str(error))
            return None
        return found

    def _key(self, name: str) -> str:
        return f"remembered/{self._fingerprint[:16]}/{name}.safetensors"
