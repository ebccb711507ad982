"""A wrong assignment is refused with a sentence that names its field."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from comptroller_trainer.errors import (
    AssignmentError,
)
from comptroller_trainer.runtime import assignment

Described = Callable[..., dict[str, Any]]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"seed": -1}, "seed: -1"),
        ({"seed": "x"}, "seed: 'x'"),
        ({"epochs": 3}, "epochs: 3 must not be more than totalEpochs"),
        ({"leaseSeconds": 0}, "leaseSeconds: 0"),
        ({"data": {"uri": "ftp://x", "format": "IDX"}}, "data.uri: 'ftp://x'"),
        ({"data": {"uri": "file:///x", "format": "CSV"}}, "data.format: 'CSV'"),
        ({"artifacts": "gs://x"}, "artifacts: 'gs://x' must start with s3:// or file:///"),
        ({"colour": "red"}, "colour: 'red'"),
        ({"parameters": {"lr": "1"}}, "lr"),
        ({"latency": {"limit": "1h", "batch": 0}}, "latency.batch: 0"),
    ],
)
def test_a_wrong_field_is_named(described: Described, changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(AssignmentError) as caught:
        assignment.read({"COMPTROLLER_ASSIGNMENT": json.dumps(described(**changes))})
    assert expected in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"study": "s"}'])
def test_what_is_no_assignment_is_refused(text: str) -> None:
    with pytest.raises(AssignmentError):
        assignment.read({"COMPTROLLER_ASSIGNMENT": text})
