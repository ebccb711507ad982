"""Load an image from buildah's store into containerd's without copying its layers.

Both keep a layer as a directory in the form that the kernel's overlay file system reads, and neither writes
to it again. So the files of a layer are linked into a new snapshot of containerd, named as containerd names
it after a pull. An image of 6 GB takes seconds this way. Pushed and pulled through a registry it takes
minutes, and its layers are then on the disk four times.

If the two stores are on different file systems, the files are copied.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from console import ClusterError, run
from containerd import archive, ctr, digest, load
from settings import Paths


def store(paths: Paths) -> Path:
    """Buildah's directory of images."""
    return paths.cache / "buildah" / "storage"


def temporary(paths: Paths) -> Path:
    """Buildah's working directory, which takes several GB at times."""
    directory = paths.cache / "buildah" / "tmp"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def buildah(
    paths: Paths, *arguments: str, log: Path | None = None, on_line: Callable[[str], None] | None = None
) -> str:
    """Run buildah on the store of this project."""
    base = ["buildah", f"--root={store(paths)}", f"--runroot={paths.run}-buildah", "--storage-driver=overlay"]
    environment = {**os.environ, "TMPDIR": str(temporary(paths))}
    return run([*base, *arguments], environment=environment, log=log, on_line=on_line)


def _table(paths: Paths, name: str) -> list[dict[str, Any]]:
    """Return a table of buildah's store: `images` or `layers`."""
    path = store(paths) / f"overlay-{name}" / f"{name}.json"
    try:
        found: list[dict[str, Any]] = json.loads(path.read_text())
    except FileNotFoundError:
        return []
    return found


def stored(paths: Paths) -> set[str]:
    """Return the references of the images in buildah's store."""
    return {str(name) for image in _table(paths, "images") for name in image.get("names") or []}


def hand_over(paths: Paths, reference: str) -> None:
    """Load an image of buildah's store into containerd's.

    Raises:
        ClusterError: The image is not in buildah's store, or containerd refused it.
    """
    found = [image for image in _table(paths, "images") if reference in (image.get("names") or [])]
    if not found:
        raise ClusterError(f"{reference} is not built")
    described = json.loads(buildah(paths, "inspect", "--type", "image", reference))
    manifest, config = described["Manifest"].encode(), described["Config"].encode()
    diffs = json.loads(config)["rootfs"]["diff_ids"]
    directories = _layers(paths, str(found[0]["layer"]))
    if len(diffs) != len(directories):
        raise ClusterError(f"{reference} has {len(diffs)} layers, and buildah's store has {len(directories)}")
    parent = ""
    for diff, directory in zip(diffs, directories, strict=True):
        name = chain(parent, diff)
        _snapshot(paths, name, parent, directory)
        parent = name
    load(paths, archive(reference, manifest, [config]))


def derive(paths: Paths, reference: str, derived: str, entrypoint: list[str]) -> None:
    """Add an image that differs from an existing one only in its entrypoint, for fault tests."""
    hand_over(paths, reference)  # its layers may have been garbage-collected since
    described = json.loads(buildah(paths, "inspect", "--type", "image", reference))
    config, manifest = json.loads(described["Config"]), json.loads(described["Manifest"])
    config["config"] |= {"Entrypoint": entrypoint, "Cmd": []}
    body = json.dumps(config).encode()
    manifest["config"] |= {"digest": digest(body), "size": len(body)}
    load(paths, archive(derived, json.dumps(manifest).encode(), [body]))


def chain(parent: str, diff: str) -> str:
    """Return the OCI image specification's ChainID of a layer and the layers below it."""
    return f"sha256:{hashlib.sha256(f'{parent} {diff}'.encode()).hexdigest()}" if parent else diff


def _layers(paths: Paths, top: str) -> list[Path]:
    """Return the directories of an image's layers, the lowest first."""
    layers = {str(layer["id"]): layer for layer in _table(paths, "layers")}
    found = []
    while top:
        found.append(store(paths) / "overlay" / top / "diff")
        top = str(layers[top].get("parent") or "")
    return found[::-1]


def _snapshot(paths: Paths, name: str, parent: str, directory: Path) -> None:
    """Make a layer's directory a committed snapshot."""
    known = {line.split()[0] for line in ctr(paths, "snapshots", "list").splitlines() if line.strip()}
    if name in known:
        return
    key = f"comptroller-{name}"
    if key in known:
        ctr(paths, "snapshots", "remove", key)
    ctr(paths, "snapshots", "prepare", key, *([parent] if parent else []))
    target = _writable(ctr(paths, "snapshots", "mounts", "/target", key))
    linked = subprocess.run(["cp", "-al", f"{directory}/.", target], capture_output=True, check=False)
    if linked.returncode != 0:
        run(["cp", "-a", "--remove-destination", f"{directory}/.", target])
    ctr(paths, "snapshots", "commit", name, key)


def _writable(mount: str) -> str:
    """Return the directory for a snapshot's files, from the command that would mount it."""
    for option in mount.replace(",", " ").split():
        if option.startswith("upperdir="):
            return option.removeprefix("upperdir=")
    # The lowest layer has no layer below it, and is mounted by itself.
    words = mount.split()
    return words[words.index("bind") + 1]
