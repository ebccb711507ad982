"""The state of a namespace that one pass sees: plain values, no clock, no network."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from comptroller.ledger.books import Books
from comptroller.ledger.names import AttemptKey, unique_name
from comptroller.pricing import Feed, Shelf
from comptroller.site import ANYTHING, SitePolicy
from comptroller_api import quantity
from comptroller_api.budget import Budget
from comptroller_api.contract import Heartbeat, Report
from comptroller_api.pricelist import PriceList
from comptroller_api.study import Resources, Study
from comptroller_api.trial import End, Trial


@dataclass(frozen=True, slots=True)
class Exit:
    """The end of a run's work, as the kubelet and the Job controller report it."""

    code: int | None = None
    """The container's exit code; `None` where no container ended."""
    message: str = ""
    """The trainer's termination message, on one line of printable characters."""
    report: str | None = None
    """The SHA-256 of its report that the trainer left there; empty: it left none; `None`: nobody saw
    the container end."""
    out_of_memory: bool = False
    """The kernel or the kubelet ended it for memory."""
    deadline: bool = False
    """The Job's or the pod's deadline ended it."""
    disruption: str = ""
    """The reason of the pod's `DisruptionTarget` condition."""
    rejected: str = ""
    """The reason why the kubelet did not take the pod, or evicted it."""
    unstarted: bool = False
    """The pod is over, and its container was never started."""


@dataclass(frozen=True, slots=True)
class Requested:
    """The resources that the scheduler sets aside for a pod."""

    cpu_milli: int
    """Thousandths of a core."""
    memory_bytes: int
    devices: tuple[tuple[str, int], ...] = ()
    """Every other resource by name, and how many: GPUs, huge pages, claims of devices."""
    storage_bytes: int = 0
    """Bytes of the node's disk."""

    def beyond(self, resources: Resources) -> str:
        """Return what is requested beyond the `resources` that are paid for; empty where nothing is."""
        paid = {resources.gpus: resources.gpu}
        found: list[tuple[str, object, object]] = [
            (name, count, paid.get(name, 0)) for name, count in self.devices if count > paid.get(name, 0)
        ]
        if self.cpu_milli > (cpu := quantity.milli(resources.cpu)):
            found.append(("cpu", f"{self.cpu_milli}m", f"{cpu}m"))
        if self.memory_bytes > (memory := quantity.whole(resources.memory)):
            found.append(("memory", f"{self.memory_bytes} B", f"{memory} B"))
        if self.storage_bytes > (storage := quantity.whole(resources.storage)):
            found.append(("ephemeral-storage", f"{self.storage_bytes} B", f"{storage} B"))
        return ", ".join(f"{name}: {wanted} requested, {known} paid for" for name, wanted, known in found)


