"""The trainer's contract: what an attempt is given, what it says while it runs, what it leaves.

Any image is a trainer that reads `COMPTROLLER_ASSIGNMENT`, serves `/heartbeat` and `/metrics` on
`HEARTBEAT_PORT`, checkpoints on SIGTERM, and, before it exits 0, writes its report and the report's
`digest_line` to its termination message (`/dev/termination-log`).

Below `Assignment.artifacts`, a trial's own prefix, it keeps `attempts/<attempt>/report.json`,
`checkpoints/` and `rungs/<rung>/`; the project's own trainer also `tuned/<rung>/checkpoints/`, of the
training that compression adds. A report that names an `assignment.json` among its artifacts, the rung's
`Assignment`, can be reproduced.
"""

import hashlib
import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from comptroller_api.data import Data
from comptroller_api.meta import Model
from comptroller_api.space import ParameterName, SetValue
from comptroller_api.study import Latency
from comptroller_api.text import Printable

ASSIGNMENT_ENV = "COMPTROLLER_ASSIGNMENT"
IMAGE_ENV = "COMPTROLLER_IMAGE"
"""The pod's image as the study or the operator names it, for the report; by its digest where they do."""
TRACKING_ENV = "MLFLOW_TRACKING_URI"
"""The MLflow server that a trainer tells its rungs to, where there is one."""
HEARTBEAT_PORT = 9464
GRANT_ANNOTATION = "comptroller.dev/lease-seconds"
"""Pod annotation: seconds granted, the renewals included. Only grows.

They count from when the pod's volumes were set up, which is before its image is pulled.
"""
GRANT_FILE = "/etc/comptroller/lease-seconds"
"""The annotation as a downward-API file."""
LEADER_ANNOTATION = "comptroller.dev/leader"
"""Pod annotation where several train together: the address of the one with index 0, once it is known."""
LEADER_FILE = "/etc/comptroller/leader"
"""The annotation as a downward-API file, empty until it is known."""
LEADER_PORT = 29400
"""Where they meet."""

EXIT_FINISHED = 0
EXIT_BAD_ASSIGNMENT = 64
"""The assignment is wrong; trying again cannot help (`EX_USAGE`)."""
EXIT_DIVERGED = 65
"""Training left the finite numbers, and would again from the same seed (`EX_DATAERR`)."""
EXIT_NO_GAIN = 66
"""The compressed artifact is not what it had to be beside its parent, and would not be again.

The report is written first, with `missed`, so that what was measured is kept.
"""
EXIT_UNAVAILABLE = 69
"""Storage could not be reached, or refused; not this configuration's fault (`EX_UNAVAILABLE`)."""
EXIT_OUT_OF_MEMORY = 71
"""An allocation failed and was caught (`EX_OSERR`)."""
EXIT_SUSPENDED = 75
"""Stopped by SIGTERM or by the guard, with a checkpoint (`EX_TEMPFAIL`)."""

LEAVES_A_REPORT = frozenset({EXIT_FINISHED, EXIT_NO_GAIN})

LEASE_OVER = "the lease of "
"""How the guard's last words begin when it was the lease that ended the work."""

MAX_REPORT = 256 * 1024
"""Bytes of a report; a longer one is not read."""

_COUNT = 2**53
"""No count passes it, so that each is exact in every JSON reader and fits an int64."""
_DIGEST = re.compile(r"\breport sha256:([0-9a-f]{64})\b")

MetricName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_.@/-]{0,63}$")]
"""A metric's name: a letter, then letters, digits and `_ . @ / -`; at most 64 characters."""
Count = Annotated[int, Field(ge=0, le=_COUNT)]


def report_key(attempt: int) -> str:
    """The report's key below the trial's prefix."""
    return f"attempts/{attempt}/report.json"


def digest_line(report: bytes) -> str:
    """Return what the trainer leaves in its termination message about the bytes of its report.

    Whoever holds the key to the artifacts can write any trial's report; only the pod itself can write its
    termination message. The operator takes a report only where the two agree.
    """
    return f"report sha256:{hashlib.sha256(report).hexdigest()}"


def report_digest(message: str) -> str:
    """Return the SHA-256 that a termination message gives, in hexadecimal; empty where it gives none."""
    found = _DIGEST.search(message)
    return found[1] if found else ""


