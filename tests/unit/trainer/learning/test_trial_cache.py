"""Tensors are made once in a trial, and made again where the kept ones are damaged."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from comptroller_trainer.learning.distributed import Peers
from comptroller_trainer.learning.trial_cache import TrialCache
from comptroller_trainer.runtime.stop import StopSignal
from comptroller_trainer.store import open_store


def test_what_is_remembered_is_made_once(tmp_path: Path) -> None:
    made: list[int] = []

    def make() -> dict[str, Tensor]:
        made.append(1)
        return {"a": torch.arange(3)}

    keep = TrialCache(open_store(f"file://{tmp_path}"), "f" * 16, Peers(), StopSignal())
    assert torch.equal(keep("signals", make)["a"], keep("signals", make)["a"])
    assert len(made) == 1
    (path,) = tmp_path.rglob("signals.safetensors")
    path.write_bytes(path.read_bytes()[:-3])
    keep("signals", make)
    assert len(made) == 2
    TrialCache(open_store(f"file://{tmp_path}"), "e" * 16, Peers(), StopSignal())("signals", make)
    assert len(made) == 3
    with pytest.raises(ValueError, match="not a name"):
        keep("../x", make)