@dataclass(frozen=True, slots=True)
class Run:
    """The Job of one attempt and its pods, as observed. Times are unix seconds of the cluster's clocks."""

    key: AttemptKey
    name: str
    deadline: int
    """The Job's `activeDeadlineSeconds`."""
    granted: int
    """Seconds granted to the guard; of several guards, the least."""
    created: int | None = None
    """The creation of the Job; `None` if it is gone, or the cluster does not report it."""
    started: int | None = None
    """The time at which the Job began to count."""
    scheduled: int | None = None
    """The binding of the first pod to a node; billing starts here."""
    ended: int | None = None
    """The time at which the work had certainly stopped; billing ends here."""
    spans: tuple[tuple[int, int | None], ...] = ()
    """The billed span of each pod; empty: one pod, from `scheduled` to `ended`."""
    certain: bool = True
    """The ends of the spans are known; else a node's clock stepped, and the lease's end bounds each."""
    exit: Exit = Exit()
    stop: End | None = None
    """The end that was requested, if the operator requested one."""
    stop_reason: str = ""
    heartbeat: Heartbeat | None = None
    heard: int | None = None
    """This operator's last heartbeat from it, in unix seconds; `None`: never."""
    reported: int | None = None
    """A kubelet's last write of the status of one of its pods, by the API server's clock."""
    silent_seconds: int = 0
    """Seconds for which it has left this operator's scrapes unanswered; 0 also before the first scrape."""
    idle_seconds: int = 0
    """Seconds for which utilization has stayed under the study's threshold."""
    leader: str | None = None
    """The address of the pod where the others meet, if they do not have it yet."""
    released: bool = False
    """None of our finalizers keeps the Job from being deleted."""
    deleted: bool = False
    """Somebody deleted the Job; only our finalizer keeps it."""
    nodes: tuple[Mapping[str, str], ...] = ()
    """The labels of the nodes that its pods are bound to, of those that are known."""
    unseen: int = 0
    """The number of pods that were not seen: that they reached a node, and when, is a guess from the Job.

    Their spans come first.
    """
    incomplete: bool = False
    """The Job has a pod that is not in sight, such as one whose labels somebody took off."""
    unexplained: bool = False
    """The Job is over without a pod, and its events, which tell whether it had one, could not be read."""
    most_granted: int | None = None
    """Seconds granted to the pod that is granted most; `None`: as `granted`."""
    uid: str | None = None
    """The Job's uid; `None` where the cluster has no uids."""
    trial: str | None = None
    """The uid of the `Trial` that controls the Job."""
    stated: bool = False
    """The Job's template, which nobody can change, states that it is this attempt's."""
    tombstone: bool = False
    """The Job runs no pod and only keeps its name from being taken."""
    paused: bool = False
    """The Job is suspended, or has no parallelism, and may go on."""
    first_pod: int | None = None
    """The creation of the earliest pod that is in sight."""
    pod_names: frozenset[str] = frozenset()
    """The names of the pods that are in sight."""
    pods: int = 1
    """The number of pods that the Job runs until it is complete."""
    indexed: bool = False
    """The Job gives its pods numbers, as ours does if several train together."""
    unfinished: bool = False
    """The Job may start another pod: nothing has ended it, and nobody deletes it."""
    uncounted: bool = False
    """A pod is over that the Job controller will never count, so that it starts another in its place."""
    bound: int = 0
    """The number of pods that have reached a node."""
    live: bool = False
    """A pod is on a node and not over."""
    unreachable: bool = False
    """The kubelets of all live pods no longer report, so nobody can see whether they still run."""
    done: bool = False
    """The trainer is over and its pod is not: another container keeps it."""
    begun: bool = True
    """A container of it was ever started."""
    restarted: bool = False
    """A container of a live pod runs again: its image was replaced, and with it perhaps the guard."""
    pod_deadline: int = 0
    """The pods' own `activeDeadlineSeconds`, the largest of those that are live."""
    template: Requested | None = None
    """The requests of a pod of the Job."""
    requested: tuple[Requested, ...] = ()
    """The requests of its existing pods, each amount once."""
    jobless: bool = False
    """Only the run's pods exist, and the Job is gone."""
    hidden: bool = False
    """Somebody took our labels off the Job or off a pod, so that watches bring it no more."""
    rivals: tuple["Run", ...] = ()
    """Other Jobs, or pods whose Job is gone, that say they are this attempt."""

    @property
    def nowhere(self) -> bool:
        """It had a pod that was not seen, and none is in sight."""
        return self.unseen > 0 and self.first_pod is None

    @property
    def deleted_unstarted(self) -> bool:
        """Somebody deleted the Job before it began, so that it never runs."""
        return self.deleted and self.started is None and self.scheduled is None

    def billed(self, until: int) -> list[tuple[int, int]]:
        """Return the billed span of each pod that reached a node; up to `until` for one that still runs."""
        alone = [] if self.scheduled is None else [(self.scheduled, self.ended)]
        spans = self.spans or alone
        return [(start, max(start, until if end is None else end)) for start, end in spans]