def without_digest(message: str) -> str:
    """Return what a termination message says beside the digest of a report."""
    return _DIGEST.sub("", message).strip()


class Assignment(Model):
    """One attempt's work: bring the trial to the end of a rung."""

    study: str
    namespace: str
    trial: int = Field(ge=0)
    attempt: int = Field(ge=0)
    name: str = Field(description="The attempt's name, which is also its Job's.")
    seed: int = Field(ge=0)
    parameters: dict[ParameterName, SetValue] = Field(default_factory=dict)
    rung: int = Field(ge=0)
    epochs: int = Field(ge=1, description="Train up to this many epochs in all, earlier attempts included.")
    total_epochs: int = Field(ge=1, description="Epochs of the last rung; the schedule's length.")
    data: Data
    artifacts: str = Field(description="s3:// or file:// prefix of this trial.")
    latency: Latency = Field(
        default_factory=lambda: Latency(limit="1h"), description="How the artifact's latency is measured."
    )
    lease_seconds: int = Field(ge=1, description="Granted at the start.")
    grace_seconds: int = Field(ge=1, description="From SIGTERM to SIGKILL.")
    heartbeat_port: int = Field(default=HEARTBEAT_PORT, ge=0, le=65535, description="0: any free port.")


class FromTrainer(Model):
    """What a trainer says. A newer trainer may say more: what is not known is passed over, and no error."""

    model_config = ConfigDict(extra="ignore")


def _known(source: object) -> object:
    """A source of energy that this release does not know is as good as none."""
    return source if source in {"nvml", "rapl", "estimate"} else "none"


EnergySource = Annotated[Literal["nvml", "rapl", "estimate", "none"], BeforeValidator(_known)]


class Utilization(FromTrainer):
    """How busy the attempt keeps what it was given."""

    percent: float = Field(ge=0, description="Of the accelerator, or of the CPU requested.")
    source: Literal["nvml", "process", "none"]


class Heartbeat(FromTrainer):
    """What a running attempt says of itself."""

    name: str = Field(max_length=253)
    phase: Printable = Field(max_length=32, description="The stage it is in.")
    epoch: Count = 0
    step: Count = 0
    seconds: float = Field(ge=0, description="Since the process began.")
    lease_seconds: Count = Field(default=0, description="Granted so far.")
    utilization: Utilization
    energy_joules: float | None = None
    energy_source: EnergySource = "none"
    peak_memory_bytes: Count = 0
    metrics: dict[MetricName, float] = Field(
        default_factory=dict, max_length=64, description="The latest validation."
    )
    loader_share: float | None = Field(
        default=None, description="Share of step time spent waiting for the input pipeline, 0 to 1."
    )


class Artifact(FromTrainer):
    """One file that the trial left."""

    name: Printable = Field(max_length=256)
    uri: Printable = Field(max_length=1024)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: Count = Field(description="Bytes.")


class Stage(FromTrainer):
    """One stage of the line, timed and metered."""

    name: Printable = Field(max_length=32)
    seconds: float = Field(ge=0)
    energy_joules: float | None = None


class Report(FromTrainer):
    """What an attempt measured; in object storage before its pod exits 0, or 66 with `missed`.

    At most `MAX_REPORT` bytes.
    """

    name: str = Field(max_length=253)
    trial: Count
    attempt: Count
    rung: Count
    epochs: Count
    metrics: dict[MetricName, float] = Field(
        max_length=64,
        description="On the validation split; latency, size and memory of the exported artifact.",
    )
    stages: list[Stage] = Field(default_factory=list, max_length=32)
    artifacts: list[Artifact] = Field(default_factory=list, max_length=32)
    checkpoint: Printable = Field(default="", max_length=1024)
    seconds: float = Field(ge=0)
    energy_joules: float | None = None
    energy_source: EnergySource = "none"
    missed: Annotated[Printable, Field(max_length=512)] | None = Field(
        default=None, description="Why the model must not be used, though it was measured."
    )
    environment: dict[
        Annotated[Printable, Field(max_length=64)], Annotated[Printable, Field(max_length=1024)]
    ] = Field(default_factory=dict, max_length=64)
