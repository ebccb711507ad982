"""The anchor of a journal: its head and what was spent, published outside of the bucket.

A chain of hashes shows every change before its last batch, and nothing after it: a journal that was deleted,
cut off or restored from an old copy is a valid journal. So the cluster keeps the head too. The anchor is
written after batches, may lag behind them, and never goes back by itself.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from comptroller.ledger.encoding import Head
from comptroller_api.money import to_amount, to_micro

FORMAT = 1
"""The version of an anchor's fields; counts up with each change that an older release would misread."""


class UnreadableAnchor(ValueError):  # noqa: N818 - says what it is
    """An anchor that no release wrote, or a newer one."""


@dataclass(frozen=True, slots=True)
class Published:
    """The published head of one namespace's journal."""

    head: Head = field(default_factory=Head)
    """The head of the journal; `empty` if none was published yet."""
    spent: Mapping[str, int] = field(default_factory=dict)
    """Micro-units posted in all, by currency."""
    time: int = 0
    """The time of publication, in unix seconds of the publisher's clock."""
    ledger: str = ""
    """The URI of the bucket, for people."""
    accepted: str = ""
    """The head that an administrator accepted in place of `head`, as SEQUENCE:HASH or `empty`."""
    version: str = field(default="", compare=False)
    """The version of the object that contains it, if its store has versions."""

    def fields(self) -> dict[str, str]:
        """Return everything but `accepted` and `version` as text."""
        return {
            "format": str(FORMAT),
            "head": str(self.head),
            "spent": json.dumps({name: to_amount(micro) for name, micro in sorted(self.spent.items())}),
            "published": f"{datetime.fromtimestamp(self.time, UTC):%Y-%m-%dT%H:%M:%SZ}",
            "ledger": self.ledger,
        }

    @classmethod
    def of(cls, fields: Mapping[str, str], accepted: str = "", version: str = "") -> "Published":
        """Return what `fields` says.

        Raises:
            UnreadableAnchor: a field is missing, malformed, or of a newer release.
        """
        try:
            if int(fields["format"]) > FORMAT:
                raise _newer(fields["format"])
            return cls(
                Head.parse(fields["head"]),
                {name: to_micro(amount) for name, amount in json.loads(fields["spent"]).items()},
                int(datetime.fromisoformat(fields["published"]).timestamp()),
                fields.get("ledger", ""),
                accepted,
                version,
            )
        except UnreadableAnchor:
            raise
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise UnreadableAnchor(f"it is not an anchor: {type(error).__name__}: {error}") from error


def _newer(version: str) -> UnreadableAnchor:
    return UnreadableAnchor(
        f"written by a newer release (format {version}, this one reads up to {FORMAT}): upgrade"
    )


class Anchor(Protocol):
    """The place where heads of journals are published. Every method may raise; then nothing is known."""

    async def incarnation(self) -> str:
        """Return the random name of this installation, which is made once and never changes."""
        ...

    async def read(self, namespace: str) -> Published | None:
        """Return what is published of a namespace's journal, or `None` where nothing ever was."""
        ...

    async def write(self, namespace: str, new: Published, seen: Published | None) -> Published | None:
        """Replace `seen` (`None`: nothing) by `new`.

        Returns:
            What is published now, or `None` where it was not `seen` any more; then nothing was written.
        """
        ...

    def acceptance(self, namespace: str, found: Head) -> str:
        """Return what an administrator does to accept `found` in place of the published head."""
        ...


class MemoryAnchor:
    """An anchor in this process, for tests and simulation."""

    def __init__(self, incarnation: str = "memory") -> None:
        """Publish nothing yet."""
        self.published: dict[str, Published] = {}
        self._incarnation = incarnation

    async def incarnation(self) -> str:
        return self._incarnation

    async def read(self, namespace: str) -> Published | None:
        return self.published.get(namespace)

    async def write(self, namespace: str, new: Published, seen: Published | None) -> Published | None:
        if self.published.get(namespace) != seen:
            return None
        self.published[namespace] = new
        return new

    def acceptance(self, namespace: str, found: Head) -> str:
        return f"accept {found} for {namespace}"


def published_heads(data: bytes) -> dict[str, Head]:
    """Return the heads in a JSON file, by namespace.

    Args:
        data: what `ledger verify -o json` prints, a directory's anchor, or one or several of the ConfigMaps
            that hold anchors, as `kubectl get -o json` prints them.

    Raises:
        ValueError: the file is not one of these.
    """
    try:
        content = json.loads(data)
        items = content["items"] if isinstance(content, dict) and "items" in content else content
        records = items if isinstance(items, list) else [items]
        fields = [record.get("data", record) for record in records]
        return {one["namespace"]: Head.parse(one["head"]) for one in fields if "namespace" in one}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(
            f"it has no heads: expected JSON with `namespace` and `head` ({type(error).__name__}: {error})"
        ) from error


class DirectoryAnchor:
    """An anchor in files, for runs on one machine. One process at a time."""

    def __init__(self, directory: Path) -> None:
        """Use `directory`, which is made at the first write and must not be the ledger's."""
        self._directory = directory

    async def incarnation(self) -> str:
        return "local"

    async def read(self, namespace: str) -> Published | None:
        try:
            content: dict[str, Any] = json.loads(self._path(namespace).read_text())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise UnreadableAnchor(f"{self._path(namespace)}: {error}") from error
        return Published.of(content, content.get("accepted", ""))

    async def write(self, namespace: str, new: Published, seen: Published | None) -> Published | None:
        if await self.read(namespace) != seen:
            return None
        self._directory.mkdir(parents=True, exist_ok=True)
        path = self._path(namespace)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps({"namespace": namespace, **new.fields()}, indent=2) + "\n")
        partial.replace(path)
        return new

    def acceptance(self, namespace: str, found: Head) -> str:
        return f'add "accepted": "{found}" to {self._path(namespace)}'

    def _path(self, namespace: str) -> Path:
        return self._directory / f"{namespace}.json"
