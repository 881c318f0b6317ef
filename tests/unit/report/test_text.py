"""Foreign text on the page."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trivium.report.text import cut, pairs, shown, tied, visible


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("plain", "plain"),
        ("a\r\nb\nc\rd\u2028e", "a\u23ceb\u23cec\u23ced\u23cee"),
        ("a\tb", "a\u21e5b"),
        ("\x00\x1b\x7f", "\u27e8NUL\u27e9\u27e8ESC\u27e9\u27e8DEL\u27e9"),
        ("\x9b31m", "\u27e8U+009B\u27e931m"),
        ("\u202eabc\u202c", "\u27e8U+202E\u27e9abc\u27e8U+202C\u27e9"),
        ("\u2066x\u2069", "\u27e8U+2066\u27e9x\u27e8U+2069\u27e9"),
        ("a\u200bb\ufeff", "a\u27e8U+200B\u27e9b\u27e8U+FEFF\u27e9"),
        ("\ud800", "\u27e8U+D800\u27e9"),
        ("\U000e0041", "\u27e8U+E0041\u27e9"),
        ("\ufffd", "\ufffd"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("👩\u200d🔬", "👩\u200d🔬"),
        ("中文，很好", "中文，很好"),
        (None, ""),
        (12, "12"),
    ],
)
def test_hidden_characters_are_seen_and_scripts_are_left_alone(text, seen):
    assert visible(text) == seen


@given(st.text(alphabet=st.characters()))
def test_visible_text_can_be_written_and_is_stable(text):
    seen = visible(text)
    seen.encode("utf-8")
    assert visible(seen) == seen
    assert not any(ord(character) < 0x20 for character in seen)


@given(st.text(), st.integers(2, 60))
def test_a_cut_text_is_short_and_says_how_long_it_was(text, limit):
    seen, length = cut(text, limit)
    assert len(seen) <= 2 * limit
    assert length in (0, len(text))
    if length:
        assert seen.endswith("\u2026")
        assert len(seen) <= limit
    else:
        assert seen == visible(text)


def test_a_cut_never_parts_a_letter_from_its_accent():
    assert cut("abe\u0301fgh", 4)[0] == "ab\u2026"
    assert cut("ab\u0301\u0301\u0301fgh", 4)[0] == "a\u2026"


def test_shown_text_is_escaped_and_isolated():
    assert shown("<b>&\"'") == "&lt;b&gt;&amp;&#34;&#39;"
    assert shown("דוד") == "<bdi>דוד</bdi>"
    assert shown("") == '<span class="quiet">empty</span>'
    assert (
        shown("x" * 1_234, 10)
        == '<bdi>xxxxxxxxx\u2026</bdi> <span class="cut">(1,234 chars)</span>'
    )


def test_pairs_are_one_line_of_escaped_names_and_values():
    assert "&lt;i&gt;" in pairs([("<i>", "<j>")])
    assert pairs([]) == ""


def test_prose_keeps_numbers_with_their_units():
    assert tied("84.1 % (p < 0.001)") == "84.1\u202f% (p\u00a0<\u00a00.001)"
    assert tied("a < b, 5 percent") == "a < b, 5 percent"
