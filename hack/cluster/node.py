"""The kernel objects of the cluster: control groups, bridge, packet rules, mounts."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from console import ClusterError, run
from settings import BRIDGE, CGROUP, MARK, NODE_ADDRESS, POD_RANGE, SERVICE_RANGE, Paths

CGROUPS = Path("/sys/fs/cgroup")
KUBELET_CHAIN = re.compile(r"\bKUBE-(FIREWALL|KUBELET-CANARY|IPTABLES-HINT)\b")
SETTINGS = {
    "net/ipv4/ip_forward": "1",
    # Replies of pods to pods through a service's address must pass the packet rules.
    "net/bridge/bridge-nf-call-iptables": "1",
    "fs/inotify/max_user_instances": "8192",
}


def _hierarchies() -> list[Path]:
    """Return the roots of the control group trees: one with cgroup v2, one per controller with v1."""
    if (CGROUPS / "cgroup.controllers").exists():
        return [CGROUPS]
    found = [path for path in sorted(CGROUPS.iterdir()) if not path.is_symlink()]
    return [path for path in found if (path / "cgroup.procs").exists()]


def _groups() -> list[Path]:
    return [hierarchy / CGROUP for hierarchy in _hierarchies()]


FIRST = {"cpu.shares": "8192", "cpu.weight": "800"}
"""Eight times the usual share of the cores, in control groups of version 1 and 2.

Leases end by the clock, even when the machine is busy with other work.
"""


def make_groups() -> list[Path]:
    """Make the cluster's control groups and return those for its own programs."""
    if not CGROUPS.is_dir() or not _hierarchies():
        raise ClusterError(f"No control groups at {CGROUPS}: Kubernetes cannot run here.")
    programs = []
    for group in _groups():
        group.mkdir(exist_ok=True)
        if group.parent == CGROUPS:
            for parent in (CGROUPS, group):
                wanted = (parent / "cgroup.controllers").read_text().split()
                (parent / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in wanted))
        # A cpuset without cores and memory accepts no process.
        for name in ("cpuset.cpus", "cpuset.mems"):
            if (group / name).exists() and not (group / name).read_text().strip():
                (group / name).write_text((group.parent / name).read_text())
        _put_first(group)
        own = group / "system"
        own.mkdir(exist_ok=True)
        for name in ("cpuset.cpus", "cpuset.mems"):
            if (own / name).exists() and not (own / name).read_text().strip():
                (own / name).write_text((group / name).read_text())
        programs.append(own)
    return programs


def _put_first(group: Path) -> None:
    for name, share in FIRST.items():
        if (group / name).exists():
            (group / name).write_text(share)


def members() -> set[int]:
    """Return the ids of all processes in the cluster's control groups."""
    found: set[int] = set()
    for group in _groups():
        for listing in group.rglob("cgroup.procs"):
            try:
                found.update(map(int, listing.read_text().split()))
            except OSError:
                continue
    return found - {os.getpid()}


def remove_groups(seconds: float = 20.0) -> None:
    """Kill all processes in the cluster's control groups, then remove the groups."""
    deadline = time.monotonic() + seconds
    while left := members():
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if time.monotonic() > deadline:
            raise ClusterError(f"Processes that do not die: {sorted(left)}. Only a reboot ends them.")
        time.sleep(0.1)
    for group in _groups():
        # Depth first: a group with children cannot be removed.
        for path, _, _ in os.walk(group, topdown=False):
            try:
                Path(path).rmdir()
            except OSError:
                continue


