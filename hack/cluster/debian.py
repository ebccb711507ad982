"""The Debian packages that the cluster needs."""

from __future__ import annotations

import shutil
import subprocess

from console import ClusterError, Console, run

NODE_PACKAGES = (
    "containerd",  # runs the pods
    "runc",  # starts their containers
    "containernetworking-plugins",  # gives them addresses
    "iptables",  # kube-proxy's rules
    "conntrack",  # kube-proxy's clean-up
    "iproute2",  # the bridge
    "openssl",  # certificates
    "mount",  # kubelet's volumes
)
IMAGE_PACKAGES = (
    "buildah",  # builds the images from the Dockerfile
    "mmdebstrap",  # makes the base image
)


def missing(packages: tuple[str, ...]) -> list[str]:
    """Return those of `packages` that are not installed."""
    if shutil.which("dpkg-query") is None:
        raise ClusterError("This needs Debian or Ubuntu (dpkg): it installs containerd, buildah and others.")
    found = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *packages],
        capture_output=True,
        text=True,
        check=False,
    )
    installed = {line.split()[0] for line in found.stdout.splitlines() if line.endswith(" installed")}
    return [package for package in packages if package not in installed]


def install(packages: tuple[str, ...], console: Console) -> None:
    """Install those of `packages` that are missing.

    Raises:
        ClusterError: A package could not be installed.
    """
    wanted = missing(packages)
    if not wanted:
        return
    with console.step(f"Debian packages: {' '.join(wanted)}"):
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive"}
        apt = ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=300"]
        try:
            # An outdated list may still have the package; the installation shows whether it does.
            subprocess.run([*apt, "update"], capture_output=True, check=False, env=environment)
            run([*apt, "install", "-y", "--no-install-recommends", *wanted], environment=environment)
        except ClusterError as error:
            raise ClusterError(
                f"Could not install {', '.join(wanted)}. Check that `apt-get update` and "
                f"`apt-get install {' '.join(wanted)}` work, then run this again.\n{error}"
            ) from None
