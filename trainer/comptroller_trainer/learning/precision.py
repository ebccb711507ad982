"""Number formats of training."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

_FORMATS = {"bf16": torch.bfloat16, "fp16": torch.float16}


def resolve(wanted: str, device: torch.device) -> str:
    """Return `fp32`, `bf16` or `fp16`; `auto` is bf16 on GPUs that compute in it, and fp32 on CPUs.

    CPUs are not probed for bf16 instructions: the choice would depend on the node, and so would the weights.
    """
    if wanted != "auto":
        return wanted
    return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"


def autocast(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """Return the context of a forward pass: mixed precision for bf16 and fp16, nothing for fp32."""
    return torch.autocast(device.type, _FORMATS[precision]) if precision in _FORMATS else nullcontext()


def scaler(precision: str, device: torch.device) -> "torch.amp.GradScaler | None":
    """Return the loss scaler for fp16's small gradients (Micikevicius et al., 2018), else None."""
    return torch.amp.GradScaler(device.type) if precision == "fp16" else None
