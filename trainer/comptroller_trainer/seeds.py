"""Random numbers that belong to a place in the trial, not to a history.

Each draw's seed is a hash of the trial's seed and of what is drawn (`"order", epoch`). So nothing random
is carried from step to step, a resumed attempt needs no generator state, and a draw added to one stage
does not move another's.
"""

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def derive(seed: int, *place: str | int) -> int:
    """A seed of 63 bits for `place` in the trial with `seed`."""
    text = "/".join(str(part) for part in (seed, *place))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *place: str | int) -> "torch.Generator":
    """A CPU generator for `place`, so that the numbers do not depend on the device."""
    import torch  # noqa: PLC0415 - `derive` needs no torch

    return torch.Generator().manual_seed(derive(seed, *place))


def set_global(seed: int, device: "torch.device") -> None:
    """Seed what layers such as dropout draw from on `device`.

    Not `torch.manual_seed`: where CUDA is not in use it formats and keeps a stack trace at each call.
    """
    import torch  # noqa: PLC0415 - `derive` needs no torch

    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
