"""Load the splits of a study's `data` and check them once."""

from pathlib import Path

import numpy as np
import structlog
import torch
from numpy.typing import NDArray

from comptroller_api.data import Data
from comptroller_trainer.data import mixture, split
from comptroller_trainer.data.check import check
from comptroller_trainer.data.leakage import SplitSide, inspect
from comptroller_trainer.data.manifest import (
    DataManifest,
    PreprocessingStep,
    SourceRecord,
    SplitRecord,
    identity,
    index_digest,
)
from comptroller_trainer.data.read import read
from comptroller_trainer.data.samples import Dataset, Samples
from comptroller_trainer.data.source import DataError, RawData
from comptroller_trainer.errors import AssignmentError, MissingError

_log = structlog.get_logger()
_Index = NDArray[np.int64]


def load(data: Data, cache: Path) -> Dataset:
    """Return the training and validation splits of `data`; copies and decoded files go to `cache`.

    Raises:
        AssignmentError: a file is absent or damaged, a column is missing, a value is not finite, labels are
            out of range, or these are not the data whose manifest was named.
        ObjectStoreError: the store does not answer.
    """
    try:
        raw, records = read(data, cache)
        classes = check(raw, regression=data.task == "Regression")
        train, validation = _split(data, raw, classes)
        records, digest = _identified(data, raw, records, train, validation)
        inputs = raw.inputs.arrange(train, validation, cache)
    except DataError as error:
        value = data.uri if error.value is None and error.field == "uri" else error.value
        rule = f"cannot be used: {error.rule}" if error.field == "uri" else error.rule
        raise AssignmentError(f"data.{error.field}", value, rule) from error
    except MissingError as error:
        raise AssignmentError("data.uri", data.uri, f"cannot be used: {error}") from error
    ours, theirs = (
        SplitSide(array, raw.labels[index], index)
        for array, index in zip(inputs, (train, validation), strict=True)
    )
    steps = raw.inputs.steps_
    leakage = inspect(
        ours, theirs, classes, group=raw.group, time=raw.time, feature_names=feature_names(steps)
    )
    for finding in leakage.findings:
        _log.warning(
            "leakage", kind=finding.kind, count=finding.count, of=finding.of, example=finding.examples[0]
        )
    shape = inputs[0].shape[1:]
    manifest = DataManifest(
        sha256=digest,
        format=data.format,
        task=data.task,
        classes=classes,
        class_names=list(raw.class_names),
        shape=list(shape),
        dtype="uint8" if inputs[0].dtype == np.uint8 else "float32",
        split=data.split,
        validation=data.validation,
        split_seed=data.split_seed,
        sources=records,
        splits=_splits(train, validation),
        preprocessing=steps,
        leakage=leakage,
    )
    return _dataset(raw, ours, theirs, classes, manifest)


def _split(data: Data, raw: RawData, classes: int) -> tuple[_Index, _Index]:
    labels = raw.labels.astype(np.int64) if classes else np.zeros(len(raw.labels), np.int64)
    fraction, seed = float(data.validation), data.split_seed
    try:
        if data.split == "Group":
            if raw.group is None:
                raise DataError("needs data.group", "split", data.split)
            train, validation = split.by_group(labels, fraction, seed, raw.group.codes)
        elif data.split == "Time":
            if raw.time is None:
                raise DataError("needs data.time", "split", data.split)
            train, validation = split.by_time(labels, fraction, raw.time)
        elif data.split == "Random":
            train, validation = split.at_random(labels, fraction, seed)
        else:
            alike = labels if classes else split.strata(raw.labels.astype(np.float32))
            train, validation = split.stratified(alike, fraction, seed)
    except ValueError as error:
        raise DataError(str(error), "validation", data.validation) from error
    if data.sources is not None and raw.source is not None:
        train = mixture.limit(train, raw.source, data.sources, seed)
        unlearned = np.setdiff1d(labels, labels[train])
        if len(unlearned):
            raise DataError(f"leave training without class {unlearned[0]}", "sources", "budgets and weights")
    return train, validation


def _splits(train: _Index, validation: _Index) -> dict[str, SplitRecord]:
    return {
        name: SplitRecord(samples=len(index), sha256=index_digest(index))
        for name, index in (("train", train), ("validation", validation))
    }


def _identified(
    data: Data, raw: RawData, records: list[SourceRecord], train: _Index, validation: _Index
) -> tuple[list[SourceRecord], str]:
    """Return the sources with the number of training samples of each, and the hash of all data.

    Raises:
        DataError: the hash is not that of `data.manifest`.
    """
    code = raw.source if raw.source is not None else np.zeros(len(raw.labels), np.int64)
    counts = np.bincount(code[train], minlength=len(records)).tolist()
    records = [r.model_copy(update={"training": n}) for r, n in zip(records, counts, strict=True)]
    settings = data.model_dump(
        mode="json", exclude={"uri", "sources", "manifest", "slice"}, exclude_none=True
    )
    digest = identity(settings, records, _splits(train, validation))
    if data.manifest is not None and data.manifest != digest:
        raise DataError(f"is not the manifest of these data, which is {digest}", "manifest", data.manifest)
    return records, digest


def feature_names(steps: list[PreprocessingStep]) -> list[str]:
    """Return the names of the features that `steps` made, in their order."""
    names: list[str] = []
    for step in steps:
        several = step.categories or [] if step.kind == "one_hot" else []
        names += [f"{step.column}={category}" for category in several] or [step.column]
    return names


def _dataset(
    raw: RawData, train: SplitSide, validation: SplitSide, classes: int, manifest: DataManifest
) -> Dataset:
    def codes(of: NDArray[np.int64] | None, side: SplitSide) -> torch.Tensor | None:
        return None if of is None else torch.from_numpy(of[side.index])

    grouping = raw.slice or raw.group
    return Dataset(
        Samples(torch.from_numpy(train.inputs), torch.from_numpy(train.labels)),
        Samples(torch.from_numpy(validation.inputs), torch.from_numpy(validation.labels)),
        classes,
        torch.from_numpy(train.index),
        group=codes(grouping.codes if grouping else None, train),
        source=codes(raw.source, train),
        slices=codes(raw.slice.codes if raw.slice else None, validation),
        slice_names=raw.slice.names if raw.slice else (),
        manifest=manifest,
    )
