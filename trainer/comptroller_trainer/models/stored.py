"""Load a trained model from another trial's rung, and never from a pickle."""

import hashlib
import json

from safetensors import SafetensorError
from safetensors.torch import load

from comptroller_trainer.errors import AssignmentError, MissingError
from comptroller_trainer.models.base import Classifier
from comptroller_trainer.models.rebuild import rebuilt
from comptroller_trainer.stages.base import Context
from comptroller_trainer.store import open_store


def stored(field: str, uri: str, context: Context) -> tuple[Classifier, str]:
    """Return the model at `uri`, a rung's prefix, on the CPU, and the SHA-256 of its `model.safetensors`.

    Args:
        field: the parameter whose value is `uri`.
        uri: the rung's.
        context: that of the trial that loads the model.

    Raises:
        AssignmentError: the model does not exist, or is of other data.
    """
    try:
        store = open_store(uri)
        architecture, weights = json.loads(store.get("architecture.json")), store.get("model.safetensors")
        model = rebuilt(architecture, load(weights))
    except (MissingError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise AssignmentError(field, uri, f"holds no model: {error}") from error
    if (tuple(architecture["shape"]), architecture["classes"]) != (context.shape, context.classes):
        raise AssignmentError(field, uri, "is of samples of another shape, or of other classes")
    return model, hashlib.sha256(weights).hexdigest()
