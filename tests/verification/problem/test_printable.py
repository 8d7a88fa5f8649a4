"""Texts of foreign code lose nothing, and nothing of them reaches a terminal or a file raw."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from verification.oracle.violation import Violation
from verification.problem.printable import printable, printable_in
from verification.problem.reading import ProblemError, mapping_of, text
from verification.records.results import State

FOREIGN = "\x1b[31mred\x00 \ud800 \r\u202e\x9b \ufeff"


def test_what_does_not_print_is_an_escape() -> None:
    """Ends of lines and tabs stay, and so does all that prints, of any script."""
    assert printable(FOREIGN) == "\\x1b[31mred\\x00 \\ud800 \\r\\u202e\\x9b \\ufeff"
    for plain in ("", "one\ntwo\tthree", "größer als ±1e4 → ∞", "漢字"):
        assert printable(plain) == plain
    assert printable(printable(FOREIGN)) == printable(FOREIGN)


@dataclass(frozen=True)
class Held:
    words: tuple[str, ...]
    counts: dict[str, int]


def test_at_any_depth() -> None:
    """What has nothing of the kind is handed on as it is, words of our own among it."""
    given = (Held((FOREIGN, "plain"), {FOREIGN: 1}), 2.0, None)
    assert printable_in(given) == (Held((printable(FOREIGN), "plain"), {printable(FOREIGN): 1}), 2.0, None)
    clean = (Held(("plain",), {"a": 1}), State.HELD)
    assert printable_in(clean) is clean


def test_where_foreign_texts_enter() -> None:
    """What a kernel raises, and what a file says."""
    assert str(Violation(f"raised RuntimeError: {FOREIGN}")) == f"raised RuntimeError: {printable(FOREIGN)}"
    assert text("message", FOREIGN) == printable(FOREIGN)
    assert mapping_of(text)("machine", {FOREIGN: FOREIGN}) == {printable(FOREIGN): printable(FOREIGN)}
    with pytest.raises(ProblemError):
        text("message", 1)
