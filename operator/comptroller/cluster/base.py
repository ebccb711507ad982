"""The protocol between the controller and whatever runs the trials."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from comptroller.actions import Action
from comptroller.ledger.names import AttemptKey
from comptroller.world import Refused, Removed, Run
from comptroller_api.budget import Budget
from comptroller_api.pricelist import PriceList
from comptroller_api.study import Study
from comptroller_api.trial import Trial


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A namespace's objects as last seen; parts of it may be stale."""

    studies: tuple[Study, ...] = ()
    trials: Mapping[str, tuple[Trial, ...]] = field(default_factory=dict)
    """Trials by study uid, in order of their numbers."""
    runs: Mapping[AttemptKey, Run] = field(default_factory=dict)
    removed: Mapping[AttemptKey, Removed] = field(default_factory=dict)
    """Attempts that a `Launch` or `Bury` found removed."""
    budgets: tuple[Budget, ...] = ()
    prices: tuple[PriceList, ...] = ()
    refused: tuple[Refused, ...] = ()
    """Objects of these kinds that do not parse."""
    doubtful: bool = False
    """A pod of ours has no Job in sight, and only a fresh snapshot shows whether it is gone."""
    now: int | None = None
    """The time of a fresh snapshot, in unix seconds of the clock that stamps the objects."""


class Cluster(Protocol):
    """The contract of every implementation; `comptroller.cluster.testing` has its conformance suite.

    * `observe` costs no request if it can: it reads what watches have brought. If a fresh snapshot is
      requested, it sees every write that returned before, by any writer.
    * `act` is idempotent: what is there already is success, and so is what is gone already.
    * A name is taken once. `Launch` and `Bury` of a name that exists do nothing, even if others made it.
      Where a Job of the name had a pod and is gone, they do nothing either, and `removed` says so then.
    * A run under `Launch` ends by itself when its deadline does, with nobody watching (P2).
    * `act` may raise; then it is unknown whether it took effect, and the next pass finds out.
    """

    async def observe(self, namespace: str, *, fresh: bool = False) -> Snapshot:
        """The namespace as last seen, or as it is."""
        ...

    async def act(self, namespace: str, action: Action) -> None:
        """Carry out one action; `Append` never comes here."""
        ...
