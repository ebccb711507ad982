"""`comptroller simulate`: the fault simulation."""

import os
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from comptroller.cli.console import REFUSED, Form, Output, print_json, refuse

if TYPE_CHECKING:
    from comptroller.simulation.run import Result
    from comptroller.simulation.schedule import Schedule
    from comptroller.simulation.walk import Walked

_SHRUNK = 3
"""Failing seeds that are shrunk; people fix one at a time."""


def _places(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not a list of numbers such as 0,3,7") from error


def simulate(
    ctx: typer.Context,
    seeds: Annotated[int, typer.Option(min=1, help="How many runs.")] = 100,
    start: Annotated[int, typer.Option(min=0, help="The first run's seed.")] = 0,
    jobs: Annotated[int, typer.Option(min=1, help="Runs at a time.")] = os.cpu_count() or 1,
    seed: Annotated[int | None, typer.Option(min=0, help="One run, by its seed.")] = None,
    only: Annotated[
        str | None, typer.Option(metavar="N,N,...", help="With --seed: only these of its events.")
    ] = None,
    trace: Annotated[bool, typer.Option("--trace", help="With --seed: print all that happens.")] = False,
    walk: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="DEPTH", help="In place of seeds: every history of so many choices, of one study."
        ),
    ] = None,
    wide: Annotated[
        bool, typer.Option("--wide", help="With --walk: from more starts, with every edit and fault.")
    ] = False,
    sample: Annotated[
        int | None,
        typer.Option(
            min=1, help="With --walk: so many histories of a wide walk, drawn at random by --start."
        ),
    ] = None,
    output: Output = Form.TABLE,
) -> None:
    """Run the whole controller in virtual time, with faults, and check its promises.

    Crashes after any step, two operators, lost and late writes, stale watches, lost nodes, wrong clocks,
    edits at any time; the ceilings are checked at every prefix of the ledger and against what pods truly
    cost. A seed is one run, the same on every machine. A failing seed is reduced to the events that matter.

    A seed is one long history; --walk tries every short one: passes, crashes, stale watches and edits around
    one attempt, in every order, to a depth. Each step of depth takes about eight times as long; --wide walks
    from more starts, with every other edit and fault, and takes fifteen times as long from each. --sample
    draws from the histories of a wide walk where there are too many to try them all.

    Exit 0: no violation. Exit 1: a violation.
    """
    from comptroller.simulation.draw import schedule  # noqa: PLC0415  (a second of imports)
    from comptroller.simulation.pool import quiet  # noqa: PLC0415

    if walk is not None:
        others = ("seeds", "seed", "only", "trace") + (("start",) if sample is None else ())
        if any(_is_given(ctx, name) for name in others):
            raise typer.BadParameter("--walk tries everything; seeds and their options are for other runs")
        from comptroller.simulation import walk as walking  # noqa: PLC0415

        quiet()
        drawn = (
            walking.walk(walk, jobs, wide=wide)
            if sample is None
            else walking.sample(walk, sample, jobs, start)
        )
        _walked(drawn, output)
        return
    if wide or sample is not None:
        raise typer.BadParameter("--wide and --sample are for --walk")
    if seed is None:
        if only is not None or trace:
            raise typer.BadParameter("--only and --trace are for one --seed")
        _many(seeds, start, jobs, output)
        return
    quiet()
    chosen = schedule(seed)
    if only is not None:
        places = _places(only)
        if not set(places) <= set(range(len(chosen.events))):
            refuse(f"seed {seed} has events 0 to {len(chosen.events) - 1}")
        chosen = chosen.only(places)
    _one(chosen, trace=trace, output=output)


def _is_given(ctx: typer.Context, option: str) -> bool:
    source = ctx.get_parameter_source(option)
    return source is not None and source.name == "COMMANDLINE"


def _walked(walked: "Walked", output: Form) -> None:
    from comptroller.simulation.walk import replay, report  # noqa: PLC0415

    if output is Form.JSON:
        found = [asdict(violation) | {"path": path} for path, violation in walked.violations]
        print_json(
            {
                "depth": walked.depth,
                "states": walked.states,
                "ends": walked.ends,
                "wallSeconds": round(walked.seconds, 1),
                "failed": found,
            }
        )
    else:
        for path, _ in sorted(walked.violations, key=lambda one: len(one[0]))[:1]:
            typer.echo("\n".join(replay(path).trace.lines))
        for line in report(walked):
            typer.echo(line)
    if walked.violations:
        raise typer.Exit(REFUSED)


def _one(schedule: "Schedule", *, trace: bool, output: Form) -> None:
    from comptroller.simulation.run import Run  # noqa: PLC0415

    result = Run(schedule, keep_trace=trace).execute()
    if output is Form.JSON:
        print_json(asdict(result))
    else:
        for line in result.trace:
            typer.echo(line)
        for line in _report(result, schedule.start):
            typer.echo(line)
        if not result.violations:
            typer.echo(f"seed {result.seed}: no violation in {result.seconds} virtual seconds")
        typer.echo(f"trace {result.digest}")
    if result.violations:
        raise typer.Exit(REFUSED)


def _many(seeds: int, start: int, jobs: int, output: Form) -> None:
    from comptroller.simulation.draw import schedule  # noqa: PLC0415
    from comptroller.simulation.pool import run_seeds  # noqa: PLC0415

    began, failed, launches, seconds, batches = time.monotonic(), [], 0, 0, 0
    for result in run_seeds(range(start, start + seeds), jobs):
        launches, seconds, batches = (
            launches + result.launches,
            seconds + result.seconds,
            batches + result.batches,
        )
        if result.violations:
            failed.append(result)
            if output is Form.TABLE:
                typer.echo("\n".join(_report(result, schedule(result.seed).start)))
    took = time.monotonic() - began
    shrunk = [_shrunk(result.seed, output) for result in failed[:_SHRUNK]]
    if output is Form.JSON:
        print_json(
            {
                "seeds": seeds,
                "start": start,
                "wallSeconds": round(took, 1),
                "virtualSeconds": seconds,
                "launches": launches,
                "batches": batches,
                "failed": [asdict(result) for result in failed],
                "shrunk": shrunk,
            }
        )
    else:
        typer.echo(
            f"{seeds} seeds in {took:.0f}s: {seconds} virtual seconds, {launches} pods, {batches} batches,"
            f" {len(failed)} with a violation"
        )
    if failed:
        raise typer.Exit(REFUSED)


def _shrunk(seed: int, output: Form) -> dict[str, Any]:
    from comptroller.simulation.draw import schedule  # noqa: PLC0415
    from comptroller.simulation.pool import quiet  # noqa: PLC0415
    from comptroller.simulation.shrink import shrink  # noqa: PLC0415

    quiet()
    whole = schedule(seed)
    kept, result = shrink(whole)
    replay = f"comptroller simulate --seed {seed} --only {','.join(map(str, kept))} --trace"
    if output is Form.TABLE:
        typer.echo(f"\nseed {seed}, {len(kept)} of {len(whole.events)} events:")
        typer.echo("\n".join(result.trace))
        typer.echo("\n".join(_report(result, whole.start)))
        typer.echo(f"again: {replay}\n")
    return {
        "seed": seed,
        "replay": replay,
        "trace": result.trace,
        "violations": [asdict(v) for v in result.violations],
    }


def _report(result: "Result", start: int) -> list[str]:
    return [
        f"seed {result.seed}: {violation.promise} at {violation.at - start}s: {violation.what}"
        for violation in result.violations
    ]
