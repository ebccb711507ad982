"""The promises, held against what truly happens and not only against the books.

The oracle knows what nobody in the simulation knows: the true time, which pods truly run, and the bytes that
are truly stored. Money of a pod is looked at whenever the books change and when the pod ends; between these
its cost only grows and its hold does not change, so that these moments stand for every second.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import cast
from zoneinfo import ZoneInfo

from comptroller.cluster.jobs import STOP
from comptroller.cluster.ownership import is_watched
from comptroller.cluster.pods import unix
from comptroller.cluster.simulated import OPERATOR, Change, Pod, Simulated, SimulatedJob
from comptroller.cluster.simulated.bodies import Body, condition
from comptroller.ledger.encoding import decode
from comptroller.ledger.entries import Ceiling, Close, Entry, Post, Price, Reserve, Start
from comptroller.ledger.names import AttemptKey
from comptroller.simulation import windows
from comptroller.simulation.bill import Tariff, bill, seconds, tariffs, worst
from comptroller.simulation.declared import (
    Declared,
    always,
    amounts,
    capping,
    covering,
    names,
    rates_of,
    unpriced,
)
from comptroller.simulation.fold import Fold, Held
from comptroller.simulation.process import Looked
from comptroller_api import quantity
from comptroller_api.contract import GRANT_ANNOTATION
from comptroller_api.meta import FINALIZER
from comptroller_api.money import to_micro
from comptroller_api.pricelist import PriceList
from comptroller_api.study import Resources, Study

_STAMPS = 2
"""Seconds of each pod that stamps of whole seconds leave open, of its beginning and of its end."""
_STOOD = 20
"""Seconds after which an operator that is not standing still looks again before it acts."""
_LOOKED_FOR = 10
"""Seconds after which an operator looks for a pod that its Job counts and no watch has brought."""
_SILENT = 60
"""Seconds without a heartbeat for which a pod may still be given another lease."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was not kept."""

    promise: str
    """P1, P2, P4, P5, or `Error` for an operator that raised what it must not."""
    at: int
    """Unix seconds."""
    what: str


