"""A command's `--help` prints everything that its source contains."""

from collections.abc import Iterator
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from comptroller.cli import app

runner = CliRunner()


def commands(command: Any, *words: str) -> Iterator[tuple[str, ...]]:
    """Yield the words of a command and of all below it."""
    yield words
    for name, one in getattr(command, "commands", {}).items():
        yield from commands(one, *words, name)


def squeezed(text: str) -> str:
    """Return a text without blanks and the frames of panels, which wrapping puts anywhere."""
    return "".join(text.replace("\u2502", " ").split())


ALL = list(commands(get_command(app)))


def test_there_are_commands_of_commands() -> None:
    assert ("ledger", "export") in ALL


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_no_text_of_the_source_is_lost_in_the_help(words: tuple[str, ...]) -> None:
    command = get_command(app)
    for word in words:
        command = command.commands[word]  # type: ignore[attr-defined]
    result = runner.invoke(app, [*words, "--help"], color=False)
    assert result.exit_code == 0
    shown = squeezed(result.stdout)
    texts = [command.help, *(getattr(one, "help", None) for one in command.params)]
    lost = [text for text in texts if text and squeezed(text) not in shown]
    assert lost == []


def test_what_parquet_needs_is_named_with_its_brackets() -> None:
    result = runner.invoke(app, ["ledger", "export", "--help"], color=False)
    assert "comptroller[parquet]" in squeezed(result.stdout)
