"""Lines about weaker declarations are checked where they are written."""

from __future__ import annotations

from dataclasses import replace

import pytest

from verification.adapter import Precision, Weaker
from verification.backends.documented import as_documented, find_lines
from verification.backends.kernels import cpu_kernels
from verification.backends.protocol import Wrapped

LINE = Weaker("scores", "in float32", "its page", "findings 1")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"field": "score"}, "field: 'score' .*the nearest is 'scores'"),
        ({"source": ""}, "source: '' .must say something"),
        ({"explained_by": ""}, "explained_by: '' .must say something"),
        ({"documented": None}, "documented: None .must be a text"),
        ({"values": "float64"}, "values: 'float64' .must be a tuple of texts"),
    ],
)
def test_a_slip_is_one_line(changes: dict[str, object], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=f"^{message}"):
        replace(LINE, **changes)  # type: ignore[arg-type]


def test_a_backend_judged_as_documented_is_the_same_otherwise() -> None:
    """The original stays as it is."""
    [flash, *_] = cpu_kernels()
    stated = replace(flash, documented=Precision(probabilities="input"))
    sharp = as_documented(stated)
    assert (sharp.name, sharp.precision) == ("sdpa/flash@documented", stated.documented)
    assert (stated.name, stated.precision) == ("sdpa/flash", flash.precision)
    assert (sharp.contract, sharp.device) == (flash.contract, flash.device)
    assert as_documented(flash).precision == flash.precision


def test_lines_are_found_inside() -> None:
    """Of a backend around another."""
    [flash, *_] = cpu_kernels()
    assert find_lines(Wrapped(Wrapped(flash))) == flash.weaker != ()
