"""The trainers of a simulation: work of a known time, with the same result in every run."""

import random
from typing import Protocol

from comptroller_api.contract import Assignment, Report


class Work(Protocol):
    """The duration of a trial's epochs."""

    def __call__(self, work: Assignment) -> int:
        """Seconds from nothing to the end of the rung."""
        ...


def seconds_of_work(work: Assignment) -> int:
    """Trials differ: 20, 30 or 40 seconds an epoch."""
    return work.epochs * (20 + 10 * (work.trial % 3))


def metrics(study: str, trial: int, epochs: int, total_epochs: int) -> dict[str, float]:
    """Return the metrics of a trial: better with epochs, and with its number's luck."""
    luck = random.Random(f"{study}/{trial}").random()
    accuracy = 0.6 + 0.2 * luck + 0.1 * epochs / total_epochs
    return {
        "accuracy": accuracy,
        "f1_macro": accuracy,
        "loss": 1 - accuracy,
        "artifact_bytes": 1000.0 + int(1e6 * luck),
        "latency_p95_ms": 1.0 + luck,
    }


def report(work: Assignment) -> bytes:
    """The report of an attempt that reached the end of its rung."""
    return (
        Report(
            name=work.name,
            trial=work.trial,
            attempt=work.attempt,
            rung=work.rung,
            epochs=work.epochs,
            metrics=metrics(work.study, work.trial, work.epochs, work.total_epochs),
            seconds=1.0,
        )
        .model_dump_json(by_alias=True)
        .encode()
    )
