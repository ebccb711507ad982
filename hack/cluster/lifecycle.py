"""Start and stop the cluster, and report its state."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import binaries
import certificates
import debian
import images
import node
import objectstore
from components import Component, components, configure
from console import ClusterError, Console, run, wait_for
from containerd import StaticImage, present
from processes import Daemon, boot_id
from settings import NODE, NODE_CLASS, Paths

GIB = 1 << 30
DISK_NODE = 6
DISK_IMAGES = 24
_KUBELET_TRIES = 20
_PORT_PATIENCE = 15
"""The seconds for which a program that has just ended may still occupy its ports."""


def pause(paths: Paths) -> StaticImage:
    """The image of the container that holds a pod's namespaces."""
    return StaticImage("comptroller-pause", paths.programs / "pause")


@dataclass(frozen=True)
class Cluster:
    """One cluster on this machine."""

    paths: Paths
    console: Console

    def daemon(self, component: Component) -> Daemon:
        """Return the process of a component."""
        return Daemon(component.name, self.paths.processes, self.paths.logs / f"{component.name}.log")

    def component(self, name: str) -> Component:
        """Return the component with that name."""
        found = {component.name: component for component in components(self.paths)}
        if name not in found:
            raise ClusterError(f"There is no {name}; there are {', '.join(found)}")
        return found[name]

    def up(self, *, with_images: bool) -> None:
        """Install, build, start and wait; restart what is dead and keep what runs.

        Raises:
            ClusterError: The part that failed, and the way out.
        """
        self.console.total = 5 + with_images
        require_root()
        self._require_disk(with_images=with_images)
        packages = debian.NODE_PACKAGES + (debian.IMAGE_PACKAGES if with_images else ())
        debian.install(packages, self.console)
        self.paths.logs.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(1) as pool:
            # Compiling needs the cores, and building images mostly the network and the disk.
            building = pool.submit(images.build, self.paths, self.console) if with_images else None
            binaries.build(self.paths, self.console)
            self._start_node()
            if building is not None:
                images.deliver(self.paths, self.console, building.result())

    def _start_node(self) -> None:
        with self.console.step("Node") as step:
            certificates.make(self.paths)
            self.paths.run.mkdir(parents=True, exist_ok=True)
            for name in configure(self.paths, pause(self.paths).reference):
                self.stop(self.component(name))
            node.set_up_network()
            started = [component.name for component in components(self.paths) if self.start(component)]
            step.result = f"started {', '.join(started)}" if started else "all of it runs"
        with self.console.step("Node ready"):
            for image in (pause(self.paths), objectstore.image(self.paths)):
                image.ensure(self.paths)
            hint = f"See the kubelet's log in {self.paths.logs}."
            wait_for("The node", self.ready, seconds=120, hint=hint, every=0.3)
            label = f"comptroller.dev/node-class={NODE_CLASS}"
            self.kubectl("label", "node", NODE, label, "--overwrite")
        with self.console.step("S3 server"):
            objectstore.deploy(self.paths)
            objectstore.wait(self.paths)

    def start(self, component: Component) -> bool:
        """Start a component and wait until it is healthy; return False if it already ran."""
        daemon = self.daemon(component)
        if daemon.outdated(component.command):
            daemon.end()
        if daemon.pid() is not None:
            return False
        self._require_free(component)
        if component.name == "etcd":
            self._set_etcd_aside_when_broken(daemon, component)
        elif not any(self._begin(daemon, component) for _ in self._tries(component)):
            raise daemon.failure("ended at once" if daemon.pid() is None else "does not become healthy")
        return True

    def _tries(self, component: Component) -> Iterator[int]:
        """Start the kubelet again if it exits because containerd listens but is not ready yet."""
        tries = _KUBELET_TRIES if component.name == "kubelet" else 1
        for attempt in range(tries):
            if attempt:
                if self.daemon(component).pid() is not None:
                    return  # the kubelet runs but is unhealthy
                time.sleep(1)
            yield attempt

    def _begin(self, daemon: Daemon, component: Component) -> bool:
        """Start a component; return whether it became healthy."""
        if component.name == "containerd":
            self.paths.socket.unlink(missing_ok=True)
        environment = {
            "PATH": f"{self.paths.programs}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
        }
        daemon.begin(component.command, node.make_groups(), environment)

        def settled() -> bool:
            return daemon.pid() is None or component.healthy()

        try:
            wait_for(component.name, settled, seconds=90, every=0.1)
        except ClusterError:
            return False
        return daemon.pid() is not None

    def _set_etcd_aside_when_broken(self, daemon: Daemon, component: Component) -> None:
        """Start etcd; if a crash of the machine damaged its files, start with empty ones.

        This etcd does not wait for the disk, so a power cut may damage its files. A killed process does not
        damage them, so files written since the boot are never set aside.
        """
        data = self.paths.state / "etcd"
        marker = self.paths.state / "etcd.boot"
        same_boot = marker.exists() and marker.read_text() == boot_id()
        if not self._begin(daemon, component):
            if same_boot or not data.exists():
                raise daemon.failure("does not run")
            daemon.end()
            broken = self.paths.state / "etcd.broken"
            shutil.rmtree(broken, ignore_errors=True)
            data.rename(broken)
            self.console.say(f"      etcd's files are broken since the last boot; set aside as {broken}")
            if not self._begin(daemon, component):
                raise daemon.failure("does not run")
        marker.write_text(boot_id())

    def stop(self, component: Component) -> bool:
        """Stop a component; return False if it did not run."""
        return self.daemon(component).end()

    def down(self, *, purge: bool) -> None:
        """Stop everything, and restore the machine except for the state directory."""
        require_root()
        self.console.total = 1
        with self.console.step("Down") as step:
            order = [component.name for component in components(self.paths)]
            # The kubelet stops first, since it would restart what ends.
            for name in sorted(order, key=lambda name: (name != "kubelet", name == "etcd")):
                self.stop(self.component(name))
            node.remove_groups()
            node.unmount(self.paths)
            node.remove_network(self.paths)
            shutil.rmtree(self.paths.run, ignore_errors=True)
            if purge:
                shutil.rmtree(self.paths.state, ignore_errors=True)
                step.result = f"done, {self.paths.state} is removed; the cache {self.paths.cache} is kept"
            else:
                step.result = f"done, {self.paths.state} is kept"

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl as the administrator."""
        kubectl = [str(self.paths.programs / "kubectl"), f"--kubeconfig={self.paths.kubeconfig}"]
        return run([*kubectl, *arguments], stdin=stdin)

    def ready(self) -> bool:
        """Return whether the node reports that it is ready."""
        try:
            found = json.loads(self.kubectl("get", "node", NODE, "-o", "json", "--request-timeout=5s"))
        except (ClusterError, ValueError):
            return False
        return any(
            condition["type"] == "Ready" and condition["status"] == "True"
            for condition in found["status"].get("conditions", [])
        )

    def gpus(self, count: int) -> None:
        """Advertise GPUs that do not exist, so that their scheduling can be tested."""
        patch = {"status": {"capacity": {"nvidia.com/gpu": str(count)}}}
        self.kubectl("patch", "node", NODE, "--subresource=status", "--type=merge", "-p", json.dumps(patch))
        wait_for("The kubelet's answer", lambda: self._allocatable_gpus() == count, seconds=60)

    def _allocatable_gpus(self) -> int:
        found = json.loads(self.kubectl("get", "node", NODE, "-o", "json"))
        return int(found["status"]["allocatable"].get("nvidia.com/gpu", 0))

    def status(self) -> dict[str, Any]:
        """Return the state of each part, and whether all are healthy."""
        parts: list[dict[str, Any]] = []
        for component in components(self.paths):
            pid = self.daemon(component).pid()
            healthy = pid is not None and component.healthy()
            parts.append({"component": component.name, "pid": pid, "healthy": healthy})
        containerd_runs = next(part["healthy"] for part in parts if part["component"] == "containerd")
        store = sorted(present(self.paths)) if containerd_runs and os.geteuid() == 0 else []
        wanted = images.listed(self.paths)
        found: dict[str, Any] = {
            "components": parts,
            "node": {"name": NODE, "ready": self.paths.kubeconfig.exists() and self.ready()},
            "images": {name: {"reference": it, "present": it in store} for name, it in wanted.items()},
            "s3": {"endpoint": objectstore.endpoint(), "reachable": objectstore.reachable()},
            "kubeconfig": str(self.paths.kubeconfig),
        }
        well = (
            all(part["healthy"] for part in parts)
            and bool(found["node"]["ready"])
            and bool(found["s3"]["reachable"])
        )
        return {"healthy": well, **found}

    def _require_free(self, component: Component) -> None:
        """Check that the addresses of a component are free.

        Raises:
            ClusterError: An address is taken.
        """
        for address, port in component.ports:
            deadline = time.monotonic() + _PORT_PATIENCE
            while not _free(address, port):
                if time.monotonic() > deadline:
                    owner = subprocess.run(
                        ["ss", "-Hltnp", f"sport = :{port}"], capture_output=True, text=True, check=False
                    ).stdout.strip()
                    raise ClusterError(
                        f"{component.name} needs {address}:{port}, which is in use:\n{owner}\n"
                        "Stop that program (`cluster down` if it is an older cluster's) and try again."
                    )
                time.sleep(0.2)

    def _require_disk(self, *, with_images: bool) -> None:
        """Check that there is enough disk space for what is still to be built.

        Raises:
            ClusterError: There is too little.
        """
        need = 1
        if not (binaries.directory(self.paths) / "versitygw").exists():
            need += DISK_NODE
        if with_images and not images.built(self.paths):
            need += DISK_IMAGES
        for where in (self.paths.cache, self.paths.state):
            where.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(where).free / GIB
            if free < need:
                raise ClusterError(
                    f"{where} has {free:.1f} GiB free, and this needs {need} GiB. Make room, or set "
                    "XDG_CACHE_HOME and COMPTROLLER_CLUSTER_DIR to directories on a larger disk."
                )


def _free(address: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


def require_root() -> None:
    """Check that this process runs as root.

    Raises:
        ClusterError: It does not.
    """
    if os.geteuid() != 0:
        raise ClusterError("A node mounts, makes network links and starts containers: run this as root.")
