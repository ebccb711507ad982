"""The trainer's contract: the input of an attempt, its heartbeats while it runs, and its results.

Any image is a trainer if it reads `COMPTROLLER_ASSIGNMENT`, serves `/heartbeat` and `/metrics` on
`HEARTBEAT_PORT`, checkpoints on SIGTERM, and, before it exits 0, writes its report and puts the report's
`digest_line` into its termination message (`/dev/termination-log`).

Below `Assignment.artifacts`, a trial's own prefix, it keeps `attempts/<attempt>/report.json`,
`checkpoints/` and `rungs/<rung>/`. The project's own trainer also keeps `tuned/<rung>/checkpoints/` for
fine-tuning after compression. A trial can be reproduced if its report names an `assignment.json`, the rung's
`Assignment`, among its artifacts.
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
"""The pod's image as the study or the operator names it, for the report."""
TRACKING_ENV = "MLFLOW_TRACKING_URI"
"""The MLflow server, if any, to which a trainer logs its rungs."""
HEARTBEAT_PORT = 9464
GRANT_ANNOTATION = "comptroller.dev/lease-seconds"
"""A pod annotation: the granted seconds, including renewals. The value only grows.

The seconds count from the setup of the pod's volumes, which is before its image is pulled.
"""
GRANT_FILE = "/etc/comptroller/lease-seconds"
"""The annotation as a downward-API file."""
LEADER_ANNOTATION = "comptroller.dev/leader"
"""A pod annotation for pods that train together: the address of the pod with index 0, once it is known."""
LEADER_FILE = "/etc/comptroller/leader"
"""The annotation as a downward-API file, empty until the address is known."""
LEADER_PORT = 29400
"""The port of the pod with index 0 at which the processes meet."""

EXIT_FINISHED = 0
EXIT_BAD_ASSIGNMENT = 64
"""The assignment is wrong, so a retry cannot help (`EX_USAGE`)."""
EXIT_DIVERGED = 65
"""Training gave NaN or infinite numbers, and would do so again from the same seed (`EX_DATAERR`)."""
EXIT_NO_GAIN = 66
"""The compressed artifact does not meet `compress.must`, and would not after a retry.

The report is written first, with `missed`, so that the measurements are kept.
"""
EXIT_UNAVAILABLE = 69
"""Storage could not be reached, or refused; this is not the configuration's fault (`EX_UNAVAILABLE`)."""
EXIT_OUT_OF_MEMORY = 71
"""An allocation failed and was caught (`EX_OSERR`)."""
EXIT_SUSPENDED = 75
"""Stopped by SIGTERM or by the guard, with a checkpoint (`EX_TEMPFAIL`)."""

LEAVES_A_REPORT = frozenset({EXIT_FINISHED, EXIT_NO_GAIN})

LEASE_OVER = "the lease of "
"""The beginning of the guard's last message when the end of the lease ended the work."""

MAX_REPORT = 256 * 1024
"""The maximum size of a report in bytes; a longer report is not read."""

_COUNT = 2**53
"""The largest count: it is exact in every JSON reader and fits an int64."""
_DIGEST = re.compile(r"\breport sha256:([0-9a-f]{64})\b")

MetricName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_.@/-]{0,63}$")]
"""A metric's name: a letter, then letters, digits and `_ . @ / -`; at most 64 characters."""
Count = Annotated[int, Field(ge=0, le=_COUNT)]


def report_key(attempt: int) -> str:
    """Return the report's key below the trial's prefix."""
    return f"attempts/{attempt}/report.json"


def digest_line(report: bytes) -> str:
    """Return the line with the digest of the report's bytes for the trainer's termination message.

    Users with the key to the artifacts can write any trial's report; only the pod itself can write its
    termination message. The operator accepts a report only if the two agree.
    """
    return f"report sha256:{hashlib.sha256(report).hexdigest()}"


def report_digest(message: str) -> str:
    """Return the SHA-256 in a termination message, in hexadecimal, or an empty text."""
    found = _DIGEST.search(message)
    return found[1] if found else ""


def without_digest(message: str) -> str:
    """Return a termination message without the digest of a report."""
    return _DIGEST.sub("", message).strip()


