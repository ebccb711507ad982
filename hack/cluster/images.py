"""Build the project's images with its Dockerfile and load them into the node.

An image's tag is a hash of all its inputs, so an image that exists is never built again. Its dependencies
are a layer that changes only with the lock file.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import snapshots
from console import Console, Step, run
from containerd import present
from settings import Paths

CODE = {"comptroller-operator": ("crds", "operator"), "comptroller-trainer": ("crds", "trainer")}
"""The images, and the directories of their code."""
COMMON = (
    "Dockerfile",
    ".dockerignore",
    "uv.lock",
    "crds/pyproject.toml",
    "operator/pyproject.toml",
    "trainer/pyproject.toml",
)

SUITE = "bookworm"
BASE_PACKAGES = "python3,python3-venv,ca-certificates"
BASE_RECIPE = (
    "mmdebstrap",
    "--variant=minbase",
    f"--include={BASE_PACKAGES}",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
    SUITE,
)
CERTIFICATES = Path("/etc/ssl/certs")


def references(paths: Paths) -> dict[str, str]:
    """Return the name and tag of each image of these sources."""
    return {name: f"localhost/{name}:{_content(paths, directories)}" for name, directories in CODE.items()}


def _content(paths: Paths, directories: tuple[str, ...]) -> str:
    content = hashlib.sha256(" ".join(BASE_RECIPE).encode())
    files = [paths.project / name for name in COMMON]
    for directory in directories:
        for parent, children, names in os.walk(paths.project / directory):
            children[:] = sorted(
                child for child in children if child != "__pycache__" and not child.startswith(".")
            )
            files += [Path(parent) / name for name in sorted(names) if not name.endswith((".pyc", ".yaml"))]
    for path in files:
        body = path.read_bytes()
        content.update(f"{path.relative_to(paths.project)}\0{len(body)}\0".encode() + body)
    return content.hexdigest()[:12]


def listed(paths: Paths) -> dict[str, str]:
    """Return the images that were loaded into the node last."""
    try:
        found: dict[str, str] = json.loads(paths.image_list.read_text())
    except FileNotFoundError:
        return {}
    return found


def built(paths: Paths) -> bool:
    """Return whether all images of these sources are built."""
    return set(references(paths).values()) <= snapshots.stored(paths)


def build(paths: Paths, console: Console) -> dict[str, str]:
    """Build the images that are missing.

    Returns:
        The reference of each.

    Raises:
        ClusterError: A build failed; with the end of what it printed.
    """
    wanted = references(paths)
    todo = {name: reference for name, reference in wanted.items() if reference not in snapshots.stored(paths)}
    if todo:
        with console.step(f"Images: {', '.join(todo)}") as step:
            base = _base(paths, step)
            for number, (name, reference) in enumerate(todo.items(), 1):
                _build(paths, base, name, reference, step, f"{name} ({number} of {len(todo)})")
    return wanted


def deliver(paths: Paths, console: Console, wanted: dict[str, str]) -> None:
    """Load the images into the node's containerd, and write their references to a file."""
    todo = [reference for reference in wanted.values() if reference not in present(paths)]
    if todo:
        with console.step(f"Images to the node: {', '.join(todo)}"):
            for reference in todo:
                snapshots.hand_over(paths, reference)
    partial = paths.image_list.with_suffix(".partial")
    partial.write_text(json.dumps(wanted, indent=1))
    partial.replace(paths.image_list)


def _base(paths: Paths, step: Step) -> str:
    """Make a Debian with Python for `BASE_IMAGE`, without a registry."""
    tag = hashlib.sha256(" ".join(BASE_RECIPE).encode()).hexdigest()[:12]
    reference = f"localhost/comptroller-base:{tag}"
    if reference in snapshots.stored(paths):
        return reference
    step.note(f"base image: Debian {SUITE} with {BASE_PACKAGES}")
    tree = snapshots.temporary(paths) / "base.tar"
    log = paths.logs / "build-base.log"
    run([*BASE_RECIPE, tree], log=log, on_line=lambda _: step.progress("base image"))
    container = snapshots.buildah(paths, "from", "scratch").split()[-1]
    try:
        snapshots.buildah(paths, "add", "--quiet", container, str(tree), "/")
        snapshots.buildah(paths, "config", "--cmd", "/bin/bash", container)
        snapshots.buildah(paths, "commit", "--quiet", container, reference)
    finally:
        snapshots.buildah(paths, "rm", container)
        tree.unlink()
    return reference


def _build(paths: Paths, base: str, name: str, reference: str, step: Step, title: str) -> None:
    step.note(title)
    settings = snapshots.temporary(paths) / "settings"
    settings.mkdir(exist_ok=True)
    bundle = CERTIFICATES / "ca-certificates.crt"
    (settings / "pip.conf").write_text(f"[global]\ncert = {bundle}\ndisable-pip-version-check = true\n")
    (settings / "uv.toml").write_text("native-tls = true\n")
    mounts = {
        # The machine's certificates: a registry may use a certificate authority of the site.
        CERTIFICATES: "/etc/ssl/certs:ro",
        settings / "pip.conf": "/etc/pip.conf:ro",
        settings / "uv.toml": "/etc/uv/uv.toml:ro",
    }
    _share_downloads(paths)
    last = ""

    def on_line(line: str) -> None:
        nonlocal last
        if " STEP " in line:
            last = line.strip()[:100]
        step.progress(f"{title}: {last}")

    snapshots.buildah(
        paths,
        "bud",
        "--isolation=chroot",
        "--network=host",
        "--layers",
        "--format=oci",
        *(f"--volume={source}:{target}" for source, target in mounts.items()),
        f"--build-arg=BASE_IMAGE={base}",
        f"--target={name.removeprefix('comptroller-')}",
        f"--tag={reference}",
        f"--file={paths.project / 'Dockerfile'}",
        str(paths.project),
        log=paths.logs / f"build-{name}.log",
        on_line=on_line,
    )


def _share_downloads(paths: Paths) -> None:
    """Let the builds use uv's download cache of this machine.

    Several GB of wheels that a developer's environment has are then not downloaded again.
    """
    shared = Path(os.environ.get("UV_CACHE_DIR") or paths.cache.parent / "uv")
    shared.mkdir(parents=True, exist_ok=True)
    link = snapshots.temporary(paths) / "buildah-cache" / "root" / ".cache" / "uv"
    link.parent.mkdir(parents=True, exist_ok=True)
    if link.is_symlink():
        link.unlink()
    elif link.exists():
        shutil.rmtree(link)
    link.symlink_to(shared)