@dataclass
class Oracle:
    """Watches one run."""

    cluster: Simulated
    lag: int
    """Seconds by which what an operator knows may be old when it acts on it."""
    slack: int
    """Seconds in which nobody may have been able to lower what a tenant raised."""
    violations: list[Violation] = field(default_factory=list)
    fold: Fold = field(default_factory=Fold)
    declared: list[Declared] = field(default_factory=list)
    launched: dict[AttemptKey, SimulatedJob] = field(default_factory=dict)
    studies: dict[str, Study] = field(default_factory=dict)
    """Every study there ever was."""
    tariffs: dict[tuple[str, str], list[Tariff]] = field(default_factory=dict)
    """The declarations of people, by node kind and capacity."""
    fed: tuple[PriceList, ...] | None = None
    """The price lists that would declare the prices of their feed; `None`: the lists declare them."""
    members: dict[str, set[str]] = field(default_factory=dict)
    """The budgets that leases of each study were under, by its uid."""
    unseen: set[AttemptKey] = field(default_factory=set)
    """Attempts whose books were closed before their pods were seen to end."""
    leased: dict[AttemptKey, tuple[int, int]] = field(default_factory=dict)
    """The seconds of first leases and their overheads, by the clocks of those who granted them."""

    def __post_init__(self) -> None:
        """Let the fold ask who tampered with what."""
        self.fold.tampered = self.tampered

    def tampered(self, key: AttemptKey) -> bool:
        """Return whether somebody changed an attempt's objects."""
        job = self.launched.get(key)
        return job is not None and job.tampered

    def violated(self, promise: str, what: str) -> None:
        """Note a violation."""
        self.violations.append(Violation(promise, self.cluster.now, what))

    def declare(self) -> None:
        """People changed something."""
        cluster, studies = self.cluster, self.cluster.studies
        self.studies |= studies
        prices = cluster.prices if self.fed is None else self.fed
        self.declared.append(Declared(cluster.now, studies, cluster.budgets, prices))
        lists = [(one.since, one.prices) for one in self.declared]
        for node in cluster.nodes:
            kind = (node.kind, node.capacity)
            self.tariffs[kind] = tariffs(lists, *kind)

    # -- the ledger ----------------------------------------------------------------------------------------

    def batch(self, data: bytes, looked: Looked | None) -> list[str]:
        """A batch is durable, planned on what its writer had `looked` at; what it says, for a person."""
        for job in self._running():
            self._covered(job)
        batch = decode(data)
        for entry in batch.entries:
            if isinstance(entry, Reserve):
                clock = looked.clock if looked else batch.time
                self._reserve(entry, clock)
                self._in_its_period(entry, clock)
                if looked is not None and entry.lease:
                    self._heard_of(entry, looked)
            if (wrong := self.fold.apply(entry)) is not None:
                self.violated("P1", f"{entry.id}: {wrong}")
            elif isinstance(entry, Reserve):
                self._covers(entry)
            elif isinstance(entry, Start):
                self._started(entry)
            elif isinstance(entry, Close):
                self._closed(self.fold.attempts[entry.key], entry, looked)
            self._was_declared(entry)
        return [f"{batch.sequence} of {batch.writer}: {_described(entry)}" for entry in batch.entries]

    def _recent(self) -> list[Declared]:
        """Return what an operator that acts now may have believed, the latest last."""
        since = self.cluster.now - self.lag
        found = [
            one
            for one, later in zip(self.declared, [*self.declared[1:], None], strict=True)
            if later is None or later.since >= since
        ]
        return found or self.declared[-1:]

    def _reserve(self, entry: Reserve, clock: int) -> None:
        """A lease must be paid by every ceiling over its study."""
        study = self.studies.get(entry.study)
        if study is None:
            self.violated("P2", f"{entry.id} is for a study that never was")
            return
        self._priced(entry, clock)
        if entry.name != f"{study.metadata.name}-{entry.study[:8]}-{entry.trial:04d}-{entry.attempt}":
            self.violated("P4", f"{entry.id} has the name {entry.name}")
        if entry.lease:
            return  # a renewal holds where its attempt does
        owners = {account.split("/")[1] for account in entry.accounts if account.startswith("budget/")}
        members = self.members.setdefault(entry.study, set())
        for name in members & always(self._recent(), names) - owners:
            self.violated("P1", f"{entry.id} is not under budget {name}, which covered its study before")
        members |= owners
        if f"study/{entry.study}" not in entry.accounts:
            self.violated("P1", f"{entry.id} is not under its study's ceiling")
        for name in always(self._recent(), lambda one: covering(one, entry.study)) - owners:
            self.violated("P1", f"{entry.id} is not under budget {name}")
        for name in always(self._recent(), lambda one: capping(one, entry.study)):
            if f"budget/{name}/cap/{entry.study}" not in entry.accounts:
                self.violated("P1", f"{entry.id} is not under the cap per study of budget {name}")

    def _priced(self, entry: Reserve, clock: int) -> None:
        """Check that a leased class had a price by the writer's clock: a written one, and not too old."""
        why = [unpriced(one, entry, clock) for one in self._recent()]
        if all(why):
            self.violated("P6", f"{entry.id}: {why[-1]}")

    def _covers(self, entry: Reserve) -> None:
        """A hold must cover the worst that can be before the enforcers have ended it."""
        attempt = self.fold.attempts[entry.key]
        seconds = entry.seconds + (self.overhead(entry.study) if entry.lease == 0 else 0)
        if entry.amount < attempt.worst(seconds):
            self.violated(
                "P1", f"{entry.id} holds {entry.amount}, {seconds}s may cost {attempt.worst(seconds)}"
            )
        for name in entry.accounts:
            account = self.fold.accounts[name]
            wanted = [amount for one in self._recent() for amount in amounts(one, name)]
            if wanted and account.spent + account.held > max(wanted) + account.moved + account.beyond:
                self.violated(
                    "P1", f"{entry.id}: {name} is above {max(wanted)}, which is all that was allowed"
                )

            self._in_its_days(entry, name)
            self._in_its_credits(entry, name)

    def _in_its_credits(self, entry: Reserve, account: str) -> None:
        """A budget's credits have never spent and held more than was once declared for them together."""
        kind, name, label, *_ = (*account.split("/"), "", "")
        if (kind, label) != ("budget", "credit"):
            return
        credits_ = [
            one for known, one in self.fold.accounts.items() if known.startswith(f"{kind}/{name}/{label}/")
        ]
        total = sum(one.spent + one.held - one.beyond for one in credits_)
        most = max(
            sum(to_micro(credit.amount) for credit in budget.spec.credits)
            for one in self.declared
            for budget in one.budgets
            if budget.metadata.name == name
        )
        if total > most:
            self.violated("P1", f"{entry.id}: the credits of budget {name} come to {total} of {most}")

    def _in_its_days(self, entry: Reserve, account: str) -> None:
        """Leases that a budget's periods paid within the days of this one are within its amount."""
        kind, name, label, *more = (*account.split("/"), "", "")[:4]
        if kind != "budget" or any(more):
            return
        moved, beyond = self.fold.accounts[account].moved, []
        for one in self._recent():
            for budget in one.budgets:
                if budget.metadata.name == name and windows.is_of(label, budget.spec.period):
                    days = windows.window(label, budget.spec.time_zone)
                    cost = windows.paid(self.fold.attempts.values(), self.launched, self.leased, name, days)
                    beyond.append(cost - to_micro(budget.spec.amount) - moved)
        if beyond and min(beyond) > 0:
            self.violated("P1", f"{entry.id}: {account} is {min(beyond)} above what its days may cost")

    def _in_its_period(self, entry: Reserve, now: int) -> None:
        """Check that a reservation is for one period, by the writer's clock and the Job's start."""
        begins = now
        if entry.lease:
            job, attempt = self.launched.get(entry.key), self.fold.attempts.get(entry.key)
            started = unix(job.body.get("status", {}).get("startTime")) if job is not None else None
            if attempt is None or started is None:
                self.violated("P2", f"{entry.id} renews what has not begun")
                return
            begins = started + attempt.granted
        until = begins + entry.seconds + self.overhead(entry.study)
        self.leased.setdefault(entry.key, (begins, until))
        for account in entry.accounts:
            ends = self.ends(account)
            if ends is not None and until > ends:
                self.violated("P1", f"{entry.id} is for {until - ends}s past the end of {account}")

    def _heard_of(self, entry: Reserve, looked: Looked) -> None:
        """A run that has not answered its operator for long, since its node is lost, is not renewed."""
        job = self.launched.get(entry.key)
        pod = job.pods[-1] if job is not None and job.pods else None
        if pod is None or pod.node is None or pod.reachable or pod.job.name not in looked.scraped:
            return
        silent = looked.at - max(looked.scraped[pod.job.name], pod.node.cut_at)
        if silent > _SILENT:
            self.violated("P5", f"{entry.id}: nothing was heard of it for {silent}s")

    def overhead(self, study: str) -> int:
        """Seconds that a pod may outlive its lease."""
        lease = self.studies[study].spec.runtime.lease
        return quantity.seconds(lease.grace_period) + quantity.seconds(lease.slack)

    def _started(self, entry: Start) -> None:
        """Check that an operator created the Job that the books take for an attempt, as far as is known."""
        job = self.cluster.all_jobs.get(entry.job)
        if job is not None and job.key is None and not job.gone:
            self.violated("P4", f"{entry.id}: {job.name} is somebody else's Job")

    def _closed(self, attempt: Held, entry: Close, looked: Looked | None) -> None:
        """Check that a settled attempt is over, at its true cost as far as its writer could see."""
        job = self.launched.get(entry.key)
        if job is not None and not all(self._confirmed(pod) for pod in job.pods):
            self.unseen.add(entry.key)
        posted = sum(hold.posted or 0 for hold in attempt.holds)
        held = sum(hold.amount for hold in attempt.holds)
        pods = [pod for pod in job.pods if pod.scheduled is not None] if job is not None else []
        if running := [pod.name for pod in pods if pod.running and self._visible(pod, looked)]:
            self.violated("P4", f"{entry.id}: it is settled and {running[0]} still runs")
        elif job is not None and job.tampered:
            return  # what it truly cost may come later; it is looked at in the end
        elif job is not None and self._may_run(job):
            self.violated("P4", f"{entry.id}: it is settled and may still run")
        elif job is None or not pods:
            # A pod that says it is the attempt's, of a Job that is gone, can be anybody's.
            guests = [
                j for j in self.cluster.all_jobs.values() if j.name == attempt.first.name and j.key is None
            ]
            if posted and not (posted <= held and any(guest.pods and guest.gone for guest in guests)):
                self.violated("P7", f"{entry.id}: {posted} is posted for what never ran")
        else:
            true = attempt.cost((pod.scheduled or 0, pod.until(0)) for pod in pods)
            most = attempt.cost((pod.created, _latest_end(pod)) for pod in pods)
            exact = true <= posted <= most
            if all(self._confirmed(pod) for pod in pods) and not exact:
                # Its end may have come to be known while what the writer saw was on its way to the ledger.
                late = looked is not None and any((pod.reported_at or 0) >= looked.at for pod in pods)
                if not (late and posted == held):
                    self.violated("P1", f"{entry.id}: {posted} is posted, it cost {true}")
            elif not all(self._confirmed(pod) for pod in pods) and posted != held:
                self.violated("P1", f"{entry.id}: {posted} is posted of {held}, and nobody saw it end")

    def _visible(self, pod: Pod, looked: Looked | None) -> bool:
        """Return whether the writer could see that a pod runs."""
        if not pod.job.tampered:
            return True
        since = looked.at if looked is not None else self.cluster.now
        there = pod.uid in self.cluster.server.objects["pods"]
        return pod.reachable and there and pod.scheduled is not None and pod.scheduled < since

    def _may_run(self, job: SimulatedJob) -> bool:
        """Return whether a pod of the Job, or one that is still to be made, may come to a node."""
        pods = self.cluster.server.objects["pods"]
        for pod in job.pods:
            if (
                pod.scheduled is None
                and pod.ended is None
                and "deletionTimestamp" not in pods[pod.uid]["metadata"]
            ):
                return True
        over = any(condition(job.body, kind) for kind in ("Complete", "Failed", "FailureTarget"))
        return not (job.pods or job.gone or over or "deletionTimestamp" in job.body["metadata"])

    def _confirmed(self, pod: Pod) -> bool:
        return pod.reported and not pod.given_up

    def _was_declared(self, entry: Entry) -> None:
        """Check that nobody but people raises a ceiling or makes up a price."""
        if isinstance(entry, Ceiling):
            wanted = {amount for one in self._recent() for amount in amounts(one, entry.account)}
            if wanted and entry.amount not in wanted:
                self.violated("P1", f"{entry.id} is {entry.amount}, nobody requested that")
        if isinstance(entry, Price):
            known = {to_micro(rate) for one in self.declared for rate in rates_of(one)}
            free = {name for name in entry.rates if name.endswith("memoryGiB")}
            unknown = {rate for name, rate in entry.rates.items() if name not in free} - (known - {0})
            if unknown:
                self.violated("P6", f"{entry.id} has rates that nobody declared: {sorted(unknown)}")

    # -- the pods ------------------------------------------------------------------------------------------

    def _running(self) -> Iterable[SimulatedJob]:
        return [job for job in self.launched.values() if job.running]

    def on_launch(self, job: SimulatedJob, age: int) -> None:
        """Check a Job that is created `age` seconds after its operator looked.

        Nothing holds back the request of a process that stands still between its decision and its call. Where
        the attempt has ended meanwhile and somebody deleted its Job, it runs until the next pass stops it.
        """
        if job.key is None:
            return
        attempt, deadline = self.fold.attempts.get(job.key), job.body["spec"]["activeDeadlineSeconds"]
        if age > _STOOD and attempt is not None and attempt.closed is not None and job.key in self.launched:
            job.tampered = self.launched[job.key].tampered = True
            return
        if job.key in self.launched and self.launched[job.key].pods:
            self.violated("P4", f"{job.name} runs twice")
        if attempt is None or attempt.first.name != job.name:
            self.violated("P2", f"{job.name} has no lease in the ledger")
        elif attempt.closed is not None:
            self.violated("P2", f"{job.name} is launched after its books were closed")
        elif deadline > attempt.granted:
            self.violated("P2", f"{job.name} may run {deadline}s and is granted {attempt.granted}s")
        elif others := [
            o.name
            for o in self._running()
            if o.key and o.key.of_trial == job.key.of_trial and o is not job and not _out_of_reach(o)
        ]:
            self.violated("P4", f"{job.name} is launched while {others[0]} runs")
        self.launched[job.key] = job

    def on_write(self, change: Change) -> None:
        """An operator has changed a Job or a pod."""
        if change.user != OPERATOR or change.old is None:
            return
        job = self._job_of(change)
        longer = change.new is not None and (_allowed(change.new) or 0) > (_allowed(change.old) or 0)
        if job is not None and job.key is None and longer:
            # One that says it is an attempt, and has no lease, may be stopped.
            self.violated("P4", f"{job.name} is somebody else's, and the operator lets it run on")
        attempt = self.fold.attempts.get(job.key) if job is not None and job.key is not None else None
        if job is None or attempt is None:
            return
        if _released(change) and attempt.closed is None and not job.tampered:
            self.violated("P7", f"{job.name} is released before its books are closed")
        if change.new is None or STOP in job.body["metadata"].get("annotations", {}):
            return
        before, after, limit = _allowed(change.old), _allowed(change.new), _allowed(job.body)
        if after is not None and after != before:
            if after > attempt.granted:
                self.violated(
                    "P2", f"{job.name} is let run for {after}s, the ledger grants {attempt.granted}s"
                )
            elif limit is not None and after > limit:
                self.violated("P2", f"{job.name} is granted more than its Job's deadline")

    def _job_of(self, change: Change) -> SimulatedJob | None:
        if change.resource == "jobs":
            return self.cluster.all_jobs.get(change.uid)
        pod = self.cluster.pods.get(change.uid)
        return None if pod is None else pod.job

    def on_rest(self, who: str, clock: int) -> None:
        """An operator that saw all there is found nothing to do, by its `clock`."""
        pods = self.cluster.server.objects["pods"]
        for key, job in self.launched.items():
            attempt = self.fold.attempts.get(key)
            if attempt is None or attempt.closed is not None or job.gone:
                continue
            if STOP in job.body["metadata"].get("annotations", {}) or job.ended is not None:
                continue
            if "startTime" not in job.body.get("status", {}):
                for account in attempt.first.accounts:
                    ends = self.ends(account)
                    if ends is not None and clock + attempt.granted > ends:
                        self.violated("P1", f"{who} lets {job.name} wait for a start past {account}")
                continue
            bodies = [job.body, *(pods[p.uid] for p in job.pods if p.ended is None and p.uid in pods)]
            # A pod that lost its label before any operator saw it is brought by no watch; it is looked for.
            known = [_allowed(body) for body in bodies if attempt.began or is_watched(body)]
            new = self.cluster.now <= job.created + _LOOKED_FOR
            allowed = known if new else [_allowed(body) for body in bodies]
            if any(found is None or found < attempt.granted for found in known):
                self.violated("P5", f"{who} rests, and {job.name} is not granted its {attempt.granted}s")
            elif any(found is not None and found > attempt.granted for found in allowed):
                self.violated("P2", f"{who} rests, and {job.name} may run beyond its {attempt.granted}s")

    def on_end(self, pod: Pod) -> None:
        """A pod has ended."""
        self._covered(pod.job)

    def _covered(self, job: SimulatedJob) -> None:
        """Check that the books cover the cost and the time of a Job's pods."""
        attempt = self.fold.attempts.get(job.key) if job.key is not None else None
        if attempt is None:
            return  # it was reported at its launch
        now = self.cluster.now
        if job.tampered:
            self._talked(job, attempt)
            return
        spans = [(pod.scheduled, pod.until(now)) for pod in job.pods if pod.scheduled is not None]
        allowed = attempt.granted + self.overhead(attempt.key.study)
        for begin, end in spans:
            if end - begin > allowed:
                self.violated("P2", f"{job.name} runs for {end - begin}s, {allowed}s are covered")
        if (cost := attempt.cost(spans)) > attempt.covered:
            self.violated("P1", f"{job.name} has cost {cost}, {attempt.covered} is held")

    def _talked(self, job: SimulatedJob, attempt: Held) -> None:
        """Check that a limit raised by a tenant is lowered soon, as far as anybody can reach it."""
        ran = seconds(job.pods, self.cluster.now)
        allowed = attempt.granted + self.overhead(attempt.key.study) + self.slack
        if ran > allowed and not any(pod.cut for pod in job.pods):
            self.violated("P2", f"{job.name} was tampered with and has run for {ran}s, {allowed}s at most")

    # -- the bill ------------------------------------------------------------------------------------------

    def bill(self, job: SimulatedJob) -> tuple[int, int]:
        """Return the true cost of a Job's pods, at least and at most."""
        return bill(job.pods, self.tariffs, job.created, self.cluster.now, self.slack)

    def settled(self) -> None:
        """Check that in the end all that ran is paid for at its cost, and no study is over its ceiling."""
        totals: dict[str, int] = {}
        for key, job in self.launched.items():
            attempt = self.fold.attempts.get(key)
            if attempt is None or _out_of_reach(job):
                continue
            least, most = self.bill(job)
            totals[key.study] = totals.get(key.study, 0) + least
            self._paid(job, attempt, least, most)
        for uid, cost in totals.items():
            study = self.studies[uid]
            tampered = sum(job.tampered for key, job in self.launched.items() if key.study == uid)
            beyond = tampered * self._worst(study.spec.runtime.resources, self.slack)
            limit = max(a for one in self.declared for a in amounts(one, f"study/{uid}"))
            if cost > limit + beyond:
                self.violated("P1", f"{study.metadata.name} has truly cost {cost}, its ceiling is {limit}")

    def _paid(self, job: SimulatedJob, attempt: Held, least: int, most: int) -> None:
        posted = sum(hold.posted or 0 for hold in attempt.holds) + attempt.late
        held = sum(hold.amount for hold in attempt.holds)
        resources = attempt.first.resources
        resolution = self._worst(resources, _STAMPS * len(job.pods))
        # A shorter span that can be is believed, so that a clock stepped back a little lessens the bill.
        back = self._worst(resources, sum(pod.stepped_back for pod in job.pods))
        if posted < least - resolution - back or (least and not posted):
            self.violated("P7", f"{job.name} has truly cost {least}, {posted} is posted")
        uncertain = job.tampered or job.key in self.unseen
        if posted > (max(held, most) if uncertain else most + self._waited(job)) + resolution:
            self.violated("P7", f"{job.name} has truly cost {most} at most, {posted} is posted of {held}")

    def _worst(self, resources: Resources, seconds: int) -> int:
        return worst(quantity.milli(resources.cpu), resources.gpu, self.tariffs.values(), seconds)

    def _waited(self, job: SimulatedJob) -> int:
        """Return what may be billed while nobody could see that its pod was not bound, or over."""
        waits = sum((pod.scheduled or pod.created) - pod.created for pod in job.pods)
        late = sum(max(0, (pod.reported_at or 0) - pod.until(0)) for pod in job.pods)
        return sum(worst(p.cpu, p.gpus, self.tariffs.values(), waits + late) for p in job.pods[:1])

    def ends(self, account: str) -> int | None:
        """Return when a period or a credit ends, in unix seconds; `None`: never."""
        kind, name, *rest = account.split("/")
        if kind != "budget" or rest[0] in {"total", "cap"}:
            return None
        zone = next(
            (
                b.spec.time_zone
                for one in reversed(self.declared)
                for b in one.budgets
                if b.metadata.name == name
            ),
            "UTC",
        )
        day, length = rest[-1], timedelta(days=1)
        if "W" in day:
            day, length = f"{day}-1", timedelta(weeks=1)
            begin = datetime.strptime(day, "%G-W%V-%u").replace(tzinfo=UTC)
        else:
            begin = datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC)
        return int((begin + length).replace(tzinfo=ZoneInfo(zone)).timestamp())


