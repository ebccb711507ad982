"""Manifests as `kubectl` reads them: YAML 1.1 with Go's idea of a number, or JSON, made into JSON values.

PyYAML differs where it matters: it reads `3e-4` as text and `1:30` as 90, makes dates of dates, and lets a
later key win over an earlier one.
"""

import re
import sys
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

MAX_BYTES = 8 * 2**20
"""The most bytes of a text that is read; the API server takes no object of more than 3 MiB."""
MAX_DEPTH = 100
"""The greatest depth of nested maps and lists: ours need less than 20, schemas of others about 50."""
_TRUE = {"y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"}
_FALSE = {"n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"}
_NULL = {"", "~", "null", "Null", "NULL"}
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9_]*|0o?[0-7_]+|0[xX][0-9a-fA-F_]+|0[bB][01_]+)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


class ManifestError(ValueError):
    """The text is not YAML or JSON, not a list of objects, too large, or too deep."""


@dataclass(frozen=True)
class Manifest:
    """One object of a file, as JSON values."""

    source: str
    line: int
    content: dict[str, Any]

    @property
    def api_version(self) -> str:
        return str(self.content.get("apiVersion", ""))

    @property
    def kind(self) -> str:
        return str(self.content.get("kind", ""))

    @property
    def name(self) -> str:
        metadata = self.content.get("metadata")
        return str(metadata.get("name", "")) if isinstance(metadata, dict) else ""


class _Loader(yaml.SafeLoader):
    """Resolves plain scalars and builds maps as `kubectl` does."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose a node, and count the nodes around it before Python's own stack is used up."""
        self.depth += 1
        try:
            if self.depth > MAX_DEPTH:
                mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
                raise yaml.composer.ComposerError(
                    None, None, f"maps and lists are more than {MAX_DEPTH} deep in each other", mark
                )
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1

    yaml_implicit_resolvers: dict[str, list[Any]] = {}  # noqa: RUF012 - PyYAML's own name and form

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        tag: str = super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]
        if kind is yaml.ScalarNode and implicit[0] and tag == "tag:yaml.org,2002:str":
            return f"tag:yaml.org,2002:{_plain(value)}"
        return tag

    def construct_scalar_value(self, node: yaml.ScalarNode) -> Any:
        text = node.value
        match node.tag.rpartition(":")[2]:
            case "null":
                return None
            case "bool":
                return text in _TRUE
            case "int":
                return _integer(text)
            case "float":
                number = float(text.replace("_", ""))
                return int(number) if number.is_integer() else number
        return text

    def construct_map(self, node: yaml.MappingNode) -> dict[str, Any]:
        given: set[str] = set()
        for key_node, _ in node.value:
            name = self.key_name(key_node)
            if name in given:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {name!r} is given twice", key_node.start_mark
                )
            given.add(name)
        self.flatten_mapping(node)
        return {self.key_name(key): self.construct_object(value, deep=True) for key, value in node.value}

    def key_name(self, node: yaml.Node) -> str:
        """A key as text."""
        if not isinstance(node, yaml.ScalarNode) or node.tag.endswith(":null"):
            raise yaml.constructor.ConstructorError(None, None, "a key must be text", node.start_mark)
        key = self.construct_scalar_value(node)
        return str(key).lower() if isinstance(key, bool) else str(key)


for _tag in ("null", "bool", "int", "float", "str", "timestamp"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _Loader.construct_scalar_value)
_Loader.add_constructor("tag:yaml.org,2002:map", _Loader.construct_map)


def _plain(text: str) -> str:
    """The kind of a plain scalar."""
    if text in _NULL:
        return "null"
    if text in _TRUE or text in _FALSE:
        return "bool"
    if text == "<<":
        return "merge"
    if _INTEGER.fullmatch(text):
        return "int"
    return "float" if _FLOAT.fullmatch(text) else "str"


def _integer(text: str) -> int:
    digits = text.replace("_", "")
    octal = re.fullmatch(r"([-+]?)0([0-7]+)", digits)
    return int(f"{octal[1]}0o{octal[2]}", 0) if octal else int(digits, 0)


def parse(text: str, source: str = "-") -> list[Manifest]:
    """The objects of one text; a `List` stands for its items, an empty document for nothing.

    Raises:
        ManifestError: the text is not YAML, has more than `MAX_BYTES` bytes, nests maps and lists more than
            `MAX_DEPTH` deep, or a document is not an object.
    """
    if len(text.encode(errors="surrogatepass")) > MAX_BYTES:
        raise ManifestError(_too_large(source))
    out = []
    try:
        for node in yaml.compose_all(text, Loader=_Loader):
            content = _construct(node)
            line = node.start_mark.line + 1
            if content is None:
                continue
            if not isinstance(content, dict):
                raise ManifestError(f"{source}:{line}: a manifest must be an object")
            items = content.get("items")
            if content.get("kind") == "List" and isinstance(items, list):
                out += [Manifest(source, line, item) for item in items if isinstance(item, dict)]
            else:
                out.append(Manifest(source, line, content))
    except yaml.YAMLError as error:
        raise ManifestError(f"{source}: {error}") from error
    return out


def _too_large(source: str) -> str:
    return f"{source}: it has more than {MAX_BYTES // 2**20} MiB, and no manifest has"


def _construct(node: yaml.Node) -> Any:
    loader = _Loader("")
    try:
        return loader.construct_object(node, deep=True)
    finally:
        loader.dispose()


def read(path: Path) -> list[Manifest]:
    """The objects of a file, or of standard input where `path` is `-`.

    Raises:
        OSError: the file cannot be read.
        ManifestError: see `parse`.
    """
    with nullcontext(sys.stdin.buffer) if str(path) == "-" else path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ManifestError(_too_large(str(path)))
    try:
        return parse(content.decode("utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path}: {error}") from error
