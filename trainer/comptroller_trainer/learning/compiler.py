"""Avoid the import of torch's compiler where it is not used: the import takes 4 s of every pod."""

from collections.abc import Callable
from typing import Any


def spare(method: Callable[..., Any]) -> None:
    """Keep `method` from importing torch's compiler.

    Some of torch's methods are wrapped in markers for torch.compile that import it when first called. They
    keep a cache of the unmarked function, which is filled here. If a torch release changes this,
    everything still works, but slowly, and a test fails.
    """
    plain: Any = getattr(method, "__wrapped__", None)
    if plain is not None:
        plain.__dict__.setdefault("__dynamo_disable", plain)
