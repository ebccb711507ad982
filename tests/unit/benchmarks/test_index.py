"""The index of benchmarks names each script once, with its claim and its log."""

import re
from pathlib import Path

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
_ROW = re.compile(r"^\| `(\w+)\.py` \| (.+?) \| (.+?) \| \[log\]\((.+?)\) \| (\d{4}-\d\d-\d\d) \| .+ \|$")


def rows() -> list[tuple[str, ...]]:
    """Return the script, claim, page, log and day of each row."""
    lines = (BENCHMARKS / "README.md").read_text(encoding="utf-8").splitlines()
    table = [line for line in lines if line.startswith("| `")]
    found = [row.groups() for line in table if (row := _ROW.match(line))]
    assert len(found) == len(table)
    return found


def test_each_script_has_one_row() -> None:
    scripts = [
        path.stem for path in BENCHMARKS.glob("*.py") if "__main__" in path.read_text(encoding="utf-8")
    ]
    assert [script for script, *_ in rows()] == sorted(scripts)


def test_each_log_is_that_of_its_script() -> None:
    assert {log for *_, log, _ in rows()} == {f"logs/{path.name}" for path in BENCHMARKS.glob("logs/*")}
    for script, _, _, log, _ in rows():
        assert log == f"logs/{script}.log"


def test_each_claim_names_a_page_that_exists_or_waits_for_one() -> None:
    for _, _, page, *_ in rows():
        link = re.search(r"\((.+)\)", page)
        assert page == "no page yet" or (link and (BENCHMARKS / link.group(1)).is_file()), page
