"""`comptroller lint`: what the API server, the trainer and the launcher would refuse, without any of them."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from comptroller.admission import Manifest, ManifestError, admit, concerns, read
from comptroller.cli.console import DONE, REFUSED, Form, Output, print_json, printable, refuse
from comptroller.cli.trainers import Described, assess, described
from comptroller.plan.leases import hedged
from comptroller.pricing import PriceBook, Unpriced
from comptroller.pricing.forecast import Case, Limit
from comptroller.pricing.offline import declared
from comptroller_api.crd import KINDS, Object
from comptroller_api.meta import API_VERSION
from comptroller_api.pricelist import PriceList
from comptroller_api.study import Study
from comptroller_api.trainer import Trainer

_REFUSED = {"NoPrice", "AmbiguousNodes"}
"""Reasons that depend neither on the day nor on which of the files are applied together."""
_KINDS = [kind.name for kind in KINDS]
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
    skipped: str = ""
    """The reason why the manifest was not checked; empty if it was."""

    def __str__(self) -> str:
        return f"{self.source}:{self.line}: {self.kind} {self.name}".rstrip() if self.kind else ""


_Checked: TypeAlias = tuple[Finding, Object | None]


def lint(
    files: Annotated[
        list[Path],
        typer.Argument(help="Manifests, or directories of them; - is standard input.", metavar="FILE…"),
    ],
    trainer: Described = None,
    output: Output = Form.TABLE,
) -> None:
    """Validate manifests as the API server would, and studies' parameters as the trainer would.

    Where a PriceList among them prices a study's node class, it must price all that the study requests, and
    the study's ceiling must pay for one lease.
    Objects of other APIs in the same files are named and skipped. Exits 1 where something is refused, or
    where nothing was checked.
    """
    known = described(trainer)
    checked: list[_Checked] = []
    for path in _expand(files):
        try:
            found = read(path)
        except OSError as error:
            raise typer.BadParameter(f"{path}: {error.strerror}") from error
        except ManifestError as error:
            checked.append((Finding(str(path), 1, "", "", (str(error),)), None))
            continue
        checked += [
            _check(manifest, known, assumed=trainer is None)
            if concerns(manifest.content)
            else (_skipped(manifest), None)
            for manifest in found
        ]
    findings = list(_priced(checked, int(time.time())))
    if output is Form.JSON:
        print_json([vars(finding) for finding in findings])
    else:
        typer.echo(printable("\n".join(_lines(findings))))
    if all(finding.skipped for finding in findings):
        where = ", ".join(map(str, files))
        refuse(f"nothing was checked: {where} has no object of {API_VERSION} ({', '.join(_KINDS)})")
    raise typer.Exit(REFUSED if any(finding.errors for finding in findings) else DONE)


def _expand(paths: list[Path]) -> list[Path]:
    """Return `files` with each directory replaced by the manifests in it."""
    out = []
    for path in paths:
        inside = sorted(p for p in path.rglob("*") if p.suffix in _SUFFIXES) if path.is_dir() else [path]
        out += inside
    return out


def _skipped(manifest: Manifest) -> Finding:
    why = f"skipped, since {manifest.api_version} is another API"
    return Finding(manifest.source, manifest.line, manifest.kind or "object", manifest.name, (), skipped=why)


def _check(manifest: Manifest, trainer: Trainer | None, *, assumed: bool) -> _Checked:
    verdict = admit(manifest.content)
    its = assess(verdict.object, trainer, assumed=assumed)
    errors = tuple(map(str, verdict.refusals + its.refusals))
    found = Finding(manifest.source, manifest.line, manifest.kind, manifest.name, errors, its.notes)
    return found, verdict.object


def _priced(checked: Iterable[_Checked], now: int) -> Iterator[Finding]:
    """Add to each study what the price lists among the manifests do not price, or its ceiling not pay for."""
    checked = list(checked)
    # Several lists of one name: the last one stays when all files are applied.
    named = {one.metadata.name: declared(one, now) for _, one in checked if isinstance(one, PriceList)}
    lists = list(named.values())
    book = PriceBook(lists, now)
    for finding, one in checked:
        error = (_unpriced(one, lists, book) or _unpaid(one, book)) if isinstance(one, Study) else None
        yield replace(finding, errors=(*finding.errors, error)) if error else finding


def _unpriced(study: Study, lists: list[PriceList], book: PriceBook) -> str | None:
    """Return what keeps the study's pods from having a price; `None` where its class is priced elsewhere."""
    runtime, currency = study.spec.runtime, study.spec.ceilings.spend.currency
    named = any(
        prices.spec.currency == currency and one.name == runtime.node_class
        for prices in lists
        for one in prices.spec.node_classes
    )
    quote = book.quote(runtime.node_class, runtime.capacity, currency, runtime.resources)
    if named and isinstance(quote, Unpriced) and quote.reason in _REFUSED:
        return f"spec.runtime.resources: {quote.reason}: {quote.message}"
    return None


def _unpaid(study: Study, book: PriceBook) -> str | None:
    """Return why the study's ceiling does not pay for one lease; `None` if it does, or nothing has a price.

    Budgets are not counted: which of them cover the study depends on what is applied together.
    """
    quote, firm = hedged(study, book)
    if isinstance(quote, Unpriced):
        return None
    why = Case(study, quote, (Limit.of_study(study),), firm=firm).refusal()
    return (
        f"spec.ceilings.spend.amount: {why}: raise it, request less or shorten spec.runtime.lease"
        if why
        else None
    )


def _lines(findings: list[Finding]) -> list[str]:
    lines = []
    for finding in findings:
        where = f"{finding}: " if finding.kind else ""
        lines += [where + error for error in finding.errors]
        lines += [f"{where}note: {note}" for note in finding.notes]
        lines += [where + finding.skipped] if finding.skipped else []
    refused = sum(bool(finding.errors) for finding in findings)
    skipped = sum(bool(finding.skipped) for finding in findings)
    counts = f"{len(findings) - skipped} checked, {refused} refused"
    return [*lines, f"{counts}, {skipped} skipped" if skipped else counts]
