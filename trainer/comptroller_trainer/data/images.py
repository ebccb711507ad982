"""Images, decoded once into a file of bytes that is then mapped and not read."""

import hashlib
import io
import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from comptroller_trainer.data.manifest import PreprocessingStep, index_digest
from comptroller_trainer.data.rows import damaged
from comptroller_trainer.data.source import DataError, Inputs
from comptroller_trainer.errors import ObjectStoreError

if TYPE_CHECKING:
    from datasets import Dataset as Rows
    from PIL.Image import Image

_LARGEST = 4096
_GREY = frozenset({"1", "L"})
_COLOUR = frozenset({"P", "RGB", "RGBA", "CMYK", "YCbCr", "PA", "LA"})
_CHUNK = 256


@dataclass
class ImageInputs(Inputs):
    """Encoded images of one column; grey ones have one channel, all others three."""

    rows: "Rows"
    column: str
    key: str
    """Hash of the source's content: the same for the same images."""
    steps_: list[PreprocessingStep] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.rows)

    def arrange(
        self, train: NDArray[np.int64], validation: NDArray[np.int64], cache: Path
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """The splits lie in one file, one after the other, so that each is a part of the map."""
        from datasets import Image as Encoded  # noqa: PLC0415 - seconds

        order = np.concatenate([train, validation])
        named = "/".join([self.key, self.column, index_digest(order)])
        path = cache / "decoded" / f"{hashlib.sha256(named.encode()).hexdigest()[:32]}.npy"
        if not path.is_file():
            encoded = self.rows.select_columns(self.column).cast_column(self.column, Encoded(decode=False))
            self._decode(encoded, order, path)
        self.steps_ = [PreprocessingStep(column=self.column, kind="image", outputs=1)]
        # Copy-on-write, since torch wants memory it may write to.
        whole = np.load(path, mmap_mode="c", allow_pickle=False)
        return whole[: len(train)], whole[len(train) :]

    def _decode(self, encoded: "Rows", order: NDArray[np.int64], path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        first = self._one(encoded[int(order[0])][self.column], int(order[0]), None)
        shape = (len(order), *first.shape)
        size, room = int(np.prod(shape, dtype=np.int64)), shutil.disk_usage(path.parent).free
        if size > room:  # a map of a full disk ends the process without a word
            raise ObjectStoreError(f"{path.parent}: {size} bytes of decoded images, and room for {room}")
        handle, temporary = tempfile.mkstemp(dir=path.parent)
        os.close(handle)
        try:
            out = np.lib.format.open_memmap(temporary, "w+", np.uint8, shape)
            # Decoders let go of the interpreter's lock.
            with ThreadPoolExecutor(torch.get_num_threads()) as pool:
                places = iter(range(len(order)))
                while chunk := list(islice(places, _CHUNK)):
                    wanted = order[chunk]
                    images = encoded[wanted][self.column]
                    jobs = zip(images, wanted.tolist(), strict=True)
                    done = pool.map(lambda job: self._one(job[0], job[1], first.shape), jobs)
                    out[chunk[0] : chunk[-1] + 1] = list(done)
            out.flush()
            Path(temporary).replace(path)
        finally:
            Path(temporary).unlink(missing_ok=True)

    def _one(
        self, encoded: dict[str, Any] | None, row: int, shape: tuple[int, ...] | None
    ) -> NDArray[np.uint8]:
        """(channels, height, width), which is `shape` if that is given."""
        from PIL import Image  # noqa: PLC0415 - only images need it

        if encoded is None:
            raise DataError(f"sample {row} has no image")
        name = f"image {row} ({encoded['path']})" if encoded.get("path") else f"image {row}"
        source = io.BytesIO(encoded["bytes"]) if encoded.get("bytes") else encoded.get("path")
        if source is None:
            raise DataError(f"{name}: has neither bytes nor a path")
        try:
            with damaged(name), Image.open(source) as image:
                array = _channels(image, name)
        except Image.DecompressionBombError as error:
            raise DataError(f"{name}: {error}") from error
        if shape is not None and array.shape != shape:
            raise DataError(
                f"{name}: is {_described(array.shape)} where the first is {_described(shape)};"
                " all need one size"
            )
        return array


def _channels(image: "Image", name: str) -> NDArray[np.uint8]:
    width, height = image.size
    if width > _LARGEST or height > _LARGEST:
        raise DataError(f"{name}: {width} x {height} pixels; at most {_LARGEST} x {_LARGEST} can be used")
    if image.mode not in _GREY | _COLOUR:
        raise DataError(f"{name}: its pixels are {image.mode}, not bytes")
    pixels = np.asarray(image.convert("L" if image.mode in _GREY else "RGB"))
    return np.ascontiguousarray(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1))  # noqa: PLR2004 - grey


def _described(shape: tuple[int, ...]) -> str:
    return f"{shape[2]} x {shape[1]} in {'grey' if shape[0] == 1 else 'colour'}"
