"""Text from others steers no terminal, and plain text is unchanged."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller_api.text import plain


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("column 'clas' does not exist", "column 'clas' does not exist"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;owned\x07title", "title"),
        ("\x1b]8;;https://evil.example\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9b2Jcleared", "cleared"),
        ("\x1bcreset", "reset"),
        ("first\r\nsecond\tthird", "first second third"),
        ("\N{RIGHT-TO-LEFT OVERRIDE}txt.exe", "txt.exe"),
        ("zero\N{ZERO WIDTH SPACE}width", "zero width"),
        ("bell\x07\x08\x7f", "bell"),
        ("line\N{LINE SEPARATOR}break", "line break"),
        ("Größe 図", "Größe 図"),
        ("\ud800", ""),
    ],
)
def test_only_what_prints_is_left(text: str, shown: str) -> None:
    assert plain(text, 512) == shown


@given(st.text(st.characters(codec=None)) | st.text("\x1b[]0;m\x07\x9b\x9d\\ab \n"), st.integers(0, 64))
def test_no_character_of_the_result_steers_a_terminal(text: str, limit: int) -> None:
    shown = plain(text, limit)
    assert len(shown) <= limit
    assert all(unicodedata.category(c) not in {"Cc", "Cf", "Cs", "Zl", "Zp"} for c in shown)
    assert shown.isprintable()
    assert plain(shown, limit) == shown
    shown.encode()


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1))
def test_printable_text_stays_as_it_is(text: str) -> None:
    assert plain(text, len(text)) == text
