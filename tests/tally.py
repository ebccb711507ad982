"""Count the tests of each level, from pytest's reports in `out/tests`.

Fails if a level has no report or ran nothing, if a directory of tests is not a level, or if a test was
skipped, or expected to fail, without a reason. Every reason is printed.
"""

# ruff: noqa: T201 - a script that prints a table

import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree as ET

ROOT = Path(__file__).resolve().parent.parent
REPORTS = ROOT / "out" / "tests"
_NO_REASON = {"", "unconditional skip"}


@dataclass
class Tally:
    """One level's tests."""

    ran: int = 0
    failed: int = 0
    seconds: float = 0
    """The sum of the tests' seconds."""
    took: float = 0
    """The seconds from the first test to the last, with parallel tests."""
    skipped: list[tuple[str, str]] = field(default_factory=list)
    """The skipped tests and their reasons."""


def tally(report: Path) -> Tally:
    """Count a report in JUnit's form."""
    out, root = Tally(), ET.parse(report)
    out.took = sum(float(suite.get("time", "0")) for suite in root.iter("testsuite"))
    for case in root.iter("testcase"):
        outcomes = Counter(child.tag for child in case)
        skip = case.find("skipped")
        out.seconds += float(case.get("time", "0"))
        if skip is not None:
            name = f"{case.get('classname', '')}.{case.get('name', '')}"
            out.skipped.append((name, (skip.get("message") or "").strip()))
        elif outcomes["failure"] or outcomes["error"]:
            out.failed += 1
        else:
            out.ran += 1
    return out


def strays(levels: list[str], tests: Path = ROOT / "tests") -> list[str]:
    """Return the directories with tests that no level runs."""
    found = {path.relative_to(tests).parts[0] for path in tests.rglob("test_*.py")}
    return sorted(found - set(levels))


def main(levels: list[str]) -> int:
    """Print the table; return 1 if a test was skipped without a reason, or a level did not run."""
    faults = [f"tests/{name} is run by no level" for name in strays(levels)]
    print(f"{'level':14}{'passed':>8}{'failed':>8}{'skipped':>9}{'seconds':>9}{'took':>8}")
    for level in levels:
        report = REPORTS / f"{level}.xml"
        if not report.exists():
            faults.append(f"{level} did not run")
            continue
        found = tally(report)
        row = f"{found.ran:8}{found.failed:8}{len(found.skipped):9}{found.seconds:9.0f}{found.took:8.0f}"
        print(f"{level:14}{row}")
        if not found.ran:
            faults.append(f"{level} passed no test")
        if found.failed:
            faults.append(f"{level}: {found.failed} failed")
        for name, reason in found.skipped:
            print(f"  skipped {name}: {reason}")
            if reason in _NO_REASON:
                faults.append(f"{name} was skipped without a reason")
    for fault in faults:
        print(f"FAULT: {fault}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
