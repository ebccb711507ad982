"""One trial to the end of a rung.

data → select → augment → build (→ pretrain) → fit → compress → finalize → measure (→ export) → report
"""

import copy
import dataclasses
import hashlib
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import structlog
import torch
from numpy.typing import NDArray
from torch import nn

from comptroller_api.contract import Artifact, Assignment, Report
from comptroller_trainer import seeds
from comptroller_trainer.compression.base import own_metrics
from comptroller_trainer.compression.none import Uncompressed
from comptroller_trainer.data.load import load
from comptroller_trainer.data.samples import Dataset, Samples
from comptroller_trainer.errors import AssignmentError, NoGainError
from comptroller_trainer.export.onnx import check_parity, export
from comptroller_trainer.export.several import exported
from comptroller_trainer.export.weights import save_weights
from comptroller_trainer.fit import TrainingLoop
from comptroller_trainer.fit.estimator import fit_estimator
from comptroller_trainer.fit.fine_tuning import FineTuning
from comptroller_trainer.fit.prefetcher import resident
from comptroller_trainer.fit.pretrain import pretrain
from comptroller_trainer.fit.state import TrainingState
from comptroller_trainer.learning.checkpoint import Checkpoints
from comptroller_trainer.learning.distributed import Peers
from comptroller_trainer.learning.trial_cache import TrialCache
from comptroller_trainer.measure.artifact import Infer, measure, opened, servable, served
from comptroller_trainer.measure.calibration import calibrate, divisible
from comptroller_trainer.measure.drift import drift_profile
from comptroller_trainer.measure.gain import against_parent, same_graph
from comptroller_trainer.measure.listed import listed
from comptroller_trainer.measure.pace import Fastest
from comptroller_trainer.measure.robustness import robustness
from comptroller_trainer.measure.slices import slices
from comptroller_trainer.measure.thresholds import decidable, thresholds
from comptroller_trainer.models.adapters import merge
from comptroller_trainer.models.base import Classifier, EstimatorFamily
from comptroller_trainer.models.profile import profile
from comptroller_trainer.models.rescale import Rescale
from comptroller_trainer.recipe.description import agree, suits
from comptroller_trainer.recipe.parse import Recipe
from comptroller_trainer.report import card, environment, selection_record
from comptroller_trainer.runtime.stage_timer import StageTimer
from comptroller_trainer.stages.base import Context
from comptroller_trainer.stages.modality import IMAGE
from comptroller_trainer.store import ObjectStore

_log = structlog.get_logger("trial")
_COMPARED = 64
"""Validation samples on which exported forms are compared with the model."""


@dataclass(frozen=True, slots=True)
class _Fitted:
    model: nn.Module
    state: TrainingState
    checkpoint: str = ""
    microbatch: int = 0


