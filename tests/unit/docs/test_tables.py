"""The tables of the documents are whole."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DOCUMENTS = sorted(path for where in ("*.md", "docs/**/*.md", "benchmarks/*.md") for path in ROOT.glob(where))
_RULE = re.compile(r"\|(\s*:?-+:?\s*\|)+")
_NOT_A_BORDER = re.compile(r"\\\||`[^`]*`")


def cells(row: str) -> list[str]:
    shown = _NOT_A_BORDER.sub(lambda found: found[0].replace("|", "/"), row.strip())
    return [cell.strip() for cell in shown.strip("|").split("|")]


def rows(text: str) -> Iterator[tuple[int, list[str], list[str]]]:
    """Yield the number of each row's line, the cells of the table's head, and the row's cells."""
    head: list[str] | None = None
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if not line.startswith("|"):
            head = None
        elif _RULE.fullmatch(line.strip()) and head is None and number:
            head = cells(lines[number - 1])
        elif head is not None:
            yield number + 1, head, cells(line)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_a_row_has_the_cells_of_its_head_and_does_not_repeat_the_head(document: Path) -> None:
    for number, head, row in rows(document.read_text(encoding="utf-8")):
        assert len(row) == len(head), f"{document}:{number}"
        assert not head[0] or row[0] != head[0], f"{document}:{number}"
