"""ONNX Runtime sessions, with nothing of torch: the serving process imports this too."""

from pathlib import Path

import onnxruntime

PROVIDERS = {"CPU": "CPUExecutionProvider", "CUDA": "CUDAExecutionProvider"}


def open_session(graph: Path, device: str, threads: int) -> onnxruntime.InferenceSession:
    """Return a session on `device` with `threads` intra-op threads and no others.

    Raises:
        LookupError: this ONNX Runtime has no such device.
    """
    provider = provider_of(device)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(graph, options, providers=[provider])
    if provider not in session.get_providers():  # where a driver does not load, it takes the CPU
        raise LookupError(f"ONNX Runtime cannot use its {provider} here")
    return session


def provider_of(device: str) -> str:
    """Return ONNX Runtime's name for `device`.

    Raises:
        LookupError: this ONNX Runtime was built without it.
    """
    provider = PROVIDERS[device]
    if provider not in onnxruntime.get_available_providers():
        raise LookupError(f"this image's ONNX Runtime has no {provider}")
    return provider
