"""ONNX Runtime sessions, with nothing of torch: the serving process imports this too."""

from pathlib import Path

import onnxruntime

PROVIDERS = {"CPU": "CPUExecutionProvider", "CUDA": "CUDAExecutionProvider"}


def open_session(graph: Path, device: str, threads: int) -> onnxruntime.InferenceSession:
    """A session on `device` with `threads` intra-op threads and no others.

    Raises:
        LookupError: this ONNX Runtime has no such device.
    """
    provider = PROVIDERS[device]
    if provider not in onnxruntime.get_available_providers():
        raise LookupError(f"this image's ONNX Runtime has no {provider}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors
    return onnxruntime.InferenceSession(graph, options, providers=[provider])
