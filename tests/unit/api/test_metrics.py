"""The table of metrics is consistent, and what lists metrics follows it."""

import re
from pathlib import Path
from typing import get_args

import pytest
from pydantic import TypeAdapter

from comptroller.cluster.simulated import trainer as simulated
from comptroller.search import Problem
from comptroller_api.contract import MetricName, Report
from comptroller_api.data import Task
from comptroller_api.metrics import (
    LATENCIES,
    MEASURERS,
    METRICS,
    OBJECTIVES,
    ON_REQUEST,
    PARENT,
    SLICES,
    TABLE,
    Quantile,
    is_timed,
    prefixes,
)
from comptroller_api.study import StudySpec
from comptroller_api.trainer import reference
from unit.search.test_problem import SPEC

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
TASKS = get_args(Task)


def test_a_name_in_a_report_belongs_to_one_row() -> None:
    assert len(METRICS) == sum(len(row.names) for row in TABLE)
    for name in METRICS:
        TypeAdapter(MetricName).validate_python(name)


@pytest.mark.parametrize("task", TASKS)
def test_a_report_has_room_for_every_metric_of_its_task(task: Task) -> None:
    metrics = {name: 1.0 for name, row in METRICS.items() if row.of(task)}
    Report(name="a", trial=0, attempt=0, rung=0, epochs=1, seconds=1, metrics=metrics)


def test_each_measurer_has_a_row_and_each_row_a_known_measurer() -> None:
    assert {row.measurer for row in TABLE} == set(MEASURERS)


def test_the_rule_for_slices_is_about_the_metrics_of_slices_alone() -> None:
    of_slices = {row.name for row in TABLE if row.measurer == SLICES and row.direction}
    assert {name for name in OBJECTIVES if name.startswith(prefixes(SLICES))} == of_slices


def test_a_metric_is_timed_if_its_measurer_is() -> None:
    for name, row in METRICS.items():
        assert is_timed(name) == row.measurer.timed, name


def test_a_ceiling_limits_a_metric_of_the_table_in_its_unit() -> None:
    assert set(LATENCIES) == set(get_args(Quantile))
    problem = Problem.from_spec(StudySpec.model_validate(SPEC))
    units = {constraint.metric: METRICS[constraint.metric].unit for constraint in problem.constraints}
    assert units == {"latency_p99_ms": "ms", "artifact_bytes": "bytes", "peak_memory_bytes": "bytes"}


def test_what_is_reported_on_request_can_be_requested() -> None:
    for parameter, value in ON_REQUEST.values():
        lever, _, field = parameter.partition(".")
        assert lever == "recipe"
        assert value in reference().recipe[field].values


def test_recipe_monitor_compares_objectives() -> None:
    assert {*reference().recipe["monitor"].values} - {"auto"} <= {*OBJECTIVES}


def test_simulated_trainers_report_metrics_of_the_table() -> None:
    assert simulated.metrics("study", 1, 1, 2).keys() <= METRICS.keys()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_metric_that_a_page_names_is_in_the_table(page: Path) -> None:
    listed = {*METRICS, *(row.name for row in TABLE)}
    words = {name.partition("_")[0] for name in listed if "_" in name} | {PARENT.rstrip("_")}
    named = set(re.findall(rf"`((?:{'|'.join(words)})_[a-z0-9_<>]+)`", page.read_text(encoding="utf-8")))
    assert named <= listed
