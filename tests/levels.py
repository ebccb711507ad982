"""Run levels of tests in parallel: each argument names levels that run one after another.

Each line of output begins with its level's name. Exits with 1 if a level failed. The levels of the first
argument need the cores; they run at a lower priority than the others, which wait for a real cluster.
"""

# ruff: noqa: T201 - a script that prints what others print

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

_GIVE_WAY = ("nice", "-n", "10")


def run(level: str, before: tuple[str, ...] = ()) -> bool:
    """Run `make test-<level>` and print its lines as they come; return True if it passed."""
    began = time.monotonic()
    with subprocess.Popen(
        [*before, "make", f"test-{level}"], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        for line in process.stdout or ():
            print(f"{level:12}| {line}", end="", flush=True)
    ending = "passed" if process.returncode == 0 else "FAILED"
    print(f"{level:12}| {ending} after {time.monotonic() - began:.0f} s", flush=True)
    return process.returncode == 0


def main(tracks: list[str]) -> int:
    """Run every level of every argument, even if an earlier one failed."""
    with ThreadPoolExecutor(len(tracks)) as pool:
        before = [_GIVE_WAY if track is tracks[0] else () for track in tracks]
        runs = pool.map(lambda levels, words: [run(level, words) for level in levels.split()], tracks, before)
        return 0 if all(all(passed) for passed in runs) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
