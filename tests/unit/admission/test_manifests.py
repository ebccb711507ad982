"""Files of manifests are read as kubectl reads them."""

import pytest

from comptroller.admission import Manifest, ManifestError, parse


def read(text: str) -> object:
    [manifest] = parse(f"value: {text}")
    return manifest.content["value"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3e-4", 0.0003),
        ("1.0", 1),
        ("0x10", 16),
        ("010", 8),
        ("1_000", 1000),
        ("1:30", "1:30"),
        ("2030-01-31", "2030-01-31"),
        ("2030-01-31T00:00:00Z", "2030-01-31T00:00:00Z"),
        ("y", True),
        ("Off", False),
        ("'y'", "y"),
        ("~", None),
        ("10m", "10m"),
        ("{1: a, true: b}", {"1": "a", "true": "b"}),
    ],
)
def test_yaml_is_read_as_kubectl_reads_it(text: str, value: object) -> None:
    assert read(text) == value


def test_a_key_given_twice_is_an_error() -> None:
    with pytest.raises(ManifestError, match="'a' is given twice"):
        parse("{a: 1, a: 2}")


def test_a_file_holds_several_manifests_and_lists_of_them() -> None:
    text = "kind: A\n---\n---\nkind: List\nitems: [{kind: B}, {kind: C}]\n"
    found = parse(text, "f.yaml")
    assert [(m.kind, m.line) for m in found] == [("A", 1), ("B", 4), ("C", 4)]
    assert isinstance(found[0], Manifest)


def test_anchors_and_merges_are_followed() -> None:
    [manifest] = parse("base: &b {x: 1, y1: 2}\nvalue: {<<: *b, x: 3}\n")
    assert manifest.content["value"] == {"x": 3, "y1": 2}


@pytest.mark.parametrize("text", ["a: [", "- 1", "'text'"])
def test_a_file_that_is_not_a_manifest_is_an_error(text: str) -> None:
    with pytest.raises(ManifestError):
        parse(text)
