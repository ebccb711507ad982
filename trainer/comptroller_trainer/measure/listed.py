"""The check of a report's metrics against the table of metrics."""

from collections.abc import Iterable

from comptroller_api.data import Task
from comptroller_api.metrics import METRICS, Metric


def listed(names: Iterable[str], task: Task, own: Iterable[Metric] = ()) -> None:
    """Check that the table has every metric of a report.

    Args:
        names: of the metrics.
        task: the task of the trial.
        own: the rows that the compressor adds to the table.

    Raises:
        LookupError: neither the table nor `own` has a metric for this task.
    """
    rows = {**METRICS, **{row.name: row for row in own}}
    if unlisted := sorted(name for name in names if name not in rows or not rows[name].of(task)):
        raise LookupError(f"the table of metrics has no {', '.join(unlisted)} for {task}")
