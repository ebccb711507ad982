"""The actions that `plan` requests. Each is idempotent: done twice, it is done once."""

from dataclasses import dataclass
from typing import TypeAlias

from comptroller.ledger.entries import Entry
from comptroller.ledger.names import AttemptKey
from comptroller_api.budget import Budget, BudgetStatus
from comptroller_api.contract import Assignment
from comptroller_api.pricelist import Toleration
from comptroller_api.study import Resources, Study, StudyStatus
from comptroller_api.trial import End, Trial, TrialStatus


@dataclass(frozen=True, slots=True)
class Append:
    """One batch for the journal. Actions that depend on it are planned once it is durable."""

    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class CreateTrial:
    """A new configuration."""

    study: Study
    trial: Trial


@dataclass(frozen=True, slots=True)
class Launch:
    """Create the Job of an attempt whose lease is durable (P2)."""

    study: Study
    trial: Trial
    assignment: Assignment
    image: str
    resources: Resources
    node_selector: dict[str, str]
    tolerations: tuple[Toleration, ...] = ()
    guarded: bool = True
    """The image's first process is our guard, so that the lease may be renewed while the pod runs."""
    first: bool = False
    """The lease is from the pass before, so that no Job of the attempt was ever created."""

    @property
    def key(self) -> AttemptKey:
        """Return the attempt."""
        return AttemptKey(self.study.metadata.uid, self.assignment.trial, self.assignment.attempt)


@dataclass(frozen=True, slots=True)
class Bury:
    """Take an attempt's name with a Job that runs no pod, so that nobody can launch it any more."""

    key: AttemptKey
    name: str
    reason: str
    owner: Study | Trial | None
    """The owner with which the Job is deleted; `None` if no owner is left."""


@dataclass(frozen=True, slots=True)
class Refresh:
    """Look again, at what is now rather than at what watches brought, before what cannot be taken back."""


@dataclass(frozen=True, slots=True)
class Extend:
    """Set the Job's deadline to what the books grant: raise it after a renewal, lower what others raised."""

    name: str
    seconds: int
    uid: str | None = None
    """The uid of the intended Job; `None`: any Job of the name."""


@dataclass(frozen=True, slots=True)
class Grant:
    """Set the guard's grant to what the books grant; where it is raised, after `Extend` and never before."""

    name: str
    seconds: int
    uid: str | None = None
    """The uid of the intended Job; `None`: any Job of the name."""


@dataclass(frozen=True, slots=True)
class Introduce:
    """Tell the pods of an attempt where they meet."""

    name: str
    address: str


@dataclass(frozen=True, slots=True)
class Stop:
    """End an attempt: SIGTERM, a checkpoint, the grace period."""

    name: str
    end: End
    reason: str
    uid: str | None = None
    """The uid of the intended Job; `None`: any Job of the name."""


@dataclass(frozen=True, slots=True)
class Expire:
    """Lower the pods' own deadlines, so that kubelets end what the Job controller and the guard did not."""

    name: str
    uid: str | None = None
    """The uid of the intended Job; `None`: any Job of the name."""


@dataclass(frozen=True, slots=True)
class Release:
    """The attempt is settled: its Job and pod may be deleted."""

    name: str
    uid: str | None = None
    """The uid of the intended Job; `None`: any Job of the name."""


@dataclass(frozen=True, slots=True)
class RecordTrial:
    """Write a trial's status."""

    trial: Trial
    status: TrialStatus


@dataclass(frozen=True, slots=True)
class RecordStudy:
    """Write a study's status."""

    study: Study
    status: StudyStatus


@dataclass(frozen=True, slots=True)
class RecordBudget:
    """Write a budget's status."""

    budget: Budget
    status: BudgetStatus


@dataclass(frozen=True, slots=True)
class Protect:
    """Keep a study from vanishing before its books are closed."""

    study: Study


@dataclass(frozen=True, slots=True)
class Unprotect:
    """Let a deleted study go."""

    study: Study


Action: TypeAlias = (
    Append
    | CreateTrial
    | Launch
    | Bury
    | Refresh
    | Extend
    | Grant
    | Introduce
    | Stop
    | Expire
    | Release
    | RecordTrial
    | RecordStudy
    | RecordBudget
    | Protect
    | Unprotect
)
