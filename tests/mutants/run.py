"""Plant each mistake in turn, and run seeds, then walks, until it is found. Exits with 1 if one survives."""

import argparse
import multiprocessing
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from comptroller.simulation.oracle import Violation
from comptroller.simulation.pool import quiet, run_seed
from comptroller.simulation.walk import replay, walk
from mutants.planted import MUTANTS


@dataclass(frozen=True)
class Found:
    """The way in which a planted mistake was found."""

    mutant: str
    where: str
    """The seed, or the choices of the walk; empty if the mistake survived."""
    promise: str
    what: str
    seconds: float


def hunt(name: str, seeds: int, depth: int = 0) -> Found:
    """Run seeds with one mistake until a promise is broken that holds without it; then walk to a depth."""
    began = time.monotonic()
    first = in_seeds(name, seeds)
    if first is None and depth:
        first = in_walk(name, depth)
    took = time.monotonic() - began
    if first is None:
        return Found(name, "", "-", "", took)
    where, violation = first
    return Found(name, where, violation.promise, violation.what, took)


def in_seeds(name: str, seeds: int) -> tuple[str, Violation] | None:
    """Return the first seed that fails with a mistake, and the violation."""
    for seed in range(seeds):
        with pytest.MonkeyPatch.context() as patch:
            MUTANTS[name](patch)
            violations = run_seed(seed).violations
        if violations and not run_seed(seed).violations:
            return f"seed {seed}", violations[0]
    return None


def in_walk(name: str, depth: int) -> tuple[str, Violation] | None:
    """Return the shortest choices that fail with a mistake, and the violation."""
    for steps in range(1, depth + 1):
        with pytest.MonkeyPatch.context() as patch:
            MUTANTS[name](patch)
            found = walk(steps, most=1).violations
        if found and not replay(found[0][0]).oracle.violations:
            return f"walk: {', '.join(found[0][0])}", found[0][1]
    return None


def _hunt(task: tuple[str, int, int]) -> Found:
    return hunt(*task)


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=500, help="the most to try for one mistake")
    parser.add_argument("--walk", type=int, default=2, help="the depth to walk to where seeds find nothing")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("mutants", nargs="*", help="their names; all where none is given")
    args = parser.parse_args()
    names = args.mutants or list(MUTANTS)
    survivors = 0
    say(f"{'mutant':<40} {'found by':<10} {'promise':<7} {'seconds':>7}  what the oracle reports")
    with multiprocessing.get_context("fork").Pool(args.jobs, quiet, maxtasksperchild=1) as pool:
        for found in pool.imap(_hunt, [(name, args.seeds, args.walk) for name in names], chunksize=1):
            survivors += not found.where
            what = " ".join(found.what.split())[:100]
            say(
                f"{found.mutant:<40} {found.where or 'NOTHING':<10} {found.promise:<7} {found.seconds:>7.1f}"
                f"  {what}"
            )
    how = f"within {args.seeds} seeds, or by the walk to depth {args.walk}"
    say(f"{len(names) - survivors} of {len(names)} mistakes found, each {how}")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