def set_up_network() -> None:
    """Set up the bridge with the node's address, forwarding, and the route out for pods."""
    if shutil.which("modprobe"):  # a kernel without modules has everything built in
        for module in ("br_netfilter", "overlay"):
            subprocess.run(["modprobe", module], capture_output=True, check=False)
    for name, value in SETTINGS.items():
        setting = Path("/proc/sys") / name
        if setting.exists() and int(setting.read_text()) < int(value):
            setting.write_text(value)
    if not has_bridge():
        run(["ip", "link", "add", BRIDGE, "type", "bridge"])
    if f" {NODE_ADDRESS}/" not in run(["ip", "-o", "address", "show", "dev", BRIDGE]):
        run(["ip", "address", "add", f"{NODE_ADDRESS}/{POD_RANGE.rpartition('/')[2]}", "dev", BRIDGE])
    run(["ip", "link", "set", BRIDGE, "up"])
    # Packets that no service rule matches must not leave this machine by the default route.
    run(["ip", "route", "replace", SERVICE_RANGE, "dev", BRIDGE, "src", NODE_ADDRESS])
    for rule in _rules():
        table, chain, *match = rule
        base = ["iptables", "-w", "-t", table]
        if subprocess.run([*base, "-C", chain, *match], capture_output=True, check=False).returncode != 0:
            run([*base, "-I", chain, *match])


def _rules() -> list[list[str]]:
    mark = ["-m", "comment", "--comment", MARK]
    return [
        ["nat", "POSTROUTING", "-s", POD_RANGE, "!", "-d", POD_RANGE, *mark, "-j", "MASQUERADE"],
        ["filter", "FORWARD", "-s", POD_RANGE, *mark, "-j", "ACCEPT"],
        ["filter", "FORWARD", "-d", POD_RANGE, *mark, "-j", "ACCEPT"],
    ]


def remove_network(paths: Paths) -> None:
    """Remove the packet rules, including kube-proxy's, and the bridge with its interfaces."""
    if shutil.which("iptables"):
        for table, chain, *match in _rules():
            delete = ["iptables", "-w", "-t", table, "-D", chain, *match]
            while subprocess.run(delete, capture_output=True, check=False).returncode == 0:
                pass
    proxy = paths.programs / "kube-proxy"
    if proxy.exists():
        subprocess.run([proxy, "--cleanup"], capture_output=True, check=False, timeout=60)
    _remove_kubelet_rules()
    if has_bridge():
        for line in run(["ip", "-o", "link", "show", "master", BRIDGE]).splitlines():
            port = line.split()[1].partition("@")[0].rstrip(":")
            subprocess.run(["ip", "link", "delete", port], capture_output=True, check=False)
        run(["ip", "link", "delete", BRIDGE])


def _remove_kubelet_rules() -> None:
    """Remove the chains that a kubelet makes and never removes."""
    for command in ("iptables", "ip6tables"):
        if shutil.which(command) is None:
            continue
        base = [command, "-w", "-t"]
        for table in ("filter", "nat", "mangle"):
            listed = subprocess.run([*base, table, "-S"], capture_output=True, text=True, check=False).stdout
            kept = [line.split() for line in listed.splitlines() if KUBELET_CHAIN.search(line)]
            # First the rules that jump to the chains, then their content, then the chains.
            for rule in (words for words in kept if words[0] == "-A" and not KUBELET_CHAIN.match(words[1])):
                subprocess.run([*base, table, "-D", *rule[1:]], capture_output=True, check=False)
            chains = [words[1] for words in kept if words[0] == "-N"]
            for action in ("-F", "-X"):
                for chain in chains:
                    subprocess.run([*base, table, action, chain], capture_output=True, check=False)


def has_bridge() -> bool:
    """Return whether the node's bridge exists."""
    return any(name == BRIDGE for _, name in socket.if_nameindex())


def mounts(paths: Paths) -> list[str]:
    """Return the mounts below the cluster's directories, innermost first."""
    roots = (f"{paths.state}/", f"{paths.run}/")
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    decoded = [re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), point) for point in points]
    return [point for point in reversed(decoded) if point.startswith(roots)]


def unmount(paths: Paths) -> None:
    """Unmount all of them."""
    for point in mounts(paths):
        subprocess.run(["umount", "--lazy", point], capture_output=True, check=False)
    if left := mounts(paths):
        raise ClusterError(f"Could not unmount {left[0]} and {len(left) - 1} more")
