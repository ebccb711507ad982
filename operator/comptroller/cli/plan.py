"""`comptroller plan`: what a study would cost, before it costs anything."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from comptroller.admission import ManifestError, admit, concerns, read
from comptroller.cli.console import DONE, REFUSED, Form, Output, print_json, refuse
from comptroller.cli.planned import Planned, as_json, print_tables, to_markdown
from comptroller.cli.trainers import Described, assess, described
from comptroller.ledger.books import Books
from comptroller.plan import accounts
from comptroller.plan.leases import hedged
from comptroller.plan.membership import covering
from comptroller.plan.verdict import declared as declared_verdict
from comptroller.pricing import PriceBook, Quote, Unpriced
from comptroller.pricing.forecast import OF_STUDY, Case, Durations, Forecast, Limit
from comptroller.pricing.offline import declared
from comptroller.pricing.scenario import Scenario
from comptroller.world import World
from comptroller_api import quantity
from comptroller_api.budget import Budget
from comptroller_api.crd import Object
from comptroller_api.money import to_amount
from comptroller_api.pricelist import PriceList
from comptroller_api.study import Study

O = TypeVar("O", Study, Budget, PriceList)  # noqa: E741 - an object


def _epoch(text: str) -> Durations:
    """Return the durations that `20` or `20-60` seconds stand for."""
    low, _, high = text.partition("-")
    try:
        shortest, longest = (int(Decimal(part) * 1000) for part in (low, high or low))
    except (InvalidOperation, OverflowError, ValueError) as error:
        raise typer.BadParameter(f"{text!r} is not seconds such as 30, or 20-60") from error
    if not 0 < shortest <= longest:
        raise typer.BadParameter(f"{text!r} must be more than zero, the less before the more")
    return Durations(shortest, longest)


def _scenario(text: str) -> Scenario:
    try:
        return Scenario.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def plan(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Studies, and PriceLists and Budgets next to them; - is standard input.", metavar="FILE…"
        ),
    ],
    prices: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="PriceLists, where FILE… holds none.")
    ] = None,
    budgets: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="Budgets, where FILE… holds none.")
    ] = None,
    seconds_per_epoch: Annotated[
        Durations | None,
        typer.Option(
            metavar="SECONDS",
            parser=_epoch,
            help="How long an epoch takes on the study's resources: 30, or a range such as 20-60. Measure it:"
            " without it, only the worst case is known.",
        ),
    ] = None,
    seconds_per_attempt: Annotated[
        int,
        typer.Option(
            metavar="SECONDS", min=0, help="Time of an attempt besides its epochs: image, data, export."
        ),
    ] = 0,
    scenario: Annotated[
        list[Scenario] | None,
        typer.Option(
            metavar="CHANGE",
            parser=_scenario,
            help="What if: gpu+30%, cpu-10%, memory+5%, spot+20%, ondemand+5%, price+10%, duration+50%, or"
            " several with commas. May be repeated.",
        ),
    ] = None,
    trainer: Described = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown, for a review.")] = False,
    output: Output = Form.TABLE,
) -> None:
    """Print what a study would cost: worst case, expected, trials that fit. Needs no cluster.

    Exits 1 where a manifest is refused, or where a study could not run one trial.
    """
    admitted = list(_objects([*files, *(prices or []), *(budgets or [])], trainer))
    objects = [one for one, _ in admitted]
    if not _of(Study, objects):
        raise typer.BadParameter(f"no Study in {', '.join(map(str, files))}")
    durations = seconds_per_epoch and replace(seconds_per_epoch, attempt=seconds_per_attempt)
    now = int(time.time())
    found = [
        _planned(one, objects, durations, scenario or [], now, notes)
        for one, notes in admitted
        if isinstance(one, Study)
    ]
    if output is Form.JSON:
        print_json([as_json(one) for one in found])
    elif markdown:
        typer.echo("\n".join(to_markdown(one) for one in found))
    else:
        for one in found:
            print_tables(one)
    raise typer.Exit(DONE if all(one.fits for one in found) else REFUSED)


def _objects(paths: Sequence[Path], trainer: str | None) -> Iterator[tuple[Object, tuple[str, ...]]]:
    """Yield the objects of all files, as the API server would store them, with notes; a refusal exits."""
    known = described(trainer)
    for path in dict.fromkeys(paths):
        try:
            found = read(path)
        except OSError as error:
            raise typer.BadParameter(f"{path}: {error.strerror}") from error
        except ManifestError as error:
            refuse(str(error))
        refused = []
        for manifest in found:
            if concerns(manifest.content):
                verdict = admit(manifest.content)
                where = f"{manifest.source}:{manifest.line}: {manifest.kind} {manifest.name}"
                its = assess(verdict.object, known, assumed=trainer is None)
                refused += [f"{where}: {refusal}" for refusal in verdict.refusals + its.refusals]
                if verdict.object is not None:
                    yield verdict.object, its.notes
        if refused:
            refuse("\n".join(refused))


def _of(kind: type[O], objects: Iterable[Object]) -> list[O]:
    return [one for one in objects if isinstance(one, kind)]


def _planned(
    study: Study,
    objects: Sequence[Object],
    durations: Durations | None,
    scenarios: Sequence[Scenario],
    now: int,
    noted: Sequence[str],
) -> Planned:
    meta = study.metadata.model_copy(update={"creation_timestamp": _stamp(now), "uid": "planned"})
    study = study.model_copy(update={"metadata": meta})
    budgets = tuple(b for b in _of(Budget, objects) if b.metadata.namespace == meta.namespace)
    world = World(now, meta.namespace, Books(), studies=(study,), budgets=budgets)
    notes = list(noted)
    book = PriceBook([_declared(one, now, notes) for one in _of(PriceList, objects)], now)
    quote, firm = hedged(study, book)
    runtime = study.spec.runtime
    if isinstance(quote, Quote) and quote.capacity != runtime.capacity:
        notes.append(f"spot costs over {runtime.hedge}% of on-demand: its hedge goes on-demand")
    verdict = declared_verdict(world, study, quote, covering(world, study))
    if verdict.state == "Suspended" or verdict.reason == "ApprovalRequired":
        notes.append(f"{verdict.reason}: {verdict.message}")
    elif verdict.state != "Active":
        return Planned(study, refusal=f"{verdict.reason}: {verdict.message}")
    if isinstance(quote, Unpriced):  # which the verdict may not have come to
        return Planned(study, refusal=f"{quote.reason}: {quote.message}")
    case = Case(study, quote, tuple(_limits(world, study)), durations, firm)
    found = case.forecast()
    wall_clock = study.spec.ceilings.wall_clock
    if wall_clock and found.seconds and found.seconds > quantity.seconds(wall_clock):
        notes.append(f"ceilings.wallClock {wall_clock} ends it earlier than it is expected to end")
    return Planned(
        study,
        quote=quote,
        durations=durations,
        forecast=found,
        refusal=found.refusal,
        scenarios=tuple((one.text, _under(one, case)) for one in scenarios),
        notes=tuple(notes),
    )


def _declared(prices: PriceList, now: int, notes: list[str]) -> PriceList:
    if prices.spec.source != "Static":
        notes.append(
            f"PriceList {prices.metadata.name} takes its prices from {prices.spec.source}, which plan does"
            " not ask: the prices that it declares are used and, where it declares none, its cap, which is"
            " the worst case"
        )
    return declared(prices, now)


def _limits(world: World, study: Study) -> Iterator[Limit]:
    """Yield every ceiling over the study. A budget's is for one period, before anything is spent."""
    for options in accounts.purses(world, study):
        account = options[-1].account
        budget = account.budget
        name = OF_STUDY if budget is None else f"Budget {budget}"
        name += " (capPerStudy)" if account.kind == "Cap" else ""
        yield Limit(name, sum(purse.amount for purse in options))


def _under(scenario: Scenario, case: Case) -> Forecast | str:
    """Return the forecast of a case under a scenario, or the reason why nothing would be launched."""
    changed = scenario.of(case)
    if over := changed.quote.rates.over(changed.quote.cap):
        rate, price, cap = over[0]
        return f"{rate} {to_amount(price)} is above its cap {to_amount(cap)}: nothing is launched"
    return changed.forecast()


def _stamp(unix: int) -> str:
    return f"{datetime.fromtimestamp(unix, UTC):%Y-%m-%dT%H:%M:%SZ}"
