"""An ensemble of other trials' models, measured as one model."""

import math
from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor, nn

from comptroller_api.trainer import JOINT
from comptroller_trainer.data.samples import Samples
from comptroller_trainer.errors import AssignmentError
from comptroller_trainer.models.base import EstimatorFamily
from comptroller_trainer.models.stored import stored
from comptroller_trainer.stages.base import Context, Parameters
from comptroller_trainer.stages.modality import IMAGE, SEQUENCE, TABLE

MOST = 16
"""Members at most."""
_PATH, _DIGEST = "[A-Za-z0-9._/-]+", "[0-9a-f]{12,64}"


def _joined(one: str) -> str:
    return rf"^({one}(\{JOINT}{one})*)?$"


class EnsembleParameters(Parameters):
    """`model.*` of `ensemble`."""

    source: str = Field(
        "",
        pattern=r"^((s3://|file:///)[A-Za-z0-9._/=+-]+)?$",
        max_length=1024,
        description="What the members lie below: s3:// or file:///; as a rule a study's trials.",
    )
    members: str = Field(
        "",
        pattern=_joined(_PATH),
        max_length=1024,
        description=f"Rungs below `source`, joined by `{JOINT}`: `3/rungs/1{JOINT}7/rungs/1`.",
    )
    sha256: str = Field(
        "",
        pattern=_joined(_DIGEST),
        max_length=1100,
        description=f"Of each one's model.safetensors, 12 digits or more, joined by `{JOINT}`; empty: any.",
    )


class Ensemble(EstimatorFamily[EnsembleParameters]):
    """`ensemble`: the mean of its members' probabilities, of a regression of their values.

    Nothing is trained: the trial costs only its measurement, and its latency is that of all members.
    """

    Parameters = EnsembleParameters
    name = "ensemble"
    kinds = (IMAGE, SEQUENCE, TABLE)

    def __init__(self, parameters: EnsembleParameters) -> None:
        super().__init__(parameters)
        self._found = parameters.sha256

    def train(self, samples: Samples, weights: Tensor | None, share: float, context: Context) -> nn.Module:
        del samples, weights, share
        p = self.parameters
        names, wanted = p.members.split(JOINT), p.sha256.split(JOINT) if p.sha256 else []
        if not p.source or not 1 < len(names) <= MOST:
            raise AssignmentError(
                "model.members", p.members, f"must name 2 to {MOST} rungs below model.source"
            )
        if len(set(names)) < len(names):
            raise AssignmentError("model.members", p.members, "names a rung twice")
        if len(wanted) not in {0, len(names)}:
            raise AssignmentError("model.sha256", p.sha256, f"has not one for each of {len(names)} members")
        members, digests = [], []
        for place, name in enumerate(names):
            model, digest = stored("model.members", f"{p.source.rstrip('/')}/{name}", context)
            if wanted and not digest.startswith(wanted[place]):
                raise AssignmentError("model.sha256", wanted[place], f"is not of member {name}: {digest}")
            members.append(model)
            digests.append(digest)
        self._found = JOINT.join(digests)
        return Together(members, classes=context.classes).eval()

    def shipped(self) -> EnsembleParameters:
        return self.parameters.model_copy(update={"sha256": self._found})


class Together(nn.Module):
    """(n, outputs) of inputs (n, *shape): the logarithm of the members' mean probability, or their mean.

    Args:
        members: each from stored inputs to outputs.
        classes: 0 for a regression.
    """

    def __init__(self, members: Sequence[nn.Module], classes: int) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self._classes = classes

    def forward(self, inputs: Tensor) -> Tensor:
        outputs = torch.stack([member(inputs) for member in self.members])
        if not self._classes:
            return outputs.mean(0)
        return outputs.log_softmax(2).logsumexp(0) - math.log(len(self.members))
