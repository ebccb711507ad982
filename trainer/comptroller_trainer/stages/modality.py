"""The kinds of samples, by the number of dimensions of one sample."""

from comptroller_trainer.errors import AssignmentError

TABLE, SEQUENCE, IMAGE = 1, 2, 3
"""(features,), (channels, length), (channels, height, width)."""
_NAMES = {IMAGE: "images", SEQUENCE: "sequences", TABLE: "tables"}


def require(field: str, value: str, shape: tuple[int, ...], *kinds: int) -> None:
    """Refuse samples of `shape` unless the number of dimensions is among `kinds`.

    Raises:
        AssignmentError: the stage that `field` names by `value` has no meaning for the samples.
    """
    if len(shape) not in kinds:
        wanted = " or ".join(_NAMES[kind] for kind in kinds)
        raise AssignmentError(field, value, f"needs {wanted}, not samples of {shape}")
