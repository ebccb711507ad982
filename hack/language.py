"""Check the project's English: docstring openings, banned words and phrases, commit subjects and bodies.

The rules are those of CONTRIBUTING.md. Run by `make check`; prints each fault as `file:line: fault`.
"""

import argparse
import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
QUESTIONS = frozenset(
    {"What", "How", "Whether", "Which", "Where", "When", "Why", "Who", "Whose", "Of", "From"}
)
"""A docstring says what a thing does or is, so it does not begin with one of these."""
BANNED = {
    "told": "reported, notified",
    "said": "reported, stated",
    "asked": "requested",
    "beside": "next to",
    "anew": "again",
    "surely": "certainly, or nothing",
    "whoever": "callers, users",
    "for ever": "forever, or a bound",
    "goes on": "continues",
    "is none": "does not exist",
    "makes of": "name what it does",
    "what it is worth": "name the value",
}
"""Words of the project's old dialect, and what to write."""
_BANNED = re.compile(r"\b(" + "|".join(BANNED).replace(" ", r"\s+") + r")\b(?!-)", re.IGNORECASE)
SUBJECT = 72
"""Characters of a commit's subject at most."""
_NOT_IMPERATIVE = re.compile(r"^(?:\w+(?:ed|ing)|What|How|The|An?)\b")
_IMPERATIVES = frozenset(
    {"Bring", "Embed", "Exceed", "Feed", "Need", "Proceed", "Seed", "Shed", "Speed", "String", "Succeed"}
)
_PROSE = (".md", ".yaml", ".tpl", ".txt", ".toml")
_GENERATED = re.compile(r"(^|/)(CHANGELOG\.md|uv\.lock|LICENSE.*)$|^benchmarks/logs/")


def docstrings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the line and text of each docstring, those of attributes included."""
    for node in ast.walk(tree):
        for statement in getattr(node, "body", ()) if not isinstance(node, ast.Lambda | ast.IfExp) else ():
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                text = statement.value.value
                if isinstance(text, str) and text.strip():
                    yield statement.lineno, text


def opening(text: str) -> str | None:
    """Return the fault of a docstring's first word, or `None`."""
    first = re.split(r"\W", text.strip(), maxsplit=1)[0]
    if first in QUESTIONS:
        return f"a docstring begins with {first!r}: write what the thing does (`Return ...`) or is"
    return None


def words(text: str) -> Iterator[tuple[int, str]]:
    """Yield the line and fault of each banned word or phrase."""
    for found in _BANNED.finditer(text):
        word = re.sub(r"\s+", " ", found.group(1)).lower()
        if word == "is none" and found.group(1).endswith("None"):
            continue  # Python's own
        yield text.count("\n", 0, found.start()) + 1, f"{word!r}: write {BANNED[word]}"


def commit(message: str) -> Iterator[str]:
    """Yield the faults of a commit's message."""
    subject, _, body = message.strip().partition("\n")
    if len(subject) > SUBJECT:
        yield f"the subject has {len(subject)} characters, at most {SUBJECT}: {subject!r}"
    first = subject.split(" ", 1)[0]
    if not first[:1].isupper() or (_NOT_IMPERATIVE.match(subject) and first not in _IMPERATIVES):
        yield f"the subject does not begin with an imperative such as `Add`: {subject!r}"
    if subject.endswith("."):
        yield f"the subject ends with a period: {subject!r}"
    if not body.strip():
        yield f"the body is empty and must say why: {subject!r}"
    for _, fault in words(message):
        yield f"{fault}: {subject!r}"


def of_file(path: Path, text: str) -> Iterator[tuple[int, str]]:
    """Yield the line and fault of each fault in a file of the project."""
    if path.suffix == ".py":
        for line, doc in docstrings(ast.parse(text)):
            if (fault := opening(doc)) is not None:
                yield line, fault
    yield from words(text)


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout


def commits() -> Iterator[str]:
    """Yield the messages of the commits since this check came, as far as the clone has them."""
    own = Path(__file__).relative_to(ROOT).as_posix()
    first = _git("log", "--diff-filter=A", "--format=%H", "--", own).split()[-1:]
    if first:
        yield from _git("log", "--no-merges", "--format=%B%x00", f"{first[0]}..HEAD").split("\0")[:-1]


def main() -> int:
    """Return 1 where something is at fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="*", help="files or folders of the project; default: all, and commits")
    paths = parser.parse_args().paths
    faults = []
    for name in _git("ls-files", "--cached", "--others", "--exclude-standard", "--", *paths).split("\n"):
        path = ROOT / name
        if path.suffix not in {".py", *_PROSE} or _GENERATED.search(name) or not path.is_file():
            continue
        if path == Path(__file__):
            continue  # its list of words
        faults += [f"{name}:{line}: {fault}" for line, fault in sorted(set(of_file(path, path.read_text())))]
    if not paths:
        faults += [f"commit: {fault}" for message in commits() for fault in commit(message)]
    for fault in faults:
        sys.stdout.write(f"{fault}\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
