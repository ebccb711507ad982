"""Compare selectors at equal billed seconds, including scoring, with and without label noise.

`keep` is here a share of money: a selector at keep 0.3 may spend, on scoring and training together, 0.3 of
the time for training on all samples for `--epochs`. It trains for as many epochs as that pays for, found by
trying with the first seed. Seconds are CPU seconds of the one thread that all trials run on, so that
neighbours do not change them. A trial that diverges counts as 0. The table also has `random`, `rs2`, and
`all` for fewer epochs. Noise moves the labels of a share of the training file to another class at random;
accuracy is on the clean, published test split, which no trial reads.

    python benchmarks/selection.py --data mnist1d --log benchmarks/logs/selection.log

With `--unbilled`, scoring costs nothing, as in the papers: every selector trains for as long as `random`
does.

An existing log is continued: trials in the log are not run again.
"""

import argparse
import gzip
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import structlog
import torch
from inside import context_of, fit_of, model_of
from mnist1d import data as mnist1d
from numpy.typing import NDArray
from trials import mean_and_spread

from comptroller_api.data import Data
from comptroller_trainer.data.load import load
from comptroller_trainer.data.samples import Dataset
from comptroller_trainer.errors import DivergedError
from comptroller_trainer.recipe.parse import parse

FASHION = Path("/usr/share/datasets/fashion-mnist")
"""The directory of Debian's dataset-fashion-mnist."""
MODELS = {
    "mnist1d": {
        "model.family": "cnn", "model.width": "16", "model.depth": "3", "recipe.optimizer": "adamw",
        "recipe.lr": "0.01", "recipe.batch_size": "100",
    },
    "fashion": {"model.family": "mlp", "model.width": "256", "model.depth": "2", "recipe.lr": "0.05"},
}  # fmt: skip
EPOCHS = {"mnist1d": 60, "fashion": 10}
SELECTORS = [
    "all", "random", "rs2", "stratified", "el2n", "el2n easy", "grand", "tracin", "forgetting", "aum",
    "margin", "entropy", "least_confidence", "ccs", "ccs aum", "ccs clean", "k_center", "herding", "dedup",
    "denoise", "infobatch", "rho_loss", "curriculum", "importance", "reweight", "balanced",
]  # fmt: skip
_FEWEST = 2
"""The smallest number of seeds for judging a difference."""
_TRIES, _NEAR = 3, 0.05
"""The tries for finding the epochs that the budget pays for, and the accepted relative error."""


@dataclass(frozen=True)
class Split:
    """A data set with a separate test split."""

    x_train: NDArray[Any]
    y_train: NDArray[np.int64]
    x_test: NDArray[np.float32]
    y_test: NDArray[np.int64]


