"""Describe versions and hardware for the report."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

import torch

from comptroller_api.contract import IMAGE_ENV

_DISTRIBUTIONS = ("comptroller-trainer", "torch", "numpy", "onnx", "onnxruntime")


def describe(device: torch.device, threads: int) -> dict[str, str]:
    """Return versions and hardware, as text."""
    found = {name: version(name) for name in _DISTRIBUTIONS}
    found |= {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "kernel": platform.release(),
        "cpu": _cpu_model(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": str(threads),
    }
    if image := os.environ.get(IMAGE_ENV):
        found["image"] = image
    return found


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"