class TrialRunner:
    """Runs the stages of a trial one after the other.

    Args:
        assignment: what to do.
        recipe: the assignment's parameters, as stages.
        store: the trial's prefix.
        timer: times the stages.
        threads: CPU threads; the latency measurement has its own number.
        directory: scratch space.
        peers: the processes that train with this one.
        fastest: the machine's pace, watched during the trial.
    """

    def __init__(
        self, assignment: Assignment, recipe: Recipe, store: ObjectStore, timer: StageTimer, threads: int,
        directory: Path, peers: Peers | None = None, fastest: Fastest | None = None,
    ) -> None:  # fmt: skip
        self._assignment = assignment
        self._recipe = recipe
        self._store = store
        self._timer = timer
        self._threads = threads
        self._directory = directory
        self._peers = peers or Peers()
        self._fastest = fastest or Fastest()
        self._fingerprint = fingerprint(assignment)
        self._cache = TrialCache(store, self._fingerprint, self._peers, timer.stop)
        cuda = torch.cuda.is_available()
        self._device = torch.device("cuda", torch.cuda.current_device()) if cuda else torch.device("cpu")

    def run(self) -> Report | None:
        """Bring the trial to the end of its rung, store its artifacts and return its report.

        The result is None on ranks above 0: rank 0 has the model too, and reports.
        """
        assignment, recipe, stage = self._assignment, self._recipe, self._timer.stage
        servable(assignment.latency.device)
        with stage("data"):
            dataset = load(assignment.data, self._directory / "data")
            context = self._context(dataset)
            agree(recipe.names, context)
            suits(recipe, context)
        with stage("select"):
            if recipe.training.oversample != "none":
                dataset = _oversampled(dataset, context)
            recipe.selector.fit(dataset.train, context)
            if (pseudo := recipe.selector.pseudo_labels_) is not None:
                labels = dataset.train.labels.index_copy(0, *pseudo)
                dataset = dataclasses.replace(dataset, train=Samples(dataset.train.inputs, labels))
        with stage("augment"):
            recipe.augmentation.fit(dataset.train, context)
        with stage("build"):
            model = self._build(dataset, context)
            if (calibration := recipe.training.calibration) != "none":
                divisible(model, calibration)  # before anything is spent on training
            if recipe.training.thresholds != "none":
                decidable(context)
            if model is not None:
                recipe.compressor.check(model, context)
        if epochs := recipe.training.pretrain_epochs:
            with stage("pretrain"):
                pretrain(model, dataset.train, epochs, context)
        with stage("fit"):
            fitted = self._fit(model, dataset, context)
            model = fitted.model
            others = self._others_joules()
        if not self._peers.first:
            return None
        context = dataclasses.replace(context, keep=self._cache.alone())
        with stage("compress"):
            model, parent = self._compressed(merge(model), dataset, context)
        if calibration != "none":
            with stage("calibrate"):
                calibrate(divisible(model, calibration), calibration, dataset.validation)
        with stage("finalize"):
            graph, exporter = export(model, context)
            check_parity(model, graph, dataset.validation.inputs[:_COMPARED])
            graph = recipe.compressor.finish(graph, context)
        with stage("measure"), self._keeping_a_near_miss(fitted, exporter, others):
            metrics, records = self._measurements(model, graph, parent, dataset, context)
        forms = self._exported(model, graph, dataset.validation, context)
        with stage("report"):
            artifacts = self._ship(model, graph, forms, fitted.state, dataset, context, records)
        report = self._report(fitted, metrics, artifacts, exporter, others)
        return self._with_card(report, dataset, context)

    @contextmanager
    def _keeping_a_near_miss(self, fitted: _Fitted, exporter: str, others: float) -> Iterator[None]:
        """Put the report of the measurements into the error that refuses the artifact."""
        try:
            yield
        except NoGainError as error:
            report = self._report(fitted, dict(error.metrics or {}), [], exporter, others)
            error.report = report.model_copy(update={"missed": str(error)[:512]})
            raise

    def _compressed(
        self, model: nn.Module, dataset: Dataset, context: Context
    ) -> tuple[nn.Module, Path | None]:
        """Return the module to export, and its parent's graph if it has one."""
        a, compressor = self._assignment, self._recipe.compressor
        if isinstance(compressor, Uncompressed):
            return model, None
        before, method = model, self._recipe.training.calibration
        if method != "none":  # as what is shipped will be
            before = copy.deepcopy(model)
            calibrate(divisible(before, method), method, dataset.validation)
        parent, _ = export(before, context, "parent.onnx")
        decides = fingerprint(a, compression=True)
        fine_tune = FineTuning(self._recipe, context, self._store, decides, (a.rung, a.attempt), self._timer)
        compressor.fit(model, dataset, dataclasses.replace(context, fine_tune=fine_tune))
        return compressor.model_, parent

    def _measurements(
        self, model: nn.Module, graph: Path, parent: Path | None, dataset: Dataset, context: Context
    ) -> tuple[dict[str, float], dict[str, object]]:
        """Return the metrics of the module's graph, those of a parent if any, and the content of files."""
        validation, compressor = dataset.validation, self._recipe.compressor
        infer = self._opened(graph)
        outputs = infer(validation.inputs)
        if not np.isfinite(outputs).all():
            name = self._recipe.names["compress"]
            raise AssignmentError("compress.method", name, "leaves a model with outputs that are not finite")
        metrics = self._measured(graph, outputs, validation, context)
        if parent is not None:
            theirs = self._measured(parent, self._opened(parent)(validation.inputs), validation, context)
            again = partial(self._served_again, graph, parent, validation, context)
            alike = same_graph(graph, parent)
            metrics = dict(against_parent(compressor.must, metrics, theirs, again, alike=alike))
        if self._recipe.training.robustness == "corruptions":
            metrics |= robustness(infer, validation, context)
        size = dataclasses.asdict(profile(model, context.shape))
        metrics |= {name: float(count) for name, count in size.items()}
        metrics |= own_metrics(self._recipe.names["compress"], compressor, graph)
        drift = drift_profile(dataset, outputs, self._assignment.data)
        records: dict[str, object] = {"drift.json": drift.model_dump(mode="json")}
        labels = validation.labels.cpu().numpy()
        if self._recipe.training.thresholds != "none":
            worth, records["thresholds.json"] = thresholds(outputs, labels, context)
            metrics |= worth
        if dataset.slices is not None:
            codes = dataset.slices.numpy()
            gaps, records["slices.json"] = slices(outputs, labels, codes, dataset.slice_names)
            metrics |= gaps
        return metrics, records

    def _opened(self, graph: Path) -> Infer:
        return opened(graph, self._assignment.latency.device, self._threads)

    def _measured(
        self, graph: Path, outputs: NDArray[np.float32], validation: Samples, context: Context
    ) -> dict[str, float]:
        return measure(graph, outputs, validation, self._assignment.latency, context, self._fastest)

    def _served_again(
        self, graph: Path, parent: Path, validation: Samples, context: Context
    ) -> tuple[dict[str, float], dict[str, float]]:
        latency, fastest = self._assignment.latency, self._fastest
        ours, theirs = (served(path, validation, latency, context, fastest) for path in (graph, parent))
        return ours, theirs

    def _exported(self, model: nn.Module, graph: Path, validation: Samples, context: Context) -> list[Path]:
        """Return the files of the other forms that the recipe names."""
        if not self._recipe.exporters:
            return []
        with self._timer.stage("export"):
            return exported(self._recipe.exporters, model, graph, validation.inputs[:_COMPARED], context)

    def _context(self, dataset: Dataset) -> Context:
        a = self._assignment
        return Context(
            a.seed, a.total_epochs, dataset.classes, dataset.shape, self._device, self._directory,
            self._cache,
        )  # fmt: skip

    def _build(self, dataset: Dataset, context: Context) -> nn.Module | None:
        """Return the untrained model on the device; None if building and training are one."""
        if isinstance(self._recipe.family, EstimatorFamily):
            return None
        torch.manual_seed(seeds.derive(context.seed, "build"))
        body = self._recipe.family.build(context.shape, context.outputs)
        if not context.classes:
            body = nn.Sequential(body, Rescale(dataset.train.labels))
        model = Classifier(body, *dataset.moments(), context.shape).to(self._device)
        # Convolutions run 1.6 times as fast with channels last, on CPUs too.
        if len(context.shape) == IMAGE:
            model = model.to(memory_format=torch.channels_last)
        _log.info("built", **dataclasses.asdict(profile(model, context.shape)))
        return model

    def _fit(self, model: nn.Module | None, dataset: Dataset, context: Context) -> _Fitted:
        a, family = self._assignment, self._recipe.family
        if isinstance(family, EstimatorFamily):
            return _Fitted(
                *fit_estimator(
                    family, dataset, self._recipe, context, a.epochs, self._timer.progress, self._peers
                )
            )
        assert model is not None  # noqa: S101 - `_build` has it for every other family
        near = dataclasses.replace(
            dataset,
            train=resident(dataset.train, self._device),
            validation=resident(dataset.validation, self._device),
        )
        fit = TrainingLoop(
            model, near, self._recipe, context, Checkpoints(self._store, self._fingerprint, a.attempt),
            self._timer.stop, self._timer.progress, self._peers,
        )  # fmt: skip
        return _Fitted(fit.run(a.epochs), fit.state, fit.checkpoint, fit.microbatch)

    def _ship(
        self, model: nn.Module, graph: Path, forms: list[Path], state: TrainingState, dataset: Dataset,
        context: Context, records: dict[str, object],
    ) -> list[Artifact]:  # fmt: skip
        """Store the rung's model, its other `forms` and its `records` below `rungs/<rung>/`."""
        recipe = self._recipe
        files = {"model.onnx": graph}
        parameters = recipe.family.shipped().model_dump()
        for path in save_weights(model, recipe.names["model"], parameters, context):
            files[path.name] = path
        files |= {path.relative_to(context.directory).as_posix(): path for path in forms}
        files["selection.npz"] = selection_record.write(
            self._directory, state.epoch, self._recipe.selector, dataset.train_index, self._cache
        )
        trained = {
            "stages": recipe.names,
            "recipe": recipe.training.model_dump(),
            "data": recipe.selector.parameters.model_dump(),
            "augmentation": recipe.augmentation.configuration(),
        }
        written = {
            "assignment.json": self._assignment.to_json(),
            "history.json": state.history,
            "recipe.json": trained,
            "data.json": dataset.manifest.model_dump(mode="json") if dataset.manifest else None,
            **records,
        }
        for name, content in written.items():
            files[name] = self._directory / name
            files[name].write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        return [self._upload(name, path) for name, path in files.items()]

    def _with_card(self, report: Report, dataset: Dataset, context: Context) -> Report:
        path = self._directory / "card.md"
        text = card.render(report, self._assignment, self._recipe, context, dataset.manifest)
        path.write_text(text, encoding="utf-8")
        artifacts = [*report.artifacts, self._upload(path.name, path)]
        return report.model_copy(update={"artifacts": artifacts})

    def _upload(self, name: str, path: Path) -> Artifact:
        key = f"rungs/{self._assignment.rung}/{name}"
        self._store.upload(key, path)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return Artifact(name=name, uri=self._store.uri_of(key), sha256=digest, size=path.stat().st_size)

    def _others_joules(self) -> float:
        """Return the joules of the processes that end after training; NaN if one cannot count."""
        joules = self._timer.progress.meter.joules()
        mine = 0.0 if self._peers.first else math.nan if joules is None else joules
        return self._peers.total(torch.tensor(mine))

    def _report(
        self, fitted: _Fitted, metrics: dict[str, float], artifacts: list[Artifact], exporter: str,
        others_joules: float,
    ) -> Report:  # fmt: skip
        a, meter = self._assignment, self._timer.progress.meter
        joules = meter.joules()
        if joules is not None:
            joules = None if math.isnan(others_joules) else joules + others_joules
        if joules is not None:
            metrics["energy_joules"] = joules
        listed(metrics, a.data.task, self._recipe.compressor.measured)
        facts = {
            "exporter": exporter,
            "processes": str(self._peers.size),
            "microbatch": str(fitted.microbatch),
            "stopped": fitted.state.stopped,
        }
        return Report(
            name=a.name, trial=a.trial, attempt=a.attempt, rung=a.rung,
            epochs=fitted.state.epoch,
            metrics=metrics,
            stages=self._timer.stages,
            artifacts=artifacts,
            checkpoint=fitted.checkpoint,
            seconds=self._timer.progress.seconds(),
            energy_joules=joules,
            energy_source=meter.energy_source,
            environment=environment.describe(self._device, self._threads) | facts,
        )  # fmt: skip


