"""Plants each mistake in turn, and runs seeds until one is found out. Exit 1 where one survives."""

import argparse
import multiprocessing
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from comptroller.simulation.pool import quiet, run_seed
from mutants.planted import MUTANTS


@dataclass(frozen=True)
class Found:
    mutant: str
    seed: int | None
    promise: str
    what: str
    seconds: float


def hunt(name: str, seeds: int) -> Found:
    """Run seeds with one mistake until a promise is broken that is kept without it."""
    began = time.monotonic()
    for seed in range(seeds):
        with pytest.MonkeyPatch.context() as patch:
            MUTANTS[name](patch)
            violations = run_seed(seed).violations
        if violations and not run_seed(seed).violations:
            first = violations[0]
            return Found(name, seed, first.promise, first.what, time.monotonic() - began)
    return Found(name, None, "-", "", time.monotonic() - began)


def _hunt(task: tuple[str, int]) -> Found:
    return hunt(*task)


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=500, help="the most to try for one mistake")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("mutants", nargs="*", help="their names; all where none is given")
    args = parser.parse_args()
    names = args.mutants or list(MUTANTS)
    survivors = 0
    say(f"{'mutant':<40} {'seed':>5} {'promise':<8} {'seconds':>7}  what the oracle said")
    with multiprocessing.get_context("fork").Pool(args.jobs, quiet, maxtasksperchild=1) as pool:
        for found in pool.imap(_hunt, [(name, args.seeds) for name in names], chunksize=1):
            survivors += found.seed is None
            seed = "NONE" if found.seed is None else found.seed
            what = " ".join(found.what.split())[:100]
            say(f"{found.mutant:<40} {seed:>5} {found.promise:<8} {found.seconds:>7.1f}  {what}")
    say(f"{len(names) - survivors} of {len(names)} mistakes found, each within {args.seeds} seeds")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
