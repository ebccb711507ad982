"""An exponential moving average of the weights (Polyak and Juditsky, 1992); the average is shipped."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """The average of a model's state, norms' statistics included.

    Args:
        model: its state is where the average begins.
        decay: what is kept of it in a step; less in the first ones, which are far from any good weights.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._decay = decay
        self.tensors: dict[str, Tensor] = (
            {name: value.clone() for name, value in model.state_dict().items()} if decay else {}
        )

    def update(self, model: nn.Module, steps: int) -> None:
        """Take in the weights after `steps` steps in all."""
        if not self._decay:
            return
        moved = 1 - min(self._decay, (1 + steps) / (10 + steps))
        state = model.state_dict()
        real = [name for name, value in state.items() if value.is_floating_point()]
        with torch.no_grad():
            torch._foreach_lerp_([self.tensors[n] for n in real], [state[n] for n in real], moved)
            for name in state.keys() - set(real):
                self.tensors[name].copy_(state[name])

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Restore the average from `tensors`."""
        for name, value in tensors.items():
            self.tensors[name].copy_(value)

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """Give the model the average's weights for the length of a block."""
        if not self._decay:
            yield
            return
        own = {name: value.clone() for name, value in model.state_dict().items()}
        model.load_state_dict(self.tensors)
        try:
            yield
        finally:
            model.load_state_dict(own)