def _allowed(body: Body) -> int | None:
    """Seconds that an object lets an attempt run: a Job its deadline, a pod what the guard is granted."""
    if "template" in body["spec"]:
        return cast("int | None", body["spec"].get("activeDeadlineSeconds"))
    text = body["metadata"].get("annotations", {}).get(GRANT_ANNOTATION, "")
    return int(text) if text.isdigit() else None


def _latest_end(pod: Pod) -> int:
    """Return the latest end that a pod may be billed to: no container records that of one without any.

    Its kubelet's report gives it, which comes late where the node was down.
    """
    return pod.until(0) if pod.container is not None else max(pod.until(0), pod.reported_at or 0)


def _out_of_reach(job: SimulatedJob) -> bool:
    """Return whether nobody could lower a limit that a tenant raised: the pod's node was cut off."""
    return job.tampered and any(pod.cut for pod in job.pods)


def _released(change: Change) -> bool:
    kept = [] if change.new is None else change.new["metadata"].get("finalizers", [])
    return (
        change.old is not None
        and FINALIZER in change.old["metadata"].get("finalizers", [])
        and FINALIZER not in kept
    )


def _described(entry: Entry) -> str:
    match entry:
        case Reserve():
            return f"{entry.id} {entry.amount} for {entry.seconds}s"
        case Post() | Ceiling():
            return f"{entry.id} {entry.amount}"
        case Close():
            return f"{entry.id} {entry.end} after {entry.seconds}s {entry.reason}"
        case _:
            return entry.id
