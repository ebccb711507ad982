"""Many seeds on several cores."""

import gc
import logging
import multiprocessing
from collections.abc import Iterable, Iterator

import structlog

from comptroller.simulation.draw import schedule
from comptroller.simulation.run import Result, Run

_CHUNK = 10


def quiet() -> None:
    """Let nobody write a log: a run has its trace."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def run_seed(seed: int) -> Result:
    """Do one run."""
    return Run(schedule(seed)).execute()


def run_seeds(seeds: Iterable[int], jobs: int) -> Iterator[Result]:
    """Run every seed; results come in the order of the seeds."""
    if jobs == 1:
        quiet()
        yield from map(run_seed, seeds)
        return
    with multiprocessing.get_context("fork").Pool(jobs, initializer=_prepare) as pool:
        yield from pool.imap(run_seed, seeds, chunksize=_CHUNK)


def _prepare() -> None:
    quiet()
    structlog.configure(cache_logger_on_first_use=True)  # nothing else runs in this process
    # What is there before the first run stays; looking through it again and again costs a tenth of the time.
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
