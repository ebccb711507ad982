"""A namespace's Jobs and pods read back as runs; what has not changed is not read again."""

from collections.abc import Hashable, Sequence
from dataclasses import replace
from itertools import filterfalse
from operator import is_
from typing import TypeAlias

from comptroller.cluster import runs
from comptroller.cluster.jobs import Body
from comptroller.cluster.nodes import Nodes, lost_nodes
from comptroller.cluster.ownership import by_job, is_tombstone, stand_in
from comptroller.cluster.pods import is_kept, may_run
from comptroller.world import Run

Attempt: TypeAlias = tuple[Body | None, tuple[Body, ...]]
"""A Job, where it is there, and all its pods."""


class Reading:
    """The attempts of one namespace, as they were last looked at. Bodies are replaced, and never changed."""

    def __init__(self) -> None:
        """Start with nothing read."""
        self.runs: list[tuple[str, Run]] = []
        """The runs by the uid of a Job or of what stands in for it; those that are believed come first."""
        self.attempts: dict[str, dict[str | None, Attempt]] = {}
        """Attempts by name, then by uid."""
        self.doubtful = False
        """A pod of ours has no Job in sight: it is gone, hidden or not seen yet: a fresh look shows."""
        self._seen: tuple[Sequence[Body], ...] = ()
        self._fresh = False
        self._gone: frozenset[str] = frozenset()
        """The uids of Jobs that have pods and that a fresh look did not find."""
        self._read: dict[str, tuple[Hashable, Run | None]] = {}
        """The versions that each run was read from, and the run; by uid."""

    def look(self, jobs: Sequence[Body], pods: Sequence[Body], nodes: Sequence[Body], *, fresh: bool) -> None:
        """Read the bodies, unless they are those of the last look."""
        seen = (jobs, pods, nodes)
        if fresh == self._fresh and len(self._seen) == len(seen) and all(map(_same, seen, self._seen)):
            return
        by_uid = by_job(pods)
        there = {body["metadata"]["uid"]: body for body in jobs}
        alone = {uid: own for uid, own in by_uid.items() if uid not in there}
        self._gone = frozenset(alone) if fresh else self._gone & alone.keys()
        left = [body for uid, own in alone.items() if (body := stand_in(own, fresh=uid in self._gone))]
        self.doubtful = any(
            uid not in self._gone and any(map(_matters, own)) and stand_in(own, fresh=True)
            for uid, own in alone.items()
        )
        lost, places = lost_nodes(nodes), Nodes(nodes if pods else ())
        found: list[tuple[str, Run]] = []
        attempts: dict[str, dict[str | None, Attempt]] = {}
        read: dict[str, tuple[Hashable, Run | None]] = {}
        # A Job is believed before what stands in for one, and that before a Job that only takes a name.
        for body in [
            *filterfalse(is_tombstone, there.values()),
            *left,
            *filter(is_tombstone, there.values()),
        ]:
            uid = body["metadata"]["uid"]
            own = by_uid.get(uid, ())
            read[uid] = self._run(body, own, lost)
            if (run := read[uid][1]) is not None:
                attempts.setdefault(run.name, {})[uid] = (there.get(uid), own)
                found.append((uid, replace(run, nodes=places.of(own))))
        self.runs, self.attempts, self._read = found, attempts, read
        self._seen, self._fresh = seen, fresh

    def _run(self, job: Body, pods: tuple[Body, ...], lost: frozenset[str]) -> tuple[Hashable, Run | None]:
        """Return what became of an attempt, with what that was read from."""
        names = {pod.get("spec", {}).get("nodeName") for pod in pods}
        versions = [(one["metadata"]["uid"], one["metadata"].get("resourceVersion")) for one in (job, *pods)]
        state = (tuple(versions), frozenset(names & lost))
        known = self._read.get(job["metadata"]["uid"])
        if known is None or known[0] != state or versions[0][1] is None:
            return state, runs.run(job, *pods, lost_nodes=lost)
        return known


def _matters(pod: Body) -> bool:
    """Return whether a pod costs something, or is kept until it is billed."""
    return is_kept(pod) or may_run(pod)


def _same(one: Sequence[Body], other: Sequence[Body]) -> bool:
    """Return whether both are the very same bodies in the same order."""
    return len(one) == len(other) and all(map(is_, one, other))
