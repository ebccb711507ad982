"""Self-supervised pretraining: train all layers but the last on samples without reading their labels.

SimCLR (Chen et al., 2020): each of two changed views of a sample must find the other in its batch. Images
and sequences are changed as augmentation changes them; a row of a table gets some features of another
row (SCARF, Bahri et al., 2022).
"""

import math
from collections.abc import Callable

import structlog
import torch
from torch import Tensor, nn
from torch.nn import functional

from comptroller_trainer import seeds
from comptroller_trainer.augment.base import TrainingBatch
from comptroller_trainer.augment.compose import Compose, ComposeParameters
from comptroller_trainer.data.samples import Samples
from comptroller_trainer.errors import AssignmentError
from comptroller_trainer.learning import schedule
from comptroller_trainer.stages.base import Context
from comptroller_trainer.stages.modality import IMAGE, SEQUENCE

FIELD = "recipe.pretrain_epochs"
_BATCH = 256
_RATE = 2e-3
_DECAY = 1e-4
_PROJECTED = 64
"""Numbers that represent a view in comparisons."""
_TEMPERATURE = 0.2
_SWAPPED = 0.4
"""Share of a row's features that are another row's."""
_log = structlog.get_logger("pretrain")

View = Callable[[Tensor, torch.Generator], Tensor]


def pretrain(model: nn.Module | None, samples: Samples, epochs: int, context: Context) -> None:
    """Train all of `model` but its last linear layer for `epochs` of `samples`, in place.

    A model of None is built and trained at once, and refused. Pretraining is done once in a trial: a later
    attempt reads the stored weights.

    Raises:
        AssignmentError: no layers come before the last one, or none of them is trained.
    """
    layers = [] if model is None else [m for m in model.modules() if isinstance(m, nn.Linear)]
    own = {id(parameter) for parameter in layers[-1].parameters()} if layers else set()
    trained = [p for p in model.parameters() if p.requires_grad and id(p) not in own] if model else []
    if model is None or not layers or not trained:
        raise AssignmentError(FIELD, epochs, "needs a model with layers to train before its last one")

    def made() -> dict[str, Tensor]:
        _train(model, layers[-1], trained, samples, epochs, context)
        return dict(model.state_dict())

    model.load_state_dict(context.remember("pretrained", made))


def _train(
    model: nn.Module, head: nn.Linear, trained: list[nn.Parameter], samples: Samples, epochs: int,
    context: Context,
) -> None:  # fmt: skip
    device, size = context.device, min(_BATCH, len(samples))
    torch.default_generator.manual_seed(seeds.derive(context.seed, "pretrain"))
    wide = head.in_features
    projector = nn.Sequential(nn.Linear(wide, wide), nn.ReLU(), nn.Linear(wide, _PROJECTED)).to(device)
    optimizer = torch.optim.AdamW([*trained, *projector.parameters()], lr=_RATE, weight_decay=_DECAY)
    view, steps = _view(samples, context), len(samples) // size
    caught: list[Tensor] = []
    hook = head.register_forward_pre_hook(lambda _, given: caught.append(given[0]))
    model.train()
    try:
        for epoch in range(epochs):
            total = torch.zeros((), device=device)
            order = torch.randperm(len(samples), generator=context.generator("pretrain", "order", epoch))
            for step, index in enumerate(torch.split(order[: steps * size], size)):
                drawn = context.generator("pretrain", epoch, step)
                inputs = samples.inputs[index.to(samples.inputs.device)].to(device)
                views = torch.cat([view(inputs, drawn), view(inputs, drawn)])
                seeds.set_global(seeds.derive(context.seed, "pretrain", epoch, step), device)
                model(views.float())
                loss = contrast(projector(caught.pop().reshape(len(views), -1, wide).mean(1)))
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                for group in optimizer.param_groups:
                    group["lr"] = _RATE * schedule.rate("cosine", (epoch + step / steps) / epochs)
                optimizer.step()
                total += loss.detach()
            mean = float(total) / steps
            if not math.isfinite(mean):
                raise AssignmentError(FIELD, epochs, f"made training diverge in epoch {epoch + 1}")
            _log.info("pretrained", epoch=epoch + 1, loss=round(mean, 4))
    finally:
        hook.remove()
        model.zero_grad()  # else the first step of training takes it for its own


def contrast(projected: Tensor) -> Tensor:
    """Return the mean cross entropy, in nats, of finding each row's other view among all rows (NT-Xent).

    Args:
        projected: (2n, d): n samples seen one way, then the same seen another way.
    """
    points = functional.normalize(projected.float(), dim=1)
    alike = (points @ points.T / _TEMPERATURE).fill_diagonal_(-torch.inf)
    count = len(points)
    return functional.cross_entropy(alike, torch.arange(count, device=points.device).roll(count // 2))


def _view(samples: Samples, context: Context) -> View:
    shape = context.shape
    if len(shape) not in {IMAGE, SEQUENCE}:
        return _swapped
    changes: dict[str, float] = {"noise": 0.1, "erasing": 0.5, "crop": min(64, max(1, min(shape[1:]) // 7))}
    if len(shape) == IMAGE:
        changes |= {"flip": True, "zoom": 0.2, "rotation": 10}
    changes |= {"colour": 0.4} if len(shape) == IMAGE and shape[0] == 3 else {"scale": 0.4}  # noqa: PLR2004 - colours
    policy = Compose(ComposeParameters.model_validate(changes)).fit(samples, context)
    return lambda inputs, drawn: policy(TrainingBatch(inputs, torch.zeros(len(inputs))), drawn, 1.0).inputs


def _swapped(inputs: Tensor, drawn: torch.Generator) -> Tensor:
    others = inputs[torch.randperm(len(inputs), generator=drawn).to(inputs.device)]
    swap = torch.rand(inputs.shape, generator=drawn) < _SWAPPED
    return torch.where(swap.to(inputs.device), others, inputs)
