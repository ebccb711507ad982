"""The record of the data that a trial saw, stored as `data.json`."""

import hashlib
import json
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field


class Record(BaseModel):
    """Base of the manifest's parts."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class File(Record):
    """One file that was read, or a generated array."""

    name: str
    size: int = Field(description="Bytes.")
    sha256: str


class SourceRecord(Record):
    """A source of samples."""

    name: str
    uri: str
    samples: int
    training: int = Field(description="Of them, after the split and the source's budget or weight.")
    files: list[File]


class SplitRecord(Record):
    """One side of the split."""

    samples: int
    sha256: str = Field(description="Of the places in the source, ascending, as little-endian int64.")


class PreprocessingStep(Record):
    """The preprocessing of one column, or of all images, learned from the training split alone."""

    column: str
    kind: Literal["image", "number", "one_hot", "ordinal", "sequence"]
    outputs: int = Field(description="How many features it became, in the order of the steps.")
    fill: float | str | None = Field(default=None, description="In place of a missing value.")
    missing: float = Field(default=0.0, description="Share of the training samples without a value.")
    mean: float | None = None
    scale: float | None = Field(
        default=None, description="Divides what is left after the mean is taken away."
    )
    categories: list[str] | None = None


class LeakageFinding(Record):
    """One kind of leakage from training into validation."""

    kind: Literal[
        "exact_duplicates", "near_duplicates", "conflicting_labels", "groups", "time", "label_known"
    ]
    count: int
    of: int = Field(description="How many were looked at.")
    examples: list[str] = Field(max_length=5)


class Leakage(Record):
    """The checks for leakage, and their findings."""

    checked: dict[str, str] = Field(description="Each check, and on how many samples or features.")
    findings: list[LeakageFinding]


class DataManifest(Record):
    """The data of a trial; the same for every trial of a study."""

    sha256: str = Field(
        description="Of the files, the split and how they were read; what `data.manifest` names."
    )
    format: str
    task: str
    classes: int = Field(description="0: regression.")
    class_names: list[str] = Field(description="Empty where labels are numbers from 0.")
    shape: list[int] = Field(description="Of one sample.")
    dtype: Literal["uint8", "float32"]
    split: str
    validation: str = Field(description="Fraction held out.")
    split_seed: int
    sources: list[SourceRecord]
    splits: dict[str, SplitRecord]
    preprocessing: list[PreprocessingStep]
    leakage: Leakage


def index_digest(index: NDArray[np.int64]) -> str:
    """Return the SHA-256 of places in a source, the same on every machine."""
    return hashlib.sha256(index.astype("<i8").tobytes()).hexdigest()


def array_file(name: str, *arrays: NDArray[np.generic]) -> File:
    """Return generated arrays as one file."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(array.tobytes())
    return File(name=name, size=sum(array.nbytes for array in arrays), sha256=digest.hexdigest())


def identity(settings: dict[str, object], sources: list[SourceRecord], splits: dict[str, SplitRecord]) -> str:
    """Return the SHA-256 of the data's identity; addresses are left out, since copies are as good."""
    what = {
        "settings": settings,
        "sources": [s.model_dump(exclude={"uri", "name"}) for s in sources],
        "splits": {name: s.model_dump() for name, s in splits.items()},
    }
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
