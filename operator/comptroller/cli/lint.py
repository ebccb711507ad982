"""`comptroller lint`: what the API server and the trainer would say of manifests, without either."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from comptroller.admission import Manifest, ManifestError, admit, concerns, parse, read
from comptroller.cli.console import DONE, REFUSED, Form, Output, print_json
from comptroller.cli.trainers import Described, described, said
from comptroller_api.trainer import Trainer

_SUFFIXES = {".yaml", ".yml", ".json"}


@dataclass(frozen=True)
class Finding:
    """One manifest, and each reason to refuse it."""

    source: str
    line: int
    kind: str
    name: str
    errors: tuple[str, ...]
    notes: tuple[str, ...] = ()


def lint(
    files: Annotated[
        list[Path],
        typer.Argument(help="Manifests, or directories of them; - is standard input.", metavar="FILE…"),
    ],
    trainer: Described = None,
    output: Output = Form.TABLE,
) -> None:
    """Validate manifests as the API server would, and studies' parameters as the trainer would.

    Objects of other APIs in the same files are passed over. Exits 1 where something is refused.
    """
    known = described(trainer)
    findings: list[Finding] = []
    for path in _expand(files):
        try:
            found = parse(sys.stdin.read()) if str(path) == "-" else read(path)
        except OSError as error:
            raise typer.BadParameter(f"{path}: {error.strerror}") from error
        except ManifestError as error:
            findings.append(Finding(str(path), 1, "", "", (str(error),)))
            continue
        findings += [
            _check(manifest, known, assumed=trainer is None)
            for manifest in found
            if concerns(manifest.content)
        ]
    if output is Form.JSON:
        print_json([vars(finding) for finding in findings])
    else:
        typer.echo("\n".join(_lines(findings)))
    raise typer.Exit(REFUSED if any(finding.errors for finding in findings) else DONE)


def _expand(paths: list[Path]) -> list[Path]:
    """Directories as the manifests in them."""
    out = []
    for path in paths:
        inside = sorted(p for p in path.rglob("*") if p.suffix in _SUFFIXES) if path.is_dir() else [path]
        out += inside
    return out


def _check(manifest: Manifest, trainer: Trainer | None, *, assumed: bool) -> Finding:
    verdict = admit(manifest.content)
    its = said(verdict.object, trainer, assumed=assumed)
    errors = tuple(map(str, verdict.refusals + its.refusals))
    return Finding(manifest.source, manifest.line, manifest.kind, manifest.name, errors, its.notes)


def _lines(findings: list[Finding]) -> list[str]:
    lines = []
    for finding in findings:
        where = f"{finding.source}:{finding.line}: {finding.kind} {finding.name}: " if finding.kind else ""
        lines += [where + error for error in finding.errors]
        lines += [f"{where}note: {note}" for note in finding.notes]
    refused = sum(bool(finding.errors) for finding in findings)
    return [*lines, f"{len(findings)} checked, {refused} refused"]
