"""Several processes that train one model, as torchrun's environment or an Indexed Job describes them.

Each takes its share of every batch; rank 0 alone writes, validates what it ships, and reports.
"""

import json
import math
import time
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, distributed, nn
from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

from comptroller_api.contract import LEADER_FILE
from comptroller_trainer.errors import AssignmentError
from comptroller_trainer.runtime.stop import StopSignal

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

_RENDEZVOUS = 600.0
"""Seconds in which all processes must join: pods are scheduled and images pulled one by one."""
_LOOK = timedelta(seconds=2)
"""Length of one wait for the other processes, and the longest delay of a signal."""
_COLLECTIVE = timedelta(minutes=10)
"""Time after which a peer that does not answer is taken for dead."""


class Peers:
    """The processes of one attempt; by default this one alone.

    Args:
        rank: this one's number, from 0.
        size: how many there are.
        store: where they meet; none for one alone.
    """

    def __init__(self, rank: int = 0, size: int = 1, store: "Store | None" = None) -> None:
        self.rank, self.size = rank, size
        self._store = store
        self._vote: tuple[Tensor, distributed.Work] | None = None
        self._waits = 0

    @property
    def first(self) -> bool:
        """True if this process writes."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """Return this process's part of `count` things in order; parts differ by one at most."""
        return _share(count, self.rank, self.size)

    def wrapped(self, model: nn.Module, device: torch.device) -> nn.Module:
        """Return the model with its gradients averaged over the processes in every backward pass."""
        if self.size == 1:
            return model
        ids = [device] if device.type == "cuda" else None
        # Norms' statistics differ by process until `align`: to send them in every step is a waste.
        return nn.parallel.DistributedDataParallel(model, device_ids=ids, broadcast_buffers=False)

    def gathered(self, part: Tensor, count: int) -> Tensor:
        """Return all `count` rows in order, on the CPU; `part` is this process's share."""
        if self.size == 1:
            return part.cpu()
        most = math.ceil(count / self.size)
        padded = torch.zeros(most, *part.shape[1:], dtype=part.dtype)
        padded[: len(part)] = part.cpu()
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        distributed.all_gather(parts, padded)
        lengths = [_share(count, rank, self.size) for rank in range(self.size)]
        return torch.cat([p[: s.stop - s.start] for p, s in zip(parts, lengths, strict=True)])

    def total(self, value: Tensor) -> float:
        """Return the sum of a scalar over the processes."""
        summed = value.detach().cpu().double()
        if self.size > 1:
            distributed.all_reduce(summed)
        return float(summed)

    def least(self, value: int) -> int:
        """Return the least of the processes' values."""
        if self.size == 1:
            return value
        found = torch.tensor(value)
        distributed.all_reduce(found, distributed.ReduceOp.MIN)
        return int(found)

    def any(self, wanted: bool) -> bool:
        """Return true if `wanted` is true in any process."""
        return bool(self.least(int(not wanted)) == 0)

    def stopping(self, requested: bool) -> bool:
        """Return `any` of the previous call: the answer comes while the next step is computed."""
        if self.size == 1:
            return requested
        if self._vote is not None:
            value, work = self._vote
            work.wait()
            if value:
                self._vote = None
                return True
        value = torch.tensor(int(requested))
        self._vote = value, distributed.all_reduce(value, distributed.ReduceOp.MAX, async_op=True)
        return False

    def align(self, tensors: Iterable[Tensor]) -> None:
        """Give every process rank 0's values, in place."""
        if self.size > 1:
            for tensor in tensors:
                distributed.broadcast(tensor, 0)

    def wait(self, stop: StopSignal) -> None:
        """Wait for every process without a limit: if rank 0 dies, its store is gone.

        Raises:
            Suspended: a stop was requested during the wait.
        """
        if self._store is None:
            return
        self._waits += 1
        self._store.set(f"here/{self._waits}/{self.rank}", "")
        for rank in range(self.size):
            self._await(f"here/{self._waits}/{rank}", stop, math.inf)

    def agree(self, what: str, values: Mapping[str, object], stop: StopSignal) -> None:
        """Wait for the values of every process, which must be equal.

        Raises:
            AssignmentError: a process has another value; raised on every process.
            Suspended: a stop was requested during the wait.
            TimeoutError: a process did not come.
        """
        if self._store is None:
            return
        self._store.set(f"{what}/{self.rank}", json.dumps(dict(values)))
        found = [json.loads(self._await(f"{what}/{rank}", stop)) for rank in range(self.size)]
        for rank, other in enumerate(found):
            for name in sorted(found[0].keys() | other.keys()):
                if found[0].get(name) != other.get(name):
                    raise AssignmentError(
                        name, other.get(name),
                        f"on rank {rank} and {found[0].get(name)!r} on rank 0: the processes disagree",
                    )  # fmt: skip

    def close(self) -> None:
        """Leave the group."""
        if self.size > 1:
            distributed.destroy_process_group()

    def _await(self, key: str, stop: StopSignal, seconds: float = _RENDEZVOUS) -> bytes:
        assert self._store is not None  # noqa: S101 - its callers have looked
        until = time.monotonic() + seconds
        while True:
            stop.check()
            try:
                self._store.wait([key], _LOOK)
            except distributed.DistStoreError as error:
                if time.monotonic() > until:
                    raise TimeoutError(f"no word from a peer for {seconds:.0f} s: {key}") from error
            else:
                return bytes(self._store.get(key))


