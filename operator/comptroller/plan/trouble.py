"""Trouble that is not a trial's own: pods that cannot begin, and storage that cannot be reached.

Such an attempt is ended early, so that it neither holds money nor is billed for a node that it cannot use.
The study then waits, longer each time, and continues with one attempt until that works.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from comptroller.ledger.books import Attempt
from comptroller.ledger.names import AttemptKey
from comptroller.plan.trials import NOT_STARTED, Progress, in_vain, pause
from comptroller.status import rfc3339
from comptroller.world import Run
from comptroller_api.trial import Trial

FAILED_CREATE = "FailedCreate"
"""The prefix of the message if the Job controller could not make a pod."""
_DEFINITE = frozenset({"CreateContainerConfigError", "InvalidImageName", "ErrImageNeverPull"})
"""The reasons that keep a container waiting until somebody mends it: a missing Secret, key or image name."""
_MISSING, _REFUSED, _UNPLACED = 15, 60, 180
"""Seconds that a pod may lack such a thing, may be refused or stuck on its node, and may wait for a node that
has to boot."""
_BEFORE_THE_END = 10
"""Seconds before the end of its lease at which a pod that has not begun is ended at the latest."""
_WORKING = 60
"""Seconds that an attempt runs before it counts as a sign that others can, too."""
_WORD = re.compile(r"[A-Z][A-Za-z0-9]{2,63}")


@dataclass(frozen=True, slots=True)
class Pause:
    """The reason of a study's wait, and its end."""

    reason: str
    """The reason, in one word."""
    message: str
    until: int
    """Unix seconds; then one attempt finds out."""


def stuck(run: Run) -> bool:
    """Return whether something keeps a run from beginning its work; its exit message says what."""
    waits = run.ended is None and run.exit.code is None and run.stop is None
    return waits and bool(run.exit.message) and not run.exit.disruption


def not_started(attempt: Attempt, run: Run, now: int) -> str | None:
    """Return why a run is ended that has not begun its work for too long.

    It is ended before its lease is, whatever it waits for: a lease that ended is one that was used.
    """
    since = run.started if run.scheduled is None else run.scheduled
    if not stuck(run) or since is None:
        return None
    last = since if run.started is None else run.started
    last += attempt.granted - min(_BEFORE_THE_END, attempt.granted // 2)
    if now < min(since + _patience(run), last):
        return None
    return f"{NOT_STARTED}: {run.exit.message}"


def _patience(run: Run) -> int:
    """Return the seconds for which a run may be stuck."""
    if run.scheduled is None:
        return _REFUSED if run.exit.message.startswith(FAILED_CREATE) else _UNPLACED
    return _MISSING if _first_word(run.exit.message) in _DEFINITE else _REFUSED


def recalled(run: Run, trial: Trial) -> Run:
    """Return a run that ended before it began, with what its trial's status says kept it from beginning.

    The API server forgets: a quota's refusal is of a Job that waits, and what a container waits for is lost
    when its pod is ended.
    """
    begun = run.scheduled is not None and not run.exit.unstarted
    if run.ended is None or begun or run.exit.message or trial.status is None:
        return run
    known = trial.status.reason if trial.status.state == "Running" else ""
    return replace(run, exit=replace(run.exit, message=known)) if _first_word(known) else run


def overdue(attempt: Attempt, run: Run, overhead: int, now: int) -> int | None:
    """Return when a pod that still runs should have been ended, in unix seconds; `None`: not yet, or it is.

    Args:
        attempt: its attempt in the books.
        run: what is seen of it.
        overhead: seconds that a pod may outlive its lease.
        now: unix seconds.
    """
    if not run.live or run.ended is not None:
        return None
    end = max(start for start, _ in run.billed(now)) + attempt.granted + overhead
    return end if now > end else None


def overrun(attempt: Attempt, run: Run, end: int) -> str:
    """Return a sentence on an attempt that runs on though it should have been ended at `end`."""
    if run.unreachable:
        done = "its node does not report, so that it is billed to the end of its lease"
    elif run.pod_deadline <= 1:
        done = "its pod's own deadline was lowered so that the kubelet ends it, and it is billed until then"
    else:
        done = (
            "its pod's own deadline is being lowered so that the kubelet ends it, and it is billed until then"
        )
    return f"attempt {attempt.name} runs on after its lease, which was over at {rfc3339(end)}: {done}"


def trouble(everything: Sequence[Progress], runs: Mapping[AttemptKey, Run], now: int) -> Pause | None:
    """Return what the latest attempts failed on, of whatever trial; `None` where something works."""
    vain = [
        p
        for p in everything
        if p.outcome is None and p.open is None and p.attempts and _shared(p.attempts[-1])
    ]
    if not vain or any(_works(p, runs, now) for p in everything):
        return None
    last = max((p.attempts[-1] for p in vain), key=lambda a: (a.ended, -a.trial))
    if any(a.ended > last.ended and not in_vain(a) for p in everything for a in p.attempts if not a.open):
        return None
    until = last.ended + max(pause(p) for p in vain)
    what = last.reason.removeprefix(f"{NOT_STARTED}: ") or last.end or ""
    message = f"trial {last.trial}: {what}; the next attempt is launched at {rfc3339(until)}"
    return Pause(_word(last, what), message, until)


def waiting(everything: Sequence[Progress], runs: Mapping[AttemptKey, Run]) -> tuple[str, str] | None:
    """Return why every attempt that is under way has not begun, as a word and a sentence."""
    under_way = [p.open for p in everything if p.open is not None]
    seen = [(a, runs.get(a.key)) for a in under_way]
    if not seen or not all(run is not None and stuck(run) for _, run in seen):
        return None
    first, run = seen[0]
    what = run.exit.message if run is not None else ""
    return _word(first, what), f"trial {first.trial} has not begun: {what}"


def _shared(attempt: Attempt) -> bool:
    """Return whether an ended attempt met trouble that others of the study would meet too."""
    unplaced = attempt.end == "LeaseExpired" and not attempt.started
    return attempt.end == "Unavailable" or unplaced or attempt.reason.startswith(NOT_STARTED)


def _works(p: Progress, runs: Mapping[AttemptKey, Run], now: int) -> bool:
    run = runs.get(p.open.key) if p.open is not None else None
    if run is None or run.scheduled is None or run.ended is not None or stuck(run):
        return False
    return now - run.scheduled >= _WORKING


def _word(attempt: Attempt, what: str) -> str:
    return "StorageUnavailable" if attempt.end == "Unavailable" else _first_word(what) or NOT_STARTED


def _first_word(what: str) -> str:
    """Return the word before the colon with which the API server's messages begin; empty where none is."""
    word, colon, _ = what.partition(":")
    return word if colon and _WORD.fullmatch(word) else ""