def fingerprint(assignment: Assignment, *, compression: bool = False) -> str:
    """Return the hash of all in the assignment that decides the numbers of training: no attempt, no rung.

    With `compression`, the hash also covers all that decides the numbers of fine-tuning.
    """
    decides = {
        "seed": assignment.seed,
        "parameters": {
            name: value
            for name, value in sorted(assignment.parameters.items())
            if compression or not name.startswith("compress.")
        },
        "total_epochs": assignment.total_epochs,
        "data": assignment.data.to_json(),
    }
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


def agreed_on(assignment: Assignment) -> dict[str, object]:
    """Return the values that must be equal in all processes of a model, by names that a person knows."""
    data = {f"data.{name}": value for name, value in assignment.data.to_json().items()}
    common: dict[str, object] = {
        "name": assignment.name, "artifacts": assignment.artifacts, "seed": assignment.seed,
        "epochs": assignment.epochs, "totalEpochs": assignment.total_epochs, "torch": torch.__version__,
    }  # fmt: skip
    return common | dict(assignment.parameters) | data


def _oversampled(dataset: Dataset, context: Context) -> Dataset:
    """Return the data set with synthetic training samples at the end, whose place and origin is -1."""
    from comptroller_trainer.selection.imbalance import oversample  # noqa: PLC0415 - most trials do without

    samples = oversample(dataset.train, context).samples
    made = torch.full((len(samples) - len(dataset.train),), -1)
    group, source = (
        None if codes is None else torch.cat([codes, made]) for codes in (dataset.group, dataset.source)
    )
    index = torch.cat([dataset.train_index, made])
    return dataclasses.replace(dataset, train=samples, train_index=index, group=group, source=source)