def join(
    environ: Mapping[str, str],
    values: Mapping[str, object],
    stop: StopSignal,
    leader: Path = Path(LEADER_FILE),
) -> Peers:
    """Meet the other processes of WORLD_SIZE, at MASTER_ADDR and MASTER_PORT.

    Args:
        environ: torchrun's variables; an Indexed Job's JOB_COMPLETION_INDEX does for RANK.
        values: values that must be equal in all processes.
        stop: ends the waiting.
        leader: file in which the operator writes the host to meet at; used without MASTER_ADDR.

    Raises:
        AssignmentError: the environment is incomplete, or the processes disagree.
        Suspended: a stop was requested during the wait.
        TimeoutError: a process did not come.
    """
    size = _number(environ, "WORLD_SIZE", 1)
    if size <= 1:
        return Peers()
    rank = _number(environ, "RANK" if "RANK" in environ else "JOB_COMPLETION_INDEX")
    if rank >= size:
        raise AssignmentError("RANK", rank, f"must be less than WORLD_SIZE ({size})")
    host = environ.get("MASTER_ADDR") or _leader(leader, stop)
    store = _met(host, _number(environ, "MASTER_PORT"), rank, size, stop)
    peers = Peers(rank, size, PrefixStore("agree", store))
    peers.agree("assignment", values, stop)
    store.set_timeout(_COLLECTIVE)  # NCCL's processes meet in it when the first has something to send
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(_number(environ, "LOCAL_RANK", 0))
    # Both backends: votes between steps are on the CPU.
    distributed.init_process_group(
        "cpu:gloo,cuda:nccl" if cuda else "gloo", store=PrefixStore("group", store),
        rank=rank, world_size=size, timeout=_COLLECTIVE,
    )  # fmt: skip
    return peers


def _leader(file: Path, stop: StopSignal) -> str:
    """Wait until the operator has written the host to meet at, and return the host."""
    if not file.exists():
        raise AssignmentError(
            "MASTER_ADDR", None, f"is not set, and {file}, which says where to meet, is missing"
        )
    until = time.monotonic() + _RENDEZVOUS
    while not (host := file.read_text(encoding="ascii").strip()):
        stop.check()
        if time.monotonic() > until:
            raise TimeoutError(f"{file} stayed empty for {_RENDEZVOUS:.0f} s")
        time.sleep(0.2)
    return host


def _met(host: str, port: int, rank: int, size: int, stop: StopSignal) -> "Store":
    until = time.monotonic() + _RENDEZVOUS
    while True:
        stop.check()
        try:
            return TCPStore(host, port, size, rank == 0, timeout=_LOOK, wait_for_workers=False)
        except distributed.DistError as error:
            if rank == 0 or time.monotonic() > until:
                raise TimeoutError(f"{host}:{port} did not answer: {error}") from error
            time.sleep(0.2)


def _share(count: int, rank: int, size: int) -> slice:
    return slice(count * rank // size, count * (rank + 1) // size)


def _number(environ: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = environ.get(name)
    if text is None:
        if default is None:
            raise AssignmentError(name, None, "is not set, and WORLD_SIZE is more than 1")
        return default
    if not text.isascii() or not text.isdigit():
        raise AssignmentError(name, text, "is not a whole number")
    return int(text)
