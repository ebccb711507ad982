"""What one pass sees of a namespace: plain values, no clock, no network."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from comptroller.ledger.books import Books
from comptroller.ledger.names import unique_name
from comptroller.pricing import Feed
from comptroller.site import ANYTHING, SitePolicy
from comptroller_api.budget import Budget
from comptroller_api.contract import Heartbeat, Report
from comptroller_api.pricelist import PriceList
from comptroller_api.study import Study
from comptroller_api.trial import End, Trial

AttemptKey: TypeAlias = tuple[str, int, int]
"""A study's uid, a trial's number, an attempt's number."""


@dataclass(frozen=True, slots=True)
class Exit:
    """How the work of a run ended, as the kubelet and the Job controller tell it."""

    code: int | None = None
    """The container's exit code; `None` where no container ended."""
    message: str = ""
    """What the trainer left in its termination log, on one line of printable characters."""
    report: str | None = None
    """The SHA-256 of its report that the trainer left there; empty: it left none; `None`: nobody saw
    the container end."""
    out_of_memory: bool = False
    """The kernel or the kubelet ended it for memory."""
    deadline: bool = False
    """The Job's or the pod's deadline ended it."""
    disruption: str = ""
    """The reason of the pod's `DisruptionTarget` condition."""


@dataclass(frozen=True, slots=True)
class Run:
    """The Job of one attempt and its pods, as observed. Times are unix seconds of the cluster's clocks."""

    key: AttemptKey
    name: str
    deadline: int
    """The Job's `activeDeadlineSeconds`."""
    granted: int
    """Seconds told to the guard; of several, to the one that was told least."""
    started: int | None = None
    """When the Job began to count."""
    scheduled: int | None = None
    """When the first pod was bound to a node; billing starts here."""
    ended: int | None = None
    """When the work had surely stopped; billing ends here."""
    spans: tuple[tuple[int, int | None], ...] = ()
    """Of several pods, from when to when each is billed; with one pod, `scheduled` and `ended` say so."""
    exit: Exit = Exit()
    stop: End | None = None
    """The end that was asked for, if the operator asked."""
    stop_reason: str = ""
    heartbeat: Heartbeat | None = None
    silent_seconds: int = 0
    """For how long it has not answered, though this operator asked; 0 also where it did not ask yet."""
    idle_seconds: int = 0
    """For how long utilization has stayed under the study's threshold."""
    leader: str | None = None
    """The address of the pod where the others meet, where they have yet to be told."""
    released: bool = False
    """Nothing of ours keeps the Job from being deleted."""
    deleted: bool = False
    """Somebody deleted the Job; only our finalizer keeps it."""
    nodes: tuple[Mapping[str, str], ...] = ()
    """The labels of the nodes that its pods are bound to, of those that are known."""
    unseen: bool = False
    """The Job had a pod that was not seen: that it reached a node, and when, is a guess from the Job."""

    def billed(self, until: int) -> list[tuple[int, int]]:
        """From when to when each pod that reached a node is billed; up to `until` for one that still runs."""
        alone = [] if self.scheduled is None else [(self.scheduled, self.ended)]
        spans = self.spans or alone
        return [(start, max(start, until if end is None else end)) for start, end in spans]


@dataclass(frozen=True, slots=True)
class Refused:
    """An object that does not parse: what it says is not known, so nothing may be built on its absence."""

    kind: str
    name: str
    uid: str
    why: str
    newer: bool = False
    """It has fields or values that this release does not know."""
    study: str = ""
    """Of a trial: its study's uid."""
    number: int | None = None
    """Of a trial: its number, where that can be read."""


@dataclass(frozen=True, slots=True)
class Unusable:
    """A report that is there and cannot be taken."""

    why: str


@dataclass(frozen=True, slots=True)
class World:
    """A namespace at one moment."""

    now: int
    namespace: str
    books: Books
    studies: tuple[Study, ...] = ()
    trials: Mapping[str, tuple[Trial, ...]] = field(default_factory=dict)
    """By study uid, in order of their numbers."""
    runs: Mapping[AttemptKey, Run] = field(default_factory=dict)
    reports: Mapping[AttemptKey, Report | Unusable | None] = field(default_factory=dict)
    """Of attempts that finished and are not yet in their trial's status; `None`: surely not there."""
    budgets: tuple[Budget, ...] = ()
    prices: tuple[PriceList, ...] = ()
    feed: Feed = field(default_factory=dict)
    """What price feeds have said."""
    refused: tuple[Refused, ...] = ()
    trainer_image: str = ""
    """For studies that name none."""
    site: SitePolicy = ANYTHING
    """What the platform team requires of every study."""
    fresh: bool = False
    """The cluster's part was read just now, and is not what watches brought some time ago."""
    server_now: int | None = None
    """Unix seconds of the clock that stamps the cluster's objects, where the part is fresh."""


def trial_prefix(study: Study, trial: int) -> str:
    """Where a trial's checkpoints, artifacts and reports go."""
    meta = study.metadata
    root = study.spec.artifacts.uri.rstrip("/")
    return f"{root}/{meta.namespace}/{unique_name(meta.name, meta.uid)}/trials/{trial:04d}"
