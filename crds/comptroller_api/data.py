"""`Data`: the address of a study's samples, the features and the label, and the validation split."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from comptroller_api.meta import ListMap, ListSet, Model, Rule, matches
from comptroller_api.quantity import Number, PositiveNumber, is_number

S3 = r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9._/=-]*)?"
_BUNDLED = ("digits", "breast_cancer", "wine", "diabetes")
_DATA = rf"^({S3}|file:///[A-Za-z0-9._/-]+|generated:(mnist1d|{'|'.join(_BUNDLED)}))$"
_SOURCE = "^[a-z0-9]([a-z0-9_-]*[a-z0-9])?$"
_SHA256 = "^[0-9a-f]{64}$"

DataUri = Annotated[
    str,
    Field(pattern=_DATA, max_length=512),
    matches(
        _DATA,
        "must be an S3 URI such as 's3://bucket/prefix', a file URI such as 'file:///data/mnist',"
        " or 'generated:mnist1d'",
    ),
]
"""The address of samples."""

Task = Literal["Classification", "Regression"]
"""The kind of what a model predicts: classes or numbers."""

Column = Annotated[str, Field(min_length=1, max_length=128)]
"""The name of a column, of a member of a WebDataset, or of a field of an image folder's metadata."""


class Source(Model):
    """One part of a mixture. `budget` and `weight` limit the training samples, not the validation samples."""

    name: Annotated[
        str,
        Field(pattern=_SOURCE, max_length=63),
        matches(
            _SOURCE, "must be a source's name: a-z, 0-9, '-' and '_', with a letter or digit at both ends"
        ),
    ] = Field(description="The name of the source in reports.")
    uri: DataUri = Field(description="s3://bucket/prefix or file:///path.")
    budget: int | None = Field(
        default=None, ge=1, le=10**9, description="The most training samples from this source; all if absent."
    )
    weight: PositiveNumber | None = Field(
        default=None,
        description="The source's share of the training samples, relative to the other weights; no sample is"
        " repeated.",
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("!has(self.budget) || !has(self.weight)", "a source has a budget or a weight, not both"),
        Rule("!self.uri.startsWith('generated:')", "a source of a mixture needs files", ".uri"),
    )


class Data(Model):
    """The samples. `splitSeed` fixes the splits, which never change."""

    uri: DataUri | None = Field(
        default=None,
        description="s3://bucket/prefix, file:///path, generated:mnist1d, or one of scikit-learn's own:"
        " generated:digits, generated:breast_cancer, generated:wine, generated:diabetes.",
    )
    format: Literal[
        "IDX", "NPZ", "MNIST1D", "Parquet", "ImageFolder", "WebDataset", "HuggingFace", "Bundled"
    ] = Field(
        description="The storage format; HuggingFace: a directory that `datasets` saved, Bundled: data of"
        " scikit-learn."
    )
    sources: Annotated[list[Source], Field(min_length=1, max_length=16), ListMap("name")] | None = Field(
        default=None, description="A mixture of sources in one format, instead of uri."
    )
    task: Task = Field(
        default="Classification",
        description="Classification predicts classes, Regression predicts numbers.",
    )
    label: Column | None = Field(
        default=None,
        description="The column to predict; if absent, label, a WebDataset's cls, or an image folder's"
        " directories.",
    )
    features: Annotated[list[Column], Field(min_length=1, max_length=256), ListSet()] | None = Field(
        default=None,
        description="The columns to predict from: one image column, or numeric and categorical columns, or"
        " sequence columns. If absent, all columns without another use.",
    )
    group: Column | None = Field(
        default=None,
        description="The column of groups; all samples of a group are on the same side of a split.",
    )
    time: Column | None = Field(default=None, description="The column with the time of a sample.")
    slice: Column | None = Field(
        default=None,
        description="The column whose values are slices, for which metrics are reported one by one.",
    )
    split: Literal["Stratified", "Random", "Group", "Time"] = Field(
        default="Stratified",
        description="The choice of validation samples: with the same shares of labels, at random, by whole"
        " groups, or the latest.",
    )
    validation: Annotated[
        Number,
        Rule(
            f"!{is_number('self')} || (double(self) > 0.0 && double(self) < 0.9)",
            "must be more than 0 and less than 0.9",
        ),
    ] = Field(
        default="0.1", description="The fraction of the training samples that is held out for validation."
    )
    split_seed: int = Field(
        default=0, ge=0, le=2**31 - 1, description="The seed of the choice of validation samples."
    )
    manifest: (
        Annotated[
            str,
            Field(pattern=_SHA256, max_length=64),
            matches(_SHA256, "must be a SHA-256: 64 of 0-9 and a-f, as in a trial's data.json"),
        ]
        | None
    ) = Field(
        default=None,
        description="The data's SHA-256, as in a trial's data.json; other data are refused.",
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("has(self.uri) != has(self.sources)", "data need either uri or sources", ".uri"),
        Rule(
            "!has(self.uri) || !self.uri.startsWith('generated:') ||"
            " self.format == (self.uri == 'generated:mnist1d' ? 'MNIST1D' : 'Bundled')",
            "format must be MNIST1D for generated:mnist1d and Bundled for the other generated data",
            ".format",
        ),
        Rule(
            "self.format != 'Bundled' || (has(self.uri) && self.uri.startsWith('generated:'))",
            "format Bundled needs a generated uri such as 'generated:digits'",
            ".uri",
        ),
        Rule("self.format != 'MNIST1D' || has(self.uri)", "format MNIST1D has no sources", ".sources"),
        Rule(
            "!has(self.uri) || !self.uri.startsWith('generated:') ||"
            " (self.uri == 'generated:diabetes') == (self.task == 'Regression')",
            "task must be Regression for generated:diabetes and Classification for the other generated data",
            ".task",
        ),
        Rule(
            "self.task == 'Classification' || !(self.format in ['IDX', 'MNIST1D'])",
            "task Regression needs a format whose labels are numbers: not IDX or MNIST1D",
            ".task",
        ),
        Rule(
            "self.task == 'Classification' || self.format != 'ImageFolder' || has(self.label)",
            "task Regression with format ImageFolder needs label, since directories are classes",
            ".label",
        ),
        Rule(
            "self.format in ['Parquet', 'ImageFolder', 'WebDataset', 'HuggingFace'] || !(has(self.label) ||"
            " has(self.features) || has(self.group) || has(self.time) || has(self.slice))",
            "label, features, group, time and slice need a format with columns: Parquet, ImageFolder,"
            " WebDataset or HuggingFace",
            ".format",
        ),
        Rule("self.split != 'Group' || has(self.group)", "split Group needs group", ".split"),
        Rule("self.split != 'Time' || has(self.time)", "split Time needs time", ".split"),
        Rule(
            "!has(self.label) || ((!has(self.features) || !(self.label in self.features)) &&"
            " (!has(self.group) || self.label != self.group))",
            "label must not be among features, nor be group",
            ".label",
        ),
        Rule(
            "!has(self.sources) || self.sources.all(s, has(s.weight)) ||"
            " !self.sources.exists(s, has(s.weight))",
            "either all sources have a weight, or none",
            ".sources",
        ),
    )
