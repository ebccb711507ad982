"""The checker of the project's English finds the faults that CONTRIBUTING.md describes."""

from pathlib import Path

import pytest

from language import commit, of_file


def _found(name: str, text: str) -> list[str]:
    return [f"{line}: {fault}" for line, fault in of_file(Path(name), text)]


@pytest.mark.parametrize(
    ("name", "text", "faults"),
    [
        ("a.py", '"""Return the sum."""\n', []),
        ("a.py", '"""What it costs."""\n', ["1: a docstring begins with 'What'"]),
        (
            "a.py",
            'class A:\n    """A lease."""\n\n    a: int\n    """Whether it is over."""\n',
            ["5: a doc"],
        ),
        (
            "a.py",
            "def f(x):\n    # Wh" + "oever calls it\n    return x is None\n",
            ["2: 'whoe" + "ver': write "],
        ),
        ("a.py", "found_to" + "ld = 1\nx = to" + "ld\n", ["2: 'to" + "ld': write "]),
        ("a.py", 'x = """What it is, and no docstring."""\n', []),
        ("a.md", "An attempt go" + "es\non.\n", ["1: 'go" + "es on': write continues"]),
        ("a.md", "What it is.\n", []),
    ],
)
def test_a_docstring_says_what_a_thing_is_in_the_words_of_the_field(name, text, faults):
    found = _found(name, text)
    assert len(found) == len(faults)
    assert all(one.startswith(fault) for one, fault in zip(found, faults, strict=True))


@pytest.mark.parametrize(
    ("message", "faults"),
    [
        ("Add a checker\n\nIt keeps the English plain.\n", []),
        ("Feed prices\n\nThey change.\n", []),
        ("Added a checker\n\nIt keeps the English plain.\n", ["imperative"]),
        ("The checker\n\nIt keeps the English plain.\n", ["imperative"]),
        ("add a checker\n\nIt keeps the English plain.\n", ["imperative"]),
        ("Add a checker.\n\nIt keeps the English plain.\n", ["period"]),
        ("Add a checker\n", ["body is empty"]),
        (f"Add {'a' * 70}\n\nIt is long.\n", ["has 74 characters, at most 72"]),
    ],
)
def test_a_commit_has_an_imperative_subject_and_a_body(message, faults):
    found = list(commit(message))
    assert len(found) == len(faults)
    assert all(fault in one for one, fault in zip(found, faults, strict=True))
