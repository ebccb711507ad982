"""The input pipeline: batches gathered where the samples are, ahead of need where that is slow."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import islice

import torch
from torch import Tensor

from comptroller_trainer.data.samples import Samples

_LARGE = 256 * 2**20
"""Bytes of inputs above which they may come from a disk: smaller ones stay in its cache."""
_DEPTH = 3
"""Batches that are gathered ahead."""
_SHARE = 0.4
"""Share of the accelerator's free memory that samples may take; the rest is the model's."""


def resident(samples: Samples, device: torch.device) -> Samples:
    """Return the samples on `device` if there is room; else only their labels, and batches are copied."""
    inputs = samples.inputs
    if device.type == "cuda" and inputs.nbytes <= _SHARE * torch.cuda.mem_get_info(device)[0]:
        inputs = inputs.to(device)
    return replace(samples, inputs=inputs, labels=samples.labels.to(device))


class Prefetcher:
    """Batches of one split on `device`.

    Args:
        samples: as `resident` gave them.
        device: where batches are wanted.
    """

    def __init__(self, samples: Samples, device: torch.device) -> None:
        self._inputs = samples.inputs
        self._labels = samples.labels
        self._device = device
        self._slow = self._inputs.device != device or self._inputs.nbytes > _LARGE

    def take(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return inputs and labels at `index`, (n,) int64 on any device."""
        inputs = self._inputs[index.to(self._inputs.device)]
        if inputs.device != self._device:
            inputs = inputs.pin_memory().to(self._device, non_blocking=True)
        return inputs, self._labels[index.to(self._labels.device)]

    def batches(self, indices: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield `take` of each of `indices`, in their order."""
        if not self._slow:
            yield from map(self.take, indices)
            return
        waiting = iter(indices)
        # One thread: indexing uses torch's own.
        with ThreadPoolExecutor(1, "prefetcher") as pool:
            ahead: deque[Future[tuple[Tensor, Tensor]]] = deque(
                pool.submit(self.take, index) for index in islice(waiting, _DEPTH)
            )
            try:
                while ahead:
                    found = ahead.popleft().result()
                    ahead.extend(pool.submit(self.take, index) for index in islice(waiting, 1))
                    yield found
            finally:
                for future in ahead:
                    future.cancel()
