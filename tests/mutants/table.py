"""Plant each wrong decision in turn and run `tests/unit/plan/rows`. Exit 1 if the row of its rule passes."""

import contextlib
import io
import multiprocessing
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from mutants.planted import DECISIONS

TABLE = Path(__file__).parents[1] / "unit" / "plan" / "rows"


class Failures:
    """The rules whose rows fail in a run, in order; a plugin for pytest."""

    def __init__(self) -> None:
        self.rules: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.rules.append(report.nodeid.partition("[")[2].removesuffix("]").replace("_", " "))


def run(name: str) -> list[str]:
    """Return the rules whose rows fail with one mistake planted; with none where `name` is empty."""
    failures = Failures()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as printed:
        if name:
            DECISIONS[name][0](patch)
        code = pytest.main([str(TABLE), "-q", "-p", "no:cacheprovider", "-p", "no:xdist"], [failures])
    if code not in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED}:
        raise RuntimeError(printed.getvalue())
    return failures.rules


def main() -> int:
    names, survivors = sys.argv[1:] or list(DECISIONS), 0
    # A process for each: the table imports what it tests, and must find the mistake there already.
    with multiprocessing.get_context("fork").Pool(2, maxtasksperchild=1) as pool:
        if broken := pool.apply(run, [""]):
            sys.stdout.write(f"without a mistake these rows fail: {', '.join(broken)}\n")
            return 1
        sys.stdout.write(f"{'mistake':<50} {'rows':>4}  the rule that finds it\n")
        for name, rules in zip(names, pool.imap(run, names, chunksize=1), strict=True):
            rule = DECISIONS[name][1]
            survivors += rule not in rules
            found = rule if rule in rules else f"NOTHING; not {rule!r}"
            sys.stdout.write(f"{name:<50} {len(rules):>4}  {found}\n")
            sys.stdout.flush()
    sys.stdout.write(
        f"{len(names) - survivors} of {len(names)} mistakes found, each by the row of its rule\n"
    )
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
