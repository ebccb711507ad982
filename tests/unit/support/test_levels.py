"""`make test` runs every level, even after a failed one, and fails if one failed."""

from pathlib import Path

import pytest

import levels

MAKE = """#!/bin/sh
echo "ran $1"
test "$1" != test-{bad}
"""


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `make` with one target that may fail."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return tmp_path / "make"


@pytest.mark.parametrize(("bad", "code"), [("none", 0), ("one", 1), ("three", 1)])
def test_every_level_runs_and_a_failure_counts(
    make: Path, capfd: pytest.CaptureFixture[str], bad: str, code: int
) -> None:
    make.write_text(MAKE.format(bad=bad))
    make.chmod(0o755)
    assert levels.main(["one two", "three"]) == code
    lines = capfd.readouterr().out.splitlines()
    assert sum("| ran test-" in line for line in lines) == 3
    assert sum("| FAILED after" in line for line in lines) == code
    assert lines.index("one         | ran test-one") < lines.index("two         | ran test-two")
