"""A witness of what ran: containerd's record of containers, which no operator or tenant writes."""

import json
import subprocess
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

NAMESPACE = "k8s.io"
SOCKET = Path("/run/comptroller-cluster/containerd.sock")
_LABEL = "io.kubernetes."


@dataclass
class Container:
    """A container of a pod, with times by containerd's clock."""

    namespace: str
    pod: str
    name: str
    milli: int
    """The thousandths of a core that its control group allows."""
    started: float = 0
    ended: float = 0
    """The end in unix seconds; 0 while the container runs."""


@dataclass
class Witness:
    """A follower of containerd's events, in its own process, until it is closed."""

    log: Path
    containers: dict[str, Container] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._process = subprocess.Popen(_ctr("events"), stdout=subprocess.PIPE, text=True)
        self._thread = threading.Thread(target=self._follow)
        self._thread.start()

    def _follow(self) -> None:
        with self.log.open("w") as log:
            for line in self._process.stdout or ():
                log.write(line)
                log.flush()
                self._hear(line)

    def _hear(self, line: str) -> None:
        stamp, topic, event = _parsed(line)
        match topic:
            case "/containers/create":
                if found := described(event["id"]):
                    self.containers[event["id"]] = found
            case "/tasks/start" if event["container_id"] in self.containers:
                self.containers[event["container_id"]].started = stamp
            case "/tasks/exit" if event["container_id"] in self.containers:
                if event["id"] == event["container_id"]:  # not a process that `kubectl exec` started
                    self.containers[event["container_id"]].ended = stamp

    def of(self, namespace: str) -> list[Container]:
        """Return the containers in a namespace that started."""
        return [c for c in list(self.containers.values()) if c.namespace == namespace and c.started]

    def close(self) -> None:
        """Stop following."""
        self._process.terminate()
        self._thread.join()
        with self._process:  # the context manager waits for the process and closes its pipe
            pass


def described(identity: str) -> Container | None:
    """Return a container with its labels and the CPU of its control group; `None` for a pod's sandbox."""
    done = subprocess.run(_ctr("containers", "info", identity), capture_output=True, text=True, check=False)
    if done.returncode:
        return None
    body: dict[str, Any] = json.loads(done.stdout)
    labels = body["Labels"]
    if labels.get("io.cri-containerd.kind") != "container":
        return None
    cpu = body["Spec"]["linux"]["resources"].get("cpu", {})
    milli = 1000 * cpu.get("quota", 0) // cpu.get("period", 1)
    return Container(
        labels[f"{_LABEL}pod.namespace"],
        labels[f"{_LABEL}pod.name"],
        labels[f"{_LABEL}container.name"],
        milli,
    )


def _ctr(*words: str) -> list[str]:
    return ["ctr", "--address", str(SOCKET), "--namespace", NAMESPACE, *words]


def _parsed(line: str) -> tuple[float, str, dict[str, Any]]:
    """Return time, topic and content of `2026-01-01 00:00:00.1 +0000 UTC k8s.io /tasks/exit {...}`."""
    head, _, content = line.partition(" {")
    day, time, _zone, _name, _namespace, topic = head.split()
    moment = datetime.strptime(f"{day} {time[:8]}", "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    return moment.timestamp() + float(f"0{time[8:]}"), topic, json.loads("{" + content)
