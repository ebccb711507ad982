"""A plan as tables, as Markdown and as JSON. No money is computed here."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import typer
from rich import box
from rich.table import Table

from comptroller.cli.console import console
from comptroller.pricing import Quote
from comptroller.pricing.forecast import DRAWS, Durations, Forecast
from comptroller_api.money import to_amount
from comptroller_api.study import Study


@dataclass(frozen=True, slots=True)
class Planned:
    """The plan of one study."""

    study: Study
    quote: Quote | None = None
    durations: Durations | None = None
    forecast: Forecast | None = None
    refusal: str = ""
    scenarios: tuple[tuple[str, Forecast | str], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        """True if at least one trial can be run and paid for."""
        return not self.refusal and self.forecast is not None and self.forecast.fit_expected != 0


STAGES = ("PHASE", "RUNG", "EPOCHS", "TRIALS", "EXPECTED", "WORST TRIALS", "WORST")
SCENARIOS = ("SCENARIO", "EXPECTED", "TRIALS THAT FIT", "ALL FIT", "")
_UNKNOWN = "unknown"


def print_tables(one: Planned) -> None:
    """Print the plan as tables for people."""
    typer.echo(f"study {one.study.metadata.name}")
    if one.forecast is None:
        typer.echo(f"  refused: {one.refusal}")
        return
    out = console()
    out.print(_table(("", ""), _summary(one, one.forecast)))
    out.print(_table(STAGES, _stages(one.forecast)))
    if one.scenarios:
        out.print(_table(SCENARIOS, _scenarios(one)))
    for note in _notes(one, one.forecast):
        out.print(f"- {note}")
    if one.refusal:
        typer.echo(f"  refused: {one.refusal}")


def to_markdown(one: Planned) -> str:
    """Return the plan as Markdown for a review comment."""
    title = f"### Plan of study `{one.study.metadata.name}`\n"
    if one.forecast is None:
        return f"{title}\n**Refused**: {one.refusal}\n"
    parts = [title, f"**Refused**: {one.refusal}\n" if one.refusal else ""]
    parts.append(_markdown(("", ""), _summary(one, one.forecast)))
    parts.append(_markdown(STAGES, _stages(one.forecast)))
    if one.scenarios:
        parts.append(_markdown(SCENARIOS, _scenarios(one)))
    parts.append("\n".join(f"- {note}" for note in _notes(one, one.forecast)) + "\n")
    return "\n".join(part for part in parts if part)


def as_json(one: Planned) -> dict[str, Any]:
    """Return the plan for programs: money as decimal strings, unknown values as null."""
    found: dict[str, Any] = {
        "study": one.study.metadata.name,
        "namespace": one.study.metadata.namespace,
        "fits": one.fits,
        "refusal": one.refusal or None,
        "notes": list(_notes(one, one.forecast)) if one.forecast else list(one.notes),
    }
    if one.forecast is None:
        return found
    return found | {
        "forecast": _json(one.forecast),
        "stages": [
            {
                "phase": stage.phase,
                "rung": stage.rung,
                "epochs": stage.epochs,
                "trials": stage.attempts,
                "expected": _amount(stage.expected),
                "worstTrials": stage.attempts_worst,
                "worst": to_amount(stage.worst),
            }
            for stage in one.forecast.stages
        ],
        "scenarios": [
            {"scenario": text, "refusal": under}
            if isinstance(under, str)
            else {"scenario": text, "refusal": under.refusal or None, **_json(under)}
            for text, under in one.scenarios
        ],
    }


def _json(found: Forecast) -> dict[str, Any]:
    return {
        "currency": found.currency,
        "limit": {"name": found.limit.name, "amount": to_amount(found.limit.amount)},
        "trials": found.trials,
        "worst": to_amount(min(found.worst, found.limit.amount)),
        "worstWithoutLimit": to_amount(found.worst),
        "expected": _amount(found.expected),
        "trialsThatFit": found.fit_expected,
        "trialsThatFitAtWorst": found.fit_worst,
        "percentThatAllFit": found.chance,
        "heldAtOnce": to_amount(found.hold),
        "seconds": found.seconds,
    }


def _amount(micro: int | None) -> str | None:
    return None if micro is None else to_amount(micro)


def _money(micro: int | None, currency: str = "") -> str:
    return _UNKNOWN if micro is None else f"{to_amount(micro)} {currency}".strip()


def _summary(one: Planned, found: Forecast) -> Iterator[tuple[str, str]]:
    currency, limit = found.currency, found.limit
    runtime, search = one.study.spec.runtime, one.study.spec.search
    capacity = one.quote.capacity if one.quote else runtime.capacity
    yield "runs", f"{found.trials} trials, {search.parallel} at once, on {runtime.node_class} ({capacity})"
    yield "most it can spend", f"{_money(limit.amount, currency)}: {limit.name}"
    worst = _money(min(found.worst, limit.amount), currency)
    stopped = f"; {_money(found.worst)} were there no limit" if found.worst > limit.amount else ""
    yield "worst case", worst + stopped
    yield "expected", _money(found.expected, currency)
    expected = _UNKNOWN if found.fit_expected is None else str(found.fit_expected)
    yield "trials that fit", f"{expected} of {found.trials}; in the worst case {found.fit_worst}"
    yield "all of them fit", _UNKNOWN if found.chance is None else f"with a probability of {found.chance}%"
    yield "held at once", _money(found.hold, currency)
    yield "time", _UNKNOWN if found.seconds is None else _time(found.seconds)


def _stages(found: Forecast) -> Iterator[tuple[str, ...]]:
    for stage in found.stages:
        numbers = (stage.rung, stage.epochs, stage.attempts if found.expected is not None else "")
        yield (
            stage.phase,
            *map(str, numbers),
            _money(stage.expected),
            str(stage.attempts_worst),
            to_amount(stage.worst),
        )


def _scenarios(one: Planned) -> Iterator[tuple[str, ...]]:
    for text, under in one.scenarios:
        if isinstance(under, str):
            yield text, "", "", "", under
        else:
            fit = _UNKNOWN if under.fit_expected is None else f"{under.fit_expected} of {under.trials}"
            chance = _UNKNOWN if under.chance is None else f"{under.chance}%"
            yield text, _money(under.expected, under.currency), fit, chance, under.refusal


def _notes(one: Planned, found: Forecast) -> Iterator[str]:
    yield from one.notes
    yield (
        "Worst case: every trial to the last rung, none pruned, every retry used, at the cap,"
        + (
            " at the longest duration."
            if one.durations
            else " each attempt as long as longestAttempt allows."
        )
    )
    if one.durations is None:
        yield "Expected cost, trials, probability and time need --seconds-per-epoch; it is not guessed."
        return
    yield (
        "Expected: at today's price and the mean duration; the best 1/eta go on, and early ones more often,"
        " since halving does not wait."
    )
    if one.durations.attempt == 0:
        yield "Starting a pod, reading data and exporting count nothing: say --seconds-per-attempt."
    spread = one.quote.spread if one.quote else ()
    if not spread and one.durations.shortest == one.durations.longest:
        yield "Nothing varies, so the probability is all or nothing: give a range, or spotQuantiles."
    else:
        yield (
            f"Probability: {DRAWS} prices by their quantiles and {DRAWS} durations of the range, each pair as"
            " likely, each drawn once for the whole study."
        )
    if found.limit.name.startswith("Budget"):
        yield "A budget counts with one whole period, from which nobody else spends."


def _time(seconds: int) -> str:
    hours, minutes = divmod(-(-seconds // 60), 60)
    return f"about {hours} h {minutes} min" if hours else f"about {minutes} min"


def _table(heads: Sequence[str], rows: Iterator[tuple[str, ...]]) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold", show_header=any(heads)
    )
    for head in heads:
        table.add_column(head, overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def _markdown(heads: Sequence[str], rows: Iterator[tuple[str, ...]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)
