"""The least that a kernel promises, and how more of it is said."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from properties.laws.claims import ClaimError, check_bitwise
from verification.adapter import promising
from verification.backends.contract import Contract

PAGE = (Path(__file__).parents[2] / "docs" / "contracts.md").read_text()


def test_the_declarations_of_the_page_are_some() -> None:
    """And the lines that it shows are what is said."""
    names: dict[str, Any] = {}
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    assert len(blocks) == 3
    exec(blocks[0], names)
    assert names["contract"].refused == {"q", "k", "v"}
    exec(blocks[1], names)
    assert [names["contract"].in_phase(phase).nonfinite for phase in ("prefill", "decode")] == [False, True]
    exec(blocks[2], names)
    assert [line.field for line in names["weaker"]] == ["scores"]
    with pytest.raises(ValueError, match=r"^dtypes: ") as raised:
        promising("fp16")
    assert str(raised.value) in PAGE
    claims = Contract(("float16",), bitwise=frozenset({"same_call_same_bit"}))
    with pytest.raises(ClaimError) as said:
        check_bitwise(claims)
    assert f"error: {said.value}\n" in PAGE


def test_the_least() -> None:
    """Numbers, for finite input."""
    assert promising("float16") == Contract(("float16",), refuses=False, range_events=False, nonfinite=False)


def test_more() -> None:
    """Any field, in the form that is nearest at hand."""
    contract = promising("float16", "float32", scoring={"window"}, refuses=["q"], by_phase={"decode": {"blind": "nan"}})
    assert (contract.dtypes, contract.scoring, contract.refuses) == (("float16", "float32"), {"window"}, {"q"})
    assert [contract.in_phase(phase).blind for phase in contract.phases] == ["zeros", "nan"]


@pytest.mark.parametrize(
    ("dtypes", "promises", "error", "line"),
    [
        (("fp16",), {}, ValueError, "dtypes: 'fp16' (must be one of 'float16', "),
        ((), {}, ValueError, "dtypes: () (must name at least one dtype)"),
        (
            ("float16",),
            {"scorng": {"window"}},
            TypeError,
            "promising: 'scorng' (must be a field that it takes; the nea",
        ),
        (
            ("float16",),
            {"unifrm": True},
            TypeError,
            "promising: 'unifrm' (must be a field that it takes; the nearest is",
        ),
        (("float16",), {"zzz": 1}, TypeError, "promising: 'zzz' (must be a field that it takes: bitwise, refuses, "),
        (("float16",), {"dtypes": ("float32",)}, TypeError, "promising: 'dtypes' (must be a field that it takes"),
        (("float16",), {"blind": "zero"}, ValueError, "blind: 'zero' (must be one of "),
    ],
)
def test_what_is_misspelt_is_one_line(
    dtypes: tuple[str, ...], promises: dict[str, Any], error: type[Exception], line: str
) -> None:
    """With the nearest name, where there is one."""
    with pytest.raises(error) as raised:
        promising(*dtypes, **promises)
    assert str(raised.value).startswith(line)
    assert "\n" not in str(raised.value)