@dataclass(frozen=True, slots=True)
class Removed:
    """A Job that somebody removed with its pod and their finalizers; only an event tells of it."""

    job: str
    """The Job's uid."""
    at: int
    """The creation of its pod, in unix seconds."""


@dataclass(frozen=True, slots=True)
class Refused:
    """An object that does not parse: what it says is not known, so nothing may be built on its absence."""

    kind: str
    name: str
    uid: str
    why: str
    newer: bool = False
    """The object has fields or values that this release does not know."""
    study: str = ""
    """The uid of a trial's study."""
    number: int | None = None
    """The number of a trial, if that can be read."""
    selector: Mapping[str, str] | None = None
    """The labels of the studies that a budget takes, if at least these can be read."""


@dataclass(frozen=True, slots=True)
class Unusable:
    """A report that is there and cannot be taken."""

    why: str


@dataclass(frozen=True, slots=True)
class Unreachable:
    """Storage that a study names and that cannot be reached."""

    reason: str
    """The reason, in one word."""
    message: str


@dataclass(slots=True)
class Memory:
    """The state that a pass over a namespace leaves for the next one. Only time is lost with it."""

    at_rest: dict[str, tuple[object, ...]] = field(default_factory=dict)
    """Ended studies that had nothing to do, each with all that this rests on; by uid."""
    prices: Shelf = field(default_factory=Shelf)


@dataclass(frozen=True, slots=True)
class World:
    """A namespace at one moment."""

    now: int
    namespace: str
    books: Books
    studies: tuple[Study, ...] = ()
    trials: Mapping[str, tuple[Trial, ...]] = field(default_factory=dict)
    """Trials by study uid, in order of their numbers."""
    runs: Mapping[AttemptKey, Run] = field(default_factory=dict)
    taken: Mapping[AttemptKey, str] = field(default_factory=dict)
    """Attempts whose name a Job has that is not ours, and why it is not."""
    removed: Mapping[AttemptKey, Removed] = field(default_factory=dict)
    """Attempts whose Job was removed before any pass saw it."""
    leased: frozenset[AttemptKey] = frozenset()
    """Attempts that the pass before this one leased, with no other operator alive that might launch them."""
    reports: Mapping[AttemptKey, Report | Unusable | None] = field(default_factory=dict)
    """Reports of finished attempts that are not yet in their trial's status; `None`: not there."""
    budgets: tuple[Budget, ...] = ()
    prices: tuple[PriceList, ...] = ()
    feed: Feed = field(default_factory=dict)
    """The answers of price feeds."""
    refused: tuple[Refused, ...] = ()
    doubtful: bool = False
    """A pod of ours has no Job in sight, and only a fresh look shows whether it is gone."""
    unreachable: Mapping[str, Unreachable] = field(default_factory=dict)
    """Storage faults by study uid, of studies that have no attempt yet."""
    unpublished: str = ""
    """The reason why the ledger's head could not be published, which holds all leases; empty if it was."""
    trainer_image: str = ""
    """The image for studies that name none."""
    site: SitePolicy = ANYTHING
    """The platform team's requirements for every study."""
    fresh: bool = False
    """The cluster's part was read just now, and is not what watches brought some time ago."""
    server_now: int | None = None
    """Unix seconds of the clock that stamps the cluster's objects, where the part is fresh."""
    memory: Memory = field(default_factory=Memory, repr=False, compare=False)
    """The state that the pass before left, and that this one leaves."""
    covering: dict[str, list[Budget]] = field(default_factory=dict, init=False, repr=False, compare=False)
    """The budgets that pay for a study, by its uid, once `plan.membership` has found them."""


def trial_prefix(study: Study, trial: int) -> str:
    """Return the prefix of a trial's checkpoints, artifacts and reports."""
    meta = study.metadata
    root = study.spec.artifacts.uri.rstrip("/")
    return f"{root}/{meta.namespace}/{unique_name(meta.name, meta.uid)}/trials/{trial:04d}"