@dataclass
class Bench:
    """A runner that runs trials one at a time and logs each result."""

    name: str
    split: Split
    epochs: int
    log: Path | None
    billed: bool = True
    """True if scoring is billed."""
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    loaded: dict[float, Dataset] = field(default_factory=dict)
    """The data by the share of wrong labels."""

    def __post_init__(self) -> None:
        if self.log and self.log.exists():
            for line in self.log.read_text().splitlines():
                if line.startswith("{"):
                    row = json.loads(line)
                    self.rows[row["key"]] = row

    def result(
        self, selector: str, keep: float, noise: float, seed: int, budget: float | None
    ) -> dict[str, Any]:
        """Return one selector's accuracy for `budget` seconds, or for all epochs without a budget."""
        name = self.name if self.billed or not budget else f"{self.name}, scoring unbilled"
        key = f"{name} {selector} keep={keep:g} noise={noise:g} seed={seed}"
        if key in self.rows:
            return self.rows[key]
        epochs = self._epochs(name, selector, keep, budget)
        for _ in range(_TRIES if budget and not self._settled(name, selector, keep) else 1):
            select, fit, accuracy = self._trained(selector, keep, noise, seed, epochs)
            select *= self.billed
            if not accuracy:
                break
            better = epochs if budget is None else max(1, round(epochs * (budget - select) / fit))
            if budget is None or abs(select + fit - budget) <= _NEAR * budget or better == epochs:
                break
            epochs = better
        row = {
            "key": key, "data": name, "selector": selector, "keep": keep, "noise": noise, "seed": seed,
            "budget": budget, "epochs": epochs, "select": select, "fit": fit, "test": accuracy,
        }  # fmt: skip
        self.rows[key] = row
        if self.log:
            with self.log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        print(f"{key:64} {accuracy:.4f} {select:6.1f} + {fit:6.1f} s, {epochs} epochs", flush=True)
        return row

    def _trained(
        self, selector: str, keep: float, noise: float, seed: int, epochs: int
    ) -> tuple[float, float, float]:
        """Return the seconds of scoring and of training, and accuracy on the test split."""
        recipe, dataset = parse(self._parameters(selector, keep)), self._data(noise)
        with tempfile.TemporaryDirectory() as directory:
            context = context_of(dataset, seed, epochs, Path(directory))
            began = time.process_time()
            recipe.selector.fit(dataset.train, context)
            select = time.process_time() - began
            with fit_of(model_of(recipe, dataset, context), dataset, recipe, context) as fit:
                began = time.process_time()
                try:
                    model = fit.run(epochs)
                except DivergedError:
                    return select, time.process_time() - began, 0.0
                seconds = time.process_time() - began
        with torch.inference_mode():
            parts = [model(part).argmax(1) for part in torch.split(torch.from_numpy(self.split.x_test), 500)]
        right = torch.cat(parts).numpy() == self.split.y_test
        return select, seconds, float(right.mean())

    def _settled(self, name: str, selector: str, keep: float) -> dict[str, Any] | None:
        """Return an earlier row with the same cost: noise and seed do not change it."""
        for row in self.rows.values():
            if (row["data"], row["selector"], row["keep"]) == (name, selector, keep) and row["budget"]:
                return row
        return None

    def _epochs(self, name: str, selector: str, keep: float, budget: float | None) -> int:
        settled = self._settled(name, selector, keep)
        if budget is None or selector == "all":
            share = 1.0 if budget is None else keep
            return settled["epochs"] if settled else max(1, round(self.epochs * share))
        return settled["epochs"] if settled else self.epochs

    def _parameters(self, selector: str, keep: float) -> dict[str, str]:
        name, _, variant = selector.partition(" ")
        found = MODELS[self.name] | {"data.selector": name}
        if name != "all":
            found["data.keep"] = f"{keep:g}"
        if variant == "easy":
            found["data.end"] = "easy"
        if variant == "clean":
            found["data.clean"] = "true"
        if variant == "aum":  # for ccs, as Zheng et al. (2023) do
            found |= {"data.score": "aum", "data.within": "all", "data.beta": "0.1"}
        return found

    def _data(self, noise: float) -> Dataset:
        if noise not in self.loaded:
            with tempfile.TemporaryDirectory() as place:
                inputs, labels = self.split.x_train, noised(self.split.y_train, noise)
                if inputs.ndim == 2:  # noqa: PLR2004 - what NPZ would take for a table
                    columns = {"x": pa.array(list(inputs)), "label": pa.array(labels)}
                    pq.write_table(pa.table(columns), f"{place}/train.parquet")
                    form = "Parquet"
                else:
                    np.savez(f"{place}/data.npz", x_train=inputs, y_train=labels)
                    form = "NPZ"
                with tempfile.TemporaryDirectory() as cache:
                    data = Data(uri=f"file://{place}", format=form, validation="0.05")
                    self.loaded[noise] = load(data, Path(cache))
        return self.loaded[noise]


def noised(labels: NDArray[np.int64], share: float) -> NDArray[np.int64]:
    """Return `labels` with a share of them moved to another class, the same ones at each call."""
    rng = np.random.default_rng(0)
    wrong = rng.random(len(labels)) < share
    moved = (labels + rng.integers(1, labels.max() + 1, len(labels))) % (labels.max() + 1)
    return np.where(wrong, moved, labels)


