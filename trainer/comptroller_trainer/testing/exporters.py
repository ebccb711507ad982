"""Conformance tests of exporters."""
# ruff: noqa: S101 - pytest's way to say what must hold

import copy
import io
import pickletools
import shutil
import zipfile
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from torch import nn

from comptroller_trainer.export.base import Exporter
from comptroller_trainer.export.onnx import check_close, computed, export
from comptroller_trainer.models.base import EstimatorFamily, Family
from comptroller_trainer.models.convolutional import Cnn, ConvolutionalParameters
from comptroller_trainer.models.mlp import Mlp, MlpParameters
from comptroller_trainer.models.recurrent import Gru, GruParameters
from comptroller_trainer.stages.base import Context
from comptroller_trainer.stages.modality import IMAGE, SEQUENCE, TABLE
from comptroller_trainer.testing.models import SHAPES, same_module, samples, untrained

_CLASSES = 3
_SIZES = (1, 5)
"""Sizes of the batches that forms are tried with; another size is traced."""


class Model(NamedTuple):
    """A model as exporters get it."""

    module: nn.Module
    graph: Path
    context: Context
    inputs: torch.Tensor


class ExporterConformance:
    """Tests of one exporter. A subclass sets what is below."""

    exporter: ClassVar[type[Exporter]]
    families: ClassVar[tuple[tuple[int, Family[Any]], ...]] = (
        (IMAGE, Cnn(ConvolutionalParameters(width=4, depth=1))),
        (SEQUENCE, Gru(GruParameters(width=4))),
        (TABLE, Mlp(MlpParameters(width=4))),
    )
    """Families of the exported models, each with a kind of samples."""
    pickled: ClassVar[bool] = False
    """True if the format itself is made of pickles, which only a restricted reader reads."""

    def made(self, kind: int, family: Family[Any], directory: Path) -> Model:
        """Return a small model, its files in a new directory in `directory`."""
        shape = SHAPES[kind]
        scratch = directory / f"{len(list(directory.iterdir()))}"
        scratch.mkdir()
        context = Context(0, 1, _CLASSES, shape, torch.device("cpu"), scratch)
        data = samples(shape, _CLASSES)
        if isinstance(family, EstimatorFamily):
            module = family.train(data, None, 1.0, context)
        else:
            module = untrained(family, shape, _CLASSES)
        graph, _ = export(module, context)
        return Model(module.eval(), graph, context, data.inputs)

    def first(self, directory: Path) -> Model:
        """Return a model of the first family."""
        return self.made(*self.families[0], directory)

    def test_it_can_work_here(self) -> None:
        self.exporter().check()

    def test_what_is_read_again_computes_the_same(self, tmp_path: Path) -> None:
        for kind, family in self.families:
            model, exporter = self.made(kind, family, tmp_path), self.exporter()
            self._compare(model, exporter, exporter.write(*model[:3]))

    def test_it_holds_the_graph_or_the_module_as_it_says(self, tmp_path: Path) -> None:
        exporter, model = self.exporter(), self.first(tmp_path)
        with torch.no_grad():
            for parameter in model.module.parameters():  # as int8 makes the two different
                parameter.mul_(1.5)
            computes = model.module(model.inputs)
        assert not torch.allclose(computes, computed(model.graph, model.inputs), rtol=0.1)
        self._compare(model, exporter, exporter.write(*model[:3]))

    def test_what_is_written_is_new_and_in_the_directory_of_the_trial(self, tmp_path: Path) -> None:
        model = self.first(tmp_path)
        before = _files(tmp_path)
        path = self.exporter().write(*model[:3])
        written = _files(path)
        assert written, "nothing is written"
        assert not written & before, "what is written was there before"
        directory = model.context.directory
        assert path.parent == directory, f"{path} is not in {directory}"
        outside = [file for file in _files(tmp_path) - before if not file.is_relative_to(directory)]
        assert not outside, f"files outside {directory}: {outside}"

    def test_the_module_and_the_graph_are_not_changed(self, tmp_path: Path) -> None:
        for kind, family in self.families[:2]:
            model = self.made(kind, family, tmp_path)
            module, graph = copy.deepcopy(model.module), model.graph.read_bytes()
            exporter = self.exporter()
            exporter.read(exporter.write(*model[:3]))(model.inputs[:2])
            assert same_module(model.module, module), "the module was changed"
            assert model.graph.read_bytes() == graph, "the graph was changed"

    def test_what_is_written_can_be_moved(self, tmp_path: Path) -> None:
        model, exporter = self.first(tmp_path), self.exporter()
        path = exporter.write(*model[:3])
        (elsewhere := tmp_path / "elsewhere").mkdir()
        moved = Path(shutil.move(path, elsewhere))
        kept = model._replace(graph=Path(shutil.copy(model.graph, elsewhere / "kept.onnx")))
        shutil.rmtree(model.context.directory)
        self._compare(kept, exporter, moved)

    def test_it_writes_no_pickle_unless_it_says_so(self, tmp_path: Path) -> None:
        path = self.exporter().write(*self.first(tmp_path)[:3])
        found = [name for file in sorted(_files(path)) for name in pickles(file.name, file.read_bytes())]
        assert bool(found) == self.pickled, f"pickles: {found}"

    def _compare(self, model: Model, exporter: Exporter, path: Path) -> None:
        read = exporter.read(path)
        for size in _SIZES:
            inputs = model.inputs[:size]
            with torch.no_grad():
                expected = computed(model.graph, inputs) if exporter.holds_graph else model.module(inputs)
                check_close(read(inputs), expected, "model")


def pickles(name: str, content: bytes) -> list[str]:
    """Return the names of the pickles in a file, also those in archives of archives."""
    if zipfile.is_zipfile(io.BytesIO(content)):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            parts = [(f"{name}/{part}", archive.read(part)) for part in archive.namelist()]
        return [found for part in parts for found in pickles(*part)]
    return [name] if name.endswith((".pkl", ".pickle")) or _is_pickle(content) else []


def _is_pickle(content: bytes) -> bool:
    if not content.startswith(b"\x80"):  # the first byte since protocol 2
        return False
    try:
        for _ in pickletools.genops(content):
            pass
    except (ValueError, UnicodeDecodeError):
        return False
    return True


def _files(path: Path) -> set[Path]:
    return {path} if path.is_file() else {file for file in path.rglob("*") if file.is_file()}
