"""A trained model from the rung that another trial left, and never from a pickle."""

import hashlib
import json

from comptroller_trainer.errors import AssignmentError, MissingError
from comptroller_trainer.models.base import Classifier
from comptroller_trainer.models.rebuild import rebuilt
from comptroller_trainer.stages.base import Context
from comptroller_trainer.store import open_store


def stored(field: str, uri: str, context: Context) -> tuple[Classifier, str]:
    """The model at `uri`, a rung's prefix, on the CPU, and the SHA-256 of its `model.safetensors`.

    Args:
        field: whose value `uri` is.
        uri: of the rung.
        context: of the trial that wants it.

    Raises:
        AssignmentError: there is none, or it is of other data.
    """
    from safetensors import SafetensorError  # noqa: PLC0415
    from safetensors.torch import load  # noqa: PLC0415

    try:
        store = open_store(uri)
        architecture, weights = json.loads(store.get("architecture.json")), store.get("model.safetensors")
        model = rebuilt(architecture, load(weights))
    except (MissingError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise AssignmentError(field, uri, f"holds no model: {error}") from error
    if (tuple(architecture["shape"]), architecture["classes"]) != (context.shape, context.classes):
        raise AssignmentError(field, uri, "is of samples of another shape, or of other classes")
    return model, hashlib.sha256(weights).hexdigest()
