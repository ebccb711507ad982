"""Readers of training arrays. None of them opens a test split (P8)."""

import gzip
import zipfile
import zlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from comptroller_trainer.data.source import ArrayInputs, DataError, Files, Numbers, RawData
from comptroller_trainer.errors import MissingError

_IMAGES = "train-images-idx3-ubyte"
_LABELS = "train-labels-idx1-ubyte"
_UBYTE = 0x08
_CHANNELS = frozenset({1, 3, 4})


def read_idx(files: Files) -> RawData:
    """MNIST's format, with or without gzip."""
    images = _idx(files, _IMAGES, 3)
    labels = _idx(files, _LABELS, 1)
    return RawData(_IMAGES, ArrayInputs(images[:, None]), labels.astype(np.int64))


def read_npz(files: Files, *, regression: bool) -> RawData:
    """`x_train` and `y_train` of `data.npz`, or of the only .npz file there is. No pickles."""
    names = [key for key in files.keys() if key.endswith(".npz")]  # noqa: SIM118 - no mapping
    name = "data.npz" if "data.npz" in names else names[0] if len(names) == 1 else ""
    if not name:
        raise DataError(f"{files.uri}: no data.npz and not exactly one other .npz file ({len(names)})")
    try:
        with np.load(files.fetch(name), allow_pickle=False) as archive:
            inputs, labels = archive["x_train"], archive["y_train"]
    except KeyError as error:
        raise DataError(f"{name}: {error}") from error
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{name}: not a whole .npz file without pickles: {error}") from error
    return RawData(
        name, ArrayInputs(_as_inputs(inputs, name)), _as_labels(labels, name, regression=regression)
    )


def read_mnist1d() -> RawData:
    """MNIST-1D (Greydanus, 2020) with its authors' settings; its last fifth, the test split, is dropped."""
    from mnist1d import data  # noqa: PLC0415 - imports what only this format needs

    made = data.make_dataset(data.get_dataset_args())
    inputs = np.ascontiguousarray(made["x"][:, None, :], dtype=np.float32)
    return RawData("mnist1d", ArrayInputs(inputs), made["y"].astype(np.int64))


def read_bundled(name: str) -> RawData:
    """A data set of scikit-learn's; every fifth sample is its test split here, and dropped."""
    from sklearn import datasets  # noqa: PLC0415 - three seconds

    loaders: dict[str, Callable[[], object]] = {
        "digits": datasets.load_digits,
        "breast_cancer": datasets.load_breast_cancer,
        "wine": datasets.load_wine,
        "diabetes": datasets.load_diabetes,
    }
    if name not in loaders:
        raise DataError("is not one of scikit-learn's data sets")
    made = loaders[name]()
    images = name == "digits"
    inputs, labels = np.asarray(made["images" if images else "data"]), np.asarray(made["target"])  # type: ignore[index]
    keep = np.arange(len(labels)) % 5 != 4  # noqa: PLR2004 - every fifth is the test split
    inputs = inputs[keep, None].astype(np.uint8) if images else inputs[keep].astype(np.float32)
    target: type[np.generic] = np.float32 if name == "diabetes" else np.int64
    return RawData(name, ArrayInputs(inputs), labels[keep].astype(target))


def _idx(files: Files, name: str, dimensions: int) -> NDArray[np.uint8]:
    for suffix in (".gz", ""):
        try:
            path = files.fetch(name + suffix)
        except MissingError:
            continue
        try:
            content = gzip.decompress(path.read_bytes()) if suffix else path.read_bytes()
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError(f"{name}{suffix}: not a whole gzip file: {error}") from error
        return _parse_idx(content, name + suffix, dimensions)
    raise DataError(f"{files.uri}: no {name} and no {name}.gz")


def _parse_idx(content: bytes, name: str, dimensions: int) -> NDArray[np.uint8]:
    header = 4 + 4 * dimensions
    if len(content) < header or content[:4] != bytes((0, 0, _UBYTE, dimensions)):
        raise DataError(f"{name}: not an IDX file of bytes in {dimensions} dimensions")
    shape = tuple(int(n) for n in np.frombuffer(content, ">u4", dimensions, 4))
    size = int(np.prod(shape, dtype=np.int64))
    if len(content) - header != size:
        raise DataError(f"{name}: {len(content) - header} bytes where its header says {size}")
    # A copy, since torch wants memory it may write to.
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape).copy()


def _as_inputs(array: NDArray[np.generic], name: str) -> Numbers:
    if array.dtype.kind not in "uif":
        raise DataError(f"{name}: x_train is {array.dtype}, not numbers")
    if array.ndim == 3:  # noqa: PLR2004 - (n, height, width)
        array = array[:, None]
    elif array.ndim == 4:  # noqa: PLR2004 - images with channels, first or last
        last = array.shape[-1] in _CHANNELS and array.shape[1] not in _CHANNELS
        array = np.moveaxis(array, -1, 1) if last else array
    elif array.ndim != 2:  # noqa: PLR2004 - (n, columns)
        raise DataError(
            f"{name}: x_train has {array.ndim} dimensions; 2 (tables), 3 or 4 (images) can be used"
        )
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array, np.uint8)
    return np.ascontiguousarray(array, np.float32)


def _as_labels(
    array: NDArray[np.generic], name: str, *, regression: bool
) -> NDArray[np.int64] | NDArray[np.float32]:
    flat = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array  # noqa: PLR2004 - (n, 1)
    if flat.ndim != 1 or flat.dtype.kind not in ("uif" if regression else "ui"):
        wanted = "one number" if regression else "one whole number"
        raise DataError(f"{name}: y_train is {array.dtype} of shape {array.shape}, not {wanted} each")
    return flat.astype(np.float32) if regression else flat.astype(np.int64)
