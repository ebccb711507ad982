import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from comptroller.cli import app

HERE = Path(__file__).parent
TRAINER = f"{sys.executable} {HERE.parent / 'cluster' / 'local' / 'fake_trainer.py'}"


@pytest.fixture
def call() -> Callable[..., Result]:
    """Return a function that runs a command in this process."""
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def naps(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes the manifests of a study of naps, with fields of its spec changed."""

    def write(*, prices: bool = True, **changes: dict[str, Any]) -> Path:
        study, price = yaml.safe_load_all((HERE / "naps.yaml").read_text())
        for field, change in changes.items():
            study["spec"][field] |= change
        path = tmp_path / "study.yaml"
        # JSON, since PyYAML would write "1e-4" without quotes, which kubectl reads as a number.
        path.write_text("\n---\n".join(map(json.dumps, [study, price] if prices else [study])))
        return path

    return write


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Return a function that starts `comptroller` as a separate process, with its output in `out.txt`."""
    started: list[subprocess.Popen[str]] = []

    def start(*words: object) -> "subprocess.Popen[str]":
        with (tmp_path / "out.txt").open("a") as out:
            one = subprocess.Popen(
                [sys.executable, "-c", "from comptroller.cli import main; main()", *map(str, words)],
                stdout=out,
                stderr=subprocess.STDOUT,
                text=True,
                env=os.environ | {"PYTHONUNBUFFERED": "1"},
            )
        started.append(one)
        return one

    yield start
    for one in started:
        one.kill()
        one.wait()
