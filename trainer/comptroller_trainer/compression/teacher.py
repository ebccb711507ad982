"""Another trial's model as a teacher: its rung's weights, or an ONNX file, and never a pickle."""

import hashlib
from typing import Any

import torch
from torch import Tensor, nn

from comptroller_trainer.errors import AssignmentError, MissingError
from comptroller_trainer.models.stored import stored
from comptroller_trainer.stages.base import Context
from comptroller_trainer.store import open_store

ONNX = ".onnx"
_FIELD = "compress.teacher"
_PROBED = 3
"""Samples of the batch that a graph is tried with."""


def fetched(uri: str, sha256: str, context: Context) -> nn.Module:
    """Return the teacher at `uri`, on the CPU.

    Args:
        uri: of a rung, or of an ONNX file.
        sha256: of the rung's `model.safetensors`, or of the file; empty: any.
        context: the trial.

    Raises:
        AssignmentError: the teacher does not exist, has another digest, or is of other data.
    """
    if uri.endswith(ONNX):
        return _graph(uri, sha256, context)
    model, found = stored(_FIELD, uri, context)
    _same(uri, sha256, found)
    return model


class OnnxTeacher(nn.Module):
    """An ONNX file as a module on the CPU: (n, classes) from inputs (n, *shape), without gradients."""

    def __init__(self, session: Any) -> None:
        super().__init__()
        self._session = session

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits, on the inputs' device."""
        (given,) = self._session.get_inputs()
        (logits,) = self._session.run(None, {given.name: inputs.float().cpu().numpy()})
        return torch.from_numpy(logits).to(inputs.device)


def _graph(uri: str, sha256: str, context: Context) -> nn.Module:
    from comptroller_trainer.measure.session import open_session  # noqa: PLC0415 - ONNX Runtime

    prefix, _, name = uri.rpartition("/")
    try:
        path = open_store(prefix).fetch(name, context.directory / "teacher")
    except (MissingError, ValueError) as error:
        raise AssignmentError(_FIELD, uri, f"holds no model: {error}") from error
    with path.open("rb") as file:
        _same(uri, sha256, hashlib.file_digest(file, "sha256").hexdigest())
    try:
        artifact = OnnxTeacher(open_session(path, "CPU", torch.get_num_threads()))
        logits = artifact(torch.zeros(_PROBED, *context.shape))
    except Exception as error:  # ONNX Runtime's have no class in common
        why = str(error).splitlines()[0]
        raise AssignmentError(_FIELD, uri, f"takes no samples of {context.shape}: {why}") from error
    if tuple(logits.shape) != (_PROBED, context.classes) or not logits.is_floating_point():
        kind = f"{logits.dtype} of {tuple(logits.shape)}"
        raise AssignmentError(
            _FIELD, uri, f"gives {kind} for {_PROBED} samples of {context.classes} classes, not their logits"
        )
    return artifact


def _same(uri: str, wanted: str, found: str) -> None:
    if wanted not in {"", found}:
        raise AssignmentError("compress.teacher_sha256", wanted, f"is not of the teacher at {uri}: {found}")
