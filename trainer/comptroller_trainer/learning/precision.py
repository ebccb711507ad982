"""Number formats of training."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

_FORMATS = {"bf16": torch.bfloat16, "fp16": torch.float16}


def resolve(asked: str, device: torch.device) -> str:
    """`fp32`, `bf16` or `fp16`; `auto` is bf16 where the device computes in it, and fp32 on CPUs.

    A CPU that has bf16 instructions is not told from one that emulates them by trying: the choice would
    depend on the node, and so would the weights.
    """
    if asked != "auto":
        return asked
    return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"


def autocast(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """The context of a forward pass: mixed precision for bf16 and fp16, nothing for fp32."""
    return torch.autocast(device.type, _FORMATS[precision]) if precision in _FORMATS else nullcontext()


def scaler(precision: str, device: torch.device) -> "torch.amp.GradScaler | None":
    """What keeps fp16's small gradients from vanishing (Micikevicius et al., 2018); None for the others."""
    return torch.amp.GradScaler(device.type) if precision == "fp16" else None
