"""Stages by name, through entry points: ours and a user's are found the same way.

A distribution that registers a class in one of these groups adds a method, with no fork of this one:

    [project.entry-points."comptroller.selectors"]
    mine = "my_package:MySelector"
"""

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import NamedTuple

from comptroller_trainer.errors import AssignmentError


class StageChoice(NamedTuple):
    """The parameter that picks a lever's stage."""

    field: str
    default: str
    group: str


CHOICES = {
    "model": StageChoice("family", "cnn", "comptroller.models"),
    "data": StageChoice("selector", "all", "comptroller.selectors"),
    "augment": StageChoice("policy", "none", "comptroller.augmentations"),
    "compress": StageChoice("method", "none", "comptroller.compressors"),
}
EXPORTERS = "comptroller.exporters"
"""The group of entry points that `recipe.exports` names."""


@cache
def known(group: str) -> dict[str, EntryPoint]:
    """Return the group's entry points by name, sorted.

    Raises:
        AssignmentError: two distributions register one name, so that it says nothing.
    """
    found: dict[str, EntryPoint] = {}
    for point in sorted(entry_points(group=group), key=lambda p: p.name):
        other = found.setdefault(point.name, point)
        if other.value != point.value:
            raise AssignmentError(group, point.name, f"is registered twice: {other.value} and {point.value}")
    return found


def find(group: str, field: str, name: str) -> EntryPoint:
    """Return the entry point called `name`; `load()` on it imports the class.

    Raises:
        AssignmentError: `field` names none of the group.
    """
    points = known(group)
    if name not in points:
        raise AssignmentError(field, name, f"is not known; known: {', '.join(points) or 'none'}")
    return points[name]
