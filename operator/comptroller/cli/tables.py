"""A study and its trials as tables. No money is computed here; what is printed is what the status says."""

from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from comptroller.search import Problem
from comptroller_api.study import Study
from comptroller_api.text import plain
from comptroller_api.trial import Trial

_COLOURS = {
    "Succeeded": "green",
    "Complete": "green",
    "Running": "cyan",
    "Pruned": "yellow",
    "BudgetStopped": "yellow",
    "Held": "yellow",
    "Suspended": "yellow",
    "Infeasible": "magenta",
    "Failed": "red",
    "MetricsLost": "red",
}


def coloured(word: str) -> Text:
    """Return a state or an outcome in its colour."""
    return Text(word, style=_COLOURS.get(word, ""))


def standing(study: Study) -> tuple[str, str]:
    """Return a study's state in one word, and its reason, cleaned since anybody may have written it."""
    word, why = _standing(study)
    return word, plain(why, 1200)


def _standing(study: Study) -> tuple[str, str]:
    on = {c.type: c for c in study.status.conditions if c.status == "True"} if study.status else {}
    for kind in ("Complete", "Failed"):
        if kind in on:
            return kind, f"{on[kind].reason}: {on[kind].message}"
    if "Stalled" in on:
        word = "Suspended" if on["Stalled"].reason == "Suspended" else "Held"
        return word, f"{on['Stalled'].reason}: {on['Stalled'].message}"
    if "Reconciling" in on:
        return "Running", on["Reconciling"].message
    return "Pending", "nobody has looked at it yet"


def summary(study: Study) -> Table:
    """Return a table with the study on one line, as `kubectl get studies` has it, and the reason."""
    status, spend = study.status, study.spec.ceilings.spend
    word, why = standing(study)
    table = _table("STUDY", "STATE", "TRIALS", "SPENT", "HELD", "CEILING", "BEST", "WHY")
    table.add_row(
        study.metadata.name,
        coloured(word),
        status.progress if status else "",
        (status.spent if status else None) or "0.00",
        (status.held if status else None) or "0.00",
        f"{spend.amount} {spend.currency}",
        status.best if status else "",
        why,
    )
    return table


def trials_table(study: Study, trials: Sequence[Trial]) -> Table:
    """Return a table with a line for each trial: state, last metrics, cost and parameters."""
    metrics = Problem.from_spec(study.spec).deciding
    rungs = len(study.spec.search.rungs.epochs)
    heads = [name.upper() for name in metrics]
    table = _table("TRIAL", "STATE", "RUNG", *heads, "SPENT", "TRIES", "PARAMETERS", right={"SPENT", *heads})
    for trial in trials:
        status = trial.status
        last = status.rungs[-1] if status and status.rungs else None
        word = (status.outcome or status.state) if status else "Pending"
        table.add_row(
            str(trial.spec.number),
            coloured(word),
            f"{len(status.rungs) if status else 0}/{rungs}",
            *(figure(last.metrics[name]) if last and name in last.metrics else "" for name in metrics),
            (status.spent if status else None) or "",
            str(len(status.attempts)) if status else "0",
            Text(parameters(trial), no_wrap=True, overflow="ellipsis"),
        )
    return table


def reasons(trials: Iterable[Trial]) -> list[str]:
    """Return a line with the reason of each trial that ended with one."""
    ended = ((t, t.status) for t in trials if t.status is not None and t.status.reason)
    return [f"trial {t.spec.number} {s.outcome or s.state}: {plain(s.reason, 512)}" for t, s in ended]


def front_table(study: Study) -> Table:
    """Return the Pareto front as a table."""
    entries = study.status.front if study.status else []
    metrics = list(dict.fromkeys(name for entry in entries for name in entry.metrics))
    heads = [name.upper() for name in metrics]
    table = _table("TRIAL", *heads, "ARTIFACT", right=set(heads))
    for entry in entries:
        best = study.status is not None and entry.trial == study.status.best_trial
        number = Text(f"{entry.trial} *" if best else str(entry.trial), style="bold" if best else "")
        table.add_row(number, *(entry.metrics.get(name, "") for name in metrics), plain(entry.artifact, 1024))
    return table


def whole(study: Study, trials: Sequence[Trial]) -> RenderableType:
    """Return everything about a study on one screen."""
    parts: list[RenderableType] = [summary(study), Text(), trials_table(study, trials)]
    if study.status and study.status.front:
        parts += [Text(), Text("Pareto front (* best)", style="bold"), front_table(study)]
    return Group(*parts)


def parameters(trial: Trial) -> str:
    """Return the configuration on one line, without the levers' names if the rest is enough."""
    return " ".join(f"{name}={value}" for name, value in sorted(trial.spec.parameters.items()))


def figure(value: float) -> str:
    """Return a metric as a person reads it."""
    return str(int(value)) if value == int(value) and abs(value) < 10**12 else f"{value:.4g}"


def _table(*heads: str, right: Iterable[str] = ()) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    aligned = set(right)
    for head in heads:
        table.add_column(head, justify="right" if head in aligned else "left", overflow="fold")
    return table
