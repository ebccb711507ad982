"""Several processes that train one model: two real ones, over loopback."""

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from comptroller_api.contract import Report, digest_line
from comptroller_trainer.errors import AssignmentError, Suspended
from comptroller_trainer.learning import distributed
from comptroller_trainer.learning.distributed import Peers
from comptroller_trainer.runtime import protocol
from comptroller_trainer.runtime.stop import StopSignal

WORKER = [sys.executable, "-m", "comptroller_trainer.worker"]
Environment = Callable[..., dict[str, str]]
Outcome = tuple[int, str]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def together(as_env: Environment, tmp_path: Path) -> Callable[..., list[Outcome]]:
    """Runs two workers, changed by rank; how each ended, and why."""

    def run(
        *parameters: dict[str, str], stop_at: int | None = None, rank_name: str = "RANK", **changes: Any
    ) -> list[Outcome]:
        port = free_port()
        started = []
        for rank, own in enumerate(parameters):
            log = tmp_path / f"termination-{rank}"
            log.write_text("")
            environment = as_env(own, **changes) | {
                "WORLD_SIZE": "2", rank_name: str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
                "GLOO_SOCKET_IFNAME": "lo", "COMPTROLLER_TERMINATION_LOG": str(log),
                "COMPTROLLER_HEARTBEAT_PORT_FILE": str(tmp_path / f"port-{rank}"),
            }  # fmt: skip
            started.append(subprocess.Popen(WORKER, env=environment, stderr=subprocess.PIPE, text=True))
        if stop_at is not None:
            errors = started[1].stderr
            assert errors is not None
            for line in errors:
                if '"event": "epoch"' in line:
                    started[1].terminate()  # the one that does not write
                    break
        try:
            printed = [process.communicate(timeout=300)[1] for process in started]
        finally:
            for process in started:
                process.kill()
        assert all("Traceback" not in text for text in printed), "\n".join(printed)
        return [
            (process.returncode, (tmp_path / f"termination-{rank}").read_text())
            for rank, process in enumerate(started)
        ]

    return run


def report(tmp_path: Path, attempt: int = 0) -> Report:
    path = tmp_path / f"artifacts/attempts/{attempt}/report.json"
    return Report.model_validate_json(path.read_bytes())


def read(found: Report, name: str) -> Path:
    (uri,) = [a.uri for a in found.artifacts if a.name == name]
    return Path(uri.removeprefix("file://"))


def test_two_processes_train_what_one_does(
    together: Callable[..., list[Outcome]], attempt: Callable[..., Report], weights: Callable[..., Any],
    tmp_path: Path,
) -> None:  # fmt: skip
    # Without norms: their statistics are of what one process has of a batch.
    same = {"model.family": "mlp", "data.selector": "rs2", "data.keep": "0.5"}
    assert [code for code, _ in together(same, same, rank_name="JOB_COMPLETION_INDEX")] == [0, 0]
    found, alone = report(tmp_path), attempt(same, artifacts=f"file://{tmp_path}/alone")
    assert found.environment["processes"] == "2"
    with np.load(read(found, "selection.npz")) as ours, np.load(read(alone, "selection.npz")) as theirs:
        assert all(np.array_equal(ours[name], theirs[name]) for name in theirs.files)
    ours, theirs = weights(found), weights(alone)
    assert ours.keys() == theirs.keys()
    assert all(np.allclose(ours[name], theirs[name], atol=1e-4) for name in theirs)
    assert found.metrics["loss"] == pytest.approx(alone.metrics["loss"], rel=1e-3)
    history = [json.loads(read(r, "history.json").read_text())[-1]["train_loss"] for r in (found, alone)]
    assert history[0] == pytest.approx(history[1], rel=1e-3)


@pytest.mark.parametrize("selector", ["infobatch", "rho_loss"])
def test_what_was_chosen_together_is_in_the_report(
    together: Callable[..., list[Outcome]], tmp_path: Path, selector: str
) -> None:
    chosen = {"data.selector": selector, "data.keep": "0.5"}
    ended = together(chosen, chosen)
    written = (tmp_path / "artifacts/attempts/0/report.json").read_bytes()
    assert ended == [(0, digest_line(written)), (0, "")]
    with np.load(read(report(tmp_path), "selection.npz")) as epochs:
        assert all(len(epochs[name]) for name in epochs.files)


def test_a_wait_for_the_first_ends_when_it_comes_or_when_stopped() -> None:
    stop, port = StopSignal(), free_port()
    with ThreadPoolExecutor() as pool:
        stores = [pool.submit(distributed._met, "127.0.0.1", port, rank, 2, stop) for rank in range(2)]
        first, second = (Peers(rank, 2, store.result(timeout=30)) for rank, store in enumerate(stores))
        waiting = pool.submit(second.wait, stop)
        first.wait(stop)
        waiting.result(timeout=30)
        waiting = pool.submit(second.wait, stop)
        stop.requested = True
        with pytest.raises(Suspended):
            waiting.result(timeout=30)


def test_a_signal_to_either_stops_both_at_one_step_with_one_checkpoint(
    together: Callable[..., list[Outcome]], tmp_path: Path
) -> None:
    long = {"epochs": 300, "totalEpochs": 300}
    ended = together({}, {}, stop_at=1, **long)
    assert [code for code, _ in ended] == [protocol.EXIT_SUSPENDED] * 2
    (pointer,) = (tmp_path / "artifacts/checkpoints").glob("*.json")
    assert json.loads(pointer.read_text())["state"]["steps"] > 0


def test_processes_that_disagree_end_with_64_and_say_on_what(
    together: Callable[..., list[Outcome]],
) -> None:
    ended = together({"recipe.lr": "0.1"}, {"recipe.lr": "0.2"})
    expected = "recipe.lr: '0.2' on rank 1 and '0.1' on rank 0: the processes disagree"
    assert ended == [(protocol.EXIT_BAD_ASSIGNMENT, expected)] * 2


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE: 'two' is not a whole number"),
        ({"WORLD_SIZE": "2"}, "JOB_COMPLETION_INDEX: is not set"),
        ({"WORLD_SIZE": "2", "RANK": "2"}, "RANK: 2 must be less than WORLD_SIZE"),
        ({"WORLD_SIZE": "2", "RANK": "0"}, "MASTER_ADDR: is not set"),
    ],
)
def test_an_incomplete_environment_is_refused(environ: dict[str, str], expected: str) -> None:
    with pytest.raises(AssignmentError) as caught:
        distributed.join(environ, {}, StopSignal())
    assert expected in str(caught.value)


def test_an_operator_tells_where_to_meet(tmp_path: Path) -> None:
    """The file is empty until it knows."""
    leader = tmp_path / "leader"
    leader.touch()
    stop = StopSignal()
    with ThreadPoolExecutor() as pool:
        address = pool.submit(distributed._leader, leader, stop)
        assert not address.done()
        leader.write_text("10.0.0.7\n", encoding="ascii")
        assert address.result(timeout=10) == "10.0.0.7"


def test_one_process_needs_no_environment() -> None:
    assert distributed.join({}, {}, StopSignal()).size == 1


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_shares_are_all_of_a_batch_in_order(size: int) -> None:
    for count in (5, 32, 33):
        parts = [list(range(count))[Peers(rank, size).share(count)] for rank in range(size)]
        assert [*chain.from_iterable(parts)] == list(range(count))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
