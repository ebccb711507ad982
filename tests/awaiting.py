"""Waiting for a condition, in place of a sleep."""

import time
from collections.abc import Callable
from typing import Any


def eventually(condition: Callable[[], Any], seconds: float = 180, what: str = "the condition") -> Any:
    """Await a condition; what it returned. The limit is for a busy machine: it is reached only by a fault."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.1)
    return found