def fashion(directory: Path = FASHION) -> Split:
    """Load Fashion-MNIST (Xiao et al., 2017)."""

    def read(name: str, header: int) -> NDArray[np.uint8]:
        return np.frombuffer(gzip.decompress((directory / name).read_bytes()), np.uint8, offset=header)

    images = {
        part: read(f"{part}-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28) for part in ("train", "t10k")
    }
    labels = {part: read(f"{part}-labels-idx1-ubyte.gz", 8).astype(np.int64) for part in ("train", "t10k")}
    return Split(images["train"], labels["train"], images["t10k"][:, None].astype(np.float32), labels["t10k"])


def sequences() -> Split:
    """Load MNIST-1D (Greydanus, 2020)."""
    made = mnist1d.make_dataset(mnist1d.get_dataset_args())
    x, y, x_test, y_test = (made[name] for name in ("x", "y", "x_test", "y_test"))
    return Split(
        x.astype(np.float32),
        y.astype(np.int64),
        x_test[:, None].astype(np.float32),
        y_test.astype(np.int64),
    )


SPLITS = {"fashion": fashion, "mnist1d": sequences}


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Yield mean and spread over seeds: a line for each selector, a column for each keep."""
    groups: dict[tuple[str, float], dict[str, dict[float, list[dict[str, Any]]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    for row in rows:
        groups[row["data"], row["noise"]][row["selector"]][row["keep"] if row["budget"] else 0].append(row)
    for (data, noise), found in sorted(groups.items()):
        keeps = sorted({keep for by_keep in found.values() for keep in by_keep if keep})
        whole = found["all"].pop(0, [])
        yield f"{data}, {noise:.0%} of labels wrong: test accuracy, percent; billed seconds over the budget"
        if whole:
            seconds = sum(row["select"] + row["fit"] for row in whole) / len(whole)
            yield f"{'all, all epochs':18} {mean_and_spread([r['test'] for r in whole])} in {seconds:.1f} s"
        yield f"{'':18} " + " ".join(f"{f'keep {keep:g}':>20}" for keep in keeps)
        for selector, by_keep in found.items():
            cells = []
            for keep in keeps:
                cell = by_keep.get(keep, [])
                spent = [(row["select"] + row["fit"]) / row["budget"] for row in cell]
                text = (
                    f"{mean_and_spread([row['test'] for row in cell])} {np.mean(spent):.2f}" if cell else "-"
                )
                cells.append(f"{text}{'*' if cell and _beats(found, selector, keep) else ' '}".rjust(20))
            if any(by_keep.values()):
                yield f"{selector:18} " + " ".join(cells)
        yield ""
    yield "* better than both random and rs2, by more than two standard errors of the difference"


def _beats(found: dict[str, dict[float, list[dict[str, Any]]]], selector: str, keep: float) -> bool:
    cells = [
        [row["test"] for row in found[n].get(keep, [])] for n in ("random", "rs2", selector) if n in found
    ]
    if selector in {"random", "rs2"} or len(cells) < 3 or min(map(len, cells)) < _FEWEST:  # noqa: PLR2004 - all three
        return False
    *others, (mean, error) = [(np.mean(c), np.var(c, ddof=1) / len(c)) for c in cells]
    return all(mean - m > 2 * (error + e) ** 0.5 for m, e in others)


def main() -> None:
    """Compare, print the table, and log each trial's result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", nargs="+", choices=SPLITS, default=list(SPLITS))
    parser.add_argument("--keep", nargs="+", type=float, default=[0.1, 0.3, 0.5, 0.7])
    parser.add_argument("--noise", nargs="+", type=float, default=[0.0, 0.1, 0.3])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--selectors", nargs="+", default=SELECTORS)
    parser.add_argument("--epochs", type=int, help="of all samples; the budget's measure")
    parser.add_argument("--unbilled", action="store_true", help="scoring costs nothing")
    parser.add_argument("--log", type=Path)
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    torch.set_num_threads(1)
    for name in given.data:
        bench = Bench(
            name, SPLITS[name](), given.epochs or EPOCHS[name], given.log, billed=not given.unbilled
        )
        whole = bench.result("all", 1.0, 0.0, 0, None)
        for noise in given.noise:
            for seed in range(given.seeds):
                bench.result("all", 1.0, noise, seed, None)
                for keep in given.keep:
                    budget = keep * (whole["select"] + whole["fit"])
                    for selector in given.selectors:
                        bench.result(selector, keep, noise, seed, budget)
        rows += [row for row in bench.rows.values() if row["data"].startswith(name)]
    head = f"torch {torch.__version__}, one CPU thread, seconds of it"
    text = "\n".join([head, *table(rows)])
    print(text)
    if given.log:
        with given.log.open("a", encoding="utf-8") as file:
            file.write(text + "\n")


if __name__ == "__main__":
    main()
