"""The node's image store: its content, and how images are loaded."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

from console import ClusterError, run
from settings import Paths

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"


def ctr(paths: Paths, *arguments: str, stdin: str | None = None) -> str:
    """Run containerd's own client in the namespace that the kubelet uses."""
    return run(["ctr", "--address", str(paths.socket), "--namespace", "k8s.io", *arguments], stdin=stdin)


def present(paths: Paths) -> set[str]:
    """Return the references of the images that the node has."""
    return set(ctr(paths, "images", "list", "-q").split())


def digest(content: bytes) -> str:
    """Return the platform in OCI's notation."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def archive(reference: str, manifest: bytes, blobs: list[bytes]) -> bytes:
    """Return an OCI archive of one image.

    Args:
        reference: The name of the image.
        manifest: Its manifest.
        blobs: The blobs that the manifest refers to, all or some.
    """
    index = {
        "schemaVersion": 2,
        "manifests": [
            {
                "mediaType": MANIFEST,
                "digest": digest(manifest),
                "size": len(manifest),
                "annotations": {"io.containerd.image.name": reference},
            }
        ],
    }
    files = {f"blobs/sha256/{digest(blob).partition(':')[2]}": blob for blob in (*blobs, manifest)}
    files["oci-layout"] = b'{"imageLayoutVersion": "1.0.0"}'
    files["index.json"] = json.dumps(index).encode()
    return _tar({name: (content, 0o644) for name, content in files.items()})


def load(paths: Paths, content: bytes) -> None:
    """Load the image of an OCI archive into the store and unpack it."""
    command = ["ctr", "--address", str(paths.socket), "--namespace", "k8s.io", "images", "import", "-"]
    done = subprocess.run(command, input=content, capture_output=True, check=False)
    if done.returncode != 0:
        raise ClusterError(f"containerd refused an image:\n{done.stderr.decode(errors='replace')}")


@dataclass(frozen=True)
class StaticImage:
    """An image with one program that needs nothing else."""

    name: str
    program: Path
    user: str = "65532:65532"

    @property
    def reference(self) -> str:
        """Return its name, with a tag that identifies the program's build."""
        tag = hashlib.sha256(f"{self.program.resolve()} {self.user}".encode()).hexdigest()[:12]
        return f"localhost/{self.name}:{tag}"

    def ensure(self, paths: Paths) -> None:
        """Load the image into the node's store unless it is there."""
        if self.reference not in present(paths):
            load(paths, self._archive())

    def _archive(self) -> bytes:
        layer = _tar({self.program.name: (self.program.read_bytes(), 0o755)})
        config = json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "config": {"Entrypoint": [f"/{self.program.name}"], "User": self.user},
                "rootfs": {"type": "layers", "diff_ids": [digest(layer)]},
            }
        ).encode()
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": {"mediaType": CONFIG, "digest": digest(config), "size": len(config)},
                "layers": [{"mediaType": LAYER, "digest": digest(layer), "size": len(layer)}],
            }
        ).encode()
        return archive(self.reference, manifest, [layer, config])


def _tar(files: dict[str, tuple[bytes, int]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, (content, mode) in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            entry.mode = mode
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
