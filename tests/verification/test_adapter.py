"""The least that a kernel promises, and how more of it is said."""

from __future__ import annotations

from typing import Any

import pytest

from verification.adapter import promising
from verification.backends.contract import Contract


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
