"""Waiting for a condition instead of sleeping."""

import time
from collections.abc import Callable
from typing import Any


def eventually(condition: Callable[[], Any], seconds: float = 180, what: str = "the condition") -> Any:
    """Wait for a condition and return its value. The limit allows for a busy machine."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.1)
    return found