class Assignment(Model):
    """The work of one attempt: to train the trial to the end of a rung."""

    study: str
    namespace: str
    trial: int = Field(ge=0)
    attempt: int = Field(ge=0)
    name: str = Field(description="The attempt's name, which is also its Job's.")
    seed: int = Field(ge=0)
    parameters: dict[ParameterName, SetValue] = Field(default_factory=dict)
    rung: int = Field(ge=0)
    epochs: int = Field(ge=1, description="The epochs to reach, including those of earlier attempts.")
    total_epochs: int = Field(
        ge=1, description="The epochs of the last rung, which are the schedule's length."
    )
    data: Data
    artifacts: str = Field(description="The s3:// or file:// prefix of this trial.")
    latency: Latency = Field(
        default_factory=lambda: Latency(limit="1h"), description="The measurement of the artifact's latency."
    )
    lease_seconds: int = Field(ge=1, description="The seconds granted at the start.")
    grace_seconds: int = Field(ge=1, description="The seconds from SIGTERM to SIGKILL.")
    heartbeat_port: int = Field(default=HEARTBEAT_PORT, ge=0, le=65535, description="0: any free port.")


class FromTrainer(Model):
    """A message from a trainer. Unknown fields, from a newer trainer, are ignored."""

    model_config = ConfigDict(extra="ignore")


def _known(source: object) -> object:
    """Return the source of energy, or "none" for a source that this release does not know."""
    return source if source in {"nvml", "rapl", "estimate"} else "none"


EnergySource = Annotated[Literal["nvml", "rapl", "estimate", "none"], BeforeValidator(_known)]


class Utilization(FromTrainer):
    """The attempt's use of its resources."""

    percent: float = Field(ge=0, description="The percentage of the accelerator, or of the requested CPU.")
    source: Literal["nvml", "process", "none"]


class Heartbeat(FromTrainer):
    """The state of a running attempt, which it reports itself."""

    name: str = Field(max_length=253)
    phase: Printable = Field(max_length=32, description="The current stage.")
    epoch: Count = 0
    step: Count = 0
    seconds: float = Field(ge=0, description="The seconds since the process began.")
    lease_seconds: Count = Field(default=0, description="The seconds granted so far.")
    utilization: Utilization
    energy_joules: float | None = None
    energy_source: EnergySource = "none"
    peak_memory_bytes: Count = 0
    metrics: dict[MetricName, float] = Field(
        default_factory=dict, max_length=64, description="The metrics of the latest validation."
    )
    loader_share: float | None = Field(
        default=None, description="The share of step time spent waiting for the input pipeline, 0 to 1."
    )


class Artifact(FromTrainer):
    """One file that the trial wrote."""

    name: Printable = Field(max_length=256)
    uri: Printable = Field(max_length=1024)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: Count = Field(description="The size in bytes.")


class Stage(FromTrainer):
    """One stage of a trial, timed and metered."""

    name: Printable = Field(max_length=32)
    seconds: float = Field(ge=0)
    energy_joules: float | None = None


class Report(FromTrainer):
    """The measurements of an attempt, in object storage before its pod exits 0, or 66 with `missed`.

    A report has at most `MAX_REPORT` bytes.
    """

    name: str = Field(max_length=253)
    trial: Count
    attempt: Count
    rung: Count
    epochs: Count
    metrics: dict[MetricName, float] = Field(
        max_length=64,
        description="Metrics on the validation split; latency, size and memory of the exported artifact.",
    )
    stages: list[Stage] = Field(default_factory=list, max_length=32)
    artifacts: list[Artifact] = Field(default_factory=list, max_length=32)
    checkpoint: Printable = Field(default="", max_length=1024)
    seconds: float = Field(ge=0)
    energy_joules: float | None = None
    energy_source: EnergySource = "none"
    missed: Annotated[Printable, Field(max_length=512)] | None = Field(
        default=None, description="The reason why the model must not be used although it was measured."
    )
    environment: dict[
        Annotated[Printable, Field(max_length=64)], Annotated[Printable, Field(max_length=1024)]
    ] = Field(default_factory=dict, max_length=64)
