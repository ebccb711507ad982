"""`comptroller-trainer drift`: compare new data, and a model's answers to them, with those in training."""

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from comptroller_api.data import Data
from comptroller_trainer.errors import AssignmentError, MissingError, ObjectStoreError

if TYPE_CHECKING:
    from comptroller_trainer.measure.drift import DriftProfile

_PROFILE, _MODEL = "drift.json", "model.onnx"
_NONE, _DRIFT, _USAGE = 0, 1, 2


def main(argv: Sequence[str]) -> int:
    """Print a line for each feature; 0: none has drifted, 1: some have, 2: they cannot be compared."""
    parser = argparse.ArgumentParser(prog="comptroller-trainer drift", description=__doc__)
    parser.add_argument("artifacts", help="a rung's directory or URI, or its drift.json alone")
    parser.add_argument("data", help="s3:// or file:// of the new data; a column of labels may be absent")
    parser.add_argument("--format", help="of the new data; the training data's by default")
    parser.add_argument("--psi", type=float, default=0.2, help="what is above has drifted (default: 0.2)")
    parser.add_argument("--ks", type=float, default=math.inf, help="likewise of the distance (default: any)")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")
    given = parser.parse_args(argv)
    try:
        with tempfile.TemporaryDirectory(prefix="comptroller-") as scratch:
            return _check(given, Path(scratch))
    except (AssignmentError, ObjectStoreError) as error:
        sys.stderr.write(f"{error}\n")
        return _USAGE
    except Exception as error:  # noqa: BLE001 - uncaught, the exit code would be 1, which means drift
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return _USAGE


def _check(given: argparse.Namespace, scratch: Path) -> int:
    # Imported here: torch takes seconds, and a wrong argument is known at once.
    import torch  # noqa: PLC0415 - imports torch

    from comptroller_trainer.data.read import read_inputs  # noqa: PLC0415 - imports torch
    from comptroller_trainer.data.source import DataError  # noqa: PLC0415 - imports torch
    from comptroller_trainer.measure.artifact import opened  # noqa: PLC0415 - imports torch
    from comptroller_trainer.measure.drift import drift_results  # noqa: PLC0415 - imports torch
    from comptroller_trainer.runtime.assignment import explain  # noqa: PLC0415 - imports torch

    was, model = _read(given.artifacts, scratch)
    changes = {"uri": given.data} | ({"format": given.format} if given.format else {})
    try:
        data = Data.model_validate(was.data | changes)
        array, missing = read_inputs(data, was.preprocessing, scratch)
    except ValidationError as error:
        raise explain(error, "data.") from error
    except DataError as error:
        raise AssignmentError(f"data.{error.field}", error.value or given.data, error.rule) from error
    if list(array.shape[1:]) != was.shape:
        raise AssignmentError("data.uri", given.data, f"has samples of {array.shape[1:]}, not of {was.shape}")
    inputs = torch.from_numpy(array)
    outputs = opened(model, "CPU", 1)(inputs) if model else None
    found = sorted(drift_results(was, inputs, missing, outputs), key=lambda one: -one.psi)
    drifted = [one for one in found if one.psi > max(given.psi, 2 * one.chance) or one.ks > given.ks]
    if given.output == "json":
        lines = [json.dumps([one._asdict() | {"drifted": one in drifted} for one in found], indent=1)]
    else:
        width = max(len(one.name) for one in found)
        lines = [f"{'':{width}} {'psi':>8} {'ks':>6}"]
        for one in found:
            mark = "  drifted" if one in drifted else ""
            lines.append(f"{one.name:{width}} {one.psi:8.4f} {one.ks:6.3f}{mark}")
    sys.stdout.write("\n".join([*lines, ""]))
    if (chance := max(one.chance for one in found)) > given.psi / 2:
        sys.stderr.write(f"so few samples have a PSI of {chance:.2f} by chance; drifted is twice as much\n")
    return _DRIFT if drifted else _NONE


def _read(given: str, scratch: Path) -> tuple["DriftProfile", Path | None]:
    """Return the profile, and the model's graph if that is in the same directory.

    Raises:
        AssignmentError: the file is not a profile.
    """
    from comptroller_trainer.measure.drift import DriftProfile  # noqa: PLC0415 - imports torch
    from comptroller_trainer.store import open_store  # noqa: PLC0415 - only the address of a profile needs it

    uri = given if "://" in given else f"file://{Path(given).absolute()}"  # as `open_store` reads it
    store = open_store(uri.removesuffix(f"/{_PROFILE}"))
    try:
        profile = DriftProfile.model_validate_json(store.get(_PROFILE))
    except ValidationError as error:
        raise AssignmentError("artifacts", given, f"holds no profile: {error}") from error
    try:
        return profile, store.fetch(_MODEL, scratch)
    except MissingError:
        return profile, None
